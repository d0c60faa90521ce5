"""Puts a folder of mappings into force: reads it as every process will, shows the difference, activates."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources.abc import Traversable
from typing import Any, Final

from sqlalchemy import Connection

from gateway.errors import (
    BUNDLE_FILE_WRONG,
    MAPPING_WRONG,
    STORED_MAPPINGS_UNREAD,
    TRANSITION_REFUSED,
    GatewayError,
    describe_exception,
)
from gateway.evidence import record_evidence
from gateway.harmonize import MappingBundle, ProofFinding, check_bundle, compile_request_schemas, load_bundle
from gateway.hub import (
    BundleFile,
    MappingChanges,
    PublisherRules,
    check_publisher,
    check_unsigned,
    compare_mapping_folders,
    is_bundle_file,
    load_active_rules,
    load_rules,
    load_shipped_rules,
    open_active_mappings,
    pack_mapping_folder,
    read_bundle_file,
    unpack_mapping_archive,
)
from gateway.operations.audited_changes import DatabaseChange
from gateway.share import MemoryPath, get_data_folder
from gateway.store import mapping_bundles

_MOST_FILES: Final = 2_000
_MOST_OCTETS: Final = 32 * 1024 * 1024

#: What the static proofs found in mappings, by their digest: nothing else of them is read.
_proved: Final[dict[str, tuple[ProofFinding, ...]]] = {}
_MOST_PROVED: Final = 16

__all__ = [
    "CheckedFolder",
    "activate_folder",
    "check_compared_mappings",
    "check_mapping_folder",
    "compare_with_active",
    "describe_mapping_changes",
    "find_static_problems",
    "open_bundle_file",
    "open_offered_mappings",
    "read_offered_mappings",
    "store_checked_folder",
]


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """A folder of mappings as every process will read it; `octets` are None for the shipped one."""

    bundle: MappingBundle
    place: Traversable
    octets: bytes | None
    #: The bundle file that it came in, if any.
    file: BundleFile | None = None

    def describe_origin(self) -> dict[str, Any]:
        """Return for the audit and the evidence who published the mappings; nothing where that is unknown."""
        signer = None if self.file is None else self.file.signer
        if self.file is None or signer is None:
            return {}
        assert self.file.signed_at is not None, "a signature has its time"
        published = {"certificate": signer.sha256, "subject": signer.subject}
        return {"published": published | {"at": self.file.signed_at.isoformat()}}


def find_static_problems(bundle: MappingBundle) -> Iterator[GatewayError]:
    """Yield the faults (GW502) found by the static proofs of loaded mappings, without drawing samples.

    Mappings of the same digest are proved once in a process.
    """
    findings = _proved.get(bundle.digest)
    if findings is None:
        findings = check_bundle(bundle, samples=0).findings
        if len(_proved) >= _MOST_PROVED:
            _proved.clear()
        _proved[bundle.digest] = findings
    for finding in findings:
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


def read_offered_mappings(octets: bytes, rules: PublisherRules, at: datetime) -> CheckedFolder:
    """Return the mappings in a bundle file, or in a ZIP archive where nobody has to sign.

    Raises GW514 for a publisher that the settings do not name, GW515 for a file that was changed, and
    GW502 as `check_mapping_folder` does.
    """
    if is_bundle_file(octets):
        check_publisher(read_bundle_file(octets), rules, at)
    else:
        check_unsigned(rules)
    return open_offered_mappings(octets)


def open_offered_mappings(octets: bytes) -> CheckedFolder:
    """Return the mappings in a bundle file or a ZIP archive, proved, whoever published them.

    Raises GW515 for a file that was changed, GW502 as `check_mapping_folder` does.
    """
    if is_bundle_file(octets):
        return open_bundle_file(read_bundle_file(octets))
    return _read_mapping_archive(octets)


def open_bundle_file(file: BundleFile) -> CheckedFolder:
    """Return the mappings in a bundle file, proved again; raise GW515 where they have another address."""
    folder = _read_mapping_archive(file.archive)
    if folder.bundle.digest != file.terms.address:
        detail = (
            f"the content has the address {folder.bundle.digest[:16]}, not {file.terms.address[:16]}: it was "
            "changed, or packed by another version of the program; let its publisher pack it again"
        )
        raise GatewayError(BUNDLE_FILE_WRONG, detail, "/MappingBundle/Address")
    return replace(folder, file=file)


def _read_mapping_archive(octets: bytes) -> CheckedFolder:
    """Return the folder in a ZIP archive; raise GW502 as `check_mapping_folder` does.

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
        detail = f"neither a file of `gateway map pack` nor a ZIP archive: {describe_exception(error)}"
        raise GatewayError(MAPPING_WRONG, detail, "archive") from None
    tops = {name.partition("/")[0] for name in files}
    place: Traversable = MemoryPath(files)
    if len(tops) == 1 and all("/" in name for name in files):
        place = place.joinpath(tops.pop())
    return check_mapping_folder(place)


def compare_with_active(
    conn: Connection, folder: CheckedFolder, at: datetime
) -> tuple[MappingChanges, MappingBundle]:
    """Return what a folder changes in the mappings in force at a time, and those.

    Of mappings that this version of the program does not load (GW904), what loads is returned: they can be
    replaced.
    """
    place = open_active_mappings(conn, at)
    try:
        before = load_active_rules(conn, load_shipped_rules(), at).bundle
    except GatewayError as error:
        version = mapping_bundles.find_active_digest(conn, at)
        if error.problem is not STORED_MAPPINGS_UNREAD or version is None:
            raise
        before = replace(_load_what_loads(place), digest=version)
    return compare_mapping_folders((before, place), (folder.bundle, folder.place)), before


def _load_what_loads(place: Traversable) -> MappingBundle:
    """Return the mappings of a folder without the documents that do not load; none where nothing loads."""
    try:
        return load_bundle(place, [])
    except GatewayError:
        return replace(load_shipped_rules().bundle, documents={})


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
    data |= folder.describe_origin()
    record_evidence(conn, "mappings", "bundle", digest, digest, data, change.at)
    names = ("bundle", "documents", "added", "changed", "removed")
    after = {name: said[name] for name in names} | folder.describe_origin()
    change.record_change(f"mappings {digest[:16]}", before={"bundle": said["before"]}, after=after)
    return True
