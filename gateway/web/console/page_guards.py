"""The basis of every page: services, the signed-in person, guards and security headers."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from weakref import WeakKeyDictionary, WeakSet

from flask import Request, abort, current_app, g, redirect, request
from flask import Response as PageResponse
from sqlalchemy import Connection, Engine
from werkzeug.local import LocalProxy
from werkzeug.wrappers import Response

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    Right,
    SessionLimits,
    SessionTimes,
    derive_form_token,
    digest_token,
    is_session_over,
    list_rights,
    make_token,
)
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import Hub, find_account_refusal
from gateway.store import NewSession, accounts, read_transaction, sessions, write_transaction
from gateway.web.console.draft_reports import KeptReports
from gateway.web.hub_readiness import HubReadiness, build_hub_readiness
from gateway.web.server import CERTIFICATE_KEY, find_client_address, get_client_network

if TYPE_CHECKING:
    from gateway.web.officers import OfficerDesk


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """The services of the pages; `desk` performs the acts of officers, `random(n)` returns n random octets.

    `draft_reports` keeps the reports on drafts, `readiness` judges whether the hub accepts messages.
    """

    hub: Hub
    settings: Settings
    clock: Callable[[], datetime]
    desk: OfficerDesk
    readiness: HubReadiness
    random: Callable[[int], bytes] = os.urandom
    draft_reports: KeptReports = field(default_factory=KeptReports)

    @property
    def engine(self) -> Engine:
        """Return the engine of the database."""
        return self.hub.engine

    @property
    def session_limits(self) -> SessionLimits:
        """Return how long sessions last."""
        return SessionLimits(self.settings.console.idle, self.settings.console.longest)

    @property
    def public_url(self) -> str:
        """Return the URL of the console as browsers see it, without a slash at its end."""
        return get_console_url(self.settings)


#: The services of the console that answers the present request, as Flask has `current_app`.
services: ConsoleServices = LocalProxy(lambda: current_app.extensions["console"])  # type: ignore[assignment]


def get_console_url(settings: Settings) -> str:
    """Return the URL of the console as browsers see it, without a slash at its end."""
    console = settings.console
    return str(console.public_url or f"http://localhost:{console.port}").rstrip("/")


def build_console_services(hub: Hub, settings: Settings, desk: OfficerDesk) -> ConsoleServices:
    """Return the services of a hub with these settings."""
    return ConsoleServices(hub, settings, hub.clock, desk, build_hub_readiness(hub))


#: The shortest time between two records of a session's last use.
_PRECISION: Final = timedelta(seconds=60)
_TOKEN: Final = 32
#: The most sessions that one account may have at the same time.
_MOST_SESSIONS: Final = 20


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in person: the account, the organisation the person acts for, and the rights there."""

    session: int
    account: int
    name: str
    display_name: str
    organisation: Organisation
    roles: frozenset[str]
    rights: frozenset[Right]
    language: str
    method: str
    form_token: str
    #: When the person signed in.
    signed_in_at: datetime
    #: When the session was last used, as recorded.
    seen_at: datetime
    #: When the person is known to have proved who they are; None if that is not known.
    authenticated_at: datetime | None
    #: Whether a sentence waits for the next page.
    has_flash_message: bool = False

    def may(self, right: Right) -> bool:
        """Return whether this person has a right."""
        return right in self.rights


def find_visitor(token: str | None) -> Visitor | None:
    """Return the person whose session has this token; None if there is none or it has ended.

    A session that began with a client certificate counts only while `find_session_refusal` finds nothing.
    """
    if not token or len(token) > 2 * _TOKEN:
        return None
    with read_transaction(services.engine) as conn:
        row = sessions.find_session(conn, digest_token(token))
        if row is None or row.status != "ACTIVE":
            return None
        times = SessionTimes(row.created_at, row.seen_at, row.ended_at)
        if is_session_over(times, services.session_limits, services.clock()):
            return None
        organisation = Organisation(OrganisationKind(row.kind), row.organisation)
        roles = _read_roles(conn, row.account_id, organisation)
    if not roles:
        return None
    rights = list_rights(organisation.kind, roles)
    return Visitor(
        session=row.id,
        account=row.account_id,
        name=row.name,
        display_name=row.display_name,
        organisation=organisation,
        roles=roles,
        rights=rights,
        language=row.language,
        method=row.method,
        form_token=row.form_token or derive_form_token(token),
        signed_in_at=row.created_at,
        seen_at=row.seen_at,
        authenticated_at=row.authenticated_at,
        has_flash_message=row.notice is not None,
    )


def find_session_refusal(visitor: Visitor) -> GatewayError | None:
    """Return why a session does not count now; None where it counts.

    It is the problem of the client certificate that the session began with. Raises GW806 where that could
    not be validated.
    """
    return find_account_refusal(services.hub, visitor.account) if visitor.method == "certificate" else None


def prolong_session(visitor: Visitor) -> None:
    """Record that a session is used now, where the last record is not recent."""
    now = services.clock()
    if now - visitor.seen_at >= _PRECISION:
        with write_transaction(services.engine, "console.session") as conn:
            sessions.record_session_use(conn, visitor.session, now)


@dataclass(frozen=True, slots=True)
class Authentication:
    """How a person signed in and from which network; and when they proved who they are, if that is known."""

    method: str
    network: str
    authenticated_at: datetime | None


def begin_session(conn: Connection, account: int, authentication: Authentication) -> str | None:
    """Store a session of an account in its first organisation; return its token.

    Returns None if the account has no usable role; roles in suspended parties cannot be used.
    """
    usable_roles = accounts.list_usable_roles(conn, account)
    if not usable_roles:
        return None
    role = usable_roles[0]
    organisation = Organisation(OrganisationKind(role.kind), role.organisation)
    return _store_session(conn, account, organisation, authentication)


def switch_organisation(visitor: Visitor, organisation: Organisation, network: str) -> str | None:
    """End a session and begin one in another organisation of the same person; return its token.

    This is no new sign-in: the new session ends when the old one would have ended.
    Returns None, and changes nothing, when the person has no role there, or the session has ended meanwhile.
    """
    with write_transaction(services.engine, "console.session") as conn:
        is_open = sessions.lock_open_session(conn, visitor.account, visitor.session)
        if not is_open or not _read_roles(conn, visitor.account, organisation):
            return None
        sessions.end_session(conn, visitor.session, services.clock())
        authentication = Authentication(visitor.method, network, visitor.authenticated_at)
        return _store_session(
            conn, visitor.account, organisation, authentication, signed_in_at=visitor.signed_in_at
        )


def end_session(token: str) -> None:
    """End the session with this token, also one that does not count now; do nothing if there is none."""
    with write_transaction(services.engine, "console.session") as conn:
        row = sessions.find_session(conn, digest_token(token))
        if row is not None:
            sessions.end_session(conn, row.id, services.clock())


def _store_session(
    conn: Connection,
    account: int,
    organisation: Organisation,
    authentication: Authentication,
    signed_in_at: datetime | None = None,
) -> str:
    """Store a session of an account in an organisation; return its token."""
    token, now = make_token(services.random(_TOKEN)), services.clock()
    new = NewSession(
        digest_token(token),
        account,
        organisation.kind.value,
        organisation.code,
        authentication.method,
        authentication.network,
        authentication.authenticated_at,
    )
    sessions.end_oldest_sessions(conn, account, _MOST_SESSIONS - 1, now)
    sessions.insert_session(conn, new, now, signed_in_at)
    return token


def _read_roles(conn: Connection, account: int, organisation: Organisation) -> frozenset[str]:
    """Return the usable roles that an account has in one organisation."""
    usable_roles = accounts.list_usable_roles(conn, account)
    return frozenset(
        row.role
        for row in usable_roles
        if (row.kind, row.organisation) == (organisation.kind, organisation.code)
    )


_Parameters = ParamSpec("_Parameters")
_Answer = TypeVar("_Answer")
_Page = TypeVar("_Page", bound=Callable[..., object])
_SIGN_IN: Final = "/console/sign-in"
#: Every guarded page, with the right that it asks for.
_GUARDED: Final[WeakKeyDictionary[Callable[..., object], Right | None]] = WeakKeyDictionary()
#: The pages that are the same for everybody, also where no session can be read.
_SESSIONLESS: Final[WeakSet[Callable[..., object]]] = WeakSet()
#: The first page of a person, by the kind of the organisation.
_HOMES: Final = {
    OrganisationKind.AGENCY: "/console/work",
    OrganisationKind.PARTY: "/console/cases",
    OrganisationKind.OPERATOR: "/console/operations",
}


def get_home_path(visitor: Visitor | None) -> str:
    """Return the path of a person's first page, or of the sign-in page if no person is signed in."""
    return _SIGN_IN if visitor is None else _HOMES[visitor.organisation.kind]


def get_network() -> str:
    """Return the client network of this request; attempts to sign in are counted by it."""
    return str(g.network)


def get_request_path() -> str:
    """Return the path of this request as a link needs it: the server has decoded it."""
    return quote(request.path, safe="/")


def get_request_address() -> str:
    """Return path and query of this request, as a link needs them."""
    query = request.full_path[len(request.path) + 1 :]
    return f"{get_request_path()}?{query}" if query else get_request_path()


def get_visitor() -> Visitor:
    """Return the signed-in person of this request; without one, the answer is the sign-in page."""
    visitor: Visitor | None = g.get("visitor")
    if visitor is None:
        return_path = get_request_address() if request.method == "GET" else "/console/"
        abort(redirect(f"{_SIGN_IN}?{urlencode({'next': return_path})}"))
    return visitor


#: The signed-in person of the present request, as `get_visitor` finds it.
visitor: Visitor = LocalProxy(get_visitor)  # type: ignore[assignment]


def require_sign_in(page: Callable[_Parameters, _Answer]) -> Callable[_Parameters, _Answer]:
    """Let only signed-in persons see a page."""

    @wraps(page)
    def guarded(*arguments: _Parameters.args, **keywords: _Parameters.kwargs) -> _Answer:
        get_visitor()
        return page(*arguments, **keywords)

    _GUARDED[guarded] = None
    return guarded


def require_right(
    right: Right,
) -> Callable[[Callable[_Parameters, _Answer]], Callable[_Parameters, _Answer]]:
    """Let only persons with this right see a page; others get status 403."""

    def decorate(page: Callable[_Parameters, _Answer]) -> Callable[_Parameters, _Answer]:
        @wraps(page)
        def guarded(*arguments: _Parameters.args, **keywords: _Parameters.kwargs) -> _Answer:
            if not get_visitor().may(right):
                abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to see this page.")
            return page(*arguments, **keywords)

        _GUARDED[guarded] = right
        return guarded

    return decorate


def leave_session_unread(page: _Page) -> _Page:
    """Let a page be shown without reading the visitor's session, also while the database does not answer."""
    _SESSIONLESS.add(page)
    return page


def is_session_unread(page: Callable[..., object] | None) -> bool:
    """Return whether a page is shown without reading the visitor's session."""
    return page in _SESSIONLESS


def needs_sign_in(page: Callable[..., object]) -> bool:
    """Return whether a page has a guard."""
    return page in _GUARDED


def find_required_right(page: Callable[..., object]) -> Right | None:
    """Return the right that a page requires; None if it requires only a sign-in, or not even that."""
    return _GUARDED.get(page)


def check_return_path(path: str) -> str:
    """Return `path` if it is one of the console, to go to after the sign-in; else that of the first page."""
    try:
        parts = urlsplit(path)
    except ValueError:  # a host in brackets that is no IPv6 address, or with a sign that NFKC takes apart
        return "/console/"
    is_local = not parts.scheme and not parts.netloc and parts.path.startswith("/console/")
    return path if is_local and "\\" not in path and path.isprintable() else "/console/"


#: The prefix binds the cookie to this host, to `/`, and to HTTPS (RFC 6265bis 4.1.3.2).
COOKIE: Final = "__Host-session"
#: Name of the form field with the session's form token.
FORM_TOKEN: Final = "form_token"  # noqa: S105  # a field name
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with it, browsers send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), publickey-credentials-get=(self)",
}


def add_security_headers(response: PageResponse) -> PageResponse:
    """Add the headers that every answer has; an answer may have stricter ones already."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def find_forgery(request: Request, visitor: Visitor | None, origin: str | None) -> str | None:
    """Return why a request may be forged by another site, as a sentence; None when it is not.

    `origin` is that of the console in the settings. Without one, the Host of the request is used. The Host
    alone is no proof, because a browser sends in it any name by which it has reached this server.
    """
    if request.method in _SAFE:
        return None
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return "The request was sent by another site."
    sender = request.headers.get("Origin")
    if sender is not None and sender.rstrip("/") != (origin or request.host_url.rstrip("/")):
        # A proxy may put another Host in place of the browser's, as nginx does by default.
        return (
            "The request was sent by another site."
            if origin
            else "The request was sent by another site, or through a proxy that changes its Host: then the "
            "setting console.public_url has to name the address of this console."
        )
    if visitor is None:
        return None
    token = request.form.get(FORM_TOKEN) or request.headers.get("X-Form-Token") or ""
    # A page that reads no session derives the token from the cookie.
    accepted_tokens = (visitor.form_token, derive_form_token(request.cookies.get(COOKIE, "")))
    if not any(hmac.compare_digest(token.encode(), accepted.encode()) for accepted in accepted_tokens):
        return "The form belongs to another session."
    return None


def set_session_cookie(response: Response, token: str) -> None:
    """Set the cookie of a session; it ends with the browser, and with the session."""
    response.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="Strict", path="/")


def clear_session_cookie(response: Response) -> None:
    """Remove the cookie."""
    response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="Strict", path="/")


def store_flash_message(sentence: str) -> None:
    """Store the sentence for the next page of the visitor."""
    with write_transaction(services.engine, "console.notice") as conn:
        sessions.set_flash_message(conn, get_visitor().session, sentence)


def find_client_network(request: Request, proxies: Collection[str]) -> str:
    """Return the client network of a request: the address of the client, for IPv6 its /64 network."""
    forwarded = request.headers.get("X-Forwarded-For")
    return get_client_network(find_client_address(request.remote_addr or "", forwarded, proxies))


def find_client_certificate(request: Request) -> str | None:
    """Return the SHA-256 of the certificate that the browser has shown in the TLS handshake."""
    sha256 = request.environ.get(CERTIFICATE_KEY)
    return str(sha256) if sha256 else None
