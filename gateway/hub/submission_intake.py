"""Step 1 without ebXML: a signed submission of the API or the console is stored with its receipt.

The submission is the document that a message carries, signed by its declarant. The connection or
the session proves who sends it. The receipt is made and signed before the transaction. When the
transaction has committed, the submission is in the database as a message of its sender, with its
attachments, its receipt, the evidence of who sent it and a task that admits it
(`gateway.hub.admit`). From there on nothing distinguishes it from a message of ebXML. The same
submission under the same id gets the same receipt again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import FilingFacts, make_receipt_document
from gateway.errors import (
    DOCUMENT_INVALID,
    HEADER_INVALID,
    MIME_MALFORMED,
    NOT_SUPPORTED,
    OUR_MISTAKE,
    PARTY_UNKNOWN,
    GatewayError,
)
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox import enqueue_task
from gateway.hub.register import RegisterSnapshot, StaleSnapshotError
from gateway.hub.trust import open_document
from gateway.message_model import Payload, as_body, count_octets
from gateway.store import (
    HttpResponse,
    NewMessage,
    confirm_copies,
    get_disk_reserve,
    messages,
    read_transaction,
    run_in_group_commit,
)
from gateway.wire import SERVICE_DECLARATION, SUB
from gateway.xmlsec import write_signed_document

__all__ = ["FiledSubmission", "FilingReceipt", "file_submission"]

_ATTEMPTS: Final = 3
_LONGEST_ID: Final = 200
_ID: Final = re.compile(r"[!-;=?-~]{1,200}")
_CONTENT_ID: Final = re.compile(r"[!-~]{1,250}")
_ACTIONS: Final = {"9": "Submit", "35": "Supplement", "13": "Amend", "1": "Withdraw"}
_FIRST_PART: Final = "submission"


@dataclass(frozen=True, slots=True)
class FiledSubmission:
    """A signed submission as it came, its attachments, and the party that sent it.

    `channel` is ``api`` or ``console``, `way` how the party was authenticated. An empty `message_id`
    is replaced by a new one.
    """

    content: bytes = field(repr=False)
    attachments: tuple[Payload, ...]
    channel: str
    party: str
    way: Mapping[str, Any]
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class FilingReceipt:
    """The row id and the id of the stored submission, and its signed receipt as it was stored first.

    `new` is false for a submission that was stored before.
    """

    message: int
    message_id: str
    new: bool
    receipt: HttpResponse


def file_submission(hub: Hub, filed: FiledSubmission) -> FilingReceipt:
    """Store a submission; when it returns, the submission and its receipt are committed.

    Raises GW104, GW402 and GW311 for what is no submission, GW107 for an id that is no id, GW302
    for a party that is not active, GW312 for an id that was used for another submission. Then
    nothing is stored.
    """
    message_id = filed.message_id or f"{hub.new_uuid()}@{hub.host}"
    _check_ids(filed, message_id)
    action = _read_action(hub, filed.content)
    for _ in range(_ATTEMPTS):
        knowledge = hub.get_snapshot()
        try:
            return _store_submission(hub, filed, (message_id, action), knowledge)
        except StaleSnapshotError:
            hub.refresh_snapshot()
        except GatewayError:
            if hub.is_snapshot_current(knowledge):
                raise
            hub.refresh_snapshot()
    raise GatewayError(OUR_MISTAKE, "the register changes too fast")


def _check_ids(filed: FiledSubmission, message_id: str) -> None:
    if _ID.fullmatch(message_id) is None:
        detail = f"an id has 1 to {_LONGEST_ID} ASCII characters, no white space and no angle brackets"
        raise GatewayError(HEADER_INVALID, detail, "MessageId")
    known = {_FIRST_PART}
    for one in filed.attachments:
        place = f"cid:{one.content_id[:80]}"
        if _CONTENT_ID.fullmatch(one.content_id) is None:
            raise GatewayError(MIME_MALFORMED, "this is no content id", place)
        if one.content_id in known:
            raise GatewayError(MIME_MALFORMED, "two parts have this content id", place)
        known.add(one.content_id)


def _read_action(hub: Hub, content: bytes) -> str:
    """Return the action of a submission; what is wrong with its content, its case will say."""
    root = open_document(content, hub.limits).root
    if root.tag != f"{{{SUB}}}Submission":
        raise GatewayError(DOCUMENT_INVALID, "the document is no submission", "/")
    function = (root.findtext(f"{{{SUB}}}Function") or "").strip()
    action = _ACTIONS.get(function)
    if action is None:
        detail = (
            f"Function {function[:10]!r} is not served; 9 and 35 are" if function else "it has no Function"
        )
        raise GatewayError(NOT_SUPPORTED, detail, "/Submission/Function")
    return action


def _store_submission(
    hub: Hub, filed: FiledSubmission, named: tuple[str, str], knowledge: RegisterSnapshot
) -> FilingReceipt:
    if filed.party not in knowledge.parties:
        raise GatewayError(PARTY_UNKNOWN, f"party {filed.party[:80]} is not active", "party")
    message, now = _make_message_row(hub, filed, named), hub.clock()
    known = _find_earlier_receipt(hub, message)
    if known is not None:
        return known
    get_disk_reserve(hub.engine).require_octets(sum(count_octets(one.octets) for one in message.payloads))
    problem = None if hub.stamping is None else hub.stamping.find_refusal_problem(now)
    if problem is not None:
        raise problem
    receipt = _make_receipt(hub, filed, message)
    messages.put_large_octets(hub.engine, message)

    def store(conn: Connection) -> FilingReceipt:
        hub.check_snapshot_current(conn, knowledge)
        accepted = messages.accept_message(conn, message, receipt, now)
        if accepted.new:
            _record_new_submission(conn, filed, message, accepted.id, (knowledge.epoch, now))
        return FilingReceipt(accepted.id, message.message_id, accepted.new, accepted.answer or receipt)

    return run_in_group_commit(hub.engine, "intake.submission", store)


def _find_earlier_receipt(hub: Hub, message: NewMessage) -> FilingReceipt | None:
    """Return the stored receipt of the same submission: no second receipt is signed for it."""
    with read_transaction(hub.engine) as conn:
        row = messages.find_by_message_id(conn, "in", message.from_party, message.message_id)
        same = row is not None and row.identity_sha256 == message.identity_sha256
        stored = messages.find_response(conn, row.id) if row is not None and same else None
    if row is None or stored is None:
        return None
    confirm_copies(hub.engine)
    return FilingReceipt(row.id, message.message_id, False, stored)


def _make_message_row(hub: Hub, filed: FiledSubmission, named: tuple[str, str]) -> NewMessage:
    message_id, action = named
    first = Payload(_FIRST_PART, "application/xml", filed.content)
    parts = (first, *filed.attachments)
    digests = {one.content_id: as_body(one.octets).sha256_hex for one in parts}
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
    parts = [(one.content_id, count_octets(one.octets)) for one in filed.attachments]
    further = {name: (digests[name], octets) for name, octets in parts}
    facts = FilingFacts(message.message_id, filed.party, filed.channel, now, digests[_FIRST_PART], further)
    signed = write_signed_document(make_receipt_document(facts), hub.signer, now=now)
    return HttpResponse(201, {"Content-Type": "application/xml"}, signed)


def _record_new_submission(
    conn: Connection, filed: FiledSubmission, message: NewMessage, stored: int, seen: tuple[int, datetime]
) -> None:
    """Record the evidence of who sent it, and queue the task that admits it."""
    epoch, now = seen
    data = {
        "message_id": message.message_id,
        "channel": filed.channel,
        "party": filed.party,
        "way": dict(filed.way),
        "epoch": epoch,
    }
    record_evidence(conn, "filed", "message", stored, message.identity_sha256, data, now)
    enqueue_task(conn, "admit", ("message", stored), f"admit:{stored}", now)
