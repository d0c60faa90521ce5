"""Loaded certificate revocation lists and OCSP responses; nothing is fetched here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, x25519
from cryptography.x509.oid import ExtensionOID

from gateway.errors import REVOCATION_UNKNOWN, GatewayError, describe_exception, raise_resource_problem
from gateway.pki.certificates import (
    DEFAULT_RULES,
    PATH_RULES,
    Certificate,
    CertificateRules,
    PublicKey,
    format_name,
    get_parsed_certificate,
    list_point_names,
    normalize_general_name,
    normalize_name,
)
from gateway.pki.ocsp import OcspResponse, SingleResponse, read_ocsp_response

# About 400,000 entries; larger issuers divide their lists by distribution points.
MAX_CRL_OCTETS: Final = 16 * 1024 * 1024
MAX_CRLS: Final = 256
# RFC 5280 §5.2.3: issuers must not use longer numbers, and readers need not support them.
_MAX_NUMBER_BITS: Final = 160
# One for each certificate whose status is requested from responders.
MAX_RESPONSES: Final = 4096

# The reasons by which lists may be divided (RFC 5280 §4.2.1.13); a certificate must be cleared for all of
# them.
ALL_REASONS: Final = frozenset(x509.ReasonFlags) - {
    x509.ReasonFlags.unspecified,
    x509.ReasonFlags.remove_from_crl,
}
_SUPPORTED_EXTENSIONS: Final = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.DELTA_CRL_INDICATOR,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
    }
)

#: By how much the clock of an authority may be ahead of the hub's clock, as that of a time stamp may be.
CLOCK_TOLERANCE: Final = timedelta(minutes=5)
_PEM_PATTERN: Final = re.compile(rb"-----BEGIN X509 CRL-----\s([A-Za-z0-9+/=\s]*)-----END X509 CRL-----")


@dataclass(frozen=True, slots=True)
class RevokedEntry:
    """The entry of one certificate; `is_released`: removed from the complete list (delta CRLs only)."""

    revoked_at: datetime
    is_on_hold: bool = False
    is_released: bool = False


# By the name of the certificates' issuer (normal form), then by serial number.
_Entries = dict[str, dict[int, RevokedEntry]]


@dataclass(frozen=True, slots=True)
class RevocationList:
    """One CRL; its signature is verified together with a path.

    ``issuer_key`` is the issuer's name in the normal form of RFC 4518. ``unusable_reason`` is the
    reason why the list cannot be used, None when it can. ``scope_names`` are the normal forms
    of the names of its distribution point, ``reasons`` the reasons that it covers: none, if its number is
    not as the rules require; then it revokes, and clears no certificate.
    ``is_indirect``: it may contain certificates of other issuers. ``number`` is its CRL number,
    ``base_number`` that of the list to which a delta CRL applies.
    """

    der: bytes = field(repr=False)
    sha256: str
    issuer: str = field(compare=False)
    this_update: datetime = field(compare=False)
    next_update: datetime = field(compare=False)
    issuer_key: str = field(compare=False, repr=False)
    unusable_reason: str | None = field(compare=False)
    scope: x509.IssuingDistributionPoint | None = field(compare=False, repr=False)
    scope_names: frozenset[str] = field(compare=False, repr=False)
    reasons: frozenset[x509.ReasonFlags] = field(compare=False, repr=False)
    is_indirect: bool = field(compare=False)
    number: int | None = field(compare=False)
    base_number: int | None = field(compare=False)
    authority_key_identifier: bytes | None = field(compare=False, repr=False)
    parsed: x509.CertificateRevocationList = field(compare=False, repr=False)
    entries: Mapping[str, Mapping[int, RevokedEntry]] = field(compare=False, repr=False)
    # The result for each certificate of the register: hashing a long list takes time.
    signature_checks: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def is_fresh(self, at: datetime, max_age: timedelta | None = None) -> bool:
        """Return whether the list is in force at `at`, and not older than `max_age`."""
        return self.has_begun(at) and at <= self.compute_expiry(max_age)

    def has_begun(self, at: datetime) -> bool:
        """Return whether the list is in force, or was, at `at`."""
        # A difference of two times is in range, also at the edges of the calendar.
        return self.this_update - at <= CLOCK_TOLERANCE

    def compute_expiry(self, max_age: timedelta | None = None) -> datetime:
        """Return the time when the list ceases to be fresh; `max_age`: the greatest permitted age."""
        if max_age is None or self.next_update - self.this_update <= max_age:
            return self.next_update
        return self.this_update + max_age

    def find_entry(self, issuer_key: str, serial: int) -> RevokedEntry | None:
        """Return the entry of the certificate `serial` of this issuer; None: it is not listed."""
        return self.entries.get(issuer_key, {}).get(serial)

    def find_number_fault(self) -> str | None:
        """Return the fault of the number of the list, or of its base; None: there is none (RFC 5280 §5.2.3).

        With such a fault the list can still revoke.
        """
        if not self.reasons:
            return "it has no number" if self.number is None else "its number is critical"
        max_number = max(self.number or 0, self.base_number or 0)
        return "its number is longer than 20 octets" if max_number.bit_length() > _MAX_NUMBER_BITS else None

    def contradicts(self, rival_list: RevocationList) -> bool:
        """Return whether a list of the same signer and scope has the same number and time, but other entries.

        Lists of changes to different complete lists may have the same number (RFC 5280 §5.2.4).
        """
        edition = (self.number, self.base_number, self.this_update)
        return (
            edition == (rival_list.number, rival_list.base_number, rival_list.this_update)
            and self.entries != rival_list.entries
        )

    def has_base_up_to(self, complete: RevocationList) -> bool:
        """Return whether this list contains changes since `complete`, or an earlier one (RFC 5280 §5.2.4)."""
        if (
            self.base_number is None
            or self.number is None
            or complete.number is None
            or complete.base_number is not None
        ):
            return False
        if not self.reasons:
            return False
        return self._has_same_scope(complete) and self.base_number <= complete.number

    def is_delta_of(self, complete: RevocationList) -> bool:
        """Return whether this list contains changes that are later than `complete`, and applies to it."""
        is_later = (self.number or 0) > (complete.number or 0) and self.this_update >= complete.this_update
        return is_later and self.has_base_up_to(complete)

    def is_outdated_by(self, complete: RevocationList) -> bool:
        """Return whether `complete` already contains the changes in this list."""
        is_later = (complete.number or 0) >= (self.number or 0) and complete.this_update >= self.this_update
        return is_later and self.has_base_up_to(complete)

    def _has_same_scope(self, compared_list: RevocationList) -> bool:
        is_same_issuer = (
            self.issuer_key == compared_list.issuer_key
            and self.authority_key_identifier == compared_list.authority_key_identifier
        )
        return is_same_issuer and self.scope == compared_list.scope

    def is_signed_by(self, certificate: Certificate, derived_key: PublicKey | None = None) -> bool:
        """Return whether the key of `certificate`, or a `derived_key` of its path, made the signature."""
        is_verified = self.signature_checks.get(certificate.sha256)
        if is_verified is None:
            derived_key = derived_key or certificate.public_key
            # A failure counts only if it comes twice: OpenSSL reports a failed allocation as wrong signature.
            is_verified = self._verify_list_signature(derived_key) or self._verify_list_signature(derived_key)
            self.signature_checks[certificate.sha256] = is_verified
        return is_verified

    def _verify_list_signature(self, key: PublicKey) -> bool:
        """Return whether `key` verifies the signature of this list."""
        digest = self.parsed.signature_hash_algorithm
        try:
            if isinstance(key, dsa.DSAPublicKey) and digest is not None:
                # The parser's own check requires NULL parameters on both sides of DSA's algorithm, or on
                # neither.
                key.verify(self.parsed.signature, self.parsed.tbs_certlist_bytes, digest)
                return True
            return not isinstance(key, x25519.X25519PublicKey) and self.parsed.is_signature_valid(key)
        except InvalidSignature:
            return False
        # A key that does not match the signature algorithm, or an unreadable one.
        except (TypeError, ValueError, UnsupportedAlgorithm):
            return False


@dataclass(frozen=True, slots=True)
class UnreadableData:
    """Octets of a list or a response (`is_response`) that the rules do not permit to be read.

    ``unchecked`` is their content when read without rules, None when unreadable. They prove
    nothing, but show for which certificates a statement exists.
    """

    octets: bytes = field(repr=False)
    is_response: bool
    unchecked: RevocationData | None = field(compare=False, repr=False)

    def may_concern(self, issuer_keys: Collection[str], serial: int) -> bool:
        """Return whether the octets may be about a certificate; `issuer_keys`: possible list issuers."""
        unchecked = self.unchecked
        return unchecked is None or bool(
            unchecked.find_lists(*issuer_keys) or unchecked.find_ocsp_responses(serial)
        )


@dataclass(frozen=True, slots=True, init=False)
class RevocationData:
    """All loaded revocation lists and OCSP responses of all issuers; ``unread`` ones are no proof."""

    lists: tuple[RevocationList, ...]
    answers: tuple[OcspResponse, ...]
    unread: tuple[UnreadableData, ...]
    # By serial number: each response may have statements on many certificates.
    _statements: Mapping[int, tuple[tuple[OcspResponse, SingleResponse], ...]] = field(
        compare=False, repr=False
    )

    def __init__(
        self,
        crls: Iterable[bytes] = (),
        rules: CertificateRules = DEFAULT_RULES,
        responses: Iterable[bytes] = (),
    ) -> None:
        """Read `crls`, each a DER list or a file of PEM lists, and `responses`, each one in DER."""
        parsed_lists = tuple(each for data in crls for each in read_revocation_lists(data, rules))
        parsed_responses = tuple(read_ocsp_response(data, rules) for data in responses)
        if len(parsed_lists) > MAX_CRLS or len(parsed_responses) > MAX_RESPONSES:
            _raise_malformed(f"more than {MAX_CRLS} revocation lists, or {MAX_RESPONSES} OCSP responses")
        self._index_parts(parsed_lists, parsed_responses)

    def _index_parts(
        self,
        lists: tuple[RevocationList, ...],
        responses: tuple[OcspResponse, ...],
        unreadable: tuple[UnreadableData, ...] = (),
    ) -> None:
        """Set the fields of this frozen object, and index the statements of `responses` by serial number."""
        statements: dict[int, list[tuple[OcspResponse, SingleResponse]]] = {}
        for response in responses:
            for statement in response.statements:
                statements.setdefault(statement.serial, []).append((response, statement))
        object.__setattr__(self, "lists", lists)
        object.__setattr__(self, "answers", responses)
        object.__setattr__(self, "unread", unreadable)
        object.__setattr__(
            self, "_statements", {serial: tuple(pairs) for serial, pairs in statements.items()}
        )

    @classmethod
    def merge_parts(cls, parts: Iterable[RevocationData]) -> RevocationData:
        """Return the union of several."""
        merged, all_parts = cls(), tuple(parts)
        merged._index_parts(
            tuple(each for part in all_parts for each in part.lists),
            tuple(each for part in all_parts for each in part.answers),
            tuple(each for part in all_parts for each in part.unread),
        )
        return merged

    @classmethod
    def from_unreadable(cls, octets: bytes, *, is_response: bool = False) -> RevocationData:
        """Return the data for one list, or one response, that the rules refuse."""
        unchecked, revocations = None, cls()
        with suppress(GatewayError):
            unchecked = cls(() if is_response else (octets,), PATH_RULES, (octets,) if is_response else ())
        revocations._index_parts((), (), (UnreadableData(octets, is_response, unchecked),))
        return revocations

    def __len__(self) -> int:
        """Return the number of lists and responses, read or not."""
        return len(self.lists) + len(self.answers) + len(self.unread)

    def find_ocsp_responses(self, serial: int) -> tuple[tuple[OcspResponse, SingleResponse], ...]:
        """Return the statements on certificates with this serial number, of any issuer."""
        return self._statements.get(serial, ())

    def find_lists(self, *issuer_keys: str) -> tuple[RevocationList, ...]:
        """Return the lists of these issuers, fresh or not, the newest first."""
        lists = [each for each in self.lists if each.issuer_key in issuer_keys]
        return tuple(sorted(lists, key=lambda each: (each.this_update, each.number or 0), reverse=True))


def read_revocation_lists(data: bytes, rules: CertificateRules = DEFAULT_RULES) -> tuple[RevocationList, ...]:
    """Read one DER list, or a file of PEM lists; raise GW208 when any is malformed."""
    return tuple(_read_encoded(encoded, rules) for encoded in split_revocation_lists(data))


def split_revocation_lists(data: bytes) -> tuple[bytes, ...]:
    """Return the lists of a file, each in DER and not parsed; raise GW208 for a file without lists."""
    if len(data) > 2 * MAX_CRL_OCTETS:
        _raise_malformed(f"a revocation list of {len(data)} octets is too large")
    if data[:1] == b"\x30":
        return (bytes(data),)
    pem_blocks = _PEM_PATTERN.findall(data)
    if not pem_blocks or len(pem_blocks) != data.count(b"-----BEGIN "):
        _raise_malformed("no revocation list in the file, or something that is not one")
    return tuple(map(_decode_pem, pem_blocks))


def _decode_pem(block: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(block.split()), validate=True)
    except (binascii.Error, ValueError):
        _raise_malformed("the base64 text of the revocation list is malformed")


def _read_encoded(encoded: bytes, rules: CertificateRules) -> RevocationList:
    """Return the list in DER octets; raise GatewayError if it is malformed or refused by `rules`."""
    if len(encoded) > MAX_CRL_OCTETS:
        _raise_malformed(f"a revocation list of {len(encoded)} octets is too large")
    try:
        return _build_list(encoded, rules)
    except GatewayError:
        raise
    # For malformed input both parsers raise ValueError, TypeError and types of their own.
    except Exception as problem:
        raise_resource_problem(problem)
        _raise_malformed(f"malformed revocation list: {describe_exception(problem)}")


def _build_list(encoded: bytes, rules: CertificateRules) -> RevocationList:
    parsed = x509.load_der_x509_crl(encoded)
    _check_signature_algorithm(parsed, rules)
    if parsed.next_update_utc is None:
        # RFC 5280 §5.1.2.5 requires it; without it the end of the list is unknown.
        _raise_malformed("a revocation list without nextUpdate")
    extension_values = [each.value for each in parsed.extensions]
    scope = next((each for each in extension_values if isinstance(each, x509.IssuingDistributionPoint)), None)
    issuer_key, is_indirect = (
        normalize_name(parsed.issuer.public_bytes()),
        scope is not None and scope.indirect_crl,
    )
    entries, entry_fault = _read_entries(parsed, issuer_key, is_indirect=is_indirect)
    number = next((each.crl_number for each in extension_values if isinstance(each, x509.CRLNumber)), None)
    return RevocationList(
        der=encoded,
        sha256=hashlib.sha256(encoded).hexdigest(),
        issuer=format_name(parsed.issuer),
        this_update=parsed.last_update_utc,
        next_update=parsed.next_update_utc,
        issuer_key=issuer_key,
        unusable_reason=_find_scope_fault(parsed, scope) or entry_fault,
        scope=scope,
        scope_names=list_point_names(scope, parsed.issuer) if scope else frozenset(),
        reasons=frozenset()
        if _has_number_fault(parsed, rules)
        else (scope.only_some_reasons if scope else None) or ALL_REASONS,
        is_indirect=is_indirect,
        number=number,
        base_number=next(
            (each.crl_number for each in extension_values if isinstance(each, x509.DeltaCRLIndicator)), None
        ),
        authority_key_identifier=next(
            (
                each.key_identifier
                for each in extension_values
                if isinstance(each, x509.AuthorityKeyIdentifier)
            ),
            None,
        ),
        parsed=parsed,
        entries=entries,
    )


def _check_signature_algorithm(parsed: x509.CertificateRevocationList, rules: CertificateRules) -> None:
    algorithm = parsed.signature_algorithm_oid.dotted_string
    if rules.profile and algorithm not in rules.signatures:
        _raise_malformed(f"a revocation list signed with {algorithm} is refused")
    if not rules.weak_digests:
        return
    digest = parsed.signature_hash_algorithm
    if digest is not None and digest.name in rules.weak_digests:
        _raise_malformed(f"a revocation list signed over {digest.name} is refused")


def _read_entries(
    parsed: x509.CertificateRevocationList, issuer_key: str, *, is_indirect: bool
) -> tuple[_Entries, str | None]:
    """Return the entries of a list, and why it is unusable, if it is; one pass, since lists are long."""
    entries: _Entries = {issuer_key: {}}
    issuer_entries = entries[issuer_key]
    for entry in parsed:
        reason = None
        for each in entry.extensions:
            if is_indirect and isinstance(each.value, x509.CertificateIssuer):
                # RFC 5280 §5.3.3: the issuer applies to this entry and those after it.
                named_issuer = _get_directory_name(each.value)
                if named_issuer is None:
                    return {}, "an entry names its issuer in a way that is not known here"
                issuer_entries = entries.setdefault(named_issuer, {})
            elif isinstance(each.value, x509.CRLReason):
                reason = each.value.reason
            elif each.critical and not isinstance(each.value, x509.InvalidityDate):
                # RFC 5280 §5.3: an unknown critical extension of one entry makes the list unusable.
                return {}, "an entry has a critical extension that is not known here"
        new_entry = RevokedEntry(
            entry.revocation_date_utc,
            is_on_hold=reason is x509.ReasonFlags.certificate_hold,
            is_released=reason is x509.ReasonFlags.remove_from_crl,
        )
        present_entry = issuer_entries.get(entry.serial_number)
        issuer_entries[entry.serial_number] = (
            new_entry if present_entry is None else _choose_stricter_entry(present_entry, new_entry)
        )
    return entries, None


def _choose_stricter_entry(present_entry: RevokedEntry, new_entry: RevokedEntry) -> RevokedEntry:
    """Return which of two entries of one certificate counts: a release takes nothing back in its own list."""
    return max(present_entry, new_entry, key=lambda entry: (not entry.is_released, not entry.is_on_hold))


def _get_directory_name(issuer: x509.CertificateIssuer) -> str | None:
    return next(
        (normalize_general_name(each) for each in issuer if isinstance(each, x509.DirectoryName)), None
    )


def _has_number_fault(parsed: x509.CertificateRevocationList, rules: CertificateRules) -> bool:
    """Return whether the CRL number is not as RFC 5280 §5.2.3 requires: there, and not critical."""
    criticalities = [each.critical for each in parsed.extensions if each.oid == ExtensionOID.CRL_NUMBER]
    return rules.profile and criticalities != [False]


def _find_scope_fault(
    parsed: x509.CertificateRevocationList, scope: x509.IssuingDistributionPoint | None
) -> str | None:
    """Return why a list is unusable by its extensions or its `scope`; None if it is not."""
    if any(each.critical and each.oid not in _SUPPORTED_EXTENSIONS for each in parsed.extensions):
        return "a critical extension is not known here"
    if scope is not None and scope.only_contains_attribute_certs:
        return "it covers attribute certificates"
    return None


def _raise_malformed(detail: str) -> NoReturn:
    raise GatewayError(REVOCATION_UNKNOWN, detail[:300], "revocation list")


_ReasonSet = frozenset[x509.ReasonFlags]


@dataclass(frozen=True, slots=True)
class DistributionPoint:
    """One distribution point: its names, the issuers of its lists, and the reasons that they cover.

    ``has_named_issuer``: the certificate itself names the issuer of the lists, which must be
    indirect ones. All names are in the normal form of RFC 4518.
    """

    names: frozenset[str]
    issuers: frozenset[str]
    has_named_issuer: bool
    reasons: _ReasonSet


def list_distribution_points(certificate: Certificate, issuer_key: str) -> tuple[DistributionPoint, ...]:
    """Return the points of a certificate, followed by its issuer's own lists for all reasons.

    The result is empty when every point is without name and issuer. The issuer's own lists
    are left out when all points name other issuers.
    """
    issuer_point = DistributionPoint(
        frozenset({issuer_key}), frozenset({issuer_key}), has_named_issuer=False, reasons=ALL_REASONS
    )
    if ExtensionOID.CRL_DISTRIBUTION_POINTS.dotted_string not in certificate.extensions:
        return (issuer_point,)
    parsed = get_parsed_certificate(certificate)
    named_points = parsed.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    points = tuple(_read_point(each, parsed.issuer, issuer_key) for each in named_points)
    if all(each.has_named_issuer and issuer_key not in each.issuers for each in points):
        return points
    return (*points, issuer_point)


def _read_point(point: x509.DistributionPoint, issuer: x509.Name, issuer_key: str) -> DistributionPoint:
    """Return a distribution point; its missing crl_issuer is `issuer`, whose normal form is `issuer_key`."""
    directory_names = [each for each in point.crl_issuer or () if isinstance(each, x509.DirectoryName)]
    return DistributionPoint(
        names=list_point_names(point, directory_names[0].value if directory_names else issuer),
        issuers=frozenset(map(normalize_general_name, directory_names))
        if point.crl_issuer
        else frozenset({issuer_key}),
        has_named_issuer=bool(point.crl_issuer),
        reasons=ALL_REASONS if point.reasons is None else point.reasons & ALL_REASONS,
    )


def find_covered_reasons(
    crl: RevocationList, certificate: Certificate, points: tuple[DistributionPoint, ...]
) -> _ReasonSet | str:
    """Return the reasons for which this list covers the certificate, or why it does not."""
    scope = crl.scope
    if scope is not None and scope.only_contains_ca_certs and not certificate.is_ca:
        return "it covers authorities only"
    if scope is not None and scope.only_contains_user_certs and certificate.is_ca:
        return "it covers parties only"
    matching_points = [*_match_points(crl, points)]
    reasons = frozenset(reason for point in matching_points for reason in point.reasons & crl.reasons)
    if matching_points and not crl.reasons:
        # The list clears a certificate for no reason, but its revocations count.
        return reasons
    return reasons or "it covers other distribution points"


def _match_points(crl: RevocationList, points: tuple[DistributionPoint, ...]) -> Iterator[DistributionPoint]:
    """Yield the distribution points for which a list may count (RFC 5280 §6.3.3 (b))."""
    for point in points:
        is_issuer_matching = crl.issuer_key in point.issuers and (
            crl.is_indirect or not point.has_named_issuer
        )
        # RFC 5280 §6.3.3 (b) (2) (i): a point without a name is identified by its issuer's name.
        point_names = point.names or point.issuers
        if is_issuer_matching and (not crl.scope_names or crl.scope_names & point_names):
            yield point
