"""Describes every key of the settings file with its default and its description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel

from gateway.config.decryption_settings import DecryptionKeySettings
from gateway.config.delivery_settings import AgencySettings
from gateway.config.fetch_sources import FetchSettings
from gateway.config.pull_settings import PullerSettings
from gateway.config.secret_values import Secret
from gateway.config.settings import Settings
from gateway.config.tls import TlsSettings

__all__ = ["SettingKey", "describe_settings", "format_toml"]


#: Sections that may occur several times, each under a name.
_NAMED: Final[dict[str, type[BaseModel]]] = {
    "agency": AgencySettings,
    "decryption": DecryptionKeySettings,
    "fetch": FetchSettings,
    "puller": PullerSettings,
    "tls": TlsSettings,
}


@dataclass(frozen=True, slots=True)
class SettingKey:
    """One key of the file: its full name, its default as written in TOML, its description."""

    name: str
    default: str
    sentence: str


def describe_settings() -> tuple[SettingKey, ...]:
    """Return every key, in the order of the sections; the manual's list is generated from this."""
    return tuple(_describe_section(Settings, ""))


def _describe_section(section: type[BaseModel], prefix: str) -> Iterator[SettingKey]:
    for name, field in section.model_fields.items():
        inner = _NAMED.get(name, field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Secret:
            yield from _describe_section(inner, f"{prefix}{name}." + ("<code>." if name in _NAMED else ""))
        else:
            yield SettingKey(f"{prefix}{name}", format_toml(field.default), str(field.description))


def format_toml(value: Any) -> str:
    """Return a value of the settings as TOML writes it; nothing for a value that is not set."""
    match value:
        case None:
            return ""
        case tuple():
            return "[" + ", ".join(format_toml(item) for item in value) + "]"
        case dict():
            return "{ " + ", ".join(f"{name} = {format_toml(item)}" for name, item in value.items()) + " }"
        case Secret():
            return f'{{ file = "{value.file}" }}'
        case timedelta():
            return f'"{value.total_seconds():g}s"'
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case _:
            return f'"{value}"'
