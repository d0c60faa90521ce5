"""Reads each request completely, within time and memory limits, and then queues it for a thread.

The server below (granian, hyper) implements HTTP and delivers requests one by one (RSGI). Heads and
bodies are checked and read here on the event loop, where a slow one uses no thread. The application
behind is WSGI and gets the complete body.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from gateway.errors import OUR_MISTAKE, TOO_SLOW, GatewayError, find_resource_problem
from gateway.web.server.body_budget import BodyBudget, BodySender
from gateway.web.server.body_collector import BodyCollector, BodySpool, SpooledBody
from gateway.web.server.connection_limits import ConnectionTable, get_client_network
from gateway.web.server.fair_queue import PROVEN, STRANGER, FairQueue, QueuePath
from gateway.web.server.gate_limits import PageNeeds, RequestGateLimits, need_nothing
from gateway.web.server.proven_callers import ProvenCallers, ProvenNetworks
from gateway.web.server.request_bodies import (
    BODY_KEY,
    CERTIFICATE_KEY,
    FILE_KEY,
    PARTY_CALLBACK_KEY,
    STREAM_KEY,
    WAITING_KEY,
    Environ,
    SentFile,
    WsgiApplication,
    make_wsgi_environ,
    read_whole_body,
    send_file,
)
from gateway.web.server.request_head import (
    CERTIFICATE_FIELD,
    ClientPeer,
    PeerAddress,
    RequestHead,
    RsgiScope,
    find_client_address,
    parse_peer_name,
    read_client_certificate,
    read_request_head,
)

_SHORTEST: Final = 1
_LONGEST: Final = 10
#: Seconds without a refusal after which the next one has a new cause; longer than any wait.
_OVER: Final = 30.0


class RetryAfterPolicy:
    """The state of the refusals of one process; `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first_refused_at = self._last_refused_at = float("-inf")

    def get_wait_seconds(self) -> int:
        """Return how long a sender that is refused now should wait, in whole seconds."""
        now = self._clock()
        if now - self._last_refused_at > _OVER:
            self._first_refused_at = now
        self._last_refused_at = now
        # bounded: seconds of a clock
        wait_seconds = int((now - self._first_refused_at) / 2)
        return min(max(_SHORTEST, wait_seconds), _LONGEST)


_LOG: Final = logging.getLogger(__name__)
#: Retry-After for a rejected sender, in seconds; the cause usually lasts some tenths of a second.
_RETRY_AFTER: Final = "1"
_SWEEP: Final = 0.5
#: Threads that answer for the status of the hub, while those for messages may wait for a database.
_STATUS_THREADS: Final = 16
#: Threads that hash passwords; the other requests for it wait without a thread.
_PASSWORD_THREADS: Final = 2
#: How often a stream checks for something new, in seconds.
_STREAM_PAUSE: Final = 0.5
#: How often a waiting request checks for its answer, in seconds.
_WAITING_PAUSE: Final = 0.2
#: Finds the stated sender of a message: the first PartyId.
_FIRST_PARTY_ID: Final = re.compile(rb"PartyId[^<>]{0,200}>([^<]{1,80})<")
_SENDER_SEARCH_OCTETS: Final = 16 * 1024
#: The limits for reading and dropping the rest of a refused body: octets (as many as other paths accept),
#: seconds in total, and seconds between two pieces. One in `_CONNECTIONS_PER_DROPPING` connections
#: may do so at once, of one network one in `_NETWORKS_PER_DROPPING` of these.
_DROPPED_OCTETS: Final = 64 * 1024**2
_DROPPING_SECONDS: Final = 10.0
_LONGEST_PAUSE: Final = 2.0
_CONNECTIONS_PER_DROPPING: Final = 8
_NETWORKS_PER_DROPPING: Final = 4
#: In every answer: the server below would name itself, and takes no other way to prevent it.
_NAMELESS: Final = ("Server", "")
#: Fields that the application gets in another way, or not at all.
_NOT_PASSED_ON: Final = frozenset({"content-length", "transfer-encoding", CERTIFICATE_FIELD})


@dataclass(slots=True)
class _HttpReply:
    """The application's answer, the party that was proved, and the stream that follows the head, if any.

    `awaited_response` may still give a better answer than this one. `file` is read while it is sent.
    """

    status: int = 500
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    party: str | None = None
    stream: Any = None
    awaited_response: Any = None
    file: SentFile | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the answer is complete, in memory, and the only one."""
        return self.stream is None and self.awaited_response is None and self.file is None


class _ArrivingBody:
    """The pieces of a body; the server below gives its iterator once."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._pieces: AsyncIterator[bytes] | None = None

    @property
    def is_requested(self) -> bool:
        """Whether a piece was requested: this asks a client that waits (Expect) to send the body."""
        return self._pieces is not None

    def __aiter__(self) -> _ArrivingBody:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        if self._pieces is None:
            self._pieces = aiter(self._protocol)
        return anext(self._pieces)

    async def await_while_connected(self, work: Coroutine[Any, Any, _HttpReply]) -> _HttpReply:
        """Return the outcome of `work`; an empty reply, and no work, if the client goes before."""
        working = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._protocol.client_disconnect())
        try:
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
            return await working if working.done() else _HttpReply(HTTPStatus.SERVICE_UNAVAILABLE)
        finally:
            working.cancel()
            gone.cancel()

    async def drop_rest(self) -> None:
        """Read the rest and forget it, until it ends or a limit is reached; only for the end of a connection.

        A piece that arrives after the end of this wait is lost.
        """
        clock, octets = asyncio.get_running_loop().time, 0
        end = clock() + _DROPPING_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_PAUSE) as limit:
                async for piece in self:
                    octets += len(piece)
                    if not piece or octets >= _DROPPED_OCTETS:
                        return
                    limit.reschedule(min(end, clock() + _LONGEST_PAUSE))


@dataclass(frozen=True, slots=True)
class GateRejection:
    """The answer to a request that the gate refuses: HTTP status, media type, body, and further headers."""

    status: int
    media_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class RequestGate:
    """An RSGI application around a WSGI application.

    `make_rejection` returns the answer to a request with these header fields that the gate refuses.
    """

    def __init__(
        self,
        application: WsgiApplication,
        limits: RequestGateLimits,
        make_rejection: Callable[[GatewayError, Mapping[str, str]], GateRejection] | None = None,
    ) -> None:
        self._application = application
        self._make_rejection = make_rejection or _make_plain_rejection
        self._limits = limits
        self._queue = FairQueue(limits.threads, limits.requests, limits.running)
        self._status_queue = FairQueue(_STATUS_THREADS, limits.requests)
        self._password_queue = FairQueue(_PASSWORD_THREADS, limits.requests)
        self._callers = ProvenCallers()
        self._networks = ProvenNetworks(time.monotonic)
        self._retry_after_policy = RetryAfterPolicy(time.monotonic)
        min_rate, clock = limits.min_body_rate, time.monotonic
        self._body_budget = BodyBudget(limits.body_budget_octets, limits.max_held_octets, min_rate, clock)
        self._spool = (
            None if limits.spool is None else BodySpool(limits.spool, limits.max_body_octets, min_rate, clock)
        )
        self._connections = ConnectionTable(limits.connections, time.monotonic, self._networks)
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._droppings: Counter[str] = Counter()

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the threads, and begin to check the connections."""
        for queue in self._list_queues():
            queue.start_threads()
        self._sweep_timer = loop.call_later(_SWEEP, self._sweep_connections, loop)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop the streams and the threads."""
        self._is_stopping = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for queue in self._list_queues():
            queue.stop_threads()

    def _list_queues(self) -> list[FairQueue]:
        """Return the queues that this gate uses."""
        limits = self._limits
        return [
            self._queue,
            *((self._status_queue,) if limits.status_paths else ()),
            *((self._password_queue,) if limits.find_page_needs is not need_nothing else ()),
        ]

    async def __rsgi__(self, scope: RsgiScope, protocol: Any) -> None:
        """Answer one request."""
        client_peer = parse_peer_name(scope.client)
        peer = client_peer.peer
        reply, body, is_refused = _HttpReply(), _ArrivingBody(protocol), False
        party = self._connections.begin_request(peer)
        try:
            reply = await self._answer_request(scope, body, client_peer, party)
        except GatewayError as problem:
            reply, is_refused = self._reject_request(problem, scope), problem.problem is not TOO_SLOW
        except Exception as mistake:  # the client gets an answer in any case
            _LOG.error("http: %s", type(mistake).__name__)
            _LOG.debug("http", exc_info=mistake)
            reply = self._reject_request(find_resource_problem(mistake) or GatewayError(OUR_MISTAKE), scope)
            is_refused = True
        finally:
            if reply.is_whole:
                self._connections.end_request(peer, reply.party)
        if reply.is_whole:
            protocol.response_bytes(reply.status, [*reply.headers, _NAMELESS], reply.body)
            if is_refused:
                await self._drop_rest(scope, body, peer.address)
            return
        try:
            if reply.file is not None:
                headers = [*reply.headers, _NAMELESS]
                await send_file(protocol, reply.status, headers, reply.file, self._limits.min_body_rate)
            else:
                send = self._send_stream if reply.stream is not None else self._send_awaited_response
                await send(protocol, reply)
        finally:
            self._connections.end_request(peer, reply.party)

    async def _drop_rest(self, scope: RsgiScope, body: _ArrivingBody, address: str) -> None:
        """Read the octets that a refused client still sends, within limits.

        To close the connection earlier would reset it, and the client would lose the answer (RFC 9112 §9.6).
        Meanwhile the connection counts as idle, so it is closed before others. A client that waits until it
        is asked for the body (Expect) is not asked. One network gets a part of these readings.
        """
        limits, network = self._limits.connections, get_client_network(address)
        most = max(1, limits.max_connections // _CONNECTIONS_PER_DROPPING)
        most_of_network = most if address in limits.exempt else max(1, most // _NETWORKS_PER_DROPPING)
        is_full = self._droppings.total() >= most or self._droppings[network] >= most_of_network
        is_asked_first = "expect" in scope.headers.keys()  # noqa: SIM118 - the server's headers are no mapping
        if is_full or (is_asked_first and not body.is_requested):
            return
        self._droppings[network] += 1
        try:
            await body.drop_rest()
        finally:
            self._droppings[network] -= 1
            if not self._droppings[network]:
                del self._droppings[network]

    async def _send_awaited_response(self, protocol: Any, reply: _HttpReply) -> None:
        """Send the better answer when it is there in time, else the answer of the application.

        Meanwhile the request holds no thread, and its content has been released. If the client has gone,
        nothing is sent, and no answer counts as given.
        """
        loop, gone = asyncio.get_running_loop(), asyncio.ensure_future(protocol.client_disconnect())
        awaited_response = reply.awaited_response
        try:
            while not (self._is_stopping or gone.done() or awaited_response.is_over()):
                better = await loop.run_in_executor(None, awaited_response.read_response)
                if better is not None and not gone.done():
                    length = ("Content-Length", str(len(better.body)))
                    headers = [*better.headers.items(), length, _NAMELESS]
                    protocol.response_bytes(better.status, headers, better.body)
                    await loop.run_in_executor(None, awaited_response.mark_response_given)
                    return
                await asyncio.wait({gone}, timeout=_WAITING_PAUSE)
        except Exception as mistake:  # the response stays queued, and the client gets the agreed fallback
            _LOG.error("http: a waiting request: %s", type(mistake).__name__)
            _LOG.debug("http", exc_info=mistake)
        finally:
            gone.cancel()
            awaited_response.close()
        protocol.response_bytes(reply.status, [*reply.headers, _NAMELESS], reply.body)

    async def _send_stream(self, protocol: Any, reply: _HttpReply) -> None:
        """Send each batch of the application's stream, until it ends, the client goes or the server stops."""
        loop, gone = asyncio.get_running_loop(), asyncio.ensure_future(protocol.client_disconnect())
        try:
            headers = [header for header in reply.headers if header[0].lower() != "content-length"]
            transport = protocol.response_stream(reply.status, [*headers, _NAMELESS])
            while not (self._is_stopping or gone.done()):
                batch = await loop.run_in_executor(None, reply.stream.read_batch)
                if batch is None:
                    break
                if batch:
                    await transport.send_bytes(batch)
                await asyncio.wait({gone}, timeout=_STREAM_PAUSE)
        except Exception as ended:  # the client has gone, or the database is away: the client comes again
            _LOG.debug("http: a stream ended: %s", type(ended).__name__)
        finally:
            gone.cancel()
            reply.stream.close()

    async def _answer_request(
        self, scope: RsgiScope, arriving_body: _ArrivingBody, client_peer: ClientPeer, party: str | None
    ) -> _HttpReply:
        """Read a request, queue it by its sender, and return the reply of the application.

        `party` is the party that was proved on this connection before, if any.
        """
        limits, peer = self._limits, client_peer.peer
        page_needs = limits.find_page_needs(scope.method, scope.path)
        max_octets = limits.find_max_octets(scope.path, page_needs)
        head = read_request_head(scope, max_octets)
        if peer.address in limits.tls_proxies:
            # The proxy's own certificate is never that of its client.
            certificate = read_client_certificate(head.fields.get(CERTIFICATE_FIELD))
            client_peer = ClientPeer(peer, tls=True, certificate_sha256=certificate)
        network = self._get_client_network(peer, head)
        sender_path = self._find_sender_path(head, network, party)
        body_collector = self._make_body_collector(head, self._make_body_sender(sender_path, network))
        try:
            body = await read_whole_body(
                arriving_body,
                head.body_length,
                max_octets,
                limits.min_body_rate,
                body_collector,
                may_have_trailers=head.may_have_trailers,
            )
            self._connections.begin_work(peer)
            environ = _make_request_environ(scope, head, client_peer, body)
            if head.path in limits.instant_paths:
                return self._call_application(environ)
            queue = self._choose_queue(head.path, page_needs)
            # The last name only orders the requests of one party or network.
            last_name = network if sender_path[0] == PROVEN else _find_stated_sender(body)
            work = queue.run_queued((*sender_path, last_name), lambda: self._call_application(environ))
            reply: _HttpReply = await (
                arriving_body.await_while_connected(work) if page_needs.hashes_password else work
            )
            if reply.party is not None:
                self._callers.remember_caller(head.fields, reply.party)
                self._networks.remember_network(network, reply.party)
            return reply
        finally:
            body_collector.close()

    def _choose_queue(self, path: str, page_needs: PageNeeds) -> FairQueue:
        """Return the queue for a request."""
        if page_needs.hashes_password:
            return self._password_queue
        return self._status_queue if path in self._limits.status_paths else self._queue

    def _find_sender_path(self, head: RequestHead, network: str, party: str | None) -> QueuePath:
        """Return the group of a sender and its name in the group; `party` was proved on the connection."""
        caller = self._callers.find_caller(head.fields) or party
        if caller is not None:
            return PROVEN, caller
        return "network" if self._networks.find_party(network) else STRANGER, network

    def _make_body_sender(self, sender_path: QueuePath, network: str) -> BodySender:
        """Return the sender of a body: octets are counted by address, and compared by party."""
        group, name = sender_path
        party = name if group == PROVEN else self._networks.find_party(network)
        return BodySender(f"{group} {name} {network}", party or network, is_proved=party is not None)

    def _make_body_collector(self, head: RequestHead, sender: BodySender) -> BodyCollector:
        """Return the collector of a request's body: in a file if it is large and its path allows files."""
        memory_reservation = self._body_budget.make_reservation(sender)
        if self._spool is None or not self._spool.accepts_path(head.path.rstrip("/")):
            return BodyCollector(memory_reservation)
        return self._spool.make_collector(head.body_length, memory_reservation)

    def _get_client_network(self, peer: PeerAddress, head: RequestHead) -> str:
        """Return the network of the client's address; for a trusted proxy, of that in X-Forwarded-For."""
        exempt = self._limits.connections.exempt
        return get_client_network(
            find_client_address(peer.address, head.fields.get("x-forwarded-for"), exempt)
        )

    def _call_application(self, environ: Environ) -> _HttpReply:
        """Call the application, in a thread."""
        reply = _HttpReply()

        def set_party(party: str) -> None:
            reply.party = party

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            reply.status, reply.headers = int(status[:3]), headers  # bounded: a status of our own

        environ[PARTY_CALLBACK_KEY] = set_party
        answered = self._application(environ, start_response)
        if isinstance(answered, SentFile):
            reply.file = answered
        else:
            try:
                reply.body = b"".join(answered)
            finally:
                getattr(answered, "close", lambda: None)()
        reply.stream, reply.awaited_response = environ.get(STREAM_KEY), environ.get(WAITING_KEY)
        if reply.status == HTTPStatus.SERVICE_UNAVAILABLE:
            others = [header for header in reply.headers if header[0].lower() != "retry-after"]
            reply.headers = [*others, ("Retry-After", str(self._retry_after_policy.get_wait_seconds()))]
        return reply

    def _reject_request(self, problem: GatewayError, scope: RsgiScope) -> _HttpReply:
        """Return the answer to a request that does not reach the application, in the form of the application.

        It closes the connection: the rest of the body would otherwise be read as a request.
        """
        rejection = self._make_rejection(problem, dict(scope.headers.items()))
        headers = [("Content-Type", rejection.media_type), ("Connection", "close"), *rejection.headers]
        if rejection.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            headers.append(("Retry-After", _RETRY_AFTER))
        return _HttpReply(rejection.status, headers, rejection.body)

    def _sweep_connections(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweep_timer = loop.call_later(_SWEEP, self._sweep_connections, loop)
        shut = self._connections.close_excess_connections()
        if shut:
            _LOG.warning("http: %d connections shut", shut)


def _find_stated_sender(body: bytes | SpooledBody) -> str:
    """Return the stated sender of a message; it only orders the requests of one address."""
    if isinstance(body, bytes):
        match = _FIRST_PARTY_ID.search(body, 0, _SENDER_SEARCH_OCTETS)
    else:
        with body.open_stream() as stream:
            match = _FIRST_PARTY_ID.search(stream.read(_SENDER_SEARCH_OCTETS))
    return match[1].decode("latin-1") if match else ""


def _make_request_environ(
    scope: RsgiScope, head: RequestHead, client_peer: ClientPeer, body: bytes | SpooledBody
) -> Environ:
    """Return the WSGI environment of a request; a body in a file is in it as `BODY_KEY` and as a stream."""
    octets = body if isinstance(body, bytes) else b""
    environ = make_wsgi_environ(
        head.method, head.path, octets, query=scope.query_string, host=head.fields.get("host", "localhost")
    )
    environ |= {
        BODY_KEY: None if isinstance(body, bytes) else body,
        FILE_KEY: SentFile,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client_peer.peer.address,
        "REMOTE_PORT": str(client_peer.peer.port),
        CERTIFICATE_KEY: client_peer.certificate_sha256,
        "wsgi.url_scheme": "https" if client_peer.tls else scope.scheme,
    }
    if not isinstance(body, bytes):
        environ |= {"wsgi.input": body.open_stream(), "CONTENT_LENGTH": str(body.octet_count)}
    for name, value in head.fields.items():
        if name == "content-type":
            environ["CONTENT_TYPE"] = value
        # WSGI would not distinguish a name with an underscore from the one with a hyphen.
        elif "_" not in name and name not in _NOT_PASSED_ON:
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ


def _make_plain_rejection(problem: GatewayError, _fields: Mapping[str, str]) -> GateRejection:
    """Return a plain answer: nothing is signed for an unknown sender."""
    text = f"{problem.problem.id} {problem.problem.title}: {problem.detail}"
    text += f" at {problem.location}\n" if problem.location else "\n"
    # bounded: a status of the catalogue
    status = int(getattr(problem, "status", None) or problem.problem.codes.http or 500)
    return GateRejection(status, "text/plain; charset=utf-8", text.encode())
