"""Where lines for people go: a terminal, or a file that has no width."""

from __future__ import annotations

import os
import sys

from rich.console import Console

WIDE = 1000  # columns, where there is no terminal: no line is cut or wrapped


def make_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console on stdout or stderr as they are now.

    Without a terminal, and unless the environment's COLUMNS says otherwise, lines are as long as
    they are.

    Args:
        soft_wrap: leave it to a terminal to break long lines, so that they can be copied.
    """
    file = sys.stderr if stderr else sys.stdout
    console = Console(file=file, soft_wrap=soft_wrap)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(file=file, soft_wrap=soft_wrap, width=WIDE)
