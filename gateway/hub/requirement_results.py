"""Results without an application: an agency says what it decided under a number of its own.

All results of all agencies pass the hub, also of applications that never came through it. The number
of an agency is in the ledger with what was said of it. A declaration that names the number has the
decision with it. If the declaration came first, its case waits for the number. A task of the hub
joins both after their transactions, so the outcome is the same in either order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import (
    AgencyCallback,
    ClaimedRequirements,
    JudgedChildClaim,
    Notice,
    RequirementBalance,
    RequirementUse,
    SignedReply,
    check_issue_time,
    check_notice_status,
    check_requirement_result,
    complete_decisions,
    judge_requirement_claim,
)
from gateway.evidence import record_evidence
from gateway.hub.case_progress import (
    move_case,
    rests_on_decisions,
    take_lost_uses,
    tell_awaited_uses,
)
from gateway.hub.completion import (
    case_closing,
    list_cancelled_above,
    list_outside_decisions,
    load_requirement_results,
)
from gateway.hub.customs import record_late_result
from gateway.hub.earlier_results import describe_notice
from gateway.hub.hub import Hub
from gateway.hub.outbox import FinishLease, enqueue_look, enqueue_task
from gateway.hub.requirement_ledger import (
    await_again,
    keep_rejected_use,
    load_requirement_balances,
    lock_case_requirements,
    make_awaited_use,
    write_off_requirements,
)
from gateway.hub.stated_uses import judge_awaited_use, list_lost_uses, store_stated_uses
from gateway.hub.whole_results import list_late_revocations, list_said_decisions
from gateway.store import (
    NewRequirementResult,
    agency_requests,
    cases,
    events,
    has_single_writer,
    item_releases,
    payloads,
    read_transaction,
    requirement_quantities,
    requirement_results,
    write_transaction,
)

__all__ = [
    "await_unknown_requirements",
    "complete_requirement_result",
    "is_result_without_application",
    "join_requirements",
    "list_said_subjects",
    "note_joined_results",
    "store_requirement_results",
]

_ENDED: Final = ("REFUSED", "WITHDRAWN")


def is_result_without_application(hub: Hub, agency: str, said: AgencyCallback) -> bool:
    """Return whether an agency decides under a number of its own, and no application asked for it."""
    if said.requirement_number is None or not isinstance(said.answer, Notice) or not said.answer.decisions:
        return False
    with read_transaction(hub.engine) as conn:
        if _list_results(conn, agency, said.requirement_number):
            return True
        return agency_requests.find_by_requirement(conn, agency, said.requirement_number) is None


def complete_requirement_result(hub: Hub, agency: str, said: AgencyCallback) -> AgencyCallback:
    """Return what an agency says of a number of its own, with what a final status code takes back.

    Without decisions it is about all that the agency has decided under the number.
    """
    notice = said.answer
    if said.requirement_number is None or not isinstance(notice, Notice) or notice.decisions:
        return said
    code = hub.rules.status_codes.get(notice.status_code)
    if code is None or not code.final:
        return said
    asked = list_said_subjects(hub, agency, said.requirement_number)
    completed = complete_decisions(notice, code, asked, hub.zone)
    return replace(said, answer=replace(completed, whole=bool(completed.decisions)))


def list_said_subjects(hub: Hub, agency: str, number: str) -> list[tuple[int, str]]:
    """Return the items and laws that an agency has decided under a number of its own, each once."""
    with read_transaction(hub.engine) as conn:
        return sorted({(int(row.item), str(row.law)) for row in _list_results(conn, agency, number)})


def _list_results(conn: Connection, agency: str, number: str) -> Sequence[Row[Any]]:
    rows = requirement_quantities.find_requirements(conn, [number])
    return requirement_results.list_results(conn, [row.id for row in rows if row.agency == agency])


def store_requirement_results(
    hub: Hub, agency: str, said: Sequence[tuple[str, Notice]], spoken: SignedReply
) -> None:
    """Store what an agency says of numbers of its own, and let each case that names one hear of it.

    All is stored or nothing; a repeat changes nothing. Raises GW403, GW404 or GW702 for a notice that
    contradicts itself, its agency's laws, or an earlier notice, GW719 for one of the future.
    """
    documents = hub.rules.bundle.documents.values()
    laws = {law for one in documents if one.organisation == agency for law in one.laws}
    for number, notice in said:
        check_issue_time(notice.issued_at, hub.clock())
        check_notice_status(notice, hub.rules.status_codes)
        check_requirement_result(agency, number, notice, laws)
    with write_transaction(hub.engine, "reply.requirement") as conn:
        now = hub.clock()
        # Of each number in one order: two calls about the same numbers do not wait for each other.
        new = {
            number
            for number in sorted({number for number, _ in said})
            if not requirement_quantities.ensure_requirement(conn, agency, number, None, now)
        }
        locked = requirement_quantities.lock_requirements_by_number(conn, {number for number, _ in said})
        rows = {row.number: int(row.id) for row in locked if row.agency == agency}
        for number, notice in said:
            _store_result(conn, hub, agency, (rows[number], number, notice), spoken, now)
        for number in sorted(new):
            # The decision on the application may be in a transaction that is open now, and does not see this.
            enqueue_look(conn, "apply_results", rows[number], f"result:{rows[number]}", now, "requirement")


def _store_result(
    conn: Connection,
    hub: Hub,
    agency: str,
    said: tuple[int, str, Notice],
    spoken: SignedReply,
    now: datetime,
) -> None:
    """Store what an agency says of a locked requirement (row id, number)."""
    requirement, number, notice = said
    new = _make_rows(requirement, agency, notice)
    known = requirement_results.list_results(conn, [requirement])
    former = _list_former(requirement, agency, notice, known)
    stored = requirement_results.insert_results(conn, new, now, former)
    if stored is None:
        return
    requirement_results.add_decisions(conn, list_late_revocations(known, new), now)
    if all(one.issued_at <= notice.issued_at for one in known):
        requirement_quantities.set_last_day(conn, agency, number, notice.valid_until)
    digest = payloads.store_payload(conn, spoken.envelope, now) if spoken.envelope else None
    verdict = hub.verdicts.find_verdict_digest(spoken.signer) if spoken.signer else None
    told = {"agency": agency, "requirement": number, "notice": notice.number,
            "decisions": [f"{one.item}/{one.law} {one.decision}" for one in notice.decisions],
            "signer": spoken.signer, "verdict": verdict}  # fmt: skip
    record_evidence(conn, "reply", "requirement", requirement, digest, told, now)
    for case in requirement_results.list_concerned_cases(conn, requirement, number):
        key = f"requirement:{requirement}:{new[0].notice_sha256[:16]}:{case}"
        enqueue_task(conn, "join", ("case", case), key, now, changed=requirement, said=stored)
    if agency_requests.find_by_requirement(conn, agency, number) is not None:
        # The decision on the application came at the same time, or what is said counts for it already.
        key = f"result:{requirement}:{new[0].notice_sha256[:16]}"
        enqueue_task(conn, "apply_results", ("requirement", requirement), key, now)


def _list_former(
    requirement: int, agency: str, notice: Notice, known: Iterable[Row[Any]]
) -> list[NewRequirementResult]:
    """Return decisions of a notice as earlier versions may have stored it.

    They took the items that they knew of a notice without items for what it said.
    """
    former = [notice.former] if notice.former else []
    if notice.whole:
        told = {(row.notice_no, row.item, row.law) for row in known}
        for one in (notice, *former):
            subjects = [each for each in one.decisions if (one.number, each.item, each.law) in told]
            former.append(replace(one, whole=False, decisions=tuple(subjects)))
    return [row for one in former for row in _make_rows(requirement, agency, one)[:1]]


def _make_rows(requirement: int, agency: str, notice: Notice) -> list[NewRequirementResult]:
    content = (notice.number, notice.issued_at.astimezone(UTC), notice.status_code,
               sorted(repr(one) for one in list_said_decisions(notice)),
               *([notice.valid_until.isoformat()] if notice.valid_until else []))  # fmt: skip
    digest = hashlib.sha256(repr((agency, requirement, content)).encode()).hexdigest()
    return [
        NewRequirementResult(
            requirement_id=requirement,
            agency=agency,
            notice_no=notice.number,
            item=one.item,
            law=one.law,
            issued_at=notice.issued_at.astimezone(UTC),
            status_code=notice.status_code,
            decision=one.decision.value,
            notice_sha256=digest,
            date=one.date,
            quantity=None if one.quantity is None else f"{one.quantity:f}",
            unit=one.unit,
            conditions=one.conditions,
            said=describe_notice(notice, one),
        )
        for one in notice.decisions
    ]


def await_unknown_requirements(
    conn: Connection, case_id: int, waiting: Iterable[RequirementUse], now: datetime, *, first: bool = False
) -> None:
    """Let an admitted case wait for the numbers that nobody knows, and those that a case above it waits for.

    The task looks again after this transaction: a result may be stored at this moment. On SQLite none is:
    a case that is admitted for the `first` time, and has no parent, is not looked at again.
    """
    new = [make_awaited_use(case_id, use) for use in waiting]
    stored = requirement_results.insert_awaited_uses(conn, new, now)
    if stored and not (first and has_single_writer(conn)):
        enqueue_look(conn, "join", case_id, f"await:{case_id}:{max(stored)}", now)


def note_joined_results(
    conn: Connection, case_id: int, wanted: Iterable[int], now: datetime, rejected: Collection[int] = ()
) -> None:
    """Record for a case, and for each requirement (row id) with a result, that the case has the result.

    Of those that are `rejected` nothing is written off.
    """
    mine = {*wanted, *rejected}
    if not mine:
        return
    uses = [
        row
        for row in requirement_quantities.list_uses_of_case(conn, case_id)
        if row.requirement_id in mine and (row.returned_at is None or row.requirement_id in rejected)
    ]
    said = {one.subject for one in load_requirement_results(conn, mine)}
    told = [row for row in uses if row.requirement_id in said]
    for row in told:
        data = {"agency": row.agency, "requirement": row.number, "item": row.item}
        record_evidence(conn, "joined", "case", case_id, None, data, now)
        record_evidence(conn, "joined", "requirement", row.requirement_id, None,
                        {"case": case_id, "item": row.item}, now)  # fmt: skip
    events.record_events(conn, "requirement", [(int(row.id), "JOINED") for row in told], now)


def join_requirements(
    hub: Hub, case_id: int, changed: int | None, finish: FinishLease, said: int | None = None
) -> None:
    """Write off what a case waits for and the ledger now knows, and let new results decide about it.

    `changed` is the requirement of which an agency has said something new, `said` the result with it: of a
    cleared case customs is told (`gateway.hub.customs.late_results`). A case that is held uses
    nothing: it looks whether it lacks a document still (`gateway.hub.held_case_waking`). Without `changed`
    the ledger may have again what an approved item could not take.
    """
    units = hub.rules.bundle.units
    with write_transaction(hub.engine, "requirement.join") as conn:
        case = cases.lock_case(conn, case_id)
        now = hub.clock()
        if case.state == "HELD":
            enqueue_task(conn, "wake", ("case", case_id), f"wake:{case_id}:{now.isoformat()}", now)
        elif case.state not in _ENDED and _may_change(conn, case, changed, said):
            _await_stated_uses(conn, case, now)
            joined = _join_awaited_uses(conn, hub, case, now)
            note_joined_results(conn, case_id, joined.written, now, joined.rejected)
            if changed is not None and changed not in joined.written | joined.rejected:
                _tell_changed(conn, case_id, changed, now)
            if _is_decided_outside(conn, case_id):
                move_case(conn, units, cases.lock_case(conn, case_id), "requirement", now, decided=False)
            tell_awaited_uses(conn, units, cases.lock_case(conn, case_id), now, joined=bool(joined))
            if changed is None:
                take_lost_uses(conn, units, cases.lock_case(conn, case_id), now)
            if said is not None:
                record_late_result(conn, case_id, said, now)
        finish(conn)
        case_closing.close_case_when_done(conn, cases.lock_case(conn, case_id), now)


def _may_change(conn: Connection, case: Row[Any], changed: int | None, said: int | None) -> bool:
    """Return whether anything but its own applications may decide about a locked case.

    Most cases look in vain, twice: nobody knows the number that they wait for.
    """
    if changed is not None or said is not None:
        return True
    return requirement_results.has_known_requirements(conn, case.id)


def _is_decided_outside(conn: Connection, case_id: int) -> bool:
    """Return whether others decide about a case, or did when it was concluded last."""
    if list_outside_decisions(conn, case_id) or list_cancelled_above(conn, case_id):
        return True
    return rests_on_decisions(conn, case_id)


def _tell_changed(conn: Connection, case_id: int, changed: int, now: datetime) -> None:
    uses = requirement_quantities.list_uses_of_case(conn, case_id)
    mine = [
        row
        for row in uses
        if row.requirement_id == changed and row.return_reason != requirement_quantities.NOT_LEFT
    ]
    events.record_events(conn, "requirement", [(int(row.id), "CHANGED") for row in mine], now)


@dataclass(frozen=True, slots=True)
class _JoinedUses:
    """What a case has now of what it waited for: requirements (row ids) that are written off, or rejected.

    Of those `named` something is written off above it.
    """

    written: set[int] = field(default_factory=set)
    rejected: set[int] = field(default_factory=set)
    named: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.written or self.rejected or self.named)


def _await_stated_uses(conn: Connection, case: Row[Any], now: datetime) -> None:
    """Let a child wait for what it states of a number that a case above it waits for again.

    The children of the child state a part of the same.
    """
    lost = list_lost_uses(conn, case.id)
    for row in lost:
        requirement_quantities.end_stated_use(conn, row.id)
    requirement_results.insert_awaited_uses(conn, [await_again(row) for row in lost], now)
    if lost:
        _look_below(conn, case.id, now)


def _join_awaited_uses(conn: Connection, hub: Hub, case: Row[Any], now: datetime) -> _JoinedUses:
    """Settle each awaited use that its requirement, or what is written off above the case, allows.

    The children of the case look again then: it had the numbers first.
    """
    waiting = requirement_results.list_awaited_uses(conn, case.id)
    numbers = {row.number for row in waiting}
    rows: dict[str, list[int]] = {}
    for row in lock_case_requirements(conn, case.id, numbers):
        rows.setdefault(row.number, []).append(row.id)
    joined = _JoinedUses()
    for one in waiting:
        claim = _make_claim(case, one)
        child = judge_awaited_use(conn, case.id, claim, hub.rules.bundle.units)
        if child is not None and _join_awaited_use(
            conn, hub, (case, one, rows.get(one.number, ())), child, joined, now
        ):
            requirement_results.end_awaited_use(conn, one.id, "joined", now)
    if joined:
        _look_below(conn, case.id, now)
    return joined


def _join_awaited_use(
    conn: Connection,
    hub: Hub,
    what: tuple[Row[Any], Row[Any], Sequence[int]],
    child: JudgedChildClaim,
    joined: _JoinedUses,
    now: datetime,
) -> bool:
    """Settle one awaited use; return whether the case waits for it no longer.

    `what` is the case, the use, and the locked requirements (row ids) that have its number.

    The use of a requirement by which the agency says no is kept as given back. So the item is rejected, as
    where the rejection comes after an approval, and a corrected decision writes off the quantity.
    """
    case, awaited, locked = what
    if child.stated:
        store_stated_uses(conn, case.id, child.stated, now)
        joined.named.append(awaited.number)
        return True
    units = hub.rules.bundle.units
    found = requirement_quantities.select_certificates(
        conn, requirement_quantities.lock_requirements(conn, locked)
    )
    balances = load_requirement_balances(conn, found, units)
    against = _find_rejecting(awaited, balances) if child.own.uses else None
    if against is not None:
        keep_rejected_use(conn, case.id, child.own.uses[0], against, now)
        joined.rejected.add(against)
        return True
    judged = judge_requirement_claim(child.own, balances, case.opened_at.astimezone(hub.zone).date(), units)
    problems = (*child.problems, *judged.problems)
    if problems:
        data = {"requirement": awaited.number, "item": awaited.item, "problem": problems[0].problem.id,
                "detail": problems[0].detail}  # fmt: skip
        record_evidence(conn, "not_left", "case", case.id, None, data, now)
    write_off_requirements(conn, case.id, judged.taken, now)
    joined.written.update(balance.key for _, balance in judged.taken)
    return bool(judged.taken)


def _look_below(conn: Connection, case_id: int, now: datetime) -> None:
    """Let the children of a case, and theirs, look again for the numbers they wait for: it had them first."""
    below: set[int] = set()
    latest = {case_id}
    while latest:
        # A child that does not wait itself hears nothing that it could pass on.
        latest = {int(row.child_id) for row in item_releases.list_children_of(conn, latest)} - below
        below |= latest
    for child in sorted(below):
        enqueue_task(conn, "join", ("case", child), f"above:{child}:{now.isoformat()}", now)


def _find_rejecting(awaited: Row[Any], balances: Iterable[RequirementBalance]) -> int | None:
    """Return the requirement (row id) of an awaited number by which its agency rejects, under any law."""
    mine = [
        one for one in balances if one.number == awaited.number and awaited.agency in (None, "", one.agency)
    ]
    return mine[0].key if len(mine) == 1 and mine[0].rejects else None


def _make_claim(case: Row[Any], awaited: Row[Any]) -> ClaimedRequirements:
    use = RequirementUse(
        item=awaited.item,
        number=awaited.number,
        quantity=Decimal(awaited.quantity),
        unit=awaited.unit,
        pointer=awaited.pointer,
        agency=awaited.agency or "",
    )
    detail = case.detail or {}
    return ClaimedRequirements((use,), detail.get("importer", ""), detail.get("exporter", ""))
