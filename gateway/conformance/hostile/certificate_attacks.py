"""Certificates that no gateway may believe, in messages and in calls: PKI-04, 07 to 09 and 11.

Each is sound enough that the signature over the message holds; what is wrong is who issued
it, what it says of itself, or what comes along with it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final, cast

from asn1crypto.core import SequenceOf
from asn1crypto.x509 import Certificate as Parsed
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.call_attacks import TOKEN, build_tampered_call
from gateway.conformance.hostile.exchange import HttpRequest, NotOfferedError
from gateway.conformance.hostile.message_attacks import make_attack_case
from gateway.conformance.hostile.tree_mutations import append_element, mutate_tree, set_attribute, set_text
from gateway.pki.certificate_authority import (
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
    make_authority,
)
from gateway.pki.signing_keys import KeySigner, Signer
from gateway.wire.namespaces import X509_PKI_PATH_TOKEN

__all__ = ["CASES", "SignerMaker", "make_certificate_cases", "mutate_certificate"]

_DATA: Final = "//ds:Signature/ds:KeyInfo/ds:X509Data"
_UNTRUSTED: Final = "GW204 GW205 GW209"
_UNREADABLE: Final = "GW202 GW204 GW205 GW209"
_TOO_MANY: Final = "GW102 GW202 GW203 GW205"
_MANY: Final = "CVE-2026-69249: exponential path building"
_BASIC: Final = "RFC 5280 §4.2.1.9"
_FETCHED: Final = "CWE-918: a certificate names what is to be fetched"
_SUBSTITUTED: Final = "certificate substitution: issuer and serial of another"
_ENCODED: Final = "x509-limbo; RFC 5280 §4"
_ADDRESSES: Final = ("http://127.0.0.1:9/x", "file:///etc/passwd", "ldap://127.0.0.1:9/x", "http://[::1]:9/x")
_UNKNOWN: Final = x509.ObjectIdentifier("1.3.6.1.4.1.55555.1")
#: The name that a hundred issuers share.
_SHARED: Final = "CN=Issuer of the suite"

#: Makes the signer of an attack of what a bench has.
SignerMaker = Callable[["AttackerKit"], Signer]


@dataclass(frozen=True, slots=True)
class _CertificateOctets:
    """A certificate that nobody has judged: its octets are all that a signature takes of it."""

    der: bytes


@dataclass(frozen=True, slots=True)
class _SubstituteSigner:
    """A signer that shows other octets than its own certificate."""

    certificate: _CertificateOctets
    algorithm: str
    signer: Signer

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`."""
        return self.signer.sign(data)


def _substitute_certificate(signer: Signer, der: bytes) -> Signer:
    return cast("Signer", _SubstituteSigner(_CertificateOctets(der), signer.algorithm, signer))


def _issue_by_leaf(of: str, subject: str) -> SignerMaker:
    """Return: a certificate for the subject of another, issued with the key of `of`, who is no authority."""

    def make_signer(bench: AttackerKit) -> Signer:
        holder = bench.get_signer(of)
        if not isinstance(holder, KeySigner):
            raise NotOfferedError(f"the key {of!r} signs only through its token")
        named = bench.get_signer(subject).certificate.subject
        authority = CertificationAuthority(holder.key, holder.certificate)
        return issue_certificate(authority, named, bench.get_current_time(), CertificateOrder()).signer

    return make_signer


def _copy_serial(of: str) -> SignerMaker:
    """Return: a certificate with subject, issuer's name and serial of that of `of`, by another authority."""

    def make_signer(bench: AttackerKit) -> Signer:
        known = bench.get_signer(of).certificate
        authority = make_authority(known.issuer, bench.get_current_time())
        return issue_certificate(
            authority, known.subject, bench.get_current_time(), CertificateOrder(serial=known.serial)
        ).signer

    return make_signer


def _issue_stranger(bench: AttackerKit) -> IssuedCertificate:
    return issue_certificate(
        bench.outsider,
        bench.get_signer("a").certificate.subject,
        bench.get_current_time(),
        CertificateOrder(),
    )


def _issue_with_extensions(*extensions: tuple[x509.ExtensionType, bool], subject: str = "") -> SignerMaker:
    """Return: a stranger's certificate with further extensions (and whether critical), or another subject."""

    def make_signer(bench: AttackerKit) -> Signer:
        issued = _issue_stranger(bench)
        plain = x509.load_der_x509_certificate(issued.certificate.der)
        named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]) if subject else plain.subject
        builder = x509.CertificateBuilder(
            issuer_name=plain.issuer,
            subject_name=named,
            public_key=plain.public_key(),
            serial_number=plain.serial_number,
            not_valid_before=plain.not_valid_before_utc.replace(tzinfo=None),
            not_valid_after=plain.not_valid_after_utc.replace(tzinfo=None),
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        made = builder.sign(bench.outsider.key, hashes.SHA256())
        return _substitute_certificate(issued.signer, made.public_bytes(Encoding.DER))

    return make_signer


def mutate_certificate(change: Callable[[bytes], bytes]) -> SignerMaker:
    """Return: a stranger's certificate whose octets are changed."""

    def make_signer(bench: AttackerKit) -> Signer:
        issued = _issue_stranger(bench)
        return _substitute_certificate(issued.signer, change(issued.certificate.der))

    return make_signer


def _set_serial(value: int) -> Callable[[bytes], bytes]:
    def mutate_octets(der: bytes) -> bytes:
        parsed = Parsed.load(der)
        parsed["tbs_certificate"]["serial_number"] = value
        return bytes(parsed.dump(force=True))

    return mutate_octets


def _duplicate_extension(der: bytes) -> bytes:
    parsed = Parsed.load(der)
    extensions = parsed["tbs_certificate"]["extensions"]
    extensions.append(extensions[0])
    return bytes(parsed.dump(force=True))


def _build_distribution_points() -> x509.CRLDistributionPoints:
    names = [x509.UniformResourceIdentifier(one) for one in _ADDRESSES]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])


def _build_authority_access() -> x509.AuthorityInformationAccess:
    ways = (AuthorityInformationAccessOID.CA_ISSUERS, AuthorityInformationAccessOID.OCSP)
    return x509.AuthorityInformationAccess(
        x509.AccessDescription(way, x509.UniformResourceIdentifier(one)) for way in ways for one in _ADDRESSES
    )


@cache
def _issue_chain(count: int, at: datetime) -> tuple[bytes, ...]:
    """Return so many certificates of authorities of one name, each issued by the one before it."""
    made: list[CertificationAuthority] = []
    for _ in range(count):
        issuer = made[-1] if made else None
        made.append(make_authority(_SHARED, at, issuer=issuer, path_length=None))
    return tuple(one.certificate.der for one in made)


def _truncate_to_hour(bench: AttackerKit) -> datetime:
    """Return the hour: what is made once serves until the next."""
    return bench.get_current_time().replace(minute=0, second=0, microsecond=0)


def _attach_issuers(count: int, who: str) -> Callable[[AttackerKit], HttpRequest]:
    """Return: a message with so many certificates of issuers beside that of its signer."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        texts = (base64.b64encode(one).decode() for one in _issue_chain(count, _truncate_to_hour(bench)))
        leaves = (append_element(_DATA, f"<ds:X509Certificate>{text}</ds:X509Certificate>") for text in texts)
        return bench.build_message(signer=who, tampered=mutate_tree(*leaves))

    return make_request


def _make_path_call(count: int) -> Callable[[AttackerKit], HttpRequest]:
    """Return: a call whose token is a path of so many certificates, the agency's last."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        ders: Sequence[bytes] = (
            *_issue_chain(count, _truncate_to_hour(bench)),
            bench.get_signer("agency").certificate.der,
        )
        token = _CertificatePath([Parsed.load(one) for one in ders]).dump()
        kind = set_attribute(TOKEN, "ValueType", X509_PKI_PATH_TOKEN)
        return build_tampered_call(bench, kind, set_text(TOKEN, base64.b64encode(token).decode()))

    return make_request


class _CertificatePath(SequenceOf):  # type: ignore[misc]
    _child_spec = Parsed


#: Name, what it is, who is impersonated by which signer: for messages, and for calls.
_ISSUED: Final = (
    ("PKI-04.leaf-issues", "a certificate for B, issued by A's key", _issue_by_leaf("a", "b"), _BASIC),
    ("PKI-04.leaf-issues-itself", "another certificate for A, by A's key", _issue_by_leaf("a", "a"), _BASIC),
    ("PKI-04.call-leaf-issues", "an agency's certificate, by A's key", _issue_by_leaf("a", "agency"), _BASIC),
    ("PKI-09.same-serial", "issuer and serial of A's certificate", _copy_serial("a"), _SUBSTITUTED),
    ("PKI-09.call-same-serial", "issuer and serial of the agency's", _copy_serial("agency"), _SUBSTITUTED),
)  # fmt: skip

_FETCHING: Final[dict[str, tuple[str, SignerMaker]]] = {
    "PKI-08.lists": (
        "lists to be fetched from inside",
        _issue_with_extensions((_build_distribution_points(), False)),
    ),
    "PKI-08.issuers": (
        "issuers and status to be fetched",
        _issue_with_extensions((_build_authority_access(), False)),
    ),
}

_SAYING: Final[dict[str, tuple[str, SignerMaker]]] = {
    "PKI-11.critical": (
        "an unknown critical extension",
        _issue_with_extensions((x509.UnrecognizedExtension(_UNKNOWN, b"\x05\x00"), True)),
    ),
    "PKI-11.large": (
        "an extension of 20,000 octets",
        _issue_with_extensions((x509.UnrecognizedExtension(_UNKNOWN, bytes(20_000)), False)),
    ),
    "PKI-11.garbage": (
        "key usage that is no DER",
        _issue_with_extensions((x509.UnrecognizedExtension(x509.KeyUsage.oid, b"\xff\xff\xff"), True)),
    ),
    "PKI-11.nul": ("NUL in the name of the subject", _issue_with_extensions(subject="suite-a\x00.invalid")),
    "PKI-11.bidi": ("a name that turns the line", _issue_with_extensions(subject="\u202ea-etius")),
    "PKI-11.serial-zero": ("the serial number 0", mutate_certificate(_set_serial(0))),
    "PKI-11.serial-negative": ("a negative serial number", mutate_certificate(_set_serial(-7))),
    "PKI-11.serial-long": ("a serial number of 200 octets", mutate_certificate(_set_serial(1 << 1600))),
    "PKI-11.extension-twice": ("an extension twice", mutate_certificate(_duplicate_extension)),
    "PKI-11.followed": ("octets behind the certificate", mutate_certificate(lambda der: der + b"\x00")),
    "PKI-11.cut": ("a certificate cut short", mutate_certificate(lambda der: der[:-9])),
    "PKI-11.nested": ("elements a thousand deep", mutate_certificate(lambda _: b"\x30\x80" * 1000)),
    "PKI-11.nothing": ("one octet", mutate_certificate(lambda _: b"\x00")),
}


def _sign_message_with(forger: SignerMaker, member: str) -> Callable[[AttackerKit], HttpRequest]:
    return lambda bench: bench.build_message(member=member, signer=forger(bench))


def _sign_call_with(forger: SignerMaker) -> Callable[[AttackerKit], HttpRequest]:
    return lambda bench: bench.build_call(signer=forger(bench))


def _make_issued_cases() -> list[AttackCase]:
    found = []
    for name, title, forger, source in _ISSUED:
        if ".call-" in name:
            found.append(
                make_attack_case(name, title, _sign_call_with(forger), _UNTRUSTED, source, face="soap")
            )
        else:
            member = "b" if name.endswith("leaf-issues") else "a"
            found.append(
                make_attack_case(name, title, _sign_message_with(forger, member), _UNTRUSTED, source)
            )
    return found


def make_certificate_cases(
    rows: Mapping[str, tuple[str, SignerMaker]], source: str = _ENCODED
) -> tuple[AttackCase, ...]:
    """Return the cases of certificates that are odd, in messages and in calls: by id, title and who signs."""
    found = []
    for name, (title, forger) in rows.items():
        row, _, variant = name.partition(".")
        found.append(make_attack_case(name, title, _sign_message_with(forger, "a"), _UNREADABLE, source))
        call = f"{row}.call-{variant}"
        found.append(make_attack_case(call, title, _sign_call_with(forger), _UNREADABLE, source, face="soap"))
    return tuple(found)


_CHAINS: Final = (
    *(
        make_attack_case(
            f"PKI-07.{count}-along{suffix}",
            f"{count} certificates of one name {words}",
            _attach_issuers(count, who),
            f"{_TOO_MANY} GW209" if who == "stranger" else _TOO_MANY,
            _MANY,
        )
        for count, suffix, words, who in (
            (3, "-stranger", "beside a stranger's", "stranger"),
            (4, "", "beside a good one", "a"),
            (100, "", "beside a good one", "a"),
            (100, "-stranger", "beside a stranger's", "stranger"),
        )
    ),
    *(
        make_attack_case(
            f"PKI-07.call-path-{count}",
            f"a token that is a path of {count + 1} certificates",
            _make_path_call(count),
            f"{_TOO_MANY} GW209 GW204",
            _MANY,
            face="soap",
        )
        for count in (4, 100)
    ),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *_make_issued_cases(),
    *make_certificate_cases(_FETCHING, _FETCHED),
    *make_certificate_cases(_SAYING),
    *_CHAINS,
)
