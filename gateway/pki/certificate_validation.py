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
_MEANWHILE: Final = timedelta(seconds=1)
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
        search = _find_best_path(certificate, moment, trust, revocations)
    except GatewayError as refused:
        raise_resource_problem(refused)
        return Verdict("invalid", refused.problem, refused.detail[:500], (), at, at)
    outcome = search.outcome
    if isinstance(outcome, PathFailure):
        tolerated = outcome.status == "indeterminate" and policy.uses[use].accept_indeterminate
        reason = outcome.reason[:500]
        return Verdict(outcome.status, outcome.problem, reason, (), at, at, tolerated, search.evidence)
    return Verdict("valid", None, "", search.path, outcome, at, evidence=search.evidence)


def _lint_leaf(certificate: Certificate, policy: TrustPolicy, use: CertificateUse) -> str | None:
    if not policy.certificates.profile:
        return None
    return lint_leaf(certificate, policy.certificates, policy.uses[use], authority=policy.leaf_may_be_ca)


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
    worst = PathFailure(CERTIFICATE_UNTRUSTED, "no path leads to a trust anchor")
    tried, used = False, dict[str, None]()
    valid: tuple[tuple[Certificate, ...], datetime] | None = None
    for chain in trust.index.find_chains(certificate, policy.path_most, policy.candidates_most):
        rule = revocation_status.RevocationRule(
            policy.revocation == "require", policy.crl_age_most, revocations, used
        )
        outcome: PathFailure | datetime = (
            _lint_chain(chain, trust)
            or path_validation.validate_chain(chain, inquiry, trust.index)
            or _check_status(chain, inquiry, trust, rule)
        )
        if _is_authority_expired(outcome, certificate, moment) and policy.revocation != "none":
            # A revocation on a path whose authority has expired counts for the other paths.
            outcome = revocation_status.find_lasting_revocation(chain, inquiry, trust.index, rule) or outcome
        if isinstance(outcome, datetime):
            # A release that another path needs may end before this one.
            valid = (valid[0], min(valid[1], outcome)) if valid else (chain.certificates, outcome)
            if not revocation_status.may_be_revoked(chain, revocations):
                # No other path can find it revoked.
                break
            continue
        if outcome.final:
            # The certificate itself is revoked: a path to another anchor takes nothing back.
            return _PathSearch((), outcome, tuple(used))
        if not tried or outcome.weight > worst.weight:
            tried, worst = True, outcome
    if valid is None:
        return _PathSearch((), worst, tuple(used))
    path, valid_until = valid
    return _PathSearch(path, valid_until, tuple(used))


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
    rule: revocation_status.RevocationRule,
) -> PathFailure | datetime:
    if trust.policy.revocation == "none":
        return min(each.not_after for each in chain.certificates)
    return revocation_status.check_revocation(chain, inquiry, trust.index, rule)


def _lint_chain(chain: CertificateChain, trust: TrustStore) -> PathFailure | None:
    rules = trust.policy.certificates
    if not rules.profile:
        return None
    last = len(chain.certificates) - 1
    for position, each in enumerate(chain.certificates[1:], 1):
        reason = lint_authority(each, rules, anchor=position == last)
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
    except GatewayError as refused:
        raise_resource_problem(refused)
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
        self._good: dict[_VerdictKey, Verdict] = {}
        self._bad: dict[_VerdictKey, Verdict] = {}
        self._lock = threading.Lock()
        # When many threads ask for the same verdict at once, one validates and the others wait for its
        # result.
        self._in_progress: dict[_VerdictKey, threading.Lock] = {}

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
        key = _VerdictKey(hashlib.sha256(der).digest(), use, self._register.epoch)
        remembered = self._recall_current(key, at)
        if remembered is not None:
            return remembered
        with self._lock:
            validation_lock = self._in_progress.setdefault(key, threading.Lock())
        try:
            with validation_lock:
                meanwhile = self._recall_current(key, _add_time(at, _MEANWHILE))
                return meanwhile or self._validate_certificate(key, der, at)
        finally:
            with self._lock:
                self._in_progress.pop(key, None)

    def _recall_current(self, key: _VerdictKey, at: datetime) -> Verdict | None:
        remembered = self._good.get(key) or self._bad.get(key)
        return (
            remembered
            if remembered is not None and remembered.judged_at <= at <= remembered.valid_until
            else None
        )

    def recall_verdict(self, sha256: str, use: CertificateUse) -> Verdict | None:
        """Return the remembered verdict on a certificate by its SHA-256, or None."""
        key = _VerdictKey(bytes.fromhex(sha256), use, self._register.epoch)
        return self._good.get(key) or self._bad.get(key)

    def _validate_certificate(self, key: _VerdictKey, der: bytes, at: datetime) -> Verdict:
        register = self._register
        verdict = self._examine_twice(der, key.use, at)
        if verdict.passing:
            return verdict
        if verdict.status != "valid":
            verdict = replace(verdict, valid_until=_add_time(at, REFUSAL_LIFETIME))
        if self.tell is not None:
            self.tell(
                FreshVerdict(der, key.use, verdict, register.trust, register.revocations, register.epoch)
            )
        self._remember_verdict(replace(key, epoch=register.epoch), verdict)
        return verdict

    def _examine_twice(self, der: bytes, use: CertificateUse, at: datetime) -> Verdict:
        """Return the verdict on a certificate; a refusal is remembered, and so must come a second time.

        OpenSSL reports a failed allocation as a wrong signature, or as a key that is not supported.
        """
        register = self._register
        verdict = self._examine(der, use, at, register.trust, register.revocations)
        if verdict.is_accepted or verdict.passing:
            return verdict
        second = self._examine(der, use, at, register.trust, register.revocations)
        if (second.status, second.problem) == (verdict.status, verdict.problem) or second.passing:
            return second
        reason = "it was judged otherwise a second time: memory is used up"
        return Verdict("indeterminate", REVOCATION_UNKNOWN, reason, (), at, at, passing=True)

    def _remember_verdict(self, key: _VerdictKey, verdict: Verdict) -> None:
        with self._lock:
            if key.epoch != self._register.epoch:
                return
            opposite, verdicts, capacity = self._bad, self._good, self._capacity
            if verdict.status != "valid":
                opposite, verdicts, capacity = self._good, self._bad, max(self._capacity // 4, 1)
            opposite.pop(key, None)
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
            (*(each.der for each in revocations.lists), *_iterate_unread(revocations, is_answer=False)),
            (*(each.der for each in revocations.answers), *_iterate_unread(revocations, is_answer=True)),
            trust.policy,
        )

    def read_input(self) -> OpenedInput:
        """Read everything, however many lists; those that the rules refuse count as unread."""
        rules = self.policy.certificates
        anchors, intermediates = (
            _read_readable_certificates(self.anchors, rules),
            _read_readable_certificates(self.intermediates, rules),
        )
        revocations, doubts = [], []
        for crls, responses in [
            *(((crl,), ()) for crl in self.crls),
            *(((), (response,)) for response in self.responses),
        ]:
            try:
                revocations.append(RevocationData(crls, rules, responses))
            except GatewayError as refused:
                raise_resource_problem(refused)
                doubts.append(refused.detail)
                revocations.append(
                    RevocationData.from_unreadable((*crls, *responses)[0], is_answer=bool(responses))
                )
        return OpenedInput(
            TrustStore(anchors, intermediates, self.policy),
            RevocationData.merge_parts(revocations),
            tuple(doubts),
        )


@dataclass(frozen=True, slots=True)
class OpenedInput:
    """A register that was read; `doubts` are the reasons why lists or responses could not be read."""

    trust: TrustStore
    revocations: RevocationData
    doubts: tuple[str, ...] = ()

    def validate_certificate(self, leaf: bytes, use: CertificateUse, at: datetime) -> Verdict:
        """Validate a certificate, DER or PEM with any text around it; never raise for input of a peer."""
        policy = self.trust.policy
        try:
            certificate, *further_certificates = read_certificates(leaf, policy.certificates)
        except GatewayError as refused:
            raise_resource_problem(refused)
            return Verdict("invalid", refused.problem, refused.detail, (), at, at)
        if further_certificates:
            reason = (
                f"{1 + len(further_certificates)} certificates in one file: which is to be judged is not said"
            )
            return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at)
        verdict = validate_path(certificate, at, use, self.trust, self.revocations)
        if verdict.status == "valid" and self.doubts and policy.revocation == "if_present":
            return _make_doubtful_verdict(REVOCATION_UNKNOWN, self.doubts[0], at)
        if verdict.status == "indeterminate" and self.doubts:
            return replace(verdict, reason=f"{verdict.reason}; {self.doubts[0]}"[:500])
        return verdict


def _iterate_unread(revocations: RevocationData, *, is_answer: bool) -> Iterator[bytes]:
    return (each.octets for each in revocations.unread if each.is_answer is is_answer)


def _make_doubtful_verdict(problem: Problem, reason: str, at: datetime) -> Verdict:
    return Verdict("indeterminate", problem, reason, (), at, at)


def _read_readable_certificates(files: Iterable[bytes], rules: CertificateRules) -> tuple[Certificate, ...]:
    certificates: list[Certificate] = []
    for data in files:
        try:
            certificates.extend(each for each in read_certificates(data, rules) if is_understood(each))
        except GatewayError as refused:
            raise_resource_problem(refused)
            continue
    return tuple(certificates)


def _add_time(at: datetime, span: timedelta) -> datetime:
    """Return the time a span after `at`, or the last one of the calendar."""
    return at + min(span, _LAST_INSTANT - at)
