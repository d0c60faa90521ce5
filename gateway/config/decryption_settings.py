"""The settings of the keys that decrypt what partners encrypt for us."""

from __future__ import annotations

from pydantic import Field, model_validator

from gateway.config.pki import TokenSettings
from gateway.config.secret_values import Secret
from gateway.config.value_types import Location, SettingsSection

__all__ = ["DecryptionKeySettings"]


class DecryptionKeySettings(SettingsSection):
    """One decryption key; several may be in use while partners change from one to the next."""

    key: Secret | None = Field(
        None, description="Private RSA key that decrypts payloads, in the form of `pki.signing_key`."
    )
    password: Secret | None = Field(
        None, description="Password of the file of the decryption key, if it is encrypted."
    )
    certificate: Location | None = Field(
        None, description="Certificate of the decryption key. A PKCS#12 file contains its own certificate."
    )

    token: TokenSettings = Field(
        TokenSettings(), description="PKCS#11 token with the decryption key, if the key is in a token."
    )

    @model_validator(mode="after")
    def _check_key_named(self) -> DecryptionKeySettings:
        if (self.key is None) == (self.token.module is None):
            raise ValueError("a decryption key needs key, or token")
        if self.token.module is not None and self.certificate is None:
            raise ValueError("the key of a token needs certificate")
        return self
