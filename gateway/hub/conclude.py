"""A decided case becomes one result: signed, stored, and on its way to applicant and customs.

The result is made outside the transaction from what is decided, and named by it: made
twice, it is stored once.  `notify_applicant` does the same for one notice on the way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lxml import etree
from sqlalchemy import Connection, Row

from gateway.agreements import PMode
from gateway.cases.agency_notices import DecisionCode, Notice
from gateway.cases.case_outcome import CaseOutcome, RankedDecision, select_current_decisions
from gateway.cases.result_documents import (
    CaseHeader,
    DecidedRequest,
    ReportedProblem,
    RequestState,
    make_notice_document,
    make_result_document,
)
from gateway.errors import OUR_MISTAKE, PMODE_UNKNOWN, GatewayError
from gateway.evidence.evidence_log import record_evidence
from gateway.hub.admit import FinishLease
from gateway.hub.completion import case_closing
from gateway.hub.hub import Hub
from gateway.hub.outbox.outgoing_calls import CUSTOMS, OutgoingCall
from gateway.hub.reply import compute_conclusion_id, make_standing_decisions
from gateway.message_model import AckRequest, Payload, UserMessage
from gateway.protocols import PROTOCOLS, Parcel
from gateway.store import agency_requests as requests
from gateway.store import cases, decisions, deliveries, messages, notices, payloads
from gateway.store.deliveries import NewDelivery
from gateway.store.engine import read_transaction, write_transaction
from gateway.store.messages import NewMessage
from gateway.wire.shipped_schemas import RESULT, load_shipped_schemas
from gateway.wire.xml import serialize_element
from gateway.xmlsec.xades import sign_document

__all__ = ["Conclusion", "conclude_case", "notify_applicant"]


@dataclass(frozen=True, slots=True)
class _CaseSnapshot:
    """A case as it stood in one transaction."""

    case: Row[Any]
    message: Row[Any]
    requests: tuple[Row[Any], ...]
    decisions: tuple[RankedDecision, ...]

    @property
    def request_numbers(self) -> dict[int, str]:
        """Return the number of each request by its row id."""
        return {row.id: row.number for row in self.requests}


@dataclass(frozen=True, slots=True)
class _SealedMessage:
    """A message to the applicant, sealed once."""

    unit: UserMessage
    pmode: PMode
    parcel: Parcel
    identity: str
    signer: str


@dataclass(frozen=True, slots=True)
class _QueuedMessage:
    """What is stored and queued: under which key, once, and behind which delivery."""

    outgoing: _SealedMessage
    key: str
    follows: int | None = None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """One conclusion of a case: its name, and which decisions it rests on (None: on none)."""

    key: str
    rests_on: str | None = None


def conclude_case(hub: Hub, case_id: int, told: Conclusion, finish: FinishLease) -> None:
    """Make the result of a decided or refused case and put it on its way.

    A conclusion that a correction has overtaken is told to nobody: the next one follows.
    """
    now = hub.clock()
    facts = _load_case_snapshot(hub, case_id)
    if not _is_current_conclusion(told, facts.case, facts.decisions):
        with write_transaction(hub.engine, "conclude.overtaken") as conn:
            finish(conn)
        return
    outgoing = _seal_message(hub, facts, "Result", _make_result_document(facts, now), now)
    customs = _compose_customs_call(hub, facts)
    with write_transaction(hub.engine, "conclude.result") as conn:
        case = cases.lock_case(conn, case_id)
        if _is_current_conclusion(
            told, case, make_standing_decisions(decisions.list_by_case(conn, case_id), facts.request_numbers)
        ):
            earlier = deliveries.list_by_case(conn, case_id)
            _store_message(
                conn,
                hub,
                facts,
                _QueuedMessage(outgoing, f"result:{told.key}", _find_earlier_result(earlier)),
                now,
            )
            if customs is not None:
                _enqueue_customs_call(conn, facts, customs, (f"customs:19:{told.key}", earlier), now)
        finish(conn)


def _is_current_conclusion(told: Conclusion, case: Row[Any], standing: Iterable[RankedDecision]) -> bool:
    return told.rests_on is None or told.rests_on == compute_conclusion_id(
        CaseOutcome(case.outcome), standing
    )


def _find_earlier_result(earlier: Iterable[Row[Any]]) -> int | None:
    """Return the result that this one corrects, while it is on its way: they arrive in their order."""
    told = [row for row in earlier if row.agent == "msh" and row.parameters.get("action") == "Result"]
    return max((row.id for row in told if row.state != "FAILED"), default=None)


def notify_applicant(hub: Hub, notice_id: int, finish: FinishLease) -> None:
    """Tell the applicant one notice of an agency, where that is agreed."""
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        said = notices.find_by_id(conn, notice_id)
        request = requests.find_by_id(conn, said.request_id) if said else None
    if said is None or request is None:
        raise GatewayError(OUR_MISTAKE, f"notice {notice_id} is gone")
    facts = _load_case_snapshot(hub, request.case_id)
    try:
        outgoing = _seal_message(hub, facts, "Notice", _make_notice_document(facts, request, said, now), now)
    except GatewayError as error:
        if error.problem is not PMODE_UNKNOWN:
            raise
        outgoing = None
    with write_transaction(hub.engine, "conclude.notice") as conn:
        case = cases.lock_case(conn, request.case_id)
        if outgoing is not None:
            _store_message(conn, hub, facts, _QueuedMessage(outgoing, f"notice:{notice_id}"), now)
        finish(conn)
        case_closing.close_case_when_done(conn, case, now)


def _load_case_snapshot(hub: Hub, case_id: int) -> _CaseSnapshot:
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_id(conn, case_id)
        message = messages.find_by_id(conn, case.message) if case else None
        if case is None or message is None:
            raise GatewayError(OUR_MISTAKE, f"case {case_id} is gone")
        asked = tuple(requests.list_by_case(conn, case_id))
        rows = decisions.list_by_case(conn, case_id)
    standing = make_standing_decisions(rows, {row.id: row.number for row in asked})
    return _CaseSnapshot(case, message, asked, select_current_decisions(standing))


def _make_case_header(facts: _CaseSnapshot, now: datetime) -> CaseHeader:
    refused = facts.case.state == "REFUSED"
    reference = facts.case.detail["reference"] if refused else facts.case.functional_reference
    return CaseHeader(facts.case.number, reference, now)


def _make_result_document(facts: _CaseSnapshot, now: datetime) -> etree._Element:
    by_number = {row.number: DecidedRequest(row.number, row.document, row.agency) for row in facts.requests}
    found = tuple(ReportedProblem(**one) for one in (facts.case.detail or {}).get("problems", ()))
    told = tuple((by_number[one.request], one) for one in facts.decisions)
    return make_result_document(_make_case_header(facts, now), CaseOutcome(facts.case.outcome), told, found)


def _make_notice_document(
    facts: _CaseSnapshot, request: Row[Any], said: Row[Any], now: datetime
) -> etree._Element:
    state = RequestState(
        request.application, request.document, request.agency, request.state, request.receipt_number or ""
    )
    notice = Notice(
        said.number, said.issued_at, said.status_code, (), said.text, tuple(said.pointers), said.deadline
    )
    return make_notice_document(_make_case_header(facts, now), state, notice)


def _seal_message(
    hub: Hub, facts: _CaseSnapshot, action: str, document: etree._Element, now: datetime
) -> _SealedMessage:
    """Sign a document and seal it into a message to the applicant; slow, outside any transaction."""
    load_shipped_schemas(RESULT).validate_document(document)
    signed = sign_document(document, hub.signer, now=now)
    knowledge = hub.refresh_snapshot()
    came_by = knowledge.book.find_by_id(facts.message.pmode_id or "")
    if came_by is None:
        raise GatewayError(PMODE_UNKNOWN, "the agreement of the submission is no longer in force", "eb:CPAId")
    pmode = knowledge.book.get_reply_pmode(came_by, action)
    context = hub.make_protocol_context(knowledge)
    protocol = PROTOCOLS[pmode.protocol]
    unit = _make_user_message(facts, pmode, context.make_message_id(), serialize_element(signed), now)
    parcel = protocol.seal((unit,), pmode, context)
    signer = context.keys[hub.party].certificate.sha256
    return _SealedMessage(unit, pmode, parcel, parcel.body.sha256_hex, signer)


def _make_user_message(
    facts: _CaseSnapshot, pmode: PMode, message_id: str, content: bytes, now: datetime
) -> UserMessage:
    terms = pmode.reliability
    acknowledged = terms.ack_requested != "never"
    return UserMessage(
        message_id=message_id,
        conversation_id=facts.message.conversation_id,
        sender=pmode.sender,
        receiver=pmode.receiver,
        agreement=pmode.agreement,
        timestamp=now.replace(microsecond=now.microsecond // 1000 * 1000),
        service=pmode.service,
        service_type=pmode.service_type,
        action=pmode.action,
        ref_to_message_id=facts.message.message_id,
        duplicate_elimination=terms.duplicate_elimination != "never",
        ack_requested=AckRequest(signed=terms.ack_signed != "never") if acknowledged else None,
        sync_reply=pmode.sync_reply_mode != "none",
        payloads=(Payload(f"document.{message_id}", "application/xml", content),),
    )


def _store_message(
    conn: Connection, hub: Hub, facts: _CaseSnapshot, told: _QueuedMessage, now: datetime
) -> None:
    """Store the sealed message and queue it, unless the same was stored before."""
    outgoing = told.outgoing
    unit, pmode = outgoing.unit, outgoing.pmode
    with outgoing.parcel.body.open_stream() as stream:
        content = stream.read()
    terms = pmode.reliability
    queued = deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="msh",
            destination=facts.case.applicant,
            lane=f"msh:{facts.case.applicant}",
            subject_type="case",
            subject_id=str(facts.case.id),
            dedupe_key=told.key,
            case_id=facts.case.id,
            follows=told.follows,
            wire_id=unit.message_id,
            payload_sha256=payloads.store_payload(conn, content, now),
            parameters={
                "endpoint": pmode.endpoint or "",
                "headers": dict(outgoing.parcel.headers),
                "action": unit.action,
                "pmode": pmode.id,
                "retries": terms.retries,
                "retry_interval": terms.retry_interval,
                "receipt": unit.ack_requested is not None,
            },
            expires_at=now + timedelta(seconds=terms.time_to_live),
        ),
        now,
    )
    if queued is not None:
        new = _make_message_row(hub, facts, outgoing, content)
        messages.insert_own_message(conn, new, now, "conclude")
        record_evidence(
            conn, "NRS", "case", facts.case.id, outgoing.identity, {"message_id": unit.message_id}, now
        )


def _make_message_row(hub: Hub, facts: _CaseSnapshot, outgoing: _SealedMessage, content: bytes) -> NewMessage:
    unit = outgoing.unit
    return NewMessage(
        message_id=unit.message_id,
        protocol=outgoing.pmode.protocol,
        kind="UserMessage",
        conversation_id=unit.conversation_id,
        from_party=hub.party,
        to_party=facts.case.applicant,
        service=unit.service,
        action=unit.action,
        identity_sha256=outgoing.identity,
        parcel_headers=dict(outgoing.parcel.headers),
        parcel=content,
        payloads=unit.payloads,
        direction="out",
        ref_to_message_id=unit.ref_to_message_id,
        pmode_id=outgoing.pmode.id,
        signer_sha256=outgoing.signer,
        case_id=facts.case.id,
    )


def _compose_customs_call(hub: Hub, facts: _CaseSnapshot) -> tuple[OutgoingCall, bytes] | None:
    """Word pending code 19 with what was approved; a case without requests, or rejected, has none."""
    if (
        not facts.requests
        or facts.case.outcome not in ("APPROVED", "PARTIAL")
        or not hub.composer.has_destination(CUSTOMS)
    ):
        return None
    approved = (DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS)
    told = [_make_requirement(one) for one in facts.decisions if one.decision.decision in approved]
    call = OutgoingCall(
        CUSTOMS,
        "ReportRequirements",
        f"urn:uuid:{hub.new_uuid()}",
        {"CaseNumber": facts.case.number, "PendingCode": "19", "Requirement": told},
    )
    return call, hub.composer.compose_call(call)


def _make_requirement(standing: RankedDecision) -> dict[str, Any]:
    decision = standing.decision
    told = {
        "item": decision.item,
        "law": decision.law,
        "number": decision.number,
        "date": decision.date,
        "quantity": decision.quantity,
        "unit": decision.unit,
    }
    return {name: value for name, value in told.items() if value is not None}


def _enqueue_customs_call(
    conn: Connection,
    facts: _CaseSnapshot,
    worded: tuple[OutgoingCall, bytes],
    place: tuple[str, Iterable[Row[Any]]],
    now: datetime,
) -> None:
    (call, envelope), (key, deliveries_so_far) = worded, place
    earlier = [row.id for row in deliveries_so_far if row.destination == CUSTOMS]
    deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="soap",
            destination=CUSTOMS,
            subject_type="case",
            subject_id=str(facts.case.id),
            dedupe_key=key,
            case_id=facts.case.id,
            wire_id=call.message_id,
            payload_sha256=payloads.store_payload(conn, envelope, now),
            parameters={"operation": call.operation, "pending_code": "19"},
            follows=max(earlier, default=None),
        ),
        now,
    )
