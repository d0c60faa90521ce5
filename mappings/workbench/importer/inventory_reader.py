"""Reads an inventory: organisations, code lists, and documents with their fields.

The reader is strict about keys and types; most keys are optional.  An error (GW502) names
file, line and field.  An empty value or ``null`` counts as missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.wire import SourceMark, YamlNode, YamlTable, load_wco_elements, read_yaml
from gateway_workbench.importer.inventory_fields import (
    CodeLabels,
    InventoryField,
    InventoryInvariant,
    find_given_node,
    read_cardinality,
    read_codes,
    read_fields,
    read_invariants,
    read_key_text,
)

_MAX_OCTETS: Final = 16_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")
_LAW: Final = re.compile(r"[0-9A-Za-z]{1,10}")
_KINDS: Final = ("government", "commissioned")
_PATH: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:/[A-Za-z][A-Za-z0-9]*)+")
_HEARSAY: Final = (
    "seed_row",
    "legal_basis",
    "edoc_code",
    "level",
    "hs_trigger",
    "depends_on",
    "fee",
    "target_processing",
    "result_set",
    "sources",
    "note",
    "notes",
    "today",
)
_LOCATED: Final = ("id", "law_codes", "fee")


@dataclass(frozen=True, slots=True)
class InventoryOrganization:
    """One organisation of the inventory; `kind` is empty where the inventory says none."""

    code: str
    ko: str
    en: str
    kind: str
    today: str
    mark: SourceMark


@dataclass(frozen=True, slots=True)
class InventoryCommonField:
    """One common field: a path of the WCO Data Model with its cardinality (`high` None: no bound)."""

    path: str
    wco: str
    wco_format: str
    label: str
    low: int
    high: int | None
    extra: bool
    mark: SourceMark

    @property
    def is_repeated(self) -> bool:
        """Return whether there may be several values."""
        return self.high is None or self.high > 1


@dataclass(frozen=True, slots=True)
class InventoryDocument:
    """One document of the inventory, with the fields of its form."""

    id: str
    organisation: str
    direction: str
    ko: str
    en: str
    laws: tuple[str, ...]
    verified: bool
    remarks: Mapping[str, str]
    common: tuple[InventoryCommonField, ...]
    unique: tuple[InventoryField, ...]
    invariants: tuple[InventoryInvariant, ...]
    mark: SourceMark
    marks: Mapping[str, SourceMark]

    def locate_key(self, key: str) -> SourceMark:
        """Return the place of a key, that of the document where it is missing."""
        return self.marks.get(key, self.mark)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The content of an inventory: organisations, code lists with their places, and documents."""

    organisations: Mapping[str, InventoryOrganization]
    lists: Mapping[str, CodeLabels]
    list_marks: Mapping[str, SourceMark]
    documents: tuple[InventoryDocument, ...]


def read_inventory(content: bytes, file: str) -> Inventory:
    """Return the inventory in a YAML file; raise GW502 with the name `file` and the line."""
    inventory_table = read_yaml(content, file, allow_aliases=True, max_octets=_MAX_OCTETS).read_table(
        "inventory"
    )
    for key in ("meta", "sources"):
        inventory_table.get(key)
    offices: dict[str, InventoryOrganization] = {}
    node = find_given_node(inventory_table, "organisations")
    for entry in node.read_list("organisations") if node else ():
        organisation = _read_organization(entry)
        if organisation.code in offices:
            raise entry.make_error("organisations.code", "each code once", organisation.code)
        offices[organisation.code] = organisation
    lists, marks = _read_code_lists(find_given_node(inventory_table, "code_lists"))
    papers: dict[str, InventoryDocument] = {}
    for entry in inventory_table.get_required("documents").read_list("documents"):
        document = _read_document(entry)
        if document.id.lower() in papers:
            raise entry.make_error("documents.id", "each document once", document.id)
        papers[document.id.lower()] = document
    inventory_table.reject_unread_keys()
    return Inventory(offices, lists, marks, tuple(papers.values()))


def _read_identifier(table: YamlTable, key: str) -> str:
    node = table.get_required(key)
    text = node.read_text(f"{table.name}.{key}")
    if not _NAME.fullmatch(text):
        raise node.make_error(f"{table.name}.{key}", "a name of letters, digits, - _ and .", text)
    return text


def _read_organization(entry: YamlNode) -> InventoryOrganization:
    table = entry.read_table("organisations")
    code = _read_identifier(table, "code")
    ko, en = read_key_text(table, "name_ko"), read_key_text(table, "name_en")
    kind, today = _read_organisation_kind(table), read_key_text(table, "today")
    for key in ("note", "notes"):
        table.get(key)
    table.reject_unread_keys()
    return InventoryOrganization(code, ko or en or code, en or ko or code, kind, today, table.mark)


def _read_organisation_kind(table: YamlTable) -> str:
    """Return the kind of an organisation; words may follow it."""
    text = read_key_text(table, "kind")
    kind = next((kind for kind in _KINDS if text.lower().startswith(kind)), "")
    if text and not kind:
        mark = table.get_required("kind").mark
        raise mark.make_error("organisations.kind", " or ".join(_KINDS), text)
    return kind


def _read_laws(node: YamlNode, location: str) -> tuple[str, ...]:
    laws = node.read_distinct_texts(location)
    for law, entry in zip(laws, node.read_list(location), strict=True):
        if not _LAW.fullmatch(law):
            raise entry.make_error(location, "codes of laws, each of at most 10 letters and digits", law)
    return tuple(laws)


def _read_code_lists(node: YamlNode | None) -> tuple[dict[str, CodeLabels], dict[str, SourceMark]]:
    """Return the code lists and their places, by name."""
    lists: dict[str, CodeLabels] = {}
    marks: dict[str, SourceMark] = {}
    for name, value, mark in node.read_table("code_lists").take_unread_items() if node else ():
        location = f"code_lists.{name}"
        codes = read_codes(value, location)
        if not codes:
            raise mark.make_error(location, "codes with their labels", "none")
        lists[name], marks[name] = codes, mark
    return lists, marks


def _read_document(entry: YamlNode) -> InventoryDocument:
    table = entry.read_table("documents")
    document_id = _read_identifier(table, "id")
    table.name = document_id
    ko, en = read_key_text(table, "name_ko"), read_key_text(table, "name_en")
    laws = find_given_node(table, "law_codes")
    common, unique = find_given_node(table, "common"), find_given_node(table, "unique")
    remarks = {key: text for key in _HEARSAY if (text := _read_optional_text(table, key))}
    confidence = read_key_text(table, "confidence")
    direction = table.get_required("direction").read_choice(f"{document_id}.direction", ("import", "export"))
    document = InventoryDocument(
        id=document_id,
        organisation=_read_identifier(table, "organisation"),
        direction=direction,
        ko=ko or en or document_id,
        en=en or ko or document_id,
        laws=_read_laws(laws, f"{document_id}.law_codes") if laws else (),
        verified=confidence.startswith("verified"),
        remarks=remarks,
        common=_read_common_fields(common, document_id),
        unique=read_fields(unique, f"{document_id}.unique") if unique else (),
        invariants=read_invariants(table),
        mark=table.mark,
        marks={key: node.mark for key in _LOCATED if (node := find_given_node(table, key)) is not None},
    )
    for key, _, mark in table.take_unread_items():
        if not key.startswith("hs_stats"):
            raise mark.make_error(
                document_id, "a key that an inventory's document has", f"unknown key {key!r}"
            )
    return document


def _read_optional_text(table: YamlTable, key: str) -> str:
    """Return the text of a key that no mapping needs, empty where it is missing or no text."""
    node = find_given_node(table, key)
    return " ".join(node.value.split()) if node is not None and isinstance(node.value, str) else ""


def _read_common_fields(node: YamlNode | None, document_id: str) -> tuple[InventoryCommonField, ...]:
    fields: dict[str, InventoryCommonField] = {}
    for entry in node.read_list(f"{document_id}.common") if node else ():
        table = entry.read_table(f"{document_id}.common")
        path = table.get_required("path").read_text(f"{document_id}.common.path")
        if not _PATH.fullmatch(path) or not path.startswith("Declaration/"):
            raise table.mark.make_error(
                f"{document_id}.common.path", "a path of names below Declaration", path
            )
        if path in fields:
            raise table.mark.make_error(
                f"{document_id}.common.path", f"each path once ({fields[path].mark})", path
            )
        low, high = _read_cardinality(table, f"{document_id}.common.card")
        extension_node = find_given_node(table, "ext")
        fields[path] = InventoryCommonField(
            path=path,
            wco=read_key_text(table, "wco_id"),
            wco_format=read_key_text(table, "format"),
            label=read_key_text(table, "as"),
            low=low,
            high=high,
            extra=extension_node is not None
            and extension_node.read_choice(f"{document_id}.common.ext", ("true", "false")) == "true",
            mark=table.mark,
        )
        _check_wco_id(fields[path], f"{document_id}.common.wco_id")
        table.get("note")
        table.reject_unread_keys()
    return tuple(fields.values())


def _check_wco_id(common: InventoryCommonField, name: str) -> None:
    """Raise GW502 for a WCO id that is not that of the element."""
    tag = load_wco_elements().get(common.path)
    if tag is not None and common.wco and common.wco != tag.wco_id:
        raise common.mark.make_error(name, f"the id of the element, {tag.wco_id or 'none'}", common.wco)


def _read_cardinality(table: YamlTable, location: str) -> tuple[int, int | None]:
    node = find_given_node(table, "card")
    if node is None:
        return 0, 1
    return read_cardinality(node, location)
