"""Rows that somebody changes past the hub are found by the evidence about them; sound ones never are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from gateway.evidence import verify_rows
from gateway.evidence.rows.row_verification import COMPARISONS
from gateway.store import read_transaction
from gateway.store.tables import metadata
from tests.evidence.rows.changes import find_changed_tables
from tests.flows.test_evidence import everything_happens
from tests.kit.databases import in_turn
from tests.kit.story import Story


def list_compared_columns() -> Iterator[tuple[str, str]]:
    for comparison in COMPARISONS:
        for compared in comparison.compared:
            for column in compared.columns:
                yield compared.table, column


@pytest.mark.long
@in_turn
def test_each_changed_column_is_found(engine: Engine) -> None:
    story = Story(engine)
    everything_happens(story)
    with read_transaction(engine) as conn:
        sound = verify_rows(conn)
    assert sound.differences == []
    assert sound.older.total() == 0
    unnoticed = [
        f"{table}.{column}"
        for table, column in list_compared_columns()
        if table not in find_changed_tables(engine, metadata.tables[table], column)
    ]
    assert unnoticed == []
