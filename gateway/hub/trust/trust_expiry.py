"""Until when trust itself lasts: our anchors and intermediates, and lists that nobody fetches."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from gateway.hub.hub import Hub
from gateway.pki.revocation_data import RevocationList
from gateway.store.certificate_coverage import UsagePeriod

__all__ = ["list_authority_periods", "list_expiry_remarks"]


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
