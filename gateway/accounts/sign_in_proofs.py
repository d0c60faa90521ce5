"""Proofs of a sign-in: passwords, session tokens, identity tokens, and how often they may be tried."""

from __future__ import annotations

import hmac
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet, KeySetSerialization

#: The longest subject (OpenID Connect Core 2: 255 characters of ASCII); an index of the database has it.
MAX_SUBJECT_CHARACTERS: Final = 255
MAX_SUBJECT_OCTETS: Final = 512
#: Number of characters of a password (NIST SP 800-63B-4 3.1.1.2: 15 when it is the only factor).
MIN_PASSWORD_CHARACTERS: Final = 15
#: The longest password: a longer one takes more time to hash and adds no security.
MAX_PASSWORD_CHARACTERS: Final = 128
#: The most typed characters for each character of the password: a syllable is up to three letters.
_MAX_TYPED_CHARACTERS: Final = 4 * MAX_PASSWORD_CHARACTERS
_MIN_DIFFERENT_CHARACTERS: Final = 5
# RFC 9106 section 4, second recommendation: 64 MiB, three passes, four lanes.
_HASHER: Final = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
#: A hash of no password: an unknown name costs the same time as a known one.
_DUMMY_HASH: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$c2luZ2xlLXdpbmRvdy1ndw$VafzW3p6WZvNpgAgCpn5WOiyohWZkqfgRVAQvCaFIKw"
)


def find_password_problem(password: str, names: tuple[str, ...] = ()) -> str | None:
    """Return why a new password is refused, as a sentence; None when it is accepted.

    `names` are the sign-in name and the name of its owner, which a password may not contain.
    """
    password = _normalize(password)
    if len(password) < MIN_PASSWORD_CHARACTERS:
        return f"A password has at least {MIN_PASSWORD_CHARACTERS} characters."
    if len(password) > MAX_PASSWORD_CHARACTERS:
        return f"A password has at most {MAX_PASSWORD_CHARACTERS} characters."
    if len(set(password)) < _MIN_DIFFERENT_CHARACTERS:
        return f"A password has at least {_MIN_DIFFERENT_CHARACTERS} different characters."
    if any(len(name) > 2 and name.casefold() in password.casefold() for name in map(_normalize, names)):
        return "A password does not contain the name of its owner."
    return None


def hash_password(password: str, salt: bytes) -> str:
    """Return the hash of a password with 16 random octets of `salt`, in the PHC string format.

    One password is the same text on every keyboard: it is hashed in Normalization Form C (RFC 8265 4.2).
    """
    return _HASHER.hash(_normalize(password), salt=salt)


def verify_password(stored_hash: str | None, password: str) -> bool:
    """Return whether a password has this hash; a missing hash takes the same time and is never right.

    Version 0.1.0 hashed a password as it was typed. So a decomposed one that does not match in Normalization
    Form C is tried as typed, too.
    """
    if len(password) > _MAX_TYPED_CHARACTERS or len(_normalize(password)) > MAX_PASSWORD_CHARACTERS:
        return False
    candidate_passwords = (
        (_normalize(password),) if _is_normalized(password) else (_normalize(password), password)
    )
    return (
        any(
            _has_hash(stored_hash or _DUMMY_HASH, candidate_password)
            for candidate_password in candidate_passwords
        )
        and stored_hash is not None
    )


def is_hash_of_unnormalized_password(stored_hash: str, password: str) -> bool:
    """Return whether a verified password matches its hash only as typed: the hash must be replaced.

    Until then the person can sign in only from keyboards that send the same decomposed letters.
    """
    return not _is_normalized(password) and not _has_hash(stored_hash, _normalize(password))


def _normalize(password: str) -> str:
    return unicodedata.normalize("NFC", password)


def _is_normalized(password: str) -> bool:
    return unicodedata.is_normalized("NFC", password)


def _has_hash(stored_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored_hash, password)
    except (VerificationError, InvalidHashError):
        return False


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session may be idle, and how long it may last in all."""

    max_idle_time: timedelta
    max_duration: timedelta


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """When a session began and was last used, and when it was ended (None while it lasts)."""

    created_at: datetime
    seen_at: datetime
    ended_at: datetime | None = None


def make_token(random: bytes) -> str:
    """Return the token of 32 random octets, as text for a cookie."""
    return urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def digest_token(token: str) -> str:
    """Return the digest by which a token is stored: a reader of the database cannot use the session."""
    return sha256(token.encode()).hexdigest()


def derive_form_token(token: str) -> str:
    """Return the token that each form of a session contains, against cross-site request forgery."""
    return hmac.new(token.encode(), b"form", sha256).hexdigest()


def is_session_over(times: SessionTimes, limits: SessionLimits, now: datetime) -> bool:
    """Return whether a session has been ended, was idle too long, or has lasted too long."""
    return (
        times.ended_at is not None
        or now - times.seen_at >= limits.max_idle_time
        or now - times.created_at >= limits.max_duration
    )


#: The most that the clocks of a provider and of the nodes may differ.
_SKEW: Final = timedelta(seconds=60)
#: How long a person who has authenticated may add a sign-in method, or give rights, without another proof.
_MAX_AGE_OF_PROOF: Final = timedelta(minutes=5)


def is_recent_proof(authenticated_at: datetime | None, now: datetime) -> bool:
    """Return whether a person proved who they are within the last minutes; `authenticated_at`: when, if ever.

    A time ahead of the clock, by more than clocks differ, proves nothing.
    """
    return authenticated_at is not None and -_SKEW <= now - authenticated_at <= _MAX_AGE_OF_PROOF


class ProofFault(StrEnum):
    """Why the time in an ID token does not show that the provider has authenticated the person anew."""

    MISSING = "auth_time is missing, or is no time"
    OLD = "auth_time is from before the request, or more than five minutes old"
    AHEAD = "auth_time is ahead of the clock"


def find_proof_fault(
    authenticated_at: datetime | None, requested_at: datetime, now: datetime
) -> ProofFault | None:
    """Return why an authentication does not answer a request for a new one; None if it does.

    `authenticated_at` is when the provider says that it was, `requested_at` when the console asked for it.
    Their clocks may differ a little. Who signed in before the request may have left the browser since.
    """
    if authenticated_at is None:
        return ProofFault.MISSING
    if authenticated_at - now > _SKEW:
        return ProofFault.AHEAD
    if authenticated_at < requested_at - _SKEW or not is_recent_proof(authenticated_at, now):
        return ProofFault.OLD
    return None


#: Failures are counted over this time.
FAILURE_WINDOW: Final = timedelta(minutes=15)
_MAX_FAILURES_OF_PAIR: Final = 5
_MAX_FAILURES_OF_NETWORK: Final = 50
_MAX_FAILURES_OF_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class FailedSignIns:
    """Failures within the window: of this name from this network, of the network, and of the name."""

    pair: int
    network: int
    name: int
    #: Whether this name has signed in from this network before.
    is_familiar_network: bool = False


def compute_sign_in_wait(failure_counts: FailedSignIns) -> timedelta | None:
    """Return how long the next sign-in must wait; None when it may be tried now."""
    is_over_limit = (
        failure_counts.pair >= _MAX_FAILURES_OF_PAIR or failure_counts.network >= _MAX_FAILURES_OF_NETWORK
    )
    is_over_limit = is_over_limit or (
        failure_counts.name >= _MAX_FAILURES_OF_NAME and not failure_counts.is_familiar_network
    )
    return FAILURE_WINDOW if is_over_limit else None


_MAX_TOKEN_CHARACTERS: Final = 64 * 1024
_MAX_KEYS: Final = 1000
#: Digits of a number of a key in base64: an RSA key of 8192 bits. Larger ones cost time at each token.
_MAX_NUMBER_CHARACTERS: Final = 1366
_MAX_TOKEN_AGE: Final = timedelta(minutes=10)
#: Members of a key that are read (RFC 7517 section 4, RFC 7518 section 6, RFC 8037); `use` and `key_ops` are
#: judged apart. Private members and certificates verify nothing here, and the library refuses a key for what
#: it finds in them.
_KEY_MEMBERS: Final = ("kty", "kid", "alg", "crv", "n", "e", "x", "y")
#: Two names of one algorithm (RFC 9864 section 2.2).
_ED25519: Final = ("Ed25519", "EdDSA")
#: Signatures by key pairs. `none` and HS256 are not among them (RFC 8725 sections 3.1 and 3.2).
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")


class IdTokenError(Exception):
    """An ID token that is not accepted; its text is for the log."""


@dataclass(frozen=True, slots=True)
class ExpectedIdToken:
    """The values that an ID token must have: issuer, audience and nonce; and the time now."""

    issuer: str
    client_id: str
    nonce: str
    now: datetime


@dataclass(frozen=True, slots=True)
class VerifiedIdToken:
    """The person of an ID token, and when the provider authenticated this person (claim `auth_time`).

    The time is None where the token does not state it.
    """

    subject: str
    authenticated_at: datetime | None


def verify_id_token(token: str, key_set: Mapping[str, Any], expected: ExpectedIdToken) -> VerifiedIdToken:
    """Return what an ID token says that one of the keys (JWK Set) signed; raises IdTokenError."""
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise IdTokenError("the token is too long")
    claims = _read_signed_claims(token, select_signing_keys(key_set))
    problem_found = _find_claim_problem(claims, expected)
    if problem_found:
        raise IdTokenError(problem_found)
    return VerifiedIdToken(str(claims["sub"]), _read_time(claims.get("auth_time")))


def _read_signed_claims(token: str, keys: KeySetSerialization) -> Mapping[str, Any]:
    """Return the claims of a token that one of the keys signed.

    Each key is tried alone: several may have one id (RFC 7517 section 4.5), of which the library takes only
    the first. A key whose id is not that of the token verifies nothing.
    """
    problems: list[Exception] = []
    for key in keys["keys"]:
        try:
            return jwt.decode(token, KeySet.import_key_set({"keys": [key]}), algorithms=[*_ALGORITHMS]).claims
        except InvalidKeyIdError as problem:
            problems.append(problem)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as problem:
            problems.insert(0, problem)
    raise IdTokenError(f"{type(problems[0]).__name__}: {problems[0]}"[:200]) from problems[0]


def select_signing_keys(key_set: Mapping[str, Any]) -> KeySetSerialization:
    """Return the JWK Set of the keys that can verify signatures; raise IdTokenError where there is none.

    A key that cannot be read, of a type or curve that is not known, is left out (RFC 7517 section 5). Of the
    others the members stay that signatures are verified with.
    """
    listed = key_set.get("keys")
    if not isinstance(listed, list):
        raise IdTokenError("the key set has no list of keys")
    if len(listed) > _MAX_KEYS:
        raise IdTokenError(f"the key set has {len(listed)} keys; at most {_MAX_KEYS} are read")
    signing_keys = [key for key in map(_read_signing_key, listed) if key is not None]
    if not signing_keys:
        raise IdTokenError("the key set has no key that can be read")
    return {"keys": signing_keys}


def _read_signing_key(key: Any) -> dict[str, Any] | None:
    """Return the members of a key that can verify signatures, or None; a member that is null is left out."""
    if not isinstance(key, dict) or key.get("kty") == "oct" or not _is_verification_key(key):
        return None
    members = {name: key[name] for name in _KEY_MEMBERS if key.get(name) is not None}
    if any(len(str(members.get(name, ""))) > _MAX_NUMBER_CHARACTERS for name in ("n", "e", "x", "y")):
        return None
    if members.get("crv") == "Ed25519" and members.get("alg") in _ED25519:
        del members["alg"]
    try:
        KeySet.import_key_set({"keys": [members]})
    # The import raises errors of many types: KeyError for a curve, binascii.Error, UnsupportedAlgorithm.
    except Exception:
        return None
    return members


def _is_verification_key(key: Mapping[str, Any]) -> bool:
    """Return whether a key is meant for verifying signatures (RFC 7517 sections 4.2 and 4.3)."""
    operations = key.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return False
    return key.get("use") in (None, "", "sig")


def _find_claim_problem(claims: Mapping[str, Any], expected: ExpectedIdToken) -> str:
    """Return the first mistake in the claims (OpenID Connect Core 3.1.3.7), or an empty text."""
    subject = claims.get("sub")
    if claims.get("iss") != expected.issuer:
        return "another issuer"
    if not _is_audience(claims, expected.client_id):
        return "another audience"
    if not expected.nonce or claims.get("nonce") != expected.nonce:
        return "another nonce"
    if not isinstance(subject, str) or not is_storable_subject(subject):
        return "no subject"
    return _find_time_problem(claims, expected.now)


def is_storable_subject(subject: str) -> bool:
    """Return whether a provider may name a person by this subject: printable, and not too long to find."""
    # Neither NUL nor half a pair of surrogates, which no database takes.
    is_printable = 0 < len(subject) <= MAX_SUBJECT_CHARACTERS and subject.isprintable()
    return is_printable and len(subject.encode("utf-8")) <= MAX_SUBJECT_OCTETS


def _is_audience(claims: Mapping[str, Any], client_id: str) -> bool:
    """Return whether a token is for this client; one for several must name it as the authorised party."""
    claim = claims.get("aud")
    audience: Sequence[Any] = claim if isinstance(claim, list) else [claim]
    if client_id not in audience:
        return False
    return bool(claims.get("azp", client_id if len(audience) == 1 else None) == client_id)


def _find_time_problem(claims: Mapping[str, Any], now: datetime) -> str:
    """Return why exp, iat or nbf of an ID token forbid a sign-in at `now`; an empty text if they allow it."""
    expires_at, issued_at = _read_time(claims.get("exp")), _read_time(claims.get("iat"))
    if expires_at is None or issued_at is None:
        return "no time"
    if expires_at <= now - _SKEW:
        return "expired"
    if claims.get("nbf") is not None:  # RFC 7519 section 4.1.5
        valid_from = _read_time(claims["nbf"])
        if valid_from is None or valid_from > now + _SKEW:
            return "not valid yet"
    return "issued at another time" if not now - _MAX_TOKEN_AGE <= issued_at <= now + _SKEW else ""


def _read_time(value: Any) -> datetime | None:
    """Return the time of a claim (NumericDate of RFC 7519: seconds since 1970); None for another value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
