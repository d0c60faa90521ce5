"""Code lists: versioned, with a declared direction; an unknown code is an error and is not forwarded."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from gateway.errors import GatewayError
from gateway.harmonize.language.value_shapes import is_simple_pattern, parse_simple_pattern
from gateway.wire import (
    SourceMark,
    YamlNode,
    YamlTable,
    find_invalid_xml_character,
    locate_octet,
)

_DIRECTIONS: Final = ("both", "forward")


@dataclass(frozen=True, slots=True)
class CodeList:
    """One list of codes, with a translation where it has one.

    With `direction` ``both`` the translation is one to one and can be read back; with
    ``forward`` it cannot.  `pair_translations` translates a code together with a value beside it (then
    `translations` is None); ``both`` is then one to one for each such value.  An open list accepts any
    code of its `pattern`; its rows are the known codes.  `code_set` is the set of `codes`, for
    look-ups.  `labels` are the Korean and English words for a code, from the columns ``ko``
    and ``en``. `codes_with_spaces` are the codes that begin or end with a space, each with its row.
    """

    name: str
    version: str
    source: str
    codes: tuple[str, ...]
    pattern: str | None
    translations: Mapping[str, str] | None
    direction: str
    mark: SourceMark
    pair_translations: Mapping[tuple[str, str], str] | None = None
    inverse_translations: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    code_set: frozenset[str] = field(default=frozenset(), repr=False)
    codes_with_spaces: tuple[tuple[str, SourceMark], ...] = field(default=(), repr=False)

    @property
    def translation_note(self) -> str:
        """Return the note on a translation in the `transforms` of a value: ``via NAME@VERSION``."""
        return f"via {self.name}@{self.version}"

    @property
    def result_codes(self) -> tuple[str, ...]:
        """Return every code that a translation by the list can give, sorted."""
        return tuple(sorted(set((self.translations or self.pair_translations or {}).values())))

    def translate_code(self, code: str, second_key: str = "") -> str | None:
        """Return the translation of `code`, None for an unknown code.

        A list with two key columns also needs the `second_key` beside the code.
        """
        if self.pair_translations is not None:
            return self.pair_translations.get((code, second_key))
        return None if self.translations is None else self.translations.get(code)

    def list_codes_beside(self, second_key: str) -> tuple[str, ...]:
        """Return the known codes; of a list with two key columns, those in a row with `second_key`."""
        if self.pair_translations is None:
            return self.codes
        return tuple(code for code, partner in self.pair_translations if partner == second_key)

    def invert_code(self, text: str, second_key: str | None = None) -> str | None:
        """Return the one code that is translated to `text`; None where there is none, or several.

        None also for the direction ``forward``.  With two key columns and no `second_key`, the code
        must be the same for all values that could stand beside it.
        """
        if self.direction != "both":
            return None
        if self.translations is not None:
            return self.inverse_translations.get(text)
        pairs = (self.pair_translations or {}).items()
        codes = {
            code for (code, partner), result in pairs if result == text and second_key in (None, partner)
        }
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
    """Return the code list `name` that a table declares; `read` reads its file. Raise GW502 for an error."""
    file, keys, to = table.read_text("file"), _read_key_columns(table), table.read_text("to")
    direction = table.read_choice("direction", _DIRECTIONS, "both")
    pattern = table.read_text("open") or None
    version, source = (
        table.get_required("version").read_text("version"),
        table.get_required("source").read_text("source"),
    )
    table.reject_unread_keys()
    if bool(to) != ("direction" in table):
        raise mark.make_error(name, "a direction exactly where there is a translation (to)", direction)
    if len(keys) == 2 and not to:
        raise mark.make_error(name, "a translation (to) where there are two key columns", "none")
    if pattern is not None and not is_simple_pattern(pattern):
        raise mark.make_error(name, "a row of characters and classes with counts, as [A-Z]{2}", pattern)
    if bool(file) != bool(keys) or not (file or pattern):
        raise mark.make_error(
            name, "a file with a key, or an open pattern", file or " ".join(keys) or "neither"
        )
    rows = read_csv_rows(_read_list_file(file, read, mark), file, (*keys, to) if to else keys) if file else []
    codes = _collect_distinct_codes(name, rows, keys, file, mark)
    code_set = frozenset(codes)
    code_list = CodeList(name, version, source, codes, pattern, None, direction, mark, code_set=code_set)
    if file:
        code_list = replace(
            code_list,
            labels=_read_labels(read(file), keys[0]),
            codes_with_spaces=_find_spaced_codes(read(file), file, keys),
        )
    return _add_translation(code_list, rows, len(keys)) if to else code_list


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
    """Return the names of one or two key columns, none without ``key``; raise GW502 for another number."""
    node = table.get("key")
    if node is None:
        return ()
    if isinstance(node.value, str):
        return (node.read_text("key"),)
    keys = tuple(node.read_distinct_texts("key"))
    if len(keys) != 2:
        raise node.make_error("key", "one column, or two: [code, beside]", f"{len(keys)} of them")
    return keys


def _collect_distinct_codes(
    name: str, rows: list[tuple[str, ...]], keys: tuple[str, ...], file: str, mark: SourceMark
) -> tuple[str, ...]:
    """Return the codes of a list, each once; `file` has the `rows`, `mark` is where the list is declared."""
    repeated = len(rows) - len({row[: len(keys)] for row in rows})
    if repeated:
        raise mark.make_error(name, f"each code of {file} once", f"{repeated} repeated")
    return tuple(dict.fromkeys(row[0] for row in rows))


def _add_translation(code_list: CodeList, rows: list[tuple[str, ...]], key_count: int) -> CodeList:
    """Return `code_list` with the translation of its rows; ``both`` must be one to one."""
    if key_count == 2:
        pairs = {(row[0], row[1]): row[2] for row in rows if row[2]}
        results = [(second_key, result) for (_, second_key), result in pairs.items()]
        translated = replace(code_list, pair_translations=pairs)
    else:
        to = {row[0]: row[1] for row in rows if row[1]}
        results = [("", result) for result in to.values()]
        translated = replace(
            code_list, translations=to, inverse_translations={result: code for code, result in to.items()}
        )
    if code_list.direction == "both" and len(set(results)) != len(results):
        raise code_list.mark.make_error(
            code_list.name,
            "a translation that is one to one (direction both)",
            "two codes with one meaning",
            proof="lossless",
        )
    return translated


def _read_list_file(file: str, read: Callable[[str], bytes], mark: SourceMark) -> bytes:
    try:
        return read(file)
    except GatewayError:
        raise mark.make_error("file", "a file of the folder", f"none named {file}") from None


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
        raise SourceMark(file, 1).make_error("code list", f"the column {missing[0]!r}", ", ".join(head))
    if len(set(head)) != len(head):
        raise SourceMark(file, 1).make_error("code list", "each column once", ", ".join(head))
    column_indexes, rows = [head.index(column) for column in columns], []
    for number, row in table[1:]:
        if len(row) != len(head):
            raise SourceMark(file, number).make_error("row", f"{len(head)} cells", f"{len(row)} of them")
        values = tuple(row[position] for position in column_indexes)
        if not values[0]:
            raise SourceMark(file, number).make_error("code list", "a code", "nothing")
        rows.append((number, values))
    return rows


def _read_csv_cells(content: bytes, file: str) -> list[tuple[int, list[str]]]:
    """Return the rows of a CSV table that are not empty: the line in which a row ends, and its cells.

    Raise GW502 for a table that is not UTF-8, is no CSV, or has a character that XML cannot carry.
    """
    table: list[tuple[int, list[str]]] = []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind a byte order mark.
        start = len(content) - len(error.object) + error.start
        line, octet = locate_octet(content, start)
        raise SourceMark(file, line).make_error("code list", "a UTF-8 table", octet) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            strange = next(filter(None, map(find_invalid_xml_character, row)), "")
            if strange:
                at = SourceMark(file, reader.line_num)
                raise at.make_error("row", "characters that XML 1.0 can carry", strange)
            if row:
                table.append((reader.line_num, row))
    except csv.Error as error:
        raise SourceMark(file, max(reader.line_num, 1)).make_error(
            "code list", "a table in CSV", str(error)
        ) from None
    return table


def read_pattern(table: YamlTable, max_length: int | None = None) -> str | None:
    """Return the ``pattern`` of a table, None without one; raise GW502 if it needs a longer text."""
    node = table.get("pattern")
    if node is None:
        return None
    text = node.read_text("pattern")
    if not is_simple_pattern(text):
        raise node.make_error("pattern", "a row of characters and classes with counts, as [A-Z]{2}", text)
    min_length = sum(part.low * min(map(len, part.choices)) for part in parse_simple_pattern(text))
    if max_length is not None and min_length > max_length:
        expected = f"a pattern that a text of at most {max_length} characters can have"
        raise node.make_error("pattern", expected, f"{text}, of {min_length} and more")
    return text


#: The zone of mappings without ``notices.yaml``, which states one.
DEFAULT_ZONE: Final = "+09:00"
_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def localize_moment(text: str, zone: str) -> str:
    """Return an instant of ISO 8601 as it is stated in `zone`, an offset; any other text as it is.

    A date, and a time that names no zone, is local already. Raise ValueError for an instant that does not
    exist, OverflowError for one whose local year is not 1 to 9999.
    """
    match = _INSTANT.fullmatch(text)
    if match is None or match[3] == zone:
        return text
    local = datetime.fromisoformat(match[1] + match[3]).astimezone(
        datetime.fromisoformat(match[1] + zone).tzinfo
    )
    return f"{local.replace(tzinfo=None).isoformat()}{match[2] or ''}{zone}"
