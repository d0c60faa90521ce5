"""Finds the response to a request in its HTTP answer, and the units that travel in the same envelope.

Where `signalsAndResponse` is agreed, the Acknowledgment of the request and the warnings about it are
bundled with the response (ebMS 2.0 §4.3, chapter 5). These units stay in the response on every way that it
travels: a message has the same octets on every attempt.
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


#: Request and response where the agreement binds none inside the request, as a file in YAML.
_REQUEST: Final = "Submit"
_RESPONSE: Final = "Result"
_MOST_CHARACTERS: Final = 500
_MAX_WARNINGS: Final = 50


def find_response_pmodes(book: PModeIndex, asked_pmode: PMode, at: datetime) -> tuple[PMode, ...]:
    """Return the P-Modes whose messages are the response in the HTTP answer to a message of `asked_pmode`."""
    if not asked_pmode.has_response_in_answer or asked_pmode.deliver_to != "case":
        return ()
    candidates = (
        book.find_by_id(asked_pmode.agreement, pmode_id, at) for pmode_id in asked_pmode.answered_by
    )
    response_pmodes = tuple(pmode for pmode in candidates if pmode is not None and pmode.pull is None)
    if response_pmodes or asked_pmode.action != _REQUEST:
        return response_pmodes
    try:
        response = book.get_reply_pmode(asked_pmode, _RESPONSE, at)
    except GatewayError as error:
        if error.problem is not PMODE_UNKNOWN:
            raise
        return ()
    # A message that waits to be pulled is in no answer to another message.
    return (response,) if response.pull is None else ()


def get_response_wait(hub: Hub, request_pmode: PMode) -> timedelta:
    """Return how long a request waits for its response: the agreed time, at most the limit of the hub."""
    agreed_seconds = request_pmode.business.time_to_perform
    max_wait = hub.responses.limits.wait
    return max_wait if agreed_seconds is None else min(max_wait, timedelta(seconds=agreed_seconds))


def list_bundled_units(
    hub: Hub,
    request_pmode: PMode,
    unit: UserMessage,
    answer: HttpResponse | None,
    detail: Mapping[str, Any] | None,
) -> tuple[Unit, ...]:
    """Return the units sent in the envelope of the response `unit`: the receipt, and warnings, if any.

    `answer` is the first answer to the request, `detail` that of its case.
    """
    if not (request_pmode.has_response_in_answer and request_pmode.has_signals_in_answer):
        return ()
    receipt = None if answer is None else _read_receipt(hub, request_pmode, unit, answer)
    warnings = _make_warnings(unit, (detail or {}).get("warnings", ()))
    return tuple(bundled_unit for bundled_unit in (receipt, warnings) if bundled_unit is not None)


def _read_receipt(hub: Hub, request_pmode: PMode, unit: UserMessage, answer: HttpResponse) -> Receipt | None:
    """Return the stored receipt of the request with the header of the response."""
    parcel = hub.make_parcel(answer.headers, answer.body)
    stored_unit = PROTOCOLS[request_pmode.protocol].read_sent_header(parcel, hub.limits).unit
    if not isinstance(stored_unit, Receipt):
        return None
    return replace(stored_unit, **_copy_header(unit))


def _make_warnings(unit: UserMessage, warnings: Any) -> ErrorSignal | None:
    """Return the warnings of a case as an eb:ErrorList with the header of the response `unit`, at most 50.

    None if there are none.
    """
    entries = tuple(
        ErrorEntry(
            code="ValueNotRecognized",
            severity="Warning",
            location=str(warning.get("pointer", ""))[:_MOST_CHARACTERS],
            description=f"{warning['id']} {warning['text']}"[:_MOST_CHARACTERS],
        )
        for warning in warnings[:_MAX_WARNINGS]
    )
    if not entries:
        return None
    return ErrorSignal(**_copy_header(unit), ref_to_message_id=unit.ref_to_message_id, errors=entries)


def _copy_header(unit: UserMessage) -> dict[str, Any]:
    names = ("message_id", "conversation_id", "sender", "receiver", "agreement", "timestamp")
    return {name: getattr(unit, name) for name in names}
