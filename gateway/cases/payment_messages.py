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
_LARGEST: Final = 64 * 1024
_KINDS: Final = {"paid", "refunded"}
_LONGEST: Final = 100


def sign_payment_message(secret: bytes, key: str, moment: datetime, body: bytes) -> dict[str, str]:
    """Return the headers that authenticate a body; `key` is the id of the call or event."""
    seconds = str(int(moment.timestamp()))
    return {
        "Content-Type": "application/json",
        "payment-id": key,
        "payment-timestamp": seconds,
        "payment-signature": f"v1,{_compute_mac(secret, key, seconds, body)}",
    }


def _compute_mac(secret: bytes, key: str, seconds: str, body: bytes) -> str:
    signed = hmac.new(secret, f"{key}.{seconds}.".encode() + body, hashlib.sha256)
    return base64.b64encode(signed.digest()).decode()


def open_payment_message(
    headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime, tolerance: timedelta
) -> dict[str, Any]:
    """Return the content of an authentic message; `headers` have names in lower case.

    Raises GW712 for a message that is not signed with the secret, is too old, or is no JSON object.
    """
    key, seconds = headers.get("payment-id", ""), headers.get("payment-timestamp", "")
    if not _ID.fullmatch(key) or not _SECONDS.fullmatch(seconds) or len(body) > _LARGEST:
        raise _make_problem("it has no payment-id and payment-timestamp, or is too large", "headers")
    signature = headers.get("payment-signature", "")
    if not secret or not hmac.compare_digest(
        signature.encode("utf-8", "replace"), f"v1,{_compute_mac(secret, key, seconds, body)}".encode()
    ):
        raise _make_problem("it is not signed with the secret of the provider", "payment-signature")
    if abs(now.timestamp() - int(seconds)) > tolerance.total_seconds():
        raise _make_problem(f"its time differs by more than {tolerance}", "payment-timestamp")
    return _read_object(body)


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body, object_pairs_hook=_reject_repeated_names)
    except (ValueError, RecursionError) as error:
        raise _make_problem("it is no JSON object, or has a name twice", "body") from error
    if not isinstance(content, dict):
        raise _make_problem("it is no JSON object", "body")
    return content


def _reject_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def read_provider_event(content: Mapping[str, Any]) -> ProviderEvent:
    """Return the event of an authentic message; raises GW712 for a value that is missing or unusable."""
    kind = _read_text(content, "event")
    if kind not in _KINDS:
        raise _make_problem(f"an event is paid or refunded, not {kind[:40]!r}", "event")
    try:
        money = read_money(_read_text(content, "amount"), _read_text(content, "currency"))
    except GatewayError as error:
        raise _make_problem(error.detail, "amount") from error
    try:
        at = parse_iso_instant(_read_text(content, "at"))
    except ValueError as error:
        raise _make_problem("its time is no instant with a zone", "at") from error
    refund = _read_text(content, "refund") if kind == "refunded" else ""
    return ProviderEvent(
        kind, _read_text(content, "order"), _read_text(content, "reference"), money, at, refund
    )


def _read_text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
        raise _make_problem(f"{name} is missing, or is no text of 1 to {_LONGEST} characters", name)
    return value


def _make_problem(detail: str, location: str) -> GatewayError:
    return GatewayError(PAYMENT_REFUSED, f"a message of the payment provider: {detail}", location)
