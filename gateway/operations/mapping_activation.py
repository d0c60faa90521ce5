"""Puts a folder of mappings into force: reads it as every process will, shows the difference, activates."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources.abc import Traversable
from typing import Any, Final

from sqlalchemy import Connection

from gateway.errors import MAPPING_WRONG, TRANSITION_REFUSED, GatewayError, describe_exception
from gateway.evidence import record_evidence
from gateway.harmonize import MappingBundle, check_bundle, compile_request_schemas
from gateway.hub import (
    MappingChanges,
    compare_mapping_folders,
    load_active_rules,
    load_rules,
    load_shipped_rules,
    open_active_mappings,
    pack_mapping_folder,
    unpack_mapping_archive,
)
from gateway.operations.audited_changes import DatabaseChange
from gateway.share import MemoryPath, get_data_folder
from gateway.store import mapping_bundles

_MOST_FILES: Final = 2_000
_MOST_OCTETS: Final = 32 * 1024 * 1024

__all__ = [
    "CheckedFolder",
    "activate_folder",
    "check_compared_mappings",
    "check_mapping_folder",
    "compare_with_active",
    "describe_mapping_changes",
    "find_static_problems",
    "read_mapping_archive",
    "store_checked_folder",
]


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """A folder of mappings as every process will read it; `octets` are None for the shipped one."""

    bundle: MappingBundle
    place: Traversable
    octets: bytes | None


def find_static_problems(bundle: MappingBundle) -> Iterator[GatewayError]:
    """Yield the faults (GW502) found by the static proofs of loaded mappings, without drawing samples."""
    for finding in check_bundle(bundle, samples=0).findings:
        example = f"{finding.proof}; for example {finding.counter_example}"
        detail = f"{finding.field}: {finding.message} ({example})"
        yield GatewayError(MAPPING_WRONG, detail, str(finding.mark))


def check_mapping_folder(place: Traversable | None) -> CheckedFolder:
    """Return a folder (None: the shipped one) that loads and whose static proofs hold.

    Raises GW502 for the mappings, and GW512 for the rules of need.
    """
    if place is None:
        return CheckedFolder(load_shipped_rules().bundle, get_data_folder("mappings"), None)
    octets = pack_mapping_folder(place)
    place = unpack_mapping_archive(octets)
    rules = load_rules(place)
    rules.needs.get_index()
    bundle = rules.bundle
    compile_request_schemas(bundle)
    for problem in find_static_problems(bundle):
        raise problem
    return CheckedFolder(bundle, place, octets)


def read_mapping_archive(octets: bytes) -> CheckedFolder:
    """Return the folder in a ZIP archive that somebody uploaded; raise GW502 as `check_mapping_folder` does.

    The archive contains the files of the folder, or the folder itself.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(octets)) as archive:
            entries = [one for one in archive.infolist() if not one.is_dir()]
            if len(entries) > _MOST_FILES or sum(one.file_size for one in entries) > _MOST_OCTETS:
                raise GatewayError(MAPPING_WRONG, "the archive contains too many files or octets", "archive")
            # No file is longer than its entry says: the reader stops there.
            files = {one.filename: archive.read(one) for one in entries}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError) as error:
        raise GatewayError(
            MAPPING_WRONG, f"not a ZIP archive: {describe_exception(error)}", "archive"
        ) from None
    tops = {name.partition("/")[0] for name in files}
    place: Traversable = MemoryPath(files)
    if len(tops) == 1 and all("/" in name for name in files):
        place = place.joinpath(tops.pop())
    return check_mapping_folder(place)


def compare_with_active(
    conn: Connection, folder: CheckedFolder, at: datetime
) -> tuple[MappingChanges, MappingBundle]:
    """Return what a folder changes in the mappings in force at a time, and those."""
    before = load_active_rules(conn, load_shipped_rules(), at).bundle
    place = open_active_mappings(conn, at)
    return compare_mapping_folders((before, place), (folder.bundle, folder.place)), before


def check_compared_mappings(change: DatabaseChange, over: str | None) -> None:
    """Raise GW709 where other mappings are in force than those that a folder was compared with."""
    if mapping_bundles.find_active_digest(change.conn, change.at) != over:
        detail = "other mappings came into force since the folder was compared: name it again"
        raise GatewayError(TRANSITION_REFUSED, detail, "map use")


def describe_mapping_changes(
    changes: MappingChanges, after: MappingBundle, before: MappingBundle
) -> dict[str, Any]:
    """Return a change of the mappings in force as plain values, for the audit and for readers."""
    return {
        "bundle": after.digest,
        "before": before.digest,
        "documents": sorted(after.documents),
        "added": list(changes.added),
        "changed": list(changes.changed),
        "removed": list(changes.removed),
        "files": list(changes.files),
    }


def store_checked_folder(change: DatabaseChange, folder: CheckedFolder) -> str:
    """Store the files of a folder, unless it is the shipped one; return the digest of its bundle."""
    if folder.octets is not None:
        mapping_bundles.store_bundle(change.conn, folder.bundle.digest, folder.octets, change.at)
    return folder.bundle.digest


def activate_folder(change: DatabaseChange, folder: CheckedFolder, said: Mapping[str, Any]) -> bool:
    """Store and activate a folder, with evidence; return whether it was not the one in force already.

    `said` is its difference from what is in force, as plain values.
    """
    conn, version = change.conn, None if folder.octets is None else folder.bundle.digest
    before = mapping_bundles.find_active_digest(conn, change.at)
    if version == before:
        change.leave_unchanged()
        return False
    digest = store_checked_folder(change, folder)
    mapping_bundles.activate_bundle(conn, version, change.at, change.by)
    data = {"before": before, "documents": said["documents"], "removed": said["removed"]}
    record_evidence(conn, "mappings", "bundle", digest, digest, data, change.at)
    names = ("bundle", "documents", "added", "changed", "removed")
    after = {name: said[name] for name in names}
    change.record_change(f"mappings {digest[:16]}", before={"bundle": said["before"]}, after=after)
    return True
