"""Every hostile answer of this suite, by name: what a partner may do to a gateway that calls it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from gateway.conformance.hostile.replies.ebms2 import EBMS2_REPLIES
from gateway.conformance.hostile.replies.http import HTTP_REPLIES
from gateway.conformance.hostile.replies.server import ReplyPlay
from gateway.conformance.hostile.replies.soap import SOAP_REPLIES
from gateway.conformance.hostile.replies.xml import XML_REPLIES

__all__ = ["REPLIES", "replies"]

REPLIES: Final[tuple[ReplyPlay, ...]] = (*SOAP_REPLIES, *XML_REPLIES, *HTTP_REPLIES, *EBMS2_REPLIES)


def replies(face: str, pattern: str = "*") -> tuple[ReplyPlay, ...]:
    """Return the plays of a face (``soap``, ``ebms2``) whose id fits a pattern as of a shell."""
    return tuple(one for one in REPLIES if face in one.outcome and fnmatchcase(one.id, pattern))
