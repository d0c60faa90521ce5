"""Turns an inventory of documents into a folder of mappings that an engineer then completes.

The code names no document and no agency: documents come from the inventory, common meanings
from the shipped mappings.  The result can be loaded, built and used for a split at once; every
point that the inventory leaves open is written as a comment and listed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import Final

from gateway.errors import MAPPING_WRONG, MISUSE, GatewayError
from gateway.harmonize import (
    ITEM_PATH,
    UnitTable,
    read_code_lists,
    read_csv_rows,
    read_data_dictionary,
    read_document_checks,
    read_unique_fields,
    read_unit_table,
    walk_fields,
)
from gateway.wire import MarkedError, SourceMark, YamlNode, YamlTable, read_yaml
from gateway_workbench.importer.code_list_choice import ImportedLists
from gateway_workbench.importer.folder_merge import COLUMNS, AddedEntries, FolderTable
from gateway_workbench.importer.inventory_fields import InventoryField, InventoryInvariant
from gateway_workbench.importer.inventory_reader import (
    Inventory,
    InventoryCommonField,
    InventoryDocument,
    InventoryOrganization,
    read_inventory,
)
from gateway_workbench.importer.mapping_writer import compose_mapping
from gateway_workbench.importer.meaning_match import ImportedMeaning, ImportedMeanings
from gateway_workbench.importer.unique_fields import DocumentForm, UnfinishedItem, read_form
from gateway_workbench.importer.written_names import (
    make_slug,
    make_snake_case,
    write_comment,
    write_csv,
    write_flow,
    write_scalar,
)


def find_rejected_checks(
    mapping_text: str, lists: ImportedLists, meanings: ImportedMeanings
) -> dict[str, str]:
    """Return the reason for each check of a mapping's `text` that cannot be read, by the check's id."""
    root = read_yaml(mapping_text.encode(), "mapping").value
    if not isinstance(root, dict) or "checks" not in root:
        return {}
    added = "\n".join(["lists:", *lists.lines.values(), ""]) if lists.lines else "lists: {}\n"
    code_lists = dict(lists.shipped) | read_code_lists(
        read_yaml(added.encode(), "lists"), lambda name: lists.files[name].encode()
    )
    dictionary = meanings.build_dictionary(code_lists)
    try:
        asks = {
            ask.name: ask for ask in walk_fields(read_unique_fields(root["asks"], code_lists, dictionary))
        }
    except GatewayError:
        return {}  # the mapping is rejected, with the reason, when it is loaded
    reasons = {}
    for entry in root["checks"].read_list("checks"):
        alone = YamlTable({"checks": YamlNode([entry], entry.mark)}, entry.mark, "document", {})
        try:
            read_document_checks(alone, asks, dictionary, code_lists)
        except GatewayError as error:
            reasons[entry.read_table("check").read_text("id")] = error.detail
    return reasons


# How a line of a mapping names a field, its meaning or a check.
_NAMES: Final = (
    re.compile(r"\bask(?:ed)?: ([A-Za-z0-9_.]+)"),
    re.compile(r"\bmeans: ([A-Za-z0-9_.]+)"),
    re.compile(r"\bid: (rule_[0-9]+)\b"),
)
_NEAR: Final = 8


@dataclass(frozen=True, slots=True)
class ImportedPlaces:
    """The places of a document in the inventory: of itself, and of its fields and checks by name.

    `slug` is the first part of the meanings of its fields.
    """

    document: str
    slug: str
    mark: SourceMark
    names: Mapping[str, SourceMark]


def locate_in_inventory(error: MarkedError, text: str, places: ImportedPlaces) -> MarkedError:
    """Return `error` of a line of the mapping `text` as an error of the line of the inventory."""
    name, mark = _find_place(text.splitlines(), error.mark.line, places)
    location = f"{places.document}.unique.{name}" if name else places.document
    return MarkedError(mark, location, f"{error.name}: {error.detail.partition(': ')[2]}", error.proof)


def _find_place(lines: list[str], line_number: int, places: ImportedPlaces) -> tuple[str, SourceMark]:
    """Return the field or check that a line of a mapping, or one of the next below it, names."""
    start = max(line_number - 1, 0)
    for number, text in enumerate(lines[start : start + _NEAR]):
        if number and _measure_indent(text) <= _measure_indent(lines[start]):
            break
        for name_pattern in _NAMES:
            match = name_pattern.search(text)
            name = match[1].removeprefix(f"{places.slug}.") if match else ""
            if name in places.names:
                return name, places.names[name]
    return "", places.mark


def _measure_indent(text: str) -> int:
    return len(text) - len(text.lstrip())


_LAWS = "needs/laws.csv"
_OWN_FOLDERS = ("agencies/", "importing/", "workbench/", "__pycache__/")
_OWN_FILES = ("organisations.yaml", "reconciled.csv", "README.md", "__init__.py")


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The imported folder: `files` by name, `counts` by document, and the open points (`findings`).

    `added` are the additions of the inventory alone, for a merge into another folder; `places` are,
    by file, the places of the documents in the inventory.
    """

    files: Mapping[str, bytes]
    counts: Mapping[str, Mapping[str, int]]
    findings: tuple[UnfinishedItem, ...]
    added: AddedEntries = field(default_factory=AddedEntries)
    places: Mapping[str, ImportedPlaces] = field(default_factory=dict)

    def locate_fault(self, error: GatewayError, files: Mapping[str, bytes]) -> GatewayError:
        """Return a fault of `files` as one of the inventory, where it is in an imported document."""
        if not isinstance(error, MarkedError):
            return error
        content = files.get(error.mark.file)
        for name, places in self.places.items():
            if content is not None and content == self.added.documents[name]:
                return locate_in_inventory(error, content.decode(), places)
        return error


def import_inventory(
    content: bytes,
    file: str,
    shipped: Traversable,
    documents: Collection[str] = (),
    into: Traversable | None = None,
) -> ImportResult:
    """Return the mappings of an inventory, of all its documents or of `documents` only.

    `file` is the inventory's name in errors; `shipped` are the mappings whose dictionary
    and code lists the new ones share.  With `into`, a folder of mappings for a later merge, the
    dictionary of that folder is shared.  Raise GW502 with file, line and field.
    """
    inventory = read_inventory(content, file)
    papers = _select_documents(inventory, documents, file)
    source = _ShippedMappings(shipped)
    lists, meanings = source.make_lists(inventory, into), source.make_meanings(into)
    findings: list[UnfinishedItem] = []
    composed, rows, counts, places = {}, [], {}, {}
    for document in papers:
        form, text = _compose_document(document, lists, meanings)
        name = f"agencies/{document.organisation}/{document.id}.yaml"
        composed[name], places[name] = text.encode(), _list_places(form)
        rows += [_make_reconciliation_row(form, number) for number in range(len(form.repeated_fields))]
        findings += form.findings
        counts[document.id] = _count_fields(form)
    offices = _write_organizations(inventory, papers, findings)
    for name, (text, origin) in lists.unfinished.items():
        findings.append(UnfinishedItem("", name, "label", text, inventory.list_marks.get(origin)))
    findings += [UnfinishedItem("", name, "label", text, mark) for name, text, mark in meanings.unfinished]
    tables = {name: text.encode() for name, text in lists.files.items()}
    entries = {
        FolderTable("organisations.yaml", "organisations"): offices,
        FolderTable("codelists.yaml", "lists"): lists.lines,
        FolderTable("common.yaml", "meanings"): meanings.lines,
    }
    files = source.copy_common_files() | composed | tables
    files["organisations.yaml"] = "\n".join(["organisations:", *offices.values(), ""]).encode()
    files["reconciled.csv"] = write_csv([COLUMNS, *rows]).encode()
    files["codelists.yaml"] = _insert_below_key(files["codelists.yaml"], "lists", list(lists.lines.values()))
    files["common.yaml"] = _insert_below_key(files["common.yaml"], "meanings", _list_added_meanings(meanings))
    added = AddedEntries(entries, composed, tables, tuple(rows))
    return ImportResult(dict(sorted(files.items())), counts, tuple(findings), added, places)


def _compose_document(
    document: InventoryDocument, lists: ImportedLists, meanings: ImportedMeanings
) -> tuple[DocumentForm, str]:
    """Return the form and the mapping of a document; rejected checks are left as comments."""
    refused: dict[InventoryInvariant, str] = {}
    while True:
        form, common = _make_form(document, lists, meanings)
        text = compose_mapping(form, common, refused)
        reasons = find_rejected_checks(text, lists, meanings)
        new = {form.clauses[name]: reason for name, reason in reasons.items() if name in form.clauses}
        if not new:
            return form, text
        refused |= new


def _select_documents(inventory: Inventory, documents: Collection[str], file: str) -> list[InventoryDocument]:
    papers_by_id = {document.id: document for document in inventory.documents}
    for name in documents:
        if name not in papers_by_id:
            detail = f"no document {name[:70]!r} in {file}; it has {', '.join(papers_by_id)}"
            raise GatewayError(MISUSE, detail, "--documents")
    return [document for document in inventory.documents if not documents or document.id in documents]


def _make_form(
    document: InventoryDocument, lists: ImportedLists, meanings: ImportedMeanings
) -> tuple[DocumentForm, list[tuple[InventoryCommonField, ImportedMeaning]]]:
    """Return the asked and the common fields of a document; a common one that cannot be declared is asked."""
    common, unique, unsaid = [], list(document.unique), []
    for common_field in document.common:
        meaning = meanings.get_or_make_meaning(common_field)
        if meaning is None:
            unsaid.append(common_field)
            unique.append(_make_field(common_field))
        else:
            common.append((common_field, meaning))
    form = read_form(
        document, tuple(unique), lists, meanings, frozenset(meaning.name for _, meaning in common)
    )
    for common_field in unsaid:
        text = (
            f"{common_field.path} stands neither in the declaration nor in its supplement, so it is asked for"
        )
        form.note_unfinished(make_snake_case(common_field.path), "common", text, common_field.mark)
    return form, common


def _make_field(common_field: InventoryCommonField) -> InventoryField:
    """Return a unique field for a common field that the declaration cannot hold."""
    below = common_field.path.removeprefix(f"{ITEM_PATH}/").removeprefix("Declaration/")
    return InventoryField(
        name=make_snake_case(below).replace(".", "_"),
        ko=common_field.label,
        en=common_field.label,
        type="text",
        need="M" if common_field.low else "O",
        level="item" if common_field.path.startswith(f"{ITEM_PATH}/") else "header",
        max_length=70,
        max_octets=None,
        charset="utf-8",
        pattern="",
        listing=None,
        units=(),
        currencies=(),
        decimals=None,
        bounds=None,
        repeat=(common_field.low, common_field.high if common_field.high is not None else 99)
        if common_field.is_repeated
        else None,
        condition="",
        invariants=(),
        mime=(),
        max_mebibytes=None,
        note=f"{common_field.path} of the WCO Data Model",
        path="",
        wco=common_field.wco,
        fields=(),
        mark=common_field.mark,
    )


def _make_reconciliation_row(form: DocumentForm, index: int) -> tuple[str, str, str, str]:
    repeated_field = form.repeated_fields[index]
    return (
        repeated_field.name,
        form.document.id,
        f"common {repeated_field.meaning.name}",
        repeated_field.reason,
    )


def _list_places(form: DocumentForm) -> ImportedPlaces:
    """Return the places of a document, its asked fields and its checks in the inventory."""
    names = {imported_field.name: imported_field.source.mark for imported_field in form.list_fields()}
    names |= {name: clause.mark for name, clause in form.clauses.items()}
    return ImportedPlaces(form.document.id, make_slug(form.document.id), form.document.mark, names)


def _count_fields(form: DocumentForm) -> dict[str, int]:
    keys = ("common", "asked", "reconciled", "conditions", "conditions_open", "invariants", "invariants_open")
    return {key: form.counts.get(key, 0) for key in keys} | {"to_finish": len(form.findings)}


def _write_organizations(
    inventory: Inventory, documents: list[InventoryDocument], findings: list[UnfinishedItem]
) -> dict[str, str]:
    """Return the entries of the organisations of `documents`, by code."""
    offices: dict[str, InventoryOrganization] = {}
    for document in documents:
        organisation = inventory.organisations.get(document.organisation)
        if organisation is None:
            office_codes = ", ".join(inventory.organisations) or "none"
            raise document.mark.make_error(
                f"{document.id}.organisation",
                f"one of organisations: {office_codes}",
                document.organisation,
            )
        offices[organisation.code] = organisation
    entries = {}
    for organisation in offices.values():
        lines: list[str] = []
        organisation_kind = organisation.kind
        if not organisation_kind:
            organisation_kind, text = (
                "commissioned",
                f"the kind of {organisation.code}: government or commissioned",
            )
            lines += write_comment(text, "  ")
            findings.append(UnfinishedItem("", organisation.code, "organisation", text, organisation.mark))
        spec = {"kind": organisation_kind, "ko": organisation.ko, "en": organisation.en}
        spec |= {"today": organisation.today} if organisation.today else {}
        entries[organisation.code] = "\n".join(
            [*lines, f"  {write_scalar(organisation.code)}: {write_flow(spec)}"]
        )
    return entries


def _list_added_meanings(meanings: ImportedMeanings) -> list[str]:
    lines = list(meanings.lines.values())
    return (
        [*write_comment("the Korean labels of the meanings that the inventory adds", "  "), *lines]
        if lines
        else []
    )


def _insert_below_key(content: bytes, key: str, lines: list[str]) -> bytes:
    """Return a YAML file with `lines` added at the start of its table `key`."""
    head, key_line, rest = content.decode().partition(f"\n{key}:\n")
    if not key_line:
        raise GatewayError(MAPPING_WRONG, f"file: expected a line {key}: in the shipped mappings", key)
    return (head + key_line + "".join(f"{line}\n" for line in lines) + rest).encode()


class _ShippedMappings:
    """The parts of the shipped mappings that an import shares."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self.lists = read_code_lists(
            read_yaml(self.read_file("codelists.yaml"), "codelists.yaml"), self.read_file
        )

    def read_file(self, name: str) -> bytes:
        try:
            return self._folder.joinpath(*name.split("/")).read_bytes()
        except (OSError, KeyError):
            raise GatewayError(MAPPING_WRONG, f"file: expected {name}, found none", name) from None

    def make_lists(self, inventory: Inventory, into: Traversable | None) -> ImportedLists:
        """Return the code lists of an import.

        The units and the laws are those of `into` where given.
        """
        target = self if into is None else _ShippedMappings(into)
        rows = self._read_table("standard-lists.csv", ("words", "list", "open"))
        standards = {phrase: (name, pattern) for phrase, name, pattern in rows}
        stems = [name.rpartition("/")[2].rpartition(".")[0] for name in self._list_names() if "/" in name]
        units, laws = target.read_units(), target.read_laws(self)
        offices = frozenset(inventory.organisations) | self.read_organizations() | target.read_organizations()
        return ImportedLists(self.lists, inventory.lists, standards, frozenset(stems), units, laws, offices)

    def read_organizations(self) -> frozenset[str]:
        """Return the codes of the organisations."""
        root = read_yaml(self.read_file("organisations.yaml"), "organisations.yaml").read_table("file")
        entries = root.get_required("organisations").read_table("organisations").take_unread_items()
        return frozenset(code for code, _, _ in entries)

    def read_units(self) -> UnitTable:
        return read_unit_table(read_yaml(self.read_file("codelists.yaml"), "codelists.yaml"), self.read_file)

    def read_laws(self, shipped: _ShippedMappings) -> frozenset[str]:
        """Return the codes of the law book; a folder without one has the `shipped` one."""
        folder = self if self._folder.joinpath(*_LAWS.split("/")).is_file() else shipped
        rows = read_csv_rows(folder.read_file(_LAWS), _LAWS, ("law", "ko", "en", "disclaimers"))
        return frozenset(row[0] for row in rows)

    def make_meanings(self, into: Traversable | None) -> ImportedMeanings:
        """Return the common meanings, of `into` where given, with the table of fields that ask them again."""
        target = self if into is None else _ShippedMappings(into)
        dictionary = read_data_dictionary(
            read_yaml(target.read_file("common.yaml"), "common.yaml"), target.lists
        )
        rows = self._read_table("same-as.csv", ("field", "meaning", "reason"))
        return ImportedMeanings(dictionary, {field: (meaning, reason) for field, meaning, reason in rows})

    def _read_table(self, name: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
        return read_csv_rows(self.read_file(f"importing/{name}"), f"importing/{name}", columns)

    def copy_common_files(self) -> dict[str, bytes]:
        """Return the content of the files that every folder of mappings has."""
        return {name: self.read_file(name) for name in self._list_names()}

    def _list_names(self) -> list[str]:
        names = [name for name in _walk_folder(self._folder, "") if not name.startswith(_OWN_FOLDERS)]
        return sorted(name for name in names if name not in _OWN_FILES)


def _walk_folder(folder: Traversable, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk_folder(entry, f"{name}/")
        elif not entry.name.startswith("."):
            yield name
