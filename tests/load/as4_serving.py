"""Messages of AS4 a second over HTTP, beside what phase4 takes (`phase4 bench.sh`, measured by hand)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.protocols import Parcel
from tests.load.as4_receiving import As4Broker, agree
from tests.load.generator import write_frames
from tests.load.place import Place
from tests.load.receiving import octets_of
from tests.load.serving import PAYLOAD, Load, describe_rate, gateway, generate
from tests.load.stopwatch import say, tree_cpu


def frame_message(parcel: Parcel) -> tuple[str, bytes]:
    """Return the MessageId of a message, and the request that carries it."""
    body = octets_of(parcel)
    start = body.index(b"<eb3:MessageId>") + 15
    head = (
        "POST /msh/as4 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: {parcel.get_header('Content-Type')}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return body[start : body.index(b"<", start)].decode(), head.encode() + body


def measure(place: Place, load: Load) -> Mapping[str, Any]:
    """Send every message once over kept connections; each answer must be a receipt with digests."""
    agree(place)
    broker, file = As4Broker(place), place.home / "frames-as4"
    say(f"as4-http: signing {load.messages + load.warm_up} messages of {PAYLOAD} octets")

    def frames() -> Iterator[tuple[str, bytes]]:
        for _ in range(load.messages + load.warm_up):
            yield frame_message(broker.seal_store(PAYLOAD))

    write_frames(file, frames())
    with gateway(place) as pid:
        say("as4-http: sending")
        cpu = tree_cpu(pid)
        reports = generate(place, load, [file])
        cpu = tree_cpu(pid) - cpu
    answered = sum(len(report["moments"]) for report in reports)
    found = {f"as4_{name}": value for name, value in describe_rate(reports, load).items()}
    receipts = sum(report["receipted"] for report in reports)
    return found | {"as4_receipts": receipts, "as4_server_cpu_ms": cpu / max(answered, 1) * 1000}
