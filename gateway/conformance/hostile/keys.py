"""Whose key it is: weak keys, confused KeyInfo, strangers and other members (SIG-26, 28, 30 to 32)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from gateway.conformance.hostile.alterations import (
    Alteration,
    added,
    all_of,
    at,
    attribute_set,
    digest_again,
    doubled,
    element,
    inserted,
    on_tree,
    put_first,
    removed,
    sign_again,
    text_set,
)
from gateway.conformance.hostile.case import LAWFUL, Case, Post
from gateway.conformance.hostile.forgers import forger
from gateway.conformance.hostile.tampered import attack, on_the_way
from gateway.model import Party, PartyId
from gateway.pki.certificates import Certificate
from gateway.pki.issue import Order, issue_certificate
from gateway.pki.keys import Signer

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench
    from gateway.conformance.hostile.plays import Maker

__all__ = ["CASES", "key_value"]

_INFO: Final = "//ds:Signature/ds:KeyInfo"
_DATA: Final = f"{_INFO}/ds:X509Data"
_LEAF: Final = f"{_DATA}/ds:X509Certificate"
_FORGED: Final = text_set("//eb:ConversationId", "forged-conversation")

_WEAK: Final = "NIST SP 800-131A; CVE-2026-26007; Bleichenbacher 2006 for exponent 3"
_CONFUSED: Final = "CVE-2021-21239 (pysaml2); KeyInfo confusion"
_STRANGER: Final = "pysaml2: a random certificate in the message"
_IMPERSONATION: Final = "a member in another member's name; CPA and P-Mode bind party to certificate"
_USAGE: Final = "RFC 5280 §4.2.1.3 and §4.2.1.12"


def key_value(signer: Signer) -> str:
    """Return a ds:KeyValue with the public key of `signer`."""
    key = signer.certificate.public_key
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        octets = (one.to_bytes((one.bit_length() + 7) // 8) for one in (numbers.n, numbers.e))
        modulus, exponent = (base64.b64encode(one).decode() for one in octets)
        inside = f"<ds:Modulus>{modulus}</ds:Modulus><ds:Exponent>{exponent}</ds:Exponent>"
        return f"<ds:KeyValue><ds:RSAKeyValue>{inside}</ds:RSAKeyValue></ds:KeyValue>"
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise LookupError("no KeyValue for this kind of key")
    point = base64.b64encode(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)).decode()
    curve = '<ds11:NamedCurve URI="urn:oid:1.2.840.10045.3.1.7"/>'
    return (
        f"<ds:KeyValue><ds11:ECKeyValue>{curve}<ds11:PublicKey>{point}</ds11:PublicKey>"
        "</ds11:ECKeyValue></ds:KeyValue>"
    )


def _base64(certificate: Certificate) -> str:
    return base64.b64encode(certificate.der).decode()


def _leaf(certificate: Certificate) -> str:
    return f"<ds:X509Certificate>{_base64(certificate)}</ds:X509Certificate>"


def _forged_by(bench: Bench, who: str, *changes: Alteration) -> Post:
    """Return A's message, forged and signed by the key of `who`; then `changes`."""
    return bench.message(tampered=on_tree(_FORGED, digest_again, sign_again(bench.signer(who)), *changes))


def _with_key_value(bench: Bench) -> Post:
    method = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
    named = attribute_set("//ds:SignatureMethod", "Algorithm", method)
    again = sign_again(bench.signer("stranger"))
    value = added(_INFO, key_value(bench.signer("stranger")))
    return bench.message(tampered=on_tree(_FORGED, digest_again, named, again, value))


def _with_own_key_value(bench: Bench, *, first: bool = False) -> Post:
    def change(root: etree._Element) -> None:
        value = element(key_value(bench.signer("a")))
        at(root, _INFO).append(value)
        if first:
            put_first(at(root, _INFO), value)

    return bench.message(tampered=on_tree(change))


def _certificates(*others: str, first: bool = False) -> Callable[[Any], Alteration]:
    """Return: further certificates in X509Data, by whose they are (``authority``: the stranger's)."""

    def of(bench: Bench) -> Alteration:
        def change(root: etree._Element) -> None:
            for name in others:
                known = bench.outsider.certificate if name == "authority" else bench.signer(name).certificate
                one = element(_leaf(known))
                at(root, _DATA).insert(0 if first else len(at(root, _DATA)), one)

        return change

    return of


def _instead(name: str) -> Callable[[Any], Alteration]:
    return lambda bench: text_set(_LEAF, _base64(bench.signer(name).certificate))


def _second_data(bench: Bench) -> Alteration:
    return inserted(_INFO, f"<ds:X509Data>{_leaf(bench.signer('b').certificate)}</ds:X509Data>", 0)


_KEY_INFO: Final = (
    attack(
        "SIG-28.attackers-key-value",
        "a stranger's KeyValue beside A's certificate; the stranger has signed",
        _with_key_value,
        "GW202",
        _CONFUSED,
        naive=True,
    ),
    *(
        on_the_way(f"SIG-28.{name}", title, change, problem, _CONFUSED, naive=naive_takes)
        for name, title, change, problem, naive_takes in (
            (
                "key-name",
                "KeyName beside the certificate",
                added(_INFO, "<ds:KeyName>hub</ds:KeyName>"),
                "GW202",
                True,
            ),
            (
                "key-name-first",
                "KeyName before the certificate",
                inserted(_INFO, "<ds:KeyName>../../key</ds:KeyName>"),
                "GW202",
                True,
            ),
            (
                "retrieval",
                "RetrievalMethod of a URL",
                added(_INFO, '<ds:RetrievalMethod URI="http://169.254.169.254/key"/>'),
                "GW202",
                True,
            ),
            (
                "retrieval-loop",
                "RetrievalMethod of itself",
                added(_INFO, '<ds:RetrievalMethod URI="#k" Id="k"/>'),
                "GW202",
                True,
            ),
            (
                "retrieval-only",
                "RetrievalMethod instead of a certificate",
                all_of(removed(_DATA), added(_INFO, '<ds:RetrievalMethod URI="file:///etc/ssl/cert.pem"/>')),
                "GW202",
                False,
            ),
            (
                "subject-name",
                "X509SubjectName beside the certificate",
                added(_DATA, "<ds:X509SubjectName>CN=hub</ds:X509SubjectName>"),
                "GW202",
                True,
            ),
            (
                "issuer-serial",
                "X509IssuerSerial beside the certificate",
                added(
                    _DATA,
                    "<ds:X509IssuerSerial><ds:X509IssuerName>CN=x</ds:X509IssuerName><ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial>",
                ),
                "GW202",
                True,
            ),
            (
                "subject-key",
                "X509SKI instead of the certificate",
                all_of(removed(_LEAF), added(_DATA, "<ds:X509SKI>AAAA</ds:X509SKI>")),
                "GW202",
                False,
            ),
            (
                "crl",
                "X509CRL beside the certificate",
                added(_DATA, "<ds:X509CRL>AAAA</ds:X509CRL>"),
                "GW202",
                True,
            ),
            ("pgp", "PGPData beside the certificate", added(_INFO, "<ds:PGPData/>"), "GW202", True),
            ("spki", "SPKIData beside the certificate", added(_INFO, "<ds:SPKIData/>"), "GW202", True),
            (
                "management",
                "MgmtData beside the certificate",
                added(_INFO, "<ds:MgmtData>x</ds:MgmtData>"),
                "GW202",
                True,
            ),
            (
                "token-reference",
                "a SecurityTokenReference beside the certificate",
                added(
                    _INFO,
                    '<wsse:SecurityTokenReference><wsse:Reference URI="#x"/></wsse:SecurityTokenReference>',
                ),
                "GW202",
                True,
            ),
            ("unknown", "an unknown element beside the certificate", added(_INFO, "<x:Key/>"), "GW202", True),
            ("two-data", "X509Data stands twice", doubled(_DATA), "GW202", True),
            ("same-twice", "the certificate stands twice", doubled(_LEAF), "GW202", True),
            ("none", "no KeyInfo", removed(_INFO), "GW202", False),
            ("empty", "an empty KeyInfo", removed(_DATA), "GW202", False),
            ("empty-data", "an empty X509Data", removed(_LEAF), "GW202", False),
            ("no-certificate", "a certificate that is none", text_set(_LEAF, "AAAA"), "GW205", False),
            ("huge", "a certificate of a hundred kilobytes", text_set(_LEAF, "A" * 100_000), "GW202", False),
        )
    ),
    *(
        on_the_way(f"SIG-28.{name}", title, change, problem, _CONFUSED, of_bench=True, naive=naive_takes)
        for name, title, change, problem, naive_takes in (
            ("two-leaves", "B's certificate behind A's", _certificates("b"), "GW202", True),
            (
                "two-leaves-first",
                "B's certificate before A's",
                _certificates("b", first=True),
                "GW202",
                False,
            ),
            (
                "five-certificates",
                "four certificates of issuers behind A's",
                _certificates(*["authority"] * 4),
                "GW202",
                True,
            ),
            ("certificate-of-b", "B's certificate instead of A's", _instead("b"), "GW209", False),
            (
                "certificate-of-hub",
                "an X509Data with B's certificate before that of A",
                _second_data,
                "GW202",
                False,
            ),
        )
    ),
    attack(
        "SIG-28.own-key-value",
        "a KeyValue of the same key beside the certificate, as ebms-core sends it",
        _with_own_key_value,
        LAWFUL,
        "ebms-core 2.20 on the wire",
        naive=True,
    ),
    attack(
        "SIG-28.own-key-value-first",
        "a KeyValue of the same key before the certificate",
        lambda bench: _with_own_key_value(bench, first=True),
        LAWFUL,
        "XML Signature §4.5: in any order",
        naive=True,
    ),
    attack(
        "SIG-28.issuer-beside",
        "an issuer's certificate behind the leaf",
        lambda bench: bench.message(tampered=on_tree(_certificates("authority")(bench))),
        LAWFUL,
        "XML Signature §4.5.4: a chain",
        naive=True,
    ),
)


def _weak(kind: str) -> Maker:
    def make(bench: Bench) -> Post:
        subject = bench.signer("a").certificate.subject
        return bench.message(signer=forger(kind, bench.outsider, subject, bench.now()))

    return make


_WEAK_KEYS: Final = tuple(
    attack(
        f"SIG-26.key-{kind}",
        f"a key that is too weak or too old: {kind}",
        _weak(kind),
        "GW204 GW205 GW209",
        _WEAK,
        naive=True,
    )
    for kind in ("rsa-1024", "rsa-exponent-3", "p-192", "p-224", "secp256k1", "dsa")
)


def _signed_by(who: str) -> Maker:
    return lambda bench: bench.message(signer=who)


def _same_serial(bench: Bench) -> Post:
    """Return a message signed with a certificate of A's subject and serial number, from another issuer."""
    honest = bench.signer("a").certificate
    made = issue_certificate(bench.outsider, honest.subject, bench.now(), Order(serial=honest.serial))
    return bench.message(signer=made.signer)


def _authority_as_signer(bench: Bench) -> Post:
    """Return a message that the stranger's authority has signed with its own key."""
    made = issue_certificate(bench.outsider, "CN=leaf", bench.now(), Order()).signer
    return bench.message(signer=replace(made, certificate=bench.outsider.certificate, key=bench.outsider.key))


_STRANGERS: Final = (
    attack(
        "SIG-30.other-authority",
        "a certificate of an authority that nobody named, with A's subject",
        _signed_by("stranger"),
        "GW209",
        _STRANGER,
        naive=True,
    ),
    attack(
        "SIG-30.self-signed",
        "a certificate that vouches for itself, with A's subject",
        _signed_by("selfsigned"),
        "GW209",
        _STRANGER,
        naive=True,
    ),
    attack(
        "SIG-30.authority",
        "an authority signs a message itself",
        _authority_as_signer,
        "GW209",
        _STRANGER,
        naive=True,
    ),
    attack(
        "SIG-30.same-serial",
        "subject and serial number of A's certificate, from another issuer",
        _same_serial,
        "GW209",
        "PKI-09: bind by the octets, not by issuer and serial",
        naive=True,
    ),
    attack(
        "SIG-30.forged-around",
        "the stranger forges A's message and leaves A's certificate in it",
        lambda bench: _forged_by(bench, "stranger"),
        "GW202",
        _STRANGER,
    ),
)


def _as_other(bench: Bench) -> Post:
    """Return a message that A signs and that says it is B's, by B's agreement."""
    return bench.message(bench.unit("b"), signer="a")


def _two_ids(bench: Bench, *, own_first: bool) -> Post:
    """Return a message whose From names A and B, by ids of two types."""
    unit = bench.unit()
    mine = unit.sender.ids[0]
    other = PartyId(bench.unit("b").sender.ids[0].value, "urn:example:another-type")
    ids = (mine, other) if own_first else (other, mine)
    return bench.message(replace(unit, sender=Party(ids, unit.sender.role)))


def _agreement_of_other(bench: Bench) -> Post:
    """Return A's message by B's agreement."""
    return bench.message(replace(bench.unit(), agreement=bench.unit("b").agreement))


def _to_other(bench: Bench) -> Post:
    """Return A's message to B, handed to the gateway."""
    return bench.message(replace(bench.unit(), receiver=bench.unit("b").sender))


def _from_gateway(bench: Bench) -> Post:
    """Return A's message in which the gateway writes to itself."""
    unit = bench.unit()
    return bench.message(replace(unit, sender=replace(unit.receiver, role=unit.sender.role)))


_PARTIES: Final = tuple(
    attack(name, title, make, problem, _IMPERSONATION, naive=True)
    for name, title, make, problem in (
        ("SIG-31.party-of-other", "A's certificate over a message with the PartyId of B", _as_other, "GW209"),
        (
            "SIG-31.party-of-other-pki",
            "B's certificate over a message with the PartyId of A",
            lambda bench: bench.message(signer="b"),
            "GW209",
        ),
        (
            "SIG-31.agency",
            "an agency's certificate over a message of A",
            lambda bench: bench.message(signer="agency"),
            "GW209",
        ),
        ("SIG-31.agreement-of-other", "A's message by the agreement of B", _agreement_of_other, "GW304"),
        (
            "SIG-31.two-parties",
            "From names A, and B by another type",
            lambda bench: _two_ids(bench, own_first=True),
            "GW302",
        ),
        (
            "SIG-31.two-parties-first",
            "From names B by another type, then A",
            lambda bench: _two_ids(bench, own_first=False),
            "GW302",
        ),
        ("SIG-31.to-other", "A's message to B, brought to the gateway", _to_other, "GW304"),
        ("SIG-31.from-gateway", "A's message in the name of the gateway", _from_gateway, "GW304"),
    )
)


def _role(bench: Bench) -> Post:
    unit = bench.unit()
    return bench.message(replace(unit, sender=replace(unit.sender, role="Hub")))


def _unknown_case(name: str, title: str, expected: str, **changes: Any) -> Case:
    return attack(
        f"SIG-32.{name}",
        title,
        lambda bench: bench.message(replace(bench.unit(), **changes)),
        expected,
        "CPA and P-Mode",
        naive=True,
    )


_USES: Final = (
    attack(
        "SIG-32.encryption-only",
        "A's certificate that is for encryption only",
        _signed_by("encryption"),
        "GW205",
        _USAGE,
        naive=True,
    ),
    attack(
        "SIG-32.expired",
        "A's certificate that has expired",
        _signed_by("expired"),
        "GW206",
        "RFC 5280 §4.1.2.5",
        naive=True,
    ),
    attack(
        "SIG-32.revoked",
        "A's certificate that was revoked",
        _signed_by("revoked"),
        "GW207",
        "RFC 5280 §5",
        naive=True,
    ),
    attack("SIG-32.role", "A in a role that was not agreed", _role, "GW304", "CPA and P-Mode", naive=True),
    _unknown_case("service", "a service that was not agreed", "GW303", service="urn:example:other-service"),
    _unknown_case("action", "an action that was not agreed", "GW303", action="Withdraw"),
    _unknown_case("direction", "an action that the gateway sends to A", "GW303", action="Result"),
    _unknown_case(
        "agreement", "an agreement that nobody made", "GW301", agreement="urn:example:no-agreement"
    ),
)

CASES: Final[tuple[Case, ...]] = (*_KEY_INFO, *_WEAK_KEYS, *_STRANGERS, *_PARTIES, *_USES)
