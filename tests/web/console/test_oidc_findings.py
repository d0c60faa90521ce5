"""What `gateway check` says of the OpenID provider: of the settings, and of a provider over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import cli
from gateway.config import Settings
from gateway.web import find_provider_problems
from tests.kit.house import START
from tests.kit.openid_provider import CLIENT, OpenIdProvider, serve_provider
from tests.kit.ports import find_free_port

URL = {"enabled": True, "public_url": "https://console.example.org"}


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    with serve_provider(lambda: START) as provider:
        yield provider


def look(issuer: str, console: dict[str, Any] = URL, **oidc: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """Return id and place of each problem, and the warnings."""
    wanted = {"issuer": issuer, "client_id": CLIENT, "time_out": "2s"} | oidc
    settings = Settings(console=console | {"oidc": wanted})  # type: ignore[arg-type]
    warnings: list[str] = []
    found = [
        (one.problem.id, one.location) for one in find_provider_problems(settings, lambda: START, warnings)
    ]
    return found, warnings


def test_a_provider_that_is_there_is_good(provider: OpenIdProvider) -> None:
    assert look(provider.issuer) == ([], [])
    assert provider.seen[-2:] == ["/.well-known/openid-configuration", "/keys"]


def test_settings_without_a_provider_say_nothing() -> None:
    warnings: list[str] = []
    assert list(find_provider_problems(Settings(), lambda: START, warnings)) == []
    assert warnings == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"issuer": "https://other.example"}, "console.oidc.issuer"),
        ({"jwks_uri": "http://keys.example/keys"}, "console.oidc.issuer"),
        ({"token_endpoint": None}, "console.oidc.issuer"),
    ],
)
def test_a_provider_that_does_not_fit_is_a_problem(
    provider: OpenIdProvider, told: dict[str, Any], said: str
) -> None:
    provider.metadata = told
    assert look(provider.issuer) == ([("GW801", said)], [])


def test_a_provider_that_is_away_is_a_warning() -> None:
    found, warnings = look(f"http://127.0.0.1:{find_free_port()}")
    assert found == []
    assert len(warnings) == 1
    assert warnings[0].startswith("GW601 console.oidc.issuer: the OpenID provider is not reached")


def test_an_answer_that_is_no_object_is_a_warning(provider: OpenIdProvider) -> None:
    found, warnings = look(f"{provider.issuer}/nothing")
    assert found == []
    assert "status 404" in warnings[0]


@pytest.mark.parametrize(
    ("claims", "is_named"),
    [
        (["sub", "auth_time"], False),
        (["sub", "name"], True),
        ([], True),
        (None, False),
        ("sub", False),
    ],
)
def test_a_provider_that_does_not_list_the_time_of_the_proof_is_a_warning(
    provider: OpenIdProvider, claims: Any, is_named: bool
) -> None:
    provider.metadata = {"claims_supported": claims}
    findings, warnings = look(provider.issuer, URL)
    assert findings == []
    assert [("auth_time" in warning) for warning in warnings] == [True] * is_named


def test_what_the_settings_lack_is_named(provider: OpenIdProvider, tmp_path: Path) -> None:
    assert look("http://id.example.org")[0] == [("GW801", "console.oidc.issuer")]
    assert look(provider.issuer, ca=str(tmp_path / "none.pem"))[0] == [("GW801", "console.oidc.ca")]
    secret = {"file": str(tmp_path / "none")}
    assert look(provider.issuer, client_secret=secret)[0] == [("GW803", "console.oidc.client_secret")]
    _, warnings = look(provider.issuer, console={})
    assert [one.split(":")[1].split()[0] for one in warnings] == ["the", "console.public_url"]


def test_the_verb_names_the_provider(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = '[console.oidc]\nissuer = "http://id.example.org"\nclient_id = "gateway"\n'
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n{told}')
    assert cli.main(["check", "--config", str(tmp_path / "gateway.toml")]) == 1
    assert "the issuer http://id.example.org has no TLS (console.oidc.issuer)" in capsys.readouterr().out
