"""Makes the units that the suite sends: business messages and every signal, as a row describes them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.agreements import PMode
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import (
    AckRequest,
    ErrorEntry,
    ErrorSignal,
    Payload,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
)

__all__ = ["SAMPLE_PAYLOAD", "UNIT_KEYS", "UnitMaker", "make_unit"]

SAMPLE_PAYLOAD: Final = "<신고 xmlns='urn:example:suite'><품목 번호='1'>튤립 구근</품목></신고>".encode()
#: What a row may say about a unit.
UNIT_KEYS: Final = frozenset(
    [
        "unit",
        "conversation",
        "id",
        "ref",
        "about",
        "expires",
        "ack",
        "hop_ack",
        "elimination",
        "sync",
        "description",
        "action",
        "payloads",
        "codes",
        "severity",
        "sender",
    ]
)


@dataclass(frozen=True)
class UnitMaker:
    """Makes one unit under a P-Mode; `send` is the row, `about` the id of the message that it concerns."""

    pmode: PMode
    send: Mapping[str, Any]
    message_id: str
    conversation: str
    about: str
    at: datetime
    payload: bytes
    is_synchronous: bool

    def make_user_message(self) -> UserMessage:
        """Return a business message as agreed, with what the row says otherwise."""
        terms, send = self.pmode.reliability, self.send
        usual = "unsigned" if terms.ack_signed == "never" else "signed"
        asked = send.get("ack", "none" if terms.ack_requested == "never" else usual)
        return UserMessage(
            message_id=self.message_id,
            conversation_id=self.conversation,
            sender=self.pmode.sender,
            receiver=self.pmode.receiver,
            agreement=self.pmode.agreement,
            timestamp=self.at,
            service=self.pmode.service,
            service_type=self.pmode.service_type,
            action=self.pmode.action,
            ref_to_message_id=send.get("ref"),
            expires_at=self.at + timedelta(seconds=float(send["expires"])) if "expires" in send else None,
            duplicate_elimination=send.get("elimination", terms.duplicate_elimination != "never"),
            ack_requested=None if asked == "none" else AckRequest(asked == "signed"),
            hop_ack_requested=_read_hop_request(send),
            sync_reply=send.get("sync", self.pmode.sync_reply_mode != "none"),
            payloads=_make_payloads(send.get("payloads", [{}]), self.message_id, self.payload),
            description=send.get("description", ""),
        )

    def make_ping(self) -> Ping:
        """Return a Ping."""
        return Ping(**self._get_header(), sync_reply=self.send.get("sync", self.is_synchronous))

    def make_pong(self) -> Pong:
        """Return a Pong."""
        return Pong(**self._get_header(), ref_to_message_id=self.about)

    def make_status_request(self) -> StatusRequest:
        """Return a StatusRequest."""
        sync = self.send.get("sync", self.is_synchronous)
        return StatusRequest(**self._get_header(), about=self.about, sync_reply=sync)

    def make_status_response(self) -> StatusResponse:
        """Return a StatusResponse."""
        return StatusResponse(
            **self._get_header(), ref_to_message_id=self.about, about=self.about, status="NotRecognized"
        )

    def make_receipt(self) -> Receipt:
        """Return an Acknowledgment without references."""
        return Receipt(**self._get_header(), ref_to_message_id=self.about, received_at=self.at)

    def make_error(self) -> ErrorSignal:
        """Return a MessageError."""
        severity = self.send.get("severity", "Error")
        codes = self.send.get("codes", ("Unknown",))
        errors = tuple(ErrorEntry(code, severity, "", "made by the suite") for code in codes)
        return ErrorSignal(**self._get_header(), ref_to_message_id=self.about, errors=errors)

    def _get_header(self) -> dict[str, Any]:
        return {
            "message_id": self.message_id,
            "conversation_id": self.conversation,
            "sender": self.pmode.sender,
            "receiver": self.pmode.receiver,
            "agreement": self.pmode.agreement,
            "timestamp": self.at,
        }


_MAKERS: Final[Mapping[str, Callable[[UnitMaker], Unit]]] = {
    "message": UnitMaker.make_user_message,
    "ping": UnitMaker.make_ping,
    "pong": UnitMaker.make_pong,
    "status": UnitMaker.make_status_request,
    "status-response": UnitMaker.make_status_response,
    "acknowledgment": UnitMaker.make_receipt,
    "error": UnitMaker.make_error,
}


def make_unit(maker: UnitMaker) -> Unit:
    """Return the unit that the row names; without a name a business message."""
    name = maker.send.get("unit", "message")
    if name not in _MAKERS:
        raise GatewayError(OUR_MISTAKE, f"there is no unit {name!r}", "requirements")
    made = _MAKERS[name](maker)
    sender = maker.send.get("sender")
    if sender is None:
        return made
    return replace(made, sender=replace(made.sender, ids=(replace(made.sender.ids[0], value=str(sender)),)))


def _read_hop_request(send: Mapping[str, Any]) -> AckRequest | None:
    """Return what is asked of the next handler on the way: ``signed``, ``unsigned``, or nothing."""
    asked = send.get("hop_ack")
    return None if asked is None else AckRequest(asked == "signed")


def _make_payloads(rows: Sequence[Mapping[str, Any]], message_id: str, usual: bytes) -> tuple[Payload, ...]:
    """Return the payloads of a message: by default one XML document."""
    return tuple(
        Payload(
            str(row.get("id", f"p{number}.{message_id}")),
            str(row.get("type", "application/xml")),
            _make_content(row, usual),
        )
        for number, row in enumerate(rows, 1)
    )


def _make_content(row: Mapping[str, Any], usual: bytes) -> bytes:
    if "text" in row:
        return str(row["text"]).encode()
    if "base64" in row:
        return base64.b64decode(row["base64"])
    if "size" in row:
        return (bytes(range(256)) * (int(row["size"]) // 256 + 1))[: int(row["size"])]
    return usual
