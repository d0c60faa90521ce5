"""Every hostile answer of this suite, by name: what a partner may do to a gateway that calls it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from gateway.conformance.hostile.reply_attacks.ebms2_replies import EBMS2_REPLIES
from gateway.conformance.hostile.reply_attacks.http_replies import HTTP_REPLIES
from gateway.conformance.hostile.reply_attacks.reply_server import ReplyScenario
from gateway.conformance.hostile.reply_attacks.soap_replies import SOAP_REPLIES
from gateway.conformance.hostile.reply_attacks.xml_replies import XML_REPLIES

__all__ = ["REPLIES", "select_replies"]

REPLIES: Final[tuple[ReplyScenario, ...]] = (*SOAP_REPLIES, *XML_REPLIES, *HTTP_REPLIES, *EBMS2_REPLIES)


def select_replies(face: str, pattern: str = "*") -> tuple[ReplyScenario, ...]:
    """Return the plays of a face (``soap``, ``ebms2``) whose id fits a pattern as of a shell."""
    return tuple(one for one in REPLIES if face in one.outcome and fnmatchcase(one.id, pattern))
