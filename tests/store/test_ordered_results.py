"""An upgrade names the results issued at one time of which another one counts from then on."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Connection, insert, select

from gateway.store import (
    make_engine,
    migrate_schema,
    read_transaction,
    requirement_quantities,
    requirement_results,
    write_transaction,
)
from gateway.store.notices import notices
from tests.kit.revisions import apply_revision
from tests.kit.rows import NOW, later


def _insert_results(conn: Connection, number: str, *notice_numbers: str, apart: float = 0) -> None:
    """Store results about one number, each as a notice of its own."""
    requirement_quantities.ensure_requirement(conn, "KFDA", number, None, NOW)
    (row,) = requirement_quantities.find_requirements(conn, [number])
    for place, notice_number in enumerate(notice_numbers):
        conn.execute(
            insert(requirement_results.requirement_results).values(
                requirement_id=row.id,
                agency="KFDA",
                notice_no=notice_number,
                item=1,
                law="20",
                issued_at=later(place * apart),
                status_code="R01",
                decision="APPROVED",
                conditions=[],
                notice_sha256=notice_number,
                received_at=NOW,
            )
        )


def test_an_upgrade_names_what_another_order_changes(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(empty_database_url)
    with write_transaction(engine) as conn:
        apply_revision(conn, "0102")
        _insert_results(conn, "C-1", "N-9", "N-10")
        _insert_results(conn, "C-2", "M-8", "M-9")
        _insert_results(conn, "C-3", "L-9", "L-10", apart=1)
    with caplog.at_level(logging.WARNING):
        migrate_schema(engine)
    named = [record.getMessage() for record in caplog.records if "issued at one time" in record.getMessage()]
    assert named == [
        "KFDA, number C-1: notices N-9 and N-10 were issued at one time; N-9 counted, and by the number N-10 "
        "does from now on; ask the agency which of the two holds: a notice with a later time settles it"
    ]
    with read_transaction(engine) as conn:
        assert conn.execute(select(notices.c.overruled_by, notices.c.day_begins_at)).all() == []
    engine.dispose()
