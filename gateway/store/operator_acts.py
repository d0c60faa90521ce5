"""Stores acts of operators that wait for a second person, and the announcements of the public status page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    func,
    or_,
    select,
    update,
)

from gateway.store.accounts import accounts
from gateway.store.postgresql_connections import acquire_named_locks
from gateway.store.prepared_statements import insert_row
from gateway.store.table_types import (
    CODE_TEXT,
    Instant,
    Json,
    make_identity_column,
    make_required_column,
    metadata,
)

# Acts that are looked at before they are done: a DRAFT is seen by who made it, a PENDING one waits for
# another person. `content` is a file that was uploaded; it is removed when the act has ended.
operator_acts = Table(
    "operator_acts",
    metadata,
    make_identity_column(),
    make_required_column("act"),  # the words of its verb
    make_required_column("object"),
    make_required_column("parameters", Json),
    Column("content", LargeBinary),
    Column("content_name", Text),
    make_required_column("state", CODE_TEXT),
    Column("reason", Text),
    make_required_column("proposed_by", BigInteger, ForeignKey("accounts.id")),
    make_required_column("proposed_at", Instant),
    Column("decided_by", BigInteger, ForeignKey("accounts.id")),
    Column("decided_at", Instant),
    Column("decision_reason", Text),
    Column("outcome", Text),  # the effect of the act, in a sentence
    CheckConstraint("state IN ('DRAFT', 'PENDING', 'DONE', 'REJECTED', 'WITHDRAWN')", name="state"),
    CheckConstraint("state <> 'DONE' OR decided_by IS NOT NULL", name="decided"),
    Index("ix_operator_acts_state", "state", "id"),
)


class OperatorActSummaryRow(Protocol):
    """An act without its content, with the names of the persons who proposed and who ended it."""

    id: int
    act: str
    object: str
    parameters: Any
    content_name: str | None
    state: str
    reason: str | None
    proposed_by: int
    proposed_at: datetime
    decided_by: int | None
    decided_at: datetime | None
    decision_reason: str | None
    outcome: str | None
    proposer: str
    decider: str | None


class OperatorActRow(OperatorActSummaryRow, Protocol):
    """An act with its content."""

    content: bytes | None


@dataclass(frozen=True, slots=True)
class NewOperatorAct:
    """An act that an operator proposes; a DRAFT is not proposed yet."""

    act: str
    object: str
    parameters: Mapping[str, Any]
    proposed_by: int
    state: str = "PENDING"
    reason: str | None = None
    content: bytes | None = field(default=None, repr=False)
    content_name: str | None = None


@dataclass(frozen=True, slots=True)
class ActDecision:
    """The end of an act: the account that ends it, the time, and the reason."""

    account: int
    at: datetime
    reason: str | None = None


_proposer: Final = accounts.alias("proposer")
_decider: Final = accounts.alias("decider")
_COLUMNS: Final[tuple[Any, ...]] = (
    *(column for column in operator_acts.c if column is not operator_acts.c.content),
    _proposer.c.name.label("proposer"),
    _decider.c.name.label("decider"),
)
_SOURCE: Final = operator_acts.join(_proposer, _proposer.c.id == operator_acts.c.proposed_by).outerjoin(
    _decider, _decider.c.id == operator_acts.c.decided_by
)


def insert_act(conn: Connection, new: NewOperatorAct, at: datetime) -> int:
    """Store an act; return its number."""
    return insert_row(conn, operator_acts, asdict(new) | {"proposed_at": at})


class UploadRow(Protocol):
    """An act with an uploaded file."""

    id: int
    state: str


def list_uploads(conn: Connection, account: int) -> Sequence[UploadRow]:
    """Return id and state of the acts with a file that a person has uploaded and that wait, oldest first.

    They are DRAFT or PENDING. Other transactions that list them wait until this one ends.
    """
    acquire_named_locks(conn, f"uploads of account {account}")
    o = operator_acts.c
    waiting = (o.proposed_by == account, o.state.in_(("DRAFT", "PENDING")), o.content.is_not(None))
    columns: tuple[Any, ...] = (o.id, o.state)
    return conn.execute(select(*columns).where(*waiting).order_by(o.id)).all()


def find_act(conn: Connection, act_id: int) -> OperatorActRow | None:
    """Return the act with its content, and the names of the persons who proposed and who ended it."""
    columns: tuple[Any, ...] = (*_COLUMNS, operator_acts.c.content)
    query = select(*columns).select_from(_SOURCE)
    return conn.execute(query.where(operator_acts.c.id == act_id)).first()


def list_acts(
    conn: Connection, state: str, *, proposer: int | None = None, limit: int = 50
) -> Sequence[OperatorActSummaryRow]:
    """Return the acts in a state without their content, newest first; with `proposer` those of an account."""
    query = select(*_COLUMNS).select_from(_SOURCE).where(operator_acts.c.state == state)
    if proposer is not None:
        query = query.where(operator_acts.c.proposed_by == proposer)
    return conn.execute(query.order_by(operator_acts.c.id.desc()).limit(limit)).all()


def count_pending(conn: Connection) -> int:
    """Return how many acts wait for a second person."""
    query = select(func.count()).where(operator_acts.c.state == "PENDING")
    return int(conn.execute(query).scalar_one())


def confirm_draft(conn: Connection, number: int, account: int, reason: str, at: datetime) -> bool:
    """Make a person's draft a proposal (PENDING); return False if it is no longer a draft of this person."""
    o = operator_acts.c
    is_own_draft = (o.id == number, o.state == "DRAFT", o.proposed_by == account)
    changed = (
        update(operator_acts).where(*is_own_draft).values(state="PENDING", reason=reason, proposed_at=at)
    )
    return conn.execute(changed).rowcount == 1


def end_act(
    conn: Connection, act_id: int, state: str, decision: ActDecision, *, is_allowed_alone: bool = False
) -> bool:
    """End a waiting act by one statement; return False if it does not wait, or this person may not end it.

    For DONE and REJECTED, the person must not be the proposer of the act, unless the act may be done
    `is_allowed_alone`; only the proposer may end the act as WITHDRAWN.
    """
    o = operator_acts.c
    waiting = [o.id == act_id, o.state.in_(("PENDING", "DRAFT") if state == "WITHDRAWN" else ("PENDING",))]
    if state == "WITHDRAWN":
        waiting.append(o.proposed_by == decision.account)
    elif not is_allowed_alone:
        waiting.append(o.proposed_by != decision.account)
    values = {
        "state": state,
        "decided_by": decision.account,
        "decided_at": decision.at,
        "decision_reason": decision.reason,
    }
    return conn.execute(update(operator_acts).where(*waiting).values(values)).rowcount == 1


def set_outcome(conn: Connection, number: int, sentence: str) -> None:
    """Store a sentence on the effect of an act, and remove its uploaded file."""
    changed = update(operator_acts).where(operator_acts.c.id == number)
    conn.execute(changed.values(outcome=sentence, content=None))


# The notices of the public status page, in both languages. A notice is shown until `ends_at`.
status_notices = Table(
    "status_notices",
    metadata,
    make_identity_column(),
    make_required_column("kind"),
    make_required_column("title_en"),
    make_required_column("title_ko"),
    make_required_column("text_en"),
    make_required_column("text_ko"),
    make_required_column("starts_at", Instant),
    Column("ends_at", Instant),
    make_required_column("published_at", Instant),
    make_required_column("published_by"),
    make_required_column("changed_at", Instant),
    CheckConstraint("kind IN ('incident', 'planned')", name="kind"),
    Index("ix_status_notices_ends_at", "ends_at"),
)


class StatusAnnouncementRow(Protocol):
    """A row of the table `status_notices`."""

    id: int
    kind: str
    title_en: str
    title_ko: str
    text_en: str
    text_ko: str
    starts_at: datetime
    ends_at: datetime | None
    published_at: datetime
    published_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class NewStatusAnnouncement:
    """An incident or a planned interruption, in both languages; the end may be unknown."""

    kind: str
    title_en: str
    title_ko: str
    text_en: str
    text_ko: str
    starts_at: datetime
    ends_at: datetime | None = None


def insert_status_announcement(conn: Connection, new: NewStatusAnnouncement, at: datetime, by: str) -> int:
    """Publish a notice; return its number."""
    row = asdict(new) | {"published_at": at, "changed_at": at, "published_by": by}
    return insert_row(conn, status_notices, row)


def end_status_announcement(conn: Connection, number: int, at: datetime) -> bool:
    """End a notice now; return False when it has ended already."""
    s = status_notices.c
    changed = update(status_notices).where(s.id == number, or_(s.ends_at.is_(None), s.ends_at > at))
    return conn.execute(changed.values(ends_at=at, changed_at=at)).rowcount == 1


def find_status_announcement(conn: Connection, number: int) -> StatusAnnouncementRow | None:
    """Return the notice."""
    return conn.execute(select(status_notices).where(status_notices.c.id == number)).first()


def list_current_announcements(conn: Connection, at: datetime) -> Sequence[StatusAnnouncementRow]:
    """Return the notices that have not ended, also those that begin later, the first to begin first."""
    s = status_notices.c
    open_ended = select(status_notices).where(s.ends_at.is_(None))
    ending = select(status_notices).where(s.ends_at > at)
    rows = [*conn.execute(open_ended), *conn.execute(ending)]
    return sorted(rows, key=lambda row: (row.starts_at, row.id))


def list_past_announcements(
    conn: Connection, since: datetime, until: datetime
) -> Sequence[StatusAnnouncementRow]:
    """Return the notices that ended in a span of time, the last one first."""
    s = status_notices.c
    ended = select(status_notices).where(s.ends_at > since, s.ends_at <= until)
    return conn.execute(ended.order_by(s.ends_at.desc(), s.id.desc())).all()
