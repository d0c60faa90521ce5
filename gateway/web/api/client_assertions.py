"""Verifies client assertions: JWTs by which a party asks for an access token (RFC 7523, private_key_jwt).

The key comes from the register alone, never from the assertion. The algorithm must be one of the
key's own, so a public key is never used as a shared secret.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from gateway.errors import CREDENTIALS_REFUSED, GatewayError
from gateway.pki import Certificate

__all__ = ["LARGEST_ASSERTION", "AssertionRules", "ClientProof", "verify_assertion"]

LARGEST_ASSERTION: Final = 8192
_PLACE: Final = "client_assertion"
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
#: What a header may have: nothing of it is a key, or leads to one outside the register.
_HEADERS: Final = frozenset({"alg", "typ", "kid", "x5t#S256"})
_TYPES: Final = frozenset({"JWT", "client-authentication+jwt"})
_LONGEST: Final = timedelta(minutes=5)
_SKEW: Final = timedelta(seconds=30)
_CURVES: Final[Mapping[str, tuple[str, ...]]] = {"secp256r1": ("ES256",), "secp384r1": ("ES384",)}
_RSA: Final = ("PS256", "RS256")
# RFC 9864 replaces EdDSA, a name that left the curve open.
_EDWARDS: Final = ("Ed25519",)
_ALGORITHMS: Final = frozenset({*_RSA, *_EDWARDS, "ES256", "ES384"})


@dataclass(frozen=True, slots=True)
class AssertionRules:
    """What an assertion is verified by: the names of its audience, the time, the keys of a party."""

    audience: frozenset[str]
    now: datetime
    find_certificates: Callable[[str], Sequence[Certificate]]


@dataclass(frozen=True, slots=True)
class ClientProof:
    """What a verified assertion proves: its party, by which certificate, its id, and when it ends."""

    party: str
    certificate: str
    id: str
    expires_at: datetime


def verify_assertion(text: str, rules: AssertionRules, client: str = "") -> ClientProof:
    """Return what an assertion proves; raises GW214. `client` is the client_id beside it, if any."""
    if len(text) > LARGEST_ASSERTION or _FORM.fullmatch(text) is None:
        _refuse("it is no JWT in compact form, or too long")
    header, claims = (_read_part(one) for one in text.split(".")[:2])
    algorithm = _check_header(header)
    party = claims.get("iss")
    if not isinstance(party, str) or not 0 < len(party) <= 200 or client not in ("", party):
        _refuse("iss is not the client")
    certificate = _find_certificate(rules.find_certificates(party), header, algorithm)
    told = _verify_signature(text, certificate, algorithm)
    return _check_claims(told, party, certificate, rules)


def _read_part(part: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        _refuse("a part of it is no JSON")
    if not isinstance(value, dict):
        _refuse("a part of it is no JSON object")
    return value


def _check_header(header: Mapping[str, Any]) -> str:
    """Return the algorithm; the header may name a registered certificate, and nothing else."""
    unknown = sorted(set(header) - _HEADERS)
    if unknown:
        _refuse(f"the header has {unknown[0][:40]}, which is not allowed")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        _refuse(f"the algorithm is not one of {', '.join(sorted(_ALGORITHMS))}")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind not in _TYPES:
        _refuse("typ is not JWT")
    return algorithm


def _find_certificate(held: Sequence[Certificate], header: Mapping[str, Any], algorithm: str) -> Certificate:
    """Return the party's certificate that the header names; the newest that fits when it names none."""
    named = [header[name] for name in ("kid", "x5t#S256") if name in header]
    fitting = [one for one in held if _is_named(one, named) and algorithm in _list_algorithms(one.public_key)]
    if not fitting:
        _refuse("no registered signing certificate of the client fits kid and algorithm")
    return fitting[0]


def _is_named(certificate: Certificate, named: Sequence[Any]) -> bool:
    digest = base64.urlsafe_b64encode(bytes.fromhex(certificate.sha256)).decode().rstrip("=")
    return all(name in (certificate.sha256, digest) for name in named)


def _list_algorithms(key: object) -> tuple[str, ...]:
    if isinstance(key, RSAPublicKey):
        return _RSA
    if isinstance(key, EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, ())
    return _EDWARDS if isinstance(key, Ed25519PublicKey) else ()


def _verify_signature(text: str, certificate: Certificate, algorithm: str) -> Mapping[str, Any]:
    try:
        key = _make_key(certificate.public_key)
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        return jwt.decode(text, key, algorithms=[algorithm], registry=registry).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        _refuse("its signature is wrong")


def _make_key(public: Any) -> RSAKey | ECKey | OKPKey:
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(public, RSAPublicKey):
        return RSAKey.import_key(pem)
    return ECKey.import_key(pem) if isinstance(public, EllipticCurvePublicKey) else OKPKey.import_key(pem)


def _check_claims(
    claims: Mapping[str, Any], party: str, certificate: Certificate, rules: AssertionRules
) -> ClientProof:
    if claims.get("iss") != party or claims.get("sub") != party:
        _refuse("iss and sub are not the client")
    told = claims.get("aud")
    audience = told if isinstance(told, list) else [told]
    if not any(isinstance(one, str) and one in rules.audience for one in audience):
        _refuse("aud is not this API")
    ends = _read_time(claims, "exp")
    if ends is None or ends <= rules.now - _SKEW:
        _refuse("it has expired")
    if ends > rules.now + _LONGEST + _SKEW:
        _refuse("exp is more than five minutes ahead")
    for name in ("iat", "nbf"):
        begins = _read_time(claims, name)
        if begins is not None and begins > rules.now + _SKEW:
            _refuse(f"{name} is in the future")
    number = claims.get("jti")
    if not isinstance(number, str) or not 8 <= len(number) <= 200:
        _refuse("jti is missing, or has not 8 to 200 characters")
    return ClientProof(party, certificate.sha256, number, ends + _SKEW)


def _read_time(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(f"{name} is no time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        _refuse(f"{name} is no time")


def _refuse(reason: str) -> NoReturn:
    raise GatewayError(CREDENTIALS_REFUSED, f"the client assertion is not accepted: {reason}", _PLACE)
