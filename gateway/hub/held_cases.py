"""Step 10, hold: a case whose goods need a document that was not applied for waits for it.

The input is a submission that lacks a document for certain, where the policy says `hold`. The case is
HELD: no agency and no customs hear of it, and no certificate is written off. The declarant is told
what is missing and until when. The whole submission again, as a supplement or an amendment, brings
what was missing: the case then goes on as if it had arrived so (`gateway.hub.admit`). A withdrawal
ends it. When the time is over, `end_hold` refuses it: a task of the hub's own that was queued with the
case, so that one worker does it once, also after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import (
    ClaimedRequirements,
    HeldCase,
    MissingDocument,
    ReportedProblem,
    Submission,
    list_changed_places,
    make_application_number,
    make_hold_document,
    read_change_reason,
)
from gateway.errors import PARENT_NOT_USABLE, RULE_BROKEN, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.amended_places import find_former_message, load_former_submission, read_amended_items
from gateway.hub.case_progress import wake_held_children
from gateway.hub.completion import case_closing
from gateway.hub.document_needs import WeighedNeeds
from gateway.hub.hub import Hub
from gateway.hub.open_cases import CaseNumbers, describe_standing_needs
from gateway.hub.outbox import (
    CaseSnapshot,
    FinishLease,
    QueuedMessage,
    enqueue_look,
    enqueue_task,
    load_case_snapshot,
    make_case_header,
    seal_notice,
    store_message,
)
from gateway.hub.pinned_mappings import find_case_bundle
from gateway.hub.requirement_ledger import make_awaited_use
from gateway.needs import NeedFinding
from gateway.store import (
    StateEvent,
    cases,
    deliveries,
    messages,
    read_transaction,
    requirement_results,
    write_transaction,
)

__all__ = [
    "LackingSubmission",
    "cancel_hold",
    "end_hold",
    "find_held_case",
    "hold_case",
    "make_held_numbers",
    "record_hindrance",
    "record_missing",
    "refuse_with_parent",
    "tell_hold",
]

_ACTOR: Final = "hold"
_WAITING: Final = ("QUEUED", "HELD", "FAILED")
#: Why the case could not go on when it was looked at last, though others had brought what it lacked.
_HINDERED: Final = "problems"
#: How long the end of a hold waits for the admission of what was received in time.
_ADMITTED_SOON: Final = timedelta(seconds=5)
#: It waits no longer: a message may wait for an earlier one that never comes.
_LONGEST_WAIT: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class LackingSubmission:
    """A submission that lacks a document: its needs, what its items use, and its parent case (row id)."""

    needs: WeighedNeeds
    used: ClaimedRequirements
    parent: int | None = None


def find_held_case(hub: Hub, submission: Submission, declarant: str, message: Row[Any]) -> Row[Any] | None:
    """Return the held case that a supplement or an amendment is about; None where it is not held.

    The `message` that opened the case is about it too, when it is looked at again. One that has opened no
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
    hub: Hub, submission: Submission, case: Row[Any], origin: tuple[int, int]
) -> CaseNumbers:
    """Return the numbers for the whole submission of a held case; its applications are new to everybody.

    `origin` is the message (row id) and its year, from which they have their numbers.

    Raises GW404 for an amendment without a reason, and for a supplement with other items; GW404, GW419 or
    GW420 for items that an amendment may not have.
    """
    if submission.function == "13":
        read_change_reason(submission.declaration)
    with read_transaction(hub.engine) as conn:
        if submission.function == "35":
            _check_same_declaration(conn, submission, case)
        amended = read_amended_items(conn, case, submission, hub.rules.parent_codes, origin[0])
    changed = (*amended.change.added, *amended.change.removed)
    if submission.function == "35" and changed:
        detail = f"a supplement has the items of its case: item {min(changed)} is added or removed"
        raise GatewayError(RULE_BROKEN, detail, f"42A/67A[1]/68A[{min(changed)}]")
    new = {one.id: make_application_number(*origin, one.position) for one in submission.applications}
    standing = describe_standing_needs(hub, case)
    bundle = find_case_bundle(case, ())
    return CaseNumbers(case.number, new, function="9", bundle=bundle, standing=standing, amended=amended)


def _check_same_declaration(conn: Connection, submission: Submission, case: Row[Any]) -> None:
    """Raise GW404 where a supplement changes the declaration: that is an amendment, with its reason.

    Where retention has removed the former declaration there is nothing to compare.
    """
    former = load_former_submission(conn, find_former_message(conn, case))
    changed = () if former is None else list_changed_places(former.declaration, submission.declaration)
    if changed:
        detail = "a supplement of a held case keeps its declaration: Function 13 amends it, with a reason"
        raise GatewayError(RULE_BROKEN, detail, min(changed))


def hold_case(
    conn: Connection,
    case: int,
    detail: Mapping[str, Any],
    lacking: LackingSubmission,
    span: tuple[datetime, timedelta],
    message: int,
) -> str:
    """Hold a case, or hold it on; return until when, as stored. `span` is now, and the time of a first hold.

    It waits for the numbers that its items name, and for its parent. A case that is held on ends
    when it was to end: what is filed in the meantime prolongs nothing.
    """
    now, hold_time = span
    first = "held" not in detail
    until = (now + hold_time).isoformat() if first else str(detail["held"]["until"])
    held: dict[str, Any] = {
        "until": until,
        "missing": [_describe_missing(one) for one in lacking.needs.missing],
    }
    if lacking.parent is not None:
        held["parent"] = lacking.parent
    event = StateEvent("hold", now, _ACTOR, f"until {until}")
    cases.apply_event(conn, case, event, detail={**detail, "held": held})
    if first:
        due_at = datetime.fromisoformat(until)
        enqueue_task(conn, "end_hold", ("case", case), _make_hold_key(case), now, due_at=due_at)
    enqueue_task(conn, "tell_hold", ("case", case), f"held:{case}:{message}", now, message=message)
    if _await_numbers(conn, case, lacking, now) or lacking.parent is not None:
        # What it lacks may have come in this instant: it is looked at again after this transaction.
        enqueue_look(conn, "wake", case, f"wake:{case}:{message}", now)
    return until


def _await_numbers(conn: Connection, case: int, lacking: LackingSubmission, now: datetime) -> bool:
    """Let a held case wait for the numbers of its items; return whether it does.

    It uses nothing while it is held: what is there now for an item may be gone when another one gets its
    document, and come back later.
    """
    requirement_results.end_awaited_uses(conn, case, "held on", now)
    new = [make_awaited_use(case, use) for use in lacking.used.uses]
    requirement_results.insert_awaited_uses(conn, new, now)
    return bool(new)


def record_hindrance(conn: Connection, case: Row[Any], problems: Sequence[ReportedProblem]) -> None:
    """Keep with a locked held case why its submission would be refused now; the last look counts.

    What it is refused with when its time is over names these problems, too.
    """
    held = (case.detail or {}).get("held")
    if case.state != "HELD" or held is None:
        return
    told = [asdict(one) for one in problems]
    if told != held.get(_HINDERED, []):
        cases.set_detail(conn, case.id, {**case.detail, "held": {**held, _HINDERED: told}})


def record_missing(
    conn: Connection, case: Row[Any], needs: WeighedNeeds, message: int, now: datetime
) -> None:
    """Keep with a locked held case what its submission lacks now, and tell its declarant a change.

    `message` is the one that was looked at, by the tables of `needs`. What a later one lacks is known.
    """
    held = (case.detail or {}).get("held")
    if case.state != "HELD" or held is None or find_former_message(conn, case) != message:
        return
    missing = [_describe_missing(one) for one in needs.missing]
    if missing == held["missing"]:
        return
    told = {"held": {**held, "missing": missing}, "need_tables": list(needs.tables)}
    cases.set_detail(conn, case.id, {**case.detail, **told})
    look = now.isoformat()
    enqueue_task(
        conn, "tell_hold", ("case", case.id), f"held:{case.id}:{look}", now, message=message, look=look
    )


def _describe_missing(one: NeedFinding) -> dict[str, Any]:
    need = one.need
    told = {"id": one.problem.id, "text": one.text, "pointer": one.pointer}
    if need is None:
        return told
    return told | {
        "item": one.item,
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
        if row.parameters.get("task") == "end_hold" and row.state in _WAITING:
            end = deliveries.give_up_delivery if row.state == "FAILED" else deliveries.cancel_delivery
            end(conn, row.id, now, _ACTOR, "the case is held no longer")


def end_hold(hub: Hub, case_id: int, finish: FinishLease) -> None:
    """Refuse a held case whose time is over with what it lacks; leave every other case as it is.

    A task that an operator tries too early waits for its time again. What was received in time and is
    not admitted yet is waited for: its receipt counts.
    """
    now = hub.clock()
    with write_transaction(hub.engine, "hold.ended") as conn:
        case = cases.lock_case(conn, case_id)
        held = (case.detail or {}).get("held")
        if case.state == "HELD" and held is not None:
            until = datetime.fromisoformat(held["until"])
            again = _find_next_look(conn, case, until, now)
            if again is not None:
                key = f"{_make_hold_key(case_id)}:{now.isoformat()}"
                enqueue_task(conn, "end_hold", ("case", case_id), key, now, due_at=again)
            else:
                _refuse_held_case(conn, case, held, now)
        finish(conn)
        case_closing.close_case_when_done(conn, cases.lock_case(conn, case_id), now)


def _find_next_look(conn: Connection, case: Row[Any], until: datetime, now: datetime) -> datetime | None:
    """Return when the task looks again at a held case; None where it ends now."""
    if until > now:
        return until
    if now < until + _LONGEST_WAIT and messages.is_change_waiting(conn, case.opened_at, until):
        return now + _ADMITTED_SOON
    return None


def refuse_with_parent(
    conn: Connection, case: Row[Any], found: Sequence[ReportedProblem], now: datetime
) -> bool:
    """Refuse a locked held case whose parent was withdrawn or refused; return False for every other case.

    No agency can correct that, and no application mends it. `found` is why the case would be refused now.
    """
    held = (case.detail or {}).get("held")
    above = (held or {}).get("parent")
    parent = None if above is None else cases.find_by_id(conn, above)
    if case.state != "HELD" or held is None or parent is None or parent.state not in ("REFUSED", "WITHDRAWN"):
        return False
    told = [asdict(one) for one in found if one.id == PARENT_NOT_USABLE.id] or [
        {
            "id": PARENT_NOT_USABLE.id,
            "text": f"{parent.number!r} is {parent.state}: nothing leaves of it any more",
            "pointer": held["missing"][0]["pointer"],
        }
    ]
    cancel_hold(conn, case.id, now)
    _refuse(conn, case, held, told, now)
    return True


def _refuse_held_case(conn: Connection, case: Row[Any], held: Mapping[str, Any], now: datetime) -> None:
    hindered = list(held.get(_HINDERED, ()))
    problems = [
        {"id": one["id"], "text": f"{one['text']}; {_describe_end(one, held)}", "pointer": one["pointer"]}
        for one in held["missing"]
        # What it was refused for when it was looked at says more of a parent that is decided since.
        if not (hindered and one["id"] == PARENT_NOT_USABLE.id)
    ] + hindered
    _refuse(conn, case, held, problems, now)


def _refuse(
    conn: Connection, case: Row[Any], held: Mapping[str, Any], problems: list[dict[str, Any]], now: datetime
) -> None:
    """Refuse a held case with these problems; the children that wait for it are refused as well."""
    kept = {name: value for name, value in (case.detail or {}).items() if name != "held"}
    detail = {**kept, "reference": case.functional_reference, "problems": problems}
    event = StateEvent("refuse", now, _ACTOR, f"held until {held['until']}")
    cases.apply_event(conn, case.id, event, outcome="REFUSED", detail=detail)
    requirement_results.end_awaited_uses(conn, case.id, "refused", now)
    enqueue_task(conn, "conclude", ("case", case.id), f"conclude:{case.id}:1", now)
    data = {"number": case.number, "held_until": held["until"], "problems": "; ".join(_list_ids(problems))}
    message = messages.find_by_id(conn, case.message)
    digest = None if message is None else message.identity_sha256
    record_evidence(conn, "refused", "case", case.id, digest, data, now)
    wake_held_children(conn, case.declarant, {case.id}, f"refused:{case.id}", now)


def _describe_end(missing: Mapping[str, Any], held: Mapping[str, Any]) -> str:
    is_parent = missing["id"] == PARENT_NOT_USABLE.id
    return f"it was not {'decided' if is_parent else 'filed'} by {held['until']}"


def _list_ids(problems: list[dict[str, Any]]) -> list[str]:
    return [str(one["id"]) for one in problems]


def tell_hold(hub: Hub, case_id: int, message: int, finish: FinishLease, look: str = "") -> None:
    """Send the declarant what a held case lacks and until when, where there is a P-Mode for notices.

    `message` is the one after which the case was held, `look` the time of a later look that found it
    lacking something else. A case that is held no longer is not told of.
    """
    now = hub.clock()
    facts = load_case_snapshot(hub, case_id)
    held = (facts.case.detail or {}).get("held") if facts.case.state == "HELD" else None
    outgoing = None
    if held is not None:
        outgoing = seal_notice(hub, facts, _make_document(facts, held, now), now)
    with write_transaction(hub.engine, "hold.told") as conn:
        case = cases.lock_case(conn, case_id)
        if outgoing is not None:
            key = f"hold-notice:{case_id}:{look or message}"
            store_message(conn, hub, facts, QueuedMessage(outgoing, key), now)
        finish(conn)
        case_closing.close_case_when_done(conn, case, now)


def _describe_numbers(facts: CaseSnapshot, item: int | None) -> list[str]:
    """Return what becomes of each number that an item names, which its case waits for."""
    numbers = {one.number: one.is_known for one in facts.awaited if one.item == item}
    words = {False: "it is not known yet", True: "it does not answer this"}
    return [f"the item names requirement {one}: {words[known]}" for one, known in numbers.items()]


def _make_document(facts: CaseSnapshot, held: Mapping[str, Any], now: datetime) -> Any:
    missing = tuple(
        MissingDocument(
            "; ".join((one["text"], *_describe_numbers(facts, one.get("item")))),
            one["pointer"],
            one.get("item"),
            one.get("law", ""),
            tuple(one.get("documents", ())),
            tuple(one.get("organisations", ())),
        )
        for one in held["missing"]
    )
    told = HeldCase(datetime.fromisoformat(held["until"]), now, missing)
    return make_hold_document(make_case_header(facts, now), told)
