"""Random subnets of every timm family as ONNX files, each checked against torch.

    python benchmarks/timm_onnx.py [NETWORK ...]

Weights are random, those of batch norms and of the kernels' matrices too; subnets are exported at
their family's largest resolution with 1000 classes. A difference is the largest of the outputs, as
a fraction of the largest output; above 1e-4 the export itself refuses to write the file. Rows of
networks that are not named stay as they are in `results/timm_onnx.json`.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

from pnag.deploy.export import export_checked
from pnag.families import family
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.timm_networks import PREFIX, TRIED
from pnag.files import read_json, write_json, write_text

RESULTS = Path(__file__).parent / "results"
SUBNETS = 20


def stirred(supernet: ElasticNetwork) -> ElasticNetwork:
    """The supernet with other statistics, scales and matrices than those that it begins with."""
    for name, value in supernet.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("_matrix"):
            value.add_(0.1 * torch.randn_like(value))
    return supernet.eval()


def row(model: str, path: Path) -> dict[str, Any]:
    """Export subnets of one family to a path, one after the other."""
    of = family(f"{PREFIX}{model}")
    torch.manual_seed(0)
    supernet, resolution = stirred(of.supernet()), of.resolutions[-1]
    found, sizes = [], []
    for text in of.sample(SUBNETS, np.random.default_rng(0)):
        found.append(export_checked(supernet.subnet(text), path, resolution))
        onnx.checker.check_model(path, full_check=True)
        sizes.append(path.stat().st_size / 1e6)
    return {
        "resolution": resolution, "subnets": len(found), "median": float(np.median(found)),
        "largest": max(found), "megabytes": [min(sizes), max(sizes)],
    }  # fmt: skip


def main(models: list[str]) -> None:
    """Measure the rows of some networks, print and keep all."""
    torch.set_num_threads(1)
    kept = RESULTS / "timm_onnx.json"
    rows: dict[str, Any] = read_json(kept) if kept.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for model in models or TRIED:
            rows[model] = row(model, Path(folder) / "subnet.onnx")
            write_json(kept, rows)
    table = Table(title="random subnets as ONNX files, beside torch", title_justify="left")
    for column in ("family", "pixels", "subnets", "median difference", "largest", "MB"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for model in (each for each in TRIED if each in rows):
        of = rows[model]
        table.add_row(
            f"{PREFIX}{model}", str(of["resolution"]), str(of["subnets"]), f"{of['median']:.1e}",
            f"{of['largest']:.1e}", "{:.1f} to {:.1f}".format(*of["megabytes"]),
        )  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    versions = f"torch {torch.__version__}, ONNX {onnx.__version__}"
    console.print(f"{versions}, ONNX Runtime {onnxruntime.__version__}")
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    write_text(RESULTS / "timm_onnx.txt", text)
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
