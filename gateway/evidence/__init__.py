"""Keeps the proof that something was said by someone: leaves of a Merkle log."""

from __future__ import annotations

from gateway.evidence.log import leaf_hash, leaf_of, of_subject, record

__all__ = ["leaf_hash", "leaf_of", "of_subject", "record"]
