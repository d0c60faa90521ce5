"""How the console proves its secret to an OpenID provider that reads it as RFC 6749 section 2.3.1 has it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from gateway.config import OidcSettings, Settings
from gateway.config.console_settings import ConsoleSettings
from gateway.errors import GatewayError
from gateway.web import find_provider_problems
from gateway.web.console.oidc_provider import AuthorizationRequest, OidcProvider, ProviderError
from tests.kit.house import START as NOW
from tests.kit.openid_provider import OpenIdProvider, serve_provider

BASIC, POST = "client_secret_basic", "client_secret_post"
METHODS = "token_endpoint_auth_methods_supported"
#: Ids and secrets that an encoding changes, beside such as it leaves alone.
CLIENTS = [
    ("gateway", "aB3-._~9"),
    ("gateway", "p+q"),
    ("gateway", "a%2Fb"),
    ("gateway", "q1/Zk+8w=="),
    ("gateway", "a secret: & more=?"),
    ("gateway", "관세청의 비밀"),
    ("https://console.example.org:8443/client?a=b", "secret"),
    ("창구:1", "%"),
]


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    with serve_provider(lambda: NOW) as provider:
        yield provider


@pytest.fixture
def settings(provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch) -> OidcSettings:
    """Return the settings of the console for the client that a test has registered at the provider."""
    return make_settings(provider, monkeypatch)


def make_settings(provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch) -> OidcSettings:
    monkeypatch.setenv("CLIENT_SECRET", provider.secret)
    values: dict[str, Any] = {"client_secret": {"env": "CLIENT_SECRET"}}
    return OidcSettings(issuer=provider.issuer, client_id=provider.client_id, **values)


def sign_in(settings: OidcSettings) -> str:
    """Go to the provider and back; return the subject for which it stands."""
    console = OidcProvider(settings, "http://localhost/return", lambda: NOW)
    request = AuthorizationRequest("state", "nonce", "verifier")
    place = requests.get(console.build_authorization_url(request), allow_redirects=False, timeout=60)
    code = parse_qs(urlsplit(place.headers["Location"]).query)["code"][0]
    return console.redeem_code(code, request, "network").subject


@pytest.mark.parametrize("way", [BASIC, POST])
@pytest.mark.parametrize(("client_id", "secret"), CLIENTS)
def test_each_id_and_secret_arrives_as_it_is(
    provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch, client_id: str, secret: str, way: str
) -> None:
    provider.client_id, provider.secret, provider.methods = client_id, secret, {way}
    provider.metadata = {METHODS: ["private_key_jwt", way]}
    assert sign_in(make_settings(provider, monkeypatch)) == provider.subject


@pytest.mark.parametrize("stated", [None, [], [POST, BASIC], ["tls_client_auth", BASIC, "none"]], ids=str)
def test_basic_is_used_wherever_it_is_taken(
    provider: OpenIdProvider, settings: OidcSettings, stated: list[str] | None
) -> None:
    provider.metadata = {} if stated is None else {METHODS: stated}
    assert sign_in(settings) == provider.subject


@pytest.mark.parametrize(
    "stated", [["private_key_jwt"], ["client_secret_jwt", 7], BASIC, {BASIC: True}], ids=str
)
def test_a_provider_that_takes_neither_way_is_a_problem(
    provider: OpenIdProvider, settings: OidcSettings, stated: Any
) -> None:
    provider.metadata = {METHODS: stated}
    with pytest.raises(ProviderError, match="neither client_secret_basic nor client_secret_post"):
        sign_in(settings)
    assert "/token" not in provider.seen
    [problem] = check_provider(settings)
    assert (problem.problem.id, problem.location) == ("GW801", "console.oidc.issuer")
    assert check_provider(settings.model_copy(update={"client_secret": None})) == []


def check_provider(settings: OidcSettings) -> list[GatewayError]:
    """Return what `gateway check` says of these settings."""
    console = ConsoleSettings(enabled=True, public_url="https://c.example", oidc=settings)
    return list(find_provider_problems(Settings(console=console), lambda: NOW, []))


def test_a_secret_that_is_no_text_is_a_problem(provider: OpenIdProvider, tmp_path: Any) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    values: dict[str, Any] = {"client_secret": {"file": str(tmp_path / "secret")}}
    settings = OidcSettings(issuer=provider.issuer, client_id=provider.client_id, **values)
    with pytest.raises(ProviderError, match=r"GW803 .*the client secret is not UTF-8"):
        sign_in(settings)


def test_the_encoding_is_that_of_forms(provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of RFC 6749 appendix B."""
    provider.client_id, provider.secret = " %&+£€", "s"
    assert sign_in(make_settings(provider, monkeypatch)) == provider.subject
    assert base64.b64decode(provider.authorizations[-1].split()[1]) == b"+%25%26%2B%C2%A3%E2%82%AC:s"
