"""Settings refuse what cannot be meant, and say what weights depend on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pnag.supernet.settings import (
    ADAPTING,
    ADAPTING_ONE,
    VARIED,
    Augmentation,
    FinetuneFit,
    FinetuneSettings,
    FitSettings,
    SupernetSettings,
    adapted,
    suited_to,
)


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


def test_images_vary_more_where_epochs_are_many() -> None:
    assert suited_to(ADAPTING, 19, 1000) == ADAPTING != suited_to(ADAPTING, 20, 1000)
    assert suited_to(ADAPTING_ONE, 20, 1000) == replace(ADAPTING_ONE, augment=VARIED)
    assert suited_to(replace(ADAPTING, batch_size=32), 20, 1000).augment == VARIED
    own = replace(ADAPTING, learning_rate=1e-4)
    for fit in (own, FitSettings()):
        assert suited_to(fit, 50, 1000) == suited_to(fit, 5, 50_000) == fit


def test_the_rate_falls_to_nothing_where_images_are_many() -> None:
    annealed = {"last_rate": 0.0, "averaged": 0.0, "learning_rate": 1e-3}
    for epochs in (0.5, 3, 19):
        assert suited_to(ADAPTING, epochs, 20_000) == replace(ADAPTING, **annealed)
        assert suited_to(ADAPTING_ONE, epochs, 50_000) == replace(ADAPTING_ONE, **annealed)
    assert suited_to(ADAPTING, 19, 5000) == suited_to(ADAPTING, 19, 5000, "tuned") == ADAPTING
    assert suited_to(ADAPTING, 20, 50_000, "tuned") == replace(ADAPTING, augment=VARIED)


def test_what_was_tuned_at_another_resolution_goes_on_at_half_the_rate() -> None:
    fresh, first, then = (
        suited_to(ADAPTING_ONE, 3, 50_000, begun) for begun in ("elsewhere", "supernet", "tuned")
    )  # type: ignore[arg-type]
    assert then == replace(fresh, learning_rate=fresh.learning_rate / 2, kept=0.15)
    assert first == replace(fresh, kept=0.3) and fresh.kept == 0
    own = replace(ADAPTING_ONE, learning_rate=1e-4)
    assert suited_to(own, 3, 50_000, "tuned") == suited_to(own, 3, 50_000, "supernet") == own
    assert suited_to(ADAPTING, 3, 50_000, "supernet") == suited_to(ADAPTING, 3, 50_000)


def test_less_memory_does_not_change_how_trained_weights_are_adapted() -> None:
    part = FitSettings(epochs=3, batch_size=32, accumulate=2)
    assert adapted(part, ADAPTING) == replace(ADAPTING, epochs=3, batch_size=32, accumulate=2)
    assert adapted(FinetuneFit(), ADAPTING_ONE) == ADAPTING_ONE
    own = FitSettings(weight_decay=0.1)
    assert adapted(own, ADAPTING) == own
