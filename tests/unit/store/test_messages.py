from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from gateway.errors import GatewayError
from gateway.model import Payload
from gateway.states import MESSAGE
from gateway.store import messages, payloads, reading, transaction, transitions
from gateway.store import tables as t
from gateway.store.transitions import Step
from tests.kit.rows import NOW, answer, later, message, stored


def count(conn, table):
    return conn.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_message_comes_back_as_it_was(engine):
    new = message(
        ref_to_message_id="earlier@hub",
        pmode_id="submit",
        signer_sha256="ab" * 32,
        expires_at=later(3600),
        payloads=(
            Payload("a", "application/xml", b"<A/>" * 300, (("name", "A"), ("more", "한글"))),
            Payload("b", "application/pdf", b"%PDF not within the parcel" * 40),
            Payload("c", "text/plain", b""),
        ),
        parcel=b"head" + b"<A/>" * 300 + b"tail",
    )
    with transaction(engine) as conn:
        done = messages.accept(conn, new, answer(), NOW)
    assert (done.new, done.answer) == (True, answer())
    with reading(engine) as conn:
        row = messages.get(conn, done.id)
        assert messages.payloads_of(conn, done.id) == new.payloads
        assert messages.parcel_of(conn, done.id) == (new.parcel_headers, new.parcel)
        assert messages.answer_of(conn, done.id) == answer()
        assert messages.find(conn, "in", "broker", new.message_id) == row
        steps = transitions.history(conn, MESSAGE, done.id)
    for name in ("message_id", "ref_to_message_id", "pmode_id", "signer_sha256", "expires_at", "service"):
        assert getattr(row, name) == getattr(new, name)
    assert (row.state, row.received_at, row.direction) == ("ACCEPTED", NOW, "in")
    assert row.received_at.utcoffset().total_seconds() == 0
    assert [(step.from_state, step.event, step.to_state) for step in steps] == [
        ("RECEIVED", "accept", "ACCEPTED")
    ]


@pytest.mark.parametrize(
    ("inner", "apart"), [(b"<Small/>" * 5000, 0), (b"<Large/>" * 9000, 1)], ids=["in its row", "apart"]
)
def test_octets_within_the_parcel_are_held_once(engine, inner, apart):
    parcel = b"head" + inner + b"tail"
    with transaction(engine) as conn:
        row = stored(conn, payloads=(Payload("a", "text/xml", inner),), parcel=parcel)
        in_row = conn.execute(select(t.messages.c.parcel)).scalar_one()
        kept = conn.execute(select(t.payloads.c.content)).scalars().all()
        assert [in_row, *kept] == ([None, parcel] if apart else [parcel])
        assert messages.parcel_of(conn, row)[1] == parcel
        assert messages.payloads_of(conn, row)[0].content == inner


def test_what_we_send_is_held_by_its_digest(engine):
    with transaction(engine) as conn:
        stored(conn, direction="out", parcel=b"sent")
        assert payloads.get(conn, payloads.sha256(b"sent")) == b"sent"


def test_a_duplicate_gets_the_first_answer_and_leaves_no_row(engine):
    new = message()
    with transaction(engine) as conn:
        first = messages.accept(conn, new, answer(b"first"), NOW)
    again = replace(new, parcel=b"framed otherwise", payloads=())
    with transaction(engine) as conn:
        second = messages.accept(conn, again, answer(b"second"), later(5))
        assert (second.id, second.new, second.answer) == (first.id, False, answer(b"first"))
        for table in (t.messages, t.message_payloads, t.transitions):
            assert count(conn, table) == 1


def test_a_duplicate_of_an_unanswered_message_has_no_answer(engine):
    new = message()
    with transaction(engine) as conn:
        first = messages.accept(conn, new, None, NOW)
        assert messages.accept(conn, new, None, NOW).answer is None
        assert messages.set_answer(conn, first.id, answer(b"late")) == answer(b"late")
        assert messages.set_answer(conn, first.id, answer(b"later")) == answer(b"late")
        assert messages.accept(conn, new, answer(b"other"), NOW).answer == answer(b"late")


def test_an_empty_answer_is_an_answer(engine):
    new = message()
    with transaction(engine) as conn:
        messages.accept(conn, new, messages.Answer(204, {}, b""), NOW)
        assert messages.accept(conn, new, None, NOW).answer == messages.Answer(204, {}, b"")


def test_the_same_id_with_other_content_is_refused(engine):
    new = message()
    with transaction(engine) as conn:
        messages.accept(conn, new, answer(), NOW)
    with pytest.raises(GatewayError) as caught, transaction(engine) as conn:
        messages.accept(conn, replace(new, identity_sha256="f" * 64), answer(), NOW)
    assert caught.value.problem.id == "GW312"
    assert new.message_id in caught.value.detail
    with reading(engine) as conn:
        assert count(conn, t.messages) == 1


def test_the_same_id_of_another_party_or_direction_is_another_message(engine):
    new = message()
    with transaction(engine) as conn:
        for other in (new, replace(new, from_party="carrier"), replace(new, direction="out")):
            assert messages.accept(conn, other, answer(), NOW).new
        assert messages.find(conn, "in", "nobody", new.message_id) is None


def test_a_transaction_that_fails_leaves_no_row_so_the_id_is_free(engine):
    new = message()
    with pytest.raises(RuntimeError, match="refused"):
        _accept_and_fail(engine, new)
    with transaction(engine) as conn:
        assert messages.accept(conn, replace(new, identity_sha256="e" * 64), answer(), NOW).new


def _accept_and_fail(engine, new):
    with transaction(engine) as conn:
        messages.accept(conn, new, answer(), NOW)
        raise RuntimeError("refused")


def test_fifty_copies_at_once_are_accepted_once(engine):
    new = message()
    start = threading.Barrier(8)

    def deliver(number):
        if number < 8:
            start.wait()
        with transaction(engine) as conn:
            return messages.accept(conn, new, answer(b"%d" % number), NOW)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(deliver, range(50)))
    assert sum(one.new for one in done) == 1
    assert len({one.id for one in done}) == 1
    assert len({one.answer.body for one in done}) == 1


def test_our_own_message_is_stored_once(engine):
    new = message(direction="out")
    with transaction(engine) as conn:
        row = messages.add(conn, new, NOW, "relay")
        assert messages.get(conn, row).direction == "out"
    with pytest.raises(GatewayError, match="GW312"), transaction(engine) as conn:
        messages.add(conn, new, NOW, "relay")


def test_a_stored_message_follows_its_machine(engine):
    with transaction(engine) as conn:
        row = stored(conn)
        assert messages.move(conn, row, Step("fail", NOW, "admit"), "GW901") == "FAILED"
        assert messages.get(conn, row).problem == "GW901"
        assert messages.move(conn, row, Step("retry", NOW, "operator", "try again")) == "ACCEPTED"
        assert messages.get(conn, row).problem is None
        messages.move(conn, row, Step("process", NOW, "admit"))
        with pytest.raises(GatewayError, match="GW705"):
            messages.move(conn, row, Step("fail", NOW, "admit"))
        steps = transitions.history(conn, MESSAGE, row)
    assert [step.event for step in steps] == ["accept", "fail", "retry", "process"]
    assert steps[2].detail == "try again"
    assert steps[2].actor == "operator"


def test_moving_what_does_not_exist_is_a_problem(engine):
    with pytest.raises(GatewayError, match="GW705"), transaction(engine) as conn:
        messages.move(conn, 4711, Step("fail", NOW, "admit"))


def test_search_goes_newest_first_and_on(engine):
    with transaction(engine) as conn:
        rows = [stored(conn, action=action) for action in ("Submit", "Supplement", "Submit", "Submit")]
        found = [row.id for row in messages.search(conn, action="Submit", limit=2)]
        assert found == [rows[3], rows[2]]
        more = [row.id for row in messages.search(conn, action="Submit", before=found[-1])]
        assert more == [rows[0]]
        assert "answer_body" not in messages.search(conn)[0]._fields


def test_octets_that_changed_are_never_served(engine):
    inner = b"<Large/>" * 500
    with transaction(engine) as conn:
        whole = stored(conn, payloads=(Payload("a", "text/xml", inner),), parcel=inner)
        apart = stored(conn, payloads=(Payload("a", "text/xml", b"apart"),), parcel=b"parcel")
        conn.execute(t.payloads.update().values(content=b"changed"))
        conn.execute(t.messages.update().values(parcel=b"changed"))
        for row in (whole, apart):
            with pytest.raises(GatewayError, match="GW805"):
                messages.payloads_of(conn, row)
            with pytest.raises(GatewayError, match="GW805"):
                messages.parcel_of(conn, row)
        conn.execute(t.payloads.delete())
        with pytest.raises(GatewayError, match="GW805"):
            messages.payloads_of(conn, apart)


def test_a_place_that_is_wrong_is_noticed(engine):
    inner = b"<Large/>" * 500
    with transaction(engine) as conn:
        row = stored(conn, payloads=(Payload("a", "text/xml", inner),), parcel=b"head" + inner)
        conn.execute(t.message_payloads.update().values(parcel_offset=3))
        with pytest.raises(GatewayError, match="GW805"):
            messages.payloads_of(conn, row)


def test_payloads_are_held_once(engine):
    with transaction(engine) as conn:
        first = payloads.put(conn, b"octets", NOW)
        assert payloads.put_all(conn, (b"octets", b"others", b"octets"), later(1)) == (
            first,
            payloads.sha256(b"others"),
            first,
        )
        assert count(conn, t.payloads) == 2
        assert payloads.get(conn, first) == b"octets"
        assert conn.execute(select(t.payloads.c.stored_at)).scalars().all() == [NOW, later(1)]
        with pytest.raises(GatewayError, match="GW805"):
            payloads.get(conn, "0" * 64)


@pytest.mark.parametrize(
    ("column", "value"), [("direction", "'up'"), ("state", "'LOST'"), ("message_id", "NULL")]
)
def test_the_database_itself_refuses_nonsense(engine, column, value):
    with transaction(engine) as conn:
        stored(conn)
    with pytest.raises(IntegrityError), transaction(engine) as conn:
        conn.execute(text(f"UPDATE messages SET {column} = {value}"))


def test_the_database_itself_refuses_a_second_row(engine):
    with transaction(engine) as conn:
        stored(conn)
    names = ", ".join(column.name for column in t.messages.c if column.name != "id")
    with pytest.raises(IntegrityError), transaction(engine) as conn:
        conn.execute(text(f"INSERT INTO messages ({names}) SELECT {names} FROM messages"))


def test_a_part_needs_its_message(engine):
    row = {"message": 4711, "position": 1, "content_id": "a", "media_type": "a/b", "sha256": "0" * 64}
    with pytest.raises(IntegrityError), transaction(engine) as conn:
        conn.execute(t.message_payloads.insert(), row | {"size": 0, "properties": []})
