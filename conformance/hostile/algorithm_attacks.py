"""Attacks with algorithms that no policy allows and with malformed signature values (SIG-24 to 27, 35)."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

from gateway.wire import DS, DSIG_MORE, canonicalize_element
from gateway_conformance.hostile import naive_verifier
from gateway_conformance.hostile.attack_cases import (
    CID,
    ENVELOPE_REFERENCE,
    FIRST_REFERENCE,
    TOKEN,
    AttackCase,
    AttackTable,
    RequestMaker,
    SourcedTable,
    change_call_on_the_way,
    change_on_the_way,
    change_with_kit,
    make_attack_case,
    make_sourced_cases,
    make_table_cases,
    sign_again,
    sign_call_again,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    TreeMutation,
    append_element,
    get_element,
    mutate_tree,
    parse_element,
    recompute_envelope_digest,
    replace_text,
    set_attribute,
    set_text,
)

_HMAC: Final = "CVE-2025-48994 (signxml)"
_LENGTH: Final = "CVE-2009-0217"
_WEAK: Final = "RFC 6931; NIST SP 800-131A"
_PSYCHIC: Final = "CVE-2022-21449; Wycheproof ECDSA P1363"
_BASE64: Final = "signature malleability; signxml 5.2 takes it"

_METHOD: Final = "//ds:SignatureMethod"
_VALUE: Final = "//ds:SignatureValue"
_DIGEST: Final = f"{ENVELOPE_REFERENCE}/ds:DigestMethod"
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HMAC_SHA256: Final = f"{DSIG_MORE}hmac-sha256"
_FORGE_CONVERSATION_ID: Final = set_text("//eb:ConversationId", "forged-conversation")

#: A replacement for the signature value, or a function that changes it.
_ValueForgery = bytes | Callable[[bytes], bytes]


def _forge_hmac(
    get_key: Callable[[AttackerKit], bytes], algorithm: str, bit_length: int | None = None
) -> RequestMaker:
    """Return the step that forges a message by an HMAC with a key that is known, cut to `bit_length` bits."""

    def make_mutation(kit: AttackerKit) -> TreeMutation:
        def alter_tree(root: etree._Element) -> None:
            _FORGE_CONVERSATION_ID(root)
            recompute_envelope_digest(root)
            method = get_element(root, _METHOD)
            method.set("Algorithm", algorithm)
            if bit_length is not None:
                method.append(parse_element(f"<ds:HMACOutputLength>{bit_length}</ds:HMACOutputLength>"))
            data = canonicalize_element(get_element(root, "//ds:SignedInfo"))
            mac = hmac.new(get_key(kit), data, "sha1" if algorithm.endswith("sha1") else "sha256").digest()
            truncated_mac = mac if bit_length is None else mac[: bit_length // 8]
            get_element(root, _VALUE).text = base64.b64encode(truncated_mac).decode()

        return alter_tree

    return change_with_kit(make_mutation)


def _sign_by_algorithm(path: str, algorithm: str) -> RequestMaker:
    """Return the step that signs with another algorithm in the element at `path`."""
    return sign_again(set_attribute(path, "Algorithm", algorithm))


def _get_public_key(kit: AttackerKit) -> bytes:
    return naive_verifier.derive_hmac_key(x509.load_der_x509_certificate(_get_certificate_octets(kit)))


def _get_certificate_octets(kit: AttackerKit) -> bytes:
    return kit.get_signer("a").certificate.der


def _replace_signature_value(forgery: _ValueForgery) -> TreeMutation:
    def encode_value(text: str) -> str:
        octets = forgery if isinstance(forgery, bytes) else forgery(base64.b64decode(text))
        return base64.b64encode(octets).decode()

    return replace_text(_VALUE, encode_value)


def _forge_ecdsa_value(forgery: _ValueForgery) -> RequestMaker:
    """Return the step that sends a message of B (elliptic curve key) with another signature value."""
    change = mutate_tree(_replace_signature_value(forgery))
    return lambda kit: kit.build_message(member="b", tampered=change)


def _encode_ecdsa_pair(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32)


def _encode_ecdsa_value_as_der(value: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(value[:32], "big"), int.from_bytes(value[32:], "big"))


# fmt: off
#: Algorithms that the sender used for signature and digest: the element, and the algorithm.
_ALGORITHMS: Final[AttackTable[RequestMaker]] = (
    ("rsa-sha1", "SignatureMethod rsa-sha1", _sign_by_algorithm(_METHOD, f"{DS}rsa-sha1"), "GW204", False),
    ("dsa-sha1", "SignatureMethod dsa-sha1", _sign_by_algorithm(_METHOD, f"{DS}dsa-sha1"), "GW204", False),
    ("rsa-md5", "SignatureMethod rsa-md5",
     _sign_by_algorithm(_METHOD, f"{DSIG_MORE}rsa-md5"), "GW204", False),
    ("rsa-ripemd160", "SignatureMethod rsa-ripemd160",
     _sign_by_algorithm(_METHOD, f"{DSIG_MORE}rsa-ripemd160")),
    ("ecdsa-of-rsa-key", "SignatureMethod ecdsa-of-rsa-key",
     _sign_by_algorithm(_METHOD, f"{DSIG_MORE}ecdsa-sha256")),
    ("rsa-pss", "SignatureMethod rsa-pss",
     _sign_by_algorithm(_METHOD, "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1")),
    ("ed25519-of-rsa-key", "SignatureMethod ed25519-of-rsa-key",
     _sign_by_algorithm(_METHOD, "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519")),
    ("unknown", "SignatureMethod unknown", _sign_by_algorithm(_METHOD, "urn:example:signature")),
    ("empty", "SignatureMethod empty", _sign_by_algorithm(_METHOD, "")),
    ("digest-sha1", "DigestMethod sha1", _sign_by_algorithm(_DIGEST, f"{DS}sha1"), "GW204", False),
    ("digest-md5", "DigestMethod md5", _sign_by_algorithm(_DIGEST, f"{DSIG_MORE}md5"), "GW204", False),
    ("digest-sha224", "DigestMethod sha224", _sign_by_algorithm(_DIGEST, f"{DSIG_MORE}sha224")),
    ("digest-unknown", "DigestMethod unknown", _sign_by_algorithm(_DIGEST, "urn:example:digest")),
)

#: Messages that an attacker without a key forged and signed with an HMAC.
_HMACS: Final[SourcedTable[RequestMaker]] = (
    ("24.public-key", "a forged message with an HMAC whose key is the public key",
     _forge_hmac(_get_public_key, _HMAC_SHA256), "GW204", _HMAC),
    ("24.certificate", "a forged message with an HMAC whose key is the certificate",
     _forge_hmac(_get_certificate_octets, _HMAC_SHA256), "GW204", _HMAC, False),
    ("24.sha1", "a forged message with HMAC-SHA1, whose key is the public key",
     _forge_hmac(_get_public_key, f"{DS}hmac-sha1"), "GW204", _HMAC),
    ("24.empty-key", "a forged message with an HMAC whose key is empty",
     _forge_hmac(lambda _: b"", _HMAC_SHA256),
     "GW204", _HMAC, False),
    ("25.0-bits", "a forged message with an HMAC of 0 bits",
     _forge_hmac(_get_public_key, _HMAC_SHA256, 0), "GW204",
     _LENGTH),
    ("25.1-bits", "a forged message with an HMAC of 1 bits",
     _forge_hmac(_get_public_key, _HMAC_SHA256, 1), "GW204",
     _LENGTH),
    ("25.8-bits", "a forged message with an HMAC of 8 bits",
     _forge_hmac(_get_public_key, _HMAC_SHA256, 8), "GW204",
     _LENGTH),
    ("25.128-bits", "a forged message with an HMAC of 128 bits",
     _forge_hmac(_get_public_key, _HMAC_SHA256, 128),
     "GW204", _LENGTH),
)

#: Signature values of a message of B.
_ECDSA_VALUES: Final[AttackTable[_ValueForgery]] = (
    ("zero", "ECDSA value: r = s = 0", bytes(64)),
    ("r-zero", "ECDSA value: r = 0", _encode_ecdsa_pair(0, 1)),
    ("s-zero", "ECDSA value: s = 0", _encode_ecdsa_pair(1, 0)),
    ("order", "ECDSA value: r = s = n", _encode_ecdsa_pair(_ORDER, _ORDER)),
    ("one-order", "ECDSA value: r = 1, s = n", _encode_ecdsa_pair(1, _ORDER)),
    ("largest", "ECDSA value: all bits set", b"\xff" * 64),
    ("der", "ECDSA value: DER instead of r and s", _encode_ecdsa_value_as_der),
    ("short", "ECDSA value: one octet short", lambda value: value[:-1]),
    ("long", "ECDSA value: one octet more", lambda value: value + b"\x00"),
    ("padded", "ECDSA value: both halves with a leading zero",
     lambda value: b"\x00" + value[:32] + b"\x00" + value[32:], "GW202", True),
    ("swapped", "ECDSA value: s before r", lambda value: value[32:] + value[:32]),
    ("one-half", "ECDSA value: r alone", lambda value: value[:32]),
)

#: Signature values of a message of A.
_RSA_VALUES: Final[AttackTable[_ValueForgery]] = (
    ("rsa-zero", "RSA value: zero", bytes(256)),
    ("rsa-one", "RSA value: one", bytes(255) + b"\x01"),
    ("rsa-short", "RSA value: without its first octet", lambda value: value[1:]),
    ("rsa-long", "RSA value: a zero octet before it", lambda value: b"\x00" + value),
)

#: Invalid or unusual Base64: the element, and the change.
_TEXTS: Final[AttackTable[TreeMutation]] = (
    ("value", "garbage in the signature value",
     replace_text(_VALUE, lambda text: f"{text[:9]}!*!{text[9:]}")),
    ("certificate", "garbage in the certificate",
     replace_text("//ds:X509Certificate", lambda text: f"{text[:9]}!*!{text[9:]}")),
    ("unpadded", "the padding is missing",
     replace_text(_VALUE, lambda text: text.rstrip("=")), "GW202", False),
    ("overpadded", "more padding than needed", replace_text(_VALUE, lambda text: f"{text}==")),
    ("behind-padding", "text behind the padding", replace_text(_VALUE, lambda text: f"{text}AAAA")),
    ("spare-bits", "unused bits are set",
     replace_text(_VALUE, lambda text: f"{text[:-3]}{chr(ord(text[-3]) + 1)}==")),
    ("no-break-space", "a no-break space in the value",
     replace_text(_VALUE, lambda text: f"{text[:9]}\u00a0{text[9:]}"),
     "GW202", False),
    ("full-width", "full-width letters in the value",
     replace_text(_VALUE, lambda text: f"{text[:9]}\uff21{text[9:]}"),
     "GW202", False),
)

_CALL_TEXTS: Final[AttackTable[TreeMutation]] = (
    ("call-value", "garbage in the signature value", replace_text(_VALUE, lambda text: f"!*!{text}")),
    ("call-token", "garbage in the token", replace_text(TOKEN, lambda text: f"!*!{text}")),
)

#: Messages that are built in another way.
_BUILT_MESSAGES: Final[SourcedTable[RequestMaker]] = (
    ("26.rsa-named-for-ec", "rsa-sha256 of an elliptic key",
     sign_again(set_attribute(_METHOD, "Algorithm", f"{DSIG_MORE}rsa-sha256"), member="b"), "GW204", _WEAK),
    ("25.of-rsa", "HMACOutputLength in an RSA signature",
     sign_again(append_element(_METHOD, "<ds:HMACOutputLength>8</ds:HMACOutputLength>")), "GW204", _LENGTH),
    ("35.digest", "garbage in a digest value",
     sign_again(replace_text(f"{CID}/ds:DigestValue", lambda text: f"!{text}")), "GW202", _BASE64),
)

#: Methods and values in the signature of a call.
_CALLS_SIGNED: Final[SourcedTable[TreeMutation]] = (
    ("26.call-sha1", "SHA-1 as digest",
     set_attribute(f"{FIRST_REFERENCE}/ds:DigestMethod", "Algorithm", f"{DS}sha1"), "GW204", "RFC 6931"),
    ("26.call-rsa-sha1", "rsa-sha1 as signature", set_attribute(_METHOD, "Algorithm", f"{DS}rsa-sha1"),
     "GW204", "RFC 6931"),
    ("24.call-hmac", "an HMAC as signature", set_attribute(_METHOD, "Algorithm", f"{DSIG_MORE}hmac-sha256"),
     "GW204", "CVE-2025-48994"),
    ("25.call-length", "HMACOutputLength",
     append_element(_METHOD, "<ds:HMACOutputLength>0</ds:HMACOutputLength>"), "GW204", "CVE-2009-0217", True),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *make_table_cases("SIG-26.", _ALGORITHMS, use_request_maker, _WEAK, "GW204", naive=True),
    *make_sourced_cases("SIG-", _BUILT_MESSAGES, use_request_maker, naive=True),
    *make_sourced_cases("SIG-", _HMACS, use_request_maker, naive=True),
    *make_table_cases("SIG-27.", _ECDSA_VALUES, _forge_ecdsa_value, _PSYCHIC, "GW202"),
    *make_table_cases("SIG-27.", _RSA_VALUES,
     lambda forgery: change_on_the_way(_replace_signature_value(forgery)), "PKCS #1 §8.2.2", "GW202"),
    *make_table_cases("SIG-35.", _TEXTS, change_on_the_way, _BASE64, "GW202", naive=True),
    *make_sourced_cases("SIG-", _CALLS_SIGNED, sign_call_again, face="soap"),
    make_attack_case("SIG-27.call-zero", "r = s = 0",
     change_call_on_the_way(_replace_signature_value(bytes(64))), "GW202", "CVE-2022-21449", face="soap"),
    *make_table_cases("SIG-35.", _CALL_TEXTS, change_call_on_the_way, "signature malleability",
     "GW202", face="soap", naive=True),
)
# fmt: on
"""Signatures wrong in algorithm or value."""
