"""Applies a document of an agency's own form, delivered at ``/soap/agency``, as values about its application.

The input is the document of a verified call. The mappings in force find the number of its application;
the mappings of that application read it. The values that it means go the way of `gateway.hub.answers.reply`:
nothing that follows depends on the form in which an agency speaks. A certificate of an application
that never came through the hub is read by the mappings in force, as a result under its own number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import (
    AgencyAnswer,
    AgencyCallback,
    DecisionCode,
    Notice,
    SignedReply,
    check_hub_number,
    make_notice,
    resembles_hub_number,
    split_requirement_results,
)
from gateway.errors import (
    DECISION_CONFLICT,
    NOTICE_KIND_UNKNOWN,
    NOTICE_UNREADABLE,
    REPLY_UNMATCHED,
    GatewayError,
)
from gateway.harmonize import (
    DocumentMapping,
    MappingBundle,
    NoticeFacts,
    find_document_mapping,
    find_named_application,
    find_stated_text,
    find_type_code,
    list_error_places,
    list_place_pointers,
    list_possible_documents,
    read_delivered_notice,
)
from gateway.hub.answers.reply import TakenAnswer, take_call_back
from gateway.hub.hub import Hub
from gateway.hub.requirements.requirement_results import (
    is_result_without_application,
    list_stated_subjects,
    store_requirement_results,
)
from gateway.hub.submissions.application_forms import load_application_form, open_carried_document
from gateway.hub.submissions.document_needs import read_unless_removed
from gateway.store import (
    AgencyRequestRow,
    CallRecord,
    agency_requests,
    read_transaction,
    rerun_after_conflict,
)

_NO_RESULT: Final = ", and this is no decision under a number of its own"


@dataclass(frozen=True, slots=True)
class AgencyDocument:
    """The values of an agency's own document, and the XPath of each argument of the hub's call in it."""

    callback: AgencyCallback
    argument_xpaths: Mapping[str, str]
    #: Of a result without an application: each requirement number, with the notice about it.
    results: tuple[tuple[str, Notice], ...] = ()
    #: Whether it states the number of its notice; the hub makes one of a certificate, which has none.
    has_notice_number: bool = True


def apply_agency_document(
    hub: Hub, agency: str, root: etree._Element, signed_reply: SignedReply, record: CallRecord | None = None
) -> str:
    """Apply a document as `take_agency_document` does; return the number of the case or the requirement."""
    return take_agency_document(hub, agency, root, signed_reply, record).number


def take_agency_document(
    hub: Hub, agency: str, root: etree._Element, signed_reply: SignedReply, record: CallRecord | None = None
) -> TakenAnswer:
    """Apply the document `root` that `agency` delivered; a repeat is taken as the first one was.

    Raises GW716 or GW717 for a document that cannot be read, and the errors of `take_call_back`, each with
    its place in the document.
    """
    agency_document = read_agency_document(hub, agency, root)
    try:
        if agency_document.results:
            _store_results(hub, agency, agency_document.results, signed_reply, record)
            return TakenAnswer(agency_document.callback.requirement_number or "")
        return take_call_back(hub, agency, agency_document.callback, signed_reply, record=record)
    except GatewayError as error:
        name = error.location.partition("[")[0]
        is_conflict = error.problem is DECISION_CONFLICT and name == "NoticeNumber"
        is_repeated = is_conflict and not agency_document.has_notice_number
        detail = _describe_conflict(agency_document.callback.answer) if is_repeated else None
        raise GatewayError(
            error.problem, detail or error.detail, agency_document.argument_xpaths.get(name, error.location)
        ) from error


def _describe_conflict(answer: AgencyAnswer) -> str | None:
    """Return the error text for a document without a notice number that another one contradicts."""
    if not isinstance(answer, Notice):
        return None
    return (
        f"another document of the same number, status, time of issue and application was received before "
        f"({answer.number[:200]}); a correction states a later time of issue"
    )


@rerun_after_conflict
def _store_results(
    hub: Hub,
    agency: str,
    results: Sequence[tuple[str, Notice]],
    signed_reply: SignedReply,
    record: CallRecord | None,
) -> None:
    """Store an agency's results without an application; begin again after a conflict in the database."""
    store_requirement_results(hub, agency, results, signed_reply, record)


def read_agency_document(hub: Hub, agency: str, root: etree._Element) -> AgencyDocument:
    """Return the values of the document `root` about an application of `agency`; nothing is stored.

    Raises GW701 when the agency was not sent the application, GW513 for a mistyped number.
    """
    root = open_carried_document(hub.rules.bundle, agency, root)
    number, number_xpath = find_named_application(root, hub.rules.bundle.notices)
    with read_transaction(hub.engine) as conn:
        request = _find_request(conn, agency, number, number_xpath)
        if request is not None:
            return _read_notice(conn, hub, request, root, number_xpath)
    return _read_result(hub, agency, root, number, number_xpath)


def _read_notice(
    conn: Connection, hub: Hub, request: AgencyRequestRow, root: etree._Element, number_xpath: str
) -> AgencyDocument:
    """Return the values of a document about a request; `number_xpath` is where it states its number."""
    decision_rules = hub.register.find_pinned_rules(request.mapping_sha256) or hub.rules
    document = decision_rules.bundle.documents.get(request.document)
    if document is None:
        detail = f"no mapping is known for {request.document}"
        raise GatewayError(NOTICE_KIND_UNKNOWN, detail, number_xpath)
    facts = read_delivered_notice(root, decision_rules.bundle, document)
    pointers = _list_pointers(hub, conn, request, facts)
    notice = make_notice(facts, decision_rules.bundle, request.required, pointers)
    return AgencyDocument(
        AgencyCallback(notice, application_number=request.number),
        _list_argument_xpaths(facts, number_xpath),
        has_notice_number=_states_number(facts),
    )


def _read_result(
    hub: Hub, agency: str, root: etree._Element, number: str, number_xpath: str
) -> AgencyDocument:
    """Return the values of a document about an application that never came through the hub.

    `number_xpath` is where it states the number of the application. Raises GW701 unless it decides under a
    number of the agency's own, GW716 where its kind of application is none of this agency.
    """
    bundle = hub.rules.bundle
    stated_number = find_stated_text(root, bundle.notices, "requirement_number")
    if stated_number is None or not stated_number[0]:
        check_hub_number(number, number_xpath)
        raise _make_unmatched_error(agency, number, number_xpath, _NO_RESULT)
    possible_documents = _list_possible_documents(bundle, agency, root, number_xpath)
    directions = {possible.direction for possible in possible_documents}
    document = possible_documents[0]
    facts = read_delivered_notice(root, bundle, document)
    items = {int(fact.value) for fact in facts.facts if fact.name == "item"} - {0}
    subjects = (
        [(item, law) for item in sorted(items) for law in document.laws]
        if items
        else _list_said_subjects(hub, agency, stated_number[0], facts, document)
    )
    notice = replace(
        make_notice(facts, bundle, subjects),
        whole=not items,
        direction=directions.pop() if len(directions) == 1 else None,
    )
    call_back = AgencyCallback(notice, requirement_number=stated_number[0])
    if not is_result_without_application(hub, agency, call_back):
        raise _make_unmatched_error(agency, number, number_xpath, _NO_RESULT)
    return AgencyDocument(
        call_back,
        _list_argument_xpaths(facts, number_xpath),
        split_requirement_results(stated_number[0], notice),
        has_notice_number=_states_number(facts),
    )


def _states_number(facts: NoticeFacts) -> bool:
    return facts.find_value("notice_number") is not None


def _list_said_subjects(
    hub: Hub, agency: str, number: str, facts: NoticeFacts, document: DocumentMapping
) -> list[tuple[int, str]]:
    """Return the items and laws that a document which names no item decides under a number.

    These are all items and laws known under the number, or else item 1 under each law of the document. Raises
    GW701 for a document that takes back a decision under a number that the hub does not know: its items are
    not known.
    """
    subjects = list_stated_subjects(hub, agency, number)
    if subjects:
        return subjects
    if facts.find_value("decision") == DecisionCode.REJECTED:
        at = next(fact.xpath for fact in facts.facts if fact.name == "requirement_number")
        detail = f"{agency} has decided nothing under {number[:40]!r} that this document could take back"
        raise GatewayError(REPLY_UNMATCHED, detail, at)
    return [(1, law) for law in document.laws]


def _list_possible_documents(
    bundle: MappingBundle, agency: str, root: etree._Element, number_xpath: str
) -> list[DocumentMapping]:
    """Return the document of the agency whose type code, or else whose id, `root` states.

    For a code that no mapping knows these are all that may have it, of the same laws. Raises GW716 for a code
    or id that no document of the agency has, and for a code that no mapping knows where several documents of
    different laws may have it.
    """
    code, at = find_stated_text(root, bundle.notices, "document_type") or ("", number_xpath)
    candidates = [candidate for candidate in bundle.documents.values() if candidate.organisation == agency]
    document = find_document_mapping(code, candidates)
    if document is not None:
        return [document]
    possible = list(list_possible_documents(code, candidates, root, bundle))
    if not possible:
        names = ", ".join(find_type_code(candidate) or candidate.id for candidate in candidates)
        detail = f"{agency} has no kind of application {code[:40]!r}, but {names or 'none'}"
        raise GatewayError(NOTICE_KIND_UNKNOWN, detail, at)
    if len({candidate.laws for candidate in possible}) > 1:
        names = ", ".join(candidate.id for candidate in possible)
        detail = (
            f"{code[:40]!r} may be one of {names}, which are of different laws: the mapping of none of them "
            "names this code (answers: type_codes)"
        )
        raise GatewayError(NOTICE_KIND_UNKNOWN, detail, at)
    return possible


def _make_unmatched_error(agency: str, number: str, number_xpath: str, remark: str = "") -> GatewayError:
    """Return GW701 for a number, stated at `number_xpath`, that is of no application of the agency."""
    return GatewayError(
        REPLY_UNMATCHED, f"{agency} was asked nothing under {number[:40]!r}{remark}", number_xpath
    )


def _list_argument_xpaths(facts: NoticeFacts, number_xpath: str) -> dict[str, str]:
    """Return the XPath of the fact that fills each argument of the hub's call, by the argument's name."""
    xpath_by_fact: dict[str, str] = {}
    for fact in facts.facts:
        xpath_by_fact.setdefault(fact.name, fact.xpath)
    notice_number = (
        xpath_by_fact.get("notice_number") or xpath_by_fact.get("requirement_number") or number_xpath
    )
    deciding = xpath_by_fact.get("item") or xpath_by_fact["status"]
    amount = xpath_by_fact.get("refund_amount") or xpath_by_fact.get("fee_amount") or xpath_by_fact["status"]
    return {
        "ApplicationNumber": number_xpath,
        "RequirementNumber": xpath_by_fact.get("requirement_number", number_xpath),
        "NoticeNumber": notice_number,
        "IssuedAt": xpath_by_fact["issued_at"],
        "StatusCode": xpath_by_fact["status"],
        "Version": xpath_by_fact.get("version", number_xpath),
        "Decision": deciding,
        "Fee": amount,
        "Fee/PaymentNotice": xpath_by_fact.get("fee_number", amount),
    }


def _find_request(conn: Connection, agency: str, number: str, number_xpath: str) -> AgencyRequestRow | None:
    """Return the request of the number stated at `number_xpath`; None if it cannot be a number of the hub.

    Raises GW701 for an application of another agency, GW513 for a mistyped number.
    """
    request = agency_requests.find_by_number(conn, number)
    if request is None and not resembles_hub_number(number):
        return None
    if request is None:
        check_hub_number(number, number_xpath)
    if request is None or request.agency != agency:
        raise _make_unmatched_error(agency, number, number_xpath)
    return request


def _list_pointers(
    hub: Hub, conn: Connection, request: AgencyRequestRow, facts: NoticeFacts
) -> tuple[str, ...]:
    """Return the places of the errors in the applicant's message, by the call that the agency was sent."""
    places = [error_place for _, error_place in list_error_places(facts)]
    if not places:
        return ()
    items = {str(item) for item, _ in (*request.required, *(request.removed or ()))}
    for error_place in places:
        if (
            error_place.item is not None
            and error_place.named_by is not None
            and error_place.item not in items
        ):
            detail = f"item {error_place.item} is no part of the application"
            raise GatewayError(NOTICE_UNREADABLE, detail, error_place.named_by.xpath)
    agency, number = request.agency, request.number
    application_form = read_unless_removed(
        lambda: load_application_form(hub, conn, agency, number, marks_changes=False)
    )
    if application_form is None:
        return (f"APP[{request.sequence}]/{request.document}",)
    return list_place_pointers(places, application_form.request_form, position=request.sequence)
