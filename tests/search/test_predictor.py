"""The predictor on tables with a known answer, its file, and the shipped ImageNet weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from scipy.stats import kendalltau

import pnag
from pnag.families import count_batch, family
from pnag.search.additive import Floats
from pnag.search.predictor import Predictor, PredictorFileError
from pnag.search.predictor_fit import PredictorSettings, fit_predictor
from pnag.space import SearchSpace, Tokens
from pnag.space.search_space import Token

SPACE = SearchSpace()
FACTS = Path(__file__).resolve().parents[2].parent / "shared" / "facts"
WEIGHTS = Path(pnag.__file__).parent / "weights" / "ofa_mbv3_w1.0_imagenet_top1.safetensors"
QUICK = PredictorSettings(members=3, hidden=32, epochs=15, batch=256)

needs_facts = pytest.mark.skipif(
    not FACTS.exists(), reason=f"the published figures are not at {FACTS}"
)


def pair_target(tokens: Tokens) -> Floats:
    """A cost that adds up over layers in (layer, width x kernel)."""
    values = SPACE.values(tokens).reshape(len(tokens), 5, 9).astype(float)
    products = (values[:, :, 1::2] * values[:, :, 2::2]).reshape(len(tokens), 20)
    total = products @ np.linspace(1.0, 2.0, 20)
    return np.asarray(total)


def interacting_target(tokens: Tokens) -> Floats:
    """The additive cost, plus a bonus for two choices of layers in one unit."""
    together = (tokens[:, 1] == 2) & (tokens[:, 6] == 1)
    return np.asarray(pair_target(tokens) / 100 + 0.3 * together)


def sampled(n: int, seed: int) -> Tokens:
    return SPACE.sample_unique(n, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def fitted() -> Predictor:
    rows = sampled(2000, 0)
    return fit_predictor(SPACE, rows, interacting_target(rows))


def test_a_cost_that_adds_up_at_each_resolution_is_recovered(tmp_path: Path) -> None:
    """Multiply-adds grow with the pixels, all layers nearly alike: not one sum over all choices."""
    of = family("ofa-mobilenetv3@128,176,224")
    space = of.space

    def macs(tokens: Tokens) -> Floats:
        return count_batch(of, tokens).macs.astype(float)

    rng = np.random.default_rng(0)
    rows, others = space.sample_unique(2000, rng), space.sample_stretched(1000, rng)
    predictor = fit_predictor(space, rows, macs(rows), settings=QUICK)
    error = np.abs(predictor.predict(others) / macs(others) - 1)
    assert error.mean() < 0.005 and error.max() < 0.03
    predictor.save(tmp_path / "macs.safetensors")
    again = Predictor.load(tmp_path / "macs.safetensors", space)
    assert np.array_equal(again.predict(others), predictor.predict(others))


def test_an_additive_cost_is_recovered_also_at_the_extremes() -> None:
    rows = sampled(3000, 1)
    predictor = fit_predictor(SPACE, rows, pair_target(rows), settings=QUICK)
    smallest = np.zeros((1, 45), np.int8)
    largest = np.full((1, 45), 2, np.int8)
    held = np.concatenate([sampled(500, 2), SPACE.canonical(smallest), largest])
    assert np.abs(predictor.predict(held) / pair_target(held) - 1).max() < 1e-3


def test_of_a_cost_that_adds_up_no_network_is_trained(tmp_path: Path) -> None:
    """The ridge leaves nothing of it, and there is nothing to wait for."""
    epochs: list[int] = []

    def told(done: int, total: int) -> None:
        epochs.append(done)

    rows, others = sampled(3000, 1), sampled(9000, 2)  # more than are predicted at once
    predictor = fit_predictor(SPACE, rows, pair_target(rows), settings=QUICK, progress=told)
    mean = predictor.predict(others)
    assert epochs == [] and predictor.is_ridge_alone and mean.shape == (9000,)
    assert predictor.predict(others[:0]).shape == (0,)
    assert np.abs(mean / pair_target(others) - 1).max() < 1e-3
    predictor.save(tmp_path / "cost.safetensors")
    again = Predictor.load(tmp_path / "cost.safetensors", SPACE)
    assert np.array_equal(again.predict(others), mean)
    fit_predictor(SPACE, rows, interacting_target(rows), settings=QUICK, progress=told)
    assert epochs == [*range(1, QUICK.epochs + 1)]  # where something is left they are


def test_additive_plus_interaction_is_recovered(fitted: Predictor) -> None:
    held = sampled(1000, 3)
    predicted, wanted = fitted.predict(held), interacting_target(held)
    assert kendalltau(predicted, wanted).statistic > 0.98
    assert np.abs(predicted - wanted).mean() < 0.03 * wanted.std()


def test_a_few_hundred_rows_of_another_space_are_enough() -> None:
    tokens = (Token("a", (1, 2, 4)), Token("b", (0, 1)), Token("b.x", (3, 9), 1, 1))
    space = SearchSpace(tokens)
    rows = space.sample(200, np.random.default_rng(0))
    targets = rows.astype(float) @ np.array([1.0, 2.0, 0.5])
    predictor = fit_predictor(space, rows, targets, settings=QUICK)
    assert np.abs(predictor.predict(rows) - targets).max() < 0.05


def test_same_seed_same_predictor_and_torch_is_left_as_it_was() -> None:
    import torch

    rows = sampled(300, 4)
    before = torch.get_rng_state()
    first, second, other = (
        fit_predictor(SPACE, rows, interacting_target(rows), settings=QUICK, seed=seed).predict(
            rows
        )
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, second) and not np.array_equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_saved_and_loaded_is_the_same(fitted: Predictor, tmp_path: Path) -> None:
    fitted.name, fitted.measure = "latency", "ms"
    path = tmp_path / "p.safetensors"
    fitted.save(path)
    loaded = Predictor.load(path, SPACE)
    held = sampled(50, 5)
    assert np.array_equal(loaded.predict(held), fitted.predict(held))
    assert (loaded.name, loaded.measure) == ("latency", "ms")
    assert [p.name for p in tmp_path.iterdir()] == ["p.safetensors"]  # no temporary left


def test_the_same_predictor_is_the_same_file(fitted: Predictor, tmp_path: Path) -> None:
    fitted.save(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert len(file.metadata()) == 1  # several would be written in a random order


@pytest.mark.parametrize("keep", [0, 7, 200, 0.5, 0.99])
def test_a_truncated_file_is_a_clear_error(fitted: Predictor, tmp_path: Path, keep: float) -> None:
    path = tmp_path / "p.safetensors"
    fitted.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match="cannot read the predictor"):
        Predictor.load(path, SPACE)


def test_foreign_files_are_clear_errors(fitted: Predictor, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": np.zeros(3)}, foreign)
    with pytest.raises(PredictorFileError, match="not a predictor"):
        Predictor.load(foreign, SPACE)
    own = tmp_path / "own.safetensors"
    fitted.save(own)
    with pytest.raises(ValueError, match="another search space"):
        Predictor.load(own, SearchSpace(SPACE.tokens[:9]))
    with pytest.raises(ValueError, match="cannot read"):
        Predictor.load(tmp_path / "missing.safetensors", SPACE)


def test_shipped_weights_are_sane_at_the_extremes_and_small() -> None:
    shipped = Predictor.load(WEIGHTS, SPACE)
    assert WEIGHTS.stat().st_size < 2_000_000
    smallest = SPACE.canonical(np.zeros((1, 45), np.int8))
    largest = np.full((1, 45), 2, np.int8)
    low, high = shipped.predict(np.concatenate([smallest, largest]))
    uniform = shipped.predict(sampled(500, 6))
    assert 0.69 < low < 0.7175  # the cheapest published rows are larger and have 71.75 %
    assert 0.770 < high <= 0.7747 + 0.0011  # the best published row has 77.466 %
    assert low < uniform.min() and uniform.max() < high


def published() -> tuple[Tokens, Floats, Floats]:
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_csv(FACTS / "ofa_mbv3_w1.0_imagenet_top1.csv")
    return SPACE.encode(rows.arch), rows.top1.to_numpy() / 100, rows.macs.to_numpy().astype(float)


@needs_facts
def test_shipped_weights_reproduce_the_published_rows() -> None:
    tokens, top1, _ = published()
    predicted = Predictor.load(WEIGHTS, SPACE).predict(tokens)
    # Fitted to these rows; the model card has the cross-validated figures.
    assert kendalltau(predicted, top1).statistic > 0.97
    assert np.abs(predicted - top1).mean() < 0.0004


@needs_facts
@pytest.mark.parametrize("limit", [136e6, 140e6, 178e6, 300e6, 600e6])
def test_a_search_finds_nothing_credited_beyond_the_published(limit: float) -> None:
    tokens, top1, macs = published()
    shipped = Predictor.load(WEIGHTS, SPACE)
    order = np.argsort(macs)
    best = np.maximum.accumulate(top1[order])
    rng = np.random.default_rng(0)
    population = tokens[macs <= limit]
    worst = -1.0
    for _ in range(12):
        own = count_batch(family(), population).macs
        population, own = population[own <= limit], own[own <= limit]
        scores = shipped.predict(population)
        place = np.searchsorted(macs[order], own, side="right") - 1
        known = place >= 0  # below the cheapest published row there is nothing to hold against
        worst = max(worst, float((scores[known] - best[place[known]]).max()))
        population = population[np.argsort(-scores)[:100]]
        parents = population[rng.integers(len(population), size=(2, 200))]
        children = SPACE.crossover(parents[0], parents[1], rng)
        mutants = SPACE.mutate(parents[0], 0.05, rng)
        population = np.unique(np.concatenate([population, children, mutants]), axis=0)
    assert worst <= 0.0011


@needs_facts
def test_the_ceiling_line_stays_below_the_staircase() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
    try:
        from fit_imagenet_predictor import below_staircase
    finally:
        sys.path.pop(0)
    _, top1, macs = published()
    knots, values = below_staircase(macs, top1)
    grid = np.unique(np.concatenate([np.linspace(macs.min(), 6e8, 20_000), macs, macs - 1]))
    grid = grid[grid >= macs.min()]
    order = np.argsort(macs)
    best = np.maximum.accumulate(top1[order])
    stairs = best[np.searchsorted(macs[order], grid, side="right") - 1]
    assert (np.diff(knots) > 0).all()
    assert (np.interp(grid, knots, values) <= stairs + 1e-12).all()
