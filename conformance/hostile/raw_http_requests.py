"""Requests as octets that violate HTTP, and scenarios that detect which of them were processed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from gateway.client import get_request_path
from gateway.message_model import Payload, UserMessage
from gateway_conformance.hostile.attack_cases import Scenario, expect_refusal
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import BOUNDARY
from gateway_conformance.hostile.exchange import (
    LAWFUL,
    Answer,
    Exchange,
    Expectation,
    RawScript,
    WrongAnswerError,
)

#: Statuses that refuse a request before it is a message (RFC 9110 §15.5, §15.6, RFC 6585).
_STATUSES: Final = (400, 403, 404, 405, 408, 411, 413, 414, 415, 417, 421, 426, 429, 431, 500, 501, 503, 505)
_HIDDEN_BOUNDARY: Final = b"=-hidden--"
#: Invalid HTTP is refused by HTTP, by the error of a message, or by closing the connection.
REFUSED: Final = replace(
    expect_refusal("GW101", "GW102", "GW103", "GW105", "GW110", "GW111", http=_STATUSES), silent=True
)
#: HTTP lets a server accept or refuse this: both are allowed, and only the consequence is checked.
EITHER: Final = replace(LAWFUL, http=_STATUSES, silent=True)


@dataclass(frozen=True)
class RawRequest:
    """One request, line by line; ``{path}`` and ``{host}`` are replaced when it is sent."""

    fields: tuple[bytes, ...]
    framing_fields: tuple[bytes, ...]
    body: bytes
    request_line: bytes = b"POST {path} HTTP/1.1"

    def build_octets(self) -> bytes:
        """Return the octets of the request: request line, header fields, framing and body."""
        return b"\r\n".join((self.request_line, *self.fields, *self.framing_fields, b"", b"")) + self.body

    def with_framing(self, *framing: bytes, body: bytes | None = None) -> RawRequest:
        """Return the same request with other framing, and with another body if given."""
        return replace(self, framing_fields=framing, body=self.body if body is None else body)

    def with_fields(self, *fields: bytes) -> RawRequest:
        """Return the same request with further fields."""
        return replace(self, fields=(*self.fields, *fields))


def build_message_request(kit: AttackerKit, message_id: str, *payloads: Payload) -> RawRequest:
    """Return an honest message of member A as an honest client sends it."""
    unit: UserMessage = kit.make_unit(message_id=message_id)
    post = kit.build_message(replace(unit, payloads=payloads) if payloads else unit)
    fields = (b"Host: {host}", *(f"{name}: {value}".encode() for name, value in post.headers.items()))
    return RawRequest(fields, (b"Content-Length: %d" % len(post.body),), post.body)


def build_honest_request(kit: AttackerKit) -> RawRequest:
    """Return an honest message with an id of its own."""
    return build_message_request(kit, kit.make_message_id())


def encode_chunked(body: bytes, size: int = 4096, last: bytes = b"0\r\n\r\n") -> bytes:
    """Return a body in chunks (RFC 9112 §7.1)."""
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + last


def make_raw_script(octets: bytes, *, half_close: bool = False, wait: float = 10.0) -> RawScript:
    """Return octets sent at once."""
    return RawScript("ebms2", ((octets, 0.0),), half_close=half_close, wait=wait)


def make_duplicate_check(kit: AttackerKit, message_id: str) -> Exchange:
    """Return an exchange with other content under that id; it is accepted only if the id is unused.

    A handler that removes duplicates (ebMS 2.0 §7.5) refuses a second content under an id it has.
    """
    payload = Payload(f"other.{message_id}", "application/xml", b"<other/>")
    unit = replace(kit.make_unit(message_id=message_id), payloads=(payload,))
    return Exchange(kit.build_message(unit), LAWFUL)


def make_malformed_scenario(
    change_request: Callable[[RawRequest], RawRequest],
    expected: Expectation = REFUSED,
    *,
    half_close: bool = False,
) -> Scenario:
    """Return the scenario of an honest message in invalid HTTP.

    If it is refused or gets no answer, it must not have been processed.
    """

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        message_id = kit.make_message_id()
        request = change_request(build_message_request(kit, message_id))
        answer = yield Exchange(make_raw_script(request.build_octets(), half_close=half_close), expected)
        if answer.trailing_octets and not request.body:
            raise WrongAnswerError("one request was answered twice")
        if not expected.is_acceptance:
            yield make_duplicate_check(kit, message_id)

    return run_scenario


def make_smuggling_scenario(
    embed_request: Callable[[RawRequest, bytes], RawRequest], expected: Expectation = REFUSED
) -> Scenario:
    """Return the scenario of a request inside the body of another one; it must never be processed.

    `embed_request` puts the octets of the second one (an honest message, whole) into the first.
    """

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        hidden_id = kit.make_message_id()
        face = kit.faces["ebms2"]
        path = get_request_path(urlsplit(face.url)).encode() if face.url else face.path.encode()
        hidden = (
            build_message_request(kit, hidden_id)
            .build_octets()
            .replace(b"{path}", path)
            .replace(b"{host}", b"hidden")
        )
        # With another boundary: otherwise the text before the first one would be a valid preamble.
        hidden = hidden.replace(BOUNDARY.encode(), _HIDDEN_BOUNDARY)
        answer = yield Exchange(
            make_raw_script(embed_request(build_honest_request(kit), hidden).build_octets()), expected
        )
        if b"HTTP/1." in answer.trailing_octets and b" 200 " in answer.trailing_octets[:20]:
            raise WrongAnswerError("the request inside was answered, too")
        yield make_duplicate_check(kit, hidden_id)

    return run_scenario
