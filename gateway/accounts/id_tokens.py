"""Verifies ID tokens: the signed word of an OpenID provider about who has signed in.

The clauses are those of OpenID Connect Core 1.0.

Only signatures by the provider's public keys count: a token without a signature, or one by a shared
secret, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

__all__ = ["IdTokenError", "IdTokenRules", "verify_id_token"]

_LONGEST: Final = 64 * 1024
_SKEW: Final = timedelta(seconds=60)
_OLDEST: Final = timedelta(minutes=10)
#: Signatures by key pairs. `none` and HS256 are not among them (RFC 8725 sections 3.1 and 3.2).
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")


class IdTokenError(Exception):
    """An ID token that is not accepted; its text is for the log."""


@dataclass(frozen=True, slots=True)
class IdTokenRules:
    """What a token must say: who issued it, for whom, to which request; and the time now."""

    issuer: str
    client_id: str
    nonce: str
    now: datetime


def verify_id_token(token: str, keys: Mapping[str, Any], rules: IdTokenRules) -> str:
    """Return the subject of an ID token that one of the keys (JWK Set) signed; raises IdTokenError."""
    if len(token) > _LONGEST:
        raise IdTokenError("the token is too long")
    usable = [one for one in keys.get("keys", ()) if isinstance(one, dict) and one.get("use", "sig") == "sig"]
    try:
        found = KeySet.import_key_set({"keys": [one for one in usable if one.get("kty") != "oct"]})
        claims = jwt.decode(token, found, algorithms=[*_ALGORITHMS]).claims
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as problem:
        raise IdTokenError(f"{type(problem).__name__}: {problem}"[:200]) from problem
    problem_found = _find_claim_problem(claims, rules)
    if problem_found:
        raise IdTokenError(problem_found)
    return str(claims["sub"])


def _find_claim_problem(claims: Mapping[str, Any], rules: IdTokenRules) -> str:
    """Return what is wrong with the claims (OpenID Connect Core 3.1.3.7), or an empty text."""
    subject = claims.get("sub")
    if claims.get("iss") != rules.issuer:
        return "another issuer"
    if not _is_audience(claims, rules.client_id):
        return "another audience"
    if not rules.nonce or claims.get("nonce") != rules.nonce:
        return "another nonce"
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        return "no subject"
    return _find_time_problem(claims, rules.now)


def _is_audience(claims: Mapping[str, Any], client_id: str) -> bool:
    """Return whether a token is for us; one for several clients must name us as the authorised one."""
    told = claims.get("aud")
    audience: Sequence[Any] = told if isinstance(told, list) else [told]
    if client_id not in audience:
        return False
    return bool(claims.get("azp", client_id if len(audience) == 1 else None) == client_id)


def _find_time_problem(claims: Mapping[str, Any], now: datetime) -> str:
    ends, begins = _read_time(claims.get("exp")), _read_time(claims.get("iat"))
    if ends is None or begins is None:
        return "no time"
    if ends + _SKEW <= now:
        return "expired"
    return "issued at another time" if not now - _OLDEST <= begins <= now + _SKEW else ""


def _read_time(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
