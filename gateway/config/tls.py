"""The settings of TLS client connections: the trusted authorities of a host, and our certificate."""

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

    @model_validator(mode="after")
    def _check_key_pair(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate needs certificate and key, both or neither")
        return self


def get_key_file(key: Secret, where: str) -> Path:
    """Return the file of a TLS key; raises GW801 for a variable: the library reads only files."""
    if key.file is None:
        raise GatewayError(SETTINGS_WRONG, "the TLS key must be a file", where)
    return key.file
