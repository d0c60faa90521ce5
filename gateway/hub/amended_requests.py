"""Composes what an amendment sends: each request that changes, and what its agency has decided all the same.

It comes before the transaction of `gateway.hub.amend`. The mappings make the request of every
application, and the request is compared, octet by octet, with the one that the agency was sent last. A
request that differs only by some of its items is told again, and what was decided about the others stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

from lxml import etree
from sqlalchemy import Connection, Row

from gateway.cases import (
    list_changed_items,
    list_changed_places,
    read_change_reason,
    read_submission,
    restore_items,
)
from gateway.harmonize import AgencyRequest, index_submission, write_requests
from gateway.hub.amended_applications import is_dropped, list_required_items
from gateway.hub.amended_places import load_former_submission
from gateway.hub.forward import (
    ComposedCall,
    compose_amendment_calls,
    compose_application_call,
    compose_cancellation_call,
)
from gateway.hub.hub import Hub
from gateway.hub.kept_octets import read_unless_removed
from gateway.hub.open_cases import find_named_case
from gateway.hub.processed_submission import PreparedApplication, ProcessedSubmission
from gateway.hub.sent_applications import is_refused_for_good
from gateway.state_machines import REQUEST
from gateway.store import agency_requests, deliveries, messages, payloads, read_transaction
from gateway.wire import canonicalize_element, parse_xml

__all__ = ["ComposedAmendment", "compose_amendment", "list_compared"]


@dataclass(frozen=True, slots=True)
class ComposedAmendment:
    """The calls for the changed applications by their number, and those to customs.

    `compared` is what they rest on: of each request what its agency was sent last, whether it has
    decided, and whether it has refused the application.
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


def compose_amendment(hub: Hub, intake: ProcessedSubmission) -> ComposedAmendment:
    """Compose the call of each application that differs from what its agency was sent last."""
    with read_transaction(hub.engine) as conn:
        case = find_named_case(conn, intake.declarant, intake.submission.reference)
        rows = agency_requests.list_by_case(conn, case.id)
        former, *later = _load_formers(conn, case.id, intake)
        sent = {row.number: _load_sent_content(conn, row) for row in rows}
        compared = list_compared(conn, rows)
    gained = _list_gained(rows, intake)
    # An application with other items is sent in any case: its agency decides on what it has.
    same = {number: content for number, content in sent.items() if gained.get(number) is None}
    unheard = {number for number, _, _, refused in compared if refused} | intake.new
    changed = _compose_changed_calls(hub, intake, same, unheard)
    lapsing: dict[str, frozenset[int]] = {}
    for filed in (former, *later):
        wanted = changed.keys() - unheard - lapsing.keys()
        lapsing |= _find_lapsing_items(hub, intake, (filed, sent), wanted)
    decided = {row.number for row in rows if row.state == "DECIDED"} & changed.keys()
    reopened = any(lapsing.get(number, True) or gained.get(number) for number in decided)
    concluded = bool(intake.new) and all(row.state in REQUEST.final for row in rows)
    customs = tuple(compose_amendment_calls(hub, intake, reopened=reopened or concluded))
    fewer = changed.keys() == lapsing.keys() and not any((*gained.values(), *lapsing.values()))
    only_removes = fewer and not intake.new and _only_removes(intake, former)
    questions = _compose_questions(hub, intake, rows)
    return ComposedAmendment(changed, customs, compared, lapsing, questions, only_removes)


def _load_formers(
    conn: Connection, case: int, intake: ProcessedSubmission
) -> tuple[etree._Element | None, ...]:
    """Return the submission that has the declaration in force, and the last supplement after it, if any.

    An agency that was sent the supplement has what that says of its application.
    """
    if intake.amended is None:
        return (None,)
    found = [intake.amended.former]
    last = messages.list_messages(
        conn, limit=1, case_id=case, direction="in", action="Supplement", state="PROCESSED"
    )
    found += [int(row.id) for row in last if row.id > intake.amended.former]
    read = (load_former_submission(conn, one) for one in found)
    return tuple(None if one is None else one.declaration.getroottree().getroot() for one in read)


def _only_removes(intake: ProcessedSubmission, former: etree._Element | None) -> bool:
    """Return whether the amended declaration is the former one without some of its items."""
    if former is None or intake.amended is None or intake.amended.change.added:
        return False
    before, now = (read_submission(one).declaration for one in (former, restore_items(intake.root, former)))
    return not list_changed_places(before, now)


def _list_gained(rows: Iterable[Row[Any]], intake: ProcessedSubmission) -> dict[str, set[int]]:
    """Return the items that an application gains, by its number, where it gains or loses one."""
    now = {one.number: set(one.application.items) for one in intake.prepared}
    before = {row.number: list_required_items(row) for row in rows if row.number in now}
    return {number: now[number] - items for number, items in before.items() if now[number] != items}


def _compose_changed_calls(
    hub: Hub, intake: ProcessedSubmission, sent: Mapping[str, bytes | None], unheard: Collection[str]
) -> dict[str, ComposedCall]:
    """Return the calls that differ from what was sent, by the number of the application.

    Those in `unheard`, which their agencies do not have, are submitted.
    """
    calls = _compose_differing(hub, intake, sent, intake.prepared)
    # The request of an agency that was told nothing since the first one differs in its function alone.
    again = (
        [one for one in _project_as_first(hub, intake, intake.root) if one.number in calls] if calls else ()
    )
    first = _compose_differing(hub, intake, sent, again)
    anew = [one for one in again if one.number in first and one.number in unheard]
    told = {one.number: compose_application_call(hub, intake, one, supplement=False) for one in anew}
    return {number: calls[number] for number in first if number not in unheard} | told


def _compose_differing(
    hub: Hub,
    intake: ProcessedSubmission,
    sent: Mapping[str, bytes | None],
    applications: Iterable[PreparedApplication],
) -> dict[str, ComposedCall]:
    """Return the calls of applications, by number, whose content is not what their agency was sent last."""
    calls = {one.number: compose_application_call(hub, intake, one, supplement=True) for one in applications}
    return {
        number: call for number, call in calls.items() if sent.get(number) != _read_content(call.envelope)
    }


def list_compared(conn: Connection, asked: Iterable[Row[Any]]) -> frozenset[tuple[str, str, bool, bool]]:
    """Return what the calls of an amendment rest on, for each request."""
    return frozenset(
        (
            row.number,
            row.document_sha256,
            row.state == "DECIDED",
            is_refused_for_good(deliveries.list_by_request(conn, row.case_id, row.id)),
        )
        for row in asked
    )


def _find_lapsing_items(
    hub: Hub,
    intake: ProcessedSubmission,
    before: tuple[etree._Element | None, Mapping[str, bytes | None]],
    wanted: AbstractSet[str],
) -> dict[str, frozenset[int]]:
    """Return of which applications `wanted` the amendment changes items alone, and which of those it had.

    Such a one would be, with the former items, as it was sent; `before` is the former submission, and what
    was sent. Of another one no decision stands.
    """
    former, sent = before
    found: dict[str, frozenset[int]] = {}
    if former is None or not wanted:
        return found
    changed = list_changed_items(intake.root, former)
    turns = [frozenset[int]()] if _changes_items(intake.root, former) else []
    for items in (*turns, *([changed] if changed else [])):
        rest = wanted - found.keys()
        if rest:
            root = restore_items(intake.root, former, items)
            found |= {one: items & own for one, own in _list_same(hub, intake, root, sent) if one in rest}
    return found


def _list_same(
    hub: Hub, intake: ProcessedSubmission, root: etree._Element, sent: Mapping[str, bytes | None]
) -> Iterator[tuple[str, frozenset[int]]]:
    """Yield the applications of a submission that are as they were sent, each with its items."""
    for function in ("35", "9"):
        for one in _project(hub, intake, root, function):
            call = compose_application_call(hub, intake, one, supplement=True)
            if sent.get(one.number) == _read_content(call.envelope):
                yield one.number, frozenset(one.application.items)


def _changes_items(amended: etree._Element, former: etree._Element) -> bool:
    """Return whether the declaration or an application of the former one has other items now."""
    return _read_items(amended) != _read_items(former)


def _read_items(root: etree._Element) -> tuple[frozenset[int], dict[str, frozenset[int]]]:
    submission = read_submission(root)
    return frozenset(submission.items), {one.id: frozenset(one.items) for one in submission.applications}


def _load_sent_content(conn: Connection, request: Row[Any]) -> bytes | None:
    """Return what an agency was sent last about a request; None where retention has removed it."""
    sent = request.document_sha256
    return read_unless_removed(lambda: _read_content(payloads.get_payload_octets(conn, sent)))


def _read_content(envelope: bytes) -> bytes:
    """Return the canonical content of a call: its arguments, without headers and operation."""
    root = parse_xml(envelope, envelope=True)
    body = root[-1][0]
    return b"".join(
        canonicalize_element(child, exclusive=True) for child in body.iterchildren(tag=etree.Element)
    )


def _project_as_first(
    hub: Hub, intake: ProcessedSubmission, root: etree._Element
) -> list[PreparedApplication]:
    """Return the applications with Function 9: the requests of agencies that were told nothing since."""
    made = {one.number: one for one in _project(hub, intake, root, "9")}
    return [made.get(one.number, one) for one in intake.prepared]


def _project(
    hub: Hub, intake: ProcessedSubmission, root: etree._Element, function: str
) -> list[PreparedApplication]:
    """Return the applications of a submission with another function; those without a problem."""
    hub_values = {
        one.application.id: {"application_number": one.number, "function": function}
        for one in intake.prepared
    }
    rules = hub.find_pinned_rules(intake.bundle) or hub.rules
    done = write_requests(index_submission(root, keeps_fields=False), rules.bundle, hub_values)
    requests: dict[str, AgencyRequest] = {one.application: one for one in done.requests}
    return [
        replace(one, request=requests[one.application.id])
        for one in intake.prepared
        if one.application.id in requests
    ]


def _compose_questions(
    hub: Hub, intake: ProcessedSubmission, rows: Sequence[Row[Any]]
) -> dict[int, ComposedCall]:
    """Return the question whether an agency cancels, for each application whose items are all removed."""
    reason = read_change_reason(intake.submission.declaration)
    named = {one.number for one in intake.prepared}
    return {
        row.id: compose_cancellation_call(hub, row, reason)
        for row in rows
        if row.number not in named and row.state != "CANCELLED" and not is_dropped(row)
    }
