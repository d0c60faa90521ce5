"""Fires deadlines and their reminders when they are due. Several workers may run it; each fires once.

A worker locks the case, settles its deadlines, and reads the deadline again before it fires. So the second
worker finds nothing to do, and a process that dies before the commit has changed nothing. A case that cannot
be settled is logged and tried again; it delays no other case and no other upkeep. A pass goes on behind the
deadlines that fail, however many they are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

from lxml import etree

from gateway.cases import DeadlineState, make_reminder_document
from gateway.errors import GatewayError, raise_resource_problem
from gateway.hub.deadlines.case_deadlines import (
    mark_deadline_overdue,
    send_deadline_reminder,
    settle_deadlines,
)
from gateway.hub.hub import Hub
from gateway.hub.intake.message_order import give_up_expired_messages
from gateway.hub.node_upkeep import run_upkeep_steps
from gateway.hub.outbox.applicant_messages import (
    CaseSnapshot,
    load_case_snapshot,
    make_case_header,
    make_request_state,
    send_notice,
)
from gateway.hub.outbox.local_tasks import FinishLease, require_row
from gateway.store import (
    AgencyRequestRow,
    DeadlineRow,
    DueDeadlineRow,
    DuePlace,
    agency_requests,
    cases,
    deadlines,
    read_transaction,
    write_transaction,
)

_log = logging.getLogger(__name__)


def fire_due_deadlines(hub: Hub) -> int:
    """Fire the deadlines that are due, at most a hundred; return how many were checked.

    Where a hundred cannot be fired, the next call goes on behind them.
    """

    def list_due_deadlines(after: DuePlace | None, limit: int) -> Sequence[DueDeadlineRow]:
        with read_transaction(hub.engine) as conn:
            return deadlines.list_due(conn, hub.clock(), limit, after)

    return hub.deadline_passes.run_pass(
        list_due_deadlines,
        _get_place,
        lambda deadline: _fire_or_log_deadline(hub, deadline.id, deadline.case_id),
    )


def _get_place(deadline: DueDeadlineRow) -> DuePlace:
    """Return the place of a deadline among those that are due."""
    assert deadline.next_at is not None, "a deadline that is due has a next time"
    return DuePlace(deadline.next_at, deadline.id)


def _fire_or_log_deadline(hub: Hub, deadline_id: int, case_id: int) -> bool:
    """Fire a deadline; log an error of its case or of its calendar, and return False.

    Raises GW806, which concerns every case: the database is not reached, or a disk is full.
    """
    try:
        _fire_deadline(hub, deadline_id, case_id)
        return True
    except GatewayError as refused:
        raise_resource_problem(refused)
        _log.warning("the deadline waits: %s", refused, extra={"deadline": deadline_id, "case_id": case_id})
    except Exception as mistake:
        raise_resource_problem(mistake)
        _log.exception(
            "the deadline cannot be settled; it is tried again",
            extra={"deadline": deadline_id, "case_id": case_id},
        )
    return False


def _fire_deadline(hub: Hub, deadline_id: int, case_id: int) -> None:
    """Settle the deadlines of a case (row id), then send the reminder of one, or report it as overdue.

    Nothing is sent if the deadline has ended or been moved since, is held, or has no due time.
    """
    with write_transaction(hub.engine, "deadlines.fired") as conn:
        case = cases.lock_case(conn, case_id)
        now = hub.clock()
        settle_deadlines(conn, hub, case_id, now)
        row = deadlines.find_by_id(conn, deadline_id)
        if row is None or row.next_at is None or row.next_at >= now:
            return
        if row.due_at is None or row.state == DeadlineState.HELD:
            # Its calendar still does not know the day, and it is checked again when one is loaded; or
            # the applicant still has to act.
            deadlines.change_deadline(conn, deadline_id, {"next_at": None})
            return
        request = agency_requests.find_by_id(conn, row.request_id)
        if row.due_at < now and request is not None:
            mark_deadline_overdue(conn, case, request, row, now)
        elif row.reminded_at is None and row.remind_at is not None:
            send_deadline_reminder(conn, row, now)
        else:
            # It was reminded of before its time went on.
            deadlines.change_deadline(conn, deadline_id, {"next_at": row.due_at})


def settle_after_act(hub: Hub, case: int, acted_at: str, end_lease: FinishLease) -> None:
    """Settle the deadlines of a case (row id) as of the time of an act; later settlements stay unchanged."""
    with write_transaction(hub.engine, "deadlines.settled") as conn:
        settle_deadlines(conn, hub, case, datetime.fromisoformat(acted_at))
        end_lease(conn)


_SENTENCES: Final = {
    ("answer", "reminder"): "Reminder: {agency} waits for an answer until {due}.",
    ("answer", "overdue"): "Overdue: {agency} has waited for an answer until {due}. It is still accepted.",
    ("pay", "reminder"): "Reminder: {agency} waits for a payment until {due}.",
    ("pay", "overdue"): "Overdue: {agency} has waited for a payment until {due}.",
}


def send_deadline_notice(hub: Hub, deadline_id: int, occasion: str, end_lease: FinishLease) -> None:
    """Send the applicant a Notice about a deadline (`occasion`: reminder, overdue) that has not ended."""
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        row = require_row(deadlines.find_by_id(conn, deadline_id), f"deadline {deadline_id}")
        found_request = agency_requests.find_by_id(conn, row.request_id)
    request = require_row(found_request, f"the request of deadline {deadline_id}")
    case_snapshot = load_case_snapshot(hub, row.case_id)
    document = (
        None if row.ended_at is not None else _make_document(case_snapshot, request, row, occasion, now)
    )
    send_notice(hub, "deadlines.notice", case_snapshot, document, f"{occasion}:{deadline_id}", now, end_lease)


def _make_document(
    case_snapshot: CaseSnapshot, request: AgencyRequestRow, row: DeadlineRow, occasion: str, now: datetime
) -> etree._Element:
    """Return the unsigned Notice to the applicant about the deadline `row`, with its due time.

    `occasion` is `reminder` or `overdue`.
    """
    state = make_request_state(request)
    assert row.due_at is not None, "a message about a deadline names its due time"
    due = row.due_at.isoformat(timespec="minutes")
    text = _SENTENCES[row.kind, occasion].format(agency=request.agency, due=due)
    return make_reminder_document(make_case_header(case_snapshot, now), state, text, row.due_at)


def maintain_hub(hub: Hub) -> None:
    """Run the regular upkeep of the hub: store refusals, count new events, remove old rows, fire deadlines.

    Messages that were held too long are given up, too. A step that fails stops no other; GW806 ends all.
    """
    # The clockwork first, so that its events get their sequence numbers now.
    run_upkeep_steps(
        partial(fire_due_deadlines, hub), hub.run_maintenance, partial(give_up_expired_messages, hub)
    )
