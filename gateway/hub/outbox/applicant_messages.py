"""Signs, seals, stores and queues documents about a case as messages to the applicant.

Sealing is slow and happens before the transaction. The sealed octets are the same on every attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from lxml import etree
from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.cases import (
    APPROVING_CODES,
    CaseHeader,
    CaseOutcome,
    RankedDecision,
    RequestState,
    select_current_decisions,
)
from gateway.errors import PMODE_UNKNOWN, GatewayError
from gateway.evidence import STORED, describe_stored_message, record_evidence
from gateway.hub.completion.case_closing import AwaitedNumber, case_transaction, list_awaited_numbers
from gateway.hub.completion.outside_decisions import list_cancelled_above, list_outside_decisions
from gateway.hub.completion.standing_demands import list_standing_numbers, make_standing_decisions
from gateway.hub.hub import Hub
from gateway.hub.outbox.delivery_failures import KeptDocument, is_filed_without_ebxml, store_kept_document
from gateway.hub.outbox.local_tasks import FinishLease, require_row
from gateway.hub.outbox.outgoing_order import assign_probable_number, make_outgoing_key
from gateway.hub.outbox.response_bundle import find_response_pmodes, get_response_wait, list_bundled_units
from gateway.hub.outbox.sent_fragments import SealedSplit, seal_split, store_fragments
from gateway.hub.outbox.signal_outbox import (
    RequestedReceipts,
    ensure_message_lane,
    get_pull_end,
    make_posting_lane,
    make_pull_lane,
    request_receipts,
)
from gateway.hub.register.trusted_register import RegisterSnapshot
from gateway.message_model import Body, Payload, Unit, UserMessage
from gateway.protocols import PROTOCOLS, Parcel
from gateway.store import (
    AgencyRequestRow,
    CaseFacts,
    CaseRow,
    HttpResponse,
    MessageRow,
    NewDelivery,
    NewMessage,
    RequestWithFeesRow,
    decisions,
    deliveries,
    find_case_facts,
    item_releases,
    messages,
    ordered_deliveries,
    payloads,
    read_transaction,
)
from gateway.store import agency_requests as requests
from gateway.wire import RESULT, load_shipped_schemas, serialize_element
from gateway.xmlsec import sign_document

#: So long after the last moment at which a request may get its response, the response is posted.
_GRACE: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class CaseSnapshot:
    """A case with its message, requests and decisions, and the register, read in one transaction."""

    case: CaseRow
    message: MessageRow
    register_snapshot: RegisterSnapshot
    requests: tuple[RequestWithFeesRow, ...] = ()
    decisions: tuple[RankedDecision, ...] = ()
    #: Cancelled applications of its parent, each with the items of them that the case has.
    cancelled_above: tuple[tuple[RequestWithFeesRow, frozenset[int]], ...] = ()
    #: The numbers that it still waits for.
    awaited: tuple[AwaitedNumber, ...] = ()
    #: Others than its own applications may decide about it, or may have.
    is_decided_outside: bool = False


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """A message to the applicant, sealed once; its `identity` is the SHA-256 of its parcel.

    `request_pmode` is the P-Mode of the request whose HTTP answer this message may go into; it is posted only
    when no request waits for it any more, at `post_at`.
    """

    unit: UserMessage
    pmode: PMode
    parcel: Parcel
    identity: str
    signer: str
    receipts: RequestedReceipts
    request_pmode: PMode | None = None
    post_at: datetime | None = None
    #: The position since the last Reset with which it is sealed; None without an order.
    position: int | None = None
    #: Its fragments, where it goes in such: `parcel` is then the whole, which is not sent itself.
    split: SealedSplit | None = None


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A sealed message, the key under which it is queued once, and the delivery it follows.

    A document for an applicant without an agreement is kept under the key instead.
    """

    outgoing: SealedMessage | KeptDocument
    key: str
    follows: int | None = None


def load_case_snapshot(hub: Hub, case_id: int) -> CaseSnapshot:
    """Return a case as it is now; raises GW901 when it does not exist."""
    with read_transaction(hub.engine) as conn:
        case_facts = require_row(find_case_facts(conn, case_id), f"case {case_id}")
        undecided_snapshot = make_undecided_snapshot(hub, case_facts)
        case_requests = tuple(requests.list_by_case(conn, case_id))
        rows = decisions.list_by_case(conn, case_id)
        is_decided_outside = item_releases.may_have_outside_decisions(conn, case_id)
        outside = list_outside_decisions(conn, case_id) if is_decided_outside else ()
        cancelled = list_cancelled_above(conn, case_id) if is_decided_outside else ()
        awaited = list_awaited_numbers(conn, case_id) if case_facts.awaits_requirement else ()
    ranked_decisions = (*make_standing_decisions(rows, list_standing_numbers(case_requests)), *outside)
    if undecided_snapshot.case.outcome == CaseOutcome.WITHDRAWN:
        # Approvals of a withdrawn declaration have no effect, even if its Result is made later.
        ranked_decisions = tuple(
            ranked for ranked in ranked_decisions if ranked.decision.decision not in APPROVING_CODES
        )
    return replace(
        undecided_snapshot,
        requests=case_requests,
        decisions=select_current_decisions(ranked_decisions),
        cancelled_above=cancelled,
        awaited=awaited,
        is_decided_outside=is_decided_outside,
    )


def make_undecided_snapshot(hub: Hub, case_facts: CaseFacts) -> CaseSnapshot:
    """Return the snapshot of a case that was just read, without requests and decisions."""
    return CaseSnapshot(
        case_facts.case, case_facts.message, hub.register.confirm_version(case_facts.register_version)
    )


def make_case_header(case_snapshot: CaseSnapshot, now: datetime) -> CaseHeader:
    """Return the header of a document about a case."""
    refused = case_snapshot.case.state == "REFUSED"
    reference = case_snapshot.case.detail["reference"] if refused else case_snapshot.case.functional_reference
    return CaseHeader(case_snapshot.case.number, reference, now)


def make_request_state(request: AgencyRequestRow) -> RequestState:
    """Return the state of the application of a request in the form of a Notice."""
    return RequestState(
        request.application, request.document, request.agency, request.state, request.receipt_number or ""
    )


def seal_message(
    hub: Hub, case_snapshot: CaseSnapshot, action: str, document: etree._Element, now: datetime
) -> SealedMessage | KeptDocument:
    """Sign a document and seal it into a message to the applicant; slow, so call it outside a transaction.

    For an applicant that filed without ebXML the document is only signed.
    """
    load_shipped_schemas(RESULT).validate_document(document)
    signing_key = hub.signer
    signed = serialize_element(sign_document(document, signing_key, now=now))
    if is_filed_without_ebxml(case_snapshot.message):
        return KeptDocument(action, signed, signing_key.certificate.sha256)
    register = case_snapshot.register_snapshot
    submission_pmode = register.book.find_by_id(
        case_snapshot.message.agreement_id, case_snapshot.message.pmode_id or "", now
    )
    if submission_pmode is None:
        raise GatewayError(PMODE_UNKNOWN, "the agreement of the submission is no longer in force", "eb:CPAId")
    pmode = register.book.get_reply_pmode(submission_pmode, action, now)
    context = hub.make_protocol_context(register)
    protocol = PROTOCOLS[pmode.protocol]
    receipts = request_receipts(pmode, hub.party, case_snapshot.case.applicant, context)
    unit = _make_user_message(case_snapshot, pmode, context.make_message_id(), signed, receipts, now)
    position: int | None = None
    sequence_key = make_outgoing_key(pmode, case_snapshot.case.applicant, unit.conversation_id)
    if sequence_key is not None:
        unit, position = assign_probable_number(hub, unit, sequence_key)
    # An order and an answer on the connection exclude each other (ebMS 2.0 §9.2).
    is_response = sequence_key is None and pmode in find_response_pmodes(register.book, submission_pmode, now)
    request_pmode = submission_pmode if is_response else None
    units: tuple[Unit, ...] = (unit,)
    if request_pmode is not None:
        unit = _adapt_to_answer(unit, pmode)
        receipts = RequestedReceipts(unit.ack_requested, None, None)
        first_answer = _load_first_answer(hub, case_snapshot.message.id)
        units = (unit, *list_bundled_units(hub, request_pmode, unit, first_answer, case_snapshot.case.detail))
    may_be_split = request_pmode is None and sequence_key is None and receipts.is_any_requested
    split = seal_split(hub, unit, pmode, context) if may_be_split else None
    parcel = protocol.seal(units, pmode, context) if split is None else split.source
    identity = parcel.body.sha256_hex
    hub.sent_units.keep_unit(identity, parcel)
    signer = context.signers[hub.party].certificate.sha256
    post_at = (
        None
        if request_pmode is None
        else case_snapshot.message.received_at + get_response_wait(hub, request_pmode) + _GRACE
    )
    return SealedMessage(
        unit,
        pmode,
        parcel,
        identity,
        signer,
        receipts,
        request_pmode=request_pmode,
        post_at=post_at,
        position=position,
        split=split,
    )


def seal_notice(
    hub: Hub, case_snapshot: CaseSnapshot, document: etree._Element, now: datetime
) -> SealedMessage | KeptDocument | None:
    """Seal a document as a Notice, as `seal_message` does; None where the agreement has no P-Mode for one."""
    try:
        return seal_message(hub, case_snapshot, "Notice", document, now)
    except GatewayError as error:
        if error.problem is not PMODE_UNKNOWN:
            raise
        return None


def send_notice(
    hub: Hub,
    transaction_name: str,
    case_snapshot: CaseSnapshot,
    document: etree._Element | None,
    key: str,
    now: datetime,
    end_lease: FinishLease,
) -> None:
    """Send the applicant a document as a Notice, once for a key, and end the lease.

    Both are done in the transaction `transaction_name`. Without a document, and where the agreement has no
    P-Mode for a Notice, only the lease ends.
    """
    outgoing = None if document is None else seal_notice(hub, case_snapshot, document, now)
    with case_transaction(hub, transaction_name, case_snapshot.case.id, end_lease) as (conn, _):
        if outgoing is not None:
            store_message(conn, hub, case_snapshot, QueuedMessage(outgoing, key), now)


def _adapt_to_answer(unit: UserMessage, pmode: PMode) -> UserMessage:
    """Return a message as it goes into an HTTP answer: nothing can answer it on that connection."""
    asks = unit.ack_requested if pmode.reliability.ack_requested == "always" else None
    return replace(unit, sync_reply=False, ack_requested=asks, hop_ack_requested=None)


def _load_first_answer(hub: Hub, message: int) -> HttpResponse | None:
    """Return the first answer to a message (row id); None where it has none."""
    with read_transaction(hub.engine) as conn:
        return messages.find_response(conn, message)


def _make_user_message(
    case_snapshot: CaseSnapshot,
    pmode: PMode,
    message_id: str,
    content: bytes,
    receipts: RequestedReceipts,
    now: datetime,
) -> UserMessage:
    """Return the message with an id and a document that asks for receipts."""
    terms = pmode.reliability
    return UserMessage(
        message_id=message_id,
        conversation_id=case_snapshot.message.conversation_id,
        sender=pmode.sender,
        receiver=pmode.receiver,
        agreement=pmode.agreement,
        timestamp=now.replace(microsecond=now.microsecond // 1000 * 1000),
        service=pmode.service,
        service_type=pmode.service_type,
        action=pmode.action,
        ref_to_message_id=case_snapshot.message.message_id,
        duplicate_elimination=terms.duplicate_elimination != "never",
        ack_requested=receipts.of_receiver,
        hop_ack_requested=receipts.of_next,
        sync_reply=pmode.sync_reply_mode != "none",
        payloads=(Payload(f"document.{message_id}", "application/xml", content),),
    )


def store_message(
    conn: Connection, hub: Hub, case_snapshot: CaseSnapshot, queued_message: QueuedMessage, now: datetime
) -> bool:
    """Store the sealed message and queue it, unless a message with the same key is queued already.

    Returns whether a delivery was queued.
    """
    outgoing = queued_message.outgoing
    if isinstance(outgoing, KeptDocument):
        store_kept_document(
            conn, hub, case_snapshot.case, case_snapshot.message, outgoing, queued_message.key, now
        )
        return False
    content = outgoing.parcel.get_octets()
    sequence_key = make_outgoing_key(
        outgoing.pmode, case_snapshot.case.applicant, outgoing.unit.conversation_id
    )
    next_position = (
        None if sequence_key is None else ordered_deliveries.lock_next_position(conn, sequence_key, now)
    )
    ensure_message_lane(
        conn, _make_message_lane(case_snapshot.case.applicant, outgoing.pmode), outgoing.pmode
    )
    payloads.store_digested_payloads(conn, [(outgoing.identity, content)], now)
    new = _make_delivery(case_snapshot, outgoing, queued_message, now)
    if next_position is not None:
        # One message of the conversation is under way at a time, and its time begins with its turn.
        ordered = {**new.parameters, "ordered": True}
        new = replace(new, follows=next_position.follows, parameters=ordered, expires_at=None)
    queued = deliveries.enqueue_delivery(conn, new, now)
    if queued is None:
        return False
    if next_position is not None and outgoing.position is not None:
        ordered_deliveries.insert_ordered_delivery(conn, next_position, queued, outgoing.position, now)
    row = _make_message_row(hub, case_snapshot, outgoing, content)
    stored = messages.insert_own_message(conn, row, now, "conclude")
    if outgoing.split is not None:
        store_fragments(conn, outgoing.split, queued, stored.id, row, now)
    sealed = {"message_id": outgoing.unit.message_id, STORED: describe_stored_message(stored)}
    record_evidence(conn, "NRS", "case", case_snapshot.case.id, outgoing.identity, sealed, now)
    return True


def _make_delivery(
    case_snapshot: CaseSnapshot, outgoing: SealedMessage, queued_message: QueuedMessage, now: datetime
) -> NewDelivery:
    """Return the delivery of a message whose octets are stored."""
    unit, pmode = outgoing.unit, outgoing.pmode
    due_at, expires_at = _schedule_delivery(outgoing, now)
    return NewDelivery(
        agent="msh",
        destination=case_snapshot.case.applicant,
        lane=_make_whole_lane(case_snapshot.case.applicant, outgoing),
        subject_type="case",
        subject_id=str(case_snapshot.case.id),
        dedupe_key=queued_message.key,
        case_id=case_snapshot.case.id,
        payload_sha256=outgoing.identity,
        follows=queued_message.follows,
        wire_id=unit.message_id,
        parameters={
            "endpoint": pmode.endpoint or "",
            "headers": dict(outgoing.parcel.headers),
            "action": unit.action,
            "agreement": pmode.agreement,
            "pmode": pmode.id,
            "retries": pmode.reliability.retries,
            "retry_interval": pmode.reliability.retry_interval,
            "receipt": outgoing.receipts.is_any_requested,
            **outgoing.receipts.hop_parameters,
            **_describe_split(case_snapshot.case.applicant, outgoing),
        },
        due_at=due_at,
        expires_at=expires_at,
    )


def _describe_split(applicant: str, outgoing: SealedMessage) -> dict[str, Any]:
    """Return the parameters of the delivery of a message in fragments; empty for any other message."""
    split, pmode = outgoing.split, outgoing.pmode
    if split is None:
        return {}
    times = {"live": split.get_fragment_wait_seconds(pmode), "wait": split.get_receipt_wait_seconds(pmode)}
    # The whole has no signature, so its own delivery has no address: it is never posted.
    route = {"endpoint": pmode.endpoint or "", "lane": _make_message_lane(applicant, pmode)}
    return {"endpoint": "", "split": {"count": len(split.fragments), **route, **times}}


def _make_message_lane(applicant: str, pmode: PMode) -> str:
    return make_posting_lane(applicant) if pmode.pull is None else make_pull_lane(applicant, pmode)


def _make_whole_lane(applicant: str, outgoing: SealedMessage) -> str:
    """Return the lane of a message; for one in fragments, the lane of a worker that queues the fragments."""
    if outgoing.split is not None:
        return make_posting_lane(applicant)
    return _make_message_lane(applicant, outgoing.pmode)


def _schedule_delivery(outgoing: SealedMessage, now: datetime) -> tuple[datetime, datetime]:
    """Return the time at which a message is first posted, and the end of its posting.

    A response without an endpoint cannot be posted: it waits for a repeat of its request.
    """
    seconds = outgoing.pmode.reliability.sending_limit
    if outgoing.split is not None:
        return now, now + timedelta(seconds=outgoing.split.get_receipt_wait_seconds(outgoing.pmode))
    if outgoing.pmode.pull is not None:
        return now, get_pull_end(outgoing.pmode, now)
    if outgoing.request_pmode is None or outgoing.post_at is None:
        return now, now + timedelta(seconds=seconds)
    ends = now + timedelta(seconds=max(seconds, outgoing.request_pmode.reliability.sending_limit))
    return (max(now, outgoing.post_at), ends) if outgoing.pmode.endpoint else (ends, ends)


def _make_message_row(
    hub: Hub, case_snapshot: CaseSnapshot, outgoing: SealedMessage, content: bytes | Body
) -> NewMessage:
    """Return the row of a sealed message to the applicant; `content` is its octets, or the body with them."""
    unit = outgoing.unit
    return NewMessage(
        message_id=unit.message_id,
        protocol=outgoing.pmode.protocol,
        kind="UserMessage",
        conversation_id=unit.conversation_id,
        from_party=hub.party,
        to_party=case_snapshot.case.applicant,
        service=unit.service,
        action=unit.action,
        identity_sha256=outgoing.identity,
        parcel_headers=dict(outgoing.parcel.headers),
        parcel=content,
        parcel_sha256=outgoing.identity,
        payloads=unit.payloads,
        direction="out",
        ref_to_message_id=unit.ref_to_message_id,
        agreement_id=outgoing.pmode.agreement,
        pmode_id=outgoing.pmode.id,
        signer_sha256=outgoing.signer,
        case_id=case_snapshot.case.id,
    )
