"""ID tokens: what a provider must say, and who must have signed it."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from gateway.accounts import ExpectedIdToken, IdTokenError, select_signing_keys, verify_id_token
from tests.kit.house import START
from tests.kit.long_texts import make_text_of_octets
from tests.kit.openid_provider import CLIENT, OpenIdProvider

RULES = ExpectedIdToken("https://id.example", CLIENT, "the nonce", START)


@pytest.fixture
def provider() -> OpenIdProvider:
    provider = OpenIdProvider(lambda: START)
    provider.issuer = RULES.issuer
    return provider


@pytest.mark.long
def test_a_good_token_names_its_subject(provider: OpenIdProvider) -> None:
    token = provider.make_token(RULES.nonce)
    assert verify_id_token(token, provider.list_keys(), RULES).subject == provider.subject


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
        {"nbf": 4102444800},
        {"nbf": "soon"},
    ],
    ids=str,
)
def test_a_token_that_says_something_else_is_refused(provider: OpenIdProvider, bend: dict[str, Any]) -> None:
    provider.bend = bend
    with pytest.raises(IdTokenError):
        verify_id_token(provider.make_token(RULES.nonce), provider.list_keys(), RULES)


def test_a_token_without_an_end_is_one_of_the_year_9999(provider: OpenIdProvider) -> None:
    provider.bend = {"exp": 253402300799}
    token = provider.make_token(RULES.nonce)
    assert verify_id_token(token, provider.list_keys(), RULES).subject == provider.subject


def test_a_token_for_several_clients_names_ours(provider: OpenIdProvider) -> None:
    provider.bend = {"aud": [CLIENT, "another"], "azp": CLIENT}
    token = provider.make_token(RULES.nonce)
    assert verify_id_token(token, provider.list_keys(), RULES).subject == provider.subject


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


@pytest.mark.long
@pytest.mark.parametrize(
    "other",
    [
        RSAKey.generate_key(2048, {"kid": "1"}),
        ECKey.generate_key("P-256", {"kid": "1"}),
        ECKey.generate_key("P-521", {"kid": "1"}),
        OKPKey.generate_key("X25519", {"kid": "1"}),
        RSAKey.generate_key(2048, {"kid": "1", "key_ops": ["sign"]}),
    ],
    ids=["RS256", "ES256", "P-521", "X25519", "for signing alone"],
)
@pytest.mark.parametrize("first", [False, True])
def test_of_two_keys_with_one_id_either_may_have_signed(
    provider: OpenIdProvider, other: Key, *, first: bool
) -> None:
    """RFC 7517 section 4.5: the ids of a set *should* differ, and need not where the types differ."""
    good, more = provider.list_keys()["keys"], other.as_dict(private=False)
    assert more["kid"] == good[0]["kid"]
    keys = {"keys": [*good, more] if first else [more, *good]}
    assert verify_id_token(provider.make_token(RULES.nonce), keys, RULES).subject == provider.subject
    provider.signing = RSAKey.generate_key(2048, {"kid": "1"})
    with pytest.raises(IdTokenError):
        verify_id_token(provider.make_token(RULES.nonce), keys, RULES)


#: What providers may publish beside a good key (RFC 7517 section 5).
UNREADABLE: list[Any] = [
    {"kty": "EC", "crv": "secp224r1", "x": "AA", "y": "AA", "kid": "2"},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "2"},
    {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "2"},
    {"kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "2"},
    {"kty": "OKP", "crv": "new", "x": "AAAA"},
    {"kty": "RSA", "n": "!!", "e": "AQAB"},
    {"kty": "RSA", "n": 5, "e": "AQAB"},
    {"kty": "RSA", "n": "A" * 100_000, "e": "AQAB"},
    {"kty": "RSA", "e": "AQAB"},
    {"kty": ["RSA"]},
    {"kty": {}},
    {"kty": None},
    {},
    None,
    "RSA",
    [{}],
    {"kty": "oct", "k": "AAAA"},
]


def test_keys_that_cannot_be_read_are_left_out(provider: OpenIdProvider) -> None:
    token = provider.make_token(RULES.nonce)
    good = provider.list_keys()["keys"]
    for bad in UNREADABLE:
        for keys in ([bad, *good], [*good, bad]):
            assert verify_id_token(token, {"keys": keys}, RULES).subject == provider.subject, bad
        with pytest.raises(IdTokenError, match="no key that can be read"):
            select_signing_keys({"keys": [bad]})
    selected = select_signing_keys({"keys": [*UNREADABLE, *good]})["keys"]
    assert [key["n"] for key in selected] == [key["n"] for key in good]


@pytest.mark.parametrize(
    "members",
    [
        {"use": None},
        {"use": ""},
        {"alg": None},
        {"key_ops": None},
        {"key_ops": ["verify", "wrapKey", "urn:example:own"]},
        {"x5u": None, "x5t": 5, "x5c": ["no certificate"], "oth": []},
        {"d": "AQAB", "p": "AQAB"},
    ],
    ids=str,
)
def test_a_key_is_read_by_what_verifies(provider: OpenIdProvider, members: dict[str, Any]) -> None:
    good = provider.list_keys()["keys"][0] | members
    other = RSAKey.generate_key(2048, {"kid": "1"}).as_dict(private=False) | members
    for keys in ([good], [other, good]):
        assert (
            verify_id_token(provider.make_token(RULES.nonce), {"keys": keys}, RULES).subject
            == provider.subject
        )
    with pytest.raises(IdTokenError, match="BadSignature"):
        verify_id_token(provider.make_token(RULES.nonce), {"keys": [other]}, RULES)


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"use": 1},
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"alg": "PS256"},
    ],
    ids=str,
)
def test_a_key_for_something_else_verifies_nothing(provider: OpenIdProvider, members: dict[str, Any]) -> None:
    good = provider.list_keys()["keys"][0] | members
    with pytest.raises(IdTokenError):
        verify_id_token(provider.make_token(RULES.nonce), {"keys": [good]}, RULES)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("key_name", ["Ed25519", "EdDSA"])
@pytest.mark.parametrize("token_name", ["Ed25519", "EdDSA"])
def test_two_names_of_one_algorithm_fit_each_other(
    provider: OpenIdProvider, key_name: str, token_name: str
) -> None:
    """RFC 9864 section 2.2: the older name means the newer one, where the curve is this one."""
    key = OKPKey.generate_key("Ed25519", {"kid": "1"})
    claims = {"iss": RULES.issuer, "sub": "7", "aud": CLIENT, "nonce": RULES.nonce}
    claims |= {"iat": int(START.timestamp()), "exp": int(START.timestamp()) + 300}
    token = jwt.encode({"alg": token_name, "kid": "1"}, claims, key, algorithms=[token_name])
    keys = {"keys": [key.as_dict(private=False) | {"alg": key_name}]}
    assert verify_id_token(token, keys, RULES).subject == "7"


def test_a_key_is_read_wherever_it_stands_in_the_set(provider: OpenIdProvider) -> None:
    good = provider.list_keys()["keys"]
    others = [good[0] | {"kid": f"other-{number}"} for number in range(999)]
    token = provider.make_token(RULES.nonce)
    assert verify_id_token(token, {"keys": [*others, *good]}, RULES).subject == provider.subject
    with pytest.raises(IdTokenError, match="1001 keys; at most 1000"):
        verify_id_token(token, {"keys": [*others, *good, *good]}, RULES)


def test_a_key_set_without_a_list_is_refused() -> None:
    for keys in (None, 5, "x", {"kty": "RSA"}):
        with pytest.raises(IdTokenError, match="no list of keys"):
            select_signing_keys({"keys": keys})


def test_a_subject_that_no_database_takes_is_refused(provider: OpenIdProvider) -> None:
    for subject in ("a\0b", "a\nb", "x" * 256, make_text_of_octets(513)):
        provider.bend = {"sub": subject}
        with pytest.raises(IdTokenError, match="no subject"):
            verify_id_token(provider.make_token(RULES.nonce), provider.list_keys(), RULES)


@pytest.mark.parametrize("subject", ["x" * 255, make_text_of_octets(512)], ids=["of ASCII", "of ideographs"])
def test_the_longest_subjects_are_taken(provider: OpenIdProvider, subject: str) -> None:
    provider.bend = {"sub": subject}
    assert verify_id_token(provider.make_token(RULES.nonce), provider.list_keys(), RULES).subject == subject
