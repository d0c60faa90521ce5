"""Reports the changes that new mappings would have made to the stored cases, one by one; writes nothing.

Each submission is read twice: by the mappings that its case pins, and by the new ones. The cases are
read in small pages, each in a transaction of its own, so that any number of them takes the same memory
and other transactions need not wait.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.errors import MAPPINGS_NOT_STORED, GatewayError
from gateway.harmonize import MappingBundle, SubmissionChange, compare_submission, load_bundle
from gateway.hub import (
    find_case_bundle,
    find_former_message,
    load_stored_tree,
    make_unread_problem,
    open_stored_mappings,
)
from gateway.share import get_data_folder
from gateway.store import (
    CaseRow,
    TimedPosition,
    agency_requests,
    cases,
    mapping_bundles,
    messages,
    read_transaction,
)

_PAGE: Final = 50
#: The most bundles of older cases that are held at a time.
_MOST_BUNDLES: Final = 4
_POSITION: Final = re.compile(r"\[[0-9]+\]")
#: Below every id.
_FIRST: Final = 0


@dataclass(frozen=True, slots=True)
class AskedCase:
    """One case that was asked, and the digest of its mappings.

    `change` has the changes by the new mappings. It is None where the case could not be read (`problem`),
    and where its submission was refused before any mappings were applied.
    """

    number: str
    reference: str
    declarant: str
    opened_at: datetime
    bundle: str | None
    change: SubmissionChange | None = None
    problem: GatewayError | None = None


@dataclass(frozen=True, slots=True, order=True)
class ChangedField:
    """A value that changes: the document, its path in the request without positions, its field and labels."""

    document: str
    path: str
    field: str
    ko: str
    en: str


@dataclass(slots=True)
class ImpactTotals:
    """The counts over all cases: cases by problem and by agency, requests by field."""

    examined: int = 0
    changed: int = 0
    not_split: int = 0
    newly_refused: int = 0
    newly_admitted: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    problems_added: Counter[str] = field(default_factory=Counter)
    problems_removed: Counter[str] = field(default_factory=Counter)
    agencies_added: Counter[str] = field(default_factory=Counter)
    agencies_dropped: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    fields: Counter[ChangedField] = field(default_factory=Counter)

    def add_case(self, case: AskedCase) -> None:
        """Count a case."""
        if case.problem is not None:
            self.unreadable[case.problem.problem.id] += 1
        elif case.change is None:
            self.not_split += 1
        else:
            self.examined += 1
            if case.change:
                self._add_change(case.change)

    def _add_change(self, change: SubmissionChange) -> None:
        self.changed += 1
        self.newly_refused += change.refused == (False, True)
        self.newly_admitted += change.refused == (True, False)
        for kind, counted in (("added", self.problems_added), ("removed", self.problems_removed)):
            counted.update({problem.problem for problem in change.problems if problem.change == kind})
        self.agencies_added.update(change.added)
        self.agencies_dropped.update(change.dropped)
        for request in change.requests:
            self.requests[request.change] += 1
            names = (
                (_POSITION.sub("", value_change.path), value_change.field, value_change.ko, value_change.en)
                for value_change in request.values
            )
            self.fields.update({ChangedField(request.document, *name) for name in names})


def find_mapping_impact(
    engine: Engine, new: MappingBundle, since: datetime, until: datetime, limit: int | None
) -> Iterator[AskedCase]:
    """Yield every case opened in a period, the newest first and at most `limit`, with its changes."""
    bundles = _BundleCache()
    before, remaining = TimedPosition(until, _FIRST), limit
    while remaining is None or remaining > 0:
        size = _PAGE if remaining is None else min(remaining, _PAGE)
        with read_transaction(engine) as conn:
            rows = cases.list_newest_between(conn, since, before, size)
            asked_cases = [_ask_case(conn, row, bundles, new) for row in rows]
        yield from asked_cases
        if len(rows) < size:
            return
        before = TimedPosition(rows[-1].opened_at, rows[-1].id)
        remaining = None if remaining is None else remaining - size


class _BundleCache:
    """The mappings of the cases that were asked last, by their digest."""

    def __init__(self) -> None:
        shipped = load_bundle(get_data_folder("mappings"))
        self._shipped = {shipped.digest: shipped}
        self._read: dict[str, MappingBundle] = {}

    def get_bundle(self, conn: Connection, digest: str) -> MappingBundle:
        """Return a bundle; raise GW518 where it is not stored, GW904 where it does not load any more."""
        bundle = self._shipped.get(digest) or self._read.pop(digest, None)
        if bundle is None:
            if not mapping_bundles.has_bundle(conn, digest):
                raise GatewayError(MAPPINGS_NOT_STORED, f"the mappings {digest[:16]} are not stored", digest)
            bundle = _load_stored_bundle(conn, digest)
        if digest not in self._shipped:
            # The least recently used mappings are dropped first.
            recent = list(self._read.items())[1 - _MOST_BUNDLES :]
            self._read = dict([*recent, (digest, bundle)])
        return bundle


def _load_stored_bundle(conn: Connection, digest: str) -> MappingBundle:
    folder = open_stored_mappings(conn, digest)
    try:
        return load_bundle(folder)
    except GatewayError as error:
        raise make_unread_problem(error, digest) from error


def _ask_case(conn: Connection, row: CaseRow, bundles: _BundleCache, new: MappingBundle) -> AskedCase:
    bundle = find_case_bundle(row, agency_requests.list_by_case(conn, row.id))
    case_columns = row.number, row.functional_reference, row.declarant, row.opened_at, bundle
    if bundle is None:
        return AskedCase(*case_columns)
    if bundle == new.digest:
        return AskedCase(*case_columns, SubmissionChange((False, False)))
    try:
        old = bundles.get_bundle(conn, bundle)
        message = find_former_message(conn, row)
        root = load_stored_tree(conn, message)
        stored = messages.find_by_id(conn, message)
        received = row.opened_at if stored is None else stored.received_at
        return AskedCase(*case_columns, compare_submission(root, old, new, received))
    except GatewayError as error:
        return AskedCase(*case_columns, problem=error)
