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
PROCESSOR_SECONDS: Final = 0.2
TIME_LIMIT_TEXT: Final = "the path cannot be judged within its limit of time"
NO_PROCESS_TEXT: Final = "the process that judges certificates has ended or cannot be started"
# Seconds of waiting, for a loaded machine and for reading a large register: a child silent for so long
# hangs.
_MAX_ANSWER_SECONDS: Final = 10.0
_MAX_LOADING_SECONDS: Final = 120.0
# Seconds from the end of the connection to the end of the process, which has no work left then.
_EXIT_SECONDS: Final = 2.0

# The system may end a child for other reasons; a second child can usually answer.
_MAX_TRIES: Final = 2

_VALIDATE_REQUEST, _LISTS_REQUEST, _STORE_REQUEST, _READY_MESSAGE = "ask", "lists", "store", b"ready"
# Our own anchors, and those recognized through other parties.
_MAX_STORES: Final = 8


class CertificateExaminer:
    """Child processes that validate certificates, `process_count` at a time, started on first use.

    Safe for many threads; a forked process has children of its own. The register is sent to a
    child only when it has changed. A validation that exceeds its budget is "invalid". One
    whose child ended for another reason is repeated once by a new child; after that it is
    "indeterminate" and ``is_transient``. ``report_error`` receives a message whenever a child
    is ended or lost.
    """

    def __init__(
        self,
        process_count: int = 1,
        budget_seconds: float = PROCESSOR_SECONDS,
        report_error: Callable[[str], None] = lambda _words: None,
    ) -> None:
        self._report_error = report_error
        self._children = [_ExaminerProcess(budget_seconds) for _ in range(process_count)]
        self._free_children = threading.Semaphore(process_count)
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
                child.request_validation(_make_picklable(register), leaf, use, at),
                register.policy.certificates,
            )

        return self._run_with_child(validate_input, at)

    def _run_with_child(self, validate: Callable[[_ExaminerProcess], Verdict], at: datetime) -> Verdict:
        """Return the verdict of `validate` in the next free child process; wait until one is free."""
        with self._free_children:
            with self._lock:
                child = self._children.pop()
            try:
                return self._validate_with_retry(child, validate, at)
            finally:
                with self._lock:
                    self._children.append(child)

    def _validate_with_retry(
        self, child: _ExaminerProcess, validate: Callable[[_ExaminerProcess], Verdict], at: datetime
    ) -> Verdict:
        """Return the verdict of `validate`; repeat it with a new process if the child ended unexpectedly.

        A child that used up its processor time was ended by SIGPROF: its certificate is invalid.
        """
        for _ in range(_MAX_TRIES):
            try:
                return validate(child)
            except (EOFError, OSError) as connection_error:
                # The connection ends before the system reports the end of the process.
                exit_code = child.kill_process(has_ended=not isinstance(connection_error, TimeoutError))
                if exit_code == -signal.SIGPROF:
                    self._report_error(TIME_LIMIT_TEXT)
                    with suppress(OSError):
                        child.begin_process()
                    return Verdict("invalid", CERTIFICATE_UNTRUSTED, TIME_LIMIT_TEXT, (), at, at)
                self._report_error(NO_PROCESS_TEXT)
                if isinstance(connection_error, TimeoutError):
                    break
        # The certificate is not the cause: it may be validated when it is received again.
        return Verdict("indeterminate", REVOCATION_UNKNOWN, NO_PROCESS_TEXT, (), at, at, is_transient=True)

    def start_and_await_children(self) -> None:
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

    def __init__(self, budget_seconds: float) -> None:
        self._budget_seconds = budget_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._loaded_lists: tuple[RevocationData, CertificateRules] | None = None
        self._loaded_stores: list[TrustStore] = []
        self._owner_process_id = os.getpid()
        self._is_ready = False

    def load_trust(self, trust: TrustStore, revocations: RevocationData) -> int:
        """Send the child a store and the lists, unless it has them; return its number of the store.

        The lists are long and rarely change; a caller that tries several sets of anchors
        sends them only once.
        """
        self.ensure_connection()
        rules = trust.policy.certificates
        loaded_lists = self._loaded_lists
        if loaded_lists is None or loaded_lists[0] is not revocations or loaded_lists[1] != rules:
            lists_input = ValidationInput.from_stores(TrustStore((), (), trust.policy), revocations)
            self._exchange_message(
                (_LISTS_REQUEST, self._budget_seconds, _make_picklable(lists_input)), _MAX_LOADING_SECONDS
            )
            self._loaded_lists = (revocations, rules)
        for store_number, each in enumerate(self._loaded_stores):
            if each is trust or each == trust:
                return store_number
        if len(self._loaded_stores) >= _MAX_STORES:
            self._loaded_stores.clear()
        store_number = len(self._loaded_stores)
        store_input = _make_picklable(ValidationInput.from_stores(trust, RevocationData()))
        self._exchange_message(
            (_STORE_REQUEST, self._budget_seconds, store_input, store_number), _MAX_LOADING_SECONDS
        )
        self._loaded_stores.append(trust)
        return store_number

    def request_validation(
        self, register_or_number: ValidationInput | int, leaf: bytes, use: CertificateUse, at: datetime
    ) -> dict[str, Any]:
        """Request the validation of a certificate, with a register or with the store of a number."""
        return self._exchange_message(
            (_VALIDATE_REQUEST, self._budget_seconds, register_or_number, leaf, use, at), _MAX_ANSWER_SECONDS
        )

    def _exchange_message(self, message: tuple[Any, ...], max_seconds: float) -> dict[str, Any]:
        """Send a message to the process, return its answer; raise TimeoutError after `max_seconds`."""
        connection = self.ensure_connection()
        connection.send(message)
        if not connection.poll(max_seconds):
            raise TimeoutError
        answer: dict[str, Any] = json.loads(connection.recv_bytes())
        return answer

    def ensure_connection(self) -> Connection:
        """Return the connection to the process when it is ready; start the process if necessary."""
        connection = self.begin_process()
        if not self._is_ready:
            # The start of the process does not count as part of a validation.
            if not connection.poll(_MAX_LOADING_SECONDS):
                raise TimeoutError
            self._is_ready = connection.recv_bytes() == _READY_MESSAGE
        return connection

    def begin_process(self) -> Connection:
        """Start the process if there is none, and return the connection to it."""
        if self._process is not None and (
            self._owner_process_id != os.getpid() or self._process.poll() is not None
        ):
            self.kill_process()
        if self._connection is None:
            connection, child_connection = Pipe()
            descriptor = child_connection.fileno()
            command = [sys.executable, "-P", "-m", "gateway.pki.certificate_examiner", str(descriptor)]
            # Load this package from its own folder, independently of the working folder.
            search_path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search_path)}
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    command, pass_fds=[descriptor], stdin=subprocess.DEVNULL, env=environment
                )
            except OSError:
                connection.close()
                raise
            finally:
                child_connection.close()
            self._connection, self._owner_process_id = connection, os.getpid()
        return self._connection

    def kill_process(self, *, has_ended: bool = False) -> int | None:
        """End the process, if it exists and is ours; return its exit code if it `has_ended` by itself."""
        exit_code = None
        process, is_own_child = self._process, self._owner_process_id == os.getpid()
        if process is not None and is_own_child:
            with suppress(subprocess.TimeoutExpired):
                exit_code = process.wait(_EXIT_SECONDS) if has_ended else None
            process.kill()
            process.wait()
        elif process is not None:
            # The process is not a child of a forked process, which therefore cannot wait for it.
            process.returncode = 0
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = self._loaded_lists = None
        self._loaded_stores, self._is_ready = [], False
        return exit_code


def _end_children(children: tuple[_ExaminerProcess, ...]) -> None:
    for child in children:
        child.kill_process()


def _make_picklable(register: ValidationInput) -> ValidationInput:
    return replace(register, policy=replace(register.policy, uses=dict(register.policy.uses)))


def _encode_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return the fields that path validation sets; the way of admission is decided in the parent process."""
    return {
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "reason": verdict.reason,
        "path": [base64.b64encode(each.der).decode() for each in verdict.path],
        "valid_until": verdict.valid_until.isoformat(),
        "judged_at": verdict.judged_at.isoformat(),
        "tolerated": verdict.tolerated,
        "evidence": verdict.evidence,
        "is_transient": verdict.is_transient,
    }


def _decode_verdict(fields: dict[str, Any], rules: CertificateRules) -> Verdict:
    """Return the verdict that `_encode_verdict` wrote; its path is read by `rules`."""
    return Verdict(
        fields["status"],
        PROBLEMS[fields["problem"]] if fields["problem"] else None,
        fields["reason"],
        tuple(read_certificate(base64.b64decode(each), rules) for each in fields["path"]),
        datetime.fromisoformat(fields["valid_until"]),
        datetime.fromisoformat(fields["judged_at"]),
        fields["tolerated"],
        tuple(fields["evidence"]),
        is_transient=fields["is_transient"],
    )


def serve_validations(connection: Connection) -> None:
    """Answer requests on `connection` until its other end is closed."""
    lists, stores = RevocationData(), dict[int, TrustStore]()
    _warm_up()
    connection.send_bytes(_READY_MESSAGE)
    while True:
        try:
            request_kind, budget_seconds, register, *arguments = connection.recv()
        except EOFError:
            return
        if request_kind != _VALIDATE_REQUEST:
            opened_input = register.read_input()
            if request_kind == _LISTS_REQUEST:
                lists = opened_input.revocations
            else:
                stores[arguments[0]] = opened_input.trust
            connection.send_bytes(b"{}")
            continue
        # Only this process is ended when the budget is spent: that is the default action of the signal.
        signal.setitimer(signal.ITIMER_PROF, budget_seconds)
        loaded_register = OpenedInput(stores[register], lists) if isinstance(register, int) else register
        verdict = _validate_certificate(loaded_register, *arguments)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send_bytes(json.dumps(_encode_verdict(verdict)).encode())


def _validate_certificate(
    register: OpenedInput | ValidationInput, leaf: bytes, use: CertificateUse, at: datetime
) -> Verdict:
    """Return the verdict on `leaf` (DER); every exception becomes a verdict, too, and none is raised."""
    try:
        opened_input = register.read_input() if isinstance(register, ValidationInput) else register
        return opened_input.validate_certificate(leaf, use, at)
    except GatewayError as rejection:
        if rejection.problem is NO_ROOM:
            return _make_unknown_verdict(rejection, at)
        return Verdict("invalid", rejection.problem, rejection.detail, (), at, at)
    # A certificate that causes any other exception is not trusted.
    except Exception as error:
        resource_problem = find_resource_problem(error)
        if resource_problem is not None:
            return _make_unknown_verdict(resource_problem, at)
        reason = f"the certificate cannot be processed: {describe_exception(error)}"
        return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at)


def _make_unknown_verdict(resource_problem: GatewayError, at: datetime) -> Verdict:
    """Return the verdict for a certificate that was not examined because a resource is used up.

    `resource_problem` names the resource of this process: memory, disk or file handles.
    """
    return Verdict(
        "indeterminate", REVOCATION_UNKNOWN, resource_problem.detail, (), at, at, is_transient=True
    )


def _warm_up() -> None:
    """Validate a test certificate, so that the first real one does not pay for lazy loading."""
    key, not_before = ec.generate_private_key(ec.SECP256R1()), datetime(2020, 1, 1, tzinfo=UTC)
    subject_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Anchor")])
    builder = x509.CertificateBuilder(
        subject_name, subject_name, key.public_key(), 1, not_before, not_before + timedelta(days=1)
    )
    constraints = x509.NameConstraints([x509.DNSName("example")], None)
    certificate = builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    der = certificate.public_bytes(serialization.Encoding.DER)
    policy = TrustPolicy(certificates=PATH_RULES)
    _validate_certificate(
        ValidationInput((der,), (), (), (), policy), der, CertificateUse.SIGNING, not_before
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # Processes that validate nothing do not load it.
    from gateway.processor_affinity import restore_processors

    # A certificate that costs much is examined beside the parent, and not in its place.
    restore_processors()
    # The parent process may have ended meanwhile.
    with suppress(BrokenPipeError, ConnectionResetError):
        serve_validations(Connection(int(sys.argv[1])))
