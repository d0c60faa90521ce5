"""A bundle: dictionary, code lists, organisations and documents, read and checked together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import Final

from gateway.errors import MAPPING_WRONG, GatewayError
from gateway.harmonize.language.answerchecks import check_answers
from gateway.harmonize.language.documents import Document, read_document
from gateway.harmonize.language.notices import read_notices
from gateway.harmonize.language.sharing import check_sharing
from gateway.harmonize.language.slots import Notices
from gateway.harmonize.terms.asks import Ask, tag_of
from gateway.harmonize.terms.codelists import CodeList, read_codelists, read_numbered
from gateway.harmonize.terms.dictionary import Dictionary, read_dictionary
from gateway.harmonize.terms.marks import Mark, Node, read_yaml, wrong
from gateway.harmonize.terms.units import NO_UNITS, Units, read_units

__all__ = ["Bundle", "Organisation", "load"]


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation that decides on goods at the border."""

    code: str
    ko: str
    en: str
    kind: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that the mappings say, with the digest of the files that say it."""

    dictionary: Dictionary
    lists: Mapping[str, CodeList]
    organisations: Mapping[str, Organisation]
    documents: Mapping[str, Document]
    reconciled: Mapping[tuple[str, str], str]
    digest: str
    compiled: dict[str, object] = field(default_factory=dict, compare=False, repr=False)
    units: Units = NO_UNITS
    decisions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    notices: Notices = field(default_factory=Notices)

    def code_labels(self) -> dict[str, Mapping[str, tuple[str, str]]]:
        """Return the Korean and English words for each code, by list and code."""
        return {name: codes.labels for name, codes in self.lists.items() if codes.labels}


def load(folder: Traversable, faults: list[GatewayError] | None = None) -> Bundle:
    """Return the bundle that `folder` holds; raises GW502 naming file, line and field.

    Where `faults` is given, what is wrong with single documents is added to it and these are
    left out.  `Bundle.decisions` are all rows of reconciled.csv, by document and field.
    """
    files = _Files(folder)
    registry = files.yaml("codelists.yaml")
    lists, units = read_codelists(registry, files.read), read_units(registry, files.read)
    dictionary = read_dictionary(files.yaml("common.yaml"), lists)
    organisations = _read_organisations(files.yaml("organisations.yaml"))
    there = folder.joinpath("notices.yaml").is_file()
    notices = read_notices(files.yaml("notices.yaml"), lists) if there else Notices()
    documents: dict[str, Document] = {}
    for name in sorted(_below(folder.joinpath("agencies"), "agencies")):
        try:
            node = files.yaml(name)
            document = read_document(node, dictionary, lists, organisations, units)
            check_answers(document, notices)
            if document.id in documents:
                raise wrong(node.mark, "document", "each document once", document.id)
        except GatewayError as error:
            if faults is None:
                raise
            faults.append(error)
            continue
        documents[document.id] = document
    _check_sharing(documents, faults)
    there = folder.joinpath("reconciled.csv").is_file()
    # With a document left out for its faults nobody can say which rows name nothing.
    decisions = _read_decisions(files, None if faults else documents) if there else {}
    reconciled = _reconciled(decisions)
    digest = files.digest()
    return Bundle(
        dictionary,
        lists,
        organisations,
        documents,
        reconciled,
        digest,
        units=units,
        decisions=decisions,
        notices=notices,
    )


def _check_sharing(documents: dict[str, Document], faults: list[GatewayError] | None) -> None:
    """Refuse a document whose shared fields are unlike those of the documents before it."""
    known: dict[tuple[str, str], Ask] = {}
    for document in list(documents.values()):
        try:
            check_sharing(document, known)
        except GatewayError as error:
            if faults is None:
                raise
            faults.append(error)
            del documents[document.id]


def _read_decisions(files: _Files, documents: Mapping[str, Document] | None) -> dict[tuple[str, str], str]:
    """Return, by document and field, what was decided about a field of a form, and why.

    A row names one of `documents`, where these are known.
    """
    name, columns = "reconciled.csv", ("document", "field", "decision", "reason")
    found: dict[tuple[str, str], str] = {}
    for line, (document, field_name, decision, reason) in read_numbered(files.read(name), name, columns):
        if documents is not None and document not in documents:
            raise wrong(Mark(name, line), "document", "a document of the mappings", document)
        found[document, field_name] = f"{decision} ({reason})"
    return found


def _reconciled(decisions: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """Return, by document and element name, where a field went that is common and so not asked."""
    return {
        (document, ".".join(tag_of(part) for part in name.split("."))): decision
        for (document, name), decision in decisions.items()
        if decision.startswith("common")
    }


class _Files:
    """Reads files below a folder, each once, and remembers what was read."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._read: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        """Return the content of a file below the folder."""
        if name not in self._read:
            parts = name.split("/")
            if any(part in ("", ".", "..") for part in parts):
                raise GatewayError(
                    MAPPING_WRONG, f"file: expected a name inside the folder, found {name}", name
                )
            try:
                self._read[name] = self._folder.joinpath(*parts).read_bytes()
            except OSError as error:
                reason = error.strerror or "not readable"
                raise GatewayError(
                    MAPPING_WRONG, f"file: expected {name}, found none ({reason})", name
                ) from None
        return self._read[name]

    def yaml(self, name: str) -> Node:
        """Return the root of a YAML file below the folder."""
        return read_yaml(self.read(name), name)

    def digest(self) -> str:
        """Return the SHA-256 over names and contents of everything read."""
        total = hashlib.sha256()
        for name in sorted(self._read):
            total.update(f"{name} {hashlib.sha256(self._read[name]).hexdigest()}\n".encode())
        return total.hexdigest()


def _below(folder: Traversable, prefix: str) -> Iterator[str]:
    """Yield the names of all YAML files below `folder`."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from _below(entry, name)
        elif entry.name.endswith(".yaml"):
            yield name


def _read_organisations(node: Node) -> dict[str, Organisation]:
    top = node.table("organisations")
    found = {}
    for code, value, mark in top.need("organisations").table("organisations").rest():
        if not _NAME.fullmatch(code):
            raise wrong(mark, "organisations", "a code of letters, digits, - _ and .", code)
        table = value.table(code)
        kind = table.need("kind").one_of("kind", ("government", "commissioned"))
        found[code] = Organisation(code, table.need("ko").text("ko"), table.need("en").text("en"), kind)
        table.text("today")
        table.close()
    top.close()
    return found
