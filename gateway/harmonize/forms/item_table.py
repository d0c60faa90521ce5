"""Goods items as a table: the columns of a form's items, a template, and the values that rows give."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.forms.filing_form import FilingForm, FormField
from gateway.harmonize.forms.form_values import FiledApplication, FormValues
from gateway.wire import find_invalid_xml_character, quote_value

#: As many as one application may concern.
MAX_ITEMS: Final = 999
_MAX_OCCURRENCES: Final = 999
_MAX_FAULTS: Final = 200
_MAX_CELL_LENGTH: Final = 20_000
#: The line in which a spreadsheet names the separator of its cells.
_SEPARATOR: Final = re.compile(r'"?sep=([,;\t|])"?[,;\t|]*(?:\r\n?|\n|\Z)', re.IGNORECASE)
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
    """One fault of a table: its line from 1, its column's name, its kind, and the wrong value or a detail.

    A column without a name has its number from 1 in place of it. `kind` is ``encoding``, ``empty``,
    ``column``, ``repeated``, ``rows``, ``cells``, ``unnamed``, ``document`` or ``value``.
    """

    line: int
    column: str
    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ItemTable:
    """The form's values with the items of a table behind the others, and the faults; with one, no item.

    `comments` are the lines behind the names of the columns that were left out as comments.
    """

    values: FormValues
    faults: tuple[TableFault, ...]
    added: int = 0
    comments: tuple[int, ...] = ()


def list_item_columns(form: FilingForm) -> tuple[ItemColumn, ...]:
    """Return the columns of a form's items; of a group there are those of its first occurrence."""
    columns = [ItemColumn(_DOCUMENTS, "신청서", "Documents")]
    columns += _list_field_columns("", form.item)
    columns += _list_field_columns(f"{_SHARED}/", form.shared_item)
    for section in form.sections.values():
        columns += _list_field_columns(f"{section.document.id}/", section.item)
    return tuple(columns)


def _list_field_columns(prefix: str, fields: Iterable[FormField]) -> Iterator[ItemColumn]:
    """Yield a column for each field, and one for its unit; their names begin with `prefix`.

    A repeated field or group has the columns of its first occurrence; an attachment has none.
    """
    for field in fields:
        if field.kind == "attachment":
            continue
        mark = "#1" if field.is_repeated or (field.is_group and field.pinned is None) else ""
        name = f"{prefix}{field.name}{mark}"
        if field.is_group:
            yield from _list_field_columns(f"{name}/", field.fields)
            continue
        yield ItemColumn(name, field.ko, field.en, field)
        if field.attribute is not None:
            yield ItemColumn(f"{name}@", f"{field.ko} 단위", f"{field.en}: unit", field, is_unit=True)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A table as a spreadsheet wrote it: the columns with their line, the rows, the lines of comments."""

    line: int
    names: list[str]
    rows: list[tuple[int, list[str]]]
    comments: list[int]


def read_item_table(form: FilingForm, values: FormValues, content: bytes) -> ItemTable:
    """Return the values with one more item for each row of a CSV table, or every fault found.

    The first row names the columns; comments and the line ``sep=;`` of spreadsheets may precede it.
    The table is in UTF-8, or in CP949 as Korean spreadsheets write it, with comma, semicolon or tab between
    the cells. A row whose first cell begins with ``#`` is a comment where nothing else is filled in, or
    where the first column is that of the documents, none of which begins so.
    """
    columns = list_item_columns(form)
    try:
        sheet = _read_sheet(_decode_table(content), columns)
    except _BrokenTableError as broken:
        return ItemTable(values, (broken.fault,))
    reader = _TableReader(columns, values)
    faults = list(reader.check_columns(sheet.line, sheet.names))
    if len(values.items) + len(sheet.rows) > MAX_ITEMS:
        faults.append(TableFault(sheet.line, "", "rows", str(MAX_ITEMS)))
    if not faults:
        for number, cells in sheet.rows:
            faults += reader.read_row(number, sheet.names, cells)
            if len(faults) >= _MAX_FAULTS:
                break
    if faults:
        return ItemTable(values, tuple(faults[:_MAX_FAULTS]))
    return ItemTable(reader.make_values(), (), len(sheet.rows), tuple(sheet.comments))


class _BrokenTableError(Exception):
    """A table whose rows cannot be read, with the fault."""

    def __init__(self, fault: TableFault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


def _decode_table(content: bytes) -> str:
    """Return the text of a table in UTF-8, else in CP949; raise `_BrokenTableError` for another encoding."""
    with contextlib.suppress(UnicodeDecodeError):
        return content.decode("utf-8-sig")
    try:
        return content.decode("cp949")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        octet = f"0x{content[error.start]:02x}"
        raise _BrokenTableError(TableFault(line, "", "encoding", octet)) from None


def _read_sheet(text: str, columns: Sequence[ItemColumn]) -> _Sheet:
    """Return the rows of a table that are not empty."""
    separator = _SEPARATOR.match(text)
    if separator is not None:
        rows = _split_rows(text[separator.end() :], separator[1], 1)
    else:
        rows = _split_rows(text, _choose_delimiter(text, {column.name for column in columns}), 0)
    line, names = next(_skip_comments(rows), (1, []))
    if not names:
        raise _BrokenTableError(TableFault(1, "", "empty"))
    sheet = _Sheet(line, names, [], [])
    labels = {f"# {label}" for label in (columns[0].ko, columns[0].en)}
    for number, cells in rows:
        if not _is_comment(cells, names):
            sheet.rows.append((number, cells))
        elif cells[0] not in labels:
            sheet.comments.append(number)
    return sheet


def _choose_delimiter(text: str, column_names: Collection[str]) -> str:
    """Return the delimiter by which the first row names most columns of the form."""

    def count_columns(delimiter: str) -> tuple[int, int]:
        try:
            _, names = next(_skip_comments(_split_rows(text, delimiter, 0)), (1, []))
        except _BrokenTableError:
            return 0, 0
        return sum(_OCCURRENCE.sub("#1", name) in column_names for name in names), len(names)

    return max(",;\t", key=count_columns)


def _skip_comments(rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    return itertools.dropwhile(lambda row: row[1][0].startswith("#"), rows)


def _is_comment(cells: Sequence[str], names: Sequence[str]) -> bool:
    if not cells[0].startswith("#"):
        return False
    return names[0] == _DOCUMENTS or (len(names) > 1 and not any(cells[1:]))


def _split_rows(text: str, delimiter: str, offset: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, without the empty cells at their end, each with its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = offset + 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield line, cells
            line = offset + reader.line_num + 1
    except csv.Error as error:
        raise _BrokenTableError(TableFault(line, "", "cells", str(error))) from None


class _TableReader:
    """The values while rows are added: `_numbers` are the new items, each with its documents."""

    def __init__(self, columns: Iterable[ItemColumn], values: FormValues) -> None:
        self._columns = {column.name: column for column in columns}
        self._form_values = values
        self._values = dict(values.values)
        self._next = 1 + max((int(item) for item in values.items), default=0)
        self._numbers: list[tuple[str, tuple[str, ...]]] = []

    def check_columns(self, line: int, names: Sequence[str]) -> Iterator[TableFault]:
        """Yield a fault for each column that the form does not have, or that occurs twice."""
        seen: set[str] = set()
        for name in filter(None, names):
            if name in seen:
                yield TableFault(line, name[:100], "repeated")
            elif self._find_column(name) is None:
                yield TableFault(line, name[:100], "column")
            seen.add(name)

    def _find_column(self, name: str) -> ItemColumn | None:
        numbers = [int(digits) for digits in _OCCURRENCE.findall(name)]
        if any(not 1 <= number <= _MAX_OCCURRENCES for number in numbers):
            return None
        return self._columns.get(_OCCURRENCE.sub("#1", name))

    def read_row(self, line: int, names: Sequence[str], cells: Sequence[str]) -> Iterator[TableFault]:
        """Add one item; yield a fault for each cell whose value is not possible."""
        row = {}
        for number, (name, cell) in enumerate(itertools.zip_longest(names, cells, fillvalue=""), 1):
            if cell and not name:
                yield TableFault(line, str(number), "unnamed", quote_value(cell))
            elif cell:
                row[name] = cell
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
        filed = self._form_values.documents
        documents = tuple(cell.replace(",", " ").split())
        return documents or filed, next((document for document in documents if document not in filed), "")[
            :70
        ]

    def _find_value_fault(self, name: str, cell: str) -> str | None:
        """Return the error in a cell of the column `name`; None for a valid cell or unknown column."""
        column = self._find_column(name)
        if column is None or column.field is None:
            return None
        if len(cell) > _MAX_CELL_LENGTH:
            return f"{len(cell)} > {_MAX_CELL_LENGTH}"
        if find_invalid_xml_character(cell):
            return quote_value(cell)
        if column.is_unit:
            units = column.field.units
            return f"{cell[:20]!r}: {', '.join(units[:20])}" if units and cell not in units else None
        violation = column.field.shape.find_violation(cell)
        return None if violation is None else violation.detail

    def _list_keys(self, name: str, item: str, documents: tuple[str, ...]) -> Iterator[str]:
        """Yield the keys of the form values that the column `name` gives for the goods item `item`.

        A column of a document concerns its applications only if `documents` contains the document.
        """
        first, _, rest = name.partition("/")
        if first == _SHARED and rest:
            yield f"s/i#{item}/{rest}"
        elif first in self._form_values.documents and rest:
            for number, application in enumerate(self._form_values.applications, 1):
                if application.document == first and first in documents:
                    yield f"a#{number}/i#{item}/{rest}"
        else:
            yield f"i#{item}/{name}"

    def make_values(self) -> FormValues:
        """Return the values with the new items, which their applications concern."""
        added = tuple(item for item, _ in self._numbers)
        applications = tuple(self._add_items(application) for application in self._form_values.applications)
        return replace(
            self._form_values,
            items=(*self._form_values.items, *added),
            applications=applications,
            values=self._values,
        )

    def _add_items(self, application: FiledApplication) -> FiledApplication:
        added_items = tuple(item for item, documents in self._numbers if application.document in documents)
        return replace(application, items=(*application.items, *added_items))


def list_template_rows(columns: Sequence[ItemColumn], language: str) -> list[list[str]]:
    """Return the rows of an empty table: the names of the columns, and their labels as a comment."""
    labels = [column.ko if language == "ko" else column.en for column in columns]
    return [[column.name for column in columns], [f"# {labels[0]}", *labels[1:]] if labels else []]
