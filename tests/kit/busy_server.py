"""A server of two processes that says which of them answered: ``python -m tests.kit.busy_server PORT``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from gateway.web.server import (
    ConnectionLimits,
    ExitingRequestGate,
    HttpServerSettings,
    ListenerAddress,
    MinimumBodyRate,
    RequestGate,
    RequestGateLimits,
    report_proven_party,
    serve_http,
)

#: Seconds of processor time that an answer takes.
_WORK = 0.004
_LIMITS = RequestGateLimits(
    2, 100, {}, 1 << 20, MinimumBodyRate(5.0, 1), ConnectionLimits(100, 100, 30.0, frozenset())
)


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Work a while, and say which process did."""
    end = time.thread_time() + _WORK
    while time.thread_time() < end:
        pass
    report_proven_party(environ, "broker1")
    said = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]


def load_gate() -> RequestGate:
    """Return the application of one process."""
    return ExitingRequestGate(answer, _LIMITS)


if __name__ == "__main__":
    address = ListenerAddress("127.0.0.1", int(sys.argv[1]), 128)
    serve_http(HttpServerSettings("tests.kit.busy_server:load_gate", address, 2, 100, 5.0))
