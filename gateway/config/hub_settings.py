"""The settings of our own identity, the database, and the operator's own data folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import Location, SettingsSection, Size, get_home_folder

__all__ = ["DatabaseSettings", "HubSettings", "ShareSettings"]


class HubSettings(SettingsSection):
    """The identity of our own party, and its home folder."""

    party: str = Field("hub", min_length=1, description="The id of our own party in the registry.")
    name: str = Field("Single Window Hub", description="The name shown to people.")
    home: Path = Field(Path("gateway-home"), description="The folder of what the gateway keeps in files.")
    time_zone: str = Field("Asia/Seoul", description="The time zone in which people are shown times.")

    @field_validator("home")
    @classmethod
    def _resolve_home_folder(cls, value: Path, info: ValidationInfo) -> Path:
        return get_home_folder(info) if info.context else value


class DatabaseSettings(SettingsSection):
    """The database that the gateway uses."""

    url: str = Field(
        "",
        repr=False,
        description="The SQLAlchemy URL of a SQLite file or a PostgreSQL server; "
        "a file in the home folder when empty; may be a secret.",
    )
    # The log of SQLite (16 MiB), what the accepted messages still produce (calls, replies, results,
    # evidence), and one message of the largest size for each of several threads that measured at the same
    # time.
    reserve: Size = Field(
        256 * 1024**2,
        description="Octets of its disk that are kept for work taken before; "
        "when less is free, no new message is taken.",
    )
    volume: Location | None = Field(
        None,
        description="A folder on the disk of the database, whose free room counts; the folder of the "
        "SQLite file when not given. Without it the room of a PostgreSQL server is not measured.",
    )

    @field_validator("url", mode="before")
    @classmethod
    def _read_secret_url(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict):
            return Secret.model_validate(value, context=info.context).read().decode().strip()
        return value

    @field_validator("url")
    @classmethod
    def _resolve_sqlite_path(cls, value: str, info: ValidationInfo) -> str:
        relative = re.fullmatch(r"sqlite:///([^/].*)", value or "sqlite:///gateway.sqlite3")
        return f"sqlite:///{get_home_folder(info) / relative[1]}" if relative else value


class ShareSettings(SettingsSection):
    """The operator's own data folders."""

    folders: tuple[Location, ...] = Field(
        (), description="Folders searched for xsd, wsdl, mappings, pki before those of the gateway."
    )
