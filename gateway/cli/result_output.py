"""Prints the results of verbs: JSON, tables, named values, and sentences about changes.

On a terminal Rich draws the tables, with control characters escaped. The output to a file or
a pipe is plain text: one line for each row, without escape codes, wrapping or truncation. Columns
are measured in cells of a terminal, of which a Korean or Chinese character takes two.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

from gateway.operations import format_moment, format_value, restate_times
from gateway.process_log import escape_character, is_utf8_stream

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from gateway.cli.verb_groups import Arguments


_Row = TypeVar("_Row")

#: The colour of a row's state, by its value.
_STYLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ACTIVE", "CLOSED", "DELIVERED", "current", "fresh", "in force", "ours"), "green"),
    **dict.fromkeys(("HELD", "SUSPENDED", "ending", "future", "never", "QUEUED"), "yellow"),
    **dict.fromkeys(("FAILED", "REFUSED", "CANCELLED", "stale", "over"), "red"),
}


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print one JSON object, on one line unless it is indented."""
    print(format_json(value, indent=indent))


def format_json(value: Any, *, indent: int | None = None) -> str:
    """Return JSON for standard output: in ASCII unless that is UTF-8, the only encoding of RFC 8259 §8.1."""
    is_escaped = not is_utf8_stream(sys.stdout)
    return json.dumps(value, default=format_value, ensure_ascii=is_escaped, indent=indent)


def print_table(rows: Iterable[Mapping[str, Any]], *, as_json: bool, columns: Sequence[str]) -> None:
    """Print rows: one JSON object for each with all values, or the columns as a table."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    cells = [[_format_cell(row[name]) for name in columns] for row in rows]
    if sys.stdout.isatty():
        _draw_rich_table(columns, cells)
    else:
        _write_plain_columns(columns, cells)


def _format_cell(value: Any) -> str:
    """Return a value as text without line breaks and control characters, which would break the columns."""
    if isinstance(value, datetime):
        return format_moment(value)
    if isinstance(value, list | tuple):
        text = ", ".join(str(format_value(element)) for element in value) or "-"
    else:
        # A number is shown also when it is 0.
        is_number = isinstance(value, int) and not isinstance(value, bool)
        text = str(value) if is_number else str(format_value(value) or "-")
    # Escapes are made here, because the width of a column is that of the shown text.
    return _escape_unencodable(escape_line(text).replace("\t", "\\t"))


def _escape_unencodable(text: str) -> str:
    """Return `text` with an escape for each character that the encoding of standard output does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def measure_cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _write_plain_columns(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print a heading and rows in aligned columns, by the width of the characters on a terminal."""
    lines = [[name.upper() for name in columns], *cells]
    sizes = [[measure_cells(word) for word in line] for line in lines]
    widths = [max(column) for column in zip(*sizes, strict=True)]
    for line, line_sizes in zip(lines, sizes, strict=True):
        filled = (f"{word}{'':{widths[n] - line_sizes[n]}}" for n, word in enumerate(line))
        print("  ".join(filled).rstrip())


def _draw_rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        # A value that is too wide continues in the next line of its cell: nothing is truncated.
        table.add_column(Text(name.upper()), overflow="fold")
    for line in cells:
        table.add_row(*(Text(word, style=_STYLES.get(word, "")) for word in line))
    open_console(sys.stdout).print(table)


def format_named_values(named_values: Mapping[str, Any]) -> str:
    """Return named values as text, one on each line; empty ones are left out.

    A line feed in a value, which may be a stranger's, is escaped: it would begin a line that looks like ours.
    """
    fact_texts = {
        name: str(format_value(value)) for name, value in named_values.items() if value not in (None, [], "")
    }
    return "\n".join(f"{name:12} {escape_line(text)}" for name, text in fact_texts.items())


def print_sentence(sentence: str, *, as_json: bool = False) -> None:
    """Print a sentence about a change; print nothing with JSON output."""
    if not as_json:
        print_line(restate_times(sentence))


def print_line(line: str) -> None:
    """Print one line, also where a value in it has line breaks or control characters."""
    print(escape_line(line))


@dataclass(frozen=True, slots=True)
class ReportedFailure:
    """The failure of a verb: a sentence, the id of the problem, its place, and the command that helps."""

    detail: str
    problem: str = ""
    location: str = ""
    help: str = ""
    #: The facts that the verb found before it failed; only in JSON.
    details: Mapping[str, Any] = field(default_factory=dict)

    def format_line(self) -> str:
        """Return the sentence; the place is named once, and the help last."""
        line = f"{self.problem} {self.detail}".lstrip()
        if self.location and self.location not in self.detail:
            line += f" at {self.location}"
        if not self.help:
            return line
        return f"{line}{'' if line.endswith('?') else '.'} Try `{self.help}`."

    def to_json(self) -> dict[str, Any]:
        """Return the four values, with null for unknown ones, and the entries of `details`."""
        return {
            "problem": self.problem or None,
            "detail": self.detail,
            "location": self.location or None,
            "help": self.help or None,
            **self.details,
        }


_PROBLEM_ID: Final = re.compile(r"\bGW[0-9]{3}\b")
#: Whether failures are printed as JSON objects.
_failures_as_json: Final[ContextVar[bool]] = ContextVar("failures_as_json", default=False)


@contextmanager
def choose_problem_format(*, as_json: bool) -> Iterator[None]:
    """Print the problems inside the block as JSON objects, or as lines."""
    token = _failures_as_json.set(as_json)
    try:
        yield
    finally:
        _failures_as_json.reset(token)


def format_failure(failure: ReportedFailure) -> str:
    """Return the failure of a verb: one line, or one JSON object with ``--json``."""
    if _failures_as_json.get():
        # Octets of an argument that are not text are escaped, as JSON knows them.
        is_plain = failure.detail.isprintable() and is_utf8_stream(sys.stderr)
        return json.dumps(failure.to_json(), default=format_value, ensure_ascii=not is_plain)
    return escape_line(restate_times(f"gateway: {failure.format_line()}"))


def print_failure(failure: ReportedFailure) -> None:
    """Print why a verb failed to standard error: one line, or one JSON object with ``--json``."""
    write_error(format_failure(failure))


def print_problem(sentence: str) -> None:
    """Print one line about a problem to standard error, or one JSON object with the id that it names."""
    problem_id = _PROBLEM_ID.search(sentence) if _failures_as_json.get() else None
    print_failure(ReportedFailure(sentence, problem_id[0] if problem_id is not None else ""))


class WrongRowError(Exception):
    """A row that a verb names is not there, or is there already: GW808 with exit status 1."""


def require_row(row: _Row | None, sentence: str) -> _Row:
    """Return a row that was searched for; raise WrongRowError with the sentence where there is none."""
    if row is None:
        raise WrongRowError(sentence)
    return row


def print_report(
    report: Mapping[str, Any],
    *,
    as_json: bool,
    as_text: Callable[[dict[str, Any]], object] = lambda report: print(format_named_values(report)),
) -> None:
    """Print a report: one JSON object, or the output of `as_text`; by default one value on each line."""
    if as_json:
        print_json(report)
    else:
        as_text(dict(report))


def print_done(arguments: Arguments, sentence: str, *lines: str, **json_values: Any) -> None:
    """Print the result of a verb: the sentence and more lines, or one JSON object with the facts."""
    if arguments.json:
        print_json({"verb": arguments.verb_words, "done": sentence, **json_values})
        return
    print_sentence(sentence)
    for line in lines:
        print_line(line)


def escape_controls(text: str) -> str:
    """Return `text` with unprintable characters escaped as in JSON; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else escape_character(character)
        for character in text
    )


def escape_line(text: str) -> str:
    """Return `text` as one line; a line break in the value of a stranger would begin a line like ours."""
    return escape_controls(text).replace("\n", "\\n")


class _EscapingTerminal:
    """A stream to a terminal that escapes control characters."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Write `text` with its control characters escaped; return its length."""
        self.unguarded.write(escape_controls(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


class OutputError(Exception):
    """An error of standard output, for example of a full disk; its cause is the error of the system."""


class _CheckedOutput:
    """A stream that is no terminal; a failed write raises OutputError, not a fault of the program."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Write `text`; raise `OutputError` where that fails, but for a pipe that its reader has closed."""
        with _raise_output_error():
            return self.unguarded.write(text)

    def flush(self) -> None:
        """Write the buffered text; raise as `write` does."""
        with _raise_output_error():
            self.unguarded.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


@contextmanager
def _raise_output_error() -> Iterator[None]:
    """Raise OutputError in place of an OSError of the block, except for a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as failure:
        raise OutputError(failure.strerror or type(failure).__name__) from failure


@contextmanager
def guard_terminals() -> Iterator[None]:
    """Inside the block, escape control characters in terminal output; a failed output raises OutputError."""
    streams = sys.stdout, sys.stderr
    if not isinstance(sys.stdout, _EscapingTerminal | _CheckedOutput):
        sys.stdout = _EscapingTerminal(sys.stdout) if sys.stdout.isatty() else _CheckedOutput(sys.stdout)
    if sys.stderr.isatty() and not isinstance(sys.stderr, _EscapingTerminal):
        sys.stderr = _EscapingTerminal(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def open_missing_streams() -> None:
    """Open the null device for a standard stream that the caller has closed.

    Otherwise the next opened file, such as a database, would get its descriptor number and the printed text.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken: that of the stream.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def escape_unencodable_output() -> None:
    """Let standard output escape characters that its encoding does not have, as standard error always does.

    Otherwise an error in the middle of a list would leave out the rest of the list. The octets of an argument
    that are no text are escaped, too.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # If a pipe has taken the place of a file, the last step asks for a position, which no pipe has.
        with suppress(OSError):
            sys.stdout.reconfigure(errors="backslashreplace")


def print_octets(octets: bytes) -> None:
    """Print the octets of a document, whose encoding is its own: not that of the terminal."""
    with _raise_output_error():
        sys.stdout.flush()
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()


def discard_output() -> None:
    """Write nothing more to standard output: Python must not try it again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_error(line: str) -> None:
    """Write a line to standard error; octets of an argument that are not text are escaped."""
    sys.stderr.write(f"{line}\n".encode("utf-8", "backslashreplace").decode("utf-8"))


def open_console(stream: TextIO) -> Console:
    """Return a console of Rich on a terminal stream; with NO_COLOR it writes no escape codes.

    The console bypasses `guard_terminals`: its callers must pass every text from outside
    through `escape_controls`.
    """
    from rich.console import Console

    is_plain = bool(os.environ.get("NO_COLOR"))
    return Console(
        file=getattr(stream, "unguarded", stream),
        color_system=None if is_plain else "auto",
        markup=False,
        emoji=False,
        highlight=False,
    )


class ProgressBar:
    """A visible progress bar, or one without output."""

    def __init__(self, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._progress = progress
        self._task = task

    def advance_to(self, finished: int, total: int | None = None) -> None:
        """Set the number of finished steps, and `total` if it is known."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=finished, total=total)

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
