"""Settings refuse what cannot be meant, and say what weights depend on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pnag.supernet.settings import Augmentation, FinetuneSettings, FitSettings, SupernetSettings


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (SupernetSettings, "label_smoothing", 2.0),
        (SupernetSettings, "distillation", -1.0),
        (FinetuneSettings, "label_smoothing", -0.1),
        (FinetuneSettings, "distillation", float("inf")),
        (FitSettings, "averaged", -1),
        (FitSettings, "weight_decay", float("inf")),
        (Augmentation, "erase", 3),
        (Augmentation, "colour", 1.5),
        (Augmentation, "mixup", float("nan")),
    ],
)
def test_what_cannot_be_meant_is_refused(kind: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        kind(**{name: value})


def test_only_progressive_shrinking_depends_on_distillation() -> None:
    for method, same in (("sandwich", True), ("progressive", False)):
        settings = SupernetSettings(method)  # type: ignore[arg-type]
        other = replace(settings, distillation=0.5)
        assert (settings.identity() == other.identity()) is same
        assert settings.identity() != replace(settings, label_smoothing=0.2).identity()
