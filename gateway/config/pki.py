"""The settings of the trusted authorities and of our signing keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import Location, SettingsSection

__all__ = ["NextKeySettings", "PkiSettings", "TokenSettings"]


class TokenSettings(SettingsSection):
    """The PKCS#11 token that signs, if configured; without a module the key is a file."""

    module: Location | None = Field(
        None, description="The library of the token's vendor; with it `signing_key` is not read."
    )
    label: str = Field("", description="The label of the token.")
    key: str = Field("", description="The label of the private key in the token.")
    pin: Secret | None = Field(None, description="The PIN of the token's user; read at each login.")

    @model_validator(mode="after")
    def _check_token_keys(self) -> TokenSettings:
        if self.module is not None and not (self.label and self.key and self.pin):
            raise ValueError("a token is named by module, label, key and pin")
        return self


class NextKeySettings(SettingsSection):
    """The key that takes over from the current signing key; without a start there is none."""

    starts: AwareDatetime | None = Field(
        None, description="From when it signs in place of the one above; a date and time with its offset."
    )
    signing_key: Secret | None = Field(None, description="The next private key, as `pki.signing_key`.")
    signing_password: Secret | None = Field(
        None, description="The password of the file of the next private key, when it is encrypted."
    )
    signing_certificate: Location | None = Field(
        None, description="The certificate of the next key; a PKCS#12 file brings its own."
    )
    token: TokenSettings = Field(
        TokenSettings(), description="The PKCS#11 token that signs then, when one does."
    )

    @model_validator(mode="after")
    def _check_next_key(self) -> NextKeySettings:
        named = self.signing_key is not None or self.token.module is not None
        if (self.starts is not None) != named:
            raise ValueError("the next key is named by starts, and signing_key or token")
        if self.token.module is not None and self.signing_certificate is None:
            raise ValueError("the key of a token needs signing_certificate")
        return self


class PkiSettings(SettingsSection):
    """The trusted authorities, and the key that signs."""

    anchors: tuple[Location, ...] = Field(
        (Path("pki/ca.pem"),), description="The certificates of the authorities believed, as PEM files."
    )
    intermediates: tuple[Location, ...] = Field(
        (),
        description="Certificates of authorities below an anchor, as PEM files; "
        "those of the issuers and responders of `[fetch]` are known without.",
    )
    crls: tuple[Location, ...] = Field(
        (Path("pki/crl.pem"),), description="The revocation lists in hand, as PEM or DER files."
    )
    signing_key: Secret = Field(
        Secret(file=Path("pki/hub.key.pem")),
        description="The private key we sign with: PKCS#8 as PEM or DER, encrypted or not "
        "(also by SEED, as Korean key files are), or a PKCS#12 file.",
    )
    signing_password: Secret | None = Field(
        None, description="The password of the file of the private key, when it is encrypted."
    )
    signing_certificate: Location = Field(
        Path("pki/hub.cert.pem"),
        description="The certificate of the key we sign with, as PEM or DER; "
        "a PKCS#12 file brings its own, and this is not read.",
    )
    token: TokenSettings = Field(TokenSettings(), description="The PKCS#11 token that signs, when one does.")
    next: NextKeySettings = Field(NextKeySettings(), description="The key that takes over, when one does.")
    policy: Location | None = Field(
        None, description="The file of the trust policy, when it is not the shipped one."
    )
    revocation: Literal["require", "if_present"] | None = Field(
        None, description="Whether a fresh revocation list is required; the policy's rule when not given."
    )
    signatures: str = Field("strict", description="The policy of algorithms that signatures must meet.")

    @field_validator("signing_key", mode="before")
    @classmethod
    def _revalidate_default_key(cls, value: Any) -> Any:
        # A default is validated again, so that its path starts at the home folder.
        return value.model_dump() if isinstance(value, Secret) else value
