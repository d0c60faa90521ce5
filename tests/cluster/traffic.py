"""A broker that sends at a steady rate while the cluster is broken, and writes down every answer."""

from __future__ import annotations

import hashlib
import http.client
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.client import SealedSubmission
from tests.cluster.judge import Attempt
from tests.cluster.town import FRONT, PORT, ClusterTown

__all__ = ["Traffic"]

#: One message in so many opens a case; the others are only kept.
_FILED = 8
_PAUSE = 0.7
_TIME_OUT = 12.0


@dataclass
class Traffic:
    """Messages of one row: what was sent, and every attempt at it."""

    town: ClusterTown
    rate: float
    seed: int
    patience: float = 120.0
    entries: Sequence[str] = (FRONT,)
    sent: dict[str, SealedSubmission] = field(default_factory=dict)
    filed: list[SealedSubmission] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    _number: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Traffic]:
        """Send until the block ends; afterwards wait until everything has its receipt, or patience ends."""
        with ThreadPoolExecutor(96) as pool:
            feeder = threading.Thread(target=self._feed, args=(pool,))
            feeder.start()
            try:
                yield self
            except BaseException:
                self.patience = 0
                raise
            finally:
                self._over.set()
                feeder.join()

    def _feed(self, pool: ThreadPoolExecutor) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            pool.submit(self._send, self._number, random.Random(f"{self.seed}-{self._number}"))
            self._number += 1
            due += 1 / self.rate
            time.sleep(max(0.0, due - time.monotonic()))

    def _send(self, number: int, dice: random.Random) -> None:
        files = number % _FILED == 0
        message = self.town.submission() if files else self.town.plain_message(number)
        self.sent[message.unit.message_id] = message
        if files:
            self.filed.append(message)
        begun = time.monotonic()
        while not self.post_once(message, dice.choice(self.entries)).receipt:
            if not self.patience or time.monotonic() - begun > self.patience:
                return
            time.sleep(_PAUSE)

    def post_once(self, message: SealedSubmission, entry: str) -> Attempt:
        """POST a message at one entry, and write down what came of it."""
        begun = time.monotonic()
        status, body = _post(self.town.network[entry].address, message)
        name = message.unit.message_id
        is_receipt = status == 200 and b"Acknowledgment" in body and b"ErrorList" not in body
        attempt = Attempt(
            name,
            entry,
            begun,
            time.monotonic(),
            status,
            hashlib.sha256(body).hexdigest() if is_receipt else "",
            "" if is_receipt else body[:4000].decode("utf-8", "replace"),
        )
        self.attempts.append(attempt)
        return attempt

    def repeat_some(self, most: int, entry: str) -> list[Attempt]:
        """Send some messages again that have a receipt already: the same octets, and the same receipt."""
        given = list(dict.fromkeys(one.message_id for one in self.attempts if one.receipt))
        chosen = [self.sent[name] for name in given[:: max(1, len(given) // most)]]
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda message: self.post_once(message, entry), chosen))


def _post(address: str, message: SealedSubmission) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, PORT, timeout=_TIME_OUT)
    try:
        connection.request("POST", "/msh/ebms2", message.body_octets, message.http_headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
