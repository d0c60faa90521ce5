"""Heads of the tree of evidence: leaves get their places, and the root over them all is signed.

A head is read and signed outside of any transaction, as a token may be slow, and stored in one
that looks first whether it still follows the last head.  While the key is away a head is stored
unsigned: it can be time-stamped all the same, and the next signed one covers what it covers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, select, update

from gateway.errors import EVIDENCE_BROKEN, KEY_UNAVAILABLE, GatewayError
from gateway.evidence.tree import EMPTY, Tree
from gateway.pki.keys import Signer
from gateway.store.statements import InsertNew, Prepared
from gateway.store.tables import evidence, seals

__all__ = ["Head", "all_heads", "gather", "head_text", "latest", "leaves_to", "store"]

#: Leaves that one head adds at most: so long one transaction holds the writer of SQLite.
MOST_LEAVES: Final = 1000
_INSERT = InsertNew(seals, ("first_seq",), "id")
_PLACE = Prepared(
    update(evidence)
    .where(evidence.c.id == bindparam("leaf"), evidence.c.seq.is_(None))
    .values(seq=bindparam("place"))
)


@dataclass(frozen=True, slots=True)
class Head:
    """A head that is not stored yet: the tree it is of, and the rows it adds, by their ids."""

    tree: Tree
    first: int
    leaves: tuple[int, ...]
    text: str
    sealed_at: datetime
    signature: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)

    def signed(self, signer: Signer) -> Head:
        """Return the head with a signature over its text; without one while the key is away."""
        try:
            signature = signer.sign(self.text.encode())
        except GatewayError as problem:
            if problem.problem is not KEY_UNAVAILABLE:
                raise
            return self
        return Head(
            self.tree, self.first, self.leaves, self.text, self.sealed_at, signature, signer.certificate.der
        )


def head_text(party: str, tree: Tree, at: datetime) -> str:
    """Return what is signed and stamped: a checkpoint of C2SP, with the moment on a line of its own."""
    root = base64.b64encode(tree.root).decode()
    moment = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{party}/evidence\n{tree.size}\n{root}\n{moment}\n"


def gather(conn: Connection, party: str, at: datetime) -> Head | None:
    """Return the head that follows the last one, at most 1000 leaves later; None when nothing is new."""
    last = latest(conn)
    before = EMPTY if last is None else Tree(last.last_seq, tuple(map(bytes.fromhex, last.peaks)))
    rows = conn.execute(_unsealed(conn, last)).all()
    if not rows:
        return None
    tree = before.grown(bytes.fromhex(row.leaf_hash) for row in rows)
    return Head(tree, before.size + 1, tuple(row.id for row in rows), head_text(party, tree, at), at)


def _unsealed(conn: Connection, last: Row[Any] | None) -> Any:
    found = select(evidence.c.id, evidence.c.leaf_hash).where(evidence.c.seq.is_(None))
    if last is not None and conn.dialect.name == "sqlite":
        # Its one writer commits rows in the order of their ids: older ones all have their place.
        place = select(evidence.c.id).where(evidence.c.seq == last.last_seq).scalar_subquery()
        found = found.where(evidence.c.id > place)
    return found.order_by(evidence.c.id).limit(MOST_LEAVES)


def store(conn: Connection, head: Head) -> bool:
    """Give the leaves their places and store the head; False when another head came before it."""
    last = conn.execute(select(func.max(seals.c.last_seq))).scalar_one() or 0
    if last != head.first - 1:
        return False
    row = {
        "first_seq": head.first,
        "last_seq": head.tree.size,
        "root_hash": head.tree.root.hex(),
        "peaks": [peak.hex() for peak in head.tree.peaks],
        "head": head.text,
        "signature": head.signature,
        "certificate": head.certificate,
        "sealed_at": head.sealed_at,
    }
    # One that is stored at this moment, and is not seen yet, has the same first leaf.
    if _INSERT.one(conn, row) is None:
        return False
    places = range(head.first, head.tree.size + 1)
    _PLACE.run(conn, [{"leaf": leaf, "place": at} for leaf, at in zip(head.leaves, places, strict=True)])
    return True


def latest(conn: Connection) -> Row[Any] | None:
    """Return the last head; None when there is none."""
    return conn.execute(select(seals).order_by(seals.c.last_seq.desc()).limit(1)).first()


def all_heads(conn: Connection) -> Sequence[Row[Any]]:
    """Return every head, the first one first."""
    return conn.execute(select(seals).order_by(seals.c.last_seq)).all()


def leaves_to(conn: Connection, last: int, each: Callable[[Row[Any]], None]) -> None:
    """Hand over every leaf up to a place, in order; GW805 where one is missing."""
    place = 0
    while place < last:
        found = (
            select(evidence)
            .where(evidence.c.seq > place, evidence.c.seq <= last)
            .order_by(evidence.c.seq)
            .limit(MOST_LEAVES)
        )
        rows = conn.execute(found).all()
        if not rows:
            raise GatewayError(EVIDENCE_BROKEN, f"leaf {place + 1} is missing", f"evidence {place + 1}")
        for row in rows:
            place += 1
            if row.seq != place:
                raise GatewayError(EVIDENCE_BROKEN, f"leaf {place} is missing", f"evidence {place}")
            each(row)
