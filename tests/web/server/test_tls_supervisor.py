"""Who keeps the process that ends TLS: it is started again, whatever became of it."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from threading import Event

import pytest

from gateway.pki import TlsIdentity
from gateway.web.server import TerminatorSettings, tls_terminator
from gateway.web.server.child_process import MOST_RESTARTS

TERMS = TerminatorSettings(TlsIdentity(Path("a"), Path("a")), None, False, 1, 1, 1, 1, 1)


class _Processes:
    """In the place of multiprocessing: the first cannot be started, those after it die at once."""

    def __init__(self, started: list[str], enough: Event) -> None:
        self._started, self._enough = started, enough

    def get_context(self, _: str) -> _Processes:
        return self

    def Process(self, **_: object) -> _Processes:
        return self

    exitcode = -9

    def start(self) -> None:
        self._started.append("")
        if len(self._started) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        if len(self._started) == 3:
            self._enough.set()

    def join(self) -> None:
        pass


def _kept(
    monkeypatch: pytest.MonkeyPatch, pause: float
) -> tuple[tls_terminator._TerminatorSupervisor, list[str], Event]:
    started: list[str] = []
    enough = Event()
    monkeypatch.setattr(tls_terminator, "multiprocessing", _Processes(started, enough))
    monkeypatch.setattr(tls_terminator, "_PAUSE", pause)
    with socket.socket() as listener:
        return tls_terminator._TerminatorSupervisor(listener, TERMS, "."), started, enough


def test_one_that_cannot_be_started_now_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, started, enough = _kept(monkeypatch, 0.01)
    keeper.start()
    assert enough.wait(60)
    keeper._stopping.set()
    keeper.join(60)
    assert not keeper.is_alive()
    assert len(started) >= 3


def test_one_that_dies_again_and_again_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, started, _ = _kept(monkeypatch, 0.0)
    told: list[int] = []
    monkeypatch.setattr(tls_terminator.os, "kill", lambda _, number: told.append(number))
    keeper.run()
    assert told == [signal.SIGTERM]
    assert len(started) == MOST_RESTARTS
