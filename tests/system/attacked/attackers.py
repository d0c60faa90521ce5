"""Those who attack: the whole hostile corpus, again and again, and connections that are slow on purpose.

``python -m tests.system.attacked.attackers corpus PARTNER URL RATE`` and ``… slow PORT NUMBER`` print a
line when they are at work, and go on until they are sent SIGTERM; then they print one JSON object.  They come
from addresses of their own, as strangers do: what is held against one is not held against the broker's.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import FrameType

from gateway_conformance.hostile import AttackCase, UrlTarget, read_attacker_kit
from gateway_conformance.hostile.answer_evaluation import summarize_answer
from gateway_conformance.hostile.attack_table import load_all_cases
from gateway_conformance.hostile.exchange import NotOfferedError, RawScript, WrongAnswerError

_CORPUS = "127.0.0.66"
_SLOW = tuple(f"127.0.0.{number}" for number in range(70, 78))
#: Attacks that only wait are played by `slow`: here they would keep the others from their turn.
_LONGEST_WAIT = 3.0


class _Over(Exception):
    """It was told to end."""


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _Over


def _report_start() -> None:
    """Tell whoever started this process that it is at work."""
    print("at work", flush=True)


class Corpus:
    """Plays case after case, so many exchanges a second at most, and counts what is answered."""

    def __init__(self, partner: Path, url: str, rate: float) -> None:
        self.bench = read_attacker_kit(partner)
        self.target = UrlTarget(url, self.bench.faces, time_out=15.0)
        self.pause = 1 / rate
        self.answers: Counter[str] = Counter()
        self.cases: Counter[str] = Counter()
        self.got_through: list[str] = []

    def run(self) -> None:
        """Play the corpus until told to end."""
        for case in itertools.cycle(one for one in load_all_cases() if not one.feature):
            with suppress(NotOfferedError, WrongAnswerError):
                self._play(case)
            self.cases[case.id] += 1

    def _play(self, case: AttackCase) -> None:
        play = case.scenario(self.bench)
        exchange = next(play)
        while True:
            begun = time.monotonic()
            step = exchange.step
            if isinstance(step, RawScript) and (
                step.wait > 10 or sum(p for _, p in step.script) > _LONGEST_WAIT
            ):
                play.close()
                return
            answer = self.target.send(step)
            self.answers[str(answer.status or "closed")] += 1
            if self.answers.total() == 1:
                _report_start()
            if (
                not exchange.expected.is_acceptance
                and not exchange.expected.http
                and summarize_answer(answer).is_acceptance
            ):
                self.got_through.append(case.id)
            time.sleep(max(0.0, self.pause - (time.monotonic() - begun)))
            if answer.status in (None, 429, 503) and exchange.expected.is_acceptance:
                play.close()
                return
            try:
                exchange = play.send(answer)
            except StopIteration:
                return

    def told(self) -> dict[str, object]:
        """Return what came of it."""
        return {
            "cases": len(self.cases),
            "plays": sum(self.cases.values()),
            "exchanges": sum(self.answers.values()),
            "answers": dict(sorted(self.answers.items())),
            "got_through": sorted(set(self.got_through)),
        }


class Slow:
    """Connections that never finish what they say; one that is closed on us is opened again."""

    HEAD = (
        b'POST /msh/ebms2 HTTP/1.1\r\nHost: x\r\nSOAPAction: "ebXML"\r\n'
        b"Content-Type: text/xml\r\nContent-Length: 100000\r\n\r\n"
    )

    def __init__(self, port: int, number: int) -> None:
        self.port, self.number = port, number
        self.opened = self.closed = self.octets = 0
        self.open = 0
        self.most_open = 0
        self.chance = random.Random(7)

    async def run(self) -> None:
        """Keep all connections slow until told to end."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, over.set)
        tasks = [asyncio.create_task(self._one(number)) for number in range(self.number)]
        await over.wait()
        for task in tasks:
            task.cancel()

    async def _one(self, number: int) -> None:
        # A third say their head slowly, a third their body, a third nothing at all.
        words = (self.HEAD, self.HEAD + b"x" * 100_000, b"")[number % 3]
        quick = (0, len(self.HEAD), 0)[number % 3]
        while True:
            with suppress(OSError):
                await self._slowly(words, quick, _SLOW[number % len(_SLOW)])
            self.closed += 1
            await asyncio.sleep(self.chance.uniform(0.2, 1.0))

    async def _slowly(self, words: bytes, quick: int, address: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        self.opened += 1
        if self.opened == 1:
            _report_start()
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            writer.write(words[:quick])
            for at in itertools.count(quick):
                writer.write(words[at : at + 1])
                await writer.drain()
                self.octets += 1
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        if not await reader.read(4096):
                            break
        finally:
            self.open -= 1
            writer.close()

    def told(self) -> dict[str, object]:
        """Return what came of it."""
        return {
            "connections": self.number,
            "most_open": self.most_open,
            "opened": self.opened,
            "closed_on_them": self.closed,
        }


def main() -> None:
    """Attack until told to end."""
    what, *words = sys.argv[1:]
    os.nice(5)
    if what == "corpus":
        partner, url, rate = words
        signal.signal(signal.SIGTERM, _end)
        real = socket.create_connection
        socket.create_connection = lambda to, seconds=None, *_: real(to, seconds, (_CORPUS, 0))  # type: ignore[assignment]
        corpus = Corpus(Path(partner), url, float(rate))
        with suppress(_Over):
            corpus.run()
        print(json.dumps(corpus.told()))
    else:
        port, number = words
        slow = Slow(int(port), int(number))
        asyncio.run(slow.run())
        print(json.dumps(slow.told()))


if __name__ == "__main__":
    main()
