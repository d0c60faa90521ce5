"""Processes of the gateway that tests start, kill and look at from outside."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from gateway.delivery import HttpClient, HttpLimits
from gateway.errors import GatewayError
from gateway.protocols import Parcel
from gateway.store import HttpResponse
from tests.kit.forked import fork_process
from tests.kit.paths import ROOT

_BOUNDS = HttpLimits(connect_seconds=60, read_seconds=60, total_seconds=60)


def post(url: str, parcel: Parcel) -> HttpResponse | None:
    """POST a parcel; None when the connection ended without an answer."""
    headers = {"SOAPAction": '"ebXML"', **parcel.headers}
    sender = HttpClient(_BOUNDS)
    try:
        answer = sender.post(url, headers, parcel.body.open_stream().read())
    except GatewayError:
        return None
    finally:
        sender.close()
    return HttpResponse(answer.status, {"Content-Type": answer.headers.get("content-type", "")}, answer.body)


class RunningGateway:
    """One process (``serve`` or ``work``), with a failpoint if wished; ended with the block."""

    def __init__(
        self,
        home: Path,
        what: str,
        *,
        failpoint: str = "",
        program: str = "tests.kit.single",
    ) -> None:
        environment = os.environ | {"GATEWAY_FAILPOINT": failpoint, "PYTHONPATH": str(ROOT)}
        self.process = fork_process(program, [what, "--home", str(home)], environment, home / f"{what}.log")

    def __enter__(self) -> RunningGateway:
        line = self.process.stdout.readline()
        # With a failpoint in its start the process may be dead already: `ended_by` tells.
        assert line == b"READY\n" or self.process.wait(60) == -signal.SIGKILL, f"did not begin: {line!r}"
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def post(self, url: str, parcel: Parcel) -> HttpResponse | None:
        """POST a parcel; None when the connection ended without an answer."""
        return post(url, parcel)

    def ended_by(self, seconds: float = 60) -> int:
        """Wait for the process to end and return the signal that ended it, 0 when none did."""
        return max(0, -int(self.process.wait(seconds)))

    def end(self, *, kill: bool = False) -> None:
        """Stop the process: asked, or killed."""
        if self.process.poll() is None:
            (self.process.kill if kill else self.process.terminate)()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(60)
        self.process.stdin.close()
        self.process.stdout.close()


__all__ = ["RunningGateway", "post"]
