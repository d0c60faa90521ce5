"""Who is admitted, and by which way: each admission says what it rests on.

Ways are tried in this order: an anchor of our own, a bridge, a trusted list; a document that a
gateway vouched for comes by its own door.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from gateway.errors import CERTIFICATE_UNTRUSTED, GatewayError
from gateway.pki.certificates import Certificate
from gateway.pki.path import PolicyRule
from gateway.pki.revocation import Revocations
from gateway.pki.trust import TrustStore, Use, Verdict, validate_path
from gateway.recognition.chains import Recognition
from gateway.recognition.lists import (
    VOUCHED,
    Rules,
    Service,
    Standing,
    TrustedList,
    levels_of,
)
from gateway.recognition.succession import is_fresh
from gateway.recognition.vouching import Vouched

__all__ = ["MOST_AGE", "Admission", "Mode", "admit", "admit_vouched"]

Mode = Literal["anchor", "trust-list", "bridge", "vouched"]
#: How old the word of a voucher may be.
MOST_AGE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict on a signer and the way that admitted it; ``mode`` is None for who is not admitted.

    ``levels`` is what the signer is worth in our words; an anchor of our own needs none.
    ``source`` names the anchor, the cross-certificate, the list and service, or the voucher.
    """

    mode: Mode | None
    verdict: Verdict
    levels: frozenset[str] = frozenset()
    source: str = ""


def admit(certificate: Certificate, at: datetime, use: Use, recognition: Recognition) -> Admission:
    """Judge a signer by every way; where none leads to it, the verdict says why the last did not."""
    revocations = recognition.revocations or Revocations()
    verdict = validate_path(certificate, at, use, recognition.trust, revocations)
    if verdict.status == "valid":
        return Admission("anchor", verdict, source=_anchor(verdict))
    refused = verdict
    for found in (
        *_over_bridges(certificate, at, use, recognition, revocations),
        *_by_lists(certificate, at, use, recognition),
    ):
        if found.mode is not None:
            return found
        refused = _more_telling(refused, found.verdict)
    return Admission(None, refused)


def admit_vouched(
    vouched: Vouched, at: datetime, recognition: Recognition, *, oldest: timedelta = MOST_AGE
) -> Admission:
    """Judge the gateway that vouches: named as voucher of its territory by our own list, and good now.

    The certificate of the party itself is not judged: that is what the gateway answers for, and
    its word is good for as long as ``oldest`` says.
    """
    root = recognition.root
    if root is None or not is_fresh(root, at):
        return _refused("no list of ours in force names anybody who may vouch", at)
    scheme = root.scheme(vouched.territory, "voucher")
    if scheme is None or vouched.voucher not in scheme.signers:
        detail = f"{vouched.voucher.subject[:120]} may not vouch for '{vouched.territory[:20]}'"
        return _refused(detail, at)
    if not at - oldest <= vouched.judged <= at:
        return _refused(f"vouched for at {vouched.judged}: to come, or too long ago", at)
    admission = admit(vouched.voucher, at, Use.SIGNING, recognition)
    if admission.mode is None:
        return admission
    standings = [Standing(level, VOUCHED, vouched.judged) for level in vouched.levels]
    levels = frozenset(level for each in standings for level in levels_of(each, (scheme.rules or (),), at))
    if not levels:
        return _refused(f"no rule says what the levels of '{vouched.territory[:20]}' are worth", at)
    source = f"{vouched.voucher.subject} for {vouched.territory}, admitted by {admission.mode}"
    return Admission("vouched", admission.verdict, levels, source)


def _over_bridges(
    certificate: Certificate, at: datetime, use: Use, recognition: Recognition, revocations: Revocations
) -> Iterator[Admission]:
    """Try every policy that a bridge may end up with: the levels are those that a path has (RFC 5280 §6)."""
    root = recognition.root
    if root is None or not root.bridges or not is_fresh(root, at):
        return
    trust = recognition.trust
    crosses = tuple(each.certificate for each in root.bridges)
    store = replace(trust, intermediates=(*trust.intermediates, *crosses))
    reached: dict[str, Verdict] = {}
    refused: Verdict | None = None
    for policy, level in dict.fromkeys(pair for each in root.bridges for pair in each.policies):
        rule = PolicyRule(accepted=frozenset({policy}), explicit=True)
        demanding = replace(store, policy=replace(trust.policy, policies=rule))
        verdict = validate_path(certificate, at, use, demanding, revocations)
        if verdict.status != "valid":
            refused = verdict
        elif _crossed(verdict, root, policy, level):
            reached[level] = verdict
    if reached:
        verdict = next(iter(reached.values()))
        crossed = next(each for each in verdict.path if each in crosses)
        yield Admission("bridge", verdict, frozenset(reached), f"{crossed.subject} by {crossed.issuer}")
    elif refused is not None:
        yield Admission(None, refused)


def _crossed(verdict: Verdict, root: TrustedList, policy: str, level: str) -> bool:
    """Tell whether a path goes over a bridge that has this level."""
    return any(each.certificate in verdict.path and (policy, level) in each.policies for each in root.bridges)


def _by_lists(
    certificate: Certificate, at: datetime, use: Use, recognition: Recognition
) -> Iterator[Admission]:
    for found, chain in recognition.in_force(at):
        anchors: dict[Certificate, tuple[Service, frozenset[str]]] = {}
        for service, levels in _recognised(found, chain, at):
            for each in service.certificates:
                known = anchors.get(each)
                anchors[each] = (service, levels | known[1] if known else levels)
        if anchors:
            verdict = _verdict_under(tuple(anchors), certificate, at, use, recognition)
            if verdict.status == "valid":
                service, levels = anchors[verdict.path[-1]]
                source = f"{found.territory} {found.sequence}: {service.provider}, {service.name}"
                yield Admission("trust-list", verdict, levels, source)
                return
            yield Admission(None, verdict)
        reason = _why_not(certificate, found, chain, at)
        if reason:
            yield _refused(reason, at)


def _verdict_under(
    anchors: tuple[Certificate, ...],
    certificate: Certificate,
    at: datetime,
    use: Use,
    recognition: Recognition,
) -> Verdict:
    """Judge a certificate with the services of a list as anchors; a list that is too long admits nobody."""
    trust, revocations = recognition.trust, recognition.revocations or Revocations()
    try:
        store = TrustStore(anchors, trust.intermediates, trust.policy)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail, (), at, at)
    return validate_path(certificate, at, use, store, revocations)


def _recognised(
    found: TrustedList, chain: tuple[Rules, ...], at: datetime
) -> Iterator[tuple[Service, frozenset[str]]]:
    for service in found.services:
        standing = service.standing(at)
        levels = levels_of(standing, chain, at) if standing else frozenset()
        if levels:
            yield service, levels


def _why_not(
    certificate: Certificate, found: TrustedList, chain: tuple[Rules, ...], at: datetime
) -> str | None:
    """Say how the issuer stands on a list that does not admit it; None for who is not on it."""
    for service in found.services:
        if all(each.subject_der != certificate.issuer_der for each in service.certificates):
            continue
        standing = service.standing(at)
        if standing is None:
            return f"{service.name[:120]} is on the list of {found.territory[:20]} only later"
        if not levels_of(standing, chain, at):
            status = standing.status.rsplit("/", 1)[-1]
            where = f"the list of {found.territory[:20]}"
            return f"{service.name[:120]} is '{status[:60]}' on {where}, and of no level"
    return None


def _more_telling(one: Verdict, other: Verdict) -> Verdict:
    """Return the refusal that says more: what names nothing but a missing path says least."""
    silent = "no path leads to a trust anchor"
    return one if other.reason == silent else other


def _refused(reason: str, at: datetime) -> Admission:
    return Admission(None, Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at))


def _anchor(verdict: Verdict) -> str:
    return verdict.path[-1].subject
