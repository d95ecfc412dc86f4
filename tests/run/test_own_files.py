"""No other command replaces what `pnag run` wrote into its directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import call

from pnag.errors import PnagError
from pnag.run.own_files import refuse_own_files

ARCH = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for folder in ("models", "cost"):
        (run / folder).mkdir(parents=True)
    for name in ("stages.json", "table.parquet", "cost/latency_table.json", "judged.json"):
        (run / name).write_text(f"the run's {name}")
    return run


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (["export", ARCH, "--to", "timm"], "supernet.safetensors"),
        (["export", ARCH], "models/pnag.onnx"),
        (["zoo", "export", "mobilenet-v2"], "models/pnag-5ms.onnx"),
        (["zoo", "measure"], "judged.json"),
        (["measure"], "cost/latency_table.json"),
        (["measure", "--quick"], "cost/latency_table.json"),
        (["collect", "--supernet", "none", "--images", "digits"], "table.csv"),  # and .parquet
        (["compare", "one", "other"], "report.html"),
    ],
)
def test_what_a_run_wrote_stays(begun: Path, command: list[str], place: str) -> None:
    before = {path: path.read_text() for path in begun.rglob("*") if path.is_file()}
    done = call(*command, "--out", begun / place)
    said = " ".join(done.stderr.split())
    assert done.exit_code == 2 and f"belongs to the run {begun}" in said and "--out" in said
    assert {path: path.read_text() for path in begun.rglob("*") if path.is_file()} == before


def test_a_report_replaces_only_itself(table_run: Path, tmp_path: Path) -> None:
    metrics = (table_run / "metrics.json").read_bytes()
    done = call("report", table_run, "--out", table_run / "metrics.json")
    assert done.exit_code == 2 and "belongs to the run" in " ".join(done.stderr.split())
    assert (table_run / "metrics.json").read_bytes() == metrics
    done = call("report", table_run, "--out", ".")
    assert done.exit_code == 2 and "Is a directory" in done.stderr
    for out in (table_run / "report.html", table_run / "mine.html"):
        done = call("report", table_run, "--out", out)
        assert done.exit_code == 0, done.stderr


def test_a_users_own_names_are_free(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_own_files(begun, begun / "exports", begun / "exports" / "models", begun / "phone.json")
    refuse_own_files(begun.parent / "models" / "a.onnx")  # beside the run
    monkeypatch.chdir(begun / "models")
    with pytest.raises(PnagError, match="belongs to the run"):
        refuse_own_files(Path("pnag.onnx"))
