"""What is imported is named in pyproject.toml, and what `make run` installs suffices to run."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "pnag"
# Nothing of an extra can be found, as in an environment without extras.
WITHOUT = """
import sys
from importlib.machinery import PathFinder

absent = set(sys.argv.pop(1).split(","))

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""
IMPORT_ALL = """
import importlib, pkgutil, pnag
for module in pkgutil.walk_packages(pnag.__path__, "pnag."):
    if not module.name.endswith("__main__") and ".examples" not in module.name:
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name.startswith("pnag"):
                raise
            print(module.name, error.name)
        else:
            print(module.name)
"""
# These are imported only when their runtime or format is asked for.
OF_EXTRAS = {
    "pnag.cost.runtimes.android", "pnag.cost.runtimes.executorch", "pnag.cost.runtimes.litert",
    "pnag.cost.runtimes.litert_android", "pnag.cost.runtimes.mnn", "pnag.cost.runtimes.mnn_android",
    "pnag.cost.runtimes.ncnn", "pnag.cost.runtimes.ncnn_android", "pnag.cost.runtimes.openvino",
    "pnag.cost.runtimes.tensorrt", "pnag.cost.runtimes.tflite_file",
    "pnag.cost.runtimes.tflite_layers", "pnag.deploy.core_ml_program", "pnag.deploy.formats.coreml",
    "pnag.deploy.formats.executorch", "pnag.deploy.formats.litert", "pnag.deploy.formats.mnn",
    "pnag.deploy.formats.ncnn", "pnag.deploy.formats.openvino",
}  # fmt: skip
COMMAND = "from pnag.__main__ import main\nmain()\n"


def named(text: str) -> str:
    return canonicalize_name(Requirement(text).name)


@pytest.fixture(scope="module")
def project() -> dict[str, set[str]]:
    """Distributions that pyproject.toml names, by extra; the empty one is the core."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": told["dependencies"]} | told["optional-dependencies"]
    return {extra: {named(text) for text in texts} for extra, texts in groups.items()}


def with_all_they_need(distributions: set[str]) -> set[str]:
    """These distributions, and whatever they require without extras."""
    found, left = set[str](), list(distributions)
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:  # for another system
            continue
        left += [named(text) for text in needed if wanted(Requirement(text))]
    return found


def wanted(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def test_every_package_that_is_imported_is_named(project: dict[str, set[str]]) -> None:
    imported = set[str]()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    imported -= sys.stdlib_module_names | {"pnag", "__future__"}
    assert {"torch", "numpy", "openvino"} <= imported
    every = set().union(*project.values())
    providers = packages_distributions()
    unnamed = {
        module for module in imported & providers.keys()
        if not {canonicalize_name(name) for name in providers[module]} & every
    }  # fmt: skip
    assert unnamed == set()


@pytest.fixture(scope="module")
def extras(project: dict[str, set[str]]) -> str:
    """Modules that are installed but not needed by the core, with commas between them."""
    core = with_all_they_need(project[""]) | {"pnag"}
    absent = {
        module for module, names in packages_distributions().items()
        if not {canonicalize_name(name) for name in names} & core
        and module not in sys.stdlib_module_names
    }  # fmt: skip
    if not absent & {"sklearn", "pymoo", "openvino", "pytorchcv"}:
        pytest.skip("no extra is installed")
    return ",".join(absent)


def run_without(extras: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + code, extras, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def test_every_module_can_be_imported_without_extras(extras: str) -> None:
    done = run_without(extras, IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) > 200
    failed = {line[0] for line in lines if len(line) > 1}
    assert failed <= OF_EXTRAS, failed - OF_EXTRAS
    assert run_without(extras, "import pymoo").returncode != 0


def test_a_run_needs_no_extra(extras: str, tmp_path: Path) -> None:
    choices = [(d, k) for d in range(2, 22) for k in (3, 5, 7)]
    rows = [f"{d},{k},{0.5 + d / 50 + k / 90:.4f},{d * (k + 3)}" for d, k in choices]
    (tmp_path / "t.csv").write_text("\n".join(["depth,kernel,top1,ms", *rows]))
    done = run_without(
        extras, COMMAND, "run", "--table", str(tmp_path / "t.csv"), "--choices", "depth,kernel",
        "--accuracy", "top1", "--cost", "ms", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "metrics.json").exists()


def test_make_run_installs_the_core_and_make_test_the_rest() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    steps = {
        goal: subprocess.run(
            ["make", "--dry-run", "--always-make", goal], cwd=ROOT,
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for goal in ("run", "test", "install")
    }  # fmt: skip
    assert "pip install" in steps["run"] and "[dev]" not in steps["run"]
    assert "[dev]" in steps["test"] and "[dev]" in steps["install"]
