"""What a run shows while it works: one progress bar a stage, and notes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
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


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="dim")


class Bar:
    """One stage's bar."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=None)
        self._name = name

    def update(self, done: int, total: int, detail: str = "") -> None:
        """Show `done` of `total`, with a word on what is going on."""
        text = f"{self._name} [dim]{detail}[/dim]" if detail else self._name
        self._progress.update(self._task, completed=done, total=total, description=text)


class Display:
    """Prints to a console (stderr where stdout carries JSON)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()

    def note(self, text: str) -> None:
        """One line that the user should see."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def reused(self, stage: str) -> None:
        """A stage need not be done again."""
        self.note(f"[green]✓[/green] {stage} [dim]reused from the last run[/dim]")

    @contextmanager
    def bar(self, name: str) -> Iterator[Bar]:
        """A progress bar for as long as the block runs."""
        with Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("[dim]left"),
            TimeRemainingColumn(),
            console=self.console,
        ) as progress:
            yield Bar(progress, name)
