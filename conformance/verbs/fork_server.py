"""``python -m gateway_conformance.verbs.fork_server MODULE …``: forks processes that share its imports.

Its standard input is a socket. Each octet there asks for one process and brings four descriptors: a line to
the process that asks, and the standard input, output and error stream of the new process. The new process
reads its task from the line (a JSON object: `module`, `words`, `environment`, `title`). The fork server
writes the process number to the line, and at the end the exit code of the process. The fork server runs no
thread, and ends when the socket is closed and every process that it forked has ended.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

_DESCRIPTORS: Final = 4
_TITLE: Final = Path("/proc/self/comm")

#: The running processes by the descriptor that says when one has ended, each with its line.
_Running = dict[int, tuple[BaseProcess, socket.socket]]


def main(modules: Sequence[str]) -> int:
    """Import the modules, and fork processes until the socket is closed; return the exit status."""
    # Imported modules stay in memory: a search for garbage meanwhile would take a quarter of the time.
    gc.disable()
    for name in modules:
        import_module(name)
    gc.enable()
    gc.collect()
    # A collection in a new process would write to the pages of these objects, which it shares with this one.
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as channel:
        _serve_requests(channel)
    return 0


def _serve_requests(channel: socket.socket) -> None:
    running: _Running = {}
    channels = [channel]
    while channels or running:
        for ready in wait([*channels, *running]):
            if isinstance(ready, int):
                _report_exit(*running.pop(ready))
                continue
            octet, descriptors, _, _ = socket.recv_fds(channel, 1, _DESCRIPTORS)
            if not octet:
                channels.clear()
                continue
            parent_socket = socket.socket(fileno=descriptors[0])
            foreign_sockets = [channel, *(other_line for _, other_line in running.values())]
            process = _fork_process(parent_socket, descriptors[1:], foreign_sockets)
            running[process.sentinel] = (process, parent_socket)


def _fork_process(
    parent_socket: socket.socket, streams: list[int], foreign_sockets: Iterable[socket.socket]
) -> BaseProcess:
    arguments = (parent_socket, streams, foreign_sockets)
    process = multiprocessing.get_context("fork").Process(target=_run_program, args=arguments)
    process.start()
    for stream in streams:
        os.close(stream)
    _write_number(parent_socket, process.pid)
    return process


def _report_exit(process: BaseProcess, parent_socket: socket.socket) -> None:
    process.join()
    with parent_socket:
        _write_number(parent_socket, process.exitcode)
    process.close()


def _write_number(parent_socket: socket.socket, number: int | None) -> None:
    # The process that asked may have ended.
    with contextlib.suppress(OSError):
        parent_socket.sendall(f"{number}\n".encode())


def _run_program(
    parent_socket: socket.socket, streams: list[int], foreign_sockets: Iterable[socket.socket]
) -> None:
    """Run the requested module in the new process, which keeps no line and no stream of another process."""
    os.setsid()
    for foreign_socket in foreign_sockets:
        foreign_socket.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    with parent_socket, parent_socket.makefile("rb") as reader:
        request = json.loads(reader.readline())
    # Without /proc a list of processes shows all of them alike.
    with contextlib.suppress(OSError):
        _TITLE.write_text(request["title"], encoding="utf-8")
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["words"]]
    sys.exit(import_module(request["module"]).main())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
