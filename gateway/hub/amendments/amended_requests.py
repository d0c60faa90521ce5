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

    `compared_requests` has the facts that the calls rest on: for each request the content that its agency was
    sent last, whether it has decided, and whether it has refused the application.
    """

    changed_calls: Mapping[str, ComposedCall]
    customs_calls: tuple[ComposedCall, ...]
    compared_requests: frozenset[tuple[str, str, bool, bool]]
    #: Of each changed application of which only items differ, by its number, those that it had and that
    #: say something else now: decisions on them lapse, those on others stand.
    lapsing_items: Mapping[str, frozenset[int]] = field(default_factory=dict)
    #: The question to each agency whose application has lost all its items, by the row id of the request.
    cancellation_questions: Mapping[int, ComposedCall] = field(default_factory=dict)
    #: Whether items are removed, and nothing that stays is changed for any agency.
    only_removes: bool = False


def compose_amendment(hub: Hub, processed: ProcessedSubmission) -> ComposedAmendment:
    """Compose the call of each application that differs from the last one its agency was sent."""
    with read_transaction(hub.engine) as conn:
        case = find_named_case(conn, processed.declarant, processed.submission.reference)
        rows = agency_requests.list_by_case(conn, case.id)
        former_root = (
            None
            if processed.amended_items is None
            else _load_submission_root(conn, processed.amended_items.former_message_row_id)
        )
        supplement_messages = _list_supplements(conn, rows, processed)
        sent_contents = {row.number: _load_sent_content(conn, row) for row in rows}
        compared = list_compared_requests(conn, rows)
    gained_items = _list_gained_items(rows, processed)
    # An application with other items is always sent: its agency decides on the items that it has received.
    with_same_items = {
        number: content for number, content in sent_contents.items() if gained_items.get(number) is None
    }
    unheard_numbers = {
        number for number, _, _, refused in compared if refused
    } | processed.new_application_numbers
    changed = _compose_changed_calls(hub, processed, with_same_items, unheard_numbers)
    lapsing_items = _find_lapsing_items(
        hub, processed, former_root, sent_contents, changed.keys() - unheard_numbers
    )
    for message in supplement_messages:
        candidates = changed.keys() - unheard_numbers - lapsing_items.keys()
        if candidates:
            with read_transaction(hub.engine) as conn:
                filed = _load_submission_root(conn, message)
            lapsing_items |= _find_lapsing_items(hub, processed, filed, sent_contents, candidates)
    decided = {row.number for row in rows if row.state == "DECIDED"} & changed.keys()
    reopened = any(lapsing_items.get(number, True) or gained_items.get(number) for number in decided)
    concluded = bool(processed.new_application_numbers) and all(
        row.state in REQUEST.final_states for row in rows
    )
    customs = tuple(compose_amendment_calls(hub, processed, is_reopened=reopened or concluded))
    has_only_fewer_items = changed.keys() == lapsing_items.keys() and not any(
        (*gained_items.values(), *lapsing_items.values())
    )
    only_removes = (
        has_only_fewer_items
        and not processed.new_application_numbers
        and _only_removes(processed, former_root)
    )
    questions = _compose_cancellation_questions(hub, processed, rows)
    return ComposedAmendment(changed, customs, compared, lapsing_items, questions, only_removes)


def _list_supplements(
    conn: Connection, rows: Iterable[RequestWithFeesRow], processed: ProcessedSubmission
) -> tuple[int, ...]:
    """Return the last supplement (message) of each request that has one after the declaration in force.

    An agency that was sent a supplement has the data of the supplement about its application.
    """
    former = 0 if processed.amended_items is None else processed.amended_items.former_message_row_id
    supplements: set[int] = set()
    for row in rows:
        start = f"supplement:{row.number}:"
        keys = [call.dedupe_key for call in deliveries.list_by_request(conn, row.case_id, row.id)]
        own_supplements = [int(key.removeprefix(start)) for key in keys if key.startswith(start)]
        supplements.update(message for message in own_supplements[-1:] if message > former)
    return tuple(sorted(supplements, reverse=True))


def _load_submission_root(conn: Connection, message: int) -> etree._Element | None:
    """Return the submission of a message; None where retention has removed its octets."""
    submission = load_former_submission(conn, message)
    return None if submission is None else submission.declaration.getroottree().getroot()


def _only_removes(processed: ProcessedSubmission, former: etree._Element | None) -> bool:
    """Return whether the amended declaration is the former one without some of its items."""
    if former is None or processed.amended_items is None or processed.amended_items.change.added_items:
        return False
    before, now = (
        read_submission(root).declaration for root in (former, restore_items(processed.root, former))
    )
    return not list_changed_places(before, now)


def _list_gained_items(
    rows: Iterable[RequestWithFeesRow], processed: ProcessedSubmission
) -> dict[str, set[int]]:
    """Return the items that an application gains, by its number, where it gains or loses one."""
    now = {
        application.application_number: set(application.application.items)
        for application in processed.prepared_applications
    }
    before = {row.number: list_required_items(row) for row in rows if row.number in now}
    return {number: now[number] - items for number, items in before.items() if now[number] != items}


def _compose_changed_calls(
    hub: Hub,
    processed: ProcessedSubmission,
    sent_contents: Mapping[str, bytes | None],
    unheard_numbers: Collection[str],
) -> dict[str, ComposedCall]:
    """Return the calls that differ from those sent before, by the number of the application.

    Those in `unheard_numbers`, which their agencies do not have, are submitted anew.
    """
    calls = _compose_differing_calls(hub, processed, sent_contents, processed.prepared_applications)
    # If an agency got no call after the first one, its request may differ in the function alone.
    projected = (
        [
            application
            for application in _project_as_first(hub, processed, processed.root)
            if application.application_number in calls
        ]
        if calls
        else ()
    )
    first = _compose_differing_calls(hub, processed, sent_contents, projected)
    anew = [
        application
        for application in projected
        if application.application_number in first and application.application_number in unheard_numbers
    ]
    first_calls = {
        application.application_number: compose_application_call(
            hub, processed, application, is_supplement=False
        )
        for application in anew
    }
    return {number: calls[number] for number in first if number not in unheard_numbers} | first_calls


def _compose_differing_calls(
    hub: Hub,
    processed: ProcessedSubmission,
    sent_contents: Mapping[str, bytes | None],
    applications: Iterable[PreparedApplication],
) -> dict[str, ComposedCall]:
    """Return the calls, by application number, whose content differs from the agency's last call."""
    calls = {
        application.application_number: compose_application_call(
            hub, processed, application, is_supplement=True
        )
        for application in applications
    }
    return {
        number: call
        for number, call in calls.items()
        if sent_contents.get(number) != _read_content(call.envelope)
    }


def list_compared_requests(
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
    former_root: etree._Element | None,
    sent_contents: Mapping[str, bytes | None],
    candidates: AbstractSet[str],
) -> dict[str, frozenset[int]]:
    """Return the applications of `candidates` of which only items change, each with its changed items.

    With the former items, such an application would be as it was sent. `former_root` is the former
    submission, `sent_contents` has the content with which each application was sent. Of any other
    application, no decision stands.
    """
    lapsing_items: dict[str, frozenset[int]] = {}
    if former_root is None or not candidates:
        return lapsing_items
    changed = list_changed_items(processed.root, former_root)
    restored = [frozenset[int]()] if _has_changed_items(processed.root, former_root) else []
    for items in (*restored, *([changed] if changed else [])):
        rest = candidates - lapsing_items.keys()
        if rest:
            root = restore_items(processed.root, former_root, items)
            lapsing_items |= {
                number: items & own_items
                for number, own_items in _list_unchanged_applications(hub, processed, root, sent_contents)
                if number in rest
            }
    return lapsing_items


def _list_unchanged_applications(
    hub: Hub, processed: ProcessedSubmission, root: etree._Element, sent_contents: Mapping[str, bytes | None]
) -> Iterator[tuple[str, frozenset[int]]]:
    """Yield the applications of a submission that are as they were sent, each with its items."""
    for function in ("35", "9"):
        for application in _write_applications_again(hub, processed, root, function):
            call = compose_application_call(hub, processed, application, is_supplement=True)
            if sent_contents.get(application.application_number) == _read_content(call.envelope):
                yield application.application_number, frozenset(application.application.items)


def _has_changed_items(amended: etree._Element, former: etree._Element) -> bool:
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
    projected = {
        application.application_number: application
        for application in _write_applications_again(hub, processed, root, "9")
    }
    return [
        projected.get(application.application_number, application)
        for application in processed.prepared_applications
    ]


def _write_applications_again(
    hub: Hub, processed: ProcessedSubmission, root: etree._Element, function: str
) -> list[PreparedApplication]:
    """Return the applications of a submission with another function; those without a problem."""
    hub_values = {
        application.application.id: {
            "application_number": application.application_number,
            "function": function,
        }
        for application in processed.prepared_applications
    }
    rules = hub.register.find_pinned_rules(processed.bundle_digest) or hub.rules
    written = write_requests(index_submission(root, keeps_fields=False), rules.bundle, hub_values)
    requests: dict[str, AgencyRequest] = {request.application: request for request in written.requests}
    return [
        replace(application, request=requests[application.application.id])
        for application in processed.prepared_applications
        if application.application.id in requests
    ]


def _compose_cancellation_questions(
    hub: Hub, processed: ProcessedSubmission, rows: Sequence[RequestWithFeesRow]
) -> dict[int, ComposedCall]:
    """Return the question whether an agency cancels, for each application whose items are all removed."""
    reason = read_change_reason(processed.submission.declaration)
    filed = {application.application_number for application in processed.prepared_applications}
    return {
        row.id: compose_cancellation_call(hub, row, reason)
        for row in rows
        if row.number not in filed and row.state != "CANCELLED" and not is_dropped(row)
    }
