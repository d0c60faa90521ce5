"""Values of settings: durations, sizes, addresses, and secrets that are not shown."""

from __future__ import annotations

import ipaddress
import os
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from gateway.errors import KEY_UNAVAILABLE, GatewayError

_MAX_DURATION_SECONDS: Final = 10_000 * 86400
_SECONDS_BY_UNIT: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OCTETS_BY_UNIT: Final = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _parse_duration(value: Any) -> Any:
    """Return a number of seconds, or a text such as ``30s``, as a timedelta; else raise ValueError."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    seconds = float(match[1]) * _SECONDS_BY_UNIT[match[2]] if match else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError('a duration must be a number of seconds or such as "500ms", "30s", "5m", "2h", "7d"')
    if not 0 <= seconds <= _MAX_DURATION_SECONDS:
        raise ValueError("a duration lies between 0 and 10000 days")
    return timedelta(seconds=seconds)


def _parse_size(value: Any) -> Any:
    """Return a text such as ``64 KiB`` as a number of octets; raise ValueError for another text.

    A value that is no text is returned as it is, for pydantic to check.
    """
    match = re.fullmatch(r"([0-9]+) ?(KiB|MiB|GiB|)", value) if isinstance(value, str) else None
    if match:
        return int(match[1]) * _OCTETS_BY_UNIT[match[2]]
    if isinstance(value, str):
        raise ValueError('a size must be a number of octets or such as "64 KiB", "16 MiB", "1 GiB"')
    return value


def get_home_folder(info: ValidationInfo) -> Path:
    """Return the home folder of the validation context; without a context the working folder."""
    return Path((info.context or {}).get("home", "."))


def _resolve_within_home(value: Path, info: ValidationInfo) -> Path:
    return get_home_folder(info) / value.expanduser()


#: The most octets in UTF-8 of an address and of a code, which indexes of the database have.
_MAX_URL_OCTETS: Final = 1024
_MAX_CODE_OCTETS: Final = 128


def _check_storable(value: str, max_octets: int, subject: str) -> str:
    """Return a text that the database can store and find; raise ValueError for another one."""
    # PostgreSQL stores no NUL, which TOML can write.
    if not value.isprintable():
        raise ValueError(f"{subject} must have printable characters only")
    octet_count = len(value.encode("utf-8", "surrogatepass"))
    if octet_count > max_octets:
        raise ValueError(
            f"{subject} has at most {max_octets:,} octets in UTF-8, and this one has {octet_count:,}"
        )
    return value


def _check_code(value: str) -> str:
    return _check_storable(value, _MAX_CODE_OCTETS, "a code")


def _check_http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value) or not _has_host_and_port(value):
        raise ValueError(
            "an endpoint must be an http or https URL with a host, perhaps with a port from 1 to 65535"
        )
    return _check_storable(value, _MAX_URL_OCTETS, "an endpoint")


def _has_host_and_port(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_utc_time(value: datetime) -> datetime:
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time lies in the years 1 to 9999 in UTC") from None
    return value


Instant = Annotated[AwareDatetime, AfterValidator(_check_utc_time)]
Duration = Annotated[timedelta, BeforeValidator(_parse_duration)]
Size = Annotated[int, BeforeValidator(_parse_size), Field(strict=True, ge=1)]
Location = Annotated[Path, AfterValidator(_resolve_within_home)]
Url = Annotated[str, AfterValidator(_check_http_url)]
#: The code of an agency.
AgencyCode = Annotated[str, AfterValidator(_check_code)]
#: Databases compare with it, so it is an INTEGER of theirs.
Count = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]


CpuAffinity = Annotated[
    Literal["auto", "always", "never"],
    Field(
        description=(
            "Whether each of these processes is bound to one processor: that to which the fewest processes "
            "are bound. The threads of a process share one interpreter, and take less processor time there. "
            "`auto` binds outside containers. In a container with processors of its own, set `always`."
        )
    ),
]


class SettingsSection(BaseModel):
    """One section of the settings: unknown keys are errors, and its values never change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, validate_default=True, use_attribute_docstrings=True
    )


def _check_network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError('an address or a network such as "192.0.2.7" or "10.0.0.0/8"') from None


#: An address, or a network with its prefix length.
Network = Annotated[str, AfterValidator(_check_network)]


_CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
#: What systemd takes as the name of a credential, without hidden files.
_CREDENTIAL: Final = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,200}"
_ONE_SOURCE: Final = 'a secret is { file = "…" }, { env = "…" } or { credential = "…" }, one of the three'


class Secret(SettingsSection):
    """The source of a secret: a file, an environment variable, or a credential that systemd passes."""

    file: Location | None = None
    """File that contains the secret."""
    env: str | None = None
    """Environment variable that contains the secret."""
    credential: str | None = Field(None, pattern=f"^{_CREDENTIAL}$")
    """Name of a credential in the folder that systemd passes in CREDENTIALS_DIRECTORY."""

    @model_validator(mode="before")
    @classmethod
    def _find_credential(cls, data: Any) -> Any:
        """Return the keys of a secret; to a credential of a systemd service add the key of its file.

        Raises ValueError for a value that is no table, and for a credential beside another source.
        """
        if not isinstance(data, dict | Secret):
            raise ValueError(_ONE_SOURCE)
        if isinstance(data, Secret) or not isinstance(data.get("credential"), str):
            return data
        if "file" in data or "env" in data:
            raise ValueError(_ONE_SOURCE)
        folder = os.environ.get(_CREDENTIALS_VARIABLE)
        is_name = re.fullmatch(_CREDENTIAL, data["credential"]) is not None
        return data | {"file": os.path.join(folder, data["credential"])} if folder and is_name else data

    @model_validator(mode="after")
    def _check_single_source(self) -> Secret:
        if (self.file is None and self.credential is None) == (self.env is None):
            raise ValueError(_ONE_SOURCE)
        return self

    def read(self, environ: Mapping[str, str] = os.environ) -> bytes:
        """Return the secret, without the UTF-8 mark of a file; raises GW803 when it is missing."""
        if self.env is not None:
            if self.env not in environ:
                raise GatewayError(KEY_UNAVAILABLE, f"the environment has no variable {self.env[:80]}")
            return environ[self.env].encode()
        if self.file is None:
            raise GatewayError(
                KEY_UNAVAILABLE, f"no {_CREDENTIALS_VARIABLE} has the credential {str(self.credential)[:80]}"
            )
        path = str(self.file)
        try:
            return Path(path).read_bytes().removeprefix(BOM_UTF8)
        except OSError as error:
            detail = f"{path[-120:]} cannot be read: {error.strerror}"
            raise GatewayError(KEY_UNAVAILABLE, detail) from error
