"""A relay before a PostgreSQL server, by which a test takes it away: refused, or without an answer."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

from sqlalchemy import make_url

__all__ = ["DatabaseRelay"]


class DatabaseRelay:
    """Listens on a port of this machine, and passes each connection on to the server of a URL."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._passes = threading.Event()
        self._passes.set()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the database, by this relay."""
        relayed = self._url.set(host="127.0.0.1", port=self._port, query={})
        return relayed.render_as_string(hide_password=False)

    def silence(self) -> None:
        """Pass nothing on from now on; connections stay open."""
        self._passes.clear()

    def refuse(self) -> None:
        """Close all connections, and refuse new ones."""
        with suppress(OSError):
            # Closing alone wakes no thread that waits in `accept`.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def return_server(self) -> None:
        """Pass on again, for new connections at the same port."""
        self.refuse()
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = self._connect()
                self._connections += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._url.query.get("host") or self._url.host, self._url.port or 5432
        if isinstance(host, str) and host.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(Path(host, f".s.PGSQL.{port}")))
            return connection
        return socket.create_connection((str(host), port))

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while octets := source.recv(65536):
                self._passes.wait()
                target.sendall(octets)
            target.shutdown(socket.SHUT_WR)
