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
    is_repeated_by_later_lists,
    may_have_signed,
    may_withdraw_revocation,
    repeats_earlier_statement,
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
_MAX_SIGNER_PATH_LENGTH: Final = 8
_NO_CHECK_EXTENSION: Final = "1.3.6.1.5.5.7.48.1.5"
#: The longest time between the end of a signer's certificate and the renewal of its issuer's.
_MAX_RENEWAL_GAP: Final = timedelta(days=20 * 366)


@dataclass(frozen=True, slots=True)
class _SignerQuestion:
    """A signer of lists, the certificates that wait for its status, its required anchor, and the rule.

    `is_lasting`: for its revocations, which count also after the signer's certificate has ended.
    """

    signer: Certificate
    pending_digests: tuple[str, ...]
    anchor: Certificate
    is_list_required: bool
    is_lasting: bool


@dataclass(frozen=True, slots=True)
class RevocationRule:
    """Whether a list is required, how old it may be, and the lists; made anew for each path inquiry.

    ``used_digests`` collects the SHA-256 of every list and response that a result is based on.
    """

    is_list_required: bool
    max_age: timedelta | None
    revocations: RevocationData
    used_digests: dict[str, None] = field(default_factory=dict, compare=False)
    # The results for signers of lists: each of them is asked for once, however many lists it has signed.
    signer_ends: dict[_SignerQuestion, datetime | None] = field(
        default_factory=dict, compare=False, repr=False
    )


@dataclass(frozen=True, slots=True)
class _StatusQuestion:
    """One certificate of one chain, and the certificates whose status is being determined before it."""

    chain: CertificateChain
    position: int
    pending_digests: tuple[str, ...]

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
    pending_digests: tuple[str, ...] = (),
) -> PathFailure | datetime:
    """Return until when every certificate of a valid `chain` is clear, or the first failure.

    A revoked certificate takes precedence over one of unknown status, which may be tolerated.
    """
    end_times = [each.not_after for each in chain.certificates]
    unknown_status, revocation = None, None
    for position in range(len(chain.certificates) - 2, -1, -1):
        if revocation and position:
            continue
        question = _StatusQuestion(chain, position, pending_digests)
        status = _StatusSearch(inquiry, index, rule).find_status(question)
        if isinstance(status, datetime):
            end_times.append(status)
        elif status is not None and status.problem is not REVOCATION_UNKNOWN:
            if pending_digests or status.is_final:
                return status
            # Whether the first certificate is revoked itself matters to the other paths.
            revocation = revocation or status
        else:
            unknown_status = unknown_status or status
    return revocation or unknown_status or min(end_times)


def find_lasting_revocation(
    chain: CertificateChain, inquiry: PathInquiry, index: CertificateIndex, rule: RevocationRule
) -> PathFailure | None:
    """Return the revocation of a certificate of a `chain` that was valid until an authority expired."""
    if not may_be_revoked(chain, rule.revocations):
        return None
    search = _StatusSearch(inquiry, index, rule)
    if search.has_path_failed(chain, is_lasting=True):
        return None
    status = search.find_status(_StatusQuestion(chain, 0, ()))
    return status if isinstance(status, PathFailure) and status.is_final else None


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

    GW207 means that it was revoked; GW208 gives the reason why the responses are not accepted.
    """
    return _StatusSearch(inquiry, index, rule).check_responders(_StatusQuestion(chain, 0, ()))


@dataclass(frozen=True, slots=True)
class _StatusSearch:
    inquiry: PathInquiry
    index: CertificateIndex
    rule: RevocationRule
    # The lists that are proof now: found once, however many earlier statements they may take back.
    proven_lists: dict[_StatusQuestion, tuple[ProvenList, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def find_status(self, question: _StatusQuestion) -> PathFailure | datetime | None:
        """Return until when the certificate is clear, the failure, or None where no statement is needed."""
        status = self._find_fresh_status(question)
        if isinstance(status, PathFailure) and status.problem is not REVOCATION_UNKNOWN:
            return status
        stale_revocation = self._find_stale_revocation(question)
        if stale_revocation is not None or status is None:
            return stale_revocation
        if isinstance(status, PathFailure):
            self._mark_all_data_used(question)
            return status
        return min([status, *self._list_status_changes(question)])

    def _mark_all_data_used(self, question: _StatusQuestion) -> None:
        """Count all data in hand on a certificate as used: its status is unknown because of all of them."""
        points = list_distribution_points(question.certificate, question.issuer_key)
        digests = [each.sha256 for each in self._find_lists(question, points)]
        digests += [response.sha256 for response, _ in self._find_statements(question)]
        self.rule.used_digests.update(dict.fromkeys(digests))

    def _list_status_changes(self, question: _StatusQuestion) -> Iterator[datetime]:
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
            revoked_at = statement.revoked_at
            if revoked_at is None or statement.this_update - self.inquiry.moment > CLOCK_TOLERANCE:
                continue
            if self._is_superseded(question, statement.this_update, ALL_REASONS):
                continue
            is_lasting = isinstance(self._check_responder(response, question), str)
            if is_lasting and (
                isinstance(self._check_responder(response, question, statement.this_update), str)
                or self._has_later_answer(question, statement.this_update)
            ):
                continue
            self.rule.used_digests[response.sha256] = None
            return self.make_revoked_failure(question, revoked_at)
        return None

    def _has_later_answer(self, question: _StatusQuestion, revocation_time: datetime) -> bool:
        """Return whether an authorized response after `revocation_time` states "good"."""
        for response, statement in self._find_statements(question):
            if statement.status != "good" or statement.this_update <= revocation_time:
                continue
            if statement.this_update - self.inquiry.moment > CLOCK_TOLERANCE:
                continue
            if isinstance(self._check_responder(response, question, statement.this_update), datetime):
                self.rule.used_digests[response.sha256] = None
                return True
        return False

    def _find_stale_list(self, question: _StatusQuestion) -> PathFailure | None:
        moment, max_age = self.inquiry.moment, self.rule.max_age
        points = list_distribution_points(question.certificate, question.issuer_key)
        for each in self._find_lists(question, points):
            entry = each.find_entry(question.issuer_key, question.certificate.serial)
            if entry is None or entry.is_released or not each.has_begun(moment):
                continue
            covered_reasons = find_covered_reasons(each, question.certificate, points)
            if each.unusable_reason or not points or isinstance(covered_reasons, str):
                continue
            signature = self.check_list_signature(each, question)
            is_lasting = isinstance(signature, str)
            if is_lasting:
                signature = self.check_list_signature(each, question, each.this_update)
            elif each.is_fresh(moment, max_age):
                # It was considered among the lists that are proof now.
                continue
            if isinstance(signature, str):
                continue
            earlier_list = EarlierList(each, signature.signer, is_on_hold=entry.is_on_hold)
            # A list that can only revoke has no reasons.
            covered_reasons = covered_reasons or ALL_REASONS
            if is_lasting and self._has_later_list(question, points, earlier_list, covered_reasons):
                continue
            if not self._is_superseded(question, each.this_update, covered_reasons, earlier_list):
                self.rule.used_digests[each.sha256] = None
                return self.make_revoked_failure(question, entry.revoked_at)
        return None

    def _has_later_list(
        self,
        question: _StatusQuestion,
        points: tuple[DistributionPoint, ...],
        earlier_list: EarlierList,
        reasons: frozenset[x509.ReasonFlags],
    ) -> bool:
        """Return whether later lists of the authorized signer withdraw `earlier_list` for all reasons."""
        reasons_left = reasons
        for each in self._find_lists(question, points):
            if each.this_update < earlier_list.crl.this_update or not reasons_left:
                break
            if each.unusable_reason or not each.has_begun(self.inquiry.moment):
                continue
            entry = each.find_entry(question.issuer_key, question.certificate.serial)
            if entry is None:
                withdraws = repeats_earlier_statement(each, each.this_update, earlier_list.crl)
            else:
                withdraws = (
                    entry.is_released and earlier_list.is_on_hold and each.is_delta_of(earlier_list.crl)
                )
            if not withdraws:
                continue
            covered_reasons = find_covered_reasons(each, question.certificate, points)
            if isinstance(covered_reasons, str):
                continue
            signature = self.check_list_signature(each, question, each.this_update)
            if isinstance(signature, ListSignature) and have_same_key(signature.signer, earlier_list.signer):
                self.rule.used_digests[each.sha256] = None
                reasons_left -= covered_reasons
        return not reasons_left

    def _is_superseded(
        self,
        question: _StatusQuestion,
        revocation_time: datetime,
        reasons: frozenset[x509.ReasonFlags],
        earlier_list: EarlierList | None = None,
    ) -> bool:
        """Return whether newer fresh statements, none of which revokes, cover all these reasons."""
        for response, statement in self._find_statements(question):
            if statement.this_update >= revocation_time and isinstance(
                self._evaluate_statement(response, statement, question), datetime
            ):
                return True
        if question not in self.proven_lists:
            points = list_distribution_points(question.certificate, question.issuer_key)
            evaluation = _ListEvaluation(self, question, points, self._find_lists(question, points))
            self.proven_lists[question] = tuple(evaluation.list_proven_lists())
        return reasons <= frozenset(
            reason
            for proven in self.proven_lists[question]
            if repeats_earlier_statement(
                proven.crl, revocation_time, earlier_list.crl if earlier_list else None
            )
            and may_withdraw_revocation(proven, question.issuer, question.issuer_key, earlier_list)
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
        """Return the result of `find_status` by fresh responses and lists alone, not by earlier ones."""
        responder_status = self.check_responders(question)
        if isinstance(responder_status, PathFailure) and responder_status.problem is CERTIFICATE_REVOKED:
            return responder_status
        points = list_distribution_points(question.certificate, question.issuer_key)
        lists = self._find_lists(question, points)
        if not lists:
            if responder_status is None and self.rule.is_list_required:
                return self.make_unknown_failure(question.certificate, "none is in hand")
            if responder_status is None and self._has_unread_data(question, points):
                return self.make_unknown_failure(
                    question.certificate, "what is in hand cannot be read by our rules"
                )
            return responder_status
        list_status = _ListEvaluation(self, question, points, lists).evaluate_lists()
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
        return PathFailure(
            CERTIFICATE_REVOKED, detail, is_final=question.position == 0 and not question.pending_digests
        )

    # --- OCSP -----------------------------------------------------------------------------------

    def check_responders(self, question: _StatusQuestion) -> PathFailure | datetime | None:
        """Return the status of the certificate by the loaded responses; None when none is about it."""
        status: PathFailure | datetime | None = None
        for response, statement in self._find_statements(question):
            statement_status = self._evaluate_statement(response, statement, question)
            if isinstance(statement_status, PathFailure) and statement_status.problem is CERTIFICATE_REVOKED:
                return statement_status
            if not isinstance(status, datetime):
                status = statement_status
        return status

    def _evaluate_statement(
        self, response: OcspResponse, statement: SingleResponse, question: _StatusQuestion
    ) -> PathFailure | datetime:
        moment, expires_at = self.inquiry.moment, statement.compute_expiry(self.rule.max_age)
        if statement.this_update - moment > CLOCK_TOLERANCE or moment > expires_at:
            reason = f"in force from {statement.this_update.isoformat()} to {expires_at.isoformat()}"
            return self._make_no_response_failure(question, reason)
        authorized_until = self._check_responder(response, question)
        if isinstance(authorized_until, str):
            return self._make_no_response_failure(question, authorized_until)
        expires_at = min(expires_at, authorized_until)
        if statement.status == "unknown":
            return self._make_no_response_failure(question, "the responder does not know the certificate")
        self.rule.used_digests[response.sha256] = None
        # A revocation counts with any date (RFC 5280 §6.3.3 (j) does not consider the date).
        return (
            expires_at
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
            authorized_until = self._check_delegated_responder(candidate, question, signed_at)
            if authorized_until is not None:
                return authorized_until
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
        pending_digests = (*question.pending_digests, question.certificate.sha256)
        if len(pending_digests) > _MAX_DEPTH or candidate.sha256 in pending_digests:
            return None
        chain = self.index.extend_chain(candidate, question.chain, question.position + 1)
        is_lasting = signed_at is not None
        if chain is None or self.has_path_failed(chain, is_lasting=is_lasting):
            return None
        path_end = min(each.not_after for each in chain.certificates)
        if signed_at is not None and signed_at > path_end:
            return None
        if _NO_CHECK_EXTENSION in candidate.extensions:
            return path_end
        # Without the extension its status is checked where a list has it (RFC 6960 §4.2.2.2.1).
        lenient_rule = replace(self.rule, is_list_required=False)
        status = _StatusSearch(self.inquiry, self.index, lenient_rule).find_status(
            _StatusQuestion(chain, 0, pending_digests)
        )
        if isinstance(status, PathFailure):
            return path_end if is_lasting and status.problem is REVOCATION_UNKNOWN else None
        return path_end if status is None or is_lasting else min(path_end, status)

    def has_path_failed(self, chain: CertificateChain, *, is_lasting: bool) -> bool:
        """Return whether the path of a signer is not valid now.

        `is_lasting`: it is judged for the last second before one of its certificates ended. Certificates that
        an authority issued before its own certificate was renewed are valid as well.
        """
        inquiry = self.inquiry.without_policies
        if any(each.not_before > inquiry.moment for each in chain.certificates):
            return True
        if is_lasting:
            path_end = min(inquiry.moment, *(each.not_after for each in chain.certificates))
            renewal_gap = max(each.not_before for each in chain.certificates) - path_end
            if renewal_gap > min(_MAX_RENEWAL_GAP, path_end - datetime.min.replace(tzinfo=UTC)):
                return True
            inquiry = replace(inquiry, moment=path_end, time_tolerance=max(renewal_gap, timedelta(0)))
        return path_validation.validate_chain(chain, inquiry, self.index) is not None

    # --- who signed a list ----------------------------------------------------------------------

    def check_list_signature(
        self, crl: RevocationList, question: _StatusQuestion, signed_at: datetime | None = None
    ) -> str | ListSignature:
        """Return the signer of a list and the end of its authorization; a text: why there is none.

        With `signed_at`, the time of a revocation, the signer must have been authorized at that time.
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
            authorized_until = self._validate_list_signer(
                candidate, question, crl, is_lasting=signed_at is not None
            )
            if authorized_until is not None and (signed_at is None or signed_at <= authorized_until):
                return ListSignature(candidate, authorized_until)
            reason = "its signer is not good"
        return reason

    def _validate_list_signer(
        self,
        candidate: Certificate,
        question: _StatusQuestion,
        crl: RevocationList,
        *,
        is_lasting: bool,
    ) -> datetime | None:
        if candidate == question.certificate and crl.issuer_key != question.issuer_key:
            # The issuer named it for lists about itself; its path is the one in question.
            return candidate.not_after
        if candidate.sha256 in (question.certificate.sha256, *question.pending_digests):
            return None
        return self._validate_signer_path(candidate, question, is_lasting=is_lasting)

    def _validate_signer_path(
        self, candidate: Certificate, question: _StatusQuestion, *, is_lasting: bool
    ) -> datetime | None:
        """Return until when the certificate of a list signer is valid; it must lead to the same anchor."""
        pending_digests = (*question.pending_digests, question.certificate.sha256)
        if len(pending_digests) > _MAX_DEPTH:
            return None
        signer_question = _SignerQuestion(
            candidate,
            pending_digests,
            question.chain.certificates[-1],
            self.rule.is_list_required,
            is_lasting,
        )
        if signer_question not in self.rule.signer_ends:
            self.rule.signer_ends[signer_question] = self._search_signer_path(signer_question)
        return self.rule.signer_ends[signer_question]

    def _search_signer_path(self, question: _SignerQuestion) -> datetime | None:
        lasting_ends: list[datetime] = []
        for chain in self.index.find_chains(question.signer, _MAX_SIGNER_PATH_LENGTH, _MAX_ISSUER_CHAINS):
            if chain.certificates[-1] != question.anchor or self.has_path_failed(
                chain, is_lasting=question.is_lasting
            ):
                continue
            status = check_revocation(chain, self.inquiry, self.index, self.rule, question.pending_digests)
            if not question.is_lasting and isinstance(status, datetime):
                return status
            if question.is_lasting and (isinstance(status, datetime) or status.problem is REVOCATION_UNKNOWN):
                lasting_ends.append(min(each.not_after for each in chain.certificates))
        return max(lasting_ends, default=None)


@dataclass(frozen=True, slots=True)
class _ListEvaluation:
    """One certificate and the lists that may cover it, the newest first."""

    search: _StatusSearch
    question: _StatusQuestion
    points: tuple[DistributionPoint, ...]
    lists: tuple[RevocationList, ...]

    def evaluate_lists(self) -> PathFailure | datetime:
        """Return until when the certificate is clear, or the failure.

        Of the complete lists of each signer the newest one decides, or each of those that are of the same
        second and cannot be compared by their numbers; each signer can revoke.
        """
        cleared_reasons: dict[str, frozenset[x509.ReasonFlags]] = {}
        end_times: list[datetime] = []
        proofs = [self._prove_list(each) for each in self.lists]
        proven_lists = [proof for proof in proofs if isinstance(proof, ProvenList)]
        # Only a list of changes can be contained in another one.
        proven_lists = [
            each
            for each in proven_lists
            if each.crl.base_number is None
            or not any(each.is_outdated_by(complete) for complete in proven_lists)
        ]
        for each in proven_lists:
            signer_reasons = cleared_reasons.setdefault(each.signer.sha256, frozenset())
            is_complete = each.crl.base_number is None
            if (
                (each.reasons or ALL_REASONS) == ALL_REASONS
                and is_complete
                and is_repeated_by_later_lists(each, proven_lists)
            ):
                continue
            status = self._evaluate_entry(each, proven_lists)
            if isinstance(status, PathFailure):
                self.search.rule.used_digests[each.crl.sha256] = None
                return status
            if is_complete and each.reasons - signer_reasons:
                self.search.rule.used_digests[each.crl.sha256] = None
                cleared_reasons[each.signer.sha256] = signer_reasons | each.reasons
                end_times.append(status)
        if frozenset().union(*cleared_reasons.values()) == ALL_REASONS:
            return min(end_times)
        faults = (proof if isinstance(proof, str) else proof.crl.find_number_fault() for proof in proofs)
        distinct_faults = dict.fromkeys(filter(None, faults))
        return self.search.make_unknown_failure(
            self.question.certificate, "; ".join(distinct_faults) or "none is complete"
        )

    def list_proven_lists(self) -> Iterator[ProvenList]:
        """Yield the lists that prove the status of the certificate at the time of the inquiry."""
        for each in self.lists:
            proof = self._prove_list(each)
            if isinstance(proof, ProvenList):
                yield proof

    def _prove_list(self, crl: RevocationList) -> str | ProvenList:
        """Return a list that proves the status, with its signer, end and reasons; a text: why it does not."""
        if crl.unusable_reason:
            return crl.unusable_reason
        if not self.points:
            return "the certificate names another issuer of lists"
        reasons = find_covered_reasons(crl, self.question.certificate, self.points)
        if isinstance(reasons, str):
            return reasons
        moment, max_age = self.search.inquiry.moment, self.search.rule.max_age
        expires_at = crl.compute_expiry(max_age)
        if not crl.is_fresh(moment, max_age):
            return f"in force from {crl.this_update.isoformat()} to {expires_at.isoformat()}"
        signature = self.search.check_list_signature(crl, self.question)
        if isinstance(signature, str):
            return signature
        return ProvenList(crl, signature.signer, min(expires_at, signature.authorized_until), reasons)

    def _evaluate_entry(
        self, proven_list: ProvenList, other_lists: list[ProvenList]
    ) -> PathFailure | datetime:
        """Return until when the certificate is clear by one list, or the failure of a revoked certificate.

        A delta CRL among `other_lists` can release a certificate that the list has on hold.
        """
        issuer, serial = self.question.issuer_key, self.question.certificate.serial
        entry = proven_list.crl.find_entry(issuer, serial)
        if entry is None or entry.is_released:
            return proven_list.proof_until
        if entry.is_on_hold and proven_list.crl.base_number is None:
            for delta in other_lists:
                change_entry = (
                    delta.crl.find_entry(issuer, serial) if delta.is_delta_of(proven_list) else None
                )
                if change_entry is not None and change_entry.is_released:
                    self.search.rule.used_digests[delta.crl.sha256] = None
                    return min(proven_list.proof_until, delta.crl.compute_expiry(self.search.rule.max_age))
        return self.search.make_revoked_failure(self.question, entry.revoked_at)
