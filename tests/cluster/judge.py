"""Judges a row from outside: what the broker was told, what is stored, what the agencies did.

Pure: histories and rows in, mistakes out, in words.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Attempt", "Outside", "find_longest_pause", "find_mistakes", "list_acknowledged"]

#: Statuses of a message that the hub knows (ebMS 2.0 §7.1.2).
_KNOWN = frozenset({"Received", "Processed", "Forwarded"})


@dataclass(frozen=True)
class Attempt:
    """One POST: which message, where, when, and the digest of the receipt if one came."""

    message_id: str
    entry: str
    begun: float
    ended: float
    status: int
    receipt: str = ""
    words: str = ""


@dataclass(frozen=True)
class Outside:
    """What can be seen when everything is healed.

    `stored` has the digests of the stored receipts by MessageID, one for each row; `statuses` what
    a node says of a message; `effects` what each agency did: agency, kind and application;
    `called` the applications that must have had an effect, `open` the cases that have not ended.
    """

    stored: Mapping[str, Sequence[str]]
    statuses: Mapping[str, str]
    effects: Sequence[tuple[str, str, str]]
    called: frozenset[str] = frozenset()
    open: Sequence[str] = ()


def find_mistakes(history: Sequence[Attempt], seen: Outside) -> list[str]:
    """Return every mistake in words; none when nothing acknowledged was lost and nothing done twice."""
    return [
        *_find_lost(history, seen),
        *_find_changed_receipts(history),
        *_find_refused(history),
        *_find_unanswered(history),
        *_find_forgotten(history, seen),
        *_find_effects(seen),
    ]


def list_acknowledged(history: Iterable[Attempt]) -> dict[str, set[str]]:
    """Return the receipts that were given, by MessageID."""
    found: dict[str, set[str]] = defaultdict(set)
    for attempt in history:
        if attempt.receipt:
            found[attempt.message_id].add(attempt.receipt)
    return found


def find_longest_pause(history: Iterable[Attempt], begin: float, end: float) -> float:
    """Return the longest time without a receipt between two moments, in seconds."""
    moments = sorted(one.ended for one in history if one.receipt and begin <= one.ended <= end)
    edges = [begin, *moments, end]
    return max(later - earlier for earlier, later in itertools.pairwise(edges))


def _find_lost(history: Sequence[Attempt], seen: Outside) -> list[str]:
    lost = []
    for name, receipts in list_acknowledged(history).items():
        rows = seen.stored.get(name, ())
        if len(rows) != 1:
            lost.append(f"acknowledged, and stored {len(rows)} times: {name}")
        elif rows[0] not in receipts:
            lost.append(f"acknowledged, and stored with another receipt: {name}")
    return lost


def _find_changed_receipts(history: Sequence[Attempt]) -> list[str]:
    given = list_acknowledged(history).items()
    return [f"{len(receipts)} different receipts: {name}" for name, receipts in given if len(receipts) > 1]


def _find_refused(history: Sequence[Attempt]) -> list[str]:
    """A message is right, so that it is only ever told to come again: 503, or no answer at all."""
    told = [one for one in history if not one.receipt and one.status not in (0, 408, 502, 503, 504)]
    return [f"refused at {one.entry} with {one.status}: {one.message_id} {one.words[-300:]}" for one in told]


def _find_unanswered(history: Sequence[Attempt]) -> list[str]:
    given = list_acknowledged(history)
    names = {one.message_id for one in history} - set(given)
    return [f"never acknowledged: {name}" for name in sorted(names)]


def _find_forgotten(history: Sequence[Attempt], seen: Outside) -> list[str]:
    given = list_acknowledged(history)
    told = [(name, status) for name, status in seen.statuses.items() if name in given]
    return [f"acknowledged, then {status}: {name}" for name, status in told if status not in _KNOWN]


def _find_effects(seen: Outside) -> list[str]:
    counted = Counter(seen.effects)
    twice = [f"{times} effects at an agency: {one}" for one, times in counted.items() if times > 1]
    did = {application for _, kind, application in seen.effects if kind == "SubmitApplication"}
    missing = [f"no effect at its agency: {number}" for number in sorted(seen.called - did)]
    return [*twice, *missing, *(f"the case has not ended: {number}" for number in seen.open)]
