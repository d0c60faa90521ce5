"""Compares a folder of mappings with the one in force: which documents come, change and go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final

from gateway.errors import MAPPING_WOULD_GO, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub.register.decision_rules import complete_mapping_files, list_mapping_files

#: Files that the gateway generates from the others; a difference in them is none of the mappings.
_GENERATED: Final = "labels/"


@dataclass(frozen=True, slots=True)
class LoadedMappings:
    """Mappings, and the folder that they were loaded from."""

    bundle: MappingBundle
    folder: Traversable


@dataclass(frozen=True, slots=True)
class MappingChanges:
    """The changes of a folder in the mappings in force: ids of documents, and names of the other files."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    files: tuple[str, ...]


def read_mapping_files(folder: Traversable) -> dict[str, bytes]:
    """Return every file of a folder of mappings, by name.

    Where the folder has no rules of need, or no status codes or codes of customs, those that are shipped
    hold, so they are among the files.
    """
    return complete_mapping_files({name: file.read_bytes() for name, file in list_mapping_files(folder)})


def compare_mapping_folders(before: LoadedMappings, after: LoadedMappings) -> MappingChanges:
    """Return the changes from the first to the second of two loaded folders.

    A document is changed if the text of its own file differs. The files that all documents share (dictionary,
    code lists, notices) are compared file by file. A document that a bundle lacks because it did not load is
    known by the name of its file.
    """
    old_files, new_files = read_mapping_files(before.folder), read_mapping_files(after.folder)
    document_files_before = _find_document_files(before.bundle, old_files)
    document_files_after = _find_document_files(after.bundle, new_files)
    changed = [
        name
        for name in document_files_after
        if name in document_files_before
        and old_files[document_files_before[name]] != new_files[document_files_after[name]]
    ]
    document_files = {*document_files_before.values(), *document_files_after.values()}
    shared = {name for name in {*old_files, *new_files} - document_files if not name.startswith(_GENERATED)}
    return MappingChanges(
        added=tuple(sorted(document_files_after.keys() - document_files_before.keys())),
        changed=tuple(sorted(changed)),
        removed=tuple(sorted(document_files_before.keys() - document_files_after.keys())),
        files=tuple(sorted(name for name in shared if old_files.get(name) != new_files.get(name))),
    )


def _find_document_files(bundle: MappingBundle, files: Iterable[str]) -> Mapping[str, str]:
    """Return the file of each document; one that did not load is known by the name of its file."""
    held = {name: document.withholds_mark.file for name, document in bundle.documents.items()}
    unread = {*files} - {*held.values()}
    unread_documents = {
        name.rpartition("/")[2].removesuffix(".yaml"): name for name in unread if _is_document(name)
    }
    return unread_documents | held


def _is_document(name: str) -> bool:
    return name.startswith("agencies/") and name.endswith(".yaml")


def check_removed_documents(changes: MappingChanges, named_documents: Sequence[str]) -> None:
    """Raise GW507 for a removed document that is not named, and for a name that is not removed."""
    for name in named_documents:
        if name not in changes.removed:
            going = ", ".join(changes.removed) or "none"
            detail = (
                f"--remove {name}: the folder does not take this document out of force; it takes out: {going}"
            )
            raise GatewayError(MAPPING_WOULD_GO, detail)
    missing = [name for name in changes.removed if name not in named_documents]
    if missing:
        options = " ".join(f"--remove {name}" for name in missing)
        detail = (
            f"the folder lacks {len(missing)} of the documents in force: {', '.join(missing)}. Nothing "
            f"was changed. To keep them, start from `gateway map export`. To take them out of force, "
            f"add {options}"
        )
        raise GatewayError(MAPPING_WOULD_GO, detail)
