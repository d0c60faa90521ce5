"""Computes until when the content of the lists in force stays unchanged, for the cache of verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.recognition.recognition_chain import RecognitionContext
from gateway.recognition.trusted_list import Rules, TrustedList

__all__ = ["compute_unchanged_until"]

_EVER: Final = datetime.max.replace(tzinfo=UTC)
_SHORTEST: Final = timedelta(microseconds=1)


def compute_unchanged_until(recognition: RecognitionContext, at: datetime) -> datetime:
    """Return the last instant before a list ends, or a status or a rule begins or ends."""
    moments = (
        one
        for found, chain in recognition.list_current_lists(at)
        for one in _iterate_change_times(found, chain)
    )
    return min((one for one in moments if one > at), default=_EVER) - _SHORTEST


def _iterate_change_times(found: TrustedList, chain: tuple[Rules, ...]) -> Iterator[datetime]:
    if found.next_update is not None:
        yield found.next_update
    for service in found.services:
        yield from (each.since for each in service.standings)
    for rules in chain:
        for rule in rules:
            yield rule.since
            if rule.until is not None:
                yield rule.until
