"""Validates a certificate for a use at a given time, and remembers the verdicts.

A validation fetches nothing: anchors and intermediates come from the register, and revocation
lists were fetched beforehand. A status that cannot be determined is `indeterminate`, never
`valid`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.errors import CERTIFICATE_UNTRUSTED, OUR_MISTAKE, GatewayError
from gateway.pki import path_inquiry, path_validation, revocation_status
from gateway.pki.certificate_lint import KeyUsageRule, lint_authority, lint_leaf
from gateway.pki.certificates import Certificate, read_certificate
from gateway.pki.path_building import CertificateChain
from gateway.pki.revocation_data import RevocationData
from gateway.pki.trust_store import CertificateUse, TrustPolicy, TrustStore, Verdict

__all__ = [
    "CertificateValidator",
    "Examine",
    "FreshVerdict",
    "KeyUsageRule",
    "validate_octets",
    "validate_path",
]


# A refusal may end when a certificate becomes valid or a list arrives; it is therefore remembered briefly.
REFUSAL_LIFETIME: Final = timedelta(seconds=60)
# A verdict that another thread found while this one waited is dated slightly later than the question.
_MEANWHILE: Final = timedelta(seconds=1)


def validate_path(
    certificate: Certificate,
    at: datetime,
    use: CertificateUse,
    trust: TrustStore,
    revocations: RevocationData,
) -> Verdict:
    """Validate `certificate` for `use` at the time `at`; never raise for hostile certificates.

    Raises GW901 for a time without time zone.
    """
    if at.utcoffset() is None:
        raise GatewayError(OUR_MISTAKE, "a moment without time zone")
    policy = trust.policy
    reason = _lint_leaf(certificate, policy, use)
    if reason:
        return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at)
    # X.509 counts whole seconds: a certificate is valid until the end of its last second.
    moment = at.astimezone(UTC).replace(microsecond=0)
    try:
        good, found, evidence = _find_best_path(certificate, moment, trust, revocations)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail[:500], (), at, at)
    if isinstance(found, path_inquiry.PathFailure):
        tolerated = found.status == "indeterminate" and policy.uses[use].accept_indeterminate
        reason = found.reason[:500]
        return Verdict(found.status, found.problem, reason, (), at, at, tolerated, evidence)
    return Verdict("valid", None, "", good, found, at, evidence=evidence)


def _lint_leaf(certificate: Certificate, policy: TrustPolicy, use: CertificateUse) -> str | None:
    if not policy.certificates.profile:
        return None
    return lint_leaf(certificate, policy.certificates, policy.uses[use], authority=policy.leaf_may_be_ca)


def _find_best_path(
    certificate: Certificate, moment: datetime, trust: TrustStore, revocations: RevocationData
) -> tuple[tuple[Certificate, ...], path_inquiry.PathFailure | datetime, tuple[str, ...]]:
    """Return the first valid path, its end of validity or the weightiest failure, and the evidence."""
    policy = trust.policy
    inquiry = path_inquiry.PathInquiry(moment, policy.certificates.weak_digests, policy.policies)
    worst = path_inquiry.PathFailure(CERTIFICATE_UNTRUSTED, "no path leads to a trust anchor")
    tried, proof = False, tuple[str, ...]()
    for chain in trust.index.find_chains(certificate, policy.path_most, policy.candidates_most):
        rule = revocation_status.RevocationRule(
            policy.revocation == "require", policy.crl_age_most, revocations
        )
        found: path_inquiry.PathFailure | datetime = (
            _lint_chain(chain, trust)
            or path_validation.validate_chain(chain, inquiry, trust.index)
            or _check_status(chain, inquiry, trust, rule)
        )
        if isinstance(found, datetime):
            return chain.certificates, found, tuple(rule.used)
        if not tried or found.weight > worst.weight:
            tried, worst, proof = True, found, tuple(rule.used)
    return (), worst, proof


def _check_status(
    chain: CertificateChain,
    inquiry: path_inquiry.PathInquiry,
    trust: TrustStore,
    rule: revocation_status.RevocationRule,
) -> path_inquiry.PathFailure | datetime:
    if trust.policy.revocation == "none":
        return min(each.not_after for each in chain.certificates)
    return revocation_status.check_revocation(chain, inquiry, trust.index, rule)


def _lint_chain(chain: CertificateChain, trust: TrustStore) -> path_inquiry.PathFailure | None:
    rules = trust.policy.certificates
    if not rules.profile:
        return None
    last = len(chain.certificates) - 1
    for place, each in enumerate(chain.certificates[1:], 1):
        reason = lint_authority(each, rules, anchor=place == last)
        if reason:
            return path_inquiry.PathFailure(CERTIFICATE_UNTRUSTED, f"{each.subject[:120]}: {reason}")
    return None


# The function that validates an unknown certificate: in this thread, or in a process of its own.
Examine = Callable[[bytes, CertificateUse, datetime, TrustStore, RevocationData], Verdict]


def validate_octets(
    der: bytes, use: CertificateUse, at: datetime, trust: TrustStore, revocations: RevocationData
) -> Verdict:
    """Read a certificate and validate it; never raise for input of a peer."""
    try:
        certificate = read_certificate(der, trust.policy.certificates)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail, (), at, at)
    return validate_path(certificate, at, use, trust, revocations)


@dataclass(frozen=True, slots=True)
class FreshVerdict:
    """A new verdict with everything that it was made from."""

    leaf: bytes
    use: CertificateUse
    verdict: Verdict
    trust: TrustStore
    revocations: RevocationData
    epoch: int


@dataclass(frozen=True, slots=True)
class _TrustInUse:
    epoch: int
    trust: TrustStore
    revocations: RevocationData


class CertificateValidator:
    """Remembers verdicts, so that the certificate of a known party costs one look-up.

    A verdict is remembered under the certificate's digest, the use and the epoch, for as long
    as nothing that it depends on can change. `replace_trust` sets new trust or new revocation
    lists, raises the epoch and drops all verdicts. One validator serves all threads.
    ``examine`` validates a certificate without a remembered verdict; by default this is done
    in the calling thread without a time limit. ``tell`` receives each new verdict before it
    is returned; when it raises, there is no verdict.
    """

    def __init__(
        self,
        trust: TrustStore,
        revocations: RevocationData | None = None,
        *,
        epoch: int = 0,
        capacity: int = 4096,
        examine: Examine | None = None,
        tell: Callable[[FreshVerdict], None] | None = None,
    ) -> None:
        self._register = _TrustInUse(epoch, trust, revocations or RevocationData())
        self._capacity = max(capacity, 2)
        self._examine = examine or validate_octets
        self.tell = tell
        # Separate, so that a flood of bad certificates displaces no good one.
        self._good: dict[tuple[bytes, CertificateUse, int], Verdict] = {}
        self._bad: dict[tuple[bytes, CertificateUse, int], Verdict] = {}
        self._lock = threading.Lock()
        # When many threads ask for the same verdict at once, one validates and the others wait for its
        # result.
        self._judging: dict[tuple[bytes, CertificateUse, int], threading.Lock] = {}

    @property
    def epoch(self) -> int:
        """Return the number of the register in use."""
        return self._register.epoch

    @property
    def trust(self) -> TrustStore:
        """Return the anchors and intermediates in use."""
        return self._register.trust

    @property
    def revocations(self) -> RevocationData:
        """Return the lists and responses in use."""
        return self._register.revocations

    def replace_trust(
        self,
        trust: TrustStore | None = None,
        revocations: RevocationData | None = None,
        epoch: int | None = None,
    ) -> int:
        """Activate other trust or revocation lists; return the new epoch."""
        with self._lock:
            old = self._register
            number = old.epoch + 1 if epoch is None else epoch
            lists = old.revocations if revocations is None else revocations
            self._register = _TrustInUse(number, trust or old.trust, lists)
            # New dictionaries: a thread that still validates with the old register writes into the unused
            # old ones.
            self._good, self._bad = {}, {}
            return number

    def __call__(self, der: bytes, use: CertificateUse, at: datetime) -> Verdict:
        """Validate the certificate `der` for `use` at `at`; never raise for input of a peer."""
        key = (hashlib.sha256(der).digest(), use, self._register.epoch)
        known = self._find_known(key, at)
        if known is not None:
            return known
        with self._lock:
            turn = self._judging.setdefault(key, threading.Lock())
        try:
            with turn:
                return self._find_known(key, at + _MEANWHILE) or self._validate_certificate(key, der, at)
        finally:
            with self._lock:
                self._judging.pop(key, None)

    def _find_known(self, key: tuple[bytes, CertificateUse, int], at: datetime) -> Verdict | None:
        known = self._good.get(key) or self._bad.get(key)
        return known if known is not None and known.judged_at <= at <= known.valid_until else None

    def recall_verdict(self, sha256: str, use: CertificateUse) -> Verdict | None:
        """Return the remembered verdict on a certificate by its SHA-256, or None."""
        key = (bytes.fromhex(sha256), use, self._register.epoch)
        return self._good.get(key) or self._bad.get(key)

    def _validate_certificate(
        self, key: tuple[bytes, CertificateUse, int], der: bytes, at: datetime
    ) -> Verdict:
        register = self._register
        verdict = self._examine(der, key[1], at, register.trust, register.revocations)
        if verdict.passing:
            return verdict
        if verdict.status != "valid":
            verdict = replace(verdict, valid_until=at + REFUSAL_LIFETIME)
        if self.tell is not None:
            self.tell(
                FreshVerdict(der, key[1], verdict, register.trust, register.revocations, register.epoch)
            )
        self._remember_verdict((key[0], key[1], register.epoch), verdict)
        return verdict

    def _remember_verdict(self, key: tuple[bytes, CertificateUse, int], verdict: Verdict) -> None:
        with self._lock:
            if key[2] != self._register.epoch:
                return
            other, shelf, room = self._bad, self._good, self._capacity
            if verdict.status != "valid":
                other, shelf, room = self._good, self._bad, max(self._capacity // 4, 1)
            other.pop(key, None)
            while len(shelf) >= room:
                del shelf[next(iter(shelf))]
            shelf[key] = verdict
