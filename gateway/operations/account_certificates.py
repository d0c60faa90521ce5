"""Warns of people whose client certificate keeps them out, or soon will."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Final

from gateway.errors import GatewayError, raise_resource_problem
from gateway.hub import Hub, check_held_certificate
from gateway.pki import CertificateUse
from gateway.store import accounts, read_transaction

#: Further accounts are counted: one list may revoke the authority above all certificates.
_MAX_WARNINGS: Final = 20
#: The operator is warned so long before a certificate ends, as of those of parties.
_EXPIRY_WARNING_TIME: Final = timedelta(days=30)


def find_account_certificate_warnings(hub: Hub) -> Iterator[str]:
    """Yield a warning for each active account whose client certificate is not valid now, or ends soon.

    After 20 of them, the last warning says how many more there are. Raises GW806 where a certificate could
    not be validated.
    """
    warnings = _list_warnings(hub)
    yield from islice(warnings, _MAX_WARNINGS)
    more_count = sum(1 for _ in warnings)
    if more_count:
        yield f"the client certificates of {more_count} more accounts are not accepted, or end soon"


def _list_warnings(hub: Hub) -> Iterator[str]:
    """Yield the warning about each certificate, by name of the account."""
    at = hub.clock()
    with read_transaction(hub.engine) as conn:
        rows = accounts.list_account_certificates(conn)
    for row in rows:
        subject = f"the client certificate of account {row.name[:80]}"
        try:
            check_held_certificate(hub, row.der, CertificateUse.TLS_CLIENT, "TLS")
        except GatewayError as refusal:
            raise_resource_problem(refusal)
            yield f"{subject} is not accepted: {refusal.problem.id} {refusal.detail[:200]}"
            continue
        if row.not_after - at < _EXPIRY_WARNING_TIME:
            ends = f"at {row.not_after:%Y-%m-%dT%H:%M:%SZ}"
            yield f"{subject} ends in {(row.not_after - at).days} days, {ends}"
