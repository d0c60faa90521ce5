"""Verifies all evidence: leaves, heads, time stamps, verdicts and the octets they name.

An attacker who can write to the database can create another consistent history: new hashes, new
roots, a key and an authority of his own. So the trusted keys and authorities come from outside, and
so can heads that were stored elsewhere. Without these, the result is only as reliable as the
database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, Engine, or_, select

from gateway.errors import CERTIFICATE_UNTRUSTED, EVIDENCE_BROKEN, OCTETS_PURGED, GatewayError
from gateway.evidence.inclusion_proofs import (
    TimeStampAuthorities,
    parse_head_text,
    verify_head_signature,
    verify_time_stamp,
)
from gateway.evidence.leaf_encoding import read_leaf_data
from gateway.evidence.merkle_tree import EMPTY, MerkleTree
from gateway.evidence.tree_heads import MOST_LEAVES, list_heads, visit_sealed_leaves
from gateway.evidence.verdict_revalidation import check_verdict_row, list_named_verdicts
from gateway.pki import Certificate, list_named_digests
from gateway.store import EvidenceRow, SealRow, VerdictRow, payloads, read_transaction
from gateway.store import time_stamps as stamps
from gateway.store.payloads import payloads as octets
from gateway.store.transitions import evidence
from gateway.store.verdicts import verdicts

#: The kinds of leaves whose digest is that of stored octets.
_OCTET_KINDS: Final = frozenset({"customs", "reply", "verdict"})


@dataclass(frozen=True, slots=True)
class TrustedEvidence:
    """The keys that may sign heads (SHA-256 of certificates), and the trusted time-stamp authorities.

    ``heads`` are texts of heads that were stored elsewhere: the tree must still be an extension of
    each.
    """

    signer_digests: frozenset[str]
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
    leaf_verifier = _LeafVerifier(heads, trusted)
    visit_sealed_leaves(conn, heads[-1].last_seq if heads else 0, leaf_verifier.verify_leaf)
    leaf_verifier.check_trusted_head_sizes()
    unsealed = _count_unsealed_leaves(conn, leaf_verifier)
    signed_head_count, vouched_leaf_count = _verify_head_signatures(heads, trusted.signer_digests)
    stamp_count, stamped_leaf_count = _verify_time_stamps(conn, heads, trusted.authorities)
    payload_digests, removed = _verify_stored_octets(conn, leaf_verifier)
    verdict_count = _verify_verdicts(conn, leaf_verifier, payload_digests)
    return VerificationReport(
        leaf_verifier.tree.size,
        len(heads),
        signed_head_count,
        vouched_leaf_count,
        stamp_count,
        stamped_leaf_count,
        unsealed,
        verdict_count,
        len(payload_digests) - removed,
        removed,
    )


def _check_head_order(heads: Sequence[SealRow]) -> None:
    """Raise an evidence error unless each head begins at the leaf after the last leaf of the previous one."""
    last_leaf_number = 0
    for head in heads:
        if head.first_seq != last_leaf_number + 1 or head.last_seq < head.first_seq:
            raise _make_evidence_error(
                f"the head after {last_leaf_number} leaves is missing", f"seal {head.id}"
            )
        last_leaf_number = head.last_seq


class _LeafVerifier:
    """Verifies the leaves in their order, and compares each head with the tree up to it."""

    def __init__(self, heads: Sequence[SealRow], trusted: TrustedEvidence) -> None:
        self.tree = EMPTY
        self._heads = {head.last_seq: head for head in heads}
        self._trusted_heads = [parse_head_text(text) for text in trusted.heads]
        #: Verdicts that evidence names, octets that it states as stored, rows that it states as written.
        self.named_verdicts, self.stored_digests, self.written_verdicts = set[str](), set[str](), set[str]()
        #: Octets that it states as removed by retention.
        self.removed_digests = set[str]()

    def verify_leaf(self, row: EvidenceRow) -> None:
        """Check one leaf, add it to the tree, and compare the stored and trusted heads of this tree size.

        The leaves must be passed in the order of the log. Raises the evidence error of the first difference.
        """
        self.check_and_collect_leaf(row)
        self.tree = self.tree.append_leaves([bytes.fromhex(row.leaf_hash)])
        head = self._heads.get(self.tree.size)
        if head is not None:
            _check_head_row(head, self.tree)
        for size, root in self._trusted_heads:
            if size == self.tree.size and root != self.tree.root_hash:
                raise _make_evidence_error(
                    f"the first {size} leaves are not those of the head that was stored elsewhere", "head"
                )

    def check_and_collect_leaf(self, row: EvidenceRow) -> None:
        """Raise an evidence error if the leaf does not match its hash; collect the digests that it names."""
        try:
            leaf_data = read_leaf_data(row)
        except GatewayError as changed:
            location = f"evidence {row.seq or f'row {row.id}'}"
            raise _make_evidence_error("a leaf does not match its hash", location) from changed
        try:
            self.named_verdicts.update(list_named_verdicts(leaf_data))
            if row.kind == "purged":
                self.removed_digests.update(leaf_data["digests"])
        except (LookupError, RecursionError, TypeError) as unreadable:
            location = f"evidence {row.seq or f'row {row.id}'}"
            raise _make_evidence_error(
                f"its data are not those of a leaf {row.kind}", location
            ) from unreadable
        if row.kind in _OCTET_KINDS and row.digest:
            self.stored_digests.add(row.digest)
        if row.kind == "verdict":
            self.written_verdicts.add(row.subject_id)

    def check_trusted_head_sizes(self) -> None:
        """Raise an evidence error if a trusted head covers more leaves than the log has."""
        max_size = max((size for size, _ in self._trusted_heads), default=0)
        if max_size > self.tree.size:
            raise _make_evidence_error(
                f"of {max_size} leaves under a head that was kept {self.tree.size} are sealed", "head"
            )


def _check_head_row(head: SealRow, tree: MerkleTree) -> None:
    """Raise an evidence error unless the stored head has the size, root hash and peaks of `tree`."""
    size, root = parse_head_text(head.head)
    if (size, root) != (tree.size, tree.root_hash) or head.root_hash != tree.root_hash.hex():
        raise _make_evidence_error(
            f"the head over {head.last_seq} leaves has another root", f"seal {head.id}"
        )
    if tuple(head.peaks) != tuple(peak.hex() for peak in tree.peaks):
        raise _make_evidence_error(f"the head over {head.last_seq} leaves has other peaks", f"seal {head.id}")


def _count_unsealed_leaves(conn: Connection, leaf_verifier: _LeafVerifier) -> int:
    """Return how many leaves have no sequence number; raises for a number beyond the last head."""
    last_row_id, count = 0, 0
    outside = or_(evidence.c.seq.is_(None), evidence.c.seq < 1, evidence.c.seq > leaf_verifier.tree.size)
    while True:
        some = select(evidence).where(outside, evidence.c.id > last_row_id).order_by(evidence.c.id)
        rows = conn.execute(some.limit(MOST_LEAVES)).all()
        for row in rows:
            if row.seq is not None:
                raise _make_evidence_error(f"leaf {row.seq} is under no head", f"evidence {row.seq}")
            leaf_verifier.check_and_collect_leaf(row)
        if len(rows) < MOST_LEAVES:
            return count + len(rows)
        last_row_id, count = rows[-1].id, count + len(rows)


def _verify_head_signatures(heads: Sequence[SealRow], signer_digests: frozenset[str]) -> tuple[int, int]:
    """Return how many heads the trusted keys signed, and how many leaves they cover.

    The signer of an older head does not matter: a trusted head covers all leaves below it.
    """
    signed_head_count, vouched_leaf_count = 0, 0
    untrusted_signer: Certificate | None = None
    for head in heads:
        certificate = verify_head_signature(head.head, head.signature, head.certificate)
        if certificate is None:
            continue
        if certificate.sha256 in signer_digests:
            signed_head_count, vouched_leaf_count, untrusted_signer = (
                signed_head_count + 1,
                head.last_seq,
                None,
            )
        else:
            untrusted_signer = certificate
    if untrusted_signer is not None:
        signer = f"{untrusted_signer.subject[:120]} ({untrusted_signer.sha256[:16]})"
        detail = f"the last heads are signed by {signer}, not by us"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "--signer")
    return signed_head_count, vouched_leaf_count


def _verify_time_stamps(
    conn: Connection, heads: Sequence[SealRow], authorities: TimeStampAuthorities
) -> tuple[int, int]:
    """Return how many stamps are valid, and how many leaves they cover.

    A stamp of an untrusted authority is an error only if no valid stamp covers as many leaves.
    """
    heads_by_id = {head.id: head for head in heads}
    valid_stamp_count, stamped_leaf_count = 0, 0
    last_untrusted_stamp: tuple[int, GatewayError] | None = None
    for stamp in stamps.list_time_stamps(conn):
        head = heads_by_id.get(stamp.seal)
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
            last_untrusted_stamp = max(
                last_untrusted_stamp or (0, refused), (head.last_seq, refused), key=lambda one: one[0]
            )
            continue
        valid_stamp_count, stamped_leaf_count = valid_stamp_count + 1, max(stamped_leaf_count, head.last_seq)
    if last_untrusted_stamp is not None and last_untrusted_stamp[0] > stamped_leaf_count:
        raise last_untrusted_stamp[1]
    return valid_stamp_count, stamped_leaf_count


def _verify_stored_octets(conn: Connection, leaf_verifier: _LeafVerifier) -> tuple[frozenset[str], int]:
    """Return the digests of all stored octets, each recomputed, and how many were removed by retention.

    Octets that are gone without a leaf that says so are broken evidence. Retention may remove an object while
    they are read: then a leaf after the snapshot of `conn` says so.
    """
    rows = conn.execute(select(octets.c.sha256, octets.c.purged_at)).all()
    removed_digests = {row.sha256 for row in rows if row.purged_at is not None}
    unexplained_digests = sorted(
        (removed_digests & leaf_verifier.stored_digests) | (removed_digests - leaf_verifier.removed_digests)
    )
    if unexplained_digests:
        raise _make_gone_error(unexplained_digests[0])
    removed_meanwhile = set[str]()
    for row in rows:
        if row.purged_at is None and not _are_octets_there(conn, row.sha256):
            removed_meanwhile.add(row.sha256)
    _require_removal_leaves(conn.engine, removed_meanwhile, leaf_verifier.stored_digests)
    return frozenset(row.sha256 for row in rows), len(removed_digests | removed_meanwhile)


def _are_octets_there(conn: Connection, digest: str) -> bool:
    """Verify stored octets; return False for an object that retention has removed since the snapshot."""
    try:
        payloads.verify_payload(conn, digest)
    except GatewayError as problem:
        if problem.problem is OCTETS_PURGED:
            return False
        raise
    return True


def _require_removal_leaves(
    engine: Engine, removed_digests: Collection[str], lasting_digests: Collection[str]
) -> None:
    """Raise an evidence error unless the evidence of now states the removal of all of these octets.

    It never states that of `lasting_digests`.
    """
    unexplained_digests = set(removed_digests)
    if unexplained_digests:
        newest_first = select(evidence).where(evidence.c.kind == "purged").order_by(evidence.c.id.desc())
        with read_transaction(engine) as conn:
            for row in conn.execute(newest_first).yield_per(100):
                unexplained_digests -= {*read_leaf_data(row).get("digests", ())} - {*lasting_digests}
                if not unexplained_digests:
                    break
    if unexplained_digests:
        raise _make_gone_error(min(unexplained_digests))


def _verify_verdicts(conn: Connection, leaf_verifier: _LeafVerifier, payload_digests: frozenset[str]) -> int:
    """Compare every verdict with its leaf and its document; raise for missing verdicts and octets."""
    rows = conn.execute(select(verdicts).order_by(verdicts.c.id)).all()
    for row in rows:
        check_verdict_row(conn, row)
    verdict_digests = {row.digest for row in rows}
    missing_references = sorted(
        (leaf_verifier.written_verdicts - {str(row.id) for row in rows})
        | (leaf_verifier.named_verdicts - verdict_digests)
        | (leaf_verifier.stored_digests - payload_digests)
    )
    missing = missing_references or sorted(
        {digest for row in rows for digest in _list_named_digests(conn, row)} - payload_digests
    )
    if missing:
        raise _make_evidence_error(f"{missing[0][:64]}, which the evidence names, is missing", "verdicts")
    return len(rows)


def _list_named_digests(conn: Connection, row: VerdictRow) -> Iterator[str]:
    return list_named_digests(row.digest, lambda digest: payloads.get_payload_octets(conn, digest))


def _make_gone_error(digest: str) -> GatewayError:
    return _make_evidence_error(f"the octets {digest[:64]} are gone, and no evidence says why", "payloads")


def _make_evidence_error(detail: str, location: str) -> GatewayError:
    return GatewayError(EVIDENCE_BROKEN, detail, location)
