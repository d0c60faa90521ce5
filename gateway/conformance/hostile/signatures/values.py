"""Algorithms that no policy names, and signature values that only look like some (SIG-24 to 27, 35)."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

from gateway.conformance.hostile import naive
from gateway.conformance.hostile.alterations import (
    Alteration,
    added,
    at,
    attribute_set,
    digest_again,
    element,
    replaced_text,
    text_set,
)
from gateway.conformance.hostile.case import Case
from gateway.conformance.hostile.tampered import (
    CID,
    ENVELOPE_REFERENCE,
    by_sender,
    on_the_way,
)
from gateway.wire.namespaces import DS, DSIG_MORE
from gateway.wire.xml import canonicalize

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES"]

_METHOD: Final = "//ds:SignatureMethod"

_VALUE: Final = "//ds:SignatureValue"

_DIGEST: Final = f"{ENVELOPE_REFERENCE}/ds:DigestMethod"

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_FORGED: Final = text_set("//eb:ConversationId", "forged-conversation")


def _no_key(
    certificate: Callable[[Bench], bytes], algorithm: str, length: int | None = None
) -> Callable[[Any], Alteration]:
    """Return: a forged message with an HMAC that the public key is the key of, cut to `length` bits."""

    def of(bench: Bench) -> Alteration:
        def change(root: etree._Element) -> None:
            _FORGED(root)
            digest_again(root)
            method = at(root, _METHOD)
            method.set("Algorithm", algorithm)
            if length is not None:
                method.append(element(f"<ds:HMACOutputLength>{length}</ds:HMACOutputLength>"))
            data = canonicalize(at(root, "//ds:SignedInfo"))
            made = hmac.new(
                certificate(bench), data, "sha1" if algorithm.endswith("sha1") else "sha256"
            ).digest()
            value = made if length is None else made[: length // 8]
            at(root, _VALUE).text = base64.b64encode(value).decode()

        return change

    return of


def _public_key(bench: Bench) -> bytes:
    return naive.hmac_key(x509.load_der_x509_certificate(bench.signer("a").certificate.der))


def _certificate(bench: Bench) -> bytes:
    return bench.signer("a").certificate.der


def _value(octets: bytes | Callable[[bytes], bytes]) -> Alteration:
    def change(text: str) -> str:
        made = octets if isinstance(octets, bytes) else octets(base64.b64decode(text))
        return base64.b64encode(made).decode()

    return replaced_text(_VALUE, change)


def _pair(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32)


def _der(value: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(value[:32], "big"), int.from_bytes(value[32:], "big"))


_HMAC: Final = "CVE-2025-48994 (signxml)"

_LENGTH: Final = "CVE-2009-0217"

_WEAK: Final = "RFC 6931; NIST SP 800-131A"

_PSYCHIC: Final = "CVE-2022-21449; Wycheproof ECDSA P1363"

_BASE64: Final = "signature malleability; signxml 5.2 takes it"

_ALGORITHM_CASES: Final = (
    *(
        by_sender(
            f"SIG-26.{name}",
            f"SignatureMethod {name}",
            attribute_set(_METHOD, "Algorithm", algorithm),
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
        by_sender(
            f"SIG-26.digest-{name}",
            f"DigestMethod {name}",
            attribute_set(_DIGEST, "Algorithm", algorithm),
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
    by_sender(
        "SIG-26.rsa-named-for-ec",
        "rsa-sha256 of an elliptic key",
        attribute_set(_METHOD, "Algorithm", f"{DSIG_MORE}rsa-sha256"),
        "GW204",
        _WEAK,
        member="b",
        naive=True,
    ),
    on_the_way(
        "SIG-24.public-key",
        "a forged message with an HMAC whose key is the public key",
        _no_key(_public_key, f"{DSIG_MORE}hmac-sha256"),
        "GW204",
        _HMAC,
        of_bench=True,
        naive=True,
    ),
    on_the_way(
        "SIG-24.certificate",
        "a forged message with an HMAC whose key is the certificate",
        _no_key(_certificate, f"{DSIG_MORE}hmac-sha256"),
        "GW204",
        _HMAC,
        of_bench=True,
    ),
    on_the_way(
        "SIG-24.sha1",
        "a forged message with HMAC-SHA1, whose key is the public key",
        _no_key(_public_key, f"{DS}hmac-sha1"),
        "GW204",
        _HMAC,
        of_bench=True,
        naive=True,
    ),
    on_the_way(
        "SIG-24.empty-key",
        "a forged message with an HMAC whose key is empty",
        _no_key(lambda _: b"", f"{DSIG_MORE}hmac-sha256"),
        "GW204",
        _HMAC,
        of_bench=True,
    ),
    *(
        on_the_way(
            f"SIG-25.{bits}-bits",
            f"a forged message with an HMAC of {bits} bits",
            _no_key(_public_key, f"{DSIG_MORE}hmac-sha256", bits),
            "GW204",
            _LENGTH,
            of_bench=True,
            naive=True,
        )
        for bits in (0, 1, 8, 128)
    ),
    by_sender(
        "SIG-25.of-rsa",
        "HMACOutputLength in an RSA signature",
        added(_METHOD, "<ds:HMACOutputLength>8</ds:HMACOutputLength>"),
        "GW204",
        _LENGTH,
        naive=True,
    ),
)

_VALUE_CASES: Final = (
    *(
        on_the_way(
            f"SIG-27.{name}",
            f"ECDSA value: {title}",
            _value(made),
            "GW202",
            _PSYCHIC,
            member="b",
            naive=name == "padded",
        )
        for name, title, made in (
            ("zero", "r = s = 0", bytes(64)),
            ("r-zero", "r = 0", _pair(0, 1)),
            ("s-zero", "s = 0", _pair(1, 0)),
            ("order", "r = s = n", _pair(_ORDER, _ORDER)),
            ("one-order", "r = 1, s = n", _pair(1, _ORDER)),
            ("largest", "all bits set", b"\xff" * 64),
            ("der", "DER instead of r and s", _der),
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
        on_the_way(
            f"SIG-27.rsa-{name}",
            f"RSA value: {title}",
            _value(made),
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
        on_the_way(f"SIG-35.{name}", title, replaced_text(path, change), problem, _BASE64, naive=naive_takes)
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
    by_sender(
        "SIG-35.digest",
        "garbage in a digest value",
        replaced_text(f"{CID}/ds:DigestValue", lambda text: f"!{text}"),
        "GW202",
        _BASE64,
        naive=True,
    ),
)

CASES: Final[tuple[Case, ...]] = (*_ALGORITHM_CASES, *_VALUE_CASES)
