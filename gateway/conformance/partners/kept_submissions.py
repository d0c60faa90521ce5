"""Keeps the octets of a sealed submission in a file, so that the same octets can be sent again later."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.conformance.partners.agreed_protocol import find_agreed_core
from gateway.conformance.partners.kept_files import make_kept_name
from gateway.conformance.partners.partner_identity import Membership
from gateway.conformance.partners.sealed_submissions import SealedSubmission
from gateway.errors import DOCUMENT_INVALID, MISUSE, GatewayError
from gateway.message_model import MemoryBody, UserMessage
from gateway.protocols import Parcel
from gateway.wire import DEFAULT_LIMITS, SUB, parse_xml, read_http_message

_HTTP_START: Final = re.compile(rb"(?i)POST |(?:soapaction|content-type|mime-version):")

__all__ = [
    "is_kept_submission",
    "keep_submission",
    "read_kept_submission",
    "read_reference",
]


def is_kept_submission(content: bytes) -> bool:
    """Return whether a file begins like an HTTP message, and not like XML."""
    return _HTTP_START.match(content) is not None


def keep_submission(folder: Path, submission: SealedSubmission) -> Path:
    """Write the HTTP headers and body of a submission durably into a new file; return its path.

    Raises GW808 where the file cannot be written.
    """
    path = folder / f"{make_kept_name(submission.unit.message_id)}.http"
    head = "".join(f"{header}: {value}\r\n" for header, value in submission.http_headers.items())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(f"{head}\r\n".encode("ascii") + submission.body_octets)
            file.flush()
            os.fsync(file.fileno())
    except OSError as mistake:
        raise GatewayError(MISUSE, f"{path} cannot be written: {mistake.strerror}", str(path)) from None
    return path


def read_kept_submission(content: bytes, url: str, membership: Membership) -> SealedSubmission:
    """Return the submission that `keep_submission` wrote, to be sent to `url` unchanged.

    It is read as a message of the protocol of our agreement.
    """
    message = read_http_message(content)
    names = ("Content-Type", "SOAPAction")
    headers = {name: message.headers[name.lower()] for name in names if name.lower() in message.headers}
    parcel = Parcel(headers, MemoryBody(message.body))
    sent = find_agreed_core(membership).read_sent_unit(parcel, DEFAULT_LIMITS)
    unit = sent.unit
    # What was encrypted for the hub cannot be read here again.
    is_hidden = parcel.get_header("Content-Type").startswith("multipart/")
    if not isinstance(unit, UserMessage) or not (unit.payloads or is_hidden):
        raise GatewayError(DOCUMENT_INVALID, "the message carries no submission", "cid:")
    if unit.ack_requested is None:
        # A message of AS4 does not ask for its receipt: its P-Mode does.
        agreed = membership.make_ack_request(membership.get_outgoing_pmode(unit.action))
        unit = replace(unit, ack_requested=agreed)
    return SealedSubmission(unit, read_reference(unit), parcel, sent, url)


def read_reference(unit: UserMessage) -> str:
    """Return the Reference of the submission in a message; empty where it cannot be read."""
    if not unit.payloads:
        return ""
    return (parse_xml(unit.payloads[0].content).findtext(f"{{{SUB}}}Reference") or "").strip()
