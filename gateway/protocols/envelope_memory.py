"""What a process keeps of the envelopes that its partners send, so that a like one is read in less time."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final, Generic, TypeVar

__all__ = ["EnvelopeMemory"]

#: Senders of whom something is kept, and envelopes of one: its programs, and what they send.
_SENDERS: Final = 512
_ENVELOPES: Final = 8
#: Octets: a larger envelope is not kept. It lists things, and no two lists are alike.
_LARGEST: Final = 64 * 1024
#: So many octets of its certificate say who a sender is.
_SENDER: Final = 80
#: So many of one sender were learned and never met again: no two of its envelopes are alike.
_FUTILE: Final = 16

_Envelope = TypeVar("_Envelope")


class _Sender(Generic[_Envelope]):
    """The envelopes of one sender, the last one that was met first, and how many were learned in vain."""

    __slots__ = ("futile", "known")

    def __init__(self) -> None:
        self.known: tuple[_Envelope, ...] = ()
        self.futile = 0


class EnvelopeMemory(Generic[_Envelope]):
    """Envelopes by sender, a bounded number of both; what was not met for the longest time is left out.

    It may be used by several threads.
    """

    def __init__(self) -> None:
        self._senders: OrderedDict[bytes, _Sender[_Envelope]] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def find_sender(protocol: str, document: bytes, end: bytes) -> bytes:
        """Return what tells the senders of envelopes apart, as they say it; empty where they do not.

        It is the end of the last certificate, before the `end` of its element.
        """
        place = document.rfind(end)
        return b"" if place < 0 else protocol.encode() + document[max(0, place - _SENDER) : place]

    def list_envelopes(self, sender: bytes) -> tuple[_Envelope, ...]:
        """Return the envelopes of a sender, the last one that was met first."""
        found = self._senders.get(sender)
        return () if found is None else found.known

    def note_met(self, sender: bytes, envelope: _Envelope) -> None:
        """Note that an envelope like this one of the sender came again."""
        found = self._senders.get(sender)
        if found is None or (found.known[:1] == (envelope,) and not found.futile):
            return
        with self._lock:
            found.futile = 0
            found.known = (envelope, *(one for one in found.known if one is not envelope))[:_ENVELOPES]

    def is_worth_learning(self, sender: bytes, document: bytes) -> bool:
        """Return whether an envelope of this sender is worth the time that it takes to learn it."""
        if not sender or len(document) > _LARGEST:
            return False
        found = self._senders.get(sender)
        return found is None or found.futile < _FUTILE

    def add(self, sender: bytes, envelope: _Envelope | None) -> None:
        """Keep an envelope of a sender; None is one that cannot be learned."""
        with self._lock:
            found = self._senders.setdefault(sender, _Sender())
            self._senders.move_to_end(sender)
            found.futile += 1
            if envelope is not None:
                found.known = (envelope, *found.known)[:_ENVELOPES]
            while len(self._senders) > _SENDERS:
                self._senders.popitem(last=False)
