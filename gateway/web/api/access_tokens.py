"""Access tokens of the API, and the signed assertions that clients get them for."""

from __future__ import annotations

import base64
import hashlib
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
from pydantic import Field

from gateway.errors import (
    CREDENTIALS_REFUSED,
    REQUEST_MALFORMED,
    TOO_MANY_REQUESTS,
    GatewayError,
    raise_resource_problem,
)
from gateway.hub import Hub, RegisterSnapshot, check_held_certificate
from gateway.pki import Certificate, CertificateUse, read_certificate
from gateway.store import NewToken, api_tokens, parties, read_transaction, write_transaction
from gateway.web.api.api_operations import (
    Answer,
    AnswerModel,
    ApiAnswer,
    ApiCall,
    ApiServices,
    OperationSection,
    QueryModel,
    RequestBody,
)
from gateway.web.problem_status import find_status
from gateway.web.request_texts import check_texts

TOKENS: Final = OperationSection("token")

LARGEST_ASSERTION: Final = 8192
_LOCATION: Final = "client_assertion"
_ASSERTION_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
#: The allowed header parameters: none contains a key, or refers to a key outside the register.
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
    """The inputs for verifying an assertion: the names of its audience, the time, a party's certificates.

    `check_certificate` raises for a certificate that is not valid now; GW806 if it could not be validated.
    """

    audience: frozenset[str]
    now: datetime
    find_certificates: Callable[[str], Sequence[Certificate]]
    check_certificate: Callable[[Certificate], None]


@dataclass(frozen=True, slots=True)
class ClientProof:
    """The proof in a verified assertion: its party, the party's certificate, its id, and its end."""

    party: str
    certificate_sha256: str
    assertion_id: str
    expires_at: datetime


def verify_assertion(assertion: str, rules: AssertionRules, client: str = "") -> ClientProof:
    """Return the proof in an assertion; raises GW214. `client` is the client_id sent with it, if any."""
    if len(assertion) > LARGEST_ASSERTION or _ASSERTION_PATTERN.fullmatch(assertion) is None:
        _raise_refusal("it is no JWT in compact form, or too long")
    header, claims = (_read_part(part) for part in assertion.split(".")[:2])
    algorithm = _check_header(header)
    party = claims.get("iss")
    if not isinstance(party, str) or not 0 < len(party) <= 200 or client not in ("", party):
        _raise_refusal("iss is not the client")
    for certificate in _list_fitting_certificates(rules.find_certificates(party), header, algorithm):
        verified_claims = _find_signed_claims(assertion, certificate, algorithm)
        if verified_claims is not None:
            # After the signature: only the holder of its key learns why a certificate is not valid.
            _check_certificate(rules, certificate)
            return _check_claims(verified_claims, party, certificate, rules)
    return _raise_refusal("its signature is wrong")


def _check_certificate(rules: AssertionRules, certificate: Certificate) -> None:
    """Raise GW214 for a certificate that is not valid now, GW806 if it could not be validated."""
    try:
        rules.check_certificate(certificate)
    except GatewayError as refusal:
        raise_resource_problem(refusal)
        _raise_refusal(_describe_unusable(refusal))


def _describe_unusable(refusal: GatewayError) -> str:
    return f"the certificate of the client cannot be used: {refusal.problem.id} {refusal.detail[:200]}"


def _read_part(encoded_part: str) -> dict[str, Any]:
    """Return the JSON object in a base64url part of a JWT (RFC 7515 §3); refuse other content."""
    try:
        value = json.loads(base64.urlsafe_b64decode(encoded_part + "=" * (-len(encoded_part) % 4)))
    except (ValueError, RecursionError):
        _raise_refusal("a part of it is no JSON")
    if not isinstance(value, dict):
        _raise_refusal("a part of it is no JSON object")
    try:
        check_texts(value)
    except GatewayError as problem:
        _raise_refusal(f"{problem.location}: {problem.detail}")
    return value


def _check_header(header: Mapping[str, Any]) -> str:
    """Return the algorithm; the header may name a registered certificate, and nothing else."""
    unknown = sorted(set(header) - _HEADERS)
    if unknown:
        _raise_refusal(f"the header has {unknown[0][:40]}, which is not allowed")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        _raise_refusal(f"the algorithm is not one of {', '.join(sorted(_ALGORITHMS))}")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind not in _TYPES:
        _raise_refusal("typ is not JWT")
    return algorithm


def _list_fitting_certificates(
    certificates: Sequence[Certificate], header: Mapping[str, Any], algorithm: str
) -> list[Certificate]:
    """Return the party's certificates that the header names, all that fit when it names none; not none."""
    identifiers = [header[name] for name in ("kid", "x5t#S256") if name in header]
    fitting = [
        candidate
        for candidate in certificates
        if _is_named(candidate, identifiers) and algorithm in _list_algorithms(candidate.public_key)
    ]
    if not fitting:
        _raise_refusal("no registered signing certificate of the client fits kid and algorithm")
    return fitting


def _is_named(certificate: Certificate, identifiers: Sequence[Any]) -> bool:
    digest = base64.urlsafe_b64encode(bytes.fromhex(certificate.sha256)).decode().rstrip("=")
    return all(identifier in (certificate.sha256, digest) for identifier in identifiers)


def _list_algorithms(key: object) -> tuple[str, ...]:
    """Return the JWS algorithms (RFC 7518) allowed for a public key; none for other kinds of keys."""
    if isinstance(key, RSAPublicKey):
        return _RSA
    if isinstance(key, EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, ())
    return _EDWARDS if isinstance(key, Ed25519PublicKey) else ()


def _find_signed_claims(assertion: str, certificate: Certificate, algorithm: str) -> Mapping[str, Any] | None:
    """Return the claims of the JWT `assertion`; None unless the key of `certificate` has signed it."""
    try:
        key = _make_key(certificate.public_key)
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        return jwt.decode(assertion, key, algorithms=[algorithm], registry=registry).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        return None


def _make_key(public_key: Any) -> RSAKey | ECKey | OKPKey:
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(public_key, RSAPublicKey):
        return RSAKey.import_key(pem)
    return ECKey.import_key(pem) if isinstance(public_key, EllipticCurvePublicKey) else OKPKey.import_key(pem)


def _check_claims(
    claims: Mapping[str, Any], party: str, certificate: Certificate, rules: AssertionRules
) -> ClientProof:
    """Return the proof that the client is `party`, or refuse the assertion (RFC 7523 §3).

    Its jti is checked for its form only; its single use is checked when the token is stored.
    """
    if claims.get("iss") != party or claims.get("sub") != party:
        _raise_refusal("iss and sub are not the client")
    stated_audience = claims.get("aud")
    audience = stated_audience if isinstance(stated_audience, list) else [stated_audience]
    if not any(isinstance(recipient, str) and recipient in rules.audience for recipient in audience):
        _raise_refusal("aud is not this API")
    ends = _read_time(claims, "exp")
    if ends is None or ends <= rules.now - _SKEW:
        _raise_refusal("it has expired")
    if ends > rules.now + _LONGEST + _SKEW:
        _raise_refusal("exp is more than five minutes ahead")
    for name in ("iat", "nbf"):
        begins = _read_time(claims, name)
        if begins is not None and begins > rules.now + _SKEW:
            _raise_refusal(f"{name} is in the future")
    assertion_id = claims.get("jti")
    if not isinstance(assertion_id, str) or not 8 <= len(assertion_id) <= 200:
        _raise_refusal("jti is missing, or has not 8 to 200 characters")
    return ClientProof(party, certificate.sha256, assertion_id, ends + _SKEW)


def _read_time(claims: Mapping[str, Any], claim_name: str) -> datetime | None:
    """Return the time of a claim (RFC 7519 NumericDate), None if it is missing; refuse other values."""
    value = claims.get(claim_name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        _raise_refusal(f"{claim_name} is no time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        _raise_refusal(f"{claim_name} is no time")


def _raise_refusal(reason: str) -> NoReturn:
    raise GatewayError(CREDENTIALS_REFUSED, f"the client assertion is not accepted: {reason}", _LOCATION)


_OCTETS: Final = 32
_TOKEN_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
#: A party has few certificates at a time: an old one, a new one, one in reserve.
_MOST_CERTIFICATES: Final = 8


def issue_token(services: ApiServices, assertion: str, client: str) -> str:
    """Return a new access token for the party of an assertion; raises GW214, or GW807 for too many."""
    now = services.clock()
    knowledge = services.hub.refresh_snapshot()
    base = services.public_url
    rules = AssertionRules(
        frozenset({base, f"{base}/token"}),
        now,
        lambda party: _list_certificates(services, knowledge, party, now),
        lambda one: check_held_certificate(services.hub, one.der, CertificateUse.SIGNING, _LOCATION),
    )
    proof = verify_assertion(assertion, rules, client)
    token = base64.urlsafe_b64encode(services.random(_OCTETS)).decode().rstrip("=")
    _store_token(services, proof, token, now)
    return token


def _list_certificates(
    services: ApiServices, knowledge: RegisterSnapshot, party: str, now: datetime
) -> list[Certificate]:
    """Return the certificates that are registered for an active party to sign now, the newest first.

    One that this version refuses is left out; raises GW214 where there is no other.
    """
    if party not in knowledge.parties:
        return []
    with read_transaction(services.engine) as conn:
        rows = parties.list_certificates(conn, party, "signing")[:_MOST_CERTIFICATES]
    usable = [
        row.der
        for row in rows
        if (held := knowledge.by_certificate.get(row.sha256)) and held.describe_invalidity(now) is None
    ]
    certificates: list[Certificate] = []
    refusal: GatewayError | None = None
    for der in usable:
        try:
            certificates.append(read_certificate(der))
        except GatewayError as refused:
            raise_resource_problem(refused)
            refusal = refusal or refused
    if refusal is not None and not certificates:
        _raise_refusal(_describe_unusable(refusal))
    return certificates


def _store_token(services: ApiServices, proof: ClientProof, token: str, now: datetime) -> None:
    """Store the digest of a new token; refuse an assertion that was used before.

    Raises GW807 if the party has as many valid tokens as the settings allow.
    """
    digest = hashlib.sha256(f"{proof.party}\n{proof.assertion_id}".encode()).hexdigest()
    settings = services.settings.api
    with write_transaction(services.engine, "api.token") as conn:
        api_tokens.delete_expired_rows(conn, now)
        if not api_tokens.record_used_assertion(conn, digest, proof.expires_at):
            _raise_refusal("it was used before")
        if api_tokens.count_valid_tokens(conn, proof.party, now) >= settings.tokens_per_party:
            detail = f"{proof.party[:80]} has {settings.tokens_per_party} access tokens: use one of them"
            raise GatewayError(TOO_MANY_REQUESTS, detail, "client_assertion")
        api_tokens.insert_token(
            conn,
            NewToken(_digest_token(token), proof.party, proof.certificate_sha256, now, now + settings.token),
        )


def find_token_party(services: ApiServices, knowledge: RegisterSnapshot, token: str) -> tuple[str, str]:
    """Return the party that a token stands for now, and the certificate that proved it; raises GW214."""
    now = services.clock()
    row = None
    if _TOKEN_PATTERN.fullmatch(token) is not None:
        with read_transaction(services.engine) as conn:
            row = api_tokens.find_token(conn, _digest_token(token))
    if row is None or row.expires_at <= now:
        raise GatewayError(CREDENTIALS_REFUSED, "the access token is unknown or has expired", "Authorization")
    held = knowledge.by_certificate.get(row.certificate_sha256)
    if held is None or held.party != row.party_id or held.describe_invalidity(now) is not None:
        detail = "the party of the access token is suspended, or its certificate is no longer registered"
        raise GatewayError(CREDENTIALS_REFUSED, detail, "Authorization")
    _check_token_certificate(services.hub, held.der)
    return str(row.party_id), str(row.certificate_sha256)


def _check_token_certificate(hub: Hub, der: bytes) -> None:
    """Raise GW214 for a token whose certificate (DER) is not valid any more, for example revoked since."""
    try:
        check_held_certificate(hub, der, CertificateUse.SIGNING, "Authorization")
    except GatewayError as refusal:
        raise_resource_problem(refusal)
        detail = f"the certificate of the access token is not accepted: {refusal.problem.id} {refusal.detail}"
        raise GatewayError(CREDENTIALS_REFUSED, detail[:400], "Authorization") from refusal


def _digest_token(token: str) -> str:
    return hashlib.sha256(token.encode("ascii")).hexdigest()


_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_GRANT: Final = "client_credentials"


class TokenRequest(QueryModel):
    """The form by which an access token is asked for."""

    grant_type: str = Field(max_length=100, examples=[_GRANT])
    client_assertion_type: str = Field(max_length=100, examples=[_TYPE])
    client_assertion: str = Field(
        max_length=LARGEST_ASSERTION, description="A JWT signed by the client's key."
    )
    client_id: str = Field("", max_length=200, description="The party; it may be left out.")


class TokenAnswer(AnswerModel):
    """An access token."""

    access_token: str
    token_type: str = Field("Bearer", json_schema_extra={"const": "Bearer"})
    expires_in: int = Field(description="Seconds until it ends.", ge=1)


class TokenError(AnswerModel):
    """Why there is no token (RFC 6749 §5.2), with the id of the problem."""

    error: str = Field(
        json_schema_extra={
            "enum": ["invalid_request", "invalid_client", "unsupported_grant_type", "temporarily_unavailable"]
        }
    )
    error_description: str
    id: str = Field(pattern="^GW[0-9]{3}$")


def make_token_error(problem: GatewayError) -> ApiAnswer:
    """Return the answer of the token endpoint to a problem, in the words of RFC 6749."""
    status = find_status(problem)
    word = "temporarily_unavailable" if status >= 429 else "invalid_request"
    if problem.problem is CREDENTIALS_REFUSED:
        word = "invalid_client"
    elif problem.location == "grant_type":
        word = "unsupported_grant_type"
    answer = TokenError(error=word, error_description=problem.detail[:500], id=problem.problem.id)
    headers: dict[str, Any] = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    return ApiAnswer(answer, status, headers=headers)


@TOKENS.declare(
    "POST",
    "/token",
    "getToken",
    "Get an access token by a client assertion (private_key_jwt)",
    Answer(200, "The token", TokenAnswer),
    description=(
        "The assertion is a JWT, signed by a registered signing key of the party: iss and sub are the "
        "party, aud is the address of the API or of this endpoint, exp is at most five minutes ahead, "
        "jti is new, kid is the SHA-256 of the certificate in hexadecimal."
    ),
    body=RequestBody("The grant and the assertion", {_FORM_TYPE: TokenRequest}),
    problems=(413, 415),
    make_error=make_token_error,
    error_model=TokenError,
    public=True,
)
def _issue_token(call: ApiCall) -> ApiAnswer:
    token_request: TokenRequest = call.model
    if token_request.grant_type != _GRANT:
        raise GatewayError(REQUEST_MALFORMED, f"the grant type must be {_GRANT}", "grant_type")
    if token_request.client_assertion_type != _TYPE:
        raise GatewayError(REQUEST_MALFORMED, f"the type must be {_TYPE}", "client_assertion_type")
    token = issue_token(call.services, token_request.client_assertion, token_request.client_id)
    seconds = int(call.services.settings.api.token.total_seconds())  # bounded: a setting
    # RFC 6749 §5.1: no cache may keep a token.
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    return ApiAnswer(TokenAnswer(access_token=token, expires_in=seconds), headers=headers)
