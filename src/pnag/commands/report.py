"""Finished runs to look at: `pnag report` and `pnag compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pnag.commands.options import FinishedRun, Json
from pnag.consoles import make_console


def report(
    run_directory: FinishedRun,
    figures: Annotated[
        Path | None,
        typer.Option(help="Also write each figure as SVG and PNG into this folder, for papers."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write. [default: RUN/report.html]")
    ] = None,
) -> None:
    """Rewrite the page of a finished run, where you move a budget and see the network for it."""
    from pnag.commands.bodies.report import load_results, save_report

    results = load_results(run_directory)
    typer.echo(save_report(results, out))
    if figures is not None:
        from pnag.report.figures import write_figures

        for path in write_figures(figures, results):
            typer.echo(path)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Finished runs of several devices; or, for other methods, files that `pnag search "
            "--json` printed.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="File of the page.")] = Path("compare.html"),
    as_json: Json = False,
) -> None:
    """Compare several fronts on a page and in a table: what each answers for the same budget."""
    from pnag.commands.bodies.compare import compare_paths
    from pnag.files import write_text
    from pnag.report.compare import compare_page, warnings
    from pnag.report.terminal import compare_table
    from pnag.run.own_files import refuse_own_files

    refuse_own_files(out)
    comparison = compare_paths(runs)
    write_text(out, compare_page(comparison))
    if as_json:
        typer.echo(json.dumps(comparison.as_json(), indent=1))
        return
    console = make_console()
    console.print(compare_table(comparison))
    for warning in warnings(comparison):
        console.print(f"[yellow]note:[/yellow] {escape(warning)}")
    console.print(f"page [bold]{escape(str(out))}[/bold]", soft_wrap=True)
