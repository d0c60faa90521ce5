"""Computes the Merkle tree over leaves as in RFC 9162 §2.1: its root, and audit paths of leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final


def _hash_children(left_hash: bytes, right_hash: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left_hash + right_hash).digest()


@dataclass(frozen=True, slots=True)
class MerkleTree:
    """A tree of `size` leaves, represented by the roots of its perfect subtrees, the largest one first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append_leaves(self, leaves: Iterable[bytes]) -> MerkleTree:
        """Return the tree with these leaf hashes appended."""
        size, peaks = self.size, list(self.peaks)
        for leaf in leaves:
            node, full = leaf, size
            while full & 1:
                node, full = _hash_children(peaks.pop(), node), full >> 1
            peaks.append(node)
            size += 1
        return MerkleTree(size, tuple(peaks))

    @property
    def root_hash(self) -> bytes:
        """The root hash of the tree; for an empty tree the hash of no octets."""
        if not self.peaks:
            return hashlib.sha256().digest()
        *rest, root = self.peaks
        for peak in reversed(rest):
            root = _hash_children(peak, root)
        return root


EMPTY: Final = MerkleTree()


def compute_audit_path(index: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the audit path of the leaf at `index` (from 0) in the tree of these leaf hashes (§2.1.3.1)."""
    if len(leaves) == 1:
        return ()
    half = _find_split_point(len(leaves))
    if index < half:
        return (*compute_audit_path(index, leaves[:half]), EMPTY.append_leaves(leaves[half:]).root_hash)
    return (*compute_audit_path(index - half, leaves[half:]), EMPTY.append_leaves(leaves[:half]).root_hash)


def compute_path_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that a leaf and its path lead to (§2.1.3.2); None where the path does not fit."""
    if not 0 <= index < size:
        return None
    number, last, node = index, size - 1, leaf
    for step in path:
        if last == 0:
            return None
        if number & 1 or number == last:
            node = _hash_children(step, node)
            while number and not number & 1:
                number, last = number >> 1, last >> 1
        else:
            node = _hash_children(node, step)
        number, last = number >> 1, last >> 1
    return node if last == 0 else None


def _find_split_point(size: int) -> int:
    """Return the largest power of two below a size above one."""
    return 1 << (size - 1).bit_length() - 1
