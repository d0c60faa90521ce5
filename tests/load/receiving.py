"""The receive path beside its floor: one after the other, message by message, in one thread."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree

from gateway.hub import Hub, RejectingComposer, build_hub, receive_parcel, tune_garbage_collector
from gateway.protocols import Parcel
from gateway.store import HttpResponse
from gateway.wire import DEFAULT_LIMITS, prescan_xml, read_multipart_related
from tests.load.durable import DurableFile
from tests.load.place import EBMS2, Broker, Place, sealed
from tests.load.stopwatch import Laps, by_turns, say

#: Octets of one message, MIME framing and all.
MESSAGE = 20 * 1024
_SIGNATURE = ".//{http://www.w3.org/2000/09/xmldsig#}Signature"
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()


@dataclass(frozen=True)
class Arrived:
    """A message as the floor gets it: already cut at its boundaries."""

    octets: bytes
    envelope: bytes
    payload: bytes
    value: bytes


@dataclass(frozen=True)
class Floor:
    """What nobody can leave out for one signed message, done bare: nothing is judged, named or filed."""

    public: Any
    key: Any
    receipt: bytes
    file: DurableFile

    @classmethod
    def of(cls, broker: Broker, hub: Hub, receipt: HttpResponse, place: Place) -> Self:
        """Return the floor of a hub: its key, the broker's, and a file on the same disk."""
        file = DurableFile(place.home / "floor.sqlite3")
        return cls(broker.signer.certificate.public_key, hub.signer.key, receipt.body, file)  # type: ignore[attr-defined]

    def __call__(self, message: Arrived) -> None:
        """Pre-scan, parse, canonicalise, digest, verify; sign a receipt, commit both."""
        prescan_xml(message.envelope)
        root = etree.fromstring(message.envelope)
        signature = root.find(_SIGNATURE)
        assert signature is not None
        signed_info = etree.tostring(signature[0], method="c14n", with_tail=False)
        self.public.verify(message.value, signed_info, _PKCS1, _SHA256)
        root[0].remove(signature)
        hashlib.sha256(etree.tostring(root, method="c14n")).digest()
        hashlib.sha256(message.payload).digest()
        hashlib.sha256(self.receipt).digest()
        self.key.sign(self.receipt, _PKCS1, _SHA256)
        self.file.commit((message.octets, self.receipt))


def arrived(parcel: Parcel) -> Arrived:
    """Return a message cut at its boundaries."""
    octets = octets_of(parcel)
    parts = read_multipart_related(parcel.get_header("Content-Type"), octets, DEFAULT_LIMITS)
    value = etree.fromstring(parts.root.content).findtext(f".//{_DS}SignatureValue") or ""
    return Arrived(octets, parts.root.content, parts.attachments[0].content, base64.b64decode(value))


def octets_of(parcel: Parcel) -> bytes:
    """Return the body of a parcel."""
    with parcel.body.open_stream() as stream:
        return stream.read()


def accepted(answer: HttpResponse) -> HttpResponse:
    """Return the answer, which must be a receipt."""
    assert answer.status == 200, answer.body[:2000]
    assert b"Acknowledgment>" in answer.body, answer.body[:2000]
    return answer


def measure(place: Place, messages: int) -> Mapping[str, Any]:
    """Time floor and receive path on alternating messages; every receipt is checked to be one."""
    say(f"receive: {messages} messages of {MESSAGE} octets beside their floor")
    broker = Broker(place.home)
    hub = build_hub(place.settings, RejectingComposer())
    tune_garbage_collector()  # as every process that serves does
    for parcel in sealed(broker, MESSAGE, 20):
        receipt = hub_takes(hub, parcel)
        broker.check_receipt(parcel, dict(receipt.headers), receipt.body)
    floor = Floor.of(broker, hub, receipt, place)
    return compare("", floor, sealed(broker, MESSAGE, messages), partial(hub_takes, hub), hub)


def compare(
    protocol: str, floor: Floor, parcels: Iterable[Parcel], take: Callable[[Parcel], object], hub: Hub
) -> Mapping[str, Any]:
    """Time floor and receive path by turns; return the figures, whose names begin with `protocol`."""
    bare, ours = Laps(), Laps()
    for number, parcel in enumerate(parcels):
        by_turns(
            number,
            partial(bare.time, partial(floor, arrived(parcel))),
            partial(ours.time, partial(take, parcel)),
        )
    floor.file.close()
    hub.close()
    figures = {
        "floor_ms": bare.wall_ms,
        "receive_ms": ours.wall_ms,
        "ratio": ours.wall_ms / bare.wall_ms,
        "floor_cpu_ms": bare.cpu_ms,
        "receive_cpu_ms": ours.cpu_ms,
        "cpu_ratio": ours.cpu_ms / bare.cpu_ms,
    }
    return {f"{protocol}{name}": figure for name, figure in figures.items()}


def hub_takes(hub: Hub, parcel: Parcel) -> HttpResponse:
    """Hand a message in as the web does."""
    return accepted(receive_parcel(hub, EBMS2, parcel))
