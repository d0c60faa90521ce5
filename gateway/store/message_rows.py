"""The rows of messages, as the functions that read them return them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol


class ListedMessageRow(Protocol):
    """A message in a list: a row of the table `messages` without headers and bodies."""

    id: int
    message_id: str
    direction: str
    protocol: str
    kind: str
    conversation_id: str
    ref_to_message_id: str | None
    from_party: str
    to_party: str
    service: str
    action: str
    pmode_id: str | None
    signer_sha256: str | None
    identity_sha256: str
    state: str
    problem: str | None
    received_at: datetime
    expires_at: datetime | None
    case_id: int | None
    parcel_sha256: str
    answer_status: int | None
    answer_sha256: str | None
    agreement_id: str | None
    purged_at: datetime | None


class MessageRow(ListedMessageRow, Protocol):
    """A message with the headers of the message and of its answer, without their bodies."""

    parcel_headers: Any
    answer_headers: Any


class MessageWithRegisterRow(MessageRow, Protocol):
    """A message, with the register version in `register`."""

    register: int


class MessagePayloadRow(Protocol):
    """A row of the table `message_payloads`."""

    message: int
    position: int
    content_id: str
    media_type: str
    sha256: str
    size: int
    parcel_offset: int | None
    properties: Any
