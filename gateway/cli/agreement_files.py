"""Reads the file of an agreement that is no CPA: our YAML, or the P-Mode of another product."""

from __future__ import annotations

from datetime import datetime

from gateway.agreements import AgreementDocument, is_peer_pmode, read_agreement, read_peer_pmode

__all__ = ["read_agreement_file"]


def read_agreement_file(data: bytes, name: str, at: datetime) -> AgreementDocument:
    """Return the agreement in a file; one that says no period is in force from `at`. Raises GW808."""
    return read_peer_pmode(data, name, at) if is_peer_pmode(data) else read_agreement(data, name)
