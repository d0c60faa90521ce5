"""Encrypted messages that an attacker has changed (SIG-36, SIG-37); for gateways that offer encryption."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from gateway.conformance.hostile.alterations import added, on_tree
from gateway.conformance.hostile.case import Case
from gateway.conformance.hostile.tampered import attack
from gateway.wire.namespaces import XENC

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench
    from gateway.conformance.hostile.plays import Maker

__all__ = ["CASES"]

_FEATURE: Final = "encryption"
_ORACLE: Final = "Jager, Somorovsky: How to Break XML Encryption, 2011; CVE-2026-69247"
_MANY: Final = "XML Encryption §3.5: any number of recipients"
_RSA_15: Final = f"{XENC}rsa-1_5"
_OAEP: Final = f"{XENC}rsa-oaep-mgf1p"
_CBC: Final = f"{XENC}aes256-cbc"
_GCM: Final = "http://www.w3.org/2009/xmlenc11#aes256-gcm"


def _key(transport: str, octets: bytes) -> str:
    value = base64.b64encode(octets).decode()
    return (
        f'<xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="{transport}"/><xenc:CipherData>'
        f"<xenc:CipherValue>{value}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey>"
    )


def _data(cipher: str, keys: str, octets: bytes) -> str:
    value = base64.b64encode(octets).decode()
    return (
        f'<xenc:EncryptedData><xenc:EncryptionMethod Algorithm="{cipher}"/><ds:KeyInfo>{keys}</ds:KeyInfo>'
        f"<xenc:CipherData><xenc:CipherValue>{value}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>"
    )


def _in_body(text: str) -> Maker:
    """Return: a message with encrypted content in its Body, put there after it was signed."""

    def make(bench: Bench) -> object:
        return bench.message(tampered=on_tree(added("/soap:Envelope/soap:Body", text)))

    return make  # type: ignore[return-value]


CASES: Final[tuple[Case, ...]] = tuple(
    attack(name, title, _in_body(text), "GW210", source, feature=_FEATURE)
    for name, title, text, source in (
        (
            "SIG-36.replaced",
            "EncryptedData replaced by random octets",
            _data(_GCM, _key(_OAEP, bytes(256)), bytes(64)),
            _ORACLE,
        ),
        (
            "SIG-36.rsa-1.5",
            "key transport by RSA PKCS #1 v1.5",
            _data(_GCM, _key(_RSA_15, bytes(256)), bytes(64)),
            _ORACLE,
        ),
        (
            "SIG-36.cbc",
            "content in CBC mode, its last block changed",
            _data(_CBC, _key(_OAEP, bytes(256)), bytes(63) + b"\x01"),
            _ORACLE,
        ),
        (
            "SIG-37.recipients",
            "a thousand recipients",
            _data(_GCM, _key(_OAEP, bytes(8)) * 1000, bytes(64)),
            _MANY,
        ),
        (
            "SIG-37.nested",
            "EncryptedData inside the KeyInfo of EncryptedData",
            _data(_GCM, _data(_GCM, _data(_GCM, "", b""), b""), b""),
            _MANY,
        ),
    )
)
