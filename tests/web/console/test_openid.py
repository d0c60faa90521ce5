"""Sign-in by OpenID Connect against a real provider over HTTP, which lies where it can."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from gateway.config import OidcSettings
from gateway.store import accounts, audit_log, oidc_sign_ins, read_transaction, sessions, write_transaction
from gateway.web.console.oidc_provider import AuthorizationRequest, OidcProvider, ProviderError
from tests.kit.console import Browser, Console
from tests.kit.house import START as NOW
from tests.kit.openid_provider import CLIENT, SECRET, OpenIdProvider, serve_provider
from tests.kit.story import Story

AGENCY = ("agency", "KPTA")
START = "/console/sign-in/openid"


@pytest.fixture
def provider(story: Story) -> Iterator[OpenIdProvider]:
    with serve_provider(story.clock) as provider:
        yield provider


@pytest.fixture
def console(story: Story, provider: OpenIdProvider, tmp_path: Path) -> Console:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    wanted = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": {"file": str(secret)}}
    console = Console(story.house.hub, console={"oidc": wanted | {"label": "Ministry"}})
    bind(console, console.add_account("kim", AGENCY, "officer"), provider)
    return console


def bind(console: Console, account: int, provider: OpenIdProvider) -> None:
    with write_transaction(console.services.engine, "test") as conn:
        values = {"oidc_issuer": provider.issuer, "oidc_subject": provider.subject}
        accounts.update_account(conn, account, **values)


def go_there(browser: Browser, **asked: str) -> str:
    """Follow the browser to the provider and back; return the path it comes back to."""
    begun = browser.get(START, query_string=asked)
    assert begun.status_code == 302, begun.text
    back = requests.get(begun.location, allow_redirects=False, timeout=60).headers["Location"]
    assert back.startswith("http://localhost:8081/console/sign-in/openid/return?")
    return back.removeprefix("http://localhost:8081")


def sign_in(console: Console, **asked: str) -> tuple[Browser, TestResponse]:
    browser = console.visit()
    return browser, browser.get(go_there(browser, **asked))


def test_a_bound_person_enters(console: Console, provider: OpenIdProvider) -> None:
    assert "Sign in with Ministry" in console.visit().get("/console/sign-in").text
    browser, answer = sign_in(console, next="/console/account")
    assert answer.status_code == 200
    assert 'content="0; url=/console/account"' in answer.text
    assert "KPTA" in browser.get("/console/account").text
    with read_transaction(console.services.engine) as conn:
        assert [one.method for one in sessions.list_by_account(conn, 1)] == ["openid"]
        assert audit_log.list_actions(conn, actor="kim")[0].object == "openid"
    sign_in(console)
    assert provider.seen.count("/keys") == 1, "addresses and keys are kept"
    console.services.hub.clock.now += timedelta(hours=1)  # type: ignore[attr-defined]
    sign_in(console)
    assert provider.seen.count("/keys") == 2


@pytest.mark.parametrize("how", ["unbound", "suspended", "without roles", "of another issuer"])
def test_a_person_who_may_not_enter_is_not_made(console: Console, provider: OpenIdProvider, how: str) -> None:
    with write_transaction(console.services.engine, "test") as conn:
        now = console.services.clock()
        if how == "unbound":
            provider.subject = "somebody else"
        if how == "suspended":
            accounts.set_status(conn, 1, "SUSPENDED", now)
        if how == "without roles":
            accounts.set_roles(conn, 1, AGENCY, [], now)
        if how == "of another issuer":
            accounts.update_account(conn, 1, oidc_issuer="https://other.example")
    browser, answer = sign_in(console)
    assert answer.status_code == 401
    assert "No account of this console belongs to this person." in answer.text
    assert browser.get("/console/account").status_code == 302
    with read_transaction(console.services.engine) as conn:
        assert len(accounts.list_accounts(conn)) == 1


def test_a_token_of_another_request_is_refused(console: Console, provider: OpenIdProvider) -> None:
    provider.bend = {"nonce": "another"}
    _, answer = sign_in(console)
    assert answer.status_code == 401
    assert "The provider has not signed you in." in answer.text


def test_a_provider_may_change_its_keys(console: Console, provider: OpenIdProvider) -> None:
    assert sign_in(console)[1].status_code == 200
    provider.key = RSAKey.generate_key(2048, {"kid": "2", "use": "sig"})
    assert sign_in(console)[1].status_code == 401, "the keys were just fetched"
    console.services.hub.clock.now += timedelta(minutes=1)  # type: ignore[attr-defined]
    assert sign_in(console)[1].status_code == 200


def test_an_answer_is_good_once_and_in_the_browser_that_asked(console: Console) -> None:
    browser = console.visit()
    path = go_there(browser)
    stranger = console.visit()
    assert "no sign-in of this browser" in stranger.get(path).text
    assert browser.get(path).status_code == 401, "the stranger has used it up"
    path = go_there(browser)
    assert browser.get(path).status_code == 200
    assert browser.get(path).status_code == 401


@pytest.mark.parametrize("how", ["late", "another state", "no state", "no code", "another issuer"])
def test_an_answer_that_was_not_asked_for_is_refused(console: Console, how: str) -> None:
    browser = console.visit()
    path = go_there(browser)
    said = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    if how == "late":
        console.services.hub.clock.now += timedelta(minutes=10)  # type: ignore[attr-defined]
    said |= {"another state": {"state": "x"}, "another issuer": {"iss": "https://evil.example"}}.get(how, {})
    said.pop({"no state": "state", "no code": "code"}.get(how, ""), None)
    assert browser.get(f"{START}/return", query_string=said).status_code == 401


def test_a_code_of_another_sign_in_is_refused(console: Console) -> None:
    """The verifier of one browser does not fit the code of another."""
    browser, other = console.visit(), console.visit()
    code = parse_qs(urlsplit(go_there(other)).query)["code"][0]
    said = {name: values[0] for name, values in parse_qs(urlsplit(go_there(browser)).query).items()}
    answer = browser.get(f"{START}/return", query_string=said | {"code": code})
    assert answer.status_code == 503
    assert "gives no good answer" in answer.text


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
    ids=str,
)
def test_metadata_that_lead_elsewhere_are_refused(
    console: Console, provider: OpenIdProvider, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    assert console.visit().get(START).status_code == 503


def test_a_provider_that_is_away_is_said(console: Console, provider: OpenIdProvider) -> None:
    provider.metadata = {"jwks_uri": f"{provider.issuer}/nothing"}
    assert "cannot be reached" in console.visit().get(START).text


def test_a_provider_that_fails_is_left_alone_for_a_while(console: Console, provider: OpenIdProvider) -> None:
    provider.metadata = {"issuer": "https://evil.example"}
    for _ in range(3):
        assert console.visit().get(START).status_code == 503
    assert len(provider.seen) == 1
    provider.metadata = {}
    console.services.hub.clock.now += timedelta(seconds=30)  # type: ignore[attr-defined]
    assert sign_in(console)[1].status_code == 200


def test_a_slow_provider_takes_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """While two threads wait for it, a third one is refused at once."""
    monkeypatch.setattr("gateway.web.console.oidc_provider._TURN", 0.01)
    oidc = OidcSettings(issuer="https://id.example", client_id=CLIENT)
    one = OidcProvider(oidc, "http://localhost/return", lambda: NOW)
    one._metadata, one._fetched_at = {"token_endpoint": "https://id.example/token"}, NOW
    with one._take_turn(), one._take_turn(), pytest.raises(ProviderError, match="slow"):
        one.redeem_code("code", AuthorizationRequest("s", "n", "v"))
    with one._lock, pytest.raises(ProviderError, match="slow"):
        forget_metadata(one)._load_metadata()


def forget_metadata(one: OidcProvider) -> OidcProvider:
    """Return the provider as it is before anything was fetched, while another thread fetches."""
    one._fetched_at = None
    return one


def test_sign_ins_of_a_network_are_limited_and_removed(console: Console) -> None:
    now = console.services.clock()
    with write_transaction(console.services.engine, "test") as conn:
        for number in range(100):
            row = oidc_sign_ins.NewOidcSignIn(
                str(number), "b", "n", "v", "/", "127.0.0.1", now + timedelta(minutes=1)
            )
            oidc_sign_ins.insert_sign_in(conn, row)
    assert console.visit().get(START).status_code == 429
    console.services.hub.clock.now += timedelta(minutes=1)  # type: ignore[attr-defined]
    assert console.visit().get(START).status_code == 302
    with write_transaction(console.services.engine, "test") as conn:
        assert oidc_sign_ins.remove_expired_sign_ins(conn, console.services.clock()) == 100


def test_without_a_provider_there_is_no_such_page(story: Story) -> None:
    console = Console(story.house.hub)
    assert "openid" not in console.visit().get("/console/sign-in").text
    assert console.visit().get(START).status_code == 404
