"""Reads the settings file, and reports which key is wrong."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from gateway.config.key_reference import describe_settings
from gateway.config.settings import Settings
from gateway.errors import MISUSE, SETTINGS_WRONG, GatewayError, describe_exception

__all__ = ["find_settings_source", "load_settings", "read_toml_file"]


_LARGEST: Final = 1024 * 1024


def load_settings(
    path: Path | str | None = None,
    *,
    home: Path | str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read the file `path`, else the one that GATEWAY_CONFIG names, else use the defaults.

    `home` overrides the home folder. Raises GW801 naming each wrong key, and GW808 for a file that
    cannot be read.
    """
    source = find_settings_source(path, environ)
    values = read_toml_file(source) if source else {}
    start = source.parent if source else Path.cwd()
    hub = values.get("hub")
    inner = hub.get("home") if isinstance(hub, dict) else None
    chosen = home or (inner if isinstance(inner, str) else "gateway-home")
    where = (Path.cwd() if home else start) / Path(chosen).expanduser()
    try:
        return Settings.model_validate(values, context={"home": where})
    except ValidationError as error:
        raise _make_settings_error(error, str(source or "defaults")) from None


def find_settings_source(path: Path | str | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file `path`, else the one that GATEWAY_CONFIG names; None where the defaults are used."""
    named = path or environ.get("GATEWAY_CONFIG") or None
    return Path(named).absolute() if named else None


def read_toml_file(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file; raise GW801 for one that cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise GatewayError(SETTINGS_WRONG, "the file is larger than 1 MiB", str(path))
        return tomllib.loads(data.decode())
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be read: {error.strerror}", str(path)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        detail = f"the file is not TOML: {describe_exception(error)}"
        raise GatewayError(SETTINGS_WRONG, detail, str(path)) from None


def _make_settings_error(error: ValidationError, source: str) -> GatewayError:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    details = [f"{_format_key_path(each['loc'])}: {_describe_reason(each)}" for each in found[:5]]
    if len(found) > 5:
        details.append(f"and {len(found) - 5} more")
    return GatewayError(SETTINGS_WRONG, "; ".join(details), source)


def _format_key_path(place: tuple[int | str, ...]) -> str:
    return ".".join(str(step)[:60] for step in place) or "settings"


def _describe_reason(found: Any) -> str:
    if found["type"] != "extra_forbidden":
        return str(found["msg"]).removeprefix("Value error, ")[:200]
    *outer, wrong = (str(step) for step in found["loc"])
    known = [key.rpartition(".")[2] for key in _list_section_keys(outer)]
    near = difflib.get_close_matches(wrong[:60], known, n=1)
    return "there is no such key" + (f"; did you mean {near[0]}?" if near else "")


def _list_section_keys(outer: list[str]) -> Iterator[str]:
    place = [
        "<code>" if outer[:1] in (["agency"], ["decryption"], ["fetch"]) and n == 1 else step
        for n, step in enumerate(outer)
    ]
    for key in describe_settings():
        *above, _ = key.name.split(".")
        if above == place:
            yield key.name
    if not place:
        yield from Settings.model_fields
