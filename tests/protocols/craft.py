"""Parcels that are wrong in one place: changed before the signature, or after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.agreements import PMode
from gateway.conformance.hostile import craft
from gateway.conformance.hostile.craft import BOUNDARY, Change, before, swap
from gateway.model import Unit
from gateway.protocols import Context, Parcel
from gateway.wire.mime import Part
from tests.protocols import world

__all__ = ["BOUNDARY", "Change", "Craft", "before", "swap"]


@dataclass(frozen=True)
class Craft:
    """One message of the world of these tests, and what is done to it on its way."""

    unit: Unit = field(default_factory=world.message)
    mode: PMode | None = world.SUBMIT
    signed: bool = True
    envelope: Change | None = None
    tampered: Change | None = None
    parts: Callable[[list[Part]], list[Part]] | None = None
    signing: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    body: Change | None = None
    content_type: Callable[[str], str] | None = None
    action: str = '"ebXML"'
    signer: str = "broker1"

    def parcel(self, context: Context) -> Parcel:
        return craft.Craft(
            self.unit,
            context.keys[self.signer] if self.signed else None,
            envelope=self.envelope,
            signing=self.signing,
            tampered=self.tampered,
            parts=self.parts,
            body=self.body,
            content_type=self.content_type,
            action=self.action,
            root_id="root@broker.example",
        ).parcel()
