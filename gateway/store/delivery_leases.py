"""Claims deliveries, and stores how a worker ends or renews its leases.

A worker that returns late changes nothing: each of its changes names the attempt that it leased,
and applies only while that attempt is the active one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Executable,
    Integer,
    Row,
    Select,
    Table,
    Text,
    Update,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    union_all,
    update,
)

from gateway.state_machines import DELIVERY, get_next_state
from gateway.store import transitions
from gateway.store.attempt_outcomes import AttemptOutcome
from gateway.store.conflict_inserts import insert_into
from gateway.store.lanes import MAY_FOLLOW, DueLane
from gateway.store.lease_contents import (
    CONTENT,
    build_content_column,
    build_rest_column,
    build_switch_column,
    join_content,
)
from gateway.store.prepared_statements import build_state_condition
from gateway.store.register_version import build_version_condition
from gateway.store.single_writer import has_single_writer
from gateway.store.tables import Instant, deliveries, delivery_attempts, lanes
from gateway.store.tables import transitions as stored_transitions
from gateway.store.transaction_rows import note_due_lane, note_ended_lease
from gateway.store.transitions import StateEvent

__all__ = [
    "FOLLOWED",
    "DeliveryClaim",
    "DeliveryLease",
    "defer_delivery",
    "fail_delivery",
    "finish_attempts",
    "list_attempts",
    "list_last_words",
    "lock_active_lease",
    "make_finish",
    "mark_delivered",
    "mark_receipted",
    "mark_sent",
    "renew_lease",
    "settle_attempt",
]

#: The parameter of a delivery that another one follows in its lane.
FOLLOWED: Final = "followed"
#: How many deliveries one statement names.
_NAMED: Final = 500


@dataclass(frozen=True, slots=True)
class DeliveryLease:
    """A claimed delivery with the number of the leased attempt.

    `content` are the octets of its payload, and `rests` and `switched` say what the console has to do
    with it, where the claim read them; the octets of a long payload are None. `started_at` is when it was
    claimed, on SQLite.
    """

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
    content: bytes | None = field(default=None, repr=False)
    rests: bool | None = None
    switched: bool | None = None
    started_at: datetime | None = None


_NOTHING: Final = AttemptOutcome()
_COLUMNS: Final = tuple(deliveries.c[one.name] for one in fields(DeliveryLease) if one.default is MISSING)


_LEASED: Final = get_next_state(DELIVERY, "QUEUED", "lease")


def _count_active(suffix: str = "") -> ColumnElement[int]:
    """Return how many deliveries of the lane ``in_lane`` are active; `suffix` tells parameters apart."""
    named = deliveries.c.lane == bindparam(f"in_lane{suffix}")
    counted = select(func.count()).select_from(deliveries)
    return counted.where(named, build_state_condition(deliveries, "ACTIVE")).scalar_subquery()


def _build_lane_conditions(suffix: str = "") -> tuple[ColumnElement[bool], ...]:
    """Return that the lane may be claimed from: it is neither held nor pulled, and has its circuit closed."""
    return (
        lanes.c.name == bindparam(f"in_lane{suffix}"),
        lanes.c.pulled.is_(False),
        lanes.c.held_at.is_(None),
        or_(lanes.c.open_until.is_(None), lanes.c.open_until <= bindparam("now", type_=Instant())),
    )


def _build_free_alone(suffix: str = "") -> ColumnElement[int]:
    """Return how many deliveries of a lane SQLite may claim; no lane of that name has none."""
    capacity = select(lanes.c.capacity).where(lanes.c.name == bindparam(f"in_lane{suffix}")).scalar_subquery()
    most = bindparam(f"at_most{suffix}", type_=Integer())
    left = func.max(0, func.min(most, capacity - _count_active(suffix)))
    return case((capacity.is_(None), most), else_=left)


#: PostgreSQL: how many deliveries of a locked lane may be claimed.
_FREE: Final = func.greatest(
    0,
    func.least(
        bindparam("at_most", type_=Integer()),
        bindparam("capacity", type_=Integer()) - _count_active(),
    ),
)


def _build_due(
    *,
    suspects: bool = False,
    limit: ColumnElement[int],
    further: Sequence[ColumnElement[bool]] = (),
    suffix: str = "",
) -> Select[Any]:
    """Return the due deliveries of the lane ``in_lane`` that are claimed, at most `limit`, earliest first."""
    d = deliveries
    # Literal text in the statement, as for the states, so that the index of suspects is used.
    blame: ColumnElement[Any] = literal_column("lost > 0" if suspects else "lost = 0")
    return (
        select(d.c.id)
        .where(
            *further,
            build_state_condition(d, "QUEUED"),
            blame,
            d.c.lane == bindparam(f"in_lane{suffix}"),
            d.c.due_at <= bindparam("now", type_=Instant()),
            or_(d.c.expires_at.is_(None), d.c.expires_at > bindparam("now", type_=Instant())),
            MAY_FOLLOW,
        )
        .order_by(d.c.due_at, d.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def _build_claim_statement(*, suspects: bool, sharing: bool = False, counting: bool = False) -> Update:
    """Return the claim; one that is `sharing` shares the lane itself, which then must have no capacity.

    One that is `counting` takes no more than the capacity of a locked lane leaves free.
    """
    most: Any = bindparam("at_most", type_=deliveries.c.attempt.type)
    shared = [exists().where(_SHARED.c.name == deliveries.c.lane)] if sharing else []
    due = _build_due(suspects=suspects, limit=_FREE if counting else most, further=shared).cte("due")
    return _build_lease(due).returning(*_COLUMNS)


def _build_lease(due: CTE) -> Update:
    d = deliveries
    return (
        update(d)
        .where(d.c.id.in_(select(due.c.id)))
        .values(
            state=_LEASED,
            attempt=d.c.attempt + 1,
            tries=d.c.tries + 1,
            leased_by=bindparam("me"),
            lease_until=bindparam("until", type_=Instant()),
        )
    )


def _build_claim_alone(number: int, *, suspects: bool = False) -> Update:
    """Return the claim of SQLite, from so many lanes that nobody else can claim from meanwhile.

    It looks at each lane, and counts what is active in it, itself. The parameters of a lane end with its
    place.
    """
    parts = []
    for suffix in map(str, range(number)):
        may = exists().where(*_build_lane_conditions(suffix))
        limit = _build_free_alone(suffix)
        # A limit of its own is allowed in a subquery alone.
        parts.append(_build_due(suspects=suspects, limit=limit, further=[may], suffix=suffix).subquery())
    due = union_all(*(select(one.c.id) for one in parts)).cte("due")
    return _build_lease(due).returning(*_COLUMNS, *_list_told_with_lease(deliveries))


def _list_told_with_lease(d: Table) -> tuple[ColumnElement[Any], ...]:
    """Return what SQLite reads for each lease beside its row."""
    now = bindparam("now", type_=Instant()).label("started_at")
    return build_content_column(d), build_rest_column(d), build_switch_column(d), now


def _build_claim_with_logs(claim: Update) -> Select[Any]:
    """Return the claim of PostgreSQL, which stores the attempts and the transitions too."""
    claimed = claim.cte("claimed")
    now = bindparam("now", type_=Instant())
    began = select(claimed.c.id, claimed.c.attempt, now)
    attempts = insert(delivery_attempts).from_select(["delivery", "attempt", "started_at"], began)
    machine, before, step, after = map(literal, (DELIVERY.name, "QUEUED", "lease", _LEASED))
    told = select(machine, claimed.c.id, before, step, after, now, bindparam("me", type_=Text()))
    steps = insert(stored_transitions).from_select(_TOLD, told)
    told_too = (CONTENT, build_rest_column(claimed), build_switch_column(claimed))
    found = select(*claimed.c, *told_too).select_from(join_content(claimed))
    return found.add_cte(attempts.cte("attempts"), steps.cte("steps"))


_TOLD: Final = ("machine", "object_id", "from_state", "event", "to_state", "at", "actor")
#: A lane without a capacity that may be claimed from, locked as `_SHARE_LANE` locks it.
_SHARED: Final = (
    select(lanes.c.name)
    .where(*_build_lane_conditions(), lanes.c.capacity.is_(None))
    .with_for_update(skip_locked=True, read=True)
    .cte("shared")
)
#: How many lanes SQLite claims from by one statement.
_LANES: Final = 6
#: SQLite, by how many lanes are claimed from, and whether suspects are.
_CLAIMS_ALONE: Final = {
    **{(number, False): _build_claim_alone(number) for number in range(1, _LANES + 1)},
    (1, True): _build_claim_alone(1, suspects=True),
}
_CLAIMS: Final = {
    (suspects, way): _build_claim_with_logs(
        _build_claim_statement(suspects=suspects, sharing=way == "shared", counting=way == "counted")
    )
    for suspects in (False, True)
    for way in ("shared", "counted", "locked")
}
_LANE: Final = select(lanes.c.capacity, lanes.c.open_until, lanes.c.held_at, lanes.c.pulled).where(
    lanes.c.name == bindparam("in_lane")
)
# FOR SHARE lets other workers claim, and makes a hold of the lane wait for this claim.
_SHARE_LANE: Final = _LANE.with_for_update(skip_locked=True, read=True)
# FOR NO KEY UPDATE does not conflict with the key share lock that a new delivery holds on its lane.
_LOCK_LANE: Final = _LANE.with_for_update(skip_locked=True, key_share=True)


class DeliveryClaim:
    """Leases due deliveries of several lanes in one transaction, for the worker `me`.

    The lanes are claimed from one after another; what belongs to all leases is stored at the end.
    """

    def __init__(self, conn: Connection, me: str, now: datetime, until: datetime) -> None:
        self._conn = conn
        self._given: dict[str, Any] = {"me": me, "now": now, "until": until}
        #: Complete leases on PostgreSQL, rows on SQLite.
        self._claimed: list[Any] = []

    def claim_lane(
        self, lane: str, *, limit: int = 1, suspects: bool = False, known: DueLane | None = None
    ) -> int:
        """Claim up to `limit` due deliveries of a lane, earliest first, within its capacity; return how many.

        Deliveries during which a worker died are claimed only with `suspects`, and then no others. The
        row of a lane with a capacity is locked first, so that two workers do not both count the same
        free slots. Such a lane gives nothing while another worker is claiming from it. A lane that an
        operator holds gives nothing. `known` is the lane as it was found to be due.
        """
        wanted: dict[str, Any] = {"in_lane": lane, "at_most": limit, **self._given}
        found = self._claim_from_lane(wanted, known, suspects=suspects)
        self._claimed += sorted(found, key=lambda one: one.id)
        return len(found)

    def claim_lanes(
        self, wanted: Mapping[str, int], capacities: Mapping[str, int | None]
    ) -> Mapping[str, int]:
        """Claim up to so many due deliveries of each lane, as `claim_lane` does; return how many by lane.

        `capacities` are those of the lanes as they were when they were last found due. SQLite claims from
        several lanes by one statement.
        """
        if not has_single_writer(self._conn):
            return {
                lane: self.claim_lane(
                    lane, limit=most, known=DueLane(lane, capacities.get(lane), suspected=False)
                )
                for lane, most in wanted.items()
            }
        found: Counter[str] = Counter()
        for start in range(0, len(wanted), _LANES):
            names = tuple(wanted)[start : start + _LANES]
            rows = _claim_alone(self._conn, self._given, {name: wanted[name] for name in names})
            self._claimed += sorted(rows, key=lambda one: (names.index(one.lane), one.id))
            found.update(one.lane for one in rows)
        return found

    def store_leases(self) -> tuple[DeliveryLease, ...]:
        """Store the attempts of what was claimed, and return the leases, lane by lane."""
        if self._conn.dialect.name != "sqlite":
            return tuple(self._claimed)
        return _store_in_parts(self._conn, self._claimed, self._given["me"], self._given["now"])

    def _claim_from_lane(
        self, wanted: dict[str, Any], known: DueLane | None, *, suspects: bool
    ) -> Sequence[Any]:
        conn = self._conn
        if conn.dialect.name == "sqlite":
            # One writer has the whole database.
            return _claim_alone(conn, self._given, {wanted["in_lane"]: wanted["at_most"]}, suspects=suspects)
        if known is not None and known.capacity is None:
            return _run_claim(conn, _CLAIMS[suspects, "shared"], wanted)
        row = _lock_lane(conn, wanted["in_lane"], known)
        if row is None or not _may_claim(row, wanted["now"]):
            return ()
        way = "locked" if row.capacity is None else "counted"
        return _run_claim(conn, _CLAIMS[suspects, way], {**wanted, "capacity": row.capacity})


def _claim_alone(
    conn: Connection, given: Mapping[str, Any], wanted: Mapping[str, int], *, suspects: bool = False
) -> Sequence[Any]:
    """Claim from lanes on SQLite, of which one writer has the whole database."""
    values = dict(given)
    for place, (lane, most) in enumerate(wanted.items()):
        values |= {f"in_lane{place}": lane, f"at_most{place}": most}
    return conn.execute(_CLAIMS_ALONE[len(wanted), suspects], values).all()


def _run_claim(conn: Connection, statement: Any, wanted: dict[str, Any]) -> list[DeliveryLease]:
    return [DeliveryLease(*row) for row in conn.execute(statement, wanted)]


def _store_in_parts(
    conn: Connection, rows: Sequence[Any], me: str, now: datetime
) -> tuple[DeliveryLease, ...]:
    """Store the transitions of claimed rows on SQLite, where no statement changes two tables.

    An attempt is stored there when it ends. Until then the delivery tells of it, and its last transition.
    """
    leases = tuple(DeliveryLease(*row) for row in rows)
    changes = [(lease.id, "QUEUED", _LEASED) for lease in leases]
    transitions.record_transitions(conn, DELIVERY, changes, StateEvent("lease", now, me))
    return leases


def _lock_lane(conn: Connection, lane: str, known: DueLane | None) -> Any:
    """Return a lane as it is now, locked; None where another worker claims from it, or it is not there."""
    read = conn.execute(_LANE, {"in_lane": lane}).first() if known is None else known
    counted = read is not None and read.capacity is not None
    row = conn.execute(_LOCK_LANE if counted else _SHARE_LANE, {"in_lane": lane}).first()
    # One that has got a capacity since it was read is locked for counting the next time.
    return None if row is None or (row.capacity is not None and not counted) else row


def _may_claim(lane: Any, now: datetime) -> bool:
    """Return whether a lane is neither held nor pulled, and has its circuit closed."""
    if lane.held_at is not None or lane.pulled:
        return False
    return lane.open_until is None or bool(lane.open_until <= now)


def lock_active_lease(conn: Connection, lease: DeliveryLease) -> bool:
    """Lock the delivery until the transaction ends, and return whether the attempt is still active."""
    found = select(deliveries.c.id).where(
        deliveries.c.id == lease.id, deliveries.c.attempt == lease.attempt, deliveries.c.state == "ACTIVE"
    )
    return conn.execute(found.with_for_update(key_share=True)).first() is not None


def renew_lease(conn: Connection, lease: DeliveryLease, until: datetime) -> bool:
    """Extend the lease; return False when it is lost."""
    return _update_leased_delivery(conn, lease, {"lease_until": until})


def mark_delivered(
    conn: Connection,
    lease: DeliveryLease,
    at: datetime,
    outcome: AttemptOutcome = _NOTHING,
    *,
    register: int | None = None,
) -> bool:
    """Store that the delivery is done; return False when the lease is lost and nothing was changed.

    With `register`, also when the register has another version.
    """
    values = {"finished_at": at, "problem": None, "last_sentence": None}
    return _end_lease(conn, lease, "delivered", at, outcome, values, register=register)


def mark_receipted(
    conn: Connection, lease: DeliveryLease, at: datetime, actor: str, *, register: int
) -> bool:
    """Store that the receipt of a delivery came with the answer to its attempt, as `mark_delivered` does."""
    values: dict[str, Any] = {"problem": None, "last_sentence": None, "finished_at": at}
    values |= {"leased_by": None, "lease_until": None}
    return _end_lease(conn, lease, "delivered", at, _NOTHING, values, register=register, actor=actor)


def mark_sent(
    conn: Connection,
    lease: DeliveryLease,
    at: datetime,
    receipt_due: datetime,
    outcome: AttemptOutcome = _NOTHING,
    *,
    last: bool = False,
) -> bool:
    """Store that it was sent and a receipt is due by `receipt_due`; return False when the lease is lost.

    The time of a delivery is over with its `last` attempt. An ordered one has no time limit.
    """
    values = {"due_at": receipt_due}
    if last and lease.expires_at is not None:
        values["expires_at"] = receipt_due
    return _end_lease(conn, lease, "sent", at, outcome, values)


def defer_delivery(
    conn: Connection,
    lease: DeliveryLease,
    at: datetime,
    due_at: datetime,
    outcome: AttemptOutcome = _NOTHING,
    *,
    counts: bool = True,
) -> bool:
    """Store that it is retried at `due_at`; without `counts` the attempt uses up no try."""
    values: dict[str, Any] = {
        "due_at": due_at,
        "problem": outcome.problem,
        "last_sentence": outcome.sentence,
    }
    if not counts:
        values["tries"] = lease.tries - 1
    return _end_lease(conn, lease, "defer", at, outcome, values)


def fail_delivery(
    conn: Connection, lease: DeliveryLease, at: datetime, outcome: AttemptOutcome = _NOTHING
) -> bool:
    """Store that it cannot be delivered; return False when the lease is lost."""
    values = {"finished_at": at, "problem": outcome.problem, "last_sentence": outcome.sentence}
    return _end_lease(conn, lease, "refuse", at, outcome, values)


def _end_lease(
    conn: Connection,
    lease: DeliveryLease,
    event: str,
    at: datetime,
    outcome: AttemptOutcome,
    values: dict[str, Any],
    *,
    register: int | None = None,
    actor: str | None = None,
) -> bool:
    after = get_next_state(DELIVERY, "ACTIVE", event)
    # This worker has finished and is alive: earlier worker deaths had another cause.
    cleared = {"state": after, "leased_by": None, "lease_until": None, "lost": 0}
    ended = make_finish(event, at, outcome)
    held = (lease.id, lease.attempt)
    began = lease.started_at
    if not settle_attempt(conn, held, cleared | values, ended, leased=True, register=register, began=began):
        return False
    what = StateEvent(event, at, actor or lease.leased_by, outcome.detail or outcome.problem)
    transitions.record_transitions(conn, DELIVERY, [(lease.id, "ACTIVE", after)], what)
    note_ended_lease(conn, lease.id)
    if after == "DELIVERED" and FOLLOWED in lease.parameters:
        # What follows it is due now, and is claimed at the end of this transaction.
        note_due_lane(conn, lease.lane)
    return True


def _update_leased_delivery(conn: Connection, lease: DeliveryLease, values: dict[str, Any]) -> bool:
    changed = conn.execute(
        _build_change(tuple(values), True), {"of": lease.id, "number": lease.attempt, **values}
    )
    return changed.rowcount == 1


def settle_attempt(
    conn: Connection,
    attempt: tuple[int, int],
    values: dict[str, Any],
    ended: dict[str, Any],
    *,
    leased: bool = False,
    register: int | None = None,
    began: datetime | None = None,
) -> bool:
    """Set columns of a delivery and the end of its attempt (delivery, number); PostgreSQL by one statement.

    Returns False, and changes nothing, when another attempt is the last one, or `leased` is not active,
    or the register has another version than `register`. `began` is when the attempt began, if that is known.
    """
    row: dict[str, Any] = {"of": attempt[0], "number": attempt[1]}
    if register is not None:
        row["register"] = register
    terms = (tuple(values), leased, register is not None)
    if conn.dialect.name != "sqlite":
        return conn.execute(_build_end(*terms), {**row, **values, **ended}).rowcount == 1
    if conn.execute(_build_change(*terms), {**row, **values}).rowcount != 1:
        return False
    _store_attempt(conn, {"of": attempt[0], "number": attempt[1], **ended}, began)
    return True


def _store_attempt(conn: Connection, ended: dict[str, Any], began: datetime | None) -> None:
    """Store on SQLite how an attempt ended; nothing was stored of it before, or how it ended first."""
    begun = {} if began is None else {"began": began}
    conn.execute(_build_attempt_end(is_known=began is not None), ended | begun)


@lru_cache(maxsize=32)
def _build_end(names: tuple[str, ...], leased: bool, registered: bool) -> Update:
    change = _build_change(names, leased, registered)
    changed = change.returning(deliveries.c.id, deliveries.c.attempt).cte("ended")
    mine = (delivery_attempts.c.delivery == changed.c.id, delivery_attempts.c.attempt == changed.c.attempt)
    return update(delivery_attempts).where(*mine).values(_FINISHED)


@lru_cache(maxsize=32)
def _build_change(names: tuple[str, ...], leased: bool, registered: bool = False) -> Update:
    """Return the statement that sets columns of a delivery while the attempt is the last (or active) one.

    One that is `registered` changes nothing when the register has another version.
    """
    held = update(deliveries).where(
        deliveries.c.id == bindparam("of"), deliveries.c.attempt == bindparam("number")
    )
    if leased:
        held = held.where(build_state_condition(deliveries, "ACTIVE"))
    if registered:
        held = held.where(build_version_condition())
    return held.values({name: bindparam(name) for name in names})


_FINISHED: Final[dict[str, Any]] = {
    "finished_at": bindparam("at", type_=Instant()),
    "outcome": bindparam("came_to"),
    "http_status": bindparam("status"),
    "problem": bindparam("failed"),
    "answer_sha256": bindparam("answer"),
    "sentence": bindparam("ours"),
    "theirs": bindparam("said"),
}
_FINISH_ATTEMPT: Final = (
    update(delivery_attempts)
    .where(
        delivery_attempts.c.delivery == bindparam("of"),
        delivery_attempts.c.attempt == bindparam("number"),
    )
    .values(_FINISHED)
)


@cache
def _build_attempt_end(*, is_known: bool) -> Executable:
    """Return the statement of SQLite that stores an attempt with its end, and its begin where it is known."""
    claimed = func.coalesce(_CLAIMED_AT, bindparam("at", type_=Instant()), type_=Instant())
    began = bindparam("began", type_=Instant()) if is_known else claimed
    named = {"delivery": bindparam("of"), "attempt": bindparam("number"), "started_at": began}
    new = insert_into(delivery_attempts, "sqlite").inline().values({**named, **_FINISHED})
    changed = {name: new.excluded[name] for name in _FINISHED}
    statement: Executable = new.on_conflict_do_update(index_elements=["delivery", "attempt"], set_=changed)
    return statement


#: When a delivery was claimed last: its attempt began then.
_CLAIMED_AT: Final = (
    select(func.max(stored_transitions.c.at))
    .where(
        stored_transitions.c.machine == literal_column(f"'{DELIVERY.name}'"),
        stored_transitions.c.object_id == bindparam("of"),
        stored_transitions.c.event == literal_column("'lease'"),
    )
    .scalar_subquery()
)


def finish_attempts(
    conn: Connection, attempts: Sequence[tuple[int, int]], event: str, at: datetime, outcome: AttemptOutcome
) -> None:
    """Store the outcome of the attempts (delivery, number)."""
    ended = make_finish(event, at, outcome)
    rows = [{"of": delivery, "number": number, **ended} for delivery, number in attempts]
    if conn.dialect.name != "sqlite":
        conn.execute(_FINISH_ATTEMPT, rows)
        return
    for row in rows:
        _store_attempt(conn, row, None)


def make_finish(event: str, at: datetime, outcome: AttemptOutcome) -> dict[str, Any]:
    """Return how an attempt ended, as the parameters of its statement."""
    return {
        "at": at,
        "came_to": event,
        "status": outcome.http_status,
        "failed": outcome.problem,
        "answer": outcome.answer_sha256,
        "ours": outcome.sentence,
        "said": outcome.theirs,
    }


def list_attempts(conn: Connection, delivery: int) -> Sequence[Row[Any]]:
    """Return the attempts of a delivery, the first one first, with the one that is under way."""
    return conn.execute(_ATTEMPTS, {"of": delivery}).all()


def _build_attempts() -> Select[Any]:
    """Return the statement that lists attempts; of one that is under way SQLite stores nothing yet."""
    a, d = delivery_attempts.c, deliveries.c
    mine = (a.delivery == bindparam("of"),)
    stored = select(delivery_attempts).where(*mine)
    empty = [null().label(one.name) for one in a if one.name not in ("delivery", "attempt", "started_at")]
    active = select(
        d.id.label("delivery"), d.attempt, func.coalesce(_CLAIMED_AT, d.created_at, type_=Instant()), *empty
    ).where(
        d.id == bindparam("of"),
        build_state_condition(deliveries, "ACTIVE"),
        ~exists().where(a.delivery == d.id, a.attempt == d.attempt),
    )
    listed = union_all(stored, active).subquery()
    return select(listed).order_by(listed.c.attempt)


_ATTEMPTS: Final = _build_attempts()


def list_last_words(conn: Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Return what the partner said at its latest attempt that it answered, by delivery; few say a word."""
    told: dict[int, str] = {}
    for start in range(0, len(numbers), _NAMED):
        a = delivery_attempts.c
        found = select(a.delivery, a.theirs).where(
            a.delivery.in_(numbers[start : start + _NAMED]), a.theirs.is_not(None)
        )
        told |= {row.delivery: row.theirs for row in conn.execute(found.order_by(a.attempt))}
    return told
