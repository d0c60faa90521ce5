"""The items that a child declaration takes from its parent, and gives back."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, Engine

from gateway.store import item_releases, write_transaction
from gateway.store.item_releases import NewItemRelease
from tests.kit.databases import BOTH
from tests.kit.rows import NOW, open_case


def release(conn: Connection, parent: int, child: int, item: int) -> None:
    new = NewItemRelease(
        parent, child, item, measure="weight", quantity="10", unit="KGM", whole="40", whole_unit="KGM"
    )
    item_releases.insert_releases(conn, [new], NOW)


@BOTH
def test_what_was_given_back_is_held_no_more(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        parent, gave_back, holds = open_case(conn), open_case(conn), open_case(conn)
        release(conn, parent, gave_back, 1)
        release(conn, parent, gave_back, 2)
        release(conn, parent, holds, 1)
        later = NOW + timedelta(minutes=1)
        assert item_releases.return_releases(conn, gave_back, "withdrawn", later) == 2
        assert item_releases.return_releases(conn, gave_back, "withdrawn again", later) == 0
        assert item_releases.list_releases_into(conn, gave_back) == []
        assert [row.item for row in item_releases.list_releases_into(conn, holds)] == [1]
        assert not item_releases.may_have_outside_decisions(conn, gave_back)
        assert item_releases.may_have_outside_decisions(conn, holds)
        assert item_releases.list_children(conn, parent) == [holds]
        pairs = [(row.parent_id, row.child_id) for row in item_releases.list_children_of(conn, [parent])]
        assert pairs == [(parent, holds)]
        known = [(row.child_id, row.return_reason) for row in item_releases.list_releases_from(conn, parent)]
        assert known == [(gave_back, "withdrawn"), (gave_back, "withdrawn"), (holds, None)]
