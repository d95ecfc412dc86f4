"""`pnag`: a command for each stage, and `run` for all of them."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from pnag import __version__
from pnag.commands.architectures import count, export, generate
from pnag.commands.ctrl_c import heed_ctrl_c, was_ctrl_c
from pnag.commands.experiment import experiment
from pnag.commands.families import families
from pnag.commands.measure import measure
from pnag.commands.report import compare, report
from pnag.commands.run import run, train
from pnag.commands.streams import set_up_streams
from pnag.commands.tables import collect, search
from pnag.commands.zoo import zoo_app
from pnag.errors import PnagError

app = typer.Typer(
    name="pnag",
    help="Give it a device and a latency budget, and it hands you the best network for it.",
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
"""Ways in which the system refuses a user's files; none of them is a bug."""


def mistakes_are_messages(command: F) -> F:
    """Print a user's mistake as one line and exit with 2; Ctrl-C exits with 130."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as error:
            if was_ctrl_c(error):
                errors.print(
                    "stopped; `run`, `train`, `collect` and `measure` continue where they stopped",
                    soft_wrap=True,
                )
                raise typer.Exit(130) from None
            mistake = _mistake(error)
            if mistake is None:
                raise
            errors.print(f"[red]error:[/red] {escape(mistake)}", highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None

    return wrapped  # type: ignore[return-value]


def _mistake(error: BaseException) -> str | None:
    """What a user should know about it; None if it is a bug."""
    if isinstance(error, PnagError):
        return str(error)
    if isinstance(error, OSError) and error.errno in REFUSALS:  # rare, so nothing else reports it
        return (
            f"cannot use {error.filename or 'a file'}: {error.strerror}; ask for access to it, "
            "free space, or name another"
        )
    return None


def print_version(asked: bool) -> None:
    """Print the version and end the command, where `--version` asks for it."""
    if asked:
        typer.echo(f"pnag {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of `pnag` itself."""


COMMANDS = (
    run, train, collect, generate, search, measure, count, families, export, report, compare,
    experiment,
)  # fmt: skip
for command in COMMANDS:
    app.command()(mistakes_are_messages(command))
app.add_typer(zoo_app(mistakes_are_messages), name="zoo")


def main() -> None:
    """What `pnag.__main__` calls."""
    set_up_streams()
    heed_ctrl_c()
    app()
