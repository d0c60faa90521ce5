"""Goods items as a table: the template's own columns, and every fault with its line and column."""

from __future__ import annotations

import csv
import io

import pytest

from gateway.harmonize import (
    FiledApplication,
    FilingForm,
    FormValues,
    compose_form,
    list_item_columns,
    list_template_rows,
    read_item_table,
)
from gateway.harmonize.forms.item_table import MAX_ITEMS, TableFault
from tests.kit.house import bundle

VALUES = FormValues(
    (FiledApplication("A1", "KFDA-FOOD-IMP", ("1",)), FiledApplication("A2", "NPQS-PLA-IMP", ())), ("1",)
)
ROW = (
    "item.hs,item.net_mass,item.net_mass@,KFDA-FOOD-IMP/gmo,"
    "KFDA-FOOD-IMP/ingredient#2/ingredient.name,documents"
)


@pytest.fixture(scope="module")
def form() -> FilingForm:
    return compose_form(bundle(), VALUES.documents)


def test_rows_become_items_of_the_applications_that_they_name(form: FilingForm) -> None:
    rows = f"{ROW}\n# a comment,,,,,\n0303540000,12.5,KGM,N,소금,KFDA-FOOD-IMP\n\n0601101000,3,TNE,,,\n"
    done = read_item_table(form, VALUES, rows.encode())
    assert (done.faults, done.added) == ((), 2)
    assert done.values.items == ("1", "2", "3")
    assert [one.items for one in done.values.applications] == [("1", "2", "3"), ("3",)]
    assert done.values.values == {
        "i#2/item.hs": "0303540000",
        "i#2/item.net_mass": "12.5",
        "i#2/item.net_mass@": "KGM",
        "a#1/i#2/gmo": "N",
        "a#1/i#2/ingredient#2/ingredient.name": "소금",
        "i#3/item.hs": "0601101000",
        "i#3/item.net_mass": "3",
        "i#3/item.net_mass@": "TNE",
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_korean_spreadsheets_are_read(form: FilingForm, encoding: str, delimiter: str) -> None:
    text = delimiter.join(["item.hs", "item.description"]) + "\r\n" + delimiter.join(["0303540000", "고등어"])
    done = read_item_table(form, VALUES, text.encode(encoding))
    assert done.values.values["i#2/item.description"] == "고등어"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", [(1, "", "empty")]),
        ("item.hs,nonsense,item.hs\n1,2,3", [(1, "nonsense", "column"), (1, "item.hs", "repeated")]),
        ("item.net_mass\n1\nmany\n2\nx", [(3, "item.net_mass", "value"), (5, "item.net_mass", "value")]),
        ("item.hs\n1,2", [(2, "2", "unnamed")]),
        ("item.hs,,item.description\n1,2,3\n4,,5,,6", [(2, "2", "unnamed"), (3, "5", "unnamed")]),
        ('item.hs\n"1\n2', [(2, "", "cells")]),
        (
            'sep=;\nitem.hs;documents\n"1";"\n";"x"\n2;NONE',
            [(3, "3", "unnamed"), (5, "documents", "document")],
        ),
        ("item.hs,documents\n0303540000,NONE", [(2, "documents", "document")]),
        ("item.description\na\0b", [(2, "item.description", "value")]),
        ("KFDA-FOOD-IMP/gmo\nQ", [(2, "KFDA-FOOD-IMP/gmo", "value")]),
        ("KFDA-FOOD-IMP/unit_content@\nXXX", [(2, "KFDA-FOOD-IMP/unit_content@", "value")]),
        ("KFDA-FOOD-IMP/ingredient#1000/ingredient.name\nx", [(1, None, "column")]),
        ("item.hs\n" + "1\n" * MAX_ITEMS, [(1, "", "rows")]),
        ('item.hs\n"' + "x" * 200_000, [(2, "", "cells")]),
    ],
)
def test_every_fault_has_its_line_and_column(
    form: FilingForm, text: str, faults: list[tuple[int, str | None, str]]
) -> None:
    done = read_item_table(form, VALUES, text.encode())
    assert done.values == VALUES
    told: list[tuple[int, str | None, str]] = [(one.line, one.column, one.kind) for one in done.faults]
    if faults[0][1] is None:
        told = [(line, None, kind) for line, _, kind in told]
    assert told == faults


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\nitem.hs;item.description\r\n0303540000;Corn\r\n",
        '"SEP=\t"\nitem.hs\titem.description\n0303540000\tCorn',
        "# made by Kim; 2026; v1\nitem.hs,item.description\n0303540000,Corn",
        '"# made; by, Kim\n2026";\nitem.hs;item.description\n0303540000;Corn',
        "item.hs,item.description,,\n0303540000,Corn,,\n,,,\n",
        "item.hs,item.description\r0303540000,Corn\r",
        '"item.hs";"item.description"\n"0303540000";"Corn"',
    ],
)
def test_tables_as_spreadsheets_write_them_are_read(form: FilingForm, text: str) -> None:
    done = read_item_table(form, VALUES, text.encode())
    assert (done.faults, done.added, done.comments) == ((), 1, ())
    assert done.values.values == {"i#2/item.hs": "0303540000", "i#2/item.description": "Corn"}


def test_a_row_that_begins_with_a_number_sign_is_no_comment(form: FilingForm) -> None:
    text = "item.description,item.hs\n#8 bolts,0303540000\n# a comment,\n#9 bolts,0303540000\n#10 bolts"
    done = read_item_table(form, VALUES, text.encode())
    assert (done.faults, done.added, done.comments) == ((), 2, (3, 5))
    assert [done.values.values[f"i#{item}/item.description"] for item in "23"] == ["#8 bolts", "#9 bolts"]
    alone = read_item_table(form, VALUES, b"item.description\n#8 bolts")
    assert (alone.added, alone.comments) == (1, ())


def test_a_value_without_a_column_is_named(form: FilingForm) -> None:
    done = read_item_table(form, VALUES, b"item.hs,item.description\n1,a,b\xed\x95\x9c")
    assert [one.detail for one in done.faults] == ["'b한'"]
    assert read_item_table(form, VALUES, b"item.hs\n\xff\n").faults == (
        TableFault(2, "", "encoding", "0xff"),
    )


def test_octets_that_are_no_text_are_told(form: FilingForm) -> None:
    assert read_item_table(form, VALUES, b"\xff\xfe\x00a").faults[0].kind == "encoding"


def test_the_template_is_a_table_without_items(form: FilingForm) -> None:
    columns = list_item_columns(form)
    names, labels = list_template_rows(columns, "ko")
    assert names[0] == "documents"
    assert "licence=phytosanitary.certificate/phytosanitary.certificate" in names
    assert "package#1/package.count" in names
    assert labels[0] == "# 신청서"
    table = io.StringIO()
    csv.writer(table).writerows([names, labels])
    done = read_item_table(form, VALUES, table.getvalue().encode())
    assert (done.faults, done.added) == ((), 0)
