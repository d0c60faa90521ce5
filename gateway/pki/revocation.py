"""Certificate revocation lists in hand; nothing is ever fetched here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NoReturn

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from gateway.errors import REVOCATION_UNKNOWN, GatewayError
from gateway.pki.certificates import DEFAULT_RULES, Certificate, CertificateRules

__all__ = ["MAX_CRLS", "MAX_CRL_OCTETS", "RevocationList", "Revocations", "read_crls"]

# About 400,000 entries; larger issuers cut their lists by distribution points.
MAX_CRL_OCTETS: Final = 16 * 1024 * 1024
MAX_CRLS: Final = 256

# In a list of changes: the certificate comes off the complete list.
_RELEASED: Final = x509.ReasonFlags.remove_from_crl
_KNOWN_EXTENSIONS: Final = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.DELTA_CRL_INDICATOR,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
    }
)

_PEM_BLOCK: Final = re.compile(rb"-----BEGIN X509 CRL-----\s([A-Za-z0-9+/=\s]*)-----END X509 CRL-----")


@dataclass(frozen=True, slots=True)
class RevocationList:
    """One CRL: what it says of itself; its signature is checked when a path is.

    ``issuer_key`` is the issuer's name in the normal form of RFC 4518.  ``unfit`` says why the
    list cannot be used, None when it can; a ``partial`` one can only condemn.
    """

    der: bytes = field(repr=False)
    sha256: str
    issuer: str = field(compare=False)
    this_update: datetime = field(compare=False)
    next_update: datetime = field(compare=False)
    issuer_key: str = field(compare=False, repr=False)
    unfit: str | None = field(compare=False)
    partial: bool = field(compare=False)
    scope: x509.IssuingDistributionPoint | None = field(compare=False, repr=False)
    parsed: x509.CertificateRevocationList = field(compare=False, repr=False)
    entries: Mapping[int, datetime] = field(compare=False, repr=False)
    # The answer for each certificate of the register: hashing a long list takes its time.
    verified: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def fresh(self, at: datetime, most: timedelta | None = None) -> bool:
        """Say whether the list is in force at `at`, and not older than `most`."""
        return self.this_update <= at <= self.ends(most)

    def ends(self, most: timedelta | None = None) -> datetime:
        """Return when the list ceases to be fresh."""
        return self.next_update if most is None else min(self.next_update, self.this_update + most)

    def revoked_at(self, serial: int) -> datetime | None:
        """Return when the list says `serial` was revoked; None when it is not listed."""
        return self.entries.get(serial)

    def signed_by(self, certificate: Certificate) -> bool:
        """Say whether the key of `certificate` made the signature of the list."""
        known = self.verified.get(certificate.sha256)
        if known is None:
            known = self.verified[certificate.sha256] = self._signed_by(certificate)
        return known

    def _signed_by(self, certificate: Certificate) -> bool:
        try:
            return self.parsed.is_signature_valid(certificate.public_key)
        # A key of another kind than the signature algorithm asks for.
        except (TypeError, ValueError, UnsupportedAlgorithm):
            return False


@dataclass(frozen=True, slots=True, init=False)
class Revocations:
    """All revocation lists in hand, of whatever issuers."""

    lists: tuple[RevocationList, ...]

    def __init__(self, crls: Iterable[bytes] = (), rules: CertificateRules = DEFAULT_RULES) -> None:
        """Read `crls`, each a DER list or a file of PEM lists."""
        lists = tuple(each for data in crls for each in read_crls(data, rules))
        if len(lists) > MAX_CRLS:
            _refuse(f"more than {MAX_CRLS} revocation lists")
        object.__setattr__(self, "lists", lists)

    def __len__(self) -> int:
        """Count the lists."""
        return len(self.lists)

    def speaking_of(self, issuer_key: str) -> tuple[RevocationList, ...]:
        """Return the lists of this issuer, fresh or not, the newest first."""
        lists = [each for each in self.lists if each.issuer_key == issuer_key]
        return tuple(sorted(lists, key=lambda each: each.this_update, reverse=True))


def read_crls(data: bytes, rules: CertificateRules = DEFAULT_RULES) -> tuple[RevocationList, ...]:
    """Read one DER list, or a file of PEM lists; raises GW208 when any is malformed."""
    if len(data) > 2 * MAX_CRL_OCTETS:
        _refuse(f"a revocation list of {len(data)} octets is too large")
    if data[:1] == b"\x30":
        return (_read(bytes(data), rules),)
    blocks = _PEM_BLOCK.findall(data)
    if not blocks or len(blocks) != data.count(b"-----BEGIN "):
        _refuse("no revocation list in the file, or something that is not one")
    return tuple(_read(_unarmour(block), rules) for block in blocks)


def _unarmour(block: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(block.split()), validate=True)
    except (binascii.Error, ValueError):
        _refuse("the base64 text of the revocation list is malformed")


def _read(encoded: bytes, rules: CertificateRules) -> RevocationList:
    if len(encoded) > MAX_CRL_OCTETS:
        _refuse(f"a revocation list of {len(encoded)} octets is too large")
    try:
        return _fields(encoded, rules)
    except GatewayError:
        raise
    # Both parsers report malformed input by ValueError, TypeError and types of their own.
    except Exception as problem:
        _refuse(f"malformed revocation list: {problem}")


def _fields(encoded: bytes, rules: CertificateRules) -> RevocationList:
    parsed = x509.load_der_x509_crl(encoded)
    if parsed.signature_algorithm_oid.dotted_string not in rules.signatures:
        _refuse(f"a revocation list signed with {parsed.signature_algorithm_oid.dotted_string} is refused")
    digest = parsed.signature_hash_algorithm
    if digest is not None and digest.name in rules.weak_digests:
        _refuse(f"a revocation list signed over {digest.name} is refused")
    if parsed.next_update_utc is None:
        # RFC 5280 §5.1.2.5 demands it; without it nobody can say how long the list holds.
        _refuse("a revocation list without nextUpdate")
    values = [each.value for each in parsed.extensions]
    scope = next((each for each in values if isinstance(each, x509.IssuingDistributionPoint)), None)
    entries, understood = _entries(parsed)
    return RevocationList(
        der=encoded,
        sha256=hashlib.sha256(encoded).hexdigest(),
        issuer=parsed.issuer.rfc4514_string(),
        this_update=parsed.last_update_utc,
        next_update=parsed.next_update_utc,
        issuer_key=str(asn1_x509.Name.load(parsed.issuer.public_bytes()).hashable),
        unfit=_unfit(parsed, scope) or understood,
        partial=_partial(parsed, scope),
        scope=scope,
        parsed=parsed,
        entries=entries,
    )


def _entries(parsed: x509.CertificateRevocationList) -> tuple[dict[int, datetime], str | None]:
    """Return who was revoked when, and why the list is spoilt if it is; one pass, for lists are long."""
    revoked: dict[int, datetime] = {}
    for entry in parsed:
        for each in entry.extensions:
            # RFC 5280 §5.3: one entry that is not understood spoils the list.
            if each.critical:
                return {}, "an entry has a critical extension that is not known here"
            if isinstance(each.value, x509.CRLReason) and each.value.reason is _RELEASED:
                break
        else:
            revoked[entry.serial_number] = entry.revocation_date_utc
    return revoked, None


def _unfit(parsed: x509.CertificateRevocationList, scope: x509.IssuingDistributionPoint | None) -> str | None:
    if any(each.critical and each.oid not in _KNOWN_EXTENSIONS for each in parsed.extensions):
        return "a critical extension is not known here"
    if scope is not None and scope.indirect_crl:
        return "it speaks for other issuers"
    if scope is not None and scope.only_contains_attribute_certs:
        return "it covers attribute certificates"
    return None


def _partial(parsed: x509.CertificateRevocationList, scope: x509.IssuingDistributionPoint | None) -> bool:
    if scope is not None and scope.only_some_reasons:
        return True
    return any(each.oid == ExtensionOID.DELTA_CRL_INDICATOR for each in parsed.extensions)


def _refuse(detail: str) -> NoReturn:
    raise GatewayError(REVOCATION_UNKNOWN, detail[:300], "revocation list")
