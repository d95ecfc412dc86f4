from __future__ import annotations

from pathlib import Path

import pytest
import stub_runtime
import yaml
from small_runs import QUICK, call, own_table, table_arguments

from pnag.cost.runtimes import RUNTIMES


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a runtime of made-up times."""
    monkeypatch.setitem(RUNTIMES, "stub", stub_runtime.ENTRY)
    return "stub"


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "quick.yaml"
    path.write_text(yaml.safe_dump(QUICK))
    return path


@pytest.fixture(scope="module")
def table_run(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Path:
    folder = tmp_path_factory.mktemp("own")
    own_table().to_csv(folder / "t.csv", index=False)
    done = call(*table_arguments(folder / "t.csv", folder / "run", recipe))
    assert done.exit_code == 0, done.stderr
    return folder / "run"
