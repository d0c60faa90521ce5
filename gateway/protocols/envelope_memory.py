"""What a process keeps of the envelopes that its partners send, so that a like one is read in less time."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["EnvelopeMemory"]

#: Senders of whom something is kept, and envelopes of one: its programs, and what they send to whom.
_SENDERS: Final = 512
_ENVELOPES: Final = 16
#: Octets that all envelopes together may take.
_ROOM: Final = 32 * 1024 * 1024
#: So many of the last characters of its certificate say who a sender is.
_MARK: Final = 64
#: To learn an envelope takes as long as to read some six as a whole. So a sender has credit: so many
#: envelopes at first, another one for so many that were met, and for so many that were not.
_CREDIT: Final = 16
_MET_FOR_CREDIT: Final = 8
_MISSED_FOR_CREDIT: Final = 64


class _Kept(Protocol):
    """An envelope that is kept: how many octets it takes, and what tells it apart."""

    @property
    def size(self) -> int: ...

    @property
    def key(self) -> object: ...


_Envelope = TypeVar("_Envelope", bound=_Kept)


class _Sender(Generic[_Envelope]):
    """The envelopes of one sender, the last one that was met first, and its credit."""

    __slots__ = ("credit", "known", "met", "missed")

    def __init__(self) -> None:
        self.known: tuple[_Envelope, ...] = ()
        self.credit = _CREDIT
        self.met = 0
        self.missed = 0


class EnvelopeMemory(Generic[_Envelope]):
    """Envelopes by sender, a bounded number and size of them.

    The senders that were not met for the longest time are left out. It may be used by several threads.
    """

    def __init__(self) -> None:
        self._senders: OrderedDict[bytes, _Sender[_Envelope]] = OrderedDict()
        self._lock = Lock()
        self._size = 0

    @staticmethod
    def find_sender(protocol: str, document: bytes, end: bytes) -> bytes:
        """Return what tells the senders of envelopes apart, as they say it; empty where they do not.

        It is the end of the text before the last `end`, which is the end of the tag after a certificate.
        """
        place = document.rfind(b"</", 0, max(0, document.rfind(end)))
        return b"" if place < 0 else protocol.encode() + document[max(0, place - _MARK) : place]

    @staticmethod
    def make_sender(protocol: str, certificate: bytes) -> bytes:
        """Return what `find_sender` finds where the certificate of a sender is written in base64."""
        return protocol.encode() + certificate[-_MARK:]

    def list_envelopes(self, sender: bytes) -> tuple[_Envelope, ...]:
        """Return the envelopes of a sender, the last one that was met first."""
        found = self._senders.get(sender)
        return () if found is None else found.known

    def note_met(self, sender: bytes, envelope: _Envelope) -> None:
        """Note that an envelope like this one of the sender came again."""
        with self._lock:
            found = self._senders.get(sender)
            if found is None:
                return
            self._senders.move_to_end(sender)
            found.met += 1
            if found.met % _MET_FOR_CREDIT == 0:
                found.credit = min(found.credit + 1, _CREDIT)
            if envelope in found.known and found.known[0] is not envelope:
                found.known = (envelope, *(one for one in found.known if one is not envelope))

    def take_credit(self, sender: bytes) -> bool:
        """Return whether an envelope that was not known is worth the time that it takes to learn it."""
        with self._lock:
            found = self._senders.setdefault(sender, _Sender())
            found.missed += 1
            if found.missed % _MISSED_FOR_CREDIT == 0:
                found.credit = min(found.credit + 1, _CREDIT)
            worth = found.credit > 0
            found.credit -= worth
            self._leave_out()
            return worth

    def add(self, sender: bytes, envelope: _Envelope) -> None:
        """Keep an envelope of a sender, unless another thread has learned it meanwhile."""
        with self._lock:
            found = self._senders.setdefault(sender, _Sender())
            if any(one.key == envelope.key for one in found.known):
                return
            for one in found.known[_ENVELOPES - 1 :]:
                self._size -= one.size
            found.known = (envelope, *found.known[: _ENVELOPES - 1])
            self._size += envelope.size
            self._senders.move_to_end(sender)
            self._leave_out()

    def _leave_out(self) -> None:
        """Leave out senders until what is kept has room."""
        while len(self._senders) > _SENDERS or (self._size > _ROOM and len(self._senders) > 1):
            _, oldest = self._senders.popitem(last=False)
            self._size -= sum(one.size for one in oldest.known)
