"""Judges a message that the gateway has sent, by the names that the tables use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.agreements import PMode
from gateway.conformance.as4.seen_message import SeenMessage
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import UserMessage
from gateway.protocols import OpenedMessage, ProtocolContext
from gateway.wire import EB3, XENC11
from gateway.xmlsec import SHA256

__all__ = ["SentCase", "find_sent_fault"]

_GZIP: Final = "application/gzip"
_RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_MESSAGE_ID: Final = re.compile(r"[^\s<>@]+@[^\s<>@]+")
_LEAST: Final = 3


@dataclass(frozen=True)
class SentCase:
    """A message of the gateway; `request` is the MessageId that it answers, `conversation` the one wanted."""

    seen: SeenMessage
    context: ProtocolContext
    pmodes: tuple[PMode, ...]
    conversation: str
    request: str = ""
    #: The message after all checks, where it did not come by a POST of its own.
    opened: OpenedMessage | None = None

    def open(self) -> OpenedMessage:
        """Return the message after all checks of the protocol core; raises GatewayError."""
        return self.seen.open(self.context) if self.opened is None else self.opened

    def list_properties(self, name: str) -> list[str]:
        """Return the values of a property of the parts, in the order of PartInfo."""
        return [str(one) for one in self.seen.select(f"//eb3:PartInfo//eb3:Property[@name='{name}']/text()")]

    def count_parts(self) -> int:
        """Return the number of PartInfo elements."""
        return len(self.seen.select("//eb3:PartInfo"))


def find_sent_fault(name: str, case: SentCase) -> str:
    """Return what is wrong with a message by one check; raise GW901 for a check that there is not."""
    if name not in _CHECKS:
        raise GatewayError(OUR_MISTAKE, f"there is no check {name!r}", "assertions")
    try:
        return _CHECKS[name](case)
    except GatewayError as wrong:
        return f"{wrong.problem.id} {wrong.detail}"


def _compare(path: str, wanted: str) -> Callable[[SentCase], str]:
    """Return the check that every value at a path is the wanted one, and that there is one."""

    def check(case: SentCase) -> str:
        found = {str(one) for one in case.seen.select(path)}
        return (
            "" if found == {wanted} else f"it is {', '.join(sorted(found))[:200] or 'absent'}, not {wanted}"
        )

    return check


def _check_party_ids(case: SentCase) -> str:
    for side in ("From", "To"):
        count = len(case.seen.select(f"//eb3:PartyInfo/eb3:{side}/eb3:PartyId"))
        if count != 1:
            return f"{side} has {count} PartyId elements"
    return ""


def _check_empty_body(case: SentCase) -> str:
    if case.seen.select("/soap12:Envelope/soap12:Body/*"):
        return "the Body is not empty"
    return "" if case.seen.select("/soap12:Envelope/soap12:Body") else "there is no Body"


def _check_parts_match(case: SentCase) -> str:
    named = {str(one).removeprefix("cid:") for one in case.seen.select("//eb3:PartInfo/@href")}
    there = {one.content_id for one in case.seen.parts}
    if not named:
        return "PayloadInfo names no part"
    return "" if named == there else f"PayloadInfo names {len(named)} parts, {len(there)} are there"


def _check_several_parts(case: SentCase) -> str:
    count = case.count_parts()
    return "" if count >= _LEAST else f"the message has {count} payloads, {_LEAST} are wanted"


def _check_leading_xml(case: SentCase) -> str:
    types = case.list_properties("MimeType")
    return "" if types and "xml" in types[0] else f"the first PartInfo is {', '.join(types[:1]) or 'untyped'}"


def _check_order(case: SentCase) -> str:
    """Compare the contents: the payloads of the command are numbered by their last octet, 1, 2, 3."""
    unit = case.open().unit
    found = [one.content.strip()[-1:] for one in unit.payloads[1:]] if isinstance(unit, UserMessage) else []
    return "" if found == sorted(found) else "the payloads are in another order"


def _check_signer(case: SentCase) -> str:
    signed = case.open().signed
    return "" if signed is not None else "nobody signed it"


def _check_covered(case: SentCase) -> str:
    covered = {str(one) for one in case.seen.select("//ds:SignedInfo/ds:Reference/@URI")}
    wanted = {f"cid:{one.content_id}" for one in case.seen.parts}
    for path in ("//eb3:Messaging/@wsu:Id", "/soap12:Envelope/soap12:Body/@wsu:Id"):
        wanted.add(f"#{case.seen.find_text(path)}")
    return "" if wanted <= covered else f"not signed: {', '.join(sorted(wanted - covered))[:200]}"


def _check_encrypted_for_us(case: SentCase) -> str:
    opened = case.open()
    if not case.seen.select("//xenc:EncryptedData"):
        return "nothing is encrypted"
    return "" if opened.unwrapped else "nothing was decrypted"


def _check_all_encrypted(case: SentCase) -> str:
    told = {str(one) for one in case.seen.select("//xenc:EncryptedData//xenc:CipherReference/@URI")}
    wanted = {f"cid:{one.content_id}" for one in case.seen.parts}
    if told != wanted:
        return f"{len(told)} of {len(wanted)} parts are encrypted"
    return (
        ""
        if len(case.seen.select("//xenc:EncryptedData")) == len(wanted)
        else "more than the parts is encrypted"
    )


def _check_key_transport(case: SentCase) -> str:
    place = "//xenc:EncryptedKey/xenc:EncryptionMethod"
    wanted = {
        f"{place}/@Algorithm": f"{XENC11}rsa-oaep",
        f"{place}/xenc11:MGF/@Algorithm": f"{XENC11}mgf1sha256",
        f"{place}/ds:DigestMethod/@Algorithm": SHA256,
    }
    faults = (_compare(path, value)(case) for path, value in wanted.items())
    return next((one for one in faults if one), "")


def _check_compressed(case: SentCase) -> str:
    opened, packed = case.open(), case.list_properties("CompressionType")
    if len(packed) != case.count_parts() or not packed:
        return f"{len(packed)} of {case.count_parts()} payloads are compressed"
    return "" if any(one.compressed for one in opened.unwrapped) else "no payload was expanded"


def _check_property(name: str, wanted: Callable[[str], bool]) -> Callable[[SentCase], str]:
    def check(case: SentCase) -> str:
        found = case.list_properties(name)
        if len(found) < case.count_parts() or not found:
            return f"{len(found)} of {case.count_parts()} payloads have the property {name}"
        wrong = [one for one in found if not wanted(one)]
        return f"{name} is {wrong[0][:80]!r}" if wrong else ""

    return check


def _check_charset(name: str) -> Callable[[SentCase], str]:
    """Return the check of the leading document alone: what is no text has no CharacterSet."""

    def check(case: SentCase) -> str:
        found = case.list_properties("CharacterSet")
        return (
            ""
            if found and found[0].lower() == name
            else f"CharacterSet is {', '.join(found)[:80] or 'absent'}"
        )

    return check


def _check_reference(case: SentCase) -> str:
    told = case.seen.find_text("//eb3:UserMessage/eb3:MessageInfo/eb3:RefToMessageId")
    return "" if told and told == case.request else f"RefToMessageId is {told[:80]!r}"


def _check_conversation(case: SentCase) -> str:
    told = case.seen.conversation
    return "" if told == case.conversation else f"ConversationId is {told[:80]!r}"


def _check_test_service(case: SentCase) -> str:
    wanted = {"//eb3:Service/text()": f"{EB3}service", "//eb3:Action/text()": f"{EB3}test"}
    faults = (_compare(path, value)(case) for path, value in wanted.items())
    return next((one for one in faults if one), "")


def _check_message_id(case: SentCase) -> str:
    told = case.seen.message_id
    return "" if _MESSAGE_ID.fullmatch(told) else f"MessageId is {told[:80]!r}"


def _check_channel(case: SentCase) -> str:
    """Compare the channel with those from which the suite pulls."""
    told = case.seen.find_text("//eb3:UserMessage/@mpc")
    return (
        "" if told in {one.mpc for one in case.pmodes if one.pull is not None} else f"@mpc is {told[:80]!r}"
    )


def _check_agreed_header(case: SentCase) -> str:
    action = case.seen.find_text("//eb3:Action")
    pmode = next((one for one in case.pmodes if one.action == action), None)
    if pmode is None:
        return f"action {action[:80]!r} is not agreed for the gateway"
    wanted: Mapping[str, Any] = {
        "//eb3:AgreementRef": pmode.agreement,
        "//eb3:From/eb3:PartyId": pmode.from_party[0].value,
        "//eb3:From/eb3:Role": pmode.from_role,
        "//eb3:To/eb3:PartyId": pmode.to_party[0].value,
        "//eb3:To/eb3:Role": pmode.to_role,
        "//eb3:Service": pmode.service,
    }
    for path, value in wanted.items():
        if (told := case.seen.find_text(path)) != value:
            return f"{path} is {told[:80]!r}, agreed is {value!r}"
    return ""


_CHECKS: Final[Mapping[str, Callable[[SentCase], str]]] = {
    "one-party-id": _check_party_ids,
    "empty-body": _check_empty_body,
    "parts-match": _check_parts_match,
    "several-parts": _check_several_parts,
    "leading-xml": _check_leading_xml,
    "order": _check_order,
    "signed-by-gateway": _check_signer,
    "signature-algorithm": _compare("//ds:SignedInfo/ds:SignatureMethod/@Algorithm", _RSA_SHA256),
    "digest-algorithm": _compare("//ds:SignedInfo/ds:Reference/ds:DigestMethod/@Algorithm", SHA256),
    "covers-all": _check_covered,
    "encryption-algorithm": _compare(
        "//xenc:EncryptedData/xenc:EncryptionMethod/@Algorithm", f"{XENC11}aes128-gcm"
    ),
    "encrypted-for-us": _check_encrypted_for_us,
    "all-parts-encrypted": _check_all_encrypted,
    "key-transport": _check_key_transport,
    "compressed": _check_compressed,
    "compression-type": _check_property("CompressionType", lambda one: one == _GZIP),
    "mime-type": _check_property("MimeType", lambda one: "/" in one and one != _GZIP),
    "charset-utf-8": _check_charset("utf-8"),
    "charset-utf-16": _check_charset("utf-16"),
    "refers-to-request": _check_reference,
    "same-conversation": _check_conversation,
    "test-service": _check_test_service,
    "opens": _check_signer,
    "message-id": _check_message_id,
    "agreed-header": _check_agreed_header,
    "agreed-channel": _check_channel,
}
