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
from typing import TYPE_CHECKING, Final, cast

from asn1crypto.core import SequenceOf
from asn1crypto.x509 import Certificate as Parsed
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from gateway.conformance.hostile.alterations import added, attribute_set, on_tree, text_set
from gateway.conformance.hostile.calls import TOKEN, call_of
from gateway.conformance.hostile.case import Case, NotOfferedError, Post
from gateway.conformance.hostile.tampered import attack
from gateway.pki.issue import Authority, Issued, Order, issue_certificate, make_authority
from gateway.pki.keys import KeySigner, Signer
from gateway.wire.namespaces import X509_PKI_PATH_TOKEN

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES", "Forger", "odd_cases", "spelt"]

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
Forger = Callable[["Bench"], Signer]


@dataclass(frozen=True, slots=True)
class _Octets:
    """A certificate that nobody has judged: its octets are all that a signature takes of it."""

    der: bytes


@dataclass(frozen=True, slots=True)
class _Shown:
    """A signer that shows other octets than its own certificate."""

    certificate: _Octets
    algorithm: str
    signer: Signer

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`."""
        return self.signer.sign(data)


def _showing(signer: Signer, der: bytes) -> Signer:
    return cast("Signer", _Shown(_Octets(der), signer.algorithm, signer))


def _by_leaf(of: str, subject: str) -> Forger:
    """Return: a certificate for the subject of another, issued with the key of `of`, who is no authority."""

    def make(bench: Bench) -> Signer:
        holder = bench.signer(of)
        if not isinstance(holder, KeySigner):
            raise NotOfferedError(f"the key {of!r} signs only through its token")
        named = bench.signer(subject).certificate.subject
        authority = Authority(holder.key, holder.certificate)
        return issue_certificate(authority, named, bench.now(), Order()).signer

    return make


def _same_serial(of: str) -> Forger:
    """Return: a certificate with subject, issuer's name and serial of that of `of`, by another authority."""

    def make(bench: Bench) -> Signer:
        known = bench.signer(of).certificate
        authority = make_authority(known.issuer, bench.now())
        return issue_certificate(authority, known.subject, bench.now(), Order(serial=known.serial)).signer

    return make


def _stranger(bench: Bench) -> Issued:
    return issue_certificate(bench.outsider, bench.signer("a").certificate.subject, bench.now(), Order())


def _saying(*extensions: tuple[x509.ExtensionType, bool], subject: str = "") -> Forger:
    """Return: a stranger's certificate with further extensions (and whether critical), or another subject."""

    def make(bench: Bench) -> Signer:
        issued = _stranger(bench)
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
        return _showing(issued.signer, made.public_bytes(Encoding.DER))

    return make


def spelt(change: Callable[[bytes], bytes]) -> Forger:
    """Return: a stranger's certificate whose octets are changed."""

    def make(bench: Bench) -> Signer:
        issued = _stranger(bench)
        return _showing(issued.signer, change(issued.certificate.der))

    return make


def _serial(value: int) -> Callable[[bytes], bytes]:
    def change(der: bytes) -> bytes:
        parsed = Parsed.load(der)
        parsed["tbs_certificate"]["serial_number"] = value
        return bytes(parsed.dump(force=True))

    return change


def _twice(der: bytes) -> bytes:
    parsed = Parsed.load(der)
    extensions = parsed["tbs_certificate"]["extensions"]
    extensions.append(extensions[0])
    return bytes(parsed.dump(force=True))


def _distribution() -> x509.CRLDistributionPoints:
    names = [x509.UniformResourceIdentifier(one) for one in _ADDRESSES]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])


def _access() -> x509.AuthorityInformationAccess:
    ways = (AuthorityInformationAccessOID.CA_ISSUERS, AuthorityInformationAccessOID.OCSP)
    return x509.AuthorityInformationAccess(
        x509.AccessDescription(way, x509.UniformResourceIdentifier(one)) for way in ways for one in _ADDRESSES
    )


@cache
def _issuers(count: int, at: datetime) -> tuple[bytes, ...]:
    """Return so many certificates of authorities of one name, each issued by the one before it."""
    made: list[Authority] = []
    for _ in range(count):
        issuer = made[-1] if made else None
        made.append(make_authority(_SHARED, at, issuer=issuer, path_length=None))
    return tuple(one.certificate.der for one in made)


def _hour(bench: Bench) -> datetime:
    """Return the hour: what is made once serves until the next."""
    return bench.now().replace(minute=0, second=0, microsecond=0)


def _along(count: int, who: str) -> Callable[[Bench], Post]:
    """Return: a message with so many certificates of issuers beside that of its signer."""

    def make(bench: Bench) -> Post:
        texts = (base64.b64encode(one).decode() for one in _issuers(count, _hour(bench)))
        leaves = (added(_DATA, f"<ds:X509Certificate>{text}</ds:X509Certificate>") for text in texts)
        return bench.message(signer=who, tampered=on_tree(*leaves))

    return make


def _path(count: int) -> Callable[[Bench], Post]:
    """Return: a call whose token is a path of so many certificates, the agency's last."""

    def make(bench: Bench) -> Post:
        ders: Sequence[bytes] = (*_issuers(count, _hour(bench)), bench.signer("agency").certificate.der)
        token = _Path([Parsed.load(one) for one in ders]).dump()
        kind = attribute_set(TOKEN, "ValueType", X509_PKI_PATH_TOKEN)
        return call_of(bench, kind, text_set(TOKEN, base64.b64encode(token).decode()))

    return make


class _Path(SequenceOf):  # type: ignore[misc]
    _child_spec = Parsed


#: Name, what it is, who is impersonated by which signer: for messages, and for calls.
_ISSUED: Final = (
    ("PKI-04.leaf-issues", "a certificate for B, issued by A's key", _by_leaf("a", "b"), _BASIC),
    ("PKI-04.leaf-issues-itself", "another certificate for A, issued by A's key", _by_leaf("a", "a"), _BASIC),
    ("PKI-04.call-leaf-issues", "a certificate for an agency, by A's key", _by_leaf("a", "agency"), _BASIC),
    ("PKI-09.same-serial", "issuer and serial of A's certificate", _same_serial("a"), _SUBSTITUTED),
    ("PKI-09.call-same-serial", "issuer and serial of the agency's", _same_serial("agency"), _SUBSTITUTED),
)  # fmt: skip

_FETCHING: Final[dict[str, tuple[str, Forger]]] = {
    "PKI-08.lists": ("lists to be fetched from inside", _saying((_distribution(), False))),
    "PKI-08.issuers": ("issuers and status to be fetched", _saying((_access(), False))),
}

_SAYING: Final[dict[str, tuple[str, Forger]]] = {
    "PKI-11.critical": (
        "an unknown critical extension",
        _saying((x509.UnrecognizedExtension(_UNKNOWN, b"\x05\x00"), True)),
    ),
    "PKI-11.large": (
        "an extension of 20,000 octets",
        _saying((x509.UnrecognizedExtension(_UNKNOWN, bytes(20_000)), False)),
    ),
    "PKI-11.garbage": (
        "key usage that is no DER",
        _saying((x509.UnrecognizedExtension(x509.KeyUsage.oid, b"\xff\xff\xff"), True)),
    ),
    "PKI-11.nul": ("NUL in the name of the subject", _saying(subject="suite-a\x00.invalid")),
    "PKI-11.bidi": ("a name that turns the line", _saying(subject="\u202ea-etius")),
    "PKI-11.serial-zero": ("the serial number 0", spelt(_serial(0))),
    "PKI-11.serial-negative": ("a negative serial number", spelt(_serial(-7))),
    "PKI-11.serial-long": ("a serial number of 200 octets", spelt(_serial(1 << 1600))),
    "PKI-11.extension-twice": ("an extension twice", spelt(_twice)),
    "PKI-11.followed": ("octets behind the certificate", spelt(lambda der: der + b"\x00")),
    "PKI-11.cut": ("a certificate cut short", spelt(lambda der: der[:-9])),
    "PKI-11.nested": ("elements a thousand deep", spelt(lambda _: b"\x30\x80" * 1000)),
    "PKI-11.nothing": ("one octet", spelt(lambda _: b"\x00")),
}


def _of_message(forger: Forger, member: str) -> Callable[[Bench], Post]:
    return lambda bench: bench.message(member=member, signer=forger(bench))


def _of_call(forger: Forger) -> Callable[[Bench], Post]:
    return lambda bench: bench.call(signer=forger(bench))


def _issued() -> list[Case]:
    found = []
    for name, title, forger, source in _ISSUED:
        if ".call-" in name:
            found.append(attack(name, title, _of_call(forger), _UNTRUSTED, source, face="soap"))
        else:
            member = "b" if name.endswith("leaf-issues") else "a"
            found.append(attack(name, title, _of_message(forger, member), _UNTRUSTED, source))
    return found


def odd_cases(rows: Mapping[str, tuple[str, Forger]], source: str = _ENCODED) -> tuple[Case, ...]:
    """Return the cases of certificates that are odd, in messages and in calls: by id, title and who signs."""
    found = []
    for name, (title, forger) in rows.items():
        row, _, variant = name.partition(".")
        found.append(attack(name, title, _of_message(forger, "a"), _UNREADABLE, source))
        call = f"{row}.call-{variant}"
        found.append(attack(call, title, _of_call(forger), _UNREADABLE, source, face="soap"))
    return tuple(found)


_CHAINS: Final = (
    *(
        attack(
            f"PKI-07.{count}-along{suffix}",
            f"{count} certificates of one name {words}",
            _along(count, who),
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
        attack(
            f"PKI-07.call-path-{count}",
            f"a token that is a path of {count + 1} certificates",
            _path(count),
            f"{_TOO_MANY} GW209 GW204",
            _MANY,
            face="soap",
        )
        for count in (4, 100)
    ),
)

CASES: Final[tuple[Case, ...]] = (
    *_issued(),
    *odd_cases(_FETCHING, _FETCHED),
    *odd_cases(_SAYING),
    *_CHAINS,
)
