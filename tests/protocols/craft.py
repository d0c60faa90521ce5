"""Parcels that are wrong in one place: changed before the signature, or after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.agreements import PMode
from gateway.model import Octets, Unit, UserMessage
from gateway.protocols import Context, Parcel
from gateway.protocols.ebms2 import package
from gateway.protocols.ebms2.compose import compose
from gateway.wire.mime import Part, write_related
from gateway.wire.xml import parse_xml, serialize
from gateway.xmlsec.ebms2 import sign_message
from tests.protocols import world

Change = Callable[[bytes], bytes]
BOUNDARY = "=-boundary"


def swap(old: str, new: str, count: int = 1) -> Change:
    """Return a change that must find what it exchanges."""

    def change(data: bytes) -> bytes:
        assert old.encode() in data, old
        return data.replace(old.encode(), new.encode(), count)

    return change


def before(old: str, new: str) -> Change:
    return swap(old, new + old)


@dataclass(frozen=True)
class Craft:
    """One message, and what is done to it on its way."""

    unit: Unit = field(default_factory=world.message)
    mode: PMode | None = world.SUBMIT
    signed: bool = True
    envelope: Change | None = None
    """On the envelope, before it is signed."""
    tampered: Change | None = None
    """On the envelope, after it was signed."""
    parts: Callable[[list[Part]], list[Part]] | None = None
    """On the payload parts, after they were signed."""
    signing: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    """On what is handed to the signer."""
    body: Change | None = None
    """On the octets of the body."""
    content_type: Callable[[str], str] | None = None
    action: str = '"ebXML"'
    signer: str = "broker1"

    def parcel(self, context: Context) -> Parcel:
        root = serialize(compose((self.unit,)))
        if self.envelope:
            root = self.envelope(root)
        found = self.unit.payloads if isinstance(self.unit, UserMessage) else ()
        contents = {one.content_id: one.content for one in found}
        if self.signed:
            tree = parse_xml(root)
            sign_message(
                tree, self.signing(contents) if self.signing else contents, context.keys[self.signer]
            )
            root = serialize(tree)
        if self.tampered:
            root = self.tampered(root)
        parts = [
            Part({"content-type": one.media_type}, one.content_id, one.media_type, one.content)
            for one in found
        ]
        return self._packed(root, self.parts(parts) if self.parts else parts)

    def _packed(self, root: bytes, parts: list[Part]) -> Parcel:
        kind, data = package.CONTENT_TYPE, root
        if parts:
            kind, data = write_related(root, parts, BOUNDARY, "root@broker.example")
        if self.body:
            data = self.body(data)
        if self.content_type:
            kind = self.content_type(kind)
        return Parcel({"Content-Type": kind, "SOAPAction": self.action}, Octets(data))
