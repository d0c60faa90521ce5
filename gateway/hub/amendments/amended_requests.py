"""Composes the requests that an amendment changes, and lists the decisions that stay in force.

It runs before the transaction of `gateway.hub.amendments.amend`. The mappings make the request of every
application, and the request is compared, octet by octet, with the last request that was sent to the agency.
If only some of its items differ, the request is sent again, and the decisions about the other items stay in
force.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import (
    list_changed_items,
    list_changed_places,
    read_change_reason,
    read_submission,
    restore_items,
)
from gateway.harmonize import AgencyRequest, index_submission, write_requests
from gateway.hub.amendments.former_items import is_dropped, list_required_items, load_former_submission
from gateway.hub.hub import Hub
from gateway.hub.outbox.outgoing_calls import is_refused_for_good
from gateway.hub.submissions.document_needs import read_unless_removed
from gateway.hub.submissions.forward import (
    ComposedCall,
    compose_amendment_calls,
    compose_application_call,
    compose_cancellation_call,
)
from gateway.hub.submissions.open_cases import find_named_case
from gateway.hub.submissions.processed_submission import PreparedApplication, ProcessedSubmission
from gateway.state_machines import REQUEST
from gateway.store import RequestWithFeesRow, agency_requests, deliveries, payloads, read_transaction
from gateway.wire import canonicalize_element, parse_xml


@dataclass(frozen=True, slots=True)
class ComposedAmendment:
    """The calls for the changed applications by their number, and those to customs.

    `compared` has the facts that the calls rest on: for each request the content that its agency was sent
    last, whether it has decided, and whether it has refused the application.
    """

    changed: Mapping[str, ComposedCall]
    customs: tuple[ComposedCall, ...]
    compared: frozenset[tuple[str, str, bool, bool]]
    #: Of each changed application of which only items differ, by its number, those that it had and that
    #: say something else now: decisions on them lapse, those on others stand.
    lapsing: Mapping[str, frozenset[int]] = field(default_factory=dict)
    #: The question to each agency whose application has lost all its items, by the row id of the request.
    dropped: Mapping[int, ComposedCall] = field(default_factory=dict)
    #: Whether items are removed, and nothing that stays is changed for any agency.
    only_removes: bool = False


def compose_amendment(hub: Hub, processed: ProcessedSubmission) -> ComposedAmendment:
    """Compose the call of each application that differs from the last one its agency was sent."""
    with read_transaction(hub.engine) as conn:
        case = find_named_case(conn, processed.declarant, processed.submission.reference)
        rows = agency_requests.list_by_case(conn, case.id)
        former = None if processed.amended is None else _load_filed(conn, processed.amended.former)
        later = _list_supplements(conn, rows, processed)
        sent = {row.number: _load_sent_content(conn, row) for row in rows}
        compared = list_compared(conn, rows)
    gained = _list_gained(rows, processed)
    # An application with other items is always sent: its agency decides on the items that it has received.
    with_same_items = {number: content for number, content in sent.items() if gained.get(number) is None}
    unheard = {number for number, _, _, refused in compared if refused} | processed.new
    changed = _compose_changed_calls(hub, processed, with_same_items, unheard)
    lapsing = _find_lapsing_items(hub, processed, former, sent, changed.keys() - unheard)
    for message in later:
        candidates = changed.keys() - unheard - lapsing.keys()
        if candidates:
            with read_transaction(hub.engine) as conn:
                filed = _load_filed(conn, message)
            lapsing |= _find_lapsing_items(hub, processed, filed, sent, candidates)
    decided = {row.number for row in rows if row.state == "DECIDED"} & changed.keys()
    reopened = any(lapsing.get(number, True) or gained.get(number) for number in decided)
    concluded = bool(processed.new) and all(row.state in REQUEST.final_states for row in rows)
    customs = tuple(compose_amendment_calls(hub, processed, reopened=reopened or concluded))
    fewer = changed.keys() == lapsing.keys() and not any((*gained.values(), *lapsing.values()))
    only_removes = fewer and not processed.new and _only_removes(processed, former)
    questions = _compose_questions(hub, processed, rows)
    return ComposedAmendment(changed, customs, compared, lapsing, questions, only_removes)


def _list_supplements(
    conn: Connection, rows: Iterable[RequestWithFeesRow], processed: ProcessedSubmission
) -> tuple[int, ...]:
    """Return the last supplement (message) of each request that has one after the declaration in force.

    An agency that was sent a supplement has the data of the supplement about its application.
    """
    former = 0 if processed.amended is None else processed.amended.former
    supplements: set[int] = set()
    for row in rows:
        start = f"supplement:{row.number}:"
        keys = [call.dedupe_key for call in deliveries.list_by_request(conn, row.case_id, row.id)]
        own_supplements = [int(key.removeprefix(start)) for key in keys if key.startswith(start)]
        supplements.update(message for message in own_supplements[-1:] if message > former)
    return tuple(sorted(supplements, reverse=True))


def _load_filed(conn: Connection, message: int) -> etree._Element | None:
    """Return the submission of a message; None where retention has removed its octets."""
    submission = load_former_submission(conn, message)
    return None if submission is None else submission.declaration.getroottree().getroot()


def _only_removes(processed: ProcessedSubmission, former: etree._Element | None) -> bool:
    """Return whether the amended declaration is the former one without some of its items."""
    if former is None or processed.amended is None or processed.amended.change.added_items:
        return False
    before, now = (
        read_submission(root).declaration for root in (former, restore_items(processed.root, former))
    )
    return not list_changed_places(before, now)


def _list_gained(rows: Iterable[RequestWithFeesRow], processed: ProcessedSubmission) -> dict[str, set[int]]:
    """Return the items that an application gains, by its number, where it gains or loses one."""
    now = {application.number: set(application.application.items) for application in processed.prepared}
    before = {row.number: list_required_items(row) for row in rows if row.number in now}
    return {number: now[number] - items for number, items in before.items() if now[number] != items}


def _compose_changed_calls(
    hub: Hub, processed: ProcessedSubmission, sent: Mapping[str, bytes | None], unheard: Collection[str]
) -> dict[str, ComposedCall]:
    """Return the calls that differ from those sent before, by the number of the application.

    Those in `unheard`, which their agencies do not have, are submitted anew.
    """
    calls = _compose_differing(hub, processed, sent, processed.prepared)
    # If an agency got no call after the first one, its request may differ in the function alone.
    projected = (
        [
            application
            for application in _project_as_first(hub, processed, processed.root)
            if application.number in calls
        ]
        if calls
        else ()
    )
    first = _compose_differing(hub, processed, sent, projected)
    anew = [
        application
        for application in projected
        if application.number in first and application.number in unheard
    ]
    first_calls = {
        application.number: compose_application_call(hub, processed, application, supplement=False)
        for application in anew
    }
    return {number: calls[number] for number in first if number not in unheard} | first_calls


def _compose_differing(
    hub: Hub,
    processed: ProcessedSubmission,
    sent: Mapping[str, bytes | None],
    applications: Iterable[PreparedApplication],
) -> dict[str, ComposedCall]:
    """Return the calls, by application number, whose content differs from the agency's last call."""
    calls = {
        application.number: compose_application_call(hub, processed, application, supplement=True)
        for application in applications
    }
    return {
        number: call for number, call in calls.items() if sent.get(number) != _read_content(call.envelope)
    }


def list_compared(
    conn: Connection, requests: Iterable[RequestWithFeesRow]
) -> frozenset[tuple[str, str, bool, bool]]:
    """Return the facts that the calls of an amendment rest on, for each request."""
    return frozenset(
        (
            row.number,
            row.document_sha256,
            row.state == "DECIDED",
            is_refused_for_good(deliveries.list_by_request(conn, row.case_id, row.id)),
        )
        for row in requests
    )


def _find_lapsing_items(
    hub: Hub,
    processed: ProcessedSubmission,
    former: etree._Element | None,
    sent: Mapping[str, bytes | None],
    candidates: AbstractSet[str],
) -> dict[str, frozenset[int]]:
    """Return the applications of `candidates` of which only items change, each with its changed items.

    With the former items, such an application would be as it was sent. `former` is the former submission,
    `sent` has the content with which each application was sent. Of any other application, no decision stands.
    """
    lapsing: dict[str, frozenset[int]] = {}
    if former is None or not candidates:
        return lapsing
    changed = list_changed_items(processed.root, former)
    restored = [frozenset[int]()] if _changes_items(processed.root, former) else []
    for items in (*restored, *([changed] if changed else [])):
        rest = candidates - lapsing.keys()
        if rest:
            root = restore_items(processed.root, former, items)
            lapsing |= {
                number: items & own_items
                for number, own_items in _list_same(hub, processed, root, sent)
                if number in rest
            }
    return lapsing


def _list_same(
    hub: Hub, processed: ProcessedSubmission, root: etree._Element, sent: Mapping[str, bytes | None]
) -> Iterator[tuple[str, frozenset[int]]]:
    """Yield the applications of a submission that are as they were sent, each with its items."""
    for function in ("35", "9"):
        for application in _project(hub, processed, root, function):
            call = compose_application_call(hub, processed, application, supplement=True)
            if sent.get(application.number) == _read_content(call.envelope):
                yield application.number, frozenset(application.application.items)


def _changes_items(amended: etree._Element, former: etree._Element) -> bool:
    """Return whether the declaration or an application of the former one has other items now."""
    return _read_items(amended) != _read_items(former)


def _read_items(root: etree._Element) -> tuple[frozenset[int], dict[str, frozenset[int]]]:
    submission = read_submission(root)
    return frozenset(submission.items), {
        application.id: frozenset(application.items) for application in submission.applications
    }


def _load_sent_content(conn: Connection, request: RequestWithFeesRow) -> bytes | None:
    """Return the content that an agency was last sent about a request; None if retention has removed it."""
    sent = request.document_sha256
    return read_unless_removed(lambda: _read_content(payloads.get_payload_octets(conn, sent)))


def _read_content(envelope: bytes) -> bytes:
    """Return the canonical content of a call: its arguments, without headers and operation."""
    root = parse_xml(envelope)
    body = root[-1][0]
    return b"".join(
        canonicalize_element(child, exclusive=True) for child in body.iterchildren(tag=etree.Element)
    )


def _project_as_first(
    hub: Hub, processed: ProcessedSubmission, root: etree._Element
) -> list[PreparedApplication]:
    """Return the applications with Function 9: the requests of agencies that have got no call since."""
    projected = {application.number: application for application in _project(hub, processed, root, "9")}
    return [projected.get(application.number, application) for application in processed.prepared]


def _project(
    hub: Hub, processed: ProcessedSubmission, root: etree._Element, function: str
) -> list[PreparedApplication]:
    """Return the applications of a submission with another function; those without a problem."""
    hub_values = {
        application.application.id: {"application_number": application.number, "function": function}
        for application in processed.prepared
    }
    rules = hub.register.find_pinned_rules(processed.bundle) or hub.rules
    written = write_requests(index_submission(root, keeps_fields=False), rules.bundle, hub_values)
    requests: dict[str, AgencyRequest] = {request.application: request for request in written.requests}
    return [
        replace(application, request=requests[application.application.id])
        for application in processed.prepared
        if application.application.id in requests
    ]


def _compose_questions(
    hub: Hub, processed: ProcessedSubmission, rows: Sequence[RequestWithFeesRow]
) -> dict[int, ComposedCall]:
    """Return the question whether an agency cancels, for each application whose items are all removed."""
    reason = read_change_reason(processed.submission.declaration)
    filed = {application.number for application in processed.prepared}
    return {
        row.id: compose_cancellation_call(hub, row, reason)
        for row in rows
        if row.number not in filed and row.state != "CANCELLED" and not is_dropped(row)
    }
