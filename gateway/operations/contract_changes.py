"""Finds calls that a changed contract refuses, and composes them anew by the WSDL that is agreed now.

Each call is stored with the SHA-256 of the WSDL and of the document's schema by which it was composed. Those
of an older version of the program have none: they are composed anew and compared. The database may have the
schema of an older version, so that operators can find such calls before an upgrade.

A call is composed from its stored octets and keeps its MessageID. So a partner that accepted the old call
nevertheless does nothing a second time. It is composed before the transaction of the operator's act, which
stores it with its delivery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from lxml import etree
from sqlalchemy import Connection

from gateway.config import Settings
from gateway.delivery import (
    PartnerService,
    ServiceCall,
    build_partners,
    is_same_call,
    list_call_names,
    load_contract,
    read_bound_schemas,
    read_stored_call,
)
from gateway.errors import CALL_UNFIT, NO_ADDRESS, TRANSITION_REFUSED, GatewayError, raise_resource_problem
from gateway.harmonize import (
    DocumentMapping,
    MappingBundle,
    get_request_schema,
    list_unfit_places,
    load_bundle,
)
from gateway.hub import (
    CUSTOMS,
    DRAFTED,
    SCHEMA_DIGEST,
    WSDL_DIGEST,
    CurrentMappings,
    RenewedCall,
    RewrittenDocument,
    build_wire_limits,
    open_active_mappings,
    open_stored_mappings,
    replace_delivery_content,
)
from gateway.operations.audited_changes import DatabaseChange, describe_delivery
from gateway.operations.operator_acts import make_act_problem
from gateway.store import (
    DeliveredCallRow,
    DeliveryRow,
    ListFilter,
    ListPage,
    RequestDocumentRow,
    agency_requests,
    deliveries,
    list_searches,
    payloads,
)

#: The agent of calls of services.
_SOAP_AGENT: Final = "soap"


@dataclass(frozen=True, slots=True)
class ComposedCalls:
    """Calls that were composed anew, and the deliveries that are left as they are, each with its problem."""

    calls: tuple[RenewedCall, ...]
    problems_by_delivery: Mapping[int, GatewayError] = field(default_factory=dict)


def find_refused_calls(conn: Connection, filters: ListFilter, problem_id: str | None = None) -> ListPage:
    """Return the calls of a filter that have FAILED; with a problem also those that are repeated for it."""
    states = ("FAILED",) if problem_id is None else deliveries.REPLACEABLE
    column_conditions = [("agent", _SOAP_AGENT), *([] if problem_id is None else [("problem", problem_id)])]
    return list_searches.search_deliveries(conn, replace(filters, states=states, equal=column_conditions))


def compose_calls(
    conn: Connection, settings: Settings, delivery_ids: Sequence[int], mappings: CurrentMappings | None = None
) -> ComposedCalls:
    """Compose the calls of deliveries anew; those that cannot be are left as they are.

    With `mappings`, these write the documents of applications again; else they stay as they are.
    """
    partners = build_partners(settings)
    calls: list[RenewedCall] = []
    refusals: dict[int, GatewayError] = {}
    for delivery_id in dict.fromkeys(delivery_ids):
        try:
            calls.append(_compose_call(conn, settings, partners, delivery_id, mappings))
        except GatewayError as problem:
            raise_resource_problem(problem)
            refusals[delivery_id] = problem
    return ComposedCalls(tuple(calls), refusals)


def change_composed_calls(change: DatabaseChange, calls: Sequence[RenewedCall]) -> dict[int, dict[str, Any]]:
    """Store each composed call with its delivery, all or none; return the new states of the deliveries."""
    delivery_ids = [call.delivery_id for call in calls]
    before = {delivery_id: _describe_call(change.conn, delivery_id) for delivery_id in delivery_ids}
    # In the order in which acts on lanes lock them: else two acts wait for each other.
    for call in sorted(calls, key=lambda call: (before[call.delivery_id].get("lane", ""), call.delivery_id)):
        replace_delivery_content(change.conn, call, change.at, change.actor, change.act.reason)
    after = {delivery_id: _describe_call(change.conn, delivery_id) for delivery_id in delivery_ids}
    change.record_change(f"delivery {', '.join(map(str, delivery_ids))}", before=before, after=after)
    return after


def _describe_call(conn: Connection, delivery_id: int) -> dict[str, Any]:
    """Return the state of a delivery, and the digest of the payload that it sends."""
    delivery_row = deliveries.find_by_id(conn, delivery_id)
    payload_digest = {} if delivery_row is None else {"payload_sha256": delivery_row.payload_sha256}
    return (describe_delivery(conn, delivery_id) or {}) | payload_digest


def _compose_call(
    conn: Connection,
    settings: Settings,
    partners: Mapping[str, PartnerService],
    delivery_id: int,
    mappings: CurrentMappings | None,
) -> RenewedCall:
    """Return the call of a delivery as it is composed now.

    Raises GW705 for a delivery that is no such call, that is sent now or has ended, and for a call that is
    the same; GW607 without address; GW720 where the WSDL does not take it.
    """
    delivery_row = deliveries.find_by_id(conn, delivery_id)
    if delivery_row is None:
        raise GatewayError(TRANSITION_REFUSED, f"there is no delivery {delivery_id}", "delivery")
    if delivery_row.agent != _SOAP_AGENT or delivery_row.payload_sha256 is None:
        raise make_act_problem(
            delivery_row, f"delivery {delivery_id} is no call of a service, whose contract can change"
        )
    if delivery_row.state not in deliveries.REPLACEABLE:
        raise make_act_problem(delivery_row, f"delivery {delivery_id} is {delivery_row.state}")
    partner = partners.get(delivery_row.destination)
    if partner is None:
        section = (
            "customs" if delivery_row.destination == CUSTOMS else f"agency.{delivery_row.destination[:40]}"
        )
        raise GatewayError(
            NO_ADDRESS, f"there is no address for {delivery_row.destination[:40]}", f"{section}.endpoint"
        )
    if partner.is_at_console:
        raise make_act_problem(
            delivery_row, f"{delivery_row.destination[:40]} decides at the console, and takes no calls"
        )
    stored_envelope = payloads.get_payload_octets(conn, delivery_row.payload_sha256)
    call = read_scoped_call(conn, delivery_row, stored_envelope, partner.endpoint, settings)
    rewritten_document = None if mappings is None else _rewrite_document(conn, delivery_row, call, mappings)
    if rewritten_document is not None:
        call = replace(call, document=rewritten_document.document)
    new_envelope = _write_call(call, partner)
    contract = load_contract(partner.wsdl)
    if DRAFTED not in delivery_row.parameters and is_same_call(new_envelope, stored_envelope):
        setting_name = (
            f"agency.{delivery_row.destination}.wsdl"
            if delivery_row.destination != CUSTOMS
            else "customs.wsdl"
        )
        reason = f"the call of delivery {delivery_id} is the same by the WSDL {contract.wsdl_name}"
        raise make_act_problem(delivery_row, f"{reason}: set {setting_name} to the one that the partner has")
    other_parameters = {name: value for name, value in delivery_row.parameters.items() if name != DRAFTED}
    parameters = {**other_parameters, WSDL_DIGEST: contract.sha256}
    new_call = RenewedCall(delivery_id, delivery_row.payload_sha256, new_envelope, parameters)
    if rewritten_document is None:
        return new_call
    parameters[SCHEMA_DIGEST] = rewritten_document.schema_sha256
    return replace(
        new_call, bundle_digest=rewritten_document.bundle_digest, packed_bundle=rewritten_document.packed
    )


def _rewrite_document(
    conn: Connection, delivery_row: DeliveryRow, call: ServiceCall, mappings: CurrentMappings
) -> RewrittenDocument | None:
    """Return the document of an application as the mappings in force write it; None for another call."""
    if delivery_row.subject_type != "request" or not isinstance(call.document, etree._Element):
        return None
    request_row = agency_requests.find_by_id(conn, int(delivery_row.subject_id))
    return None if request_row is None else mappings.rewrite_document(request_row, call.document)


def read_scoped_call(
    conn: Connection,
    delivery_row: DeliveryRow | DeliveredCallRow,
    stored_envelope: bytes,
    address: str | None,
    settings: Settings,
) -> ServiceCall:
    """Return the stored call of a delivery, with the items and laws to be decided from its application.

    The WSDL by which the call was composed may have had no place for these items and laws.
    """
    operation = str(delivery_row.parameters.get("operation"))
    call = read_stored_call(stored_envelope, operation, address, build_wire_limits(settings.limits))
    if call.document is None or delivery_row.subject_type != "request":
        return call
    request_id = int(delivery_row.subject_id)
    request_row = agency_requests.list_documents(conn, [request_id]).get(request_id)
    if request_row is None:
        return call
    items, laws = (
        {str(item_and_law[index]): None for item_and_law in request_row.required} for index in (0, 1)
    )
    return replace(
        call, attribute_values={"items": tuple(items), "laws": tuple(laws), **call.attribute_values}
    )


def _write_call(call: ServiceCall, partner: PartnerService) -> bytes:
    """Return the envelope of a call by the WSDL of its partner; raises GW720 for a call that is unfit."""
    try:
        envelope = load_contract(partner.wsdl).compose_envelope(call)
        if isinstance(call.document, etree._Element):
            read_bound_schemas(partner.wsdl).check_document(call.document)
    except GatewayError as problem:
        raise_resource_problem(problem)
        raise GatewayError(CALL_UNFIT, problem.detail, problem.location) from problem
    return envelope


#: How many of the last calls of each partner are checked, and how many places a finding names.
_MAX_CHECKED_CALLS: Final = 50
_MAX_LISTED_PLACES: Final = 5


@dataclass(frozen=True, slots=True)
class _ContractChange:
    """A WSDL or schema that has changed since the last call that its partner took; `places` say how.

    `digest_before` is its digest at that call; None where the version of the program then did not note the
    digest.
    """

    partner_name: str
    subject: str
    delivery_id: int
    digest_before: str | None
    current_digest: str
    places: Sequence[str]

    def __str__(self) -> str:
        listed_places = "; ".join(self.places[:_MAX_LISTED_PLACES])
        unlisted_count = len(self.places) - _MAX_LISTED_PLACES
        places = (
            f": {listed_places}" + (f"; and {unlisted_count} more places" if unlisted_count > 0 else "")
            if listed_places
            else ""
        )
        digests = f"SHA-256 {self.digest_before or 'not noted'} then, {self.current_digest} now"
        kind = "customs" if self.partner_name == CUSTOMS else f"agency {self.partner_name}"
        key = "customs.wsdl" if self.partner_name == CUSTOMS else f"agency.{self.partner_name}.wsdl"
        return (
            f"{kind}: {self.subject} has changed since delivery {self.delivery_id}, the last call taken "
            f"({digests}){places}. Who validates strictly refuses calls until they have the new one: give it "
            f"to them before an upgrade, or set {key} to the one that they have. `gateway delivery compose` "
            "makes refused calls anew"
        )


def find_contract_changes(conn: Connection, settings: Settings, at: datetime) -> Iterator[str]:
    """Yield a warning for each WSDL and each schema that has changed since its partner took its last call.

    One that cannot be read is left out: it is a finding of its own. It hides no other one of its partner.
    """
    bundle = load_bundle(open_active_mappings(conn, at))
    for partner_name, partner in build_partners(settings).items():
        if partner.is_at_console:
            continue
        taken_calls = [
            row
            for row in deliveries.list_last_delivered(conn, partner_name, _MAX_CHECKED_CALLS)
            if row.payload_sha256 is not None and DRAFTED not in row.parameters
        ]
        if not taken_calls:
            continue
        wsdl_change = None
        try:
            wsdl_change = _find_wsdl_change(conn, settings, partner_name, partner, taken_calls)
        except GatewayError as problem:
            raise_resource_problem(problem)
        if wsdl_change is not None:
            yield str(wsdl_change)
        yield from map(str, _find_schema_changes(conn, partner_name, bundle, taken_calls))


def _find_wsdl_change(
    conn: Connection,
    settings: Settings,
    partner_name: str,
    partner: PartnerService,
    taken_calls: Sequence[DeliveredCallRow],
) -> _ContractChange | None:
    """Return the change of the WSDL since the last call; None without a change.

    Without the digest of the former WSDL, only a change in the calls counts.
    """
    contract = load_contract(partner.wsdl)
    last_call = taken_calls[0]
    digest_before = last_call.parameters.get(WSDL_DIGEST)
    if digest_before == contract.sha256:
        return None
    operations = {str(call_row.parameters.get("operation")): call_row for call_row in reversed(taken_calls)}
    places = [
        f"{operation}: {phrase}"
        for operation, call_row in sorted(operations.items())
        for phrase in _list_call_changes(conn, settings, partner, call_row)
    ]
    if digest_before is None and not places:
        return None
    return _ContractChange(
        partner_name, f"its WSDL {contract.wsdl_name}", last_call.id, digest_before, contract.sha256, places
    )


def _list_call_changes(
    conn: Connection, settings: Settings, partner: PartnerService, call_row: DeliveredCallRow
) -> list[str]:
    """Return a phrase for each name that an accepted call would now have in addition, or would now lack.

    None for a call that retention has removed, or that cannot be read any more.
    """
    try:
        stored_envelope = payloads.get_payload_octets(conn, call_row.payload_sha256)
        call = read_scoped_call(conn, call_row, stored_envelope, partner.endpoint, settings)
    except GatewayError as problem:
        raise_resource_problem(problem)
        return []
    try:
        new_envelope = load_contract(partner.wsdl).compose_envelope(call)
    except GatewayError as problem:
        raise_resource_problem(problem)
        return [f"the WSDL does not take it: {problem.detail}"]
    names_before, current_names = list_call_names(stored_envelope), list_call_names(new_envelope)
    added_phrases = [f"{name} is new" for name in current_names if name not in names_before]
    return added_phrases + [f"{name} is gone" for name in names_before if name not in current_names]


def _find_schema_changes(
    conn: Connection, partner_name: str, bundle: MappingBundle, taken_calls: Sequence[DeliveredCallRow]
) -> Iterator[_ContractChange]:
    """Yield the documents whose requests may be invalid by the schema of the last one that was taken."""
    request_ids = [int(call_row.subject_id) for call_row in taken_calls if call_row.subject_type == "request"]
    requests = agency_requests.list_documents(conn, request_ids)
    last_calls: dict[str, tuple[DeliveredCallRow, RequestDocumentRow]] = {}
    for call_row in taken_calls:
        request = requests.get(int(call_row.subject_id)) if call_row.subject_type == "request" else None
        with_document = call_row.parameters.get("operation") in ("SubmitApplication", "SubmitSupplement")
        if request is not None and with_document:
            last_calls.setdefault(request.document, (call_row, request))
    for document_name, (call_row, request) in sorted(last_calls.items()):
        document = bundle.documents.get(document_name)
        if document is None or document.organisation != partner_name:
            continue
        schema_change = None
        try:
            schema_change = _find_schema_change(conn, bundle, document, call_row, request)
        except GatewayError as problem:
            raise_resource_problem(problem)
        if schema_change is not None:
            yield schema_change


def _find_schema_change(
    conn: Connection,
    bundle: MappingBundle,
    document: DocumentMapping,
    call_row: DeliveredCallRow,
    request: RequestDocumentRow,
) -> _ContractChange | None:
    """Return the change of the schema of a document since its last call; None without a change."""
    current_schema = get_request_schema(bundle, document)
    former_schema = _write_former_schema(conn, bundle, request)
    digest_before = call_row.parameters.get(SCHEMA_DIGEST) or (
        None if former_schema is None else _compute_sha256(former_schema)
    )
    current_digest = _compute_sha256(current_schema)
    if digest_before is None or digest_before == current_digest:
        return None
    # A schema that the program of then wrote in another way cannot be compared.
    places = (
        None
        if former_schema is None or _compute_sha256(former_schema) != digest_before
        else _list_schema_places(former_schema, current_schema)
    )
    if places == []:
        return None
    subject = f"the schema of the requests of {document.id}"
    return _ContractChange(
        document.organisation, subject, call_row.id, digest_before, current_digest, places or ()
    )


def _write_former_schema(
    conn: Connection, bundle: MappingBundle, request: RequestDocumentRow
) -> bytes | None:
    """Return the schema of a request by the mappings that wrote it; None where they are not stored."""
    try:
        former_bundle = bundle
        if request.mapping_sha256 != bundle.digest:
            former_bundle = load_bundle(open_stored_mappings(conn, request.mapping_sha256))
    except GatewayError as problem:
        raise_resource_problem(problem)
        return None
    document = former_bundle.documents.get(request.document)
    return None if document is None else get_request_schema(former_bundle, document)


def _list_schema_places(former_schema: bytes, current_schema: bytes) -> list[str] | None:
    """Return phrases for the places where the former schema refuses present requests; None if not known."""
    try:
        return [f"the former {phrase}" for phrase in list_unfit_places(former_schema, current_schema)]
    except GatewayError as problem:
        raise_resource_problem(problem)
        return None


def _compute_sha256(octets: bytes) -> str:
    return sha256(octets).hexdigest()
