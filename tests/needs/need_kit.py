"""Small tables and law books for the tests of the rules of need."""

from __future__ import annotations

from datetime import date

from gateway.needs import LawBook, MappedDocument, NeedTable, read_law_book, read_need_table

LAWS = """law,ko,en,disclaimers
01,일법,First Act,
02,이법,Second Act,forbidden
03,삼법,Third Act,B C
04,사법,Fourth Act,
"""
CHOICES = """law,direction,hs,documents,reason
03,import,03 1605,FISH-IMP,fish
03,import,,FOOD-IMP,
"""
DOCUMENTS = (
    MappedDocument("ONE-IMP", "ONE", "import", ("01",)),
    MappedDocument("ONE-EXP", "ONE", "export", ("01",)),
    MappedDocument("TWO-IMP", "TWO", "import", ("01", "02")),
    MappedDocument("FISH-IMP", "SEA", "import", ("03",)),
    MappedDocument("FOOD-IMP", "LAND", "import", ("03",)),
)
DAY = date(2026, 11, 22)


def book(laws: str = LAWS, choices: str = CHOICES) -> LawBook:
    return read_law_book(laws, choices, DOCUMENTS)


def table(
    *rows: str,
    columns: str = "hs,direction,law",
    name: str = "border",
    edition: str = "1",
    since: str = "2020-01-01",
    until: str = "",
    more: str = "",
) -> NeedTable:
    """Return a table of rows as they stand in the file."""
    end = f"# valid_until: {until}\n" if until else ""
    head = f"# table: {name}\n# edition: {edition}\n# valid_from: {since}\n{end}{more}"
    return read_need_table((head + "\n".join((columns, *rows, ""))).encode(), "table.csv")
