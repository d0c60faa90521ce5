"""Builds the WSGI application, which routes paths to endpoints.

Message handlers and the SOAP service are plain WSGI, because they get the most requests and need no
web framework. Everything else is Flask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import (
    CUSTOMS,
    Hub,
    PendingResponse,
    WaitingRequest,
    list_own_periods,
    readiness_checks,
    receive_parcel,
    reject_parcel,
)
from gateway.message_model import MemoryBody
from gateway.protocols import PROTOCOLS, Parcel, ProtocolCore
from gateway.store import HttpResponse, start_checkpoints
from gateway.web.agency_call_backs import HubCallBackHandler, build_soap_security
from gateway.web.agency_service import build_agency_service
from gateway.web.customs_service import HubCustomsHandler, build_customs_service
from gateway.web.ebms_endpoint import build_ebms_endpoint
from gateway.web.payment_endpoint import LARGEST_EVENT, PATH, build_payment_endpoint
from gateway.web.served_address import build_served_address
from gateway.web.server import Environ, WsgiApplication
from gateway.web.serving_hub import build_serving_hub
from gateway.web.soap_security import SoapSecurityPolicy
from gateway.web.status_endpoints import HubProbes, build_status_application

__all__ = ["build_application", "build_wsgi_application", "get_body_limits"]

_AGENCY: Final = "/soap/agency"
_CUSTOMS: Final = "/soap/customs"


def build_application(settings: Settings) -> WsgiApplication:
    """Return the application of these settings."""
    hub = build_serving_hub(settings)
    start_checkpoints(hub.engine)
    served = build_served_address(settings)
    return build_wsgi_application(
        hub,
        settings.limits.body,
        settings.http.public_url or "",
        served.find_base_url,
        settings.customs.party or CUSTOMS,
    )


def get_body_limits(settings: Settings) -> Mapping[str, int]:
    """Return the octets that a body may have, for each path that receives messages."""
    services = dict.fromkeys((_AGENCY, _CUSTOMS), settings.limits.envelope) | {PATH: LARGEST_EVENT}
    return services | {f"/msh/{name}": settings.limits.body for name in PROTOCOLS}


def build_wsgi_application(
    hub: Hub,
    limit: int,
    public_url: str = "",
    find_base_url: Callable[[Environ], str] | None = None,
    customs: str = CUSTOMS,
) -> WsgiApplication:
    """Return the application of a hub; `limit` is the largest message in octets.

    `public_url` is where the SOAP services are reached; without it `find_base_url` finds it from a request.
    `customs` is the party of customs in the register.
    """
    routes: dict[str, Any] = {
        f"/msh/{name}": _build_protocol_endpoint(hub, protocol, limit) for name, protocol in PROTOCOLS.items()
    }

    def build_security(path: str) -> SoapSecurityPolicy:
        addresses = (f"{public_url}{path}",) if public_url else ()
        find = None if find_base_url is None else lambda environ: f"{find_base_url(environ)}{path}"
        return build_soap_security(hub, addresses, find)

    routes[_AGENCY] = build_agency_service(HubCallBackHandler(hub), build_security(_AGENCY))
    routes[_CUSTOMS] = build_customs_service(HubCustomsHandler(hub, customs), build_security(_CUSTOMS))
    routes[PATH] = build_payment_endpoint(hub)
    rest = build_status_application(hub.engine, _build_hub_probes(hub))

    def route_request(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        found = routes.get(environ.get("PATH_INFO", "").rstrip("/"), rest)
        answer: Iterable[bytes] = found(environ, start_response)
        return answer

    return route_request


def _build_hub_probes(hub: Hub) -> HubProbes:
    """Return the queries that the status endpoints make about a hub."""
    return HubProbes(
        lambda: list_own_periods(hub),
        lambda: readiness_checks.find_key_problem(hub),
        lambda: readiness_checks.find_unreadiness(hub),
    )


def _build_protocol_endpoint(hub: Hub, protocol: ProtocolCore, limit: int) -> WsgiApplication:
    def answer_problem(problem: GatewayError) -> HttpResponse:
        nothing = Parcel({}, MemoryBody(b""))
        return reject_parcel(hub, protocol, problem, nothing, hub.make_protocol_context(hub.get_snapshot()))

    def begin_wait(answer: HttpResponse) -> WaitingRequest | None:
        return hub.responses.begin_wait(answer) if isinstance(answer, PendingResponse) else None

    return build_ebms_endpoint(partial(receive_parcel, hub, protocol), answer_problem, limit, begin_wait)
