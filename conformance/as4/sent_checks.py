"""Judges a message that the gateway has sent, by the names that the tables use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.agreements import PMode
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import UserMessage
from gateway.protocols import OpenedMessage, ProtocolContext
from gateway.wire import EB3, XENC11
from gateway.xmlsec import SHA256
from gateway_conformance.as4.seen_message import SeenMessage

_GZIP: Final = "application/gzip"
_RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_MESSAGE_ID: Final = re.compile(r"[^\s<>@]+@[^\s<>@]+")
_MIN_PAYLOADS: Final = 3


@dataclass(frozen=True)
class SentCase:
    """A message of the gateway; `request` is the MessageId that it answers, `conversation` the one wanted."""

    message: SeenMessage
    context: ProtocolContext
    pmodes: tuple[PMode, ...]
    conversation: str
    request_id: str = ""
    #: The message after all checks, where it did not come by a POST of its own.
    opened: OpenedMessage | None = None

    def open(self) -> OpenedMessage:
        """Return the message after all checks of the protocol core; raises GatewayError."""
        return self.message.open(self.context) if self.opened is None else self.opened

    def list_properties(self, name: str) -> list[str]:
        """Return the values of a property of the parts, in the order of PartInfo."""
        return [
            str(text) for text in self.message.select(f"//eb3:PartInfo//eb3:Property[@name='{name}']/text()")
        ]

    def count_parts(self) -> int:
        """Return the number of PartInfo elements."""
        return len(self.message.select("//eb3:PartInfo"))


def find_sent_fault(check_name: str, case: SentCase) -> str:
    """Return the fault that one check finds in a message; raise GW901 for a check that does not exist."""
    if check_name not in _CHECKS:
        raise GatewayError(OUR_MISTAKE, f"there is no check {check_name!r}", "assertions")
    try:
        return _CHECKS[check_name](case)
    except GatewayError as wrong:
        return f"{wrong.problem.id} {wrong.detail}"


def _make_value_check(path: str, expected: str) -> Callable[[SentCase], str]:
    """Return the check that every value at a path is the wanted one, and that there is one."""

    def check(case: SentCase) -> str:
        values = {str(value) for value in case.message.select(path)}
        return (
            ""
            if values == {expected}
            else f"it is {', '.join(sorted(values))[:200] or 'absent'}, not {expected}"
        )

    return check


def _check_party_ids(case: SentCase) -> str:
    for side in ("From", "To"):
        count = len(case.message.select(f"//eb3:PartyInfo/eb3:{side}/eb3:PartyId"))
        if count != 1:
            return f"{side} has {count} PartyId elements"
    return ""


def _check_empty_body(case: SentCase) -> str:
    if case.message.select("/soap12:Envelope/soap12:Body/*"):
        return "the Body is not empty"
    return "" if case.message.select("/soap12:Envelope/soap12:Body") else "there is no Body"


def _check_parts_match(case: SentCase) -> str:
    referenced = {str(href).removeprefix("cid:") for href in case.message.select("//eb3:PartInfo/@href")}
    received_ids = {part.content_id for part in case.message.parts}
    if not referenced:
        return "PayloadInfo names no part"
    return (
        ""
        if referenced == received_ids
        else f"PayloadInfo names {len(referenced)} parts, {len(received_ids)} are there"
    )


def _check_several_parts(case: SentCase) -> str:
    count = case.count_parts()
    return "" if count >= _MIN_PAYLOADS else f"the message has {count} payloads, {_MIN_PAYLOADS} are wanted"


def _check_leading_xml(case: SentCase) -> str:
    types = case.list_properties("MimeType")
    return "" if types and "xml" in types[0] else f"the first PartInfo is {', '.join(types[:1]) or 'untyped'}"


def _check_payload_order(case: SentCase) -> str:
    """Compare the contents: the payloads of the command are numbered by their last octet, 1, 2, 3."""
    unit = case.open().unit
    octets = (
        [payload.content.strip()[-1:] for payload in unit.payloads[1:]]
        if isinstance(unit, UserMessage)
        else []
    )
    return "" if octets == sorted(octets) else "the payloads are in another order"


def _check_signer(case: SentCase) -> str:
    signed = case.open().verified_signature
    return "" if signed is not None else "nobody signed it"


def _check_signature_coverage(case: SentCase) -> str:
    covered = {str(uri) for uri in case.message.select("//ds:SignedInfo/ds:Reference/@URI")}
    expected = {f"cid:{part.content_id}" for part in case.message.parts}
    for path in ("//eb3:Messaging/@wsu:Id", "/soap12:Envelope/soap12:Body/@wsu:Id"):
        expected.add(f"#{case.message.find_text(path)}")
    return "" if expected <= covered else f"not signed: {', '.join(sorted(expected - covered))[:200]}"


def _check_encrypted_for_us(case: SentCase) -> str:
    opened = case.open()
    if not case.message.select("//xenc:EncryptedData"):
        return "nothing is encrypted"
    return "" if opened.unwrapped_parts else "nothing was decrypted"


def _check_all_encrypted(case: SentCase) -> str:
    encrypted = {str(uri) for uri in case.message.select("//xenc:EncryptedData//xenc:CipherReference/@URI")}
    expected = {f"cid:{part.content_id}" for part in case.message.parts}
    if encrypted != expected:
        return f"{len(encrypted)} of {len(expected)} parts are encrypted"
    return (
        ""
        if len(case.message.select("//xenc:EncryptedData")) == len(expected)
        else "more than the parts is encrypted"
    )


def _check_key_transport(case: SentCase) -> str:
    method = "//xenc:EncryptedKey/xenc:EncryptionMethod"
    expected = {
        f"{method}/@Algorithm": f"{XENC11}rsa-oaep",
        f"{method}/xenc11:MGF/@Algorithm": f"{XENC11}mgf1sha256",
        f"{method}/ds:DigestMethod/@Algorithm": SHA256,
    }
    faults = (_make_value_check(path, value)(case) for path, value in expected.items())
    return next((fault for fault in faults if fault), "")


def _check_compressed(case: SentCase) -> str:
    opened, packed = case.open(), case.list_properties("CompressionType")
    if len(packed) != case.count_parts() or not packed:
        return f"{len(packed)} of {case.count_parts()} payloads are compressed"
    return "" if any(part.compressed for part in opened.unwrapped_parts) else "no payload was expanded"


def _make_property_check(name: str, is_valid: Callable[[str], bool]) -> Callable[[SentCase], str]:
    def check(case: SentCase) -> str:
        values = case.list_properties(name)
        if len(values) < case.count_parts() or not values:
            return f"{len(values)} of {case.count_parts()} payloads have the property {name}"
        wrong = [value for value in values if not is_valid(value)]
        return f"{name} is {wrong[0][:80]!r}" if wrong else ""

    return check


def _make_charset_check(charset: str) -> Callable[[SentCase], str]:
    """Return the check of the leading document alone: a part that is not text has no CharacterSet."""

    def check(case: SentCase) -> str:
        values = case.list_properties("CharacterSet")
        return (
            ""
            if values and values[0].lower() == charset
            else f"CharacterSet is {', '.join(values)[:80] or 'absent'}"
        )

    return check


def _check_request_reference(case: SentCase) -> str:
    reference = case.message.find_text("//eb3:UserMessage/eb3:MessageInfo/eb3:RefToMessageId")
    return "" if reference and reference == case.request_id else f"RefToMessageId is {reference[:80]!r}"


def _check_conversation(case: SentCase) -> str:
    conversation = case.message.conversation
    return "" if conversation == case.conversation else f"ConversationId is {conversation[:80]!r}"


def _check_test_service(case: SentCase) -> str:
    expected = {"//eb3:Service/text()": f"{EB3}service", "//eb3:Action/text()": f"{EB3}test"}
    faults = (_make_value_check(path, value)(case) for path, value in expected.items())
    return next((fault for fault in faults if fault), "")


def _check_message_id(case: SentCase) -> str:
    message_id = case.message.message_id
    return "" if _MESSAGE_ID.fullmatch(message_id) else f"MessageId is {message_id[:80]!r}"


def _check_channel(case: SentCase) -> str:
    """Compare the channel with those from which the suite pulls."""
    channel = case.message.find_text("//eb3:UserMessage/@mpc")
    return (
        ""
        if channel in {pmode.mpc for pmode in case.pmodes if pmode.pull is not None}
        else f"@mpc is {channel[:80]!r}"
    )


def _check_agreed_header(case: SentCase) -> str:
    action = case.message.find_text("//eb3:Action")
    pmode = next((pmode for pmode in case.pmodes if pmode.action == action), None)
    if pmode is None:
        return f"action {action[:80]!r} is not agreed for the gateway"
    expected: Mapping[str, Any] = {
        "//eb3:AgreementRef": pmode.agreement,
        "//eb3:From/eb3:PartyId": pmode.from_party[0].value,
        "//eb3:From/eb3:Role": pmode.from_role,
        "//eb3:To/eb3:PartyId": pmode.to_party[0].value,
        "//eb3:To/eb3:Role": pmode.to_role,
        "//eb3:Service": pmode.service,
    }
    for path, value in expected.items():
        if (actual := case.message.find_text(path)) != value:
            return f"{path} is {actual[:80]!r}, agreed is {value!r}"
    return ""


_CHECKS: Final[Mapping[str, Callable[[SentCase], str]]] = {
    "one-party-id": _check_party_ids,
    "empty-body": _check_empty_body,
    "parts-match": _check_parts_match,
    "several-parts": _check_several_parts,
    "leading-xml": _check_leading_xml,
    "order": _check_payload_order,
    "signed-by-gateway": _check_signer,
    "signature-algorithm": _make_value_check("//ds:SignedInfo/ds:SignatureMethod/@Algorithm", _RSA_SHA256),
    "digest-algorithm": _make_value_check("//ds:SignedInfo/ds:Reference/ds:DigestMethod/@Algorithm", SHA256),
    "covers-all": _check_signature_coverage,
    "encryption-algorithm": _make_value_check(
        "//xenc:EncryptedData/xenc:EncryptionMethod/@Algorithm", f"{XENC11}aes128-gcm"
    ),
    "encrypted-for-us": _check_encrypted_for_us,
    "all-parts-encrypted": _check_all_encrypted,
    "key-transport": _check_key_transport,
    "compressed": _check_compressed,
    "compression-type": _make_property_check("CompressionType", lambda one: one == _GZIP),
    "mime-type": _make_property_check("MimeType", lambda one: "/" in one and one != _GZIP),
    "charset-utf-8": _make_charset_check("utf-8"),
    "charset-utf-16": _make_charset_check("utf-16"),
    "refers-to-request": _check_request_reference,
    "same-conversation": _check_conversation,
    "test-service": _check_test_service,
    "opens": _check_signer,
    "message-id": _check_message_id,
    "agreed-header": _check_agreed_header,
    "agreed-channel": _check_channel,
}
