"""Finished runs and a browser, made once for all tests of the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Chromium, chromium, find_chromium
from made_runs import make_run, make_run_of_choices

from pnag.commands.bodies.report import load_results, save_report


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `cpu`, `slower`, `gpu`, `mine` (images), `own` and `several` (tables).

    `several` has three costs. `choices` is of a table's own choices and two costs.
    """
    folder = tmp_path_factory.mktemp("runs")
    for name, scale in (("cpu", 1.0), ("slower", 1.4), ("gpu", 0.1)):
        make_run(folder / name, "imagenet", scale=scale)
    make_run(folder / "mine", "images")
    make_run(folder / "own", "table")
    make_run(folder / "several", "table", further=True)
    make_run_of_choices(folder / "choices")
    for name in ("cpu", "mine", "own", "several", "choices"):
        save_report(load_results(folder / name))
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with chromium(tmp_path_factory.mktemp("profile"), patience=120) as tab:
        yield tab
