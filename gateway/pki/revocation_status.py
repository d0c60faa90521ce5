"""Determines from loaded lists and responses whether a path's certificates are revoked.

RFC 5280 §6.3 and RFC 6960. This is own code, because the validation library accepts an
authority's list for certificates of its sister authorities and, in some orders of lists, a
list whose signature was not verified.

A certificate is clear when lists for all reasons do not contain it: for each reason the
newest complete list of the issuer of lists that the certificate names, or of its own issuer.
Lists for some reasons and delta CRLs revoke at any time; a delta CRL releases only a
certificate that its complete list has on hold. A revocation also counts when its list or
response has expired, until a newer one clears the certificate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from gateway.errors import CERTIFICATE_REVOKED, REVOCATION_UNKNOWN
from gateway.pki import path_validation
from gateway.pki.certificates import Certificate
from gateway.pki.ocsp import OCSP_SIGNING, OcspResponse, SingleResponse
from gateway.pki.path_building import CertificateChain, CertificateIndex, PathFailure, PathInquiry
from gateway.pki.revocation_data import (
    ALL_REASONS,
    CLOCK_TOLERANCE,
    DistributionPoint,
    RevocationData,
    RevocationList,
    find_covered_reasons,
    list_distribution_points,
)

# A list may be signed by a separate key, whose certificate again has a path and a status.
_MAX_DEPTH: Final = 3
_MAX_ISSUER_CHAINS: Final = 4
_LONGEST: Final = 8
_NO_CHECK: Final = "1.3.6.1.5.5.7.48.1.5"


@dataclass(frozen=True, slots=True)
class RevocationRule:
    """Whether a list is required, how old it may be, and the lists.

    ``used`` collects the SHA-256 of every list and response that a result is based on.
    """

    required: bool
    age_most: timedelta | None
    revocations: RevocationData
    used: dict[str, None] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class _StatusQuestion:
    """One certificate of one chain, and the certificates whose status is being determined before it."""

    chain: CertificateChain
    position: int
    pending: tuple[str, ...]

    @property
    def certificate(self) -> Certificate:
        """Return the certificate in question."""
        return self.chain.certificates[self.position]

    @property
    def issuer(self) -> Certificate:
        """Return the next certificate of the chain."""
        return self.chain.certificates[self.position + 1]

    @property
    def issuer_key(self) -> str:
        """Return the normal form of the issuer's name."""
        return self.chain.issuer_keys[self.position]


def check_revocation(
    chain: CertificateChain,
    inquiry: PathInquiry,
    index: CertificateIndex,
    rule: RevocationRule,
    pending: tuple[str, ...] = (),
) -> PathFailure | datetime:
    """Return until when every certificate of a valid `chain` is clear, or the first failure.

    A revoked certificate takes precedence over one of unknown status, which may be tolerated.
    """
    ends = [each.not_after for each in chain.certificates]
    doubt: PathFailure | None = None
    for position in range(len(chain.certificates) - 2, -1, -1):
        question = _StatusQuestion(chain, position, pending)
        status = _StatusSearch(inquiry, index, rule).find_status(question)
        if isinstance(status, datetime):
            ends.append(status)
        elif status is not None and status.problem is not REVOCATION_UNKNOWN:
            return status
        else:
            doubt = doubt or status
    return doubt or min(ends)


def check_ocsp_responses(
    chain: CertificateChain,
    inquiry: PathInquiry,
    index: CertificateIndex,
    rule: RevocationRule,
) -> PathFailure | datetime | None:
    """Return what the loaded responses state on the first certificate of a `chain`; None: nothing.

    GW207 means that it was revoked; GW208 gives the reason why the responses are not
    accepted.
    """
    return _StatusSearch(inquiry, index, rule).check_responders(_StatusQuestion(chain, 0, ()))


@dataclass(frozen=True, slots=True)
class _StatusSearch:
    inquiry: PathInquiry
    index: CertificateIndex
    rule: RevocationRule

    def find_status(self, question: _StatusQuestion) -> PathFailure | datetime | None:
        """Return until when the certificate is clear, the failure, or None where no statement is needed."""
        status = self._find_fresh_status(question)
        if isinstance(status, PathFailure) and status.problem is not REVOCATION_UNKNOWN:
            return status
        return self._find_stale_revocation(question) or status

    def _find_stale_revocation(self, question: _StatusQuestion) -> PathFailure | None:
        """Return the failure of a certificate that was revoked by a statement that is no longer fresh.

        An attacker who withholds newer statements must not make a revoked certificate valid
        again: only a newer statement ends the revocation.
        """
        return self._find_stale_response(question) or self._find_stale_list(question)

    def _find_stale_response(self, question: _StatusQuestion) -> PathFailure | None:
        for response, statement in self._find_statements(question):
            at = statement.revoked_at
            if at is None or statement.this_update - CLOCK_TOLERANCE > self.inquiry.moment:
                continue
            if not isinstance(self._check_responder(response, question), datetime):
                continue
            if not self._is_superseded(question, statement.this_update, ALL_REASONS):
                self.rule.used[response.sha256] = None
                return self.make_revoked_failure(question, at)
        return None

    def _find_stale_list(self, question: _StatusQuestion) -> PathFailure | None:
        moment, most = self.inquiry.moment, self.rule.age_most
        points = list_distribution_points(question.certificate, question.issuer_key)
        for each in self._find_lists(question, points):
            entry = each.find_entry(question.issuer_key, question.certificate.serial)
            if entry is None or entry.released or each.is_fresh(moment, most):
                continue
            if each.this_update - CLOCK_TOLERANCE > moment:
                continue
            if not _ListReading(self, question, points, (each,)).is_authentic(each):
                continue
            reasons = find_covered_reasons(each, question.certificate, points)
            if not isinstance(reasons, str) and not self._is_superseded(
                question, each.this_update, reasons, each
            ):
                self.rule.used[each.sha256] = None
                return self.make_revoked_failure(question, entry.revoked_at)
        return None

    def _is_superseded(
        self,
        question: _StatusQuestion,
        since: datetime,
        reasons: frozenset[x509.ReasonFlags],
        old: RevocationList | None = None,
    ) -> bool:
        """Return whether newer fresh statements, none of which revokes, cover all these reasons."""
        for response, statement in self._find_statements(question):
            if statement.this_update >= since and isinstance(
                self._evaluate_statement(response, statement, question), datetime
            ):
                return True
        points = list_distribution_points(question.certificate, question.issuer_key)
        lists = self._find_lists(question, points)
        reading = _ListReading(self, question, points, lists)
        return reasons <= frozenset(
            reason
            for each in lists
            if _is_later_statement(each, since, old)
            for reason in reading.get_proven_reasons(each)
        )

    def _find_statements(self, question: _StatusQuestion) -> Iterator[tuple[OcspResponse, SingleResponse]]:
        """Yield the statements on the certificate in the loaded responses."""
        for response, statement in self.rule.revocations.find_ocsp_responses(question.certificate.serial):
            if statement.matches_certificate(question.certificate, question.issuer):
                yield response, statement

    def _find_lists(
        self, question: _StatusQuestion, points: tuple[DistributionPoint, ...]
    ) -> tuple[RevocationList, ...]:
        issuers = {question.issuer_key}.union(*(each.issuers for each in points))
        return self.rule.revocations.find_lists(*issuers)

    def _find_fresh_status(self, question: _StatusQuestion) -> PathFailure | datetime | None:
        responder_status = self.check_responders(question)
        if isinstance(responder_status, PathFailure) and responder_status.problem is CERTIFICATE_REVOKED:
            return responder_status
        points = list_distribution_points(question.certificate, question.issuer_key)
        lists = self._find_lists(question, points)
        if not lists:
            if responder_status is None and self.rule.required:
                return self.make_unknown_failure(question.certificate, "none is in hand")
            if responder_status is None and self._has_unread_data(question, points):
                return self.make_unknown_failure(
                    question.certificate, "what is in hand cannot be read by our rules"
                )
            return responder_status
        list_status = _ListReading(self, question, points, lists).read_lists()
        if isinstance(list_status, PathFailure) and isinstance(responder_status, datetime):
            return list_status if list_status.problem is CERTIFICATE_REVOKED else responder_status
        return list_status

    def _has_unread_data(self, question: _StatusQuestion, points: tuple[DistributionPoint, ...]) -> bool:
        issuers = {question.issuer_key}.union(*(each.issuers for each in points))
        serial = question.certificate.serial
        return any(unread.may_concern(issuers, serial) for unread in self.rule.revocations.unread)

    def make_unknown_failure(self, subject: Certificate, reason: str) -> PathFailure:
        return PathFailure(REVOCATION_UNKNOWN, f"revocation list of {subject.issuer[:120]}: {reason[:200]}")

    def make_revoked_failure(self, question: _StatusQuestion, revoked_at: datetime) -> PathFailure:
        """Return the failure of a certificate that was revoked."""
        detail = f"{question.certificate.subject[:120]} was revoked at {revoked_at.isoformat()}"
        return PathFailure(CERTIFICATE_REVOKED, detail, final=question.position == 0 and not question.pending)

    # --- OCSP -----------------------------------------------------------------------------------

    def check_responders(self, question: _StatusQuestion) -> PathFailure | datetime | None:
        """Return what the loaded responses state on the certificate; None when none is about it."""
        answer: PathFailure | datetime | None = None
        for response, statement in self._find_statements(question):
            verdict = self._evaluate_statement(response, statement, question)
            if isinstance(verdict, PathFailure) and verdict.problem is CERTIFICATE_REVOKED:
                return verdict
            if not isinstance(answer, datetime):
                answer = verdict
        return answer

    def _evaluate_statement(
        self, response: OcspResponse, statement: SingleResponse, question: _StatusQuestion
    ) -> PathFailure | datetime:
        moment, ends = self.inquiry.moment, statement.compute_expiry(self.rule.age_most)
        if not statement.this_update - CLOCK_TOLERANCE <= moment <= ends:
            reason = f"in force from {statement.this_update.isoformat()} to {ends.isoformat()}"
            return self._make_no_response_failure(question, reason)
        until = self._check_responder(response, question)
        if isinstance(until, str):
            return self._make_no_response_failure(question, until)
        ends = min(ends, until)
        if statement.status == "unknown":
            return self._make_no_response_failure(question, "the responder does not know the certificate")
        self.rule.used[response.sha256] = None
        # A revocation counts with any date (RFC 5280 §6.3.3 (j) does not consider the date).
        return (
            ends
            if statement.revoked_at is None
            else self.make_revoked_failure(question, statement.revoked_at)
        )

    def _make_no_response_failure(self, question: _StatusQuestion, reason: str) -> PathFailure:
        detail = f"OCSP response on {question.certificate.subject[:120]}: {reason[:200]}"
        return PathFailure(REVOCATION_UNKNOWN, detail)

    def _check_responder(self, response: OcspResponse, question: _StatusQuestion) -> str | datetime:
        """Return until when the signer of the response is authorized, or why it is not."""
        issuer = question.issuer
        if response.names_responder(issuer) and response.is_signed_by(issuer):
            return issuer.not_after
        reason = "its signature is wrong, or its signer is not in hand"
        for candidate in (*response.certificates, *self._find_responder_certificates(response)):
            if not (response.names_responder(candidate) and response.is_signed_by(candidate)):
                continue
            if OCSP_SIGNING not in (candidate.extended_key_usage or ()):
                reason = "its signer may not sign OCSP responses"
                continue
            until = self._check_delegated_responder(candidate, question)
            if until is not None:
                return until
            reason = "its signer is not good"
        return reason

    def _find_responder_certificates(self, response: OcspResponse) -> tuple[Certificate, ...]:
        """Return the certificates of the register that match the responder named in the response."""
        if response.responder_key is not None:
            return self.index.find_by_key_hash(response.responder_key)
        return self.index.find_by_name(response.responder_name or "")

    def _check_delegated_responder(
        self, candidate: Certificate, question: _StatusQuestion
    ) -> datetime | None:
        """Return until when a responder certified by this issuer is valid (RFC 6960 §4.2.2.2), or None."""
        pending = (*question.pending, question.certificate.sha256)
        if len(pending) > _MAX_DEPTH or candidate.sha256 in pending:
            return None
        chain = self.index.extend_chain(candidate, question.chain, question.position + 1)
        if chain is None or path_validation.validate_chain(chain, self.inquiry.without_policies, self.index):
            return None
        ends = min(each.not_after for each in chain.certificates)
        if _NO_CHECK in candidate.extensions:
            return ends
        # Without the extension its status is checked where a list has it (RFC 6960 §4.2.2.2.1).
        lenient = replace(self.rule, required=False)
        status = _StatusSearch(self.inquiry, self.index, lenient).find_status(
            _StatusQuestion(chain, 0, pending)
        )
        if isinstance(status, PathFailure):
            return None
        return ends if status is None else min(ends, status)

    # --- who signed a list ----------------------------------------------------------------------

    def check_list_signature(self, each: RevocationList, question: _StatusQuestion) -> str | datetime:
        """Return until when the signer of a list is authorized, or why it is not."""
        issuer = question.issuer
        key = path_validation.derive_dsa_key(question.chain, question.position + 1)
        is_issuer_list = each.issuer_key == question.issuer_key and _may_have_signed(issuer, each)
        if is_issuer_list and each.is_signed_by(issuer, key):
            return issuer.not_after
        reason = "its signature is wrong"
        for candidate in self.index.find_by_name(each.issuer_key):
            if candidate == issuer and each.issuer_key == question.issuer_key:
                continue
            if not (_may_have_signed(candidate, each) and each.is_signed_by(candidate)):
                continue
            until = self._validate_list_signer(candidate, question, each)
            if until is not None:
                return until
            reason = "its signer is not good"
        return reason

    def _validate_list_signer(
        self, candidate: Certificate, question: _StatusQuestion, each: RevocationList
    ) -> datetime | None:
        if candidate == question.certificate and each.issuer_key != question.issuer_key:
            # The issuer named it for lists about itself; its path is the one in question.
            return candidate.not_after
        if candidate.sha256 in (question.certificate.sha256, *question.pending):
            return None
        return self._validate_signer_path(candidate, question)

    def _validate_signer_path(self, candidate: Certificate, question: _StatusQuestion) -> datetime | None:
        """Return until when the certificate of a list signer is valid; it must lead to the same anchor."""
        pending = (*question.pending, question.certificate.sha256)
        if len(pending) > _MAX_DEPTH:
            return None
        anchor = question.chain.certificates[-1]
        for chain in self.index.find_chains(candidate, _LONGEST, _MAX_ISSUER_CHAINS):
            if chain.certificates[-1] != anchor or path_validation.validate_chain(
                chain, self.inquiry.without_policies, self.index
            ):
                continue
            status = check_revocation(chain, self.inquiry, self.index, self.rule, pending)
            if isinstance(status, datetime):
                return status
        return None


@dataclass(frozen=True, slots=True)
class _ListReading:
    """One certificate and the lists that may cover it, the newest first."""

    search: _StatusSearch
    question: _StatusQuestion
    points: tuple[DistributionPoint, ...]
    lists: tuple[RevocationList, ...]

    def read_lists(self) -> PathFailure | datetime:
        """Return until when the certificate is clear, or the failure."""
        cleared: frozenset[x509.ReasonFlags] = frozenset()
        ends: list[datetime] = []
        doubts: list[str] = []
        proofs = [(each, *self._check_proof(each)) for each in self.lists]
        proven = [each for each, proof, _ in proofs if isinstance(proof, datetime)]
        proofs = [
            checked for checked in proofs if not any(checked[0].is_outdated_by(each) for each in proven)
        ]
        changes = {
            each.sha256: each
            for each, proof, _ in proofs
            if each.base is not None and isinstance(proof, datetime)
        }
        for each, proof, reasons in proofs:
            if isinstance(proof, str):
                doubts.append(proof)
                continue
            if reasons == ALL_REASONS and each.base is None and not reasons - cleared:
                continue
            status = self._evaluate_entry(each, proof, tuple(changes.values()))
            if isinstance(status, PathFailure):
                self.search.rule.used[each.sha256] = None
                return status
            if each.base is None and reasons - cleared:
                self.search.rule.used[each.sha256] = None
                cleared |= reasons
                ends.append(status)
        if cleared == ALL_REASONS:
            return min(ends)
        return self.search.make_unknown_failure(
            self.question.certificate, "; ".join(dict.fromkeys(doubts)) or "none is complete"
        )

    def get_proven_reasons(self, each: RevocationList) -> frozenset[x509.ReasonFlags]:
        """Return the reasons for which a list is proof now; an empty set when it is not."""
        proof, reasons = self._check_proof(each)
        return reasons if isinstance(proof, datetime) else frozenset()

    def is_authentic(self, each: RevocationList) -> bool:
        """Return whether a list covers the certificate and is signed by an authorized signer, at any time."""
        if each.unfit or not self.points:
            return False
        reasons = find_covered_reasons(each, self.question.certificate, self.points)
        return not isinstance(reasons, str) and isinstance(
            self.search.check_list_signature(each, self.question), datetime
        )

    def _check_proof(self, each: RevocationList) -> tuple[str | datetime, frozenset[x509.ReasonFlags]]:
        """Return until when this list is proof, or why it is not, and for which reasons."""
        nothing: frozenset[x509.ReasonFlags] = frozenset()
        if each.unfit:
            return each.unfit, nothing
        if not self.points:
            return "the certificate names another issuer of lists", nothing
        reasons = find_covered_reasons(each, self.question.certificate, self.points)
        if isinstance(reasons, str):
            return reasons, nothing
        moment, most = self.search.inquiry.moment, self.search.rule.age_most
        ends = each.compute_expiry(most)
        if not each.is_fresh(moment, most):
            return f"in force from {each.this_update.isoformat()} to {ends.isoformat()}", nothing
        signed = self.search.check_list_signature(each, self.question)
        return (signed if isinstance(signed, str) else min(ends, signed)), reasons

    def _evaluate_entry(
        self, each: RevocationList, ends: datetime, changes: tuple[RevocationList, ...]
    ) -> PathFailure | datetime:
        issuer, serial = self.question.issuer_key, self.question.certificate.serial
        entry = each.find_entry(issuer, serial)
        if entry is None or entry.released:
            return ends
        if entry.on_hold and each.base is None:
            for change in changes:
                change_entry = change.find_entry(issuer, serial) if change.is_delta_of(each) else None
                if change_entry is not None and change_entry.released:
                    self.search.rule.used[change.sha256] = None
                    return min(ends, change.compute_expiry(self.search.rule.age_most))
        return self.search.make_revoked_failure(self.question, entry.revoked_at)


def _is_later_statement(each: RevocationList, since: datetime, old: RevocationList | None) -> bool:
    """Return whether a list repeats the content of an earlier one: a complete list, or the same changes."""
    if each.base is None:
        return each.this_update >= since
    same = old is not None and old.base is not None and each.base <= old.base
    return same and each.this_update >= since and old is not each


def _may_have_signed(certificate: Certificate, each: RevocationList) -> bool:
    """Return whether this key may sign lists and matches the key identifier of the list, if both have one."""
    expected_key_id, key_id = each.authority_key, certificate.subject_key_identifier
    fits = expected_key_id is None or key_id is None or expected_key_id == key_id
    return fits and (certificate.key_usage is None or "cRLSign" in certificate.key_usage)
