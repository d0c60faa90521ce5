"""Secrets, which the settings file names and never contains."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field, model_validator

from gateway.config.value_types import Location, SettingsSection
from gateway.errors import KEY_UNAVAILABLE, GatewayError

__all__ = ["Secret"]

_FOLDER: Final = "CREDENTIALS_DIRECTORY"
#: What systemd takes as the name of a credential, without hidden files.
_CREDENTIAL: Final = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,200}"
_ONE_PLACE: Final = 'a secret is { file = "…" }, { env = "…" } or { credential = "…" }, one of the three'


class Secret(SettingsSection):
    """The place of a secret: a file, an environment variable, or a credential that systemd passes."""

    file: Location | None = Field(None, description="File that contains the secret.")
    env: str | None = Field(None, description="Environment variable that contains the secret.")
    credential: str | None = Field(
        None,
        pattern=f"^{_CREDENTIAL}$",
        description="Name of a credential in the folder that systemd passes in CREDENTIALS_DIRECTORY.",
    )

    @model_validator(mode="before")
    @classmethod
    def _find_credential(cls, data: Any) -> Any:
        """Let a credential be the file that it is in a service of systemd."""
        if not isinstance(data, dict) or not isinstance(data.get("credential"), str):
            return data
        if "file" in data or "env" in data:
            raise ValueError(_ONE_PLACE)
        folder = os.environ.get(_FOLDER)
        is_name = re.fullmatch(_CREDENTIAL, data["credential"]) is not None
        return data | {"file": os.path.join(folder, data["credential"])} if folder and is_name else data

    @model_validator(mode="after")
    def _check_single_place(self) -> Secret:
        if (self.file is None and self.credential is None) == (self.env is None):
            raise ValueError(_ONE_PLACE)
        return self

    def read(self, environ: Mapping[str, str] = os.environ) -> bytes:
        """Return the secret; raises GW803 when it is missing."""
        if self.env is not None:
            if self.env not in environ:
                raise GatewayError(KEY_UNAVAILABLE, f"the environment has no variable {self.env[:80]}")
            return environ[self.env].encode()
        if self.file is None:
            raise GatewayError(
                KEY_UNAVAILABLE, f"no {_FOLDER} has the credential {str(self.credential)[:80]}"
            )
        path = str(self.file)
        try:
            return Path(path).read_bytes()
        except OSError as error:
            detail = f"{path[-120:]} cannot be read: {error.strerror}"
            raise GatewayError(KEY_UNAVAILABLE, detail) from error
