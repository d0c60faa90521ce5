"""Goods items as a table: the columns of a form's items, a template, and the values that rows give."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.forms.filing_form import FilingForm, FormField
from gateway.harmonize.forms.form_values import FiledApplication, FormValues

__all__ = [
    "MOST_ITEMS",
    "ItemColumn",
    "ItemTable",
    "TableFault",
    "format_item_template",
    "list_item_columns",
    "read_item_table",
]

#: As many as one application may concern.
MOST_ITEMS: Final = 999
_MOST_OCCURRENCES: Final = 999
_MOST_FAULTS: Final = 200
_LONGEST_CELL: Final = 20_000
_OCCURRENCE: Final = re.compile(r"#([0-9]{1,5})")
_SHARED: Final = "shared"
#: The column that says which applications concern the item; all of them where it is empty or missing.
_DOCUMENTS: Final = "documents"


@dataclass(frozen=True, slots=True)
class ItemColumn:
    """One column: its name, its labels, and the field; `is_unit` is the column of a unit or currency."""

    name: str
    ko: str
    en: str
    field: FormField | None = None
    is_unit: bool = False


@dataclass(frozen=True, slots=True)
class TableFault:
    """One fault of a table: its line from 1, its column's name, what is wrong, and with which value.

    `kind` is ``encoding``, ``empty``, ``columns``, ``column``, ``repeated``, ``rows``, ``cells``,
    ``document`` or ``value``.
    """

    line: int
    column: str
    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ItemTable:
    """The form's values with the items of a table behind the others, and the faults; with one, no item."""

    values: FormValues
    faults: tuple[TableFault, ...]
    added: int = 0


def list_item_columns(form: FilingForm) -> tuple[ItemColumn, ...]:
    """Return the columns of a form's items; of a group there are those of its first occurrence."""
    columns = [ItemColumn(_DOCUMENTS, "신청서", "Documents")]
    columns += _list_field_columns("", form.item)
    columns += _list_field_columns(f"{_SHARED}/", form.shared_item)
    for one in form.sections.values():
        columns += _list_field_columns(f"{one.document.id}/", one.item)
    return tuple(columns)


def _list_field_columns(prefix: str, fields: Iterable[FormField]) -> Iterator[ItemColumn]:
    for one in fields:
        if one.kind == "attachment":
            continue
        mark = "#1" if one.is_repeated or (one.is_group and one.pinned is None) else ""
        name = f"{prefix}{one.name}{mark}"
        if one.is_group:
            yield from _list_field_columns(f"{name}/", one.fields)
            continue
        yield ItemColumn(name, one.ko, one.en, one)
        if one.attribute is not None:
            yield ItemColumn(f"{name}@", f"{one.ko} 단위", f"{one.en}: unit", one, is_unit=True)


def read_item_table(form: FilingForm, values: FormValues, content: bytes) -> ItemTable:
    """Return the values with one more item for each row of a CSV table, or every fault found.

    The first line names the columns. Lines that begin with ``#`` are comments. The table is in UTF-8, or
    in CP949 as Korean spreadsheets write it, with comma, semicolon or tab between the cells.
    """
    text = _decode_table(content)
    if text is None:
        return ItemTable(values, (TableFault(1, "", "encoding"),))
    rows, broken = _list_rows(text)
    if broken or not rows:
        return ItemTable(values, (TableFault(broken or 1, "", "cells" if broken else "empty"),))
    (line, names), *body = rows
    reader = _TableReader(form, values)
    faults = list(reader.check_columns(line, names))
    if len(values.items) + len(body) > MOST_ITEMS:
        faults.append(TableFault(line, "", "rows", str(MOST_ITEMS)))
    if not faults:
        for number, cells in body:
            faults += reader.read_row(number, names, cells)
            if len(faults) >= _MOST_FAULTS:
                break
    if faults:
        return ItemTable(values, tuple(faults[:_MOST_FAULTS]))
    return ItemTable(reader.make_values(), (), len(body))


def _decode_table(content: bytes) -> str | None:
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _list_rows(text: str) -> tuple[list[tuple[int, list[str]]], int]:
    """Return the rows that are not empty, each with the number of its last line.

    The second value is the line of a row that is broken, 0 where none is.
    """
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not cells[0].startswith("#"):
                found.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error:
        return [], reader.line_num
    return found, 0


class _TableReader:
    """The values while rows are added: `numbers` are the new items, each with its documents."""

    def __init__(self, form: FilingForm, values: FormValues) -> None:
        self._columns = {one.name: one for one in list_item_columns(form)}
        self._given = values
        self._values = dict(values.values)
        self._next = 1 + max((int(item) for item in values.items), default=0)
        self._numbers: list[tuple[str, tuple[str, ...]]] = []

    def check_columns(self, line: int, names: Sequence[str]) -> Iterator[TableFault]:
        """Yield a fault for each column that the form does not have, or that occurs twice."""
        if not any(names):
            yield TableFault(line, "", "columns")
        seen: set[str] = set()
        for name in names:
            if name in seen:
                yield TableFault(line, name[:100], "repeated")
            elif self._find_column(name) is None:
                yield TableFault(line, name[:100], "column")
            seen.add(name)

    def _find_column(self, name: str) -> ItemColumn | None:
        numbers = [int(found) for found in _OCCURRENCE.findall(name)]
        if any(not 1 <= one <= _MOST_OCCURRENCES for one in numbers):
            return None
        return self._columns.get(_OCCURRENCE.sub("#1", name))

    def read_row(self, line: int, names: Sequence[str], cells: Sequence[str]) -> Iterator[TableFault]:
        """Add one item; yield a fault for each cell whose value is not possible."""
        if len(cells) > len(names):
            yield TableFault(line, "", "cells", f"{len(cells)} > {len(names)}")
            return
        row = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
        documents, unknown = self._read_documents(row.pop(_DOCUMENTS, ""))
        if unknown:
            yield TableFault(line, _DOCUMENTS, "document", unknown)
        item = str(self._next)
        self._next += 1
        self._numbers.append((item, documents))
        for name, cell in row.items():
            detail = self._find_value_fault(name, cell)
            if detail is not None:
                yield TableFault(line, name, "value", detail)
            for key in self._list_keys(name, item, documents):
                self._values[key] = cell

    def _read_documents(self, cell: str) -> tuple[tuple[str, ...], str]:
        known = self._given.documents
        wanted = tuple(cell.replace(",", " ").split())
        return wanted or known, next((one for one in wanted if one not in known), "")[:70]

    def _find_value_fault(self, name: str, cell: str) -> str | None:
        column = self._find_column(name)
        if column is None or column.field is None:
            return None
        if len(cell) > _LONGEST_CELL:
            return f"{len(cell)} > {_LONGEST_CELL}"
        if column.is_unit:
            units = column.field.units
            return f"{cell[:20]!r}: {', '.join(units[:20])}" if units and cell not in units else None
        violation = column.field.shape.find_violation(cell)
        return None if violation is None else violation[1]

    def _list_keys(self, name: str, item: str, documents: tuple[str, ...]) -> Iterator[str]:
        first, _, rest = name.partition("/")
        if first == _SHARED and rest:
            yield f"s/i#{item}/{rest}"
        elif first in self._given.documents and rest:
            for number, one in enumerate(self._given.applications, 1):
                if one.document == first and first in documents:
                    yield f"a#{number}/i#{item}/{rest}"
        else:
            yield f"i#{item}/{name}"

    def make_values(self) -> FormValues:
        """Return the values with the new items, which their applications concern."""
        added = tuple(item for item, _ in self._numbers)
        applications = tuple(self._add_items(one) for one in self._given.applications)
        return replace(
            self._given,
            items=(*self._given.items, *added),
            applications=applications,
            values=self._values,
        )

    def _add_items(self, one: FiledApplication) -> FiledApplication:
        more = tuple(item for item, documents in self._numbers if one.document in documents)
        return replace(one, items=(*one.items, *more))


def format_item_template(columns: Sequence[ItemColumn], language: str) -> str:
    """Return an empty table: the names of the columns, and below them their labels as a comment."""
    sheet = io.StringIO()
    writer = csv.writer(sheet)
    writer.writerow([one.name for one in columns])
    labels: list[str] = [one.ko if language == "ko" else one.en for one in columns]
    writer.writerow([f"# {labels[0]}", *labels[1:]] if labels else [])
    return sheet.getvalue()
