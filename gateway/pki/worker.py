"""A process that judges certificates never seen, and is killed when one costs too much.

The path validator has no bound of its own; here the system gives one: the child may use a
quarter of a second of processor time for a judgement, and is gone when that is spent, whatever
it is doing.  Only processor time counts, so that a busy machine refuses nobody; who waits has a
limit of its own, far longer.
"""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final

from gateway.errors import CERTIFICATE_UNTRUSTED, OUR_MISTAKE, PROBLEMS, GatewayError
from gateway.pki.certificates import CertificateRules, read_certificate
from gateway.pki.register import Opened, Register
from gateway.pki.revocation import Revocations
from gateway.pki.trust import TrustStore, Use, Verdict

__all__ = ["BUDGET", "Examiner", "serve"]

BUDGET: Final = 0.25
# For a machine under load, and for reading a large register: a child that is silent so long hangs.
_SILENCE_MOST: Final = 10.0
_LOADING_MOST: Final = 120.0

_ASK, _LOAD = "ask", "load"


class Examiner:
    """Children that judge; as many at a time as `size`, started when they are first needed.

    Safe for many threads.  The register goes to a child when it is another than before; a
    judgement that is over its budget is "invalid", and the next one has a new child.
    """

    def __init__(self, size: int = 1, budget: float = BUDGET) -> None:
        self._children = [_Child(budget) for _ in range(size)]
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()

    def __call__(
        self, leaf: bytes, use: Use, at: datetime, trust: TrustStore, revocations: Revocations
    ) -> Verdict:
        """Judge `leaf` by what a judge has in hand, which is sent once."""

        def work(child: _Child) -> Verdict:
            child.load(trust, revocations)
            return _verdict(child.ask(None, leaf, use, at), trust.policy.certificates)

        return self._with_child(work, at)

    def examine(self, register: Register, leaf: bytes, use: Use, at: datetime) -> Verdict:
        """Judge `leaf` by a register of its own, whose reading belongs to the judgement."""

        def work(child: _Child) -> Verdict:
            return _verdict(child.ask(_sendable(register), leaf, use, at), register.policy.certificates)

        return self._with_child(work, at)

    def _with_child(self, work: Callable[[_Child], Verdict], at: datetime) -> Verdict:
        with self._free:
            with self._lock:
                child = self._children.pop()
            try:
                return work(child)
            except (EOFError, OSError, TimeoutError):
                child.kill()
                reason = "the path cannot be judged within its limit of time"
                return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at)
            finally:
                with self._lock:
                    self._children.append(child)

    def close(self) -> None:
        """End the children."""
        for child in self._children:
            child.kill()


class _Child:
    """One process, or none yet; used by one thread at a time."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None
        self._loaded: tuple[TrustStore, Revocations] | None = None

    def load(self, trust: TrustStore, revocations: Revocations) -> None:
        """Give the child the register of a judge, unless it has it."""
        loaded = self._loaded
        alive = self._process is not None and self._process.poll() is None
        if alive and loaded is not None and loaded[0] is trust and loaded[1] is revocations:
            return
        register = _sendable(Register.of(trust, revocations))
        self._exchange((_LOAD, self._budget, register), _LOADING_MOST)
        self._loaded = (trust, revocations)

    def ask(self, register: Register | None, leaf: bytes, use: Use, at: datetime) -> dict[str, Any]:
        """Have a certificate judged, by `register` or by the one that was loaded."""
        return self._exchange((_ASK, self._budget, register, leaf, use, at), _SILENCE_MOST)

    def _exchange(self, message: tuple[Any, ...], most: float) -> dict[str, Any]:
        line = self._open()
        line.send(message)
        if not line.poll(most):
            raise TimeoutError
        answer: dict[str, Any] = json.loads(line.recv_bytes())
        return answer

    def _open(self) -> Connection:
        if self._process is not None and self._process.poll() is not None:
            self.kill()
        if self._line is None:
            self._line, theirs = Pipe()
            number = theirs.fileno()
            words = [sys.executable, "-m", "gateway.pki.worker", str(number)]
            self._process = subprocess.Popen(words, pass_fds=[number], stdin=subprocess.DEVNULL)
            theirs.close()
            # Its start is no part of any judgement.
            if not self._line.poll(_LOADING_MOST) or self._line.recv_bytes() != b"ready":
                raise TimeoutError
        return self._line

    def kill(self) -> None:
        """End the process at once, if there is one."""
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._line = self._loaded = None


def _sendable(register: Register) -> Register:
    return replace(register, policy=replace(register.policy, uses=dict(register.policy.uses)))


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "reason": verdict.reason,
        "path": [base64.b64encode(each.der).decode() for each in verdict.path],
        "valid_until": verdict.valid_until.isoformat(),
        "judged_at": verdict.judged_at.isoformat(),
    }


def _verdict(told: dict[str, Any], rules: CertificateRules) -> Verdict:
    return Verdict(
        told["status"],
        PROBLEMS[told["problem"]] if told["problem"] else None,
        told["reason"],
        tuple(read_certificate(base64.b64decode(each), rules) for each in told["path"]),
        datetime.fromisoformat(told["valid_until"]),
        datetime.fromisoformat(told["judged_at"]),
    )


def serve(line: Connection) -> None:
    """Answer on `line` until its other end is closed."""
    loaded: Opened | None = None
    line.send_bytes(b"ready")
    while True:
        try:
            kind, budget, register, *question = line.recv()
        except EOFError:
            return
        if kind == _LOAD:
            loaded = register.open()
            line.send_bytes(b"{}")
            continue
        # What is spent is spent in this process alone: the default answer to the signal is its end.
        signal.setitimer(signal.ITIMER_PROF, budget)
        verdict = _judge(loaded, register, *question)
        signal.setitimer(signal.ITIMER_PROF, 0)
        line.send_bytes(json.dumps(_told(verdict)).encode())


def _judge(loaded: Opened | None, register: Register | None, leaf: bytes, use: Use, at: datetime) -> Verdict:
    try:
        opened = loaded if register is None else register.open()
        if opened is None:
            raise GatewayError(OUR_MISTAKE, "no register was loaded")
        return opened.judge(leaf, use, at)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail, (), at, at)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parser warns of odd serial numbers, which the rules judge.
    warnings.simplefilter("ignore")
    serve(Connection(int(sys.argv[1])))
