"""The settings of sign-in by OpenID Connect."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import Duration, Location, SettingsSection, Url

__all__ = ["OidcSettings"]


class OidcSettings(SettingsSection):
    """The OpenID provider by which people sign in; without an issuer there is none."""

    issuer: Url | None = Field(
        None, description="OpenID provider, exactly as it names itself. Accounts must be bound to it."
    )
    client_id: str = Field("", description="Name of the gateway at the provider.")
    client_secret: Secret | None = Field(
        None, description="Secret of the gateway at the provider. Without it: a public client with PKCE."
    )
    ca: Location | None = Field(
        None, description="Authorities (PEM) of the provider's TLS certificate. Without it: the usual ones."
    )
    scopes: tuple[str, ...] = Field(("openid",), description="Scopes that are asked for.")
    label: str = Field("OpenID", description="Name of the provider on the sign-in page.")
    time_out: Duration = Field(
        timedelta(seconds=10), description="Time that a call of the provider may take."
    )
    keep: Duration = Field(
        timedelta(hours=1), description="Time for which the provider's addresses and keys are kept."
    )

    @model_validator(mode="after")
    def _check_client(self) -> OidcSettings:
        if self.issuer is not None and not self.client_id:
            raise ValueError("an issuer needs a client_id")
        if "openid" not in self.scopes:
            raise ValueError("the scopes contain openid")
        return self
