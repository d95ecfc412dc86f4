"""Write the figures of `src/pnag/deploy/zoo/timm_networks.csv` anew.

    python scripts/timm_networks.py --facts ../shared/facts/timm_imagenet_top1_and_i7_latency.csv

The file's first three columns (key, timm's name, pixels) say which networks the zoo has. Their
top-1, top-5 and latency on an i7-12700H (batch 1, float32, compiled) are taken from timm's
published results; parameters and multiply-adds are counted on the built network, in the form that
it runs in.
To add a network, add a line with its first three columns, and give the command.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import timm
import torch
from timm.utils.model import reparameterize_model
from torch.utils.flop_counter import FlopCounterMode

from pnag.files import write_text

FILE = Path(__file__).parents[1] / "src" / "pnag" / "deploy" / "zoo" / "timm_networks.csv"


def main() -> None:
    """Read names and facts, count, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--facts", type=Path, required=True)
    facts = pd.read_csv(parser.parse_args().facts).set_index(["model", "img_size"])
    rows = []
    for row in pd.read_csv(FILE).itertuples():
        told = facts.loc[(row.network, row.pixels)]
        published = {"top1": told["top1"], "top5": told["top5"], "i7_ms": told["i7_12700h_ms"]}
        names = {"key": row.key, "network": row.network, "pixels": row.pixels}
        rows.append(names | published | counts(str(row.network), int(str(row.pixels))))
    write_text(FILE, pd.DataFrame(rows).sort_values("i7_ms").to_csv(index=False))


def counts(name: str, pixels: int) -> dict[str, int]:
    """Parameters and multiply-adds of a network of timm in the form that it runs in."""
    with torch.device("meta"):
        network = reparameterize_model(timm.create_model(name, pretrained=False).eval())
        images = torch.zeros(1, 3, pixels, pixels)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    flops = {str(kind): n for kind, n in counter.get_flop_counts()["Global"].items()}
    return {
        "params": sum(p.numel() for p in network.parameters()),
        "macs": sum(flops.values()) // 2,
        "conv_macs": flops["aten.convolution"] // 2,
    }


if __name__ == "__main__":
    main()
