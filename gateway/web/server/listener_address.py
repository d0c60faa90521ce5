"""The address at which HTTP is served, the check of its port, and its listener."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from gateway.errors import MISUSE, GatewayError

__all__ = ["ListenerAddress", "check_port", "open_listener"]


@dataclass(frozen=True, slots=True)
class ListenerAddress:
    """Host and port, and how many connections may wait to be accepted."""

    host: str
    port: int
    backlog: int

    @property
    def family(self) -> socket.AddressFamily:
        """The address family of the host."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def make_port_error(self, error: OSError) -> GatewayError:
        """Return GW808 for an address at which no listener can be opened."""
        detail = f"http.port: nothing can be served on {self.host}:{self.port}: {error.strerror}"
        return GatewayError(MISUSE, detail, "http.port")


def check_port(address: ListenerAddress) -> None:
    """Raise for a port in use: a second server would share it, and each would get half of the messages."""
    with socket.socket(address.family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise address.make_port_error(error) from None


def open_listener(address: ListenerAddress) -> socket.socket:
    """Return a socket that listens there; raises GW808 when it cannot be opened."""
    try:
        return socket.create_server(
            (address.host, address.port), family=address.family, backlog=address.backlog
        )
    except OSError as error:
        raise address.make_port_error(error) from None
