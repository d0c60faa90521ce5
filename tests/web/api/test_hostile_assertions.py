"""Client assertions that attackers make: none of them is accepted, and none of them is a mistake of ours."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.errors import CREDENTIALS_REFUSED, GatewayError
from gateway.web.api.access_tokens import AssertionRules, verify_assertion
from tests.kit.api import make_assertion
from tests.kit.house import START, signer_named

#: Each case is an attack of its own.

WORLD: Any = SimpleNamespace(clock=lambda: START, public_url="https://hub.example/api/v1")
RULES = AssertionRules(
    frozenset({"https://hub.example/api/v1", "https://hub.example/api/v1/token"}),
    START,
    lambda party: [signer_named(party).certificate] if party in ("broker1", "broker2") else [],
    lambda _certificate: None,
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


@pytest.mark.parametrize("place", [0, 1])
def test_an_honest_assertion_is_accepted(place: int) -> None:
    """Its audience may be one of several, in any place (RFC 7519 section 4.1.3)."""
    audience = ["https://other.example"]
    audience.insert(place, "https://hub.example/api/v1/token")
    for text in (assertion(), assertion(aud=audience)):
        proof = verify_assertion(text, RULES)
        assert (proof.party, proof.certificate_sha256) == (
            "broker1",
            signer_named("broker1").certificate.sha256,
        )


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
    "audience of a neighbour": ({"aud": "https://hub.example/api/v1/tokens"}, "aud"),
    "audience in part": ({"aud": "https://hub.example/api"}, "aud"),
    "no audience": ({"aud": None}, "aud"),
    "empty audience": ({"aud": []}, "aud"),
    "two other audiences": ({"aud": ["https://other.example/token", "https://hub.example/"]}, "aud"),
    "audience is an object": ({"aud": {"https://hub.example/api/v1/token": 1}}, "aud"),
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


HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "a key beside": ({"jwk": {"kty": "EC"}}, "the header has jwk"),
    "a key elsewhere": ({"jku": "https://attacker.example/keys"}, "the header has jku"),
    "a certificate beside": ({"x5c": ["MIIB"]}, "the header has x5c"),
    "a certificate elsewhere": ({"x5u": "https://attacker.example/cert"}, "the header has x5u"),
    "critical": ({"crit": ["exp"]}, "the header has crit"),
    "unencoded": ({"b64": False}, "the header has b64"),
    "compressed": ({"zip": "DEF"}, "the header has zip"),
    "encrypted": ({"enc": "A256GCM"}, "the header has enc"),
    "other content": ({"cty": "JWT"}, "the header has cty"),
    "an unknown name": ({"x": 1}, "the header has x"),
    "path": ({"kid": "../../../../dev/null"}, "fits kid"),
    "statement": ({"kid": "' OR 1=1 --"}, "fits kid"),
    "kid is a list": ({"kid": ["a"]}, "fits kid"),
    "kid is an object": ({"kid": {"a": 1}}, "fits kid"),
    "kid is nothing": ({"kid": None}, "fits kid"),
    "empty kid": ({"kid": ""}, "fits kid"),
    "two kids": ({"x5t#S256": "other"}, "fits kid"),
    "other type": ({"typ": "at+jwt"}, "typ is not JWT"),
    "type is a list": ({"typ": []}, "typ is not JWT"),
    "type is nothing": ({"typ": None}, "typ is not JWT"),
}


def sign_anew(header: Any, claims: Any) -> str:
    """Return an assertion of broker1 with this header, rightly signed."""
    start = f"{encode(header)}.{encode(claims)}"
    key: Any = signer_named("broker1").key
    r, s = decode_dss_signature(key.sign(start.encode(), ECDSA(SHA256())))
    return f"{start}.{encode(r.to_bytes(32) + s.to_bytes(32))}"


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_leads_to_no_key(name: str) -> None:
    """The header is refused for what it has: its signature is good."""
    header, claims, _ = decode(assertion())
    assert verify_assertion(sign_anew(header, claims), RULES).party == "broker1"
    changes, reason = HEADERS[name]
    assert reason in refuse(sign_anew(header | changes, claims))


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
