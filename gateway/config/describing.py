"""Every key of the file with its default and its sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel

from gateway.config.fetching import Fetch
from gateway.config.partners import Agency
from gateway.config.secret import Secret
from gateway.config.settings import Settings
from gateway.config.tls import Tls

__all__ = ["Key", "describe"]


#: Sections of which there may be several, each under a name.
_NAMED: Final[dict[str, type[BaseModel]]] = {"agency": Agency, "fetch": Fetch, "tls": Tls}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file: its name from the top, its default as written in TOML, its sentence."""

    name: str
    default: str
    sentence: str


def describe() -> tuple[Key, ...]:
    """Return every key, in the order of the sections; the manual's list is made from this."""
    return tuple(_describe(Settings, ""))


def _describe(section: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in section.model_fields.items():
        inner = _NAMED.get(name, field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Secret:
            yield from _describe(inner, f"{prefix}{name}." + ("<code>." if name in _NAMED else ""))
        else:
            yield Key(f"{prefix}{name}", _toml(field.default), str(field.description))


def _toml(value: Any) -> str:
    match value:
        case None:
            return ""
        case tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case dict():
            return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
        case Secret():
            return f'{{ file = "{value.file}" }}'
        case timedelta():
            return f'"{value.total_seconds():g}s"'
        case int():
            return str(value)
        case _:
            return f'"{value}"'
