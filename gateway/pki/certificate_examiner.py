"""A child process that validates unknown certificates and is killed when one costs too much time.

The path validator has no time limit of its own, so the operating system enforces one: the
child may use a fifth of a second of processor time for one validation and is ended when that
is spent. Only processor time counts, so that no certificate is refused because the machine is
busy; waiting has a separate and much longer limit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from gateway.errors import CERTIFICATE_UNTRUSTED, NO_ROOM, GatewayError, describe_exception
from gateway.pki.certificate_validation import ValidationInput
from gateway.pki.certificates import CertificateRules
from gateway.pki.examiner_process import (
    LISTS_REQUEST,
    READY_MESSAGE,
    STORE_REQUEST,
    VALIDATE_REQUEST,
    decode_verdict,
)
from gateway.pki.revocation_data import RevocationData
from gateway.pki.trust_store import CertificateUse, TrustStore, Verdict

# Seconds of processor time for one validation; with all overhead it takes less than a quarter of a second.
PROCESSOR_SECONDS: Final = 0.2
TIME_LIMIT_TEXT: Final = "the path cannot be judged within its limit of time"
CRASH_TEXT: Final = "the process that judges certificates crashes with it"
NO_PROCESS_TEXT: Final = "the process that judges certificates has ended or cannot be started"
# Seconds of waiting, for a loaded machine and for reading a large register: a child silent for so long
# hangs.
_MAX_ANSWER_SECONDS: Final = 10.0
_MAX_LOADING_SECONDS: Final = 120.0
# Seconds from the end of the connection to the end of the process, which has no work left then.
_EXIT_SECONDS: Final = 2.0
#: Seconds without another try after a child that could not be started: each costs much where there is little.
_START_PAUSE_SECONDS: Final = 1.0

# The system may end a child for other reasons; a second child can usually answer.
_MAX_TRIES: Final = 2
#: The signals by which a process ends through what it computes. SIGKILL, SIGABRT and SIGBUS are none: they
#: may come for want of memory.
_CRASH_SIGNALS: Final = frozenset({signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})

# Our own anchors, and those recognized through other parties.
_MAX_STORES: Final = 8


class _OtherVersionError(OSError):
    """The process was started from another version of the gateway than this one."""


#: The process lives, and another one will do no better.
_LASTING_ERRORS: Final = (TimeoutError, _OtherVersionError)


class CertificateExaminer:
    """Child processes that validate certificates, `process_count` at a time, started on first use.

    Safe for many threads; a forked process has children of its own. The register is sent to a
    child only when it has changed. A validation that exceeds its budget is "invalid". One
    whose child ended for another reason is repeated once by a new child; after that it is
    ``is_transient``, or "invalid" if both children crashed in it. ``report_error`` receives a sentence
    whenever a certificate has ended a child, when no child can be used, and when one can be used again.
    """

    def __init__(
        self,
        process_count: int = 1,
        budget_seconds: float = PROCESSOR_SECONDS,
        report_error: Callable[[str], None] = lambda _words: None,
    ) -> None:
        self._report_error = report_error
        self._children = [_ExaminerChild(budget_seconds) for _ in range(process_count)]
        self._process_count = process_count
        self._free_children = threading.Semaphore(process_count)
        self._lock = threading.Lock()
        self._failure = ""
        self._next_start = float("-inf")
        # Without a call of close(), the processes are still ended when the object is collected.
        weakref.finalize(self, _end_children, tuple(self._children))

    def __call__(
        self, leaf: bytes, use: CertificateUse, at: datetime, trust: TrustStore, revocations: RevocationData
    ) -> Verdict:
        """Validate `leaf` with `trust` and `revocations`, which are sent to the child only once."""

        def validate_loaded(child: _ExaminerChild) -> Verdict:
            store = child.load_trust(trust, revocations)
            return decode_verdict(child.request_validation(store, leaf, use, at), trust.policy.certificates)

        return self._run_with_child(validate_loaded, at)

    def validate_with_input(
        self, register: ValidationInput, leaf: bytes, use: CertificateUse, at: datetime
    ) -> Verdict:
        """Validate `leaf` with its own register; the time to read that register counts too."""

        def validate_input(child: _ExaminerChild) -> Verdict:
            return decode_verdict(
                child.request_validation(_make_picklable(register), leaf, use, at),
                register.policy.certificates,
            )

        return self._run_with_child(validate_input, at)

    @property
    def is_usable(self) -> bool:
        """Return whether the last validation had its verdict, and each child that is not at work is ready."""
        return not self._failure and all(child.is_ready for child in tuple(self._children))

    def _run_with_child(self, validate: Callable[[_ExaminerChild], Verdict], at: datetime) -> Verdict:
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
        self, child: _ExaminerChild, validate: Callable[[_ExaminerChild], Verdict], at: datetime
    ) -> Verdict:
        """Return the verdict of `validate`; repeat it with a new process if the child ended unexpectedly.

        A child that used up its processor time was ended by SIGPROF: its certificate is invalid. So is one
        that makes two children crash: each has validated another certificate when it started.
        """
        if time.monotonic() < self._next_start:
            return Verdict.make_transient(NO_PROCESS_TEXT, at)
        failure, crashes, child.is_silent = "", 0, bool(self._failure)
        for _ in range(_MAX_TRIES):
            try:
                verdict = validate(child)
            except (EOFError, OSError) as connection_error:
                was_started, was_validating = child.is_started, child.is_validating
                # The connection ends before the system reports the end of the process.
                exit_code = child.kill_process(has_ended=not isinstance(connection_error, _LASTING_ERRORS))
                if exit_code == -signal.SIGPROF:
                    self._report_error(f"a certificate is refused: {TIME_LIMIT_TEXT}")
                    with suppress(OSError):
                        child.begin_process()
                    return Verdict("invalid", CERTIFICATE_UNTRUSTED, TIME_LIMIT_TEXT, (), at, at)
                failure = _describe_failure(connection_error, exit_code)
                if not was_started:
                    self._next_start = time.monotonic() + _START_PAUSE_SECONDS
                crashes += was_validating and exit_code is not None and -exit_code in _CRASH_SIGNALS
                if isinstance(connection_error, _LASTING_ERRORS):
                    break
            except BaseException:
                # Its answer, if it comes yet, must not be taken for the next one.
                child.kill_process()
                raise
            else:
                self._next_start = float("-inf")
                self._note_failure("" if not verdict.is_transient else verdict.reason)
                return verdict
        if crashes == _MAX_TRIES:
            self._report_error(f"a certificate is refused: {CRASH_TEXT}: {failure}")
            return Verdict("invalid", CERTIFICATE_UNTRUSTED, CRASH_TEXT, (), at, at)
        # The certificate is not the cause: it may be validated when it is received again.
        self._note_failure(f"{NO_PROCESS_TEXT}: {failure}")
        return Verdict.make_transient(NO_PROCESS_TEXT, at)

    def _note_failure(self, failure: str) -> None:
        """Note why no child can be used, "" for one that can; report each change of that once."""
        with self._lock:
            had_failed, self._failure = bool(self._failure), failure
        if failure and not had_failed:
            self._report_error(failure)
        elif had_failed and not failure:
            self._report_error("certificates are judged again")

    def start_and_await_children(self) -> None:
        """Start the children now and wait for them; raise GW806 for one that cannot be started."""
        for child in self._children:
            try:
                child.ensure_connection()
            except (EOFError, OSError) as error:
                exit_code = child.kill_process(has_ended=not isinstance(error, _LASTING_ERRORS))
                detail = f"{NO_PROCESS_TEXT}: {_describe_failure(error, exit_code)}"
                raise GatewayError(NO_ROOM, detail) from None

    def begin_children(self) -> None:
        """Start the children without waiting; one that cannot start now is started on first use."""
        for child in self._children:
            with suppress(OSError):
                child.begin_process()

    def close(self) -> None:
        """End the children; wait shortly for those that are at work."""
        freed = sum(self._free_children.acquire(timeout=_EXIT_SECONDS) for _ in range(self._process_count))
        _end_children(tuple(self._children))
        if freed:
            self._free_children.release(freed)


class _ExaminerChild:
    """One child process, or none yet; used by one thread at a time."""

    def __init__(self, budget_seconds: float) -> None:
        self._budget_seconds = budget_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._loaded_lists: tuple[RevocationData, CertificateRules] | None = None
        self._loaded_stores: list[TrustStore] = []
        self._owner_process_id = os.getpid()
        #: Whether the process has reported that it can validate.
        self.is_started = False
        #: Whether the last request was the validation of a certificate.
        self.is_validating = False
        #: Whether a new process may not write to standard error: its predecessor has said why it ended.
        self.is_silent = False

    @property
    def is_ready(self) -> bool:
        """Return whether the process runs, is a child of this one, and has reported that it can validate."""
        process = self._process
        return (
            self.is_started
            and self._owner_process_id == os.getpid()
            and process is not None
            and process.poll() is None
        )

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
                (LISTS_REQUEST, self._budget_seconds, _make_picklable(lists_input)), _MAX_LOADING_SECONDS
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
            (STORE_REQUEST, self._budget_seconds, store_input, store_number), _MAX_LOADING_SECONDS
        )
        self._loaded_stores.append(trust)
        return store_number

    def request_validation(
        self, register_or_number: ValidationInput | int, leaf: bytes, use: CertificateUse, at: datetime
    ) -> dict[str, Any]:
        """Request the validation of a certificate, with a register or with the store of a number."""
        return self._exchange_message(
            (VALIDATE_REQUEST, self._budget_seconds, register_or_number, leaf, use, at), _MAX_ANSWER_SECONDS
        )

    def _exchange_message(self, message: tuple[Any, ...], max_seconds: float) -> dict[str, Any]:
        """Send a message to the process, return its answer; raise TimeoutError after `max_seconds`."""
        connection = self.ensure_connection()
        self.is_validating = message[0] == VALIDATE_REQUEST
        connection.send(message)
        if not connection.poll(max_seconds):
            raise TimeoutError
        answer: dict[str, Any] = json.loads(connection.recv_bytes())
        return answer

    def ensure_connection(self) -> Connection:
        """Return the connection to the process when it is ready; start the process if necessary."""
        connection = self.begin_process()
        if not self.is_started:
            # The start of the process does not count as part of a validation.
            if not connection.poll(_MAX_LOADING_SECONDS):
                raise TimeoutError
            if connection.recv_bytes() != READY_MESSAGE:
                raise _OtherVersionError("another version of the gateway is installed: start it again")
            self.is_started = True
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
            command = [sys.executable, "-P", "-m", "gateway.pki.examiner_process", str(descriptor)]
            # Load this package from its own folder, independently of the working folder.
            search_path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search_path)}
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    command,
                    pass_fds=[descriptor],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL if self.is_silent else None,
                    env=environment,
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
        self._loaded_stores, self.is_started, self.is_validating = [], False, False
        return exit_code


def _describe_failure(error: BaseException, exit_code: int | None) -> str:
    """Return why a child cannot be used: what the system says, or how the child has ended."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if exit_code is None:
        return describe_exception(error)
    return f"it ended by signal {-exit_code}" if exit_code < 0 else f"it ended with status {exit_code}"


def _end_children(children: tuple[_ExaminerChild, ...]) -> None:
    for child in children:
        child.kill_process()


def _make_picklable(register: ValidationInput) -> ValidationInput:
    return replace(register, policy=replace(register.policy, uses=dict(register.policy.uses)))
