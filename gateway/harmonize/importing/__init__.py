"""Turns an inventory of documents into a folder of mappings that a person then finishes.

No document or agency is known here: what a document is stands in the inventory, what a
common meaning is in the shipped mappings.  The result loads, builds and splits at once;
what the inventory leaves open is written as a comment and listed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable

from gateway.errors import MAPPING_WRONG, SETTINGS_WRONG, GatewayError
from gateway.harmonize.importing.asking import Finding, Form, read_form
from gateway.harmonize.importing.composing import compose
from gateway.harmonize.importing.fields import Field
from gateway.harmonize.importing.inventory import Common, Inventory, Office, Paper, read_inventory
from gateway.harmonize.importing.lists import Lists
from gateway.harmonize.importing.meanings import Known, Meanings
from gateway.harmonize.importing.merging import COLUMNS, Added, merge
from gateway.harmonize.importing.naming import snake
from gateway.harmonize.importing.trying import refused_checks
from gateway.harmonize.importing.writing import comment, csv_text, flow, scalar
from gateway.harmonize.terms.codelists import read_codelists, read_rows
from gateway.harmonize.terms.dictionary import ITEM_PATH, read_dictionary
from gateway.harmonize.terms.marks import Mark, read_yaml, wrong

__all__ = ["Finding", "Imported", "import_inventory", "merge"]

_OWN_FOLDERS = ("agencies/", "importing/", "__pycache__/")
_OWN_FILES = ("organisations.yaml", "reconciled.csv", "README.md", "__init__.py")
_KINDS = ("government", "commissioned")


@dataclass(frozen=True, slots=True)
class Imported:
    """The folder that an inventory becomes: `files` by name, `counts` by document, and what is to finish.

    `added` is what the inventory alone brings into it, to be merged into another folder.
    """

    files: Mapping[str, bytes]
    counts: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...]
    added: Added = field(default_factory=Added)


def import_inventory(
    content: bytes,
    file: str,
    shipped: Traversable,
    documents: Collection[str] = (),
    into: Traversable | None = None,
) -> Imported:
    """Return the mappings of an inventory, of all its documents or of `documents` only.

    `file` is the inventory's name in errors; `shipped` are the mappings whose dictionary
    and code lists the new ones share.  With `into`, a folder of mappings that the result is
    to be merged into, its dictionary is shared.  Raises GW502 naming file, line and field.
    """
    inventory = read_inventory(content, file)
    papers = _chosen(inventory, documents, file)
    source = _Shipped(shipped)
    lists, meanings = source.lists(inventory.lists), source.meanings(into)
    findings: list[Finding] = []
    composed, rows, counts = {}, [], {}
    for paper in papers:
        form, text = _compose(paper, lists, meanings)
        composed[f"agencies/{paper.organisation}/{paper.id}.yaml"] = text.encode()
        rows += [_row(form, number) for number in range(len(form.again))]
        findings += form.findings
        counts[paper.id] = _counts(form)
    offices = _organisations(inventory, papers, findings)
    findings += [Finding("", name, "label", text) for name, text in meanings.unfinished]
    tables = {name: text.encode() for name, text in lists.files.items()}
    entries = {
        ("organisations.yaml", "organisations"): offices,
        ("codelists.yaml", "lists"): lists.lines,
        ("common.yaml", "meanings"): meanings.lines,
    }
    files = source.copied() | composed | tables
    files["organisations.yaml"] = "\n".join(["organisations:", *offices.values(), ""]).encode()
    files["reconciled.csv"] = csv_text([COLUMNS, *rows]).encode()
    files["codelists.yaml"] = _below(files["codelists.yaml"], "lists", list(lists.lines.values()))
    files["common.yaml"] = _below(files["common.yaml"], "meanings", _added(meanings))
    added = Added(entries, composed, tables, tuple(rows))
    return Imported(dict(sorted(files.items())), counts, tuple(findings), added)


def _compose(paper: Paper, lists: Lists, meanings: Meanings) -> tuple[Form, str]:
    """Return the form and the mapping of a document; what cannot be checked is left to a person."""
    refused: dict[tuple[Mark, str], str] = {}
    while True:
        form, common = _form(paper, lists, meanings)
        text = compose(form, common, refused)
        found = refused_checks(text, lists, meanings)
        new = {form.clauses[name]: reason for name, reason in found.items() if name in form.clauses}
        if not new:
            return form, text
        refused |= new


def _chosen(inventory: Inventory, documents: Collection[str], file: str) -> list[Paper]:
    known = {paper.id: paper for paper in inventory.papers}
    for name in documents:
        if name not in known:
            shown = f"no document {name[:70]!r} in {file}; it has {', '.join(known)}"
            raise GatewayError(SETTINGS_WRONG, shown, "--documents")
    return [paper for paper in inventory.papers if not documents or paper.id in documents]


def _form(paper: Paper, lists: Lists, meanings: Meanings) -> tuple[Form, list[tuple[Common, Known]]]:
    """Return the asked fields of a document and its common ones; what no submission can say is asked."""
    common, unique, unsaid = [], list(paper.unique), []
    for one in paper.common:
        known = meanings.of(one)
        if known is None:
            unsaid.append(one)
            unique.append(_as_field(one))
        else:
            common.append((one, known))
    form = read_form(paper, tuple(unique), lists, meanings, frozenset(known.name for _, known in common))
    for one in unsaid:
        text = f"{one.path} stands neither in the declaration nor in its supplement, so it is asked for"
        form.finish(snake(one.path), "common", text)
    return form, common


def _as_field(one: Common) -> Field:
    """Return a common field that the declaration cannot hold as a field to ask for."""
    below = one.path.removeprefix(f"{ITEM_PATH}/").removeprefix("Declaration/")
    return Field(
        name=snake(below).replace(".", "_"),
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
        repeat=(one.low, one.high if one.high is not None else 99) if one.many else None,
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


def _row(form: Form, number: int) -> tuple[str, str, str, str]:
    again = form.again[number]
    return again.name, form.paper.id, f"common {again.meaning.name}", again.reason


def _counts(form: Form) -> dict[str, int]:
    keys = ("common", "asked", "reconciled", "conditions", "conditions_open", "invariants", "invariants_open")
    return {key: form.counts.get(key, 0) for key in keys} | {"to_finish": len(form.findings)}


def _organisations(inventory: Inventory, papers: list[Paper], findings: list[Finding]) -> dict[str, str]:
    """Return the entries of the organisations of `papers`, by code."""
    offices: dict[str, Office] = {}
    for paper in papers:
        office = inventory.offices.get(paper.organisation)
        if office is None:
            known = ", ".join(inventory.offices) or "none"
            raise wrong(
                paper.mark, f"{paper.id}.organisation", f"one of organisations: {known}", paper.organisation
            )
        offices[office.code] = office
    entries = {}
    for office in offices.values():
        lines: list[str] = []
        kind = next((kind for kind in _KINDS if office.kind.lower().startswith(kind)), "")
        if not kind:
            kind, text = "commissioned", f"the kind of {office.code}: {' or '.join(_KINDS)}"
            lines += comment(text, "  ")
            findings.append(Finding("", office.code, "organisation", text))
        spec = {"kind": kind, "ko": office.ko, "en": office.en}
        spec |= {"today": office.today} if office.today else {}
        entries[office.code] = "\n".join([*lines, f"  {scalar(office.code)}: {flow(spec)}"])
    return entries


def _added(meanings: Meanings) -> list[str]:
    lines = list(meanings.lines.values())
    return (
        [*comment("the Korean labels of the meanings that the inventory adds", "  "), *lines] if lines else []
    )


def _below(content: bytes, key: str, lines: list[str]) -> bytes:
    """Return a YAML file with `lines` added at the start of its table `key`."""
    head, found, rest = content.decode().partition(f"\n{key}:\n")
    if not found:
        raise GatewayError(MAPPING_WRONG, f"file: expected a line {key}: in the shipped mappings", key)
    return (head + found + "".join(f"{line}\n" for line in lines) + rest).encode()


class _Shipped:
    """The shipped mappings, as far as an import shares them."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._lists = read_codelists(read_yaml(self._read("codelists.yaml"), "codelists.yaml"), self._read)

    def _read(self, name: str) -> bytes:
        try:
            return self._folder.joinpath(*name.split("/")).read_bytes()
        except (OSError, KeyError):
            raise GatewayError(MAPPING_WRONG, f"file: expected {name}, found none", name) from None

    def lists(self, own: Mapping[str, Mapping[str, str]]) -> Lists:
        """Return the code lists of an import that has lists of its `own`."""
        rows = self._table("standard-lists.csv", ("words", "list", "open"))
        standards = {words: (name, pattern) for words, name, pattern in rows}
        stems = [name.rpartition("/")[2].rpartition(".")[0] for name in self._names() if "/" in name]
        return Lists(self._lists, own, standards, frozenset(stems))

    def meanings(self, into: Traversable | None) -> Meanings:
        """Return the common meanings, those of `into` where given, and the fields that ask them again."""
        other = self if into is None else _Shipped(into)
        dictionary = read_dictionary(read_yaml(other._read("common.yaml"), "common.yaml"), other._lists)
        rows = self._table("same-as.csv", ("field", "meaning", "reason"))
        return Meanings(dictionary, {field: (meaning, reason) for field, meaning, reason in rows})

    def _table(self, name: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
        return read_rows(self._read(f"importing/{name}"), f"importing/{name}", columns)

    def copied(self) -> dict[str, bytes]:
        """Return the files that every folder of mappings has."""
        return {name: self._read(name) for name in self._names()}

    def _names(self) -> list[str]:
        names = [name for name in _walk(self._folder, "") if not name.startswith(_OWN_FOLDERS)]
        return sorted(name for name in names if name not in _OWN_FILES)


def _walk(folder: Traversable, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, f"{name}/")
        elif not entry.name.startswith("."):
            yield name
