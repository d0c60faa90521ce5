"""Who is admitted, and by which way: each admission says what it rests on.

Ways are tried in this order: an anchor of our own, a bridge, a trusted list; a document that a
gateway vouched for comes by its own door.  What others admit must be valid: policy tolerates
an indeterminate verdict for those of our own authorities only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from gateway.errors import CERTIFICATE_UNTRUSTED, GatewayError
from gateway.pki.certificates import Certificate
from gateway.pki.path import PolicyRule
from gateway.pki.trust import Mode, TrustStore, Use, Verdict
from gateway.recognition.chains import Recognition, reaches
from gateway.recognition.changes import unchanged_until
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

__all__ = [
    "MOST_AGE",
    "Admission",
    "admit",
    "admit_by_others",
    "admit_vouched",
    "is_known",
    "levels_vouched",
    "stores_of",
]

#: How old the word of a voucher may be.
MOST_AGE: Final = timedelta(days=1)
_SILENT: Final = "no path leads to a trust anchor"


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
    verdict = recognition.judge(certificate, at, use, recognition.trust)
    if verdict.status == "valid":
        return Admission("anchor", verdict, source=_anchor(verdict))
    return admit_by_others(certificate, at, use, recognition, verdict)


def admit_by_others(
    certificate: Certificate,
    at: datetime,
    use: Use,
    recognition: Recognition,
    refused: Verdict,
    *,
    wanted: frozenset[str] | None = None,
) -> Admission:
    """Judge a signer whom our own anchors ``refused`` by every other way; he must be of a ``wanted`` level.

    The verdict is good until a list in force says something else, at the longest.
    """
    for found in chain(
        _over_bridges(certificate, at, use, recognition), _by_lists(certificate, at, use, recognition)
    ):
        if found.verdict.passing:
            return found
        if found.mode is None:
            refused = _more_telling(refused, found.verdict)
        elif wanted is None or found.levels & wanted:
            until = min(found.verdict.valid_until, unchanged_until(recognition, at))
            return replace(found, verdict=replace(found.verdict, valid_until=until))
        else:
            levels = ", ".join(sorted(found.levels))
            reason = f"admitted by {found.mode} ({found.source[:120]}) as {levels[:120]}: not enough here"
            refused = _more_telling(refused, _refused(reason, at).verdict)
    return Admission(None, replace(refused, tolerated=False))


def admit_vouched(
    vouched: Vouched, at: datetime, recognition: Recognition, *, oldest: timedelta = MOST_AGE
) -> Admission:
    """Judge the gateway that vouches: named as voucher of its territory by our own list, and good now.

    The certificate of the party itself is judged only where that is for us to do (`is_known`): else
    the gateway answers for it, and its word is good for as long as ``oldest`` says.
    """
    ours = admit(vouched.signer, at, Use.SIGNING, recognition)
    if ours.mode is None and is_known(vouched.signer, at, recognition):
        return ours
    try:
        levels = levels_vouched(vouched, at, recognition.root, oldest)
    except GatewayError as refused:
        return _refused(refused.detail, at)
    admission = admit(vouched.voucher, at, Use.SIGNING, recognition)
    if admission.mode is None:
        return admission
    source = f"{vouched.voucher.subject} for {vouched.territory}, admitted by {admission.mode}"
    return Admission("vouched", admission.verdict, levels, source)


def levels_vouched(
    vouched: Vouched, at: datetime, root: TrustedList | None, oldest: timedelta = MOST_AGE
) -> frozenset[str]:
    """Return what a vouched signer is worth in our words; whether the gateway is good is judged elsewhere.

    Raises GW205 where our list does not name the gateway, gives its levels no worth, or its word is old.
    """
    if root is None or not is_fresh(root, at):
        raise _untrusted("no list of ours in force names anybody who may vouch")
    scheme = root.scheme(vouched.territory, "voucher")
    if scheme is None or vouched.voucher not in scheme.signers:
        raise _untrusted(f"{vouched.voucher.subject[:120]} may not vouch for '{vouched.territory[:20]}'")
    if not at - oldest <= vouched.judged <= at:
        raise _untrusted(f"vouched for at {vouched.judged}: to come, or too long ago")
    standings = [Standing(level, VOUCHED, vouched.judged) for level in vouched.levels]
    levels = frozenset(level for each in standings for level in levels_of(each, (scheme.rules or (),), at))
    if not levels:
        raise _untrusted(f"no rule says what the levels of '{vouched.territory[:20]}' are worth")
    return levels


def _over_bridges(
    certificate: Certificate, at: datetime, use: Use, recognition: Recognition
) -> Iterator[Admission]:
    """Try every policy that a bridge may end up with: the levels are those that a path has (RFC 5280 §6)."""
    root, store = recognition.root, _bridged(recognition, at)
    if root is None or store is None or not reaches(certificate, store):
        return
    trust, crosses = recognition.trust, _crosses(root)
    reached: dict[str, Verdict] = {}
    refused: Verdict | None = None
    for policy, level in dict.fromkeys(pair for each in root.bridges for pair in each.policies):
        rule = PolicyRule(accepted=frozenset({policy}), explicit=True)
        demanding = replace(store, policy=replace(trust.policy, policies=rule))
        verdict = recognition.judge(certificate, at, use, demanding)
        if verdict.passing:
            yield Admission(None, verdict)
            return
        if verdict.status != "valid":
            refused = verdict
        elif _crossed(verdict, root, policy, level):
            reached[level] = verdict
    if reached:
        verdict = min(reached.values(), key=lambda each: each.valid_until)
        crossed = next(each for each in verdict.path if each in crosses)
        yield Admission("bridge", verdict, frozenset(reached), f"{crossed.subject} by {crossed.issuer}")
    elif refused is not None:
        yield Admission(None, refused)


def stores_of(recognition: Recognition, at: datetime) -> Iterator[TrustStore]:
    """Yield the trust by which others are admitted at a moment: over the bridges, and list by list."""
    bridged = _bridged(recognition, at)
    if bridged is not None:
        yield bridged
    for found, rules in recognition.in_force(at):
        anchors = _anchors_of(found, rules, at)
        with suppress(GatewayError):
            if anchors:
                yield _store_of(anchors, recognition)


def is_known(certificate: Certificate, at: datetime, recognition: Recognition) -> bool:
    """Tell whether a certificate is for us to judge, however it stands: a gateway's word is not asked.

    A path leads to our own anchors or over a bridge, or its issuer stands on a list in force.
    """
    if any(reaches(certificate, each) for each in (recognition.trust, *stores_of(recognition, at))):
        return True
    return any(_why_not(certificate, found, rules, at) for found, rules in recognition.in_force(at))


def _bridged(recognition: Recognition, at: datetime) -> TrustStore | None:
    root, trust = recognition.root, recognition.trust
    if root is None or not root.bridges or not is_fresh(root, at):
        return None
    return replace(trust, intermediates=(*trust.intermediates, *_crosses(root)))


def _crosses(root: TrustedList) -> tuple[Certificate, ...]:
    return tuple(each.certificate for each in root.bridges)


def _crossed(verdict: Verdict, root: TrustedList, policy: str, level: str) -> bool:
    """Tell whether a path goes over a bridge that has this level."""
    return any(each.certificate in verdict.path and (policy, level) in each.policies for each in root.bridges)


def _by_lists(
    certificate: Certificate, at: datetime, use: Use, recognition: Recognition
) -> Iterator[Admission]:
    for found, rules in recognition.in_force(at):
        anchors = _anchors_of(found, rules, at)
        if anchors:
            verdict = _verdict_under(anchors, certificate, at, use, recognition)
            if verdict.status == "valid":
                service, levels = anchors[verdict.path[-1]]
                source = f"{found.territory} {found.sequence}: {service.provider}, {service.name}"
                yield Admission("trust-list", verdict, levels, source)
            else:
                yield Admission(None, verdict)
        reason = _why_not(certificate, found, rules, at)
        if reason:
            yield _refused(reason, at)


def _anchors_of(
    found: TrustedList, chain: tuple[Rules, ...], at: datetime
) -> dict[Certificate, tuple[Service, frozenset[str]]]:
    """Return the certificates of the services that are of any level, each with its service and levels."""
    anchors: dict[Certificate, tuple[Service, frozenset[str]]] = {}
    for service, levels in _recognised(found, chain, at):
        for each in service.certificates:
            known = anchors.get(each)
            anchors[each] = (service, levels | known[1] if known else levels)
    return anchors


def _store_of(anchors: Iterable[Certificate], recognition: Recognition) -> TrustStore:
    trust = recognition.trust
    return TrustStore(tuple(anchors), trust.intermediates, trust.policy)


def _verdict_under(
    anchors: Iterable[Certificate],
    certificate: Certificate,
    at: datetime,
    use: Use,
    recognition: Recognition,
) -> Verdict:
    """Judge a certificate with the services of a list as anchors; a list that is too long admits nobody."""
    try:
        store = _store_of(anchors, recognition)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail, (), at, at)
    if not reaches(certificate, store):
        return Verdict("invalid", CERTIFICATE_UNTRUSTED, _SILENT, (), at, at)
    return recognition.judge(certificate, at, use, store)


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
    return one if other.reason == _SILENT else other


def _untrusted(reason: str) -> GatewayError:
    return GatewayError(CERTIFICATE_UNTRUSTED, reason)


def _refused(reason: str, at: datetime) -> Admission:
    return Admission(None, Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at))


def _anchor(verdict: Verdict) -> str:
    return verdict.path[-1].subject
