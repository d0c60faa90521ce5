"""Reads the settings file, and reports which key is wrong."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from gateway import __version__
from gateway.config.delivery_settings import AgencySettings, PullerSettings
from gateway.config.hub_settings import VERSION
from gateway.config.server_settings import TlsSettings
from gateway.config.setting_values import Secret
from gateway.config.settings import Settings
from gateway.config.trust_settings import DecryptionKeySettings, FetchSettings
from gateway.errors import MISUSE, SETTINGS_WRONG, GatewayError, describe_exception

#: Sections that may occur several times, each under a name.
_NAMED_SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "agency": AgencySettings,
    "decryption": DecryptionKeySettings,
    "fetch": FetchSettings,
    "puller": PullerSettings,
    "tls": TlsSettings,
}

_BARE_TOML_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class SettingKey:
    """One key of the file: its full name, its default as written in TOML, its description."""

    name: str
    default: str
    sentence: str


def describe_settings() -> tuple[SettingKey, ...]:
    """Return every key, in the order of the sections; `gateway reference settings` prints them."""
    return tuple(_describe_section(Settings, ""))


def _describe_section(section: type[BaseModel], prefix: str) -> Iterator[SettingKey]:
    """Yield the keys of `section` and its inner sections; each name begins with `prefix`."""
    for name, field in section.model_fields.items():
        inner = _NAMED_SECTIONS.get(name, field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Secret:
            yield from _describe_section(
                inner, f"{prefix}{name}." + ("<code>." if name in _NAMED_SECTIONS else "")
            )
        else:
            sentence = " ".join(str(field.description).split())
            yield SettingKey(f"{prefix}{name}", format_toml(field.default), sentence)


def format_toml(value: Any) -> str:
    """Return a value of the settings as TOML writes it; nothing for a value that is not set."""
    match value:
        case None:
            return ""
        case tuple() | list():
            return "[" + ", ".join(format_toml(item) for item in value) + "]"
        case dict():
            pairs = (f"{format_toml_key(name)} = {format_toml(item)}" for name, item in value.items())
            return "{ " + ", ".join(pairs) + " }" if value else "{}"
        case Secret():
            names = ("credential", "env", "file")  # a credential has the key of its file too
            name = next(name for name in names if getattr(value, name) is not None)
            return format_toml({name: getattr(value, name)})
        case timedelta():
            # Without an exponent, which no duration of the settings may have.
            seconds = f"{value.total_seconds():.6f}".rstrip("0").rstrip(".")
            return f'"{seconds}s"'
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case _:
            return _quote_toml_text(str(value))


def format_toml_key(name: str) -> str:
    """Return one part of a key as TOML writes it: bare, or in quotes where it must be."""
    return name if _BARE_TOML_KEY.fullmatch(name) else _quote_toml_text(name)


def _quote_toml_text(text: str) -> str:
    """Return a text as a basic string of TOML 1.0, whose escapes are those of JSON and that of DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


#: How pydantic calls a key that a section does not have.
_UNKNOWN_KEY_ERROR: Final = "extra_forbidden"

_MAX_FILE_SIZE: Final = 1024 * 1024


def load_settings(
    path: Path | str | None = None,
    *,
    home: Path | str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read the file `path`, else the file that GATEWAY_CONFIG names, else use the defaults.

    `home` overrides the home folder. Raises GW801 naming each wrong key, and GW808 for a file that
    cannot be read. An unknown key is no error in a file for a newer version (`hub.version`).
    """
    source = find_settings_source(path, environ)
    values = read_toml_file(source) if source else {}
    home_folder = _find_home(values, source, home)
    for key_path in _list_newer_keys(values, home_folder):
        _get_section(values, key_path).pop(key_path[-1])
    try:
        return Settings.model_validate(values, context={"home": home_folder})
    except ValidationError as error:
        raise _make_settings_error(error, str(source or "defaults")) from None


def _find_home(values: Mapping[str, Any], source: Path | None, home: Path | str | None) -> Path:
    chosen = home or _get_hub_text(values, "home", "gateway-home")
    base_folder = Path.cwd() if home or source is None else source.parent
    return base_folder / Path(chosen).expanduser()


def _get_hub_text(values: Mapping[str, Any], name: str, default: str = "") -> str:
    hub = values.get("hub")
    text = hub.get(name) if isinstance(hub, dict) else None
    return text if isinstance(text, str) else default


def find_newer_keys(path: Path | str, home: Path) -> Iterator[str]:
    """Yield the keys of a file for a newer version (`hub.version`) that this one does not know.

    They are left out. For our own version, or an older one, they are errors.
    """
    for key_path in _list_newer_keys(read_toml_file(Path(path)), home):
        yield _format_key_path(key_path)


def _list_newer_keys(values: Mapping[str, Any], home: Path) -> list[tuple[int | str, ...]]:
    """Return the paths of unknown keys if `values` name a newer version of the gateway than this one."""
    if _read_version(_get_hub_text(values, "version")) <= _read_version(__version__):
        return []
    try:
        Settings.model_validate(values, context={"home": home})
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        unknown_key_paths = [each["loc"] for each in errors if each["type"] == _UNKNOWN_KEY_ERROR]
        return [key_path for key_path in unknown_key_paths if key_path[-1] in _get_section(values, key_path)]
    return []


def _read_version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version; no numbers for a text that is not a version."""
    return tuple(map(int, text.split("."))) if re.fullmatch(VERSION, text) else ()


def _get_section(values: Mapping[str, Any], key_path: tuple[int | str, ...]) -> dict[Any, Any]:
    """Return the table of the file that has the key at a place; an empty one where there is none."""
    section: Any = values
    for step in key_path[:-1]:
        section = section.get(step) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else {}


def find_settings_source(path: Path | str | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file `path`, else the file that GATEWAY_CONFIG names; None if the defaults are used."""
    chosen = path or environ.get("GATEWAY_CONFIG") or None
    return Path(chosen).absolute() if chosen else None


def read_toml_file(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file.

    Raises GW808 for a file that cannot be read, GW801 for one that is larger than 1 MiB or is not TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_SIZE + 1)
        if len(data) > _MAX_FILE_SIZE:
            raise GatewayError(SETTINGS_WRONG, "the file is larger than 1 MiB", str(path))
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be read: {error.strerror}", str(path)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        detail = f"the file is not TOML: {describe_exception(error)}"
        raise GatewayError(SETTINGS_WRONG, detail, str(path)) from None


def _make_settings_error(error: ValidationError, source: str) -> GatewayError:
    mistakes = error.errors(include_url=False, include_input=False, include_context=False)
    details = [f"{_format_key_path(each['loc'])}: {_describe_reason(each)}" for each in mistakes[:5]]
    if len(mistakes) > 5:
        details.append(f"and {len(mistakes) - 5} more")
    return GatewayError(SETTINGS_WRONG, "; ".join(details), source)


def _format_key_path(key_path: tuple[int | str, ...]) -> str:
    return ".".join(str(step)[:60] for step in key_path) or "settings"


def _describe_reason(error_details: Any) -> str:
    """Return the text of a pydantic error; for an unknown key, propose the most similar known key."""
    if error_details["type"] != _UNKNOWN_KEY_ERROR:
        return str(error_details["msg"]).removeprefix("Value error, ")[:200]
    *outer_keys, unknown_key = (str(step) for step in error_details["loc"])
    names = [key.rpartition(".")[2] for key in _list_section_keys(outer_keys)]
    nearest_keys = difflib.get_close_matches(unknown_key[:60], names, n=1)
    return "there is no such key" + (f"; did you mean {nearest_keys[0]}?" if nearest_keys else "")


def _list_section_keys(outer_keys: list[str]) -> Iterator[str]:
    """Yield the full names of the keys of one section, whose path in the file is `outer_keys`."""
    section_path = [
        "<code>" if position == 1 and outer_keys[0] in _NAMED_SECTIONS else key
        for position, key in enumerate(outer_keys)
    ]
    for key in describe_settings():
        *section, _ = key.name.split(".")
        if section == section_path:
            yield key.name
    if not section_path:
        yield from Settings.model_fields
