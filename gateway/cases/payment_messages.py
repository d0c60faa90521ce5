"""The messages between hub and payment provider: JSON, authenticated by HMAC-SHA256 with a shared secret.

Calls, answers and events have the headers payment-id, payment-timestamp (seconds since 1970) and
payment-signature: ``v1,`` and the base64 of the HMAC over ``id.timestamp.body``. Nothing of a body is
read before the signature is verified.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.cases.fees import ProviderEvent, read_money
from gateway.errors import PAYMENT_REFUSED, GatewayError
from gateway.wire import parse_iso_instant

_ID: Final = re.compile(r"[!-~]{1,100}", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_MAX_BODY_OCTETS: Final = 64 * 1024
_EVENT_KINDS: Final = {"paid", "refunded"}
_MAX_TEXT_LENGTH: Final = 100


def sign_payment_message(secret: bytes, message_id: str, signed_at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers that authenticate a body; `message_id` is the id of the call or event."""
    seconds = str(int(signed_at.timestamp()))
    return {
        "Content-Type": "application/json",
        "payment-id": message_id,
        "payment-timestamp": seconds,
        "payment-signature": f"v1,{_compute_mac(secret, message_id, seconds, body)}",
    }


def _compute_mac(secret: bytes, message_id: str, seconds: str, body: bytes) -> str:
    mac = hmac.new(secret, f"{message_id}.{seconds}.".encode() + body, hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def verify_payment_message(
    headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime, tolerance: timedelta
) -> dict[str, Any]:
    """Return the content of an authentic message; `headers` have names in lower case.

    Raises GW712 for a message that is not signed with the secret, is too old, or is no JSON object.
    """
    message_id, seconds = headers.get("payment-id", ""), headers.get("payment-timestamp", "")
    if not _ID.fullmatch(message_id) or not _SECONDS.fullmatch(seconds) or len(body) > _MAX_BODY_OCTETS:
        raise _make_payment_error("it has no payment-id and payment-timestamp, or is too large", "headers")
    signature = headers.get("payment-signature", "")
    if not secret or not hmac.compare_digest(
        signature.encode("utf-8", "replace"), f"v1,{_compute_mac(secret, message_id, seconds, body)}".encode()
    ):
        raise _make_payment_error("it is not signed with the secret of the provider", "payment-signature")
    if abs(now.timestamp() - int(seconds)) > tolerance.total_seconds():
        raise _make_payment_error(f"its time differs by more than {tolerance}", "payment-timestamp")
    return _parse_json_object(body)


def _parse_json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`; raise GW712 for another content or a repeated name."""
    try:
        content = json.loads(body, object_pairs_hook=_reject_repeated_names)
    except (ValueError, RecursionError) as error:
        raise _make_payment_error("it is no JSON object, or has a name twice", "body") from error
    if not isinstance(content, dict):
        raise _make_payment_error("it is no JSON object", "body")
    return content


def _reject_repeated_names(name_value_pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object; raise ValueError for a repeated name."""
    members = dict(name_value_pairs)
    if len(members) != len(name_value_pairs):
        raise ValueError("a name stands twice")
    return members


def read_provider_event(content: Mapping[str, Any]) -> ProviderEvent:
    """Return the event of an authentic message; raises GW712 for a value that is missing or unusable."""
    event_kind = _read_text(content, "event")
    if event_kind not in _EVENT_KINDS:
        raise _make_payment_error(f"an event is paid or refunded, not {event_kind[:40]!r}", "event")
    try:
        money = read_money(_read_text(content, "amount"), _read_text(content, "currency"))
    except GatewayError as error:
        raise _make_payment_error(error.detail, "amount") from error
    try:
        at = parse_iso_instant(_read_text(content, "at"))
    except ValueError as error:
        raise _make_payment_error("its time is no instant with a zone", "at") from error
    refund_number = _read_text(content, "refund") if event_kind == "refunded" else ""
    return ProviderEvent(
        event_kind, _read_text(content, "order"), _read_text(content, "reference"), money, at, refund_number
    )


def _read_text(content: Mapping[str, Any], member_name: str) -> str:
    """Return a text member of `content`; raise GW712 if it is missing, empty, too long or unprintable."""
    member_value = content.get(member_name)
    if (
        not isinstance(member_value, str)
        or not 0 < len(member_value) <= _MAX_TEXT_LENGTH
        or not member_value.isprintable()
    ):
        raise _make_payment_error(
            f"{member_name} is missing, or is no text of 1 to {_MAX_TEXT_LENGTH} characters", member_name
        )
    return member_value


def _make_payment_error(detail: str, location: str) -> GatewayError:
    return GatewayError(PAYMENT_REFUSED, f"a message of the payment provider: {detail}", location)
