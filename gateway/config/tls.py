"""The settings of TLS client connections: the trusted authorities of a host, our certificate, our login."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import Location, SettingsSection
from gateway.errors import SETTINGS_WRONG, GatewayError

__all__ = ["TlsSettings", "get_key_file"]


class TlsSettings(SettingsSection):
    """How we call one host over TLS; the name ``*`` stands for every host without its own section."""

    anchors: tuple[Location, ...] = Field(
        (),
        description=(
            "Trust anchors for the certificate of the host, as PEM files. If there is none, those of the "
            "operating system."
        ),
    )
    certificate: Location | None = Field(
        None, description="Client certificate chain, as PEM. It is sent if the host requests one."
    )
    key: Secret | None = Field(None, description="Private key of the client certificate, as a PEM file.")
    password: Secret | None = Field(None, description="Password of the key file, if it is encrypted.")
    login: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description=(
            "Name with which the gateway logs in at the host (HTTP basic authentication), for messages and "
            "calls over TLS."
        ),
    )
    login_password: Secret | None = Field(None, description="Password for `login`.")

    @model_validator(mode="after")
    def _check_key_pair(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate needs certificate and key, both or neither")
        return self

    @model_validator(mode="after")
    def _check_login(self) -> TlsSettings:
        if (self.login is None) != (self.login_password is None):
            raise ValueError("a login needs login and login_password, both or neither")
        # RFC 7617 section 2: the first colon ends the name.
        if self.login is not None and (":" in self.login or not self.login.isprintable()):
            raise ValueError("login is a name without colon and control characters")
        return self


def get_key_file(key: Secret, where: str) -> Path:
    """Return the file of a TLS key; raises GW801 for a variable: the library reads only files."""
    if key.file is None:
        raise GatewayError(SETTINGS_WRONG, "the TLS key must be a file", where)
    return key.file
