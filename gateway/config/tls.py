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
        description="The authorities whose certificate the host must show, as PEM files; "
        "without any those that the operating system believes.",
    )
    certificate: Location | None = Field(
        None, description="The certificate chain that we show when the host asks for one, as PEM."
    )
    key: Secret | None = Field(None, description="The private key of that certificate, as PEM; a file.")
    password: Secret | None = Field(None, description="The password of that file, when it is encrypted.")

    @model_validator(mode="after")
    def _check_key_pair(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("to show who we are needs certificate and key, both or neither")
        return self


def get_key_file(key: Secret, where: str) -> Path:
    """Return the file of a TLS key; raises GW801 for a variable: the library reads only files."""
    if key.file is None:
        raise GatewayError(SETTINGS_WRONG, "the key of TLS is read from a file only", where)
    return key.file
