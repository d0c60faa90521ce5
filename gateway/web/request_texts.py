"""Reads the texts and numbers of requests of console and API, and counts the running requests of a caller.

Each value is bounded before it is used. PostgreSQL stores no NUL, and no database stores half of a
surrogate pair. A number that names a row fits into the column, or there is no such row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Final

from flask import Request
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter, Map

from gateway.errors import REQUEST_MALFORMED, TOO_MANY_REQUESTS, GatewayError
from gateway.store import MAX_POSITION_DIGITS, MAX_ROW_NUMBER_DIGITS
from gateway.wire import normalize_text

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
#: The most octets in UTF-8 of a text in a path: those of the longest id that the database has in an index.
_MAX_PATH_TEXT_OCTETS: Final = 1024
_LONGEST_NAME: Final = 60
#: Fields of forms with a password: it is composed where it is hashed.
_PASSWORDS: Final = frozenset({"password", "old", "new", "again"})
#: Conditions of RFC 9110 §13.1 that may have a date, and their valid values: an entity tag or an HTTP date.
_DATED: Final = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_IF_RANGE")
_TAG_OR_DATE: Final = re.compile(
    r'(?:W/)?"[!#-~]*"|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT'
)


class RowNumberConverter(BaseConverter):
    """The number of a row in a path: a longer one leads nowhere (404)."""

    regex = rf"[0-9]{{1,{MAX_ROW_NUMBER_DIGITS}}}"

    def to_python(self, value: str) -> int:
        """Return the number."""
        return int(value)  # bounded: ASCII digits, as many as a row number or a position has, by the pattern


class PositionConverter(RowNumberConverter):
    """A position in a path, as ``<position:...>``: a longer one leads nowhere (404)."""

    regex = rf"[0-9]{{1,{MAX_POSITION_DIGITS}}}"


class IdConverter(BaseConverter):
    """The id of a message, party or lane in a path: any signs, also slashes at its ends."""

    regex = ".+?"
    part_isolating = False


def add_converters(routes: Map) -> None:
    """Let ``<int:...>`` of the routes that are added from now on be the number of a row, never longer."""
    routes.converters = {
        **routes.converters,
        "int": RowNumberConverter,
        "position": PositionConverter,
        "id": IdConverter,
    }


def check_path_texts(request: Request) -> None:
    """Raise NotFound (404) for a path that has a character that cannot be stored, or a longer text."""
    for value in (request.view_args or {}).values():
        if isinstance(value, str) and not _is_storable_id(value):
            raise NotFound


def _is_storable_id(text: str) -> bool:
    return _UNSTORABLE.search(text) is None and len(text.encode("utf-8")) <= _MAX_PATH_TEXT_OCTETS


def remove_invalid_date_headers(request: Request) -> None:
    """Remove each condition header with an invalid date, as if it was not sent (RFC 9110 §13.1).

    werkzeug raises OverflowError for some of them.
    """
    for name in _DATED:
        if _TAG_OR_DATE.fullmatch(request.environ.get(name, '""')) is None:
            del request.environ[name]


def check_request_texts(request: Request) -> None:
    """Raise GW110 for a character that cannot be stored, in the query, the form, a header or a cookie.

    The octets of files are no texts; their names and header fields are.
    """
    for fields in (request.args, request.form):
        check_texts(dict(fields.lists()))
    for name, file in request.files.items(multi=True):
        check_texts({name: file.filename})
        check_texts(dict(file.headers.items()))
    check_texts(dict(request.headers.items()))
    check_texts(dict(request.cookies.lists()))


def normalize_form_texts(request: Request) -> None:
    """Compose the texts of the form (NFC), except passwords: stored texts are compared and searched for."""
    typed = request.form.items(multi=True)
    request.form = ImmutableMultiDict(
        (name, text if name in _PASSWORDS else normalize_text(text)) for name, text in typed
    )


def check_texts(content: Any, text_place: str = "") -> None:
    """Raise GW110, with the place, for a text of JSON or of fields that cannot be stored."""
    if isinstance(content, str):
        unstorable_match = _UNSTORABLE.search(content)
        if unstorable_match is not None:
            detail = f"the character U+{ord(unstorable_match[0]):04X} cannot be stored"
            raise GatewayError(REQUEST_MALFORMED, detail, _UNSTORABLE.sub("\ufffd", text_place))
    elif isinstance(content, Mapping):
        for name, member in content.items():
            inner_place = f"{text_place}/{name}" if text_place else str(name)[:_LONGEST_NAME]
            check_texts(name, inner_place)
            check_texts(member, inner_place)
    elif isinstance(content, Sequence) and not isinstance(content, bytes):
        for member in content:
            check_texts(member, text_place)


class RunningRequests:
    """The requests that have a thread, by caller; safe for many threads.

    If the server knows a caller by earlier requests, it lets further requests of that caller wait. Requests
    with credentials that are new to the server are counted here.
    """

    def __init__(self, max_per_caller: int) -> None:
        self._max_per_caller = max_per_caller
        self._lock = Lock()
        self._running: Counter[str] = Counter()

    def begin_request(self, caller: str) -> None:
        """Count a request; raises GW807 where the caller has too many."""
        with self._lock:
            if self._running[caller] >= self._max_per_caller:
                raise GatewayError(
                    TOO_MANY_REQUESTS, f"{self._max_per_caller} requests of {caller[:80]} are answered now"
                )
            self._running[caller] += 1

    def end_request(self, caller: str) -> None:
        """Remove a request from the count."""
        with self._lock:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]
