"""Code lists: versioned, with a declared direction; an unknown code is an error, never passed on."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError
from gateway.harmonize.marks import Mark, Node, Table, wrong
from gateway.harmonize.shapes import is_pattern

__all__ = ["CodeList", "read_codelists", "read_pattern", "read_rows"]

_DIRECTIONS: Final = ("both", "forward")


@dataclass(frozen=True, slots=True)
class CodeList:
    """One list of codes, with a translation where it has one.

    `direction` ``both`` says that the translation is one to one and can be read back;
    ``forward`` says that it loses what it translates.  An open list accepts any code of
    its `pattern`; its rows are the codes we happen to know.
    """

    name: str
    version: str
    source: str
    codes: tuple[str, ...]
    pattern: str | None
    to: Mapping[str, str] | None
    direction: str
    mark: Mark

    def translate(self, code: str) -> str | None:
        """Return what `code` becomes, None when the list does not know it."""
        return None if self.to is None else self.to.get(code)


def read_codelists(registry: Node, read: Callable[[str], bytes]) -> dict[str, CodeList]:
    """Return the lists of `registry`, their rows fetched by `read`."""
    top = registry.table("codelists")
    lists = top.need("lists").table("lists")
    top.close()
    return {name: _read_list(name, node.table(name), mark, read) for name, node, mark in lists.rest()}


def _read_list(name: str, table: Table, mark: Mark, read: Callable[[str], bytes]) -> CodeList:
    file, key, to = table.text("file"), table.text("key"), table.text("to")
    direction_node = table.get("direction")
    direction = direction_node.one_of("direction", _DIRECTIONS) if direction_node else "both"
    pattern = table.text("open") or None
    version, source = table.need("version").text("version"), table.need("source").text("source")
    table.close()
    if bool(to) != (direction_node is not None):
        raise wrong(mark, name, "a direction exactly where there is a translation (to)", direction)
    if pattern is not None and not is_pattern(pattern):
        raise wrong(mark, name, "a row of characters and classes with counts, as [A-Z]{2}", pattern)
    if bool(file) != bool(key) or not (file or pattern):
        raise wrong(mark, name, "a file with a key, or an open pattern", file or key or "neither")
    rows = read_rows(_fetch(file, read, mark), file, (key, to) if to else (key,)) if file else []
    codes = tuple(dict.fromkeys(row[0] for row in rows))
    if len(codes) != len(rows):
        raise wrong(mark, name, f"each code of {file} once", f"{len(rows) - len(codes)} repeated")
    translation = {row[0]: row[1] for row in rows if row[1]} if to else None
    if translation is not None and direction == "both" and len(set(translation.values())) != len(translation):
        raise wrong(
            mark, name, "a translation that is one to one (direction both)", "two codes with one meaning"
        )
    return CodeList(name, version, source, codes, pattern, translation, direction, mark)


def _fetch(file: str, read: Callable[[str], bytes], mark: Mark) -> bytes:
    try:
        return read(file)
    except GatewayError:
        raise wrong(mark, "file", "a file of the bundle", file) from None


def read_rows(content: bytes, file: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the `columns` of a table in CSV; the first of them may not be empty."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True)
        table = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise wrong(Mark(file, 1), "code list", "a UTF-8 table", str(error)) from None
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise wrong(
            Mark(file, 1), "code list", f"the column {missing[0]!r}", ", ".join(reader.fieldnames or ())
        )
    rows = []
    for number, row in enumerate(table, 2):
        values = tuple(row[column] or "" for column in columns)
        if not values[0]:
            raise wrong(Mark(file, number), "code list", "a code", "nothing")
        rows.append(values)
    return rows


def read_pattern(table: Table) -> str | None:
    """Return the key ``pattern`` of a table, None when it has none."""
    node = table.get("pattern")
    if node is None:
        return None
    text = node.text("pattern")
    if not is_pattern(text):
        raise wrong(node.mark, "pattern", "a row of characters and classes with counts, as [A-Z]{2}", text)
    return text
