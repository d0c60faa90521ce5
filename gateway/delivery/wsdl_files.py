"""Finds the WSDLs of the partners, and rejects one that differs from the agreed octets.

The digests of shipped files are shipped in ``wsdl/SHA256SUMS``. The digest of an operator's own
file is in the settings. A file that was replaced, by mistake or by an attacker, stops the calls
that use it until an operator configures its digest.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.share import get_data_folder

__all__ = ["SUMS", "WsdlFile", "has_wsdl_file", "read_imported_schema", "read_wsdl_file"]

#: The digests of the shipped files, in the form of sha256sum.
SUMS: Final = "SHA256SUMS"
#: Octets of a WSDL; the largest shipped has some ten thousand.
_MOST: Final = 1024 * 1024
#: The data folders in which an imported schema may be.
_FOLDERS: Final = ("xsd", "wsdl")
_LINE: Final = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True, slots=True)
class WsdlFile:
    """A WSDL by its path below ``wsdl/``: in one of `folders`, else among the shipped ones.

    `sha256` is the configured digest; `key` is the name of that setting.
    """

    name: str
    sha256: str | None = None
    folders: tuple[Path, ...] = ()
    key: str = field(default="wsdl_sha256", compare=False)


def read_wsdl_file(file: WsdlFile) -> bytes:
    """Return the octets of a WSDL; raises GW801 when it is missing, too large, or has another digest."""
    found, shipped = _find_wsdl_file(file)
    with found.open("rb") as stream:
        data: bytes = stream.read(_MOST + 1)
    if len(data) > _MOST:
        raise GatewayError(SETTINGS_WRONG, f"a WSDL has at most {_MOST} octets", str(found)[-200:])
    digest = hashlib.sha256(data).hexdigest()
    agreed = file.sha256 or (_load_shipped_digests().get(file.name) if shipped else None)
    if agreed is None:
        detail = (
            f'the SHA-256 of the WSDL is not configured; if the file is correct, set {file.key} = "{digest}"'
        )
        raise GatewayError(SETTINGS_WRONG, detail, str(found)[-200:])
    if digest != agreed:
        detail = f"the WSDL has changed: its SHA-256 is {digest}, agreed was {agreed} ({file.key})"
        raise GatewayError(SETTINGS_WRONG, detail, str(found)[-200:])
    return data


def has_wsdl_file(file: WsdlFile) -> bool:
    """Return whether the file exists, whatever its content."""
    return any(one.is_file() for one, _ in _list_wsdl_paths(file))


def read_imported_schema(file: WsdlFile, location: str) -> bytes | None:
    """Return the schema at a location that a WSDL names, relative to itself; None where it is not there.

    It is looked for in the folder of the WSDL alone, below ``xsd`` or ``wsdl``. Raises GW801 as
    `read_wsdl_file` does, and for a schema that is too large.
    """
    found, shipped = _find_wsdl_file(file)
    name = posixpath.normpath(posixpath.join("wsdl", posixpath.dirname(file.name), location))
    top, _, rest = name.partition("/")
    if top not in _FOLDERS or not rest or "://" in location:
        return None
    if shipped:
        place = get_data_folder(top).joinpath(rest)
    else:
        place = next(one for one in file.folders if one / "wsdl" / file.name == found) / name
    if not place.is_file():
        return None
    with place.open("rb") as stream:
        data: bytes = stream.read(_MOST + 1)
    if len(data) > _MOST:
        raise GatewayError(SETTINGS_WRONG, f"a schema has at most {_MOST} octets", str(place)[-200:])
    return data


def _find_wsdl_file(file: WsdlFile) -> tuple[Traversable, bool]:
    """Return the file, and whether it is a shipped one."""
    if not file.name or any(step in ("", ".", "..") for step in file.name.split("/")):
        raise GatewayError(SETTINGS_WRONG, "the name of a WSDL is a path below wsdl/", file.name[:200])
    for found, shipped in _list_wsdl_paths(file):
        if found.is_file():
            return found, shipped
    raise GatewayError(SETTINGS_WRONG, "there is no such WSDL", f"wsdl/{file.name[:200]}")


def _list_wsdl_paths(file: WsdlFile) -> list[tuple[Traversable, bool]]:
    own: list[tuple[Traversable, bool]] = [(one / "wsdl" / file.name, False) for one in file.folders]
    return [*own, (get_data_folder("wsdl").joinpath(file.name), True)]


@cache
def _load_shipped_digests() -> dict[str, str]:
    text = get_data_folder("wsdl").joinpath(SUMS).read_text(encoding="utf-8")
    return {found[2]: found[1] for line in text.splitlines() if (found := _LINE.fullmatch(line))}
