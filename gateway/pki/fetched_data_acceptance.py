"""Decides whether a fetched list or response may be put in force; a refusal changes nothing.

A list or response is checked against the certificate of its issuer that the settings name,
against its predecessor, and against the time. The validation of a certificate checks
signatures and times again, along its own path. This module rejects data that could never help
such a validation, and data that would restore an earlier state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

from gateway.errors import CERTIFICATE_REVOKED, FETCHED_REFUSED, GatewayError, raise_resource_problem
from gateway.pki import path_validation, revocation_status
from gateway.pki.certificates import Certificate, normalize_name
from gateway.pki.list_proofs import may_have_signed
from gateway.pki.list_succession import ListOrigin, ListSuccession
from gateway.pki.ocsp import OcspResponse, SingleResponse, check_nonce
from gateway.pki.path_building import CertificateChain, PathFailure, PathInquiry
from gateway.pki.revocation_data import RevocationData, RevocationList, read_revocation_lists
from gateway.pki.trust_store import TrustStore


@dataclass(frozen=True, slots=True)
class AcceptanceTerms:
    """The required signer, the trust store, and the time."""

    issuer: Certificate
    trust: TrustStore
    at: datetime

    @property
    def path_inquiry(self) -> PathInquiry:
        """Return the path inquiry for this time; policies of signers of lists do not matter."""
        rules = self.trust.policy.certificates
        return PathInquiry(self.at.replace(microsecond=0), rules.weak_digests).without_policies


@dataclass(frozen=True, slots=True)
class OcspQuery:
    """One question to a responder: the certificate, and the nonce, if any."""

    certificate: Certificate
    nonce: bytes | None = None
    is_nonce_required: bool = False


def check_issuer_path(terms: AcceptanceTerms) -> None:
    """Raise GW606 for an issuer without a valid path to an anchor: nothing that it signs could be used."""
    policy = terms.trust.policy
    reason = "no path leads from it to a trust anchor"
    for chain in terms.trust.index.find_chains(terms.issuer, policy.path_most, policy.candidates_most):
        failure = path_validation.validate_chain(chain, terms.path_inquiry, terms.trust.index)
        path_end = min(each.not_after for each in chain.certificates)
        if failure is None and terms.at <= path_end:
            return
        reason = failure.reason if failure else f"its path ended at {path_end.isoformat()}"
    _raise_rejection(f"the issuer {terms.issuer.subject[:120]}: {reason}")


#: The remedies for an operator where the settings of a source no longer fit the list that it has in force.
_REMEDY_TEXT: Final = "name a source of its own for the other one, or forget this source first"


#: The origin of the lists with which a fetched list is compared, except the list in force of its source.
_LOADED_LIST_ORIGIN: Final = ListOrigin("here", "put that one out of force")


def accept_revocation_list(
    data: bytes,
    terms: AcceptanceTerms,
    current_list: RevocationList | None = None,
    other_lists: Iterable[RevocationList] = (),
) -> RevocationList:
    """Return the complete list in `data` (DER or PEM).

    Raises GW606 unless it may follow `current_list`, the one in force of its source, and contradicts none of
    the `other_lists` in hand.
    """
    crl = _read_acceptable_list(data, terms)
    if crl.base_number is not None:
        _raise_rejection("a list of changes, where a complete one was asked for")
    _check_successor(crl, current_list, terms.issuer)
    _check_number_order(crl, other_lists, terms)
    return crl


def accept_delta_list(
    data: bytes,
    terms: AcceptanceTerms,
    current_list: RevocationList | None,
    other_lists: Collection[RevocationList],
) -> RevocationList:
    """Return the delta CRL in `data`; raise GW606 unless it fits a complete one of the `other_lists` too."""
    crl = _read_acceptable_list(data, terms)
    if crl.base_number is None:
        _raise_rejection("a complete list, where one of changes was asked for")
    _check_successor(crl, current_list, terms.issuer)
    _check_number_order(crl, other_lists, terms)
    # The numbers of another key of that name are counted apart.
    if not any(crl.has_base_up_to(each) and each.is_signed_by(terms.issuer) for each in other_lists):
        _raise_rejection(
            f"it tells of changes to list {crl.base_number} and later, and none that it fits is in hand"
        )
    return crl


def _read_acceptable_list(data: bytes, terms: AcceptanceTerms) -> RevocationList:
    """Return the one list in `data`; raise unless the issuer signed it and it is in force at `terms.at`."""
    check_issuer_path(terms)
    issuer = terms.issuer
    try:
        lists = read_revocation_lists(data, terms.trust.policy.certificates)
    except GatewayError as format_error:
        raise_resource_problem(format_error)
        _raise_rejection(format_error.detail)
    if len(lists) != 1:
        _raise_rejection(f"{len(lists)} lists in the place of one")
    crl = lists[0]
    if crl.unusable_reason:
        _raise_rejection(crl.unusable_reason)
    number_fault = crl.find_number_fault()
    if number_fault:
        _raise_rejection(number_fault)
    if crl.issuer_key != normalize_name(issuer.subject_der):
        _raise_rejection(f"a list of {crl.issuer[:120]}, where one of {issuer.subject[:120]} was asked for")
    if issuer.key_usage is not None and "cRLSign" not in issuer.key_usage:
        _raise_rejection(f"{issuer.subject[:120]} may not sign lists")
    if not crl.is_signed_by(issuer):
        _raise_rejection(f"it is not signed by {issuer.subject[:120]}")
    if not may_have_signed(issuer, crl):
        _raise_rejection(f"its key identifier is not that of {issuer.subject[:120]}")
    expires_at = crl.compute_expiry(terms.trust.policy.crl_age_most)
    if not crl.has_begun(terms.at):
        _raise_rejection(f"it begins at {crl.this_update.isoformat()}, which is in the future")
    if terms.at > expires_at:
        _raise_rejection(f"it ended at {expires_at.isoformat()}")
    return crl


def _check_successor(crl: RevocationList, current_list: RevocationList | None, issuer: Certificate) -> None:
    """Raise for a list that is older than the list in force, or of another key or scope.

    An issuer that divides its lists numbers each part separately (RFC 5280 §5.2.3). A list of another
    issuer, or a list of changes in place of a complete list, would displace the list in force.
    """
    if current_list is None:
        return
    if current_list.issuer_key != crl.issuer_key:
        _raise_rejection(f"the one in force is of {current_list.issuer[:120]}: {_REMEDY_TEXT}")
    if (current_list.base_number is None) != (crl.base_number is None):
        current_kind = "a complete list" if current_list.base_number is None else "a list of changes"
        _raise_rejection(f"the one in force is {current_kind}: {_REMEDY_TEXT}")
    if not current_list.is_signed_by(issuer):
        _raise_rejection(f"the one in force is by another key: {_REMEDY_TEXT}")
    if crl.scope != current_list.scope:
        _raise_rejection(
            f"it is cut to other points, reasons or certificates than the one in force: {_REMEDY_TEXT}"
        )
    if current_list.find_number_fault():
        _raise_rejection(f"the one in force has a number longer than 20 octets: {_REMEDY_TEXT}")
    if current_list.number is not None and (crl.number is None or crl.number < current_list.number):
        _raise_rejection(
            f"list number {crl.number}, and {current_list.number} is in force: nothing is rolled back"
        )
    if crl.this_update < current_list.this_update:
        _raise_rejection(f"it is of {crl.this_update.isoformat()}, before the one in force")
    if crl.contradicts(current_list):
        _raise_rejection("the one in force has the same number and time, and other entries")


def _check_number_order(
    crl: RevocationList, other_lists: Iterable[RevocationList], terms: AcceptanceTerms
) -> None:
    """Raise for a list whose number and date contradict another one of its kind, wherever that came from."""
    try:
        ListSuccession((terms.issuer,), terms.at).check_order(crl, other_lists, _LOADED_LIST_ORIGIN)
    except GatewayError as order_error:
        raise_resource_problem(order_error)
        _raise_rejection(order_error.detail)


def is_issued_by(certificate: Certificate, issuer: Certificate, trust: TrustStore) -> bool:
    """Return whether some path leads from a certificate through exactly this issuer."""
    return (
        _find_chain_through_issuer(certificate, AcceptanceTerms(issuer, trust, certificate.not_before))
        is not None
    )


def _find_chain_through_issuer(certificate: Certificate, terms: AcceptanceTerms) -> CertificateChain | None:
    policy = terms.trust.policy
    chains = terms.trust.index.find_chains(certificate, policy.path_most, policy.candidates_most)
    return next((each for each in chains if terms.issuer in each.certificates[1:2]), None)


def accept_ocsp_response(
    data: bytes,
    terms: AcceptanceTerms,
    query: OcspQuery,
    current_update: datetime | None = None,
    *,
    is_revocation_in_force: bool = False,
) -> tuple[OcspResponse, SingleResponse]:
    """Return a response and its statement on the certificate; raise GW606 unless it answers the question.

    "revoked" is an answer; "unknown" is not. A statement from before `current_update`, the time of the
    one in force, is refused. `is_revocation_in_force`: the one in force revokes, and a good one of the same
    second is refused too, since nothing says which of them is later.
    """
    check_issuer_path(terms)
    policy = terms.trust.policy
    chain = _find_chain_through_issuer(query.certificate, terms)
    if chain is None:
        _raise_rejection(f"{query.certificate.subject[:120]} is not of {terms.issuer.subject[:120]}")
    try:
        revocations = RevocationData(rules=policy.certificates, responses=[data])
        response = revocations.answers[0]
        if query.nonce is not None:
            check_nonce(response, query.nonce, is_required=query.is_nonce_required)
    except GatewayError as format_error:
        raise_resource_problem(format_error)
        _raise_rejection(format_error.detail)
    rule = revocation_status.RevocationRule(False, policy.crl_age_most, revocations)
    status = revocation_status.check_ocsp_responses(chain, terms.path_inquiry, terms.trust.index, rule)
    if status is None:
        _raise_rejection(f"the response does not speak of {query.certificate.subject[:120]}")
    if isinstance(status, PathFailure) and status.problem is not CERTIFICATE_REVOKED:
        _raise_rejection(status.reason)
    statements = [
        each for each in response.statements if each.matches_certificate(query.certificate, terms.issuer)
    ]
    statement = max(statements, key=lambda each: each.this_update, default=None)
    if statement is None:
        _raise_rejection(f"the response does not speak of {query.certificate.subject[:120]}")
    if current_update is not None and statement.this_update < current_update:
        _raise_rejection(f"it is of {statement.this_update.isoformat()}, before the one in force")
    if is_revocation_in_force and statement.revoked_at is None and statement.this_update == current_update:
        _raise_rejection(
            f"it is of {current_update.isoformat()}, as the one in force, which revokes the certificate"
        )
    return response, statement


def _raise_rejection(detail: str) -> NoReturn:
    raise GatewayError(FETCHED_REFUSED, detail[:500])
