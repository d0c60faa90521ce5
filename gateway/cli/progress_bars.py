"""Progress bars of verbs that take longer than two seconds: on standard error, and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from gateway.cli.terminal_text import escape_controls, open_console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ProgressBar", "show_progress"]


class ProgressBar:
    """A bar that is drawn, or one that nobody sees."""

    def __init__(self, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._progress = progress
        self._task = task

    def advance_to(self, done: int, total: int | None = None) -> None:
        """Say that `done` steps are done, of `total` where that is known now."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)

    def advance_one(self) -> None:
        """Say that one more step is done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)

    def change_title(self, title: str) -> None:
        """Say what is done now."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=escape_controls(title))

    def print_line(self, line: str, stream: TextIO) -> None:
        """Print a line to a stream; above the bar where both are on a terminal."""
        if self._progress is not None and stream.isatty():
            from rich.text import Text

            self._progress.console.print(Text(escape_controls(line)), soft_wrap=True)
            return
        stream.write(f"{line}\n")
        stream.flush()


@contextmanager
def show_progress(title: str, total: int | None = None) -> Iterator[ProgressBar]:
    """Give a bar of `total` steps, or one that only moves while the time runs; it goes when this ends."""
    if not sys.stderr.isatty():
        yield ProgressBar()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()]
    if total is not None:
        columns.insert(2, MofNCompleteColumn())
    # What is printed meanwhile goes to the streams as they are: they are guarded, Rich's are not.
    progress = Progress(
        *columns,
        console=open_console(sys.stderr),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress:
        yield ProgressBar(progress, progress.add_task(escape_controls(title), total=total))
