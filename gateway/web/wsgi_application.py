"""Builds the WSGI application, which routes paths to endpoints.

Message handlers and the SOAP service are plain WSGI, because they get the most requests and need no
web framework. Everything else is Flask.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Final

from gateway.cases import read_provider_event, sign_payment_message, verify_payment_message
from gateway.config import AgencySettings, Settings
from gateway.errors import (
    MEDIA_TYPE_REFUSED,
    OUR_MISTAKE,
    PAYMENT_REFUSED,
    GatewayError,
    find_resource_problem,
)
from gateway.hub import (
    CUSTOMS,
    Hub,
    PendingResponse,
    WaitingRequest,
    apply_provider_event,
    find_key_problem,
    find_readiness_problem,
    list_own_periods,
    receive_parcel,
    reject_parcel,
)
from gateway.message_model import MemoryBody
from gateway.protocols import PROTOCOLS, Parcel, ProtocolCore
from gateway.store import HttpResponse, LargeResponse, find_database_hold
from gateway.web.agency_service import (
    apply_agency_call,
    apply_call_of_customs,
    build_agency_service,
    build_customs_service,
    build_soap_security,
)
from gateway.web.server import (
    BODY_KEY,
    CERTIFICATE_KEY,
    FILE_KEY,
    WAITING_KEY,
    Environ,
    SentFile,
    WsgiApplication,
    normalize_address,
    normalize_addresses,
    read_request_body,
    report_proven_party,
)
from gateway.web.server_settings import build_serving_hub
from gateway.web.soap_security import SoapSecurityPolicy
from gateway.web.status_endpoints import HubProbes, StatusReaders, build_status_application
from gateway.wire import is_identity_coding

PATH: Final = "/payments/events"
#: Octets of an event.
LARGEST_EVENT: Final = 64 * 1024
_HEADERS: Final = ("payment-id", "payment-timestamp", "payment-signature")


def build_payment_endpoint(hub: Hub) -> WsgiApplication:
    """Return the application; it answers 200 only after the commit, and signs the answer.

    An event that is not authentic gets status 401, one that fits no order 409, both with the problem.
    """

    def answer_event(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not hub.payments.has_provider:
            return send_response(_make_refusal(404, "no payment provider is configured"), start_response)
        if environ.get("REQUEST_METHOD") != "POST":
            return send_response(_make_refusal(405, "POST", Allow="POST"), start_response)
        length = str(environ.get("CONTENT_LENGTH") or "0")
        # A longer number is not converted.
        # bounded: at most nine ASCII digits, checked before
        if not (length.isascii() and length.isdecimal() and len(length) < 10) or int(length) > LARGEST_EVENT:
            return send_response(_make_refusal(413, "too large"), start_response)
        body = environ["wsgi.input"].read(int(length))  # bounded: at most nine ASCII digits, asked before
        headers = {name: str(environ.get(_make_key(name), "")) for name in _HEADERS}
        return send_response(_apply_event(hub, headers, body), start_response)

    return answer_event


def _make_key(name: str) -> str:
    return f"HTTP_{name.upper().replace('-', '_')}"


def _apply_event(hub: Hub, headers: dict[str, str], body: bytes) -> HttpResponse:
    """Apply an event of the payment provider; return the signed answer, or why it is refused."""
    policy = hub.payments
    try:
        content = verify_payment_message(headers, body, policy.secret, hub.clock(), policy.tolerance)
    except GatewayError as problem:
        return _refuse_event(hub, 401, problem)
    try:
        outcome = apply_provider_event(hub, read_provider_event(content))
    except GatewayError as problem:
        if problem.problem is not PAYMENT_REFUSED:
            raise
        return _refuse_event(hub, 409, problem)
    answer = json.dumps({"done": outcome}).encode()
    signed = sign_payment_message(policy.secret, headers["payment-id"], hub.clock(), answer)
    return HttpResponse(200, signed, answer)


def _refuse_event(hub: Hub, status: int, problem: GatewayError) -> HttpResponse:
    """Count an event that is refused; return the answer with the problem."""
    hub.tally.count_refusal("payment", problem)
    details = {"error": problem.problem.id, "detail": problem.detail, "location": problem.location or ""}
    return HttpResponse(status, {"Content-Type": "application/json"}, json.dumps(details).encode())


def _make_refusal(status: int, reason: str, **headers: str) -> HttpResponse:
    """Return the answer to a request that brings no event."""
    content = json.dumps({"error": reason}).encode()
    return HttpResponse(status, {"Content-Type": "application/json", **headers}, content)


Receive = Callable[[Parcel, Callable[[str], None]], HttpResponse]
Refuse = Callable[[GatewayError], HttpResponse]
Wait = Callable[[HttpResponse], Any]
StartResponse = Callable[..., Any]


def build_ebms_endpoint(
    receive: Receive, refuse: Refuse, limit: int, wait: Wait = lambda _: None
) -> WsgiApplication:
    """Return the WSGI application of one protocol.

    `receive` gets the parcel and a callback for the party that signed it, and answers only after
    its commit. `refuse` makes the answer for a problem found before there was a parcel. `wait` returns
    a function that the server calls for a better answer than the given one; None if this one is final.
    """

    def answer_request(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST":
            refused = HttpResponse(405, {"Allow": "POST", "Content-Type": "text/plain"}, b"POST only\n")
            return send_response(refused, start_response)
        try:
            answer = receive(_read_parcel(environ, limit), partial(report_proven_party, environ))
            environ[WAITING_KEY] = wait(answer)
        except GatewayError as error:
            answer = refuse(error)
        except Exception as mistake:
            answer = refuse(find_resource_problem(mistake) or GatewayError(OUR_MISTAKE))
        if isinstance(answer, LargeResponse):
            return _send_large_response(answer, environ, start_response)
        return send_response(answer, start_response)

    return answer_request


def _read_parcel(environ: Environ, limit: int) -> Parcel:
    """Return the headers, body and client certificate of a request as a parcel.

    Raises GW101 if the body has a content coding.
    """
    if not is_identity_coding(environ.get("HTTP_CONTENT_ENCODING", "identity")):
        raise GatewayError(MEDIA_TYPE_REFUSED, "the body has a content coding", "Content-Encoding")
    headers = {
        "Content-Type": str(environ.get("CONTENT_TYPE", "")),
        "SOAPAction": str(environ.get("HTTP_SOAPACTION", "")),
    }
    body = environ.get(BODY_KEY)
    if body is None:
        body = MemoryBody(read_request_body(environ, limit))
    return Parcel(headers, body, environ.get(CERTIFICATE_KEY))


def send_response(answer: HttpResponse, start_response: StartResponse) -> Iterable[bytes]:
    """Send an answer as a WSGI response."""
    _send_head(answer, len(answer.body), start_response)
    return [answer.body]


def _send_large_response(
    answer: LargeResponse, environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    """Start the response and return its body as a file, so that the server sends it without loading it."""
    wrap: type[SentFile] = environ.get(FILE_KEY, SentFile)
    file = wrap(answer.content.open_stream())
    _send_head(answer, answer.content.octet_count, start_response)
    return file


def _send_head(answer: HttpResponse, octets: int, start_response: StartResponse) -> None:
    status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    headers: Mapping[str, str] = answer.headers
    start_response(status, [*headers.items(), ("Content-Length", str(octets))])


_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}))(?::([0-9]{1,5}))?")
_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ServedAddress:
    """Where the gateway listens, the further `names` of its host, and the reverse proxies in front of it."""

    host: str
    port: int
    scheme: str = "http"
    host_names: tuple[str, ...] = ()
    proxies: frozenset[str] = frozenset()

    def find_base_url(self, environ: Environ) -> str:
        """Return scheme, host and port of a request; those of the gateway if its Host is not known."""
        scheme, host = self._read_request(environ)
        match = _HOST.fullmatch(host)
        if match is None or not self._is_own_host(match[1].lower().strip("[]")):
            return self._get_own_url()
        # bounded: at most five digits, by the pattern
        port = int(match[2]) if match[2] else _DEFAULT_PORTS[scheme]
        if not 0 < port <= 65535:
            return self._get_own_url()
        return _format_url(scheme, match[1].lower().strip("[]"), port)

    def _read_request(self, environ: Environ) -> tuple[str, str]:
        """Return scheme and Host; from a proxy of this installation, those in its X-Forwarded fields."""
        scheme, host = str(environ.get("wsgi.url_scheme", "")), str(environ.get("HTTP_HOST", ""))
        if normalize_address(str(environ.get("REMOTE_ADDR", ""))) in self.proxies:
            scheme = _get_last_value(environ, "HTTP_X_FORWARDED_PROTO") or scheme
            host = _get_last_value(environ, "HTTP_X_FORWARDED_HOST") or host
        return (scheme if scheme in _DEFAULT_PORTS else self.scheme), host.strip()

    def _is_own_host(self, host: str) -> bool:
        """Return whether a Host field's name or address is one at which this server can be reached."""
        if host in {name.lower() for name in (*self.host_names, self.host)} - _EVERY_ADDRESS:
            return True
        if host == "localhost":
            return self.host in _EVERY_ADDRESS or _is_loopback(self.host)
        if _is_address(host):
            return self.host in _EVERY_ADDRESS and _is_local_address(host)
        return host in _list_machine_names()

    def _get_own_url(self) -> str:
        """Return the URL that does not depend on a request."""
        host = self.host if self.host not in _EVERY_ADDRESS else socket.gethostname().lower()
        return _format_url(self.scheme, next(iter(self.host_names), host), self.port)


def build_served_address(settings: Settings) -> ServedAddress:
    """Return the address at which these settings serve messages."""
    http = settings.http
    scheme = "http" if http.tls_certificate is None else "https"
    return ServedAddress(http.host, http.port, scheme, http.names, normalize_addresses(http.proxies))


def _get_last_value(environ: Environ, name: str) -> str:
    """Return the value that the nearest proxy has added to a header."""
    return str(environ.get(name, "")).rpartition(",")[2].strip()


def _format_url(scheme: str, host: str, port: int) -> str:
    authority = f"[{host}]" if ":" in host else host
    return f"{scheme}://{authority}" + ("" if port in (0, _DEFAULT_PORTS[scheme]) else f":{port}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


@lru_cache(256)
def _is_local_address(address: str) -> bool:
    """Return whether an address is one of this machine: only such an address can be bound."""
    if ipaddress.ip_address(address).is_unspecified or ipaddress.ip_address(address).is_multicast:
        return False
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return True
    return False


@lru_cache(1)
def _list_machine_names() -> frozenset[str]:
    """Return the name of this machine, with and without its domain."""
    name = socket.gethostname().lower()
    return frozenset({name, name.partition(".")[0]} - {""})


_AGENCY: Final = "/soap/agency"
_CUSTOMS: Final = "/soap/customs"


def build_application(settings: Settings) -> WsgiApplication:
    """Return the application of these settings."""
    hub = build_serving_hub(settings)
    served = build_served_address(settings)
    return build_wsgi_application(
        hub,
        settings.limits.body,
        settings.http.public_url or "",
        served.find_base_url,
        settings.customs.get_party(CUSTOMS),
        StatusReaders(
            settings.http.status_addresses,
            normalize_addresses(settings.http.proxies),
            settings.http.read_status_token(),
        ),
        settings.agency,
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
    status_readers: StatusReaders | None = None,
    agencies: Mapping[str, AgencySettings] | None = None,
) -> WsgiApplication:
    """Return the application of a hub; `limit` is the largest message in octets.

    `public_url` is where the SOAP services are reached; without it `find_base_url` finds it from a request.
    `customs` is the party of customs in the register, `status_readers` are those of the status endpoints,
    `agencies` the settings of agencies by their codes.
    """
    # /msh/ebms2 and /msh/as4
    routes: dict[str, Any] = {
        f"/msh/{name}": _build_protocol_endpoint(hub, protocol, limit) for name, protocol in PROTOCOLS.items()
    }

    def build_security(path: str) -> SoapSecurityPolicy:
        addresses = (f"{public_url}{path}",) if public_url else ()
        find = None if find_base_url is None else lambda environ: f"{find_base_url(environ)}{path}"
        return build_soap_security(hub, addresses, find)

    apply_agency = partial(apply_agency_call, hub, agencies or {})
    routes[_AGENCY] = build_agency_service(apply_agency, build_security(_AGENCY))
    apply_customs = partial(apply_call_of_customs, hub, customs)
    routes[_CUSTOMS] = build_customs_service(apply_customs, build_security(_CUSTOMS))
    routes[PATH] = build_payment_endpoint(hub)
    rest = build_status_application(hub.engine, _build_hub_probes(hub), status_readers)

    def route_request(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        endpoint = routes.get(environ.get("PATH_INFO", "").rstrip("/"), rest)
        # The register of a held database may be too old for a final refusal of a caller.
        if endpoint is not rest and (hold_problem := find_database_hold(hub.engine)) is not None:
            return send_response(_make_hold_answer(hold_problem), start_response)
        answer: Iterable[bytes] = endpoint(environ, start_response)
        return answer

    return route_request


def _make_hold_answer(hold_problem: GatewayError) -> HttpResponse:
    """Return the unsigned 503 answer while the database is held; the sender repeats the message later."""
    text = f"{hold_problem.problem.id} {hold_problem.problem.title}\n"
    return HttpResponse(503, {"Content-Type": "text/plain", "Retry-After": "10"}, text.encode())


def _build_hub_probes(hub: Hub) -> HubProbes:
    """Return the queries that the status endpoints make about a hub."""
    return HubProbes(
        lambda: list_own_periods(hub),
        lambda: find_key_problem(hub),
        lambda: find_readiness_problem(hub),
    )


def _build_protocol_endpoint(hub: Hub, protocol: ProtocolCore, limit: int) -> WsgiApplication:
    """Return the WSGI application that receives the messages of one protocol for the hub."""

    def answer_problem(problem: GatewayError) -> HttpResponse:
        nothing = Parcel({}, MemoryBody(b""))
        return reject_parcel(hub, protocol, problem, nothing, hub.make_protocol_context(hub.get_snapshot()))

    def begin_wait(answer: HttpResponse) -> WaitingRequest | None:
        return hub.responses.begin_wait(answer) if isinstance(answer, PendingResponse) else None

    return build_ebms_endpoint(partial(receive_parcel, hub, protocol), answer_problem, limit, begin_wait)
