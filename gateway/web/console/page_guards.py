"""Guards of pages: who may see a page, and where a person begins."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar
from urllib.parse import urlencode, urlsplit
from weakref import WeakKeyDictionary

from flask import abort, g, redirect, request

from gateway.accounts import OrganisationKind, Right

if TYPE_CHECKING:
    from gateway.web.console.visitor_session import Visitor

__all__ = [
    "accept_files",
    "check_return_path",
    "find_accepted_octets",
    "find_required_right",
    "get_home_path",
    "get_network",
    "get_visitor",
    "needs_sign_in",
    "require_right",
    "require_sign_in",
]

_Parameters = ParamSpec("_Parameters")
_Answer = TypeVar("_Answer")
_Page = TypeVar("_Page", bound=Callable[..., object])
_SIGN_IN: Final = "/console/sign-in"
#: Every guarded page, with the right that it asks for.
_GUARDED: Final[WeakKeyDictionary[Callable[..., object], Right | None]] = WeakKeyDictionary()
#: The pages that take files, with the octets that a form may have there.
_ACCEPTED: Final[WeakKeyDictionary[Callable[..., object], int]] = WeakKeyDictionary()
#: The first page of a person, by the kind of the organisation.
_HOMES: Final = {
    OrganisationKind.AGENCY: "/console/work",
    OrganisationKind.PARTY: "/console/cases",
    OrganisationKind.OPERATOR: "/console/operations",
}


def get_home_path(visitor: Visitor | None) -> str:
    """Return the path of a person's first page; of the sign-in page without a person."""
    return _SIGN_IN if visitor is None else _HOMES[visitor.organisation.kind]


def get_network() -> str:
    """Return the network of this request, for which attempts to sign in are counted."""
    return str(g.network)


def get_visitor() -> Visitor:
    """Return the signed-in person of this request; without one, the answer is the sign-in page."""
    visitor: Visitor | None = g.get("visitor")
    if visitor is None:
        wanted = request.full_path.rstrip("?") if request.method == "GET" else "/console/"
        abort(redirect(f"{_SIGN_IN}?{urlencode({'next': wanted})}"))
    return visitor


def require_sign_in(page: Callable[_Parameters, _Answer]) -> Callable[_Parameters, _Answer]:
    """Let only signed-in persons see a page."""

    @wraps(page)
    def guarded(*arguments: _Parameters.args, **named: _Parameters.kwargs) -> _Answer:
        get_visitor()
        return page(*arguments, **named)

    _GUARDED[guarded] = None
    return guarded


def require_right(
    right: Right,
) -> Callable[[Callable[_Parameters, _Answer]], Callable[_Parameters, _Answer]]:
    """Let only persons with this right see a page; others get status 403."""

    def decorate(page: Callable[_Parameters, _Answer]) -> Callable[_Parameters, _Answer]:
        @wraps(page)
        def guarded(*arguments: _Parameters.args, **named: _Parameters.kwargs) -> _Answer:
            if not get_visitor().may(right):
                abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to see this page.")
            return page(*arguments, **named)

        _GUARDED[guarded] = right
        return guarded

    return decorate


def accept_files(octets: int) -> Callable[[_Page], _Page]:
    """Let signed-in persons send a form of so many octets, for the files in it; stands above the guard."""

    def decorate(page: _Page) -> _Page:
        _ACCEPTED[page] = octets
        return page

    return decorate


def find_accepted_octets(page: Callable[..., object] | None) -> int | None:
    """Return how large a form for a page may be; None where the usual limit applies."""
    return None if page is None else _ACCEPTED.get(page)


def needs_sign_in(page: Callable[..., object]) -> bool:
    """Return whether a page has a guard."""
    return page in _GUARDED


def find_required_right(page: Callable[..., object]) -> Right | None:
    """Return the right that a page asks for; None when a sign-in suffices, or nothing."""
    return _GUARDED.get(page)


def check_return_path(path: str) -> str:
    """Return a path of the console to go to after the sign-in; any other value becomes the first page."""
    parts = urlsplit(path)
    inside = not parts.scheme and not parts.netloc and parts.path.startswith("/console/")
    return path if inside and "\\" not in path and path.isprintable() else "/console/"
