"""Whose key it is: weak keys, confused KeyInfo, strangers and other members (SIG-26, 28, 30 to 32)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import LAWFUL, HttpRequest
from gateway.conformance.hostile.message_attacks import make_attack_case, make_transit_attack
from gateway.conformance.hostile.scenarios import RequestMaker
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    append_element,
    combine_mutations,
    duplicate_element,
    get_element,
    insert_element,
    make_first_child,
    mutate_tree,
    parse_element,
    recompute_envelope_digest,
    recompute_signature,
    remove_element,
    set_attribute,
    set_text,
)
from gateway.conformance.hostile.weak_keys import make_weak_signer
from gateway.message_model import Party, PartyId
from gateway.pki.certificate_authority import CertificateOrder, issue_certificate
from gateway.pki.certificates import Certificate
from gateway.pki.signing_keys import Signer

__all__ = ["CASES", "build_key_value"]

_INFO: Final = "//ds:Signature/ds:KeyInfo"
_DATA: Final = f"{_INFO}/ds:X509Data"
_LEAF: Final = f"{_DATA}/ds:X509Certificate"
_FORGED: Final = set_text("//eb:ConversationId", "forged-conversation")

_WEAK: Final = "NIST SP 800-131A; CVE-2026-26007; Bleichenbacher 2006 for exponent 3"
_CONFUSED: Final = "CVE-2021-21239 (pysaml2); KeyInfo confusion"
_STRANGER: Final = "pysaml2: a random certificate in the message"
_IMPERSONATION: Final = "a member in another member's name; CPA and P-Mode bind party to certificate"
_USAGE: Final = "RFC 5280 §4.2.1.3 and §4.2.1.12"


def build_key_value(signer: Signer) -> str:
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


def _encode_certificate(certificate: Certificate) -> str:
    return base64.b64encode(certificate.der).decode()


def _build_certificate_element(certificate: Certificate) -> str:
    return f"<ds:X509Certificate>{_encode_certificate(certificate)}</ds:X509Certificate>"


def _forge_message(bench: AttackerKit, who: str, *changes: TreeMutation) -> HttpRequest:
    """Return A's message, forged and signed by the key of `who`; then `changes`."""
    return bench.build_message(
        tampered=mutate_tree(
            _FORGED, recompute_envelope_digest, recompute_signature(bench.get_signer(who)), *changes
        )
    )


def _add_stranger_key_value(bench: AttackerKit) -> HttpRequest:
    method = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
    named = set_attribute("//ds:SignatureMethod", "Algorithm", method)
    again = recompute_signature(bench.get_signer("stranger"))
    value = append_element(_INFO, build_key_value(bench.get_signer("stranger")))
    return bench.build_message(tampered=mutate_tree(_FORGED, recompute_envelope_digest, named, again, value))


def _add_own_key_value(bench: AttackerKit, *, first: bool = False) -> HttpRequest:
    def alter_tree(root: etree._Element) -> None:
        value = parse_element(build_key_value(bench.get_signer("a")))
        get_element(root, _INFO).append(value)
        if first:
            make_first_child(get_element(root, _INFO), value)

    return bench.build_message(tampered=mutate_tree(alter_tree))


def _add_certificates(*others: str, first: bool = False) -> Callable[[Any], TreeMutation]:
    """Return: further certificates in X509Data, by whose they are (``authority``: the stranger's)."""

    def make_mutation(bench: AttackerKit) -> TreeMutation:
        def alter_tree(root: etree._Element) -> None:
            for name in others:
                known = (
                    bench.outsider.certificate if name == "authority" else bench.get_signer(name).certificate
                )
                one = parse_element(_build_certificate_element(known))
                get_element(root, _DATA).insert(0 if first else len(get_element(root, _DATA)), one)

        return alter_tree

    return make_mutation


def _replace_certificate(name: str) -> Callable[[Any], TreeMutation]:
    return lambda bench: set_text(_LEAF, _encode_certificate(bench.get_signer(name).certificate))


def _insert_second_data(bench: AttackerKit) -> TreeMutation:
    return insert_element(
        _INFO,
        f"<ds:X509Data>{_build_certificate_element(bench.get_signer('b').certificate)}</ds:X509Data>",
        0,
    )


_KEY_INFO: Final = (
    make_attack_case(
        "SIG-28.attackers-key-value",
        "a stranger's KeyValue beside A's certificate; the stranger has signed",
        _add_stranger_key_value,
        "GW202",
        _CONFUSED,
        naive=True,
    ),
    *(
        make_transit_attack(f"SIG-28.{name}", title, change, problem, _CONFUSED, naive=naive_takes)
        for name, title, change, problem, naive_takes in (
            (
                "key-name",
                "KeyName beside the certificate",
                append_element(_INFO, "<ds:KeyName>hub</ds:KeyName>"),
                "GW202",
                True,
            ),
            (
                "key-name-first",
                "KeyName before the certificate",
                insert_element(_INFO, "<ds:KeyName>../../key</ds:KeyName>"),
                "GW202",
                True,
            ),
            (
                "retrieval",
                "RetrievalMethod of a URL",
                append_element(_INFO, '<ds:RetrievalMethod URI="http://169.254.169.254/key"/>'),
                "GW202",
                True,
            ),
            (
                "retrieval-loop",
                "RetrievalMethod of itself",
                append_element(_INFO, '<ds:RetrievalMethod URI="#k" Id="k"/>'),
                "GW202",
                True,
            ),
            (
                "retrieval-only",
                "RetrievalMethod instead of a certificate",
                combine_mutations(
                    remove_element(_DATA),
                    append_element(_INFO, '<ds:RetrievalMethod URI="file:///etc/ssl/cert.pem"/>'),
                ),
                "GW202",
                False,
            ),
            (
                "subject-name",
                "X509SubjectName beside the certificate",
                append_element(_DATA, "<ds:X509SubjectName>CN=hub</ds:X509SubjectName>"),
                "GW202",
                True,
            ),
            (
                "issuer-serial",
                "X509IssuerSerial beside the certificate",
                append_element(
                    _DATA,
                    "<ds:X509IssuerSerial><ds:X509IssuerName>CN=x</ds:X509IssuerName><ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial>",
                ),
                "GW202",
                True,
            ),
            (
                "subject-key",
                "X509SKI instead of the certificate",
                combine_mutations(
                    remove_element(_LEAF), append_element(_DATA, "<ds:X509SKI>AAAA</ds:X509SKI>")
                ),
                "GW202",
                False,
            ),
            (
                "crl",
                "X509CRL beside the certificate",
                append_element(_DATA, "<ds:X509CRL>AAAA</ds:X509CRL>"),
                "GW202",
                True,
            ),
            ("pgp", "PGPData beside the certificate", append_element(_INFO, "<ds:PGPData/>"), "GW202", True),
            (
                "spki",
                "SPKIData beside the certificate",
                append_element(_INFO, "<ds:SPKIData/>"),
                "GW202",
                True,
            ),
            (
                "management",
                "MgmtData beside the certificate",
                append_element(_INFO, "<ds:MgmtData>x</ds:MgmtData>"),
                "GW202",
                True,
            ),
            (
                "token-reference",
                "a SecurityTokenReference beside the certificate",
                append_element(
                    _INFO,
                    '<wsse:SecurityTokenReference><wsse:Reference URI="#x"/></wsse:SecurityTokenReference>',
                ),
                "GW202",
                True,
            ),
            (
                "unknown",
                "an unknown element beside the certificate",
                append_element(_INFO, "<x:Key/>"),
                "GW202",
                True,
            ),
            ("two-data", "X509Data stands twice", duplicate_element(_DATA), "GW202", True),
            ("same-twice", "the certificate stands twice", duplicate_element(_LEAF), "GW202", True),
            ("none", "no KeyInfo", remove_element(_INFO), "GW202", False),
            ("empty", "an empty KeyInfo", remove_element(_DATA), "GW202", False),
            ("empty-data", "an empty X509Data", remove_element(_LEAF), "GW202", False),
            ("no-certificate", "a certificate that is none", set_text(_LEAF, "AAAA"), "GW205", False),
            ("huge", "a certificate of a hundred kilobytes", set_text(_LEAF, "A" * 100_000), "GW202", False),
        )
    ),
    *(
        make_transit_attack(
            f"SIG-28.{name}", title, change, problem, _CONFUSED, of_bench=True, naive=naive_takes
        )
        for name, title, change, problem, naive_takes in (
            ("two-leaves", "B's certificate behind A's", _add_certificates("b"), "GW202", True),
            (
                "two-leaves-first",
                "B's certificate before A's",
                _add_certificates("b", first=True),
                "GW202",
                False,
            ),
            (
                "five-certificates",
                "four certificates of issuers behind A's",
                _add_certificates(*["authority"] * 4),
                "GW202",
                True,
            ),
            ("certificate-of-b", "B's certificate instead of A's", _replace_certificate("b"), "GW209", False),
            (
                "certificate-of-hub",
                "an X509Data with B's certificate before that of A",
                _insert_second_data,
                "GW202",
                False,
            ),
        )
    ),
    make_attack_case(
        "SIG-28.own-key-value",
        "a KeyValue of the same key beside the certificate, as ebms-core sends it",
        _add_own_key_value,
        LAWFUL,
        "ebms-core 2.20 on the wire",
        naive=True,
    ),
    make_attack_case(
        "SIG-28.own-key-value-first",
        "a KeyValue of the same key before the certificate",
        lambda bench: _add_own_key_value(bench, first=True),
        LAWFUL,
        "XML Signature §4.5: in any order",
        naive=True,
    ),
    make_attack_case(
        "SIG-28.issuer-beside",
        "an issuer's certificate behind the leaf",
        lambda bench: bench.build_message(tampered=mutate_tree(_add_certificates("authority")(bench))),
        LAWFUL,
        "XML Signature §4.5.4: a chain",
        naive=True,
    ),
)


def _make_weak_request(kind: str) -> RequestMaker:
    def make_request(bench: AttackerKit) -> HttpRequest:
        subject = bench.get_signer("a").certificate.subject
        return bench.build_message(
            signer=make_weak_signer(kind, bench.outsider, subject, bench.get_current_time())
        )

    return make_request


_WEAK_KEYS: Final = tuple(
    make_attack_case(
        f"SIG-26.key-{kind}",
        f"a key that is too weak or too old: {kind}",
        _make_weak_request(kind),
        "GW204 GW205 GW209",
        _WEAK,
        naive=True,
    )
    for kind in ("rsa-1024", "rsa-exponent-3", "p-192", "p-224", "secp256k1", "dsa")
)


def _sign_message_as(who: str) -> RequestMaker:
    return lambda bench: bench.build_message(signer=who)


def _sign_with_same_serial(bench: AttackerKit) -> HttpRequest:
    """Return a message signed with a certificate of A's subject and serial number, from another issuer."""
    honest = bench.get_signer("a").certificate
    made = issue_certificate(
        bench.outsider, honest.subject, bench.get_current_time(), CertificateOrder(serial=honest.serial)
    )
    return bench.build_message(signer=made.signer)


def _sign_as_authority(bench: AttackerKit) -> HttpRequest:
    """Return a message that the stranger's authority has signed with its own key."""
    made = issue_certificate(bench.outsider, "CN=leaf", bench.get_current_time(), CertificateOrder()).signer
    return bench.build_message(
        signer=replace(made, certificate=bench.outsider.certificate, key=bench.outsider.key)
    )


_STRANGERS: Final = (
    make_attack_case(
        "SIG-30.other-authority",
        "a certificate of an authority that nobody named, with A's subject",
        _sign_message_as("stranger"),
        "GW209",
        _STRANGER,
        naive=True,
    ),
    make_attack_case(
        "SIG-30.self-signed",
        "a certificate that vouches for itself, with A's subject",
        _sign_message_as("selfsigned"),
        "GW209",
        _STRANGER,
        naive=True,
    ),
    make_attack_case(
        "SIG-30.authority",
        "an authority signs a message itself",
        _sign_as_authority,
        "GW209",
        _STRANGER,
        naive=True,
    ),
    make_attack_case(
        "SIG-30.same-serial",
        "subject and serial number of A's certificate, from another issuer",
        _sign_with_same_serial,
        "GW209",
        "PKI-09: bind by the octets, not by issuer and serial",
        naive=True,
    ),
    make_attack_case(
        "SIG-30.forged-around",
        "the stranger forges A's message and leaves A's certificate in it",
        lambda bench: _forge_message(bench, "stranger"),
        "GW202",
        _STRANGER,
    ),
)


def _claim_other_party(bench: AttackerKit) -> HttpRequest:
    """Return a message that A signs and that says it is B's, by B's agreement."""
    return bench.build_message(bench.make_unit("b"), signer="a")


def _claim_two_parties(bench: AttackerKit, *, own_first: bool) -> HttpRequest:
    """Return a message whose From names A and B, by ids of two types."""
    unit = bench.make_unit()
    mine = unit.sender.ids[0]
    other = PartyId(bench.make_unit("b").sender.ids[0].value, "urn:example:another-type")
    ids = (mine, other) if own_first else (other, mine)
    return bench.build_message(replace(unit, sender=Party(ids, unit.sender.role)))


def _claim_other_agreement(bench: AttackerKit) -> HttpRequest:
    """Return A's message by B's agreement."""
    return bench.build_message(replace(bench.make_unit(), agreement=bench.make_unit("b").agreement))


def _address_other_member(bench: AttackerKit) -> HttpRequest:
    """Return A's message to B, handed to the gateway."""
    return bench.build_message(replace(bench.make_unit(), receiver=bench.make_unit("b").sender))


def _claim_gateway_sender(bench: AttackerKit) -> HttpRequest:
    """Return A's message in which the gateway writes to itself."""
    unit = bench.make_unit()
    return bench.build_message(replace(unit, sender=replace(unit.receiver, role=unit.sender.role)))


_PARTIES: Final = tuple(
    make_attack_case(name, title, make, problem, _IMPERSONATION, naive=True)
    for name, title, make, problem in (
        (
            "SIG-31.party-of-other",
            "A's certificate over a message with the PartyId of B",
            _claim_other_party,
            "GW209",
        ),
        (
            "SIG-31.party-of-other-pki",
            "B's certificate over a message with the PartyId of A",
            lambda bench: bench.build_message(signer="b"),
            "GW209",
        ),
        (
            "SIG-31.agency",
            "an agency's certificate over a message of A",
            lambda bench: bench.build_message(signer="agency"),
            "GW209",
        ),
        ("SIG-31.agreement-of-other", "A's message by the agreement of B", _claim_other_agreement, "GW304"),
        (
            "SIG-31.two-parties",
            "From names A, and B by another type",
            lambda bench: _claim_two_parties(bench, own_first=True),
            "GW302",
        ),
        (
            "SIG-31.two-parties-first",
            "From names B by another type, then A",
            lambda bench: _claim_two_parties(bench, own_first=False),
            "GW302",
        ),
        ("SIG-31.to-other", "A's message to B, brought to the gateway", _address_other_member, "GW304"),
        ("SIG-31.from-gateway", "A's message in the name of the gateway", _claim_gateway_sender, "GW304"),
    )
)


def _claim_other_role(bench: AttackerKit) -> HttpRequest:
    unit = bench.make_unit()
    return bench.build_message(replace(unit, sender=replace(unit.sender, role="Hub")))


def _make_unagreed_case(name: str, title: str, expected: str, **changes: Any) -> AttackCase:
    return make_attack_case(
        f"SIG-32.{name}",
        title,
        lambda bench: bench.build_message(replace(bench.make_unit(), **changes)),
        expected,
        "CPA and P-Mode",
        naive=True,
    )


_USES: Final = (
    make_attack_case(
        "SIG-32.encryption-only",
        "A's certificate that is for encryption only",
        _sign_message_as("encryption"),
        "GW205",
        _USAGE,
        naive=True,
    ),
    make_attack_case(
        "SIG-32.expired",
        "A's certificate that has expired",
        _sign_message_as("expired"),
        "GW206",
        "RFC 5280 §4.1.2.5",
        naive=True,
    ),
    make_attack_case(
        "SIG-32.revoked",
        "A's certificate that was revoked",
        _sign_message_as("revoked"),
        "GW207",
        "RFC 5280 §5",
        naive=True,
    ),
    make_attack_case(
        "SIG-32.role",
        "A in a role that was not agreed",
        _claim_other_role,
        "GW304",
        "CPA and P-Mode",
        naive=True,
    ),
    _make_unagreed_case(
        "service", "a service that was not agreed", "GW303", service="urn:example:other-service"
    ),
    _make_unagreed_case("action", "an action that was not agreed", "GW303", action="Withdraw"),
    _make_unagreed_case("direction", "an action that the gateway sends to A", "GW303", action="Result"),
    _make_unagreed_case(
        "agreement", "an agreement that nobody made", "GW301", agreement="urn:example:no-agreement"
    ),
)

CASES: Final[tuple[AttackCase, ...]] = (*_KEY_INFO, *_WEAK_KEYS, *_STRANGERS, *_PARTIES, *_USES)
