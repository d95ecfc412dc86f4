"""`pnag experiment`: the paper's study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pnag.commands.options import Json, TimeAgain, parse_budgets
from pnag.consoles import make_console


def experiment(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="cpu, gpu or mobile.")],
    run_directory: Annotated[
        Path,
        typer.Option(
            "--run", help="A finished `pnag run --resolutions 224`, whose device is measured."
        ),
    ] = Path("runs/paper"),
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Comma list in ms; five stand for the paper's. [default: the paper's, scaled]"
        ),
    ] = None,
    time_again: TimeAgain = None,
    as_json: Json = False,
) -> None:
    """Make the paper's tables and figures: its numbers, and what was computed and measured here.

    EVO, NAS-MO, OFA-MO and PNAG answer the paper's five budgets, scaled to this machine, from the
    run's table; their networks, the paper's and the networks people know are timed in turns. Tables
    and figures lie in RUN/experiment-DEVICE, where experiment.html has them on one page. Stop it at
    any moment; the same command resumes it.
    """
    from pnag.run.display import Display
    from pnag.studies.paper.experiment import held_study, run_experiment
    from pnag.studies.paper.table import terminal_table
    from pnag.studies.paper.times import forget_unsure_times

    display = Display(make_console(stderr=as_json))
    with held_study(run_directory, device, parse_budgets(budgets)) as study:
        if time_again:
            forget_unsure_times(study)
        found = run_experiment(study, display)
    if as_json:
        typer.echo(json.dumps(found))
        return
    title = f"{found['paper']}, and here"
    display.console.print(terminal_table(found["rows"], title, display.console.width))
    for method, shares in found["within"].items():
        text = ", ".join(f"{s['budget']:g} ms {s['share']:.0%}" for s in shares)
        display.note(f"draws of {method} within budget: {text}")
    display.note(f"tables and figures: [bold]{escape(str(study.folder))}[/bold]")
    display.note(f"the same on one page: [bold]{escape(str(study.page))}[/bold]")
