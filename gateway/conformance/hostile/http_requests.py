"""Requests as octets, wrong as HTTP, and plays that see which of them were carried out."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.conformance.hostile.case import (
    LAWFUL,
    Answer,
    Exchange,
    Expected,
    NotOfferedError,
    Play,
    Raw,
    WrongAnswerError,
)
from gateway.conformance.hostile.craft import BOUNDARY
from gateway.conformance.hostile.plays import refusal
from gateway.model import Payload, UserMessage

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = [
    "EITHER",
    "REFUSED",
    "Request",
    "chunked",
    "follow",
    "honest",
    "message",
    "once",
    "raw",
    "smuggled",
]

#: Statuses that refuse a request before it is a message (RFC 9110 §15.5, §15.6, RFC 6585).
_STATUSES: Final = (400, 403, 404, 405, 408, 411, 413, 414, 415, 417, 421, 426, 429, 431, 500, 501, 503, 505)
_OTHER: Final = b"=-hidden--"
#: What HTTP itself is wrong about is refused by HTTP, by the error of a message, or by hanging up.
REFUSED: Final = replace(
    refusal("GW101", "GW102", "GW103", "GW105", "GW110", "GW111", http=_STATUSES), silent=True
)
#: What HTTP lets a server take or refuse: which of the two is not judged, only what comes of it.
EITHER: Final = replace(LAWFUL, http=_STATUSES, silent=True)


@dataclass(frozen=True)
class Request:
    """One request, line by line; ``{path}`` and ``{host}`` are put in where it is sent."""

    fields: tuple[bytes, ...]
    framing: tuple[bytes, ...]
    body: bytes
    line: bytes = b"POST {path} HTTP/1.1"

    def octets(self) -> bytes:
        """Return what is sent."""
        return b"\r\n".join((self.line, *self.fields, *self.framing, b"", b"")) + self.body

    def framed(self, *framing: bytes, body: bytes | None = None) -> Request:
        """Return the same request that says otherwise where its body ends, with another body if given."""
        return replace(self, framing=framing, body=self.body if body is None else body)

    def with_fields(self, *fields: bytes) -> Request:
        """Return the same request with further fields."""
        return replace(self, fields=(*self.fields, *fields))


def message(bench: Bench, message_id: str, *payloads: Payload) -> Request:
    """Return an honest message of member A as an honest client sends it."""
    unit: UserMessage = bench.unit(message_id=message_id)
    post = bench.message(replace(unit, payloads=payloads) if payloads else unit)
    fields = (b"Host: {host}", *(f"{name}: {value}".encode() for name, value in post.headers.items()))
    return Request(fields, (b"Content-Length: %d" % len(post.body),), post.body)


def honest(bench: Bench) -> Request:
    """Return an honest message with an id of its own."""
    return message(bench, bench.new_id())


def chunked(body: bytes, size: int = 4096, last: bytes = b"0\r\n\r\n") -> bytes:
    """Return a body in chunks (RFC 9112 §7.1)."""
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + last


def raw(octets: bytes, *, half_close: bool = False, wait: float = 10.0) -> Raw:
    """Return octets sent at once."""
    return Raw("ebms2", ((octets, 0.0),), half_close=half_close, wait=wait)


def follow(bench: Bench, message_id: str) -> Exchange:
    """Return the exchange that is taken only if no message of that id was: one with other content.

    A handler that removes duplicates (ebMS 2.0 §7.5) refuses a second content under an id it has.
    """
    other = Payload(f"other.{message_id}", "application/xml", b"<other/>")
    unit = replace(bench.unit(message_id=message_id), payloads=(other,))
    return Exchange(bench.message(unit), LAWFUL)


def once(
    make: Callable[[Request], Request], expected: Expected = REFUSED, *, half_close: bool = False
) -> Play:
    """Return the play of an honest message made wrong as HTTP.

    Where it is refused, or nobody says, it must not have been carried out either.
    """

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        message_id = bench.new_id()
        request = make(message(bench, message_id))
        answer = yield Exchange(raw(request.octets(), half_close=half_close), expected)
        if answer.more and not request.body:
            raise WrongAnswerError("one request was answered twice")
        if not expected.accepted:
            yield follow(bench, message_id)

    return play


def smuggled(carry: Callable[[Request, bytes], Request], expected: Expected = REFUSED) -> Play:
    """Return the play of a request in whose body another one stands, which must never be carried out.

    `carry` puts the octets of the second one (an honest message, whole) into the first.
    """

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        hidden_id = bench.new_id()
        path = bench.faces["ebms2"].path.encode()
        if not path:
            raise NotOfferedError("the path of the gateway is not known")
        hidden = message(bench, hidden_id).octets().replace(b"{path}", path).replace(b"{host}", b"hidden")
        # Of another boundary: else what stands before the first one would be a preamble, and lawful.
        hidden = hidden.replace(BOUNDARY.encode(), _OTHER)
        answer = yield Exchange(raw(carry(honest(bench), hidden).octets()), expected)
        if b"HTTP/1." in answer.more and b" 200 " in answer.more[:20]:
            raise WrongAnswerError("the request inside was answered, too")
        yield follow(bench, hidden_id)

    return play
