"""The tables of answers to agencies that traders prepare in the console, until they are signed and sent."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text

from gateway.store.column_types import Instant
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["case_answer_files", "case_answers"]

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

# The files that go with it, those of the earlier submission too.
case_answer_files = Table(
    "case_answer_files",
    metadata,
    Column("answer", BigInteger, ForeignKey("case_answers.id"), primary_key=True),
    Column("content_id", Text, primary_key=True),
    make_required_column("media_type"),
    make_required_column("content", LargeBinary),
)
