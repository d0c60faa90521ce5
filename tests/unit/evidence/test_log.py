from __future__ import annotations

import hashlib
import json
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.evidence import leaf_hash, leaf_of, of_subject, record
from gateway.store import reading, transaction
from gateway.store.tables import evidence
from tests.kit.rows import NOW, later

DATA = {"z": 1, "a": ["é한글", None, True, {"nested": '<>&"'}]}


def test_the_hash_of_a_leaf_is_that_of_the_rfc():
    # RFC 9162 §2.1.1: MTH({d(0)}) = HASH(0x00 || d(0)); these are the known values for two leaves.
    assert leaf_hash(b"") == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"\x00") == "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"


def test_a_leaf_says_everything_in_one_spelling():
    row = {
        "at": NOW,
        "kind": "NRO",
        "subject_type": "message",
        "subject_id": "7",
        "digest": "ab",
        "data": "{}",
    }
    assert leaf_of(row) == (
        b'{"at":"2026-11-20T08:30:15.123456Z","data":{},"digest":"ab","kind":"NRO",'
        b'"subject_id":"7","subject_type":"message"}'
    )
    elsewhere = row | {"at": NOW.astimezone(timezone(timedelta(hours=9)))}
    assert leaf_of(elsewhere) == leaf_of(row)


def test_a_leaf_comes_back_and_its_hash_can_be_made_again(engine):
    with transaction(engine) as conn:
        first = record(conn, "NRO", "message", 7, "ab" * 32, DATA, NOW)
        second = record(conn, "NRR", "message", "7", None, {}, later(1))
        record(conn, "NRO", "message", 8, None, {}, NOW)
    with reading(engine) as conn:
        rows = of_subject(conn, "message", 7)
    assert [row.leaf_hash for row in rows] == [first, second]
    assert [row.seq for row in rows] == [None, None]
    assert json.loads(rows[0].data) == DATA
    assert rows[0].at == NOW
    for row in rows:
        assert leaf_hash(leaf_of(row._mapping)) == row.leaf_hash
        assert row.leaf_hash == hashlib.sha256(b"\x00" + leaf_of(row._mapping)).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"at": later(0.000001)},
        {"kind": "NRR"},
        {"subject_type": "case"},
        {"subject_id": "8"},
        {"digest": None},
        {"data": '{"a":2}'},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_is_changed_changes_the_hash(engine, change):
    with transaction(engine) as conn:
        first = record(conn, "NRO", "message", 7, "ab" * 32, {"a": 1}, NOW)
        conn.execute(update(evidence).values(**change))
        row = conn.execute(select(evidence)).one()
    assert leaf_hash(leaf_of(row._mapping)) != first


@pytest.mark.parametrize("data", [{"a": 1.5}, {"a": [{"b": float("nan")}]}, {1: "a"}, {"a": {2: "b"}}])
def test_what_has_no_one_spelling_is_refused(engine, data):
    with transaction(engine) as conn, pytest.raises(ValueError, match=r"(fraction|member)"):
        record(conn, "NRO", "message", 7, None, data, NOW)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_the_order_of_members_does_not_matter(data):
    def leaf(members):
        text = json.dumps(members, ensure_ascii=False)
        names = ("kind", "subject_type", "subject_id", "digest")
        return leaf_of({"at": NOW, "data": text, **dict.fromkeys(names, "x")})

    assert leaf(data) == leaf(dict(reversed(data.items())))


def test_a_sequence_number_is_given_once_and_none_to_many(engine):
    with transaction(engine) as conn:
        for _ in range(3):
            record(conn, "NRO", "message", 7, None, {}, NOW)
    with pytest.raises(IntegrityError), transaction(engine) as conn:
        conn.execute(update(evidence).values(seq=1))


def test_a_leaf_needs_its_hash(engine):
    row = {"at": NOW, "kind": "NRO", "subject_type": "message", "subject_id": "7", "data": "{}"}
    with pytest.raises(IntegrityError), transaction(engine) as conn:
        conn.execute(insert(evidence), row)


def _record_and_fail(engine):
    with transaction(engine) as conn:
        record(conn, "NRO", "message", 7, None, {}, NOW)
        raise ZeroDivisionError


def test_a_leaf_goes_with_its_transaction(engine):
    with pytest.raises(ZeroDivisionError):
        _record_and_fail(engine)
    with reading(engine) as conn:
        assert of_subject(conn, "message", 7) == []
