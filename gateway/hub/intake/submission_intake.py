"""Step 1 without ebXML: a signed submission of the API or the console is stored with its receipt.

The submission is the document that a message carries, signed by its declarant. The connection or
the session proves who sends it. The receipt is made and signed before the transaction. When the
transaction has committed, the submission is in the database as a message of its sender, with its
attachments, its receipt, the evidence of its sender and a task that admits it
(`gateway.hub.submissions.admit`). From there on nothing distinguishes it from a message of ebXML. The same
submission under the same id gets the same receipt again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import FILING_ACTIONS
from gateway.cases import ReceivedFiling, make_receipt_document
from gateway.errors import (
    DOCUMENT_INVALID,
    HEADER_INVALID,
    MESSAGE_ID_REUSED,
    MIME_MALFORMED,
    NOT_SUPPORTED,
    OUR_MISTAKE,
    PARTY_UNKNOWN,
    GatewayError,
    confirm_refusal,
)
from gateway.evidence import STORED, describe_stored_message, record_evidence
from gateway.hub.hub import Hub, ReceivedMessage
from gateway.hub.outbox.local_tasks import enqueue_task
from gateway.hub.register.trusted_register import RegisterSnapshot, StaleSnapshotError
from gateway.hub.trust.message_senders import open_document
from gateway.message_model import Payload, Unit, UserMessage, as_body, count_octets
from gateway.store import (
    HttpResponse,
    NewMessage,
    confirm_copies,
    get_database_state,
    messages,
    read_columns,
    read_transaction,
    run_in_group_commit,
)
from gateway.wire import SERVICE_DECLARATION, SUB, serialize_element
from gateway.xmlsec import sign_document

_ATTEMPTS: Final = 3
_MAX_ID_LENGTH: Final = 200
_ID: Final = re.compile(r"[!-;=?-~]{1,200}")
_CONTENT_ID: Final = re.compile(r"[!-~]{1,250}")
_FIRST_PART: Final = "submission"


@dataclass(frozen=True, slots=True)
class FiledSubmission:
    """A signed submission as it came, its attachments, and the party that sent it.

    `channel` is ``api`` or ``console``, `authentication` how the party was authenticated. An empty
    `message_id` is replaced by a new one.
    """

    content: bytes = field(repr=False)
    attachments: tuple[Payload, ...]
    channel: str
    party: str
    authentication: Mapping[str, Any]
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class FilingReceipt:
    """The row id and the id of the stored submission, and its signed receipt as it was stored first.

    `is_new` is false for a submission that was stored before.
    """

    message_row_id: int
    message_id: str
    is_new: bool
    receipt: HttpResponse


def file_submission(hub: Hub, filed: FiledSubmission) -> FilingReceipt:
    """Store a submission; when it returns, the submission and its receipt are committed.

    Raises GW104, GW402 and GW311 for content that is no submission, GW107 for an id of the wrong form, GW302
    for a party that is not active, GW312 for an id that was used for another submission. Then nothing is
    stored.
    """
    message_id = filed.message_id or f"{hub.new_uuid()}@{hub.host}"
    _check_ids(filed, message_id)
    action = confirm_refusal(lambda: _read_action(hub, filed.content))
    for _ in range(_ATTEMPTS):
        register = hub.get_snapshot()
        try:
            return _store_submission(hub, filed, message_id, action, register)
        except StaleSnapshotError:
            hub.refresh_snapshot()
        except GatewayError:
            if hub.register.is_snapshot_current(register):
                raise
            hub.refresh_snapshot()
    raise GatewayError(OUR_MISTAKE, "the register changes too fast")


def _check_ids(filed: FiledSubmission, message_id: str) -> None:
    """Check the id of a filed submission, and the content ids of its attachments.

    Raises GW107 for a malformed message id, GW103 for a content id that is malformed or used twice.
    """
    if _ID.fullmatch(message_id) is None:
        detail = f"an id has 1 to {_MAX_ID_LENGTH} ASCII characters, no white space and no angle brackets"
        raise GatewayError(HEADER_INVALID, detail, "MessageId")
    content_ids = {_FIRST_PART}
    for attachment in filed.attachments:
        location = f"cid:{attachment.content_id[:80]}"
        if _CONTENT_ID.fullmatch(attachment.content_id) is None:
            raise GatewayError(MIME_MALFORMED, "this is no content id", location)
        if attachment.content_id in content_ids:
            raise GatewayError(MIME_MALFORMED, "two parts have this content id", location)
        content_ids.add(attachment.content_id)


def _read_action(hub: Hub, content: bytes) -> str:
    """Return the action of a submission, by its Function; raise GatewayError if it has none.

    Other mistakes in its content are not searched for here: the case reports them.
    """
    root = open_document(content, hub.limits).root
    if root.tag != f"{{{SUB}}}Submission":
        raise GatewayError(DOCUMENT_INVALID, "the document is no submission", "/")
    function = (root.findtext(f"{{{SUB}}}Function") or "").strip()
    action = FILING_ACTIONS.get(function)
    if action is None:
        served = ", ".join(sorted(FILING_ACTIONS, key=int))  # bounded: our own numbers
        detail = f"Function {function[:10]!r} is not one of {served}" if function else "it has no Function"
        raise GatewayError(NOT_SUPPORTED, detail, "/Submission/Function")
    return action


def _store_submission(
    hub: Hub, filed: FiledSubmission, message_id: str, action: str, register: RegisterSnapshot
) -> FilingReceipt:
    """Store a filed submission with a signed receipt; a repeat gets the receipt that it got first.

    Raises GW302 for a party that is not active, GW804 where evidence has waited too long for its time stamp,
    and StaleSnapshotError when `register` is not current.
    """
    if filed.party not in register.parties:
        raise GatewayError(PARTY_UNKNOWN, f"party {filed.party[:80]} is not active", "party")
    message, now = _make_message_row(hub, filed, message_id, action), hub.clock()
    earlier_receipt = _find_earlier_receipt(hub, message)
    if earlier_receipt is not None:
        return earlier_receipt
    get_database_state(hub.engine).reserve.require_octets(
        sum(count_octets(payload.octets) for payload in message.payloads)
    )
    problem = None if hub.stamping is None else hub.stamping.find_refusal_problem(now)
    if problem is not None:
        raise problem
    receipt = _make_receipt(hub, filed, message)
    messages.put_large_octets(hub.engine, message)

    def store(conn: Connection) -> FilingReceipt:
        hub.register.check_snapshot_current(conn, register)
        accepted = messages.accept_message(conn, message, receipt, now)
        if accepted.is_new:
            _record_new_submission(conn, filed, message, accepted, register.epoch, now)
        return FilingReceipt(accepted.id, message.message_id, accepted.is_new, accepted.answer or receipt)

    return run_in_group_commit(hub.engine, "intake.submission", store)


def _find_earlier_receipt(hub: Hub, message: NewMessage) -> FilingReceipt | None:
    """Return the stored receipt of the same submission: no second receipt is signed for it."""
    with read_transaction(hub.engine) as conn:
        row = messages.find_by_message_id(conn, "in", message.from_party, message.message_id)
        is_same = row is not None and row.identity_sha256 == message.identity_sha256
        stored_receipt = messages.find_response(conn, row.id) if row is not None and is_same else None
    if row is None or stored_receipt is None:
        return None
    confirm_copies(hub.engine)
    return FilingReceipt(row.id, message.message_id, False, stored_receipt)


def _make_message_row(hub: Hub, filed: FiledSubmission, message_id: str, action: str) -> NewMessage:
    """Return the row of a filed submission; its identity is a digest of the digests of its parts."""
    first = Payload(_FIRST_PART, "application/xml", filed.content)
    parts = (first, *filed.attachments)
    digests = {part.content_id: as_body(part.octets).sha256_hex for part in parts}
    identity = hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()
    return NewMessage(
        message_id=message_id,
        protocol=filed.channel,
        kind="UserMessage",
        conversation_id=message_id,
        from_party=filed.party,
        to_party=hub.party,
        service=SERVICE_DECLARATION,
        action=action,
        identity_sha256=identity,
        parcel_headers={"Content-Type": "application/xml"},
        parcel=filed.content,
        payloads=parts,
        payload_digests=digests,
    )


def _make_receipt(hub: Hub, filed: FiledSubmission, message: NewMessage) -> HttpResponse:
    """Return the signed receipt; raises GW803 without the key, and then nothing is stored."""
    now = hub.clock()
    digests = message.payload_digests
    parts = [(attachment.content_id, count_octets(attachment.octets)) for attachment in filed.attachments]
    attachment_digests = {name: (digests[name], octets) for name, octets in parts}
    facts = ReceivedFiling(
        message.message_id, filed.party, filed.channel, now, digests[_FIRST_PART], attachment_digests
    )
    signed = sign_document(make_receipt_document(facts), hub.signer, now=now)
    return HttpResponse(201, {"Content-Type": "application/xml"}, serialize_element(signed))


def _record_new_submission(
    conn: Connection,
    filed: FiledSubmission,
    message: NewMessage,
    accepted: messages.AcceptedMessage,
    epoch: int,
    now: datetime,
) -> None:
    """Record the evidence of the sender of a submission, and queue the task that admits it.

    `accepted` is the message as stored, `epoch` is the epoch of the register by which it was read.
    """
    data = {
        "message_id": message.message_id,
        "channel": filed.channel,
        "party": filed.party,
        "way": dict(filed.authentication),
        "epoch": epoch,
        STORED: describe_stored_message(accepted),
    }
    record_evidence(conn, "filed", "message", accepted.id, message.identity_sha256, data, now)
    enqueue_task(conn, "admit", "message", accepted.id, f"admit:{accepted.id}", now)


def prepare_as_repeat(
    arrival: ReceivedMessage, prepared: messages.PreparedMessage, problem: GatewayError
) -> messages.PreparedMessage:
    """Return a message with the identity of the stored message that it repeats, so that it gets the receipt.

    Raises `problem`, with which the message was refused, unless this is GW312 and the message has the same
    content as the stored one; also for a fragment, and if the octets of the stored message were removed.
    """
    is_id_reused = problem.problem is MESSAGE_ID_REUSED and arrival.opened.fragment_header is None
    identity = _find_repeated_identity(arrival, prepared) if is_id_reused else None
    if identity is None:
        raise problem
    message = replace(prepared.message, identity_sha256=identity)
    return messages.prepare_message(message, prepared.answer, prepared.at)


def _find_repeated_identity(arrival: ReceivedMessage, prepared: messages.PreparedMessage) -> str | None:
    """Return the identity of the stored message with the same content; None where there is none.

    Compared are the header (see `_select_content`), and the payloads in their order: media type, properties,
    and octets after decryption and decompression.
    """
    hub, message = arrival.hub, prepared.message
    with read_transaction(hub.engine) as conn:
        row = messages.find_by_message_id(conn, message.direction, message.from_party, message.message_id)
        if row is None or row.purged_at is not None or row.protocol != message.protocol:
            return None
        stored_parts = [read_columns(part) for part in messages.list_parts(conn, row.id)]
        stored_parcel = hub.make_parcel(*messages.open_parcel(conn, row.id))
    first, again = (
        _select_content(arrival.protocol.read_sent_header(parcel, hub.limits).unit)
        for parcel in (stored_parcel, arrival.opened.parcel)
    )
    same = first == again and _select_parts(stored_parts) == _select_parts(prepared.parts)
    return str(row.identity_sha256) if same else None


def _select_content(unit: Unit) -> Unit:
    """Return a header without the values that may differ in a repeat.

    These are the time of writing and the end of life, the requests to handlers on the way (SyncReply and the
    acknowledgment of the next handler, which no signature of ebMS 2.0 covers), and texts for people.
    """
    if not isinstance(unit, UserMessage):
        return unit
    return replace(
        unit,
        timestamp=datetime.min.replace(tzinfo=UTC),
        expires_at=None,
        sync_reply=False,
        hop_ack_requested=None,
        description="",
        payloads=(),
    )


def _select_parts(parts: Iterable[Mapping[Any, Any]]) -> list[Any]:
    """Return the values of the payloads that a repeat must have, without Content-IDs, which are random."""
    return [(part["media_type"], part["sha256"], part["size"], part["properties"]) for part in parts]
