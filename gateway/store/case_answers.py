"""Stores the answers to agencies that traders prepare: unsigned, until the signed one is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gateway.message_model import Payload
from gateway.store.answer_tables import case_answer_files, case_answers

__all__ = ["NewAnswer", "find_answer", "insert_answer", "list_answers", "load_files", "mark_handed_in"]


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """An answer of a party about a request: the unsigned supplement, its fingerprint, and its files."""

    party: str
    request_id: int
    content: bytes = field(repr=False)
    fingerprint: str
    created_by: str
    files: Sequence[Payload] = ()


def insert_answer(conn: Connection, new: NewAnswer, at: datetime) -> int:
    """Store an answer with its files; return its id."""
    row = {
        "party": new.party,
        "request_id": new.request_id,
        "content": new.content,
        "fingerprint": new.fingerprint,
        "created_at": at,
        "created_by": new.created_by,
    }
    answer = int(conn.execute(insert(case_answers).values(row)).inserted_primary_key[0])  # type: ignore[index]
    if new.files:
        rows = [
            {
                "answer": answer,
                "content_id": one.content_id,
                "media_type": one.media_type,
                "content": one.content,
            }
            for one in new.files
        ]
        conn.execute(insert(case_answer_files), rows)
    return answer


def find_answer(conn: Connection, party: str, request: int, answer: int) -> Row[Any] | None:
    """Return an answer of a party about a request."""
    c = case_answers.c
    found = select(case_answers).where(c.id == answer, c.party == party, c.request_id == request)
    return conn.execute(found).first()


def list_answers(conn: Connection, party: str, request: int) -> Sequence[Row[Any]]:
    """Return the answers of a party about a request, the newest first, without their content."""
    c = case_answers.c
    columns: tuple[Any, ...] = (c.id, c.fingerprint, c.created_at, c.created_by, c.message, c.handed_in_at)
    found = select(*columns).where(c.request_id == request, c.party == party)
    rows: Sequence[Row[Any]] = conn.execute(found.order_by(c.id.desc()).limit(20)).all()
    return rows


def load_files(conn: Connection, answer: int) -> tuple[Payload, ...]:
    """Return the files of an answer."""
    c = case_answer_files.c
    rows = conn.execute(select(case_answer_files).where(c.answer == answer).order_by(c.content_id))
    return tuple(Payload(row.content_id, row.media_type, row.content) for row in rows)


def mark_handed_in(conn: Connection, answer: int, message: int, at: datetime) -> None:
    """Store which message the signed answer became; the first one is kept."""
    c = case_answers.c
    unsent = (c.id == answer) & c.message.is_(None)
    conn.execute(update(case_answers).where(unsent).values(message=message, handed_in_at=at))
