"""What some pages need beyond others: room for files in their forms, and the time to hash a password."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from flask import Flask, current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from gateway.accounts import hash_password, verify_password
from gateway.web.server import PageNeeds

_Page = TypeVar("_Page", bound=Callable[..., Any])
#: The pages that take files, with the octets that a form may have there.
_ACCEPTED: Final[WeakKeyDictionary[Callable[..., Any], int]] = WeakKeyDictionary()
#: The pages that hash a password.
_HASHING: Final[WeakSet[Callable[..., Any]]] = WeakSet()


def accept_files(octets: int) -> Callable[[_Page], _Page]:
    """Return a decorator that lets a page accept forms of at most `octets`, for the files in them.

    It is written above the guard (`require_sign_in`, `require_right`).
    """

    def decorate(page: _Page) -> _Page:
        _ACCEPTED[page] = octets
        return page

    return decorate


def find_accepted_octets(page: Callable[..., object] | None) -> int | None:
    """Return how many octets a form for a page may have; None if the usual limit applies."""
    return None if page is None else _ACCEPTED.get(page)


def take_password(page: _Page) -> _Page:
    """Let a page hash a password: it waits for one of few threads. It is written above the guard."""
    _HASHING.add(page)
    return page


def find_page_needs(application: Flask, method: str, path: str) -> PageNeeds:
    """Return what the page of a method and a path of the console needs; nothing without such a page."""
    try:
        endpoint, _ = application.url_map.bind("").match(path, method)
    except (HTTPException, RequestRedirect):
        return PageNeeds()
    page = application.view_functions.get(endpoint)
    return PageNeeds(find_accepted_octets(page), page in _HASHING)


def verify_typed_password(stored_hash: str | None, password: str) -> bool:
    """Return whether a password has this hash, in a request for a page that takes one (`take_password`).

    See `gateway.accounts.verify_password`.
    """
    _require_password_page()
    return verify_password(stored_hash, password)


def hash_typed_password(password: str, salt: bytes) -> str:
    """Return the hash of a password, in a request for a page that takes one (`take_password`)."""
    _require_password_page()
    return hash_password(password, salt)


def _require_password_page() -> None:
    """Raise RuntimeError in a request for a page that would hash in one of the threads of all pages."""
    if current_app.view_functions.get(request.endpoint or "") not in _HASHING:
        raise RuntimeError(f"{request.endpoint} hashes a password without take_password")
