"""Supervises the TLS terminator process: started before the HTTP server, restarted, ended after it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from gateway.web.server.listener_address import ListenerAddress, open_listener
from gateway.web.server.private_folder import open_private_folder
from gateway.web.server.restart_limit import RestartLimit
from gateway.web.server.tls_terminator import INSIDE, TerminatorSettings, run_terminator, watch_tls_context

__all__ = ["run_tls_terminator"]

_LOG: Final = logging.getLogger(__name__)
_PREFIX: Final = "gateway-tls-"
_PAUSE: Final = 0.1
_END: Final = 10.0


@contextmanager
def run_tls_terminator(address: ListenerAddress, terms: TerminatorSettings) -> Iterator[Path]:
    """Listen at an address, and yield the socket path at which the server must listen."""
    # Errors in the files are reported before a client can connect.
    watch_tls_context(terms)
    with open_listener(address) as listener, open_private_folder(_PREFIX) as folder:
        keeper = _TerminatorSupervisor(listener, terms, folder)
        keeper.start()
        try:
            yield Path(folder, INSIDE)
        finally:
            keeper.stop_process()


class _TerminatorSupervisor(threading.Thread):
    """Starts the process and restarts it when it dies; ends the gateway beyond the restart limit."""

    def __init__(self, listener: socket.socket, terms: TerminatorSettings, folder: str) -> None:
        super().__init__(name="front", daemon=True)
        self._what = (listener, terms, folder)
        self._process: BaseProcess | None = None
        self._stopping = threading.Event()
        self._restarts = RestartLimit()

    def run(self) -> None:
        """Restart the process until it is stopped."""
        context = multiprocessing.get_context("spawn")
        while not self._stopping.is_set():
            process = context.Process(target=run_terminator, args=self._what, name="gateway-tls")
            try:
                process.start()
            except OSError as error:  # no memory, no descriptors
                ended = str(error.strerror)
            else:
                self._process = process
                process.join()
                ended = str(process.exitcode)
            if self._stopping.wait(_PAUSE):
                return
            _LOG.error("the process that ends TLS ended with %s and is started again", ended)
            self._restarts.record_restart()
            if self._restarts.is_exceeded():
                _LOG.critical("it dies again and again: giving up")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def stop_process(self) -> None:
        """End the process; pending data is sent to the clients first."""
        self._stopping.set()
        for end in (BaseProcess.terminate, BaseProcess.kill):
            process = self._process
            if process is not None and self.is_alive():
                end(process)
                self.join(_END)
