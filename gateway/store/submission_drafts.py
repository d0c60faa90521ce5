"""Stores the drafts of submissions that traders prepare in the console, each with its files.

Every question names the party whose draft it is about: a draft of another party is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from gateway.store.cases import cases
from gateway.store.messages import messages
from gateway.store.postgresql_connections import acquire_named_locks
from gateway.store.prepared_statements import insert_row
from gateway.store.table_types import (
    ID_TEXT,
    NAME_TEXT,
    Instant,
    make_identity_column,
    make_required_column,
    metadata,
)

# A draft belongs to a party. `content` are the values of its form as JSON. A draft that was handed in has
# the row id of its message, and is not changed any more.
submission_drafts = Table(
    "submission_drafts",
    metadata,
    make_identity_column(),
    make_required_column("party", NAME_TEXT),
    make_required_column("reference"),
    make_required_column("documents"),
    make_required_column("content"),
    make_required_column("version", Integer),
    make_required_column("created_at", Instant),
    make_required_column("created_by"),
    make_required_column("changed_at", Instant),
    make_required_column("changed_by"),
    Column("message", BigInteger, ForeignKey("messages.id")),
    Column("handed_in_at", Instant),
    Index("ix_submission_drafts_party", "party", "id"),
)


class DraftSummaryRow(Protocol):
    """A row of the table `submission_drafts` without its content."""

    id: int
    party: str
    reference: str
    documents: str
    version: int
    created_at: datetime
    created_by: str
    changed_at: datetime
    changed_by: str
    message: int | None
    handed_in_at: datetime | None


class SubmissionDraftRow(DraftSummaryRow, Protocol):
    """A row of the table `submission_drafts`."""

    content: str


# A file of a draft; the submission names it by its content id.
draft_files = Table(
    "draft_files",
    metadata,
    make_identity_column(),
    make_required_column("draft_id", BigInteger, ForeignKey("submission_drafts.id")),
    make_required_column("cid", ID_TEXT),
    make_required_column("name"),
    make_required_column("media_type"),
    make_required_column("sha256"),
    make_required_column("size", BigInteger),
    make_required_column("content", LargeBinary),
    make_required_column("added_at", Instant),
    Column("added_by", Text),
    UniqueConstraint("draft_id", "cid"),
)


class DraftFileSummaryRow(Protocol):
    """A row of the table `draft_files` without its content."""

    id: int
    draft_id: int
    cid: str
    name: str
    media_type: str
    sha256: str
    size: int
    added_at: datetime
    added_by: str | None


class DraftFileRow(DraftFileSummaryRow, Protocol):
    """A row of the table `draft_files`."""

    content: bytes


_DRAFT = submission_drafts.c
_FILE = draft_files.c
_SUMMARY = select(*(column for column in submission_drafts.c if column.name != "content"))
_FILE_SUMMARY = select(*(column for column in draft_files.c if column.name != "content"))


@dataclass(frozen=True, slots=True)
class DraftContent:
    """The content of a draft: the values of its form as JSON, and those of them that lists show."""

    reference: str
    documents: str
    content: str


@dataclass(frozen=True, slots=True)
class NewDraftFile:
    """A file to be kept with a draft."""

    cid: str
    name: str
    media_type: str
    sha256: str
    size: int
    content: bytes


def insert_draft(conn: Connection, party: str, content: DraftContent, by: str, at: datetime) -> int:
    """Store a new draft of a party; return its id."""
    times = {"created_at": at, "created_by": by, "changed_at": at, "changed_by": by}
    return insert_row(conn, submission_drafts, {**asdict(content), "party": party, "version": 1, **times})


def save_draft(
    conn: Connection, party: str, draft: int, version: int, content: DraftContent, by: str, at: datetime
) -> bool:
    """Store the content of a draft; return False if it was changed or handed in since `version`."""
    changed = conn.execute(
        update(submission_drafts)
        .where(_DRAFT.id == draft, _DRAFT.party == party, _DRAFT.version == version, _DRAFT.message.is_(None))
        .values(**asdict(content), version=version + 1, changed_at=at, changed_by=by)
    )
    return changed.rowcount == 1


def find_draft(conn: Connection, party: str, draft: int) -> SubmissionDraftRow | None:
    """Return a draft of a party."""
    query = select(submission_drafts).where(_DRAFT.id == draft, _DRAFT.party == party)
    return conn.execute(query).first()


def list_drafts(
    conn: Connection, party: str, limit: int, before: int | None = None
) -> Sequence[DraftSummaryRow]:
    """Return drafts of a party without their content, the newest first, with an id below `before`."""
    query = _SUMMARY.where(_DRAFT.party == party).order_by(_DRAFT.id.desc()).limit(limit)
    return conn.execute(query.where(_DRAFT.id < before) if before else query).all()


def count_drafts(conn: Connection, party: str) -> int:
    """Return how many drafts a party has not handed in; other counts wait until the commit."""
    acquire_named_locks(conn, f"drafts of {party}")
    query = select(func.count()).where(_DRAFT.party == party, _DRAFT.message.is_(None))
    return int(conn.execute(query.select_from(submission_drafts)).scalar_one())


def delete_draft(conn: Connection, party: str, draft: int) -> bool:
    """Remove a draft of a party with its files; return whether there was one."""
    owned = select(_DRAFT.id).where(_DRAFT.id == draft, _DRAFT.party == party)
    conn.execute(delete(draft_files).where(_FILE.draft_id.in_(owned)))
    gone = conn.execute(delete(submission_drafts).where(_DRAFT.id == draft, _DRAFT.party == party))
    return gone.rowcount == 1


def mark_handed_in(conn: Connection, draft: int, message: int, at: datetime) -> None:
    """Store the message that a draft has become; the first one counts."""
    conn.execute(
        update(submission_drafts)
        .where(_DRAFT.id == draft, _DRAFT.message.is_(None))
        .values(message=message, handed_in_at=at)
    )


def add_file(conn: Connection, draft: int, file: NewDraftFile, by: str, at: datetime) -> None:
    """Store a file of a draft."""
    row = {**asdict(file), "draft_id": draft, "added_at": at, "added_by": by}
    conn.execute(insert(draft_files).values(row))


def list_files(conn: Connection, draft: int) -> Sequence[DraftFileSummaryRow]:
    """Return the files of a draft without their content, the oldest first."""
    return conn.execute(_FILE_SUMMARY.where(_FILE.draft_id == draft).order_by(_FILE.id)).all()


def find_file_content(conn: Connection, draft: int, file: int) -> DraftFileRow | None:
    """Return a file of a draft with its content, by its row id."""
    return conn.execute(select(draft_files).where(_FILE.draft_id == draft, _FILE.id == file)).first()


def load_file_contents(conn: Connection, draft: int) -> dict[str, bytes]:
    """Return the content of every file of a draft by its content id."""
    rows = conn.execute(select(_FILE.cid, _FILE.content).where(_FILE.draft_id == draft)).all()
    return {str(row.cid): bytes(row.content) for row in rows}


def measure_files(conn: Connection, draft: int) -> tuple[int, int]:
    """Return the number of files of a draft, and their octets."""
    query = select(func.count(), func.coalesce(func.sum(_FILE.size), 0)).where(_FILE.draft_id == draft)
    number, octets = conn.execute(query).one()
    return int(number), int(octets)


def delete_file(conn: Connection, draft: int, cid: str) -> None:
    """Remove a file of a draft."""
    conn.execute(delete(draft_files).where(_FILE.draft_id == draft, _FILE.cid == cid))


def copy_files(conn: Connection, source: int, target: int) -> None:
    """Copy the files of a draft into another one."""
    names = [column.name for column in draft_files.c if column.name not in ("id", "draft_id")]
    rows = select(*(draft_files.c[name] for name in names), _draft_number(target)).where(
        _FILE.draft_id == source
    )
    conn.execute(insert(draft_files).from_select([*names, "draft_id"], rows))


def _draft_number(draft: int) -> Any:
    return select(_DRAFT.id).where(_DRAFT.id == draft).scalar_subquery().label("draft_id")


class SubmissionRow(Protocol):
    """A message with a submission, with number and reference of its case."""

    id: int
    received_at: datetime
    protocol: str
    case_id: int | None
    number: str | None
    functional_reference: str | None


def list_submissions(
    conn: Connection, party: str, limit: int, before: int | None = None
) -> Sequence[SubmissionRow]:
    """Return the messages with submissions that a party has sent, the newest first, below `before`.

    Each has the number and the reference of its case, if there is one.
    """
    columns: list[Any] = [messages.c[name] for name in ("id", "received_at", "protocol", "case_id")]
    columns += [cases.c.number, cases.c.functional_reference]
    query = (
        select(*columns)
        .select_from(messages.outerjoin(cases, cases.c.id == messages.c.case_id))
        # The direction is a literal, so that the index of received messages is used for all parameters.
        .where(text("direction = 'in'"), messages.c.from_party == party, messages.c.action == "Submit")
        .order_by(messages.c.id.desc())
        .limit(limit)
    )
    return conn.execute(query.where(messages.c.id < before) if before else query).all()
