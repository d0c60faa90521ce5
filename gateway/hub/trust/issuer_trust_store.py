"""By which trust the issuer of a list is believed: our own, or that by which we admit those of others."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain

from gateway.errors import GatewayError
from gateway.hub.hub import Hub
from gateway.pki.certificates import Certificate
from gateway.pki.fetched_data_acceptance import AcceptanceTerms, check_issuer_path
from gateway.pki.trust_store import TrustStore

__all__ = ["find_issuer_trust_store"]


def find_issuer_trust_store(hub: Hub, issuer: Certificate | None) -> TrustStore:
    """Return the first trust by which a path leads from an issuer to an anchor now, else our own.

    Those whom a bridge or a trusted list in force admits are judged by lists of their own authorities.
    """
    own, at = hub.judge.trust, hub.clock()
    if issuer is None:
        return own
    # The others only where it is none of ours: national lists are long.
    for store in chain((own,), hub.recognizer.list_trust_stores(own, at)):
        with suppress(GatewayError):
            check_issuer_path(AcceptanceTerms(issuer, store, at))
            return store
    return own
