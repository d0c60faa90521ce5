"""Determines from loaded lists and responses whether a path's certificates are revoked.

RFC 5280 §6.3 and RFC 6960. This is own code, because the validation library accepts an
authority's list for certificates of its sister authorities and, in some orders of lists, a
list whose signature was not verified.

A certificate is clear when lists for all reasons do not contain it: for each reason the
newest complete list of the issuer of lists that the certificate names, or of its own issuer.
Where several keys sign lists of its issuer, each has its newest one, and any of them revokes:
what a list states is taken back only by a later list of its signer, or by the key that signed
the certificate.
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
class _SignerQuestion:
    """A signer of lists, the certificates that wait for its status, its required anchor, and the rule."""

    signer: Certificate
    pending: tuple[str, ...]
    anchor: Certificate
    required: bool


@dataclass(frozen=True, slots=True)
class RevocationRule:
    """Whether a list is required, how old it may be, and the lists; made anew for each path inquiry.

    ``used`` collects the SHA-256 of every list and response that a result is based on.
    """

    required: bool
    age_most: timedelta | None
    revocations: RevocationData
    used: dict[str, None] = field(default_factory=dict, compare=False)
    # The results for signers of lists: each of them is asked for once, however many lists it has signed.
    signers: dict[_SignerQuestion, datetime | None] = field(default_factory=dict, compare=False, repr=False)


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
            if at is None or statement.this_update - self.inquiry.moment > CLOCK_TOLERANCE:
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
            if not each.has_begun(moment):
                continue
            reasons = find_covered_reasons(each, question.certificate, points)
            if each.unfit or not points or isinstance(reasons, str):
                continue
            signature = self.check_list_signature(each, question)
            if isinstance(signature, _ListSignature) and not self._is_superseded(
                question, each.this_update, reasons, _EarlierList(each, signature.signer)
            ):
                self.rule.used[each.sha256] = None
                return self.make_revoked_failure(question, entry.revoked_at)
        return None

    def _is_superseded(
        self,
        question: _StatusQuestion,
        since: datetime,
        reasons: frozenset[x509.ReasonFlags],
        earlier: _EarlierList | None = None,
    ) -> bool:
        """Return whether newer fresh statements, none of which revokes, cover all these reasons."""
        for response, statement in self._find_statements(question):
            if statement.this_update >= since and isinstance(
                self._evaluate_statement(response, statement, question), datetime
            ):
                return True
        points = list_distribution_points(question.certificate, question.issuer_key)
        reading = _ListReading(self, question, points, self._find_lists(question, points))
        return reasons <= frozenset(
            reason
            for proven in reading.list_proven()
            if _is_later_statement(proven.crl, since, earlier.crl if earlier else None)
            and _may_take_back(proven, question, earlier)
            for reason in proven.reasons
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
        if statement.this_update - moment > CLOCK_TOLERANCE or moment > ends:
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

    def check_list_signature(self, crl: RevocationList, question: _StatusQuestion) -> str | _ListSignature:
        """Return who signed a list, and until when he is authorized; or why he is not."""
        issuer = question.issuer
        key = path_validation.derive_dsa_key(question.chain, question.position + 1)
        is_issuer_list = crl.issuer_key == question.issuer_key and may_have_signed(issuer, crl)
        if is_issuer_list and crl.is_signed_by(issuer, key):
            return _ListSignature(issuer, issuer.not_after)
        reason = "its signature is wrong"
        for candidate in self.index.find_by_name(crl.issuer_key):
            if candidate == issuer and crl.issuer_key == question.issuer_key:
                continue
            if not (may_have_signed(candidate, crl) and crl.is_signed_by(candidate)):
                continue
            until = self._validate_list_signer(candidate, question, crl)
            if until is not None:
                return _ListSignature(candidate, until)
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
        signer_question = _SignerQuestion(
            candidate, pending, question.chain.certificates[-1], self.rule.required
        )
        if signer_question not in self.rule.signers:
            self.rule.signers[signer_question] = self._search_signer_path(signer_question)
        return self.rule.signers[signer_question]

    def _search_signer_path(self, question: _SignerQuestion) -> datetime | None:
        for chain in self.index.find_chains(question.signer, _LONGEST, _MAX_ISSUER_CHAINS):
            if chain.certificates[-1] != question.anchor or path_validation.validate_chain(
                chain, self.inquiry.without_policies, self.index
            ):
                continue
            status = check_revocation(chain, self.inquiry, self.index, self.rule, question.pending)
            if isinstance(status, datetime):
                return status
        return None


@dataclass(frozen=True, slots=True)
class _ListSignature:
    """The certificate whose key signed a list, and until when it is authorized."""

    signer: Certificate
    until: datetime


@dataclass(frozen=True, slots=True)
class _EarlierList:
    """A list that is fresh no more, and its signer."""

    crl: RevocationList
    signer: Certificate


@dataclass(frozen=True, slots=True)
class _ProvenList:
    """A list that is proof until `ends` for some reasons, and its signer."""

    crl: RevocationList
    signer: Certificate
    ends: datetime
    reasons: frozenset[x509.ReasonFlags]

    def is_delta_of(self, complete: _ProvenList) -> bool:
        """Return whether this list contains changes to `complete`, by the same signer."""
        return self.signer == complete.signer and self.crl.is_delta_of(complete.crl)

    def is_outdated_by(self, complete: _ProvenList) -> bool:
        """Return whether `complete`, by the same signer, already contains the changes in this list."""
        return self.signer == complete.signer and self.crl.is_outdated_by(complete.crl)


@dataclass(frozen=True, slots=True)
class _ListReading:
    """One certificate and the lists that may cover it, the newest first."""

    search: _StatusSearch
    question: _StatusQuestion
    points: tuple[DistributionPoint, ...]
    lists: tuple[RevocationList, ...]

    def read_lists(self) -> PathFailure | datetime:
        """Return until when the certificate is clear, or the failure.

        Of the complete lists of each signer the newest one decides, or each of those that are of the same
        second and cannot be compared by their numbers; each signer can revoke.
        """
        cleared: dict[str, frozenset[x509.ReasonFlags]] = {}
        ends: list[datetime] = []
        proofs = [self._check_proof(each) for each in self.lists]
        proven = [proof for proof in proofs if isinstance(proof, _ProvenList)]
        # Only a list of changes can be contained in another one.
        proven = [
            each
            for each in proven
            if each.crl.base is None or not any(each.is_outdated_by(complete) for complete in proven)
        ]
        for each in proven:
            by_signer = cleared.setdefault(each.signer.sha256, frozenset())
            is_complete = each.crl.base is None
            if each.reasons == ALL_REASONS and is_complete and _is_repeated(each, proven):
                continue
            status = self._evaluate_entry(each, proven)
            if isinstance(status, PathFailure):
                self.search.rule.used[each.crl.sha256] = None
                return status
            if is_complete and each.reasons - by_signer:
                self.search.rule.used[each.crl.sha256] = None
                cleared[each.signer.sha256] = by_signer | each.reasons
                ends.append(status)
        if frozenset().union(*cleared.values()) == ALL_REASONS:
            return min(ends)
        doubts = dict.fromkeys(proof for proof in proofs if isinstance(proof, str))
        return self.search.make_unknown_failure(
            self.question.certificate, "; ".join(doubts) or "none is complete"
        )

    def list_proven(self) -> Iterator[_ProvenList]:
        """Yield the lists that are proof now."""
        for each in self.lists:
            proof = self._check_proof(each)
            if isinstance(proof, _ProvenList):
                yield proof

    def _check_proof(self, crl: RevocationList) -> str | _ProvenList:
        """Return until when this list is proof and for which reasons, or why it is not."""
        if crl.unfit:
            return crl.unfit
        if not self.points:
            return "the certificate names another issuer of lists"
        reasons = find_covered_reasons(crl, self.question.certificate, self.points)
        if isinstance(reasons, str):
            return reasons
        moment, most = self.search.inquiry.moment, self.search.rule.age_most
        ends = crl.compute_expiry(most)
        if not crl.is_fresh(moment, most):
            return f"in force from {crl.this_update.isoformat()} to {ends.isoformat()}"
        signature = self.search.check_list_signature(crl, self.question)
        if isinstance(signature, str):
            return signature
        return _ProvenList(crl, signature.signer, min(ends, signature.until), reasons)

    def _evaluate_entry(self, proven: _ProvenList, others: list[_ProvenList]) -> PathFailure | datetime:
        issuer, serial = self.question.issuer_key, self.question.certificate.serial
        entry = proven.crl.find_entry(issuer, serial)
        if entry is None or entry.released:
            return proven.ends
        if entry.on_hold and proven.crl.base is None:
            for change in others:
                change_entry = change.crl.find_entry(issuer, serial) if change.is_delta_of(proven) else None
                if change_entry is not None and change_entry.released:
                    self.search.rule.used[change.crl.sha256] = None
                    return min(proven.ends, change.crl.compute_expiry(self.search.rule.age_most))
        return self.search.make_revoked_failure(self.question, entry.revoked_at)


def _is_repeated(proven: _ProvenList, others: list[_ProvenList]) -> bool:
    """Return whether later complete lists by the same signer are about everything that a list is about.

    `others` are sorted, the newest first.
    """
    reasons_left = proven.reasons
    for each in others:
        if not reasons_left or each.crl.this_update < proven.crl.this_update:
            break
        if each.crl.base is None and each.signer == proven.signer and _is_later(each.crl, proven.crl):
            reasons_left -= each.reasons
    return not reasons_left


def _may_take_back(proven: _ProvenList, question: _StatusQuestion, earlier: _EarlierList | None) -> bool:
    """Return whether the signer of a list may take back what an earlier list, or a response, stated.

    The list of another key of the issuer's name may be about the certificates of that key alone.
    """
    if proven.signer == question.issuer:
        return True
    if earlier is not None:
        return proven.signer == earlier.signer
    # The certificate itself names another issuer of its lists.
    return proven.crl.issuer_key != question.issuer_key


def _is_later_statement(crl: RevocationList, since: datetime, earlier: RevocationList | None) -> bool:
    """Return whether a list repeats what an earlier list, or a response of the time `since`, stated.

    That is a later complete list, or a later list of the same changes.
    """
    if earlier is None:
        return crl.base is None and crl.this_update >= since
    if crl.base is not None and (
        crl.scope != earlier.scope or earlier.base is None or crl.base > earlier.base
    ):
        return False
    return _is_later(crl, earlier)


def _is_later(crl: RevocationList, earlier: RevocationList) -> bool:
    """Return whether a list by the same signer is later than another one.

    Of two lists of one scope and second that is the one with the higher number (RFC 5280 §5.2.3), and a
    complete list contains the changes of its number. Numbers of different scopes cannot be compared.
    """
    if crl.this_update != earlier.this_update or crl.scope != earlier.scope:
        return crl.this_update > earlier.this_update
    number, earlier_number = crl.number or 0, earlier.number or 0
    contains_changes = crl.base is None and earlier.base is not None
    return number > earlier_number or (number == earlier_number and contains_changes)


def may_have_signed(certificate: Certificate, crl: RevocationList) -> bool:
    """Return whether this key may sign lists and matches the key identifier of the list, if both have one."""
    expected_key_id, key_id = crl.authority_key, certificate.subject_key_identifier
    fits = expected_key_id is None or key_id is None or expected_key_id == key_id
    return fits and (certificate.key_usage is None or "cRLSign" in certificate.key_usage)
