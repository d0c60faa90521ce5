"""The door: heads are judged before bodies, and the application is told what was said, once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.web.server import (
    CERTIFICATE_KEY,
    ConnectionLimits,
    Environ,
    MinimumBodyRate,
    RequestGate,
    RequestGateLimits,
    report_proven_party,
)
from gateway.web.server.fair_queue import FairQueue

Pairs = list[tuple[str, str]]
#: A certificate for the door is DER of the right length.
DER = b"\x30\x82\x00\x02ab"
FIELD = f":{base64.b64encode(DER).decode()}:"
BOUNDS = RequestGateLimits(
    1,
    2,
    {"/msh/ebms2": 1000},
    10_000,
    MinimumBodyRate(5.0, 1000),
    ConnectionLimits(100, 100, 30.0, frozenset({"192.0.2.99"})),
    tls_proxies=frozenset({"192.0.2.99"}),
)


@dataclass
class Fields:
    """The fields of a request as the server hands them over: names in lower case."""

    pairs: Pairs
    lost: tuple[str, ...] = ()

    def items(self) -> Pairs:
        return self.pairs

    def keys(self) -> list[str]:
        return list(dict.fromkeys([name for name, _ in self.pairs] + [*self.lost]))


@dataclass
class Scope:
    """One request."""

    headers: Fields
    method: str = "POST"
    path: str = "/msh/ebms2"
    query_string: str = ""
    http_version: str = "1.1"
    client: str = "192.0.2.1:4711"
    scheme: str = "http"
    authority: str | None = None


@dataclass
class Protocol:
    """A body in pieces, and what was answered."""

    pieces: list[bytes]
    status: int = 0
    headers: Pairs = field(default_factory=list)
    body: bytes = b""

    def __aiter__(self) -> Any:
        async def each() -> Any:
            for piece in self.pieces:
                yield piece

        return each()

    def response_bytes(self, status: int, headers: Pairs, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


@dataclass
class EndlessBody(Protocol):
    """A body without an end; counts the pieces that were taken."""

    pieces: list[bytes] = field(default_factory=lambda: [bytes(1 << 20)])
    taken: int = 0

    def __aiter__(self) -> Any:
        async def each() -> Any:
            while True:
                self.taken += 1
                yield self.pieces[0]

        return each()


def asked(
    pairs: Pairs,
    body: bytes = b"abc",
    application: Callable[[Environ], tuple[str, bytes]] | None = None,
    lost: tuple[str, ...] = (),
    **words: Any,
) -> Protocol:
    """Ask once and return what was answered."""
    protocol = Protocol([body, b""])
    answer_request(protocol, pairs, application, lost, **words)
    return protocol


def answer_request(
    protocol: Protocol,
    pairs: Pairs,
    application: Callable[[Environ], tuple[str, bytes]] | None = None,
    lost: tuple[str, ...] = (),
    **words: Any,
) -> None:
    """Let a gate answer a request with the body of a protocol."""

    def wsgi(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, said = (application or (lambda _: ("200 OK", b"fine")))(environ)
        start_response(status, [("Content-Type", "text/plain")])
        return [said]

    async def ask() -> None:
        door = RequestGate(wsgi, BOUNDS)
        loop = asyncio.get_running_loop()
        door.__rsgi_init__(loop)
        try:
            await door.__rsgi__(Scope(Fields(pairs, lost), **words), protocol)
        finally:
            door.__rsgi_del__(loop)

    asyncio.run(ask())


GOOD = [("host", "hub"), ("content-type", "text/xml"), ("content-length", "3")]


@pytest.mark.parametrize(
    ("pairs", "taken"),
    [
        ([("host", "hub"), ("content-length", "1001")], 64),
        ([("host", "hub"), ("transfer-encoding", "chunked")], 65),
        ([("host", "hub"), ("content-length", "1001"), ("expect", "100-continue")], 0),
        ([("host", "hub"), ("content-length", "999"), ("expect", "100-continue")], 65),
    ],
)
def test_of_a_refused_body_a_limited_rest_is_taken(pairs: Pairs, taken: int) -> None:
    body = EndlessBody()
    answer_request(body, pairs)
    assert (body.status, body.taken) == (413, taken)


class SilentBody(Protocol):
    """A body that never comes."""

    def __init__(self) -> None:
        super().__init__([])
        self.is_asked = False

    def __aiter__(self) -> Any:
        async def each() -> Any:
            self.is_asked = True
            await asyncio.sleep(60)
            yield b""

        return each()


@pytest.mark.parametrize(("address", "most"), [("192.0.2.1", 3), ("192.0.2.99", 12)])
def test_one_network_keeps_no_rest_of_others_from_being_taken(address: str, most: int) -> None:
    """Of a hundred connections twelve may drop the rest of a body; a proxy of ours serves many networks."""

    async def ask() -> list[bool]:
        door, loop = RequestGate(lambda *_: [], BOUNDS), asyncio.get_running_loop()
        door.__rsgi_init__(loop)
        too_long = [("host", "hub"), ("content-length", "1001")]
        bodies = [SilentBody() for _ in range(14)]
        clients = [f"{address}:{number}" for number in range(1, 14)] + ["192.0.2.7:1"]
        tasks = [
            asyncio.ensure_future(door.__rsgi__(Scope(Fields(too_long), client=client), body))
            for client, body in zip(clients, bodies, strict=True)
        ]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        door.__rsgi_del__(loop)
        return [body.is_asked for body in bodies]

    *mine, other = asyncio.run(ask())
    assert (sum(mine), other) == (most, most < 12)


def test_the_application_is_told_what_was_said() -> None:
    told: Environ = {}

    def application(environ: Environ) -> tuple[str, bytes]:
        told.update(environ)
        return "200 OK", environ["wsgi.input"].read()

    answer = asked([*GOOD, ("soapaction", '"ebXML"'), ("x-a", "1"), ("x-a", "2")], application=application)
    assert (answer.status, answer.body) == (200, b"abc")
    assert told["CONTENT_TYPE"] == "text/xml"
    assert told["CONTENT_LENGTH"] == "3"
    assert told["HTTP_SOAPACTION"] == '"ebXML"'
    assert told["HTTP_X_A"] == "1, 2"
    assert told["REMOTE_ADDR"] == "192.0.2.1"


def test_a_query_that_is_not_escaped_is_octets_of_utf_8_for_the_application() -> None:
    """WSGI (PEP 3333) has the octets as characters of ISO 8859-1, in the query as in the path."""
    environs: list[Environ] = []

    def application(environ: Environ) -> tuple[str, bytes]:
        environs.append(environ)
        return "200 OK", b""

    for query in ("a=\u00ff", "a=\ud55c", "a=\U0001f600"):
        asked(GOOD, application=application, path=f"/msh/{query}", query_string=query)
        octets = query.encode()
        assert environs[-1]["QUERY_STRING"].encode("latin-1") == octets
        assert environs[-1]["PATH_INFO"].encode("latin-1") == b"/msh/" + octets


@pytest.mark.parametrize(
    ("client", "field", "certificate", "scheme"),
    [
        ("192.0.2.99:4711", FIELD, hashlib.sha256(DER).hexdigest(), "https"),
        ("192.0.2.99:4711", None, None, "https"),
        # Nobody else is believed, and the application does not see what was said.
        ("192.0.2.1:4711", FIELD, None, "http"),
        # The certificate that the proxy shows by itself is not that of its client.
        (f"192.0.2.99,4711,{'A' * 43}", None, None, "https"),
        (f"192.0.2.1,4711,{'A' * 43}", FIELD, "0" * 64, "https"),
    ],
)
def test_a_named_proxy_alone_tells_the_certificate(
    client: str, field: str | None, certificate: str | None, scheme: str
) -> None:
    told: Environ = {}

    def application(environ: Environ) -> tuple[str, bytes]:
        told.update(environ)
        return "200 OK", b""

    said = [("client-cert", field)] if field else []
    assert asked([*GOOD, *said], application=application, client=client).status == 200
    assert (told[CERTIFICATE_KEY], told["wsgi.url_scheme"]) == (certificate, scheme)
    assert "HTTP_CLIENT_CERT" not in told


def test_a_certificate_is_told_once() -> None:
    for client in ("192.0.2.99:4711", "192.0.2.1:4711"):
        answer = asked([*GOOD, ("client-cert", FIELD), ("client-cert", FIELD)], client=client)
        assert answer.status == 400
    assert asked([*GOOD, ("client-cert", ":AAAA:")], client="192.0.2.99:4711").status == 400


@pytest.mark.parametrize(
    "host",
    [
        *("hub", "hub.example:8080", "192.0.2.1", "[2001:db8::1]:443", ""),
        *("a_b", "hub%2Eexample", "hub:", "hub.", f"{'x' * 63}.example:80"),
    ],
)
def test_names_of_hosts_are_taken(host: str) -> None:
    assert asked([("host", host), *GOOD[1:]]).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "hub other",
            "user@hub",
            "hub/x",
            'hub"><b>',
            "hub?x",
            "hub#x",
            "hub:80a",
            "hub:123456",
            "[::1",
            "a\tb",
        ),
        # The console raised UnicodeError.
        *("hub..example", ".", ".hub", "hub..", "x" * 64, f"a.{'x' * 64}:80"),
    ],
)
def test_what_is_no_name_of_a_host_is_refused(host: str) -> None:
    answer = asked([("host", host), *GOOD[1:]])
    assert answer.status == 400
    assert b"GW110" in answer.body


def test_no_name_is_taken_for_another() -> None:
    told: Environ = {}

    def application(environ: Environ) -> tuple[str, bytes]:
        told.update(environ)
        return "200 OK", b""

    odd = [("content_length", "9"), ("transfer_encoding", "chunked"), ("content_encoding", "gzip")]
    assert asked([*GOOD, *odd], application=application).status == 200
    assert told["CONTENT_LENGTH"] == "3"
    assert not {"HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_ENCODING", "HTTP_CONTENT_LENGTH"} & set(told)


def test_a_body_in_chunks_has_a_length_when_it_is_whole() -> None:
    told: Environ = {}

    def application(environ: Environ) -> tuple[str, bytes]:
        told.update(environ)
        return "200 OK", environ["wsgi.input"].read()

    answer = asked([("host", "hub"), ("transfer-encoding", "Chunked")], application=application)
    assert answer.body == b"abc"
    assert told["CONTENT_LENGTH"] == "3"
    assert "HTTP_TRANSFER_ENCODING" not in told


@pytest.mark.parametrize(
    ("pairs", "words", "status"),
    [
        ([*GOOD, ("content-type", "text/plain")], {}, 400),
        ([*GOOD, ("soapaction", "a"), ("soapaction", "b")], {}, 400),
        ([*GOOD, ("host", "other")], {}, 400),
        ([("content-length", "3")], {}, 400),
        ([*GOOD, ("transfer-encoding", "chunked")], {}, 400),
        ([("host", "hub"), ("transfer-encoding", "gzip, chunked")], {}, 501),
        ([("host", "hub"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], {}, 400),
        ([("host", "hub"), ("content-length", "+3")], {}, 400),
        ([("host", "hub"), ("content-length", "9" * 19)], {}, 400),
        ([("host", "hub"), ("content-length", "1001")], {}, 413),
        ([*GOOD, ("expect", "200-ok")], {}, 417),
        ([*GOOD, ("x", "a" * 33_000)], {}, 431),
        (GOOD, {"method": "TRACE"}, 501),
        (GOOD, {"method": "post"}, 501),
        (GOOD, {"authority": "elsewhere"}, 400),
        (GOOD, {"lost": ("soapaction",)}, 400),
    ],
)
def test_a_wrong_head_is_refused_before_anybody_is_asked(
    pairs: Pairs, words: dict[str, Any], status: int
) -> None:
    def application(_: Environ) -> tuple[str, bytes]:
        raise AssertionError("asked")

    answer = asked(pairs, application=application, **words)
    assert answer.status == status
    assert ("Connection", "close") in answer.headers
    assert answer.body.startswith(b"GW1")


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (GOOD, {"authority": "hub"}),
        ([*GOOD, ("expect", "100-Continue")], {}),
        ([("content-length", "3")], {"http_version": "1"}),
    ],
)
def test_what_is_odd_and_lawful_is_taken(pairs: Pairs, words: dict[str, Any]) -> None:
    assert asked(pairs, **words).status == 200


def test_paths_that_take_no_messages_take_small_bodies_only() -> None:
    large = [("host", "hub"), ("content-length", "65537")]
    assert asked(large, path="/status/ready").status == 413
    assert asked(large, path="/msh/ebms2/").status == 413
    assert asked(GOOD, path="/msh/ebms2/").status == 200


def test_a_busy_application_says_when_to_come_again() -> None:
    answer = asked(GOOD, application=lambda _: ("503 Service Unavailable", b""))
    assert dict(answer.headers)["Retry-After"].isdigit()
    assert "Retry-After" not in dict(asked(GOOD).headers)


def test_a_mistake_of_ours_shows_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    def application(_: Environ) -> tuple[str, bytes]:
        raise LookupError("secret")

    answer = asked(GOOD, application=application)
    assert answer.status == 500
    assert b"GW901" in answer.body
    assert b"secret" not in answer.body
    assert "LookupError" in caplog.text


class Crowd:
    """One door and several requests to it, one after the other; remembers the lines they waited in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[tuple[str, ...]] = []
        take = FairQueue.run_queued

        async def noted(turns: FairQueue, line: tuple[str, ...], do: Callable[[], Any]) -> Any:
            self.lines.append(line)
            return await take(turns, line, do)

        monkeypatch.setattr(FairQueue, "run_queued", noted)

    def ask(self, *asked: tuple[str, Pairs, bytes]) -> list[tuple[str, ...]]:
        def wsgi(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            report_proven_party(environ, "broker1")
            start_response("200 OK", [])
            return [b""]

        async def run() -> None:
            door = RequestGate(wsgi, BOUNDS)
            door.__rsgi_init__(asyncio.get_running_loop())
            for client, pairs, body in asked:
                await door.__rsgi__(Scope(Fields(pairs), client=client), Protocol([body, b""]))
            door.__rsgi_del__(asyncio.get_running_loop())

        asyncio.run(run())
        return self.lines


NAMED = b"<eb:From><eb:PartyId eb:type='t'>b1</eb:PartyId></eb:From><eb:PartyId>hub</eb:PartyId>"
SENT = [("host", "hub"), ("content-length", str(len(NAMED)))]


def test_whoever_proved_to_be_a_party_waits_among_the_parties(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, other = "192.0.2.1:1", "192.0.2.1:1", "192.0.2.1:2"
    assert Crowd(monkeypatch).ask((first, SENT, NAMED), (again, SENT, NAMED), (other, SENT, NAMED)) == [
        ("stranger", "192.0.2.1", "b1"),
        ("party", "broker1", "192.0.2.1"),
        ("network", "192.0.2.1", "b1"),
    ]


def test_a_proxy_of_ours_says_whom_it_serves_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    says = [*SENT, ("x-forwarded-for", "203.0.113.9, 198.51.100.7")]
    lines = Crowd(monkeypatch).ask(
        ("192.0.2.99:1", says, NAMED), ("192.0.2.99:1", says, NAMED), ("192.0.2.1:1", says, NAMED)
    )
    assert [line[:2] for line in lines] == [
        ("stranger", "198.51.100.7"),
        ("network", "198.51.100.7"),
        ("stranger", "192.0.2.1"),
    ]


def test_an_application_without_a_door_tells_nobody() -> None:
    report_proven_party({}, "broker1")


def test_a_rejection_alone_ends_its_connection() -> None:
    assert "Connection" not in dict(asked(GOOD).headers)
    refused = asked([*GOOD, ("content-length", "4")])
    assert refused.status >= 400
    assert refused.headers.count(("Connection", "close")) == 1


def test_the_status_is_answered_while_all_threads_wait_for_a_database() -> None:
    """Live needs no thread at all, and the rest of the status has threads of its own."""
    hung, answered = threading.Event(), {}

    def wsgi(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/msh/ebms2" or (path == "/status/ready" and environ["QUERY_STRING"] == "hangs"):
            hung.wait(60)
        start_response("200 OK", [])
        return [threading.current_thread().name.encode()]

    bounds = replace(
        BOUNDS,
        requests=9,
        status_paths=frozenset({"/status/ready"}),
        instant_paths=frozenset({"/status/live"}),
    )

    async def ask() -> None:
        door, loop = RequestGate(wsgi, bounds), asyncio.get_running_loop()
        door.__rsgi_init__(loop)

        def begin(path: str, query: str = "") -> tuple[asyncio.Future[None], Protocol]:
            protocol = Protocol([b"abc" if path.startswith("/msh") else b"", b""])
            method = "POST" if path.startswith("/msh") else "GET"
            scope = Scope(Fields([("host", "hub")]), method=method, path=path, query_string=query)
            return asyncio.ensure_future(door.__rsgi__(scope, protocol)), protocol

        waiting = [begin("/msh/ebms2") for _ in range(3)]
        for path in ("/status/ready", "/status/live"):
            task, answered[path] = begin(path)
            await asyncio.wait_for(task, 30)
        waiting += [begin("/status/ready", "hangs") for _ in range(6)]
        task, answered["live again"] = begin("/status/live")
        await asyncio.wait_for(task, 30)
        assert not any(task.done() for task, _ in waiting)
        hung.set()
        await asyncio.gather(*(task for task, _ in waiting))
        door.__rsgi_del__(loop)

    asyncio.run(ask())
    assert {path: one.status for path, one in answered.items()} == dict.fromkeys(answered, 200)
    assert answered["live again"].body == b"MainThread"
