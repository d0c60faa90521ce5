"""Whether the connection that brings a message is its sender's: mutual TLS.

The handshake proved that whoever connected has the key of a certificate.  Here that certificate
is held against the register: it must be one that the party may use for TLS now, good by our own
trust at this moment, and the party must be the one that signed the message.  Whoever shows a
certificate is held to it; who must show one is said by the settings and the P-Modes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.errors import CERTIFICATE_EXPIRED, CLIENT_CERTIFICATE, GatewayError
from gateway.evidence.log import record
from gateway.hub.hub import Hub
from gateway.hub.knowledge import Knowledge
from gateway.pki.trust import Use
from gateway.protocols import Context, Opened
from gateway.store.engine import transaction
from gateway.store.room import room_of

__all__ = ["EVERYBODY", "Claim", "check_client", "check_message"]

#: In the place of a name: every party.
EVERYBODY = "*"
_PLACE = "TLS"


@dataclass(frozen=True, slots=True)
class Claim:
    """`party` has sent something, on a connection that showed a certificate (SHA-256), or none.

    `agreed`: the agreement says that it must show one.
    """

    party: str
    shown: str | None
    agreed: bool = False


def check_message(hub: Hub, opened: Opened, context: Context, knowledge: Knowledge) -> None:
    """Refuse a message whose connection is another's, or shows none where it must."""
    shown = opened.parcel.client
    agreed = opened.pmode is not None and opened.pmode.security.mutual_tls
    if shown is not None or agreed or hub.mutual_tls:
        check_client(hub, Claim(_sender(opened, context), shown, agreed), knowledge, context.now)


def _sender(opened: Opened, context: Context) -> str:
    signed = opened.signed
    signer = context.party_of(signed.certificate.sha256) if signed is not None else None
    return signer or context.party(opened.unit.sender)


def check_client(hub: Hub, claim: Claim, knowledge: Knowledge, at: datetime) -> None:
    """Refuse a connection that is not the party's own, and keep evidence of that.

    Raises GW213 for a certificate that is missing, unknown or another's, GW205 to GW208 for the
    party's own that is not good now.
    """
    try:
        _demand(hub, claim, knowledge, at)
    except GatewayError as problem:
        # What an old copy of the register says is not kept: it is judged again.
        if hub.is_fresh(knowledge):
            _keep(hub, claim, problem, at)
        raise


def _demand(hub: Hub, claim: Claim, knowledge: Knowledge, at: datetime) -> None:
    if claim.shown is None:
        if claim.agreed or not hub.mutual_tls.isdisjoint((claim.party, EVERYBODY)):
            raise GatewayError(CLIENT_CERTIFICATE, f"{claim.party[:80]} showed no certificate", _PLACE)
        return
    held = knowledge.tls_clients.get(claim.shown)
    words = f"certificate {claim.shown[:16]}"
    if held is None:
        raise GatewayError(CLIENT_CERTIFICATE, f"{words} is registered for no active party", _PLACE)
    if held.holding.party != claim.party:
        detail = f"{words} is not one of {claim.party[:80]}, which sent the message"
        raise GatewayError(CLIENT_CERTIFICATE, detail, _PLACE)
    refused = held.holding.refusal(at)
    if refused:
        raise GatewayError(CERTIFICATE_EXPIRED, f"{words} {refused}", _PLACE)
    hub.judge(held.der, Use.TLS_CLIENT, at).demand(_PLACE)


def _keep(hub: Hub, claim: Claim, problem: GatewayError, at: datetime) -> None:
    """Store who came as whom; of one party so often an hour, for whoever was refused can come again."""
    if room_of(hub.engine).shortage() is not None or not hub.refusals.take(f"tls {claim.party}", at):
        return
    data = {"certificate": claim.shown or "", "problem": problem.problem.id, "detail": problem.detail[:300]}
    with transaction(hub.engine, "clients.refused") as conn:
        record(conn, "connection_refused", "party", claim.party, claim.shown, data, at)
