"""The wheel has all that the package needs, and nothing from elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="builds the wheel (in the extra dev)")
    folder = tmp_path_factory.mktemp("wheel")
    how = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "-w", folder, ROOT]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *how], check=True, timeout=300)
    (found,) = folder.glob("pnag-*.whl")
    return found


def test_a_wheel_holds_every_file_of_the_package_and_the_licence(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "src/pnag"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.removeprefix("src/") for name in tracked} <= set(names)
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert all(name.startswith(("pnag/", "pnag-")) for name in names)


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
