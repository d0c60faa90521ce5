"""Keeps signed documents for an applicant that filed without ebXML, until the applicant fetches them.

There is no agreement that says where such a document goes. So it is stored as an outgoing message
and is not queued.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.message_model import Payload
from gateway.protocols import PROTOCOLS
from gateway.store import NewMessage, messages

__all__ = ["KeptDocument", "is_filed_without_ebxml", "keep_document"]


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A signed document of an action, and the certificate (SHA-256) that signed it."""

    action: str
    content: bytes = field(repr=False)
    signer: str


def is_filed_without_ebxml(message: Row[Any]) -> bool:
    """Return whether a submission came through the API or the console."""
    return message.protocol not in PROTOCOLS


def keep_document(
    conn: Connection,
    hub: Hub,
    about: tuple[Row[Any], Row[Any]],
    kept: tuple[KeptDocument, str],
    now: datetime,
) -> None:
    """Store a document about a case and its message, once for a key."""
    case, message = about
    document, key = kept
    message_id = f"{key}@{hub.host}"
    if messages.find_by_message_id(conn, "out", hub.party, message_id) is not None:
        return
    digest = hashlib.sha256(document.content).hexdigest()
    new = NewMessage(
        message_id=message_id,
        protocol=message.protocol,
        kind="UserMessage",
        conversation_id=message.conversation_id,
        from_party=hub.party,
        to_party=case.applicant,
        service=message.service,
        action=document.action,
        identity_sha256=digest,
        parcel_headers={"Content-Type": "application/xml"},
        parcel=document.content,
        payloads=(Payload("document", "application/xml", document.content),),
        direction="out",
        ref_to_message_id=message.message_id,
        signer_sha256=document.signer,
        case_id=case.id,
    )
    messages.insert_own_message(conn, new, now, "conclude")
    record_evidence(conn, "NRS", "case", case.id, digest, {"message_id": message_id}, now)
