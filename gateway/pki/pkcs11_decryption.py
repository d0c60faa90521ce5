"""A decryption key that never leaves its PKCS#11 token: RSA-OAEP, where the token can do it.

RSA 1.5 is not done by a token: it has no implicit rejection, and its errors would tell which
paddings are right.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki.agreement_keys import AgreementPublicKey
from gateway.pki.decryption_keys import KeyPadding, encrypt_key
from gateway.pki.pkcs11 import TokenKey

__all__ = ["TokenDecryptionKey"]

#: Encrypted and decrypted at each opening, to verify that the key belongs to the certificate.
_PROBE: Final = b"the key of this token decrypts"
_STRONG: Final = KeyPadding("sha256", "sha256")
_DIGESTS: Final = {"sha1": "SHA_1", "sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}
#: Errors of PKCS#11 that say something of the octets and nothing of the token.
_OF_DATA: Final = frozenset({"EncryptedDataInvalid", "EncryptedDataLenRange", "DataInvalid", "DataLenRange"})


class _NotDone:
    """Says that a token is there and does not do a scheme."""


class TokenDecryptionKey(TokenKey):
    """Decrypts keys with a key of a PKCS#11 token."""

    _deed = "decrypt"

    def decrypt_key(self, data: bytes, scheme: KeyPadding) -> bytes | None:
        """Return the key in `data`, None where there is none; raise GW803 without the token.

        GW803 is also raised for a token that does not do OAEP with the digests of `scheme`. Such a token
        is not at fault otherwise: what it can do, it goes on doing.
        """
        if scheme.digest is None:
            return None
        found = self.use_key(lambda key: self._decrypt(key, data, scheme))
        if isinstance(found, _NotDone):
            detail = (
                f"token {self._place.token[:80]!r} does no RSA-OAEP with {scheme.digest.upper()} "
                f"and MGF1 with {scheme.mask.upper()}"
            )
            raise GatewayError(KEY_UNAVAILABLE, detail, "pki.token")
        return found

    def agree_secret(self, _public: AgreementPublicKey) -> bytes | None:
        """Return None: a token only decrypts keys with RSA here."""
        return None

    def is_own_key(self, key: Any) -> bool:
        """Return whether the key decrypts what is encrypted for the certificate.

        A token that does OAEP with SHA-1 only passes, too: it is of no use for SHA-256, but
        for the policies that read SHA-1.
        """
        return any(self._decrypts_probe(key, scheme) for scheme in (_STRONG, KeyPadding("sha1", "sha1")))

    def _decrypt(self, key: Any, data: bytes, scheme: KeyPadding) -> bytes | _NotDone | None:
        """Return the decrypted key; an error that the token repeats for good octets is of the token.

        Where it decrypts by another scheme it is there, and does not do this one.
        """
        try:
            return _decrypt_oaep(key, data, scheme)
        except Exception as problem:
            if type(problem).__name__ in _OF_DATA or self._decrypts_probe(key, scheme):
                return None
            if self.is_own_key(key):
                return _NotDone()
            raise

    def _decrypts_probe(self, key: Any, scheme: KeyPadding) -> bool:
        """Return whether the key decrypts by a scheme at all: then the octets were wrong, not the token."""
        try:
            return _decrypt_oaep(key, encrypt_key(self.certificate, _PROBE, scheme), scheme) == _PROBE
        except Exception:
            return False


def _decrypt_oaep(key: Any, data: bytes, scheme: KeyPadding) -> bytes:
    from pkcs11 import MGF, Mechanism

    digest, mask = _DIGESTS[str(scheme.digest)], scheme.mask.upper()
    parameters = (getattr(Mechanism, digest), getattr(MGF, mask), scheme.label or None)
    return bytes(key.decrypt(data, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=parameters))
