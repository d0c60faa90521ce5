"""Determines from loaded lists and responses whether a path's certificates are revoked.

RFC 5280 §6.3 and RFC 6960. This is own code, because the validation library accepts an
authority's list for certificates of its sister authorities and, in some orders of lists, a
list whose signature was not verified.

A certificate is clear when lists for all reasons do not contain it: for each reason the
newest complete list of the issuer of lists that the certificate names, or of its own issuer.
Where several keys sign lists of its issuer, each key has its newest list, and any of them revokes:
a revocation is withdrawn only by a later list of the same signer, or by the key that signed the
certificate.
Lists for some reasons and delta CRLs revoke at any time; a delta CRL releases only a
certificate that its complete list has on hold. A revocation also counts when its list or
response has expired, until a newer one clears the certificate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509

from gateway.errors import CERTIFICATE_REVOKED, REVOCATION_UNKNOWN
from gateway.pki import path_validation
from gateway.pki.certificates import Certificate
from gateway.pki.list_proofs import (
    EarlierList,
    ListSignature,
    ProvenList,
    have_same_key,
    is_later_statement,
    is_repeated,
    may_have_signed,
    may_take_back,
)
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
#: The longest time between the end of a signer's certificate and the renewal of its issuer's.
_LONGEST_GAP: Final = timedelta(days=20 * 366)


@dataclass(frozen=True, slots=True)
class _SignerQuestion:
    """A signer of lists, the certificates that wait for its status, its required anchor, and the rule.

    `lasting`: for its revocations, which count also after the signer's certificate has ended.
    """

    signer: Certificate
    pending: tuple[str, ...]
    anchor: Certificate
    required: bool
    lasting: bool


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
    doubt, revoked = None, None
    for position in range(len(chain.certificates) - 2, -1, -1):
        if revoked and position:
            continue
        question = _StatusQuestion(chain, position, pending)
        status = _StatusSearch(inquiry, index, rule).find_status(question)
        if isinstance(status, datetime):
            ends.append(status)
        elif status is not None and status.problem is not REVOCATION_UNKNOWN:
            if pending or status.final:
                return status
            # Whether the first certificate is revoked itself matters to the other paths.
            revoked = revoked or status
        else:
            doubt = doubt or status
    return revoked or doubt or min(ends)


def find_lasting_revocation(
    chain: CertificateChain, inquiry: PathInquiry, index: CertificateIndex, rule: RevocationRule
) -> PathFailure | None:
    """Return the revocation of the first certificate of a `chain` that was valid until an authority ended."""
    if not may_be_revoked(chain, rule.revocations):
        return None
    search = _StatusSearch(inquiry, index, rule)
    if search.has_path_failed(chain, lasting=True):
        return None
    status = search.find_status(_StatusQuestion(chain, 0, ()))
    return status if isinstance(status, PathFailure) and status.final else None


def may_be_revoked(chain: CertificateChain, revocations: RevocationData) -> bool:
    """Return whether anything in hand, proven or not, revokes the first certificate of a chain."""
    serial, issuer_key = chain.certificates[0].serial, chain.issuer_keys[0]
    return any(each.find_entry(issuer_key, serial) for each in revocations.lists) or any(
        statement.revoked_at is not None for _, statement in revocations.find_ocsp_responses(serial)
    )


def check_ocsp_responses(
    chain: CertificateChain,
    inquiry: PathInquiry,
    index: CertificateIndex,
    rule: RevocationRule,
) -> PathFailure | datetime | None:
    """Return the status of the first certificate of a `chain` by the loaded responses; None: no statement.

    GW207 means that it was revoked; GW208 gives the reason why the responses are not
    accepted.
    """
    return _StatusSearch(inquiry, index, rule).check_responders(_StatusQuestion(chain, 0, ()))


@dataclass(frozen=True, slots=True)
class _StatusSearch:
    inquiry: PathInquiry
    index: CertificateIndex
    rule: RevocationRule
    # The lists that are proof now: found once, however many earlier statements they may take back.
    proven: dict[_StatusQuestion, tuple[ProvenList, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def find_status(self, question: _StatusQuestion) -> PathFailure | datetime | None:
        """Return until when the certificate is clear, the failure, or None where no statement is needed."""
        status = self._find_fresh_status(question)
        if isinstance(status, PathFailure) and status.problem is not REVOCATION_UNKNOWN:
            return status
        revoked = self._find_stale_revocation(question)
        if revoked is not None or status is None:
            return revoked
        if isinstance(status, PathFailure):
            self._note_all_data(question)
            return status
        return min([status, *self._list_changes(question)])

    def _note_all_data(self, question: _StatusQuestion) -> None:
        """Count all data in hand on a certificate as used: its status is unknown because of all of them."""
        points = list_distribution_points(question.certificate, question.issuer_key)
        self.rule.used.update((each.sha256, None) for each in self._find_lists(question, points))
        self.rule.used.update((response.sha256, None) for response, _ in self._find_statements(question))

    def _list_changes(self, question: _StatusQuestion) -> Iterator[datetime]:
        """Yield the last instants before a list or statement in hand begins to count: it may revoke."""
        points = list_distribution_points(question.certificate, question.issuer_key)
        beginnings = [each.this_update for each in self._find_lists(question, points)]
        beginnings += [statement.this_update for _, statement in self._find_statements(question)]
        for beginning in beginnings:
            if beginning - self.inquiry.moment > CLOCK_TOLERANCE:
                yield max(self.inquiry.moment, beginning - CLOCK_TOLERANCE - timedelta(seconds=1))

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
            if self._is_superseded(question, statement.this_update, ALL_REASONS):
                continue
            is_lasting = isinstance(self._check_responder(response, question), str)
            if is_lasting and (
                isinstance(self._check_responder(response, question, statement.this_update), str)
                or self._has_later_answer(question, statement.this_update)
            ):
                continue
            self.rule.used[response.sha256] = None
            return self.make_revoked_failure(question, at)
        return None

    def _has_later_answer(self, question: _StatusQuestion, since: datetime) -> bool:
        """Return whether a responder that was authorized then has taken a revocation back since."""
        for response, statement in self._find_statements(question):
            if statement.status != "good" or statement.this_update <= since:
                continue
            if statement.this_update - self.inquiry.moment > CLOCK_TOLERANCE:
                continue
            if isinstance(self._check_responder(response, question, statement.this_update), datetime):
                self.rule.used[response.sha256] = None
                return True
        return False

    def _find_stale_list(self, question: _StatusQuestion) -> PathFailure | None:
        moment, most = self.inquiry.moment, self.rule.age_most
        points = list_distribution_points(question.certificate, question.issuer_key)
        for each in self._find_lists(question, points):
            entry = each.find_entry(question.issuer_key, question.certificate.serial)
            if entry is None or entry.released or not each.has_begun(moment):
                continue
            reasons = find_covered_reasons(each, question.certificate, points)
            if each.unfit or not points or isinstance(reasons, str):
                continue
            signature = self.check_list_signature(each, question)
            is_lasting = isinstance(signature, str)
            if is_lasting:
                signature = self.check_list_signature(each, question, each.this_update)
            elif each.is_fresh(moment, most):
                # It was considered among the lists that are proof now.
                continue
            if isinstance(signature, str):
                continue
            earlier = EarlierList(each, signature.signer, on_hold=entry.on_hold)
            # A list that can only revoke has no reasons.
            reasons = reasons or ALL_REASONS
            if is_lasting and self._has_later_list(question, points, earlier, reasons):
                continue
            if not self._is_superseded(question, each.this_update, reasons, earlier):
                self.rule.used[each.sha256] = None
                return self.make_revoked_failure(question, entry.revoked_at)
        return None

    def _has_later_list(
        self,
        question: _StatusQuestion,
        points: tuple[DistributionPoint, ...],
        earlier: EarlierList,
        reasons: frozenset[x509.ReasonFlags],
    ) -> bool:
        """Return whether the signer of a list, authorized then as it was for that list, has taken it back."""
        reasons_left = reasons
        for each in self._find_lists(question, points):
            if each.this_update < earlier.crl.this_update or not reasons_left:
                break
            if each.unfit or not each.has_begun(self.inquiry.moment):
                continue
            entry = each.find_entry(question.issuer_key, question.certificate.serial)
            if entry is None:
                takes_back = is_later_statement(each, each.this_update, earlier.crl)
            else:
                takes_back = entry.released and earlier.on_hold and each.is_delta_of(earlier.crl)
            if not takes_back:
                continue
            covered = find_covered_reasons(each, question.certificate, points)
            if isinstance(covered, str):
                continue
            signature = self.check_list_signature(each, question, each.this_update)
            if isinstance(signature, ListSignature) and have_same_key(signature.signer, earlier.signer):
                self.rule.used[each.sha256] = None
                reasons_left -= covered
        return not reasons_left

    def _is_superseded(
        self,
        question: _StatusQuestion,
        since: datetime,
        reasons: frozenset[x509.ReasonFlags],
        earlier: EarlierList | None = None,
    ) -> bool:
        """Return whether newer fresh statements, none of which revokes, cover all these reasons."""
        for response, statement in self._find_statements(question):
            if statement.this_update >= since and isinstance(
                self._evaluate_statement(response, statement, question), datetime
            ):
                return True
        if question not in self.proven:
            points = list_distribution_points(question.certificate, question.issuer_key)
            reading = _ListReading(self, question, points, self._find_lists(question, points))
            self.proven[question] = tuple(reading.list_proven())
        return reasons <= frozenset(
            reason
            for proven in self.proven[question]
            if is_later_statement(proven.crl, since, earlier.crl if earlier else None)
            and may_take_back(proven, question.issuer, question.issuer_key, earlier)
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
        if isinstance(list_status, datetime) and isinstance(responder_status, datetime):
            # The response may supersede a revocation in a list that is no longer fresh: its end counts too.
            return min(list_status, responder_status)
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
        """Return the status of the certificate by the loaded responses; None when none is about it."""
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

    def _check_responder(
        self, response: OcspResponse, question: _StatusQuestion, signed_at: datetime | None = None
    ) -> str | datetime:
        """Return until when the signer of the response is authorized, or why it is not.

        With `signed_at`, the time of a revocation: whether it was authorized then. Against that counts only
        its own revocation, not that its certificate has ended or that its status is unknown by now.
        """
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
            until = self._check_delegated_responder(candidate, question, signed_at)
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
        self, candidate: Certificate, question: _StatusQuestion, signed_at: datetime | None
    ) -> datetime | None:
        """Return until when a responder certified by this issuer is valid (RFC 6960 §4.2.2.2), or None."""
        pending = (*question.pending, question.certificate.sha256)
        if len(pending) > _MAX_DEPTH or candidate.sha256 in pending:
            return None
        chain = self.index.extend_chain(candidate, question.chain, question.position + 1)
        lasting = signed_at is not None
        if chain is None or self.has_path_failed(chain, lasting=lasting):
            return None
        ends = min(each.not_after for each in chain.certificates)
        if signed_at is not None and signed_at > ends:
            return None
        if _NO_CHECK in candidate.extensions:
            return ends
        # Without the extension its status is checked where a list has it (RFC 6960 §4.2.2.2.1).
        lenient = replace(self.rule, required=False)
        status = _StatusSearch(self.inquiry, self.index, lenient).find_status(
            _StatusQuestion(chain, 0, pending)
        )
        if isinstance(status, PathFailure):
            return ends if lasting and status.problem is REVOCATION_UNKNOWN else None
        return ends if status is None or lasting else min(ends, status)

    def has_path_failed(self, chain: CertificateChain, *, lasting: bool) -> bool:
        """Return whether the path of a signer is not valid now.

        `lasting`: it is judged for the last second before one of its certificates ended. Certificates that
        an authority issued before its own certificate was renewed are valid as well.
        """
        inquiry = self.inquiry.without_policies
        if any(each.not_before > inquiry.moment for each in chain.certificates):
            return True
        if lasting:
            last = min(inquiry.moment, *(each.not_after for each in chain.certificates))
            gap = max(each.not_before for each in chain.certificates) - last
            if gap > min(_LONGEST_GAP, last - datetime.min.replace(tzinfo=UTC)):
                return True
            inquiry = replace(inquiry, moment=last, time_tolerance=max(gap, timedelta(0)))
        return path_validation.validate_chain(chain, inquiry, self.index) is not None

    # --- who signed a list ----------------------------------------------------------------------

    def check_list_signature(
        self, crl: RevocationList, question: _StatusQuestion, signed_at: datetime | None = None
    ) -> str | ListSignature:
        """Return who signed a list, and until when he is authorized; or why he is not.

        With `signed_at`, the time of a revocation: whether he was authorized then, as for a response.
        """
        issuer = question.issuer
        key = path_validation.derive_dsa_key(question.chain, question.position + 1)
        is_issuer_list = crl.issuer_key == question.issuer_key and may_have_signed(issuer, crl)
        if is_issuer_list and crl.is_signed_by(issuer, key):
            return ListSignature(issuer, issuer.not_after)
        reason = "its signature is wrong"
        for candidate in self.index.find_by_name(crl.issuer_key):
            if candidate == issuer and crl.issuer_key == question.issuer_key:
                continue
            if not (may_have_signed(candidate, crl) and crl.is_signed_by(candidate)):
                continue
            until = self._validate_list_signer(candidate, question, crl, lasting=signed_at is not None)
            if until is not None and (signed_at is None or signed_at <= until):
                return ListSignature(candidate, until)
            reason = "its signer is not good"
        return reason

    def _validate_list_signer(
        self,
        candidate: Certificate,
        question: _StatusQuestion,
        crl: RevocationList,
        *,
        lasting: bool,
    ) -> datetime | None:
        if candidate == question.certificate and crl.issuer_key != question.issuer_key:
            # The issuer named it for lists about itself; its path is the one in question.
            return candidate.not_after
        if candidate.sha256 in (question.certificate.sha256, *question.pending):
            return None
        return self._validate_signer_path(candidate, question, lasting=lasting)

    def _validate_signer_path(
        self, candidate: Certificate, question: _StatusQuestion, *, lasting: bool
    ) -> datetime | None:
        """Return until when the certificate of a list signer is valid; it must lead to the same anchor."""
        pending = (*question.pending, question.certificate.sha256)
        if len(pending) > _MAX_DEPTH:
            return None
        signer_question = _SignerQuestion(
            candidate, pending, question.chain.certificates[-1], self.rule.required, lasting
        )
        if signer_question not in self.rule.signers:
            self.rule.signers[signer_question] = self._search_signer_path(signer_question)
        return self.rule.signers[signer_question]

    def _search_signer_path(self, question: _SignerQuestion) -> datetime | None:
        lasting_ends: list[datetime] = []
        for chain in self.index.find_chains(question.signer, _LONGEST, _MAX_ISSUER_CHAINS):
            if chain.certificates[-1] != question.anchor or self.has_path_failed(
                chain, lasting=question.lasting
            ):
                continue
            status = check_revocation(chain, self.inquiry, self.index, self.rule, question.pending)
            if not question.lasting and isinstance(status, datetime):
                return status
            if question.lasting and (isinstance(status, datetime) or status.problem is REVOCATION_UNKNOWN):
                lasting_ends.append(min(each.not_after for each in chain.certificates))
        return max(lasting_ends, default=None)


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
        proven = [proof for proof in proofs if isinstance(proof, ProvenList)]
        # Only a list of changes can be contained in another one.
        proven = [
            each
            for each in proven
            if each.crl.base is None or not any(each.is_outdated_by(complete) for complete in proven)
        ]
        for each in proven:
            by_signer = cleared.setdefault(each.signer.sha256, frozenset())
            is_complete = each.crl.base is None
            if (each.reasons or ALL_REASONS) == ALL_REASONS and is_complete and is_repeated(each, proven):
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
        faults = (proof if isinstance(proof, str) else proof.crl.find_number_fault() for proof in proofs)
        doubts = dict.fromkeys(filter(None, faults))
        return self.search.make_unknown_failure(
            self.question.certificate, "; ".join(doubts) or "none is complete"
        )

    def list_proven(self) -> Iterator[ProvenList]:
        """Yield the lists that are proof now."""
        for each in self.lists:
            proof = self._check_proof(each)
            if isinstance(proof, ProvenList):
                yield proof

    def _check_proof(self, crl: RevocationList) -> str | ProvenList:
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
        return ProvenList(crl, signature.signer, min(ends, signature.until), reasons)

    def _evaluate_entry(self, proven: ProvenList, others: list[ProvenList]) -> PathFailure | datetime:
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
