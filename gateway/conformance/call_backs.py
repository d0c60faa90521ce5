"""Calls that a simulated agency makes: the same MessageID and Body, signed anew, until the hub has them."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lxml import etree

from gateway.conformance.desk import CONTENT_TYPE, addressed
from gateway.conformance.http import Poster, Reply
from gateway.conformance.hub_answers import read_hub_answer
from gateway.conformance.identity import Identity, now
from gateway.conformance.journal import Journal
from gateway.errors import GatewayError
from gateway.wire.addressing import Addressing
from gateway.wire.namespaces import SERVICE_AGENCY
from gateway.wire.xml import serialize
from gateway.xmlsec.wss import sign_request

__all__ = ["CallBacks", "Errand"]

_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 5.0
_MOST_TRIES: Final = 200
_END_WITHIN: Final = 2.0


@dataclass(frozen=True, slots=True)
class Errand:
    """One call to make: its MessageID, its operation, its content as octets, when, how often."""

    message_id: str
    operation: str
    content: str
    due: datetime
    times: int = 1

    def as_row(self) -> dict[str, Any]:
        """Return the errand as JSON holds it."""
        return {
            "message_id": self.message_id,
            "operation": self.operation,
            "content": self.content,
            "due": self.due.isoformat(),
            "times": self.times,
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Errand:
        """Read what `as_row` wrote."""
        return cls(
            row["message_id"],
            row["operation"],
            row["content"],
            datetime.fromisoformat(row["due"]),
            row["times"],
        )


class CallBacks:
    """Makes errands when they are due; several at once, each again and again until status 200."""

    def __init__(self, identity: Identity, hub_url: str, journal: Journal, threads: int = 4) -> None:
        self._identity = identity
        self._poster = Poster(hub_url)
        self._journal = journal
        self._queue: list[tuple[float, int, Errand, int]] = []
        self._numbers = itertools.count()
        self._filled = threading.Condition()
        self._stopping = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Begin nothing more, and wait a little for what has begun."""
        with self._filled:
            self._stopping = True
            self._filled.notify_all()
        for thread in self._threads:
            thread.join(_END_WITHIN)
        self._poster.close()

    def add(self, errand: Errand) -> None:
        """Make `errand` when it is due."""
        self._put(errand, (errand.due - now()).total_seconds(), 1)

    def make_now(self, errand: Errand, patience: float = 10.0) -> bool:
        """Make `errand` at once in the caller's thread; tell whether the hub took it."""
        end = time.monotonic() + patience
        tries = 0
        while time.monotonic() < end:
            tries += 1
            if self._attempt(errand, tries):
                return True
            time.sleep(_FIRST_RETRY)
        return False

    def _put(self, errand: Errand, wait: float, tries: int) -> None:
        with self._filled:
            heapq.heappush(
                self._queue, (time.monotonic() + max(wait, 0.0), next(self._numbers), errand, tries)
            )
            self._filled.notify()

    def _work(self) -> None:
        while True:
            taken = self._next()
            if taken is None:
                return
            errand, tries = taken
            if not self._attempt(errand, tries) and tries < _MOST_TRIES:
                self._put(errand, min(_FIRST_RETRY * 2 ** (tries - 1), _LONGEST_RETRY), tries + 1)

    def _next(self) -> tuple[Errand, int] | None:
        with self._filled:
            while not self._stopping:
                if not self._queue:
                    self._filled.wait()
                    continue
                wait = self._queue[0][0] - time.monotonic()
                if wait <= 0:
                    return heapq.heappop(self._queue)[2:]
                self._filled.wait(wait)
        return None

    def _attempt(self, errand: Errand, tries: int) -> bool:
        """Make one attempt, `times` over, and write down what came of it."""
        good = True
        for _ in range(errand.times):
            status, problem = self._post(errand)
            good = good and status == 200
            self._journal.write(
                {
                    "message_id": errand.message_id,
                    "operation": errand.operation,
                    "try": tries,
                    "status": status,
                    "verified": status == 200 and problem is None,
                    "problem": problem,
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "done": good,
                }
            )
        return good

    def _post(self, errand: Errand) -> tuple[int, str | None]:
        action = f"{SERVICE_AGENCY}:{errand.operation}"
        content = etree.fromstring(errand.content.encode())
        root = addressed(content, Addressing(action, errand.message_id, self._poster.url))
        sign_request(root, self._identity.signer, now=now())
        headers = {"Content-Type": CONTENT_TYPE, "SOAPAction": f'"{action}"'}
        try:
            answer = self._poster.post(headers, serialize(root))
        except GatewayError as problem:
            return 0, str(problem)[:300]
        return answer.status, self._wrong_with(answer, errand)

    def _wrong_with(self, answer: Reply, errand: Errand) -> str | None:
        """Return what is wrong with the hub's answer: a fault, or an answer that is not its own."""
        try:
            fault = read_hub_answer(answer.body, errand.message_id, self._identity, now())
        except GatewayError as problem:
            return str(problem)[:300]
        return f"{fault.code}: {fault.text}"[:300] if fault is not None else None
