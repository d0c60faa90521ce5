"""Lists the value in effect of every setting, and its source; secrets are named, never read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from gateway.config.setting_values import Secret
from gateway.config.settings_file import (
    find_settings_source,
    format_toml,
    format_toml_key,
    load_settings,
    read_toml_file,
)

_MASK: Final = "***"
#: A URL whose parts can be separated with certainty. A password may contain "/" and "?", as SQLAlchemy reads
#: it. A path parameter is masked from its ";" to its end.
_HOST: Final = r"(?:\[[\w:.%]*\]|[\w.%-]*)(?::\d{0,5})?"
_URL_PATTERN: Final = re.compile(
    rf"(?P<scheme>[A-Za-z][\w+.-]{{0,40}})://(?:(?P<login>[^@]*)@)?(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?P<path>/[^?#@;]*)?(?P<parameter>;[^?#@]*)?(?:\?(?P<query>[^#@]*))?(?P<fragment>#.*)?",
    re.DOTALL,
)
_USER: Final = re.compile(r"[\w.+-]+")
_SCHEME: Final = re.compile(r"[A-Za-z][\w+.-]{0,40}")
#: Names of parameters that are shown; a name with capitals or digits may be a token.
_SHOWN_NAME: Final = re.compile(r"[a-z_]{1,20}")
#: Schemes whose login has a user before the colon; elsewhere a token may stand alone.
_DATABASE_SCHEMES: Final = ("postgres", "sqlite")
#: Parameters of libpq, SQLAlchemy and SQLite, and questions to a web service, whose values are no secrets.
_PUBLIC_PARAMETERS: Final = frozenset(
    (
        *("host", "hostaddr", "port", "dbname", "user", "application_name", "client_encoding"),
        *("connect_timeout", "tcp_user_timeout", "keepalives", "keepalives_idle", "keepalives_interval"),
        *("keepalives_count", "prepare_threshold", "target_session_attrs", "load_balance_hosts"),
        *("sslmode", "sslnegotiation", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "sslsni"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "channel_binding", "require_auth"),
        *("gssencmode", "krbsrvname", "requirepeer", "mode", "cache", "immutable", "uri"),
    )
)
_PUBLIC_FLAGS: Final = frozenset({"wsdl", "WSDL", "singleWsdl"})


def mask_url(url: str) -> str:
    """Return a URL with `***` for a password, for parameters that may be secret, and for unclear parts."""
    parts = _URL_PATTERN.fullmatch(url)
    if parts is None:
        if not url:
            return ""
        scheme, separator, _ = url.partition("://")
        return f"{scheme}://{_MASK}" if separator and _SCHEME.fullmatch(scheme) else _MASK
    query = parts["query"]
    return "".join(
        (
            f"{parts['scheme']}://{_mask_login(parts['scheme'], parts['login'])}",
            f"{parts['hosts']}{parts['path'] or ''}",
            f";{_MASK}" if parts["parameter"] else "",
            "" if query is None else f"?{'&'.join(map(_mask_parameter, query.split('&')))}",
            f"#{_MASK}" if parts["fragment"] else "",
        )
    )


def _mask_login(scheme: str, login: str | None) -> str:
    if login is None:
        return ""
    user, colon, _ = login.partition(":")
    is_user = bool(_USER.fullmatch(user)) and (bool(colon) or scheme.startswith(_DATABASE_SCHEMES))
    return f"{user if is_user else _MASK}{f':{_MASK}' if colon else ''}@"


def _mask_parameter(parameter: str) -> str:
    """Return a parameter of a URL (``name=content``), with its content masked unless it is public."""
    name, _, content = parameter.partition("=")
    # A token may stand alone, and end with the signs that fill up base64.
    if not content.strip("="):
        return parameter if parameter in _PUBLIC_FLAGS else _MASK
    if name in _PUBLIC_PARAMETERS:
        return parameter
    return f"{name if _SHOWN_NAME.fullmatch(name) else _MASK}={_MASK}"


_HEADER: Final = re.compile(r"\s*\[\[?\s*([^\[\]#]+?)\s*\]\]?\s*(#.*)?")
_KEY: Final = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
#: The setting that is masked as a URL even if it does not contain "://".
_DATABASE_URL_KEY: Final = ("database", "url")
_KEY_PART: Final = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


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
    file_values = read_toml_file(source) if source else {}
    lines = _find_key_lines(source.read_text(encoding="utf-8-sig")) if source else {}
    origin = _SettingsOrigin(file_values, lines, str(source), home is not None)
    return tuple(_list_section(settings, (), origin))


@dataclass(frozen=True, slots=True)
class _SettingsOrigin:
    values: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]
    file: str
    has_home_option: bool

    def find_file_value(self, key_path: tuple[str, ...]) -> Any:
        """Return the value of the file for a key; None where it has none."""
        value: Any = self.values
        for step in key_path:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def describe_source(self, key_path: tuple[str, ...]) -> str:
        """Return the source of a value: ``--home``, ``default``, or the file, with the line if known."""
        if key_path == ("hub", "home") and self.has_home_option:
            return "--home"
        if self.find_file_value(key_path) is None:
            return "default"
        # The value of an inline table stands in the line of the table.
        for part_count in range(len(key_path), 0, -1):
            if key_path[:part_count] in self.lines:
                return f"{self.file}:{self.lines[key_path[:part_count]]}"
        return self.file


def _list_section(
    section: BaseModel, prefix: tuple[str, ...], origin: _SettingsOrigin
) -> Iterator[EffectiveSetting]:
    for name in type(section).model_fields:
        yield from _list_value(getattr(section, name), (*prefix, name), origin)


def _list_value(value: Any, key_path: tuple[str, ...], origin: _SettingsOrigin) -> Iterator[EffectiveSetting]:
    """Yield the effective setting of `value`; for a section or a table of sections, those in it."""
    if isinstance(value, BaseModel) and not isinstance(value, Secret):
        yield from _list_section(value, key_path, origin)
    elif isinstance(value, dict) and any(isinstance(inner, BaseModel) for inner in value.values()):
        for name, inner in value.items():
            yield from _list_value(inner, (*key_path, name), origin)
    elif value != {} or len(key_path) > 1:
        file_value = origin.find_file_value(key_path)
        # A value that the file gives as a secret is never shown, even if the setting needs no secret.
        text = (
            format_toml(file_value)
            if _is_secret_reference(file_value)
            else format_toml(_mask_urls(value, key_path))
        )
        yield EffectiveSetting(_join_key(key_path), text, origin.describe_source(key_path))


def _is_secret_reference(file_value: Any) -> bool:
    return (
        isinstance(file_value, dict)
        and len(file_value) == 1
        and set(file_value) <= {"file", "env", "credential"}
    )


def _mask_urls(value: Any, key_path: tuple[str, ...]) -> Any:
    """Return a value with each URL in it masked by `mask_url`."""
    if isinstance(value, tuple):
        return tuple(_mask_urls(inner, key_path) for inner in value)
    if isinstance(value, dict):
        return {name: _mask_urls(inner, key_path) for name, inner in value.items()}
    is_url = isinstance(value, str) and ("://" in value or key_path == _DATABASE_URL_KEY)
    return mask_url(value) if is_url else value


def _join_key(key_path: tuple[str, ...]) -> str:
    return ".".join(map(format_toml_key, key_path))


def _find_key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of each key of a TOML text, and of each header.

    A line within a text of several lines may look like a key. It is harmless: only keys that the
    file really has are looked up, and the first line counts.
    """
    lines: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            section = _split_key(header[1])
            lines.setdefault(section, number)
        elif key := _KEY.match(line):
            lines.setdefault((*section, *_split_key(key[1])), number)
    return lines


def _split_key(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _KEY_PART.findall(text))
