"""Sign-ins by OpenID at a console in process: a browser goes to the provider and comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from werkzeug.test import TestResponse

from gateway.store import accounts, write_transaction
from tests.kit.console import Browser, Console
from tests.kit.openid_provider import CLIENT, SECRET, OpenIdProvider
from tests.kit.story import Story

SIGN_IN: Final = "/console/sign-in/openid"
_HOST: Final = "http://localhost:8081"
_SESSION: Final = "__Host-session"
_AS_IT_IS: Final[Mapping[str, str | None]] = MappingProxyType({})


def add_console(story: Story, provider: OpenIdProvider, folder: Path) -> Console:
    """Return a console with this provider, and an account "kim" that is bound to the provider's person."""
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    oidc = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": {"file": str(secret)}}
    console = Console(story.house.hub, console={"oidc": oidc | {"label": "Ministry"}})
    bind_account(console, console.add_account("kim", ("agency", "KPTA"), "officer"), provider)
    return console


def bind_account(console: Console, account: int, provider: OpenIdProvider) -> None:
    """Bind an account to the person who signs in at the provider."""
    with write_transaction(console.services.engine, "test") as conn:
        values = {"oidc_issuer": provider.issuer, "oidc_subject": provider.subject}
        accounts.update_account(conn, account, **values)


def find_provider_address(page: TestResponse) -> str:
    """Return the address of the provider to which a page leads the browser."""
    assert page.status_code == 200, "no form leads to another site"
    address = re.search(r'content="0; url=([^"]+)"', page.text)
    assert address is not None, page.text
    return unescape(address[1])


def go_to_provider(browser: Browser, changed: Mapping[str, str | None] = _AS_IT_IS, **fields: str) -> str:
    """Press the button of the provider, and sign in there; return the path to which the browser comes back.

    `changed`: parameters that the person changes in the address of the provider; None takes one out.
    `fields`: those of the form.
    """
    parts = urlsplit(find_provider_address(browser.post(SIGN_IN, **fields)))
    query = dict(parse_qsl(parts.query)) | changed
    query = {name: value for name, value in query.items() if value is not None}
    address = parts._replace(query=urlencode(query)).geturl()
    back = requests.get(address, allow_redirects=False, timeout=60).headers["Location"]
    assert back.startswith(f"{_HOST}{SIGN_IN}/return?")
    return str(back).removeprefix(_HOST)


def come_back(browser: Browser, path: str) -> TestResponse:
    """Return from the provider as a browser does: the strict cookie of the session stays away."""
    cookie = browser.client.get_cookie(_SESSION)
    browser.client.delete_cookie(_SESSION)
    answer = browser.get(path)
    if cookie is not None and browser.client.get_cookie(_SESSION) is None:
        browser.client.set_cookie(_SESSION, cookie.value, secure=True)
    return answer
