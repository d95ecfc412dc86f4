"""Tables and architectures as other programs and spreadsheets write them, by the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

import pnag
from pnag import table_files
from pnag.commands.main import app
from pnag.cost.published_table import NOTE10, NSGANET
from pnag.families import count_batch, family
from pnag.families.ofa_mobilenetv3 import ofa

SPACE = pnag.SearchSpace()
TEXT = "2,2,2,2,3:3,5,0,0,5,5,0,0,3,7,0,0,5,5,0,0,7,7,3,0:3,4,0,0,6,6,0,0,3,4,0,0,6,3,0,0,6,4,6,0"
PARTS = {  # the same, as Once-for-All samples it: with numbers of layers that do not exist
    "ks": [3, 5, 7, 3, 5, 5, 5, 3, 3, 7, 3, 3, 5, 5, 7, 7, 7, 7, 3, 5],
    "e": [3, 4, 6, 6, 6, 6, 3, 4, 3, 4, 4, 4, 6, 3, 4, 6, 6, 4, 6, 3],
    "d": [2, 2, 2, 2, 3],
}
OF, RESOLUTION, CLASSES = ofa(0.5), 64, 10
SIZED = ("--width-mult", 0.5, "--resolution", RESOLUTION, "--num-classes", CLASSES)
QUICK = {
    "architectures": 400,
    "predictor": {"members": 2, "hidden": 16, "epochs": 4, "batch": 64},
    "evaluator": {"steps": 10, "hidden": 32},
    "generator": {"iterations": 20, "samples": 16, "refine_steps": 1, "hidden": 16},
    "front": {"budgets": 16, "draws": 16, "rounds": 8, "children": 256},
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def without_the_rest(arch: str) -> dict[str, list[int]]:
    """Numbers of existing layers only."""
    one = pnag.Architecture.parse(arch)
    return {"ks": [k for k in one.kernels if k], "e": [w for w in one.widths if w]}


def as_network(arch: str) -> dict[str, Any]:
    """What Once-for-All writes of one network: of it, what tells the architecture."""
    one = pnag.Architecture.parse(arch)
    blocks = [{"mobile_inverted_conv": {"out_channels": 16, "kernel_size": 3, "expand_ratio": 1}}]
    for position, width in enumerate(one.widths):
        if width:
            channels = (24, 40, 80, 112, 160)[position // 4]
            layer = {"out_channels": channels, "expand_ratio": width}
            blocks.append({"mobile_inverted_conv": layer | {"kernel_size": one.kernels[position]}})
    return {"name": "MobileNetV3", "blocks": blocks}


SPELLINGS: list[Any] = [
    json.dumps(PARTS),
    str({"wid": None, **PARTS, "r": [224]}),  # DyNAS-T's
    json.dumps(PARTS | without_the_rest(TEXT)),
    json.dumps({"arch": TEXT, "budget": 3.5}),
    json.dumps(as_network(TEXT)),
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_count_reads_architectures_of_others(spelling: str, tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text(spelling)
    expected = call("count", TEXT, "--json")
    for given in (spelling, tmp_path / "arch.json"):
        done = call("count", given, "--json")
        assert done.exit_code == 0, done.output
        assert (done.stdout, done.stderr) == (expected.stdout, "")
    assert json.loads(expected.stdout)["params"] == pnag.count(TEXT).params


def test_columns_of_one_name_get_names_of_their_own() -> None:
    assert table_files._unique(["a", "a", "a.1", "b", "a"]) == ["a", "a.2", "a.1", "b", "a.3"]


def test_one_number_stands_for_all() -> None:
    largest = f"4,4,4,4,4:{','.join('7' * 20)}:{','.join('6' * 20)}"
    done = call("count", '{"ks": 7, "e": 6, "d": 4}', "--json")
    assert json.loads(done.stdout)["macs"] == pnag.count(largest).macs


def test_a_size_that_an_architecture_comes_with_is_said() -> None:
    given = json.dumps(PARTS | {"r": [160], "w": 1.2})
    done = call("count", given, "--json")
    assert json.loads(done.stdout)["macs"] == pnag.count(TEXT).macs
    assert (
        "says resolution 160, but 224 is used; to use its own, give --resolution 160" in done.stderr
    )
    assert (
        "says width mult 1.2, but 1 is used; to use its own, give --width-mult 1.2" in done.stderr
    )
    done = call("count", given, "--json", "--resolution", 160, "--width-mult", 1.2)
    assert json.loads(done.stdout)["macs"] == pnag.count(TEXT, 1.2, 160).macs
    assert done.stderr == ""


def test_export_reads_architectures_of_others(tmp_path: Path) -> None:
    files = []
    for name, given in (("a", TEXT), ("b", json.dumps(PARTS))):
        done = call(
            "export", given, "--to", "timm", "--out", tmp_path / f"{name}.safetensors", *SIZED
        )
        assert done.exit_code == 0, done.output
        files.append((tmp_path / f"{name}.json").read_text())
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ('{"ks": [3], "e": [3]}', "with 'ks', 'e' lacks 'd'"),
        ("{}", "lacks 'd' and 'ks' and 'e'"),
        ("{broken", "cannot read '{broken' as an architecture"),
        (json.dumps(PARTS | {"d": [2, 2, 2, 2]}), "there must be 5 depths, not 4"),
        (json.dumps(PARTS | {"ks": [3] * 12}), "there must be 20 kernels, or 11"),
        (json.dumps(PARTS | {"ks": [3.5] * 20}), "the kernels must be a whole number, not 3.5"),
        (json.dumps(PARTS | {"e": [5] * 20}), "width of unit 1 layer 1 must be one of 3, 4, 6"),
        (json.dumps(PARTS | {"d": [9] * 5}), "depth of unit 1 must be one of 2, 3, 4, not 9"),
        ("[1, 2]", "this is a list; give one architecture"),
        ('{"blocks": [1, 2]}', "not those of Once-for-All's MobileNetV3"),
        ("nosuch.json", "must have 3 parts"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_architecture_is_said(given: str, says: str) -> None:
    done = call("count", given)
    assert done.exit_code == 2
    assert says in done.stderr


# Tables of accuracies

ROWS = 60


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    tokens = SPACE.sample_unique(ROWS, np.random.default_rng(0))
    quality = SPACE.features(tokens) @ np.linspace(0, 1, SPACE.num_features)
    cost = count_batch(family(), tokens, resolution=64).macs / 1e6
    return pd.DataFrame(
        {"arch": SPACE.text(tokens), "top1": 70.5 + quality.round(2) / 10, "ms": cost.round(3)}
    )


def search(path: Path, accuracy: str = "top1", cost: str = "ms") -> Result:
    return call("search", "--table", path, "--accuracy", accuracy, "--cost", cost,
                "--budgets", 1e6, "--method", "random", "--json")  # fmt: skip


@pytest.fixture(scope="module")
def answer(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plain") / "t.csv"
    table.to_csv(path, index=False)
    done = search(path)
    assert done.exit_code == 0, done.output
    assert "read with" not in done.stderr
    return done.stdout


def german(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, sep=";", decimal=",")


def with_thousands(table: pd.DataFrame) -> str:
    cells = [f"{value:,.3f}".translate(str.maketrans(",.", ".,")) for value in table["ms"]]
    return german(table.assign(ms=cells))


def lists(table: pd.DataFrame, text: Callable[[dict[str, Any]], Any]) -> pd.DataFrame:
    """A table with architectures as `text` makes them of Once-for-All's lists."""
    found = []
    for arch in table["arch"]:
        one = pnag.Architecture.parse(arch)
        full = {"ks": [k or 7 for k in one.kernels], "e": [w or 6 for w in one.widths]}
        found.append(text(full | {"d": list(one.depths)}))
    made = (
        pd.DataFrame(found) if isinstance(found[0], dict) else pd.DataFrame({"Sub-network": found})
    )
    return pd.concat([made, table.drop(columns="arch")], axis=1)


FILES: dict[str, tuple[Callable[[pd.DataFrame], bytes], str]] = {
    "semicolons.csv": (lambda t: german(t).encode(), "';' between columns, decimal commas"),
    "utf16.csv": (lambda t: german(t).encode("utf-16"), "UTF-16, ';' between columns"),
    "utf16-without-mark.txt": (lambda t: german(t).encode("utf-16-le"), "UTF-16"),
    "tabs.tsv": (lambda t: t.to_csv(index=False, sep="\t", decimal=",").encode(), "tabs between"),
    "quoted-commas.csv": (lambda t: t.to_csv(index=False, decimal=",").encode(), "decimal commas"),
    "excel.csv": (
        lambda t: ("sep=;\n" + german(t)).replace("\n", "\r\n").encode("utf-8-sig"),
        "decimal commas",
    ),
    "empty-cells.csv": (lambda t: german(t).replace("\n", ";;\n").encode(), "decimal commas"),
    "thousands.csv": (lambda t: with_thousands(t).encode(), "decimal commas"),
    "units.csv": (
        lambda t: t.assign(top1=t["top1"].astype(str) + " %", ms=t["ms"].astype(str) + "ms")
        .to_csv(index=False)
        .encode(),
        "% after numbers left out, ms after numbers left out",
    ),
    "spaces-in-names.csv": (
        lambda t: t.to_csv(index=False).replace(",top1,", ", top1 ,").encode(), "",
    ),
    "parquet-by-another-name.csv": (lambda t: t.to_parquet(index=False), ""),
    "rows.json": (lambda t: t.to_json(orient="records").encode(), ""),
    "dynast.csv": (lambda t: lists(t, str).to_csv(index=False).encode(), "column 'Sub-network'"),
    "lists.csv": (
        lambda t: lists(t, lambda p: {n: json.dumps(v) for n, v in p.items()})
        .to_csv(index=False)
        .encode(),
        "made of its columns 'd', 'ks', 'e'",
    ),
    "lists.parquet": (lambda t: lists(t, dict).to_parquet(index=False), "columns 'd', 'ks', 'e'"),
    "a-column-each.csv": (
        lambda t: lists(t, lambda p: {f"{n}_{i}": x for n, v in p.items() for i, x in enumerate(v)})
        .to_csv(index=False)
        .encode(),
        "made of its columns 'd_0', 'ks_0', 'e_0'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_table_of_another_program_gives_the_same_answer(
    name: str, table: pd.DataFrame, answer: str, tmp_path: Path
) -> None:
    write, says = FILES[name]
    (tmp_path / name).write_bytes(write(table))
    done = search(tmp_path / name)
    assert done.exit_code == 0, done.output
    assert done.stdout == answer
    assert says in done.stderr


def test_names_of_columns_are_given_with_or_without_spaces(
    table: pd.DataFrame, answer: str, tmp_path: Path
) -> None:
    # as DyNAS-T writes it: `Latency (ms), MACs`
    table.rename(columns={"ms": " ms"}).to_csv(tmp_path / "t.csv", index=False)
    for name in ("ms", " ms"):
        done = search(tmp_path / "t.csv", cost=name)
        assert (done.exit_code, done.stdout) == (0, answer), done.output


def test_a_run_learns_from_a_spreadsheet(table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(german(table), encoding="utf-16")
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    done = call("run", "--table", tmp_path / "t.csv", "--accuracy", "top1", "--cost", "ms",
                "--out", tmp_path / "run", "--recipe", tmp_path / "quick.yaml")  # fmt: skip
    assert done.exit_code == 0, done.output
    learnt = pd.read_parquet(tmp_path / "run" / "table.parquet")
    assert learnt["accuracy"].tolist() == table["top1"].tolist()
    assert learnt["cost"].tolist() == table["ms"].tolist()
    assert "decimal commas" in done.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.assign(ms="1,234", top1=range(len(t))).to_csv(index=False, sep="\t"),
         "ms has numbers such as 1,234, which can be 1.234 or 1234"),
        (lambda t: t.rename(columns={"arch": "x"}).to_csv(index=False), "call 'x' 'arch'"),
        (lambda t: "arch,top1,ms\n" + "\n".join(f"{a},1,2" for a in t["arch"]),
         "has 45 cells, and its header 3; a cell with ',' in it, such as an architecture, needs"),
        (lambda t: t.assign(ms=["fast", *t["ms"][1:]]).to_csv(index=False, sep=";", decimal=","),
         "row 1: ms must be a positive finite number, not fast"),
        (lambda t: "PK\x03\x04", "save it as CSV"),
        (lambda t: "x" * 140_000, "t.csv: field larger than field limit"),
        (lambda t: "x\n" + "y" * 140_000, "t.csv: field larger than field limit"),
        (lambda t: '{"a": 1}', "neither a list of rows nor columns"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(
    change: Callable[[pd.DataFrame], str], says: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(change(table))
    done = search(tmp_path / "t.csv")
    assert done.exit_code == 2
    assert says in done.stderr


# Tables of operators


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, table: pd.DataFrame) -> Path:
    folder = tmp_path_factory.mktemp("operators")
    table.to_csv(folder / "t.csv", index=False)
    (folder / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    done = call("run", "--table", folder / "t.csv", "--accuracy", "top1", "--cost", "ms",
                "--out", folder / "run", "--recipe", folder / "quick.yaml")  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder / "run"


def operators(naming: Any) -> dict[str, float]:
    """Times of a made-up device: 0.5 ms each of the fixed ones, then 0.010, 0.011, ..."""
    specs = OF.blocks(RESOLUTION)
    times = dict.fromkeys(naming.fixed(OF.fixed(RESOLUTION, CLASSES)), 0.5)
    return times | {naming.block(spec): 0.01 + i / 1000 for i, spec in enumerate(specs)}


def expected_ms(arch: str, naming: Any) -> float:
    ids = OF.block_ids(SPACE.encode([arch]))[0]
    fixed = len(naming.fixed(OF.fixed(RESOLUTION, CLASSES)))
    return fixed * 0.5 + float(sum(0.01 + i / 1000 for i in ids if i >= 0))


OPERATOR_FILES: dict[str, Callable[[dict[str, float]], bytes]] = {
    "yaml.json": lambda t: yaml.safe_dump({k: {"mean": v} for k, v in t.items()}).encode(),
    "json.yaml": lambda t: json.dumps({k: {"mean": v} for k, v in t.items()}).encode(),
    "flat": lambda t: json.dumps(t).encode(),
    "means.txt": lambda t: pd.DataFrame({"operator": list(t), "mean_ms": t.values(), "var": 0.1})
    .to_csv(index=False)
    .encode(),
    "spreadsheet.tsv": lambda t: pd.DataFrame({"Operator": list(t), "ms": t.values()})
    .to_csv(index=False, sep=";", decimal=",")
    .encode("utf-16"),
}  # fmt: skip


@pytest.mark.parametrize("naming", [NOTE10, NSGANET], ids=["note10", "nsganet"])
@pytest.mark.parametrize("name", OPERATOR_FILES)
def test_a_table_of_operators_is_read_whatever_it_is_called(
    name: str, naming: Any, run: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(OPERATOR_FILES[name](operators(naming)))
    done = call("generate", run, "--budget", 1e6, "--budget", "phone=1e6",
                "--device", f"phone={tmp_path / name}", *SIZED, "--thorough", "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["costs"]["phone"] == pytest.approx(expected_ms(found["arch"], naming), rel=1e-9)


@pytest.mark.parametrize(
    "content", ['{"version": 99, "identity": {}}', "[1, 2]", '{"a": {"mean": 1}}', "x"]
)
def test_no_message_asks_to_erase_a_file_of_someone_else(
    content: str, run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(content)
    for arguments in (
        ("generate", run, "--budget", 3, "--device", path),
        ("measure", "--out", path),
    ):
        done = call(*arguments)
        assert done.exit_code == 2
        assert str(path) in done.stderr
        said = done.stderr.replace(str(path), "")
        assert not any(word in said for word in ("delete", "remove"))
        assert path.read_text() == content
