"""ebMS 3.0 and AS4: SOAP 1.2 with attachments, signed by WS-Security.

A message is checked in the order of cost: MIME, XML, SOAP, header, presence of every payload, then
algorithms, coverage, signature and digests, last the certificate path. It is expanded after that.
"""

from __future__ import annotations

from typing import Final

from gateway.protocols.as4.message_opening import find_fault, find_refused_message, verify_parcel
from gateway.protocols.as4.message_sealing import seal

__all__ = ["find_fault", "find_refused_message", "name", "seal", "verify_parcel"]

name: Final = "as4"
