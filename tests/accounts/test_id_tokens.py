"""ID tokens: what a provider must say, and who must have signed it."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import RSAKey

from gateway.accounts import IdTokenError, IdTokenRules, verify_id_token
from tests.kit.house import START
from tests.kit.openid_provider import CLIENT, OpenIdProvider

RULES = IdTokenRules("https://id.example", CLIENT, "the nonce", START)


@pytest.fixture
def provider() -> OpenIdProvider:
    provider = OpenIdProvider(lambda: START)
    provider.issuer = RULES.issuer
    return provider


def test_a_good_token_names_its_subject(provider: OpenIdProvider) -> None:
    token = provider.make_token(RULES.nonce)
    assert verify_id_token(token, provider.list_keys(), RULES) == provider.subject


@pytest.mark.parametrize(
    "bend",
    [
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"aud": [CLIENT, "another client"]},
        {"aud": [CLIENT, "another client"], "azp": "another client"},
        {"azp": "another client"},
        {"aud": None},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"iat": None},
        {"iat": 1},
        {"iat": 4102444800},
        {"exp": 10**30},
    ],
    ids=str,
)
def test_a_token_that_says_something_else_is_refused(provider: OpenIdProvider, bend: dict[str, Any]) -> None:
    provider.bend = bend
    with pytest.raises(IdTokenError):
        verify_id_token(provider.make_token(RULES.nonce), provider.list_keys(), RULES)


def test_a_token_for_several_clients_names_ours(provider: OpenIdProvider) -> None:
    provider.bend = {"aud": [CLIENT, "another"], "azp": CLIENT}
    token = provider.make_token(RULES.nonce)
    assert verify_id_token(token, provider.list_keys(), RULES) == provider.subject


@pytest.mark.parametrize("how", ["another key", "HS256", "none"])
def test_a_token_of_another_signer_is_refused(provider: OpenIdProvider, how: str) -> None:
    if how == "another key":
        provider.signing = RSAKey.generate_key(2048, {"kid": "1"})
    else:
        provider.algorithm = how
    with pytest.raises(IdTokenError):
        verify_id_token(provider.make_token(RULES.nonce), provider.list_keys(), RULES)


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "x" * 100_000, "e30.e30.", "eyJhbGciOjF9.e30.e30"])
def test_what_is_no_token_is_refused(provider: OpenIdProvider, token: str) -> None:
    with pytest.raises(IdTokenError):
        verify_id_token(token, provider.list_keys(), RULES)


@pytest.mark.parametrize("keys", [{}, {"keys": []}, {"keys": [1]}, {"keys": [{"kty": "oct", "k": "AAAA"}]}])
def test_without_a_key_no_token_is_good(provider: OpenIdProvider, keys: dict[str, Any]) -> None:
    with pytest.raises(IdTokenError):
        verify_id_token(provider.make_token(RULES.nonce), keys, RULES)
