"""Claims deliveries, and stores how a worker ends or renews its leases.

A worker that returns late changes nothing: each of its changes names the attempt that it leased,
and applies only while that attempt is the active one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Text,
    Update,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from gateway.errors import GatewayError
from gateway.state_machines import DELIVERY, get_next_state
from gateway.store import transitions
from gateway.store.deliveries import DeliveryAttemptRow, deliveries, delivery_attempts, lanes
from gateway.store.lanes import MAY_CLAIM, MAY_FOLLOW, DueLane
from gateway.store.prepared_statements import build_state_condition
from gateway.store.register_version import build_version_condition
from gateway.store.table_types import Instant, collect_values
from gateway.store.transitions import StateEvent

#: The most characters of a sentence that are stored.
_MAX_SENTENCE_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """The outcome of an attempt, for its record.

    `sentence` is the gateway's description of it, `theirs` the text of the partner's answer. `detail` has
    both, for the transition.
    """

    problem: str | None = None
    http_status: int | None = None
    answer_sha256: str | None = None
    detail: str | None = None
    sentence: str | None = None
    theirs: str | None = None


def make_attempt_outcome(problem: GatewayError) -> AttemptOutcome:
    """Return a problem as the outcome of an attempt."""
    own_text = problem.detail + (f" at {problem.location}" if problem.location else "")
    full_text = f"{problem}: {problem.theirs}" if problem.theirs else str(problem)
    return AttemptOutcome(
        problem=problem.problem.id,
        detail=clean_words(full_text),
        sentence=clean_words(own_text),
        theirs=clean_words(problem.theirs) or None,
    )


def clean_words(text: str) -> str:
    """Return a text that may come from the partner, shortened and printable.

    An unprintable character becomes a space: none may reach a terminal or split a line of the log.
    """
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_SENTENCE_CHARACTERS]).strip()


#: How many deliveries one statement names.
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class DeliveryLease:
    """A claimed delivery with the number of the leased attempt."""

    id: int
    attempt: int
    tries: int
    lost: int
    agent: str
    destination: str
    lane: str
    subject_type: str
    subject_id: str
    case_id: int | None
    wire_id: str | None
    payload_sha256: str | None
    parameters: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime | None
    leased_by: str
    lease_until: datetime


_NO_OUTCOME: Final = AttemptOutcome()
_INSERT_ATTEMPT: Final = insert(delivery_attempts)
#: Sets those columns that the parameters name.
_CHANGE_LEASED: Final = update(deliveries).where(
    deliveries.c.id == bindparam("of_delivery"),
    deliveries.c.attempt == bindparam("of_attempt"),
    build_state_condition(deliveries, "ACTIVE"),
)
_CHANGE_LEASED_BY_REGISTER: Final = _CHANGE_LEASED.where(build_version_condition())
_LEASED: Final = get_next_state(DELIVERY, "QUEUED", "lease")
_NOW: Final = bindparam("now", type_=Instant())
_LANE: Final = select(lanes.c.name, lanes.c.capacity).where(
    lanes.c.name == bindparam("of_lane"),
    MAY_CLAIM,
)
# FOR NO KEY UPDATE does not conflict with the key share lock that a new delivery holds on its lane.
_LOCK_LANE: Final = _LANE.with_for_update(skip_locked=True, key_share=True)
# FOR SHARE lets other workers claim, and makes a hold of the lane wait for this claim.
_SHARED_LANE: Final = (
    _LANE.where(lanes.c.capacity.is_(None)).with_for_update(skip_locked=True, read=True).cte("lane")
)
_COUNT_ACTIVE: Final = (
    select(func.count())
    .select_from(deliveries)
    .where(deliveries.c.lane == bindparam("of_lane"), build_state_condition(deliveries, "ACTIVE"))
)


def _build_claim(lane: ColumnElement[str], *, suspects: bool) -> Update:
    """Return the statement that leases the deliveries of a lane that are due, the earliest first."""
    d = deliveries.c
    # Literal text in the statement, as for the states, so that the index of suspects is used.
    lost_conditions: list[ColumnElement[Any]] = (
        [literal_column("lost > 0"), d.lost < bindparam("below")]
        if suspects
        else [literal_column("lost = 0")]
    )
    due = (
        select(d.id)
        .where(
            build_state_condition(deliveries, "QUEUED"),
            *lost_conditions,
            d.lane == lane,
            d.due_at <= _NOW,
            or_(d.expires_at.is_(None), d.expires_at > _NOW),
            MAY_FOLLOW,
        )
        .order_by(d.due_at, d.id)
        .limit(bindparam("most", type_=Integer()))
        .with_for_update(of=deliveries, skip_locked=True)
        .cte("due")
    )
    return (
        update(deliveries)
        .where(d.id.in_(select(due.c.id)))
        .values(
            state=_LEASED,
            attempt=d.attempt + 1,
            tries=d.tries + 1,
            leased_by=bindparam("worker"),
            lease_until=bindparam("until", type_=Instant()),
        )
        .returning(*(d[column.name] for column in fields(DeliveryLease)))
    )


def _build_claims(*, suspects: bool) -> Mapping[bool, Update]:
    """Return the claim from a lane that is locked already (True), and the claim that locks it (False)."""
    return {
        True: _build_claim(bindparam("of_lane", type_=Text()), suspects=suspects),
        False: _build_claim(select(_SHARED_LANE.c.name).scalar_subquery(), suspects=suspects),
    }


_CLAIMS: Final = _build_claims(suspects=False)
_CLAIMS_OF_SUSPECTS: Final = _build_claims(suspects=True)


def claim_lane(
    conn: Connection,
    lane: DueLane,
    now: datetime,
    *,
    worker: str,
    lease_until: datetime,
    limit: int = 1,
    suspects_below: int | None = None,
) -> list[DeliveryLease]:
    """Lease up to `limit` due deliveries of a lane to a worker, earliest first, within its capacity.

    The caller records their begin (`record_begun_attempts`) in the same transaction. Without
    `suspects_below`, only deliveries are claimed during which no worker died; with it, only those during
    which workers died, but fewer than `suspects_below`. `lane` is the row that was found due. If it has a
    capacity, its row is locked, and the result is empty while another worker claims from it, so that two
    workers do not both count the same free slots. The result is also empty if the lane is held or pulled, or
    has got a capacity meanwhile.
    """
    parameters = {"of_lane": lane.name, "now": now, "until": lease_until, "worker": worker}
    is_counted = lane.capacity is not None
    if is_counted:
        row = conn.execute(_LOCK_LANE, parameters).one_or_none()
        if row is None:
            return []
        if row.capacity is not None:
            # A statement of its own after the lock: it sees all earlier commits.
            limit = min(limit, row.capacity - conn.execute(_COUNT_ACTIVE, parameters).scalar_one())
    if limit <= 0:
        return []
    claims = _CLAIMS if suspects_below is None else _CLAIMS_OF_SUSPECTS
    rows = conn.execute(claims[is_counted], {**parameters, "most": limit, "below": suspects_below})
    return sorted((DeliveryLease(*lease) for lease in rows), key=lambda lease: lease.id)


def record_begun_attempts(
    conn: Connection, leases: Sequence[DeliveryLease], at: datetime, worker: str
) -> None:
    """Store the attempts that begin with these claims, and the transitions of their deliveries."""
    if leases:
        attempts = [{"delivery": lease.id, "attempt": lease.attempt, "started_at": at} for lease in leases]
        conn.execute(_INSERT_ATTEMPT, attempts)
        changes = [(lease.id, "QUEUED", _LEASED) for lease in leases]
        transitions.record_transitions(conn, DELIVERY, changes, StateEvent("lease", at, worker))


def lock_active_lease(conn: Connection, lease: DeliveryLease) -> bool:
    """Lock the delivery until the transaction ends, and return whether the attempt is still active."""
    query = select(deliveries.c.id).where(
        deliveries.c.id == lease.id, deliveries.c.attempt == lease.attempt, deliveries.c.state == "ACTIVE"
    )
    return conn.execute(query.with_for_update(key_share=True)).first() is not None


def renew_lease(conn: Connection, lease: DeliveryLease, until: datetime) -> bool:
    """Extend the lease; return False when it is lost."""
    return _change_leased_delivery(conn, lease, {"lease_until": until})


def mark_delivered(
    conn: Connection,
    lease: DeliveryLease,
    at: datetime,
    outcome: AttemptOutcome = _NO_OUTCOME,
    *,
    register_version: int | None = None,
) -> bool:
    """Store that the delivery is done; return False when the lease is lost and nothing was changed.

    With `register_version`, return False also if the register no longer has this version.
    """
    values = {"finished_at": at, "problem": None, "last_sentence": None}
    return _end_lease(conn, lease, "delivered", at, outcome, values, register_version=register_version)


def mark_receipted(
    conn: Connection, lease: DeliveryLease, at: datetime, actor: str, *, register_version: int
) -> bool:
    """Store that the delivery is done, because its receipt came with the answer to its attempt.

    Return False when the lease is lost or the register no longer has the version `register_version`.
    """
    values = {"problem": None, "last_sentence": None, "finished_at": at}
    return _end_lease(
        conn, lease, "delivered", at, _NO_OUTCOME, values, register_version=register_version, actor=actor
    )


def mark_sent(
    conn: Connection,
    lease: DeliveryLease,
    at: datetime,
    receipt_due: datetime,
    outcome: AttemptOutcome = _NO_OUTCOME,
    *,
    is_last_attempt: bool = False,
) -> bool:
    """Store that the message was sent and its receipt is due; return False when the lease is lost.

    The time of a delivery is over with its `is_last_attempt` attempt. An ordered one has no time limit.
    """
    values = {"due_at": receipt_due}
    if is_last_attempt and lease.expires_at is not None:
        values["expires_at"] = receipt_due
    return _end_lease(conn, lease, "sent", at, outcome, values)


def defer_delivery(
    conn: Connection,
    lease: DeliveryLease,
    at: datetime,
    due_at: datetime,
    outcome: AttemptOutcome = _NO_OUTCOME,
    *,
    is_try_counted: bool = True,
) -> bool:
    """Store that the delivery is retried at `due_at`; without `is_try_counted` the attempt uses up no try."""
    values: dict[str, Any] = {
        "due_at": due_at,
        "problem": outcome.problem,
        "last_sentence": outcome.sentence,
    }
    if not is_try_counted:
        values["tries"] = lease.tries - 1
    return _end_lease(conn, lease, "defer", at, outcome, values)


def fail_delivery(
    conn: Connection, lease: DeliveryLease, at: datetime, outcome: AttemptOutcome = _NO_OUTCOME
) -> bool:
    """Store that the delivery has failed: no retry is planned; return False when the lease is lost.

    `outcome` is the outcome of its last attempt, with the sentence by which the gateway describes it.
    """
    values = {"finished_at": at, "problem": outcome.problem, "last_sentence": outcome.sentence}
    # This event gives a delivery the state FAILED.
    return _end_lease(conn, lease, "refuse", at, outcome, values)


def _end_lease(
    conn: Connection,
    lease: DeliveryLease,
    event: str,
    at: datetime,
    outcome: AttemptOutcome,
    values: Mapping[str, Any],
    *,
    register_version: int | None = None,
    actor: str | None = None,
) -> bool:
    """Apply `event` to a leased delivery, set the columns `values`, and finish its attempt.

    Return False, and change nothing, when the lease is lost. With `register_version`, return False also if
    the register no longer has this version.
    """
    after = get_next_state(DELIVERY, "ACTIVE", event)
    # This worker has finished and is alive: earlier worker deaths had another cause.
    cleared = {"state": after, "leased_by": None, "lease_until": None, "lost": 0}
    if not _change_leased_delivery(conn, lease, {**cleared, **values}, register_version=register_version):
        return False
    finish_attempt(conn, lease.id, lease.attempt, event, at, outcome)
    ended = StateEvent(event, at, actor or lease.leased_by, outcome.detail or outcome.problem)
    transitions.record_transitions(conn, DELIVERY, [(lease.id, "ACTIVE", after)], ended)
    return True


def _change_leased_delivery(
    conn: Connection, lease: DeliveryLease, values: Mapping[str, Any], *, register_version: int | None = None
) -> bool:
    """Set columns of a delivery; return False, and change nothing, when the lease is lost.

    With `register_version`, return False also if the register no longer has this version.
    """
    row = {"of_delivery": lease.id, "of_attempt": lease.attempt, **values}
    if register_version is None:
        return conn.execute(_CHANGE_LEASED, row).rowcount == 1
    return conn.execute(_CHANGE_LEASED_BY_REGISTER, {"register": register_version, **row}).rowcount == 1


#: Sets those columns that the parameters name.
_CHANGE_ATTEMPT: Final = update(delivery_attempts).where(
    delivery_attempts.c.delivery == bindparam("of_delivery"),
    delivery_attempts.c.attempt == bindparam("of_attempt"),
)


def finish_attempt(
    conn: Connection, delivery: int, attempt: int, event: str, at: datetime, outcome: AttemptOutcome
) -> None:
    """Store the outcome of an attempt at a delivery; a later outcome replaces an earlier one."""
    columns = collect_values(outcome) | {"outcome": event, "finished_at": at}
    # The detail stands in the transition.
    del columns["detail"]
    conn.execute(_CHANGE_ATTEMPT, {"of_delivery": delivery, "of_attempt": attempt, **columns})


_ATTEMPTS: Final = (
    select(delivery_attempts)
    .where(delivery_attempts.c.delivery == bindparam("of_delivery"))
    .order_by(delivery_attempts.c.attempt)
)


def list_attempts(conn: Connection, delivery: int) -> Sequence[DeliveryAttemptRow]:
    """Return the attempts of a delivery, the earliest first, with an attempt that is under way."""
    return conn.execute(_ATTEMPTS, {"of_delivery": delivery}).all()


def list_last_answer_texts(conn: Connection, delivery_ids: Sequence[int]) -> dict[int, str]:
    """Return the text of the partner's latest answer by delivery (row id); most deliveries have none."""
    answer_texts: dict[int, str] = {}
    for start in range(0, len(delivery_ids), _BATCH):
        a = delivery_attempts.c
        query = select(a.delivery, a.theirs).where(
            a.delivery.in_(delivery_ids[start : start + _BATCH]), a.theirs.is_not(None)
        )
        answer_texts |= {row.delivery: row.theirs for row in conn.execute(query.order_by(a.attempt))}
    return answer_texts
