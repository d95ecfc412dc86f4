"""Supernets made of timm's networks: the largest is timm's, and every subnet is a plain network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import pnag
from pnag.deploy.export import export_checked
from pnag.errors import PnagError
from pnag.families.cut_supernet import CutSupernet
from pnag.families.registry import from_config, is_of
from pnag.families.timm_networks import TRIED

IMAGES = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 72, 72), np.float32))


def made(name: str, num_classes: int = 5) -> Any:
    """A supernet whose batch norms and matrices are not what they begin as."""
    torch.manual_seed(0)
    supernet = pnag.family(f"timm/{name}").supernet(num_classes=num_classes).eval()
    for each, value in supernet.state_dict().items():
        if each.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif each.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif each.endswith("_matrix"):
            value.add_(0.1 * torch.randn_like(value))
    return supernet


def plain_weights(supernet: CutSupernet) -> dict[str, torch.Tensor]:
    """The largest architecture's weights under timm's names."""
    state = supernet.network.state_dict()
    return {name: value for name, value in state.items() if not name.endswith("_matrix")}


@pytest.mark.parametrize("name", TRIED)
@torch.no_grad()
def test_the_largest_is_timms_and_subnets_are_plain_networks(name: str) -> None:
    supernet = made(name)
    family = supernet.family
    theirs = timm.create_model(name, num_classes=5).eval()
    theirs.load_state_dict(plain_weights(supernet))
    expected = theirs(IMAGES)
    scale = float(expected.abs().max())
    assert (supernet(IMAGES) - expected).abs().max() < 1e-5 * scale
    assert family.count(family.largest, num_classes=5).params == parameters(theirs)
    texts = [str(family.smallest), *family.sample(3, np.random.default_rng(1))]
    for text in texts:
        network = supernet.subnet(text)
        assert (network(IMAGES) - supernet(IMAGES, text)).abs().max() < 1e-5 * scale
        counts = family.count(text, resolution=72, num_classes=5)
        assert counts.params == parameters(network)
        assert counts.macs == macs_by_hooks(network, IMAGES[:1])
        again = from_config(json.loads(json.dumps(network.pnag_config)))
        again.load_state_dict(network.state_dict())
        assert torch.equal(again.eval()(IMAGES), network(IMAGES))
    tokens = family.space.encode(texts)
    batch = pnag.families.count_batch(family, tokens, 72, 5)
    one_by_one = [family.count(text, 72, 5) for text in texts]
    assert batch.macs.tolist() == [counts.macs for counts in one_by_one]
    assert batch.params.tolist() == [counts.params for counts in one_by_one]
    assert batch.memory.tolist() == [counts.memory for counts in one_by_one]


def parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def macs_by_hooks(network: nn.Module, images: Tensor) -> int:
    """Multiply-adds of a pass, convolution by convolution."""
    counted = []

    def count(module: Any, _: Any, output: Tensor) -> None:
        each = module.weight[0].numel() if isinstance(module, nn.Conv2d) else module.in_features
        counted.append(output.numel() * each)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(images)
    return sum(counted)


def test_every_block_is_covered_and_occurs() -> None:
    family = pnag.family("timm/efficientnet_lite0")
    ids = family.block_ids(family.space.encode(family.covering()))
    assert set(ids.ravel()) == {-1, *range(len(family.blocks()))}
    keys = [block.key for block in family.blocks(96)]
    for text in family.sample(20, np.random.default_rng(0)):
        own = [layer.key for layer in family.layers(text, 96) if layer.unit >= 0]
        ids = family.block_ids(family.space.encode([text]))[0]
        assert [keys[index] for index in ids if index >= 0] == own


@torch.no_grad()
def test_sorted_channels_leave_the_largest_as_it_is_and_put_the_important_first() -> None:
    supernet = made("mobilenetv3_small_100")
    before = supernet(IMAGES)
    supernet.sort_channels()
    assert (supernet(IMAGES) - before).abs().max() < 1e-5 * before.abs().max()
    weight = supernet.network.blocks[1][0].conv_pwl.weight
    importance = weight.abs().sum((0, 2, 3))
    assert (importance[:-1] >= importance[1:]).all()


@pytest.mark.parametrize("name", ["timm/mobilenetv3_small_100", "ofa-mobilenetv3-w0.1"])
def test_the_largest_network_goes_back_and_others_are_cut_out_of_it(name: str) -> None:
    of = pnag.family(name)
    torch.manual_seed(0)
    one, other = (of.supernet(num_classes=5) for _ in range(2))
    one.take_largest(other.subnet())
    for arch in (None, of.smallest):
        found, expected = (each.subnet(arch).state_dict() for each in (one, other))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)


def test_a_step_trains_what_is_active_and_nothing_else() -> None:
    supernet = made("efficientnet_lite0").train()
    smallest = supernet.family.smallest
    supernet(IMAGES, smallest).square().mean().backward()
    first = supernet.network.blocks[1][0]
    used = first.conv_pwl.weight.grad.abs().sum((0, 2, 3)) > 0
    half = len(used) // 2
    assert used[:half].any() and not used[half:].any()
    assert supernet.network.blocks[1][1].conv_pw.weight.grad is None
    assert supernet.network.blocks[2][0].conv_dw.get_parameter("5to3_matrix").grad.abs().sum() > 0


@torch.no_grad()
def test_weights_come_from_timms_names_from_ours_and_from_any_names_in_order(
    tmp_path: Path,
) -> None:
    family, supernet = pnag.family("timm/mobilenetv3_small_100"), made("mobilenetv3_small_100")
    expected = supernet(IMAGES)
    weights = {name: value.contiguous() for name, value in plain_weights(supernet).items()}
    save_file(weights, tmp_path / "timm.safetensors")
    save_file(supernet.state_dict(), tmp_path / "ours.safetensors")
    renamed = {f"x.{number:03d}": value for number, value in enumerate(weights.values())
               if value.ndim}  # fmt: skip
    torch.save({"state_dict": renamed}, tmp_path / "renamed.pth")
    for file in ("timm.safetensors", "ours.safetensors", "renamed.pth"):
        found = family.supernet(num_classes=5, weights=tmp_path / file).eval()
        assert torch.equal(found(IMAGES), expected)
    assert torch.equal(
        family.supernet(5, tmp_path / "ours.safetensors").eval()(IMAGES, family.smallest),
        supernet(IMAGES, family.smallest),
    )
    # Other classes: all but the classifier.
    other = family.supernet(num_classes=3, weights=tmp_path / "timm.safetensors")
    assert torch.equal(other.network.conv_head.weight, supernet.network.conv_head.weight)
    assert other.network.classifier.weight.shape == (3, 1024)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("conv_stem.weight"), "the weight 'conv_stem.weight' is missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "has no weight 'extra'"),
        (lambda w: w.update({"bn1.weight": torch.zeros(9)}), r"'bn1.weight' must .*not \(9,\)"),
    ],
)
def test_weights_of_another_network_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    family = pnag.family("timm/mobilenetv3_small_100")
    weights = timm.create_model("mobilenetv3_small_100", num_classes=5).state_dict()
    change(weights)
    save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / "w.safetensors")
    with pytest.raises(PnagError, match=message):
        family.supernet(num_classes=5, weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/mobilenetv4_conv_small", "a block UniversalInvertedResidual at blocks.2.0"),
        ("timm/efficientnet_es", "a block EdgeResidual at blocks.0.0"),
        ("timm/mixnet_s", r"a MixedConv2d \(conv_pw\) at blocks.1.0"),
        ("timm/efficientnet_b0_gn", "GroupNorm"),
        ("timm/resnet18", "is timm's ResNet"),
        ("timm/efficientnet_lite", "there is timm/efficientnet_lite"),
        ("timm/efficientnet_b0.ra_in1kk", "there is timm/efficientnet_b0.ra_in1k"),
        ("efficientnet_lite0", "there is timm/efficientnet_lite0"),
        ("ofa-mobilenetv3-w0", "there is no family"),
        ("ofa-resnet", "there is no family"),
    ],
)
def test_what_is_no_family_is_told(name: str, message: str) -> None:
    with pytest.raises((PnagError, ValueError), match=message):
        pnag.family(name)


def test_texts_are_checked() -> None:
    family = pnag.family("timm/efficientnet_lite0")
    assert str(family.parse(str(family.largest))) == str(family.largest)
    for text, message in (
        (str(family.largest).replace("100", "60", 1), "width is 60, and this search space has"),
        (str(family.largest).replace("100", "9" * 20, 1), "no architecture has a 9{20} in it"),
        ("2,2,2:3:100", "this search space takes 6 depths, not 3"),
        ("nonsense", "must have 3 parts"),
    ):
        with pytest.raises(ValueError, match=message):
            family.parse(text)


@torch.no_grad()
def test_subnets_are_exported_and_load_without_pnag(tmp_path: Path) -> None:
    supernet = made("efficientnet_lite0")
    text = supernet.family.sample(1, np.random.default_rng(3))[0]
    network = supernet.subnet(text)
    for form, suffix in (("onnx", ".onnx"), ("timm", ".safetensors")):
        assert export_checked(network, tmp_path / f"net{suffix}", 64, form) < 1e-4
    how = {"resolution": 64, "shorter": 64, "mean": [0.5] * 3, "std": [0.5] * 3,
           "classes": list("abcde")}  # fmt: skip
    (tmp_path / "how.json").write_text(json.dumps(how))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    images = torch.from_numpy((pixels / 255 - 0.5) / 0.5).float().permute(2, 0, 1)[None]
    example = Path(pnag.__file__).parent / "deploy" / "examples" / "load_timm.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(example), "net.safetensors", "how.json", "image.png"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "abcde"[int(network(images).argmax())]


@pytest.mark.parametrize("name", TRIED)
@torch.no_grad()
def test_random_subnets_compute_the_same_as_onnx(name: str, tmp_path: Path) -> None:
    """Two of each here; `benchmarks/timm_onnx.py` takes 20 of full size."""
    supernet, path = made(name), tmp_path / "subnet.onnx"
    for text in supernet.family.sample(2, np.random.default_rng(4)):
        assert export_checked(supernet.subnet(text), path, 72) < 1e-4
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"images": IMAGES[:1].numpy()})
        expected = supernet(IMAGES[:1], text).numpy()
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_family_is_of_another_by_its_whole_name() -> None:
    for name, asked in (
        ("timm/a@32,64", "timm/a"),
        ("timm/a@32,64", "timm/a@32,64"),
        ("ofa-mobilenetv3-w0.35@32", "ofa-mobilenetv3"),
    ):
        assert is_of(name, asked)
    for name, asked in (
        ("timm/ab", "timm/a"),
        ("timm/a@32,64", "timm/a@32"),
        ("ofa-mobilenetv3", "ofa-mobilenetv3-w1.2"),
    ):
        assert not is_of(name, asked)


def test_other_resolutions_take_the_place_of_those_before() -> None:
    of = pnag.family("timm/mobilenetv3_small_100")
    twice = of.with_resolutions((64, 96)).with_resolutions((128, 160))
    assert twice.name == "timm/mobilenetv3_small_100@128,160"
    assert twice.space == of.with_resolutions((128, 160)).space
    assert twice.largest.resolution == 160 and of.largest.resolution == 0
