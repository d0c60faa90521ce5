"""Loads the mappings in force: the shipped ones, or a folder that an operator has activated.

A folder is packed into one archive and stored in the database under the digest of its bundle. Every
process reads the archive, so the folder is not needed afterwards, and all processes split by the
same files.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.resources.abc import Traversable
from typing import Final

from sqlalchemy import Connection

from gateway.cases import (
    CustomsCode,
    StatusCode,
    read_customs_codes,
    read_parent_codes,
    read_status_codes,
)
from gateway.errors import MAPPING_WRONG, STORED_MAPPINGS_UNREAD, GatewayError
from gateway.harmonize import MappingBundle, load_bundle
from gateway.hub.register.active_needs import NEED_MARK, ActiveNeeds
from gateway.needs import NeedTable, read_need_table
from gateway.share import MemoryPath, get_data_folder
from gateway.store import mapping_bundles, need_tables

__all__ = [
    "STATUS_CODES",
    "DecisionRules",
    "complete_mapping_files",
    "list_mapping_files",
    "load_active_rules",
    "load_rules",
    "load_shipped_rules",
    "load_status_codes",
    "load_stored_rules",
    "make_unread_problem",
    "open_active_mappings",
    "open_stored_mappings",
    "pack_mapping_folder",
    "pack_shipped_rules",
    "renew_need_tables",
    "unpack_mapping_archive",
]

#: Real bundles have under 1 MB in 100 files; a larger folder is not a mapping folder.
MOST_FILES: Final = 2000
MOST_OCTETS: Final = 32 * 1024 * 1024
_ENDINGS: Final = (".yaml", ".csv")
#: The table of the status codes of agencies, in a folder of mappings.
STATUS_CODES: Final = ("codelists", "requirement-status.csv")
#: The table of the codes of customs, in a folder of mappings.
_CUSTOMS_CODES: Final = ("codelists", "customs-code.csv")
#: The table of the documents that an item of a declaration may name as previous ones.
_PREVIOUS_DOCUMENTS: Final = ("codelists", "previous-document.csv")
_SHIPPED_WHERE_MISSING: Final = (STATUS_CODES, _CUSTOMS_CODES, _PREVIOUS_DOCUMENTS)
#: A fixed time, so that the archive depends on names and contents alone.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)


def _load_customs_codes(place: Traversable) -> Mapping[str, CustomsCode]:
    return read_customs_codes(_read_table(place, _CUSTOMS_CODES), "/".join(_CUSTOMS_CODES))


def _load_parent_codes(place: Traversable) -> frozenset[str]:
    return read_parent_codes(_read_table(place, _PREVIOUS_DOCUMENTS), "/".join(_PREVIOUS_DOCUMENTS))


def _read_table(place: Traversable, name: tuple[str, str]) -> str:
    """Return a table of a folder; the shipped one where the folder has none."""
    own = place.joinpath(*name)
    table = own if own.is_file() else get_data_folder("mappings").joinpath(*name)
    return table.read_text(encoding="utf-8")


def _load_shipped_customs_codes() -> Mapping[str, CustomsCode]:
    return _load_customs_codes(get_data_folder("mappings"))


def _load_shipped_parent_codes() -> frozenset[str]:
    return _load_parent_codes(get_data_folder("mappings"))


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """The data the hub decides by: mappings, status codes, rules of need, and the codes of customs.

    `version` is the digest of the mappings in the database, and `tables` are the numbers of the tables
    of needs in it. `parent_codes` are the type codes of a document that names the case whose items a
    declaration takes. `place` is the folder that the mappings were read from, where it is known.
    """

    bundle: MappingBundle
    status_codes: Mapping[str, StatusCode]
    needs: ActiveNeeds
    version: str | None = None
    tables: tuple[int, ...] = ()
    customs_codes: Mapping[str, CustomsCode] = field(default_factory=_load_shipped_customs_codes)
    parent_codes: frozenset[str] = field(default_factory=_load_shipped_parent_codes)
    place: Traversable | None = field(default=None, compare=False, repr=False)


def load_shipped_rules() -> DecisionRules:
    """Return the rules that are shipped with the program."""
    return load_rules(get_data_folder("mappings"))


def load_rules(place: Traversable, version: str | None = None) -> DecisionRules:
    """Return the rules of a folder; raises GW502 naming file, line and field.

    A stored bundle keeps the digest under which it was stored, its `version`: another version of the program
    may compute it from other files.
    """
    bundle = load_bundle(place)
    if version is not None:
        bundle = replace(bundle, digest=version)
    needs = ActiveNeeds(place, bundle)
    return DecisionRules(
        bundle,
        load_status_codes(place),
        needs,
        version,
        customs_codes=_load_customs_codes(place),
        parent_codes=_load_parent_codes(place),
        place=place,
    )


def load_status_codes(place: Traversable) -> Mapping[str, StatusCode]:
    """Return the status codes of a folder, the shipped ones where it has none; raises GW502."""
    return read_status_codes(_read_table(place, STATUS_CODES), "/".join(STATUS_CODES))


def load_active_rules(conn: Connection, known: DecisionRules, at: datetime) -> DecisionRules:
    """Return the rules in force at a time; this is `known` when they are unchanged."""
    version = mapping_bundles.find_active_digest(conn, at)
    return renew_need_tables(conn, known if version == known.version else load_stored_rules(conn, version))


def load_stored_rules(conn: Connection, version: str | None) -> DecisionRules:
    """Return the rules of a stored bundle, the shipped ones without a digest.

    Raises GW904 for one that was stored by an earlier version of the program and does not load in this one.
    The loaded tables of needs are not read: see `renew_need_tables`.
    """
    if version is None:
        return load_shipped_rules()
    place = open_stored_mappings(conn, version)
    try:
        return load_rules(place, version)
    except GatewayError as error:
        raise make_unread_problem(error, version) from error


def make_unread_problem(error: GatewayError, version: str) -> GatewayError:
    """Return GW904 for stored mappings of this digest that do not load for an error (GW502)."""
    place = f"{error.location} of bundle {version[:16]}" if error.location else f"bundle {version[:16]}"
    return GatewayError(STORED_MAPPINGS_UNREAD, f"{error.problem.id} {error.detail}", place)


def renew_need_tables(conn: Connection, rules: DecisionRules) -> DecisionRules:
    """Return the rules with the tables of needs that operators loaded; `rules` when they are unchanged."""
    tables = need_tables.list_ids(conn)
    if rules.tables == tables:
        return rules
    return replace(rules, needs=rules.needs.replace_tables(_load_need_tables(conn)), tables=tables)


def _load_need_tables(conn: Connection) -> list[NeedTable]:
    """Return the tables of needs that operators loaded; they were checked when they were loaded."""
    return [
        read_need_table(row.content, f"{row.name}@{row.edition}") for row in need_tables.list_contents(conn)
    ]


def complete_mapping_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a folder of mappings, and the shipped ones that hold where it has none."""
    names = ["/".join(name) for name in _SHIPPED_WHERE_MISSING]
    found = dict(files)
    shipped = get_data_folder("mappings")
    if NEED_MARK not in found:
        needs = list_mapping_files(shipped.joinpath("needs"))
        found |= {f"needs/{name}": file.read_bytes() for name, file in needs}
    for name in names:
        if name not in found:
            found[name] = shipped.joinpath(*name.split("/")).read_bytes()
    return found


def open_active_mappings(conn: Connection, at: datetime) -> Traversable:
    """Return the folder of mappings in force at a time, as it was stored; the shipped one where none was."""
    return open_stored_mappings(conn, mapping_bundles.find_active_digest(conn, at))


def open_stored_mappings(conn: Connection, version: str | None) -> Traversable:
    """Return the folder of a stored bundle; the shipped one without a digest."""
    if version is None:
        return get_data_folder("mappings")
    octets = mapping_bundles.find_bundle_content(conn, version)
    if octets is None:
        raise GatewayError(MAPPING_WRONG, f"the bundle {version[:16]} is in force but not stored", version)
    return unpack_mapping_archive(octets)


def pack_mapping_folder(place: Traversable) -> bytes:
    """Return the files of a mapping folder as one archive; the same files give the same octets."""
    packed, total = io.BytesIO(), 0
    files = list_mapping_files(place)
    if len(files) > MOST_FILES:
        raise GatewayError(MAPPING_WRONG, f"the folder contains more than {MOST_FILES} files", "")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files:
            content = file.read_bytes()
            total += len(content)
            if total > MOST_OCTETS:
                raise GatewayError(MAPPING_WRONG, f"the folder contains more than {MOST_OCTETS} octets", name)
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()


def pack_shipped_rules(rules: DecisionRules) -> bytes | None:
    """Return the folder of rules as one archive; None where the folder is not the one they were read from.

    That is so where its files were replaced while the program runs.
    """
    if rules.place is None:
        return None
    octets = pack_mapping_folder(rules.place)
    return octets if load_bundle(unpack_mapping_archive(octets)).digest == rules.bundle.digest else None


def list_mapping_files(place: Traversable) -> list[tuple[str, Traversable]]:
    """Return the files of a mapping folder that are stored, with their names below it, in order."""
    return sorted(_walk_mapping_files(place, ""), key=lambda one: one[0])


def unpack_mapping_archive(octets: bytes) -> Traversable:
    """Return the content of an archive of ours as a folder in memory."""
    with zipfile.ZipFile(io.BytesIO(octets)) as archive:
        return MemoryPath({name: archive.read(name) for name in archive.namelist()})


def _walk_mapping_files(place: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in place.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk_mapping_files(entry, f"{name}/")
        elif entry.name.endswith(_ENDINGS):
            yield name, entry
