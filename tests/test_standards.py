"""What the page of standards says of ebMS 2.0 and of CPPA 2.0 is held by a test, row by row."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from tests.kit.paths import MANUAL, ROOT

PAGE = (MANUAL / "standards.md").read_text(encoding="utf-8")
#: The sections in which each row names the tests that hold it.
HELD = ("ebXML Message Service 2.0", "Collaboration-Protocol Profile and Agreement 2.0 (CPPA)")
STATES = {"done", "partly", "stricter", "not"}
_TEST = re.compile(r"`(tests/[\w/.-]+)`")


class Row(NamedTuple):
    """One row: a clause, its state, and what is said of it."""

    clause: str
    state: str
    details: str


def rows(heading: str) -> list[Row]:
    """Return the rows of the table under a heading."""
    start = PAGE.index(f"## {heading}\n")
    section = PAGE[start : PAGE.find("\n## ", start + 1)]
    found = [
        Row(*(cell.strip() for cell in line.strip("|").split(" | ")))
        for line in re.findall(r"^\| .+ \|$", section, re.M)
    ]
    return found[1:]


ROWS = [row for heading in HELD for row in rows(heading)]


@pytest.mark.parametrize("row", ROWS, ids=lambda one: one.clause)
def test_a_row_is_held_by_tests_that_exist(row: Row) -> None:
    assert row.state in STATES
    named = _TEST.findall(row.details)
    assert named, f"{row.clause}: which test holds it?"
    for path in named:
        assert "\ndef test_" in (ROOT / path).read_text(encoding="utf-8"), path


def test_every_test_that_the_page_names_exists() -> None:
    assert len(ROWS) >= 45
    for path in _TEST.findall(PAGE):
        assert (ROOT / path).is_file(), path


def test_nothing_of_ebms_is_left_out_but_mail() -> None:
    assert [row.clause for row in ROWS if row.state == "not"] == ["B.3 SMTP"]


def test_what_is_done_in_part_says_why() -> None:
    for row in ROWS:
        if row.state in ("partly", "not"):
            assert "because" in row.details, row.clause
