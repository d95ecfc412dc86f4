"""`pnag collect`: judged on images that the supernet was not trained on."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from pnag import Supernet
from pnag.commands.bodies.collect import Asked, collect_table, judged_on
from pnag.cost.block_csv import write_block_csv
from pnag.cost.latency_model import LatencyModel
from pnag.errors import PnagError
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.images.images import ImageData, load_images
from pnag.run.display import Display
from pnag.run.preprocessing import preprocessing_of
from pnag.space import SearchSpace
from pnag.supernet.trained_on import TrainedOn, trained_on
from pnag.supernet.weights import save_described, save_weights

CLASSES, SEED = 4, 7


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(cache: Path) -> ImageData:
    return load_images("digits", resolution=32, cache=cache, classes=CLASSES, seed=SEED)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, data: ImageData) -> Path:
    """Weights as `pnag run` leaves them."""
    path = tmp_path_factory.mktemp("run") / "supernet.safetensors"
    torch.manual_seed(0)
    told = TrainedOn.of(data, CLASSES, SEED, "refuse")
    about = {"trained_on": asdict(told), "preprocessing": preprocessing_of(data)}
    save_described(Supernet(0.1, CLASSES), path, about)
    return path


def test_weights_say_what_they_were_trained_on(own: Path, data: ImageData, tmp_path: Path) -> None:
    assert trained_on(own) == TrainedOn("digits", data.split, CLASSES, SEED, "refuse", 32)
    save_weights(Supernet(0.1, CLASSES), tmp_path / "a.safetensors", "x")
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors")
    torch.save({}, tmp_path / "c")
    assert [trained_on(file) for file in tmp_path.iterdir()] == [None] * 3


def test_the_part_that_judges(own: Path, data: ImageData) -> None:
    told = trained_on(own)
    assert told is not None
    same, note = judged_on(data, None, told)
    assert same is data and not note
    for other, says in (
        (replace(told, split="other", source="F"), "trained on F"),
        (None, "do no"),
    ):
        judged, note = judged_on(data, None, other)
        assert judged.validation is data.test and judged.identity != data.identity
        assert says in note and "test part of digits" in note
        asked, note = judged_on(data, "validation", other)
        assert asked is data and "validation part" in note
    assert judged_on(data, "test", told)[0].validation is data.test


def collected(supernet: Path, out: Path, cache: Path, **options: Any) -> tuple[pd.DataFrame, str]:
    console = Console(record=True, width=500)
    settings: dict[str, Any] = {
        "images": "digits", "resolution": None, "classes": None, "on_corrupt": None, "part": None,
        "architectures": 2, "validation": 50, "workers": 1, "ray_address": None, "seed": 0,
        "cost": [], "precision": None, "shared": None, "max_megapixels": None,
    }  # fmt: skip
    settings |= options
    collect_table(Asked(supernet, out=out, cache=cache, **settings), Display(console))
    return pd.read_csv(out), console.export_text()


def test_the_same_images_are_split_as_in_training(
    own: Path, data: ImageData, cache: Path, tmp_path: Path
) -> None:
    before = set(cache.iterdir())
    table, said = collected(own, tmp_path / "own.csv", cache)
    assert len(table) == 2 and set(cache.iterdir()) == before  # the very images of the run
    assert data.identity in (tmp_path / "own.csv.json").read_text()
    assert "trained" not in said and "do not say" not in said
    unknown = tmp_path / "unknown.safetensors"
    save_weights(Supernet(0.1, CLASSES), unknown, "x")
    _, said = collected(unknown, tmp_path / "unknown.csv", cache, classes=CLASSES, seed=SEED)
    assert "do not say what the supernet was trained on: it is judged on the test part" in said
    with pytest.raises(PnagError, match="another images"):  # rows of one part only
        collected(unknown, tmp_path / "unknown.csv", cache, classes=CLASSES, seed=SEED,
                  part="validation")  # fmt: skip


def test_images_are_not_enlarged_for_architectures_that_choose_larger(
    cache: Path, tmp_path: Path
) -> None:
    elastic = tmp_path / "elastic.safetensors"
    of = ofa(0.1).with_resolutions((32, 64))
    save_described(of.supernet(CLASSES), elastic, {"family": of.name, "num_classes": CLASSES})
    with pytest.raises(PnagError, match=r"--resolution is 48, and .* choose among 32, 64"):
        collected(elastic, tmp_path / "t.csv", cache, resolution=48)


def test_a_collection_takes_a_cost_column_for_each_device(
    own: Path, cache: Path, tmp_path: Path
) -> None:
    size: dict[str, Any] = {"resolution": 32, "num_classes": CLASSES}
    models = [LatencyModel(fixed, np.linspace(0.1, 1, 90), ofa(0.1)) for fixed in (1.0, 2.0)]
    for name, model in zip(("cpu", "phone"), models, strict=True):
        write_block_csv(tmp_path / f"{name}.csv", model, **size)
    costs = [f"{name}={tmp_path / name}.csv" for name in ("cpu", "phone")]
    collected(own, tmp_path / "t.csv", cache)
    rows = (tmp_path / "t.csv").read_bytes()
    for cost in costs:  # one call keeps what another added
        _, said = collected(own, tmp_path / "t.csv", cache, cost=[cost])
    assert "one of its costs: cpu, phone, params, macs, memory" in said
    assert (tmp_path / "t.csv").read_bytes() == rows
    table = pd.read_parquet(tmp_path / "t.parquet")
    tokens = SearchSpace().encode(table["arch"])
    for name, model in zip(("cpu", "phone"), models, strict=True):
        assert np.allclose(table[name], model.predict(tokens), rtol=1e-6)
    _, said = collected(own, tmp_path / "t.csv", cache, cost=costs[:1], architectures=3)
    assert "its columns phone are gone; give them again" in said
    assert "phone" not in pd.read_parquet(tmp_path / "t.parquet").columns
    write_block_csv(tmp_path / "cpu.csv", models[0], **size | {"resolution": 64})
    with pytest.raises(PnagError, match="no operator 'fixed-32x32x3"):
        collected(own, tmp_path / "t.csv", tmp_path / "nothing decoded", cost=costs)
    assert not (tmp_path / "nothing decoded").exists()


def test_rows_keep_their_precision_on_a_cpu_with_another_best_one(
    own: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_a_cpu_for(best: str, **options: Any) -> tuple[list[float], str]:
        with monkeypatch.context() as patched:
            patched.setattr(
                "pnag.supernet.plan.judging_precision", lambda device, wanted: wanted or best
            )
            table, said = collected(own, tmp_path / "t.csv", cache, **options)
        return table["accuracy"].tolist(), said

    first, said = on_a_cpu_for("bfloat16")
    assert "judged in bfloat16" in said
    more, said = on_a_cpu_for("float32", architectures=3)
    assert "judged in bfloat16" in said and more[:2] == first
    with pytest.raises(PnagError, match=r"another settings \(precision bfloat16, now float32\)"):
        on_a_cpu_for("float32", precision="float32")
    _, said = on_a_cpu_for("bfloat16", precision="bfloat16", architectures=3)
    assert "judged in bfloat16" in said
    (tmp_path / "t.csv").unlink()
    (tmp_path / "t.csv.json").unlink()
    assert "judged in float32" in on_a_cpu_for("float32")[1]


def test_architectures_are_drawn_alike_or_each_by_itself(
    own: Path, cache: Path, tmp_path: Path
) -> None:
    space = SearchSpace()
    for shared, groups in ((None, 1), (1, 4)):
        out = tmp_path / f"{shared}.csv"
        collected(own, out, cache, shared=shared, architectures=4)
        tokens = space.encode(pd.read_parquet(out.with_suffix(".parquet"))["arch"])
        assert len(np.unique(tokens[:, :18], axis=0)) == groups  # the first two units


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cost": ["phone.json"]}, "--cost must be NAME=FILE"),
        ({"cost": ["macs=a.csv"]}, "has a column macs already"),
        ({"cost": ["a=a.csv", "a=b.csv"]}, "--cost a=... is given twice"),
        ({"part": "train"}, "--part must be validation or test, not 'train'"),
        ({"precision": "half"}, "--precision must be float32 or bfloat16, not 'half'"),
        ({"on_corrupt": "ignore"}, "--on-corrupt must be refuse or skip, not 'ignore'"),
    ],
)
def test_mistakes(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(PnagError, match=says):
        collected(tmp_path / "no", tmp_path / "t.csv", tmp_path, **options)


def test_another_table_beside_the_rows_is_not_overwritten(tmp_path: Path) -> None:
    other = tmp_path / "t.parquet"
    tables: tuple[tuple[dict[str, list[Any]], str], ...] = (
        ({"user": [1], "sold": [2]}, "without the column arch, accuracy, images"),
        ({"arch": ["x"], "accuracy": [0.5], "ms": [3.0]}, "without the column images"),
    )
    for columns, says in tables:
        pd.DataFrame(columns).to_parquet(other, index=False)
        before = other.read_bytes()
        with pytest.raises(PnagError, match=rf"t\.parquet .*{says}; choose another --out"):
            collected(tmp_path / "no", tmp_path / "t.csv", tmp_path)
        assert other.read_bytes() == before


def test_rows_are_not_overwritten_by_the_table(tmp_path: Path) -> None:
    with pytest.raises(PnagError, match=r"--out is .*t\.parquet; .*choose .*t\.csv"):
        collected(tmp_path / "no", tmp_path / "t.parquet", tmp_path)
    assert not list(tmp_path.iterdir())
