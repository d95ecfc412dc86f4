"""What a supernet starts from: weights arrive, their normalisation holds, mistakes are told."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from small_runs import call
from stopped_runs import stop_at

import pnag
from pnag.errors import PnagError
from pnag.families import family
from pnag.families.supernet import Supernet
from pnag.images.images import load_images
from pnag.run.recipe import ImagesRecipe, make_recipe
from pnag.run.start import Start, find_start
from pnag.run.suited_resolutions import (
    ENOUGH_STEPS,
    affordable,
    suited_resolutions,
    usual_resolutions,
)
from pnag.supernet.phases import LARGEST_ALONE

MODEL = "mobilenetv3_small_100"


@pytest.fixture(scope="module")
def timm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / f"{MODEL}.safetensors"
    save_file(timm.create_model(MODEL, num_classes=7).state_dict(), path)
    return path


def start(**given: Any) -> Start:
    told: list[str] = []
    found = find_start(ImagesRecipe(source="digits", **given), told.append)
    assert not told
    return found


def test_starts_know_family_weights_and_normalisation(timm_file: Path, tmp_path: Path) -> None:
    scratch = start(start="scratch", width_mult=0.5)
    assert (scratch.weights, scratch.families) == (None, ("ofa-mobilenetv3-w0.5",))
    of_timm = start(start=f"timm/{MODEL}", weights=timm_file)
    assert of_timm.families == (f"timm/{MODEL}",) and of_timm.weights == timm_file
    assert of_timm.mean == pytest.approx((0.485, 0.456, 0.406))
    assert start(start=f"timm/{MODEL}", weights=timm_file).identity == of_timm.identity
    # A checkpoint in Once-for-All's spelling.
    torch.manual_seed(1)
    published = Supernet(0.1, 12)
    spelled = {k.replace(".conv.conv.", ".conv."): v for k, v in published.state_dict().items()}
    torch.save({"state_dict": spelled}, tmp_path / "ofa")
    own = start(start=str(tmp_path / "ofa"))
    assert own.families == ("ofa-mobilenetv3-w0.1",)
    adapted = family(own.families[0]).supernet(4, own.weights)
    body = [name for name in published.state_dict() if not name.startswith("classifier.")]
    assert len(body) > 300 and adapted.num_classes == 4
    for name in body:
        assert torch.equal(adapted.state_dict()[name], published.state_dict()[name])


def test_without_a_network_the_default_says_what_to_fetch_and_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNAG_CACHE", str(tmp_path))
    told: list[str] = []
    found = find_start(ImagesRecipe(source="digits"), told.append)
    assert found.weights is None and len(found.families) == 5
    assert "ofa_mbv3_d234_e346_k357_w1.0" in told[0] and str(tmp_path) in told[0]
    assert "starts from fresh weights" in told[0] and "--start timm/" in told[0]


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"family": f"timm/{MODEL}@96,128"}, {"resolutions": (96, 128)}),
        ({"start": f"timm/{MODEL}@96,128"}, {"resolutions": (96, 128)}),
        (dict.fromkeys(("start", "family"), f"timm/{MODEL}@96"), {"resolutions": (96,)}),
        ({"family": "ofa-mobilenetv3-w0.50@64,96"}, {"resolutions": (64, 96), "width_mult": 0.5}),
        ({"start": "folder@here"}, {"start": "folder@here"}),
    ],
)
def test_what_a_name_says_is_what_the_options_say(
    given: dict[str, Any], same: dict[str, Any]
) -> None:
    recipe = ImagesRecipe(source="digits", **given)
    named = {name: value.partition("@")[0].partition("-w")[0] for name, value in given.items()}
    assert recipe == ImagesRecipe(source="digits", **named | same)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"family": "timm/x@96", "resolution": 64}, "says resolutions, and resolution is 64"),
        ({"family": "timm/x@96", "resolutions": (64,)}, "says resolutions, and resolutions is"),
        ({"family": "ofa-mobilenetv3-w0.5", "width_mult": 0.35}, "width-mult is 0.35; give one"),
        ({"family": "timm/x@small"}, "resolutions.0 is 'small'"),
    ],
)
def test_a_name_and_an_option_that_say_different_things(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(PnagError, match=message):
        make_recipe({"source": "images", "images": {"source": "digits", **given}})


def test_weights_of_any_torch_file_are_told_as_foreign(tmp_path: Path) -> None:
    torch.save({0: torch.zeros(3)}, tmp_path / "odd.pt")
    with pytest.raises(PnagError, match="weights of another network"):
        start(start=f"timm/{MODEL}", weights=tmp_path / "odd.pt")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"width_mult": 0.5}, "none are published for width 0.5, only for 1 and 1.2"),
        ({"family": "ofa-mobilenetv3-w0.5"}, "none are published for width 0.5"),
        ({"family": "ofa-mobilenetv3-w1.2"}, "ofa_mbv3_d234_e346_k357_w1.2"),
    ],
)
def test_what_starts_afresh_though_it_was_not_asked_to_says_so(
    asked: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNAG_CACHE", str(tmp_path))
    told: list[str] = []
    found = find_start(ImagesRecipe(source="digits", **asked), told.append)
    assert found.weights is None and len(found.families) == 1
    assert "starts from fresh weights" in told[0] and message in told[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": "published"}, "PNAG_OFFLINE.*ofa_mbv3"),
        ({"start": "published", "width_mult": 0.5}, "weights are published only for 1 and 1.2"),
        (
            {"start": "published", "family": f"timm/{MODEL}@64,96"},
            f"--family is timm/{MODEL}; leave",
        ),
        ({"start": "timm/efficientnet_lite0"}, r"huggingface.co/timm/efficientnet_lite0.ra_in1k"),
        ({"start": "timm/efficientnet_lite2"}, "timm publishes no weights for efficientnet_lite2"),
        ({"start": "timm/efficientnet_lite"}, "there is timm/efficientnet_lite"),
        ({"start": "timm/resnet18"}, "timm's ResNet"),
        ({"start": "nowhere"}, "there is no start 'nowhere': give published, timm/NAME"),
        ({"start": "{cut}"}, "cut.safetensors"),
        ({"start": "{foreign}"}, "these weights are not of a supernet"),
        ({"start": f"timm/{MODEL}", "weights": "{foreign}"}, "weights of another network"),
        ({"start": f"timm/{MODEL}", "weights": "{cut}"}, "cut.safetensors: damaged"),
        ({"weights": "{file}"}, "name it with --start timm/NAME"),
        ({"start": "{file}", "weights": "{file}"}, "--start timm/NAME"),
        (
            {"start": f"timm/{MODEL}", "weights": "{file}", "family": "ofa-mobilenetv3"},
            "--family is ofa-mobilenetv3",
        ),
        (
            {"start": f"timm/{MODEL}", "weights": "{file}", "width_mult": 0.5},
            "has one width; leave it out",
        ),
    ],
)
def test_starts_that_cannot_be_had_are_told(
    given: dict[str, str],
    message: str,
    timm_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PNAG_CACHE", str(tmp_path / "cache"))
    cut, foreign = tmp_path / "cut.safetensors", tmp_path / "foreign.safetensors"
    cut.write_bytes(timm_file.read_bytes()[:10_000])
    save_file({"weight": torch.zeros(3)}, foreign)
    named = {"cut": cut, "foreign": foreign, "file": timm_file}
    values = {
        name: value.format(**named) if isinstance(value, str) else value
        for name, value in given.items()
    }
    with pytest.raises(PnagError, match=message):
        start(**values)


def test_resolutions_suit_the_budgets() -> None:
    of = family(f"timm/{MODEL}")

    def milliseconds(arch: Any, of: Any, resolution: int) -> float:
        return of.count(arch, resolution).macs / 1e7

    full = [milliseconds(of.largest, of, pixels) for pixels in (64, 96, 160)]
    assert suited_resolutions(full, of, 224, milliseconds) == (64, 96, 160)
    assert suited_resolutions(full[1:2], of, 224, milliseconds) == (96,)
    assert suited_resolutions([1000.0], of, 224, milliseconds) == (224,)
    with pytest.raises(PnagError, match=r"no network of timm/\w+ is within 0\.001"):
        suited_resolutions([0.001, 5.0], of, 224, milliseconds)


@pytest.mark.parametrize(
    ("speed", "scatter"), [(1.0, 0.05), (1.0, 0.1), (1.04, 0.05), (0.92, 0.05)]
)
def test_resolutions_hardly_depend_on_how_busy_the_machine_is(speed: float, scatter: float) -> None:
    """Budgets are what the largest network takes at five of them, timed in other minutes."""
    of = family(f"timm/{MODEL}")
    wanted = {64, 80, 96, 128, 160}
    budgets = [of.count(of.largest, pixels).macs / 1e7 + 0.1 for pixels in sorted(wanted)]

    def found(seed: int) -> tuple[int, ...]:
        rng = np.random.default_rng(seed)
        known: dict[tuple[str, int], float] = {}

        def milliseconds(arch: Any, of: Any, resolution: int) -> float:
            asked = str(arch), resolution
            time = speed * (of.count(arch, resolution).macs / 1e7 + 0.1)
            return known.setdefault(asked, time * np.exp(rng.normal(0, scatter)))

        return suited_resolutions(budgets, of, 224, milliseconds)

    assert sum(wanted <= set(found(seed)) for seed in range(40)) >= 30
    assert max(len(found(seed)) for seed in range(40)) <= 6


def test_the_largest_network_is_trained_at_the_middle_resolution() -> None:
    def middle(resolutions: str) -> tuple[int, ...]:
        return LARGEST_ALONE.drawn_resolutions(family(f"timm/{MODEL}@{resolutions}").space)

    assert middle("64,80,96,128,160") == middle("64,80,96,128,160,176") == (96,)
    assert middle("64,96,128,144") == (96,) and middle("64,96") == (96,)
    assert middle("64") == (64,)


def test_what_the_minutes_do_not_suffice_for_is_left_out() -> None:
    def kept(*resolutions: int, limit: int) -> tuple[int, ...]:
        """Where a step at `limit` pixels takes as long as the minutes allow."""
        longest = 60 * 20 / ENOUGH_STEPS
        return affordable(resolutions, 20, lambda pixels: longest * (pixels / limit) ** 2)

    assert kept(64, 80, 96, limit=96) == (64, 80, 96)
    assert kept(64, 80, 128, 160, limit=112) == (64, 80, 112)  # the nearest that can be had
    assert kept(64, 80, 128, limit=81) == (64, 80)
    assert kept(64, 128, limit=50) == (64,)  # something is trained in any case
    assert kept(72, 90, limit=90) == (72, 90)  # of a user's own ladder
    assert usual_resolutions(32, 224)[-1] == 96 and usual_resolutions(500, 224)[-1] == 224
    assert len(usual_resolutions(500, 224)) <= 6


def test_a_run_from_timms_weights_at_several_resolutions(
    timm_file: Path, recipe: Path, stub: str, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "run"
    options = f"--images digits --classes 4 --start timm/{MODEL} --resolutions 32,64 --epochs 4"
    options += " --finetune-epochs 2 --architectures 40 --rounds 1 --per-round 5 --runtime stub"
    options += " --train-in-rounds"
    command = ["run", "--out", out, "--weights", timm_file, "--recipe", recipe, *options.split()]
    done = call(*command, "--json")
    assert done.exit_code == 0, done.stderr
    answers = json.loads(done.stdout)["answers"]
    table = pd.read_parquet(out / "table.parquet")
    of = family(f"timm/{MODEL}@32,64")
    assert set(table["arch"].str.rpartition("@")[2]) == {"32", "64"}
    costs = {a: pnag.family(of.name).count(a, num_classes=4).macs for a in table["arch"]}
    assert table["macs"].tolist() == list(costs.values())
    assert {a["arch"].rpartition("@")[2] for a in answers} <= {"32", "64"}
    for answer in answers[:: len(answers) - 1]:
        pixels = of.parse(answer["arch"]).resolution
        session = onnxruntime.InferenceSession(out / answer["onnx"])
        assert session.get_inputs()[0].shape == [1, 3, pixels, pixels]
        data = load_images("digits", resolution=pixels, cache=out / "images", classes=4)
        beside = out / answer["onnx"].replace(".onnx", ".preprocessing.json")
        how = json.loads(
            (beside if beside.exists() else out / "models/preprocessing.json").read_text()
        )
        assert how["resolution"] == pixels
        assert how["mean"] == pytest.approx([0.485, 0.456, 0.406])
        mean, std = (np.float32(how[name])[:, None, None] for name in ("mean", "std"))
        inputs = (data.test.images.astype(np.float32) / 255 - mean) / std
        found = [session.run(None, {"images": image[None]})[0].argmax() for image in inputs]
        hits = np.mean(np.array(found) == data.test.labels)
        assert hits == pytest.approx(answer["test_top1"], abs=0.005)
        assert answer["cost"] <= answer["budget"]
    # Killed in both trainings and resumed, it ends with the same weights.
    twin = tmp_path / "twin"
    command[2] = twin
    for file in (
        "supernet/*.checkpoint.safetensors",
        "supernet/round-*.checkpoint.safetensors",
        "supernet_of_rounds.safetensors",
        "finetuned/*.checkpoint.safetensors",
    ):
        said = stop_at(command, signal.SIGKILL, twin, file, tmp_path / "said")
        assert list(twin.glob(file)) and "Traceback" not in said, said
    done = call(*command)
    assert done.exit_code == 0, done.stderr
    networks = [f"models/{Path(answer['onnx']).stem}.safetensors" for answer in answers]
    for file in ("supernet.safetensors", "supernet_of_rounds.safetensors", *networks):
        found, expected = load_file(twin / file), load_file(out / file)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
    assert table.equals(pd.read_parquet(twin / "table.parquet"))
    command[2] = out
    # The round has trained the supernet, and then judged all of the table with its weights.
    before, after = (load_file(out / f"supernet{end}.safetensors") for end in ("", "_of_rounds"))
    assert sum(not torch.equal(before[name], after[name]) for name in before) > 100
    rows = [pd.read_csv(path) for path in (out / "collected").glob("*.csv")]
    assert sorted(map(len, rows)) == [35, 40]
    last = max(rows, key=len).set_index("arch")["accuracy"]
    assert table["accuracy"].tolist() == last[table["arch"]].tolist()
    # The largest network's tuning began with the weights of its own phase.
    first = next(path for path in (out / "supernet").glob("1-largest-*"))
    alone, begun = load_file(first), load_file(out / "supernet" / "largest.safetensors")
    assert all(torch.equal(alone[name], begun[name]) for name in alone | begun)
    # Its supernet is a start itself, of other classes and at another resolution.
    again = start(start=str(out))
    assert again.families == (f"timm/{MODEL}",) and again.mean == of_images(how)
    adapted = family(f"timm/{MODEL}").supernet(10, again.weights)
    name = "network.blocks.1.0.conv_pw.weight"
    assert torch.equal(adapted.state_dict()[name], after[name])
    # Nothing is done again, and one answer goes into another format.
    repeated = call(*command, "--json")
    assert repeated.exit_code == 0 and "training the supernet" not in repeated.stderr
    done = call("export", out, "--to", "timm", "--out", tmp_path / "timm")
    assert done.exit_code == 0, done.output
    # Some hundred images leave too much doubt for another answer than the largest network.
    before = json.loads((out / "plan" / "tuning_order.json").read_text())
    done = call(*command, "--budgets", "100000", "--json")
    assert done.exit_code == 0, done.stderr
    # What was tuned for the first budgets stays as it is.
    after = json.loads((out / "plan" / "tuning_order.json").read_text())
    assert after["networks"] == before["networks"] and before["begins"]
    assert after["begins"].items() >= before["begins"].items()
    assert [a["arch"] for a in json.loads(done.stdout)["answers"]] == [f"{of.largest}"]


def of_images(how: dict[str, Any]) -> Any:
    return pytest.approx(tuple(how["mean"]))


COUNTS = "--epochs 2 --finetune-epochs 1 --architectures 20 --rounds 1 --per-round 2"


@pytest.mark.parametrize(
    ("start", "counts"),
    [("scratch --width-mult 0.1", COUNTS), ("timm", COUNTS), ("timm", "--epochs 2 --minutes 0.1")],
)
def test_a_finished_run_s_recipe_can_be_given_again(
    start: str, counts: str, timm_file: Path, recipe: Path, stub: str, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    out, again = tmp_path / "run", tmp_path / "again"
    start = f"timm/{MODEL} --weights {timm_file}" if start == "timm" else start
    options = f"--images digits --classes 3 --start {start} --resolutions 32,64 --runtime stub "
    options += counts
    done = call("run", *options.split(), "--recipe", recipe, "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    answers = json.loads(done.stdout)["answers"]
    assert all(a["arch"].rpartition("@")[2] in ("32", "64") for a in answers)
    assert call("report", out).exit_code == 0
    done = call("run", "--recipe", out / "recipe.yaml", "--out", again, "--json")
    assert done.exit_code == 0, done.stderr
    assert [a["arch"] for a in json.loads(done.stdout)["answers"]] == [a["arch"] for a in answers]
