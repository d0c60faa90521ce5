"""Protects the pages: response headers, forged requests, and the cookie of the session.

Every form contains the token of its session, and every request that changes something must come from
a page of ours (Sec-Fetch-Site, Origin). Nothing inline runs, no page is put into a frame, and nothing
is stored by browsers or proxies.
"""

from __future__ import annotations

import hmac
from typing import Final

from flask import Request
from flask import Response as PageResponse
from werkzeug.wrappers import Response

from gateway.web.console.visitor_session import Visitor

__all__ = [
    "COOKIE",
    "FORM_TOKEN",
    "add_security_headers",
    "clear_session_cookie",
    "find_forgery",
    "set_session_cookie",
]

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


def find_forgery(request: Request, visitor: Visitor | None, public_url: str) -> str | None:
    """Return why a request may be forged by another site, as a sentence; None when it is not."""
    if request.method in _SAFE:
        return None
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return "The request was sent by another site."
    origin = request.headers.get("Origin")
    if origin is not None and origin.rstrip("/") not in (public_url, request.host_url.rstrip("/")):
        return "The request was sent by another site."
    if visitor is None:
        return None
    given = request.form.get(FORM_TOKEN) or request.headers.get("X-Form-Token") or ""
    if not hmac.compare_digest(given.encode(), visitor.form_token.encode()):
        return "The form belongs to another session."
    return None


def set_session_cookie(response: Response, token: str) -> None:
    """Set the cookie of a session; it ends with the browser, and with the session."""
    response.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="Strict", path="/")


def clear_session_cookie(response: Response) -> None:
    """Remove the cookie."""
    response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="Strict", path="/")
