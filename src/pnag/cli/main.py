"""`pnag`: one command a stage, and `run` for all of them."""

from __future__ import annotations

import _thread
import errno
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from pnag.cli.architectures import count, export, generate
from pnag.cli.devices import measure
from pnag.cli.experiment import experiment
from pnag.cli.report import compare, report
from pnag.cli.run import run, train
from pnag.cli.tables import collect, search
from pnag.cli.zoo import zoo_app
from pnag.errors import PnagError

app = typer.Typer(
    name="pnag",
    help="Give it a device and a latency budget, it hands you the best network for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Markdown: paragraphs are wrapped to the terminal, and "[default: 24]" is text, not a style.
    rich_markup_mode="markdown",
)
errors = Console(stderr=True)
F = TypeVar("F", bound=Callable[..., Any])

REFUSALS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG,
}  # fmt: skip
"""What a system has against a user's files, and no bug brings about."""


def mistakes_are_messages(command: F) -> F:
    """Print a user's mistake as one line and exit with 2; Ctrl-C exits with 130."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except PnagError as error:
            errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None
        except OSError as error:  # of a file that is seldom refused, so nothing nearer told it
            if error.errno not in REFUSALS:
                raise
            file = escape(str(error.filename or "a file"))
            errors.print(
                f"[red]error:[/red] cannot use {file}: {error.strerror}; ask for access to it, "
                "free space, or name another",
                highlight=False,
                soft_wrap=True,
            )
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            errors.print("stopped; `run`, `train`, `collect` and `measure` go on where they were")
            raise typer.Exit(130) from None

    return wrapped  # type: ignore[return-value]


COMMANDS = (
    run, train, collect, generate, search, measure, count, export, report, compare, experiment,
)  # fmt: skip
for command in COMMANDS:
    app.command()(mistakes_are_messages(command))
app.add_typer(zoo_app(mistakes_are_messages), name="zoo")


def ctrl_c_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Repeat a Ctrl-C that fell where Python can only ignore it (a weak reference's callback,
    most often one of the import system's), so that it still stops the command."""
    if unraisable.exc_type is KeyboardInterrupt:
        # A little later and from outside: at once, it would fall into the same callback.
        again = threading.Timer(0.05, _thread.interrupt_main)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def main() -> None:
    """What `pnag.__main__` calls."""
    sys.unraisablehook = ctrl_c_again
    app()
