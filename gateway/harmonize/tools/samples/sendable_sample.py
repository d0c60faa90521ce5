"""Makes a sample that a hub accepts: declarant, reference, date and attachments are in place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from gateway.harmonize.language import DocumentMapping, MappingBundle
from gateway.harmonize.tools.samples.sample_maker import draw_sample, write_sample
from gateway.wire import SUB

__all__ = ["SampleAttachment", "SampleFiling", "SendableSample", "make_sendable_sample"]

_DECLARANT: Final = "Declaration/Declarant/ID"
_AGENT: Final = "Declaration/Agent/ID"
_REFERENCE: Final = "Declaration/FunctionalReferenceID"
_ISSUED: Final = "Declaration/IssueDateTime"
_ENDINGS: Final = {"application/pdf": "pdf", "image/tiff": "tiff", "image/jpeg": "jpeg", "image/png": "png"}


@dataclass(frozen=True, slots=True)
class SampleFiling:
    """Who files a sample, under which reference, and when; the reference has at most 35 characters.

    The agent is who signs; without one it is the declarant, who signs itself then.
    """

    declarant: str
    reference: str
    at: datetime
    agent: str = ""


@dataclass(frozen=True, slots=True)
class SampleAttachment:
    """One file that a sample names: its content id, a name for the file, and its octets."""

    content_id: str
    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class SendableSample:
    """A submission as XML, unsigned, with the files that it names."""

    xml: bytes
    attachments: tuple[SampleAttachment, ...]


def make_sendable_sample(
    bundle: MappingBundle, document: DocumentMapping, size: tuple[str, int], filing: SampleFiling
) -> SendableSample:
    """Return a sample of one application of `document`; `size` is the seed and the number of items.

    Raise GW901 where no valid submission is found.
    """
    moment = filing.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    agent = filing.agent or filing.declarant
    decided = {
        _DECLARANT: filing.declarant,
        _AGENT: agent,
        _REFERENCE: filing.reference,
        _ISSUED: moment,
    }
    root = draw_sample(bundle, document, size, decided, filing.at)
    attachments = tuple(_write_attachments(root))
    return SendableSample(write_sample(root), attachments)


def _write_attachments(root: etree._Element) -> Iterator[SampleAttachment]:
    """Yield a file for each attachment; its digest and size are put into the submission."""
    for element in root.iter(f"{{{SUB}}}Attachment"):
        cid, media_type = str(element.get("cid")), str(element.get("mediaType"))
        content = f"%PDF-1.4\n% sample attachment {cid} of type {media_type}\n%%EOF\n".encode()
        element.set("sha256", hashlib.sha256(content).hexdigest())
        element.set("size", str(len(content)))
        ending = _ENDINGS.get(media_type, "bin")
        yield SampleAttachment(cid, f"{cid.partition('@')[0]}.{ending}", content)
