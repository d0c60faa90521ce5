"""The log of every process of the gateway, in one format: time, level, place and text.

The time is UTC as in RFC 3339. With ``--json`` each line is one JSON object with the same four
values, and with the traceback where there is one.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

__all__ = ["START_LOG", "pass_log_form", "set_up_logging"]

#: The place of the lines about start and readiness, which are logged at the default level, too.
START_LOG: Final = "gateway.start"
_LEVEL: Final = "GATEWAY_LOG"
_DEFAULT_LEVEL: Final = "WARNING"
#: Tells the processes that a process starts which form the lines have.
_FORM: Final = "GATEWAY_LOG_FORM"


class _LineFormatter(logging.Formatter):
    """Writes ``TIME LEVEL PLACE TEXT``; a line break inside the text is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and its traceback below it."""
        text = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{_format_time(record)} {record.levelname} {record.name} {text}"
        return line if not record.exc_info else f"{line}\n{self.formatException(record.exc_info)}"


class _JsonFormatter(logging.Formatter):
    """Writes one JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object of a record on one line."""
        told = {
            "time": _format_time(record),
            "level": record.levelname,
            "place": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def _format_time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def pass_log_form(*, as_json: bool) -> Iterator[None]:
    """Let the processes that are started inside the block log in this form."""
    before = os.environ.get(_FORM)
    if as_json:
        os.environ[_FORM] = "json"
    try:
        yield
    finally:
        os.environ.pop(_FORM, None)
        if before is not None:
            os.environ[_FORM] = before


def set_up_logging(*, as_json: bool = False) -> None:
    """Log to standard error at the level of ``GATEWAY_LOG``."""
    handler = logging.StreamHandler(sys.stderr)
    wanted = as_json or os.environ.get(_FORM) == "json"
    handler.setFormatter(_JsonFormatter() if wanted else _LineFormatter())
    level = os.environ.get(_LEVEL)
    logging.basicConfig(level=level or _DEFAULT_LEVEL, handlers=[handler])
    if not level:
        logging.getLogger(START_LOG).setLevel(logging.INFO)
