"""Starts a server that speaks S3, and asks it for faults."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from gateway.store import BucketAccess
from tests.kit.ports import find_free_port
from tests.kit.s3_server import BUCKET

__all__ = ["BucketServer", "serve_bucket"]


class BucketServer:
    """A running server with one bucket, and the key for it."""

    def __init__(self, url: str, keys: list[str], process: subprocess.Popen[str]) -> None:
        self.url = url
        self.keys = keys
        self.process = process

    def get_access(self, **other: Any) -> BucketAccess:
        terms = {
            "endpoint": self.url,
            "bucket": BUCKET,
            "access_key": self.keys[0],
            "secret_key": self.keys[1],
        }
        return BucketAccess(**terms | {"seconds": 5.0} | other)

    def kill(self) -> None:
        """Kill the server at once."""
        self.process.kill()
        self.process.wait()

    def fail(self, kind: str, method: str, times: int = 1) -> None:
        """Let the next requests of a method fail."""
        self.ask("fault", {"kind": kind, "method": method, "times": times})

    def ask(self, what: str, terms: Any = None) -> Any:
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{self.url}/-/{what}", json.dumps(terms).encode(), timeout=60) as answer:
            return json.loads(answer.read())


@contextmanager
def serve_bucket(log: Path, tls: Path | None = None) -> Iterator[BucketServer]:
    """Serve a bucket until the end of the block; the server's log is in a file.

    With `tls`, a file of key and certificate, it serves TLS at localhost.
    """
    port = find_free_port()
    command = [sys.executable, "-m", "tests.kit.s3_server", str(port), *([str(tls)] if tls else [])]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        keys = process.stdout.readline().split()
        assert len(keys) == 2, log.read_text()
        url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        yield BucketServer(url, keys, process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
