"""The recipes that ship are read, and mean what the paper says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnag.errors import PnagError
from pnag.run.recipe import load_recipe, make_recipe

PAPER = Path(__file__).parents[2] / "recipes" / "paper.yaml"


def test_the_papers_settings() -> None:
    values = load_recipe(PAPER)
    images = values.pop("images")
    recipe = make_recipe(values)
    assert (recipe.architectures, recipe.trained_budgets, recipe.rounds) == (16_000, 10, 0)
    assert recipe.supernet.method == "progressive"
    evaluator, generator = recipe.evaluator, recipe.generator
    assert (evaluator.hidden, evaluator.embedding, evaluator.steps) == (512, 64, 250)
    assert (evaluator.learning_rate, evaluator.final_learning_rate) == (0.1, 1e-3)
    assert (generator.iterations, generator.samples, generator.learning_rate) == (120_000, 1, 3e-4)
    assert generator.entropy == generator.final_entropy == 1e-3
    assert not (evaluator.jitter or generator.jitter or generator.scale_rewards)
    assert generator.clip is None and generator.refine_steps == 0
    assert not recipe.front.table and recipe.front.rounds == recipe.vectors.rounds == 0
    on_images = make_recipe(values | {"source": "images", "images": images | {"source": "x"}})
    assert on_images.images is not None and on_images.images.classes == 100
    assert (on_images.images.epochs, on_images.images.finetune_epochs) == (90, 75)
    assert (on_images.images.architectures, on_images.images.shared) == (16_000, 1)


def test_budgets_count_once_and_have_files_of_their_own() -> None:
    assert make_recipe({"budgets": [40, 30, 40.0]}).budgets == (40, 30)
    assert len(make_recipe({"budgets": [30.0001, 30.0002]}).budgets) == 2
    with pytest.raises(PnagError, match=r"budgets.*30\.00001 and 30\.00002 .*called pnag-30;"):
        make_recipe({"budgets": [20, 30.00001, 30.00002]})
