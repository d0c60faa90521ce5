"""Makes tree heads over the evidence: leaves get sequence numbers, and the root over all is signed.

A head is read and signed outside of any transaction, because a token may be slow. The transaction
that stores it checks first that it still follows the last head. While the key is unavailable a head
is stored unsigned: it can still be time-stamped, and the next signed head covers its leaves.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, func, select, update

from gateway.errors import EVIDENCE_BROKEN, KEY_UNAVAILABLE, GatewayError
from gateway.evidence.merkle_tree import EMPTY, MerkleTree
from gateway.pki import Signer
from gateway.store import EvidenceRow, InsertIfAbsent, ListFilter, ListPage, SealRow, build_bounds, fetch_page
from gateway.store.time_stamps import seals
from gateway.store.transitions import evidence

#: Leaves that one head adds at most; this limits how long one transaction holds SQLite's write lock.
MOST_LEAVES: Final = 1000
_INSERT = InsertIfAbsent(seals, ("first_seq",), "id")
_SET_SEQUENCE = (
    update(evidence)
    .where(evidence.c.id == bindparam("leaf"), evidence.c.seq.is_(None))
    .values(seq=bindparam("leaf_number"))
)


@dataclass(frozen=True, slots=True)
class TreeHead:
    """A head that is not stored yet: its tree, and the row ids of the leaves it adds."""

    tree: MerkleTree
    first_leaf_number: int
    leaf_ids: tuple[int, ...]
    text: str
    sealed_at: datetime
    signature: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)

    def add_signature(self, signer: Signer) -> TreeHead:
        """Return the head with a signature over its text; without one while the key is unavailable."""
        try:
            signature = signer.sign(self.text.encode())
        except GatewayError as problem:
            if problem.problem is not KEY_UNAVAILABLE:
                raise
            return self
        return TreeHead(
            self.tree,
            self.first_leaf_number,
            self.leaf_ids,
            self.text,
            self.sealed_at,
            signature,
            signer.certificate.der,
        )


def format_head_text(party: str, tree: MerkleTree, at: datetime) -> str:
    """Return the text to sign and stamp: a checkpoint of C2SP, with the time on a line of its own."""
    root = base64.b64encode(tree.root_hash).decode()
    moment = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{party}/evidence\n{tree.size}\n{root}\n{moment}\n"


def make_next_head(conn: Connection, party: str, at: datetime) -> TreeHead | None:
    """Return the head that follows the last one, at most 1000 leaves later; None when nothing is new."""
    last_head = find_latest_head(conn)
    last_tree = (
        EMPTY
        if last_head is None
        else MerkleTree(last_head.last_seq, tuple(map(bytes.fromhex, last_head.peaks)))
    )
    rows = conn.execute(_build_unsealed_query(conn, last_head).limit(MOST_LEAVES)).all()
    if not rows:
        return None
    tree = last_tree.append_leaves(bytes.fromhex(row.leaf_hash) for row in rows)
    return TreeHead(
        tree, last_tree.size + 1, tuple(row.id for row in rows), format_head_text(party, tree, at), at
    )


def _build_unsealed_query(conn: Connection, last_head: SealRow | None) -> Select[Any]:
    """Return the query for the evidence that has no leaf number yet, and so is under no head."""
    query = select(evidence.c.id, evidence.c.leaf_hash).where(evidence.c.seq.is_(None))
    if last_head is not None and conn.dialect.name == "sqlite":
        # SQLite's one writer commits rows in the order of their ids: all older ones have their number.
        last_sealed_id = select(evidence.c.id).where(evidence.c.seq == last_head.last_seq).scalar_subquery()
        query = query.where(evidence.c.id > last_sealed_id)
    return query.order_by(evidence.c.id)


def count_unsealed_leaves(conn: Connection) -> int:
    """Return how many leaves no head covers yet."""
    unsealed = _build_unsealed_query(conn, find_latest_head(conn)).subquery()
    return conn.execute(select(func.count()).select_from(unsealed)).scalar_one()


def compute_tree(conn: Connection, size: int) -> MerkleTree:
    """Return the Merkle tree over the first `size` sealed leaves, or over all if fewer are sealed."""
    head_query = select(seals).where(seals.c.last_seq <= size).order_by(seals.c.last_seq.desc()).limit(1)
    last_head = conn.execute(head_query).first()
    tree = (
        EMPTY
        if last_head is None
        else MerkleTree(last_head.last_seq, tuple(map(bytes.fromhex, last_head.peaks)))
    )
    leaf_query = select(evidence.c.leaf_hash).where(evidence.c.seq > tree.size, evidence.c.seq <= size)
    return tree.append_leaves(map(bytes.fromhex, conn.execute(leaf_query.order_by(evidence.c.seq)).scalars()))


def store_head(conn: Connection, head: TreeHead) -> bool:
    """Store the head and number its leaves; return False when another head was stored before it."""
    last_head = find_latest_head(conn)
    if (0 if last_head is None else last_head.last_seq) != head.first_leaf_number - 1:
        return False
    row = {
        "first_seq": head.first_leaf_number,
        "last_seq": head.tree.size,
        "root_hash": head.tree.root_hash.hex(),
        "peaks": [peak.hex() for peak in head.tree.peaks],
        "head": head.text,
        "signature": head.signature,
        "certificate": head.certificate,
        "sealed_at": head.sealed_at,
    }
    # A head that is being stored now, and is not visible yet, has the same first leaf.
    if _INSERT.insert_one(conn, row) is None:
        return False
    leaf_numbers = range(head.first_leaf_number, head.tree.size + 1)
    conn.execute(
        _SET_SEQUENCE,
        [
            {"leaf": leaf, "leaf_number": number}
            for leaf, number in zip(head.leaf_ids, leaf_numbers, strict=True)
        ],
    )
    return True


def find_latest_head(conn: Connection) -> SealRow | None:
    """Return the last head; None when there is none."""
    # By the index of the first leaves: each head begins behind the one before it.
    return conn.execute(select(seals).order_by(seals.c.first_seq.desc()).limit(1)).first()


def list_heads(conn: Connection) -> Sequence[SealRow]:
    """Return every head, the first one first."""
    return conn.execute(select(seals).order_by(seals.c.last_seq)).all()


def search_heads(conn: Connection, list_filter: ListFilter) -> ListPage:
    """Return heads, the newest first, within the time bounds; ``last_seq`` is the key of a page."""
    bounds = build_bounds(list_filter, seals.c.last_seq, seals.c.sealed_at)
    return fetch_page(conn, tuple(seals.c), seals, bounds, list_filter, seals.c.last_seq)


def visit_sealed_leaves(
    conn: Connection, last_leaf_number: int, visit_leaf: Callable[[EvidenceRow], None]
) -> None:
    """Call `visit_leaf` with each leaf up to `last_leaf_number`, in order; raise GW805 if one is missing."""
    sequence_number = 0
    while sequence_number < last_leaf_number:
        query = (
            select(evidence)
            .where(evidence.c.seq > sequence_number, evidence.c.seq <= last_leaf_number)
            .order_by(evidence.c.seq)
            .limit(MOST_LEAVES)
        )
        rows = conn.execute(query).all()
        if not rows:
            raise GatewayError(
                EVIDENCE_BROKEN, f"leaf {sequence_number + 1} is missing", f"evidence {sequence_number + 1}"
            )
        for row in rows:
            sequence_number += 1
            if row.seq != sequence_number:
                raise GatewayError(
                    EVIDENCE_BROKEN, f"leaf {sequence_number} is missing", f"evidence {sequence_number}"
                )
            visit_leaf(row)
