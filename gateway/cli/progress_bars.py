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
    """A visible progress bar, or one without output."""

    def __init__(self, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._progress = progress
        self._task = task

    def advance_to(self, done: int, total: int | None = None) -> None:
        """Set the number of finished steps, and `total` if it is known."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)

    def advance_one(self) -> None:
        """Count one more finished step."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)

    def change_title(self, title: str) -> None:
        """Change the title of the bar."""
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
    """Provide a bar of `total` steps, or an indeterminate one; it disappears at the end."""
    if not sys.stderr.isatty():
        yield ProgressBar()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()]
    if total is not None:
        columns.insert(2, MofNCompleteColumn())
    # Other output is not redirected: our streams escape control characters, those of Rich do not.
    progress = Progress(
        *columns,
        console=open_console(sys.stderr),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress:
        yield ProgressBar(progress, progress.add_task(escape_controls(title), total=total))
