"""Verifies all evidence: leaves, heads, time stamps, verdicts and the octets they name.

An attacker who can write to the database can create another consistent history: new hashes, new
roots, a key and an authority of his own. So the trusted keys and authorities come from outside, and
so can heads that were stored elsewhere. Without these, the result is only as reliable as the
database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, or_, select

from gateway.errors import CERTIFICATE_UNTRUSTED, EVIDENCE_BROKEN, GatewayError
from gateway.evidence.inclusion_proofs import (
    TimeStampAuthorities,
    parse_head_text,
    verify_head_signature,
    verify_time_stamp,
)
from gateway.evidence.merkle_tree import EMPTY, MerkleTree
from gateway.evidence.tree_heads import MOST_LEAVES, list_heads, visit_sealed_leaves
from gateway.evidence.verdict_revalidation import check_verdict_row, list_named_verdicts, read_leaf_data
from gateway.pki import Certificate, list_named_digests
from gateway.store import EvidenceRow, SealRow, VerdictRow, payloads
from gateway.store import time_stamps as stamps
from gateway.store.payloads import payloads as octets
from gateway.store.transitions import evidence
from gateway.store.verdicts import verdicts

#: Leaves whose digest is that of stored octets.
_OCTET_KINDS: Final = frozenset({"customs", "reply", "verdict"})


@dataclass(frozen=True, slots=True)
class TrustedEvidence:
    """The keys that may sign heads (SHA-256 of certificates), and the trusted time-stamp authorities.

    ``heads`` are texts of heads that were stored elsewhere: the tree must still be an extension of
    each.
    """

    signers: frozenset[str]
    authorities: TimeStampAuthorities = field(default_factory=TimeStampAuthorities)
    heads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The result of a verification of all evidence.

    ``vouched`` are the leaves under a head that a trusted key signed, ``stamped`` those under a
    head that a trusted authority stamped, ``unsealed`` those without a sequence number. ``removed``
    are the stored contents whose octets retention has removed, as the evidence says.
    """

    leaves: int
    heads: int
    signed: int
    vouched: int
    stamps: int
    stamped: int
    unsealed: int
    verdicts: int
    octets: int
    removed: int = 0


def verify_all_evidence(conn: Connection, trusted: TrustedEvidence) -> VerificationReport:
    """Recompute every leaf and head, and verify every signature and stamp; raises GW805 for a fault."""
    heads = list_heads(conn)
    _check_head_order(heads)
    walk = _LeafVerifier(heads, trusted)
    visit_sealed_leaves(conn, heads[-1].last_seq if heads else 0, walk.verify_leaf)
    walk.check_kept_heads()
    unsealed = _count_unsealed_leaves(conn, walk)
    signed, vouched = _verify_head_signatures(heads, trusted.signers)
    stamp_count, stamped = _verify_time_stamps(conn, heads, trusted.authorities)
    present, removed = _verify_kept_octets(conn, walk)
    verdict_count = _verify_verdicts(conn, walk, present)
    return VerificationReport(
        walk.tree.size,
        len(heads),
        signed,
        vouched,
        stamp_count,
        stamped,
        unsealed,
        verdict_count,
        len(present) - removed,
        removed,
    )


def _check_head_order(heads: Sequence[SealRow]) -> None:
    last = 0
    for head in heads:
        if head.first_seq != last + 1 or head.last_seq < head.first_seq:
            raise _make_evidence_error(f"the head after {last} leaves is missing", f"seal {head.id}")
        last = head.last_seq


class _LeafVerifier:
    """Verifies the leaves in their order, and compares each head with the tree up to it."""

    def __init__(self, heads: Sequence[SealRow], trusted: TrustedEvidence) -> None:
        self.tree = EMPTY
        self._heads = {head.last_seq: head for head in heads}
        self._trusted_heads = [parse_head_text(text) for text in trusted.heads]
        #: Verdicts that evidence names, octets that it states as stored, rows that it states as written.
        self.named_verdicts, self.kept_digests, self.written_verdicts = set[str](), set[str](), set[str]()
        #: Octets that it states as removed by retention.
        self.removed = set[str]()

    def verify_leaf(self, row: EvidenceRow) -> None:
        self.read_leaf(row)
        self.tree = self.tree.append_leaves([bytes.fromhex(row.leaf_hash)])
        head = self._heads.get(self.tree.size)
        if head is not None:
            _check_head_row(head, self.tree)
        for size, root in self._trusted_heads:
            if size == self.tree.size and root != self.tree.root_hash:
                raise _make_evidence_error(
                    f"the first {size} leaves are not those of the head that was stored elsewhere", "head"
                )

    def read_leaf(self, row: EvidenceRow) -> None:
        try:
            leaf_data = read_leaf_data(row)
        except GatewayError as changed:
            location = f"evidence {row.seq or f'row {row.id}'}"
            raise _make_evidence_error("a leaf does not match its hash", location) from changed
        self.named_verdicts.update(list_named_verdicts(leaf_data))
        if row.kind in _OCTET_KINDS and row.digest:
            self.kept_digests.add(row.digest)
        if row.kind == "purged":
            self.removed.update(leaf_data["digests"])
        if row.kind == "verdict":
            self.written_verdicts.add(row.subject_id)

    def check_kept_heads(self) -> None:
        most = max((size for size, _ in self._trusted_heads), default=0)
        if most > self.tree.size:
            raise _make_evidence_error(
                f"of {most} leaves under a head that was kept {self.tree.size} are sealed", "head"
            )


def _check_head_row(head: SealRow, tree: MerkleTree) -> None:
    size, root = parse_head_text(head.head)
    if (size, root) != (tree.size, tree.root_hash) or head.root_hash != tree.root_hash.hex():
        raise _make_evidence_error(
            f"the head over {head.last_seq} leaves has another root", f"seal {head.id}"
        )
    if tuple(head.peaks) != tuple(peak.hex() for peak in tree.peaks):
        raise _make_evidence_error(f"the head over {head.last_seq} leaves has other peaks", f"seal {head.id}")


def _count_unsealed_leaves(conn: Connection, walk: _LeafVerifier) -> int:
    """Return how many leaves have no sequence number; raises for a number beyond the last head."""
    last, count = 0, 0
    outside = or_(evidence.c.seq.is_(None), evidence.c.seq < 1, evidence.c.seq > walk.tree.size)
    while True:
        some = select(evidence).where(outside, evidence.c.id > last).order_by(evidence.c.id)
        rows = conn.execute(some.limit(MOST_LEAVES)).all()
        for row in rows:
            if row.seq is not None:
                raise _make_evidence_error(f"leaf {row.seq} is under no head", f"evidence {row.seq}")
            walk.read_leaf(row)
        if len(rows) < MOST_LEAVES:
            return count + len(rows)
        last, count = rows[-1].id, count + len(rows)


def _verify_head_signatures(heads: Sequence[SealRow], signers: frozenset[str]) -> tuple[int, int]:
    """Return how many heads the trusted keys signed, and how many leaves they cover.

    The signer of an older head does not matter: a trusted head covers all leaves below it.
    """
    signed, vouched = 0, 0
    untrusted_signer: Certificate | None = None
    for head in heads:
        certificate = verify_head_signature(head.head, head.signature, head.certificate)
        if certificate is None:
            continue
        if certificate.sha256 in signers:
            signed, vouched, untrusted_signer = signed + 1, head.last_seq, None
        else:
            untrusted_signer = certificate
    if untrusted_signer is not None:
        signer = f"{untrusted_signer.subject[:120]} ({untrusted_signer.sha256[:16]})"
        detail = f"the last heads are signed by {signer}, not by us"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "--signer")
    return signed, vouched


def _verify_time_stamps(
    conn: Connection, heads: Sequence[SealRow], authorities: TimeStampAuthorities
) -> tuple[int, int]:
    """Return how many stamps are valid, and how many leaves they cover; untrusted ones as for signatures."""
    by_number = {head.id: head for head in heads}
    good, stamped = 0, 0
    strange: tuple[int, GatewayError] | None = None
    for stamp in stamps.list_time_stamps(conn):
        head = by_number.get(stamp.seal)
        if head is None:
            raise _make_evidence_error("a time stamp is over no head", f"time stamp {stamp.id}")
        try:
            verify_time_stamp(
                stamp.token,
                head.head,
                stamp.verdict,
                lambda one: payloads.get_payload_octets(conn, one),
                authorities,
            )
        except GatewayError as refused:
            if refused.problem is not CERTIFICATE_UNTRUSTED:
                raise
            strange = max(strange or (0, refused), (head.last_seq, refused), key=lambda one: one[0])
            continue
        good, stamped = good + 1, max(stamped, head.last_seq)
    if strange is not None and strange[0] > stamped:
        raise strange[1]
    return good, stamped


def _verify_kept_octets(conn: Connection, walk: _LeafVerifier) -> tuple[frozenset[str], int]:
    """Return the digests of all stored octets, each recomputed, and how many were removed by retention.

    Octets that are gone without a leaf that says so are broken evidence.
    """
    rows = conn.execute(select(octets.c.sha256, octets.c.purged_at)).all()
    removed = {row.sha256 for row in rows if row.purged_at is not None}
    untold = sorted((removed & walk.kept_digests) | (removed - walk.removed))
    if untold:
        detail = f"the octets {untold[0][:64]} are gone, and no evidence says why"
        raise _make_evidence_error(detail, "payloads")
    for row in rows:
        if row.purged_at is None:
            payloads.verify_payload(conn, row.sha256)
    return frozenset(row.sha256 for row in rows), len(removed)


def _verify_verdicts(conn: Connection, walk: _LeafVerifier, present: frozenset[str]) -> int:
    """Compare every verdict with its leaf and its document; raise for missing verdicts and octets."""
    rows = conn.execute(select(verdicts).order_by(verdicts.c.id)).all()
    for row in rows:
        check_verdict_row(conn, row)
    stored = {row.digest for row in rows}
    lost = sorted(
        (walk.written_verdicts - {str(row.id) for row in rows})
        | (walk.named_verdicts - stored)
        | (walk.kept_digests - present)
    )
    missing = lost or sorted({digest for row in rows for digest in _list_named_digests(conn, row)} - present)
    if missing:
        raise _make_evidence_error(f"{missing[0][:64]}, which the evidence names, is missing", "verdicts")
    return len(rows)


def _list_named_digests(conn: Connection, row: VerdictRow) -> Iterator[str]:
    return list_named_digests(row.digest, lambda digest: payloads.get_payload_octets(conn, digest))


def _make_evidence_error(detail: str, location: str) -> GatewayError:
    return GatewayError(EVIDENCE_BROKEN, detail, location)
