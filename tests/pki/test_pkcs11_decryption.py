"""A decryption key in a token decrypts as one in memory does, as far as the token can."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from gateway.cli.hub_findings import _find_token_warnings
from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki import KeyPadding, RsaDecryptionKey, TokenDecryptionKey, encrypt_key
from tests.encryption.conftest import make_receiver
from tests.kit.softhsm import PIN, SoftHsm

# SoftHSM 2 does OAEP with SHA-1 only.
SHA1 = KeyPadding("sha1", "sha1")
SHA256 = KeyPadding("sha256", "sha256")
KEY = bytes(range(32))


class Seconds:
    """A clock that goes on by more than the pause each time it is asked."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


@pytest.fixture(scope="module")
def owner() -> RsaDecryptionKey:
    return make_receiver("Token").key


@pytest.fixture
def hsm(tmp_path, monkeypatch, owner) -> SoftHsm:
    made = SoftHsm.make(tmp_path / "hsm", monkeypatch)
    made.put(owner.key, "decrypting")
    return made


def open_key(hsm: SoftHsm, owner: RsaDecryptionKey) -> TokenDecryptionKey:
    return TokenDecryptionKey(hsm.key("decrypting"), owner.certificate, lambda: PIN, Seconds())


@pytest.mark.long
@pytest.mark.hsm
def test_it_decrypts_and_tells_nothing_of_what_it_cannot_decrypt(hsm, owner):
    key = open_key(hsm, owner)
    sealed = encrypt_key(owner.certificate, KEY, SHA1)
    assert key.decrypt_key(sealed, SHA1) == KEY
    for wrong in (os.urandom(256), b"", sealed[:-1], bytes(256), b"\xff" * 256, sealed + b"x"):
        assert key.decrypt_key(wrong, SHA1) is None
    assert key.decrypt_key(sealed, SHA1) == KEY
    assert key.decrypt_key(encrypt_key(owner.certificate, KEY, KeyPadding(None)), KeyPadding(None)) is None


@pytest.mark.hsm
def test_a_scheme_that_the_token_does_not_do_is_our_problem(hsm, owner):
    key = TokenDecryptionKey(hsm.key("decrypting"), owner.certificate, lambda: PIN, lambda: 1.0)
    with pytest.raises(GatewayError) as refused:
        key.decrypt_key(encrypt_key(owner.certificate, KEY, SHA256), SHA256)
    assert refused.value.problem is KEY_UNAVAILABLE
    assert refused.value.detail.endswith("does no RSA-OAEP with SHA256 and MGF1 with SHA256")
    # The token is not at fault otherwise: there is no pause for what it can do.
    assert key.decrypt_key(encrypt_key(owner.certificate, KEY, SHA1), SHA1) == KEY


@pytest.mark.hsm
def test_a_token_that_does_not_do_what_partners_write_is_found_by_the_check(hsm, owner):
    (told,) = _find_token_warnings([owner, open_key(hsm, owner)])
    assert told.startswith(f"the key of {owner.certificate.subject} cannot be used for payloads: token ")
    assert told.endswith("does no RSA-OAEP with SHA256 and MGF1 with SHA256")


@pytest.mark.long
@pytest.mark.hsm
def test_a_token_that_was_away_is_found_again_and_anothers_key_is_refused(hsm, owner):
    key, sealed = open_key(hsm, owner), encrypt_key(owner.certificate, KEY, SHA1)
    hsm.pull()
    with pytest.raises(GatewayError):
        key.decrypt_key(sealed, SHA1)
    hsm.put_back()
    assert key.decrypt_key(sealed, SHA1) == KEY
    stranger = TokenDecryptionKey(
        hsm.key("decrypting"), make_receiver("B").certificate, lambda: PIN, Seconds()
    )
    with pytest.raises(GatewayError, match="does not belong"):
        stranger.decrypt_key(sealed, SHA1)


@dataclass
class Token:
    """A token that can do more than SoftHSM: OAEP with every digest, and errors of its own."""

    owner: RsaDecryptionKey
    error: type[Exception] = ValueError
    asked: int = 0

    def decrypt(self, data: bytes, mechanism: object, mechanism_param: tuple) -> bytes:
        self.asked += 1
        digest, mask, label = mechanism_param
        names = {"SHA_1": "sha1"}
        scheme = KeyPadding(names.get(digest.name, digest.name.lower()), mask.name.lower(), label or b"")
        found = self.owner.decrypt_key(data, scheme)
        if found is None:
            raise self.error("what a vendor says")
        return found


class EncryptedDataInvalid(Exception):  # as the library names it
    """What some tokens say."""


@pytest.mark.parametrize(("error", "asked"), [(EncryptedDataInvalid, 1), (ValueError, 2)])
def test_errors_of_data_and_of_a_token_are_told_apart(owner, error, asked):
    key = object.__new__(TokenDecryptionKey)
    key.certificate = owner.certificate  # type: ignore[misc]
    token = Token(owner, error)
    assert key._decrypt_or_classify(token, encrypt_key(owner.certificate, KEY, SHA256), SHA256) == KEY
    assert key.is_own_key(token)
    token.asked = 0
    assert key._decrypt_or_classify(token, os.urandom(256), SHA256) is None
    assert token.asked == asked
