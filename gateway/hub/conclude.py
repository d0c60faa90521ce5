"""Step 6, conclude: a decided or refused case gets one result for the applicant and for customs.

The input is a case whose last decision has arrived, or whose submission was refused. The result is
made, signed and sealed before the transaction. Its key is computed from the decisions it rests on:
the same result is stored once, and a result that a correction has overtaken is not stored. When the
transaction has committed, the result is stored as an outgoing message with a delivery, and the call
to customs is queued. The delivery worker sends both. When the last delivery of the case is done,
the case is closed (`gateway.hub.completion.case_closing`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lxml import etree
from sqlalchemy import Connection, Row

from gateway.cases import (
    CaseOutcome,
    DecidedRequest,
    RankedDecision,
    ReportedProblem,
    describe_awaited_requirement,
    make_result_document,
)
from gateway.errors import (
    APPLICATION_CANCELLED,
    CANCELLATION_REFUSED,
)
from gateway.hub.completion import (
    AWAITED,
    case_closing,
    compute_conclusion_id,
    describe_awaited_numbers,
    get_told_numbers,
    list_cancellations,
    list_outside_decisions,
    list_outside_requests,
    list_standing_numbers,
    list_told_decisions,
    make_standing_decisions,
)
from gateway.hub.forward import (
    compose_late_pending_call,
    compose_outcome_call,
    enqueue_late_pending_call,
    enqueue_outcome_call,
    has_heard_outcome,
    must_tell_outcome,
)
from gateway.hub.hub import Hub
from gateway.hub.outbox import (
    CaseSnapshot,
    FinishLease,
    KeptDocument,
    QueuedMessage,
    load_case_snapshot,
    make_case_header,
    seal_message,
    store_message,
)
from gateway.hub.standing_warnings import select_standing_warnings
from gateway.store import (
    agency_requests,
    cases,
    decisions,
    deliveries,
    payloads,
    read_transaction,
    write_transaction,
)

__all__ = ["Conclusion", "conclude_case"]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """One conclusion of a case: its key, and the id of the decisions it rests on (None: no decisions)."""

    key: str
    rests_on: str | None = None


def conclude_case(hub: Hub, case_id: int, told: Conclusion, finish: FinishLease) -> None:
    """Make the result of a decided or refused case and queue it.

    A conclusion that a correction has overtaken is not sent: the next conclusion follows.
    """
    now = hub.clock()
    facts = load_case_snapshot(hub, case_id)
    if not _is_current_conclusion(told, facts.case, facts.decisions, facts.requests):
        with write_transaction(hub.engine, "conclude.overtaken") as conn:
            finish(conn)
        return
    outgoing = seal_message(hub, facts, "Result", _make_result_document(hub, facts, now), now)
    customs = compose_outcome_call(hub, facts)
    pending = compose_late_pending_call(hub, facts, customs)
    with write_transaction(hub.engine, "conclude.result") as conn:
        case = cases.lock_case(conn, case_id)
        asked = agency_requests.list_by_case(conn, case_id)
        rows = decisions.list_by_case(conn, case_id)
        own = make_standing_decisions(rows, list_standing_numbers(asked))
        if _is_current_conclusion(told, case, (*own, *list_outside_decisions(conn, case_id)), asked):
            earlier = deliveries.list_outlines(conn, case_id)
            tells = customs is not None and must_tell_outcome(facts, case, earlier)
            tells = tells and customs is not None and not has_heard_outcome(customs, earlier)
            if customs is not None and tells and not isinstance(outgoing, KeptDocument):
                payloads.store_payloads(conn, [outgoing.parcel.get_octets(), customs.envelope], now)
            _give_up_failed_results(conn, earlier, now)
            store_message(
                conn,
                hub,
                facts,
                QueuedMessage(outgoing, f"result:{told.key}", _find_earlier_result(earlier)),
                now,
            )
            _keep_told_numbers(conn, case, facts)
            if customs is not None and tells:
                known = enqueue_late_pending_call(conn, pending, (case_id, earlier), now)
                enqueue_outcome_call(conn, customs, (case_id, told.key), known, now)
        finish(conn)
        if isinstance(outgoing, KeptDocument):
            # Nothing is sent to the applicant, so perhaps no delivery is left that closes the case.
            case_closing.close_case_when_done(conn, cases.lock_case(conn, case_id), now)


def _keep_told_numbers(conn: Connection, case: Row[Any], facts: CaseSnapshot) -> None:
    """Keep with a locked case which numbers its Result says that it waits for: a change is told."""
    told = describe_awaited_numbers(facts.awaited)
    if told != get_told_numbers(case):
        cases.set_detail(conn, case.id, {**(case.detail or {}), AWAITED: told})


def _is_current_conclusion(
    told: Conclusion, case: Row[Any], standing: Iterable[RankedDecision], asked: Iterable[Row[Any]]
) -> bool:
    """Return whether the case still has the outcome and the decisions that are to be told."""
    if case.outcome is None:
        return False
    if told.rests_on is None:
        # A refused case, or one without applications: unless that has been withdrawn since, or has decisions.
        return bool(case.outcome != CaseOutcome.WITHDRAWN) and not tuple(standing)
    about = CaseOutcome(case.outcome), standing, list_cancellations(asked)
    return told.rests_on == compute_conclusion_id(*about)


def _find_earlier_result(earlier: Iterable[Row[Any]]) -> int | None:
    """Return the delivery of the result that this one corrects, unless it failed: results arrive in order."""
    return max((row.id for row in _list_results(earlier) if row.state != "FAILED"), default=None)


def _give_up_failed_results(conn: Connection, earlier: Iterable[Row[Any]], now: datetime) -> None:
    """Cancel the earlier results that failed: nobody can send one behind the result that replaces it."""
    for row in _list_results(earlier):
        if row.state == "FAILED":
            deliveries.give_up_delivery(conn, row.id, now, "conclude", "a later result replaces it")


def _list_results(told: Iterable[Row[Any]]) -> list[Row[Any]]:
    return [row for row in told if row.agent == "msh" and row.parameters.get("action") == "Result"]


def _make_result_document(hub: Hub, facts: CaseSnapshot, now: datetime) -> etree._Element:
    by_number = {row.number: DecidedRequest(row.number, row.document, row.agency) for row in facts.requests}
    by_number |= list_outside_requests(facts.decisions)
    detail = facts.case.detail or {}
    found = (
        *(ReportedProblem(**one) for one in detail.get("problems", ())),
        *_list_cancellation_problems(facts),
    )
    warnings = (
        *_list_standing_warnings(hub, facts),
        *_list_kept_applications(facts),
        *_list_awaited_numbers(facts),
    )
    said = list_told_decisions(facts.decisions, hub.rules.bundle.units)
    told = tuple((by_number[one.request], one) for one in said)
    return make_result_document(
        make_case_header(facts, now), CaseOutcome(facts.case.outcome), told, found, warnings
    )


def _list_standing_warnings(hub: Hub, facts: CaseSnapshot) -> list[ReportedProblem]:
    with read_transaction(hub.engine) as conn:
        found = select_standing_warnings(conn, facts.case, facts.decisions, lambda: hub.rules.bundle)
    return [ReportedProblem(**one) for one in found]


def _list_awaited_numbers(facts: CaseSnapshot) -> Iterable[ReportedProblem]:
    """Yield each requirement that an item waits for, once: nobody knows it, or too little is left."""
    for one in facts.awaited:
        problem, words = describe_awaited_requirement(one.number, one.agency, one.item, is_known=one.is_known)
        yield ReportedProblem(problem.id, words, one.pointer)


def _list_kept_applications(facts: CaseSnapshot) -> Iterable[ReportedProblem]:
    """Yield which agencies keep an application though an amendment has removed all its items."""
    for row in facts.requests:
        if not row.required and row.state != "CANCELLED" and row.cancellation == "REFUSED":
            text = f"{row.agency} does not cancel application {row.number}, whose items were removed"
            yield ReportedProblem(CANCELLATION_REFUSED.id, text, f"APP[{row.sequence}]")


def _list_cancellation_problems(facts: CaseSnapshot) -> Iterable[ReportedProblem]:
    """Yield why a case was not withdrawn, and which applications were cancelled though it goes on.

    Of an application whose items an amendment has removed nothing is left that could be approved.
    """
    if facts.case.outcome == CaseOutcome.WITHDRAWN:
        return
    for row in (one for one in facts.requests if one.required):
        place = f"APP[{row.sequence}]"
        if row.state == "CANCELLED":
            text = f"application {row.number} of {row.document} is cancelled: its items are not approved"
            yield ReportedProblem(APPLICATION_CANCELLED.id, text, place)
        elif row.cancellation == "REFUSED":
            text = f"{row.agency} does not cancel application {row.number}: the declaration is not withdrawn"
            yield ReportedProblem(CANCELLATION_REFUSED.id, text, place)
    for row, items in facts.cancelled_above:
        named = (
            f"item {min(items)} is" if len(items) == 1 else f"items {', '.join(map(str, sorted(items)))} are"
        )
        text = f"application {row.number} of {row.document} is cancelled: {named} not approved"
        yield ReportedProblem(APPLICATION_CANCELLED.id, text)
