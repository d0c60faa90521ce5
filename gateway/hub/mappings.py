"""The mappings in force: those that came with the program, or a folder that an operator put in their place.

A folder is packed into one archive, kept in the database under the digest of the bundle it
holds, and read from there by every process: nobody depends on the folder afterwards, and
two processes never split by different files.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final

from sqlalchemy import Connection

from gateway.cases.status import StatusCode, read_status_codes
from gateway.errors import MAPPING_WRONG, GatewayError
from gateway.harmonize import Bundle, load
from gateway.share import Held, folder
from gateway.store import mappings

__all__ = ["Rules", "pack", "rules_in_force", "rules_of", "shipped_rules", "unpack"]

#: Real bundles have under 1 MB in 100 files; what is larger is some other folder.
MOST_FILES: Final = 2000
MOST_OCTETS: Final = 32 * 1024 * 1024
_ENDINGS: Final = (".yaml", ".csv")
_STATUS_CODES: Final = ("codelists", "requirement-status.csv")
#: The archive is a function of names and contents alone.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Rules:
    """The data the hub decides by: mappings and status codes; `version` as the database names them."""

    bundle: Bundle
    status_codes: Mapping[str, StatusCode]
    version: str | None = None


def shipped_rules() -> Rules:
    """Return the rules that came with the program."""
    return rules_of(folder("mappings"))


def rules_of(place: Traversable, version: str | None = None) -> Rules:
    """Return the rules of a folder; raises GW502 naming file, line and field.

    Where the folder brings no status codes the shipped ones hold.
    """
    own = place.joinpath(*_STATUS_CODES)
    codes = own if own.is_file() else folder("mappings").joinpath(*_STATUS_CODES)
    return Rules(load(place), read_status_codes(codes.read_text(encoding="utf-8")), version)


def rules_in_force(conn: Connection, known: Rules) -> Rules:
    """Return the rules in force: `known` when they are these."""
    version = mappings.in_force(conn)
    if version == known.version:
        return known
    if version is None:
        return shipped_rules()
    octets = mappings.content(conn, version)
    if octets is None:
        raise GatewayError(MAPPING_WRONG, f"the bundle {version[:16]} is in force and not kept", version)
    return rules_of(unpack(octets), version)


def pack(place: Traversable) -> bytes:
    """Return the files of a folder of mappings as one archive, the same octets for the same files."""
    packed, total = io.BytesIO(), 0
    files = sorted(_files(place, ""))
    if len(files) > MOST_FILES:
        raise GatewayError(MAPPING_WRONG, f"the folder holds more than {MOST_FILES} files", "")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files:
            content = file.read_bytes()
            total += len(content)
            if total > MOST_OCTETS:
                raise GatewayError(MAPPING_WRONG, f"the folder holds more than {MOST_OCTETS} octets", name)
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()


def unpack(octets: bytes) -> Traversable:
    """Return the folder that an archive of ours holds, to be read without touching a disk."""
    with zipfile.ZipFile(io.BytesIO(octets)) as archive:
        return Held({name: archive.read(name) for name in archive.namelist()})


def _files(place: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in place.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _files(entry, f"{name}/")
        elif entry.name.endswith(_ENDINGS):
            yield name, entry
