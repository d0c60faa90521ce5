"""Stores the answers to agencies that traders prepare: unsigned, until the signed one is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    Row,
    Table,
    func,
    insert,
    select,
    update,
)

from gateway.message_model import Payload
from gateway.store.prepared_statements import insert_row
from gateway.store.table_types import (
    ID_TEXT,
    Instant,
    collect_values,
    make_identity_column,
    make_required_column,
    metadata,
)

# A supplement without its signature, as the trader gets it. `message` is the row of the signed one.
case_answers = Table(
    "case_answers",
    metadata,
    make_identity_column(),
    make_required_column("party"),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("content", LargeBinary),
    make_required_column("fingerprint"),
    make_required_column("created_at", Instant),
    make_required_column("created_by"),
    Column("message", BigInteger, ForeignKey("messages.id")),
    Column("handed_in_at", Instant),
    Index("ix_case_answers_request_id", "request_id", "id"),
)


class CaseAnswerRow(Protocol):
    """A row of the table `case_answers`."""

    id: int
    party: str
    request_id: int
    content: bytes
    fingerprint: str
    created_at: datetime
    created_by: str
    message: int | None
    handed_in_at: datetime | None


# The files that go with it, those of the earlier submission too.
case_answer_files = Table(
    "case_answer_files",
    metadata,
    Column("answer", BigInteger, ForeignKey("case_answers.id"), primary_key=True),
    Column("content_id", ID_TEXT, primary_key=True),
    make_required_column("media_type"),
    make_required_column("content", LargeBinary),
)


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """An answer of a party about a request: the unsigned supplement, its fingerprint, and its files."""

    party: str
    request_id: int
    content: bytes = field(repr=False)
    fingerprint: str
    created_by: str
    files: Sequence[Payload] = ()


def insert_answer(conn: Connection, new_answer: NewAnswer, at: datetime) -> int:
    """Store an answer with its files; return its id."""
    row = collect_values(new_answer) | {"created_at": at}
    del row["files"]
    answer_id = insert_row(conn, case_answers, row)
    if new_answer.files:
        rows = [
            {
                "answer": answer_id,
                "content_id": file.content_id,
                "media_type": file.media_type,
                "content": file.content,
            }
            for file in new_answer.files
        ]
        conn.execute(insert(case_answer_files), rows)
    return answer_id


def find_answer(conn: Connection, party: str, request: int, answer: int) -> CaseAnswerRow | None:
    """Return an answer of a party about a request."""
    c = case_answers.c
    query = select(case_answers).where(c.id == answer, c.party == party, c.request_id == request)
    return conn.execute(query).first()


def count_answers(conn: Connection, party: str, request: int, since: datetime) -> int:
    """Return how many answers of a party about a request were prepared since an instant."""
    c = case_answers.c
    count_query = select(func.count()).where(c.request_id == request, c.party == party, c.created_at > since)
    return int(conn.execute(count_query).scalar_one())


class CaseAnswerSummaryRow(Protocol):
    """An answer without its content."""

    id: int
    fingerprint: str
    created_at: datetime
    created_by: str
    message: int | None
    handed_in_at: datetime | None


def list_answers(conn: Connection, party: str, request: int) -> Sequence[CaseAnswerSummaryRow]:
    """Return the answers of a party about a request, the newest first, without their content."""
    c = case_answers.c
    columns: tuple[Any, ...] = (c.id, c.fingerprint, c.created_at, c.created_by, c.message, c.handed_in_at)
    query = select(*columns).where(c.request_id == request, c.party == party)
    rows: Sequence[Row[Any]] = conn.execute(query.order_by(c.id.desc()).limit(20)).all()
    return rows


def load_files(conn: Connection, answer: int) -> tuple[Payload, ...]:
    """Return the files of an answer."""
    c = case_answer_files.c
    rows = conn.execute(select(case_answer_files).where(c.answer == answer).order_by(c.content_id))
    return tuple(Payload(row.content_id, row.media_type, row.content) for row in rows)


def mark_handed_in(conn: Connection, answer: int, message_id: int, at: datetime) -> None:
    """Store which message the signed answer became; the first one is kept."""
    c = case_answers.c
    unsent = (c.id == answer) & c.message.is_(None)
    conn.execute(update(case_answers).where(unsent).values(message=message_id, handed_in_at=at))
