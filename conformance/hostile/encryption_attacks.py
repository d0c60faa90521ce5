"""Encrypted content in a Body, where no agreement has it (SIG-36, SIG-37).

It must be refused at low cost and always in the same way, because answers that differ make an
oracle. Encrypted payloads are in `decryption_attacks`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Generator
from typing import Final

from lxml import etree

from gateway.wire import DS, SERVICE_AGENCY, XENC, parse_xml
from gateway_conformance.hostile.answer_evaluation import summarize_answer
from gateway_conformance.hostile.attack_cases import (
    SECURITY,
    AttackCase,
    AttackTable,
    RequestMaker,
    Scenario,
    build_tampered_call,
    expect_early_refusal,
    make_table_cases,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import get_element, swap_octets
from gateway_conformance.hostile.exchange import Answer, Exchange, HttpRequest, WrongAnswerError

_ORACLE: Final = "Jager, Somorovsky: How to Break XML Encryption, 2011; CVE-2026-69247"
_MANY: Final = "XML Encryption §3.5: any number of recipients"
_RSA_15: Final = f"{XENC}rsa-1_5"
_OAEP: Final = f"{XENC}rsa-oaep-mgf1p"
_CBC: Final = f"{XENC}aes256-cbc"
#: Values that differ in every answer: ids and times.
_RUNNING: Final = re.compile(r"[0-9A-Za-z:.-]*[0-9]{4}[0-9A-Za-z:.@-]*")
_GCM: Final = "http://www.w3.org/2009/xmlenc11#aes256-gcm"


def _build_encrypted_key(transport: str, octets: bytes) -> str:
    value = base64.b64encode(octets).decode()
    return (
        f'<xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="{transport}"/><xenc:CipherData>'
        f"<xenc:CipherValue>{value}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey>"
    )


def _build_encrypted_data(cipher: str, keys: str, octets: bytes) -> str:
    value = base64.b64encode(octets).decode()
    return (
        f'<xenc:EncryptedData><xenc:EncryptionMethod Algorithm="{cipher}"/><ds:KeyInfo>{keys}</ds:KeyInfo>'
        f"<xenc:CipherData><xenc:CipherValue>{value}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>"
    )


def _make_encrypted_body_message(body_xml: str, member: str = "a") -> RequestMaker:
    """Return the step that sends a message signed with encrypted content in its Body."""
    fill_body = swap_octets("<soap:Body/>", f"<soap:Body>{body_xml}</soap:Body>")
    return lambda kit: kit.build_message(
        kit.make_unit(member, payloads=()), member, envelope=lambda data: fill_body(_declare_prefixes(data))
    )


def _declare_prefixes(data: bytes) -> bytes:
    names = f'<soap:Envelope xmlns:xenc="{XENC}" xmlns:ds="{DS}" '
    return swap_octets("<soap:Envelope ", names)(data.replace(f' xmlns:ds="{DS}"'.encode(), b""))


def _wrap_with_namespaces(text: str) -> str:
    return f'<x:Sealed xmlns:x="{SERVICE_AGENCY}" xmlns:xenc="{XENC}" xmlns:ds="{DS}">{text}</x:Sealed>'


def _make_encrypted_body_call(body_xml: str) -> RequestMaker:
    """Return the step that sends a call signed with encrypted content as its Body."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        return kit.build_call(content=parse_xml(_wrap_with_namespaces(body_xml).encode())[0])

    return make_request


def _make_encrypted_key_call(text: str) -> RequestMaker:
    """Return the step that sends an honest call with encrypted keys in its Security header."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        keys = parse_xml(_wrap_with_namespaces(text).encode())

        def append_keys(root: etree._Element) -> None:
            for encrypted_key in list(keys):
                get_element(root, SECURITY).append(encrypted_key)

        return build_tampered_call(kit, append_keys)

    return make_request


def _build_variants() -> list[str]:
    """Return variants that differ only inside: cipher, transport, lengths, octets."""
    octets = (bytes(64), bytes(63) + b"\x01", bytes(range(64)), b"\x02" * 80, b"")
    return [
        _build_encrypted_data(cipher, _build_encrypted_key(transport, bytes([first]) * 256), content)
        for cipher in (_GCM, _CBC)
        for transport in (_OAEP, _RSA_15)
        for first in (0, 255)
        for content in octets
    ]


def _make_uniform_scenario(make_request_maker: Callable[[str], RequestMaker]) -> Scenario:
    """Return the scenario in which every variant must get exactly the same refusal."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        first = ""
        for number, text in enumerate(_build_variants()):
            answer = yield Exchange(make_request_maker(text)(kit), _REFUSED)
            summary = summarize_answer(answer)
            reason = _RUNNING.sub("#", summary.text)
            description = (
                f"{summary.status} {summary.error_codes} {summary.fault_code} {summary.problem_ids} {reason}"
            )
            first = first or description
            if description != first:
                raise WrongAnswerError(f"variant {number} is answered otherwise: {description[:100]}")

    return run_scenario


#: Refusals of encrypted content; none of them reveals the content.
_REFUSED: Final = expect_early_refusal(
    "GW105", "GW106", "GW107", "GW202", "GW203", "GW210", "GW304", "GW311", "GW402"
)
_KEYS: Final = _build_encrypted_key(_OAEP, bytes(8)) * 1000
_CROWD: Final = _build_encrypted_data(_GCM, _KEYS, b"")
_NESTED: Final = "<xenc:EncryptedData>" * 60 + "</xenc:EncryptedData>" * 60
_ONE_KEY: Final = _build_encrypted_key(_OAEP, bytes(8))

# fmt: off
_UNASKED_MESSAGES: Final[AttackTable[RequestMaker]] = (
    ("unasked-recipients", "a Body for a thousand recipients", _make_encrypted_body_message(_CROWD)),
    ("unasked-nested", "sixty EncryptedData, each in the other", _make_encrypted_body_message(_NESTED)),
)

_UNASKED_CALLS: Final[AttackTable[RequestMaker]] = (
    ("call-recipients", "a Body for a thousand recipients", _make_encrypted_body_call(_CROWD)),
    ("call-nested", "sixty EncryptedData, each in the other", _make_encrypted_body_call(_NESTED)),
    ("call-keys", "a thousand EncryptedKey in the Security header", _make_encrypted_key_call(_KEYS)),
    ("call-key", "one EncryptedKey in the Security header", _make_encrypted_key_call(_ONE_KEY)),
)

# fmt: on

CASES: Final[tuple[AttackCase, ...]] = (
    AttackCase(
        "SIG-36.one-answer",
        "forty kinds of encrypted Body, one refusal",
        "ebms2",
        _ORACLE,
        _make_uniform_scenario(_make_encrypted_body_message),
        naive=True,
    ),
    AttackCase(
        "SIG-36.call-one-answer",
        "forty kinds of encrypted Body, one fault",
        "soap",
        _ORACLE,
        _make_uniform_scenario(_make_encrypted_body_call),
        naive=True,
    ),
    *make_table_cases("SIG-37.", _UNASKED_MESSAGES, use_request_maker, _MANY, _REFUSED, naive=True),
    *make_table_cases("SIG-37.", _UNASKED_CALLS, use_request_maker, _MANY, _REFUSED, face="soap", naive=True),
)
"""Attacks by encrypted content: SIG-36 and SIG-37."""
