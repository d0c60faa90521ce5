"""Passkeys (Web Authentication Level 2): sign-in, and the confirmation of an act.

A passkey signs a challenge that the gateway has given. At the sign-in the challenge is random. When a
person confirms an act, the challenge is the SHA-256 of the document of the act: the signature is then
made over that document, and is kept as evidence that every verifier can check later. A use always asks for
verification of the person (PIN, fingerprint) by the authenticator.

All texts of octets are base64url without padding.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from gateway.errors import raise_resource_problem

#: Media type of the evidence of a confirmation.
CONFIRMATION_TYPE: Final = "application/vnd.gateway.passkey-confirmation+json"
#: The longest id of a new passkey (Web Authentication Level 3, 7.1); an index of the database has it.
_MAX_CREDENTIAL_OCTETS: Final = 1023
_MAX_ANSWER_CHARACTERS: Final = 64 * 1024
_TIMEOUT: Final = 5 * 60 * 1000
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
_ALGORITHMS: Final = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]


class PasskeyError(Exception):
    """An answer of a passkey that is not accepted; its text is for the log, not for the person."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The site for which passkeys are made: the host of the console, and its origin."""

    id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Passkey:
    """A registered passkey: its id, its public key (COSE, RFC 9053), and the counter of its last use."""

    credential_id: str
    public_key: bytes
    sign_count: int
    backed_up: bool = False


@dataclass(frozen=True, slots=True)
class PasskeyUse:
    """A verified use of a passkey: the new counter, and the octets of the evidence."""

    credential_id: str
    sign_count: int
    evidence: bytes


@dataclass(frozen=True, slots=True)
class PasskeyUser:
    """The user of a new passkey: the id of the account, the sign-in name, and the display name."""

    account: int
    name: str
    display_name: str


def find_relying_party(public_url: str) -> RelyingParty | None:
    """Return the site for which passkeys of a console are made; None when browsers allow none at its URL.

    Browsers ask for HTTPS and for a host that is not an IP address; `localhost` needs no HTTPS
    (Web Authentication 5.1.2, W3C Secure Contexts 3.1).
    """
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    if not host or _is_address(host) or (parts.scheme != "https" and host != "localhost"):
        return None
    return RelyingParty(host, find_web_origin(public_url))


def find_web_origin(url: str) -> str:
    """Return the origin of an http or https URL as browsers write it (RFC 6454 6.2)."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    usual = {"https": 443, "http": 80}[parts.scheme]
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def derive_document_challenge(document: bytes) -> bytes:
    """Return the challenge by which a document is confirmed: its SHA-256."""
    return sha256(document).digest()


def build_registration_options(
    relying_party: RelyingParty, challenge: bytes, user: PasskeyUser, credential_ids: tuple[str, ...]
) -> str:
    """Return the options of `navigator.credentials.create()` as JSON.

    `credential_ids` are the ids of the passkeys of the user, so that an authenticator is registered once.
    """
    options = generate_registration_options(
        rp_id=relying_party.id,
        rp_name=relying_party.id,
        user_id=_derive_user_id(relying_party, user.account),
        user_name=user.name,
        user_display_name=user.display_name,
        challenge=challenge,
        timeout=_TIMEOUT,
        attestation=AttestationConveyancePreference.NONE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_describe_credentials(credential_ids),
        supported_pub_key_algs=_ALGORITHMS,
    )
    return options_to_json(options)


def build_assertion_options(
    relying_party: RelyingParty, challenge: bytes, credential_ids: tuple[str, ...] = ()
) -> str:
    """Return the options of `navigator.credentials.get()` as JSON; without ids, any passkey may answer."""
    options = generate_authentication_options(
        rp_id=relying_party.id,
        challenge=challenge,
        timeout=_TIMEOUT,
        allow_credentials=_describe_credentials(credential_ids),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def verify_registration(relying_party: RelyingParty, challenge: bytes, answer: str) -> Passkey:
    """Verify the answer to a registration challenge and return its passkey; raises PasskeyError."""
    attestation = _read_answer(answer)
    _refuse_cross_origin_answer(attestation)
    try:
        registration = verify_registration_response(
            credential=attestation,
            expected_challenge=challenge,
            expected_rp_id=relying_party.id,
            expected_origin=relying_party.origin,
            require_user_verification=True,
            supported_pub_key_algs=_ALGORITHMS,
        )
    except Exception as problem:  # the library raises errors of several libraries for octets of strangers
        raise_resource_problem(problem)
        raise PasskeyError(f"{type(problem).__name__}: {problem}"[:300]) from problem
    id_length = len(registration.credential_id)
    if id_length > _MAX_CREDENTIAL_OCTETS:
        raise PasskeyError(
            f"the id of the passkey has {id_length} octets; at most {_MAX_CREDENTIAL_OCTETS} are allowed"
        )
    return Passkey(
        encode_base64url(registration.credential_id),
        registration.credential_public_key,
        registration.sign_count,
        registration.credential_backed_up,
    )


def verify_assertion(
    relying_party: RelyingParty, challenge: bytes, answer: str, passkey: Passkey, account: int | None = None
) -> PasskeyUse:
    """Verify the answer of a passkey to a challenge and return its use; raises PasskeyError.

    A counter that does not rise is an error: a copy of the passkey may exist. When the answer names a
    person, it must be the `account`.
    """
    assertion = _read_answer(answer)
    _refuse_cross_origin_answer(assertion)
    user_handle = assertion["response"].get("userHandle")
    if (
        user_handle
        and account is not None
        and user_handle != encode_base64url(_derive_user_id(relying_party, account))
    ):
        raise PasskeyError("the passkey was made for another account")
    if assertion.get("id") != passkey.credential_id:
        raise PasskeyError("another passkey answers")
    try:
        verified_response = verify_authentication_response(
            credential=assertion,
            expected_challenge=challenge,
            expected_rp_id=relying_party.id,
            expected_origin=relying_party.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except Exception as problem:  # as in verify_registration
        raise_resource_problem(problem)
        raise PasskeyError(f"{type(problem).__name__}: {problem}"[:300]) from problem
    evidence = _encode_evidence(relying_party, challenge, assertion, passkey)
    return PasskeyUse(passkey.credential_id, verified_response.new_sign_count, evidence)


def verify_confirmation(document: bytes, evidence: bytes) -> PasskeyUse:
    """Verify the evidence of a confirmation against the document, without a database; raises PasskeyError.

    The evidence states the public key, the host and the origin. The caller must check that these are those
    of the person and of the gateway, by the rows that name the credential.
    """
    fields = _read_answer(evidence.decode("utf-8", "replace"))
    try:
        relying_party = RelyingParty(fields["rp_id"], fields["origin"])
        passkey = Passkey(fields["credential_id"], decode_base64url(fields["public_key"]), 0)
        response = {name: fields[name] for name in ("clientDataJSON", "authenticatorData", "signature")}
    except (KeyError, TypeError, ValueError) as problem:
        raise PasskeyError("the evidence lacks a field") from problem
    answer = {"id": passkey.credential_id, "rawId": passkey.credential_id, "type": "public-key"}
    return verify_assertion(
        relying_party,
        derive_document_challenge(document),
        json.dumps(answer | {"response": response}),
        passkey,
    )


def read_answer_challenge(answer: str) -> str:
    """Return the challenge that an answer states, without verifying it; raises PasskeyError."""
    challenge = _read_client_data(_read_answer(answer)).get("challenge")
    if not isinstance(challenge, str) or not _BASE64URL.fullmatch(challenge):
        raise PasskeyError("the answer names no challenge")
    return challenge


def read_answer_credential(answer: str) -> str:
    """Return the id of the passkey that an answer states, without verifying it; raises PasskeyError."""
    credential_id = _read_answer(answer).get("id")
    if (
        not isinstance(credential_id, str)
        or len(credential_id) > 2048
        or not _BASE64URL.fullmatch(credential_id)
    ):
        raise PasskeyError("the answer names no passkey")
    return credential_id


def encode_base64url(octets: bytes) -> str:
    """Return octets as base64url without padding (RFC 4648 section 5)."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Return the octets of base64url without padding; raises ValueError."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _read_answer(answer: str) -> dict[str, Any]:
    """Return the JSON object of a browser's answer; raise PasskeyError if it is too long or not an object."""
    if len(answer) > _MAX_ANSWER_CHARACTERS:
        raise PasskeyError("the answer is too long")
    try:
        credential = json.loads(answer)
    except (ValueError, RecursionError) as problem:
        raise PasskeyError("the answer is not JSON") from problem
    if not isinstance(credential, dict):
        raise PasskeyError("the answer is not an object")
    return credential


def _read_client_data(credential: dict[str, Any]) -> dict[str, Any]:
    """Return the decoded clientDataJSON of an answer (Web Authentication 5.8.1), or raise PasskeyError."""
    response = credential.get("response")
    if not isinstance(response, dict):
        raise PasskeyError("the answer has no response")
    try:
        client_data = json.loads(decode_base64url(response["clientDataJSON"]))
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        raise PasskeyError("the client data cannot be read") from problem
    if not isinstance(client_data, dict):
        raise PasskeyError("the client data are not an object")
    return client_data


def _refuse_cross_origin_answer(credential: dict[str, Any]) -> None:
    """Refuse a credential that was signed within a frame of another site (Web Authentication §5.8.1).

    The library does not check this.
    """
    if _read_client_data(credential).get("crossOrigin"):
        raise PasskeyError("the answer was made within a page of another site")


def _encode_evidence(
    relying_party: RelyingParty, challenge: bytes, credential: dict[str, Any], passkey: Passkey
) -> bytes:
    """Return a use as JSON with sorted names: everything that a later verification needs."""
    response = credential["response"]
    fields = {
        "type": CONFIRMATION_TYPE,
        "rp_id": relying_party.id,
        "origin": relying_party.origin,
        "challenge": encode_base64url(challenge),
        "credential_id": passkey.credential_id,
        "public_key": encode_base64url(passkey.public_key),
        "clientDataJSON": response["clientDataJSON"],
        "authenticatorData": response["authenticatorData"],
        "signature": response["signature"],
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def _describe_credentials(credential_ids: tuple[str, ...]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(id=decode_base64url(credential_id)) for credential_id in credential_ids
    ]


def _derive_user_id(relying_party: RelyingParty, account: int) -> bytes:
    """Return the id of an account for authenticators; nothing about the person can be read from it."""
    return sha256(f"{relying_party.id} account {account}".encode()).digest()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
