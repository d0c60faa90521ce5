"""Runs a target once and says what was wrong: an exception, a lie, a difference, too much time or memory."""

from __future__ import annotations

import re
import resource
import signal
import time
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gateway.errors import OUR_MISTAKE, GatewayError
from tests.fuzz.target import BrokenPromiseError, Target

__all__ = ["Bounds", "Finding", "Harness"]

_LONGEST_DETAIL = 4000
_DIGITS = re.compile(r"\d+")


class TooSlowError(BaseException):
    """The alarm rang; no reader that catches every Exception may catch this one."""


@dataclass(frozen=True)
class Bounds:
    """What one execution may cost: seconds of processor time, and memory by octets of input and beyond."""

    seconds: float = 2.0
    octets_each: int = 200
    octets: int = 96 << 20


@dataclass(frozen=True)
class Finding:
    """A broken promise; two with one `key` are the same mistake."""

    target: str
    kind: str
    where: str
    detail: str
    data: bytes = field(repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.target, self.kind, self.where


class Harness:
    """Executes one target; every `twice`-th input is run again and must come out the same."""

    def __init__(self, target: Target, bounds: Bounds | None = None, twice: int = 8) -> None:
        self.target, self.bounds, self.twice = target, bounds or Bounds(), twice
        self.executions = 0

    def warm(self) -> None:
        """Run every seed once without a limit: what is loaded at the first use is loaded now."""
        for seed in self.target.seeds():
            with suppress(Exception):  # it comes again when it is looked for
                self._outcome(seed)

    def execute(self, data: bytes) -> Finding | None:
        """Run the target on `data`; return what was wrong, None when all was well."""
        data = data[: self.target.longest]
        self.executions += 1
        peak = _peak()
        started = time.process_time()
        try:
            with _alarm(self.bounds.seconds):
                said = self._outcome(data)
                if zlib.crc32(data) % self.twice == 0:
                    again = self._outcome(data)
                    if said != again:
                        return self._finding("differs", "", f"first {said[:300]} then {again[:300]}", data)
        except TooSlowError as slow:
            return self._finding("slow", _where(slow), f"{self.bounds.seconds:g} s of processor time", data)
        except BrokenPromiseError as broken:
            return self._finding("promise", _DIGITS.sub("0", str(broken))[:60], str(broken), data)
        except (Exception, RecursionError) as escaped:
            detail = "".join(traceback.format_exception(escaped))[-3000:]
            return self._finding(type(escaped).__name__, _where(escaped), detail, data)
        return self._cost(started, peak, data)

    def _outcome(self, data: bytes) -> str:
        try:
            return f"taken {self.target.run(data)!r}"
        except GatewayError as refused:
            if refused.problem is OUR_MISTAKE:
                raise BrokenPromiseError(f"GW901 {refused.detail} {_cause(refused)}") from refused
            words = f"{refused.problem.id} {refused.detail} {refused.location}"
            if len(words) > _LONGEST_DETAIL:
                raise BrokenPromiseError(f"{refused.problem.id} says too much") from refused
            words.encode()  # what cannot be written cannot be answered or logged
            return words

    def _cost(self, started: float, peak: int, data: bytes) -> Finding | None:
        spent, grown = time.process_time() - started, _peak() - peak
        if spent > self.bounds.seconds:
            return self._finding("slow", "", f"{spent:.1f} s of processor time", data)
        if grown > self.bounds.octets + self.bounds.octets_each * len(data):
            return self._finding("memory", "", f"{grown >> 20} MiB more", data)
        return None

    def _finding(self, kind: str, where: str, detail: str, data: bytes) -> Finding:
        return Finding(self.target.name, kind, where, detail, data)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TooSlowError

    old = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _where(escaped: BaseException) -> str:
    """Return the innermost place in the gateway, and the function that raised; lines change too often."""
    frames = traceback.extract_tb(escaped.__traceback__)
    ours = [frame for frame in frames if "/gateway/" in frame.filename]
    names = [f"{Path(frame.filename).name}:{frame.name}" for frame in (*ours[-1:], *frames[-1:])]
    return " ".join(dict.fromkeys(names))


def _cause(refused: GatewayError) -> str:
    cause = refused.__cause__ or refused.__context__
    return "" if cause is None else f"{type(cause).__name__} {_where(cause)}"
