"""What a run shows while it works: a progress bar for each stage, and notes.

Where there is no terminal to draw a bar in, a stage writes a line every half minute instead, and
one when it is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pnag.consoles import make_console

EVERY = 30.0  # seconds between two lines


class Bar(Protocol):
    """One stage's progress."""

    def update(self, done: int, total: int, detail: str = "") -> None:
        """Show `done` of `total`, with a word on what is going on."""


def adding_up(bar: Bar, total: int) -> Callable[[int], None]:
    """What shows steps on a bar, given how many more of `total` are done."""
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        bar.update(done, total)

    return advance


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="dim")


class _Drawn:
    """A bar of a terminal."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(escape(name), total=None)
        self._name = escape(name)

    def update(self, done: int, total: int, detail: str = "") -> None:
        text = f"{self._name} [dim]{escape(detail)}[/dim]" if detail else self._name
        self._progress.update(self._task, completed=done, total=total, description=text)


class _Lines:
    """Lines in a file, written by a thread of their own: one step of a stage may be long."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._began = time.monotonic()
        self._first: tuple[float, int] | None = None  # when work that is counted began, and at what
        self._last: tuple[int, int, str] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def update(self, done: int, total: int, detail: str = "") -> None:
        self._first = self._first or (time.monotonic(), done)
        self._last = (done, total, detail)

    def close(self, *, finished: bool) -> None:
        """No more lines but the last."""
        self._stop.set()
        self._thread.join()
        if self._last is None and not finished:
            return  # it was refused before it began
        line = self._line(left=False)
        self._print(f"✓ {line}" if finished else f"{line}, not finished")

    def _write(self) -> None:
        while not self._stop.wait(EVERY):
            self._print(self._line(left=True))

    def _line(self, *, left: bool) -> str:
        took = time.monotonic() - self._began
        if self._last is None or self._first is None:
            return f"{self._name}: {_span(took)}"
        done, total, detail = self._last
        since, before = self._first
        speed = (done - before) / max(time.monotonic() - since, 1e-9)
        what = f"{self._name} {detail}" if detail else self._name
        line = f"{what}: {done:,} of {total:,} in {_span(took)}"
        if left and speed and done < total:
            line += f", about {_span((total - done) / speed)} left"
        return line

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _span(seconds: float) -> str:
    """A time as people write it: 0:05, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """Prints to a console (stderr where stdout carries JSON)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or make_console()

    def note(self, text: str) -> None:
        """One line that the user should see."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A note on something that the user may not have meant; nothing if the text is empty."""
        if text:
            self.note(f"[yellow]note:[/yellow] {escape(text)}")

    def reused(self, stage: str) -> None:
        """A stage need not be done again."""
        self.note(f"[green]✓[/green] {stage} [dim]reused from the last run[/dim]")

    @contextmanager
    def bar(self, name: str) -> Iterator[Bar]:
        """The progress of a stage for as long as the block runs."""
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            lines = _Lines(self.console, name)
            finished = False
            try:
                yield lines
                finished = True
            finally:
                lines.close(finished=finished)
            return
        ascii_only = self.console.options.ascii_only
        with Progress(
            SpinnerColumn("line" if ascii_only else "dots", finished_text="[green]✓[/green]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("[dim]left"),
            TimeRemainingColumn(),
            console=self.console,
        ) as progress:
            yield _Drawn(progress, name)
