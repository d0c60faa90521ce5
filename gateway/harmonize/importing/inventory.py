"""Reads an inventory: organisations, code lists and documents with their fields, as a study lists them.

The loader is strict about keys and types and lenient about what is left out.  An error
(GW502) names file, line and field.  A value ``null`` or nothing counts as left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.importing.fields import (
    Field,
    Invariant,
    given,
    read_card,
    read_fields,
    read_invariants,
    text_of_key,
)
from gateway.harmonize.terms.marks import Mark, Node, Table, read_yaml, wrong
from gateway.wire.pointers import tags

__all__ = ["Common", "Inventory", "Office", "Paper", "read_inventory"]

_LARGEST: Final = 16_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")
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


@dataclass(frozen=True, slots=True)
class Office:
    """One organisation of the inventory."""

    code: str
    ko: str
    en: str
    kind: str
    today: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Common:
    """One common field: a path of the WCO Data Model with its cardinality (`high` None: no bound)."""

    path: str
    wco: str
    form: str
    label: str
    low: int
    high: int | None
    extra: bool
    mark: Mark

    @property
    def many(self) -> bool:
        """Return whether there may be several values."""
        return self.high is None or self.high > 1


@dataclass(frozen=True, slots=True)
class Paper:
    """One document of the inventory, as the form has it."""

    id: str
    organisation: str
    direction: str
    ko: str
    en: str
    laws: tuple[str, ...]
    verified: bool
    remarks: Mapping[str, str]
    common: tuple[Common, ...]
    unique: tuple[Field, ...]
    invariants: tuple[Invariant, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that an inventory says."""

    offices: Mapping[str, Office]
    lists: Mapping[str, Mapping[str, str]]
    papers: tuple[Paper, ...]


def read_inventory(content: bytes, file: str) -> Inventory:
    """Return the inventory that a YAML file holds; `file` is the name that errors show."""
    top = read_yaml(content, file, aliases=True, largest=_LARGEST).table("inventory")
    for key in ("meta", "sources"):
        top.get(key)
    offices: dict[str, Office] = {}
    node = given(top, "organisations")
    for entry in node.items("organisations") if node else ():
        office = _read_office(entry)
        if office.code in offices:
            raise wrong(entry.mark, "organisations.code", "each code once", office.code)
        offices[office.code] = office
    lists = _read_lists(given(top, "code_lists"))
    papers: dict[str, Paper] = {}
    for entry in top.need("documents").items("documents"):
        paper = _read_paper(entry)
        if paper.id.lower() in papers:
            raise wrong(entry.mark, "documents.id", "each document once", paper.id)
        papers[paper.id.lower()] = paper
    top.close()
    return Inventory(offices, lists, tuple(papers.values()))


def _name(table: Table, key: str) -> str:
    node = table.need(key)
    text = node.text(f"{table.name}.{key}")
    if not _NAME.fullmatch(text):
        raise wrong(node.mark, f"{table.name}.{key}", "a name of letters, digits, - _ and .", text)
    return text


def _read_office(entry: Node) -> Office:
    table = entry.table("organisations")
    code = _name(table, "code")
    ko, en = text_of_key(table, "name_ko"), text_of_key(table, "name_en")
    kind, today = text_of_key(table, "kind"), text_of_key(table, "today")
    for key in ("note", "notes"):
        table.get(key)
    table.close()
    return Office(code, ko or en or code, en or ko or code, kind, today, table.mark)


def _read_lists(node: Node | None) -> dict[str, dict[str, str]]:
    lists = {}
    for name, value, mark in node.table("code_lists").rest() if node else ():
        where = f"code_lists.{name}"
        if isinstance(value.value, list):
            codes = {code: code for code in value.texts(where)}
        else:
            codes = {code: _label(entry, code, where) for code, entry, _ in value.table(where).rest()}
        bad = next((code for code in codes if not code or code != " ".join(code.split())), None)
        if not codes or bad is not None:
            raise wrong(
                mark, where, "codes without white space at their ends", repr(bad) if codes else "none"
            )
        lists[name] = codes
    return lists


def _label(node: Node, code: str, where: str) -> str:
    """Return the label of a code, the code itself where it has none."""
    if not isinstance(node.value, str):
        raise wrong(node.mark, where, "a text as the label of a code", node.show())
    return " ".join(node.value.split()) or code


def _read_paper(entry: Node) -> Paper:
    table = entry.table("documents")
    name = _name(table, "id")
    table.name = name
    ko, en = text_of_key(table, "name_ko"), text_of_key(table, "name_en")
    laws = given(table, "law_codes")
    common, unique = given(table, "common"), given(table, "unique")
    remarks = {key: text for key in _HEARSAY if (text := _hearsay(table, key))}
    confidence = text_of_key(table, "confidence")
    direction = table.need("direction").one_of(f"{name}.direction", ("import", "export"))
    paper = Paper(
        id=name,
        organisation=_name(table, "organisation"),
        direction=direction,
        ko=ko or en or name,
        en=en or ko or name,
        laws=tuple(laws.texts(f"{name}.law_codes")) if laws else (),
        verified=confidence.startswith("verified"),
        remarks=remarks,
        common=_read_common(common, name),
        unique=read_fields(unique, f"{name}.unique") if unique else (),
        invariants=read_invariants(table),
        mark=table.mark,
    )
    for key, _, mark in table.rest():
        if not key.startswith("hs_stats"):
            raise wrong(mark, name, "a key that an inventory's document has", f"unknown key {key!r}")
    return paper


def _hearsay(table: Table, key: str) -> str:
    """Return what stands under a key that no mapping needs, when it is one text."""
    node = given(table, key)
    return " ".join(node.value.split()) if node is not None and isinstance(node.value, str) else ""


def _read_common(node: Node | None, name: str) -> tuple[Common, ...]:
    found: dict[str, Common] = {}
    for entry in node.items(f"{name}.common") if node else ():
        table = entry.table(f"{name}.common")
        path = table.need("path").text(f"{name}.common.path")
        if not _PATH.fullmatch(path) or not path.startswith("Declaration/"):
            raise wrong(table.mark, f"{name}.common.path", "a path of names below Declaration", path)
        if path in found:
            raise wrong(table.mark, f"{name}.common.path", f"each path once ({found[path].mark})", path)
        low, high = _read_card(table, f"{name}.common.card")
        extra = given(table, "ext")
        found[path] = Common(
            path=path,
            wco=text_of_key(table, "wco_id"),
            form=text_of_key(table, "format"),
            label=text_of_key(table, "as"),
            low=low,
            high=high,
            extra=extra is not None and extra.one_of(f"{name}.common.ext", ("true", "false")) == "true",
            mark=table.mark,
        )
        _demand_id(found[path], f"{name}.common.wco_id")
        table.get("note")
        table.close()
    return tuple(found.values())


def _demand_id(common: Common, name: str) -> None:
    """Refuse a WCO id that is not that of the element."""
    tag = tags().get(common.path)
    if tag is not None and common.wco and common.wco != tag.wco_id:
        raise wrong(common.mark, name, f"the id of the element, {tag.wco_id or 'none'}", common.wco)


def _read_card(table: Table, name: str) -> tuple[int, int | None]:
    node = given(table, "card")
    if node is None:
        return 0, 1
    return read_card(node, name)
