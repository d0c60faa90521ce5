"""Reports for an operator with all data that the hub has of one case or one message."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from gateway.cases import check_hub_number, normalize_hub_number
from gateway.evidence import list_subject_leaves
from gateway.operations.delivery_report import (
    find_last_sentence,
    read_delivery_report,
    read_message_deliveries,
)
from gateway.state_machines import CASE, CLEARANCE, DELIVERY, MESSAGE, REQUEST, StateMachine
from gateway.store import (
    CaseRow,
    MessageRow,
    RequestWithFeesRow,
    agency_requests,
    cases,
    customs_notices,
    deliveries,
    fragment_groups,
    mapping_bundles,
    messages,
    notices,
    read_columns,
    read_row_number,
    requirement_quantities,
    requirement_results,
    transitions,
)

if TYPE_CHECKING:
    from gateway.harmonize import MappingBundle


def find_case(conn: Connection, text: str) -> CaseRow | None:
    """Return the case of a number, however it was written; raise GW513 for a mistyped one."""
    number = normalize_hub_number(text)
    case = cases.find_by_number(conn, text) or cases.find_by_number(conn, number)
    if case is None:
        check_hub_number(number, "NUMBER")
    return case


def read_case_report(conn: Connection, case: CaseRow) -> dict[str, Any]:
    """Return a case with its requests, notices, decisions, requirements, fees, deliveries, evidence."""
    # A mere look-up of a case does not load these modules.
    from gateway.operations.case_reports import (
        describe_case_fees,
        describe_case_results,
        describe_decisions,
        describe_releases,
    )

    applications = agency_requests.list_by_case(conn, case.id)
    columns = read_columns(case)
    if (case.detail or {}).get("warnings"):
        # As the Result tells them: a later certificate may have answered one.
        columns["detail"] = case.detail | {"warnings": _read_warnings(conn, case)}
    return columns | {
        "properties": read_message_properties(conn, case.message),
        "mappings": _describe_mappings(conn, case, applications),
        "requests": [read_columns(row) for row in applications],
        "notices": [
            read_columns(row)
            for application in applications
            for row in notices.list_by_request(conn, application.id)
        ],
        "decisions": describe_decisions(conn, case, applications),
        "requirements": [
            read_columns(row) for row in requirement_quantities.list_uses_of_case(conn, case.id)
        ],
        "results": describe_case_results(conn, case),
        **describe_releases(conn, case),
        "awaited": [read_columns(row) for row in requirement_results.list_awaited_uses(conn, case.id)],
        "customs": _read_customs_report(conn, case.id),
        "fees": describe_case_fees(conn, case.id),
        "deliveries": [read_delivery_report(conn, row) for row in deliveries.list_by_case(conn, case.id)],
        "evidence": [read_columns(row) for row in list_subject_leaves(conn, "case", case.id)],
    }


def read_message_properties(conn: Connection, message: int) -> list[dict[str, Any]]:
    """Return the properties with which a message came (ebMS 3.0 §5.2.2.11), from its evidence of origin."""
    leaves = (json.loads(leaf.data) for leaf in list_subject_leaves(conn, "message", message))
    properties = (property_values for leaf in leaves for property_values in leaf.get("properties", ()))
    return [
        dict(zip(("name", "value", "type"), property_values, strict=True)) for property_values in properties
    ]


def _read_warnings(conn: Connection, case: CaseRow) -> list[dict[str, Any]]:
    """Return the warnings of a case that still apply, in the words of its Result."""
    from gateway.hub import (
        get_current_time,
        load_active_rules,
        load_shipped_rules,
        read_standing_warnings,
    )

    def get_bundle() -> MappingBundle:
        return load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle

    return read_standing_warnings(conn, case, get_bundle)


def _describe_mappings(
    conn: Connection, case: CaseRow, applications: Sequence[RequestWithFeesRow]
) -> dict[str, Any]:
    """Return the digest of the mappings that a case pins, and whether they are stored."""
    from gateway.hub import find_case_bundle

    bundle = find_case_bundle(case, applications)
    stored = bundle is not None and mapping_bundles.has_bundle(conn, bundle)
    return {"bundle": bundle, "stored": stored}


def _read_customs_report(conn: Connection, case_id: int) -> dict[str, Any]:
    """Return the state of clearance, and the notices of customs, pointing into the applicant's message."""
    from gateway.hub import read_stored_notice

    notice_reports = []
    for row in customs_notices.list_by_case(conn, case_id):
        notice = asdict(read_stored_notice(conn, row))
        notice_reports.append(
            notice | {"kind": row.kind, "received_at": row.received_at, "delivery": row.delivery_id}
        )
    return {"clearance": customs_notices.find_state(conn, case_id), "notices": notice_reports}


#: The document that a party has signed, by the kind of its evidence.
_SIGNED: Final = defaultdict(
    lambda: "submission",
    {"amended": "amendment", "supplemented": "supplement", "withdrawal": "withdrawal"},
)


def list_admitted_signers(evidence: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the signer of each submission of a case, and the way in which it was admitted."""
    for leaf in evidence:
        data = json.loads(leaf["data"])
        admission = data.get("admitted")
        if admission:
            levels = f" as {', '.join(admission['levels'])}" if admission.get("levels") else ""
            signer = f"{_SIGNED[leaf['kind']]} signed by {data['signer']}"
            yield f"{signer}, admitted by {admission['mode']}{levels}: {admission['source']}"


def find_message(conn: Connection, name: str) -> MessageRow | None:
    """Return the message of a row id or a MessageId, the newest one; None when there is none."""
    number = read_row_number(name)
    if number is not None:
        return messages.find_by_id(conn, number)
    newest = messages.list_messages(conn, limit=1, message_id=name)
    return newest[0] if newest else None


def read_message_report(conn: Connection, row: MessageRow) -> dict[str, Any]:
    """Return a message with payloads, transitions, deliveries and evidence, without its octets."""
    parts = messages.list_parts(conn, row.id)
    steps = [read_columns(step) for step in transitions.list_transitions(conn, MESSAGE, row.id)]
    # The evidence of the case names the signer of the content, and how it was admitted.
    case_leaves = list_subject_leaves(conn, "case", row.case_id) if row.case_id else ()
    judged = [leaf for leaf in case_leaves if leaf.digest == row.identity_sha256]
    proofs = [*list_subject_leaves(conn, "message", row.id), *judged]
    sent = read_message_deliveries(conn, row)
    return read_columns(row) | {
        "last_sentence": find_last_sentence(conn, row, sent),
        "deliveries": sent,
        "payloads": [
            {
                "cid": part.content_id,
                "media_type": part.media_type,
                "size": part.size,
                "properties": [{"name": name, "value": value} for name, value in part.properties],
            }
            for part in parts
        ],
        "properties": read_message_properties(conn, row.id),
        "fragments": _read_fragment_group(conn, row.id),
        "transitions": steps,
        "evidence": [{"kind": leaf.kind, "at": leaf.at, "data": json.loads(leaf.data)} for leaf in proofs],
    }


def _read_fragment_group(conn: Connection, message: int) -> dict[str, Any] | None:
    """Return the group of a message that is a fragment, or the whole of some; None for any other."""
    grouped = fragment_groups.find_by_message(conn, message)
    if grouped is None:
        return _read_sent_group(conn, message)
    row = grouped.group
    tally = row.tally or {}
    columns = ("state", "opened_at", "expires_at", "ended_at", "problem", "code", "detail", "message")
    return {
        "group": row.group_id,
        "number": grouped.number,
        "came": tally.get("came", 0),
        "count": tally.get("stated", {}).get("count"),
        "octets": tally.get("octets", 0),
        "direction": "in",
        **{name: getattr(row, name) for name in columns},
    }


def _read_sent_group(conn: Connection, message: int) -> dict[str, Any] | None:
    """Return the group of a message that the hub sent; `came` is the number of fragments with a receipt."""
    sent_fragment = fragment_groups.find_sent_group_member(conn, message)
    if sent_fragment is None:
        return None
    group = sent_fragment.group
    whole, delivery = messages.find_by_id(conn, group.message), deliveries.find_by_id(conn, group.delivery)
    assert whole is not None  # it is referred to
    assert delivery is not None
    return {
        "group": whole.message_id,
        "number": sent_fragment.number,
        "came": sent_fragment.receipted,
        "count": group.count,
        "octets": None,
        "direction": "out",
        "state": group.state,
        "opened_at": group.sealed_at,
        "expires_at": delivery.expires_at,
        "ended_at": group.ended_at,
        "problem": delivery.problem if group.state == "FAILED" else None,
        "code": None,
        "detail": delivery.last_sentence,
        "message": group.message,
    }


@dataclass(frozen=True, slots=True)
class TrailStep:
    """One step of a case: its time, the name of its object, the event, new state, actor and detail."""

    at: datetime
    object_name: str
    event: str
    state: str
    actor: str
    detail: str | None
    link: tuple[str, str] | None


def list_case_trail(conn: Connection, case: CaseRow, report: Mapping[str, Any]) -> list[TrailStep]:
    """Return every step of a case, its messages, requests and deliveries, the first one first."""
    objects: list[tuple[StateMachine, int, str, tuple[str, str] | None]] = [
        (CASE, case.id, "case", None),
        (CLEARANCE, case.id, "clearance", None),
    ]
    for row in messages.list_messages(conn, case_id=case.id):
        label_start = f"message {row.action} {'from' if row.direction == 'in' else 'to'} "
        partner = row.from_party if row.direction == "in" else row.to_party
        objects.append((MESSAGE, row.id, label_start + partner, ("messages", str(row.id))))
    objects += [
        (REQUEST, request["id"], f"request {request['number']} to {request['agency']}", None)
        for request in report["requests"]
    ]
    for row in report["deliveries"]:
        parameters = row["parameters"]
        work = (
            parameters.get("operation") or parameters.get("action") or parameters.get("task") or row["agent"]
        )
        link = ("deliveries", str(row["id"]))
        objects.append((DELIVERY, row["id"], f"{work} to {row['destination']}", link))
    steps = [
        (
            step.at,
            step.id,
            TrailStep(step.at, label, step.event, step.to_state, step.actor, step.detail, link),
        )
        for machine, number, label, link in objects
        for step in transitions.list_transitions(conn, machine, number)
    ]
    return [step for _, _, step in sorted(steps, key=lambda keyed_step: keyed_step[:2])]
