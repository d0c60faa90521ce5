"""Client assertions that attackers make: none of them is accepted, and none of them is a mistake of ours."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.errors import CREDENTIALS_REFUSED, GatewayError
from gateway.web.api.client_assertions import AssertionRules, verify_assertion
from tests.kit.api import make_assertion
from tests.kit.house import START, signer_named

WORLD: Any = SimpleNamespace(clock=lambda: START, public_url="https://hub.example/api/v1")
RULES = AssertionRules(
    frozenset({"https://hub.example/api/v1", "https://hub.example/api/v1/token"}),
    START,
    lambda party: [signer_named(party).certificate] if party in ("broker1", "broker2") else [],
)


def assertion(**changes: Any) -> str:
    return make_assertion(WORLD, "broker1", changes.pop("signer", signer_named("broker1")), **changes)


def refuse(text: str) -> str:
    """Return why an assertion is refused."""
    with pytest.raises(GatewayError) as caught:
        verify_assertion(text, RULES)
    assert caught.value.problem is CREDENTIALS_REFUSED
    return caught.value.detail


def encode(value: Any) -> str:
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def decode(assertion: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, claims, signature = assertion.split(".")
    return (*(json.loads(base64.urlsafe_b64decode(one + "==")) for one in (header, claims)), signature)  # type: ignore[return-value]


def test_an_honest_assertion_is_accepted() -> None:
    proof = verify_assertion(assertion(), RULES)
    assert (proof.party, proof.certificate) == ("broker1", signer_named("broker1").certificate.sha256)


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": int((START - timedelta(minutes=1)).timestamp())}, "expired"),
    "far ahead": ({"exp": int((START + timedelta(hours=1)).timestamp())}, "five minutes"),
    "without end": ({"exp": None}, "expired"),
    "end is text": ({"exp": "2099"}, "no time"),
    "end is true": ({"exp": True}, "no time"),
    "end is endless": ({"exp": 1e300}, "no time"),
    "end is no number": ({"exp": float("nan")}, "no time"),
    "from the future": ({"iat": int((START + timedelta(minutes=2)).timestamp())}, "future"),
    "not yet": ({"nbf": int((START + timedelta(minutes=2)).timestamp())}, "future"),
    "other audience": ({"aud": "https://other.example/token"}, "aud"),
    "no audience": ({"aud": None}, "aud"),
    "odd audience": ({"aud": [[], {}, 1]}, "aud"),
    "other subject": ({"sub": "broker2"}, "iss and sub"),
    "no subject": ({"sub": None}, "iss and sub"),
    "no issuer": ({"iss": None}, "iss"),
    "issuer is a list": ({"iss": ["broker1"]}, "iss"),
    "no number": ({"jti": None}, "jti"),
    "short number": ({"jti": "1"}, "jti"),
    "long number": ({"jti": "1" * 201}, "jti"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_wrong_claim_is_refused(name: str) -> None:
    changes, reason = CLAIMS[name]
    assert reason in refuse(assertion(**changes))


def test_the_algorithm_none_is_refused() -> None:
    header, claims, _ = decode(assertion())
    for one in ("none", "None", "NONE", ""):
        for signature in ("", "AA"):
            text = f"{encode(header | {'alg': one})}.{encode(claims)}.{signature}"
            refuse(text)


def test_a_public_key_is_no_shared_secret() -> None:
    header, claims, _ = decode(assertion())
    key = signer_named("broker1").certificate.public_key
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[union-attr]
    secrets = (pem, pem.strip(), signer_named("broker1").certificate.der)
    for algorithm, digest in (("HS256", "sha256"), ("HS512", "sha512")):
        for secret in secrets:
            start = f"{encode(header | {'alg': algorithm})}.{encode(claims)}"
            signature = encode(hmac.new(secret, start.encode(), digest).digest())
            assert "algorithm" in refuse(f"{start}.{signature}")


def test_an_algorithm_of_another_kind_of_key_is_refused() -> None:
    header, claims, signature = decode(assertion())
    for algorithm in ("RS256", "PS256", "ES384", "Ed25519", "EdDSA"):
        text = f"{encode(header | {'alg': algorithm})}.{encode(claims)}.{signature}"
        assert "algorithm" in refuse(text)


HEADERS: dict[str, dict[str, Any]] = {
    "a key beside": {"jwk": {"kty": "EC"}},
    "a key elsewhere": {"jku": "https://attacker.example/keys"},
    "a certificate beside": {"x5c": ["MIIB"]},
    "a certificate elsewhere": {"x5u": "https://attacker.example/cert"},
    "critical": {"crit": ["exp"]},
    "unencoded": {"b64": False, "crit": ["b64"]},
    "compressed": {"zip": "DEF"},
    "path": {"kid": "../../../../dev/null"},
    "statement": {"kid": "' OR 1=1 --"},
    "kid is a list": {"kid": ["a"]},
    "kid is an object": {"kid": {"a": 1}},
    "empty kid": {"kid": ""},
    "two kids": {"x5t#S256": "other"},
    "other type": {"typ": "at+jwt"},
    "type is a list": {"typ": []},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_leads_to_no_key(name: str) -> None:
    header, claims, signature = decode(assertion())
    refuse(f"{encode(header | HEADERS[name])}.{encode(claims)}.{signature}")


def test_a_key_that_the_header_brings_is_not_used() -> None:
    attacker = signer_named("attacker")
    assert "no registered" in refuse(assertion(signer=attacker))
    known = {"kid": signer_named("broker1").certificate.sha256}
    assert "signature is wrong" in refuse(assertion(signer=attacker, header=known))


def test_a_changed_claim_breaks_the_signature() -> None:
    header, claims, signature = decode(assertion())
    refuse(f"{encode(header)}.{encode(claims | {'iss': 'broker2', 'sub': 'broker2'})}.{signature}")
    assert "signature" in refuse(f"{encode(header)}.{encode(claims | {'jti': 'another-number'})}.{signature}")


@pytest.mark.parametrize(
    "text",
    ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e", "é.b.c", " ", "a" * 9000, ".".join(["a" * 3000] * 3),
     f"{encode(b'[' * 3000)}.{encode(b'[' * 3000)}.AA", f"{encode([])}.{encode([])}.AA", "bnVsbA.bnVsbA.AA",
     f"{encode({'alg': {'a': 1}})}.{encode({})}.AA",
     f"{encode({'alg': 'ES256'})}.{encode({'iss': 'broker1'})}.AA"],
)  # fmt: skip
def test_what_is_no_assertion_is_refused(text: str) -> None:
    assert "the client assertion is not accepted" in refuse(text)
