"""Sign-in by OpenID Connect against a real provider over HTTP, which lies where it can."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from gateway.config import OidcSettings
from gateway.store import accounts, read_transaction, sessions, write_transaction
from gateway.store.sessions import oidc_sign_ins as sign_in_rows
from gateway.web.console.oidc_provider import AuthorizationRequest, OidcProvider, ProviderError
from tests.kit.audited import list_actions
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import BOTH
from tests.kit.house import START as NOW
from tests.kit.long_texts import make_text_of_octets
from tests.kit.openid_provider import CLIENT, OpenIdProvider, serve_provider
from tests.kit.openid_visits import SIGN_IN, add_console, bind_account, come_back, go_to_provider
from tests.kit.story import Story

AGENCY = ("agency", "KPTA")


@pytest.fixture
def provider(story: Story) -> Iterator[OpenIdProvider]:
    with serve_provider(story.clock) as provider:
        yield provider


@pytest.fixture
def console(story: Story, provider: OpenIdProvider, tmp_path: Path) -> Console:
    return add_console(story, provider, tmp_path)


def sign_in(console: Console, **asked: str) -> tuple[Browser, TestResponse]:
    browser = console.visit()
    return browser, browser.get(go_to_provider(browser, **asked))


@pytest.mark.long
@BOTH
def test_a_bound_person_enters(console: Console, provider: OpenIdProvider) -> None:
    assert "Sign in with Ministry" in console.visit().get("/console/sign-in").text
    browser, answer = sign_in(console, next="/console/account")
    assert answer.status_code == 200
    assert 'content="0; url=/console/account"' in answer.text
    assert "KPTA" in browser.get("/console/account").text
    with read_transaction(console.services.engine) as conn:
        assert [one.method for one in sessions.list_sessions(conn, 1)] == ["openid"]
        assert list_actions(conn, actor="kim")[0].object == "openid"
    sign_in(console)
    assert provider.seen.count("/keys") == 1, "addresses and keys are kept"
    assert {name.partition("/")[0] for name in provider.user_agents} == {"singlewindow-gateway"}
    console.services.hub.clock.now += timedelta(hours=1)  # type: ignore[attr-defined]
    sign_in(console)
    assert provider.seen.count("/keys") == 2


@BOTH
def test_a_person_is_found_by_the_longest_subject_alone(console: Console, provider: OpenIdProvider) -> None:
    provider.subject = make_text_of_octets(512)
    bind_account(console, 1, provider)
    assert sign_in(console)[1].status_code == 200
    provider.subject = make_text_of_octets(513)
    _, answer = sign_in(console)
    assert 400 <= answer.status_code < 500
    with read_transaction(console.services.engine) as conn:
        assert [one.method for one in sessions.list_sessions(conn, 1)] == ["openid"]


@pytest.mark.parametrize("how", ["unbound", "suspended", "without roles", "of another issuer"])
def test_a_person_who_may_not_enter_is_not_made(console: Console, provider: OpenIdProvider, how: str) -> None:
    with write_transaction(console.services.engine, "test") as conn:
        now = console.services.clock()
        if how == "unbound":
            provider.subject = "somebody else"
        if how == "suspended":
            accounts.set_status(conn, 1, "SUSPENDED", now)
        if how == "without roles":
            accounts.set_roles(conn, 1, *AGENCY, [], now)
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


@pytest.mark.long
def test_a_provider_may_change_its_keys(console: Console, provider: OpenIdProvider) -> None:
    assert sign_in(console)[1].status_code == 200
    provider.key = RSAKey.generate_key(2048, {"kid": "2", "use": "sig"})
    assert sign_in(console)[1].status_code == 401, "the keys were just fetched"
    console.services.hub.clock.now += timedelta(minutes=1)  # type: ignore[attr-defined]
    assert sign_in(console)[1].status_code == 200


@pytest.mark.long
def test_tokens_that_do_not_verify_keep_no_addresses_of_the_provider(
    console: Console, provider: OpenIdProvider
) -> None:
    """The keys are fetched again for such a token; the addresses are as old as they are."""
    assert sign_in(console)[1].status_code == 200
    provider.signing = RSAKey.generate_key(2048, {"kid": "3"})
    for _ in range(3):
        console.services.hub.clock.now += timedelta(minutes=50)  # type: ignore[attr-defined]
        assert sign_in(console)[1].status_code == 401
    assert (provider.seen.count(METADATA), provider.seen.count("/keys")) == (2, 4)


def test_an_answer_is_good_once_and_in_the_browser_that_asked(console: Console) -> None:
    browser = console.visit()
    path = go_to_provider(browser)
    stranger = console.visit()
    assert "no sign-in of this browser" in stranger.get(path).text
    assert browser.get(path).status_code == 401, "the stranger has used it up"
    path = go_to_provider(browser)
    assert browser.get(path).status_code == 200
    assert browser.get(path).status_code == 401


KEPT = re.compile(r'name="kept" value="([^"]+)"')
TYPED = {"document": ["KFDA-FOOD-IMP"], "note": "typed for an hour"}


def type_late(console: Console, provider: OpenIdProvider) -> tuple[Browser, str]:
    """Send a form whose session has ended; return the browser, and the form as the page to sign in has it."""
    han = console.add_account("han", ("party", "broker1"), "filer")
    provider.subject = "han"
    bind_account(console, han, provider)
    browser = console.enter("han")
    browser.get("/console/submissions/new")
    console.services.hub.clock.now += timedelta(minutes=31)  # type: ignore[attr-defined]
    page = browser.post("/console/submissions/new", **TYPED).text
    assert f'<form method="post" action="{SIGN_IN}"' in page
    (kept,) = set(KEPT.findall(page))
    return browser, kept


def read_waiting_form(console: Console) -> str | None:
    """Return what is stored of a form while its sign-in waits."""
    with read_transaction(console.services.engine) as conn:
        (row,) = conn.execute(sign_in_rows.select()).all()
    sealed: str | None = row.kept_form
    return sealed


@pytest.mark.long
def test_what_was_typed_is_there_after_signing_in_again(console: Console, provider: OpenIdProvider) -> None:
    browser, kept = type_late(console, provider)
    path = go_to_provider(browser, kept=kept)
    ended = browser.client.get_cookie("__Host-session")
    sealed = read_waiting_form(console)
    assert ended is not None
    assert sealed is not None
    for secret in ("typed for an hour", kept, ended.value):
        assert secret not in sealed
    page = come_back(browser, path)
    assert page.status_code == 200
    assert 'action="/console/submissions/new"' in page.text
    assert "typed for an hour" in page.text
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page.text)
    assert found is not None
    browser.token = found[1]
    sent = browser.post("/console/submissions/new", document="KFDA-FOOD-IMP")
    assert sent.location.startswith("/console/submissions/")
    with read_transaction(console.services.engine) as conn:
        assert conn.execute(sign_in_rows.select()).all() == []


@pytest.mark.long
def test_what_was_typed_is_not_lost_where_the_provider_refuses(
    console: Console, provider: OpenIdProvider
) -> None:
    browser, kept = type_late(console, provider)
    refused = come_back(browser, go_to_provider(browser, kept=kept).replace("code=", "error="))
    assert (refused.status_code, set(KEPT.findall(refused.text))) == (401, {kept})
    provider.bend = {"nonce": "another"}
    assert set(KEPT.findall(come_back(browser, go_to_provider(browser, kept=kept)).text)) == {kept}
    provider.bend = {}
    provider.subject = "nobody here"
    assert set(KEPT.findall(come_back(browser, go_to_provider(browser, kept=kept)).text)) == {kept}
    again = browser.post("/console/sign-in", name="han", password=PASSWORD, kept=kept)
    assert "typed for an hour" in again.text


@pytest.mark.parametrize("how", ["another person", "another browser", "made up"])
def test_what_was_typed_by_openid_is_for_the_same_account_and_browser_alone(
    console: Console, provider: OpenIdProvider, how: str
) -> None:
    browser, kept = type_late(console, provider)
    if how == "another person":
        provider.subject = "lee"
        bind_account(console, console.add_account("lee", ("party", "broker1"), "filer"), provider)
    if how == "another browser":
        browser = console.visit()
    path = go_to_provider(browser, kept="x" * 4000 if how == "made up" else kept)
    sealed = read_waiting_form(console)
    assert (sealed is None) == (how == "another browser"), "strangers store nothing"
    assert how != "made up" or len(sealed or "") < 400, "of a form that is made up nothing is stored"
    page = come_back(browser, path)
    assert (page.status_code, 'content="0; url=/console/"' in page.text) == (200, True)
    assert "typed for an hour" not in page.text


@pytest.mark.parametrize("how", ["late", "another state", "no state", "no code", "another issuer"])
def test_an_answer_that_was_not_asked_for_is_refused(console: Console, how: str) -> None:
    browser = console.visit()
    path = go_to_provider(browser)
    said = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    if how == "late":
        console.services.hub.clock.now += timedelta(minutes=10)  # type: ignore[attr-defined]
    said |= {"another state": {"state": "x"}, "another issuer": {"iss": "https://evil.example"}}.get(how, {})
    said.pop({"no state": "state", "no code": "code"}.get(how, ""), None)
    assert browser.get(f"{SIGN_IN}/return", query_string=said).status_code == 401


def test_a_code_of_another_sign_in_is_refused(console: Console) -> None:
    """The verifier of one browser does not fit the code of another."""
    browser, other = console.visit(), console.visit()
    code = parse_qs(urlsplit(go_to_provider(other)).query)["code"][0]
    said = {name: values[0] for name, values in parse_qs(urlsplit(go_to_provider(browser)).query).items()}
    answer = browser.get(f"{SIGN_IN}/return", query_string=said | {"code": code})
    assert answer.status_code == 401
    assert "The provider has not signed you in." in answer.text


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
    assert console.visit().post(SIGN_IN).status_code == 503


def test_a_provider_that_is_away_is_said(console: Console, provider: OpenIdProvider) -> None:
    provider.metadata = {"jwks_uri": f"{provider.issuer}/nothing"}
    assert "cannot be reached" in console.visit().post(SIGN_IN).text


def test_a_provider_that_fails_is_left_alone_for_a_while(console: Console, provider: OpenIdProvider) -> None:
    provider.metadata = {"issuer": "https://evil.example"}
    for _ in range(3):
        assert console.visit().post(SIGN_IN).status_code == 503
    assert len(provider.seen) == 1
    provider.metadata = {}
    console.services.hub.clock.now += timedelta(seconds=30)  # type: ignore[attr-defined]
    assert sign_in(console)[1].status_code == 200


def make_provider(**more: Any) -> OidcProvider:
    oidc = OidcSettings(issuer="https://id.example", client_id=CLIENT, **more)
    return OidcProvider(oidc, "http://localhost/return", lambda: NOW)


def test_a_slow_provider_takes_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of a network wait for it at most, and four in all: one more is refused at once."""
    monkeypatch.setattr("gateway.web.console.oidc_provider._LONGEST_WAIT", 0.01)
    one = make_provider()
    one._metadata, one._fetched_at = {"token_endpoint": "https://id.example/token"}, NOW
    request = AuthorizationRequest("s", "n", "v")
    slots = one._slots
    with slots.reserve_slot("a"), slots.reserve_slot("a"):
        with pytest.raises(ProviderError, match="slow"):
            one.redeem_code("code", request, "a")
        with slots.reserve_slot("b"), slots.reserve_slot(), pytest.raises(ProviderError, match="slow"):
            one.redeem_code("code", request, "c")
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
            row = sessions.NewOidcSignIn(
                str(number), "b", "n", "v", "/", "127.0.0.1", now + timedelta(minutes=1)
            )
            sessions.insert_oidc_sign_in(conn, row)
    assert console.visit().post(SIGN_IN).status_code == 429
    console.services.hub.clock.now += timedelta(minutes=1)  # type: ignore[attr-defined]
    assert console.visit().post(SIGN_IN).status_code == 200
    with write_transaction(console.services.engine, "test") as conn:
        assert sessions.remove_expired_oidc_sign_ins(conn, console.services.clock()) == 100


@pytest.mark.long
def test_without_a_provider_there_is_no_such_page(story: Story) -> None:
    console = Console(story.house.hub)
    assert "openid" not in console.visit().get("/console/sign-in").text
    assert console.visit().post(SIGN_IN).status_code == 404


METADATA = "/.well-known/openid-configuration"
_Handler = BaseHTTPRequestHandler


def answer_with(body: bytes, **headers: str) -> Callable[[_Handler], None]:
    def answer(handler: _Handler) -> None:
        handler.send_response(200)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), text)
        handler.end_headers()
        with suppress(OSError):
            handler.wfile.write(body)

    return answer


def answer_slowly(handler: _Handler) -> None:
    """Send an octet every tenth of a second: never silent, never done."""
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):
        for _ in range(600):
            handler.wfile.write(b" ")
            time.sleep(0.1)


def redirect_elsewhere(handler: _Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


HOSTILE = {
    "inflating": answer_with(gzip.compress(bytes(200_000_000), 1), Content_Encoding="gzip"),
    "large": answer_with(b'{"keys": [' + b" " * 3_000_000 + b"]}"),
    "deep": answer_with(b"[" * 500_000),
    "a long number": answer_with(b'{"keys": ' + b"9" * 10_000 + b"}"),
    "slow": answer_slowly,
    "redirected": redirect_elsewhere,
    "not text": answer_with(b"\xff\xfe\x00"),
    "a list": answer_with(b"[]"),
    "empty": answer_with(b""),
}


def test_whatever_a_provider_answers_is_bounded_and_told(console: Console, provider: OpenIdProvider) -> None:
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 100 * 1024
    for path, (name, hostile) in itertools.product((METADATA, "/keys", "/token"), HOSTILE.items()):
        secret = console.services.settings.console.oidc.client_secret
        quick = OidcSettings(
            issuer=provider.issuer, client_id=CLIENT, client_secret=secret, time_out=timedelta(seconds=1)
        )
        one = OidcProvider(quick, "http://localhost/return", lambda: NOW)
        provider.answers = {path: hostile}
        begin = time.monotonic()
        with pytest.raises(ProviderError):
            one.redeem_code("code", AuthorizationRequest("s", "n", "v"), "a")
        assert time.monotonic() - begin < 10, (path, name)
        assert "/elsewhere" not in provider.seen
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < limit


BAD_KEYS: list[Any] = [
    {"keys": None},
    {"keys": 5},
    {"keys": "RSA"},
    {"keys": {"kty": "RSA"}},
    {"keys": []},
    {"keys": [None, 1, [], "x"]},
    {"keys": [{"kty": "EC", "crv": "secp224r1", "x": "AA", "y": "AA"}]},
    {"keys": [{"kty": ["RSA"]}, {"kty": {}}, {}]},
    {},
]


def test_keys_that_cannot_be_read_are_not_kept(console: Console, provider: OpenIdProvider) -> None:
    for bad in BAD_KEYS:
        provider.answers = {"/keys": answer_with(json.dumps(bad).encode())}
        answer = console.visit().post(SIGN_IN)
        assert (answer.status_code, "gives no good answer" in answer.text) == (503, True), bad
        # The next attempt asks again, and finds the keys mended.
        provider.answers = {}
        console.services.hub.clock.now += timedelta(seconds=30)  # type: ignore[attr-defined]
        assert sign_in(console)[1].status_code == 200, bad
        console.services.hub.clock.now += timedelta(hours=1)  # type: ignore[attr-defined]


@pytest.mark.long
def test_keys_that_were_good_stay_when_the_provider_publishes_bad_ones(
    console: Console, provider: OpenIdProvider
) -> None:
    assert sign_in(console)[1].status_code == 200
    provider.answers = {"/keys": answer_with(b'{"keys": null}')}
    console.services.hub.clock.now += timedelta(minutes=1)  # type: ignore[attr-defined]
    provider.signing = RSAKey.generate_key(2048, {"kid": "3"})
    assert sign_in(console)[1].status_code == 503
    provider.signing = None
    assert sign_in(console)[1].status_code == 200


BAD_METADATA: list[dict[str, Any]] = [
    {"jwks_uri": "https://[::1/keys"},
    {"token_endpoint": "https://id.example:99999/token"},
    {"authorization_endpoint": "https://id.example/\r\nSet-Cookie: a=b"},
    {"authorization_endpoint": "https://id.example/\ud800"},
    {"token_endpoint": "https://user:word@id.example/"},
    {"jwks_uri": "https:///keys"},
    {"jwks_uri": ["https://id.example/keys"]},
]


def test_addresses_that_are_none_are_refused(console: Console, provider: OpenIdProvider) -> None:
    for metadata in BAD_METADATA:
        provider.metadata = metadata
        assert console.visit().post(SIGN_IN).status_code == 503, metadata
        console.services.hub.clock.now += timedelta(seconds=30)  # type: ignore[attr-defined]


def test_made_up_codes_count_for_their_network_alone(console: Console, provider: OpenIdProvider) -> None:
    def make_up(browser: Browser) -> int:
        path = go_to_provider(browser)
        return browser.get(re.sub("code=[^&]*", "code=made-up", path)).status_code

    attacker = console.visit()
    answers = [make_up(attacker) for _ in range(50)]
    assert set(answers) == {401}
    asked = provider.seen.count("/token")
    assert make_up(attacker) == 429
    assert provider.seen.count("/token") == asked, "the provider is not asked for a network that must wait"
    honest = console.visit()
    honest.client.environ_base["REMOTE_ADDR"] = "192.0.2.77"
    assert honest.get(go_to_provider(honest)).status_code == 200
    # A return that no browser has begun counts for nobody.
    for _ in range(60):
        assert honest.get(f"{SIGN_IN}/return", query_string={"state": "x", "code": "y"}).status_code == 401
    assert honest.get(go_to_provider(honest)).status_code == 200


@pytest.mark.long
def test_a_provider_that_is_away_counts_for_nobody(console: Console, provider: OpenIdProvider) -> None:
    for answer in (answer_with(b"{}"), answer_with(b"<html>"), redirect_elsewhere):
        provider.answers = {"/token": answer}
        assert sign_in(console)[1].status_code == 503
    with read_transaction(console.services.engine) as conn:
        failed = accounts.count_failed_sign_ins(
            conn, NOW - timedelta(days=1), NOW + timedelta(days=1), network="127.0.0.1"
        )
    assert failed == 0
