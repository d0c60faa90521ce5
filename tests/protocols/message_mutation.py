"""Parcels that are wrong in one place: changed before the signature, or after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.agreements import PMode
from gateway.message_model import Unit
from gateway.protocols import Parcel, ProtocolContext
from gateway.wire import MimePart
from gateway_conformance.hostile import OctetMutation, message_mutation, swap_octets
from gateway_conformance.hostile.content_mutations import BOUNDARY, insert_before
from tests.protocols import sample_parties

__all__ = ["BOUNDARY", "Craft", "OctetMutation", "insert_before", "swap_octets"]


@dataclass(frozen=True)
class Craft:
    """One message of the world of these tests, and what is done to it on its way."""

    unit: Unit = field(default_factory=sample_parties.message)
    mode: PMode | None = sample_parties.SUBMIT
    signed: bool = True
    envelope: OctetMutation | None = None
    tampered: OctetMutation | None = None
    parts: Callable[[list[MimePart]], list[MimePart]] | None = None
    signing: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    body: OctetMutation | None = None
    content_type: Callable[[str], str] | None = None
    action: str = '"ebXML"'
    signer: str = "broker1"

    def parcel(self, context: ProtocolContext) -> Parcel:
        return message_mutation.MutatedMessage(
            self.unit,
            context.signers[self.signer] if self.signed else None,
            envelope=self.envelope,
            signing=self.signing,
            tampered=self.tampered,
            parts=self.parts,
            body=self.body,
            content_type=self.content_type,
            action=self.action,
            root_id="root@broker.example",
        ).build_parcel()
