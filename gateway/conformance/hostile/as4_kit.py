"""The attacker's means over AS4: the same generators of attacks make messages of the other protocol.

A message and a call of the other faces are both a message of AS4 here: its header is that of a message, its
Security header that of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lxml import etree

from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import HttpRequest, NotOfferedError
from gateway.conformance.hostile.mutated_as4_message import MutatedAs4Message
from gateway.conformance.partners import US
from gateway.message_model import Unit, UserMessage
from gateway.pki import Signer
from gateway.protocols import Parcel

__all__ = ["As4Kit", "make_as4_kit"]


@dataclass(frozen=True)
class As4Kit(AttackerKit):
    """A kit whose messages and calls are messages of AS4."""

    def get_signer(self, who: str | Signer) -> Signer:
        """Return the signer of that name; a caller is member A here."""
        return super().get_signer("a" if who == "agency" else who)

    def build_parcel(
        self,
        unit: Unit | None = None,
        member: str = "a",
        *,
        signer: str | Signer | None = None,
        signed: bool = True,
        **hooks: Any,
    ) -> Parcel:
        """Return a message as HTTP carries it; `hooks` are those of `MutatedAs4Message`."""
        key = self.get_signer(signer or member)
        unit = self.make_unit(member) if unit is None else unit
        context = replace(self.build_context(member), keys={US: key})
        pmode = None
        if isinstance(unit, UserMessage):
            pmode = self.members[member].get_outgoing_pmode(unit.action)
        try:
            craft = MutatedAs4Message(unit, key if signed else None, pmode, context, **hooks)
        except TypeError as missing:
            raise NotOfferedError(f"a message of AS4 has no such stage: {missing}") from None
        return craft.build_parcel()

    def wrap_parcel(self, parcel: Parcel, headers: Mapping[str, str] | None = None) -> HttpRequest:
        """Return the request that carries `parcel`, with further or other `headers`."""
        return HttpRequest("as4", {**parcel.headers, **(headers or {})}, parcel.read_octets())

    def build_call(
        self,
        operation: str = "",
        content: etree._Element | str | None = None,
        *,
        signer: str | Signer = "agency",
        signed: bool = True,
        addressing: Mapping[str, Any] | None = None,
        **hooks: Any,
    ) -> HttpRequest:
        """Return a message where an attack has a call without content of its own; raise `NotOfferedError`."""
        if operation or content is not None or addressing:
            raise NotOfferedError("a message of AS4 has no operation and no addressing")
        return self.build_message(signer=signer, signed=signed, **hooks)


def make_as4_kit(kit: AttackerKit) -> As4Kit:
    """Return the kit for AS4; raise `NotOfferedError` when its partner folder has no agreement by AS4."""
    if not kit.as4:
        raise NotOfferedError("the partner folder has no agreement by AS4")
    values = {one.name: getattr(kit, one.name) for one in fields(kit)}
    return As4Kit(**values | {"members": kit.as4})
