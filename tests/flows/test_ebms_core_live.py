"""Messages of two running ebms-core handlers, judged under their own CPAs, when they were made.

The hub takes the place of one of the two: its CPAs are loaded by the verb, the certificates come from
them, and each message is opened by the protocol core and sent over HTTP, octet by octet.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings
from gateway.delivery.agents import MshAgent
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import GatewayError
from gateway.hub import Hub, RejectingComposer, build_hub
from gateway.message_model import MemoryBody, Receipt, UserMessage
from gateway.pki import encode_key_pem
from gateway.protocols import Parcel, ebms2
from gateway.store import (
    NewDelivery,
    NewMessage,
    deliveries,
    messages,
    payloads,
    read_transaction,
    write_transaction,
)
from gateway.web.wsgi_application import build_wsgi_application
from gateway.wire import read_http_message
from tests.kit.claims import claim_deliveries
from tests.kit.house import authority, signer_named

pytestmark = pytest.mark.vectors
_TYPE = "urn:example:party-type"
_NO_TIMESTAMP = datetime(2026, 11, 20, 7, 3, 51, tzinfo=UTC)
#: What the protocol core finds in a message: kind, agreement, whether it is signed; then the HTTP status
#: of the hub's answer and its action, where the hub is the receiver.
AT_B = {
    "message-signed.http": ("UserMessage", "async", True, 204, ""),
    "message-signed-as-sent.raw": ("UserMessage", "sink", True, 204, ""),
    "message-signed-sync.http": ("UserMessage", "sync", True, 200, "Acknowledgment"),
    "message-signed-two-payloads.http": ("UserMessage", "async", True, 204, ""),
    "message-unsigned.http": ("UserMessage", "async-unsigned", False, 204, ""),
    "message-without-payload.http": ("UserMessage", "besteffort", False, 204, ""),
    "ping.http": ("Ping", "async", False, 204, ""),
    "pong-sync-response.http": ("Pong", "sync", False, 204, ""),
    "status-request.http": ("StatusRequest", "async", False, 204, ""),
}
AT_A = {
    "acknowledgment-signed.http": ("Receipt", "async", True, 204, ""),
    "acknowledgment-signed-sync-response.http": ("Receipt", "sync", True, 204, ""),
    "acknowledgment-unsigned.http": ("Receipt", "async-unsigned", False, 204, ""),
    "error.http": ("ErrorSignal", "async", False, 204, ""),
    "error-sync-response.http": ("ErrorSignal", "sync", False, 204, ""),
    "pong.http": ("Pong", "async", False, 204, ""),
    "ping-sync.http": ("Ping", "sync", False, 200, "Pong"),
    "status-response.http": ("StatusResponse", "async", False, 204, ""),
    "status-response-sync-response.http": ("StatusResponse", "sync", False, 204, ""),
}
#: A Fault is no message: it belongs to the answer of a connection.
FAULT = "fault-unknown-cpa-response.http"


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Place:
    """The hub in the place of one of the two handlers."""

    live: Path
    hub: Hub = field(init=False)
    port: int = 0
    now: datetime = _NO_TIMESTAMP

    def clock(self) -> datetime:
        return self.now

    def read(self, name: str) -> tuple[bytes, Parcel]:
        """Return a recorded message, and let the clock say when it was made."""
        raw = (self.live / name).read_bytes()
        made = re.search(rb"<eb:Timestamp>([^<]*)", raw)
        self.now = (
            datetime.fromisoformat(made[1].decode()) + timedelta(milliseconds=300) if made else _NO_TIMESTAMP
        )
        message = read_http_message(raw)
        return raw, Parcel(message.headers, MemoryBody(message.body))

    def judge(self, parcel: Parcel) -> tuple[str, str, bool]:
        """Return what the protocol core says under the agreements."""
        opened = ebms2.open_units(parcel, self.hub.make_protocol_context(self.hub.refresh_snapshot()))
        assert opened.pmode is not None
        return type(opened.unit).__name__, opened.pmode.agreement, opened.verified_signature is not None

    def send(self, raw: bytes) -> tuple[int, bytes]:
        """Send a recorded request to the hub as it was sent; an answer becomes a request of its own."""
        line, _, rest = raw.partition(b"\n")
        if line.startswith(b"HTTP/"):
            rest = b"Host: hub\r\n" + rest
        with socket.create_connection(("127.0.0.1", self.port), 20) as connection:
            connection.sendall(b"POST /msh/ebms2 HTTP/1.1\r\n" + rest)
            heard = connection.makefile("rb")
            status = int(heard.readline().split()[1])
            head = dict(re.findall(rb"(?im)^([\w-]+): *(.*?)\r?$", b"".join(iter(heard.readline, b"\r\n"))))
            length = next(
                (int(value) for name, value in head.items() if name.lower() == b"content-length"), 0
            )
            return status, heard.read(length)

    def deliver(self, name: str) -> int:
        """Store a recorded message as one of the hub's own that waits to be sent; return its delivery."""
        _, parcel = self.read(name)
        content = parcel.body.open_stream().read()
        unit = ebms2.read_sent_unit(parcel, self.hub.limits).unit
        assert isinstance(unit, UserMessage)
        headers = {"Content-Type": parcel.get_header("Content-Type")}
        with write_transaction(self.hub.engine) as conn:
            sha256 = payloads.store_payload(conn, content, self.now)
            new = NewMessage(
                *(unit.message_id, "ebms2", "UserMessage", unit.conversation_id, "hub", "party-b"),
                *(unit.service, unit.action, sha256, headers, content),
                direction="out",
            )
            messages.insert_own_message(conn, new, self.now, "test")
            parameters = {"endpoint": "http://partner.example/", "headers": headers, "retries": 3}
            parameters |= {"agreement": unit.agreement, "pmode": "a-send", "receipt": True}
            queued = deliveries.enqueue_delivery(
                conn,
                NewDelivery(
                    *("msh", "party-b", "message", unit.message_id, name),
                    wire_id=unit.message_id,
                    payload_sha256=sha256,
                    parameters=parameters | {"retry_interval": 300},
                ),
                self.now,
            )
        assert queued is not None
        return queued

    def attempt(self, answer: HttpAnswer) -> None:
        """Send what is queued; this is how the partner answers."""

        class Partner:
            def post(self, *_: object) -> HttpAnswer:
                return answer

        with write_transaction(self.hub.engine) as conn:
            until = self.now + timedelta(minutes=1)
            (lease,) = claim_deliveries(conn, "party-b", "test", self.now, until)
        MshAgent(self.hub, Partner()).attempt_delivery(lease)  # type: ignore[arg-type]

    def state(self, delivery: int) -> str:
        with read_transaction(self.hub.engine) as conn:
            row = deliveries.find_by_id(conn, delivery)
        assert row is not None
        return str(row.state)


@contextmanager
def take_place(home: Path, live: Path, side: str) -> Iterator[Place]:
    """Set up a hub that is party A or B, with every agreement between them."""
    pki, key = home / "pki", signer_named("hub")
    pki.mkdir()
    (pki / "ca.pem").write_bytes((live / "ca.pem").read_bytes() + authority().certificate.pem)
    (pki / "hub.cert.pem").write_bytes(key.certificate.pem)
    (pki / "hub.key.pem").write_bytes(encode_key_pem(key.key))
    (home / "gateway.toml").write_text('[hub]\nhome = "."\n[pki]\nrevocation = "if_present"\n')
    ours, at_home = f"{_TYPE}|party-{side}", ("--home", str(home))
    certificate = ("--certificate", str(pki / "hub.cert.pem"))
    assert main(["migrate", "--new", *at_home]) == 0
    assert main(["party", "add", "hub", "--role", "hub", "--id", ours, *certificate, *at_home]) == 0
    for file in sorted(live.glob("cpa-*.xml")):
        assert main(["agreement", "load", str(file), "--as", ours, "--accept-warnings", *at_home]) == 0
    place = Place(live)
    place.hub = build_hub(read_home_settings(home), RejectingComposer(), place.clock, at_work=False)
    app = build_wsgi_application(place.hub, 10**7)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    place.port = server.port
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    try:
        yield place
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
        place.hub.close()


@pytest.fixture(scope="module")
def live(vectors: Path) -> Path:
    return vectors / "outside" / "ebms2" / "ebms-core-live"


@pytest.fixture(scope="module")
def party_a(tmp_path_factory: pytest.TempPathFactory, live: Path) -> Iterator[Place]:
    with take_place(tmp_path_factory.mktemp("a"), live, "a") as place:
        yield place


@pytest.fixture(scope="module")
def party_b(tmp_path_factory: pytest.TempPathFactory, live: Path) -> Iterator[Place]:
    with take_place(tmp_path_factory.mktemp("b"), live, "b") as place:
        yield place


def check_action(body: bytes, action: str) -> None:
    found = re.search(rb"<eb:Action>([^<]*)", body)
    assert (found[1].decode() if found else "") == action


def test_every_message_has_its_receiver(live: Path) -> None:
    recorded = {one.name for one in live.iterdir() if one.suffix in (".http", ".raw")}
    assert recorded == {*AT_A, *AT_B, FAULT}


@pytest.mark.parametrize("name", sorted(AT_B))
def test_what_party_b_got_is_accepted(name: str, party_b: Place) -> None:
    kind, agreement, signed, status, action = AT_B[name]
    raw, parcel = party_b.read(name)
    assert party_b.judge(parcel) == (kind, agreement, signed)
    answers = [party_b.send(raw) for _ in range(2)]
    for heard, body in answers:
        assert heard == status
        check_action(body, action)
    if kind == "UserMessage":
        assert answers[0] == answers[1], "a repeat gets the same octets"


@pytest.mark.parametrize("name", sorted(AT_A))
def test_what_party_a_got_is_accepted(name: str, party_a: Place) -> None:
    kind, agreement, signed, status, action = AT_A[name]
    raw, parcel = party_a.read(name)
    assert party_a.judge(parcel) == (kind, agreement, signed)
    heard, body = party_a.send(raw)
    assert heard == status
    check_action(body, action)


@pytest.mark.parametrize("name", sorted({*AT_A, *AT_B}))
def test_the_other_handler_is_no_receiver(name: str, party_a: Place, party_b: Place) -> None:
    """Each is refused where it does not belong: in the answer, by a POST, or silently if it is an answer."""
    other = party_b if name in AT_A else party_a
    raw, parcel = other.read(name)
    with pytest.raises(GatewayError) as refused:
        other.judge(parcel)
    assert refused.value.problem.id == "GW302"
    status, body = other.send(raw)
    found = re.search(rb"<eb:MessageId>([^<]*)", raw)
    assert found is not None
    with read_transaction(other.hub.engine) as conn:
        stored = [row.message_id for row in messages.list_messages(conn, direction="in")]
    assert found[1].decode() not in stored
    assert (status, body) == (204, b"") or b"GW302" in body


def test_stored_messages_have_what_was_sent(party_b: Place) -> None:
    for name in ("message-signed-two-payloads.http", "message-signed-as-sent.raw"):
        raw, parcel = party_b.read(name)
        party_b.send(raw)
        unit = ebms2.open_units(parcel, party_b.hub.make_protocol_context(party_b.hub.get_snapshot())).unit
        assert isinstance(unit, UserMessage)
        with read_transaction(party_b.hub.engine) as conn:
            row = messages.find_by_message_id(conn, "in", "party-a", unit.message_id)
            assert row is not None
            kept = messages.load_payloads(conn, row.id)
        assert [one.content for one in kept] == [one.content for one in unit.payloads]


def test_our_receipt_says_what_theirs_says(party_a: Place, party_b: Place) -> None:
    _, theirs = party_a.read("acknowledgment-signed-sync-response.http")
    raw, _ = party_b.read("message-signed-sync.http")
    status, body = party_b.send(raw)
    assert status == 200
    ours = Parcel({"Content-Type": "text/xml; charset=UTF-8"}, MemoryBody(body))
    mine, other = (ebms2.read_sent_unit(one, party_a.hub.limits).unit for one in (ours, theirs))
    assert isinstance(mine, Receipt)
    assert isinstance(other, Receipt)
    assert mine.references == other.references
    same = ("ref_to_message_id", "agreement", "conversation_id")
    assert [getattr(mine, one) for one in same] == [getattr(other, one) for one in same]
    # They leave out the roles.
    assert (mine.sender.ids, mine.receiver.ids) == (other.sender.ids, other.receiver.ids)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("message-signed.http", "acknowledgment-signed.http"),
        ("message-unsigned.http", "acknowledgment-unsigned.http"),
    ],
)
def test_an_acknowledgment_by_post_ends_the_delivery(party_a: Place, sent: str, answer: str) -> None:
    delivery = party_a.deliver(sent)
    party_a.attempt(HttpAnswer(204, {}, b""))
    assert party_a.state(delivery) == "AWAITING_RECEIPT"
    raw, _ = party_a.read(answer)
    assert party_a.send(raw) == (204, b"")
    assert party_a.state(delivery) == "DELIVERED"


def test_an_acknowledgment_in_the_answer_ends_the_delivery(party_a: Place) -> None:
    delivery = party_a.deliver("message-signed-sync.http")
    _, parcel = party_a.read("acknowledgment-signed-sync-response.http")
    headers = {"content-type": parcel.get_header("Content-Type")}
    party_a.attempt(HttpAnswer(200, headers, parcel.body.open_stream().read()))
    assert party_a.state(delivery) == "DELIVERED"


def test_an_acknowledgment_of_another_message_ends_nothing(party_a: Place) -> None:
    _, parcel = party_a.read("acknowledgment-signed-sync-response.http")
    party_a.deliver("message-signed-two-payloads.http")
    headers = {"content-type": parcel.get_header("Content-Type")}
    with pytest.raises(GatewayError) as refused:
        party_a.attempt(HttpAnswer(200, headers, parcel.body.open_stream().read()))
    assert "GW309" in str(refused.value)


def test_their_fault_is_a_refusal_for_good(party_a: Place) -> None:
    _, parcel = party_a.read(FAULT)
    with pytest.raises(GatewayError) as refused:
        party_a.judge(parcel)
    assert refused.value.problem.id == "GW602"
    assert "CPA none not found" in refused.value.detail
