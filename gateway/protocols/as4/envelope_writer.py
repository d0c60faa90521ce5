"""Writes the SOAP 1.2 envelope of one unit of ebMS 3.0, as text that is already canonical.

The two signed elements, eb:Messaging and the empty Body, declare their own namespaces, so that their
exclusive canonical form is the text itself.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import (
    ErrorEntry,
    ErrorSignal,
    MessageProperty,
    Party,
    Payload,
    PullRequest,
    Receipt,
    Unit,
    UserMessage,
)
from gateway.protocols.as4.header_values import GZIP_TYPE
from gateway.protocols.payload_parts import format_cid_uri
from gateway.protocols.signed_references import write_references
from gateway.wire import EB3, EBBP, SOAP12, WSU, write_attribute, write_element, write_leaf

__all__ = ["As4Envelope", "write_as4_envelope"]

_SOAP: Final = write_attribute("xmlns:soap12", SOAP12)
_WSU: Final = write_attribute("xmlns:wsu", WSU)
_MESSAGING: Final = "<eb3:Messaging" + write_attribute("xmlns:eb3", EB3) + _SOAP + _WSU
_BODY: Final = "<soap12:Body" + _SOAP + _WSU
_UNDERSTOOD: Final = write_attribute("soap12:mustUnderstand", "true")
_EBBP: Final = write_attribute("xmlns:ebbp", EBBP)
_ENGLISH: Final = write_attribute("xml:lang", "en")
_STATED_ENCODING: Final = re.compile(
    rb"<\?xml[^>]{1,80}encoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]{0,40})[\"']"
)
_SEVERITIES: Final = {"Error": "failure", "Warning": "warning"}


@dataclass(frozen=True, slots=True)
class As4Envelope:
    """An envelope without its Security header: the ids and the text of the two elements that are signed."""

    messaging_id: str
    messaging: str
    body_id: str
    body: str

    def with_security(self, security: str = "") -> bytes:
        """Return the envelope with a Security header before eb:Messaging."""
        header = write_element("soap12:Header", security + self.messaging)
        return write_element("soap12:Envelope", header + self.body, _SOAP).encode()


def write_as4_envelope(unit: Unit, *, compressed: bool, beside: tuple[Unit, ...] = ()) -> As4Envelope:
    """Return the envelope of a unit, with the signals `beside` it before it.

    `compressed` says that its payloads are sent as gzip.
    """
    content = "".join(map(_write_signal_message, beside))
    if isinstance(unit, UserMessage):
        content += _write_user_message(unit, compressed)
    else:
        content += _write_signal_message(unit)
    mark = hashlib.sha256(unit.message_id.encode()).hexdigest()[:32]
    names = (f"messaging-{mark}", f"body-{mark}")
    # The ids are digests: nothing in them is written otherwise.
    messaging = f'{_MESSAGING} wsu:Id="{names[0]}"{_UNDERSTOOD}>{content}</eb3:Messaging>'
    body = f'{_BODY} wsu:Id="{names[1]}"></soap12:Body>'
    return As4Envelope(names[0], messaging, names[1], body)


def _write_signal_message(unit: Unit) -> str:
    return write_element("eb3:SignalMessage", _write_message_info(unit) + _write_signal(unit))


def _format_instant(moment: datetime) -> str:
    # Some handlers write the header anew without trailing zeros; three digits are what they all keep.
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _write_message_info(unit: Unit) -> str:
    content = write_leaf("eb3:Timestamp", _format_instant(unit.timestamp))
    content += write_leaf("eb3:MessageId", unit.message_id)
    about = getattr(unit, "ref_to_message_id", None)
    return write_element(
        "eb3:MessageInfo", content + (write_leaf("eb3:RefToMessageId", about) if about is not None else "")
    )


def _write_optional_attribute(name: str, value: str | None) -> str:
    return "" if value is None else write_attribute(name, value)


def _write_user_message(unit: UserMessage, compressed: bool) -> str:
    parties = _write_party("eb3:From", unit.sender) + _write_party("eb3:To", unit.receiver)
    pieces = [
        _write_message_info(unit),
        write_element("eb3:PartyInfo", parties),
        _write_collaboration(unit),
        _write_properties("eb3:MessageProperties", unit.properties),
    ]
    if unit.payloads:
        parts = "".join(_write_part_info(one, compressed) for one in unit.payloads)
        pieces.append(write_element("eb3:PayloadInfo", parts))
    return write_element("eb3:UserMessage", "".join(pieces), _write_optional_attribute("mpc", unit.mpc))


def _write_party(name: str, party: Party) -> str:
    if not party.ids or party.role is None:
        raise GatewayError(OUR_MISTAKE, "a party of ebMS 3.0 has an id and a role")
    ids = (
        write_leaf("eb3:PartyId", one.value, _write_optional_attribute("type", one.type)) for one in party.ids
    )
    return write_element(name, "".join(ids) + write_leaf("eb3:Role", party.role))


def _write_collaboration(unit: UserMessage) -> str:
    content = ""
    if unit.agreement:
        attributes = _write_optional_attribute("pmode", unit.pmode_named)
        attributes += _write_optional_attribute("type", unit.agreement_type)
        content = write_leaf("eb3:AgreementRef", unit.agreement, attributes)
    content += write_leaf("eb3:Service", unit.service, _write_optional_attribute("type", unit.service_type))
    content += write_leaf("eb3:Action", unit.action)
    return write_element(
        "eb3:CollaborationInfo", content + write_leaf("eb3:ConversationId", unit.conversation_id)
    )


def _write_properties(name: str, found: tuple[MessageProperty, ...]) -> str:
    if not found:
        return ""
    return write_element(
        name,
        "".join(
            write_leaf(
                "eb3:Property",
                one.value,
                write_attribute("name", one.name) + _write_optional_attribute("type", one.type),
            )
            for one in found
        ),
    )


def _name_encoding(payload: Payload) -> list[MessageProperty]:
    """Return the CharacterSet of an XML payload before compression, where nobody has said it (AS4 §3.1)."""
    said = any(name == "CharacterSet" for name, _ in payload.properties)
    if said or not payload.media_type.partition(";")[0].strip().lower().endswith(("/xml", "+xml")):
        return []
    marked = payload.content.startswith((b"\xff\xfe", b"\xfe\xff"))
    stated = None if marked else _STATED_ENCODING.match(payload.content)
    name = "UTF-16" if marked else stated[1].decode("ascii") if stated is not None else "UTF-8"
    return [MessageProperty("CharacterSet", name)]


def _write_part_info(payload: Payload, compressed: bool) -> str:
    properties = [MessageProperty("MimeType", payload.media_type)]
    properties += [MessageProperty("CompressionType", GZIP_TYPE)] if compressed else []
    properties += _name_encoding(payload) if compressed else []
    properties += [MessageProperty(name, value) for name, value in payload.properties]
    return write_element(
        "eb3:PartInfo",
        _write_properties("eb3:PartProperties", tuple(properties)),
        write_attribute("href", format_cid_uri(payload.content_id)),
    )


def _write_signal(unit: Unit) -> str:
    if isinstance(unit, PullRequest):
        return write_element("eb3:PullRequest", "", _write_optional_attribute("mpc", unit.mpc))
    if isinstance(unit, ErrorSignal):
        return "".join(_write_error(one, unit.ref_to_message_id) for one in unit.errors)
    if isinstance(unit, Receipt) and not unit.references and unit.message is not None:
        # AS4 §5.1.8 (a): what was not signed is repeated.
        return write_element("eb3:Receipt", _write_user_message(unit.message, compressed=False))
    if not isinstance(unit, Receipt) or not unit.references:
        raise GatewayError(OUR_MISTAKE, f"{type(unit).__name__} has no form in AS4, or lacks digests")
    parts = (
        write_element("ebbp:MessagePartNRInformation", write_references((one,), declared=True))
        for one in unit.references
    )
    information = write_element("ebbp:NonRepudiationInformation", "".join(parts), _EBBP)
    return write_element("eb3:Receipt", information)


def _write_error(one: ErrorEntry, about: str | None) -> str:
    attributes = "".join(
        write_attribute(name, value)
        for name, value in (
            ("category", one.category),
            ("errorCode", one.code),
            ("origin", one.origin),
            ("refToMessageInError", about or ""),
            ("severity", _SEVERITIES[one.severity]),
            ("shortDescription", one.title),
        )
        if value
    )
    content = write_leaf("eb3:Description", one.description, _ENGLISH) if one.description else ""
    content += write_leaf("eb3:ErrorDetail", one.location) if one.location else ""
    return write_element("eb3:Error", content, attributes)
