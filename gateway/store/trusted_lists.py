"""Stores trusted lists as received: every accepted list, of which the last of a territory is in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from gateway.store.register_version import increment_register_version
from gateway.store.tables import trust_lists

__all__ = ["NewTrustedList", "get_list_content", "insert_trusted_list", "list_history", "list_latest"]

_SUMMARY = select(*(column for column in trust_lists.c if column is not trust_lists.c.content))


@dataclass(frozen=True, slots=True)
class NewTrustedList:
    """A verified list; `named_by` is the list that names its signer, None: the settings name the signer."""

    form: str
    territory: str
    sequence: int
    sha256: str
    signer: bytes
    issued: datetime
    next_update: datetime | None
    content: bytes
    named_by: str | None
    taken_by: str


def insert_trusted_list(conn: Connection, new: NewTrustedList, at: datetime) -> int:
    """Activate the list from the next message on; return its row id."""
    done = conn.execute(insert(trust_lists).values(asdict(new) | {"taken_at": at}))
    increment_register_version(conn)
    return int(done.inserted_primary_key[0])  # type: ignore[index]


def list_latest(conn: Connection) -> Sequence[Row[Any]]:
    """Return the last list of each form and territory without its octets, and each signer's last root.

    A root is a list whose signer the settings name; the settings also decide which of several roots
    counts.
    """
    root = trust_lists.c.named_by.is_(None)
    others = select(func.max(trust_lists.c.id)).where(~root)
    roots = select(func.max(trust_lists.c.id)).where(root)
    last = others.group_by(trust_lists.c.form, trust_lists.c.territory).union_all(
        roots.group_by(trust_lists.c.signer)
    )
    return conn.execute(_SUMMARY.where(trust_lists.c.id.in_(last)).order_by(trust_lists.c.id)).all()


def get_list_content(conn: Connection, number: int) -> bytes:
    """Return the octets of a list."""
    held: bytes = conn.execute(select(trust_lists.c.content).where(trust_lists.c.id == number)).scalar_one()
    return held


def list_history(conn: Connection) -> Sequence[Row[Any]]:
    """Return every list that was ever accepted, the newest first, without the octets."""
    return conn.execute(_SUMMARY.order_by(trust_lists.c.id.desc())).all()
