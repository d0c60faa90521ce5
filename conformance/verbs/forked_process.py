"""Processes that are forked from one that has imported the program once.

The import of the program takes most of the time in which a simulated partner starts. `ForkServer` is the
process that has imported it (`gateway_conformance.verbs.fork_server`), `ForkedProcess` a process forked
from that server.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Final

_END_WITHIN: Final = 5.0
#: The status of a process whose end was not seen.
_UNKNOWN: Final = 255


class ForkServer:
    """A process that has imported modules, and forks others.

    It has a session of its own, so the terminal sends it no signal, and it ends by itself when the process
    that made it and all that it forked have ended.
    """

    def __init__(
        self, modules: Sequence[str], environment: Mapping[str, str], errors: IO[bytes] | None = None
    ) -> None:
        """Start the server, which imports the modules in their order; `errors` is its standard error."""
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "gateway_conformance.verbs.fork_server", *modules],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the number of this process."""
        return self._process.pid

    def ask_for_process(self, descriptors: Sequence[int]) -> None:
        """Ask for a process with a line, standard input, output and error stream."""
        socket.send_fds(self._channel, [b"f"], descriptors)

    def close(self) -> None:
        """End the server; the end of a process that it forked and that still runs is not seen any more."""
        self._channel.close()
        try:
            self._process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ForkedProcess:
    """A forked process, with attributes and methods like those of `subprocess.Popen`.

    The forked process has a session of its own. Only the process that asked for it has the other ends of its
    standard input and output.
    """

    def __init__(
        self,
        server: ForkServer,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        errors: IO[bytes],
        title: str = "",
    ) -> None:
        """Run `main` of a module in a new process; `arguments` are its command line, `title` its short name.

        It does not wait until the process has begun.
        """
        self._line, child_socket = socket.socketpair()
        child_input, own_input = os.pipe()
        own_output, child_output = os.pipe()
        self.stdin = os.fdopen(own_input, "wb", buffering=0)
        self.stdout = os.fdopen(own_output, "rb")
        self._pid: int | None = None
        self._received_lines = b""
        #: The exit status of the process; None while the process runs, or before its end was read.
        self.returncode: int | None = None
        request = {
            "module": module,
            "words": list(arguments),
            "environment": dict(environment),
            "title": title,
        }
        try:
            server.ask_for_process([child_socket.fileno(), child_input, child_output, errors.fileno()])
            child_socket.close()
            self._line.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            # The server has ended: so has this process, before it began.
            pass
        finally:
            child_socket.close()
            os.close(child_input)
            os.close(child_output)

    @property
    def pid(self) -> int:
        """Return the process number as soon as the process has begun; raise when it never does."""
        while self._pid is None and self.returncode is None:
            self._read_line(None)
        if self._pid is None:
            raise ProcessLookupError("the process was not forked")
        return self._pid

    def poll(self) -> int | None:
        """Return how the process ended, None while it runs."""
        while self.returncode is None and self._read_line(0.0):
            pass
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return how it ended: negative by a signal."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            if not self._read_line(None if end is None else max(0.0, end - time.monotonic())):
                raise subprocess.TimeoutExpired(f"process {self._pid}", timeout or 0.0)
        return self.returncode

    def _read_line(self, timeout: float | None) -> bool:
        """Read the report of the server about the process; return whether there was one to read."""
        self._line.settimeout(timeout)
        try:
            octets = self._line.recv(64)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            octets = b""
        self._received_lines += octets
        numbers = [int(number) for number in self._received_lines.split(b"\n")[:-1]]
        if numbers:
            self._pid = numbers[0]
        if len(numbers) > 1 or not octets:
            self.returncode = numbers[1] if len(numbers) > 1 else _UNKNOWN
            self._line.close()
        return True

    def send_signal(self, number: int) -> None:
        """Send a signal to the process where it still runs."""
        # The server may just have seen its end.
        with contextlib.suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)
