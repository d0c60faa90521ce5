"""Chooses among the hosts of a database: one that gave no answer a moment ago is tried last, or not at all.

The driver tries the hosts of a URL in their order. A host that is frozen or cut off costs the whole
time-out of each new connection, also when another host has become the primary meanwhile.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

__all__ = ["DatabaseHosts"]

_Host: TypeAlias = tuple[str, str]
#: So many seconds is a host left out that gave no answer: it may come back as the primary.
_LEFT_OUT: Final = 3.0
#: A host that refuses does so at once; one that took longer, in seconds, gave no answer.
_AT_ONCE: Final = 1.0


class DatabaseHosts:
    """What one process knows of the hosts of its database."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Since when a host gives no answer; infinite while a thread tries it again.
        self._silent_since: dict[_Host, float] = {}
        self._guard = threading.Lock()

    def connect(self, connect: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
        """Return a connection to the first host that takes it; `connect` gets the parameters of one host.

        Raises what `connect` raised for the last host. A host without an answer is left out for a few
        seconds, and tried after the others then, by one thread at a time. When all are left out, all
        are tried.
        """
        failure: Exception | None = None
        for host, port in sorted(_split_hosts(parameters), key=self._silent_since.__contains__):
            if not self._begin((host, port)):
                continue
            silent, begun = False, self._clock()
            try:
                return connect(**{**parameters, "host": host, **({"port": port} if port else {})})
            except Exception as problem:
                failure = problem
                silent = self._clock() - begun >= _AT_ONCE
            finally:
                self._end((host, port), silent=silent)
        if failure is None:
            return connect(**parameters)
        raise failure

    def _begin(self, host: _Host) -> bool:
        """Return whether this thread may try the host now."""
        with self._guard:
            since = self._silent_since.get(host)
            if since is None:
                return True
            due = self._clock() - since >= _LEFT_OUT
            if due:
                self._silent_since[host] = math.inf
            return due

    def _end(self, host: _Host, *, silent: bool) -> None:
        with self._guard:
            self._silent_since.pop(host, None)
            if silent:
                self._silent_since[host] = self._clock()


def _split_hosts(parameters: Mapping[str, Any]) -> list[_Host]:
    """Return each host with its port; one port stands for all hosts, as in libpq. One host is none."""
    hosts = str(parameters.get("host", "")).split(",")
    ports = str(parameters.get("port", "")).split(",")
    if len(hosts) < 2 or "hostaddr" in parameters or len(ports) not in {1, len(hosts)}:
        return []
    return list(zip(hosts, ports * (len(hosts) if len(ports) == 1 else 1), strict=True))
