"""Somebody who writes to the database makes no verdict stand for another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, update

from gateway.errors import GatewayError
from gateway.evidence import (
    encode_leaf,
    hash_leaf,
    list_subject_leaves,
    list_verdict_references,
    record_evidence,
    revalidate_verdict,
)
from gateway.store import messages, read_columns, read_transaction, verdicts, write_transaction
from tests.flows.test_time_stamps import Place, certified, checked
from tests.kit import tables
from tests.kit.house import START, House, Neighbour
from tests.kit.rows import stored


@pytest.mark.parametrize(
    "changed",
    [{"status": "invalid"}, {"problem": "GW207"}, {"use": "encryption"}, {"tolerated": True}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_row_rewritten_with_its_leaf_differs_from_its_document(
    engine: Engine, changed: dict[str, Any]
) -> None:
    house = House(engine)
    house.hub.judge.record_verdict = house.hub.verdicts.record_verdict
    broker = Neighbour("broker1", house.clock)
    house.post(broker.seal(broker.message()))
    with write_transaction(engine) as conn:
        (row,) = verdicts.list_verdicts(conn)
        assert revalidate_verdict(conn, row).differences == ()
        (leaf,) = list_subject_leaves(conn, "verdict", row.id)
        columns = {**read_columns(leaf), "data": json.dumps(json.loads(leaf.data) | changed)}
        forged = {"data": columns["data"], "leaf_hash": hash_leaf(encode_leaf(columns))}
        conn.execute(update(tables.evidence).where(tables.evidence.c.id == leaf.id).values(forged))
        conn.execute(update(tables.verdicts).values(changed))
        (row,) = verdicts.list_verdicts(conn)
        with pytest.raises(GatewayError, match=r"GW805.*its row differs from its document"):
            revalidate_verdict(conn, row)


def test_every_verdict_that_a_leaf_names_is_referred_to(engine: Engine) -> None:
    named = {"verdict": "a", "first": {"verdict": "b", "inner": {"verdict": "c"}}, "second": {"verdict": "d"}}
    with write_transaction(engine) as conn:
        number = stored(conn)
        record_evidence(conn, "told", "message", number, None, named, START)
        message = messages.find_by_id(conn, number)
        assert message is not None
        found = list(list_verdict_references(conn, message))
    assert sorted(one.verdict for one in found if one.kind == "told") == ["a", "b", "c", "d"]


def test_the_verdict_on_another_authority_proves_no_time_stamp(engine: Engine) -> None:
    place = Place.make(engine, certified(), certified())
    first, second = place.authorities
    place.send()
    place.tick()
    first.down()
    place.send()
    place.tick(minutes=60)
    second.down()
    one, other = place.stamps()
    assert one.verdict != other.verdict
    with read_transaction(engine) as conn:
        assert checked(conn).stamps == 2
    table = tables.time_stamps
    with write_transaction(engine) as conn:
        conn.execute(update(table).where(table.c.id == one.id).values(verdict=other.verdict))
    with read_transaction(engine) as conn, pytest.raises(GatewayError, match="are about another certificate"):
        checked(conn)
