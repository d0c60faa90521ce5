"""Makes the units that the suite sends: business messages and every signal, as a row describes them.

Payloads are encrypted as agreed, or wrongly in one thing (ebMS 2.0 §4.1.4.5). The signature is made before,
over the payloads in clear. A row says how each payload is encrypted, by a word or a list of words.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.agreements import Encryption, PMode
from gateway.client import PartnerIdentity
from gateway.encryption import (
    encrypt_as_cms,
    encrypt_as_xml,
    get_encryption_policy,
    select_agreed_algorithms,
)
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
from gateway.pki import Certificate, KeyPadding, encrypt_key
from gateway.wire import XENC11
from gateway_conformance.hostile import (
    change_cipher_value,
    encrypt_cbc,
    encrypt_with_rsa_15,
    write_encrypted_document,
)
from gateway_conformance.partner_files import make_stranger

_OAEP: Final = f"{XENC11}rsa-oaep"
_OAEP_PARAMETERS: Final = (
    '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
    f'<xenc11:MGF xmlns:xenc11="{XENC11}" Algorithm="{XENC11}mgf1sha256"/>'
)


@dataclass(frozen=True)
class Sealing:
    """The agreed encryption, and the certificate for which payloads of the gateway are encrypted."""

    terms: Encryption
    receiver: Certificate

    def seal_honestly(self, payload: Payload, algorithms: Sequence[str] = ()) -> Payload:
        """Return a payload encrypted as agreed, by the first algorithm or a named one."""
        policy = get_encryption_policy(self.terms.policy)
        agreed = select_agreed_algorithms(algorithms or self.terms.algorithms, policy)
        if self.terms.is_cms:
            octets, kind = encrypt_as_cms(payload.content, self.receiver, agreed, os.urandom)
            return replace(payload, octets=octets, media_type=kind)
        octets = encrypt_as_xml(payload.content, payload.media_type, self.receiver, agreed, os.urandom)
        return replace(payload, octets=octets, media_type="application/xml")


def seal_payloads(
    payloads: Sequence[Payload], sealing_method: Any, terms: Encryption | None, identity: PartnerIdentity
) -> tuple[Payload, ...]:
    """Return payloads as they are sent.

    `sealing_method` is None for the agreed method, a word, or a list with one method for each payload.
    Raises LookupError where the folder has no certificate for which to encrypt.
    """
    sealing_methods = sealing_method if isinstance(sealing_method, list) else [sealing_method] * len(payloads)
    if terms is None and sealing_method is None:
        return tuple(payloads)
    if identity.encryption_certificate is None:
        raise LookupError("the partner folder has no certificate for which payloads are encrypted")
    sealing = Sealing(terms or Encryption("XMLENC", ("aes256-gcm",)), identity.encryption_certificate)
    return tuple(
        _seal_one(sealing, payload, method) for payload, method in zip(payloads, sealing_methods, strict=True)
    )


def _seal_one(sealing: Sealing, payload: Payload, sealing_method: str | None) -> Payload:
    name = sealing_method or "agreed"
    if name not in _SEALING_METHODS:
        raise GatewayError(OUR_MISTAKE, f"payloads are not encrypted {name!r}", "requirements")
    return _SEALING_METHODS[name](sealing, payload)


def _seal_for_stranger(sealing: Sealing, payload: Payload) -> Payload:
    stranger = make_stranger(sealing.receiver.not_before.year, "encryption", "rsa-2048")
    return replace(sealing, receiver=stranger.certificate).seal_honestly(payload)


def _seal_in_other_format(sealing: Sealing, payload: Payload) -> Payload:
    """Return a CMS envelope where XML Encryption is agreed, and the reverse."""
    protocol = "XMLENC" if sealing.terms.is_cms else "S/MIME"
    return replace(sealing, terms=replace(sealing.terms, protocol=protocol)).seal_honestly(payload)


def _seal_other_content(sealing: Sealing, payload: Payload) -> Payload:
    """Return other content than was signed, well encrypted."""
    return sealing.seal_honestly(replace(payload, octets=payload.content + b"\n"))


def _seal_by_algorithm(algorithm: str) -> Callable[[Sealing, Payload], Payload]:
    return lambda sealing, payload: sealing.seal_honestly(payload, (algorithm,))


def _flip_last_octet(octets: bytes) -> bytes:
    return octets[:-1] + bytes([octets[-1] ^ 1])


def _seal_with_changed_content(sealing: Sealing, payload: Payload) -> Payload:
    sealed = sealing.seal_honestly(payload)
    # The authentication tag is the last octets of the envelope too (RFC 5083).
    is_cms = sealing.terms.is_cms
    changed = (
        _flip_last_octet(sealed.content)
        if is_cms
        else change_cipher_value(sealed.content, -1, _flip_last_octet)
    )
    return replace(sealed, octets=changed)


def _seal_with_changed_key(sealing: Sealing, payload: Payload) -> Payload:
    sealed = sealing.seal_honestly(payload)
    if sealing.terms.is_cms:
        raise LookupError("only the key of XML Encryption is changed")
    return replace(sealed, octets=change_cipher_value(sealed.content, 0, _flip_last_octet))


def _seal_by_cbc(sealing: Sealing, payload: Payload) -> Payload:
    """Return XML Encryption by AES-CBC, which does not authenticate; the key goes by RSA-OAEP."""
    key = os.urandom(32)
    sent = encrypt_key(sealing.receiver, key, KeyPadding("sha256", "sha256"))
    document = write_encrypted_document(
        key=sent, ciphertext=encrypt_cbc(key, payload.content), transport=_OAEP, method=_OAEP_PARAMETERS
    )
    return replace(payload, octets=document, media_type="application/xml")


def _seal_by_rsa15(sealing: Sealing, payload: Payload) -> Payload:
    """Return XML Encryption by AES-GCM whose key goes by RSA 1.5."""
    honest = sealing.seal_honestly(payload).content
    document = change_cipher_value(honest, 0, lambda _: encrypt_with_rsa_15(sealing.receiver, os.urandom(32)))
    start, end = document.index(b"<xenc:EncryptedKey>"), document.index(b"<ds:KeyInfo><ds:KeyName>")
    method = b'<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-1_5"/>'
    document = document[:start] + b"<xenc:EncryptedKey>" + method + document[end:]
    return replace(payload, octets=document, media_type="application/xml")


def _seal_without_value(sealing: Sealing, payload: Payload) -> Payload:
    """Return an EncryptedData without the CipherData of its content."""
    sealed = sealing.seal_honestly(payload).content
    start = sealed.rindex(b"<xenc:CipherData>")
    end = sealed.rindex(b"</xenc:CipherData>") + len(b"</xenc:CipherData>")
    return replace(payload, octets=sealed[:start] + sealed[end:], media_type="application/xml")


def _seal_without_key_hints(sealing: Sealing, payload: Payload) -> Payload:
    """Return an EncryptedData that does not say for which certificate it is."""
    sealed = sealing.seal_honestly(payload)
    start = sealed.content.index(b"<ds:KeyInfo><ds:KeyName>")
    end = sealed.content.index(b"</ds:KeyInfo>", start) + len(b"</ds:KeyInfo>")
    return replace(sealed, octets=sealed.content[:start] + sealed.content[end:])


_SEALING_METHODS: Final[Mapping[str, Callable[[Sealing, Payload], Payload]]] = {
    "agreed": Sealing.seal_honestly,
    "clear": lambda _, payload: payload,
    "aes128-gcm": _seal_by_algorithm("aes128-gcm"),
    "stranger": _seal_for_stranger,
    "other-form": _seal_in_other_format,
    "other-content": _seal_other_content,
    "changed-content": _seal_with_changed_content,
    "changed-key": _seal_with_changed_key,
    "cbc": _seal_by_cbc,
    "rsa15": _seal_by_rsa15,
    "no-value": _seal_without_value,
    "no-hints": _seal_without_key_hints,
}


SAMPLE_PAYLOAD: Final = "<신고 xmlns='urn:example:suite'><품목 번호='1'>튤립 구근</품목></신고>".encode()
#: The keys by which a row describes a unit.
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
    """Makes one unit under a P-Mode; `send` is the row, `ref_to_message_id` the id of its subject."""

    pmode: PMode
    send: Mapping[str, Any]
    message_id: str
    conversation: str
    ref_to_message_id: str
    at: datetime
    payload: bytes
    is_synchronous: bool

    def make_user_message(self) -> UserMessage:
        """Return a business message as agreed, changed by the values that the row states."""
        terms, row_values = self.pmode.reliability, self.send
        usual = "unsigned" if terms.ack_signed == "never" else "signed"
        ack = row_values.get("ack", "none" if terms.ack_requested == "never" else usual)
        return UserMessage(
            **self._get_header(),
            service=self.pmode.service,
            service_type=self.pmode.service_type,
            action=self.pmode.action,
            ref_to_message_id=row_values.get("ref"),
            expires_at=self.at + timedelta(seconds=float(row_values["expires"]))
            if "expires" in row_values
            else None,
            duplicate_elimination=row_values.get("elimination", terms.duplicate_elimination != "never"),
            ack_requested=None if ack == "none" else AckRequest(ack == "signed"),
            hop_ack_requested=_read_hop_request(row_values),
            sync_reply=row_values.get("sync", self.pmode.sync_reply_mode != "none"),
            payloads=_make_payloads(row_values.get("payloads", [{}]), self.message_id, self.payload),
            description=row_values.get("description", ""),
        )

    def make_ping(self) -> Ping:
        """Return a Ping."""
        return Ping(**self._get_header(), sync_reply=self.send.get("sync", self.is_synchronous))

    def make_pong(self) -> Pong:
        """Return a Pong."""
        return Pong(**self._get_header(), ref_to_message_id=self.ref_to_message_id)

    def make_status_request(self) -> StatusRequest:
        """Return a StatusRequest."""
        sync = self.send.get("sync", self.is_synchronous)
        return StatusRequest(**self._get_header(), queried_message_id=self.ref_to_message_id, sync_reply=sync)

    def make_status_response(self) -> StatusResponse:
        """Return a StatusResponse."""
        return StatusResponse(
            **self._get_header(),
            ref_to_message_id=self.ref_to_message_id,
            queried_message_id=self.ref_to_message_id,
            status="NotRecognized",
        )

    def make_receipt(self) -> Receipt:
        """Return an Acknowledgment without references."""
        return Receipt(**self._get_header(), ref_to_message_id=self.ref_to_message_id, received_at=self.at)

    def make_error(self) -> ErrorSignal:
        """Return a MessageError."""
        severity = self.send.get("severity", "Error")
        codes = self.send.get("codes", ("Unknown",))
        errors = tuple(ErrorEntry(code, severity, "", "made by the suite") for code in codes)
        return ErrorSignal(**self._get_header(), ref_to_message_id=self.ref_to_message_id, errors=errors)

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
    unit = _MAKERS[name](maker)
    sender = maker.send.get("sender")
    if sender is None:
        return unit
    return replace(unit, sender=replace(unit.sender, ids=(replace(unit.sender.ids[0], value=str(sender)),)))


def _read_hop_request(row_values: Mapping[str, Any]) -> AckRequest | None:
    """Return the request for a receipt of the next handler, ``signed`` or ``unsigned``; None without one."""
    hop_ack = row_values.get("hop_ack")
    return None if hop_ack is None else AckRequest(hop_ack == "signed")


def _make_payloads(
    rows: Sequence[Mapping[str, Any]], message_id: str, default_content: bytes
) -> tuple[Payload, ...]:
    """Return the payloads of a message: by default one XML document."""
    return tuple(
        Payload(
            str(row.get("id", f"p{number}.{message_id}")),
            str(row.get("type", "application/xml")),
            _make_content(row, default_content),
        )
        for number, row in enumerate(rows, 1)
    )


def _make_content(row: Mapping[str, Any], default_content: bytes) -> bytes:
    if "text" in row:
        return str(row["text"]).encode()
    if "base64" in row:
        return base64.b64decode(row["base64"])
    if "size" in row:
        return (bytes(range(256)) * (int(row["size"]) // 256 + 1))[: int(row["size"])]
    return default_content
