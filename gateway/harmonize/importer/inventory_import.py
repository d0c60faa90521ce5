"""Turns an inventory of documents into a folder of mappings that an engineer then completes.

The code names no document and no agency: documents come from the inventory, common meanings
from the shipped mappings.  The result can be loaded, built and used for a split at once; what
the inventory leaves open is written as a comment and listed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable

from gateway.errors import MAPPING_WRONG, MISUSE, GatewayError
from gateway.harmonize.importer.check_trial import find_rejected_checks
from gateway.harmonize.importer.code_list_choice import ImportedLists
from gateway.harmonize.importer.folder_merge import COLUMNS, AddedEntries, merge_folder
from gateway.harmonize.importer.inventory_fields import InventoryField
from gateway.harmonize.importer.inventory_places import ImportedPlaces, locate_in_inventory
from gateway.harmonize.importer.inventory_reader import (
    Inventory,
    InventoryCommonField,
    InventoryDocument,
    InventoryOrganization,
    read_inventory,
)
from gateway.harmonize.importer.mapping_writer import compose_mapping
from gateway.harmonize.importer.meaning_match import ImportedMeanings, KnownMeaning
from gateway.harmonize.importer.name_rules import make_slug, make_snake_case
from gateway.harmonize.importer.unique_fields import DocumentForm, UnfinishedItem, read_form
from gateway.harmonize.importer.yaml_writer import write_comment, write_csv, write_flow, write_scalar
from gateway.harmonize.types import (
    ITEM_PATH,
    MappingError,
    SourceMark,
    UnitTable,
    make_mapping_error,
    read_code_lists,
    read_csv_rows,
    read_data_dictionary,
    read_unit_table,
    read_yaml,
)

__all__ = ["ImportResult", "UnfinishedItem", "import_inventory", "merge_folder"]

_LAWS = "needs/laws.csv"
_OWN_FOLDERS = ("agencies/", "importing/", "__pycache__/")
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
        if not isinstance(error, MappingError):
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
    for paper in papers:
        form, text = _compose_document(paper, lists, meanings)
        name = f"agencies/{paper.organisation}/{paper.id}.yaml"
        composed[name], places[name] = text.encode(), _list_places(form)
        rows += [_make_reconciliation_row(form, number) for number in range(len(form.again))]
        findings += form.findings
        counts[paper.id] = _count_fields(form)
    offices = _write_organizations(inventory, papers, findings)
    for name, (text, origin) in lists.unfinished.items():
        findings.append(UnfinishedItem("", name, "label", text, inventory.list_marks.get(origin)))
    findings += [UnfinishedItem("", name, "label", text, mark) for name, text, mark in meanings.unfinished]
    tables = {name: text.encode() for name, text in lists.files.items()}
    entries = {
        ("organisations.yaml", "organisations"): offices,
        ("codelists.yaml", "lists"): lists.lines,
        ("common.yaml", "meanings"): meanings.lines,
    }
    files = source.copy_common_files() | composed | tables
    files["organisations.yaml"] = "\n".join(["organisations:", *offices.values(), ""]).encode()
    files["reconciled.csv"] = write_csv([COLUMNS, *rows]).encode()
    files["codelists.yaml"] = _insert_below_key(files["codelists.yaml"], "lists", list(lists.lines.values()))
    files["common.yaml"] = _insert_below_key(files["common.yaml"], "meanings", _list_added_meanings(meanings))
    added = AddedEntries(entries, composed, tables, tuple(rows))
    return ImportResult(dict(sorted(files.items())), counts, tuple(findings), added, places)


def _compose_document(
    paper: InventoryDocument, lists: ImportedLists, meanings: ImportedMeanings
) -> tuple[DocumentForm, str]:
    """Return the form and the mapping of a document; rejected checks are left as comments."""
    refused: dict[tuple[SourceMark, str], str] = {}
    while True:
        form, common = _make_form(paper, lists, meanings)
        text = compose_mapping(form, common, refused)
        found = find_rejected_checks(text, lists, meanings)
        new = {form.clauses[name]: reason for name, reason in found.items() if name in form.clauses}
        if not new:
            return form, text
        refused |= new


def _select_documents(inventory: Inventory, documents: Collection[str], file: str) -> list[InventoryDocument]:
    known = {paper.id: paper for paper in inventory.papers}
    for name in documents:
        if name not in known:
            shown = f"no document {name[:70]!r} in {file}; it has {', '.join(known)}"
            raise GatewayError(MISUSE, shown, "--documents")
    return [paper for paper in inventory.papers if not documents or paper.id in documents]


def _make_form(
    paper: InventoryDocument, lists: ImportedLists, meanings: ImportedMeanings
) -> tuple[DocumentForm, list[tuple[InventoryCommonField, KnownMeaning]]]:
    """Return the asked and the common fields of a document; a common one that cannot be declared is asked."""
    common, unique, unsaid = [], list(paper.unique), []
    for one in paper.common:
        known = meanings.get_or_make_meaning(one)
        if known is None:
            unsaid.append(one)
            unique.append(_make_field(one))
        else:
            common.append((one, known))
    form = read_form(paper, tuple(unique), lists, meanings, frozenset(known.name for _, known in common))
    for one in unsaid:
        text = f"{one.path} stands neither in the declaration nor in its supplement, so it is asked for"
        form.note_unfinished(make_snake_case(one.path), "common", text, one.mark)
    return form, common


def _make_field(one: InventoryCommonField) -> InventoryField:
    """Return a unique field for a common field that the declaration cannot hold."""
    below = one.path.removeprefix(f"{ITEM_PATH}/").removeprefix("Declaration/")
    return InventoryField(
        name=make_snake_case(below).replace(".", "_"),
        ko=one.label,
        en=one.label,
        type="text",
        need="M" if one.low else "O",
        level="item" if one.path.startswith(f"{ITEM_PATH}/") else "header",
        longest=70,
        octets=None,
        charset="utf-8",
        pattern="",
        listing=None,
        units=(),
        currencies=(),
        decimals=None,
        bounds=None,
        repeat=(one.low, one.high if one.high is not None else 99) if one.is_repeated else None,
        condition="",
        invariants=(),
        mime=(),
        largest=None,
        note=f"{one.path} of the WCO Data Model",
        path="",
        wco=one.wco,
        fields=(),
        mark=one.mark,
    )


def _make_reconciliation_row(form: DocumentForm, number: int) -> tuple[str, str, str, str]:
    again = form.again[number]
    return again.name, form.paper.id, f"common {again.meaning.name}", again.reason


def _list_places(form: DocumentForm) -> ImportedPlaces:
    """Return the places of a document, its asked fields and its checks in the inventory."""
    names = {one.name: one.source.mark for one in form.list_fields()}
    names |= {name: mark for name, (mark, _) in form.clauses.items()}
    return ImportedPlaces(form.paper.id, make_slug(form.paper.id), form.paper.mark, names)


def _count_fields(form: DocumentForm) -> dict[str, int]:
    keys = ("common", "asked", "reconciled", "conditions", "conditions_open", "invariants", "invariants_open")
    return {key: form.counts.get(key, 0) for key in keys} | {"to_finish": len(form.findings)}


def _write_organizations(
    inventory: Inventory, papers: list[InventoryDocument], findings: list[UnfinishedItem]
) -> dict[str, str]:
    """Return the entries of the organisations of `papers`, by code."""
    offices: dict[str, InventoryOrganization] = {}
    for paper in papers:
        office = inventory.offices.get(paper.organisation)
        if office is None:
            known = ", ".join(inventory.offices) or "none"
            raise make_mapping_error(
                paper.mark, f"{paper.id}.organisation", f"one of organisations: {known}", paper.organisation
            )
        offices[office.code] = office
    entries = {}
    for office in offices.values():
        lines: list[str] = []
        kind = office.kind
        if not kind:
            kind, text = "commissioned", f"the kind of {office.code}: government or commissioned"
            lines += write_comment(text, "  ")
            findings.append(UnfinishedItem("", office.code, "organisation", text, office.mark))
        spec = {"kind": kind, "ko": office.ko, "en": office.en}
        spec |= {"today": office.today} if office.today else {}
        entries[office.code] = "\n".join([*lines, f"  {write_scalar(office.code)}: {write_flow(spec)}"])
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
    head, found, rest = content.decode().partition(f"\n{key}:\n")
    if not found:
        raise GatewayError(MAPPING_WRONG, f"file: expected a line {key}: in the shipped mappings", key)
    return (head + found + "".join(f"{line}\n" for line in lines) + rest).encode()


class _ShippedMappings:
    """The parts of the shipped mappings that an import shares."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._lists = read_code_lists(
            read_yaml(self._read_file("codelists.yaml"), "codelists.yaml"), self._read_file
        )

    def _read_file(self, name: str) -> bytes:
        try:
            return self._folder.joinpath(*name.split("/")).read_bytes()
        except (OSError, KeyError):
            raise GatewayError(MAPPING_WRONG, f"file: expected {name}, found none", name) from None

    def make_lists(self, inventory: Inventory, into: Traversable | None) -> ImportedLists:
        """Return the code lists of an import.

        The units and the laws are those of `into` where given.
        """
        other = self if into is None else _ShippedMappings(into)
        rows = self._read_table("standard-lists.csv", ("words", "list", "open"))
        standards = {words: (name, pattern) for words, name, pattern in rows}
        stems = [name.rpartition("/")[2].rpartition(".")[0] for name in self._list_names() if "/" in name]
        units, laws = other._read_units(), other._read_laws(self)
        offices = frozenset(inventory.offices) | self._read_organizations() | other._read_organizations()
        return ImportedLists(self._lists, inventory.lists, standards, frozenset(stems), units, laws, offices)

    def _read_organizations(self) -> frozenset[str]:
        """Return the codes of the organisations."""
        root = read_yaml(self._read_file("organisations.yaml"), "organisations.yaml").read_table("file")
        entries = root.get_required("organisations").read_table("organisations").take_unread_items()
        return frozenset(code for code, _, _ in entries)

    def _read_units(self) -> UnitTable:
        return read_unit_table(
            read_yaml(self._read_file("codelists.yaml"), "codelists.yaml"), self._read_file
        )

    def _read_laws(self, shipped: _ShippedMappings) -> frozenset[str]:
        """Return the codes of the law book; a folder without one has the `shipped` one."""
        folder = self if self._folder.joinpath(*_LAWS.split("/")).is_file() else shipped
        rows = read_csv_rows(folder._read_file(_LAWS), _LAWS, ("law", "ko", "en", "disclaimers"))
        return frozenset(row[0] for row in rows)

    def make_meanings(self, into: Traversable | None) -> ImportedMeanings:
        """Return the common meanings, of `into` where given, with the table of fields that ask them again."""
        other = self if into is None else _ShippedMappings(into)
        dictionary = read_data_dictionary(
            read_yaml(other._read_file("common.yaml"), "common.yaml"), other._lists
        )
        rows = self._read_table("same-as.csv", ("field", "meaning", "reason"))
        return ImportedMeanings(dictionary, {field: (meaning, reason) for field, meaning, reason in rows})

    def _read_table(self, name: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
        return read_csv_rows(self._read_file(f"importing/{name}"), f"importing/{name}", columns)

    def copy_common_files(self) -> dict[str, bytes]:
        """Return the content of the files that every folder of mappings has."""
        return {name: self._read_file(name) for name in self._list_names()}

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
