"""ImageNet top-1 at several resolutions by the shipped predictors."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

import pnag
from pnag import Architecture, SearchSpace, imagenet_top1
from pnag.errors import PnagError
from pnag.imagenet import AT_224, AT_OTHERS, ROWS
from pnag.search.predictor import Predictor

SPACE = SearchSpace()
FACTS = Path(__file__).resolve().parents[1].parent / "shared" / "facts"
SMALLEST = f"2,2,2,2,2:{','.join(['3,3,0,0'] * 5)}:{','.join(['3,3,0,0'] * 5)}"
LARGEST = f"4,4,4,4,4:{','.join(['7'] * 20)}:{','.join(['6'] * 20)}"
MIDDLE = f"3,3,3,3,3:{','.join(['3,5,7,0'] * 5)}:{','.join(['6,4,3,0'] * 5)}"
SOME = [SMALLEST, MIDDLE, LARGEST]


@pytest.mark.parametrize(
    ("resolution", "top1"),
    [
        (128, [0.64224, 0.69023, 0.71050]),
        (160, [0.68377, 0.72910, 0.74601]),
        (192, [0.70187, 0.74743, 0.76413]),
        (224, [0.70643, 0.75832, 0.77469]),
    ],
)
def test_predictions_stay_what_they_are(resolution: int, top1: list[float]) -> None:
    predicted = imagenet_top1(SOME, resolution)
    assert predicted.shape == (3,) and predicted.dtype == np.float64
    assert predicted == pytest.approx(top1, abs=2e-5)


def test_224_pixels_is_what_is_asked_by_default_and_the_search_predictor_answers() -> None:
    tokens = SPACE.sample(50, np.random.default_rng(0))
    predicted = Predictor.load(AT_224, SPACE).predict(tokens)
    assert np.array_equal(imagenet_top1(tokens), predicted)
    assert np.array_equal(imagenet_top1(tokens, 224), predicted)


@pytest.mark.parametrize("resolution", [128, 160, 192, 224])
def test_texts_objects_and_tokens_are_alike(resolution: int) -> None:
    tokens = SPACE.sample(20, np.random.default_rng(1))
    texts = SPACE.text(tokens)
    by_tokens = imagenet_top1(tokens, resolution)
    assert imagenet_top1(texts, resolution) == pytest.approx(by_tokens, abs=1e-9)
    objects = [Architecture.parse(text) for text in texts]
    assert imagenet_top1(objects, resolution) == pytest.approx(by_tokens, abs=1e-9)
    assert imagenet_top1(tokens.astype(np.int64), resolution) == pytest.approx(by_tokens, abs=1e-9)
    assert imagenet_top1(texts[0], resolution) == pytest.approx(by_tokens[:1], abs=1e-6)
    assert imagenet_top1(objects[0], resolution) == pytest.approx(by_tokens[:1], abs=1e-6)
    assert imagenet_top1([], resolution).shape == (0,)
    assert imagenet_top1(tokens[:0], resolution).shape == (0,)


def test_many_rows_are_what_they_are_one_part_at_a_time() -> None:
    tokens = SPACE.sample(2 * ROWS + 3, np.random.default_rng(2))
    together = imagenet_top1(tokens, 160)
    for start in (0, ROWS - 1, 2 * ROWS):
        own = imagenet_top1(tokens[start : start + 3], 160)
        assert own == pytest.approx(together[start : start + 3], abs=1e-12)


def test_a_network_sees_more_in_larger_images_and_ranks_much_alike() -> None:
    tokens = SPACE.sample(2000, np.random.default_rng(3))
    each = [imagenet_top1(tokens, resolution) for resolution in (128, 160, 192, 224)]
    for smaller, larger in pairwise(each):
        assert (smaller < larger).all()
        assert kendalltau(smaller, larger).statistic > 0.85
    for resolution in (128, 160, 192, 224):
        low, _, high = imagenet_top1(SOME, resolution)
        uniform = imagenet_top1(tokens, resolution)
        assert low < uniform.min() and uniform.max() < high


@pytest.mark.parametrize("resolution", [0, 144, 223, 256, 160.5, "160", None])
def test_a_resolution_that_no_predictor_knows_is_named(resolution: int) -> None:
    with pytest.raises(PnagError, match="128, 160, 192, 224") as raised:
        imagenet_top1(SOME, resolution)
    assert repr(resolution) in str(raised.value)


@pytest.mark.parametrize("resolution", [160, 224])
def test_what_is_no_architecture_is_refused(resolution: int) -> None:
    with pytest.raises(PnagError, match="depth of unit 1 must be one of 2, 3, 4, not 5"):
        imagenet_top1(["5" + SMALLEST[1:]], resolution)
    with pytest.raises(PnagError, match=r"must have the shape \(N, 45\)"):
        imagenet_top1(np.zeros((2, 44), np.int8), resolution)
    with pytest.raises(PnagError, match=r"row 0: token unit1\.depth must be .*, not 3"):
        imagenet_top1(np.full((1, 45), 3), resolution)
    with pytest.raises(PnagError, match="leave out @"):
        imagenet_top1([f"{SMALLEST}@160"], resolution)


def test_the_package_offers_it_and_its_file_is_small() -> None:
    assert "imagenet_top1" in pnag.__all__ and "imagenet_top1" in dir(pnag)
    assert AT_OTHERS.stat().st_size < 1_000_000


@pytest.mark.skipif(not FACTS.exists(), reason=f"the published figures are not at {FACTS}")
@pytest.mark.parametrize("resolution", [128, 160, 192])
def test_published_rows_are_predicted_up_to_the_hardness_of_their_images(resolution: int) -> None:
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_csv(FACTS / "ofa_mbv3_w1.0_imagenet_top1_128_160_192.csv")
    # A GPU judged one quarter of the images; its rows begin where peak activations fall far.
    rows["quarter"] = (rows.peak_activation_elements.diff() < -400_000).cumsum()
    assert rows.quarter.nunique() == 4
    part = rows[rows.resolution == resolution]
    error = imagenet_top1(part.arch, resolution) * 100 - part.top1
    assert abs(error.groupby(part.quarter).mean().mean()) < 0.05  # the four are all images
    # Fitted to these rows; the model card has the cross-validated figures.
    assert (error - error.groupby(part.quarter).transform("mean")).abs().mean() < 0.17
    taus = [
        kendalltau(error[own.index] + own.top1, own.top1).statistic
        for _, own in part.groupby("quarter")
    ]
    assert np.mean(taus) > 0.84
