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
from gateway.pki import Certificate, CertificateUse, Mode, PolicyInputs, TrustStore, Verdict
from gateway.recognition.recognition_chain import (
    RecognitionContext,
    VouchedDocument,
    compute_unchanged_until,
    reaches_anchor,
)
from gateway.recognition.trusted_list import (
    VOUCHED,
    Rules,
    ServiceStatus,
    TrustedList,
    TrustService,
    get_levels,
    is_fresh_list,
)

#: The greatest age of a voucher's statement.
MOST_AGE: Final = timedelta(days=1)
_NO_PATH: Final = "no path leads to a trust anchor"


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict on a signer and the way of admission; ``mode`` is None for a refused signer.

    ``levels`` are the signer's assurance levels in our terms; an anchor of our own needs
    none. ``source`` names the anchor, the cross-certificate, the list and service, or the
    voucher.
    """

    mode: Mode | None
    verdict: Verdict
    levels: frozenset[str] = frozenset()
    source: str = ""


def admit_signer(
    certificate: Certificate, at: datetime, use: CertificateUse, recognition: RecognitionContext
) -> Admission:
    """Validate a signer in every way; without a valid one, the verdict gives the clearest refusal."""
    verdict = recognition.validate_certificate(certificate, at, use, recognition.trust)
    if verdict.status == "valid":
        return Admission("anchor", verdict, source=_get_anchor_digest(verdict))
    return admit_by_recognition(certificate, at, use, recognition, verdict)


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
    until the lists in force change. None of them takes back that our own anchors found it revoked: lists of
    others may know only one key of an authority.
    """
    if refused.problem is CERTIFICATE_REVOKED:
        return Admission(None, replace(refused, tolerated=False))
    for admission in chain(
        _try_bridges(certificate, at, use, recognition), _try_trusted_lists(certificate, at, use, recognition)
    ):
        if admission.verdict.passing:
            return admission
        if admission.mode is None:
            refused = _choose_clearer_verdict(refused, admission.verdict)
        elif required_levels is None or admission.levels & required_levels:
            until = min(admission.verdict.valid_until, compute_unchanged_until(recognition, at))
            return replace(admission, verdict=replace(admission.verdict, valid_until=until))
        else:
            levels = ", ".join(sorted(admission.levels))
            reason = (
                f"admitted by {admission.mode} ({admission.source[:120]}) as {levels[:120]}: not enough here"
            )
            refused = _choose_clearer_verdict(refused, _make_rejected_admission(reason, at).verdict)
    return Admission(None, replace(refused, tolerated=False))


def admit_voucher(
    vouched: VouchedDocument, at: datetime, recognition: RecognitionContext, *, oldest: timedelta = MOST_AGE
) -> Admission:
    """Validate the vouching gateway: our own list must name it for its territory, and it must be valid now.

    The certificate of the party itself is validated only if we know its issuer
    (`can_validate_certificate`). Otherwise the gateway is responsible for it, and its statement
    is valid for at most ``oldest``.
    """
    ours = admit_signer(vouched.signer, at, CertificateUse.SIGNING, recognition)
    if ours.mode is None and can_validate_certificate(vouched.signer, at, recognition):
        return ours
    try:
        levels = get_vouched_levels(vouched, at, recognition.root, oldest)
    except GatewayError as refused:
        return _make_rejected_admission(refused.detail, at)
    admission = admit_signer(vouched.voucher, at, CertificateUse.SIGNING, recognition)
    if admission.mode is None:
        return admission
    source = f"{vouched.voucher.subject} for {vouched.territory}, admitted by {admission.mode}"
    return Admission("vouched", admission.verdict, levels, source)


def get_vouched_levels(
    vouched: VouchedDocument, at: datetime, root: TrustedList | None, oldest: timedelta = MOST_AGE
) -> frozenset[str]:
    """Return a vouched signer's levels in our terms; the gateway itself is validated elsewhere.

    Raises GW205 where our list does not name the gateway or gives no levels for its levels,
    or where its statement is too old.
    """
    if root is None or not is_fresh_list(root, at):
        raise _make_untrusted_error("no own trusted list in force names a voucher")
    scheme = root.find_scheme(vouched.territory, "voucher")
    if scheme is None or vouched.voucher not in scheme.signers:
        raise _make_untrusted_error(
            f"{vouched.voucher.subject[:120]} may not vouch for '{vouched.territory[:20]}'"
        )
    if not at - oldest <= vouched.judged <= at:
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
    root, store = recognition.root, _make_bridge_store(recognition, at)
    if root is None or store is None or not reaches_anchor(certificate, store):
        return
    trust, crosses = recognition.trust, _list_cross_certificates(root)
    reached: dict[str, Verdict] = {}
    refused: Verdict | None = None
    for policy, level in dict.fromkeys(pair for each in root.bridges for pair in each.policies):
        rule = PolicyInputs(accepted=frozenset({policy}), explicit=True)
        demanding = replace(store, policy=replace(trust.policy, policies=rule))
        verdict = recognition.validate_certificate(certificate, at, use, demanding)
        if verdict.passing:
            yield Admission(None, verdict)
            return
        if verdict.status != "valid":
            refused = verdict
        elif _crosses_bridge(verdict, root, policy, level):
            reached[level] = verdict
    if reached:
        verdict = min(reached.values(), key=lambda each: each.valid_until)
        crossed = next(each for each in verdict.path if each in crosses)
        yield Admission("bridge", verdict, frozenset(reached), f"{crossed.subject} by {crossed.issuer}")
    elif refused is not None:
        yield Admission(None, refused)


def list_trust_stores(recognition: RecognitionContext, at: datetime) -> Iterator[TrustStore]:
    """Yield the trust stores that admit foreign signers at a time: over the bridges, and list by list."""
    bridged = _make_bridge_store(recognition, at)
    if bridged is not None:
        yield bridged
    for trusted_list, rules in recognition.list_current_lists(at):
        anchors = _collect_anchors(trusted_list, rules, at)
        with suppress(GatewayError):
            if anchors:
                yield _make_trust_store(anchors, recognition)


def can_validate_certificate(certificate: Certificate, at: datetime, recognition: RecognitionContext) -> bool:
    """Return whether we can validate a certificate ourselves, so that no voucher's statement is used.

    This is so if a path leads to our own anchors or over a bridge, or if its issuer is on a
    list in force.
    """
    if any(
        reaches_anchor(certificate, each) for each in (recognition.trust, *list_trust_stores(recognition, at))
    ):
        return True
    return any(
        _explain_rejection(certificate, trusted_list, rules, at)
        for trusted_list, rules in recognition.list_current_lists(at)
    )


def _make_bridge_store(recognition: RecognitionContext, at: datetime) -> TrustStore | None:
    root, trust = recognition.root, recognition.trust
    if root is None or not root.bridges or not is_fresh_list(root, at):
        return None
    return replace(trust, intermediates=(*trust.intermediates, *_list_cross_certificates(root)))


def _list_cross_certificates(root: TrustedList) -> tuple[Certificate, ...]:
    return tuple(each.certificate for each in root.bridges)


def _crosses_bridge(verdict: Verdict, root: TrustedList, policy: str, level: str) -> bool:
    """Return whether a path contains a bridge that has this level."""
    return any(each.certificate in verdict.path and (policy, level) in each.policies for each in root.bridges)


def _try_trusted_lists(
    certificate: Certificate, at: datetime, use: CertificateUse, recognition: RecognitionContext
) -> Iterator[Admission]:
    for trusted_list, rules in recognition.list_current_lists(at):
        anchors = _collect_anchors(trusted_list, rules, at)
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
        reason = _explain_rejection(certificate, trusted_list, rules, at)
        if reason:
            yield _make_rejected_admission(reason, at)


def _collect_anchors(
    trusted_list: TrustedList, chain: tuple[Rules, ...], at: datetime
) -> dict[Certificate, tuple[TrustService, frozenset[str]]]:
    """Return the certificates of all services with a level, each with its service and levels."""
    anchors: dict[Certificate, tuple[TrustService, frozenset[str]]] = {}
    for service, levels in _list_recognized_services(trusted_list, chain, at):
        for each in service.certificates:
            earlier = anchors.get(each)
            anchors[each] = (service, levels | earlier[1] if earlier else levels)
    return anchors


def _make_trust_store(anchors: Iterable[Certificate], recognition: RecognitionContext) -> TrustStore:
    trust = recognition.trust
    return TrustStore(tuple(anchors), trust.intermediates, trust.policy)


def _validate_under_anchors(
    anchors: Iterable[Certificate],
    certificate: Certificate,
    at: datetime,
    use: CertificateUse,
    recognition: RecognitionContext,
) -> Verdict:
    """Validate a certificate with the services of a list as anchors; too long a list admits none."""
    try:
        store = _make_trust_store(anchors, recognition)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail, (), at, at)
    if not reaches_anchor(certificate, store):
        return Verdict("invalid", CERTIFICATE_UNTRUSTED, _NO_PATH, (), at, at)
    return recognition.validate_certificate(certificate, at, use, store)


def _list_recognized_services(
    trusted_list: TrustedList, chain: tuple[Rules, ...], at: datetime
) -> Iterator[tuple[TrustService, frozenset[str]]]:
    for service in trusted_list.services:
        status = service.find_status(at)
        levels = get_levels(status, chain, at) if status else frozenset()
        if levels:
            yield service, levels


def _explain_rejection(
    certificate: Certificate, trusted_list: TrustedList, chain: tuple[Rules, ...], at: datetime
) -> str | None:
    """Return the issuer's status on a list that does not admit it; None when it is not on the list."""
    for service in trusted_list.services:
        if all(each.subject_der != certificate.issuer_der for each in service.certificates):
            continue
        status = service.find_status(at)
        if status is None:
            return f"{service.name[:120]} is on the list of {trusted_list.territory[:20]} only later"
        if not get_levels(status, chain, at):
            status_name = status.status.rsplit("/", 1)[-1]
            list_name = f"the list of {trusted_list.territory[:20]}"
            return f"{service.name[:120]} is '{status_name[:60]}' on {list_name}, and of no level"
    return None


def _choose_clearer_verdict(first: Verdict, second: Verdict) -> Verdict:
    """Return the more specific refusal; a missing path is the least specific reason."""
    return first if second.reason == _NO_PATH else second


def _make_untrusted_error(reason: str) -> GatewayError:
    return GatewayError(CERTIFICATE_UNTRUSTED, reason)


def _make_rejected_admission(reason: str, at: datetime) -> Admission:
    return Admission(None, Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at))


def _get_anchor_digest(verdict: Verdict) -> str:
    return verdict.path[-1].subject
