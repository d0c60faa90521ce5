"""Says which message is the response to a request in its HTTP answer, and what travels in its envelope.

Where `signalsAndResponse` is agreed, the Acknowledgment of the request and the warnings about it are
bundled with the response (ebMS 2.0 §4.3, chapter 5). They stay in it on whatever way it travels: a
message has the same octets on every attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.agreements import PMode, PModeIndex
from gateway.errors import PMODE_UNKNOWN, GatewayError
from gateway.message_model import ErrorEntry, ErrorSignal, Receipt, Unit, UserMessage
from gateway.protocols import PROTOCOLS

if TYPE_CHECKING:
    from gateway.hub.hub import Hub
    from gateway.store import HttpResponse

__all__ = ["find_response_pmodes", "get_response_wait", "list_bundled_units"]

#: Request and response where the agreement binds none inside the request, as a file in YAML.
_REQUEST: Final = "Submit"
_RESPONSE: Final = "Result"
_SHOWN: Final = 500
_MOST_WARNINGS: Final = 50


def find_response_pmodes(book: PModeIndex, asked: PMode, at: datetime) -> tuple[PMode, ...]:
    """Return the P-Modes whose messages are the response in the HTTP answer to a message of `asked`."""
    if not asked.has_response_in_answer or asked.deliver_to != "case":
        return ()
    named = (book.find_by_id(asked.agreement, one, at) for one in asked.answered_by)
    found = tuple(one for one in named if one is not None and one.pull is None)
    if found or asked.action != _REQUEST:
        return found
    try:
        response = book.get_reply_pmode(asked, _RESPONSE, at)
    except GatewayError as error:
        if error.problem is not PMODE_UNKNOWN:
            raise
        return ()
    # What waits to be pulled is in no answer to another message.
    return (response,) if response.pull is None else ()


def get_response_wait(hub: Hub, asked: PMode) -> timedelta:
    """Return how long a request waits for its response: as agreed, at most as the hub allows."""
    agreed = asked.business.time_to_perform
    allowed = hub.responses.limits.wait
    return allowed if agreed is None else min(allowed, timedelta(seconds=agreed))


def list_bundled_units(
    hub: Hub,
    asked: PMode,
    unit: UserMessage,
    stored: tuple[HttpResponse | None, Mapping[str, Any] | None],
) -> tuple[Unit, ...]:
    """Return what travels in the envelope of the response `unit`: the receipt, and warnings, if any.

    `stored` is the first answer to the request, and the detail of its case.
    """
    if not (asked.has_response_in_answer and asked.has_signals_in_answer):
        return ()
    answer, detail = stored
    receipt = None if answer is None else _read_receipt(hub, asked, unit, answer)
    warnings = _make_warnings(unit, (detail or {}).get("warnings", ()))
    return tuple(one for one in (receipt, warnings) if one is not None)


def _read_receipt(hub: Hub, asked: PMode, unit: UserMessage, answer: HttpResponse) -> Receipt | None:
    """Return the stored receipt of the request with the header of the response."""
    parcel = hub.make_parcel(answer.headers, answer.body)
    found = PROTOCOLS[asked.protocol].read_sent_header(parcel, hub.limits).unit
    if not isinstance(found, Receipt):
        return None
    return replace(found, **_copy_header(unit))


def _make_warnings(unit: UserMessage, told: Any) -> ErrorSignal | None:
    entries = tuple(
        ErrorEntry(
            code="ValueNotRecognized",
            severity="Warning",
            location=str(one.get("pointer", ""))[:_SHOWN],
            description=f"{one['id']} {one['text']}"[:_SHOWN],
        )
        for one in told[:_MOST_WARNINGS]
    )
    if not entries:
        return None
    return ErrorSignal(**_copy_header(unit), ref_to_message_id=unit.ref_to_message_id, errors=entries)


def _copy_header(unit: UserMessage) -> dict[str, Any]:
    names = ("message_id", "conversation_id", "sender", "receiver", "agreement", "timestamp")
    return {name: getattr(unit, name) for name in names}
