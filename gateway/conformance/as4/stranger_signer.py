"""A key that no gateway knows."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache

from gateway.pki import CertificateOrder, Signer, issue_certificate, make_authority

__all__ = ["make_stranger"]


@cache
def make_stranger(year: int) -> Signer:
    """Return an RSA key with a certificate of another authority, valid in that year."""
    at = datetime.fromisoformat(f"{year}-01-01T00:00:00Z")
    authority = make_authority("CN=Somebody else", at - timedelta(days=1))
    order = CertificateOrder(key_kind="rsa-2048", days=730)
    return issue_certificate(authority, "CN=Conformance suite,O=Conformance suite", at, order).signer
