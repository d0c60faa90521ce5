"""Stores the work of officers at the console: their acts, their claims, and the calls to their agencies.

The state of an act is proposed, intended, performed and so on; each change names the state before. Each
change of a claim names the version that the person saw. An agency decides at the console always, or while an
operator has switched it there because its own system is not available.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    Exists,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)

from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.state_machines import REQUEST
from gateway.store.agency_requests import agency_requests
from gateway.store.prepared_statements import InsertIfAbsent, build_choice_condition
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    Instant,
    Json,
    make_identity_column,
    make_required_column,
    metadata,
)

# Acts of officers. `content` is the digest of the content of the act, whose octets are a payload; the person
# who began the act is in account_id, name, role, and the person who approved or returned it in the columns
# `approver_…`. `under_way` is the request while the act is proposed or intended: an application has at most
# one such act.
officer_acts = Table(
    "officer_acts",
    metadata,
    make_identity_column(),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("agency", CODE_TEXT),
    make_required_column("kind"),
    make_required_column("state", CODE_TEXT),
    make_required_column("content", Text, ForeignKey("payloads.sha256")),
    make_required_column("shown_sha256", Text, ForeignKey("payloads.sha256")),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("name"),
    make_required_column("role"),
    make_required_column("at", Instant),
    make_required_column("confirmation", Json),
    Column("approver_id", BigInteger, ForeignKey("accounts.id")),
    Column("approver_name", Text),
    Column("approver_role", Text),
    Column("approver_confirmation", Json),
    Column("reason", Text),
    make_required_column("message_id", ID_TEXT),
    make_required_column("notice_number"),
    Column("issued_at", Instant),
    Column("call_sha256", Text, ForeignKey("payloads.sha256")),
    Column("problem", Text),
    Column("detail", Text),
    Column("ended_at", Instant),
    Column("under_way", BigInteger),
    UniqueConstraint("message_id"),
    UniqueConstraint("under_way"),
    CheckConstraint(
        "kind IN ('receive', 'ask', 'inspect', 'fee', 'decide', 'correct', 'revoke')", name="kind"
    ),
    CheckConstraint(
        "state IN ('PROPOSED', 'INTENDED', 'PERFORMED', 'REFUSED', 'RETURNED', 'WITHDRAWN')", name="state"
    ),
    Index("ix_officer_acts_agency", "agency", "state", "id"),
    Index("ix_officer_acts_request_id", "request_id"),
)


class OfficerActRow(Protocol):
    """A row of the table `officer_acts`."""

    id: int
    request_id: int
    agency: str
    kind: str
    state: str
    content: str
    shown_sha256: str
    account_id: int
    name: str
    role: str
    at: datetime
    confirmation: Any
    approver_id: int | None
    approver_name: str | None
    approver_role: str | None
    approver_confirmation: Any
    reason: str | None
    message_id: str
    notice_number: str
    issued_at: datetime | None
    call_sha256: str | None
    problem: str | None
    detail: str | None
    ended_at: datetime | None
    under_way: int | None


_INSERT_ACT = InsertIfAbsent(officer_acts, ("under_way",), "id")
_DECIDING = ("decide", "correct", "revoke")


@dataclass(frozen=True, slots=True)
class NewOfficerAct:
    """A new act: its request, author and confirmation, the digests of its content and of the facts shown.

    `issued_at` is given for an act that is intended at once; None for a proposal.
    """

    request_id: int
    agency: str
    kind: str
    state: str
    content: str
    shown_sha256: str
    account_id: int
    name: str
    role: str
    confirmation: Mapping[str, Any]
    message_id: str
    notice_number: str
    issued_at: datetime | None = None


def insert_act(conn: Connection, act: NewOfficerAct, at: datetime) -> int | None:
    """Store an act and return its id; None if another act on its application is proposed or intended."""
    row = asdict(act) | {"at": at, "under_way": act.request_id, "confirmation": dict(act.confirmation)}
    stored = _INSERT_ACT.insert_one(conn, row)
    return None if stored is None else int(stored.id)


def change_act(conn: Connection, act: int, before: str, after: str, **values: Any) -> bool:
    """Move an act from one state to another; return False when it is not in the first one any more."""
    if after != "INTENDED":
        values["under_way"] = None
    conditions = (officer_acts.c.id == act, officer_acts.c.state == before)
    updated = conn.execute(update(officer_acts).where(*conditions).values(state=after, **values))
    return updated.rowcount == 1


def find_act(conn: Connection, act: int) -> OfficerActRow | None:
    """Return the act of this row id; None if there is none."""
    return conn.execute(select(officer_acts).where(officer_acts.c.id == act)).first()


def find_by_message_id(conn: Connection, message_id: str) -> OfficerActRow | None:
    """Return the act whose call has this MessageID."""
    return conn.execute(select(officer_acts).where(officer_acts.c.message_id == message_id)).first()


def find_open_act(conn: Connection, request: int) -> OfficerActRow | None:
    """Return the act about a request that is proposed or intended."""
    return conn.execute(select(officer_acts).where(officer_acts.c.under_way == request)).first()


def list_acts(conn: Connection, request: int) -> Sequence[OfficerActRow]:
    """Return the acts about a request, oldest first."""
    query = select(officer_acts).where(officer_acts.c.request_id == request)
    return conn.execute(query.order_by(officer_acts.c.id)).all()


def count_acts(conn: Connection, request: int) -> int:
    """Return the number of acts about a request, in any state."""
    query = select(func.count()).select_from(officer_acts).where(officer_acts.c.request_id == request)
    return int(conn.execute(query).scalar_one())


def build_decided_condition(request: ColumnElement[int] | int) -> Exists:
    """Return the condition that officers at the console have decided an application, or a part of it."""
    return exists().where(
        officer_acts.c.request_id == request,
        officer_acts.c.state == "PERFORMED",
        build_choice_condition(officer_acts.c.kind, _DECIDING),
    )


def list_intended_acts(conn: Connection, limit: int = 100, after_request: int = 0) -> Sequence[OfficerActRow]:
    """Return acts that are intended and not performed yet, by request; those behind `after_request`."""
    # `under_way` has a value for few acts only, and its order is that of its index.
    waiting = (officer_acts.c.under_way > after_request, officer_acts.c.state == "INTENDED")
    query = select(officer_acts).where(*waiting)
    return conn.execute(query.order_by(officer_acts.c.under_way).limit(limit)).all()


# Who works on an application. A row stays when it is released, so that its version always rises.
work_claims = Table(
    "work_claims",
    metadata,
    Column("request_id", BigInteger, ForeignKey("agency_requests.id"), primary_key=True, autoincrement=False),
    make_required_column("agency"),
    Column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("version", Integer),
    make_required_column("since", Instant),
    Index("ix_work_claims_account", "account_id"),
)


class WorkClaimRow(Protocol):
    """A row of the table `work_claims`."""

    request_id: int
    agency: str
    account_id: int | None
    version: int
    since: datetime


_INSERT_CLAIM = InsertIfAbsent(work_claims, ("request_id",), "request_id")


def find_claim(conn: Connection, request: int) -> WorkClaimRow | None:
    """Return the claim on an application, also a released one (without account); None before the first."""
    return conn.execute(select(work_claims).where(work_claims.c.request_id == request)).first()


def change_claim(
    conn: Connection, request: int, agency: str, account: int | None, version: int, at: datetime
) -> bool:
    """Assign an application (row id) of an agency to an account (None: release it).

    `version` is that of the claim as the person saw it; 0 for an application without a claim. Return False,
    and change nothing, if the claim now has another version.
    """
    values = {"account_id": account, "since": at, "version": version + 1}
    if version == 0:
        return _INSERT_CLAIM.insert_one(conn, {"request_id": request, "agency": agency, **values}) is not None
    conditions = (work_claims.c.request_id == request, work_claims.c.version == version)
    return conn.execute(update(work_claims).where(*conditions).values(values)).rowcount == 1


# Agencies whose own system is away: an operator has switched them to the console.
console_switches = Table(
    "console_switches",
    metadata,
    Column("agency", CODE_TEXT, primary_key=True),
    make_required_column("since", Instant),
    make_required_column("switched_by"),
    make_required_column("reason"),
)


class ConsoleSwitchRow(Protocol):
    """A row of the table `console_switches`."""

    agency: str
    since: datetime
    switched_by: str
    reason: str


_INSERT_SWITCH = InsertIfAbsent(console_switches, ("agency",), "agency")


def find_switch(conn: Connection, agency: str) -> ConsoleSwitchRow | None:
    """Return the switch of an agency to the console: time, actor, reason; None when it is not switched."""
    return conn.execute(select(console_switches).where(console_switches.c.agency == agency)).first()


def lock_switch_if_set(conn: Connection, agency: str) -> bool:
    """Return whether an agency is switched to the console, and lock that until the transaction ends."""
    query = select(console_switches.c.agency).where(console_switches.c.agency == agency)
    return conn.execute(query.with_for_update(read=True)).first() is not None


def list_switches(conn: Connection) -> Sequence[ConsoleSwitchRow]:
    """Return the agencies that are switched to the console, by their codes."""
    return conn.execute(select(console_switches).order_by(console_switches.c.agency)).all()


def insert_switch(conn: Connection, agency: str, at: datetime, actor: str, reason: str) -> None:
    """Switch an agency to the console; raises GW705 when it is switched already."""
    row = {"agency": agency, "since": at, "switched_by": actor, "reason": reason}
    if _INSERT_SWITCH.insert_one(conn, row) is None:
        raise GatewayError(TRANSITION_REFUSED, f"agency {agency[:40]} is at the console already", "agency")


def end_switch(conn: Connection, agency: str) -> ConsoleSwitchRow:
    """Switch an agency back to its own system; return how it was switched, or raise GW705."""
    held = select(console_switches).where(console_switches.c.agency == agency).with_for_update()
    row = conn.execute(held).first()
    if row is None:
        detail = f"no operator has switched agency {agency[:40]} to the console"
        raise GatewayError(TRANSITION_REFUSED, detail, "agency")
    conn.execute(delete(console_switches).where(console_switches.c.agency == agency))
    return row


# Calls to agencies that decide at the console, as signed by the hub: their deliveries were put here instead
# of being sent over HTTP.
console_mailbox = Table(
    "console_mailbox",
    metadata,
    make_identity_column(),
    make_required_column("agency", CODE_TEXT),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("delivery_id", BigInteger, ForeignKey("deliveries.id")),
    make_required_column("operation"),
    make_required_column("call_sha256", Text, ForeignKey("payloads.sha256")),
    make_required_column("received_at", Instant),
    UniqueConstraint("delivery_id"),
    Index("ix_console_mailbox_agency", "agency", "id"),
    Index("ix_console_mailbox_request_id", "request_id"),
)


class MailboxCallRow(Protocol):
    """A row of the table `console_mailbox`."""

    id: int
    agency: str
    request_id: int
    case_id: int
    delivery_id: int
    operation: str
    call_sha256: str
    received_at: datetime


_INSERT_CALL = InsertIfAbsent(console_mailbox, ("delivery_id",), "id")
_SWITCHED = exists().where(console_switches.c.agency == bindparam("agency"))

# An application with a call in the mailbox, or that officers have decided, stays at the console.
_RESTS = exists().where(console_mailbox.c.request_id == bindparam("request")) | build_decided_condition(
    bindparam("request")
)
_GET_DESK_STATE = select(_RESTS.label("rests"), _SWITCHED.label("switched"))
#: Undecided applications are counted up to this number.
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class NewMailboxCall:
    """A call for officers of an agency that was not sent but put into the mailbox of the console."""

    agency: str
    request_id: int
    case_id: int
    delivery_id: int
    operation: str
    call_sha256: str


def insert_mailbox_call(conn: Connection, call: NewMailboxCall, at: datetime) -> bool:
    """Store a call in the mailbox; return False if a call of its delivery is stored already."""
    return _INSERT_CALL.insert_one(conn, asdict(call) | {"received_at": at}) is not None


def find_desk_state(conn: Connection, request: int, agency: str) -> tuple[bool, bool]:
    """Return whether a request stays at the console, and whether its agency is switched to the console.

    A request stays there once a call of it is in the mailbox, or officers have decided a part of it.
    """
    row = conn.execute(_GET_DESK_STATE, {"request": request, "agency": agency}).one()
    return bool(row.rests), bool(row.switched)


def list_mailbox_calls(conn: Connection, request: int) -> Sequence[MailboxCallRow]:
    """Return the calls about a request, oldest first."""
    query = select(console_mailbox).where(console_mailbox.c.request_id == request)
    return conn.execute(query.order_by(console_mailbox.c.id)).all()


def count_undecided(conn: Connection, agency: str) -> int:
    """Return how many applications in the mailbox of an agency are undecided, counted up to 10,000."""
    waiting = (
        select(console_mailbox.c.request_id)
        .join(agency_requests, agency_requests.c.id == console_mailbox.c.request_id)
        .where(
            console_mailbox.c.agency == agency, agency_requests.c.state.not_in(sorted(REQUEST.final_states))
        )
        .distinct()
        .limit(_MOST)
    )
    return int(conn.execute(select(func.count()).select_from(waiting.subquery())).scalar_one())
