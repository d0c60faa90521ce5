"""Code lists: versioned, with a declared direction; an unknown code is an error and is not forwarded."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.errors import GatewayError
from gateway.harmonize.types.strict_yaml import (
    SourceMark,
    YamlNode,
    YamlTable,
    find_invalid_xml_character,
    locate_octet,
    make_mapping_error,
)
from gateway.harmonize.types.value_shapes import is_simple_pattern

__all__ = ["CodeList", "read_code_lists", "read_csv_rows", "read_numbered_rows", "read_pattern"]

_DIRECTIONS: Final = ("both", "forward")
_ATOM: Final = re.compile(r"(\[[^]]*\]|\([^)]*\)|.)(\{[0-9,]+\})?")


@dataclass(frozen=True, slots=True)
class CodeList:
    """One list of codes, with a translation where it has one.

    With `direction` ``both`` the translation is one to one and can be read back; with
    ``forward`` it cannot.  `pairs` translates a code together with a value beside it (then
    `to` is None); ``both`` is then one to one for each such value.  An open list accepts any
    code of its `pattern`; its rows are the known codes.  `known` is the set of `codes`, for
    look-ups.  `labels` are the Korean and English words for a code, from the columns ``ko``
    and ``en``. `spaced` are the codes that begin or end with a space, each with its row.
    """

    name: str
    version: str
    source: str
    codes: tuple[str, ...]
    pattern: str | None
    to: Mapping[str, str] | None
    direction: str
    mark: SourceMark
    pairs: Mapping[tuple[str, str], str] | None = None
    inverse: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    known: frozenset[str] = field(default=frozenset(), repr=False)
    spaced: tuple[tuple[str, SourceMark], ...] = field(default=(), repr=False)

    @property
    def translation_note(self) -> str:
        """Return how a translation by the list is told: its name and version."""
        return f"via {self.name}@{self.version}"

    @property
    def result_codes(self) -> tuple[str, ...]:
        """Return every code that a translation by the list can give, sorted."""
        return tuple(sorted(set((self.to or self.pairs or {}).values())))

    def translate_code(self, code: str, beside: str = "") -> str | None:
        """Return the translation of `code`, None for an unknown code.

        A list with two key columns also needs the value `beside` the code.
        """
        if self.pairs is not None:
            return self.pairs.get((code, beside))
        return None if self.to is None else self.to.get(code)

    def list_codes_beside(self, beside: str) -> tuple[str, ...]:
        """Return the known codes; with two key columns those that stand with the value `beside`."""
        if self.pairs is None:
            return self.codes
        return tuple(code for code, other in self.pairs if other == beside)

    def invert_code(self, text: str, beside: str | None = None) -> str | None:
        """Return the one code that is translated to `text`; None where there is none, or several.

        None also for the direction ``forward``.  With two key columns and no `beside`, the code
        must be the same for all values that could stand beside it.
        """
        if self.direction != "both":
            return None
        if self.to is not None:
            return self.inverse.get(text)
        pairs = (self.pairs or {}).items()
        codes = {code for (code, other), result in pairs if result == text and beside in (None, other)}
        return codes.pop() if len(codes) == 1 else None


def read_code_lists(registry: YamlNode, read: Callable[[str], bytes]) -> dict[str, CodeList]:
    """Return the lists of `registry`; `read` returns the content of a file."""
    top = registry.read_table("codelists")
    lists = top.get_required("lists").read_table("lists")
    top.get("units")
    top.reject_unread_keys()
    return {
        name: _read_code_list(name, node.read_table(name), mark, read)
        for name, node, mark in lists.take_unread_items()
    }


def _read_code_list(name: str, table: YamlTable, mark: SourceMark, read: Callable[[str], bytes]) -> CodeList:
    file, keys, to = table.read_text("file"), _read_key_columns(table), table.read_text("to")
    direction_node = table.get("direction")
    direction = direction_node.read_choice("direction", _DIRECTIONS) if direction_node else "both"
    pattern = table.read_text("open") or None
    version, source = (
        table.get_required("version").read_text("version"),
        table.get_required("source").read_text("source"),
    )
    table.reject_unread_keys()
    if bool(to) != (direction_node is not None):
        raise make_mapping_error(
            mark, name, "a direction exactly where there is a translation (to)", direction
        )
    if len(keys) == 2 and not to:
        raise make_mapping_error(mark, name, "a translation (to) where there are two key columns", "none")
    if pattern is not None and not is_simple_pattern(pattern):
        raise make_mapping_error(
            mark, name, "a row of characters and classes with counts, as [A-Z]{2}", pattern
        )
    if bool(file) != bool(keys) or not (file or pattern):
        raise make_mapping_error(
            mark, name, "a file with a key, or an open pattern", file or " ".join(keys) or "neither"
        )
    rows = read_csv_rows(_read_list_file(file, read, mark), file, (*keys, to) if to else keys) if file else []
    codes = _collect_distinct_codes(name, rows, keys, (file, mark))
    known = frozenset(codes)
    made = CodeList(name, version, source, codes, pattern, None, direction, mark, known=known)
    if file:
        made = replace(
            made, labels=_read_labels(read(file), keys[0]), spaced=_find_spaced_codes(read(file), file, keys)
        )
    return _add_translation(made, rows, len(keys)) if to else made


def _read_labels(content: bytes, key: str) -> dict[str, tuple[str, str]]:
    """Return the labels of each code where the table has the columns ``ko`` and ``en``."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    if not {"ko", "en"} <= set(rows.fieldnames or ()):
        return {}
    return {str(row[key]): (str(row["ko"] or ""), str(row["en"] or "")) for row in rows}


def _find_spaced_codes(
    content: bytes, file: str, keys: tuple[str, ...]
) -> tuple[tuple[str, SourceMark], ...]:
    """Return the codes that begin or end with a space, each with its row."""
    rows = read_numbered_rows(content, file, keys)
    return tuple((code, SourceMark(file, line)) for line, row in rows for code in row if code != code.strip())


def _read_key_columns(table: YamlTable) -> tuple[str, ...]:
    node = table.get("key")
    if node is None:
        return ()
    if isinstance(node.value, str):
        return (node.read_text("key"),)
    keys = tuple(node.read_distinct_texts("key"))
    if len(keys) != 2:
        raise make_mapping_error(
            node.mark, "key", "one column, or two: [code, beside]", f"{len(keys)} of them"
        )
    return keys


def _collect_distinct_codes(
    name: str, rows: list[tuple[str, ...]], keys: tuple[str, ...], where: tuple[str, SourceMark]
) -> tuple[str, ...]:
    file, mark = where
    repeated = len(rows) - len({row[: len(keys)] for row in rows})
    if repeated:
        raise make_mapping_error(mark, name, f"each code of {file} once", f"{repeated} repeated")
    return tuple(dict.fromkeys(row[0] for row in rows))


def _add_translation(codes: CodeList, rows: list[tuple[str, ...]], keys: int) -> CodeList:
    """Return `codes` with the translation of its rows; ``both`` must be one to one."""
    if keys == 2:
        pairs = {(row[0], row[1]): row[2] for row in rows if row[2]}
        results = [(beside, result) for (_, beside), result in pairs.items()]
        made = replace(codes, pairs=pairs)
    else:
        to = {row[0]: row[1] for row in rows if row[1]}
        results = [("", result) for result in to.values()]
        made = replace(codes, to=to, inverse={result: code for code, result in to.items()})
    if codes.direction == "both" and len(set(results)) != len(results):
        raise make_mapping_error(
            codes.mark,
            codes.name,
            "a translation that is one to one (direction both)",
            "two codes with one meaning",
            proof="lossless",
        )
    return made


def _read_list_file(file: str, read: Callable[[str], bytes], mark: SourceMark) -> bytes:
    try:
        return read(file)
    except GatewayError:
        raise make_mapping_error(mark, "file", "a file of the folder", f"none named {file}") from None


def read_csv_rows(content: bytes, file: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the `columns` of a table in CSV; the first of them may not be empty.

    Every row has as many cells as the head, and only characters that XML can carry; empty
    lines are ignored.  Raise GW502 with the line in which the wrong row ends.
    """
    return [values for _, values in read_numbered_rows(content, file, columns)]


def read_numbered_rows(
    content: bytes, file: str, columns: tuple[str, ...]
) -> list[tuple[int, tuple[str, ...]]]:
    """Return the `columns` of a table in CSV as `read_csv_rows` does, each row with its line."""
    table = _read_csv_cells(content, file)
    _, head = table[0] if table else (1, [])
    missing = [column for column in columns if column not in head]
    if missing:
        raise make_mapping_error(
            SourceMark(file, 1), "code list", f"the column {missing[0]!r}", ", ".join(head)
        )
    if len(set(head)) != len(head):
        raise make_mapping_error(SourceMark(file, 1), "code list", "each column once", ", ".join(head))
    places, rows = [head.index(column) for column in columns], []
    for number, row in table[1:]:
        if len(row) != len(head):
            raise make_mapping_error(
                SourceMark(file, number), "row", f"{len(head)} cells", f"{len(row)} of them"
            )
        values = tuple(row[place] for place in places)
        if not values[0]:
            raise make_mapping_error(SourceMark(file, number), "code list", "a code", "nothing")
        rows.append((number, values))
    return rows


def _read_csv_cells(content: bytes, file: str) -> list[tuple[int, list[str]]]:
    """Return the cells of every row of a table in CSV that is not empty, with the line it ends in."""
    table: list[tuple[int, list[str]]] = []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind a byte order mark.
        start = len(content) - len(error.object) + error.start
        line, octet = locate_octet(content, start)
        raise make_mapping_error(SourceMark(file, line), "code list", "a UTF-8 table", octet) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            strange = next(filter(None, map(find_invalid_xml_character, row)), "")
            if strange:
                at = SourceMark(file, reader.line_num)
                raise make_mapping_error(at, "row", "characters that XML 1.0 can carry", strange)
            if row:
                table.append((reader.line_num, row))
    except csv.Error as error:
        raise make_mapping_error(
            SourceMark(file, max(reader.line_num, 1)), "code list", "a table in CSV", str(error)
        ) from None
    return table


def read_pattern(table: YamlTable, longest: int | None = None) -> str | None:
    """Return the key ``pattern`` of a table, None where it has none; a text of `longest` must match it."""
    node = table.get("pattern")
    if node is None:
        return None
    text = node.read_text("pattern")
    if not is_simple_pattern(text):
        raise make_mapping_error(
            node.mark, "pattern", "a row of characters and classes with counts, as [A-Z]{2}", text
        )
    least = _count_min_characters(text)
    if longest is not None and least > longest:
        expected = f"a pattern that a text of at most {longest} characters can have"
        raise make_mapping_error(node.mark, "pattern", expected, f"{text}, of {least} and more")
    return text


def _count_min_characters(pattern: str) -> int:
    """Return how many characters a text of a simple pattern has at least."""
    total = 0
    for atom, count in _ATOM.findall(pattern):
        width = min(map(len, atom[1:-1].split("|"))) if atom.startswith("(") else 1
        total += width * (int(count[1:-1].partition(",")[0]) if count else 1)
    return total
