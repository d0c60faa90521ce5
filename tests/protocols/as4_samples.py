"""Messages and signals of AS4 between the parties of `sample_parties`, and changes of their octets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from lxml import etree

from gateway.agreements import Reliability
from gateway.agreements.pmode_values import PackagedPart, Packaging
from gateway.message_model import (
    UNNAMED_PARTY,
    DigestReference,
    ErrorEntry,
    ErrorSignal,
    MemoryBody,
    MessageProperty,
    Payload,
    PullRequest,
    Receipt,
    UserMessage,
)
from gateway.protocols import OpenedMessage, Parcel, as4
from gateway.wire import DS, EB3, SOAP12, SWA_CONTENT, WSSE, WSU
from tests.protocols import sample_parties

NAMES = {"eb3": EB3, "soap12": SOAP12, "wsse": WSSE, "wsu": WSU, "ds": DS}
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
TERMS = {
    "protocol": "as4",
    "mpc": "urn:example:mpc",
    "agreement_type": "urn:example:agreements",
    "reliability": Reliability(),
    "sync_reply_mode": "none",
}
COMPRESSED = Packaging(
    "compressed", "multipart/related", (PackagedPart("p", "*/*", wrapper_types=("application/gzip",)),)
)
SIGNAL = {
    "conversation_id": "",
    "sender": sample_parties.FROM_HUB,
    "receiver": UNNAMED_PARTY,
    "agreement": "",
    "timestamp": sample_parties.NOW,
}


def message(**changes: object) -> UserMessage:
    """Return a business message of the broker to the hub with three payloads."""
    return replace(
        sample_parties.message(),
        expires_at=None,
        duplicate_elimination=False,
        ack_requested=None,
        sync_reply=False,
        mpc="urn:example:mpc",
        properties=(
            MessageProperty("originalSender", "C1"),
            MessageProperty("finalRecipient", "C4", "urn:t"),
        ),
        agreement_type="urn:example:agreements",
        payloads=(
            Payload("p1@broker.example", "application/xml", '<a b="1"><신고>가</신고></a>'.encode()),
            Payload(
                "p2@broker.example", "application/octet-stream", bytes(range(256)), (("CharacterSet", "x"),)
            ),
            Payload("p3@broker.example", "text/plain", b"one\ntwo\r\nthree"),
        ),
        **changes,  # type: ignore[arg-type]
    )


RECEIPT = Receipt(
    **SIGNAL,  # type: ignore[arg-type]
    message_id="r-1@hub.example",
    ref_to_message_id="m-1@broker.example",
    received_at=sample_parties.NOW,
    references=(DigestReference("cid:p1@broker.example", SHA256, bytes(32), ((SWA_CONTENT,),)),),
)
ERROR = ErrorSignal(
    **SIGNAL,  # type: ignore[arg-type]
    message_id="e-1@hub.example",
    ref_to_message_id="m-1@broker.example",
    errors=(
        ErrorEntry("EBMS:0101", "Error", "//ds:Reference[2]", "words & more", category="Processing",
                   origin="security", title="FailedAuthentication"),
        ErrorEntry("EBMS:0006", "Warning"),
    ),
)  # fmt: skip
PULL = PullRequest(**SIGNAL, message_id="q-1@hub.example", mpc="urn:example:mpc")  # type: ignore[arg-type]


def seal(unit: UserMessage | Receipt | ErrorSignal | PullRequest | None = None) -> Parcel:
    return as4.seal((unit or message(),), None, sample_parties.context())


def verify(parcel: Parcel) -> OpenedMessage:
    return as4.verify_parcel(parcel, "strict", sample_parties.context())


def read_root(parcel: Parcel) -> etree._Element:
    """Return the envelope of a parcel as a tree."""
    return etree.fromstring(find_envelope(sample_parties.octets(parcel)))


def find_envelope(octets: bytes) -> bytes:
    found = re.search(rb"<soap12:Envelope.*</soap12:Envelope>", octets, re.DOTALL)
    assert found is not None
    return found[0]


def change_tree(parcel: Parcel, change: Callable[[etree._Element], object]) -> Parcel:
    """Return the parcel with a changed envelope and the same parts."""
    octets = sample_parties.octets(parcel)
    old = find_envelope(octets)
    root = etree.fromstring(old)
    change(root)
    return Parcel(dict(parcel.headers), MemoryBody(octets.replace(old, etree.tostring(root))))


def find(root: etree._Element, path: str) -> etree._Element:
    """Return the first element at a path with the prefixes of the gateway."""
    found = root.find(path, NAMES)
    assert found is not None, path
    return found
