"""Checks that the TLS client certificate of a connection belongs to the sender: mutual TLS.

The handshake proved that the client has the key of a certificate. Here that certificate is compared
with the register. The party must be allowed to use it for TLS now, it must be valid by our own
trust at this time, and the party must be the one that signed the message. Every certificate that is
shown is checked. The settings and the P-Modes say which party must show one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.errors import CERTIFICATE_EXPIRED, CLIENT_CERTIFICATE, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.register import RegisterSnapshot
from gateway.pki import CertificateUse
from gateway.protocols import OpenedMessage, ProtocolContext
from gateway.store import get_disk_reserve, write_transaction

__all__ = ["EVERYBODY", "ConnectionClaim", "check_client_certificate", "check_message_connection"]

#: In the place of a party name: every party.
EVERYBODY = "*"
_PLACE = "TLS"


@dataclass(frozen=True, slots=True)
class ConnectionClaim:
    """`party` has sent a message on a connection with a client certificate (SHA-256), or with none.

    `is_certificate_required`: the agreement says that it must show one.
    """

    party: str
    certificate_sha256: str | None
    is_certificate_required: bool = False


def check_message_connection(
    hub: Hub, opened: OpenedMessage, context: ProtocolContext, knowledge: RegisterSnapshot
) -> None:
    """Raise for a message on a connection of another party, or without a required client certificate."""
    shown = opened.parcel.client
    agreed = opened.pmode is not None and opened.pmode.security.mutual_tls
    if shown is not None or agreed or hub.mutual_tls:
        check_client_certificate(
            hub, ConnectionClaim(_find_sender(opened, context), shown, agreed), knowledge, context.now
        )


def _find_sender(opened: OpenedMessage, context: ProtocolContext) -> str:
    signed = opened.signed
    signer = context.find_certificate_party(signed.certificate.sha256) if signed is not None else None
    return signer or context.get_party_name(opened.unit.sender)


def check_client_certificate(
    hub: Hub, claim: ConnectionClaim, knowledge: RegisterSnapshot, at: datetime
) -> None:
    """Raise for a connection that is not the party's own, and record evidence of that.

    Raises GW213 for a certificate that is missing, unknown or another party's, GW205 to GW208 for a
    certificate of the party that is not valid now.
    """
    try:
        _validate_client_certificate(hub, claim, knowledge, at)
    except GatewayError as problem:
        # A refusal by an outdated snapshot is not recorded: the message is evaluated again.
        if hub.is_snapshot_current(knowledge):
            _record_refusal(hub, claim, problem, at)
        raise


def _validate_client_certificate(
    hub: Hub, claim: ConnectionClaim, knowledge: RegisterSnapshot, at: datetime
) -> None:
    if claim.certificate_sha256 is None:
        if claim.is_certificate_required or not hub.mutual_tls.isdisjoint((claim.party, EVERYBODY)):
            raise GatewayError(CLIENT_CERTIFICATE, f"{claim.party[:80]} showed no certificate", _PLACE)
        return
    held = knowledge.tls_clients.get(claim.certificate_sha256)
    words = f"certificate {claim.certificate_sha256[:16]}"
    if held is None:
        raise GatewayError(CLIENT_CERTIFICATE, f"{words} is not registered for an active party", _PLACE)
    if held.holding.party != claim.party:
        detail = f"{words} is not one of {claim.party[:80]}, which sent the message"
        raise GatewayError(CLIENT_CERTIFICATE, detail, _PLACE)
    refused = held.holding.describe_invalidity(at)
    if refused:
        raise GatewayError(CERTIFICATE_EXPIRED, f"{words} {refused}", _PLACE)
    hub.judge(held.der, CertificateUse.TLS_CLIENT, at).raise_unless_accepted(_PLACE)


def _record_refusal(hub: Hub, claim: ConnectionClaim, problem: GatewayError, at: datetime) -> None:
    """Record a refused connection; at most so often an hour for one party, because it can be repeated."""
    if get_disk_reserve(hub.engine).find_shortage() is not None or not hub.refusals.acquire_slot(
        f"tls {claim.party}", at
    ):
        return
    data = {
        "certificate": claim.certificate_sha256 or "",
        "problem": problem.problem.id,
        "detail": problem.detail[:300],
    }
    with write_transaction(hub.engine, "clients.refused") as conn:
        record_evidence(conn, "connection_refused", "party", claim.party, claim.certificate_sha256, data, at)
