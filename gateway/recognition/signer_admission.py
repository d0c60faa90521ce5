"""Decides whether a signer is admitted, and in which way; each admission names its basis.

The ways are tried in this order: an anchor of our own, a bridge, a trusted list. A document
with a voucher has a separate function. Signers that other parties admit must have a valid
verdict: the policy tolerates an indeterminate verdict only for those of our own authorities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from gateway.errors import CERTIFICATE_REVOKED, CERTIFICATE_UNTRUSTED, GatewayError
from gateway.pki import AdmissionMode, Certificate, CertificateUse, PolicyInputs, TrustStore, Verdict
from gateway.recognition.recognition_chain import (
    RecognitionContext,
    VouchedDocument,
    compute_unchanged_until,
    reaches_anchor,
)
from gateway.recognition.trusted_list import (
    VOUCHED,
    EquivalenceRules,
    ServiceStatus,
    TrustedList,
    TrustService,
    get_levels,
    is_fresh_list,
)

#: The greatest age of a voucher's statement.
MAX_STATEMENT_AGE: Final = timedelta(days=1)
_NO_PATH: Final = "no path leads to a trust anchor"


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict on a signer and the way of admission; ``mode`` is None for a refused signer.

    ``levels`` are the signer's assurance levels in our terms; an anchor of our own needs
    none. ``source`` names the anchor, the cross-certificate, the list and service, or the
    voucher.
    """

    mode: AdmissionMode | None
    verdict: Verdict
    levels: frozenset[str] = frozenset()
    source: str = ""


def admit_signer(
    certificate: Certificate, at: datetime, certificate_use: CertificateUse, recognition: RecognitionContext
) -> Admission:
    """Validate a signer in every way; without a valid one, the verdict gives the clearest refusal."""
    verdict = recognition.validate_certificate(certificate, at, certificate_use, recognition.trust)
    if verdict.status == "valid":
        return Admission("anchor", verdict, source=_get_anchor_subject(verdict))
    if verdict.is_transient:
        return Admission(None, verdict)
    return admit_by_recognition(certificate, at, certificate_use, recognition, verdict)


def admit_by_recognition(
    certificate: Certificate,
    at: datetime,
    use: CertificateUse,
    recognition: RecognitionContext,
    refused: Verdict,
    *,
    required_levels: frozenset[str] | None = None,
) -> Admission:
    """Validate a signer that our own anchors ``refused`` in every other way.

    The signer must have one of the ``required_levels``, if given. The verdict is valid at most
    until the lists in force change. A signer that is revoked under our own anchors stays refused, because
    the lists of others may know only one key of an authority.
    """
    if refused.problem is CERTIFICATE_REVOKED:
        return Admission(None, replace(refused, tolerated=False))
    for admission in chain(
        _try_bridges(certificate, at, use, recognition), _try_trusted_lists(certificate, at, use, recognition)
    ):
        if admission.verdict.is_transient:
            return admission
        if admission.mode is None:
            refused = _choose_clearer_verdict(refused, admission.verdict)
        elif required_levels is None or admission.levels & required_levels:
            valid_until = min(admission.verdict.valid_until, compute_unchanged_until(recognition, at))
            return replace(admission, verdict=replace(admission.verdict, valid_until=valid_until))
        else:
            levels = ", ".join(sorted(admission.levels))
            reason = (
                f"admitted by {admission.mode} ({admission.source[:120]}) as {levels[:120]}: not enough here"
            )
            refused = _choose_clearer_verdict(refused, _make_rejected_admission(reason, at).verdict)
    return Admission(None, replace(refused, tolerated=False))


def admit_voucher(
    vouched: VouchedDocument,
    at: datetime,
    recognition: RecognitionContext,
    *,
    max_age: timedelta = MAX_STATEMENT_AGE,
) -> Admission:
    """Validate the vouching gateway: our own list must name it for its territory, and it must be valid now.

    The certificate of the party itself is validated only if we know its issuer
    (`can_validate_certificate`). Otherwise the gateway is responsible for it, and its statement
    is valid for at most ``max_age``.
    """
    party_admission = admit_signer(vouched.signer, at, CertificateUse.SIGNING, recognition)
    if party_admission.mode is None and (
        party_admission.verdict.is_transient or can_validate_certificate(vouched.signer, at, recognition)
    ):
        return party_admission
    try:
        levels = translate_vouched_levels(vouched, at, recognition.root, max_age)
    except GatewayError as refused:
        return _make_rejected_admission(refused.detail, at)
    admission = admit_signer(vouched.voucher, at, CertificateUse.SIGNING, recognition)
    if admission.mode is None:
        return admission
    source = f"{vouched.voucher.subject} for {vouched.territory}, admitted by {admission.mode}"
    return Admission("vouched", admission.verdict, levels, source)


def translate_vouched_levels(
    vouched: VouchedDocument,
    at: datetime,
    root_list: TrustedList | None,
    max_age: timedelta = MAX_STATEMENT_AGE,
) -> frozenset[str]:
    """Return a vouched signer's levels in our terms; the gateway itself is validated elsewhere.

    Raises GW205 where our list does not name the gateway or gives no levels for its levels,
    or where its statement is too old.
    """
    if root_list is None or not is_fresh_list(root_list, at):
        raise _make_untrusted_error("no own trusted list in force names a voucher")
    scheme = root_list.find_scheme(vouched.territory, "voucher")
    if scheme is None or vouched.voucher not in scheme.signers:
        raise _make_untrusted_error(
            f"{vouched.voucher.subject[:120]} may not vouch for '{vouched.territory[:20]}'"
        )
    if not at - max_age <= vouched.judged <= at:
        raise _make_untrusted_error(
            f"vouched for at {vouched.judged}, which is in the future or too long ago"
        )
    statuses = [ServiceStatus(level, VOUCHED, vouched.judged) for level in vouched.levels]
    levels = frozenset(level for each in statuses for level in get_levels(each, (scheme.rules or (),), at))
    if not levels:
        raise _make_untrusted_error(f"no rule maps the levels of '{vouched.territory[:20]}'")
    return levels


def _try_bridges(
    certificate: Certificate, at: datetime, use: CertificateUse, recognition: RecognitionContext
) -> Iterator[Admission]:
    """Validate under every policy that a path over a bridge may have; they give its levels (RFC 5280 §6)."""
    root_list, bridge_store = recognition.root, _make_bridge_store(recognition, at)
    if root_list is None or bridge_store is None or not reaches_anchor(certificate, bridge_store):
        return
    trust_store, cross_certificates = recognition.trust, _list_cross_certificates(root_list)
    verdict_by_level: dict[str, Verdict] = {}
    refusing_verdict: Verdict | None = None
    for policy, level in dict.fromkeys(pair for each in root_list.bridges for pair in each.policies):
        policy_inputs = PolicyInputs(accepted=frozenset({policy}), explicit=True)
        policy_store = replace(bridge_store, policy=replace(trust_store.policy, policies=policy_inputs))
        verdict = recognition.validate_certificate(certificate, at, use, policy_store)
        if verdict.is_transient:
            yield Admission(None, verdict)
            return
        if verdict.status != "valid":
            refusing_verdict = verdict
        elif _crosses_bridge(verdict, root_list, policy, level):
            verdict_by_level[level] = verdict
    if verdict_by_level:
        verdict = min(verdict_by_level.values(), key=lambda each: each.valid_until)
        used_certificate = next(each for each in verdict.path if each in cross_certificates)
        yield Admission(
            "bridge",
            verdict,
            frozenset(verdict_by_level),
            f"{used_certificate.subject} by {used_certificate.issuer}",
        )
    elif refusing_verdict is not None:
        yield Admission(None, refusing_verdict)


def list_trust_stores(recognition: RecognitionContext, at: datetime) -> Iterator[TrustStore]:
    """Yield the trust stores that admit foreign signers at a time: over the bridges, and list by list."""
    bridge_store = _make_bridge_store(recognition, at)
    if bridge_store is not None:
        yield bridge_store
    for trusted_list, rule_chain in recognition.list_current_lists(at):
        anchors = _collect_anchors(trusted_list, rule_chain, at)
        with suppress(GatewayError):
            if anchors:
                yield _make_trust_store(anchors, recognition)


def can_validate_certificate(certificate: Certificate, at: datetime, recognition: RecognitionContext) -> bool:
    """Return whether we can validate a certificate ourselves, so that no voucher's statement is used.

    This is so if a path leads to our own anchors or over a bridge, or if its issuer is on a
    list in force.
    """
    if any(
        reaches_anchor(certificate, trust_store)
        for trust_store in (recognition.trust, *list_trust_stores(recognition, at))
    ):
        return True
    return any(
        _explain_rejection(certificate, trusted_list, rule_chain, at)
        for trusted_list, rule_chain in recognition.list_current_lists(at)
    )


def _make_bridge_store(recognition: RecognitionContext, at: datetime) -> TrustStore | None:
    """Return our trust store with the cross-certificates of our own list; None if it is not in force."""
    root_list, trust_store = recognition.root, recognition.trust
    if root_list is None or not root_list.bridges or not is_fresh_list(root_list, at):
        return None
    return replace(
        trust_store, intermediates=(*trust_store.intermediates, *_list_cross_certificates(root_list))
    )


def _list_cross_certificates(root_list: TrustedList) -> tuple[Certificate, ...]:
    return tuple(each.certificate for each in root_list.bridges)


def _crosses_bridge(verdict: Verdict, root_list: TrustedList, policy: str, level: str) -> bool:
    """Return whether a path contains a bridge that has this level."""
    return any(
        each.certificate in verdict.path and (policy, level) in each.policies for each in root_list.bridges
    )


def _try_trusted_lists(
    certificate: Certificate, at: datetime, use: CertificateUse, recognition: RecognitionContext
) -> Iterator[Admission]:
    """Yield the admission or refusal of the signer by each trusted list that is in force at `at`."""
    for trusted_list, rule_chain in recognition.list_current_lists(at):
        anchors = _collect_anchors(trusted_list, rule_chain, at)
        if anchors:
            verdict = _validate_under_anchors(anchors, certificate, at, use, recognition)
            if verdict.status == "valid":
                service, levels = anchors[verdict.path[-1]]
                source = (
                    f"{trusted_list.territory} {trusted_list.sequence}: {service.provider}, {service.name}"
                )
                yield Admission("trust-list", verdict, levels, source)
            else:
                yield Admission(None, verdict)
        reason = _explain_rejection(certificate, trusted_list, rule_chain, at)
        if reason:
            yield _make_rejected_admission(reason, at)


def _collect_anchors(
    trusted_list: TrustedList, rule_chain: tuple[EquivalenceRules, ...], at: datetime
) -> dict[Certificate, tuple[TrustService, frozenset[str]]]:
    """Return the certificates of all services with a level, each with its service and levels."""
    anchors: dict[Certificate, tuple[TrustService, frozenset[str]]] = {}
    for service, levels in _list_recognized_services(trusted_list, rule_chain, at):
        for certificate in service.certificates:
            earlier_entry = anchors.get(certificate)
            anchors[certificate] = (service, levels | earlier_entry[1] if earlier_entry else levels)
    return anchors


def _make_trust_store(anchors: Iterable[Certificate], recognition: RecognitionContext) -> TrustStore:
    own_store = recognition.trust
    return TrustStore(tuple(anchors), own_store.intermediates, own_store.policy)


def _validate_under_anchors(
    anchors: Iterable[Certificate],
    certificate: Certificate,
    at: datetime,
    use: CertificateUse,
    recognition: RecognitionContext,
) -> Verdict:
    """Validate a certificate with the services of a list as anchors; too long a list admits none."""
    try:
        trust_store = _make_trust_store(anchors, recognition)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail, (), at, at)
    if not reaches_anchor(certificate, trust_store):
        return Verdict("invalid", CERTIFICATE_UNTRUSTED, _NO_PATH, (), at, at)
    return recognition.validate_certificate(certificate, at, use, trust_store)


def _list_recognized_services(
    trusted_list: TrustedList, rule_chain: tuple[EquivalenceRules, ...], at: datetime
) -> Iterator[tuple[TrustService, frozenset[str]]]:
    """Yield the services of `trusted_list` that we recognize at `at`, each with its levels in our terms."""
    for service in trusted_list.services:
        status = service.find_status(at)
        levels = get_levels(status, rule_chain, at) if status else frozenset()
        if levels:
            yield service, levels


def _explain_rejection(
    certificate: Certificate,
    trusted_list: TrustedList,
    rule_chain: tuple[EquivalenceRules, ...],
    at: datetime,
) -> str | None:
    """Return the issuer's status on a list that does not admit it; None when it is not on the list."""
    for service in trusted_list.services:
        if all(each.subject_der != certificate.issuer_der for each in service.certificates):
            continue
        status = service.find_status(at)
        if status is None:
            return f"{service.name[:120]} is on the list of {trusted_list.territory[:20]} only later"
        if not get_levels(status, rule_chain, at):
            status_name = status.status.rsplit("/", 1)[-1]
            list_name = f"the list of {trusted_list.territory[:20]}"
            return f"{service.name[:120]} is '{status_name[:60]}' on {list_name}, and of no level"
    return None


def _choose_clearer_verdict(first_verdict: Verdict, second_verdict: Verdict) -> Verdict:
    """Return the more specific refusal; a missing path is the least specific reason."""
    return first_verdict if second_verdict.reason == _NO_PATH else second_verdict


def _make_untrusted_error(reason: str) -> GatewayError:
    return GatewayError(CERTIFICATE_UNTRUSTED, reason)


def _make_rejected_admission(reason: str, at: datetime) -> Admission:
    return Admission(None, Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at))


def _get_anchor_subject(verdict: Verdict) -> str:
    return verdict.path[-1].subject
