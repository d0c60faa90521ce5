"""The settings of the trusted authorities and of our signing keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import Location, SettingsSection

__all__ = ["AgencyKeySettings", "NextKeySettings", "PkiSettings", "TokenSettings"]


class TokenSettings(SettingsSection):
    """The PKCS#11 token that signs, if configured; without a module the key is a file."""

    module: Location | None = Field(
        None, description="PKCS#11 library of the token's vendor. If it is set, `signing_key` is not read."
    )
    label: str = Field("", description="Label of the token.")
    key: str = Field("", description="Label of the private key in the token.")
    pin: Secret | None = Field(None, description="PIN of the token's user. It is read at each login.")

    @model_validator(mode="after")
    def _check_token_keys(self) -> TokenSettings:
        if self.module is not None and not (self.label and self.key and self.pin):
            raise ValueError("a token needs module, label, key and pin")
        return self


class AgencyKeySettings(SettingsSection):
    """The key of an agency that decides at the console; the gateway keeps the key for it."""

    signing_key: Secret | None = Field(
        None,
        description=(
            "Private key of the agency, in the form of `pki.signing_key`. It signs the acts of the "
            "agency's officers at the console."
        ),
    )
    signing_password: Secret | None = Field(
        None, description="Password of the file of the agency's private key, if it is encrypted."
    )
    signing_certificate: Location | None = Field(
        None, description="Certificate of the agency's key. A PKCS#12 file contains its own certificate."
    )
    token: TokenSettings = Field(
        TokenSettings(), description="PKCS#11 token with the agency's key, if the key is in a token."
    )

    @property
    def names_key(self) -> bool:
        """Return whether the settings name a key."""
        return self.signing_key is not None or self.token.module is not None

    @model_validator(mode="after")
    def _check_token_certificate(self) -> AgencyKeySettings:
        if self.token.module is not None and self.signing_certificate is None:
            raise ValueError("the key of a token needs signing_certificate")
        return self


class NextKeySettings(SettingsSection):
    """The key that takes over from the current signing key; without a start there is none."""

    starts: AwareDatetime | None = Field(
        None,
        description=(
            "Time from which the next key signs instead of the current key: a date and time with offset."
        ),
    )
    signing_key: Secret | None = Field(
        None, description="The next private key, in the form of `pki.signing_key`."
    )
    signing_password: Secret | None = Field(
        None, description="Password of the file of the next private key, if it is encrypted."
    )
    signing_certificate: Location | None = Field(
        None, description="Certificate of the next key. A PKCS#12 file contains its own certificate."
    )
    token: TokenSettings = Field(
        TokenSettings(), description="PKCS#11 token with the next key, if the key is in a token."
    )

    @model_validator(mode="after")
    def _check_next_key(self) -> NextKeySettings:
        named = self.signing_key is not None or self.token.module is not None
        if (self.starts is not None) != named:
            raise ValueError("the next key needs starts, and signing_key or token")
        if self.token.module is not None and self.signing_certificate is None:
            raise ValueError("the key of a token needs signing_certificate")
        return self


class PkiSettings(SettingsSection):
    """The trusted authorities, and the key that signs."""

    anchors: tuple[Location, ...] = Field(
        (Path("pki/ca.pem"),), description="Certificates of the trust anchors, as PEM files."
    )
    intermediates: tuple[Location, ...] = Field(
        (),
        description=(
            "Intermediate certificates, as PEM files. The issuers and responders in `[fetch.CODE]` need not "
            "be repeated here."
        ),
    )
    crls: tuple[Location, ...] = Field(
        (Path("pki/crl.pem"),), description="Revocation lists to load, as PEM or DER files."
    )
    signing_key: Secret = Field(
        Secret(file=Path("pki/hub.key.pem")),
        description=(
            "Private signing key: PKCS#8 as PEM or DER, encrypted or not (also with SEED, as in Korean "
            "key files), or a PKCS#12 file."
        ),
    )
    signing_password: Secret | None = Field(
        None, description="Password of the file of the private key, if it is encrypted."
    )
    signing_certificate: Location = Field(
        Path("pki/hub.cert.pem"),
        description=(
            "Certificate of the signing key, as PEM or DER. It is not read for a PKCS#12 file, which "
            "contains its own certificate."
        ),
    )
    token: TokenSettings = Field(
        TokenSettings(), description="PKCS#11 token with the signing key, if the key is in a token."
    )
    next: NextKeySettings = Field(NextKeySettings(), description="The next signing key, if there is one.")
    policy: Location | None = Field(
        None, description="File of the trust policy. If it is not set, the shipped policy is used."
    )
    revocation: Literal["require", "if_present"] | None = Field(
        None,
        description=(
            "With `require`, current revocation data are required. With `if_present`, they are used if "
            "present. If it is not set, the policy decides."
        ),
    )
    signatures: str = Field("strict", description="Algorithm policy that signatures must satisfy.")

    @field_validator("signing_key", mode="before")
    @classmethod
    def _revalidate_default_key(cls, value: Any) -> Any:
        # A default is validated again, so that its path starts at the home folder.
        return value.model_dump() if isinstance(value, Secret) else value
