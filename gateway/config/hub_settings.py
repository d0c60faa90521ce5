"""The settings of our own identity, the database, and the operator's own data folders."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, field_validator

from gateway.config.setting_values import (
    Count,
    Duration,
    Location,
    Secret,
    SettingsSection,
    Size,
    get_home_folder,
)

#: The form of a version of the program.
VERSION: Final = r"[0-9]{1,6}([.][0-9]{1,6}){0,5}"


class HubSettings(SettingsSection):
    """The identity of our own party, and its home folder."""

    party: str = Field("hub", min_length=1)
    """Id of the gateway's own party in the register."""
    name: str = "Single Window Hub"
    """Name of the gateway in texts for people."""
    home: Path = Path("gateway-home")
    """Home folder, with the files of the gateway."""
    node: str = Field("", pattern="^[A-Za-z0-9._-]{0,40}$")
    """Name of this machine in leases. If it is empty, the name of the host."""
    version: str = Field("", pattern=f"^({VERSION})?$")
    """Newest version of the program that reads this file. A program that is older warns of keys which it does
    not know, and leaves them out."""
    time_zone: str = "Asia/Seoul"
    """Time zone in which verbs show times, with the offset."""
    signed_agreements: bool = False
    """Whether only CPA documents that a party of theirs has signed are loaded."""

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, value: str) -> str:
        """Return `value` if it is a time zone of the IANA database; raise ValueError if it is not."""
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                "a time zone must be a name of the IANA database, as Asia/Seoul or UTC"
            ) from None
        return value

    @field_validator("home")
    @classmethod
    def _resolve_home_folder(cls, value: Path, info: ValidationInfo) -> Path:
        return get_home_folder(info) if info.context else value


class DatabaseSettings(SettingsSection):
    """The database that the gateway uses."""

    url: str = Field("", repr=False)
    """SQLAlchemy URL of a SQLite file or a PostgreSQL server. If it is empty, a file in the home folder. It
    may be a secret."""
    # The log of SQLite (16 MiB), the later data of the accepted messages (calls, replies, results, evidence),
    # and one message of the largest size for each of several threads that measured at the same time.
    reserve: Size = 256 * 1024**2
    """Octets of the disk that are reserved for messages already accepted. If less is free, no new message is
    accepted."""
    volume: Location | None = None
    """A folder on the disk of the database, whose free space is measured. If it is not set, the folder of the
    SQLite file. Without it, the disk of a PostgreSQL server is not measured."""

    copies: Count = Field(1, le=9)
    """Servers on whose disks a commit must be before the gateway acknowledges anything of it. For more than
    1, PostgreSQL with synchronous standbys."""
    time_out: Duration = timedelta(seconds=20)
    """How long a serving or delivering process waits for an answer of a PostgreSQL server. After that time
    its connection is closed. On SQLite, how long it waits for other writers of the file."""

    @field_validator("time_out")
    @classmethod
    def _check_time_out(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1):
            raise ValueError("a server gets at least 1s to answer")
        return value

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

    folders: tuple[Location, ...] = ()
    """Folders with xsd, wsdl, mappings, pki that are searched before those of the gateway."""
