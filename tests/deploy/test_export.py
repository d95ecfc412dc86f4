"""`pnag export`: every format computes as torch does, and its example loads it."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models.mobilenetv3 import MobileNetV3
from typer.testing import CliRunner, Result

import pnag
from pnag.commands.bodies import export as exporting
from pnag.commands.bodies import exportable
from pnag.commands.bodies.exportable import load_supernet, open_run
from pnag.commands.main import app
from pnag.deploy import export as deploy
from pnag.deploy.core_ml_program import run_program
from pnag.deploy.export import TOLERANCE, export_checked, write_example, write_preprocessing
from pnag.deploy.formats import FORMATS, Converted
from pnag.errors import PnagError
from pnag.families import Supernet, build
from pnag.families.registry import from_config
from pnag.images.decode import centre_pixels, to_rgb
from pnag.images.images import ImageData, load_images
from pnag.run.preprocessing import imagenet_preprocessing, preprocessing_of
from pnag.space import Architecture
from pnag.supernet.weights import save_described, save_weights

ARCH = str(Architecture((2,) * 5, (3, 3, 0, 0) * 5, (3, 3, 0, 0) * 5))
OTHER = str(Architecture((2,) * 5, (5, 3, 0, 0) * 5, (3, 4, 0, 0) * 5))
ORIENTATION = 0x112  # of EXIF
PACKAGES = {
    "openvino": "openvino",
    "executorch": "executorch.runtime",
    "litert": "ai_edge_litert",
    "mnn": "MNN",
    "ncnn": "ncnn",
    "coreml": "coremltools",
}


class OnAppleOnly:
    """Stands in for Core ML: computes the program of a package in torch."""

    def __init__(self, package: str) -> None:
        from pnag.deploy.formats.coreml import read_program

        self.program = read_program(Path(package))

    def predict(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"logits": run_program(self.program, torch.from_numpy(given["images"])).numpy()}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def said(result: Result) -> str:
    return " ".join(result.output.split())


@pytest.fixture
def network() -> MobileNetV3:
    torch.manual_seed(0)
    return build(ARCH, 0.25, 10).eval()


@pytest.fixture
def supernet(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "supernet.safetensors"
    save_weights(Supernet(0.25, 10), path, "test")
    return path


@pytest.mark.parametrize("to", FORMATS)
def test_a_format_computes_as_torch_and_its_example_loads_it(
    network: MobileNetV3,
    to: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    if to in PACKAGES:
        pytest.importorskip(PACKAGES[to])
    path = tmp_path / f"pnag-2.5ms{FORMATS[to].suffix}"
    assert export_checked(network, path, 32, to) <= TOLERANCE
    written = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in written) > 1000
    if to == "coreml":  # its examples run on macOS only
        monkeypatch.setattr("coremltools.models.MLModel", OnAppleOnly)
    how = imagenet_preprocessing(32, 10) | {"classes": list("abcdefghij")}
    beside = write_preprocessing(path, how)
    assert beside.name == f"{path.name}.preprocessing.json"
    example = write_example(to, tmp_path)

    # Real images that are not square, so that the example must cut out the middle; one lies on its
    # side and has transparent pixels, one is of 16 bits.
    image = Image.fromarray((digits.images[7] * 15).astype(np.uint8)).resize((48, 40))
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    transparent = image.convert("RGB")
    transparent.putalpha(image)
    transparent.save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(np.asarray(image).astype(np.uint16) * 257).save(tmp_path / "grey.png")
    image.resize((480, 400)).save(tmp_path / "large.jpg")
    mean, std = (np.array(how[name])[:, None, None] for name in ("mean", "std"))
    for name in ("turned.png", "grey.png", "large.jpg"):
        pixels = centre_pixels(to_rgb(Image.open(tmp_path / name)), 32, how["shorter"])
        images = torch.from_numpy(((pixels / 255 - mean) / std).astype(np.float32))[None]
        with torch.no_grad():
            expected = how["classes"][int(network(images).argmax())]
        arguments = [str(example), str(path), str(beside), str(tmp_path / name)]
        monkeypatch.setattr(sys, "argv", arguments)
        # Nothing else of it lives on: of two OpenVINO cores that do not end in reverse order the
        # second puts back the first one's stack for signal handlers, which is freed by then.
        loaded = runpy.run_path(str(example))["images"]
        assert np.abs(loaded - images.numpy()).max() < 1e-5, name
        assert capsys.readouterr().out.strip().splitlines()[-1] == expected


def test_an_example_that_was_edited_stays(tmp_path: Path) -> None:
    path = write_example("onnx", tmp_path)
    path.write_text("mine")
    assert write_example("onnx", tmp_path) == path and path.read_text() == "mine"


def test_a_file_that_computes_something_else_is_not_written(
    network: MobileNetV3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Converted({".onnx": b"wrong"}, lambda images: np.ones((1, 10), np.float32))
    monkeypatch.setattr(deploy, "load_converter", lambda to: lambda network, shape: wrong)
    with pytest.raises(PnagError, match=r"differ from torch's by .* was not written"):
        export_checked(network, tmp_path / "wrong.onnx", 32)
    assert not list(tmp_path.iterdir())


def test_a_stop_between_two_files_leaves_no_pair_of_different_networks(
    network: MobileNetV3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files(content: bytes) -> Converted:
        def run(images: np.ndarray[Any, Any]) -> Any:
            with torch.no_grad():
                return network(torch.from_numpy(images)).numpy()

        return Converted({".xml": content, ".bin": content}, run)

    path = tmp_path / "a.xml"
    monkeypatch.setattr(deploy, "load_converter", lambda to: lambda network, shape: files(b"old"))
    export_checked(network, path, 32)
    beside = write_preprocessing(path, {"mean": "of the old one"})
    monkeypatch.setattr(deploy, "load_converter", lambda to: lambda network, shape: files(b"new"))
    write = deploy.write_bytes

    def stopped(target: Path, content: bytes) -> None:
        write(target, content)
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "write_bytes", stopped)
    with pytest.raises(KeyboardInterrupt):
        export_checked(network, path, 32)
    assert not path.exists() and not beside.exists()
    monkeypatch.setattr(deploy, "write_bytes", write)
    export_checked(network, path, 32)
    assert {file.read_bytes() for file in (path, path.with_suffix(".bin"))} == {b"new"}


def test_an_architecture_has_fresh_weights_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    size = ["--width-mult", 0.25, "--num-classes", 10, "--resolution", 32]
    result = call(ARCH, "--to", "timm", "--out", path, *size)
    assert result.exit_code == 0, result.output
    assert "fresh weights: it predicts nothing until it is trained" in said(result)
    built = from_config(json.loads((tmp_path / "a.json").read_text()))
    built.load_state_dict(load_file(path))
    how = json.loads((tmp_path / "a.safetensors.preprocessing.json").read_text())
    assert (how["resolution"], how["shorter"], len(how["classes"])) == (32, 37, 10)
    assert (tmp_path / "load_timm.py").exists()


def test_weights_of_a_supernet(supernet: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    options = ["--to", "timm", "--out", path, "--weights", supernet, "--resolution", 32]
    result = call(ARCH, *options)
    assert result.exit_code == 0, result.output
    assert "which fit no single subnet" in said(result)
    torch.manual_seed(1)
    expected = Supernet(0.25, 10).subnet(ARCH).state_dict()
    found = load_file(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    result = call(ARCH, *options, "--width-mult", 1.2)
    assert result.exit_code == 2
    assert "--width-mult is 1.2, but the supernet of" in said(result)


def test_batch_norms_measured_on_images(supernet: Path, tmp_path: Path) -> None:
    """They give the logits by which the architecture was judged in a table of accuracies."""
    pytest.importorskip("sklearn")
    from pnag.families import load_checkpoint
    from pnag.images.batches import eval_rows
    from pnag.judging.recalibrate import recalibrate
    from pnag.judging.subnets import Settings, SubnetEvaluator
    from pnag.space import SearchSpace

    data = load_images("digits", resolution=32, cache=tmp_path)
    loaded = load_checkpoint(supernet)
    evaluator = SubnetEvaluator(loaded, data, Settings(validation=20))
    expected = evaluator.logits(SearchSpace().decode(SearchSpace().encode([ARCH]))[0])
    network = loaded.subnet(ARCH)
    recalibrate(network, data)
    (batch,) = eval_rows(data, "validation", evaluator.rows, 20)
    with torch.no_grad():
        actual = network(batch[0])
    assert not network.training
    assert torch.allclose(actual, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.fixture
def digits(tmp_path: Path) -> ImageData:
    pytest.importorskip("sklearn")
    return load_images("digits", resolution=32, cache=tmp_path / "digits")


def export_with(weights: object, out: Path, *options: object) -> tuple[Result, dict[str, Any]]:
    result = call(ARCH, "--to", "timm", "--out", out, "--weights", weights, *options)
    beside = out.with_name(f"{out.name}.preprocessing.json")
    return result, json.loads(beside.read_text()) if result.exit_code == 0 else {}


def test_a_supernets_file_tells_what_goes_in(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it lies, and before the run that trained it has come to an end."""
    own = replace(digits.preprocessing, mean=(0.1, 0.2, 0.3))
    named = replace(digits, preprocessing=own, classes=tuple("abcdefghij"))
    torch.manual_seed(1)
    path = tmp_path / "anywhere.safetensors"
    save_described(Supernet(0.25, 10), path, {"preprocessing": preprocessing_of(named)})
    again = path.read_bytes()
    save_described(
        load_supernet(str(path)).supernet, path, {"preprocessing": preprocessing_of(named)}
    )
    assert path.read_bytes() == again  # stages are reused by their files' hashes

    result, how = export_with(path, tmp_path / "a.safetensors")
    assert result.exit_code == 0, result.output
    assert how == preprocessing_of(named) | {"mean": [0.1, 0.2, 0.3], "std": list(own.std)}
    result, _ = export_with(path, tmp_path / "a.safetensors", "--resolution", 64)
    assert "--resolution is 64, but the supernet of" in said(result)
    assert "has 32; leave --resolution out" in said(result)

    # Images of other classes are refused; of the same, they come as the supernet knows them.
    result, _ = export_with(path, tmp_path / "a.safetensors", "--images", "digits")
    assert result.exit_code == 2
    assert "class 0 of digits is '0', and that of the network is 'a'" in said(result)
    save_described(
        Supernet(0.25, 10),
        path,
        {"preprocessing": preprocessing_of(replace(named, classes=digits.classes))},
    )
    seen: list[ImageData] = []
    monkeypatch.setattr(exporting, "recalibrate", lambda net, data, seed: seen.append(data))
    result, how = export_with(path, tmp_path / "a.safetensors", "--images", "digits")
    assert result.exit_code == 0, result.output
    assert seen[0].preprocessing == own and how["mean"] == [0.1, 0.2, 0.3]


def test_a_checkpoint_from_elsewhere_is_not_taken_for_the_runs_beside_it(
    run: Path, supernet: Path, tmp_path: Path
) -> None:
    foreign = supernet.rename(run / "supernet.safetensors")
    result, how = export_with(foreign, tmp_path / "a.safetensors")
    assert result.exit_code == 0, result.output
    assert "nothing says what images it was trained on" in said(result)
    assert how == imagenet_preprocessing(224, 10)
    pytest.importorskip("sklearn")
    # Its images know better than a guess.
    options = ("--resolution", 32, "--images", "digits", "--classes", 10)
    result, how = export_with(foreign, tmp_path / "a.safetensors", *options)
    assert "batch norms measured on images" in said(result) and "guess" not in said(result)
    assert how["classes"] == list("0123456789") and how["mean"] != [0.3] * 3
    assert how["mean"] != imagenet_preprocessing(32, 10)["mean"]


def test_published_weights_in_a_run_directory_are_imagenets(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    monkeypatch.setattr(exportable, "load_published", lambda width: Supernet(width, 1000).eval())
    result, how = export_with("published", tmp_path / "a.safetensors")
    assert result.exit_code == 0, result.output
    assert how == imagenet_preprocessing(224, 1000) and "guess" not in said(result)


def test_a_description_of_another_supernet_is_refused(digits: ImageData, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    save_described(Supernet(0.25, 4), path, {"preprocessing": preprocessing_of(digits)})
    result, _ = export_with(path, tmp_path / "a.safetensors")
    assert result.exit_code == 2
    assert "describes 10 classes, but its weights have 4" in said(result)


def test_a_run_of_imagenet_takes_weights_of_its_own_size_only(run: Path, supernet: Path) -> None:
    (run / "recipe.yaml").write_text(yaml.safe_dump({"source": "imagenet", "resolutions": [224]}))
    result = call(run, "--weights", supernet, "--to", "timm")
    assert result.exit_code == 2
    assert f"{run} has width-mult 1, but the supernet of {supernet} has 0.25" in said(result)
    save_weights(Supernet(1.0, 10), supernet, "x")
    result = call(run, "--weights", supernet, "--to", "timm")
    assert "has num-classes 1000, but" in said(result) and "has 10; give --weights" in said(result)


def test_a_run_is_read_without_permission_to_write(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert len(open_run(run).answers) == 2


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a finished run on images leaves behind, as far as exporting reads it."""
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    recipe = {
        "source": "images",
        "images": {"source": "digits", "width_mult": 0.25, "resolution": 32},
    }
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    answers = [
        {"budget": 1.5, "arch": ARCH, "accuracy": 0.8, "cost": 1.4},
        {"budget": 2.0, "arch": OTHER, "accuracy": 0.9, "cost": 1.9},
    ]
    (run / "architectures.json").write_text(json.dumps(answers))
    for name in ("metrics.json", "front.parquet"):
        (run / name).write_text("{}")
    how = imagenet_preprocessing(32, 10) | {"classes": list("0123456789"), "mean": [0.3] * 3}
    (run / "models" / "preprocessing.json").write_text(json.dumps(how))
    for seed, answer in enumerate(answers):
        torch.manual_seed(seed)
        network = build(str(answer["arch"]), 0.25, 10)
        save_weights(network, run / "models" / f"pnag-{answer['budget']:g}ms.safetensors", "x")
    return run


def test_the_fine_tuned_answers_of_a_run(run: Path) -> None:
    result = call(run, "--to", "timm")
    assert result.exit_code == 0, result.output
    assert "pnag-1.5ms: fine-tuned on digits" in said(result)
    for name in ("pnag-1.5ms", "pnag-2ms"):
        found = load_file(run / "exports" / f"{name}.safetensors")
        expected = load_file(run / "models" / f"{name}.safetensors")
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        how = json.loads((run / "exports" / f"{name}.safetensors.preprocessing.json").read_text())
        assert how["mean"] == [0.3] * 3  # the run's own, not ImageNet's


@pytest.mark.parametrize("to", ["timm", "onnx"])
def test_the_models_of_a_run_are_not_replaced(run: Path, to: str) -> None:
    (run / "stages.json").write_text("{}")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = call(run, "--to", to, "--out", run / "models")
    assert result.exit_code == 2 and "belongs to the run" in said(result)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_command_that_loads_it_can_be_given(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "my exports"
    result = call(run, "--budget", 1.6, "--out", out, "--to", "timm")
    command = shlex.split(result.output.partition("load it: ")[2].replace("\n", ""))
    assert command[0] == "python" and command[4:] == ["IMAGE"]
    assert all(Path(file).parent == out and Path(file).is_file() for file in command[1:4])


def test_one_answer_by_its_budget(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "one"
    assert call(run, "--budget", 1.6, "--out", out, "--to", "timm").exit_code == 0
    assert {path.name for path in out.glob("pnag*")} == {
        "pnag-1.5ms.safetensors",
        "pnag-1.5ms.json",
        "pnag-1.5ms.safetensors.preprocessing.json",
    }
    # What was judged before tuning does not decide: the answer to more milliseconds is better.
    file = run / "architectures.json"
    answers = json.loads(file.read_text())
    answers[0]["accuracy"] = 0.95
    file.write_text(json.dumps(answers))
    assert call(run, "--budget", 2, "--out", tmp_path / "two", "--to", "timm").exit_code == 0
    assert (tmp_path / "two" / "pnag-2ms.safetensors").exists()
    result = call(run, "--budget", 1.2)
    assert result.exit_code == 2
    assert "has a cost within 1.2: the cheapest costs 1.4" in said(result)


def test_files_of_several_formats_keep_their_own_descriptions(tmp_path: Path) -> None:
    size = ["--width-mult", 0.25, "--num-classes", 10, "--resolution", 32]
    assert call(ARCH, "--batch", 3, "--out", tmp_path / "n.onnx", *size).exit_code == 0
    assert call(ARCH, "--to", "timm", "--out", tmp_path / "n.safetensors", *size).exit_code == 0
    first, second = (
        json.loads((tmp_path / f"n.{kind}.preprocessing.json").read_text())
        for kind in ("onnx", "safetensors")
    )
    assert first["batch"] == 3 and "batch" not in second


def test_weights_of_another_width_in_a_run(run: Path) -> None:
    save_weights(build(ARCH, 0.35, 10), run / "models" / "pnag-1.5ms.safetensors", "x")
    result = call(run, "--budget", 1.5)
    assert result.exit_code == 2
    assert "does not hold the weights of" in said(result) and "width 0.25" in said(result)


def test_a_run_without_images_has_fresh_weights(run: Path) -> None:
    table = {"path": "t.csv", "accuracy": "top1", "cost": "ms"}
    (run / "recipe.yaml").write_text(yaml.safe_dump({"source": "table", "table": table}))
    size = ["--width-mult", 0.25, "--num-classes", 10, "--resolution", 32]
    result = call(run, "--to", "timm", *size)
    assert result.exit_code == 0, result.output
    assert said(result).count("fresh weights") == 2
    assert (run / "exports" / "pnag-1.5.safetensors").exists()


def test_a_run_of_a_table_is_exported_in_its_own_family(run: Path, supernet: Path) -> None:
    text = str(pnag.family("timm/efficientnet_lite0").smallest)
    table = {"path": "t.csv", "accuracy": "top1", "cost": "ms", "family": "timm/efficientnet_lite0"}
    (run / "recipe.yaml").write_text(yaml.safe_dump({"source": "table", "table": table}))
    answer = {"budget": 1.5, "arch": text, "accuracy": 0.8, "cost": 1.4}
    (run / "architectures.json").write_text(json.dumps([answer]))
    result = call(run, "--to", "timm", "--num-classes", 10, "--resolution", 64)
    assert result.exit_code == 0, result.output
    config = json.loads((run / "exports" / "pnag-1.5.json").read_text())
    assert config["family"] == "timm/efficientnet_lite0"
    result = call(run, "--to", "timm", "--weights", supernet)
    assert result.exit_code == 2
    assert f"{run} is of the family timm/efficientnet_lite0, but the weights of" in said(result)


def test_a_family_is_not_overruled_in_silence(
    run: Path, supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def message(*arguments: object) -> str:
        result = call(*arguments, "--to", "timm")
        assert result.exit_code == 2, result.output
        return said(result)

    def of(what: object, family: str, *options: object) -> str:
        return message(what, "--family", family, *options)

    ours = f"the weights of {supernet} are for ofa-mobilenetv3"
    assert ours in of(ARCH, "timm/efficientnet_lite0", "--weights", supernet)
    assert f"{ours}-w0.25; leave --family out" in of(
        ARCH, "ofa-mobilenetv3-w1.2", "--weights", supernet
    )
    lite = tmp_path / "lite.safetensors"
    about = {"family": "timm/efficientnet_lite0@64,96", "num_classes": 10}
    save_file({"a": torch.zeros(1)}, lite, {"pnag": json.dumps(about)})
    refused = of(ARCH, "ofa-mobilenetv3", "--weights", lite)
    assert "--family is ofa-mobilenetv3, but the weights of" in refused
    asked = exporting.Asked("timm", weights=str(lite), family="timm/efficientnet_lite0")
    assert asked.of.name == about["family"]

    monkeypatch.setattr(exportable, "load_published", lambda width: Supernet(width, 10).eval())
    published = exporting.Asked("timm", weights="published", family="ofa-mobilenetv3-w1.2")
    monkeypatch.setattr(exporting, "subnet", lambda arch, trained, *_: trained.supernet.width_mult)
    assert exporting._maker(published)(ARCH, "pnag") == 1.2

    for recipe in (None, {"source": "imagenet"}):
        if recipe:
            (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        own = f"--family is timm/efficientnet_lite0, but {run} has its own; leave it out"
        assert own in of(run, "timm/efficientnet_lite0")
    refused = message(run, "--weights", lite)
    assert f"{run} is of the family ofa-mobilenetv3, but the weights of {lite}" in refused


def test_what_a_network_is_made_of_is_not_replaced(supernet: Path, tmp_path: Path) -> None:
    def refused(place: Path, *arguments: object) -> None:
        before, others = place.read_bytes(), set(tmp_path.iterdir())
        result = call(*arguments, "--resolution", 32)
        assert result.exit_code == 2, result.output
        assert f"{place} would be replaced" in said(result)
        assert place.read_bytes() == before and set(tmp_path.iterdir()) == others

    given = tmp_path / "net.json"
    given.write_text(json.dumps({"arch": ARCH}))
    size = ("--width-mult", 0.25, "--num-classes", 10)
    refused(given, given, "--to", "timm", "--out", tmp_path / "net.safetensors", *size)
    described = given.rename(tmp_path / "net.safetensors.preprocessing.json")
    refused(described, described, "--to", "timm", "--out", tmp_path / "net.safetensors", *size)
    refused(supernet, ARCH, "--to", "timm", "--out", supernet, "--weights", supernet)
    # As ncnn's and OpenVINO's second files are.
    weights = supernet.rename(tmp_path / "model.bin")
    two = Converted({".xml": b"new", ".bin": b"new"}, lambda images: images)
    with pytest.raises(PnagError, match=r"model\.bin would be replaced"):
        deploy._write(two, tmp_path / "model.xml", [weights])
    assert not (tmp_path / "model.xml").exists()


def test_int8_tells_how_often_it_agrees_on_real_images(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("sklearn", "openvino", "nncf"):
        pytest.importorskip(package)
    batches = []
    forward = MobileNetV3.forward_features

    def watched(network: MobileNetV3, images: torch.Tensor) -> torch.Tensor:
        batches.append(len(images))
        return forward(network, images)

    monkeypatch.setattr(MobileNetV3, "forward_features", watched)
    result = call(run, "--budget", 1.5, "--to", "openvino", "--int8")
    assert result.exit_code == 0, result.output
    assert max(batches) == 32  # 1000 images at once would need 10 GB at 224 pixels
    agreed = re.search(r"as the float network on ([0-9.]+)% of \d+ test images", said(result))
    assert agreed and float(agreed[1]) > 50
    assert (run / "exports" / "pnag-1.5ms-int8.bin").exists()


def test_images_that_fill_no_batch_calibrate_all_the_same() -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package)
    from pnag.deploy.formats.openvino import convert_int8

    images = np.random.default_rng(0).normal(size=(5, 3, 16, 16)).astype(np.float32)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 196, 2)
    )
    converted = convert_int8(network.eval(), (8, 3, 16, 16), images)
    assert converted.run(np.concatenate([images, images[:3]])).shape == (8, 2)


def test_mistakes_exit_with_2(
    run: Path, supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def message(*arguments: object) -> str:
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        return said(result)

    assert "--to must be one of onnx, openvino, executorch" in message(ARCH, "--to", "tflite")
    assert "--int8 goes with --to openvino, not onnx" in message(ARCH, "--int8")
    assert "is neither an architecture" in message("nothing")
    assert "is not a run directory" in message(tmp_path)
    (tmp_path / "recipe.yaml").write_text("{}")
    assert "is not a finished run" in message(tmp_path)
    assert "--classes goes with --images" in message(ARCH, "--classes", 5)
    assert "--budget chooses among the answers of a run" in message(ARCH, "--budget", 3)
    assert "a file of onnx ends in .onnx" in message(ARCH, "--out", tmp_path / "a.pt")
    assert "--images measures batch norms of --weights" in message(ARCH, "--images", "digits")
    assert "--resolution is 64, but" in message(run, "--resolution", 64)
    assert "--weights is" in message(run, "--weights", supernet)
    (run / "models" / "pnag-2ms.safetensors").unlink()
    assert "cannot read" in message(run)
    for name in [name for name in sys.modules if name.endswith(".openvino")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert 'pip install "pnag[openvino]"' in message(ARCH, "--to", "openvino")


def test_int8_needs_real_images() -> None:
    pytest.importorskip("openvino")
    result = call(ARCH, "--to", "openvino", "--int8")
    assert result.exit_code == 2
    assert "find the ranges of activations; name them with --images" in said(result)


def test_the_network_that_timm_builds_from_its_config_is_the_same() -> None:
    network = build(OTHER, 0.35, 7)
    again: Any = from_config(json.loads(json.dumps(network.pnag_config)))
    again.load_state_dict(network.state_dict())
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network.eval()(images), again.eval()(images))
