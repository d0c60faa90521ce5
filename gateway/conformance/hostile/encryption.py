"""Encrypted content that an attacker has changed, or that nobody asked for (SIG-36, SIG-37).

What is changed is for gateways that offer encryption.  What nobody asked for is for every
gateway: it must be refused, at no cost, and in one way whatever is inside, for answers that
differ are what an oracle is made of.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import added, at, on_tree
from gateway.conformance.hostile.bombs import refused_at_once
from gateway.conformance.hostile.calls import SECURITY, call_of
from gateway.conformance.hostile.case import Answer, Case, Exchange, Post, WrongAnswerError
from gateway.conformance.hostile.craft import swap
from gateway.conformance.hostile.judging import hear
from gateway.conformance.hostile.tampered import attack
from gateway.wire.namespaces import DS, SERVICE_AGENCY, XENC
from gateway.wire.xml import parse_xml

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench
    from gateway.conformance.hostile.case import Play
    from gateway.conformance.hostile.plays import Maker

__all__ = ["CASES"]

_FEATURE: Final = "encryption"
_ORACLE: Final = "Jager, Somorovsky: How to Break XML Encryption, 2011; CVE-2026-69247"
_MANY: Final = "XML Encryption §3.5: any number of recipients"
_RSA_15: Final = f"{XENC}rsa-1_5"
_OAEP: Final = f"{XENC}rsa-oaep-mgf1p"
_CBC: Final = f"{XENC}aes256-cbc"
#: What differs from answer to answer anyhow: ids and moments.
_RUNNING: Final = re.compile(r"[0-9A-Za-z:.-]*[0-9]{4}[0-9A-Za-z:.@-]*")
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


def _unasked(text: str, member: str = "a") -> Maker:
    """Return: a message that its sender has signed with encrypted content in its Body."""
    there = swap("<soap:Body/>", f"<soap:Body>{text}</soap:Body>")
    return lambda bench: bench.message(
        bench.unit(member, payloads=()), member, envelope=lambda data: there(_declared(data))
    )


def _declared(data: bytes) -> bytes:
    names = f'<soap:Envelope xmlns:xenc="{XENC}" xmlns:ds="{DS}" '
    return swap("<soap:Envelope ", names)(data.replace(f' xmlns:ds="{DS}"'.encode(), b""))


def _with_names(text: str) -> str:
    return f'<x:Sealed xmlns:x="{SERVICE_AGENCY}" xmlns:xenc="{XENC}" xmlns:ds="{DS}">{text}</x:Sealed>'


def _called(text: str) -> Maker:
    """Return: a call that the agency has signed with encrypted content as its Body."""

    def make(bench: Bench) -> Post:
        return bench.call(content=parse_xml(_with_names(text).encode())[0])

    return make


def _in_security(text: str) -> Maker:
    """Return: an honest call with encrypted keys put into its Security header."""

    def make(bench: Bench) -> Post:
        keys = parse_xml(_with_names(text).encode())

        def change(root: etree._Element) -> None:
            for one in list(keys):
                at(root, SECURITY).append(one)

        return call_of(bench, change)

    return make


def _variants() -> list[str]:
    """Return what differs only within: cipher, transport, lengths, octets."""
    octets = (bytes(64), bytes(63) + b"\x01", bytes(range(64)), b"\x02" * 80, b"")
    return [
        _data(cipher, _key(transport, bytes([first]) * 256), content)
        for cipher in (_GCM, _CBC)
        for transport in (_OAEP, _RSA_15)
        for first in (0, 255)
        for content in octets
    ]


def _one_answer(make: Callable[[str], Maker]) -> Play:
    """Return: every variant must be refused in the very same words."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        first = ""
        for number, text in enumerate(_variants()):
            answer = yield Exchange(make(text)(bench), _REFUSED)
            heard = hear(answer)
            words = _RUNNING.sub("#", heard.words)
            said = f"{heard.status} {heard.codes} {heard.fault} {heard.problems} {words}"
            first = first or said
            if said != first:
                raise WrongAnswerError(f"variant {number} is answered otherwise: {said[:100]}")

    return play


#: Many ways to say that encrypted content is not understood; none of them says what is inside.
_REFUSED: Final = refused_at_once(
    "GW105", "GW106", "GW107", "GW202", "GW203", "GW210", "GW304", "GW311", "GW402"
)
_KEYS: Final = _key(_OAEP, bytes(8)) * 1000
_CROWD: Final = _data(_GCM, _KEYS, b"")
_NESTED: Final = "<xenc:EncryptedData>" * 60 + "</xenc:EncryptedData>" * 60

_UNASKED: Final = (
    Case(
        "SIG-36.one-answer",
        "forty kinds of encrypted Body, one refusal",
        "ebms2",
        _ORACLE,
        _one_answer(_unasked),
        naive=True,
    ),
    Case(
        "SIG-36.call-one-answer",
        "forty kinds of encrypted Body, one fault",
        "soap",
        _ORACLE,
        _one_answer(_called),
        naive=True,
    ),
    *(
        attack(f"SIG-37.{name}", title, make, _REFUSED, _MANY, face=face, naive=True)
        for name, title, make, face in (
            ("unasked-recipients", "a Body for a thousand recipients", _unasked(_CROWD), "ebms2"),
            ("unasked-nested", "sixty EncryptedData, each in the other", _unasked(_NESTED), "ebms2"),
            ("call-recipients", "a Body for a thousand recipients", _called(_CROWD), "soap"),
            ("call-nested", "sixty EncryptedData, each in the other", _called(_NESTED), "soap"),
            ("call-keys", "a thousand EncryptedKey in the Security header", _in_security(_KEYS), "soap"),
            (
                "call-key",
                "one EncryptedKey in the Security header",
                _in_security(_key(_OAEP, bytes(8))),
                "soap",
            ),
        )
    ),
)

_CHANGED: Final[tuple[Case, ...]] = tuple(
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

CASES: Final[tuple[Case, ...]] = (*_CHANGED, *_UNASKED)
