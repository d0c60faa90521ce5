"""What a claim reads with each delivery is read of the right table."""

from __future__ import annotations

import pytest
from sqlalchemy import Table

from gateway.store.officer_tables import console_mailbox, console_switches
from gateway.store.tables import deliveries, payloads


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (payloads, {"payload_sha256"}),
        (console_mailbox, {"subject_id", "subject_type"}),
        (console_switches, {"destination"}),
    ],
)
def test_columns_of_the_delivery_are_none_of_the_table_that_is_asked(asked: Table, names: set[str]) -> None:
    """What SQLite returns of an UPDATE names its columns without their table, also within a subquery."""
    assert names <= set(deliveries.c.keys())
    assert not names & set(asked.c.keys())
