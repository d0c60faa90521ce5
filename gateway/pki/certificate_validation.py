"""Validates a certificate for a use at a given time, and remembers the verdicts.

A validation fetches nothing: anchors and intermediates come from the register, and revocation
lists were fetched beforehand. A status that cannot be determined is `indeterminate`, never
`valid`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_UNTRUSTED,
    OUR_MISTAKE,
    REVOCATION_UNKNOWN,
    GatewayError,
    Problem,
    raise_resource_problem,
)
from gateway.pki import path_validation, revocation_status
from gateway.pki.certificate_lint import lint_authority, lint_leaf
from gateway.pki.certificates import Certificate, CertificateRules, read_certificate, read_certificates
from gateway.pki.path_building import CertificateChain, PathFailure, PathInquiry, is_understood
from gateway.pki.revocation_data import RevocationData
from gateway.pki.trust_store import DEFAULT_POLICY, CertificateUse, TrustPolicy, TrustStore, Verdict

# A refusal may end when a certificate becomes valid or a list arrives; it is therefore remembered briefly.
REFUSAL_LIFETIME: Final = timedelta(seconds=60)
# A verdict that another thread found while this one waited is dated slightly later than the question.
_WAIT_TOLERANCE: Final = timedelta(seconds=1)
_LAST_INSTANT: Final = datetime.max.replace(tzinfo=UTC)


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
        path_search = _find_best_path(certificate, moment, trust, revocations)
    except GatewayError as rejection:
        raise_resource_problem(rejection)
        return Verdict("invalid", rejection.problem, rejection.detail[:500], (), at, at)
    outcome = path_search.outcome
    if isinstance(outcome, PathFailure):
        tolerated = outcome.status == "indeterminate" and policy.uses[use].accept_indeterminate
        reason = outcome.reason[:500]
        return Verdict(outcome.status, outcome.problem, reason, (), at, at, tolerated, path_search.evidence)
    return Verdict("valid", None, "", path_search.path, outcome, at, evidence=path_search.evidence)


def _lint_leaf(certificate: Certificate, policy: TrustPolicy, use: CertificateUse) -> str | None:
    if not policy.certificates.profile:
        return None
    return lint_leaf(certificate, policy.certificates, policy.uses[use], may_be_ca=policy.leaf_may_be_ca)


@dataclass(frozen=True, slots=True)
class _PathSearch:
    """The result of a search: the first valid path, or none, and the revocation data that were used.

    `outcome` is the end of validity of the path, or the weightiest failure; `evidence` are SHA-256 digests.
    """

    path: tuple[Certificate, ...]
    outcome: PathFailure | datetime
    evidence: tuple[str, ...]


def _find_best_path(
    certificate: Certificate, moment: datetime, trust: TrustStore, revocations: RevocationData
) -> _PathSearch:
    """Search the paths of a certificate to the anchors, up to the limits of the policy."""
    policy = trust.policy
    inquiry = PathInquiry(moment, policy.certificates.weak_digests, policy.policies)
    weightiest_failure = PathFailure(CERTIFICATE_UNTRUSTED, "no path leads to a trust anchor")
    has_failed, used_digests = False, dict[str, None]()
    valid_path: tuple[tuple[Certificate, ...], datetime] | None = None
    for chain in trust.index.find_chains(certificate, policy.path_most, policy.candidates_most):
        revocation_rule = revocation_status.RevocationRule(
            policy.revocation == "require", policy.crl_age_most, revocations, used_digests
        )
        outcome: PathFailure | datetime = (
            _lint_chain(chain, trust)
            or path_validation.validate_chain(chain, inquiry, trust.index)
            or _check_status(chain, inquiry, trust, revocation_rule)
        )
        if _is_authority_expired(outcome, certificate, moment) and policy.revocation != "none":
            # A revocation on a path whose authority has expired counts for the other paths.
            outcome = (
                revocation_status.find_lasting_revocation(chain, inquiry, trust.index, revocation_rule)
                or outcome
            )
        if isinstance(outcome, datetime):
            # A release that another path needs may end before this one.
            valid_path = (
                (valid_path[0], min(valid_path[1], outcome)) if valid_path else (chain.certificates, outcome)
            )
            if not revocation_status.may_be_revoked(chain, revocations):
                # No other path can find it revoked.
                break
            continue
        if outcome.is_final:
            # The certificate itself is revoked: a path to another anchor takes nothing back.
            return _PathSearch((), outcome, tuple(used_digests))
        if not has_failed or outcome.weight > weightiest_failure.weight:
            has_failed, weightiest_failure = True, outcome
    if valid_path is None:
        return _PathSearch((), weightiest_failure, tuple(used_digests))
    path, valid_until = valid_path
    return _PathSearch(path, valid_until, tuple(used_digests))


def _is_authority_expired(
    outcome: PathFailure | datetime, certificate: Certificate, moment: datetime
) -> bool:
    """Return whether a path failed because of the time of an authority, and not of the certificate."""
    is_valid_now = certificate.not_before <= moment <= certificate.not_after
    return isinstance(outcome, PathFailure) and outcome.problem is CERTIFICATE_EXPIRED and is_valid_now


def _check_status(
    chain: CertificateChain,
    inquiry: PathInquiry,
    trust: TrustStore,
    revocation_rule: revocation_status.RevocationRule,
) -> PathFailure | datetime:
    """Return until when no certificate of a valid `chain` is revoked, or the failure, as the policy requires.

    A policy without revocation checks only the ends of validity.
    """
    if trust.policy.revocation == "none":
        return min(each.not_after for each in chain.certificates)
    return revocation_status.check_revocation(chain, inquiry, trust.index, revocation_rule)


def _lint_chain(chain: CertificateChain, trust: TrustStore) -> PathFailure | None:
    """Return the failure of the first authority in `chain` that the lint refuses; None without one."""
    rules = trust.policy.certificates
    if not rules.profile:
        return None
    last_position = len(chain.certificates) - 1
    for position, each in enumerate(chain.certificates[1:], 1):
        reason = lint_authority(each, rules, is_anchor=position == last_position)
        if reason:
            return PathFailure(CERTIFICATE_UNTRUSTED, f"{each.subject[:120]}: {reason}")
    return None


# The function that validates an unknown certificate: in this thread, or in a process of its own.
Examine = Callable[[bytes, CertificateUse, datetime, TrustStore, RevocationData], Verdict]


def validate_octets(
    der: bytes, use: CertificateUse, at: datetime, trust: TrustStore, revocations: RevocationData
) -> Verdict:
    """Read a certificate and validate it; never raise for input of a peer."""
    try:
        certificate = read_certificate(der, trust.policy.certificates)
    except GatewayError as rejection:
        raise_resource_problem(rejection)
        return Verdict("invalid", rejection.problem, rejection.detail, (), at, at)
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


@dataclass(frozen=True, slots=True)
class _VerdictKey:
    """The key of a remembered verdict: certificate (SHA-256), use, and epoch of the register."""

    sha256: bytes
    use: CertificateUse
    epoch: int


class CertificateValidator:
    """Remembers verdicts, so that the certificate of a known party costs one look-up.

    A verdict is remembered under the certificate's digest, the use and the epoch, for as long
    as nothing that it depends on can change. `replace_trust` sets new trust or new revocation
    lists, raises the epoch and drops all verdicts. One validator serves all threads.
    ``examine`` validates a certificate without a remembered verdict; by default this is done
    in the calling thread without a time limit. ``record_verdict`` receives each new verdict before it
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
        record_verdict: Callable[[FreshVerdict], None] | None = None,
    ) -> None:
        self._register = _TrustInUse(epoch, trust, revocations or RevocationData())
        self._capacity = max(capacity, 2)
        self._examine = examine or validate_octets
        self.record_verdict = record_verdict
        # Separate, so that a flood of bad certificates displaces no good one.
        self._valid_verdicts: dict[_VerdictKey, Verdict] = {}
        self._refusal_verdicts: dict[_VerdictKey, Verdict] = {}
        self._lock = threading.Lock()
        # When many threads ask for the same verdict at once, one validates and the others wait for its
        # result.
        self._validation_locks: dict[_VerdictKey, threading.Lock] = {}

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
            old_register = self._register
            new_epoch = old_register.epoch + 1 if epoch is None else epoch
            new_revocations = old_register.revocations if revocations is None else revocations
            self._register = _TrustInUse(new_epoch, trust or old_register.trust, new_revocations)
            # New dictionaries: a thread that still validates with the old register writes into the unused
            # old ones.
            self._valid_verdicts, self._refusal_verdicts = {}, {}
            return new_epoch

    def __call__(self, der: bytes, use: CertificateUse, at: datetime) -> Verdict:
        """Validate the certificate `der` for `use` at `at`; never raise for input of a peer."""
        key = _VerdictKey(hashlib.sha256(der).digest(), use, self._register.epoch)
        remembered_verdict = self._recall_current(key, at)
        if remembered_verdict is not None:
            return remembered_verdict
        with self._lock:
            validation_lock = self._validation_locks.setdefault(key, threading.Lock())
        try:
            with validation_lock:
                concurrent_verdict = self._recall_current(key, _add_time(at, _WAIT_TOLERANCE))
                return concurrent_verdict or self._validate_certificate(key, der, at)
        finally:
            with self._lock:
                self._validation_locks.pop(key, None)

    def _recall_current(self, key: _VerdictKey, at: datetime) -> Verdict | None:
        """Return the remembered verdict of a key if it is valid at the time `at`, or None."""
        remembered_verdict = self._valid_verdicts.get(key) or self._refusal_verdicts.get(key)
        return (
            remembered_verdict
            if remembered_verdict is not None
            and remembered_verdict.judged_at <= at <= remembered_verdict.valid_until
            else None
        )

    def recall_verdict(self, sha256: str, use: CertificateUse) -> Verdict | None:
        """Return the remembered verdict on a certificate by its SHA-256, or None."""
        key = _VerdictKey(bytes.fromhex(sha256), use, self._register.epoch)
        return self._valid_verdicts.get(key) or self._refusal_verdicts.get(key)

    def _validate_certificate(self, key: _VerdictKey, der: bytes, at: datetime) -> Verdict:
        """Return a new verdict; remember it, and give it to `record_verdict`, unless it is transient."""
        register = self._register
        verdict = self._examine_twice(der, key.use, at)
        if verdict.is_transient:
            return verdict
        if verdict.status != "valid":
            verdict = replace(verdict, valid_until=_add_time(at, REFUSAL_LIFETIME))
        if self.record_verdict is not None:
            self.record_verdict(
                FreshVerdict(der, key.use, verdict, register.trust, register.revocations, register.epoch)
            )
        self._remember_verdict(replace(key, epoch=register.epoch), verdict)
        return verdict

    def _examine_twice(self, der: bytes, use: CertificateUse, at: datetime) -> Verdict:
        """Return the verdict on a certificate; one that is not accepted is validated a second time.

        OpenSSL reports a failed allocation as a wrong signature, or as a key that is not supported. Where the
        two verdicts differ, the result is indeterminate and not remembered.
        """
        register = self._register
        verdict = self._examine(der, use, at, register.trust, register.revocations)
        if verdict.is_accepted or verdict.is_transient:
            return verdict
        second_verdict = self._examine(der, use, at, register.trust, register.revocations)
        if (second_verdict.status, second_verdict.problem) == (
            verdict.status,
            verdict.problem,
        ) or second_verdict.is_transient:
            return second_verdict
        reason = "it was judged otherwise a second time: memory is used up"
        return Verdict.make_transient(reason, at)

    def _remember_verdict(self, key: _VerdictKey, verdict: Verdict) -> None:
        """Store a verdict in place of the oldest one; none whose register was replaced meanwhile."""
        with self._lock:
            if key.epoch != self._register.epoch:
                return
            opposite_verdicts, verdicts, capacity = (
                self._refusal_verdicts,
                self._valid_verdicts,
                self._capacity,
            )
            if verdict.status != "valid":
                opposite_verdicts, verdicts, capacity = (
                    self._valid_verdicts,
                    self._refusal_verdicts,
                    max(self._capacity // 4, 1),
                )
            opposite_verdicts.pop(key, None)
            while len(verdicts) >= capacity:
                del verdicts[next(iter(verdicts))]
            verdicts[key] = verdict


@dataclass(frozen=True, slots=True)
class ValidationInput:
    """Certificates (each DER, or a file of PEM), lists (the same), responses (DER), and the policy."""

    anchors: tuple[bytes, ...]
    intermediates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = field(default=(), repr=False)
    responses: tuple[bytes, ...] = field(default=(), repr=False)
    policy: TrustPolicy = DEFAULT_POLICY

    @classmethod
    def from_stores(cls, trust: TrustStore, revocations: RevocationData) -> ValidationInput:
        """Return the octets from which a store and its revocations were read."""
        return cls(
            tuple(each.der for each in trust.anchors),
            tuple(each.der for each in trust.intermediates),
            (
                *(each.der for each in revocations.lists),
                *_iterate_unread_octets(revocations, is_response=False),
            ),
            (
                *(each.der for each in revocations.answers),
                *_iterate_unread_octets(revocations, is_response=True),
            ),
            trust.policy,
        )

    def read_input(self) -> OpenedInput:
        """Read everything, however many lists; those that the rules refuse count as unread."""
        rules = self.policy.certificates
        anchors, intermediates = (
            _read_readable_certificates(self.anchors, rules),
            _read_readable_certificates(self.intermediates, rules),
        )
        revocation_parts, read_faults = [], []
        for crls, responses in [
            *(((crl,), ()) for crl in self.crls),
            *(((), (response,)) for response in self.responses),
        ]:
            try:
                revocation_parts.append(RevocationData(crls, rules, responses))
            except GatewayError as rejection:
                raise_resource_problem(rejection)
                read_faults.append(rejection.detail)
                revocation_parts.append(
                    RevocationData.from_unreadable((*crls, *responses)[0], is_response=bool(responses))
                )
        return OpenedInput(
            TrustStore(anchors, intermediates, self.policy),
            RevocationData.merge_parts(revocation_parts),
            tuple(read_faults),
        )


@dataclass(frozen=True, slots=True)
class OpenedInput:
    """A register that was read; `read_faults` are the reasons why lists or responses could not be read."""

    trust: TrustStore
    revocations: RevocationData
    read_faults: tuple[str, ...] = ()

    def validate_certificate(self, leaf: bytes, use: CertificateUse, at: datetime) -> Verdict:
        """Validate a certificate, DER or PEM with any text around it; never raise for input of a peer."""
        policy = self.trust.policy
        try:
            certificate, *further_certificates = read_certificates(leaf, policy.certificates)
        except GatewayError as rejection:
            raise_resource_problem(rejection)
            return Verdict("invalid", rejection.problem, rejection.detail, (), at, at)
        if further_certificates:
            reason = (
                f"{1 + len(further_certificates)} certificates in one file: which is to be judged is not said"
            )
            return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at)
        verdict = validate_path(certificate, at, use, self.trust, self.revocations)
        if verdict.status == "valid" and self.read_faults and policy.revocation == "if_present":
            return _make_indeterminate_verdict(REVOCATION_UNKNOWN, self.read_faults[0], at)
        if verdict.status == "indeterminate" and self.read_faults:
            return replace(verdict, reason=f"{verdict.reason}; {self.read_faults[0]}"[:500])
        return verdict


def _iterate_unread_octets(revocations: RevocationData, *, is_response: bool) -> Iterator[bytes]:
    return (each.octets for each in revocations.unread if each.is_response is is_response)


def _make_indeterminate_verdict(problem: Problem, reason: str, at: datetime) -> Verdict:
    return Verdict("indeterminate", problem, reason, (), at, at)


def _read_readable_certificates(files: Iterable[bytes], rules: CertificateRules) -> tuple[Certificate, ...]:
    """Return the certificates that can be read and validated; a file that cannot be read is left out."""
    certificates: list[Certificate] = []
    for file_octets in files:
        try:
            certificates.extend(each for each in read_certificates(file_octets, rules) if is_understood(each))
        except GatewayError as rejection:
            raise_resource_problem(rejection)
            continue
    return tuple(certificates)


def _add_time(at: datetime, duration: timedelta) -> datetime:
    """Return the time a span after `at`, or the last one of the calendar."""
    return at + min(duration, _LAST_INSTANT - at)
