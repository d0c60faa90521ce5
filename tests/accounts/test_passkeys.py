"""Passkeys: what is accepted, and above all what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts import (
    Passkey,
    PasskeyError,
    PasskeyUser,
    build_assertion_options,
    build_registration_options,
    decode_base64url,
    derive_document_challenge,
    encode_base64url,
    find_relying_party,
    read_answer_challenge,
    read_answer_credential,
    verify_assertion,
    verify_confirmation,
    verify_registration,
)
from tests.kit.authenticator import BACKED_UP, PRESENT, VERIFIED, Authenticator

PARTY = find_relying_party("http://localhost:8081")
CHALLENGE = b"c" * 32
DOCUMENT = b'{"decision":"approve","case":"2026-1","item":1}'


def register(authenticator: Authenticator, account: int = 7) -> Passkey:
    assert PARTY is not None
    options = build_registration_options(PARTY, CHALLENGE, PasskeyUser(account, "kim", "Kim"), ())
    return verify_registration(PARTY, CHALLENGE, authenticator.create(options))


def use(authenticator: Authenticator, passkey: Passkey, challenge: bytes = CHALLENGE) -> Any:
    assert PARTY is not None
    answer = authenticator.get(build_assertion_options(PARTY, challenge, (passkey.credential_id,)))
    return verify_assertion(PARTY, CHALLENGE, answer, passkey, 7)


@pytest.mark.parametrize(
    ("url", "host", "origin"),
    [
        ("https://window.example", "window.example", "https://window.example"),
        ("https://Window.example:443/", "window.example", "https://window.example"),
        ("https://window.example:8443", "window.example", "https://window.example:8443"),
        ("http://localhost:8081", "localhost", "http://localhost:8081"),
    ],
)
def test_the_host_and_the_origin_come_from_the_public_url(url: str, host: str, origin: str) -> None:
    party = find_relying_party(url)
    assert party is not None
    assert (party.id, party.origin) == (host, origin)


@pytest.mark.parametrize("url", ["https://192.0.2.1", "https://[::1]:8443", "http://window.example", ""])
def test_where_browsers_allow_no_passkey_there_is_none(url: str) -> None:
    assert find_relying_party(url) is None


def test_a_passkey_is_registered_and_used() -> None:
    authenticator = Authenticator()
    passkey = register(authenticator)
    assert not passkey.backed_up
    used = use(authenticator, passkey)
    assert (used.credential_id, used.sign_count) == (passkey.credential_id, 1)


def test_options_ask_for_the_person_and_for_no_attestation() -> None:
    assert PARTY is not None
    told = json.loads(build_registration_options(PARTY, CHALLENGE, PasskeyUser(7, "kim", "Kim"), ("QUJD",)))
    assert told["attestation"] == "none"
    assert told["authenticatorSelection"]["userVerification"] == "required"
    assert told["authenticatorSelection"]["residentKey"] == "required"
    assert told["excludeCredentials"][0]["id"] == "QUJD"
    assert b"kim" not in decode_base64url(told["user"]["id"])


@pytest.mark.parametrize(
    "bent",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:8082"},
        {"host": "evil.example"},
        {"flags": PRESENT},
        {"flags": VERIFIED},
        {"more": {"crossOrigin": True}},
        {"more": {"type": "webauthn.create"}},
        {"more": {"challenge": "AAAA"}},
        {"more": {"challenge": 7}},
    ],
    ids=str,
)
def test_a_use_that_is_not_of_this_person_at_this_page_is_refused(bent: dict[str, Any]) -> None:
    authenticator = Authenticator()
    passkey = register(authenticator)
    for name, value in bent.items():
        setattr(authenticator, name, value)
    with pytest.raises(PasskeyError):
        use(authenticator, passkey)


@pytest.mark.parametrize(
    "bent", [{"origin": "https://evil.example"}, {"host": "x"}, {"flags": PRESENT}], ids=str
)
def test_a_registration_elsewhere_is_refused(bent: dict[str, Any]) -> None:
    with pytest.raises(PasskeyError):
        register(replace(Authenticator(), **bent))


def test_the_counter_must_rise() -> None:
    authenticator = Authenticator(count=5)
    passkey = register(authenticator)
    assert use(authenticator, passkey).sign_count == 6
    authenticator.count = 4
    with pytest.raises(PasskeyError, match="sign count"):
        use(authenticator, passkey)


def test_an_authenticator_that_does_not_count_is_used_often() -> None:
    authenticator = Authenticator(steps=0, flags=PRESENT | VERIFIED | BACKED_UP)
    passkey = register(authenticator)
    assert passkey.backed_up
    assert [use(authenticator, passkey).sign_count for _ in range(2)] == [0, 0]


def test_another_key_another_account_and_another_challenge_are_refused() -> None:
    authenticator = Authenticator()
    passkey = register(authenticator)
    with pytest.raises(PasskeyError):
        use(authenticator, replace(passkey, public_key=register(Authenticator()).public_key))
    with pytest.raises(PasskeyError):
        use(authenticator, passkey, b"d" * 32)
    register(authenticator, account=8)
    with pytest.raises(PasskeyError, match="another account"):
        use(authenticator, passkey)


def confirm() -> bytes:
    assert PARTY is not None
    authenticator = Authenticator()
    passkey = register(authenticator)
    challenge = derive_document_challenge(DOCUMENT)
    answer = authenticator.get(build_assertion_options(PARTY, challenge))
    return verify_assertion(PARTY, challenge, answer, passkey).evidence


def test_a_confirmation_is_verified_later_by_its_evidence_alone() -> None:
    assert verify_confirmation(DOCUMENT, confirm()).sign_count == 1


def test_a_confirmation_of_another_document_is_refused() -> None:
    with pytest.raises(PasskeyError):
        verify_confirmation(DOCUMENT.replace(b"approve", b"refused"), confirm())


@pytest.mark.parametrize(
    "name", ["signature", "authenticatorData", "clientDataJSON", "public_key", "origin", "rp_id"]
)
def test_evidence_that_was_changed_is_refused(name: str) -> None:
    told = json.loads(confirm())
    for value in (told[name][:-4] + "AAAA", "", None, 7, []):
        with pytest.raises(PasskeyError):
            verify_confirmation(DOCUMENT, json.dumps(told | {name: value}).encode())


@pytest.mark.parametrize(
    "answer", ["", "[]", "{}", "null", '{"id":1}', "[" * 50_000, "x" * 100_000, '{"response":[]}']
)
def test_an_answer_that_is_none_is_refused(answer: str) -> None:
    assert PARTY is not None
    with pytest.raises(PasskeyError):
        verify_registration(PARTY, CHALLENGE, answer)
    with pytest.raises(PasskeyError):
        verify_assertion(PARTY, CHALLENGE, answer, Passkey("QUJD", b"", 0))


@pytest.mark.parametrize("value", [7, None, ["YWJj"], "", "not base64url!"], ids=str)
def test_an_answer_that_names_no_challenge_or_no_passkey_is_refused(value: object) -> None:
    client = encode_base64url(json.dumps({"challenge": value}).encode())
    answer = json.dumps({"id": value, "response": {"clientDataJSON": client}})
    with pytest.raises(PasskeyError, match="names no challenge"):
        read_answer_challenge(answer)
    with pytest.raises(PasskeyError, match="names no passkey"):
        read_answer_credential(answer)


class LongIdAuthenticator(Authenticator):
    """An authenticator whose passkey has an id of a given length."""

    octet_count = 1023

    @property
    def credential(self) -> str:
        return encode_base64url(Random(self.octet_count).randbytes(self.octet_count))


def test_a_new_passkey_has_an_id_of_at_most_1023_octets() -> None:
    authenticator = LongIdAuthenticator()
    passkey = register(authenticator)
    assert use(authenticator, passkey).credential_id == authenticator.credential
    authenticator.octet_count = 1024
    with pytest.raises(PasskeyError, match="1024 octets; at most 1023 are allowed"):
        register(authenticator)


def test_the_id_of_a_passkey_has_at_most_2048_characters() -> None:
    assert read_answer_credential(json.dumps({"id": "A" * 2048})) == "A" * 2048
    with pytest.raises(PasskeyError, match="names no passkey"):
        read_answer_credential(json.dumps({"id": "A" * 2049}))


@pytest.mark.long
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_octets_of_strangers_only_raise_what_is_said(data: bytes, key: bytes) -> None:
    assert PARTY is not None
    said = {"type": "webauthn.get", "challenge": encode_base64url(CHALLENGE), "origin": PARTY.origin}
    response = {
        "clientDataJSON": encode_base64url(json.dumps(said).encode()),
        "authenticatorData": encode_base64url(data),
        "attestationObject": encode_base64url(data),
        "signature": encode_base64url(key),
    }
    answer = json.dumps({"id": "QUJD", "rawId": "QUJD", "type": "public-key", "response": response})
    with pytest.raises(PasskeyError):
        verify_assertion(PARTY, CHALLENGE, answer, Passkey("QUJD", key, 0))
    with pytest.raises(PasskeyError):
        verify_registration(PARTY, CHALLENGE, answer.replace(".get", ".create"))
