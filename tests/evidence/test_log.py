from __future__ import annotations

import hashlib
import json
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.evidence import encode_leaf, hash_leaf, list_subject_leaves, record_evidence
from gateway.store import read_transaction, write_transaction
from gateway.store.transitions import evidence
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.rows import NOW, later

DATA = {"z": 1, "a": ["é한글", None, True, {"nested": '<>&"'}]}


def test_the_hash_of_a_leaf_is_that_of_the_rfc():
    # RFC 9162 §2.1.1: MTH({d(0)}) = HASH(0x00 || d(0)); these are the known values for two leaves.
    assert hash_leaf(b"") == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert hash_leaf(b"\x00") == "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"


def test_a_leaf_says_everything_in_one_spelling():
    row = {
        "at": NOW,
        "kind": "NRO",
        "subject_type": "message",
        "subject_id": "7",
        "digest": "ab",
        "data": "{}",
    }
    assert encode_leaf(row) == (
        b'{"at":"2026-11-20T08:30:15.123456Z","data":{},"digest":"ab","kind":"NRO",'
        b'"subject_id":"7","subject_type":"message"}'
    )
    elsewhere = row | {"at": NOW.astimezone(timezone(timedelta(hours=9)))}
    assert encode_leaf(elsewhere) == encode_leaf(row)


@BOTH_AT_LANDING
def test_a_leaf_comes_back_and_its_hash_can_be_made_again(engine):
    with write_transaction(engine) as conn:
        first = record_evidence(conn, "NRO", "message", 7, "ab" * 32, DATA, NOW)
        second = record_evidence(conn, "NRR", "message", "7", None, {}, later(1))
        record_evidence(conn, "NRO", "message", 8, None, {}, NOW)
    with read_transaction(engine) as conn:
        rows = list_subject_leaves(conn, "message", 7)
    assert [row.leaf_hash for row in rows] == [first, second]
    assert [row.seq for row in rows] == [None, None]
    kept = json.loads(rows[0].data)
    # What a party must not read of its case has a salt.
    assert len(kept.pop("salt")) == 32
    assert kept == DATA
    assert rows[0].at == NOW
    for row in rows:
        assert hash_leaf(encode_leaf(row._mapping)) == row.leaf_hash
        assert row.leaf_hash == hashlib.sha256(b"\x00" + encode_leaf(row._mapping)).hexdigest()


@BOTH_AT_LANDING
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
    with write_transaction(engine) as conn:
        first = record_evidence(conn, "NRO", "message", 7, "ab" * 32, {"a": 1}, NOW)
        conn.execute(update(evidence).values(**change))
        row = conn.execute(select(evidence)).one()
    assert hash_leaf(encode_leaf(row._mapping)) != first


@BOTH_AT_LANDING
@pytest.mark.parametrize("data", [{"a": 1.5}, {"a": [{"b": float("nan")}]}, {1: "a"}, {"a": {2: "b"}}])
def test_what_has_no_one_spelling_is_refused(engine, data):
    with write_transaction(engine) as conn, pytest.raises(ValueError, match=r"(fraction|member)"):
        record_evidence(conn, "NRO", "message", 7, None, data, NOW)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@pytest.mark.long
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_the_order_of_members_does_not_matter(data):
    def leaf(members):
        text = json.dumps(members, ensure_ascii=False)
        names = ("kind", "subject_type", "subject_id", "digest")
        return encode_leaf({"at": NOW, "data": text, **dict.fromkeys(names, "x")})

    assert leaf(data) == leaf(dict(reversed(data.items())))


@BOTH_AT_LANDING
def test_a_sequence_number_is_given_once_and_none_to_many(engine):
    with write_transaction(engine) as conn:
        for _ in range(3):
            record_evidence(conn, "NRO", "message", 7, None, {}, NOW)
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(update(evidence).values(seq=1))


@BOTH_AT_LANDING
def test_a_leaf_needs_its_hash(engine):
    row = {"at": NOW, "kind": "NRO", "subject_type": "message", "subject_id": "7", "data": "{}"}
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(insert(evidence), row)


def _record_and_fail(engine):
    with write_transaction(engine) as conn:
        record_evidence(conn, "NRO", "message", 7, None, {}, NOW)
        raise ZeroDivisionError


@BOTH_AT_LANDING
def test_a_leaf_goes_with_its_transaction(engine):
    with pytest.raises(ZeroDivisionError):
        _record_and_fail(engine)
    with read_transaction(engine) as conn:
        assert list_subject_leaves(conn, "message", 7) == []
