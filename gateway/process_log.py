"""The log of every process of the gateway, in one format: time, level, place, text and fields.

The time is UTC as in RFC 3339. The fields name the objects of a line by their ids (``delivery=12``), so that
a search finds all lines of one. With ``--json`` each line is one JSON object with the same values, and with
the traceback where there is one. A long text is cut, and the number of lines that requests of strangers
can cause is limited per minute, so that an outsider cannot fill the disk of the log. Lines for which a pipe
has no room are left out and counted (`gateway.log_stream`).
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from gateway.log_stream import guard_standard_error

#: The place of the lines about start and readiness, which are logged at the default level, too.
START_LOG: Final = "gateway.start"
#: The objects that a line can name, each by its id: the keys of ``extra`` of a call that logs.
FIELDS: Final = (
    "partner",
    "case",
    "case_id",
    "message_id",
    "delivery",
    "act",
    "deadline",
    "task",
    "source",
    "agreement",
    "certificate",
    "sha256",
    "problem",
    "path",
    "table",
    "row",
)
_LEVEL_VARIABLE: Final = "GATEWAY_LOG"
_DEFAULT_LEVEL: Final = "WARNING"
#: Tells the processes that a process starts which form the lines have.
_FORMAT_VARIABLE: Final = "GATEWAY_LOG_FORM"


#: The places whose lines strangers can cause.
_PUBLIC_LOGGER_PREFIX: Final = "gateway.web."
#: The most lines of one place and form that are written within `_PERIOD_SECONDS` seconds.
_MAX_LINES: Final = 30
_PERIOD_SECONDS: Final = 60.0
_MAX_TEXT_LENGTH: Final = 2000
_MAX_FIELD_LENGTH: Final = 200
_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class RepeatedLineFilter(logging.Filter):
    """Leaves out lines that the servers log too often; the next line says how many were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._period_start = clock()
        # By place and form, neither of which a stranger writes.
        self._written: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is written: at most 30 of one place and form within 60 seconds.

        Records below WARNING are always written: an operator who sets a lower level wants each line. So are
        those of places that strangers cannot reach.
        """
        if record.levelno < logging.WARNING or not record.name.startswith(_PUBLIC_LOGGER_PREFIX):
            return True
        if self._clock() - self._period_start >= _PERIOD_SECONDS:
            self._period_start = self._clock()
            self._written.clear()
        line_key = (record.name, str(record.msg))
        if self._written[line_key] >= _MAX_LINES:
            self._left_out[line_key] += 1
            return False
        self._written[line_key] += 1
        omitted_count = self._left_out.pop(line_key, 0)
        if omitted_count:
            record.msg, record.args = f"{record.getMessage()} ({omitted_count} more were left out)", ()
        return True


class _LineFormatter(logging.Formatter):
    """Writes ``TIME LEVEL PLACE TEXT FIELD=VALUE…``; its unprintable characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and its traceback below it."""
        text = _escape_unprintable(format_text(record))
        line = f"{_format_time(record)} {record.levelname} {record.name} {text}"
        return line if not record.exc_info else f"{line}\n{self.formatException(record.exc_info)}"


class _JsonFormatter(logging.Formatter):
    """Writes one JSON object for each record, in ASCII for a stream that is not UTF-8."""

    def __init__(self, *, is_utf8: bool) -> None:
        super().__init__()
        self._is_utf8 = is_utf8

    def format(self, record: logging.LogRecord) -> str:
        """Return the object of a record on one line."""
        fields = {
            "time": _format_time(record),
            "level": record.levelname,
            "place": record.name,
            "text": _get_record_text(record),
            **_get_record_fields(record),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return _escape_unprintable(json.dumps(fields, ensure_ascii=not self._is_utf8))


def _escape_unprintable(text: str) -> str:
    """Return a text with each character that could end a line or move a cursor escaped as in JSON."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _SHORT_ESCAPES.get(character) or escape_character(character)
        for character in text
    )


def is_utf8_stream(stream: TextIO) -> bool:
    """Return whether a stream writes UTF-8; a stream without an encoding keeps characters."""
    return stream.encoding is None or codecs.lookup(stream.encoding).name == "utf-8"


def escape_character(character: str) -> str:
    """Return one character as JSON escapes it: one escape of four hexadecimal digits for each UTF-16 unit."""
    utf16_octets = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{utf16_octets[start : start + 2].hex()}" for start in range(0, len(utf16_octets), 2))


def format_text(record: logging.LogRecord) -> str:
    """Return the text of a record and, behind it, its fields as ``NAME=VALUE``."""
    fields = (f" {name}={_quote_value(value)}" for name, value in _get_record_fields(record).items())
    return "".join([_get_record_text(record), *fields])


def _get_record_text(record: logging.LogRecord) -> str:
    return record.getMessage()[:_MAX_TEXT_LENGTH]


def _get_record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the ids of the objects that a record names, each text cut as the line's own."""
    values = {name: vars(record).get(name) for name in FIELDS}
    return {
        name: value if isinstance(value, int) else str(value)[:_MAX_FIELD_LENGTH]
        for name, value in values.items()
        if value is not None
    }


def _quote_value(value: int | str) -> str:
    """Return a value as text of a line: in quotation marks if it is empty or has a space, ``"`` or ``=``."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' "=') else text


def _format_time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def pass_log_format(*, as_json: bool) -> Iterator[None]:
    """Make the processes that are started inside the block log as JSON, if `as_json`; else change nothing."""
    former_format = os.environ.get(_FORMAT_VARIABLE)
    if as_json:
        os.environ[_FORMAT_VARIABLE] = "json"
    try:
        yield
    finally:
        os.environ.pop(_FORMAT_VARIABLE, None)
        if former_format is not None:
            os.environ[_FORMAT_VARIABLE] = former_format


def set_up_logging(*, as_json: bool = False) -> None:
    """Log to standard error at the level of ``GATEWAY_LOG``; a reader that stops does not block a thread."""
    is_json = as_json or os.environ.get(_FORMAT_VARIABLE) == "json"
    formatter = _JsonFormatter(is_utf8=is_utf8_stream(sys.stderr)) if is_json else _LineFormatter()
    guard_standard_error(lambda count: formatter.format(_make_gap_record(count)) + "\n")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(RepeatedLineFilter())
    level = os.environ.get(_LEVEL_VARIABLE)
    logging.basicConfig(level=level or _DEFAULT_LEVEL, handlers=[handler])
    if not level:
        logging.getLogger(START_LOG).setLevel(logging.INFO)


def _make_gap_record(omitted_lines: int) -> logging.LogRecord:
    message_format = "%d lines of this process were left out here: the log was not read"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message_format, (omitted_lines,), None)
