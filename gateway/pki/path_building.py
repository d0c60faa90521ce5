"""Builds candidate paths from a certificate to the anchors of a store (RFC 4158).

Paths are built here and not by the validation library, because its search is unbounded. This file also
has the values of a search: the inquiry (time and policies), and the failure of a path that is not valid.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from asn1crypto import x509 as asn1_x509
from cryptography.exceptions import InvalidSignature

from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNTRUSTED,
    REVOCATION_UNKNOWN,
    GatewayError,
    Problem,
    describe_exception,
    raise_resource_problem,
)
from gateway.pki.certificates import Certificate

#: The object identifier of anyPolicy (RFC 5280 §4.2.1.4).
ANY_POLICY_IDENTIFIER: Final = "2.5.29.32.0"


@dataclass(frozen=True, slots=True)
class PathFailure:
    """The reason why a path is not valid."""

    problem: Problem
    reason: str
    is_final: bool = False

    @property
    def status(self) -> Literal["invalid", "indeterminate"]:
        """Return the status of the resulting verdict."""
        return "indeterminate" if self.problem is REVOCATION_UNKNOWN else "invalid"

    @property
    def weight(self) -> int:
        """Return the rank of this failure: the highest of several is reported, and a final one is highest."""
        order = (CERTIFICATE_UNTRUSTED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, REVOCATION_UNKNOWN)
        return len(order) if self.is_final else order.index(self.problem)


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """The inputs of RFC 5280 §6.1.1 (c), (e), (f) and (g): which certificate policies are acceptable.

    ``accepted`` contains object identifiers, or that of anyPolicy. ``of_anchor``: the
    policies in the anchor's certificate bind it too (RFC 5937).
    """

    accepted: frozenset[str] = frozenset({ANY_POLICY_IDENTIFIER})
    explicit: bool = False
    inhibit_mapping: bool = False
    inhibit_any: bool = False
    of_anchor: bool = True


ANY_POLICY: Final = PolicyInputs()


@dataclass(frozen=True, slots=True)
class PathInquiry:
    """The time and the rules for the validation of a path.

    ``time_tolerance``: by how much a certificate may begin later, or end earlier, than the time.
    """

    moment: datetime
    weak_digests: frozenset[str]
    policies: PolicyInputs = ANY_POLICY
    time_tolerance: timedelta = timedelta(0)

    @property
    def without_policies(self) -> PathInquiry:
        """Return the inquiry without policy rules: those of the signers of lists do not matter (§6.3.3)."""
        return replace(self, policies=replace(ANY_POLICY, of_anchor=self.policies.of_anchor))


# Steps of one search; without cross-certificates a search needs as many as a path is long.
_MAX_STEPS: Final = 256

# The ASN.1 objects parse themselves lazily and in place: only one thread at a time may read them.
ASN1_LOCK: Final = threading.RLock()


@dataclass(frozen=True, slots=True)
class _IndexedCertificate:
    """A certificate with its ASN.1 form and the normal forms of its names (RFC 4518)."""

    certificate: Certificate
    parsed: Any
    is_anchor: bool
    subject_key: str
    issuer_key: str
    key_hash: bytes


@dataclass(frozen=True, slots=True)
class CertificateChain:
    """A candidate path from the leaf to an anchor; `issuer_keys` are the normalized names of the issuers."""

    certificates: tuple[Certificate, ...]
    parsed: tuple[Any, ...]
    issuer_keys: tuple[str, ...]


class CertificateIndex:
    """The certificates of a store, indexed by the normal form of the subject."""

    __slots__ = ("_by_sha256", "_by_subject", "_registry", "_signatures")

    def __init__(self, anchors: tuple[Certificate, ...], intermediates: tuple[Certificate, ...]) -> None:
        self._by_subject: dict[str, list[_IndexedCertificate]] = {}
        self._by_sha256: dict[str, _IndexedCertificate] = {}
        self._signatures: dict[tuple[str, bytes], bool] = {}
        self._registry: Any = None
        for position, certificate in enumerate((*anchors, *intermediates)):
            if certificate.sha256 not in self._by_sha256:
                entry = _make_entry(certificate, is_anchor=position < len(anchors))
                self._by_sha256[certificate.sha256] = entry
                self._by_subject.setdefault(entry.subject_key, []).append(entry)

    @property
    def registry(self) -> Any:
        """Return the certificates as the validation library looks them up; made at the first use."""
        with ASN1_LOCK:
            if self._registry is None:
                # Imported on use: the index of a process that validates nothing itself needs no library.
                from pyhanko_certvalidator.registry import CertificateRegistry

                self._registry = CertificateRegistry.build(each.parsed for each in self._by_sha256.values())
            return self._registry

    def find_chains(self, leaf: Certificate, max_length: int, max_chains: int) -> Iterator[CertificateChain]:
        """Yield at most `max_chains` chains of at most `max_length` certificates, the shortest first."""
        leaf_entry = self._by_sha256.get(leaf.sha256) or _make_entry(leaf, is_anchor=False)
        queued_chains: deque[tuple[_IndexedCertificate, ...]] = deque([(leaf_entry,)])
        for _ in range(_MAX_STEPS):
            if not queued_chains or not max_chains:
                return
            chain = queued_chains.popleft()
            if chain[-1].is_anchor:
                max_chains -= 1
                yield CertificateChain(
                    tuple(each.certificate for each in chain),
                    tuple(each.parsed for each in chain),
                    tuple(each.issuer_key for each in chain),
                )
            elif len(chain) < max_length:
                queued_chains.extend((*chain, issuer) for issuer in self._find_issuers(chain))

    def extend_chain(
        self, leaf: Certificate, chain: CertificateChain, position: int
    ) -> CertificateChain | None:
        """Return `leaf` followed by `chain` from `position` on; None unless that certificate issued it."""
        entry = self._by_sha256.get(leaf.sha256) or _make_entry(leaf, is_anchor=False)
        issuer = chain.certificates[position]
        with ASN1_LOCK:
            subject_key = str(chain.parsed[position].subject.hashable)
        if entry.issuer_key != subject_key or not _may_have_issued(issuer, leaf):
            return None
        return CertificateChain(
            (leaf, *chain.certificates[position:]),
            (entry.parsed, *chain.parsed[position:]),
            (entry.issuer_key, *chain.issuer_keys[position:]),
        )

    def find_by_name(self, name_key: str) -> tuple[Certificate, ...]:
        """Return the certificates of the store whose subject has this normal form."""
        return tuple(each.certificate for each in self._by_subject.get(name_key, ()))

    def find_by_key_hash(self, key_hash: bytes) -> tuple[Certificate, ...]:
        """Return the certificates of the store whose key has this SHA-1 (RFC 6960 §4.2.1, byKey)."""
        return tuple(each.certificate for each in self._by_sha256.values() if each.key_hash == key_hash)

    def _find_issuers(self, chain: tuple[_IndexedCertificate, ...]) -> list[_IndexedCertificate]:
        """Return the certificates that may have issued the last one of `chain` and are not in it."""
        subject = chain[-1]
        chain_digests = {each.certificate.sha256 for each in chain}
        issuers = [
            each
            for each in self._by_subject.get(subject.issuer_key, ())
            if each.certificate.sha256 not in chain_digests
            and _may_have_issued(each.certificate, subject.certificate)
        ]
        if len(issuers) < 2:
            return issuers
        # Many issuers of the same name only lengthen the search; if none of them signed, one gives the
        # reason.
        return [each for each in issuers if self._has_issued(subject, each)] or issuers[:1]

    def _has_issued(self, subject: _IndexedCertificate, issuer: _IndexedCertificate) -> bool:
        """Return whether `issuer` signed `subject`; the result for an indexed `subject` is stored."""
        signature_key = subject.certificate.sha256, issuer.key_hash
        is_verified = self._signatures.get(signature_key)
        if is_verified is None:
            is_verified = _verify_issuer_signature(subject, issuer)
            # Nothing is stored for certificates of parties: their number is unlimited.
            if signature_key[0] in self._by_sha256:
                self._signatures[signature_key] = is_verified
        return is_verified


# Every case uses the same few authorities; a party's certificate is parsed once by the path search.
@lru_cache(maxsize=512)
def _make_entry(certificate: Certificate, *, is_anchor: bool) -> _IndexedCertificate:
    """Return a certificate with the keys by which it is found; raise GatewayError if it cannot be read."""
    try:
        with ASN1_LOCK:
            parsed = asn1_x509.Certificate.load(certificate.der, strict=True)
            name_keys = str(parsed.subject.hashable), str(parsed.issuer.hashable)
            # The library looks up certificates by their keys; an unreadable key would end the look-up.
            key_hash = parsed.public_key.sha1
    # Names may contain octets that the first parser accepts and this one does not.
    except Exception as error:
        raise_resource_problem(error)
        detail = f"malformed certificate: {describe_exception(error)}"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "certificate") from error
    return _IndexedCertificate(certificate, parsed, is_anchor, *name_keys, key_hash)


def _may_have_issued(issuer: Certificate, subject: Certificate) -> bool:
    expected_key_id, key_id = subject.authority_key_identifier, issuer.subject_key_identifier
    return expected_key_id is None or key_id is None or expected_key_id == key_id


def is_understood(certificate: Certificate) -> bool:
    """Return whether the path validator can read the certificate too."""
    try:
        _make_entry(certificate, is_anchor=False)
    except GatewayError as problem:
        raise_resource_problem(problem)
        return False
    return True


def _verify_issuer_signature(subject: _IndexedCertificate, issuer: _IndexedCertificate) -> bool:
    """Return whether the issuer's key may have made the signature; true when it cannot be tested."""
    # Imported on use, with the validation library.
    from pyhanko_certvalidator.sig_validate import DefaultSignatureValidator

    try:
        with ASN1_LOCK:
            DefaultSignatureValidator().validate_signature(
                signature=subject.parsed["signature_value"].native,
                signed_data=subject.parsed["tbs_certificate"].dump(),
                public_key_info=issuer.parsed.public_key,
                signature_algorithm=subject.parsed["signature_algorithm"],
            )
    except InvalidSignature:
        return False
    # For a key without parameters or an unknown algorithm, the path validator reports the reason.
    except Exception:
        return True
    return True
