"""Finds the party that makes a request: by its access token, or by its TLS client certificate."""

from __future__ import annotations

from typing import Final

from gateway.errors import CLIENT_CERTIFICATE, CREDENTIALS_REFUSED, GatewayError
from gateway.hub import ConnectionClaim, check_client_certificate
from gateway.web.api.access_tokens import find_token_party
from gateway.web.api.api_operations import Caller
from gateway.web.api.api_services import ApiServices

__all__ = ["find_caller"]

_BEARER: Final = "bearer "


def find_caller(services: ApiServices, authorization: str, shown: str | None) -> Caller:
    """Return the party of a request; raises GW214 or GW213 where it proves none.

    `shown` is the SHA-256 of the client certificate of the connection. A certificate that is shown
    must be the party's own, also beside a token.
    """
    hub, now = services.hub, services.clock()
    knowledge = hub.refresh_snapshot()
    if authorization:
        if not authorization.lower().startswith(_BEARER):
            raise GatewayError(CREDENTIALS_REFUSED, "only Bearer tokens are accepted", "Authorization")
        party, certificate = find_token_party(services, knowledge, authorization[len(_BEARER) :].strip())
        if shown is not None or hub.mutual_tls:
            check_client_certificate(hub, ConnectionClaim(party, shown), knowledge, now)
        return Caller(party, "token", certificate)
    if shown is None:
        raise GatewayError(CREDENTIALS_REFUSED, "the request has no access token", "Authorization")
    held = knowledge.tls_clients.get(shown)
    if held is None:
        detail = f"certificate {shown[:16]} is not registered for an active party"
        raise GatewayError(CLIENT_CERTIFICATE, detail, "TLS")
    check_client_certificate(hub, ConnectionClaim(held.holding.party, shown), knowledge, now)
    return Caller(held.holding.party, "certificate", shown)
