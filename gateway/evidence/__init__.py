"""Keeps the proof that something was said by someone: leaves of a Merkle log."""

from __future__ import annotations

from gateway.evidence.evidence_log import encode_leaf, hash_leaf, list_subject_leaves, record_evidence

__all__ = ["encode_leaf", "hash_leaf", "list_subject_leaves", "record_evidence"]
