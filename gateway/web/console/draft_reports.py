"""The newest reports on drafts, so that a page shown again does not judge its draft again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final, Protocol, TypeVar

_MOST: Final = 64
#: The most octets of all submissions in the cached reports.
_MOST_OCTETS: Final = 32 * 1024 * 1024
#: A report gets out of date: another submission may use its reference or use up a certificate.
_LONGEST: Final = timedelta(minutes=1)


class _Report(Protocol):
    @property
    def content(self) -> bytes:
        """Return the octets of the submission that the report is about."""


_AnyReport = TypeVar("_AnyReport", bound=_Report)


class KeptReports:
    """The newest reports on drafts, by a key of all that they depend on; safe for many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._reports: OrderedDict[Hashable, tuple[datetime, Any]] = OrderedDict()
        self._octets = 0

    def find_report(self, key: Hashable, now: datetime, make_report: Callable[[], _AnyReport]) -> _AnyReport:
        """Return the report made for `key` within the last minute, else store a new one of `make_report`."""
        with self._lock:
            timed_report = self._reports.get(key)
        if timed_report is not None and timedelta() <= now - timed_report[0] <= _LONGEST:
            recent_report: _AnyReport = timed_report[1]
            return recent_report
        report = make_report()
        with self._lock:
            self._remove_report(key)
            self._reports[key] = (now, report)
            self._octets += len(report.content)
            while len(self._reports) > _MOST or self._octets > _MOST_OCTETS:
                self._remove_report(next(iter(self._reports)))
        return report

    def _remove_report(self, key: Hashable) -> None:
        timed_report = self._reports.pop(key, None)
        if timed_report is not None:
            self._octets -= len(timed_report[1].content)
