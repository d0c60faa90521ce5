"""The receive path of AS4 beside its floor: one after the other, message by message, in one thread."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree

from gateway.agreements import PModeIndex, read_pmodes
from gateway.hub import RejectingComposer, build_hub, receive_parcel, tune_garbage_collector
from gateway.message_model import MemoryBody
from gateway.operations import load_unchecked_agreement
from gateway.protocols import PROTOCOLS, Parcel
from gateway.store import HttpResponse, write_transaction
from gateway.wire import prescan_xml
from tests.kit.paths import ROOT
from tests.load.place import Broker, Place, payload
from tests.load.receiving import MESSAGE, Arrived, Floor, compare
from tests.load.stopwatch import say

AS4 = PROTOCOLS["as4"]
#: XML that is not compressed costs a canonical form more.
AGREEMENT = (
    (ROOT / "conformance" / "agreements" / "as4.yaml")
    .read_bytes()
    .replace(b"compression: gzip ", b"compression: none ")
)
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()


class As4Broker(Broker):
    """A broker that signs messages of AS4 to the mailbox of the hub."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.home)
        self._pmodes = read_pmodes(AGREEMENT, "agreement")
        self._book = PModeIndex(self._pmodes)

    def seal_store(self, octets: int) -> Parcel:
        """Return a signed message with one XML payload of so many octets."""
        unit = self.message("Store", payload(octets))
        return AS4.seal((unit,), self.pmode("Store"), self.context())

    def check_as4_receipt(self, sent: Parcel, answer: HttpResponse) -> None:
        """Raise unless this is the hub's signed receipt of what was sent, with every digest."""
        parcel, context = Parcel(dict(answer.headers), MemoryBody(answer.body)), self.context()
        AS4.open_units(parcel, context, AS4.read_sent_unit(sent, context.limits))


class As4Floor(Floor):
    """What nobody can leave out for one signed message of AS4, done bare."""

    def __call__(self, message: Arrived) -> None:
        """Pre-scan, parse, canonicalise and digest header, Body and part; verify; sign a receipt; commit."""
        prescan_xml(message.envelope)
        root = etree.fromstring(message.envelope)
        signed_info = next(root.iter(f"{_DS}SignedInfo"))
        self.public.verify(message.value, _canonical(signed_info), _PKCS1, _SHA256)
        header, body = root
        prescan_xml(message.payload)
        for element in (header[-1], body, etree.fromstring(message.payload)):
            hashlib.sha256(_canonical(element)).digest()
        # The receipt has two signed elements.
        for _ in range(2):
            hashlib.sha256(self.receipt).digest()
        self.key.sign(self.receipt, _PKCS1, _SHA256)
        self.file.commit((message.octets, self.receipt))


def _canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_tail=False)


def sealed(broker: As4Broker, octets: int, number: int) -> Iterator[Parcel]:
    """Yield so many messages to the mailbox, each of so many octets in all."""
    around = broker.seal_store(1000).body.octet_count - 1000
    for _ in range(number):
        yield broker.seal_store(octets - around)


def agree(place: Place) -> None:
    """Load the agreement by AS4 between the broker and the hub."""
    engine = place.engine()
    with write_transaction(engine) as conn:
        load_unchecked_agreement(conn, AGREEMENT, "agreement", datetime.now(UTC))
    engine.dispose()


def measure(place: Place, messages: int) -> Mapping[str, Any]:
    """Time floor and receive path on alternating messages; every answer is checked to be a receipt."""
    say(f"as4: {messages} messages of {MESSAGE} octets beside their floor")
    agree(place)
    broker, hub = As4Broker(place), build_hub(place.settings, RejectingComposer())
    tune_garbage_collector()  # as every process that serves does

    def take(parcel: Parcel) -> HttpResponse:
        answer = receive_parcel(hub, AS4, parcel)
        assert b"NonRepudiationInformation" in answer.body, answer.body[:2000]
        return answer

    for parcel in sealed(broker, MESSAGE, 20):
        receipt = take(parcel)
        broker.check_as4_receipt(parcel, receipt)
    floor = As4Floor.of(broker, hub, receipt, place)
    return compare("as4_", floor, sealed(broker, MESSAGE, messages), take, hub)
