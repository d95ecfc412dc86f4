"""Names: of paths, where every character is itself, of what does not exist, and of classes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_images import call, class_folders, encoded, said, write_tar

from pnag import Supernet
from pnag.supernet.weights import save_described

Call = Callable[..., Any]
STRANGE = ["p [1]", "p*?{p,q}", "a::b", "$HOME", "-p#1%20;&", "~p ü"]


def write_parquet(path: Path, labels: list[str], first: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded(first + n), "path": None} for n in range(len(labels))]
    pq.write_table(pa.table({"image": images, "label": labels}), path)


def test_a_folder_is_not_a_pattern_of_another(tmp_path: Path, look: Call, decoded: Call) -> None:
    write_parquet(tmp_path / "p [1]" / "train.parquet", ["a", "b"] * 6)
    write_parquet(tmp_path / "p 1" / "train.parquet", ["c", "d", "e"] * 6, 50)
    for source in (tmp_path / "p [1]", tmp_path / "p [1]" / "train.parquet"):
        result, text = look(source)
        assert result.exit_code == 0, text
        assert "2 classes (a, b)" in text
        assert decoded(source).classes == ("a", "b")


@pytest.mark.parametrize("name", STRANGE)
def test_every_character_is_itself(name: str, tmp_path: Path, look: Call, decoded: Call) -> None:
    other = class_folders(tmp_path / "p 1", "c", "d", "e")
    assert other.is_dir()
    write_parquet(tmp_path / name / f"{name}.parquet", ["a", "b"] * 6)
    members = {}
    for number in range(12):
        members |= {f"{number}.png": encoded(number), f"{number}.cls": b"ab"[number % 2 :][:1]}
    write_tar(tmp_path / "tar" / name / f"{name}.tar", members)
    class_folders(tmp_path / "classes" / name, "a", "b")
    result, text = look(tmp_path / name, "--cache", tmp_path / f"cache {name}")
    assert result.exit_code == 0, text
    assert "2 classes (a, b)" in text
    for source in (tmp_path / "tar" / name, tmp_path / "classes" / name):
        assert decoded(source).classes == ("a", "b")


def test_run_directories_and_tables_too(tmp_path: Path) -> None:
    name = "a::b [1]"
    images = class_folders(tmp_path / name / "images [red]", "a", "b")
    run = tmp_path / name / "run [/]"
    result = call("train", "--images", images, "--out", run, "--width-mult", 0.1, "--epochs", 2,
                  "--resolution", 32)  # fmt: skip
    assert result.exit_code == 0, said(result)
    table = tmp_path / name / "t [1].csv"
    result = call("collect", "--supernet", run / "supernet.safetensors", "--images", images,
                  "--out", table, "--architectures", 2)  # fmt: skip
    assert result.exit_code == 0, said(result)
    assert str(table.with_suffix(".parquet")) in "".join(result.stdout.split("\n"))
    found = pd.read_parquet(table.with_suffix(".parquet"))
    assert len(found) == 2
    model = tmp_path / name / "n [1].onnx"
    result = call("export", found["arch"][0], "--weights", run / "supernet.safetensors",
                  "--images", images, "--out", model)  # fmt: skip
    assert result.exit_code == 0, said(result)
    assert model.is_file()


# What does not exist


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("data/nosuch", "there is data/nosuchs"),
        ("pictures/nosuch", "there is no folder or file pictures/nosuch; "),
        ("dta/flowers", "there is no folder dta/flowers here; there is data"),
        ("./nosuch", "there is no folder or file ./nosuch; here are data, flower"),
        ("data\\nosuch", "there is no folder or file data\\nosuch"),
        ("flowers/", "there is no folder or file flowers/; there is flower"),
        ("my flowers", "there is no folder or file my flowers; there is flower"),
        ("data/train.tar.gz", "there is no folder or file data/train.tar.gz"),
        ("https://a.org/x.zip", "there is no folder or file https://a.org/x.zip"),
        ("flowers", "there is no folder flowers here; there is flower; and the data set"),
        ("someone/nosuch", "run `hf download someone/nosuch --repo-type dataset"),
    ],
)
def test_a_mistyped_folder_offline(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import _http

    (tmp_path / "data" / "nosuchs").mkdir(parents=True)
    (tmp_path / "flower").mkdir()
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    def unreachable(*arguments: Any, **_: Any) -> None:
        asked.append(str(arguments))
        raise OSError("no network")

    monkeypatch.setattr(_http.get_session().__class__, "send", unreachable)
    result = call("train", "--images", source, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert says in said(result)
    assert len(asked) == (source in ("flowers", "someone/nosuch", "dta/flowers"))


@pytest.mark.parametrize("command", ["run", "collect --supernet s", "export 3:3:3 --weights s"])
def test_every_command_tells_a_mistyped_folder(command: str, tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    images, out = tmp_path / "flower", tmp_path / "out.csv"
    result = call(*command.split(), "--images", images, "--out", out)
    assert result.exit_code == 2
    assert f"no folder or file {images}; there is {tmp_path / 'flowers'}" in said(result)


def test_a_hub_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pnag.images import hub

    monkeypatch.setattr(hub, "_PATIENCE", 0.1)
    never = threading.Event()
    monkeypatch.setattr("huggingface_hub.get_session", never.wait)
    monkeypatch.chdir(tmp_path)
    result = call("train", "--images", "someone/nosuch", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "cannot be fetched" in said(result)


# Classes


def supernets(tmp_path: Path) -> tuple[Path, Path]:
    """The same one twice: with the classes airplane, cat, ship and with cat, ship, airplane."""
    torch.manual_seed(0)
    first = Supernet(0.1, 3)
    with torch.no_grad():
        for name, value in first.named_parameters():
            if name.endswith(("bn.bias", "bn.weight", "linear.weight")):
                value.add_(0.3 * torch.randn_like(value))
    second = Supernet(0.1, 3)
    order = [1, 2, 0]
    state = {
        name: value[order] if name.startswith("classifier") and len(value) == 3 else value
        for name, value in first.state_dict().items()
    }
    second.load_state_dict(state)
    paths = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    names = (["airplane", "cat", "ship"], ["cat", "ship", "airplane"])
    for path, supernet, classes in zip(paths, (first, second), names, strict=True):
        how = {"resolution": 32, "shorter": 32, "mean": [0.5] * 3, "std": [0.25] * 3,
               "interpolation": "bicubic", "channels": "RGB", "layout": "NCHW",
               "classes": classes}  # fmt: skip
        save_described(supernet, path, {"preprocessing": how})
    return paths


def accuracies(weights: Path, images: Path, out: Path) -> tuple[list[float], str]:
    result = call("collect", "--supernet", weights, "--images", images, "--out", out,
                  "--cache", out.parent / "cache", "--architectures", 4, "--part",
                  "validation")  # fmt: skip
    assert result.exit_code == 0, said(result)
    return pd.read_csv(out)["accuracy"].tolist(), said(result)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    images = class_folders(tmp_path / "set", "airplane", "cat", "ship", count=30)
    first, second = supernets(tmp_path)
    right, text = accuracies(first, images, tmp_path / "1.csv")
    assert "matched by name" not in text and len(set(right)) > 1
    matched, text = accuracies(second, images, tmp_path / "2.csv")
    assert "are matched by name with those of the supernet" in text
    assert "cat, ship, airplane" in text
    assert matched == right
    for name in ("airplane", "cat", "ship"):  # as another system spells them
        (images / name).rename(images / name.upper())
    again, _ = accuracies(second, images, tmp_path / "3.csv")
    assert again == right


def test_other_classes_are_refused(tmp_path: Path) -> None:
    images = class_folders(tmp_path / "set", "boat", "cat", "plane")
    weights, _ = supernets(tmp_path)
    result = call("collect", "--supernet", weights, "--images", images, "--out",
                  tmp_path / "t.csv", "--architectures", 1)  # fmt: skip
    assert result.exit_code == 2
    text = said(result)
    assert f"{images} has boat, plane, which the supernet {weights} does not know" in text
    assert f"the supernet {weights} has airplane, ship, of which there are no images" in text
    assert not (tmp_path / "t.csv").exists()


def test_weights_without_names_say_the_assumed_order(tmp_path: Path, collect: Call) -> None:
    result, text = collect(class_folders(tmp_path / "set", "boat", "cat", "plane"), 3)
    assert result.exit_code == 0, text
    assert "does not name its classes: number 0 is taken for 'boat', number 2 for 'plane'" in text
