from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from gateway.errors import GatewayError
from gateway.message_model import Payload
from gateway.state_machines import MESSAGE
from gateway.store import (
    StateEvent,
    exact_searches,
    messages,
    payloads,
    read_transaction,
    transitions,
    write_transaction,
)
from tests.kit import tables as t
from tests.kit.rows import NOW, answer, later, message, stored
from tests.store.test_query_plans import asked


def count(conn, table):
    return conn.execute(select(func.count()).select_from(table)).scalar_one()


@pytest.mark.long
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
    with write_transaction(engine) as conn:
        done = messages.accept_message(conn, new, answer(), NOW)
    assert (done.is_new, done.answer) == (True, answer())
    with read_transaction(engine) as conn:
        row = messages.find_by_id(conn, done.id)
        assert messages.load_payloads(conn, done.id) == new.payloads
        assert messages.load_parcel(conn, done.id) == (new.parcel_headers, new.parcel)
        assert messages.find_response(conn, done.id) == answer()
        assert messages.find_by_message_id(conn, "in", "broker", new.message_id) == row
        steps = transitions.list_transitions(conn, MESSAGE, done.id)
    for name in ("message_id", "ref_to_message_id", "pmode_id", "signer_sha256", "expires_at", "service"):
        assert getattr(row, name) == getattr(new, name)
    assert (row.state, row.received_at, row.direction) == ("ACCEPTED", NOW, "in")
    assert row.received_at.utcoffset().total_seconds() == 0
    assert [(step.from_state, step.event, step.to_state) for step in steps] == [
        ("RECEIVED", "accept", "ACCEPTED")
    ]


def test_nothing_of_a_prepared_message_is_digested_in_its_transaction(engine, monkeypatch):
    new = message(payloads=(Payload("a", "application/xml", b"<A/>" * 300),), parcel=b"head" + b"<A/>" * 300)
    prepared = messages.prepare_message(new, answer(), NOW)

    def digest_late(*_):
        raise AssertionError("digested while others wait")

    with monkeypatch.context() as patched:
        patched.setattr("hashlib.sha256", digest_late)
        with write_transaction(engine) as conn:
            done = messages.accept_prepared_message(conn, prepared)
    with write_transaction(engine) as conn:
        again = messages.accept_prepared_message(conn, messages.prepare_message(new, answer(b"other"), NOW))
        assert (again.id, again.is_new, again.answer) == (done.id, False, answer())
        assert messages.load_payloads(conn, done.id) == new.payloads
        assert messages.load_parcel(conn, done.id) == (new.parcel_headers, new.parcel)


@pytest.mark.long
@pytest.mark.parametrize(
    ("inner", "apart"), [(b"<Small/>" * 5000, 0), (b"<Large/>" * 9000, 1)], ids=["in its row", "apart"]
)
def test_octets_within_the_parcel_are_held_once(engine, inner, apart):
    parcel = b"head" + inner + b"tail"
    with write_transaction(engine) as conn:
        row = stored(conn, payloads=(Payload("a", "text/xml", inner),), parcel=parcel)
        in_row = conn.execute(select(t.messages.c.parcel)).scalar_one()
        kept = conn.execute(select(t.payloads.c.content)).scalars().all()
        assert [in_row, *kept] == ([None, parcel] if apart else [parcel])
        assert messages.load_parcel(conn, row)[1] == parcel
        assert messages.load_payloads(conn, row)[0].content == inner


def test_what_we_send_is_held_by_its_digest(engine):
    with write_transaction(engine) as conn:
        stored(conn, direction="out", parcel=b"sent")
        assert payloads.get_payload_octets(conn, payloads.compute_sha256(b"sent")) == b"sent"


def test_a_parcel_whose_digest_is_known_is_not_digested_again(engine, monkeypatch):
    digest = payloads.compute_sha256(b"sent")
    new = message(direction="out", parcel=b"sent", payloads=(), parcel_sha256=digest)

    def digest_again(*_):
        raise AssertionError("digested again")

    with monkeypatch.context() as patched:
        patched.setattr("hashlib.sha256", digest_again)
        with write_transaction(engine) as conn:
            done = messages.accept_message(conn, new, None, NOW)
    with read_transaction(engine) as conn:
        assert messages.find_by_id(conn, done.id).parcel_sha256 == digest
        assert payloads.get_payload_octets(conn, digest) == b"sent"


def test_a_duplicate_gets_the_first_answer_and_leaves_no_row(engine):
    new = message()
    with write_transaction(engine) as conn:
        first = messages.accept_message(conn, new, answer(b"first"), NOW)
    again = replace(new, parcel=b"framed otherwise", payloads=())
    with write_transaction(engine) as conn:
        second = messages.accept_message(conn, again, answer(b"second"), later(5))
        assert (second.id, second.is_new, second.answer) == (first.id, False, answer(b"first"))
        for table in (t.messages, t.message_payloads, t.transitions):
            assert count(conn, table) == 1


def test_a_duplicate_of_an_unanswered_message_has_no_answer(engine):
    new = message()
    with write_transaction(engine) as conn:
        first = messages.accept_message(conn, new, None, NOW)
        assert messages.accept_message(conn, new, None, NOW).answer is None
        assert messages.store_response(conn, first.id, answer(b"late")) == answer(b"late")
        assert messages.store_response(conn, first.id, answer(b"later")) == answer(b"late")
        assert messages.accept_message(conn, new, answer(b"other"), NOW).answer == answer(b"late")


def test_an_empty_answer_is_an_answer(engine):
    new = message()
    with write_transaction(engine) as conn:
        messages.accept_message(conn, new, messages.HttpResponse(204, {}, b""), NOW)
        assert messages.accept_message(conn, new, None, NOW).answer == messages.HttpResponse(204, {}, b"")


def test_the_same_id_with_other_content_is_refused(engine):
    new = message()
    with write_transaction(engine) as conn:
        messages.accept_message(conn, new, answer(), NOW)
    with pytest.raises(GatewayError) as caught, write_transaction(engine) as conn:
        messages.accept_message(conn, replace(new, identity_sha256="f" * 64), answer(), NOW)
    assert caught.value.problem.id == "GW312"
    assert new.message_id in caught.value.detail
    with read_transaction(engine) as conn:
        assert count(conn, t.messages) == 1


def test_the_same_id_of_another_party_or_direction_is_another_message(engine):
    new = message()
    with write_transaction(engine) as conn:
        for other in (new, replace(new, from_party="carrier"), replace(new, direction="out")):
            assert messages.accept_message(conn, other, answer(), NOW).is_new
        assert messages.find_by_message_id(conn, "in", "nobody", new.message_id) is None


def test_a_transaction_that_fails_leaves_no_row_so_the_id_is_free(engine):
    new = message()
    with pytest.raises(RuntimeError, match="refused"):
        _accept_and_fail(engine, new)
    with write_transaction(engine) as conn:
        assert messages.accept_message(conn, replace(new, identity_sha256="e" * 64), answer(), NOW).is_new


def _accept_and_fail(engine, new):
    with write_transaction(engine) as conn:
        messages.accept_message(conn, new, answer(), NOW)
        raise RuntimeError("refused")


def test_fifty_copies_at_once_are_accepted_once(engine):
    new = message()
    start = threading.Barrier(8)

    def deliver(number):
        if number < 8:
            start.wait()
        with write_transaction(engine) as conn:
            return messages.accept_message(conn, new, answer(b"%d" % number), NOW)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(deliver, range(50)))
    assert sum(one.is_new for one in done) == 1
    assert len({one.id for one in done}) == 1
    assert len({one.answer.body for one in done}) == 1


def test_our_own_message_is_stored_once(engine):
    new = message(direction="out")
    with write_transaction(engine) as conn:
        row = messages.insert_own_message(conn, new, NOW, "relay").id
        assert messages.find_by_id(conn, row).direction == "out"
    with pytest.raises(GatewayError, match="GW312"), write_transaction(engine) as conn:
        messages.insert_own_message(conn, new, NOW, "relay")


def test_a_stored_message_follows_its_machine(engine):
    with write_transaction(engine) as conn:
        row = stored(conn)
        assert messages.apply_event(conn, row, StateEvent("fail", NOW, "admit"), "GW901") == "FAILED"
        assert messages.find_by_id(conn, row).problem == "GW901"
        assert (
            messages.apply_event(conn, row, StateEvent("retry", NOW, "operator", "try again")) == "ACCEPTED"
        )
        assert messages.find_by_id(conn, row).problem is None
        messages.apply_event(conn, row, StateEvent("process", NOW, "admit"))
        with pytest.raises(GatewayError, match="GW705"):
            messages.apply_event(conn, row, StateEvent("fail", NOW, "admit"))
        steps = transitions.list_transitions(conn, MESSAGE, row)
    assert [step.event for step in steps] == ["accept", "fail", "retry", "process"]
    assert steps[2].detail == "try again"
    assert steps[2].actor == "operator"


def test_moving_what_does_not_exist_is_a_problem(engine):
    with pytest.raises(GatewayError, match="GW705"), write_transaction(engine) as conn:
        messages.apply_event(conn, 4711, StateEvent("fail", NOW, "admit"))


def test_search_goes_newest_first_and_on(engine):
    with write_transaction(engine) as conn:
        rows = [stored(conn, action=action) for action in ("Submit", "Supplement", "Submit", "Submit")]
        found = [row.id for row in messages.list_messages(conn, action="Submit", limit=2)]
        assert found == [rows[3], rows[2]]
        more = [row.id for row in messages.list_messages(conn, action="Submit", before=found[-1])]
        assert more == [rows[0]]
        assert "answer_body" not in messages.list_messages(conn)[0]._fields


def test_octets_that_changed_are_never_served(engine):
    inner = b"<Large/>" * 500
    with write_transaction(engine) as conn:
        whole = stored(conn, payloads=(Payload("a", "text/xml", inner),), parcel=inner)
        apart = stored(conn, payloads=(Payload("a", "text/xml", b"apart"),), parcel=b"parcel")
        conn.execute(t.payloads.update().values(content=b"changed"))
        conn.execute(t.messages.update().values(parcel=b"changed"))
        for row in (whole, apart):
            with pytest.raises(GatewayError, match="GW805"):
                messages.load_payloads(conn, row)
            with pytest.raises(GatewayError, match="GW805"):
                messages.load_parcel(conn, row)
        conn.execute(t.payloads.delete())
        with pytest.raises(GatewayError, match="GW805"):
            messages.load_payloads(conn, apart)


def test_a_place_that_is_wrong_is_noticed(engine):
    inner = b"<Large/>" * 500
    with write_transaction(engine) as conn:
        row = stored(conn, payloads=(Payload("a", "text/xml", inner),), parcel=b"head" + inner)
        conn.execute(t.message_payloads.update().values(parcel_offset=3))
        with pytest.raises(GatewayError, match="GW805"):
            messages.load_payloads(conn, row)


def test_payloads_are_held_once(engine):
    with write_transaction(engine) as conn:
        first = payloads.store_payload(conn, b"octets", NOW)
        assert payloads.store_payloads(conn, (b"octets", b"others", b"octets"), later(1)) == (
            first,
            payloads.compute_sha256(b"others"),
            first,
        )
        assert count(conn, t.payloads) == 2
        assert payloads.get_payload_octets(conn, first) == b"octets"
        assert conn.execute(select(t.payloads.c.stored_at)).scalars().all() == [NOW, later(1)]
        with pytest.raises(GatewayError, match="GW805"):
            payloads.get_payload_octets(conn, "0" * 64)


@pytest.mark.long
@pytest.mark.parametrize(
    ("column", "value"), [("direction", "'up'"), ("state", "'LOST'"), ("message_id", "NULL")]
)
def test_the_database_itself_refuses_nonsense(engine, column, value):
    with write_transaction(engine) as conn:
        stored(conn)
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(text(f"UPDATE messages SET {column} = {value}"))


def test_the_database_itself_refuses_a_second_row(engine):
    with write_transaction(engine) as conn:
        stored(conn)
    names = ", ".join(column.name for column in t.messages.c if column.name != "id")
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(text(f"INSERT INTO messages ({names}) SELECT {names} FROM messages"))


def test_a_part_needs_its_message(engine):
    row = {"message": 4711, "position": 1, "content_id": "a", "media_type": "a/b", "sha256": "0" * 64}
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(t.message_payloads.insert(), row | {"size": 0, "properties": []})


@pytest.mark.long
@pytest.mark.parametrize(("parcel", "statements"), [(b"<A/>" * 300, 1), (b"<B/>" * 300, 3)])
def test_parts_within_a_message_are_read_with_its_octets_where_the_first_one_is(engine, parcel, statements):
    parts = tuple(Payload(name, "application/xml", f"<{name}/>".encode() * 300) for name in "AB")
    new = message(payloads=parts[: statements // 3 + 1], parcel=b"head" + parcel)
    with write_transaction(engine) as conn:
        done = messages.accept_message(conn, new, answer(), NOW)
    found = asked(engine, lambda conn: messages.load_payloads(conn, done.id) == new.payloads or 1 / 0)
    assert len(found) == statements


def test_a_number_finds_a_message_of_this_id_and_the_row_of_this_number_once(engine):
    with write_transaction(engine) as conn:
        older = messages.accept_message(conn, message(message_id="2"), answer(), NOW).id
        newer = messages.accept_message(conn, message(message_id="x"), answer(), NOW).id
        both = messages.accept_message(conn, message(message_id="3"), answer(), NOW).id
    assert (older, newer, both) == (1, 2, 3)
    with read_transaction(engine) as conn:
        for text_searched, row_ids in (("2", [2, 1]), ("3", [3]), ("x", [2]), ("1", [1]), ("9" * 30, [])):
            assert [row.id for row in exact_searches.find_messages(conn, text_searched)] == row_ids
