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
from gateway.harmonize import read_numbered_rows
from gateway.wire import YamlNode, read_yaml, shorten_text
from gateway_workbench.importer.written_names import write_csv

#: The columns of reconciled.csv in the order of an import.
COLUMNS: Final = ("field", "document", "decision", "reason")
_RECONCILED: Final = "reconciled.csv"
_MAX_CHARACTERS: Final = 160
_BEFORE: Final = 40


@dataclass(frozen=True, slots=True)
class FolderTable:
    """A table at the top of a YAML file in a folder of mappings: the name of the file, and its key there."""

    file: str
    key: str


@dataclass(frozen=True, slots=True)
class AddedEntries:
    """The additions of an inventory: entries of tables, documents, code lists, decisions.

    `entries` are lines of YAML by the name of the entry, `documents` and `tables` are contents
    by file, `rows` have the columns of reconciled.csv.
    """

    entries: Mapping[FolderTable, Mapping[str, str]] = field(default_factory=dict)
    documents: Mapping[str, bytes] = field(default_factory=dict)
    tables: Mapping[str, bytes] = field(default_factory=dict)
    rows: tuple[tuple[str, str, str, str], ...] = ()


def merge_folder(
    added: AddedEntries, existing_files: Mapping[str, bytes], *, replace: bool = False
) -> dict[str, bytes]:
    """Return the changed files of the folder `existing_files`, with the `added` entries at their ends.

    An equal entry is left unchanged.  A different one is rejected (GW808) with both texts, or
    replaced where `replace` is set.
    """
    files: dict[str, bytes] = {}
    for table, entries in added.entries.items():
        content = existing_files.get(table.file, f"{table.key}:\n".encode())
        files[table.file] = _add_entries(content, table, entries, replace)
    for name, content in added.tables.items():
        if name in existing_files and not replace:
            _check_same_content(name, existing_files[name], content)
        files[name] = content
    for name, content in added.documents.items():
        file_name = _find_document_file(name, content, existing_files)
        if file_name in existing_files and not replace:
            _check_same_content(file_name, existing_files[file_name], content)
        files[file_name] = content
    files[_RECONCILED] = _add_reconciliation_rows(
        existing_files.get(_RECONCILED, write_csv([COLUMNS]).encode()), added, replace
    )
    return {name: content for name, content in files.items() if existing_files.get(name) != content}


def _make_conflict_error(location: str, old: str, new: str) -> GatewayError:
    texts = [" ".join(text.split()) for text in (old, new)]
    # Long texts are shown from a little before the place where they differ.
    common_length = sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False))
    )
    start = common_length - _BEFORE
    if start > 0 and max(map(len, texts)) > _MAX_CHARACTERS:
        texts = ["…" + text[start:] for text in texts]
    old, new = (shorten_text(text, _MAX_CHARACTERS) for text in texts)
    detail = f"{location} says {old}, the inventory {new}; --replace puts that in its place"
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
    old_text, new_text = (
        "nothing more" if line is None else repr(line) for line in (pair if bare[0] == bare[1] else bare)
    )
    raise _make_conflict_error(f"{name}:{number}", old_text, new_text)


def _find_document_file(name: str, content: bytes, existing_files: Mapping[str, bytes]) -> str:
    """Return the file that already holds a document, else `name`; raise GW808 if another document has it."""
    document_id = _read_document_id(content, name)
    files_by_document = {
        _read_document_id(old, file_name): file_name
        for file_name, old in existing_files.items()
        if file_name.startswith("agencies/") and file_name.endswith(".yaml")
    }
    if document_id in files_by_document:
        return files_by_document[document_id]
    holder = {file_name.lower(): file_name for file_name in existing_files}.get(name.lower())
    if holder is not None:
        old = _read_document_id(existing_files[holder], holder)
        raise GatewayError(MISUSE, f"{holder} holds {old}, so {document_id} has no place", "--out")
    return name


def _read_document_id(content: bytes, name: str) -> str:
    node = read_yaml(content, name).value
    id_node = node.get("document") if isinstance(node, dict) else None
    return id_node.value if id_node is not None and isinstance(id_node.value, str) else ""


def _add_entries(content: bytes, table: FolderTable, entries: Mapping[str, str], replace: bool) -> bytes:
    """Return a YAML file with `entries` at the end of one of its tables."""
    old_entries = _read_table(content, table)
    fresh = "".join(f"{text}\n" for text in entries.values())
    new = _read_table(f"{table.key}:\n{fresh}".encode(), table) if entries else {}
    changed_keys = [
        key for key in new if key in old_entries and strip_places(old_entries[key]) != strip_places(new[key])
    ]
    lines = re.findall(r"[^\n]*\n|[^\n]+", content.decode())
    for key in changed_keys:
        start, end, indent = _find_entry_extent(lines, table, key)
        if not replace:
            raise _make_conflict_error(
                f"{table.file}:{start + 1}", "".join(lines[start:end]), entries[key].splitlines()[-1]
            )
        lines[_find_comment_start(lines, start) : end] = _indent_text(entries[key], indent)
    new_texts = [text for key, text in entries.items() if key not in old_entries]
    if new_texts:
        _append_entries(lines, table, new_texts)
    merged = "".join(lines).encode()
    expected = {key: strip_places(node) for key, node in (old_entries | new).items()}
    if {key: strip_places(node) for key, node in _read_table(merged, table).items()} != expected:
        raise _make_unmergeable_error(table)
    return merged


def _make_unmergeable_error(table: FolderTable) -> GatewayError:
    detail = f"{table.file}: entries can be added only where {table.key}: stands alone on its line above them"
    return GatewayError(MISUSE, detail, "--out")


def _read_table(content: bytes, table: FolderTable) -> dict[str, YamlNode]:
    root = read_yaml(content, table.file).value
    node = root.get(table.key) if isinstance(root, dict) else None
    if node is not None and isinstance(node.value, dict):
        return dict(node.value)
    return {}


def strip_places(node: YamlNode) -> object:
    """Return the content of a node without its marks."""
    if isinstance(node.value, str):
        return node.value
    if isinstance(node.value, list):
        return [strip_places(entry) for entry in node.value]
    return {key: strip_places(value) for key, value in node.value.items()}


def _find_table_bounds(lines: list[str], table: FolderTable) -> tuple[int, int, str]:
    """Return the first and the last line of a table's entries, and their indent."""
    head = re.compile(rf"{re.escape(table.key)}:\s*(?:#.*)?")
    start = next((n for n, line in enumerate(lines, 1) if head.fullmatch(line.rstrip())), None)
    if start is None:
        raise _make_unmergeable_error(table)
    stop = next((n for n in range(start, len(lines)) if re.match(r"[^\s#]", lines[n])), len(lines))
    while stop > start and not re.match(r"\s+[^\s]", lines[stop - 1]):
        stop -= 1
    indents = (re.match(r"( +)[^\s#]", line) for line in lines[start:stop])
    return start, stop, next((match[1] for match in indents if match), "  ")


def _indent_text(text: str, indent: str) -> list[str]:
    return [indent + line.removeprefix("  ") + "\n" for line in text.split("\n")]


def _find_comment_start(lines: list[str], start: int) -> int:
    """Return the line of the comment about work that is left which an import wrote above an entry.

    It is `start`, the key line of the entry, where there is none; comments of others remain.
    """
    first = start
    while first > 0 and lines[first - 1].lstrip().startswith("#   "):
        first -= 1
    return first - 1 if first > 0 and lines[first - 1].lstrip().startswith("# to finish: ") else start


def _append_entries(lines: list[str], table: FolderTable, entries: list[str]) -> None:
    _, stop, indent = _find_table_bounds(lines, table)
    if lines[stop - 1] and not lines[stop - 1].endswith("\n"):
        lines[stop - 1] += "\n"
    lines[stop:stop] = [line for text in entries for line in _indent_text(text, indent)]


def _find_entry_extent(lines: list[str], table: FolderTable, key: str) -> tuple[int, int, str]:
    """Return the lines of one entry of a table: from its key to the next entry or comment."""
    start, stop, indent = _find_table_bounds(lines, table)
    key_spellings = (key, f'"{key}"', f"'{key}'")
    first = next(
        (
            n
            for n in range(start, stop)
            if lines[n].startswith(tuple(f"{indent}{key_spelling}:" for key_spelling in key_spellings))
        ),
        None,
    )
    if first is None:
        raise _make_unmergeable_error(table)
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
    texts, seen = [], set()
    for number, (row, text) in enumerate(parts):
        old_row = dict(zip(head, row, strict=False)) if number else {}
        key = (old_row.get("document", ""), old_row.get("field", ""))
        new_row = new.get(key)
        seen.add(key)
        if new_row is not None and any(
            old_row.get(column) != " ".join(new_row[column].split()) for column in COLUMNS
        ):
            if not replace:
                descriptions = (", ".join(map(str, decision.values())) for decision in (old_row, new_row))
                raise _make_conflict_error(f"{_RECONCILED}, {key[0]} {key[1]},", *descriptions)
            text = write_csv([[new_row.get(column, "") for column in head]])
        texts.append(text)
    if texts and not texts[-1].endswith("\n"):
        texts[-1] += "\n"
    fresh = [[row.get(column, "") for column in head] for key, row in new.items() if key not in seen]
    if not fresh and "".join(texts) == "".join(lines):
        return content
    return start + ("".join(texts) + write_csv(fresh)).encode()
