"""Validates again the certificates of what lasts: sessions, access tokens, and the confirmation of acts.

Who signed in with a certificate goes on only while it is valid, by the lists that are loaded now.
"""

from __future__ import annotations

from gateway.errors import CLIENT_CERTIFICATE, GatewayError, raise_resource_problem
from gateway.hub.hub import Hub
from gateway.pki import CertificateUse
from gateway.store import accounts, read_transaction


def check_held_certificate(hub: Hub, der: bytes, use: CertificateUse, location: str) -> None:
    """Raise GW205 to GW208 for a certificate (DER) that is not valid now by the register's present epoch.

    Raises GW806 where it could not be validated: that says nothing about the certificate.
    """
    hub.judge(der, use, hub.clock()).raise_unless_accepted(location)


def find_account_refusal(hub: Hub, account: int) -> GatewayError | None:
    """Return why the client certificate of an account is not valid now; None where it is valid.

    It is GW213 for an account without a certificate. Raises GW806 as `check_held_certificate` does.
    """
    hub.refresh_snapshot()  # it loads new revocation lists, too
    with read_transaction(hub.engine) as conn:
        der = accounts.find_account_certificate(conn, account)
    if der is None:
        return GatewayError(CLIENT_CERTIFICATE, "no client certificate is bound to the account", "TLS")
    try:
        check_held_certificate(hub, der, CertificateUse.TLS_CLIENT, "TLS")
    except GatewayError as refusal:
        raise_resource_problem(refusal)
        return refusal
    return None
