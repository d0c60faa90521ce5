"""Stores every decision of an agency; for each (item, law) of a request the latest one counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
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
    or_,
    select,
    update,
)

from gateway.errors import DECISION_CONFLICT, GatewayError
from gateway.notice_order import order_notice
from gateway.store.agency_requests import AgencyRequestRow, agency_requests
from gateway.store.notices import notices
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    CODE_TEXT,
    NUMBER_TEXT,
    Instant,
    Json,
    collect_values,
    make_identity_column,
    make_partial_index,
    make_required_column,
    metadata,
)

decisions = Table(
    "decisions",
    metadata,
    make_identity_column(),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("agency", CODE_TEXT),
    make_required_column("notice_no", NUMBER_TEXT),
    make_required_column("item", Integer),
    make_required_column("law", CODE_TEXT),
    make_required_column("issued_at", Instant),
    make_required_column("decision"),
    Column("number", NUMBER_TEXT),
    Column("date", Date),
    Column("quantity", Text),  # the digits as the agency wrote them
    Column("unit", Text),
    make_required_column("conditions", Json),
    Column("superseded_by", BigInteger, ForeignKey("decisions.id")),
    make_required_column("received_at", Instant),
    Column("outdated_at", Instant),  # since when it does not count: its item was amended, or removed
    UniqueConstraint("agency", "notice_no", "item", "law"),
    CheckConstraint(
        "decision IN ('APPROVED', 'APPROVED_WITH_CONDITIONS', 'REJECTED', 'NOT_CONCERNED')", name="decision"
    ),
    Index("ix_decisions_request_id", "request_id", "item", "law"),
    make_partial_index("ix_decisions_number", "number"),
)


class DecisionRow(Protocol):
    """A row of the table `decisions`."""

    id: int
    request_id: int
    agency: str
    notice_no: str
    item: int
    law: str
    issued_at: datetime
    decision: str
    number: str | None
    date: date | None
    quantity: str | None
    unit: str | None
    conditions: Any
    superseded_by: int | None
    received_at: datetime
    outdated_at: datetime | None


_INSERT = InsertIfAbsent(decisions, ("agency", "notice_no", "item", "law"), "id")
_SUPERSEDE = (
    update(decisions).where(decisions.c.id == bindparam("old")).values(superseded_by=bindparam("new"))
)
_SET_ISSUE_TIME = (
    update(decisions)
    .where(decisions.c.agency == bindparam("of"), decisions.c.notice_no == bindparam("placed"))
    .values(issued_at=bindparam("at"))
)
#: Of decisions joined with their requests: those on items that were amended or removed since do not count.
COUNTING: Final = and_(
    or_(agency_requests.c.outdated_decision.is_(None), decisions.c.id > agency_requests.c.outdated_decision),
    decisions.c.outdated_at.is_(None),
)
#: A decision, with what its notice says, and which other notice counted already when it came.
_WITH_TEXT = select(decisions, notices.c.text.label("notice_text"), notices.c.overruled_by).outerjoin(
    notices, and_(notices.c.agency == decisions.c.agency, notices.c.number == decisions.c.notice_no)
)
_OF_REQUEST = (
    _WITH_TEXT.join(agency_requests, agency_requests.c.id == decisions.c.request_id)
    .where(decisions.c.request_id == bindparam("wanted"), COUNTING)
    .order_by(decisions.c.id)
)
_OF_CASE = _WITH_TEXT.join(agency_requests, agency_requests.c.id == decisions.c.request_id).where(
    agency_requests.c.case_id == bindparam("wanted"), COUNTING
)
_IN_ORDER = _OF_CASE.order_by(decisions.c.id)
_CURRENT = _OF_CASE.where(decisions.c.superseded_by.is_(None)).order_by(decisions.c.item, decisions.c.law)
_OF_NOTICE = (
    select(decisions)
    .where(decisions.c.request_id == bindparam("wanted"), decisions.c.notice_no == bindparam("notice"))
    .order_by(decisions.c.id)
)
# These columns must be the same when an agency repeats a notice.
_REPEATED_COLUMNS = (
    "request_id",
    "issued_at",
    "decision",
    "number",
    "date",
    "quantity",
    "unit",
    "conditions",
)


@dataclass(frozen=True, slots=True)
class NewDecision:
    """One decision of a notice: its item, law, and content."""

    request_id: int
    agency: str
    notice_no: str
    item: int
    law: str
    issued_at: datetime
    decision: str
    number: str | None = None
    date: date | None = None
    quantity: str | None = None
    unit: str | None = None
    conditions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StoredDecisions:
    """The values of the rows of new decisions, and what supersedes what since they were stored.

    `successors` has for each decision (row id) whose successor has changed the row id of the decision that
    supersedes it; None where nothing does any more.
    """

    rows: Sequence[Mapping[str, Any]]
    successors: Mapping[int, int | None]


def insert_decisions(
    conn: Connection, new: Sequence[NewDecision], at: datetime, *, is_first_notice: bool = False
) -> StoredDecisions:
    """Store the new decisions, and mark those that are superseded; the case must be locked.

    An agency may repeat a notice. Raises GW702 when it repeats the number with other content. The
    `is_first_notice` notice about a request supersedes no decision.
    """
    stored = [_insert_decision(conn, decision, at) for decision in new]
    successors: dict[int, int | None] = {}
    if not is_first_notice:
        for request in dict.fromkeys(decision.request_id for decision in new):
            successors |= _mark_superseded(conn, request)
    return StoredDecisions([row for row in stored if row is not None], successors)


def _insert_decision(conn: Connection, new: NewDecision, at: datetime) -> Mapping[str, Any] | None:
    """Store a decision and return the values of its row; None for a repeat.

    Raise GW702 if the notice was received before with another decision on this item and law.
    """
    values = collect_values(new) | {"conditions": list(new.conditions), "received_at": at}
    row = _INSERT.insert_one(conn, values)
    if row is not None:
        return {**values, "id": int(row.id)}
    stored_decision = conn.execute(
        select(decisions).where(
            decisions.c.agency == new.agency,
            decisions.c.notice_no == new.notice_no,
            decisions.c.item == new.item,
            decisions.c.law == new.law,
        )
    ).one()
    if any(getattr(stored_decision, name) != values[name] for name in _REPEATED_COLUMNS):
        raise GatewayError(
            DECISION_CONFLICT,
            f"notice {new.notice_no[:40]} was received before with another decision",
            f"item {new.item}, law {new.law[:40]}",
        )
    return None


def _mark_superseded(conn: Connection, request: int) -> Mapping[int, int | None]:
    """Mark, for each item and law of a request, the latest decision as the successor of all others.

    Return the new successor of each decision (row ids) that has another one than before.
    """
    groups = defaultdict(list)
    for row in list_by_request(conn, request):
        groups[row.item, row.law].append(row)
    changes: dict[int, int | None] = {}
    for rows in groups.values():
        latest = max(rows, key=lambda row: (order_notice(row.issued_at, row.notice_no), row.id)).id
        successors = [(row, None if row.id == latest else latest) for row in rows]
        changes |= {row.id: new for row, new in successors if row.superseded_by != new}
    if changes:
        conn.execute(_SUPERSEDE, [{"old": old, "new": new} for old, new in changes.items()])
    return changes


def place_decisions(conn: Connection, agency: str, places: Mapping[str, datetime]) -> None:
    """Give the decisions of an agency's notices (their numbers) the places of these in their day."""
    conn.execute(
        _SET_ISSUE_TIME, [{"of": agency, "placed": number, "at": at} for number, at in places.items()]
    )


class DecisionWithTextRow(DecisionRow, Protocol):
    """A decision, with the text of its notice, and the number of the notice that has overruled that one."""

    notice_text: str | None
    overruled_by: str | None


def list_by_request(conn: Connection, request: int) -> Sequence[DecisionWithTextRow]:
    """Return the decisions on the present content of a request, also superseded ones, as received."""
    return conn.execute(_OF_REQUEST, {"wanted": request}).all()


def list_by_case(conn: Connection, case_id: int) -> Sequence[DecisionWithTextRow]:
    """Return the decisions on the present content of a case, also superseded ones, as received."""
    return conn.execute(_IN_ORDER, {"wanted": case_id}).all()


def list_by_notice(conn: Connection, request: int, notice_number: str) -> Sequence[DecisionRow]:
    """Return every decision of a notice (its number) on a request, those that do not count too."""
    return conn.execute(_OF_NOTICE, {"wanted": request, "notice": notice_number}).all()


def list_all_by_request(conn: Connection, request: int) -> Sequence[DecisionWithTextRow]:
    """Return every decision on a request in the order received, those that do not count too."""
    query = _WITH_TEXT.where(decisions.c.request_id == request)
    return conn.execute(query.order_by(decisions.c.id)).all()


def list_numbers_of_case(conn: Connection, case_id: int) -> set[str]:
    """Return the numbers that the decisions of a case state, those that do not count too."""
    conditions = agency_requests.c.case_id == case_id, decisions.c.number.is_not(None)
    return set(conn.execute(select(decisions.c.number).join(agency_requests).where(*conditions)).scalars())


def list_current_decisions(conn: Connection, case_id: int) -> Sequence[DecisionWithTextRow]:
    """Return the decisions of a case that count and are not superseded, by item and law."""
    return conn.execute(_CURRENT, {"wanted": case_id}).all()


def outdate_items(conn: Connection, request: int, items: Collection[int], at: datetime) -> list[int]:
    """Let no decision of a request on these items count any more: an amendment has changed them.

    Return the row ids of the decisions that counted before.
    """
    conditions = (decisions.c.request_id == request, decisions.c.item.in_(sorted(items)))
    counting = decisions.c.outdated_at.is_(None)
    changed = update(decisions).where(*conditions, counting).values(outdated_at=at)
    return sorted(conn.execute(changed.returning(decisions.c.id)).scalars())


def find_by_requirement(conn: Connection, agency: str, number: str) -> AgencyRequestRow | None:
    """Return the request that the agency decided under this requirement number."""
    joined = select(agency_requests).join(decisions, decisions.c.request_id == agency_requests.c.id)
    query = joined.where(decisions.c.agency == agency, decisions.c.number == number)
    return conn.execute(query.order_by(agency_requests.c.id.desc()).limit(1)).first()


#: The most decided applications that are read, the latest first.
MAX_DECIDED_APPLICATIONS: Final = 5000


def count_refusal_reasons(
    conn: Connection, agency: str, since: datetime, until: datetime
) -> Counter[tuple[str, str]]:
    """Return the number of refusals by law and reason, decided from `since` on and before `until`.

    A refusal without a reason counts under an empty text. A refusal that was corrected does not count.
    """
    r, d = agency_requests.c, decisions.c
    decided_requests = (
        select(r.id)
        .where(r.agency == agency, r.decided_at.is_not(None), r.decided_at >= since, r.decided_at < until)
        .order_by(r.decided_at.desc())
        .limit(MAX_DECIDED_APPLICATIONS)
        .subquery()
    )
    query = (
        select(d.law, d.conditions)
        .select_from(decided_requests.join(decisions, d.request_id == decided_requests.c.id))
        .where(d.decision == "REJECTED", d.superseded_by.is_(None))
    )
    counted: Counter[tuple[str, str]] = Counter()
    for law, sentences in conn.execute(query):
        counted.update({(law, sentence) for sentence in sentences or ("",)})
    return counted
