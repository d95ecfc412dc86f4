"""`pnag families`."""

from __future__ import annotations

import json
from typing import Any

import typer

from pnag.commands.options import Json
from pnag.consoles import make_console


def families(as_json: Json = False) -> None:
    """List the families of networks that `--family` and `--start timm/NAME` can name."""
    from rich.table import Table

    from pnag.families.registry import registered

    rows = [row for entry in registered().values() for row in map(_row, entry.names())]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("family", "architectures", "params", "MAdds", "made for")
    for row in rows:
        pixels = row["resolutions"]
        table.add_row(
            row["family"],
            f"{row['architectures']:.3g}",
            " to ".join(f"{value / 1e6:.3g} M" for value in row["params"]),
            " to ".join(f"{value / 1e6:.3g} M" for value in row["macs"]),
            f"{pixels[0]} to {pixels[-1]} pixels",
        )
    console = make_console(soft_wrap=True)
    console.print(table)
    console.print(
        "[dim]MAdds at the largest resolution. Other widths: ofa-mobilenetv3-w0.75. Other networks "
        "of timm with the same blocks work, too: timm/NAME. With resolutions to choose among: "
        "timm/efficientnet_lite0@96,128,160.[/dim]"
    )


def _row(name: str) -> dict[str, Any]:
    from pnag.families.registry import family

    of = family(name)
    pixels = of.resolutions[-1]
    counts = [of.count(arch, pixels) for arch in (of.smallest, of.largest)]
    return {
        "family": of.name,
        "architectures": of.space.size,
        "params": [each.params for each in counts],
        "macs": [each.macs for each in counts],
        "resolutions": list(of.resolutions),
    }
