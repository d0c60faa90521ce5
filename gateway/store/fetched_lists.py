"""Stores fetched revocation data: what is in force, and the state of each source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from gateway.store import payloads
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.register_version import increment_register_version
from gateway.store.tables import fetch_sources, fetched_lists

__all__ = [
    "NewFetchedList",
    "activate_lists",
    "delete_lists",
    "delete_source",
    "ensure_source",
    "find_source",
    "list_by_source",
    "list_in_force",
    "list_sources",
    "record_failure",
    "record_success",
    "replace_given_up_delivery",
    "summarize_sources",
]

_NEW_SOURCE = InsertIfAbsent(fetch_sources, ("name",))


@dataclass(frozen=True, slots=True)
class NewFetchedList:
    """A fetched list or response to activate; `subject`: the certificate that it was requested for.

    `kind` is that of its source, `number` its number in decimal digits, `subject` a SHA-256 or
    empty.
    """

    subject: str
    kind: str
    octets: bytes
    issuer: str
    number: str | None
    this_update: datetime
    next_update: datetime


def ensure_source(conn: Connection, name: str, kind: str, url: str) -> Row[Any]:
    """Return the locked row of a source, inserted or updated where the settings differ from it."""
    _NEW_SOURCE.insert_many(conn, [{"name": name, "kind": kind, "url": url, "failures": 0}])
    row = conn.execute(select(fetch_sources).where(fetch_sources.c.name == name).with_for_update()).one()
    if (row.kind, row.url) == (kind, url):
        return row
    _update_source(conn, name, kind=kind, url=url, etag=None)
    return conn.execute(select(fetch_sources).where(fetch_sources.c.name == name)).one()


def activate_lists(conn: Connection, name: str, words: Iterable[NewFetchedList], at: datetime) -> int:
    """Activate fetched lists in place of those for the same subjects; return how many have new octets.

    The epoch rises when there is any. The octets of replaced lists stay in the database.
    """
    changed = sum([_activate_list(conn, name, word, at) for word in words])
    if changed:
        increment_register_version(conn)
    return changed


def _activate_list(conn: Connection, name: str, word: NewFetchedList, at: datetime) -> bool:
    mine = (fetched_lists.c.source == name, fetched_lists.c.subject == word.subject)
    held = conn.execute(select(fetched_lists.c.sha256).where(*mine)).scalar_one_or_none()
    sha256 = payloads.store_payload(conn, word.octets, at)
    if held == sha256:
        conn.execute(update(fetched_lists).where(*mine).values(fetched_at=at))
        return False
    values = {key: value for key, value in asdict(word).items() if key != "octets"}
    values |= {"sha256": sha256, "taken_at": at, "fetched_at": at}
    if held is None:
        conn.execute(insert(fetched_lists).values(source=name, **values))
    else:
        conn.execute(update(fetched_lists).where(*mine).values(**values))
    return True


def record_success(conn: Connection, name: str, at: datetime, etag: str | None = None) -> None:
    """Record that everything of a source was fetched and accepted."""
    _update_source(conn, name, fetched_at=at, etag=etag, failures=0, problem=None, detail=None)


def record_failure(conn: Connection, name: str, at: datetime, problem: str, detail: str) -> int:
    """Record that a fetch failed; return the number of consecutive failures."""
    changed = (
        update(fetch_sources)
        .where(fetch_sources.c.name == name)
        .values(failed_at=at, failures=fetch_sources.c.failures + 1, problem=problem, detail=detail)
    )
    return int(conn.execute(changed.returning(fetch_sources.c.failures)).scalar_one())


def replace_given_up_delivery(conn: Connection, name: str, delivery: int | None) -> int | None:
    """Set the given-up delivery of a source, or None; return the previous one."""
    before = conn.execute(select(fetch_sources.c.given_up).where(fetch_sources.c.name == name)).scalar()
    if before != delivery:
        _update_source(conn, name, given_up=delivery)
    return before


def delete_source(conn: Connection, name: str) -> int:
    """Delete everything fetched from a source; return how many lists that were."""
    gone = conn.execute(delete(fetched_lists).where(fetched_lists.c.source == name)).rowcount
    conn.execute(delete(fetch_sources).where(fetch_sources.c.name == name))
    if gone:
        increment_register_version(conn)
    return int(gone)


def delete_lists(conn: Connection, name: str, subjects: Iterable[str]) -> None:
    """Delete the responses for certificates that are no longer queried."""
    for subject in subjects:
        conn.execute(
            delete(fetched_lists).where(fetched_lists.c.source == name, fetched_lists.c.subject == subject)
        )


def find_source(conn: Connection, name: str) -> Row[Any] | None:
    """Return the row of a source."""
    return conn.execute(select(fetch_sources).where(fetch_sources.c.name == name)).first()


def list_sources(conn: Connection) -> Sequence[Row[Any]]:
    """Return every source that was ever fetched from, by name."""
    return conn.execute(select(fetch_sources).order_by(fetch_sources.c.name)).all()


def list_in_force(conn: Connection) -> Sequence[Row[Any]]:
    """Return everything in force, by source and subject; the octets are among the payloads."""
    return conn.execute(select(fetched_lists).order_by(fetched_lists.c.source, fetched_lists.c.subject)).all()


def list_by_source(conn: Connection, name: str) -> dict[str, Row[Any]]:
    """Return what is in force of one source, by subject."""
    found = select(fetched_lists).where(fetched_lists.c.source == name)
    return {row.subject: row for row in conn.execute(found)}


def summarize_sources(conn: Connection) -> Sequence[Row[Any]]:
    """Return for each source how many lists are in force, and the period in which all of them are valid."""
    found = select(
        fetched_lists.c.source,
        func.count().label("words"),
        func.min(fetched_lists.c.this_update).label("this_update"),
        func.min(fetched_lists.c.next_update).label("next_update"),
        func.max(fetched_lists.c.taken_at).label("taken_at"),
        func.max(fetched_lists.c.number).label("number"),
    )
    return conn.execute(found.group_by(fetched_lists.c.source)).all()


def _update_source(conn: Connection, name: str, **values: Any) -> None:
    conn.execute(update(fetch_sources).where(fetch_sources.c.name == name).values(**values))
