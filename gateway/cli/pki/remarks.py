"""What `gateway check` and the log say of trust: what is fetched, lists in hand, anchors, intermediates."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config import Settings
from gateway.errors import REVOCATION_UNKNOWN, GatewayError
from gateway.hub.believing import trust_for
from gateway.hub.hub import Hub
from gateway.hub.trust.ends import authority_spans, list_remarks
from gateway.hub.trust.sources import sources_of
from gateway.monitor.expiry import ending_soon
from gateway.monitor.freshness import Standing, standing
from gateway.pki.acceptance import Expected, check_issuer
from gateway.store.engine import reading

__all__ = ["source_problems", "trust_remarks"]


def trust_remarks(settings: Settings, hub: Hub) -> tuple[str, ...]:
    """Return, in words, all that the operator is to know, but what is stale; the register is in hand."""
    at = hub.clock()
    told = (one.remark() for one in _standing(settings, hub) if one.state != "stale")
    ends = (one.words for one in ending_soon(authority_spans(hub), at))
    return (*(words for words in told if words), *list_remarks(hub, at), *ends)


def source_problems(settings: Settings, hub: Hub) -> Iterator[GatewayError]:
    """Yield GW208 where something in force has ended, GW606 where nothing of an issuer can be believed."""
    for one in _standing(settings, hub):
        if one.state == "stale":
            yield GatewayError(REVOCATION_UNKNOWN, one.remark() or "", f"fetch.{one.name}")
    for name, source in sources_of(settings).items():
        if source.issuer is not None and source.settings.kind != "trust_list":
            try:
                check_issuer(Expected(source.issuer, trust_for(hub, source.issuer), hub.clock()))
            except GatewayError as refused:
                yield GatewayError(refused.problem, refused.detail, f"fetch.{name}.issuer")


def _standing(settings: Settings, hub: Hub) -> tuple[Standing, ...]:
    warn = {name: (one.settings.kind, one.settings.warn) for name, one in sources_of(settings).items()}
    with reading(hub.engine) as conn:
        return standing(conn, hub.clock(), warn)
