"""Results without an application: decisions that an agency gives under a number of its own.

All results of all agencies pass the hub, also those of applications that never came through it. The number of
an agency is in the ledger with its results. A declaration that names the number gets the decision with it. If
the declaration came first, its case waits for the number. A task of the hub joins both after their
transactions, so the outcome is the same in either order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection

from gateway.cases import (
    AgencyCallback,
    AheadNotice,
    DeclaredUses,
    Notice,
    RequirementBalance,
    RequirementUse,
    SignedReply,
    ValidatedChildUses,
    check_issue_time,
    check_notice_status,
    check_requirement_result,
    complete_decisions,
    find_count_time,
    is_ahead,
    list_applicant_conditions,
    validate_declared_uses,
)
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.hub.amendments.former_items import find_former_message
from gateway.hub.answers.case_progress import (
    conclude_if_awaited_changed,
    move_case,
    rests_on_decisions,
    write_off_lost_uses,
)
from gateway.hub.completion.case_closing import case_transaction
from gateway.hub.completion.count_times import log_ahead_notice
from gateway.hub.completion.outside_decisions import (
    list_cancelled_above,
    list_outside_decisions,
    load_requirement_results,
)
from gateway.hub.completion.placed_results import STATED_KEY, list_placed_results, read_stated_time
from gateway.hub.customs.late_decisions import record_late_result
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_repeated_check, enqueue_task
from gateway.hub.requirements.earlier_results import (
    describe_notice,
    list_late_revocations,
    list_stated_decisions,
)
from gateway.hub.requirements.requirement_ledger import (
    await_again,
    keep_rejected_use,
    load_requirement_balances,
    lock_case_requirements,
    make_awaited_use,
    write_off_requirements,
)
from gateway.hub.requirements.stated_uses import list_lost_uses, store_stated_uses, validate_awaited_use
from gateway.notice_order import order_notice
from gateway.store import (
    AwaitedUseRow,
    CallRecord,
    CaseRow,
    NewRequirementResult,
    ResultOfRequirementRow,
    cases,
    decisions,
    has_single_writer,
    item_releases,
    messages,
    payloads,
    read_transaction,
    requirement_quantities,
    requirement_results,
    transitions,
    write_call_transaction,
)
from gateway.wire import are_opposite, find_day, find_type_direction

_ENDED: Final = ("REFUSED", "WITHDRAWN")


def is_result_without_application(hub: Hub, agency: str, call_back: AgencyCallback) -> bool:
    """Return whether an agency decides under a number of its own, and no application asked for it."""
    if (
        call_back.requirement_number is None
        or not isinstance(call_back.answer, Notice)
        or not call_back.answer.decisions
    ):
        return False
    with read_transaction(hub.engine) as conn:
        if _list_results_of_number(conn, agency, call_back.requirement_number):
            return True
        return decisions.find_by_requirement(conn, agency, call_back.requirement_number) is None


def complete_requirement_result(hub: Hub, agency: str, call_back: AgencyCallback) -> AgencyCallback:
    """Return a result under an agency's own number, with the decisions that a final status code takes back.

    A notice without decisions is about all decisions of the agency under the number.
    """
    notice = call_back.answer
    if call_back.requirement_number is None or not isinstance(notice, Notice) or notice.decisions:
        return call_back
    code = hub.rules.status_codes.get(notice.status_code)
    if code is None or not code.final:
        return call_back
    subjects = list_stated_subjects(hub, agency, call_back.requirement_number)
    completed = complete_decisions(notice, code, subjects, hub.zone)
    return replace(call_back, answer=replace(completed, whole=bool(completed.decisions)))


def list_stated_subjects(hub: Hub, agency: str, number: str) -> list[tuple[int, str]]:
    """Return the items and laws that an agency has decided under a number of its own, each once."""
    with read_transaction(hub.engine) as conn:
        return sorted(
            {(int(row.item), str(row.law)) for row in _list_results_of_number(conn, agency, number)}
        )


def find_result_time(hub: Hub, agency: str, number: str, notice: Notice) -> datetime | None:
    """Return from when a stored result under a number counts that states a time ahead; else None."""
    with read_transaction(hub.engine) as conn:
        for row in _list_results_of_number(conn, agency, number):
            if row.notice_no == notice.number and read_stated_time(row) is not None:
                return row.issued_at
    return None


def _list_results_of_number(conn: Connection, agency: str, number: str) -> Sequence[ResultOfRequirementRow]:
    rows = requirement_quantities.find_requirements(conn, [number])
    return requirement_results.list_results(conn, [row.id for row in rows if row.agency == agency])


def store_requirement_results(
    hub: Hub,
    agency: str,
    results: Sequence[tuple[str, Notice]],
    signed_reply: SignedReply,
    record: CallRecord | None = None,
) -> None:
    """Store an agency's results under numbers of its own, and queue a check of each case that names one.

    All is stored with the `record` of the call, or nothing; a repeat changes nothing. Raises GW403, GW404 or
    GW702 for a notice that contradicts itself, its agency's laws, or an earlier notice, GW719 for one of the
    future, or of a day alone whose place among the others is not known.
    """
    documents = hub.rules.bundle.documents.values()
    laws = {law for document in documents if document.organisation == agency for law in document.laws}
    for number, notice in results:
        check_issue_time(notice.issued_at, hub.clock())
        check_notice_status(notice, hub.rules.status_codes)
        check_requirement_result(agency, number, notice, laws)
    with write_call_transaction(hub.engine, "reply.requirement", record) as conn:
        now = hub.clock()
        # Of each number in one order: two calls about the same numbers do not wait for each other.
        new_numbers = {
            number
            for number in sorted({number for number, _ in results})
            if not requirement_quantities.ensure_requirement(conn, agency, number, None, now)
        }
        locked = requirement_quantities.lock_requirements_by_number(conn, {number for number, _ in results})
        rows = {row.number: int(row.id) for row in locked if row.agency == agency}
        for number, notice in results:
            _store_result(conn, hub, agency, rows[number], number, notice, signed_reply, now)
        for number in sorted(new_numbers):
            # The decision on the application may be in a transaction that is open now, and does not see this.
            enqueue_repeated_check(
                conn, "apply_results", rows[number], f"result:{rows[number]}", now, "requirement"
            )


def _store_result(
    conn: Connection,
    hub: Hub,
    agency: str,
    requirement: int,
    requirement_number: str,
    notice: Notice,
    signed_reply: SignedReply,
    now: datetime,
) -> None:
    """Store an agency's result under a locked requirement (row id, number)."""
    counts_at = _find_count_time(conn, requirement, notice, now)
    if counts_at != notice.issued_at:
        notice = replace(notice, states_day=False)
    new = _make_result_rows(requirement, agency, notice)
    if counts_at != notice.issued_at:
        new = [_place_result(result, counts_at) for result in new]
    stored = requirement_results.insert_results(conn, new, now)
    if stored is None:
        return
    if counts_at != notice.issued_at:
        log_ahead_notice(agency, notice.number, notice.issued_at)
    placed_results = list_placed_results(conn, requirement, notice.number, hub.rules.status_codes)
    issued_at = next(row.issued_at for row in placed_results if row.notice_no == notice.number)
    new = [replace(result, issued_at=issued_at) for result in new]
    earlier_results = [row for row in placed_results if row.notice_no != notice.number]
    revocations = list_late_revocations(earlier_results, new)
    requirement_results.add_decisions(conn, revocations, now)
    stored_results = requirement_results.list_results(conn, [requirement]) if revocations else placed_results
    order = order_notice(issued_at, notice.number)
    if all(order_notice(row.issued_at, row.notice_no) <= order for row in earlier_results):
        requirement_quantities.set_last_day(conn, agency, requirement_number, notice.valid_until)
    digest = payloads.store_payload(conn, signed_reply.envelope, now) if signed_reply.envelope else None
    verdict = (
        hub.verdicts.find_verdict_digest(signed_reply.signer_sha256) if signed_reply.signer_sha256 else None
    )
    digests = {"requirement_results": digest_rows("requirement_results", stored_results)}
    evidence = {"agency": agency, "requirement": requirement_number, "notice": notice.number,
                "decisions": [f"{decision.item}/{decision.law} {decision.decision}"
                              for decision in notice.decisions],
                "signer": signed_reply.signer_sha256, "verdict": verdict,
                STORED: digests}  # fmt: skip
    record_evidence(conn, "reply", "requirement", requirement, digest, evidence, now)
    for case in requirement_results.list_concerned_cases(conn, requirement, requirement_number):
        key = f"requirement:{requirement}:{new[0].notice_sha256[:16]}:{case}"
        enqueue_task(conn, "join", "case", case, key, now, changed=requirement, said=stored)
    if decisions.find_by_requirement(conn, agency, requirement_number) is not None:
        # The decision on the application came at the same time, or this result counts for it already.
        key = f"result:{requirement}:{new[0].notice_sha256[:16]}"
        enqueue_task(conn, "apply_results", "requirement", requirement, key, now)


def _place_result(result: NewRequirementResult, counts_at: datetime) -> NewRequirementResult:
    """Return a result that counts from another time than its notice states, and keeps the stated one."""
    stated_time = {STATED_KEY: result.issued_at.isoformat()}
    return replace(result, issued_at=counts_at, said={**(result.said or {}), **stated_time})


def _find_count_time(conn: Connection, requirement: int, notice: Notice, now: datetime) -> datetime:
    """Return from when a notice about a locked requirement (row id) counts that is received at `now`."""
    if notice.states_day or not is_ahead(notice.issued_at, now):
        return find_count_time(notice.issued_at, now)
    ahead_notices = [
        AheadNotice(stated_at, row.issued_at)
        for row in requirement_results.list_results(conn, [requirement])
        if (stated_at := read_stated_time(row)) is not None
    ]
    return find_count_time(notice.issued_at, now, ahead_notices)


def _make_result_rows(requirement: int, agency: str, notice: Notice) -> list[NewRequirementResult]:
    """Return the rows of a notice with results about a requirement (row id), one for each decision.

    All rows have the same digest of the notice, by which a repeat is found.
    """
    content = (notice.number, notice.issued_at.astimezone(UTC), notice.status_code,
               sorted(repr(decision) for decision in list_stated_decisions(notice)),
               *([notice.valid_until.isoformat()] if notice.valid_until else []))  # fmt: skip
    digest = hashlib.sha256(repr((agency, requirement, content)).encode()).hexdigest()
    return [
        NewRequirementResult(
            requirement_id=requirement,
            agency=agency,
            notice_no=notice.number,
            item=decision.item,
            law=decision.law,
            issued_at=notice.issued_at.astimezone(UTC),
            status_code=notice.status_code,
            decision=decision.decision.value,
            notice_sha256=digest,
            date=decision.date,
            quantity=None if decision.quantity is None else f"{decision.quantity:f}",
            unit=decision.unit,
            conditions=list_applicant_conditions(decision.decision, decision.conditions, notice.valid_until),
            said=describe_notice(notice, decision),
        )
        for decision in notice.decisions
    ]


def await_unknown_requirements(
    conn: Connection,
    case_id: int,
    waiting: Iterable[RequirementUse],
    now: datetime,
    *,
    is_first_admission: bool = False,
) -> None:
    """Let an admitted case wait for unknown numbers, and for those that a case above it waits for.

    The task checks again after this transaction: a result may be stored at this moment. On SQLite this cannot
    happen: there, the case is not checked again with `is_first_admission`: it is admitted for the first
    time, and has no parent.
    """
    new = [make_awaited_use(case_id, use) for use in waiting]
    stored = requirement_results.insert_awaited_uses(conn, new, now)
    if stored and not (is_first_admission and has_single_writer(conn)):
        enqueue_repeated_check(conn, "join", case_id, f"await:{case_id}:{max(stored)}", now)


def record_joined_results(
    conn: Connection, case_id: int, requirements: Iterable[int], now: datetime, rejected: Collection[int] = ()
) -> None:
    """Record for a case, and for each requirement (row id) with a result, that the case has the result.

    Of those that are `rejected` nothing is written off.
    """
    requirement_ids = {*requirements, *rejected}
    if not requirement_ids:
        return
    uses = [
        row
        for row in requirement_quantities.list_uses_of_case(conn, case_id)
        if row.requirement_id in requirement_ids
        and (row.returned_at is None or row.requirement_id in rejected)
    ]
    answered = {result.requirement_id for result in load_requirement_results(conn, requirement_ids)}
    joined = [row for row in uses if row.requirement_id in answered]
    for row in joined:
        data = {"agency": row.agency, "requirement": row.number, "item": row.item}
        record_evidence(conn, "joined", "case", case_id, None, data, now)
        record_evidence(conn, "joined", "requirement", row.requirement_id, None,
                        {"case": case_id, "item": row.item}, now)  # fmt: skip
    transitions.record_events(conn, "requirement", [(int(row.id), "JOINED") for row in joined], now)


def join_requirements(
    hub: Hub,
    case_id: int,
    changed_requirement_id: int | None,
    end_lease: FinishLease,
    result_id: int | None = None,
) -> None:
    """Write off the quantities that a case waits for and the ledger now has, and apply new results to it.

    `changed_requirement_id` is the requirement (row id) about which an agency has given a new result, and
    `result_id` (row id) is that result: if the case is cleared, it is reported to customs. Without
    `changed_requirement_id`, the uses that approved items have lost are written off again if enough is left.
    A case that is held uses nothing: it only checks whether it still lacks a document.
    """
    units = hub.rules.bundle.units
    with case_transaction(hub, "requirement.join", case_id, end_lease) as (conn, case):
        now = hub.clock()
        if case.state == "HELD":
            enqueue_task(conn, "wake", "case", case_id, f"wake:{case_id}:{now.isoformat()}", now)
        elif case.state not in _ENDED and _may_be_decided_outside(
            conn, case, changed_requirement_id, result_id
        ):
            _await_stated_uses(conn, case, now)
            joined = _join_awaited_uses(conn, hub, case, now)
            record_joined_results(
                conn, case_id, joined.written_off_requirement_ids, now, joined.rejected_requirement_ids
            )
            if (
                changed_requirement_id is not None
                and changed_requirement_id
                not in joined.written_off_requirement_ids | joined.rejected_requirement_ids
            ):
                _record_changed_events(conn, case_id, changed_requirement_id, now)
            if _is_decided_outside(conn, case_id):
                move_case(conn, units, cases.lock_case(conn, case_id), "requirement", now, has_decision=False)
            conclude_if_awaited_changed(
                conn, units, cases.lock_case(conn, case_id), now, has_number_arrived=bool(joined)
            )
            if changed_requirement_id is None:
                write_off_lost_uses(conn, units, cases.lock_case(conn, case_id), now)
            if result_id is not None:
                record_late_result(conn, case_id, result_id, now)


def _may_be_decided_outside(
    conn: Connection, case: CaseRow, changed_requirement_id: int | None, result_id: int | None
) -> bool:
    """Return whether results or decisions outside its own applications may decide about a locked case.

    For most cases both checks find nothing: the number that they wait for is unknown.
    """
    if changed_requirement_id is not None or result_id is not None:
        return True
    return requirement_results.is_concerned_case(conn, case.id)


def _is_decided_outside(conn: Connection, case_id: int) -> bool:
    """Return whether decisions that are not on its own applications decide a case, or its last conclusion."""
    if list_outside_decisions(conn, case_id) or list_cancelled_above(conn, case_id):
        return True
    return rests_on_decisions(conn, case_id)


def _record_changed_events(
    conn: Connection, case_id: int, changed_requirement_id: int, now: datetime
) -> None:
    """Record the event CHANGED for each use that a case (row id) makes of a requirement (row id).

    Uses for which too little was left are not included.
    """
    uses = requirement_quantities.list_uses_of_case(conn, case_id)
    changed_uses = [
        row
        for row in uses
        if row.requirement_id == changed_requirement_id
        and row.return_reason != requirement_quantities.NOT_LEFT
    ]
    transitions.record_events(conn, "requirement", [(int(row.id), "CHANGED") for row in changed_uses], now)


@dataclass(frozen=True, slots=True)
class _JoinedUses:
    """The awaited uses that a case has got: requirements (row ids) written off, or that reject items.

    `parent_numbers` are the numbers of which a quantity is written off above the case.
    """

    written_off_requirement_ids: set[int] = field(default_factory=set)
    rejected_requirement_ids: set[int] = field(default_factory=set)
    parent_numbers: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.written_off_requirement_ids or self.rejected_requirement_ids or self.parent_numbers)


def _await_stated_uses(conn: Connection, case: CaseRow, now: datetime) -> None:
    """Let a child wait again for its stated uses of numbers that a case above it waits for again.

    The children of the child state parts of the same quantities and wait, too.
    """
    lost = list_lost_uses(conn, case.id)
    for row in lost:
        requirement_quantities.end_stated_use(conn, row.id)
    requirement_results.insert_awaited_uses(conn, [await_again(row) for row in lost], now)
    if lost:
        _wake_children(conn, case.id, now)


def _join_awaited_uses(conn: Connection, hub: Hub, case: CaseRow, now: datetime) -> _JoinedUses:
    """Settle each awaited use that its requirement, or the quantity written off above the case, allows.

    The children of the case then check their own awaited uses: the case takes the numbers before its
    children.
    """
    waiting = requirement_results.list_awaited_uses(conn, case.id)
    numbers = {row.number for row in waiting}
    rows: dict[str, list[int]] = {}
    for row in lock_case_requirements(conn, case.id, numbers):
        rows.setdefault(row.number, []).append(row.id)
    joined = _JoinedUses()
    for awaited_use in waiting:
        declared_uses = _make_declared_uses(case, awaited_use)
        child_uses = validate_awaited_use(conn, case.id, declared_uses, hub.rules.bundle.units)
        if child_uses is not None and _join_awaited_use(
            conn, hub, case, awaited_use, rows.get(awaited_use.number, ()), child_uses, joined, now
        ):
            requirement_results.end_awaited_use(conn, awaited_use.id, "joined", now)
    if joined:
        _wake_children(conn, case.id, now)
    return joined


def _join_awaited_use(
    conn: Connection,
    hub: Hub,
    case: CaseRow,
    awaited: AwaitedUseRow,
    locked_ids: Sequence[int],
    child_uses: ValidatedChildUses,
    joined: _JoinedUses,
    now: datetime,
) -> bool:
    """Settle one awaited use; return whether the case waits for it no longer.

    `locked_ids` are the locked requirements (row ids) that have its number.

    The use of a requirement by which the agency says no is kept as given back. So the item is rejected, as
    where the rejection comes after an approval, and a corrected decision writes off the quantity.
    """
    if child_uses.parent_uses:
        store_stated_uses(conn, case.id, child_uses.parent_uses, now)
        joined.parent_numbers.append(awaited.number)
        return True
    units = hub.rules.bundle.units
    certificates = requirement_quantities.select_certificates(
        conn, requirement_quantities.lock_requirements(conn, locked_ids)
    )
    balances = load_requirement_balances(conn, certificates, units)
    rejecting_id = _find_rejecting_requirement(child_uses.own_uses, balances)
    if rejecting_id is not None:
        keep_rejected_use(conn, case.id, child_uses.own_uses.uses[0], rejecting_id, now)
        joined.rejected_requirement_ids.add(rejecting_id)
        return True
    judged = validate_declared_uses(child_uses.own_uses, balances, _find_filing_day(conn, hub, case), units)
    problems = (*child_uses.problems, *judged.problems)
    if problems:
        data = {"requirement": awaited.number, "item": awaited.item, "problem": problems[0].problem.id,
                "detail": problems[0].detail}  # fmt: skip
        record_evidence(conn, "not_left", "case", case.id, None, data, now)
    write_off_requirements(conn, case.id, judged.usable_uses, now)
    joined.written_off_requirement_ids.update(balance.requirement_id for _, balance in judged.usable_uses)
    return bool(judged.usable_uses)


def _find_filing_day(conn: Connection, hub: Hub, case: CaseRow) -> date:
    """Return the day on which the hub received the submission in force; its certificates hold on that day."""
    message = messages.find_by_id(conn, find_former_message(conn, case))
    return find_day(case.opened_at if message is None else message.received_at, hub.zone)


def _wake_children(conn: Connection, case_id: int, now: datetime) -> None:
    """Let the children of a case, and theirs, search again for the numbers that they wait for."""
    below: set[int] = set()
    latest = {case_id}
    while latest:
        # A child that does not wait itself hears nothing that it could pass on.
        latest = {int(row.child_id) for row in item_releases.list_children_of(conn, latest)} - below
        below |= latest
    for child in sorted(below):
        enqueue_task(conn, "join", "case", child, f"above:{child}:{now.isoformat()}", now)


def _find_rejecting_requirement(
    awaited_uses: DeclaredUses, balances: Iterable[RequirementBalance]
) -> int | None:
    """Return the requirement (row id) with the number of an awaited use, if its agency rejects by it.

    `awaited_uses` has that use, or none. None if the agency does not reject, if it rejects by a requirement
    of the other direction, or if several requirements have the number.
    """
    matching = [
        balance
        for use in awaited_uses.uses
        for balance in balances
        if balance.number == use.number
        and use.agency in ("", balance.agency)
        and not are_opposite(balance.direction, awaited_uses.direction)
    ]
    return matching[0].requirement_id if len(matching) == 1 and matching[0].rejects else None


def _make_declared_uses(case: CaseRow, awaited: AwaitedUseRow) -> DeclaredUses:
    """Return an awaited use as the only use of a declaration, with traders and direction of the case."""
    use = RequirementUse(
        item=awaited.item,
        number=awaited.number,
        quantity=Decimal(awaited.quantity),
        unit=awaited.unit,
        pointer=awaited.pointer,
        agency=awaited.agency or "",
    )
    detail = case.detail or {}
    return DeclaredUses(
        (use,),
        detail.get("importer", ""),
        detail.get("exporter", ""),
        direction=find_type_direction(case.document),
    )
