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
from gateway.operations.check_findings import find_record_problem
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

_PAGE_SIZE: Final = 50
#: The most bundles of older cases that are held at a time.
_MAX_CACHED_BUNDLES: Final = 4
_POSITION_PATTERN: Final = re.compile(r"\[[0-9]+\]")
#: Below every id.
_BELOW_EVERY_ID: Final = 0


@dataclass(frozen=True, slots=True)
class ExaminedCase:
    """One case that was asked, and the digest of its mappings.

    `change` has the changes by the new mappings. It is None where the case could not be read (`problem`),
    and where its submission was refused before any mappings were applied.
    """

    case_number: str
    reference: str
    declarant: str
    opened_at: datetime
    bundle_digest: str | None
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

    def add_case(self, case: ExaminedCase) -> None:
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
        """Count the changes of one case; `fields` counts each changed field once for each request."""
        self.changed += 1
        self.newly_refused += change.refused == (False, True)
        self.newly_admitted += change.refused == (True, False)
        for change_kind, problem_counter in (
            ("added", self.problems_added),
            ("removed", self.problems_removed),
        ):
            problem_counter.update(
                {problem.problem for problem in change.problems if problem.change == change_kind}
            )
        self.agencies_added.update(change.added)
        self.agencies_dropped.update(change.dropped)
        for request in change.requests:
            self.requests[request.change] += 1
            field_keys = (
                (
                    _POSITION_PATTERN.sub("", value_change.path),
                    value_change.field,
                    value_change.ko,
                    value_change.en,
                )
                for value_change in request.values
            )
            self.fields.update({ChangedField(request.document, *field_key) for field_key in field_keys})


def find_mapping_impact(
    engine: Engine, new_bundle: MappingBundle, since: datetime, until: datetime, limit: int | None
) -> Iterator[ExaminedCase]:
    """Yield every case opened in a period, the newest first and at most `limit`, with its changes."""
    bundles = _BundleCache()
    page_end, remaining = TimedPosition(until, _BELOW_EVERY_ID), limit
    while remaining is None or remaining > 0:
        page_size = _PAGE_SIZE if remaining is None else min(remaining, _PAGE_SIZE)
        with read_transaction(engine) as conn:
            case_rows = cases.list_newest_between(conn, since, page_end, page_size)
            examined_cases = [_examine_case(conn, row, bundles, new_bundle) for row in case_rows]
        yield from examined_cases
        if len(case_rows) < page_size:
            return
        page_end = TimedPosition(case_rows[-1].opened_at, case_rows[-1].id)
        remaining = None if remaining is None else remaining - page_size


class _BundleCache:
    """The mappings of the cases that were asked last, by their digest."""

    def __init__(self) -> None:
        shipped_bundle = load_bundle(get_data_folder("mappings"))
        self._shipped_bundles = {shipped_bundle.digest: shipped_bundle}
        self._cached_bundles: dict[str, MappingBundle] = {}

    def get_bundle(self, conn: Connection, digest: str) -> MappingBundle:
        """Return a bundle; raise GW518 where it is not stored, GW904 where it does not load any more."""
        bundle = self._shipped_bundles.get(digest) or self._cached_bundles.pop(digest, None)
        if bundle is None:
            if not mapping_bundles.has_bundle(conn, digest):
                raise GatewayError(MAPPINGS_NOT_STORED, f"the mappings {digest[:16]} are not stored", digest)
            bundle = _load_stored_bundle(conn, digest)
        if digest not in self._shipped_bundles:
            # The least recently used mappings are dropped first.
            recent_bundles = list(self._cached_bundles.items())[1 - _MAX_CACHED_BUNDLES :]
            self._cached_bundles = dict([*recent_bundles, (digest, bundle)])
        return bundle


def _load_stored_bundle(conn: Connection, digest: str) -> MappingBundle:
    folder = open_stored_mappings(conn, digest)
    try:
        return load_bundle(folder)
    except GatewayError as error:
        raise make_unread_problem(error, digest) from error


def _examine_case(
    conn: Connection, case_row: CaseRow, bundles: _BundleCache, new_bundle: MappingBundle
) -> ExaminedCase:
    """Split a stored case with its own and with the new mappings; return what differs, or the problem.

    A case that was refused before any mappings were applied has neither.
    """
    bundle_digest = find_case_bundle(case_row, agency_requests.list_by_case(conn, case_row.id))
    case_columns = (
        case_row.number,
        case_row.functional_reference,
        case_row.declarant,
        case_row.opened_at,
        bundle_digest,
    )
    if bundle_digest is None:
        return ExaminedCase(*case_columns)
    if bundle_digest == new_bundle.digest:
        return ExaminedCase(*case_columns, SubmissionChange((False, False)))
    try:
        former_bundle = bundles.get_bundle(conn, bundle_digest)
        message_id = find_former_message(conn, case_row)
        root = load_stored_tree(conn, message_id)
        message_row = messages.find_by_id(conn, message_id)
        received_at = case_row.opened_at if message_row is None else message_row.received_at
        return ExaminedCase(*case_columns, compare_submission(root, former_bundle, new_bundle, received_at))
    except Exception as failure:
        return ExaminedCase(*case_columns, problem=find_record_problem(failure))
