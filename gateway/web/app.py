"""The WSGI application: paths to rooms.

Message handlers and the SOAP service are plain WSGI, because they are asked most and need
nothing of a web framework; everything else is Flask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import standing
from gateway.hub.assembly import NoCalls, build_hub
from gateway.hub.hub import Hub
from gateway.hub.receive import receive, refuse
from gateway.hub.trust.own_certificates import own_spans
from gateway.model import Octets
from gateway.protocols import PROTOCOLS, Parcel, Protocol
from gateway.store.messages import Answer
from gateway.web.agencies import HubHandler, security_of
from gateway.web.bodies import Environ, WsgiApplication
from gateway.web.msh import msh_application
from gateway.web.soap import soap_application
from gateway.web.status import Ourselves, status_application

__all__ = ["application", "largest_bodies", "wsgi_application"]

_AGENCY: Final = "/soap/agency"


def application(settings: Settings) -> WsgiApplication:
    """Return the application of these settings."""
    hub = build_hub(settings, NoCalls())
    # Once known, the register is in hand also while the database is away: a refusal needs it.
    hub.refresh()
    hub.make_ready()
    address = f"{settings.http.public_url}/soap/agency" if settings.http.public_url else ""
    return wsgi_application(hub, settings.limits.body, (address,) if address else ())


def largest_bodies(settings: Settings) -> Mapping[str, int]:
    """Return the octets that a body may have, for each path that takes messages."""
    return {_AGENCY: settings.limits.envelope} | {f"/msh/{name}": settings.limits.body for name in PROTOCOLS}


def wsgi_application(hub: Hub, limit: int, addresses: tuple[str, ...] = ()) -> WsgiApplication:
    """Return the application of a hub; `limit` bounds a message in octets."""
    routes: dict[str, Any] = {
        f"/msh/{name}": _msh(hub, protocol, limit) for name, protocol in PROTOCOLS.items()
    }
    routes[_AGENCY] = soap_application(HubHandler(hub), security_of(hub, addresses))
    rest = status_application(hub.engine, _ours(hub))

    def route(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        found = routes.get(environ.get("PATH_INFO", "").rstrip("/"), rest)
        answer: Iterable[bytes] = found(environ, start_response)
        return answer

    return route


def _ours(hub: Hub) -> Ourselves:
    """Return what the addresses of status ask about a hub."""
    return Ourselves(lambda: own_spans(hub), lambda: standing.key_problem(hub), lambda: standing.unready(hub))


def _msh(hub: Hub, protocol: Protocol, limit: int) -> WsgiApplication:
    def refused(problem: GatewayError) -> Answer:
        nothing = Parcel({}, Octets(b""))
        return refuse(hub, protocol, problem, nothing, hub.context(hub.knowledge()))

    return msh_application(partial(receive, hub, protocol), refused, limit)
