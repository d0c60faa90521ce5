"""The well-behaved broker: so many messages a second, by the clock, whatever becomes of the ones before.

``python -m tests.system.attacked.broker FILE PORT RATE START PATIENCE`` sends the frames of a file over
kept connections; START is a moment of the monotonic clock.  A message that is told to come
again, or whose connection ends, is sent again, the same octets, until it has its receipt.
Time counts from the moment at which it was due, so that waiting for others is not left out.
Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.load.generator import read_frames

_TIME_OUT = 20.0
#: After a connection that ended: time enough for a killed process to be replaced, now and then.
_AGAIN = 0.25
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Broker:
    """Sends, and notes of each message when it was due, what its receipt took, how often it was sent."""

    port: int
    start: float
    rate: float
    patience: float
    idle: list[Connection] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)

    async def run(self, frames: list[tuple[bytes, bytes]]) -> None:
        """Send every message at its time; return when each has its receipt, or patience ended."""
        tasks = []
        for number, (name, request) in enumerate(frames):
            due = self.start + number / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.append(asyncio.create_task(self._deliver(name.decode(), request, due)))
        await asyncio.gather(*tasks)
        for _, writer in self.idle:
            writer.close()

    async def _deliver(self, name: str, request: bytes, due: float) -> None:
        row: dict[str, Any] = {
            "name": name,
            "due": due - self.start,
            "tries": 0,
            "took": None,
            "answer": None,
        }
        self.sent.append(row)
        while time.monotonic() < due + self.patience:
            row["tries"] += 1
            status, wait, body = await self._once(request)
            word = str(status or "no answer")
            self.answers[word] = self.answers.get(word, 0) + 1
            if status == 200 and f"RefToMessageId>{name}<".encode() in body:
                row["took"] = time.monotonic() - due
                row["answer"] = hashlib.sha256(body).hexdigest()
                return
            if status == 200:
                row["refused"] = body[:400].decode(errors="replace")
            await asyncio.sleep(wait)

    async def _once(self, request: bytes) -> tuple[int | None, float, bytes]:
        """Return status, seconds to wait before another try, and body; no status without an answer."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(_TIME_OUT):
                connection = self.idle.pop() if self.idle else await self._connect()
                reader, writer = connection
                writer.write(request)
                await writer.drain()
                status, headers, body = await _answer(reader)
        except (OSError, EOFError, ValueError, TimeoutError):
            if connection is not None:
                connection[1].close()
            return None, _AGAIN, b""
        if headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self.idle.append(connection)
        return status, float(headers.get("retry-after", _AGAIN)), body

    async def _connect(self) -> Connection:
        return await asyncio.open_connection("127.0.0.1", self.port)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers, body


def main() -> None:
    """Send one file of frames."""
    path, port, rate, start, patience = sys.argv[1:]
    broker = Broker(int(port), float(start), float(rate), float(patience))
    with suppress(KeyboardInterrupt):
        asyncio.run(broker.run(list(read_frames(Path(path)))))
    print(json.dumps({"sent": broker.sent, "answers": broker.answers}))


if __name__ == "__main__":
    main()
