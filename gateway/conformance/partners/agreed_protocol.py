"""The protocol of a broker's agreement; apart from the agreement, which knows no protocol core."""

from __future__ import annotations

from gateway.conformance.partners.partner_identity import Membership
from gateway.protocols import PROTOCOLS, ProtocolCore

__all__ = ["find_agreed_core"]


def find_agreed_core(membership: Membership) -> ProtocolCore:
    """Return the protocol in which the messages of an agreement are."""
    return PROTOCOLS[membership.protocol]
