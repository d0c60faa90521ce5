"""Algorithms that no policy names, and signature values that only look like some (SIG-24 to 27, 35)."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

from gateway.conformance.hostile import naive_verifier
from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import (
    CID,
    ENVELOPE_REFERENCE,
    make_sender_attack,
    make_transit_attack,
)
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    append_element,
    get_element,
    parse_element,
    recompute_envelope_digest,
    replace_text,
    set_attribute,
    set_text,
)
from gateway.wire import DS, DSIG_MORE, canonicalize_element

__all__ = ["CASES"]

_METHOD: Final = "//ds:SignatureMethod"

_VALUE: Final = "//ds:SignatureValue"

_DIGEST: Final = f"{ENVELOPE_REFERENCE}/ds:DigestMethod"

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_FORGED: Final = set_text("//eb:ConversationId", "forged-conversation")


def _forge_hmac(
    certificate: Callable[[AttackerKit], bytes], algorithm: str, length: int | None = None
) -> Callable[[Any], TreeMutation]:
    """Return: a forged message with an HMAC that the public key is the key of, cut to `length` bits."""

    def make_mutation(bench: AttackerKit) -> TreeMutation:
        def alter_tree(root: etree._Element) -> None:
            _FORGED(root)
            recompute_envelope_digest(root)
            method = get_element(root, _METHOD)
            method.set("Algorithm", algorithm)
            if length is not None:
                method.append(parse_element(f"<ds:HMACOutputLength>{length}</ds:HMACOutputLength>"))
            data = canonicalize_element(get_element(root, "//ds:SignedInfo"))
            made = hmac.new(
                certificate(bench), data, "sha1" if algorithm.endswith("sha1") else "sha256"
            ).digest()
            value = made if length is None else made[: length // 8]
            get_element(root, _VALUE).text = base64.b64encode(value).decode()

        return alter_tree

    return make_mutation


def _get_public_key(bench: AttackerKit) -> bytes:
    return naive_verifier.derive_hmac_key(
        x509.load_der_x509_certificate(bench.get_signer("a").certificate.der)
    )


def _get_certificate(bench: AttackerKit) -> bytes:
    return bench.get_signer("a").certificate.der


def _replace_signature_value(octets: bytes | Callable[[bytes], bytes]) -> TreeMutation:
    def encode_value(text: str) -> str:
        made = octets if isinstance(octets, bytes) else octets(base64.b64decode(text))
        return base64.b64encode(made).decode()

    return replace_text(_VALUE, encode_value)


def _encode_ecdsa_pair(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32)


def _encode_as_der(value: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(value[:32], "big"), int.from_bytes(value[32:], "big"))


_HMAC: Final = "CVE-2025-48994 (signxml)"

_LENGTH: Final = "CVE-2009-0217"

_WEAK: Final = "RFC 6931; NIST SP 800-131A"

_PSYCHIC: Final = "CVE-2022-21449; Wycheproof ECDSA P1363"

_BASE64: Final = "signature malleability; signxml 5.2 takes it"

_ALGORITHM_CASES: Final = (
    *(
        make_sender_attack(
            f"SIG-26.{name}",
            f"SignatureMethod {name}",
            set_attribute(_METHOD, "Algorithm", algorithm),
            "GW204",
            _WEAK,
            naive=naive_takes,
        )
        for name, algorithm, naive_takes in (
            ("rsa-sha1", f"{DS}rsa-sha1", False),
            ("dsa-sha1", f"{DS}dsa-sha1", False),
            ("rsa-md5", f"{DSIG_MORE}rsa-md5", False),
            ("rsa-ripemd160", f"{DSIG_MORE}rsa-ripemd160", True),
            ("ecdsa-of-rsa-key", f"{DSIG_MORE}ecdsa-sha256", True),
            ("rsa-pss", "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1", True),
            ("ed25519-of-rsa-key", "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519", True),
            ("unknown", "urn:example:signature", True),
            ("empty", "", True),
        )
    ),
    *(
        make_sender_attack(
            f"SIG-26.digest-{name}",
            f"DigestMethod {name}",
            set_attribute(_DIGEST, "Algorithm", algorithm),
            "GW204",
            _WEAK,
            naive=naive_takes,
        )
        for name, algorithm, naive_takes in (
            ("sha1", f"{DS}sha1", False),
            ("md5", f"{DSIG_MORE}md5", False),
            ("sha224", f"{DSIG_MORE}sha224", True),
            ("unknown", "urn:example:digest", True),
        )
    ),
    make_sender_attack(
        "SIG-26.rsa-named-for-ec",
        "rsa-sha256 of an elliptic key",
        set_attribute(_METHOD, "Algorithm", f"{DSIG_MORE}rsa-sha256"),
        "GW204",
        _WEAK,
        member="b",
        naive=True,
    ),
    make_transit_attack(
        "SIG-24.public-key",
        "a forged message with an HMAC whose key is the public key",
        _forge_hmac(_get_public_key, f"{DSIG_MORE}hmac-sha256"),
        "GW204",
        _HMAC,
        of_bench=True,
        naive=True,
    ),
    make_transit_attack(
        "SIG-24.certificate",
        "a forged message with an HMAC whose key is the certificate",
        _forge_hmac(_get_certificate, f"{DSIG_MORE}hmac-sha256"),
        "GW204",
        _HMAC,
        of_bench=True,
    ),
    make_transit_attack(
        "SIG-24.sha1",
        "a forged message with HMAC-SHA1, whose key is the public key",
        _forge_hmac(_get_public_key, f"{DS}hmac-sha1"),
        "GW204",
        _HMAC,
        of_bench=True,
        naive=True,
    ),
    make_transit_attack(
        "SIG-24.empty-key",
        "a forged message with an HMAC whose key is empty",
        _forge_hmac(lambda _: b"", f"{DSIG_MORE}hmac-sha256"),
        "GW204",
        _HMAC,
        of_bench=True,
    ),
    *(
        make_transit_attack(
            f"SIG-25.{bits}-bits",
            f"a forged message with an HMAC of {bits} bits",
            _forge_hmac(_get_public_key, f"{DSIG_MORE}hmac-sha256", bits),
            "GW204",
            _LENGTH,
            of_bench=True,
            naive=True,
        )
        for bits in (0, 1, 8, 128)
    ),
    make_sender_attack(
        "SIG-25.of-rsa",
        "HMACOutputLength in an RSA signature",
        append_element(_METHOD, "<ds:HMACOutputLength>8</ds:HMACOutputLength>"),
        "GW204",
        _LENGTH,
        naive=True,
    ),
)

_VALUE_CASES: Final = (
    *(
        make_transit_attack(
            f"SIG-27.{name}",
            f"ECDSA value: {title}",
            _replace_signature_value(made),
            "GW202",
            _PSYCHIC,
            member="b",
            naive=name == "padded",
        )
        for name, title, made in (
            ("zero", "r = s = 0", bytes(64)),
            ("r-zero", "r = 0", _encode_ecdsa_pair(0, 1)),
            ("s-zero", "s = 0", _encode_ecdsa_pair(1, 0)),
            ("order", "r = s = n", _encode_ecdsa_pair(_ORDER, _ORDER)),
            ("one-order", "r = 1, s = n", _encode_ecdsa_pair(1, _ORDER)),
            ("largest", "all bits set", b"\xff" * 64),
            ("der", "DER instead of r and s", _encode_as_der),
            ("short", "one octet short", lambda value: value[:-1]),
            ("long", "one octet more", lambda value: value + b"\x00"),
            (
                "padded",
                "both halves with a leading zero",
                lambda value: b"\x00" + value[:32] + b"\x00" + value[32:],
            ),
            ("swapped", "s before r", lambda value: value[32:] + value[:32]),
            ("one-half", "r alone", lambda value: value[:32]),
        )
    ),
    *(
        make_transit_attack(
            f"SIG-27.rsa-{name}",
            f"RSA value: {title}",
            _replace_signature_value(made),
            "GW202",
            "PKCS #1 §8.2.2",
            naive=naive_takes,
        )
        for name, title, made, naive_takes in (
            ("zero", "zero", bytes(256), False),
            ("one", "one", bytes(255) + b"\x01", False),
            ("short", "without its first octet", lambda value: value[1:], False),
            ("long", "a zero octet before it", lambda value: b"\x00" + value, False),
        )
    ),
    *(
        make_transit_attack(
            f"SIG-35.{name}", title, replace_text(path, change), problem, _BASE64, naive=naive_takes
        )
        for name, title, path, change, problem, naive_takes in (
            (
                "value",
                "garbage in the signature value",
                _VALUE,
                lambda text: f"{text[:9]}!*!{text[9:]}",
                "GW202",
                True,
            ),
            (
                "certificate",
                "garbage in the certificate",
                "//ds:X509Certificate",
                lambda text: f"{text[:9]}!*!{text[9:]}",
                "GW202",
                True,
            ),
            ("unpadded", "the padding is missing", _VALUE, lambda text: text.rstrip("="), "GW202", False),
            ("overpadded", "more padding than needed", _VALUE, lambda text: f"{text}==", "GW202", True),
            ("behind-padding", "text behind the padding", _VALUE, lambda text: f"{text}AAAA", "GW202", True),
            (
                "spare-bits",
                "unused bits are set",
                _VALUE,
                lambda text: f"{text[:-3]}{chr(ord(text[-3]) + 1)}==",
                "GW202",
                True,
            ),
            (
                "no-break-space",
                "a no-break space in the value",
                _VALUE,
                lambda text: f"{text[:9]}\u00a0{text[9:]}",
                "GW202",
                False,
            ),
            (
                "full-width",
                "full-width letters in the value",
                _VALUE,
                lambda text: f"{text[:9]}\uff21{text[9:]}",
                "GW202",
                False,
            ),
        )
    ),
    make_sender_attack(
        "SIG-35.digest",
        "garbage in a digest value",
        replace_text(f"{CID}/ds:DigestValue", lambda text: f"!{text}"),
        "GW202",
        _BASE64,
        naive=True,
    ),
)

CASES: Final[tuple[AttackCase, ...]] = (*_ALGORITHM_CASES, *_VALUE_CASES)
