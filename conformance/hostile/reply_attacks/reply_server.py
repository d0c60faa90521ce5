"""A server that answers as a hostile partner: raw sockets, one reply for each request.

A `ReplyScenario` gets the request, the connection and the honest answer, and sends a hostile
answer. It also has the required result of the client.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final, Protocol, TypeVar

from gateway.client import HttpReply, IncomingRequest
from gateway_conformance.hostile.content_mutations import OctetMutation

T = TypeVar("T")

#: The result of a client for an answer that it must accept.
ACCEPTED_ANSWER: Final = "taken"
_MAX_BODY_OCTETS: Final = 64 * 1024 * 1024
_MAX_LENGTH_DIGITS: Final = 18
_MAX_HEAD_OCTETS: Final = 64 * 1024


class ReplyForger(Protocol):
    """Makes the answers of one face, honest and forged."""

    @property
    def face(self) -> str:
        """The face of this forger: ``soap`` or ``ebms2``."""

    def make_honest_reply(self, request: IncomingRequest) -> HttpReply:
        """Return the answer that an honest partner gives."""


@dataclass(frozen=True)
class ReplyConnection:
    """One request on one connection; `elsewhere` is a URL that no client may fetch."""

    request: IncomingRequest
    forger: ReplyForger
    connection: socket.socket
    stop: threading.Event
    elsewhere: str

    def send_octets(self, octets: bytes) -> None:
        """Send octets as they are."""
        self.connection.sendall(octets)

    def flood_octets(self, octets: bytes, max_octets: int = 1 << 30) -> None:
        """Send `octets` again and again, until the client has gone or `max_octets` were sent."""
        sent = 0
        while sent < max_octets and not self.stop.is_set():
            self.send_octets(octets)
            sent += len(octets)

    def trickle_octets(self, octets: bytes = b"x", pause_seconds: float = 0.05) -> None:
        """Send `octets` again and again with a pause, until the client has gone."""
        while not self.stop.wait(pause_seconds):
            self.send_octets(octets)

    def hold_open(self) -> None:
        """Wait until the client has gone."""
        with suppress(OSError):
            self.connection.recv(1)

    def make_honest_reply(self) -> HttpReply:
        """Return the honest answer."""
        return self.forger.make_honest_reply(self.request)

    def send_reply(self, reply: HttpReply) -> None:
        """Send an answer in good form."""
        self.send_octets(write_reply_head(reply) + reply.body)


def write_reply_head(reply: HttpReply, *framing_lines: str) -> bytes:
    """Return status line and header fields of a reply; `framing_lines` replaces its Content-Length."""
    lines = [f"HTTP/1.1 {reply.status} Hostile"]
    if reply.content_type:
        lines.append(f"Content-Type: {reply.content_type}")
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines += framing_lines or (f"Content-Length: {len(reply.body)}",)
    return "\r\n".join((*lines, "", "")).encode("latin-1")


#: The behaviour of a hostile partner at a request.
ReplyBehavior = Callable[[ReplyConnection], None]
#: Variant (the id without its prefix), title, and the subject of this answer.
ReplyRow = tuple[str, str, T]


@dataclass(frozen=True, slots=True)
class ReplyScenario:
    """One hostile answer.

    `id` is the attack's id in the table, a full stop and the variant; `source` says where it
    is known from.  `outcome_by_face` gives for each face the required result of a client: the id of a
    problem of our catalogue, or `ACCEPTED_ANSWER`. A face without an outcome is left out.
    """

    id: str
    title: str
    source: str
    outcome_by_face: Mapping[str, str]
    run: ReplyBehavior

    @property
    def attack_id(self) -> str:
        """Return the id of the attack in the table."""
        return self.id.partition(".")[0]


def make_reply_scenarios(
    prefix: str,
    rows: Iterable[ReplyRow[T]],
    make_behavior: Callable[[T], ReplyBehavior],
    outcome: Mapping[str, str],
    source: str,
) -> Iterator[ReplyScenario]:
    """Yield the scenario of each row of a table."""
    for variant, title, subject in rows:
        yield ReplyScenario(prefix + variant, title, source, outcome, make_behavior(subject))


def use_behavior(behavior: ReplyBehavior) -> ReplyBehavior:
    """Return `behavior` itself, for tables whose subjects are behaviours already."""
    return behavior


def send_changed_octets(change: OctetMutation) -> ReplyBehavior:
    """Return the behaviour that changes the honest answer; ``{elsewhere}`` is a URL not to be fetched."""

    def run_scenario(reply_connection: ReplyConnection) -> None:
        honest = reply_connection.make_honest_reply()
        changed = change(honest.body).replace(b"{elsewhere}", reply_connection.elsewhere.encode())
        if changed == honest.body:
            raise LookupError("nothing was changed")
        reply_connection.send_reply(replace(honest, body=changed))

    return run_scenario


@dataclass
class ReplyServer:
    """A hostile server; it listens from its construction.

    `choose_scenario` selects the reply to each request; `record_scenario` is called with this reply and the
    request. Connections that stay open after an answer are served again.
    """

    forger: ReplyForger
    choose_scenario: Callable[[IncomingRequest], ReplyScenario]
    host: str = "127.0.0.1"
    port: int = 0
    elsewhere: str = "http://127.0.0.1:9/"
    record_scenario: Callable[[ReplyScenario, IncomingRequest], None] = lambda _play, _request: None
    connections: int = field(default=0, init=False)
    stop: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        """Open the listening socket."""
        self._listener = socket.create_server((self.host, self.port))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://{self.host}:{self.port}/"

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self._accept_connections, name="hostile", daemon=True).start()

    def close(self) -> None:
        """Stop listening, and end the replies in progress."""
        self.stop.set()
        # A close alone does not wake the thread that waits in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept_connections(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve_connection, args=(connection,), daemon=True).start()

    def _serve_connection(self, connection: socket.socket) -> None:
        connection.settimeout(60)
        with connection, suppress(OSError):
            for request in _read_requests(connection):
                play = self.choose_scenario(request)
                self.record_scenario(play, request)
                play.run(ReplyConnection(request, self.forger, connection, self.stop, self.elsewhere))


def _read_requests(connection: socket.socket) -> Iterator[IncomingRequest]:
    """Yield the requests on a connection, one after the other, until the client closes it.

    A request whose Content-Length is not a number or too large is refused (400, 413), also one in chunks
    (501); it is the last one.
    """
    buffered_octets = b""
    while True:
        while b"\r\n\r\n" not in buffered_octets and len(buffered_octets) < _MAX_HEAD_OCTETS:
            piece = connection.recv(65536)
            if not piece:
                return
            buffered_octets += piece
        head, _, buffered_octets = buffered_octets.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length_text = headers.get("content-length", "0")
        refusal = (
            HTTPStatus.NOT_IMPLEMENTED
            if "transfer-encoding" in headers
            else _find_length_refusal(length_text)
        )
        if refusal is not None:
            connection.sendall(write_reply_head(HttpReply(refusal, "", headers={"Connection": "close"})))
            return
        length = int(length_text)  # bounded: refused above unless it is at most _MAX_BODY_OCTETS
        while len(buffered_octets) < length:
            piece = connection.recv(65536)
            if not piece:
                return
            buffered_octets += piece
        path = f"{first} / /".split(" ")[1]
        yield IncomingRequest(path, headers, buffered_octets[:length])
        buffered_octets = buffered_octets[length:]


def _find_length_refusal(length_text: str) -> HTTPStatus | None:
    """Return the status that refuses this Content-Length; None for a length that the server reads."""
    if not (length_text.isascii() and length_text.isdigit()):
        return HTTPStatus.BAD_REQUEST
    # bounded: only a text of at most _MAX_LENGTH_DIGITS digits is read as a number
    if len(length_text) > _MAX_LENGTH_DIGITS or int(length_text) > _MAX_BODY_OCTETS:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return None
