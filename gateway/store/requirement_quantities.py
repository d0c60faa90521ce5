"""Stores requirements and their uses by declarations; a requirement is locked before it changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    Connection,
    Date,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    case,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from gateway.store.agency_requests import agency_requests
from gateway.store.cases import cases
from gateway.store.decisions import COUNTING, DecisionRow, decisions
from gateway.store.list_filters import LIST_COUNT_LIMIT
from gateway.store.parties import CertificateRow, list_certificates_in_use
from gateway.store.prepared_statements import InsertIfAbsent, fetch_by_keys
from gateway.store.table_types import (
    CODE_TEXT,
    NUMBER_TEXT,
    Instant,
    Json,
    collect_values,
    make_identity_column,
    make_required_column,
    metadata,
)

# One row for each number of an agency. The quantity that it granted is in `decisions`; `quantity` and `unit`
# are those of a requirement that was issued outside and registered. `used` is the quantity written off,
# as exact decimals by unit. The row is locked before it changes.
requirements = Table(
    "requirements",
    metadata,
    make_identity_column(),
    make_required_column("number", NUMBER_TEXT),
    make_required_column("agency", CODE_TEXT),
    make_required_column("holder"),  # id of the importer or exporter; empty: any party
    make_required_column("used", Json),
    Column("quantity", Text),
    Column("unit", Text),
    Column("valid_until", Date),
    Column("laws", Json),  # of one that was registered, where stated
    Column("registered_at", Instant),
    Column("revoked_at", Instant),
    make_required_column("added_at", Instant),
    # Since when the agency has an application under this number that its results count for.
    Column("applied_since", Instant),
    UniqueConstraint("number", "agency"),
)


class RequirementRow(Protocol):
    """A row of the table `requirements`."""

    id: int
    number: str
    agency: str
    holder: str
    used: Any
    quantity: str | None
    unit: str | None
    valid_until: date | None
    laws: Any
    registered_at: datetime | None
    revoked_at: datetime | None
    added_at: datetime
    applied_since: datetime | None


# What one line of a declaration uses. A use that was given back keeps its row.
requirement_uses = Table(
    "requirement_uses",
    metadata,
    make_identity_column(),
    make_required_column("requirement_id", BigInteger, ForeignKey("requirements.id")),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("item", Integer),
    make_required_column("pointer"),
    make_required_column("quantity"),  # the digits as declared
    make_required_column("unit"),
    make_required_column("used_at", Instant),
    Column("returned_at", Instant),
    Column("return_reason", Text),
    Index("ix_requirement_uses_requirement_id", "requirement_id", "id"),
    Index("ix_requirement_uses_case_id", "case_id", "id"),
)


class RequirementUseRow(Protocol):
    """A row of the table `requirement_uses`."""

    id: int
    requirement_id: int
    case_id: int
    item: int
    pointer: str
    quantity: str
    unit: str
    used_at: datetime
    returned_at: datetime | None
    return_reason: str | None


_INSERT: Final = InsertIfAbsent(requirements, ("number", "agency"), "id")
#: The reasons of a use that a child declaration states, of a quantity that its parent wrote off, and of a use
#: that it stated before.
_STATED_BY_CHILD: Final = "stated"
_STATED_BEFORE: Final = "stated before"
#: The reason of a use that was given back, and of which too little was left when it was wanted again.
NOT_LEFT: Final = "not left"
#: Leaves out the uses that a child declaration only states.
IS_USE: Final = or_(
    requirement_uses.c.return_reason.is_(None),
    requirement_uses.c.return_reason.not_in((_STATED_BY_CHILD, _STATED_BEFORE)),
)
_ALL_OF_CASES: Final = select(
    requirement_uses, requirements.c.number, requirements.c.agency, requirements.c.applied_since
).join(requirements)
_USES_OF_CASE: Final = _ALL_OF_CASES.where(
    requirement_uses.c.case_id == bindparam("wanted"), IS_USE
).order_by(requirement_uses.c.id)
_KEYS: Final[BindParameter[Any]] = bindparam("wanted", expanding=True)
_STATED_BY: Final = _ALL_OF_CASES.where(
    requirement_uses.c.case_id.in_(_KEYS), requirement_uses.c.return_reason == _STATED_BY_CHILD
).order_by(requirement_uses.c.id)
_BY_NUMBER: Final = select(requirements).where(requirements.c.number.in_(_KEYS))
_LOCK: Final = (
    select(requirements)
    .where(requirements.c.id.in_(_KEYS))
    .order_by(requirements.c.id)
    .with_for_update(key_share=True)
)
#: The condition on which the detail of a case is read: it says which items were removed, and which approvals
#: an agency keeps.
_IS_TOLD: Final = or_(cases.c.state == "WITHDRAWN", not_(COUNTING))
_GRANTING: Final = (
    select(
        decisions,
        agency_requests.c.number.label("application"),
        agency_requests.c.cancellation,
        agency_requests.c.required,
        agency_requests.c.removed,
        agency_requests.c.outdated_decision,
        (cases.c.state == "WITHDRAWN").label("withdrawn"),
        COUNTING.label("counts"),
        case((_IS_TOLD, cases.c.detail)).label("told"),
        cases.c.document.label("declaration_type"),
    )
    .select_from(decisions.join(agency_requests).join(cases))
    .where(
        decisions.c.superseded_by.is_(None),
        decisions.c.quantity.is_not(None),
        decisions.c.decision.in_(("APPROVED", "APPROVED_WITH_CONDITIONS")),
        agency_requests.c.state != "CANCELLED",
        decisions.c.number.in_(_KEYS),
    )
    .order_by(decisions.c.id)
)
_GRANTED_LAWS: Final = (
    select(decisions.c.number, agency_requests.c.agency, decisions.c.law)
    .select_from(decisions.join(agency_requests))
    .where(
        decisions.c.quantity.is_not(None),
        decisions.c.decision.in_(("APPROVED", "APPROVED_WITH_CONDITIONS")),
        decisions.c.number.in_(_KEYS),
    )
    .distinct()
)
_QUANTIFIED: Final = (
    select(decisions.c.number, agency_requests.c.agency)
    .select_from(decisions.join(agency_requests))
    .where(decisions.c.quantity.is_not(None), decisions.c.number.in_(_KEYS))
    .distinct()
)
#: Where the row of a withdrawn case says what agencies have refused to cancel: [item, law], by application.
WITHDRAWN_KEPT: Final = "kept"


@dataclass(frozen=True, slots=True)
class RegisteredRequirement:
    """A requirement that was issued outside: an operator registers it."""

    number: str
    agency: str
    quantity: str
    unit: str
    holder: str = ""
    valid_until: date | None = None
    laws: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class NewRequirementUse:
    """The quantity of a requirement (row id) that one line of a declaration uses, or has given back."""

    requirement_id: int
    case_id: int
    item: int
    pointer: str
    quantity: str
    unit: str
    returned_at: datetime | None = None
    return_reason: str | None = None


def ensure_requirement(conn: Connection, agency: str, number: str, holder: str | None, at: datetime) -> bool:
    """Store the requirement of a decision, unless it is stored; return whether it was stored before.

    With `holder` None its holder is not known. A requirement that an agency has granted to two holders may be
    used by any party.
    """
    new = {"number": number, "agency": agency, "holder": holder or "", "used": {}, "added_at": at}
    empty = dict.fromkeys(("quantity", "unit", "valid_until", "laws", "registered_at", "revoked_at"))
    if _INSERT.insert_one(conn, new | empty) is not None:
        return False
    if holder is not None:
        same = (requirements.c.number == number, requirements.c.agency == agency)
        conn.execute(
            update(requirements).where(*same, requirements.c.holder.not_in(("", holder))).values(holder="")
        )
    return True


def note_application(
    conn: Connection, requirement_ids: Collection[int], holder: str, at: datetime
) -> Sequence[int]:
    """Store that decisions on requirements (row ids) count for an application from `at` on.

    `holder` becomes the holder of each certificate, which was not known before. A certificate that an
    operator has registered keeps its holder. Return the row ids that had no application before.
    """
    conditions = (requirements.c.id.in_(sorted(requirement_ids)), requirements.c.applied_since.is_(None))
    owner = case((requirements.c.registered_at.is_(None), holder), else_=requirements.c.holder)
    changed = update(requirements).where(*conditions).values(applied_since=at, holder=owner)
    return sorted(conn.execute(changed.returning(requirements.c.id)).scalars())


def set_last_day(conn: Connection, agency: str, number: str, until: date | None) -> None:
    """Store the last day of the last certificate under a number; None if this certificate states none.

    The last day that an operator has registered stays where the certificate states none.
    """
    same = and_(requirements.c.number == number, requirements.c.agency == agency)
    if until is None:
        same = and_(same, requirements.c.valid_until.is_not(None), requirements.c.registered_at.is_(None))
    conn.execute(update(requirements).where(same).values(valid_until=until))


def register_requirement(conn: Connection, new: RegisteredRequirement, at: datetime) -> bool:
    """Register a requirement that was issued outside, or register again one that was revoked.

    The quantity written off stays. Return False if this number of the agency is in the ledger already.
    """
    row = collect_values(new) | {"used": {}, "registered_at": at, "revoked_at": None, "added_at": at}
    if _INSERT.insert_one(conn, row) is not None:
        return True
    renewed_columns = ("quantity", "unit", "holder", "valid_until", "laws", "registered_at")
    again = {name: row[name] for name in renewed_columns}
    updated = conn.execute(
        update(requirements)
        .where(
            requirements.c.number == new.number,
            requirements.c.agency == new.agency,
            requirements.c.revoked_at.is_not(None),
        )
        .values(**again, revoked_at=None)
    )
    return updated.rowcount == 1


def revoke_requirement(conn: Connection, requirement: int, at: datetime) -> bool:
    """Revoke a registered requirement (row id); return False for one that is not, or is revoked already."""
    updated = conn.execute(
        update(requirements)
        .where(
            requirements.c.id == requirement,
            requirements.c.registered_at.is_not(None),
            requirements.c.revoked_at.is_(None),
        )
        .values(revoked_at=at)
    )
    return updated.rowcount == 1


def find_requirements(conn: Connection, numbers: Collection[str]) -> Sequence[RequirementRow]:
    """Return the requirements of these numbers, of every agency, in the order of their row ids."""
    return sorted(fetch_by_keys(conn, _BY_NUMBER, numbers), key=lambda row: int(row.id))


def lock_requirements_by_number(conn: Connection, numbers: Collection[str]) -> Sequence[RequirementRow]:
    """Lock the requirements of these numbers and return them as they are then."""
    return lock_requirements(conn, [row.id for row in find_requirements(conn, numbers)])


def lock_requirements(conn: Connection, requirement_ids: Collection[int]) -> Sequence[RequirementRow]:
    """Lock requirements (row ids) until the transaction ends and return them as they are then.

    They are locked in the order of their ids, so that two declarations that use the same ones do
    not wait for each other. SQLite has locked the file already.
    """
    return fetch_by_keys(conn, _LOCK, requirement_ids)


class GrantingDecisionRow(DecisionRow, Protocol):
    """A decision that approves a quantity, with its application.

    `declaration_type` is the type code of the declaration with the application.
    """

    number: str
    quantity: str
    application: str
    cancellation: str | None
    required: Any
    removed: Any
    outdated_decision: int | None
    withdrawn: bool
    counts: bool
    told: Any
    declaration_type: str


def list_granting_decisions(conn: Connection, numbers: Collection[str]) -> Sequence[GrantingDecisionRow]:
    """Return the decisions that approve a quantity under one of these numbers, each with its application.

    Decisions on a cancelled application are left out. Decisions on content that was amended or removed since
    do not count in their case (`counts` is false).
    """
    return fetch_by_keys(conn, _GRANTING, numbers)


def list_granted_laws(conn: Connection, numbers: Collection[str]) -> set[tuple[str, str, str]]:
    """Return number, agency and law of each decision that ever approved a quantity under these numbers."""
    return {
        (str(row.number), str(row.agency), str(row.law))
        for row in fetch_by_keys(conn, _GRANTED_LAWS, numbers)
    }


def select_certificates(conn: Connection, rows: Iterable[RequirementRow]) -> list[RequirementRow]:
    """Return the requirements of `rows` that can be certificates; the others only lead to an application.

    The agency's result for such another number came before the decision on its application, and counts for
    the application. No decision has stated a quantity under the number: if the decision had come first, the
    ledger would not have the number.
    """
    all_rows = list(rows)
    applied_numbers = {
        str(row.number) for row in all_rows if row.applied_since is not None and row.registered_at is None
    }
    if not applied_numbers:
        return all_rows
    quantified = {
        (str(row.number), str(row.agency)) for row in fetch_by_keys(conn, _QUANTIFIED, applied_numbers)
    }
    return [row for row in all_rows if row.number not in applied_numbers or row.applied_since is None
            or row.registered_at is not None or (row.number, row.agency) in quantified]  # fmt: skip


def set_used_quantities(conn: Connection, requirement: int, used: Mapping[str, str]) -> None:
    """Store the quantities written off of a locked requirement, as exact decimals by unit."""
    conn.execute(update(requirements).where(requirements.c.id == requirement).values(used=dict(used)))


def insert_uses(conn: Connection, new: Sequence[NewRequirementUse], at: datetime) -> None:
    """Store the uses of requirements by a declaration."""
    if new:
        conn.execute(insert(requirement_uses), [collect_values(use) | {"used_at": at} for use in new])


class UseOfRequirementRow(RequirementUseRow, Protocol):
    """A use, with number and agency of its requirement."""

    number: str
    agency: str
    applied_since: datetime | None


def list_uses_of_case(conn: Connection, case_id: int) -> Sequence[UseOfRequirementRow]:
    """Return the uses of a case with number and agency of the requirement, those given back too."""
    return conn.execute(_USES_OF_CASE, {"wanted": case_id}).all()


def insert_stated_uses(conn: Connection, new: Sequence[NewRequirementUse], at: datetime) -> None:
    """Store the uses that a child declaration states, of quantities that its parent wrote off already.

    They write off nothing.
    """
    insert_uses(conn, [replace(use, returned_at=at, return_reason=_STATED_BY_CHILD) for use in new], at)


def list_stated_uses(conn: Connection, requirement_ids: Collection[int]) -> Sequence[UseOfRequirementRow]:
    """Return the uses that child declarations state, of quantities that their parents wrote off already."""
    return fetch_by_keys(conn, _STATED_BY, requirement_ids)


def return_use(conn: Connection, use: int, reason: str, at: datetime) -> bool:
    """Store that a use was given back; return False when it was already."""
    return _change_use(conn, use, is_used=True, returned_at=at, return_reason=reason)


def write_off_use_again(conn: Connection, use: int) -> bool:
    """Write off again a use that was given back; return False if it is written off already."""
    return _change_use(conn, use, is_used=False, returned_at=None, return_reason=None)


def close_returned_uses(conn: Connection, case_id: int, before: str, after: str) -> None:
    """Replace the return reason `before` of uses of a case by `after`, and end the uses that it states."""
    column = requirement_uses.c.return_reason
    conditions = (requirement_uses.c.case_id == case_id, column.in_((before, _STATED_BY_CHILD)))
    value = case((column == _STATED_BY_CHILD, _STATED_BEFORE), else_=after)
    conn.execute(update(requirement_uses).where(*conditions).values(return_reason=value))


def close_lost_use(conn: Connection, use: int) -> None:
    """Store that a use that was given back is not written off again: its case waits for the number again."""
    conditions = (requirement_uses.c.id == use, requirement_uses.c.returned_at.is_not(None))
    conn.execute(update(requirement_uses).where(*conditions).values(return_reason=NOT_LEFT))


def end_stated_use(conn: Connection, use: int) -> None:
    """Store that a child declaration does not state a use (row id) any more."""
    conditions = (requirement_uses.c.id == use, requirement_uses.c.return_reason == _STATED_BY_CHILD)
    conn.execute(update(requirement_uses).where(*conditions).values(return_reason=_STATED_BEFORE))


def _change_use(conn: Connection, use: int, *, is_used: bool, **values: Any) -> bool:
    """Set the columns `values` of a use (row id) that is written off, or was given back if not `is_used`.

    Return False if the use is not in this state.
    """
    column = requirement_uses.c.returned_at
    expected = column.is_(None) if is_used else column.is_not(None)
    updated = conn.execute(
        update(requirement_uses).where(requirement_uses.c.id == use, expected).values(**values)
    )
    return updated.rowcount == 1


def list_requirements(
    conn: Connection, *, limit: int = 50, before: int | None = None
) -> Sequence[RequirementRow]:
    """Return requirements, the newest first, with a row id below `before`."""
    query = select(requirements).order_by(requirements.c.id.desc()).limit(limit)
    return conn.execute(query.where(requirements.c.id < before) if before else query).all()


def count_requirements(conn: Connection, *, before: int) -> int:
    """Return how many requirements have a row id below `before`, counted up to LIST_COUNT_LIMIT."""
    rest = select(requirements.c.id).where(requirements.c.id < before).limit(LIST_COUNT_LIMIT)
    return conn.execute(select(func.count()).select_from(rest.subquery())).scalar_one()


class UseByCaseRow(RequirementUseRow, Protocol):
    """A use, with the number of its case."""

    case_number: str


def list_uses(conn: Connection, requirement: int, *, limit: int = 50) -> Sequence[UseByCaseRow]:
    """Return the last uses of a requirement (row id) with the case number, the newest first."""
    return conn.execute(
        select(requirement_uses, cases.c.number.label("case_number"))
        .join(cases, cases.c.id == requirement_uses.c.case_id)
        .where(requirement_uses.c.requirement_id == requirement, IS_USE)
        .order_by(requirement_uses.c.id.desc())
        .limit(limit)
    ).all()


#: The operator is warned this long before an owner's last certificate ends.
WARNING: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class UsagePeriod:
    """The period (end exclusive) in which `owner` may use one certificate; `use` as in the register."""

    owner: str
    use: str
    subject: str
    sha256: str
    starts: datetime
    ends: datetime

    def state_at(self, at: datetime) -> str:
        """Return whether the period is in the future, current or over at a given time."""
        if at >= self.ends:
            return "over"
        return "future" if at < self.starts else "current"


@dataclass(frozen=True, slots=True)
class CertificateCoverage:
    """The end of the time in which `owner` always has a certificate for `use`; the last has `subject`."""

    owner: str
    use: str
    subject: str
    ends: datetime

    def days_left(self, at: datetime) -> float:
        """Return how many days are left, negative when it has ended."""
        return (self.ends - at) / timedelta(days=1)


def list_usage_periods(conn: Connection) -> tuple[UsagePeriod, ...]:
    """Return the usage periods of the certificates that active parties may use, now or later."""
    return tuple(_read_usage_period(row) for row in list_certificates_in_use(conn))


def _read_usage_period(row: CertificateRow) -> UsagePeriod:
    starts = max(row.not_before, row.valid_from or row.not_before)
    ends = min(row.not_after, row.valid_until or row.not_after)
    return UsagePeriod(row.party_id, row.use, row.subject, row.sha256, starts, ends)


def compute_coverage(periods: Iterable[UsagePeriod], at: datetime) -> tuple[CertificateCoverage, ...]:
    """Return the end of coverage of each owner and use from a given time on, soonest first.

    A certificate that starts before the current one ends extends the coverage, so a renewed
    certificate causes no warning. Owners that have only future certificates are left out.
    """
    groups: dict[tuple[str, str], list[UsagePeriod]] = {}
    for period in periods:
        groups.setdefault((period.owner, period.use), []).append(period)
    covered = (_compute_group_coverage(group, at) for group in groups.values())
    return tuple(
        sorted(
            (coverage for coverage in covered if coverage),
            key=lambda coverage: (coverage.ends, coverage.owner, coverage.use),
        )
    )


def _compute_group_coverage(group: list[UsagePeriod], at: datetime) -> CertificateCoverage | None:
    """Return until when one owner has certificates for one use, without a gap from `at` on.

    If none is in force at `at`, return the last one that has ended; None if all are future ones.
    """
    over = [period for period in group if period.starts < period.ends <= at]
    last = max(over, key=lambda period: period.ends, default=None)
    covered_until = at
    for next_period in sorted(group, key=lambda period: period.starts):
        if next_period.starts <= covered_until < next_period.ends:
            covered_until, last = next_period.ends, next_period
    return CertificateCoverage(last.owner, last.use, last.subject, last.ends) if last else None


def count_by_state(periods: Iterable[UsagePeriod], at: datetime) -> Mapping[tuple[str, str], int]:
    """Return how many certificates there are of each use and state."""
    counted: dict[tuple[str, str], int] = {}
    for period in periods:
        key = (period.use, period.state_at(at))
        counted[key] = counted.get(key, 0) + 1
    return counted
