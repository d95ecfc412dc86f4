"""What is printed where: terminals that are not UTF-8, logs, and what libraries write besides."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

import pnag
import pnag.__main__
from pnag import noise
from pnag.commands.bodies import search as search_table
from pnag.commands.main import app
from pnag.cpus import allowed_cpus
from pnag.errors import PnagError
from pnag.families import count_batch, family
from pnag.run import display

SPACE = pnag.SearchSpace()
ARCH = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
QUICK = {
    "predictor": {"members": 2, "hidden": 16, "epochs": 4, "batch": 64},
    "evaluator": {"steps": 10, "hidden": 32},
    "generator": {"iterations": 20, "samples": 16, "refine_steps": 1, "hidden": 16},
    "front": {"budgets": 16, "draws": 16, "rounds": 4, "children": 64},
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    tokens = SPACE.sample_unique(60, np.random.default_rng(0))
    quality = SPACE.features(tokens) @ np.linspace(0, 1, SPACE.num_features)
    macs = count_batch(family(), tokens, resolution=64).macs / 1e6
    frame = pd.DataFrame({"arch": SPACE.text(tokens), "top1": quality, "ms": macs})
    frame.to_csv(folder / "t.csv", index=False)
    (folder / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    return folder / "t.csv"


def search_command(table: Path, method: str) -> list[str]:
    return ["search", "--table", str(table), "--accuracy", "top1", "--cost", "ms",
            "--budgets", "30", "--method", method]  # fmt: skip


def run_command(table: Path, out: Path) -> list[str]:
    return ["run", "--table", str(table), "--accuracy", "top1", "--cost", "ms", "--out", str(out),
            "--recipe", str(table.with_name("quick.yaml"))]  # fmt: skip


@contextmanager
def terminal() -> Iterator[tuple[int, Callable[[], bytes]]]:
    """A descriptor that is a terminal, and what was written to it once the block is over."""
    master, slave = os.openpty()
    found: list[bytes] = []

    def drain() -> None:
        try:
            while data := os.read(master, 65536):
                found.append(data)
        except OSError:  # Linux's end of a terminal
            pass

    thread = threading.Thread(target=drain)
    thread.start()

    def written() -> bytes:
        thread.join()
        return b"".join(found)

    try:
        yield slave, written
    finally:
        os.close(slave)


def main(monkeypatch: pytest.MonkeyPatch, arguments: list[str], stream: io.TextIOWrapper) -> int:
    """`pnag` as it is started, with both streams on one file or terminal."""
    monkeypatch.setattr(sys, "argv", ["pnag", *arguments])
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        patched.setattr(sys, "stderr", stream)
        patched.setattr(sys, "unraisablehook", sys.unraisablehook)
        with pytest.raises(SystemExit) as caught:
            pnag.__main__.main()
        sys.stdout.close()  # those that it has made
        sys.stderr.close()
    code = caught.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_a_terminal_that_is_not_utf8_gets_ascii(
    encoding: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with (
        terminal() as (descriptor, written),
        io.TextIOWrapper(os.fdopen(os.dup(descriptor), "wb"), encoding=encoding) as stream,
    ):
        assert main(monkeypatch, search_command(table, "random"), stream) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written().decode("ascii"))
    assert "ok fitting the accuracy predictor" in text and "| random" not in text
    assert re.search(
        r"^30  21\.\d+  27\.\d+  4,2", text, re.MULTILINE
    )  # the answer, after the bars


def test_a_mistake_is_shown_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    with path.open("w", encoding="ascii") as stream:
        assert main(monkeypatch, ["generate", "n\u00f6 \u2026", "--budget", "3"], stream) == 2
    assert "error: " in path.read_text("ascii") and "n\\xf6 ..." in path.read_text("ascii")


def test_names_that_are_no_text_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    with path.open("w", encoding="utf-8") as stream:
        assert main(monkeypatch, ["generate", "n\udcff \u00f6", "--budget", "3"], stream) == 2
    assert "n\\udcff \u00f6" in path.read_text("utf-8")


def test_a_log_gets_a_line_now_and_then_while_a_stage_runs(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    seen = []

    def slow(problem: Any, seed: int, progress: Callable[[int, int], None]) -> Any:
        progress(0, 1000)
        for done in range(1, 4):
            progress(done * 100, 1000)
            time.sleep(0.15)
        seen.append(log.read_text("utf-8"))
        raise PnagError("that is enough")

    monkeypatch.setattr(search_table, "get_method", lambda name: slow)
    monkeypatch.setattr(display, "EVERY", 0.05)
    with log.open("w", encoding="utf-8") as stream:
        assert main(monkeypatch, search_command(table, "slow"), stream) == 2
    lines = seen[0].splitlines()
    steps = [line for line in lines if line.startswith("slow: ")]
    assert re.fullmatch(r"slow: \d00 of 1,000 in 0:0\d, about 0:0\d left", steps[-1])
    assert len(steps) >= 3 and "slow: 300 of 1,000" in steps[-1]
    assert "✓ fitting the accuracy predictor" in seen[0]
    assert log.read_text("utf-8").endswith("not finished\nerror: that is enough\n")


def test_lines_of_a_log_are_whole() -> None:
    done = call("zoo")
    assert "\u2026" not in done.stdout
    rows = [line for line in done.stdout.splitlines() if "mobilenetv2" in line]
    assert rows and all(row.rstrip().endswith("\u2502") for row in rows)


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (["measure", "--out", "t.json"], "pnag.commands.bodies.measure.measure_device"),
        (["run", "--out", "run"], "pnag.run.latency_stages.measure_device"),
        (["zoo", "measure"], "pnag.deploy.zoo.measure.measure_zoo"),
    ],
)
def test_more_threads_than_cpus_are_said(
    command: list[str], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enough(*_: object, **__: object) -> None:
        raise PnagError("that is enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(where, enough)
    cpus = allowed_cpus()
    done = call(*command, "--threads", cpus + 1)
    assert f"{cpus + 1} threads of onnxruntime share the {cpus} CPU(s)" in done.output
    done = call(*command, "--threads", cpus)
    assert "that is enough" in done.stderr and "share" not in done.output


def test_what_native_code_writes_goes_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = onnxruntime.InferenceSession

    def noisy(*arguments: Any, **options: Any) -> Any:
        os.write(1, b"noise on 1\n")
        os.write(2, b"noise on 2\n")
        print("noise of Python", file=sys.stderr)
        return real(*arguments, **options)

    monkeypatch.setenv("PNAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(noise, "_log", None)
    monkeypatch.setattr(noise, "_folder", None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", noisy)
    done = call("export", ARCH, "--out", tmp_path / "a.onnx", "--width-mult", 0.1,
                "--resolution", 32)  # fmt: skip
    assert done.exit_code == 0, done.output
    shown = capfd.readouterr()
    assert "noise" not in done.output + shown.out + shown.err
    log = (tmp_path / "cache" / noise.NAME).read_text("utf-8")
    assert [f"noise {what}" in log for what in ("on 1", "on 2", "of Python")] == [True] * 3
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_a_run_has_a_log_of_its_own(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "_log", None)
    monkeypatch.setattr(noise, "_folder", None)
    assert call(*run_command(table, tmp_path / "run")).exit_code == 0
    with noise.into_log():
        os.write(2, b"noise")
    assert (tmp_path / "run" / "logs" / noise.NAME).read_text("utf-8") == "noise"
