"""Reports for an operator with all data that the hub has of one case or one message."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from gateway.cases import check_hub_number, normalize_hub_number
from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.evidence import list_subject_leaves, read_leaf_data
from gateway.operations.delivery_report import (
    find_problem_text,
    read_delivery_report,
    read_message_deliveries,
)
from gateway.state_machines import CASE, CLEARANCE, DELIVERY, MESSAGE, REQUEST, StateMachine
from gateway.store import (
    CaseRow,
    EvidenceRow,
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


def find_case(conn: Connection, case_number: str) -> CaseRow | None:
    """Return the case of a number, however it was written; raise GW513 for a mistyped one."""
    normalized_number = normalize_hub_number(case_number)
    case = cases.find_by_number(conn, case_number) or cases.find_by_number(conn, normalized_number)
    if case is None:
        check_hub_number(normalized_number, "NUMBER")
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
        "evidence": [_describe_case_leaf(row) for row in list_subject_leaves(conn, "case", case.id)],
    }


def _describe_case_leaf(leaf: EvidenceRow) -> dict[str, Any]:
    """Return the columns of a leaf and its `problem`; a broken leaf has no data."""
    leaf_content = _read_leaf_content(leaf)
    columns = read_columns(leaf) | {"problem": leaf_content.problem}
    return columns | {"data": None} if leaf_content.problem else columns


@dataclass(frozen=True, slots=True)
class _LeafContent:
    """The data of a leaf of evidence; for a broken leaf None, and the `problem` in words."""

    data: dict[str, Any] | None
    problem: str | None


def _read_leaf_content(leaf: EvidenceRow) -> _LeafContent:
    """Return the data of a leaf, or why it is broken (GW805)."""
    try:
        return _LeafContent(read_leaf_data(leaf), None)
    except GatewayError as broken:
        if broken.problem is not EVIDENCE_BROKEN:
            raise
        return _LeafContent(None, str(broken))


def read_message_properties(conn: Connection, message_id: int) -> list[dict[str, Any]]:
    """Return the properties with which a message came (ebMS 3.0 §5.2.2.11), from its evidence of origin.

    A leaf that is broken, or that has something else in their place, states none.
    """
    message_properties: list[dict[str, Any]] = []
    for leaf in list_subject_leaves(conn, "message", message_id):
        properties = (_read_leaf_content(leaf).data or {}).get("properties", ())
        with suppress(*_UNREADABLE):
            message_properties += [
                dict(zip(("name", "value", "type"), property_values, strict=True))
                for property_values in properties
            ]
    return message_properties


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

    bundle_digest = find_case_bundle(case, applications)
    is_stored = bundle_digest is not None and mapping_bundles.has_bundle(conn, bundle_digest)
    return {"bundle": bundle_digest, "stored": is_stored}


def _read_customs_report(conn: Connection, case_id: int) -> dict[str, Any]:
    """Return the state of clearance, and the notices of customs, pointing into the applicant's message."""
    from gateway.hub import read_shown_notice

    notice_reports = []
    for row in customs_notices.list_by_case(conn, case_id):
        notice = asdict(read_shown_notice(conn, row))
        notice_reports.append(
            notice | {"kind": row.kind, "received_at": row.received_at, "delivery": row.delivery_id}
        )
    return {"clearance": customs_notices.find_clearance_state(conn, case_id), "notices": notice_reports}


#: What reading raises of values in a leaf that the gateway does not write.
_UNREADABLE: Final = (AttributeError, LookupError, TypeError, ValueError)
#: The document that a party has signed, by the kind of its evidence.
_SIGNED_DOCUMENTS: Final = defaultdict(
    lambda: "submission",
    {"amended": "amendment", "supplemented": "supplement", "withdrawal": "withdrawal"},
)


def list_signer_admissions(evidence: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the signer of each submission of a case, and the way in which it was admitted.

    For a broken leaf its problem is yielded.
    """
    for leaf in evidence:
        if leaf["problem"]:
            yield f"{leaf['kind']}: {leaf['problem']}"
            continue
        leaf_fields = json.loads(leaf["data"])
        if leaf_fields.get("admitted"):
            try:
                yield _describe_admission(leaf["kind"], leaf_fields)
            except _UNREADABLE:
                yield f"{leaf['kind']}: evidence {leaf['id']} has no readable admission"


def _describe_admission(kind: str, leaf_fields: Mapping[str, Any]) -> str:
    """Return the signer of a submission, and the way in which it was admitted."""
    admission = leaf_fields["admitted"]
    levels = f" as {', '.join(admission['levels'])}" if admission.get("levels") else ""
    signer_text = f"{_SIGNED_DOCUMENTS[kind]} signed by {leaf_fields['signer']}"
    return f"{signer_text}, admitted by {admission['mode']}{levels}: {admission['source']}"


def find_message(conn: Connection, row_id_or_message_id: str) -> MessageRow | None:
    """Return the message of a row id or a MessageId, the newest one; None when there is none."""
    row_id = read_row_number(row_id_or_message_id)
    if row_id is not None:
        return messages.find_by_id(conn, row_id)
    newest_messages = messages.list_messages(conn, limit=1, message_id=row_id_or_message_id)
    return newest_messages[0] if newest_messages else None


def read_message_report(conn: Connection, message_row: MessageRow) -> dict[str, Any]:
    """Return a message with payloads, transitions, deliveries and evidence, without its octets."""
    payload_rows = messages.list_parts(conn, message_row.id)
    transition_columns = [
        read_columns(step) for step in transitions.list_transitions(conn, MESSAGE, message_row.id)
    ]
    # The evidence of the case names the signer of the content, and how it was admitted.
    case_leaves = list_subject_leaves(conn, "case", message_row.case_id) if message_row.case_id else ()
    case_proofs = [leaf for leaf in case_leaves if leaf.digest == message_row.identity_sha256]
    evidence_leaves = [*list_subject_leaves(conn, "message", message_row.id), *case_proofs]
    message_deliveries = read_message_deliveries(conn, message_row)
    return read_columns(message_row) | {
        "last_sentence": find_problem_text(conn, message_row, message_deliveries),
        "deliveries": message_deliveries,
        "payloads": [
            {
                "cid": part.content_id,
                "media_type": part.media_type,
                "size": part.size,
                "properties": [{"name": name, "value": value} for name, value in part.properties],
            }
            for part in payload_rows
        ],
        "properties": read_message_properties(conn, message_row.id),
        "fragments": _read_fragment_group(conn, message_row.id),
        "transitions": transition_columns,
        "evidence": [
            {"kind": leaf.kind, "at": leaf.at, **asdict(_read_leaf_content(leaf))} for leaf in evidence_leaves
        ],
    }


def _read_fragment_group(conn: Connection, message_id: int) -> dict[str, Any] | None:
    """Return the group of a message that is a fragment, or the whole of some; None for any other."""
    group_member = fragment_groups.find_by_message(conn, message_id)
    if group_member is None:
        return _read_sent_group(conn, message_id)
    group_row = group_member.group
    tally = group_row.tally or {}
    column_names = ("state", "opened_at", "expires_at", "ended_at", "problem", "code", "detail", "message")
    return {
        "group": group_row.group_id,
        "number": group_member.number,
        "came": tally.get("came", 0),
        "count": tally.get("stated", {}).get("count"),
        "octets": tally.get("octets", 0),
        "direction": "in",
        **{name: getattr(group_row, name) for name in column_names},
    }


def _read_sent_group(conn: Connection, message_id: int) -> dict[str, Any] | None:
    """Return the group of a message that the hub sent; `came` is the number of fragments with a receipt."""
    sent_fragment = fragment_groups.find_sent_group_member(conn, message_id)
    if sent_fragment is None:
        return None
    group = sent_fragment.group
    whole_message, delivery = (
        messages.find_by_id(conn, group.message),
        deliveries.find_by_id(conn, group.delivery),
    )
    assert whole_message is not None  # it is referred to
    assert delivery is not None
    return {
        "group": whole_message.message_id,
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
    tracked_objects: list[tuple[StateMachine, int, str, tuple[str, str] | None]] = [
        (CASE, case.id, "case", None),
        (CLEARANCE, case.id, "clearance", None),
    ]
    for row in messages.list_messages(conn, case_id=case.id):
        label_start = f"message {row.action} {'from' if row.direction == 'in' else 'to'} "
        partner = row.from_party if row.direction == "in" else row.to_party
        tracked_objects.append((MESSAGE, row.id, label_start + partner, ("messages", str(row.id))))
    tracked_objects += [
        (REQUEST, request["id"], f"request {request['number']} to {request['agency']}", None)
        for request in report["requests"]
    ]
    for row in report["deliveries"]:
        parameters = row["parameters"]
        operation_name = (
            parameters.get("operation") or parameters.get("action") or parameters.get("task") or row["agent"]
        )
        link = ("deliveries", str(row["id"]))
        tracked_objects.append((DELIVERY, row["id"], f"{operation_name} to {row['destination']}", link))
    keyed_steps = [
        (
            step.at,
            step.id,
            TrailStep(step.at, label, step.event, step.to_state, step.actor, step.detail, link),
        )
        for machine, object_id, label, link in tracked_objects
        for step in transitions.list_transitions(conn, machine, object_id)
    ]
    return [step for _, _, step in sorted(keyed_steps, key=lambda keyed_step: keyed_step[:2])]
