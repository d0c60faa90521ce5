"""Attacks on the signer's key: weak keys, ambiguous KeyInfo, other signers (SIG-26, 28, 30 to 32)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from gateway.message_model import Party, PartyId
from gateway.pki import ECDSA_SHA256, Certificate, Signer
from gateway_conformance.hostile.attack_cases import (
    AttackCase,
    AttackTable,
    RequestMaker,
    SourcedTable,
    change_on_the_way,
    change_with_kit,
    make_attack_case,
    make_sourced_cases,
    make_table_cases,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
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
from gateway_conformance.hostile.exchange import HttpRequest
from gateway_conformance.hostile.forged_certificates import (
    SignerMaker,
    copy_serial_by_stranger,
    use_authority_key,
    use_signer,
    use_weak_key,
)

_INFO: Final = "//ds:Signature/ds:KeyInfo"
_DATA: Final = f"{_INFO}/ds:X509Data"
_LEAF: Final = f"{_DATA}/ds:X509Certificate"
_FORGE_CONVERSATION_ID: Final = set_text("//eb:ConversationId", "forged-conversation")

_WEAK: Final = "NIST SP 800-131A; CVE-2026-26007; Bleichenbacher 2006 for exponent 3"
_CONFUSED: Final = "CVE-2021-21239 (pysaml2); KeyInfo confusion"
_STRANGER: Final = "pysaml2: a random certificate in the message"
_IMPERSONATION: Final = "a member in another member's name; CPA and P-Mode bind party to certificate"
_USAGE: Final = "RFC 5280 §4.2.1.3 and §4.2.1.12"
_OWN_VALUE: Final = "ebms-core 2.20 on the wire"
_ANY_ORDER: Final = "XML Signature §4.5: in any order"
_CHAIN: Final = "XML Signature §4.5.4: a chain"
_BY_OCTETS: Final = "PKI-09: bind by the octets, not by issuer and serial"
_AGREED: Final = "CPA and P-Mode"
_SERIAL: Final = (
    "<ds:X509IssuerSerial><ds:X509IssuerName>CN=x</ds:X509IssuerName>"
    "<ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial>"
)
_RETRIEVAL: Final = '<ds:RetrievalMethod URI="file:///etc/ssl/cert.pem"/>'
_REFERENCE: Final = '<wsse:SecurityTokenReference><wsse:Reference URI="#x"/></wsse:SecurityTokenReference>'

#: Makes a tree mutation from a kit.
_MutationMaker = Callable[[AttackerKit], TreeMutation]


def build_key_value(signer: Signer) -> str:
    """Return a ds:KeyValue with the public key of `signer`."""
    key = signer.certificate.public_key
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        octets = (number.to_bytes((number.bit_length() + 7) // 8) for number in (numbers.n, numbers.e))
        modulus, exponent = (base64.b64encode(encoded).decode() for encoded in octets)
        parameters = f"<ds:Modulus>{modulus}</ds:Modulus><ds:Exponent>{exponent}</ds:Exponent>"
        return f"<ds:KeyValue><ds:RSAKeyValue>{parameters}</ds:RSAKeyValue></ds:KeyValue>"
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


def _forge_with_key_value(kit: AttackerKit) -> HttpRequest:
    """Return A's message, forged by the stranger, with a key beside A's certificate."""
    stranger = kit.get_signer("stranger")
    method = set_attribute("//ds:SignatureMethod", "Algorithm", ECDSA_SHA256)
    value = append_element(_INFO, build_key_value(stranger))
    changes = (
        _FORGE_CONVERSATION_ID,
        recompute_envelope_digest,
        method,
        recompute_signature(stranger),
        value,
    )
    return kit.build_message(tampered=mutate_tree(*changes))


def _forge_beside_certificate(kit: AttackerKit) -> HttpRequest:
    """Return A's message, forged by the stranger, with A's certificate left in it."""
    sign_as_stranger = recompute_signature(kit.get_signer("stranger"))
    return kit.build_message(
        tampered=mutate_tree(_FORGE_CONVERSATION_ID, recompute_envelope_digest, sign_as_stranger)
    )


def _add_own_key_value(*, inserts_first: bool = False) -> _MutationMaker:
    """Return the change that adds a KeyValue with the key of A's certificate."""

    def make_mutation(kit: AttackerKit) -> TreeMutation:
        def alter_tree(root: etree._Element) -> None:
            value = parse_element(build_key_value(kit.get_signer("a")))
            get_element(root, _INFO).append(value)
            if inserts_first:
                make_first_child(get_element(root, _INFO), value)

        return alter_tree

    return make_mutation


def _add_certificates(*others: str, first: bool = False) -> _MutationMaker:
    """Return the change that adds certificates to X509Data, by owner (``authority``: the stranger's)."""

    def make_mutation(kit: AttackerKit) -> TreeMutation:
        def alter_tree(root: etree._Element) -> None:
            for name in others:
                owner = kit.stranger_authority if name == "authority" else kit.get_signer(name)
                element = parse_element(_build_certificate_element(owner.certificate))
                get_element(root, _DATA).insert(0 if first else len(get_element(root, _DATA)), element)

        return alter_tree

    return make_mutation


def _replace_certificate(signer_name: str) -> _MutationMaker:
    return lambda kit: set_text(_LEAF, _encode_certificate(kit.get_signer(signer_name).certificate))


def _insert_second_data(kit: AttackerKit) -> TreeMutation:
    certificate_element = _build_certificate_element(kit.get_signer("b").certificate)
    return insert_element(_INFO, f"<ds:X509Data>{certificate_element}</ds:X509Data>")


# fmt: off
_KEY_INFO: Final[AttackTable[TreeMutation]] = (
    ("key-name", "KeyName beside the certificate", append_element(_INFO, "<ds:KeyName>hub</ds:KeyName>"),
     "GW202", True),
    ("key-name-first", "KeyName before the certificate",
     insert_element(_INFO, "<ds:KeyName>../../key</ds:KeyName>"), "GW202", True),
    ("retrieval", "RetrievalMethod of a URL",
     append_element(_INFO, '<ds:RetrievalMethod URI="http://169.254.169.254/key"/>'), "GW202", True),
    ("retrieval-loop", "RetrievalMethod of itself",
     append_element(_INFO, '<ds:RetrievalMethod URI="#k" Id="k"/>'), "GW202", True),
    ("retrieval-only", "RetrievalMethod instead of a certificate",
     combine_mutations(remove_element(_DATA), append_element(_INFO, _RETRIEVAL)), "GW202", False),
    ("subject-name", "X509SubjectName beside the certificate",
     append_element(_DATA, "<ds:X509SubjectName>CN=hub</ds:X509SubjectName>"), "GW202", True),
    ("issuer-serial", "X509IssuerSerial beside the certificate", append_element(_DATA, _SERIAL), "GW202",
     True),
    ("subject-key", "X509SKI instead of the certificate",
     combine_mutations(remove_element(_LEAF), append_element(_DATA, "<ds:X509SKI>AAAA</ds:X509SKI>")),
     "GW202", False),
    ("crl", "X509CRL beside the certificate", append_element(_DATA, "<ds:X509CRL>AAAA</ds:X509CRL>"), "GW202",
     True),
    ("pgp", "PGPData beside the certificate", append_element(_INFO, "<ds:PGPData/>"), "GW202", True),
    ("spki", "SPKIData beside the certificate", append_element(_INFO, "<ds:SPKIData/>"), "GW202", True),
    ("management", "MgmtData beside the certificate", append_element(_INFO, "<ds:MgmtData>x</ds:MgmtData>"),
     "GW202", True),
    ("token-reference", "a SecurityTokenReference beside the certificate", append_element(_INFO, _REFERENCE),
     "GW202", True),
    ("unknown", "an unknown element beside the certificate", append_element(_INFO, "<x:Key/>"), "GW202",
     True),
    ("two-data", "X509Data stands twice", duplicate_element(_DATA), "GW202", True),
    ("same-twice", "the certificate stands twice", duplicate_element(_LEAF), "GW202", True),
    ("none", "no KeyInfo", remove_element(_INFO), "GW202", False),
    ("empty", "an empty KeyInfo", remove_element(_DATA), "GW202", False),
    ("empty-data", "an empty X509Data", remove_element(_LEAF), "GW202", False),
    ("no-certificate", "a certificate that is none", set_text(_LEAF, "AAAA"), "GW205", False),
    ("huge", "a certificate of a hundred kilobytes", set_text(_LEAF, "A" * 100_000), "GW202", False),
)

_OTHER_CERTIFICATES: Final[AttackTable[_MutationMaker]] = (
    ("two-leaves", "B's certificate behind A's", _add_certificates("b"), "GW202", True),
    ("two-leaves-first", "B's certificate before A's", _add_certificates("b", first=True), "GW202", False),
    ("five-certificates", "four certificates of issuers behind A's", _add_certificates(*["authority"] * 4),
     "GW202", True),
    ("certificate-of-b", "B's certificate instead of A's", _replace_certificate("b"), "GW209", False),
    ("certificate-of-hub", "an X509Data with B's certificate before that of A", _insert_second_data, "GW202",
     False),
)

#: Unusual and valid.
_RIGHT: Final[SourcedTable[_MutationMaker]] = (
    ("own-key-value", "a KeyValue of the same key beside the certificate, as ebms-core sends it",
     _add_own_key_value(), "", _OWN_VALUE),
    ("own-key-value-first", "a KeyValue of the same key before the certificate",
     _add_own_key_value(inserts_first=True), "", _ANY_ORDER),
    ("issuer-beside", "an issuer's certificate behind the leaf", _add_certificates("authority"), "", _CHAIN),
)

_WEAK_KEYS: Final = tuple(
    (kind, f"a key that is too weak or too old: {kind}", use_weak_key(kind))
    for kind in ("rsa-1024", "rsa-exponent-3", "p-192", "p-224", "secp256k1", "dsa")
)

#: Signers that sign as A.
_SIGNERS: Final[SourcedTable[SignerMaker]] = (
    ("SIG-30.other-authority", "a certificate of an authority that nobody named, with A's subject",
     use_signer("stranger"), "GW209", _STRANGER),
    ("SIG-30.self-signed", "a certificate that vouches for itself, with A's subject",
     use_signer("selfsigned"), "GW209", _STRANGER),
    ("SIG-30.authority", "an authority signs a message itself", use_authority_key, "GW209", _STRANGER),
    ("SIG-30.same-serial", "subject and serial number of A's certificate, from another issuer",
     copy_serial_by_stranger, "GW209", _BY_OCTETS),
    ("SIG-31.party-of-other-pki", "B's certificate over a message with the PartyId of A", use_signer("b"),
     "GW209", _IMPERSONATION),
    ("SIG-31.agency", "an agency's certificate over a message of A", use_signer("agency"), "GW209",
     _IMPERSONATION),
    ("SIG-32.encryption-only", "A's certificate that is for encryption only", use_signer("encryption"),
     "GW205", _USAGE),
    ("SIG-32.expired", "A's certificate that has expired", use_signer("expired"), "GW206",
     "RFC 5280 §4.1.2.5"),
    ("SIG-32.revoked", "A's certificate that was revoked", use_signer("revoked"), "GW207", "RFC 5280 §5"),
)
# fmt: on


def _sign_with(make_signer: SignerMaker) -> RequestMaker:
    """Return the step that sends A's message, signed by another signer."""
    return lambda kit: kit.build_message(signer=make_signer(kit))


def _impersonate_party(kit: AttackerKit) -> HttpRequest:
    """Return a message that A signs and that says it comes from B, under B's agreement."""
    return kit.build_message(kit.make_unit("b"), signer="a")


def _use_two_party_ids(kit: AttackerKit, *, own_first: bool) -> HttpRequest:
    """Return a message whose From names A and B, by ids of two types."""
    unit = kit.make_unit()
    own_id = unit.sender.ids[0]
    foreign_id = PartyId(kit.make_unit("b").sender.ids[0].value, "urn:example:another-type")
    ids = (own_id, foreign_id) if own_first else (foreign_id, own_id)
    return kit.build_message(replace(unit, sender=Party(ids, unit.sender.role)))


def _use_other_agreement(kit: AttackerKit) -> HttpRequest:
    """Return A's message under B's agreement."""
    return kit.build_message(replace(kit.make_unit(), agreement=kit.make_unit("b").agreement))


def _address_other_member(kit: AttackerKit) -> HttpRequest:
    """Return A's message that is addressed to B and sent to the gateway."""
    return kit.build_message(replace(kit.make_unit(), receiver=kit.make_unit("b").sender))


def _impersonate_gateway(kit: AttackerKit) -> HttpRequest:
    """Return A's message whose From and To are the gateway."""
    unit = kit.make_unit()
    return kit.build_message(replace(unit, sender=replace(unit.receiver, role=unit.sender.role)))


def _use_other_role(kit: AttackerKit) -> HttpRequest:
    unit = kit.make_unit()
    return kit.build_message(replace(unit, sender=replace(unit.sender, role="Hub")))


def _change_unit(**changes: Any) -> RequestMaker:
    """Return the step that sends a message with values that differ from the agreement."""
    return lambda kit: kit.build_message(replace(kit.make_unit(), **changes))


# fmt: off
_PARTIES: Final[AttackTable[RequestMaker]] = (
    ("party-of-other", "A's certificate over a message with the PartyId of B", _impersonate_party, "GW209"),
    ("agreement-of-other", "A's message by the agreement of B", _use_other_agreement, "GW304"),
    ("two-parties", "From names A, and B by another type",
     lambda kit: _use_two_party_ids(kit, own_first=True), "GW302"),
    ("two-parties-first", "From names B by another type, then A",
     lambda kit: _use_two_party_ids(kit, own_first=False), "GW302"),
    ("to-other", "A's message to B, brought to the gateway", _address_other_member, "GW304"),
    ("from-gateway", "A's message in the name of the gateway", _impersonate_gateway, "GW304"),
)

_UNAGREED: Final[AttackTable[RequestMaker]] = (
    ("role", "A in a role that was not agreed", _use_other_role, "GW304"),
    ("service", "a service that was not agreed", _change_unit(service="urn:example:other-service"), "GW303"),
    ("action", "an action that was not agreed", _change_unit(action="Withdraw"), "GW303"),
    ("direction", "an action that the gateway sends to A", _change_unit(action="Result"), "GW303"),
    ("agreement", "an agreement that nobody made", _change_unit(agreement="urn:example:no-agreement"),
     "GW301"),
)
# fmt: on

CASES: Final[tuple[AttackCase, ...]] = (
    make_attack_case(
        "SIG-28.attackers-key-value",
        "a stranger's KeyValue beside A's certificate; the stranger has signed",
        _forge_with_key_value,
        "GW202",
        _CONFUSED,
        naive=True,
    ),
    *make_table_cases("SIG-28.", _KEY_INFO, change_on_the_way, _CONFUSED),
    *make_table_cases("SIG-28.", _OTHER_CERTIFICATES, change_with_kit, _CONFUSED),
    *make_sourced_cases("SIG-28.", _RIGHT, change_with_kit, naive=True),
    *make_table_cases("SIG-26.key-", _WEAK_KEYS, _sign_with, _WEAK, "GW204 GW205 GW209", naive=True),
    *make_sourced_cases("", _SIGNERS, _sign_with, naive=True),
    make_attack_case(
        "SIG-30.forged-around",
        "the stranger forges A's message and leaves A's certificate in it",
        _forge_beside_certificate,
        "GW202",
        _STRANGER,
    ),
    *make_table_cases("SIG-31.", _PARTIES, use_request_maker, _IMPERSONATION, naive=True),
    *make_table_cases("SIG-32.", _UNAGREED, use_request_maker, _AGREED, naive=True),
)
"""Attacks by keys: SIG-26, 28 and 30 to 32."""
