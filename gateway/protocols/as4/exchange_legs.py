"""Holds the two messages of one exchange together, where the binding of the exchange is agreed.

A request refers to no message. Its reply refers to it, and is of the same conversation, agreement and service
(ebMS 3.0 core §2.2.7, §2.2.8).
"""

from __future__ import annotations

from typing import Final

from gateway.agreements import PMode
from gateway.errors import HEADER_INCONSISTENT, REFERENCE_UNKNOWN, GatewayError
from gateway.message_model import Unit, UserMessage
from gateway.protocols.as4.pmode_matching import match_agreed_pmode
from gateway.protocols.core import ProtocolContext

__all__ = ["REFERENCE", "check_request", "find_answered_request"]

_UNIT: Final = "/soap12:Envelope/soap12:Header/eb3:Messaging/eb3:UserMessage"
REFERENCE: Final = f"{_UNIT}/eb3:MessageInfo/eb3:RefToMessageId"


def find_answered_request(unit: UserMessage, pmode: PMode) -> str | None:
    """Return the MessageId of the request that a message answers; None where the binding says nothing of it.

    Raises GW304 (EBMS:0003) for a request that refers to a message, and for a reply that refers to none.
    """
    about = unit.ref_to_message_id
    if pmode.leg == "request" and about is not None:
        detail = f"a request by {pmode.mep_binding} refers to no message"
        raise GatewayError(HEADER_INCONSISTENT, detail, REFERENCE)
    if pmode.leg == "reply" and about is None:
        detail = f"a reply by {pmode.mep_binding} refers to its request"
        raise GatewayError(HEADER_INCONSISTENT, detail, f"{_UNIT}/eb3:MessageInfo")
    return about if pmode.leg == "reply" else None


def check_request(reply: UserMessage, request: Unit, pmode: PMode, context: ProtocolContext) -> None:
    """Raise unless a message that we sent is the request of a reply.

    Raises GW307 (EBMS:0001) for what is no request of the exchange, GW304 (EBMS:0003) for one of another
    conversation.
    """
    if not isinstance(request, UserMessage) or not _is_request(request, pmode, context):
        detail = f"it is no request by {pmode.mep_binding} in this agreement and service"
        raise GatewayError(REFERENCE_UNKNOWN, detail, REFERENCE)
    if request.conversation_id != reply.conversation_id:
        where = f"{_UNIT}/eb3:CollaborationInfo/eb3:ConversationId"
        raise GatewayError(HEADER_INCONSISTENT, "its request is of another conversation", where)


def _is_request(request: UserMessage, pmode: PMode, context: ProtocolContext) -> bool:
    try:
        asked, _ = match_agreed_pmode(request, "as4", context)
    except GatewayError:
        # What was agreed when it was sent is agreed no more.
        return False
    return (
        (asked.leg, asked.mep_binding) == ("request", pmode.mep_binding)
        and (asked.agreement, asked.service, asked.service_type)
        == (pmode.agreement, pmode.service, pmode.service_type)
        and (asked.from_party, asked.to_party) == (pmode.to_party, pmode.from_party)
    )
