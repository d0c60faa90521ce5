"""Makes the receipt of a submission that came without ebXML: through the API or the console.

The receipt says which octets were stored, for whom, when and under which id. The hub signs it. It
says nothing about the content, which is checked after that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lxml import etree

from gateway.wire import RECEIPT

__all__ = ["FilingFacts", "make_receipt_document"]

_RECEIPT: Final = f"{{{RECEIPT}}}"
# The lxml stubs do not allow a default namespace.
_NSMAP: Final[Any] = {None: RECEIPT}


@dataclass(frozen=True, slots=True)
class FilingFacts:
    """What was filed: its id, who sent it through which channel, when it came, and its digests.

    `sha256` is that of the submission; `attachments` has digest and octets by content id.
    """

    message_id: str
    party: str
    channel: str
    received_at: datetime
    sha256: str
    attachments: Mapping[str, tuple[str, int]]


def make_receipt_document(facts: FilingFacts) -> etree._Element:
    """Return the unsigned `Receipt` of a submission."""
    root = etree.Element(f"{_RECEIPT}Receipt", nsmap=_NSMAP)
    root.set("version", "1")
    moment = facts.received_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for name, value in (
        ("MessageId", facts.message_id),
        ("Party", facts.party),
        ("Channel", facts.channel),
        ("ReceivedAt", moment),
    ):
        etree.SubElement(root, f"{_RECEIPT}{name}").text = value
    etree.SubElement(root, f"{_RECEIPT}Submission").set("sha256", facts.sha256)
    for content_id, (digest, size) in facts.attachments.items():
        element = etree.SubElement(root, f"{_RECEIPT}Attachment")
        element.set("cid", content_id)
        element.set("sha256", digest)
        element.set("size", str(size))
    return root
