"""The settings of parties that pull their messages with a name and a password."""

from __future__ import annotations

from pydantic import Field, model_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import SettingsSection

__all__ = ["PullerSettings"]


class PullerSettings(SettingsSection):
    """With what a party shows who it is when it pulls (WSS UsernameToken)."""

    name: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="Name in its UsernameToken. If it is not set, the name of this section is used.",
    )
    password: Secret | None = Field(None, description="Its password, of at least 16 octets. It is required.")

    @model_validator(mode="after")
    def _check_password(self) -> PullerSettings:
        if self.password is None:
            raise ValueError("a party that pulls with a name needs a password")
        return self
