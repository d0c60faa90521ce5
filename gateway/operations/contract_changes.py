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
from gateway.harmonize import MappingBundle, get_request_schema, list_unfit_places, load_bundle
from gateway.hub import (
    CUSTOMS,
    DRAFTED,
    SCHEMA_DIGEST,
    WSDL_DIGEST,
    CurrentMappings,
    RenewedCall,
    RewrittenDocument,
    build_wire_limits,
    compose_delivery,
    open_active_mappings,
    open_stored_mappings,
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
_SOAP: Final = "soap"


@dataclass(frozen=True, slots=True)
class ComposedCalls:
    """Calls that were composed anew, and the deliveries that are left as they are, each with its problem."""

    calls: tuple[RenewedCall, ...]
    problems: Mapping[int, GatewayError] = field(default_factory=dict)


def find_refused_calls(conn: Connection, filters: ListFilter, problem: str | None = None) -> ListPage:
    """Return the calls of a filter that have FAILED; with a problem also those that are repeated for it."""
    states = ("FAILED",) if problem is None else deliveries.REPLACEABLE
    equal = [("agent", _SOAP), *([] if problem is None else [("problem", problem)])]
    return list_searches.search_deliveries(conn, replace(filters, states=states, equal=equal))


def compose_calls(
    conn: Connection, settings: Settings, numbers: Sequence[int], mappings: CurrentMappings | None = None
) -> ComposedCalls:
    """Compose the calls of deliveries anew; those that cannot be are left as they are.

    With `mappings`, these write the documents of applications again; else they stay as they are.
    """
    partners = build_partners(settings)
    calls: list[RenewedCall] = []
    refusals: dict[int, GatewayError] = {}
    for number in dict.fromkeys(numbers):
        try:
            calls.append(_compose_call(conn, settings, partners, number, mappings))
        except GatewayError as problem:
            raise_resource_problem(problem)
            refusals[number] = problem
    return ComposedCalls(tuple(calls), refusals)


def change_composed_calls(change: DatabaseChange, calls: Sequence[RenewedCall]) -> dict[int, dict[str, Any]]:
    """Store each composed call with its delivery, all or none; return the new states of the deliveries."""
    numbers = [call.delivery for call in calls]
    before = {number: _describe_call(change.conn, number) for number in numbers}
    # In the order in which acts on lanes lock them: else two acts wait for each other.
    for call in sorted(calls, key=lambda call: (before[call.delivery].get("lane", ""), call.delivery)):
        compose_delivery(change.conn, call, change.at, change.by, change.act.reason)
    after = {number: _describe_call(change.conn, number) for number in numbers}
    change.record_change(f"delivery {', '.join(map(str, numbers))}", before=before, after=after)
    return after


def _describe_call(conn: Connection, number: int) -> dict[str, Any]:
    """Return the state of a delivery, and the digest of the payload that it sends."""
    row = deliveries.find_by_id(conn, number)
    sent = {} if row is None else {"payload_sha256": row.payload_sha256}
    return (describe_delivery(conn, number) or {}) | sent


def _compose_call(
    conn: Connection,
    settings: Settings,
    partners: Mapping[str, PartnerService],
    number: int,
    mappings: CurrentMappings | None,
) -> RenewedCall:
    """Return the call of a delivery as it is composed now.

    Raises GW705 for a delivery that is no such call, that is sent now or has ended, and for a call that is
    the same; GW607 without address; GW720 where the WSDL does not take it.
    """
    row = deliveries.find_by_id(conn, number)
    if row is None:
        raise GatewayError(TRANSITION_REFUSED, f"there is no delivery {number}", "delivery")
    if row.agent != _SOAP or row.payload_sha256 is None:
        raise make_act_problem(row, f"delivery {number} is no call of a service, whose contract can change")
    if row.state not in deliveries.REPLACEABLE:
        raise make_act_problem(row, f"delivery {number} is {row.state}")
    partner = partners.get(row.destination)
    if partner is None:
        section = "customs" if row.destination == CUSTOMS else f"agency.{row.destination[:40]}"
        raise GatewayError(
            NO_ADDRESS, f"there is no address for {row.destination[:40]}", f"{section}.endpoint"
        )
    if partner.console:
        raise make_act_problem(row, f"{row.destination[:40]} decides at the console, and takes no calls")
    stored = payloads.get_payload_octets(conn, row.payload_sha256)
    call = read_scoped_call(conn, row, stored, partner.endpoint, settings)
    renewed = None if mappings is None else _rewrite_document(conn, row, call, mappings)
    if renewed is not None:
        call = replace(call, document=renewed.document)
    octets = _write_call(call, partner)
    contract = load_contract(partner.wsdl)
    if DRAFTED not in row.parameters and is_same_call(octets, stored):
        name = f"agency.{row.destination}.wsdl" if row.destination != CUSTOMS else "customs.wsdl"
        sentence = f"the call of delivery {number} is the same by the WSDL {contract.name}"
        raise make_act_problem(row, f"{sentence}: set {name} to the one that the partner has")
    other_parameters = {name: value for name, value in row.parameters.items() if name != DRAFTED}
    parameters = {**other_parameters, WSDL_DIGEST: contract.sha256}
    new_call = RenewedCall(number, row.payload_sha256, octets, parameters)
    if renewed is None:
        return new_call
    parameters[SCHEMA_DIGEST] = renewed.schema_sha256
    return replace(new_call, mappings=renewed.mappings, packed=renewed.packed)


def _rewrite_document(
    conn: Connection, row: DeliveryRow, call: ServiceCall, mappings: CurrentMappings
) -> RewrittenDocument | None:
    """Return the document of an application as the mappings in force write it; None for another call."""
    if row.subject_type != "request" or not isinstance(call.document, etree._Element):
        return None
    request = agency_requests.find_by_id(conn, int(row.subject_id))
    return None if request is None else mappings.rewrite_document(request, call.document)


def read_scoped_call(
    conn: Connection, row: DeliveryRow | DeliveredCallRow, stored: bytes, to: str | None, settings: Settings
) -> ServiceCall:
    """Return the stored call of a delivery, with the items and laws to be decided from its application.

    The WSDL by which the call was composed may have had no place for these items and laws.
    """
    operation = str(row.parameters.get("operation"))
    call = read_stored_call(stored, operation, to, build_wire_limits(settings.limits))
    if call.document is None or row.subject_type != "request":
        return call
    number = int(row.subject_id)
    request = agency_requests.list_documents(conn, [number]).get(number)
    if request is None:
        return call
    items, laws = ({str(pair[index]): None for pair in request.required} for index in (0, 1))
    return replace(call, scope={"items": tuple(items), "laws": tuple(laws), **call.scope})


def _write_call(call: ServiceCall, partner: PartnerService) -> bytes:
    """Return the envelope of a call by the WSDL of its partner; raises GW720 for a call that is unfit."""
    try:
        octets = load_contract(partner.wsdl).compose_envelope(call)
        if isinstance(call.document, etree._Element):
            read_bound_schemas(partner.wsdl).check_document(call.document)
    except GatewayError as problem:
        raise_resource_problem(problem)
        raise GatewayError(CALL_UNFIT, problem.detail, problem.location) from problem
    return octets


#: How many of the last calls of each partner are checked, and how many places a finding names.
_MOST_CALLS: Final = 50
_MOST_PLACES: Final = 5


@dataclass(frozen=True, slots=True)
class _ContractChange:
    """A WSDL or schema that has changed since the last call that its partner took; `places` say how.

    `before` is its digest at that call; None where the version of the program then did not note the digest.
    """

    partner: str
    subject: str
    delivery: int
    before: str | None
    now: str
    places: Sequence[str]

    def __str__(self) -> str:
        listed = "; ".join(self.places[:_MOST_PLACES])
        unlisted = len(self.places) - _MOST_PLACES
        places = f": {listed}" + (f"; and {unlisted} more places" if unlisted > 0 else "") if listed else ""
        digests = f"SHA-256 {self.before or 'not noted'} then, {self.now} now"
        kind = "customs" if self.partner == CUSTOMS else f"agency {self.partner}"
        key = "customs.wsdl" if self.partner == CUSTOMS else f"agency.{self.partner}.wsdl"
        return (
            f"{kind}: {self.subject} has changed since delivery {self.delivery}, the last call taken "
            f"({digests}){places}. Who validates strictly refuses calls until they have the new one: give it "
            f"to them before an upgrade, or set {key} to the one that they have. `gateway delivery compose` "
            "makes refused calls anew"
        )


def find_contract_changes(conn: Connection, settings: Settings, at: datetime) -> Iterator[str]:
    """Yield a warning for each WSDL and each schema that has changed since its partner took its last call.

    One that cannot be read is left out: it is a finding of its own.
    """
    bundle = load_bundle(open_active_mappings(conn, at))
    for name, partner in build_partners(settings).items():
        if partner.console:
            continue
        taken_calls = [
            row
            for row in deliveries.list_last_delivered(conn, name, _MOST_CALLS)
            if row.payload_sha256 is not None and DRAFTED not in row.parameters
        ]
        if not taken_calls:
            continue
        try:
            change = _find_wsdl_change(conn, settings, name, partner, taken_calls)
            if change is not None:
                yield str(change)
            yield from map(str, _find_schema_changes(conn, name, bundle, taken_calls))
        except GatewayError as problem:
            raise_resource_problem(problem)


def _find_wsdl_change(
    conn: Connection,
    settings: Settings,
    name: str,
    partner: PartnerService,
    taken_calls: Sequence[DeliveredCallRow],
) -> _ContractChange | None:
    """Return the change of the WSDL since the last call; None without a change.

    Without the digest of the former WSDL, only a change in the calls counts.
    """
    contract = load_contract(partner.wsdl)
    last = taken_calls[0]
    before = last.parameters.get(WSDL_DIGEST)
    if before == contract.sha256:
        return None
    operations = {str(row.parameters.get("operation")): row for row in reversed(taken_calls)}
    places = [
        f"{operation}: {phrase}"
        for operation, row in sorted(operations.items())
        for phrase in _list_call_changes(conn, settings, partner, row)
    ]
    if before is None and not places:
        return None
    return _ContractChange(name, f"its WSDL {contract.name}", last.id, before, contract.sha256, places)


def _list_call_changes(
    conn: Connection, settings: Settings, partner: PartnerService, row: DeliveredCallRow
) -> list[str]:
    """Return a phrase for each name that an accepted call would now have in addition, or would now lack."""
    try:
        stored = payloads.get_payload_octets(conn, row.payload_sha256)
    except GatewayError as problem:  # retention has removed it
        raise_resource_problem(problem)
        return []
    call = read_scoped_call(conn, row, stored, partner.endpoint, settings)
    try:
        written = load_contract(partner.wsdl).compose_envelope(call)
    except GatewayError as problem:
        raise_resource_problem(problem)
        return [f"the WSDL does not take it: {problem.detail}"]
    before, now = list_call_names(stored), list_call_names(written)
    added = [f"{name} is new" for name in now if name not in before]
    return added + [f"{name} is gone" for name in before if name not in now]


def _find_schema_changes(
    conn: Connection, partner: str, bundle: MappingBundle, taken_calls: Sequence[DeliveredCallRow]
) -> Iterator[_ContractChange]:
    """Yield the documents whose requests may be invalid by the schema of the last one that was taken."""
    numbers = [int(row.subject_id) for row in taken_calls if row.subject_type == "request"]
    requests = agency_requests.list_documents(conn, numbers)
    last: dict[str, tuple[DeliveredCallRow, RequestDocumentRow]] = {}
    for row in taken_calls:
        request = requests.get(int(row.subject_id)) if row.subject_type == "request" else None
        with_document = row.parameters.get("operation") in ("SubmitApplication", "SubmitSupplement")
        if request is not None and with_document:
            last.setdefault(request.document, (row, request))
    for name, (row, request) in sorted(last.items()):
        document = bundle.documents.get(name)
        if document is None or document.organisation != partner:
            continue
        now = get_request_schema(bundle, document)
        former = _write_former_schema(conn, bundle, request)
        before = row.parameters.get(SCHEMA_DIGEST) or (None if former is None else _digest(former))
        if before is None or before == _digest(now):
            continue
        # A schema that the program of then wrote in another way cannot be compared.
        places = None if former is None or _digest(former) != before else _list_places(former, now)
        if places != []:
            subject = f"the schema of the requests of {name}"
            yield _ContractChange(partner, subject, row.id, before, _digest(now), places or ())


def _write_former_schema(
    conn: Connection, bundle: MappingBundle, request: RequestDocumentRow
) -> bytes | None:
    """Return the schema of a request by the mappings that wrote it; None where they are not stored."""
    try:
        former = bundle
        if request.mapping_sha256 != bundle.digest:
            former = load_bundle(open_stored_mappings(conn, request.mapping_sha256))
    except GatewayError as problem:
        raise_resource_problem(problem)
        return None
    document = former.documents.get(request.document)
    return None if document is None else get_request_schema(former, document)


def _list_places(former: bytes, now: bytes) -> list[str] | None:
    """Return phrases for the places where the former schema refuses present requests; None if not known."""
    try:
        return [f"the former {phrase}" for phrase in list_unfit_places(former, now)]
    except GatewayError as problem:
        raise_resource_problem(problem)
        return None


def _digest(octets: bytes) -> str:
    return sha256(octets).hexdigest()
