"""The wheel and the source archive have all that the package needs, and nothing from elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import pnag

ROOT = Path(__file__).parents[1]
USE = """
import json, pathlib, pnag, pnag.report
space = pnag.SearchSpace()
print(json.dumps({
    "from": pnag.__file__,
    "top1": float(pnag.imagenet_top1(space.encode([pnag.family("ofa-mobilenetv3").largest]))[0]),
    "assets": len(list((pathlib.Path(pnag.report.__file__).parent / "assets").iterdir())),
}))
"""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="builds both (in the extra dev)")
    folder = tmp_path_factory.mktemp("sdist")
    how = ["hatchling", "build", "--target", "sdist", "--directory", folder]
    subprocess.run([sys.executable, "-m", *how], cwd=ROOT, check=True, timeout=300)
    (found,) = folder.glob("pnag-*.tar.gz")
    return found


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source archive, as `pip install` does where no wheel fits."""
    folder = tmp_path_factory.mktemp("wheel")
    how = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "-w", folder, sdist]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *how], check=True, timeout=300)
    (found,) = folder.glob("pnag-*.whl")
    return found


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """Files of the package by their place in the repository."""
    done = subprocess.run(
        ["git", "ls-files", "src/pnag"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if not done.stdout:
        pytest.skip("not a git checkout")
    return set(done.stdout.split())


def test_a_wheel_holds_every_file_of_the_package_and_the_licence(
    wheel: Path, tracked: set[str]
) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.removeprefix("src/") for name in tracked} <= set(names)
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert all(name.startswith(("pnag/", "pnag-")) for name in names)


def test_a_source_archive_holds_the_package_and_no_tests_or_benchmarks(
    sdist: Path, tracked: set[str]
) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked <= names
    others = {name for name in names if not name.startswith("src/pnag/")}
    assert others == {
        ".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml",
    }  # fmt: skip


def test_what_is_shipped_is_typed_and_names_the_source_and_licence_of_its_weights(
    tracked: set[str],
) -> None:
    assert "src/pnag/py.typed" in tracked
    weights = [ROOT / name for name in tracked if name.endswith(".safetensors")]
    assert weights
    for file in weights:
        assert "(Apache-2.0)" in file.with_suffix(".md").read_text("utf-8")


def test_the_version_is_written_in_one_place(sdist: Path, wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["dynamic"] == ["version"]
    for built in (sdist, wheel):
        assert built.name.startswith(f"pnag-{pnag.__version__}")
    assert f"## {pnag.__version__} (" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_an_installed_wheel_works(wheel: Path, tmp_path: Path) -> None:
    to = tmp_path / "site"
    how = ["--no-deps", "--no-index", "--quiet", "--target", to, wheel]
    subprocess.run([sys.executable, "-m", "pip", "install", *how], check=True, timeout=300)
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env={"PYTHONPATH": str(to), "PATH": ""},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert Path(found["from"]).is_relative_to(to)
    assert 0.7 < found["top1"] < 0.8 and found["assets"] > 3
