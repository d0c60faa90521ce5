"""Remembers recent calls: a signed call is accepted once, and its MessageID stands for one content."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from gateway.errors import MESSAGE_ID_REUSED, NO_ROOM, TIMESTAMP_REFUSED, GatewayError

__all__ = ["LocalReplayCache", "ReplayCache", "SeenCall"]

_CAPACITY: Final = 200_000


@dataclass(frozen=True, slots=True)
class SeenCall:
    """A verified call: party, MessageID, digest of the request element, digest of all signed parts."""

    party: str
    message_id: str
    content: bytes
    signature: bytes


class ReplayCache(Protocol):
    """Rejects repeated calls; a cache shared by several processes would have the same interface."""

    def register_call(self, call: SeenCall, now: datetime) -> None:
        """Record a verified call; raises GW211 for octets seen before, GW312 for an id with other content."""

    def confirm_call(self, call: SeenCall, now: datetime) -> None:
        """Record that the call had its effect: from now on its MessageID stands for its content."""


class LocalReplayCache:
    """A `ReplayCache` of one process.

    The window must be longer than a Timestamp is accepted, so that a forgotten call is also an
    expired one. Effects are idempotent by notice: in a second process a replay is a repeat, and a
    repeat changes nothing.
    """

    def __init__(self, window: timedelta = timedelta(minutes=10), capacity: int = _CAPACITY) -> None:
        self._window = window
        self._capacity = capacity
        self._lock = threading.Lock()
        self._signatures: OrderedDict[bytes, datetime] = OrderedDict()
        self._contents: OrderedDict[tuple[str, str], tuple[datetime, bytes]] = OrderedDict()

    def register_call(self, call: SeenCall, now: datetime) -> None:
        """Record a verified call; raises GW211 for octets seen before, GW312 for an id with other content."""
        with self._lock:
            self._evict_expired_calls(now)
            known = self._contents.get((call.party, call.message_id))
            if known is not None and known[1] != call.content:
                detail = "this MessageID was used for another call"
                raise GatewayError(MESSAGE_ID_REUSED, detail, "/soap:Envelope/soap:Header/wsa:MessageID")
            if call.signature in self._signatures:
                detail = "these signed octets were here before; a repeat needs a new Timestamp and signature"
                raise GatewayError(TIMESTAMP_REFUSED, detail, "/soap:Envelope/soap:Header/wsse:Security")
            if len(self._signatures) >= self._capacity:
                raise GatewayError(NO_ROOM, "too many calls within the replay window")
            self._signatures[call.signature] = now

    def confirm_call(self, call: SeenCall, now: datetime) -> None:
        """Record that the call had its effect: from now on its MessageID stands for its content."""
        with self._lock:
            self._contents[(call.party, call.message_id)] = (now, call.content)

    def _evict_expired_calls(self, now: datetime) -> None:
        old = now - self._window
        while self._signatures and next(iter(self._signatures.values())) < old:
            self._signatures.popitem(last=False)
        while self._contents and next(iter(self._contents.values()))[0] < old:
            self._contents.popitem(last=False)
