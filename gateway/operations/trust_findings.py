"""Findings about trust: data and lists that end or are stale, and issuers without a path to an anchor."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config import Settings
from gateway.errors import REVOCATION_UNKNOWN, GatewayError
from gateway.hub import (
    Hub,
    find_issuer_trust_store,
    list_authority_periods,
    list_expiry_remarks,
    read_fetch_sources,
)
from gateway.monitor import SourceFreshness, list_source_freshness, make_expiry_warnings
from gateway.pki import AcceptanceTerms, check_issuer_path
from gateway.store import read_transaction

__all__ = ["collect_trust_remarks", "find_source_problems", "find_stamping_problem", "read_source_freshness"]


def collect_trust_remarks(settings: Settings, hub: Hub) -> tuple[str, ...]:
    """Return all remarks for the operator except those on stale sources; the register must be loaded."""
    at = hub.clock()
    told = (one.format_remark() for one in read_source_freshness(settings, hub) if one.state != "stale")
    ends = (one.words for one in make_expiry_warnings(list_authority_periods(hub), at))
    return (*(words for words in told if words), *list_expiry_remarks(hub, at), *ends)


def find_source_problems(settings: Settings, hub: Hub) -> Iterator[GatewayError]:
    """Yield GW208 where data in force has expired, GW606 for an issuer without a path to an anchor."""
    for one in read_source_freshness(settings, hub):
        if one.state == "stale":
            yield GatewayError(REVOCATION_UNKNOWN, one.format_remark() or "", f"fetch.{one.name}")
    for name, source in read_fetch_sources(settings).items():
        if source.issuer is not None and source.settings.kind != "trust_list":
            try:
                check_issuer_path(
                    AcceptanceTerms(source.issuer, find_issuer_trust_store(hub, source.issuer), hub.clock())
                )
            except GatewayError as refused:
                yield GatewayError(refused.problem, refused.detail, f"fetch.{name}.issuer")


def read_source_freshness(settings: Settings, hub: Hub) -> tuple[SourceFreshness, ...]:
    """Return how fresh what was fetched from each source is."""
    warn = {
        name: (one.settings.kind, one.settings.warn) for name, one in read_fetch_sources(settings).items()
    }
    with read_transaction(hub.engine) as conn:
        return list_source_freshness(conn, hub.clock(), warn)


def find_stamping_problem(hub: Hub) -> tuple[GatewayError | None, bool]:
    """Return the problem of stale time-stamping, and whether the hub refuses messages because of it."""
    if hub.stamping is None:
        return None, False
    return hub.stamping.find_staleness_problem(hub.clock()), hub.stamping.rule.refuses
