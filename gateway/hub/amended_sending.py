"""Sends what an amendment changes of each application, in its transaction.

A changed application is queued behind what went to its agency before, under the same number. One that has
lost all its items is cancelled, or its agency is asked to cancel it. One that is new is opened as in a new
case. Decisions stand where only other items changed; those on removed items count no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import ChangeReason, is_decided
from gateway.hub.amended_applications import (
    is_dropped,
    join_items,
    list_required_items,
    list_unheard_items,
)
from gateway.hub.amended_requests import ComposedAmendment
from gateway.hub.cease_applications import cancel_request
from gateway.hub.completion import (
    end_amended_demands,
    find_status_notice,
    make_concern,
    make_standing_decisions,
)
from gateway.hub.fees import keep_fee_due
from gateway.hub.forward import ComposedCall, enqueue_later_call, store_envelopes
from gateway.hub.hub import Hub
from gateway.hub.open_application import open_applications
from gateway.hub.open_cases import list_cancellable_requests
from gateway.hub.processed_submission import PreparedApplication, ProcessedSubmission
from gateway.hub.sent_applications import SUBMISSION, end_overtaken_calls
from gateway.store import (
    StateEvent,
    agency_requests,
    correlations,
    decisions,
    deliveries,
    notices,
)

__all__ = ["AmendedTurn", "add_applications", "amend_applications", "drop_applications"]

_ACTOR: Final = "admit"


@dataclass(frozen=True, slots=True)
class AmendedTurn:
    """One amendment of a locked case (row id): its message, its event and reason, the items it removes."""

    case: int
    message: int
    event: StateEvent
    reason: ChangeReason
    removed: tuple[int, ...]

    @property
    def now(self) -> datetime:
        """Return when the case is amended."""
        return self.event.at


def drop_applications(
    conn: Connection, turn: AmendedTurn, asked: Sequence[Row[Any]], questions: Mapping[int, ComposedCall]
) -> list[str]:
    """Cancel each application that has lost all its items, or ask its agency to; return their numbers.

    One that is decided without an approval has nothing to cancel.
    """
    for row in asked:
        if row.state == "CANCELLED":
            _remove_items(conn, row, list_required_items(row) - set(turn.removed), turn.now)
    dropped = [row for row in asked if row.id in questions]
    standing = {row.id for row in list_cancellable_requests(conn, turn.case, dropped)}
    for row in dropped:
        if row.id in standing:
            cause = turn.message, turn.reason
            cancel_request(conn, (turn.case, row), questions, cause, turn.now)
        _remove_items(conn, row, set(), turn.now)
    return [row.number for row in dropped]


def _remove_items(conn: Connection, request: Row[Any], kept: set[int], now: datetime) -> None:
    """Let a request require only the items in `kept` of what it did; decisions on the others lapse."""
    stays = [pair for pair in request.required if int(pair[0]) in kept]
    gone = [pair for pair in request.required if int(pair[0]) not in kept]
    if gone:
        agency_requests.set_required_items(conn, request.id, stays, [*(request.removed or ()), *gone])
        decisions.outdate_items(conn, request.id, {int(item) for item, _ in gone}, now)


def amend_applications(
    conn: Connection,
    turn: AmendedTurn,
    asked: Sequence[Row[Any]],
    intake: ProcessedSubmission,
    composed: ComposedAmendment,
) -> None:
    """Send each changed application again; what was decided about the former one stands, or lapses."""
    prepared = {one.number: one for one in intake.prepared}
    for row in asked:
        call = composed.changed.get(row.number)
        if call is None or row.state == "CANCELLED" or is_dropped(row):
            continue
        _change_items(conn, row, prepared[row.number], turn.now)
        _send_amended(conn, turn, row, call, composed.lapsing.get(row.number))


def _change_items(conn: Connection, request: Row[Any], one: PreparedApplication, now: datetime) -> None:
    known, wanted = list_required_items(request), set(one.application.items)
    _remove_items(conn, request, wanted, now)
    if wanted - known:
        pairs = [[item, law] for item in one.application.items for law in one.laws]
        current = agency_requests.find_by_id(conn, request.id)
        removed = (current.removed if current is not None else None) or ()
        agency_requests.set_required_items(conn, request.id, pairs, removed)


def _send_amended(
    conn: Connection,
    turn: AmendedTurn,
    request: Row[Any],
    call: ComposedCall,
    lapsing: frozenset[int] | None,
) -> None:
    """Queue the amended application; where decisions stand, one that is decided stays so.

    Those on the items `lapsing` lapse, or all where it is None.
    """
    values: dict[str, Any] = {"decided_by": None, "decided_at": None}
    values["demands"] = end_amended_demands(conn, request.id)
    before = decisions.list_by_request(conn, request.id)
    if before and lapsing is None:
        values["outdated_decision"] = max(row.id for row in before)
    if lapsing:
        decisions.outdate_items(conn, request.id, lapsing, turn.now)
    earlier = deliveries.list_by_request(conn, turn.case, request.id)
    anew = call.call.operation == SUBMISSION
    agency_requests.apply_event(conn, request.id, turn.event, **values)
    _renew_status_code(conn, request.id)
    store_envelopes(conn, [call], turn.now)
    agency_requests.set_sent_document(conn, request.id, call.sha256)
    correlations.insert_correlation(conn, "wsa", call.call.message_id, turn.case, request.id)
    # A change that waits for an operator goes with this one: until then no decision is about it.
    failed = [row for row in earlier if row.state == "FAILED"]
    unheard = join_items(lapsing, list_unheard_items(request.number, failed))
    kind = "items" if unheard == frozenset() else "amend"
    end_overtaken_calls(conn, earlier, turn.now, _ACTOR, anew=anew)
    key = f"{kind}:{request.number}:{turn.message}"
    named = {"items": ",".join(map(str, sorted(unheard)))} if unheard else {}
    enqueue_later_call(conn, call, (turn.case, request.id), key, turn.now, **named)
    keep_fee_due(conn, request.id, turn.now)
    _keep_decided(conn, turn, request)


def _renew_status_code(conn: Connection, request: int) -> None:
    """Show of a request the status code of the last notice that counts, now that it is amended."""
    known = notices.list_by_request(conn, request)
    said = find_status_notice(conn, request, known, max((row.id for row in known), default=0))
    agency_requests.set_status_code(conn, request, None if said is None else said.status_code)


def _keep_decided(conn: Connection, turn: AmendedTurn, request: Row[Any]) -> None:
    """Let a request be decided whose items have all a decision that stands."""
    current = agency_requests.find_by_id(conn, request.id)
    rows = decisions.list_by_request(conn, request.id)
    if current is None or not rows:
        return
    standing = make_standing_decisions(rows, {request.id: request.number})
    if is_decided(make_concern(current), standing):
        event = StateEvent("decide", turn.now, _ACTOR, turn.event.detail)
        by, at = request.decided_by or request.agency, request.decided_at or turn.now
        agency_requests.apply_event(conn, request.id, event, decided_by=by, decided_at=at)


def add_applications(
    conn: Connection,
    hub: Hub,
    turn: AmendedTurn,
    asked: Sequence[Row[Any]],
    intake: ProcessedSubmission,
    composed: ComposedAmendment,
) -> None:
    """Open the applications that the case did not have."""
    sequence = max((row.sequence for row in asked), default=0)
    new = [one for one in intake.prepared if one.number in intake.new]
    told = [(one, composed.changed[one.number]) for one in new]
    open_applications(conn, hub, (turn.case, sequence + 1, intake.bundle), told, turn.now)
