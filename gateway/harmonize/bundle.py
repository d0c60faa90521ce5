"""A bundle: dictionary, code lists, organisations and documents, read and checked together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable

from gateway.errors import MAPPING_WRONG, GatewayError
from gateway.harmonize.asks import tag_of
from gateway.harmonize.codelists import CodeList, read_codelists, read_rows
from gateway.harmonize.dictionary import Dictionary, read_dictionary
from gateway.harmonize.documents import Document, read_document
from gateway.harmonize.marks import Node, read_yaml, wrong

__all__ = ["Bundle", "Organisation", "load"]


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


def load(folder: Traversable) -> Bundle:
    """Return the bundle that `folder` holds; raises GW502 naming file, line and field."""
    files = _Files(folder)
    lists = read_codelists(files.yaml("codelists.yaml"), files.read)
    dictionary = read_dictionary(files.yaml("common.yaml"), lists)
    organisations = _read_organisations(files.yaml("organisations.yaml"))
    documents: dict[str, Document] = {}
    for name in sorted(_below(folder.joinpath("agencies"), "agencies")):
        node = files.yaml(name)
        document = read_document(node, dictionary, lists, organisations)
        if document.id in documents:
            raise wrong(node.mark, "document", "each document once", document.id)
        documents[document.id] = document
    reconciled = _read_reconciled(files) if folder.joinpath("reconciled.csv").is_file() else {}
    return Bundle(dictionary, lists, organisations, documents, reconciled, files.digest())


def _read_reconciled(files: _Files) -> dict[tuple[str, str], str]:
    """Return, by document and element name, where a field went that is common and so not asked."""
    columns = ("document", "field", "decision", "reason")
    rows = read_rows(files.read("reconciled.csv"), "reconciled.csv", columns)
    found = {}
    for document, name, decision, reason in rows:
        if decision.startswith("common"):
            tag = ".".join(tag_of(part) for part in name.split("."))
            found[document, tag] = f"{decision} ({reason})"
    return found


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
    for code, value, _ in top.need("organisations").table("organisations").rest():
        table = value.table(code)
        kind = table.need("kind").one_of("kind", ("government", "commissioned"))
        found[code] = Organisation(code, table.need("ko").text("ko"), table.need("en").text("en"), kind)
        table.text("today")
        table.close()
    top.close()
    return found
