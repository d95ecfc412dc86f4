"""The supernet: against published figures, against timm, and against numbers of our own."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import pnag
from pnag.errors import PnagError
from pnag.families.elastic import depthwise_weight
from pnag.families.ofa_mobilenetv3 import scaled, squeezed
from pnag.families.supernet import width_and_classes
from pnag.space.architecture import MAX_DEPTH, UNITS

SPACE = pnag.SearchSpace()
FACTS = Path(__file__).resolve().parents[3] / "shared" / "facts"
needs_facts = pytest.mark.skipif(not FACTS.exists(), reason=f"no published figures at {FACTS}")


def uniform(kernel: int, width: int, depth: int) -> pnag.Architecture:
    exists = [int(layer < depth) for layer in range(MAX_DEPTH)] * UNITS
    return pnag.Architecture(
        (depth,) * UNITS,
        tuple(kernel * e for e in exists),
        tuple(width * e for e in exists),
    )


def some_archs(n: int, seed: int = 0) -> list[str]:
    return list(SPACE.text(SPACE.sample(n, np.random.default_rng(seed))))


def random_supernet(width_mult: float = 0.2, num_classes: int = 5, seed: int = 0) -> pnag.Supernet:
    """In evaluation mode; batch norms and kernel matrices are random too."""
    torch.manual_seed(seed)
    supernet = pnag.Supernet(width_mult, num_classes).eval()
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            elif hasattr(module, "7to5_matrix"):
                for matrix in ("5to3_matrix", "7to5_matrix"):
                    parameter = module.get_parameter(matrix)
                    parameter.add_(0.2 * torch.randn_like(parameter))
        for name, parameter in supernet.named_parameters():
            if ".se." in name or name.startswith("classifier"):
                parameter.normal_(0, 0.3)
    return supernet


def channels(block: nn.Module, width: int) -> int:
    """Inside a block of a supernet at a width."""
    return scaled(block.inverted_bottleneck.conv.conv.in_channels, width)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """To 1e-5 of the largest, which must not be so small that nothing is compared."""
    scale = expected.abs().max().item()
    assert scale > 1e-3
    assert (actual - expected).abs().max().item() <= 1e-5 * max(scale, 1.0)


# ---- published figures


@needs_facts
def test_outputs_and_parameters_are_the_published_ones() -> None:
    golden = json.loads((FACTS / "golden" / "archs.json").read_text())
    io = load_file(FACTS / "golden" / "io.safetensors")
    supernet = pnag.Supernet(golden["width_mult"], golden["num_classes"]).eval()
    supernet.load_state_dict(load_file(FACTS / "golden" / "state_dict.safetensors"))
    assert len(golden["archs"]) == len(io["logits"]) == 8
    for choice, logits in zip(golden["archs"], io["logits"], strict=True):
        exists = [i % MAX_DEPTH < choice["d"][i // MAX_DEPTH] for i in range(UNITS * MAX_DEPTH)]
        arch = pnag.Architecture(
            tuple(choice["d"]),
            tuple(k * e for k, e in zip(choice["ks"], exists, strict=True)),
            tuple(w * e for w, e in zip(choice["e"], exists, strict=True)),
        )
        subnet = supernet.subnet(arch)
        with torch.no_grad():
            assert_close(supernet(io["input"], arch), logits)
            assert_close(subnet(io["input"]), logits)
        assert sum(p.numel() for p in subnet.parameters()) == choice["params"]


@needs_facts
@pytest.mark.parametrize("width_mult", [1.0, 1.2])
def test_keys_and_shapes_are_the_published_ones(width_mult: float) -> None:
    path = FACTS / f"ofa_mbv3_w{width_mult}_state_dict_shapes.json"
    published = json.loads(path.read_text())
    with torch.device("meta"):
        own = {k: list(v.shape) for k, v in pnag.Supernet(width_mult).state_dict().items()}
    assert own == published
    assert list(own) == list(published)


# ---- numbers of our own


def formula(index: int, numel: int) -> Tensor:
    """`numel` numbers in [-0.5, 0.5) that look random and are the same on every machine."""
    place = torch.arange(1, numel + 1, dtype=torch.float64)
    return (torch.sin(place * 12.9898 + index * 78.233) * 43758.5453) % 1 - 0.5


def formula_weights(supernet: pnag.Supernet) -> dict[str, Tensor]:
    weights = {}
    for index, (key, value) in enumerate(supernet.state_dict().items()):
        numbers = formula(index, value.numel()).view(value.shape)
        if value.ndim == 0:
            numbers = torch.zeros(())
        elif key.endswith("_matrix"):
            numbers = torch.eye(len(value)) + numbers / 2
        elif key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
            numbers = 1 + numbers
        elif value.ndim > 1:  # keeps the size of what flows
            numbers = numbers * math.sqrt(24 / value[0].numel())
        weights[key] = numbers.to(value.dtype)
    return weights


def test_outputs_are_those_of_our_golden_file() -> None:
    """Made once, after the published golden vectors agreed; `ofa` gave these numbers too."""
    golden = json.loads((Path(__file__).parent / "supernet_golden.json").read_text())
    supernet = pnag.Supernet(golden["width_mult"], golden["num_classes"]).eval()
    supernet.load_state_dict(formula_weights(supernet))
    images = formula(1000, 2 * 3 * 32 * 32).view(2, 3, 32, 32).float() * 4
    for arch, logits in golden["logits"].items():
        with torch.no_grad():
            assert_close(supernet(images, arch), torch.tensor(logits))


@pytest.mark.parametrize("kernel", [3, 5])
def test_small_kernels_are_made_from_the_large_one(kernel: int) -> None:
    torch.manual_seed(0)
    supernet = pnag.Supernet(0.1, 2).double()
    row, parts = supernet.family.table[2], supernet.parts[2]
    conv = parts.matrices
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    chosen = replace(row, expanded=5, kernel=kernel)
    weight = conv.conv.weight[:5, 0].detach().numpy()
    large = conv.get_parameter("7to5_matrix").detach().numpy()
    small = conv.get_parameter("5to3_matrix").detach().numpy()
    for channel in range(5):
        expected = (large @ weight[channel, 1:6, 1:6].flatten()).reshape(5, 5)
        if kernel == 3:
            expected = (small @ expected[1:4, 1:4].flatten()).reshape(3, 3)
        actual = depthwise_weight(chosen, parts)[channel, 0].detach().numpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-10)


# ---- one set of weights, many networks


@pytest.mark.parametrize(
    ("width_mult", "height", "width"), [(0.2, 32, 32), (0.35, 64, 64), (0.1, 33, 96)]
)
def test_a_subnet_is_a_timm_network_with_the_same_outputs(
    width_mult: float, height: int, width: int
) -> None:
    supernet = random_supernet(width_mult)
    images = torch.randn(2, 3, height, width)
    for arch in [*some_archs(4), None]:
        subnet = supernet.subnet(arch)
        assert not subnet.training
        text = arch or str(uniform(7, 6, 4))
        counts = pnag.count(text, width_mult, num_classes=5)
        assert sum(p.numel() for p in subnet.parameters()) == counts.params
        with torch.no_grad():
            assert_close(subnet(images), supernet(images, arch))


def test_a_subnet_is_a_copy() -> None:
    supernet = random_supernet().train()
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    state = torch.random.get_rng_state()
    subnet = supernet.subnet(uniform(7, 6, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert subnet.training and all(p.requires_grad and p.is_leaf for p in subnet.parameters())
    subnet(torch.randn(4, 3, 32, 32)).sum().backward()
    with torch.no_grad():
        for parameter in subnet.parameters():
            parameter.add_(1)
    for key, value in supernet.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_calls_leave_no_trace_on_others() -> None:
    supernet = random_supernet()
    images = torch.randn(2, 3, 32, 32)
    archs = some_archs(3)
    with torch.no_grad():
        first = [supernet(images, arch) for arch in archs]
        again = [supernet(images, pnag.Architecture.parse(arch)) for arch in reversed(archs)]
    for a, b in zip(first, reversed(again), strict=True):
        assert torch.equal(a, b)


def test_memory_format_does_not_matter() -> None:
    supernet = random_supernet()
    images = torch.randn(2, 3, 64, 64)
    arch = some_archs(1)[0]
    with torch.no_grad():
        expected = supernet(images, arch)
        supernet.to(memory_format=torch.channels_last)
        assert_close(supernet(images.to(memory_format=torch.channels_last), arch), expected)


# ---- training


def test_gradients_reach_what_a_subnet_uses_and_nothing_else() -> None:
    supernet = random_supernet().train()
    supernet(torch.randn(4, 3, 64, 64), uniform(3, 3, 2)).square().sum().backward()
    block = supernet.blocks[2].conv
    expanded = channels(block, 3)
    depthwise = block.depth_conv.conv
    for weight in (
        block.inverted_bottleneck.conv.conv.weight,
        block.inverted_bottleneck.bn.bn.weight,
        depthwise.conv.weight,
        block.depth_conv.bn.bn.bias,
        block.point_linear.conv.conv.weight.transpose(0, 1),
    ):
        gradient = weight.grad if weight.is_leaf else weight._base.grad.transpose(0, 1)
        assert (
            (gradient[:expanded].flatten(1).abs().sum(1) > 0).all()
            if gradient.ndim > 1
            else (gradient[:expanded] != 0).all()
        )
        assert (gradient[expanded:] == 0).all()
    assert (depthwise.conv.weight.grad[:expanded, 0, 1:6, 1:6] != 0).all()
    assert (depthwise.get_parameter("5to3_matrix").grad != 0).all()
    assert (depthwise.get_parameter("7to5_matrix").grad != 0).any()
    assert all(p.grad is None for p in supernet.blocks[3].parameters())
    excite = supernet.blocks[5].conv.depth_conv.se.fc
    hidden = squeezed(channels(supernet.blocks[5].conv, 3))
    assert (excite[0].bias.grad[hidden:] == 0).all()
    assert (excite[0].bias.grad[:hidden] != 0).any()


def test_gradients_are_those_of_the_subnet() -> None:
    """Also of two architectures that run before one backward pass."""
    supernet = random_supernet().double().train()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    archs = some_archs(2)
    subnets = [supernet.subnet(arch) for arch in archs]
    supernet(images, archs[0]).square().sum().add(
        supernet(images, archs[1]).square().sum()
    ).backward()
    expected = torch.zeros_like(supernet.first_conv[0].weight)
    for subnet in subnets:
        subnet(images).square().sum().backward()
        expected += subnet.conv_stem.weight.grad
    torch.testing.assert_close(supernet.first_conv[0].weight.grad, expected)


def test_running_statistics_move_for_active_channels_only() -> None:
    supernet = random_supernet().train()
    block = supernet.blocks[1].conv
    norm = block.depth_conv.bn.bn
    before = norm.running_mean.clone(), norm.running_var.clone()
    arch = uniform(5, 3, 2)
    subnet = supernet.subnet(arch)
    images = torch.randn(4, 3, 32, 32)
    supernet(images, arch)
    subnet(images)
    expanded = channels(block, 3)
    for now, then in zip((norm.running_mean, norm.running_var), before, strict=True):
        assert (now[:expanded] != then[:expanded]).all()
        assert torch.equal(now[expanded:], then[expanded:])
    assert norm.num_batches_tracked == 1
    theirs = subnet.blocks[1][0].bn2
    torch.testing.assert_close(norm.running_mean[:expanded], theirs.running_mean)
    torch.testing.assert_close(norm.running_var[:expanded], theirs.running_var)


def test_architectures_pass_through_distributed_data_parallel(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    try:
        supernet = random_supernet().train()
        alone = copy.deepcopy(supernet)
        images = torch.randn(2, 3, 32, 32)
        parallel = nn.parallel.DistributedDataParallel(supernet, find_unused_parameters=True)
        for arch in (pnag.Architecture.parse(some_archs(1)[0]), some_archs(2)[1], None):
            for network in (parallel, alone):
                network.zero_grad()
                network(images, arch).square().sum().backward()
            for theirs, own in zip(supernet.parameters(), alone.parameters(), strict=True):
                assert (own.grad is None) == (theirs.grad is None)
                if own.grad is not None:
                    assert theirs.grad is not None
                    torch.testing.assert_close(theirs.grad, own.grad)
    finally:
        torch.distributed.destroy_process_group()


def test_fresh_weights() -> None:
    torch.manual_seed(0)
    supernet = pnag.Supernet(0.5, 10)
    block = supernet.blocks[10].conv
    assert torch.equal(block.depth_conv.conv.get_parameter("7to5_matrix"), torch.eye(25))
    assert torch.equal(block.depth_conv.conv.get_parameter("5to3_matrix"), torch.eye(9))
    outputs = block.point_linear.conv.conv.out_channels
    assert block.point_linear.conv.conv.weight.std().item() == pytest.approx(
        math.sqrt(2 / outputs), 0.05
    )
    assert block.depth_conv.conv.conv.weight.std().item() == pytest.approx(math.sqrt(2 / 49), 0.05)
    assert supernet.classifier[0].weight.std().item() == pytest.approx(0.01, 0.05)
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-5, 0.1)
            assert (module.weight == 1).all() and (module.bias == 0).all()
    for module in supernet.subnet().modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-5, 0.1)


def test_bad_sizes_and_architectures_are_refused() -> None:
    for arguments in ({"width_mult": 0.0}, {"num_classes": 0}):
        with pytest.raises(ValueError, match="must be"):
            pnag.Supernet(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must have 3 parts"):
        pnag.Supernet(0.1, 2)(torch.zeros(1, 3, 32, 32), "2,2")


# ---- sorting channels


def importance_of(block: nn.Module) -> Tensor:
    return block.point_linear.conv.conv.weight.detach().abs().sum((0, 2, 3))


def test_sorting_puts_important_channels_first_and_changes_no_output() -> None:
    supernet = random_supernet(0.35).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = (
            supernet(images),
            supernet(images, uniform(5, 6, 3)),
            supernet(images, uniform(7, 3, 4)),
        )
        supernet.sort_channels()
        assert_close(supernet(images), before[0])
        assert_close(supernet(images, uniform(5, 6, 3)), before[1])
        assert (supernet(images, uniform(7, 3, 4)) - before[2]).abs().max() > 1e-3
    for layer in list(supernet.blocks)[1:]:
        assert (importance_of(layer.conv).diff() <= 1e-6).all()
        if hasattr(layer.conv.depth_conv, "se"):
            second = layer.conv.depth_conv.se.fc[1].weight
            assert (second.detach().abs().sum((0, 2, 3)).diff() <= 1e-5).all()


def test_sorting_keeps_what_trained_widths_have_learnt() -> None:
    supernet = random_supernet(0.35).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    mixed = str(uniform(7, 6, 3)).replace("6,6,6,0", "4,6,4,0")
    with torch.no_grad():
        kept = {arch: supernet(images, arch) for arch in (None, uniform(7, 4, 4), mixed)}
        narrow = supernet(images, uniform(7, 3, 4))
        supernet.sort_channels(trained_widths=(6, 4))
        for arch, logits in kept.items():
            assert_close(supernet(images, arch), logits)
        assert (supernet(images, uniform(7, 3, 4)) - narrow).abs().max() > 1e-3
    for layer in list(supernet.blocks)[1:]:
        bound = channels(layer.conv, 4)
        for part in importance_of(layer.conv).tensor_split([bound]):
            assert (part.diff() <= 1e-6).all()
    with pytest.raises(ValueError, match="there is no width 5"):
        supernet.sort_channels((6, 5))


# ---- loading


def respell(*changes: tuple[str, str]) -> Callable[[str], str]:
    def change(key: str) -> str:
        for old, new in changes:
            key = key.replace(old, new)
        return key

    return change


OLD_NAMES = (
    (".bn.bn.", ".bn."),
    (".conv.conv.weight", ".conv.weight"),
    (".linear.linear.", ".linear."),
)


@pytest.mark.parametrize(
    "spelling",
    [
        respell(),
        *(respell(name) for name in OLD_NAMES),
        respell(*OLD_NAMES),
        *(
            respell(
                *names,
                (".conv.inv", ".mobile_inverted_conv.inv"),
                (".conv.depth", ".mobile_inverted_conv.depth"),
                (".conv.point", ".mobile_inverted_conv.point"),
            )
            for names in ((), OLD_NAMES)
        ),
        respell(("classifier.linear.", "classifier.linear.linear.")),
    ],
)
def test_every_published_spelling_loads(spelling: Callable[[str], str]) -> None:
    weights = random_supernet(0.1, 3, seed=1).state_dict()
    respelled = {spelling(key): value for key, value in weights.items()}
    assert len(respelled) == len(weights)
    supernet = pnag.Supernet(0.1, 3)
    for wrapped in (respelled, {"state_dict": respelled, "epoch": 3}):
        with torch.no_grad():
            for parameter in supernet.parameters():
                parameter.zero_()
        supernet.load_state_dict(wrapped)
        for key, value in supernet.state_dict().items():
            assert torch.equal(value, weights[key]), key


def test_wrong_weights_are_refused_in_clear_words() -> None:
    supernet = pnag.Supernet(0.1, 3)
    weights = supernet.state_dict()
    stem = "first_conv.conv.weight"
    cases = [
        ({k: v for k, v in weights.items() if k != stem}, f"lacks 1 weight.*{stem}"),
        ({**weights, "extra": torch.zeros(1)}, "unexpected 1 weight.*extra"),
        ({**weights, "epoch": 3}, "'epoch'.*int"),
        ({"state_dict": 3}, "holds a int"),
        ({**weights, "blocks.1.conv.inverted_bottleneck.bn.bias": torch.zeros(8)}, "twice"),
        (pnag.Supernet(0.35, 3).state_dict(), r"of width 0\.35.*Supernet\(width_mult=0\.35, num"),
        (pnag.Supernet(0.1, 7).state_dict(), r"7 classes.*num_classes=7\)"),
        ({**weights, stem: torch.zeros(8, 3, 5, 5)}, rf"{stem}.*\(8, 3, 3, 3\).*\(8, 3, 5, 5\)"),
        ({**weights, stem: torch.zeros(9, 3, 3, 3)}, "no width multiplier"),
    ]
    for wrong, words in cases:
        with pytest.raises(PnagError, match=words):
            supernet.load_state_dict(wrong)
    result = supernet.load_state_dict({stem: weights[stem], "extra": torch.zeros(1)}, strict=False)
    assert result.unexpected_keys == ["extra"] and len(result.missing_keys) > 400


@pytest.mark.parametrize("width_mult", [0.1, 0.35, 1.0, 1.2, 0.123])
def test_width_and_classes_are_read_off_the_weights(width_mult: float) -> None:
    with torch.device("meta"):
        weights = pnag.Supernet(width_mult, 7).state_dict()
        found, classes = width_and_classes(weights)
        again = pnag.Supernet(found, classes).state_dict()
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in again.items()}
    if width_mult != 0.123:  # 0.12 gives the same channels
        assert found == width_mult
