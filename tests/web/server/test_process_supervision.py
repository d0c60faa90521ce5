"""The last thing that a serving process does: it ends with 0 whatever becomes of its log, and not before."""

from __future__ import annotations

import asyncio
import io
import sys

import pytest

from gateway.web.server import (
    ConnectionLimits,
    MinimumBodyRate,
    RequestGate,
    RequestGateLimits,
    process_supervision,
)

BOUNDS = RequestGateLimits(
    1, 1, {}, 1 << 20, MinimumBodyRate(1.0, 1), ConnectionLimits(8, 8, 1.0, frozenset())
)


class Ended(BaseException):
    """The process would be gone here."""


class FullDisk(io.StringIO):
    """A log that takes nothing any more."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.fixture
def last(monkeypatch: pytest.MonkeyPatch) -> RequestGate:
    def end(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(process_supervision.os, "_exit", end)
    monkeypatch.setattr(process_supervision.logging, "shutdown", lambda: None)
    return process_supervision.ExitingRequestGate(lambda *_: (), BOUNDS)


def end_of(door: RequestGate) -> None:
    async def go() -> None:
        loop = asyncio.get_running_loop()
        door.__rsgi_init__(loop)
        door.__rsgi_del__(loop)

    asyncio.run(go())


def test_the_process_ends_in_order(last: RequestGate) -> None:
    with pytest.raises(Ended) as ended:
        end_of(last)
    assert ended.value.args == (0,)


@pytest.mark.parametrize("gone", [FullDisk(), None], ids=["full disk", "no stream"])
def test_a_log_that_takes_nothing_keeps_no_process(
    last: RequestGate, gone: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", gone)
    with pytest.raises(Ended) as ended:
        end_of(last)
    assert ended.value.args == (0,)


def test_a_mistake_at_the_end_is_no_end_in_order(last: RequestGate, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("not in order")

    monkeypatch.setattr(RequestGate, "__rsgi_del__", fail)
    with pytest.raises(RuntimeError, match="not in order"):
        end_of(last)
