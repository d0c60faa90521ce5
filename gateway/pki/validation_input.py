"""All input of one validation, as octets: it can be sent to another process and stored.

An unreadable certificate is part of no path and proves nothing; an unreadable list or
response counts as one that was not understood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from gateway.errors import CERTIFICATE_UNTRUSTED, REVOCATION_UNKNOWN, GatewayError, Problem
from gateway.pki.certificate_validation import validate_path
from gateway.pki.certificates import Certificate, CertificateRules, read_certificates
from gateway.pki.path_building import is_understood
from gateway.pki.revocation_data import MAX_ANSWERS, MAX_CRLS, RevocationData
from gateway.pki.trust_store import DEFAULT_POLICY, CertificateUse, TrustPolicy, TrustStore, Verdict

__all__ = ["OpenedInput", "ValidationInput"]


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
        """Read everything; raise GW205 or GW208 only where there is too much of it."""
        rules = self.policy.certificates
        anchors, intermediates = (
            _read_readable_certificates(self.anchors, rules),
            _read_readable_certificates(self.intermediates, rules),
        )
        if len(self.crls) > MAX_CRLS or len(self.responses) > MAX_ANSWERS:
            detail = f"more than {MAX_CRLS} revocation lists, or {MAX_ANSWERS} OCSP responses"
            raise GatewayError(REVOCATION_UNKNOWN, detail, "revocation list")
        words, doubts = [], []
        for crls, responses in [
            *(((one,), ()) for one in self.crls),
            *(((), (one,)) for one in self.responses),
        ]:
            try:
                words.append(RevocationData(crls, rules, responses))
            except GatewayError as refused:
                doubts.append(refused.detail)
                words.append(
                    RevocationData.from_unreadable((*crls, *responses)[0], is_answer=bool(responses))
                )
        return OpenedInput(
            TrustStore(anchors, intermediates, self.policy), RevocationData.merge_parts(words), tuple(doubts)
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
            certificate, *more = read_certificates(leaf, policy.certificates)
        except GatewayError as refused:
            return Verdict("invalid", refused.problem, refused.detail, (), at, at)
        if more:
            reason = f"{1 + len(more)} certificates in one file: which is to be judged is not said"
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
    found: list[Certificate] = []
    for data in files:
        try:
            found.extend(each for each in read_certificates(data, rules) if is_understood(each))
        except GatewayError:
            continue
    return tuple(found)
