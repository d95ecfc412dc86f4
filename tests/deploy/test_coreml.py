"""Core ML packages: what was converted is read back and computed, operation by operation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.deploy.export import export_checked
from pnag.errors import PnagError

pytest.importorskip("coremltools", reason="needs the extra coreml")
SHAPE = (1, 3, 17, 17)


class Many(nn.Module):
    """Operations of today's small networks that Once-for-All's lack."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, padding="valid")
        self.deep = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.randn(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.stem(F.pad(x, (0, 1, 2, 1))))
        x = F.max_pool2d(x, 3, 2, 1) * self.scale + F.avg_pool2d(x, 3, 2, 1)
        left, right = F.silu(self.deep(x)).chunk(2, 1)
        x = torch.cat([right, left.sigmoid()], 1)[:, :, 1:, :-1]
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        attention = (tokens @ tokens.transpose(1, 2) / 3).softmax(-1)
        logits: Tensor = self.head((attention @ tokens).mean(1))
        return logits.clamp(-2, 2) - F.hardswish(logits)


def test_each_operation_computes_as_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    package = tmp_path / "many.mlpackage"
    assert export_checked(Many(), package, SHAPE[-1], "coreml") < 1e-5
    inside = sorted(str(f.relative_to(package)) for f in package.rglob("*") if f.is_file())
    data = "Data/com.apple.CoreML"
    assert inside == [f"{data}/model.mlmodel", f"{data}/weights/weight.bin", "Manifest.json"]


def test_weights_that_were_changed_on_the_way_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import coremltools

    convert = coremltools.convert

    def others(network: object, **options: object) -> object:
        return convert(torch.jit.trace(Many().eval(), torch.zeros(SHAPE)), **options)

    monkeypatch.setattr(coremltools, "convert", others)
    with pytest.raises(PnagError, match="outputs differ from torch's"):
        export_checked(Many(), tmp_path / "a.mlpackage", SHAPE[-1], "coreml")
    assert not list(tmp_path.iterdir())


def test_a_program_in_16_bits_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import coremltools

    convert = coremltools.convert

    def rounded(network: object, **options: object) -> object:
        return convert(network, **options | {"compute_precision": coremltools.precision.FLOAT16})

    monkeypatch.setattr(coremltools, "convert", rounded)
    with pytest.raises(PnagError, match=r"outputs differ from torch's|cannot compute to check"):
        export_checked(Many(), tmp_path / "a.mlpackage", SHAPE[-1], "coreml")
    assert not list(tmp_path.iterdir())


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)).sin()


def test_an_operation_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(PnagError, match="the operation sin, which pnag cannot compute"):
        export_checked(Sine(), tmp_path / "a.mlpackage", 17, "coreml")


def test_a_network_that_cannot_be_converted(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x).mean((2, 3))

    with pytest.raises(PnagError, match=r"coremltools .* cannot convert this network .*bessel"):
        export_checked(Odd(), tmp_path / "a.mlpackage", 17, "coreml")


def test_a_package_of_several_images(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert export_checked(network, tmp_path / "a.mlpackage", 17, "coreml", batch=3) < 1e-5
