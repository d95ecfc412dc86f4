"""Today's networks of timm: each builds, is what is said of it, and computes the same fused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from pnag.commands.main import app
from pnag.deploy.zoo import TIMM_NETWORKS, ZOO, find, select
from pnag.deploy.zoo.network import Counted, Library, Network, Training
from pnag.deploy.zoo.timm_networks import training_of
from pnag.deploy.zoo.weights import load_pretrained
from pnag.errors import PnagError

FACTS = (
    Path(__file__).resolve().parents[3]
    / "shared" / "facts" / "timm_imagenet_top1_and_i7_latency.csv"
)  # fmt: skip
FAMILIES = {
    "mobilenetv1", "mobilenetv2", "mobilenetv3", "mobilenetv4", "efficientnet", "efficientformer",
    "edgenext", "fastvit", "ghostnet", "hardcorenas", "hgnetv2", "lcnet", "levit", "mobileone",
    "repvgg", "repvit", "tinynet", "tf_efficientnet_lite", "efficientnet_lite", "repghostnet",
}  # fmt: skip


def library(network: Network) -> Library:
    assert isinstance(network.recipe, Library)
    return network.recipe


def shaken(network: Network) -> nn.Module:
    """The trainable network with norms and scales that are not those of a fresh one."""
    torch.manual_seed(0)
    module = library(network).trainable().eval()
    with torch.no_grad():
        for name, value in module.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.1)
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
        for value in module.parameters():
            if value.ndim == 1:
                value.add_(0.1 * torch.randn_like(value))
    return module


def test_every_small_family_is_there() -> None:
    assert 50 <= len(TIMM_NETWORKS) <= 60 and select(["timm"]) == list(TIMM_NETWORKS)
    for family in FAMILIES:
        assert any(network.name.startswith(family) for network in TIMM_NETWORKS), family
    assert len({network.key for network in TIMM_NETWORKS}) == len(TIMM_NETWORKS)
    assert all(n.published_ms and n.training and n.weights for n in TIMM_NETWORKS)
    assert find("levit_128.fb_dist_in1k") is ZOO["levit_128"]
    with pytest.raises(PnagError, match=r"perhaps .*levit_128"):
        find("levit_12")


@pytest.mark.parametrize("network", TIMM_NETWORKS, ids=lambda n: n.key)
def test_each_builds_and_is_what_is_said_of_it(network: Network) -> None:
    registered = timm.get_pretrained_cfg(library(network).name, allow_unregistered=False)
    assert registered is not None and registered.num_classes == 1000
    sizes = {registered.input_size[-1], (registered.test_input_size or registered.input_size)[-1]}
    assert network.resolution in sizes
    assert network.training is not None
    assert network.training.licence == (registered.license or "")
    with torch.device("meta"):
        module = network.build().eval()
        images = torch.zeros(1, 3, network.resolution, network.resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert module(images).shape == (1, 1000)
    flops = {str(name): n for name, n in counter.get_flop_counts()["Global"].items()}
    params = sum(p.numel() for p in module.parameters())
    own = Counted(params, sum(flops.values()) // 2, flops["aten.convolution"] // 2)
    assert network.counts() == own


@pytest.mark.skipif(not FACTS.exists(), reason=f"no published figures at {FACTS}")
def test_figures_are_the_published_ones() -> None:
    with FACTS.open() as file:
        published = {(row["model"], int(row["img_size"])): row for row in csv.DictReader(file)}
    for network in TIMM_NETWORKS:
        row = published[library(network).name, network.resolution]
        assert network.top1 == pytest.approx(float(row["top1"]) / 100)
        assert network.top5 == pytest.approx(float(row["top5"]) / 100)
        assert network.published_ms == float(row["i7_12700h_ms"])
        with torch.device("meta"):
            trainable = library(network).trainable()
        params = sum(p.numel() for p in trainable.parameters())
        assert params / 1e6 == pytest.approx(float(row["param_count"]), abs=0.0051)


FUSED = (
    "fastvit_t8", "fastvit_t12", "levit_128s", "levit_128", "levit_192", "levit_256",
    "mobileone_s1", "mobileone_s3", "repghostnet_100", "repghostnet_200", "repvgg_a1",
    "repvit_m0_9", "repvit_m1_1", "tiny_vit_5m_224",
)  # fmt: skip


@pytest.mark.parametrize("key", FUSED)
def test_fused_networks_compute_the_same(key: str) -> None:
    network = find(key)
    trained = shaken(network)
    deployed = library(network).as_it_runs(trained)
    images = torch.randn(2, 3, network.resolution, network.resolution)
    with torch.no_grad():
        expected, actual = trained(images), deployed(images)
    assert (expected - actual).abs().max() <= 1e-4 * expected.abs().max()
    layers = [sum(1 for _ in module.modules()) for module in (trained, deployed)]
    assert layers[1] < layers[0]
    assert sum(p.numel() for p in deployed.parameters()) == network.counts().params


def test_all_others_have_nothing_to_fuse() -> None:
    for network in TIMM_NETWORKS:
        with torch.device("meta"):
            trainable = library(network).trainable()
        same = sum(p.numel() for p in trainable.parameters()) == network.counts().params
        assert same == (network.key not in FUSED), network.key


def test_names_of_weights_tell_of_the_training() -> None:
    assert training_of("ra4_e3600_r224_in1k", "mit") == Training("", False, "mit")
    assert training_of("ra4_e3600_r224_in1k", "").plain
    cases = {
        "fb_dist_in1k": ("", True),
        "miil_in21k_ft_in1k": ("ImageNet-21k", False),
        "e200_r256_in12k_ft_in1k": ("ImageNet-12k", False),
        "ssld_stage2_ft_in1k": ("chosen from ImageNet-22k", True),
        "dist_in22k_ft_in1k": ("ImageNet-22k", True),
        "usi_in1k": ("", True),
    }
    for weights, told in cases.items():
        training = training_of(weights, "")
        assert (training.more_images, training.distilled) == told and not training.plain


def test_published_weights_are_fused_when_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNAG_CACHE", str(tmp_path))
    network = find("levit_128s")
    trained = shaken(network)
    assert network.weights is not None
    save_file(trained.state_dict(), network.weights.path)
    loaded = load_pretrained(network)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected, actual = trained(images), loaded(images)
    assert (expected - actual).abs().max() <= 1e-4 * expected.abs().max()
    out = tmp_path / "levit.onnx"
    arguments = ["zoo", "export", "levit_128s", "--pretrained", "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "weights by timm" in done.output and out.exists()


def test_show_tells_training_and_licence() -> None:
    done = CliRunner().invoke(app, ["zoo", "show", "hgnetv2_b0"])
    assert "more than that: chosen from ImageNet-22k, distilled" in done.output
    assert "apache-2.0" in done.output and "i7-12700H" in done.output
    told = json.loads(CliRunner().invoke(app, ["zoo", "show", "fastvit_t8", "--json"]).output)
    assert told["training"] == {
        "more_images": "", "distilled": True, "licence": "fastvit-license"
    }  # fmt: skip
