"""The types of settings values (durations, sizes, paths, addresses) and of sections."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

__all__ = [
    "Count",
    "CpuAffinity",
    "Duration",
    "Location",
    "SettingsSection",
    "Size",
    "Url",
    "get_home_folder",
]


_LONGEST: Final = 10_000 * 86400
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OCTETS: Final = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _parse_duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    seconds = float(found[1]) * _SECONDS[found[2]] if found else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError('a duration is a number of seconds or such as "500ms", "30s", "5m", "2h", "7d"')
    if not 0 <= seconds <= _LONGEST:
        raise ValueError("a duration lies between 0 and 10000 days")
    return timedelta(seconds=seconds)


def _parse_size(value: Any) -> Any:
    found = re.fullmatch(r"(\d+) ?(KiB|MiB|GiB|)", value) if isinstance(value, str) else None
    if found:
        return int(found[1]) * _OCTETS[found[2]]
    if isinstance(value, str):
        raise ValueError('a size is a number of octets or such as "64 KiB", "16 MiB", "1 GiB"')
    return value


def get_home_folder(info: ValidationInfo) -> Path:
    """Return the home folder that the reader of the file has passed."""
    return Path((info.context or {}).get("home", "."))


def _resolve_within_home(value: Path, info: ValidationInfo) -> Path:
    return get_home_folder(info) / value.expanduser()


def _check_http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError("an endpoint is an http or https URL")
    return value


Duration = Annotated[timedelta, BeforeValidator(_parse_duration)]
Size = Annotated[int, BeforeValidator(_parse_size), Field(strict=True, ge=1)]
Location = Annotated[Path, AfterValidator(_resolve_within_home)]
Url = Annotated[str, AfterValidator(_check_http_url)]
Count = Annotated[int, Field(strict=True, ge=1)]


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

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)
