"""Certificates that no gateway may trust, in messages and in calls (PKI-04, 07 to 09, 11).

The signature over the message is valid with each of them. The error is in the issuer, in the
statements of the certificate, in its octets, or in the certificates beside it. Octets that are
not a certificate must be refused quickly.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Final

from asn1crypto.core import SequenceOf
from asn1crypto.keys import PublicKeyInfo
from asn1crypto.x509 import Certificate as Parsed
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x25519
from cryptography.x509.oid import AuthorityInformationAccessOID

from gateway.wire import X509_PKI_PATH_TOKEN
from gateway_conformance.hostile.attack_cases import (
    TOKEN,
    AttackCase,
    PlainTable,
    RequestMaker,
    build_tampered_call,
    make_attack_case,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import append_element, mutate_tree, set_attribute, set_text
from gateway_conformance.hostile.exchange import HttpRequest
from gateway_conformance.hostile.forged_certificates import (
    CertificateMutation,
    SignerMaker,
    build_infinity_key,
    build_key_info,
    build_off_curve_key,
    build_own_curve_key,
    build_rsa_key,
    copy_serial,
    duplicate_extension,
    issue_by_leaf,
    issue_with_extensions,
    mutate_certificate,
    replace_last_match,
    replace_public_key,
    set_serial,
    swap_der,
)
from gateway_conformance.pki import CertificationAuthority, make_authority

_DATA: Final = "//ds:Signature/ds:KeyInfo/ds:X509Data"
_UNTRUSTED: Final = "GW204 GW205 GW209"
_UNREADABLE: Final = "GW202 GW204 GW205 GW209"
_TOO_MANY: Final = "GW102 GW202 GW203 GW205"
_PATH_BUILDING: Final = "CVE-2026-69249: exponential path building"
_BASIC: Final = "RFC 5280 §4.2.1.9"
_FETCHED: Final = "CWE-918: a certificate names what is to be fetched"
_SUBSTITUTED: Final = "certificate substitution: issuer and serial of another"
_ENCODED: Final = "x509-limbo; RFC 5280 §4"
_ADDRESSES: Final = ("http://127.0.0.1:9/x", "file:///etc/passwd", "ldap://127.0.0.1:9/x", "http://[::1]:9/x")
_UNKNOWN: Final = x509.ObjectIdentifier("1.3.6.1.4.1.55555.1")
#: The name that a hundred issuers share.
_SHARED: Final = "CN=Issuer of the suite"
_MOMENT: Final = re.compile(rb"\x17\x0d[0-9]{12}Z")
#: The first attribute of a name, commonName: its identifier, tag, length and value.
_COMMON_NAME: Final = re.compile(rb"(\x06\x03\x55\x04\x03)\x0c(.)", re.DOTALL)
_COMMON_NAME_ID: Final = b"\x06\x03\x55\x04\x03"
_ECDSA_SHA256: Final = bytes.fromhex("06082a8648ce3d040302")


def _build_distribution_points() -> x509.CRLDistributionPoints:
    names = [x509.UniformResourceIdentifier(address) for address in _ADDRESSES]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])


def _build_authority_access() -> x509.AuthorityInformationAccess:
    methods = (AuthorityInformationAccessOID.CA_ISSUERS, AuthorityInformationAccessOID.OCSP)
    return x509.AuthorityInformationAccess(
        x509.AccessDescription(method, x509.UniformResourceIdentifier(address))
        for method in methods
        for address in _ADDRESSES
    )


def _set_end_time(octets: bytes) -> CertificateMutation:
    """Return the change of the moment at which a certificate ends."""
    return replace_last_match(_MOMENT, lambda _: b"\x17\x0d" + octets)


def _set_name_tag(tag: bytes) -> CertificateMutation:
    """Return the change of the ASN.1 type of the subject's name."""
    return replace_last_match(_COMMON_NAME, lambda match: match[1] + tag + match[2])


def _add_extension(extension: x509.ExtensionType, *, critical: bool = False) -> SignerMaker:
    return issue_with_extensions((extension, critical))


def _add_unknown_extension(octets: bytes, *, critical: bool = False) -> SignerMaker:
    return _add_extension(x509.UnrecognizedExtension(_UNKNOWN, octets), critical=critical)


# fmt: off
#: Id, title, who signs, in whose name (``agency``: a call), and where it is known from.
_ISSUED: Final = (
    ("PKI-04.leaf-issues", "a certificate for B, issued by A's key", issue_by_leaf("a", "b"), "b", _BASIC),
    ("PKI-04.leaf-issues-itself", "another certificate for A, issued by A's key", issue_by_leaf("a", "a"),
     "a", _BASIC),
    ("PKI-04.call-leaf-issues", "a certificate for an agency, by A's key", issue_by_leaf("a", "agency"),
     "agency", _BASIC),
    ("PKI-09.same-serial", "issuer and serial of A's certificate", copy_serial("a"), "a", _SUBSTITUTED),
    ("PKI-09.call-same-serial", "issuer and serial of the agency's", copy_serial("agency"), "agency",
     _SUBSTITUTED),
)

_FETCHING: Final[PlainTable[SignerMaker]] = (
    ("lists", "lists to be fetched from inside", _add_extension(_build_distribution_points())),
    ("issuers", "issuers and status to be fetched", _add_extension(_build_authority_access())),
)

_SAYING: Final[PlainTable[SignerMaker]] = (
    ("critical", "an unknown critical extension", _add_unknown_extension(b"\x05\x00", critical=True)),
    ("large", "an extension of 20,000 octets", _add_unknown_extension(bytes(20_000))),
    ("garbage", "key usage that is no DER",
     _add_extension(x509.UnrecognizedExtension(x509.KeyUsage.oid, b"\xff\xff\xff"), critical=True)),
    ("nul", "NUL in the name of the subject", issue_with_extensions(subject="suite-a\x00.invalid")),
    ("bidi", "a name that turns the line", issue_with_extensions(subject="\u202ea-etius")),
)

_OCTETS: Final[PlainTable[CertificateMutation]] = (
    ("serial-zero", "the serial number 0", set_serial(0)),
    ("serial-negative", "a negative serial number", set_serial(-7)),
    ("serial-long", "a serial number of 200 octets", set_serial(1 << 1600)),
    ("extension-twice", "an extension twice", duplicate_extension),
    ("followed", "octets behind the certificate", lambda der: der + b"\x00"),
    ("cut", "a certificate cut short", lambda der: der[:-9]),
    ("nested", "elements a thousand deep", lambda _: b"\x30\x80" * 1000),
    ("nothing", "one octet", lambda _: b"\x00"),
    ("month-13", "a moment in the month 13", _set_end_time(b"261301000000Z")),
    ("day-30", "a moment on the thirtieth of February", _set_end_time(b"260230000000Z")),
    ("moment-nul", "a moment of thirteen NUL", _set_end_time(bytes(13))),
    ("name-number", "a number as name", _set_name_tag(b"\x02")),
    ("name-bits", "bits as name", _set_name_tag(b"\x03")),
    ("name-sequence", "a name in a name", _set_name_tag(b"\x30")),
    ("identifier-open", "an identifier that does not end",
     swap_der(_COMMON_NAME_ID, b"\x06\x03\xff\xff\xff")),
    ("identifier-padded", "an identifier that is padded", swap_der(_COMMON_NAME_ID, b"\x06\x03\x80\x80\x03")),
    ("version-10", "a version that there is not", swap_der(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09")),
    ("algorithms", "two signature algorithms",
     replace_last_match(re.compile(re.escape(_ECDSA_SHA256)), lambda _: _ECDSA_SHA256[:-1] + b"\x03")),
    ("algorithm-unknown", "an unknown signature algorithm",
     swap_der(_ECDSA_SHA256, _ECDSA_SHA256[:-1] + b"\x99")),
    ("length-2-gb", "a length of two gigabytes", lambda der: b"\x30\x84\x7f\xff\xff\xff" + der[4:]),
    ("length-wraps", "a length of 64 bits", lambda der: b"\x30\x88" + b"\xff" * 8 + der[4:]),
    ("length-open", "no length at all (BER)", lambda der: b"\x30\x80" + der[4:] + b"\x00\x00"),
)

_KEYS: Final[PlainTable[PublicKeyInfo]] = (
    ("key-agreement", "a key for key agreement alone",
     build_key_info(x25519.X25519PublicKey.from_public_bytes(bytes(range(32))))),
    ("key-ed448", "a key of Ed448",
     build_key_info(ed448.Ed448PrivateKey.from_private_bytes(bytes(57)).public_key())),
    ("key-other-curve", "a key on a curve nobody agreed on",
     build_key_info(ec.derive_private_key(7, ec.BrainpoolP256R1()).public_key())),
    ("key-own-curve", "a key on a curve of the sender's own", build_own_curve_key()),
    ("key-off-curve", "a point that is not on its curve", build_off_curve_key()),
    ("key-infinity", "the point at infinity", build_infinity_key()),
    ("key-long", "an RSA key of 16,384 bits with an exponent as long",
     build_rsa_key(16_384, (1 << 16_000) | 1)),
    ("key-exponent-1", "an RSA key with the exponent 1", build_rsa_key(2048, 1)),
    ("key-exponent-even", "an RSA key with an even exponent", build_rsa_key(2048, 65_536)),
)

#: The number of additional certificates, the end of the id, and the signer.
_ATTACHED_ISSUERS: Final = (
    (3, "-stranger", "beside a stranger's", "stranger"),
    (4, "", "beside a good one", "a"),
    (100, "", "beside a good one", "a"),
    (100, "-stranger", "beside a stranger's", "stranger"),
)
# fmt: on


def _sign_with(make_signer: SignerMaker, sender: str = "a") -> RequestMaker:
    """Return the step that sends a member's message or the agency's call, signed by another signer."""
    if sender == "agency":
        return lambda kit: kit.build_call(signer=make_signer(kit))
    return lambda kit: kit.build_message(member=sender, signer=make_signer(kit))


def _make_issued_cases() -> Iterator[AttackCase]:
    """Yield the cases of messages and calls that are signed with an untrusted certificate."""
    for name, title, make_signer, sender, source in _ISSUED:
        face = "soap" if sender == "agency" else "ebms2"
        yield make_attack_case(name, title, _sign_with(make_signer, sender), _UNTRUSTED, source, face=face)


def _make_signer_cases(
    attack: str, rows: PlainTable[SignerMaker], source: str = _ENCODED
) -> Iterator[AttackCase]:
    """Yield the cases of unusual certificates, in messages and in calls."""
    for variant, title, make_signer in rows:
        yield make_attack_case(f"{attack}.{variant}", title, _sign_with(make_signer), _UNREADABLE, source)
        call = _sign_with(make_signer, "agency")
        yield make_attack_case(f"{attack}.call-{variant}", title, call, _UNREADABLE, source, face="soap")


@cache
def _issue_chain(count: int, at: datetime) -> tuple[bytes, ...]:
    """Return this number of authority certificates with one name, each issued by the previous one."""
    authorities: list[CertificationAuthority] = []
    for _ in range(count):
        issuer = authorities[-1] if authorities else None
        authorities.append(make_authority(_SHARED, at, issuer=issuer, path_length=None))
    return tuple(authority.certificate.der for authority in authorities)


def _get_current_hour(kit: AttackerKit) -> datetime:
    """Return the start of the current hour, so that a chain of certificates is issued once in each hour."""
    return kit.get_current_time().replace(minute=0, second=0, microsecond=0)


def _attach_issuers(count: int, signer: str) -> RequestMaker:
    """Return the step that sends a message with this number of issuer certificates."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        texts = (base64.b64encode(der).decode() for der in _issue_chain(count, _get_current_hour(kit)))
        leaves = (append_element(_DATA, f"<ds:X509Certificate>{text}</ds:X509Certificate>") for text in texts)
        return kit.build_message(signer=signer, tampered=mutate_tree(*leaves))

    return make_request


def _make_path_call(count: int) -> RequestMaker:
    """Return the step that sends a call whose token is a path of this number of certificates."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        certificates_der = (
            *_issue_chain(count, _get_current_hour(kit)),
            kit.get_signer("agency").certificate.der,
        )
        token = _CertificatePath([Parsed.load(der) for der in certificates_der]).dump()
        set_token_type = set_attribute(TOKEN, "ValueType", X509_PKI_PATH_TOKEN)
        return build_tampered_call(kit, set_token_type, set_text(TOKEN, base64.b64encode(token).decode()))

    return make_request


class _CertificatePath(SequenceOf):  # type: ignore[misc]
    _child_spec = Parsed


def _make_chain_cases() -> Iterator[AttackCase]:
    """Yield the cases with many issuer certificates, in KeyInfo of a message and in the token of a call."""
    for count, suffix, explanation, signer in _ATTACHED_ISSUERS:
        title = f"{count} certificates of one name {explanation}"
        problems = f"{_TOO_MANY} GW209" if signer == "stranger" else _TOO_MANY
        make_request = _attach_issuers(count, signer)
        yield make_attack_case(f"PKI-07.{count}-along{suffix}", title, make_request, problems, _PATH_BUILDING)
    for count in (4, 100):
        title = f"a token that is a path of {count + 1} certificates"
        problems = f"{_TOO_MANY} GW209 GW204"
        make_request = _make_path_call(count)
        yield make_attack_case(
            f"PKI-07.call-path-{count}", title, make_request, problems, _PATH_BUILDING, face="soap"
        )


CASES: Final[tuple[AttackCase, ...]] = (
    *_make_issued_cases(),
    *_make_signer_cases("PKI-08", _FETCHING, _FETCHED),
    *_make_signer_cases("PKI-11", _SAYING),
    *_make_signer_cases("PKI-11", ((name, title, mutate_certificate(to)) for name, title, to in _OCTETS)),
    *_make_signer_cases(
        "PKI-11",
        ((name, title, mutate_certificate(replace_public_key(key))) for name, title, key in _KEYS),
    ),
    *_make_chain_cases(),
)
"""Attacks by certificates: PKI-04, 07 to 09 and 11."""
