"""A child process that validates unknown certificates and is killed when one costs too much time.

The path validator has no time limit of its own, so the operating system enforces one: the
child may use a fifth of a second of processor time for one validation and is ended when that
is spent. Only processor time counts, so that no certificate is refused because the machine is
busy; waiting has a separate and much longer limit.
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
    NO_ROOM,
    PROBLEMS,
    REVOCATION_UNKNOWN,
    GatewayError,
    describe_exception,
    find_resource_problem,
)
from gateway.pki.certificate_validation import OpenedInput, ValidationInput
from gateway.pki.certificates import PATH_RULES, CertificateRules, read_certificate
from gateway.pki.revocation_data import RevocationData
from gateway.pki.trust_store import CertificateUse, TrustPolicy, TrustStore, Verdict

# Seconds of processor time for one validation; with all overhead it takes less than a quarter of a second.
BUDGET: Final = 0.2
TOO_LONG: Final = "the path cannot be judged within its limit of time"
NO_PROCESS: Final = "the process that judges certificates has ended or cannot be started"
# Seconds of waiting, for a loaded machine and for reading a large register: a child silent for so long
# hangs.
_SILENCE_MOST: Final = 10.0
_LOADING_MOST: Final = 120.0
# Seconds from the end of the connection to the end of the process, which has no work left then.
_LAST_WORD: Final = 2.0

# The system may end a child for other reasons; a second child can usually answer.
_TRIES: Final = 2

_ASK, _LISTS, _STORE, _READY = "ask", "lists", "store", b"ready"
# Our own anchors, and those recognized through other parties.
_STORES_MOST: Final = 8


class CertificateExaminer:
    """Child processes that validate certificates, `size` at a time, started on first use.

    Safe for many threads; a forked process has children of its own. The register is sent to a
    child only when it has changed. A validation that exceeds its budget is "invalid". One
    whose child ended for another reason is repeated once by a new child; after that it is
    "indeterminate" and ``passing``. ``tell`` receives a message whenever a child is ended or
    lost.
    """

    def __init__(
        self, size: int = 1, budget: float = BUDGET, tell: Callable[[str], None] = lambda _words: None
    ) -> None:
        self._tell = tell
        self._children = [_ExaminerProcess(budget) for _ in range(size)]
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        # Without a call of close(), the processes are still ended when the object is collected.
        weakref.finalize(self, _end_children, tuple(self._children))

    def __call__(
        self, leaf: bytes, use: CertificateUse, at: datetime, trust: TrustStore, revocations: RevocationData
    ) -> Verdict:
        """Validate `leaf` with `trust` and `revocations`, which are sent to the child only once."""

        def validate_loaded(child: _ExaminerProcess) -> Verdict:
            store = child.load_trust(trust, revocations)
            return _decode_verdict(child.request_validation(store, leaf, use, at), trust.policy.certificates)

        return self._run_with_child(validate_loaded, at)

    def validate_with_input(
        self, register: ValidationInput, leaf: bytes, use: CertificateUse, at: datetime
    ) -> Verdict:
        """Validate `leaf` with its own register; the time to read that register counts too."""

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
                # The connection ends before the system reports the end of the process.
                code = child.kill_process(ended=not isinstance(ended, TimeoutError))
                if code == -signal.SIGPROF:
                    self._tell(TOO_LONG)
                    with suppress(OSError):
                        child.begin_process()
                    return Verdict("invalid", CERTIFICATE_UNTRUSTED, TOO_LONG, (), at, at)
                self._tell(NO_PROCESS)
                if isinstance(ended, TimeoutError):
                    break
        # The certificate is not the cause: it may be validated when it is received again.
        return Verdict("indeterminate", REVOCATION_UNKNOWN, NO_PROCESS, (), at, at, passing=True)

    def start_children(self) -> None:
        """Start the children now and wait for them, so that the first validation does not wait."""
        for child in self._children:
            child.ensure_connection()

    def begin_children(self) -> None:
        """Start the children without waiting; one that cannot start now is started on first use."""
        for child in self._children:
            with suppress(OSError):
                child.begin_process()

    def close(self) -> None:
        """End the children."""
        _end_children(tuple(self._children))


class _ExaminerProcess:
    """One child process, or none yet; used by one thread at a time."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None
        self._lists: tuple[RevocationData, CertificateRules] | None = None
        self._stores: list[TrustStore] = []
        self._owner = os.getpid()
        self._ready = False

    def load_trust(self, trust: TrustStore, revocations: RevocationData) -> int:
        """Send the child a store and the lists, unless it has them; return its number of the store.

        The lists are long and rarely change; a caller that tries several sets of anchors
        sends them only once.
        """
        self.ensure_connection()
        rules = trust.policy.certificates
        held_lists = self._lists
        if held_lists is None or held_lists[0] is not revocations or held_lists[1] != rules:
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
        """Request the validation of a certificate, with a register or with the store of a number."""
        return self._exchange_message((_ASK, self._budget, register, leaf, use, at), _SILENCE_MOST)

    def _exchange_message(self, message: tuple[Any, ...], most: float) -> dict[str, Any]:
        line = self.ensure_connection()
        line.send(message)
        if not line.poll(most):
            raise TimeoutError
        answer: dict[str, Any] = json.loads(line.recv_bytes())
        return answer

    def ensure_connection(self) -> Connection:
        """Return the connection to the process when it is ready; start the process if necessary."""
        line = self.begin_process()
        if not self._ready:
            # The start of the process does not count as part of a validation.
            if not line.poll(_LOADING_MOST):
                raise TimeoutError
            self._ready = line.recv_bytes() == _READY
        return line

    def begin_process(self) -> Connection:
        """Start the process if there is none, and return the connection to it."""
        if self._process is not None and (self._owner != os.getpid() or self._process.poll() is not None):
            self.kill_process()
        if self._line is None:
            line, theirs = Pipe()
            number = theirs.fileno()
            command = [sys.executable, "-P", "-m", "gateway.pki.certificate_examiner", str(number)]
            # Load this package from its own folder, independently of the working folder.
            search_path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
            surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(search_path)}
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    command, pass_fds=[number], stdin=subprocess.DEVNULL, env=surroundings
                )
            except OSError:
                line.close()
                raise
            finally:
                theirs.close()
            self._line, self._owner = line, os.getpid()
        return self._line

    def kill_process(self, *, ended: bool = False) -> int | None:
        """End the process, if it exists and is ours; return its exit code if it `ended` by itself."""
        code = None
        process, ours = self._process, self._owner == os.getpid()
        if process is not None and ours:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(_LAST_WORD) if ended else None
            process.kill()
            process.wait()
        elif process is not None:
            # The process is not a child of a forked process, which therefore cannot wait for it.
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


def _decode_verdict(fields: dict[str, Any], rules: CertificateRules) -> Verdict:
    return Verdict(
        fields["status"],
        PROBLEMS[fields["problem"]] if fields["problem"] else None,
        fields["reason"],
        tuple(read_certificate(base64.b64decode(each), rules) for each in fields["path"]),
        datetime.fromisoformat(fields["valid_until"]),
        datetime.fromisoformat(fields["judged_at"]),
        fields["tolerated"],
        tuple(fields["evidence"]),
    )


def serve_validations(line: Connection) -> None:
    """Answer requests on `line` until its other end is closed."""
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
        # Only this process is ended when the budget is spent: that is the default action of the signal.
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
        if refused.problem is NO_ROOM:
            return _make_unknown_verdict(refused, at)
        return Verdict("invalid", refused.problem, refused.detail, (), at, at)
    # A certificate that causes any other exception is not trusted.
    except Exception as error:
        lacking = find_resource_problem(error)
        if lacking is not None:
            return _make_unknown_verdict(lacking, at)
        reason = f"the certificate cannot be processed: {describe_exception(error)}"
        return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at)


def _make_unknown_verdict(lacking: GatewayError, at: datetime) -> Verdict:
    """Return the verdict for a certificate that was not examined because a resource is used up.

    `lacking` names the resource of this process: memory, disk or file handles.
    """
    return Verdict("indeterminate", REVOCATION_UNKNOWN, lacking.detail, (), at, at, passing=True)


def _warm_up() -> None:
    """Validate a test certificate, so that the first real one does not pay for lazy loading."""
    key, begin = ec.generate_private_key(ec.SECP256R1()), datetime(2020, 1, 1, tzinfo=UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Anchor")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=1))
    constraints = x509.NameConstraints([x509.DNSName("example")], None)
    certificate = builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    der = certificate.public_bytes(serialization.Encoding.DER)
    policy = TrustPolicy(certificates=PATH_RULES)
    _validate_certificate(ValidationInput((der,), (), (), (), policy), der, CertificateUse.SIGNING, begin)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # Processes that validate nothing do not load it.
    from gateway.processor_affinity import leave_processor

    # A certificate that costs much is examined beside the parent, and not in its place.
    leave_processor()
    # The parent process may have ended meanwhile.
    with suppress(BrokenPipeError, ConnectionResetError):
        serve_validations(Connection(int(sys.argv[1])))
