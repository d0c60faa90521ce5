"""Secrets, which the settings file names and never contains."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, model_validator

from gateway.config.value_types import Location, SettingsSection
from gateway.errors import KEY_UNAVAILABLE, GatewayError

__all__ = ["Secret"]


class Secret(SettingsSection):
    """The place of a secret: a file, or an environment variable."""

    file: Location | None = Field(None, description="File that contains the secret.")
    env: str | None = Field(None, description="Environment variable that contains the secret.")

    @model_validator(mode="after")
    def _check_single_place(self) -> Secret:
        if (self.file is None) == (self.env is None):
            raise ValueError('a secret is { file = "…" } or { env = "…" }, one of the two')
        return self

    def read(self, environ: Mapping[str, str] = os.environ) -> bytes:
        """Return the secret; raises GW803 when it is missing."""
        if self.env is not None:
            if self.env not in environ:
                raise GatewayError(KEY_UNAVAILABLE, f"the environment has no variable {self.env[:80]}")
            return environ[self.env].encode()
        path = str(self.file)
        try:
            return Path(path).read_bytes()
        except OSError as error:
            detail = f"{path[-120:]} cannot be read: {error.strerror}"
            raise GatewayError(KEY_UNAVAILABLE, detail) from error
