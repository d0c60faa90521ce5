"""Step 10, hold: a case whose goods need a document that was not applied for waits for it.

The input is a submission that lacks a document for certain, where the policy says `hold`. The case is HELD:
neither agencies nor customs get a call, and no certificate is written off. The declarant gets a notice of
the missing documents and of the end of the hold. The whole submission again, as a supplement or an
amendment, brings the missing documents: the case then goes on as if it had arrived with them
(`gateway.hub.submissions.admit`). A withdrawal ends the hold. At the end of the hold, `end_hold` refuses
the case: a task of the hub itself that was queued with the case, so that one worker does it once, also
after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    DeclaredUses,
    HeldCase,
    MissingDocument,
    NumberOrigin,
    ReportedProblem,
    Submission,
    list_changed_places,
    make_application_number,
    make_hold_document,
    read_change_reason,
)
from gateway.errors import PARENT_NOT_USABLE, RULE_BROKEN, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.amendments.former_items import find_former_message, read_amended_items
from gateway.hub.answers.case_progress import wake_held_children
from gateway.hub.completion.case_closing import case_transaction
from gateway.hub.hub import Hub
from gateway.hub.outbox.applicant_messages import (
    CaseSnapshot,
    load_case_snapshot,
    make_case_header,
    send_notice,
)
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_repeated_check, enqueue_task
from gateway.hub.requirements.requirement_ledger import make_awaited_use
from gateway.hub.submissions.document_needs import NeedsAssessment, load_stored_submission
from gateway.hub.submissions.open_cases import CaseNumbers, load_case_needs
from gateway.hub.submissions.processed_submission import find_case_bundle
from gateway.needs import NeedFinding
from gateway.store import (
    CaseRow,
    MessageRow,
    StateEvent,
    cases,
    deliveries,
    messages,
    read_transaction,
    requirement_results,
)

_ACTOR: Final = "hold"
_WAITING_STATES: Final = ("QUEUED", "HELD", "FAILED")
#: The key of the problems for which, at the last check, the submission of the case would be refused.
_HINDERED: Final = "problems"
#: The wait before the next check whether all messages received in time are admitted.
_ADMITTED_SOON: Final = timedelta(seconds=5)
#: It waits no longer: a message may wait for an earlier one that never comes.
_MAX_WAIT: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class LackingSubmission:
    """A submission that lacks a document: its needs, the uses of its items, and its parent case (row id)."""

    needs: NeedsAssessment
    declared_uses: DeclaredUses
    parent_case_id: int | None = None


def find_held_case(hub: Hub, submission: Submission, declarant: str, message: MessageRow) -> CaseRow | None:
    """Return the held case that a supplement or an amendment is about; None where it is not held.

    The `message` that opened the case is about it too, when it is checked again. One that has opened no
    case yet is about none.
    """
    if submission.function not in ("9", "13", "35"):
        return None
    if submission.function == "9" and message.case_id is None:
        return None
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_reference(conn, declarant, submission.reference)
    if case is None or case.state != "HELD":
        return None
    return case if submission.function != "9" or case.message == message.id else None


def make_held_numbers(
    hub: Hub, submission: Submission, case: CaseRow, origin: NumberOrigin, message: int | None = None
) -> CaseNumbers:
    """Return the numbers for the whole submission of a held case; its applications are new to everybody.

    They have their numbers of the `origin`; `message` is the row of the submission.

    Raises GW404 for an amendment without a reason, for a declaration of the other direction, and for a
    supplement with another declaration; GW404, GW419 or GW420 for items that an amendment may not have.
    """
    if submission.function == "13":
        read_change_reason(submission.declaration)
    with read_transaction(hub.engine) as conn:
        if submission.function == "35":
            _check_same_declaration(conn, submission, case)
        amended = read_amended_items(conn, case, submission, hub.rules.parent_codes, message)
    new = {
        application.id: make_application_number(origin.serial, origin.year, application.position)
        for application in submission.applications
    }
    case_needs = load_case_needs(hub, case)
    bundle = find_case_bundle(case, ())
    return CaseNumbers(
        case.number,
        new,
        request_function="9",
        bundle_digest=bundle,
        case_needs=case_needs,
        amended_items=amended,
    )


def _check_same_declaration(conn: Connection, submission: Submission, case: CaseRow) -> None:
    """Raise GW404 where a supplement changes the declaration: that is an amendment, with its reason."""
    former = load_stored_submission(conn, find_former_message(conn, case))
    changed = list_changed_places(former.declaration, submission.declaration)
    if changed:
        detail = "a supplement of a held case keeps its declaration: Function 13 amends it, with a reason"
        raise GatewayError(RULE_BROKEN, detail, min(changed))


def hold_case(
    conn: Connection,
    case: int,
    detail: Mapping[str, Any],
    lacking: LackingSubmission,
    now: datetime,
    hold_time: timedelta,
    message: int,
) -> str:
    """Hold a case, or hold it on; return the end of the hold, as stored. `hold_time` is that of a first hold.

    The case waits for the numbers that its items name, and for its parent. A case that is held on keeps the
    end of its first hold: a new submission does not prolong it.
    """
    is_first_hold = "held" not in detail
    until = (now + hold_time).isoformat() if is_first_hold else str(detail["held"]["until"])
    hold_fields: dict[str, Any] = {
        "until": until,
        "missing": [_describe_missing(finding) for finding in lacking.needs.missing],
    }
    if lacking.parent_case_id is not None:
        hold_fields["parent"] = lacking.parent_case_id
    event = StateEvent("hold", now, _ACTOR, f"until {until}")
    cases.apply_event(conn, case, event, detail={**detail, "held": hold_fields})
    if is_first_hold:
        due_at = datetime.fromisoformat(until)
        enqueue_task(conn, "end_hold", "case", case, _make_hold_key(case), now, due_at=due_at)
    enqueue_task(conn, "tell_hold", "case", case, f"held:{case}:{message}", now, message=message)
    if _await_numbers(conn, case, lacking, now) or lacking.parent_case_id is not None:
        # A missing number, or the decision on the parent, may have come in this instant: the case is checked
        # again after this transaction.
        enqueue_repeated_check(conn, "wake", case, f"wake:{case}:{message}", now)
    return until


def _await_numbers(conn: Connection, case: int, lacking: LackingSubmission, now: datetime) -> bool:
    """Let a held case wait for the numbers of its items; return whether there are any.

    A held case uses no quantity: one that is available now may be gone when the missing document arrives, and
    may come back later.
    """
    requirement_results.end_awaited_uses(conn, case, "held on", now)
    new = [make_awaited_use(case, use) for use in lacking.declared_uses.uses]
    requirement_results.insert_awaited_uses(conn, new, now)
    return bool(new)


def record_refusal_reasons(conn: Connection, case: CaseRow, problems: Sequence[ReportedProblem]) -> None:
    """Store with a locked held case why its submission would be refused now; the last check counts.

    When the time of the case is over, its refusal names these problems, too.
    """
    hold_fields = (case.detail or {}).get("held")
    if case.state != "HELD" or hold_fields is None:
        return
    described = [asdict(problem) for problem in problems]
    if described != hold_fields.get(_HINDERED, []):
        cases.set_detail(conn, case.id, {**case.detail, "held": {**hold_fields, _HINDERED: described}})


def record_missing_documents(
    conn: Connection, case: CaseRow, needs: NeedsAssessment, message: int, now: datetime
) -> None:
    """Store with a locked held case the documents missing now, and notify its declarant of a change.

    `message` is the message that was judged, by the tables of `needs`. If a later message was judged, nothing
    changes.
    """
    hold_fields = (case.detail or {}).get("held")
    if case.state != "HELD" or hold_fields is None or find_former_message(conn, case) != message:
        return
    missing = [_describe_missing(finding) for finding in needs.missing]
    if missing == hold_fields["missing"]:
        return
    changes = {"held": {**hold_fields, "missing": missing}, "need_tables": list(needs.tables)}
    cases.set_detail(conn, case.id, {**case.detail, **changes})
    checked_at = now.isoformat()
    enqueue_task(
        conn,
        "tell_hold",
        "case",
        case.id,
        f"held:{case.id}:{checked_at}",
        now,
        message=message,
        look=checked_at,
    )


def _describe_missing(finding: NeedFinding) -> dict[str, Any]:
    """Return a finding about a missing document as values that are stored with a held case."""
    need = finding.need
    described = {"id": finding.problem.id, "text": finding.text, "pointer": finding.pointer}
    if need is None:
        return described
    return described | {
        "item": finding.item,
        "law": need.law,
        "documents": list(need.documents),
        "organisations": list(need.organisations),
    }


def _make_hold_key(case: int) -> str:
    return f"hold:{case}"


def cancel_hold(conn: Connection, case: int, now: datetime) -> None:
    """Take back the tasks that would end the hold of a locked case; one that runs just now finds it moved.

    The case waits for no number any more.
    """
    requirement_results.end_awaited_uses(conn, case, "held no longer", now)
    for row in deliveries.list_by_case(conn, case):
        if row.parameters.get("task") == "end_hold" and row.state in _WAITING_STATES:
            end = deliveries.give_up_delivery if row.state == "FAILED" else deliveries.cancel_delivery
            end(conn, row.id, now, _ACTOR, "the case is held no longer")


def end_hold(hub: Hub, case_id: int, end_lease: FinishLease) -> None:
    """Refuse a held case whose time is over, for its missing documents; leave every other case unchanged.

    A task that an operator tries too early waits for its time again. A message that was received in time and
    is not admitted yet is waited for: its time of receipt counts.
    """
    now = hub.clock()
    with case_transaction(hub, "hold.ended", case_id, end_lease) as (conn, case):
        hold_fields = (case.detail or {}).get("held")
        if case.state == "HELD" and hold_fields is not None:
            until = datetime.fromisoformat(hold_fields["until"])
            next_check = _find_next_check(conn, case, until, now)
            if next_check is not None:
                key = f"{_make_hold_key(case_id)}:{now.isoformat()}"
                enqueue_task(conn, "end_hold", "case", case_id, key, now, due_at=next_check)
            else:
                _refuse_held_case(conn, case, hold_fields, now)


def _find_next_check(conn: Connection, case: CaseRow, until: datetime, now: datetime) -> datetime | None:
    """Return when the task checks a held case again; None where it ends now."""
    if until > now:
        return until
    if now < until + _MAX_WAIT and messages.is_change_waiting(conn, case.opened_at, until):
        return now + _ADMITTED_SOON
    return None


def refuse_if_parent_ended(
    conn: Connection, case: CaseRow, problems: Sequence[ReportedProblem], now: datetime
) -> bool:
    """Refuse a locked held case whose parent was withdrawn or refused; return False for every other case.

    No agency can correct that, and no application mends it. `problems` is why the case would be refused now.
    """
    hold_fields = (case.detail or {}).get("held")
    parent_id = (hold_fields or {}).get("parent")
    parent = None if parent_id is None else cases.find_by_id(conn, parent_id)
    if (
        case.state != "HELD"
        or hold_fields is None
        or parent is None
        or parent.state not in ("REFUSED", "WITHDRAWN")
    ):
        return False
    reported = [asdict(problem) for problem in problems if problem.id == PARENT_NOT_USABLE.id] or [
        {
            "id": PARENT_NOT_USABLE.id,
            "text": f"{parent.number!r} is {parent.state}: nothing leaves of it any more",
            "pointer": hold_fields["missing"][0]["pointer"],
        }
    ]
    cancel_hold(conn, case.id, now)
    _refuse_with_problems(conn, case, hold_fields, reported, now)
    return True


def _refuse_held_case(conn: Connection, case: CaseRow, hold_fields: Mapping[str, Any], now: datetime) -> None:
    """Refuse a held case: the problems are the documents still missing, and those of its last check."""
    hindered = list(hold_fields.get(_HINDERED, ()))
    problems = [
        {
            "id": finding["id"],
            "text": f"{finding['text']}; {_describe_end(finding, hold_fields)}",
            "pointer": finding["pointer"],
        }
        for finding in hold_fields["missing"]
        # The problems of the last check say more about a parent that was decided in the meantime.
        if not (hindered and finding["id"] == PARENT_NOT_USABLE.id)
    ] + hindered
    _refuse_with_problems(conn, case, hold_fields, problems, now)


def _refuse_with_problems(
    conn: Connection,
    case: CaseRow,
    hold_fields: Mapping[str, Any],
    problems: list[dict[str, Any]],
    now: datetime,
) -> None:
    """Refuse a held case with these problems; the children that wait for it are refused as well."""
    unchanged = {name: value for name, value in (case.detail or {}).items() if name != "held"}
    detail = {**unchanged, "reference": case.functional_reference, "problems": problems}
    event = StateEvent("refuse", now, _ACTOR, f"held until {hold_fields['until']}")
    cases.apply_event(conn, case.id, event, outcome="REFUSED", detail=detail)
    requirement_results.end_awaited_uses(conn, case.id, "refused", now)
    enqueue_task(conn, "conclude", "case", case.id, f"conclude:{case.id}:1", now)
    data = {
        "number": case.number,
        "held_until": hold_fields["until"],
        "problems": "; ".join(_list_ids(problems)),
    }
    message = messages.find_by_id(conn, case.message)
    digest = None if message is None else message.identity_sha256
    record_evidence(conn, "refused", "case", case.id, digest, data, now)
    wake_held_children(conn, case.declarant, {case.id}, f"refused:{case.id}", now)


def _describe_end(missing: Mapping[str, Any], hold_fields: Mapping[str, Any]) -> str:
    is_parent = missing["id"] == PARENT_NOT_USABLE.id
    return f"it was not {'decided' if is_parent else 'filed'} by {hold_fields['until']}"


def _list_ids(problems: list[dict[str, Any]]) -> list[str]:
    return [str(problem["id"]) for problem in problems]


def send_hold_notice(
    hub: Hub, case_id: int, message: int, end_lease: FinishLease, checked_at: str = ""
) -> None:
    """Send the declarant a notice of the missing documents and the end of the hold.

    Nothing is sent if there is no P-Mode for notices, or if the case is not held any more. `message` is the
    one after which the case was held, `checked_at` the time of a later check that found other documents
    missing.
    """
    now = hub.clock()
    case_snapshot = load_case_snapshot(hub, case_id)
    hold_fields = (
        (case_snapshot.case.detail or {}).get("held") if case_snapshot.case.state == "HELD" else None
    )
    document = None if hold_fields is None else _make_hold_notice(case_snapshot, hold_fields, now)
    key = f"hold-notice:{case_id}:{checked_at or message}"
    send_notice(hub, "hold.told", case_snapshot, document, key, now, end_lease)


def _describe_awaited_numbers(case_snapshot: CaseSnapshot, item: int | None) -> list[str]:
    """Return the state of each number that an item names and for which its case waits."""
    numbers = {
        awaited_number.number: awaited_number.has_certificate
        for awaited_number in case_snapshot.awaited
        if awaited_number.item == item
    }
    answers = {False: "it is not known yet", True: "it does not answer this"}
    return [
        f"the item names requirement {number}: {answers[has_certificate]}"
        for number, has_certificate in numbers.items()
    ]


def _make_hold_notice(case_snapshot: CaseSnapshot, hold_fields: Mapping[str, Any], now: datetime) -> Any:
    """Return the unsigned notice to the applicant: how long the case is held, and the missing documents."""
    missing = tuple(
        MissingDocument(
            "; ".join((finding["text"], *_describe_awaited_numbers(case_snapshot, finding.get("item")))),
            finding["pointer"],
            finding.get("item"),
            finding.get("law", ""),
            tuple(finding.get("documents", ())),
            tuple(finding.get("organisations", ())),
        )
        for finding in hold_fields["missing"]
    )
    held_case = HeldCase(datetime.fromisoformat(hold_fields["until"]), now, missing)
    return make_hold_document(make_case_header(case_snapshot, now), held_case)
