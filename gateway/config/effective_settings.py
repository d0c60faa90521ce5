"""Tells the value in effect of every setting, and where it comes from; secrets are named, never read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from gateway.config.key_reference import format_toml
from gateway.config.secret_values import Secret
from gateway.config.settings_file import find_settings_source, load_settings, read_toml_file

__all__ = ["EffectiveSetting", "list_effective_settings"]

_HEADER: Final = re.compile(r"\s*\[\[?\s*([^\[\]#]+?)\s*\]\]?\s*(#.*)?")
_KEY: Final = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART: Final = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
#: The password of a URL: before the @, or as a parameter.
_PASSWORD: Final = re.compile(r"(?<=://)([^/@\s:]*):[^@\s]*(?=@)|(?<=[?&])(password|passwd)=[^&\s]*")
_MASK: Final = "***"


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """A setting: its full name, its value as TOML writes it, and where the value comes from.

    `source` is `default`, the file with the line, or the option that overrides the file.
    """

    name: str
    value: str
    source: str


def list_effective_settings(
    path: Path | str | None = None,
    *,
    home: Path | str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[EffectiveSetting, ...]:
    """Return every setting in the order of the sections; raise GW801 as reading the settings does."""
    settings = load_settings(path, home=home, environ=environ)
    source = find_settings_source(path, environ)
    given = read_toml_file(source) if source else {}
    lines = _find_key_lines(source.read_text(encoding="utf-8")) if source else {}
    origin = _Origin(given, lines, str(source), home is not None)
    return tuple(_list_section(settings, (), origin))


@dataclass(frozen=True, slots=True)
class _Origin:
    given: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]
    file: str
    has_home_option: bool

    def find_given_value(self, place: tuple[str, ...]) -> Any:
        """Return the value of the file for a key; None where it has none."""
        value: Any = self.given
        for step in place:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def describe_source(self, place: tuple[str, ...]) -> str:
        if place == ("hub", "home") and self.has_home_option:
            return "--home"
        if self.find_given_value(place) is None:
            return "default"
        # The value of an inline table stands in the line of the table.
        for count in range(len(place), 0, -1):
            if place[:count] in self.lines:
                return f"{self.file}:{self.lines[place[:count]]}"
        return self.file


def _list_section(section: BaseModel, prefix: tuple[str, ...], origin: _Origin) -> Iterator[EffectiveSetting]:
    for name in type(section).model_fields:
        yield from _list_value(getattr(section, name), (*prefix, name), origin)


def _list_value(value: Any, place: tuple[str, ...], origin: _Origin) -> Iterator[EffectiveSetting]:
    if isinstance(value, BaseModel) and not isinstance(value, Secret):
        yield from _list_section(value, place, origin)
    elif isinstance(value, dict) and any(isinstance(inner, BaseModel) for inner in value.values()):
        for name, inner in value.items():
            yield from _list_value(inner, (*place, name), origin)
    elif value != {} or len(place) > 1:
        given = origin.find_given_value(place)
        # A value that the file names as a secret is not shown, whatever reads it.
        told = _format_place(given) if _is_secret_place(given) else _mask_passwords(format_toml(value))
        yield EffectiveSetting(_join_place(place), told, origin.describe_source(place))


def _is_secret_place(given: Any) -> bool:
    return isinstance(given, dict) and len(given) == 1 and set(given) <= {"file", "env"}


def _format_place(given: Mapping[str, Any]) -> str:
    ((kind, where),) = given.items()
    return f'{{ {kind} = "{where}" }}'


def _mask_passwords(text: str) -> str:
    return _PASSWORD.sub(
        lambda found: f"{found[1] or ''}:{_MASK}" if not found[2] else f"{found[2]}={_MASK}", text
    )


def _join_place(place: tuple[str, ...]) -> str:
    return ".".join(step if re.fullmatch(r"[\w-]+", step) else f'"{step}"' for step in place)


def _find_key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of each key of a TOML text, and of each header.

    A line within a text of several lines may look like a key. It is harmless: only keys that the
    file really has are looked up, and the first line counts.
    """
    found: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            section = _split_key(header[1])
            found.setdefault(section, number)
        elif key := _KEY.match(line):
            found.setdefault((*section, *_split_key(key[1])), number)
    return found


def _split_key(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))
