"""Until when trust lasts: our own certificates, our anchors and intermediates, lists that nobody fetches."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from gateway.hub.hub import Hub
from gateway.pki import RevocationList
from gateway.store import UsagePeriod

__all__ = ["OURSELVES", "list_authority_periods", "list_expiry_remarks", "list_own_periods"]


def list_authority_periods(hub: Hub) -> tuple[UsagePeriod, ...]:
    """Return the time of each anchor and intermediate; another of the same name goes on with it."""
    trust = hub.judge.trust
    return tuple(
        UsagePeriod(one.subject, "authority", one.subject, one.sha256, one.not_before, one.not_after)
        for one in (*trust.anchors, *trust.intermediates)
    )


def list_expiry_remarks(hub: Hub, at: datetime) -> tuple[str, ...]:
    """Return what the operator is to know of the lists of files and verbs; the register is in hand.

    Only the newest list of an issuer for a scope counts; one that is fetched is told of elsewhere.
    """
    fetched = {sha256 for _, sha256 in hub.get_snapshot().fetched}
    most = hub.judge.trust.policy.crl_age_most
    told = []
    for one in _select_newest_lists(hub.judge.revocations.lists):
        ends = one.compute_expiry(most)
        if one.sha256 not in fetched and at > ends - (ends - one.this_update) / 4:
            verb = "ended" if at > ends else "ends"
            told.append(f"the revocation list of {one.issuer[:120]} {verb} at {ends:%Y-%m-%dT%H:%M:%SZ}")
    return tuple(told)


def _select_newest_lists(lists: Iterable[RevocationList]) -> Iterable[RevocationList]:
    newest: dict[tuple[object, ...], RevocationList] = {}
    for one in lists:
        key = (one.issuer_key, one.authority_key, one.scope, one.base is None)
        if key not in newest or newest[key].this_update < one.this_update:
            newest[key] = one
    return newest.values()


#: The owner's name of our own certificates; a party of the register cannot be mistaken for it.
OURSELVES = "(this gateway)"


def list_own_periods(hub: Hub) -> tuple[UsagePeriod, ...]:
    """Return the time in which each key of the hub signs, the first one first."""
    first, *rest = (signer.certificate for signer in hub.signers)
    cut = hub.next_key_start
    ends = first.not_after if cut is None else min(first.not_after, cut)
    found = [UsagePeriod(OURSELVES, "signing", first.subject, first.sha256, first.not_before, ends)]
    for one in rest:
        starts = one.not_before if cut is None else max(one.not_before, cut)
        found.append(UsagePeriod(OURSELVES, "signing", one.subject, one.sha256, starts, one.not_after))
    return tuple(found)
