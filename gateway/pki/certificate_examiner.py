"""A process that judges certificates never seen, and is killed when one costs too much.

The path validator has no bound of its own; here the system gives one: the child may use a
fifth of a second of processor time for a judgement, and is gone when that is spent, whatever
it is doing.  Only processor time counts, so that a busy machine refuses nobody; who waits has a
limit of its own, far longer.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.errors import (
    CERTIFICATE_UNTRUSTED,
    PROBLEMS,
    REVOCATION_UNKNOWN,
    GatewayError,
)
from gateway.pki.certificates import PATH_RULES, CertificateRules, read_certificate
from gateway.pki.revocation_data import RevocationData
from gateway.pki.trust_store import CertificateUse, TrustPolicy, TrustStore, Verdict
from gateway.pki.validation_input import OpenedInput, ValidationInput

__all__ = ["BUDGET", "NO_PROCESS", "TOO_LONG", "CertificateExaminer", "serve_validations"]

# Seconds of processor time for one judgement; with all around it that stays below a quarter.
BUDGET: Final = 0.2
TOO_LONG: Final = "the path cannot be judged within its limit of time"
NO_PROCESS: Final = "the process that judges certificates has ended or cannot be started"
# For a machine under load, and for reading a large register: a child that is silent so long hangs.
_SILENCE_MOST: Final = 10.0
_LOADING_MOST: Final = 120.0
# Between the end of the line and the end of the process there is no work left.
_LAST_WORD: Final = 2.0

# A child may be ended by the system for reasons of its own: most often another one can answer.
_TRIES: Final = 2

_ASK, _LISTS, _STORE, _READY = "ask", "lists", "store", b"ready"
# Our own anchors, and those that others recognise for us.
_STORES_MOST: Final = 8


class CertificateExaminer:
    """Children that judge; as many at a time as `size`, started when they are first needed.

    Safe for many threads; a process that was forked has children of its own.  The register goes
    to a child when it is another than before.  A judgement that is over its budget is "invalid".
    One whose child ended otherwise is made again by a new child, once; then it is "indeterminate",
    and ``passing``.  ``tell`` is told in words whenever a child is ended or was lost.
    """

    def __init__(
        self, size: int = 1, budget: float = BUDGET, tell: Callable[[str], None] = lambda _words: None
    ) -> None:
        self._tell = tell
        self._children = [_ExaminerProcess(budget) for _ in range(size)]
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        # Whoever forgets to close it leaves no process behind all the same.
        weakref.finalize(self, _end_children, tuple(self._children))

    def __call__(
        self, leaf: bytes, use: CertificateUse, at: datetime, trust: TrustStore, revocations: RevocationData
    ) -> Verdict:
        """Judge `leaf` by what a judge has in hand, which is sent once."""

        def validate_loaded(child: _ExaminerProcess) -> Verdict:
            store = child.load_trust(trust, revocations)
            return _decode_verdict(child.request_validation(store, leaf, use, at), trust.policy.certificates)

        return self._run_with_child(validate_loaded, at)

    def validate_with_input(
        self, register: ValidationInput, leaf: bytes, use: CertificateUse, at: datetime
    ) -> Verdict:
        """Judge `leaf` by a register of its own, whose reading belongs to the judgement."""

        def validate_input(child: _ExaminerProcess) -> Verdict:
            return _decode_verdict(
                child.request_validation(_make_sendable(register), leaf, use, at),
                register.policy.certificates,
            )

        return self._run_with_child(validate_input, at)

    def _run_with_child(self, work: Callable[[_ExaminerProcess], Verdict], at: datetime) -> Verdict:
        with self._free:
            with self._lock:
                child = self._children.pop()
            try:
                return self._try_work(child, work, at)
            finally:
                with self._lock:
                    self._children.append(child)

    def _try_work(
        self, child: _ExaminerProcess, work: Callable[[_ExaminerProcess], Verdict], at: datetime
    ) -> Verdict:
        for _ in range(_TRIES):
            try:
                return work(child)
            except (EOFError, OSError) as ended:
                # Its end is told by the line before the system tells of it.
                code = child.kill_process(ended=not isinstance(ended, TimeoutError))
                if code == -signal.SIGPROF:
                    self._tell(TOO_LONG)
                    with suppress(OSError):
                        child.begin_process()
                    return Verdict("invalid", CERTIFICATE_UNTRUSTED, TOO_LONG, (), at, at)
                self._tell(NO_PROCESS)
                if isinstance(ended, TimeoutError):
                    break
        # The certificate is not to blame: it may be judged when it comes again.
        return Verdict("indeterminate", REVOCATION_UNKNOWN, NO_PROCESS, (), at, at, passing=True)

    def start_children(self) -> None:
        """Start the children now and wait for them, so that the first judgement need not."""
        for child in self._children:
            child.ensure_connection()

    def begin_children(self) -> None:
        """Start the children now, and wait for none of them; what cannot be started is when it is asked."""
        for child in self._children:
            with suppress(OSError):
                child.begin_process()

    def close(self) -> None:
        """End the children."""
        _end_children(tuple(self._children))


class _ExaminerProcess:
    """One process, or none yet; used by one thread at a time."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None
        self._lists: tuple[RevocationData, CertificateRules] | None = None
        self._stores: list[TrustStore] = []
        self._owner = os.getpid()
        self._ready = False

    def load_trust(self, trust: TrustStore, revocations: RevocationData) -> int:
        """Give the child a store and the lists, unless it has them; return by which number it has the store.

        The lists are long and rarely others; whoever tries one set of anchors after another sends them once.
        """
        self.ensure_connection()
        rules = trust.policy.certificates
        known = self._lists
        if known is None or known[0] is not revocations or known[1] != rules:
            lists = ValidationInput.from_stores(TrustStore((), (), trust.policy), revocations)
            self._exchange_message((_LISTS, self._budget, _make_sendable(lists)), _LOADING_MOST)
            self._lists = (revocations, rules)
        for number, each in enumerate(self._stores):
            if each is trust or each == trust:
                return number
        if len(self._stores) >= _STORES_MOST:
            self._stores.clear()
        number = len(self._stores)
        store = _make_sendable(ValidationInput.from_stores(trust, RevocationData()))
        self._exchange_message((_STORE, self._budget, store, number), _LOADING_MOST)
        self._stores.append(trust)
        return number

    def request_validation(
        self, register: ValidationInput | int, leaf: bytes, use: CertificateUse, at: datetime
    ) -> dict[str, Any]:
        """Have a certificate judged, by a register or by what was loaded under a number."""
        return self._exchange_message((_ASK, self._budget, register, leaf, use, at), _SILENCE_MOST)

    def _exchange_message(self, message: tuple[Any, ...], most: float) -> dict[str, Any]:
        line = self.ensure_connection()
        line.send(message)
        if not line.poll(most):
            raise TimeoutError
        answer: dict[str, Any] = json.loads(line.recv_bytes())
        return answer

    def ensure_connection(self) -> Connection:
        """Return the line to the process, started where there is none."""
        line = self.begin_process()
        if not self._ready:
            # Its start is no part of any judgement.
            if not line.poll(_LOADING_MOST):
                raise TimeoutError
            self._ready = line.recv_bytes() == _READY
        return line

    def begin_process(self) -> Connection:
        """Start the process where there is none, and return the line to it."""
        if self._process is not None and (self._owner != os.getpid() or self._process.poll() is not None):
            self.kill_process()
        if self._line is None:
            line, theirs = Pipe()
            number = theirs.fileno()
            words = [sys.executable, "-P", "-m", "gateway.pki.certificate_examiner", str(number)]
            # This very package, wherever the working folder is and whatever lies in it.
            found = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
            surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(found)}
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    words, pass_fds=[number], stdin=subprocess.DEVNULL, env=surroundings
                )
            except OSError:
                line.close()
                raise
            finally:
                theirs.close()
            self._line, self._owner = line, os.getpid()
        return self._line

    def kill_process(self, *, ended: bool = False) -> int | None:
        """End the process, if there is one and it is ours; return how it `ended` where it did by itself."""
        code = None
        process, ours = self._process, self._owner == os.getpid()
        if process is not None and ours:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(_LAST_WORD) if ended else None
            process.kill()
            process.wait()
        elif process is not None:
            # Who was forked has nobody to wait for, and must not be told to.
            process.returncode = 0
        if self._line is not None:
            self._line.close()
        self._process = self._line = self._lists = None
        self._stores, self._ready = [], False
        return code


def _end_children(children: tuple[_ExaminerProcess, ...]) -> None:
    for child in children:
        child.kill_process()


def _make_sendable(register: ValidationInput) -> ValidationInput:
    return replace(register, policy=replace(register.policy, uses=dict(register.policy.uses)))


def _encode_verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "reason": verdict.reason,
        "path": [base64.b64encode(each.der).decode() for each in verdict.path],
        "valid_until": verdict.valid_until.isoformat(),
        "judged_at": verdict.judged_at.isoformat(),
        "tolerated": verdict.tolerated,
        "evidence": verdict.evidence,
    }


def _decode_verdict(told: dict[str, Any], rules: CertificateRules) -> Verdict:
    return Verdict(
        told["status"],
        PROBLEMS[told["problem"]] if told["problem"] else None,
        told["reason"],
        tuple(read_certificate(base64.b64decode(each), rules) for each in told["path"]),
        datetime.fromisoformat(told["valid_until"]),
        datetime.fromisoformat(told["judged_at"]),
        told["tolerated"],
        tuple(told["evidence"]),
    )


def serve_validations(line: Connection) -> None:
    """Answer on `line` until its other end is closed."""
    lists, stores = RevocationData(), dict[int, TrustStore]()
    _warm_up()
    line.send_bytes(_READY)
    while True:
        try:
            kind, budget, register, *question = line.recv()
        except EOFError:
            return
        if kind != _ASK:
            opened = register.read_input()
            if kind == _LISTS:
                lists = opened.revocations
            else:
                stores[question[0]] = opened.trust
            line.send_bytes(b"{}")
            continue
        # What is spent is spent in this process alone: the default answer to the signal is its end.
        signal.setitimer(signal.ITIMER_PROF, budget)
        loaded = OpenedInput(stores[register], lists) if isinstance(register, int) else register
        verdict = _validate_certificate(loaded, *question)
        signal.setitimer(signal.ITIMER_PROF, 0)
        line.send_bytes(json.dumps(_encode_verdict(verdict)).encode())


def _validate_certificate(
    register: OpenedInput | ValidationInput, leaf: bytes, use: CertificateUse, at: datetime
) -> Verdict:
    try:
        opened = register.read_input() if isinstance(register, ValidationInput) else register
        return opened.validate_certificate(leaf, use, at)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail, (), at, at)
    # Whatever else a certificate does to the code, it is not believed.
    except Exception as error:
        reason = f"the certificate cannot be processed ({type(error).__name__})"
        return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at)


def _warm_up() -> None:
    """Judge a certificate made for this, so that the first real one does not pay for what is loaded late."""
    key, begin = ec.generate_private_key(ec.SECP256R1()), datetime(2020, 1, 1, tzinfo=UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Anchor")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=1))
    constraints = x509.NameConstraints([x509.DNSName("example")], None)
    made = builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    der = made.public_bytes(serialization.Encoding.DER)
    policy = TrustPolicy(certificates=PATH_RULES)
    _validate_certificate(ValidationInput((der,), (), (), (), policy), der, CertificateUse.SIGNING, begin)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # Who asked may be gone meanwhile.
    with suppress(BrokenPipeError, ConnectionResetError):
        serve_validations(Connection(int(sys.argv[1])))
