"""A stand-in for adb that writes down what it is asked, for tests of runtimes on a phone."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

# Reads what to do from a JSON file and appends each call's arguments to another.
STAND_IN = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
phone = json.loads((folder / "phone.json").read_text())
with (folder / "calls.jsonl").open("a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
arguments = sys.argv[1:]
if arguments == ["devices"]:
    print("* daemon started successfully", file=sys.stderr)
    print("List of devices attached")
    for serial, state in phone["devices"].items():
        print(serial, state, sep="\\t")
    print()
    sys.exit()
assert arguments[0] == "-s", arguments
serial, command = arguments[1], arguments[2:]
programs = ("executor_runner --model", "benchncnn 3", "benchmark.out /", "benchmark_model --graph")
calls = sum((folder / "calls.jsonl").read_text().count(name) for name in programs)
if serial not in phone["devices"] or calls > phone["unplugged_after"]:
    sys.exit(f"error: device '{{serial}}' not found")
if command == ["get-state"]:
    print("device")
elif command[0] == "shell" and command[1].startswith("getprop "):
    print(phone["properties"].get(command[1].split()[1], ""))
elif command[0] == "shell" and any(name in command[1] for name in programs):
    print(phone["said"])
    sys.exit(phone["exit"])
elif command[0] == "push":
    assert pathlib.Path(command[1]).stat().st_size
"""


class StandIn:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values = {
            "devices": {"R58N": "device"},
            "properties": {
                "ro.product.model": "SM-N970F",
                "ro.board.platform": "exynos9825",
                "ro.build.version.release": "12",
            },
            "said": "",
            "exit": 0,
            "unplugged_after": 99,
        }
        self.set()

    def set(self, **values: object) -> None:
        self.values |= values
        (self.folder / "phone.json").write_text(json.dumps(self.values))

    def calls(self) -> list[list[str]]:
        """The calls since the last time."""
        file = self.folder / "calls.jsonl"
        calls = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("")
        return calls


def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A phone, the stand-in for adb on the PATH, and a file for each program."""
    adb = tmp_path / "bin" / "adb"
    adb.parent.mkdir()
    adb.write_text(STAND_IN.format(python=sys.executable, folder=str(tmp_path)))
    adb.chmod(0o755)
    runner = tmp_path / "executor_runner"
    runner.write_bytes(b"ELF")
    monkeypatch.setenv("PATH", str(adb.parent))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    for program in ("EXECUTOR_RUNNER", "BENCHNCNN", "MNN_BENCHMARK", "BENCHMARK_MODEL"):
        monkeypatch.setenv(f"PNAG_{program}", str(runner))
    # Where phones' locks lie: the tests of other processes have phones of the same names.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return StandIn(tmp_path)
