"""Finds what a message of a CPA uses on both sides: bindings, channels, endpoints, certificates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.agreements.cpa.cpa_model import (
    ActionBinding,
    CertificateHolder,
    CollaborationRole,
    CpaDocument,
    CpaParty,
    DeliveryChannel,
    DocumentBinding,
    TransportSide,
)
from gateway.agreements.pmode_values import is_endpoint

__all__ = [
    "BoundAction",
    "ChannelUse",
    "choose_endpoint",
    "compute_pin",
    "find_counterpart",
    "find_pins",
    "find_signal_channel",
    "is_spoken",
    "list_anchor_pins",
    "list_bound_actions",
]

_PROTOCOLS: Final = ("HTTP", "HTTPS")


@dataclass(frozen=True, slots=True)
class ChannelUse:
    """A party together with one of its channels; the channel is None where an id names nothing."""

    party: CpaParty
    channel: DeliveryChannel | None

    @property
    def sender(self) -> DocumentBinding | None:
        """Return the document exchange of what the party sends."""
        found = self.party.find_exchange(self.channel)
        return found.sender if found is not None else None

    @property
    def receiver(self) -> DocumentBinding | None:
        """Return the document exchange of what the party receives."""
        found = self.party.find_exchange(self.channel)
        return found.receiver if found is not None else None

    @property
    def client(self) -> TransportSide | None:
        """Return the transport of what the party sends."""
        found = self.party.find_transport(self.channel)
        return found.sender if found is not None else None

    @property
    def server(self) -> TransportSide | None:
        """Return the transport of what the party receives."""
        found = self.party.find_transport(self.channel)
        return found.receiver if found is not None else None


@dataclass(frozen=True, slots=True)
class BoundAction:
    """One action that one party sends and the other receives.

    `holder` is the binding of the sender in which this one is nested: the action answers it on the
    same connection.
    """

    document: CpaDocument
    sender: CpaParty
    role: CollaborationRole
    binding: ActionBinding
    receiver: CpaParty
    other_role: CollaborationRole
    other: ActionBinding
    holder: ActionBinding | None

    def list_channels(self) -> list[tuple[ChannelUse, ChannelUse]]:
        """Return the channels of sender and receiver, of each those over HTTP first, else in their order.

        The order of ChannelIds is that of preference. The shorter list repeats its last.
        """
        ours = [ChannelUse(self.sender, self.sender.channels.get(one)) for one in self.binding.channels]
        theirs = [ChannelUse(self.receiver, self.receiver.channels.get(one)) for one in self.other.channels]
        ours.sort(key=lambda one: not is_spoken(one.client))
        theirs.sort(key=lambda one: not is_spoken(one.server))
        return [
            (ours[min(at, len(ours) - 1)], theirs[min(at, len(theirs) - 1)])
            for at in range(max(len(ours), len(theirs)))
        ]


def is_spoken(side: TransportSide | None) -> bool:
    """Return whether the hub speaks the protocol of a transport: HTTP, at an http(s) URL if it has any."""
    if side is None:
        return True
    reached = not side.endpoints or any(is_endpoint(one.uri) for one in side.endpoints)
    return side.protocol.upper() in _PROTOCOLS and reached


def list_bound_actions(document: CpaDocument) -> Iterator[BoundAction]:
    """Yield every action that somebody sends and the other can receive, in document order."""
    for party in document.parties:
        other = document.get_other_party(party)
        for role, binding, holder in party.list_bindings():
            if not binding.sends:
                continue
            found = find_counterpart(role, binding, other)
            if found is not None:
                yield BoundAction(document, party, role, binding, other, *found, holder)


def find_counterpart(
    role: CollaborationRole, binding: ActionBinding, other: CpaParty
) -> tuple[CollaborationRole, ActionBinding] | None:
    """Return what the other party has for an action: what the binding names, else the same action.

    A named binding counts only when it has the same service and action in the other direction.
    """
    candidates = [
        (one_role, one)
        for one_role, one, _ in other.list_bindings()
        if one.sends != binding.sends
        and one.action == binding.action
        and (one_role.service, one_role.service_type) == (role.service, role.service_type)
    ]
    if binding.other is not None:
        return next((one for one in candidates if one[1].id == binding.other), None)
    same_process = [one for one in candidates if one[0].process_uri == role.process_uri]
    return next(iter(same_process or candidates), None)


def find_signal_channel(party: CpaParty, action: str) -> ChannelUse:
    """Return the channel of a party for a signal: of its own, or the default one."""
    override = next((one.channel for one in party.overrides if one.action == action), None)
    return ChannelUse(party, party.channels.get(override or party.default_channel))


def choose_endpoint(side: TransportSide | None, *kinds: str) -> str | None:
    """Return the URL of the first of these kinds that a receiver has, else its first URL."""
    urls = side.endpoints if side is not None else ()
    by_kind = {one.kind: one.uri for one in reversed(urls)}
    found = next((by_kind[kind] for kind in kinds if kind in by_kind), None)
    return found or (urls[0].uri if urls else None)


def compute_pin(holder: CertificateHolder | None) -> str | None:
    """Return the SHA-256 of a certificate; None where there is none."""
    if holder is None:
        return None
    return hashlib.sha256(holder.chain[0]).hexdigest() if holder.chain else holder.digest


def find_pins(party: CpaParty, names: tuple[str | None, ...]) -> tuple[str, ...]:
    """Return the SHA-256 of certificates of a party, each once."""
    found = (compute_pin(party.certificates.get(name)) for name in names if name is not None)
    return tuple(dict.fromkeys(one for one in found if one is not None))


def list_anchor_pins(party: CpaParty, security: str | None) -> tuple[str, ...]:
    """Return the SHA-256 of the trust anchors that a party names."""
    details = party.security.get(security) if security is not None else None
    return find_pins(party, details.anchors) if details is not None else ()
