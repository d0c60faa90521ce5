"""Merges the result of an import into a folder of mappings; existing entries remain, new ones are added."""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import MISUSE, GatewayError
from gateway.harmonize.importer.yaml_writer import write_csv
from gateway.harmonize.types import YamlNode, read_numbered_rows, read_yaml, shorten_text

__all__ = ["COLUMNS", "AddedEntries", "merge_folder"]

#: The columns of reconciled.csv in the order of an import.
COLUMNS: Final = ("field", "document", "decision", "reason")
_RECONCILED: Final = "reconciled.csv"
_SHOWN: Final = 160
_BEFORE: Final = 40


@dataclass(frozen=True, slots=True)
class AddedEntries:
    """The additions of an inventory: entries of tables by (file, table), documents, code lists, decisions.

    `entries` are lines of YAML by the name of the entry, `documents` and `tables` are contents
    by file, `rows` have the columns of reconciled.csv.
    """

    entries: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    documents: Mapping[str, bytes] = field(default_factory=dict)
    tables: Mapping[str, bytes] = field(default_factory=dict)
    rows: tuple[tuple[str, str, str, str], ...] = ()


def merge_folder(
    added: AddedEntries, there: Mapping[str, bytes], *, replace: bool = False
) -> dict[str, bytes]:
    """Return the changed files of the folder `there`, with the `added` entries at their ends.

    An equal entry is left unchanged.  A different one is rejected (GW808) with both texts, or
    replaced where `replace` is set.
    """
    files: dict[str, bytes] = {}
    for (name, table), entries in added.entries.items():
        files[name] = _add_entries(there.get(name, f"{table}:\n".encode()), (name, table), entries, replace)
    for name, content in added.tables.items():
        if name in there and not replace:
            _check_same_content(name, there[name], content)
        files[name] = content
    for name, content in added.documents.items():
        place = _find_document_file(name, content, there)
        if place in there and not replace:
            _check_same_content(place, there[place], content)
        files[place] = content
    files[_RECONCILED] = _add_reconciliation_rows(
        there.get(_RECONCILED, write_csv([COLUMNS]).encode()), added, replace
    )
    return {name: content for name, content in files.items() if there.get(name) != content}


def _make_conflict_error(what: str, old: str, new: str) -> GatewayError:
    shown = [" ".join(text.split()) for text in (old, new)]
    # Long texts are shown from a little before the place where they differ.
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*shown, strict=False)))
    start = alike - _BEFORE
    if start > 0 and max(map(len, shown)) > _SHOWN:
        shown = ["…" + text[start:] for text in shown]
    old, new = (shorten_text(text, _SHOWN) for text in shown)
    detail = f"{what} says {old}, the inventory {new}; --replace puts that in its place"
    return GatewayError(MISUSE, detail, "--out")


def _check_same_content(name: str, old: bytes, new: bytes) -> None:
    """Raise GW808 for a file with other content; the message has the first lines that differ."""
    if old == new:
        return
    before, after = (content.decode("utf-8", "replace").splitlines(keepends=True) for content in (old, new))
    pairs = itertools.zip_longest(before, after)
    number, pair = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    # The ends of lines are shown only where nothing else differs.
    bare = [line if line is None else line.rstrip("\r\n") for line in pair]
    left, right = (
        "nothing more" if line is None else repr(line) for line in (pair if bare[0] == bare[1] else bare)
    )
    raise _make_conflict_error(f"{name}:{number}", left, right)


def _find_document_file(name: str, content: bytes, there: Mapping[str, bytes]) -> str:
    """Return the file that already holds a document, else `name`; raise GW808 if another document has it."""
    wanted = _read_document_id(content, name)
    known = {
        _read_document_id(old, other): other
        for other, old in there.items()
        if other.startswith("agencies/") and other.endswith(".yaml")
    }
    if wanted in known:
        return known[wanted]
    taken = {other.lower(): other for other in there}.get(name.lower())
    if taken is not None:
        old = _read_document_id(there[taken], taken)
        raise GatewayError(MISUSE, f"{taken} holds {old}, so {wanted} has no place", "--out")
    return name


def _read_document_id(content: bytes, name: str) -> str:
    node = read_yaml(content, name).value
    said = node.get("document") if isinstance(node, dict) else None
    return said.value if said is not None and isinstance(said.value, str) else ""


def _add_entries(content: bytes, where: tuple[str, str], entries: Mapping[str, str], replace: bool) -> bytes:
    """Return a YAML file with `entries` at the end of one of its tables."""
    name, table = where
    old = _read_table(content, where)
    fresh = "".join(f"{text}\n" for text in entries.values())
    new = _read_table(f"{table}:\n{fresh}".encode(), where) if entries else {}
    unlike = [key for key in new if key in old and strip_places(old[key]) != strip_places(new[key])]
    lines = re.findall(r"[^\n]*\n|[^\n]+", content.decode())
    for key in unlike:
        start, end, indent = _find_entry_extent(lines, where, key)
        if not replace:
            raise _make_conflict_error(
                f"{name}:{start + 1}", "".join(lines[start:end]), entries[key].splitlines()[-1]
            )
        lines[start:end] = _indent_text(entries[key], indent)
    wanted = [text for key, text in entries.items() if key not in old]
    if wanted:
        _append_entries(lines, where, wanted)
    made = "".join(lines).encode()
    expected = {key: strip_places(node) for key, node in (old | new).items()}
    if {key: strip_places(node) for key, node in _read_table(made, where).items()} != expected:
        raise _make_unmergeable_error(where)
    return made


def _make_unmergeable_error(where: tuple[str, str]) -> GatewayError:
    detail = f"{where[0]}: entries can be added only where {where[1]}: stands alone on its line above them"
    return GatewayError(MISUSE, detail, "--out")


def _read_table(content: bytes, where: tuple[str, str]) -> dict[str, YamlNode]:
    name, table = where
    root = read_yaml(content, name).value
    node = root.get(table) if isinstance(root, dict) else None
    if node is not None and isinstance(node.value, dict):
        return dict(node.value)
    return {}


def strip_places(node: YamlNode) -> object:
    """Return the content of a node without its marks."""
    if isinstance(node.value, str):
        return node.value
    if isinstance(node.value, list):
        return [strip_places(one) for one in node.value]
    return {key: strip_places(one) for key, one in node.value.items()}


def _find_table_bounds(lines: list[str], where: tuple[str, str]) -> tuple[int, int, str]:
    """Return the first and the last line of a table's entries, and their indent."""
    head = re.compile(rf"{re.escape(where[1])}:\s*(?:#.*)?")
    start = next((n for n, line in enumerate(lines, 1) if head.fullmatch(line.rstrip())), None)
    if start is None:
        raise _make_unmergeable_error(where)
    stop = next((n for n in range(start, len(lines)) if re.match(r"[^\s#]", lines[n])), len(lines))
    while stop > start and not re.match(r"\s+[^\s]", lines[stop - 1]):
        stop -= 1
    found = (re.match(r"( +)[^\s#]", line) for line in lines[start:stop])
    return start, stop, next((match[1] for match in found if match), "  ")


def _indent_text(text: str, indent: str) -> list[str]:
    return [indent + line.removeprefix("  ") + "\n" for line in text.split("\n")]


def _append_entries(lines: list[str], where: tuple[str, str], entries: list[str]) -> None:
    _, stop, indent = _find_table_bounds(lines, where)
    if lines[stop - 1] and not lines[stop - 1].endswith("\n"):
        lines[stop - 1] += "\n"
    lines[stop:stop] = [line for text in entries for line in _indent_text(text, indent)]


def _find_entry_extent(lines: list[str], where: tuple[str, str], key: str) -> tuple[int, int, str]:
    """Return the lines of one entry of a table: from its key to the next entry or comment."""
    start, stop, indent = _find_table_bounds(lines, where)
    forms = (key, f'"{key}"', f"'{key}'")
    first = next(
        (n for n in range(start, stop) if lines[n].startswith(tuple(f"{indent}{one}:" for one in forms))),
        None,
    )
    if first is None:
        raise _make_unmergeable_error(where)
    end = first + 1
    while end < stop and re.match(rf"{indent}\s+[^\s#]", lines[end]):
        end += 1
    return first, end, indent


def _add_reconciliation_rows(content: bytes, added: AddedEntries, replace: bool) -> bytes:
    """Return reconciled.csv with the missing decisions about fields, in the order of its columns."""
    read_numbered_rows(content, _RECONCILED, ("document", "field", "decision", "reason"))
    start = content[:3] if content.startswith(codecs.BOM_UTF8) else b""
    lines = re.findall(r"[^\n]*\n|[^\n]+", content.decode("utf-8-sig"))
    reader, at, parts = csv.reader(lines), 0, []
    for row in reader:
        parts.append((row, "".join(lines[at : reader.line_num])))
        at = reader.line_num
    head = parts[0][0] if parts else list(COLUMNS)
    new = {(row[1], row[0]): dict(zip(COLUMNS, row, strict=True)) for row in added.rows}
    kept, seen = [], set()
    for number, (row, text) in enumerate(parts):
        said = dict(zip(head, row, strict=False)) if number else {}
        key = (said.get("document", ""), said.get("field", ""))
        wanted = new.get(key)
        seen.add(key)
        if wanted is not None and any(said.get(one) != " ".join(wanted[one].split()) for one in COLUMNS):
            if not replace:
                told = (", ".join(map(str, one.values())) for one in (said, wanted))
                raise _make_conflict_error(f"{_RECONCILED}, {key[0]} {key[1]},", *told)
            text = write_csv([[wanted.get(one, "") for one in head]])
        kept.append(text)
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    fresh = [[row.get(one, "") for one in head] for key, row in new.items() if key not in seen]
    if not fresh and "".join(kept) == "".join(lines):
        return content
    return start + ("".join(kept) + write_csv(fresh)).encode()
