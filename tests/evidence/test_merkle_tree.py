"""The tree is that of RFC 9162: known roots, and paths that lead to them and nowhere else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence.merkle_tree import EMPTY, MerkleTree, compute_audit_path, compute_path_root

#: The leaves and roots that the implementations of Certificate Transparency test each other with.
LEAVES = tuple(
    hashlib.sha256(b"\x00" + bytes.fromhex(one)).digest()
    for one in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
)
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_known_roots(size: int) -> None:
    assert EMPTY.append_leaves(LEAVES[:size]).root_hash.hex() == ROOTS[size]
    for split in range(size):
        before = EMPTY.append_leaves(LEAVES[:split])
        again = MerkleTree(before.size, before.peaks).append_leaves(LEAVES[split:size])
        assert again.root_hash.hex() == ROOTS[size]


@pytest.mark.long
@given(st.integers(1, 70), st.data())
def test_a_path_leads_from_its_leaf_to_the_root_and_from_no_other(size: int, data: st.DataObject) -> None:
    leaves = [hashlib.sha256(bytes([number])).digest() for number in range(size)]
    root = EMPTY.append_leaves(leaves).root_hash
    place = data.draw(st.integers(0, size - 1))
    path = compute_audit_path(place, leaves)
    assert compute_path_root(leaves[place], place, size, path) == root
    other = data.draw(st.integers(-1, size).filter(lambda one: one != place))
    assert compute_path_root(leaves[place], other, size, path) != root
    assert compute_path_root(leaves[(place + 1) % size], place, size, path) != root or size == 1
    assert compute_path_root(leaves[place], place, size, (*path, root)) != root
    if path:
        assert compute_path_root(leaves[place], place, size, path[:-1]) != root
