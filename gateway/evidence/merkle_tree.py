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

    def append_leaves(self, leaf_hashes: Iterable[bytes]) -> MerkleTree:
        """Return the tree with these leaf hashes appended."""
        size, peaks = self.size, list(self.peaks)
        for leaf_hash in leaf_hashes:
            node, size_bits = leaf_hash, size
            while size_bits & 1:
                node, size_bits = _hash_children(peaks.pop(), node), size_bits >> 1
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


def compute_audit_path(index: int, leaf_hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the audit path of the leaf at `index` (from 0) in the tree of these leaf hashes (§2.1.3.1)."""
    if len(leaf_hashes) == 1:
        return ()
    half = _find_split_point(len(leaf_hashes))
    if index < half:
        return (
            *compute_audit_path(index, leaf_hashes[:half]),
            EMPTY.append_leaves(leaf_hashes[half:]).root_hash,
        )
    return (
        *compute_audit_path(index - half, leaf_hashes[half:]),
        EMPTY.append_leaves(leaf_hashes[:half]).root_hash,
    )


def compute_path_root(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that a leaf and its path lead to (§2.1.3.2); None where the path does not fit."""
    if not 0 <= index < size:
        return None
    node_index, last_index, node = index, size - 1, leaf_hash
    for sibling_hash in path:
        if last_index == 0:
            return None
        if node_index & 1 or node_index == last_index:
            node = _hash_children(sibling_hash, node)
            while node_index and not node_index & 1:
                node_index, last_index = node_index >> 1, last_index >> 1
        else:
            node = _hash_children(node, sibling_hash)
        node_index, last_index = node_index >> 1, last_index >> 1
    return node if last_index == 0 else None


def _find_split_point(size: int) -> int:
    """Return the largest power of two below a size above one."""
    return 1 << (size - 1).bit_length() - 1
