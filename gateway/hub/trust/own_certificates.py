"""The hub's own certificates with their times: what partners are to accept, and when it ends."""

from __future__ import annotations

from gateway.hub.hub import Hub
from gateway.store.certificate_coverage import UsagePeriod

__all__ = ["OURSELVES", "list_own_periods"]

#: The owner's name of our own certificates; a party of the register cannot be mistaken for it.
OURSELVES = "(ourselves)"


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
