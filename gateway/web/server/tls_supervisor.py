"""Keeps the process that ends TLS before the HTTP server: started first, started again, ended last."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from gateway.config import Settings, get_key_file
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.pki.tls_contexts import TlsIdentity
from gateway.web.server.socket_folder import open_socket_folder
from gateway.web.server.tls_terminator import INSIDE, TerminatorSettings, run_terminator, watch_tls_context

__all__ = ["build_terminator_settings", "run_tls_terminator"]

_LOG: Final = logging.getLogger(__name__)
#: So many deaths within so many seconds are no accident: the keeper of the whole must look.
_MOST: Final = 20
_WINDOW: Final = 60.0
_PAUSE: Final = 0.1
#: How long a client may take to shake hands when it may be idle longer, in seconds.
_HANDSHAKE: Final = 10.0
_END: Final = 10.0


def build_terminator_settings(settings: Settings) -> TerminatorSettings | None:
    """Return how TLS is ended by these settings; None when it is not spoken here."""
    http = settings.http
    if http.tls_certificate is None or http.tls_key is None:
        return None
    password = http.tls_password.read().rstrip(b"\r\n") if http.tls_password else None
    seconds = http.read_time_out.total_seconds()
    # The process that ends TLS works in another folder.
    key = get_key_file(http.tls_key, "http.tls_key").absolute()
    return TerminatorSettings(
        identity=TlsIdentity(http.tls_certificate.absolute(), key, password),
        clients=http.client_ca.absolute() if http.client_ca else None,
        required=http.client_certificate == "required",
        handshake=min(_HANDSHAKE, seconds),
        flush=seconds,
        whole=http.connections * http.processes,
        shaking=http.connections,
        each=http.connections_per_address,
        exempt=frozenset(http.proxies),
    )


@contextmanager
def run_tls_terminator(settings: Settings, terms: TerminatorSettings) -> Iterator[Path]:
    """Listen where the settings say, and give the socket at which the server is to wait for what comes."""
    # What is wrong with the files is said before anybody can connect.
    watch_tls_context(terms)
    http = settings.http
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        listener = socket.create_server((http.host, http.port), family=family, backlog=http.backlog)
    except OSError as error:
        detail = f"nothing can be served at {http.host}:{http.port}: {error.strerror}"
        raise GatewayError(SETTINGS_WRONG, detail, "http.port") from None
    with listener, open_socket_folder() as folder:
        keeper = _TerminatorSupervisor(listener, terms, folder)
        keeper.start()
        try:
            yield Path(folder, INSIDE)
        finally:
            keeper.stop_process()


class _TerminatorSupervisor(threading.Thread):
    """Starts the process, and again when it dies; dies with all when it does so again and again."""

    def __init__(self, listener: socket.socket, terms: TerminatorSettings, folder: str) -> None:
        super().__init__(name="front", daemon=True)
        self._what = (listener, terms, folder)
        self._process: BaseProcess | None = None
        self._stopping = threading.Event()
        self._deaths: deque[float] = deque(maxlen=_MOST)

    def run(self) -> None:
        """Keep the process until the end."""
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
            self._deaths.append(time.monotonic())
            if len(self._deaths) == _MOST and self._deaths[0] > time.monotonic() - _WINDOW:
                _LOG.critical("it dies again and again: giving up")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def stop_process(self) -> None:
        """End the process; what is on its way to clients is handed over first."""
        self._stopping.set()
        for end in (BaseProcess.terminate, BaseProcess.kill):
            process = self._process
            if process is not None and self.is_alive():
                end(process)
                self.join(_END)
