"""A process that dies is replaced, also when it dies soon again; not for ever."""

from __future__ import annotations

import time

import pytest

from gateway.web.server.child_process import WorkerRestarts


def looping(known: WorkerRestarts) -> bool:
    """Ask as the server does."""
    return time.monotonic() - known.get(0, 0) <= 5.5


def test_two_deaths_are_borne_and_a_loop_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    known = WorkerRestarts()
    assert not looping(known)
    for number in range(19):
        known[number % 2] = time.monotonic()
        # The server forgets what it noted before it starts a worker again.
        known.clear()
        assert not looping(known)
    known[0] = time.monotonic()
    assert looping(known)
    monkeypatch.setattr(known.limit, "_window", 0.0)
    assert not looping(known)
