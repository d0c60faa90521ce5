"""A server that speaks S3, in a process of its own: moto's, with faults and ages that a test asks for.

``python -m tests.kit.s3_server PORT [PEM]`` prints access key and secret key when it serves; with a file
of key and certificate it serves TLS.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

BUCKET = "payloads"
_ACCOUNT = ("123456789012", "aws")
_CONTROL = "/-/"


class FaultyApplication:
    """Answers as the server behind it, unless a fault is due; counts the requests by method."""

    def __init__(self, served: Callable[..., Any]) -> None:
        self.served = served
        self.faults: list[dict[str, Any]] = []
        self.seen: list[str] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(_CONTROL):
            size = int(environ.get("CONTENT_LENGTH") or 0)
            terms = json.loads(environ["wsgi.input"].read(size) or "null")
            answer = json.dumps(getattr(self, path.removeprefix(_CONTROL))(terms)).encode()
            start("200 OK", [("Content-Length", str(len(answer)))])
            return [answer]
        self.seen.append(environ["REQUEST_METHOD"])
        fault = self._take_fault(environ["REQUEST_METHOD"])
        if fault is None:
            return self.served(environ, start)
        return getattr(self, "_" + fault["kind"])(environ, start)

    def _take_fault(self, method: str) -> dict[str, Any] | None:
        for fault in self.faults:
            if fault["method"] == method and fault["times"] > 0:
                fault["times"] -= 1
                return fault
        return None

    def _busy(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = b"<Error><Code>SlowDown</Code><Message>later</Message></Error>"
        start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(answer)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer]

    def _unknown_condition(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_IF_NONE_MATCH" not in environ:
            return self.served(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = b"<Error><Code>NotImplemented</Code><Message>no</Message></Error>"
        start("501 No", [("Content-Type", "application/xml"), ("Content-Length", str(len(answer)))])
        return [answer]

    def _other_checksum(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        return self._answer_checksum(environ, start, "A" * 43 + "=")

    def _no_checksum(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        return self._answer_checksum(environ, start, None)

    def _answer_checksum(
        self, environ: dict[str, Any], start: Callable[..., Any], checksum: str | None
    ) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            kept = [one for one in headers if one[0].lower() != "x-amz-checksum-sha256"]
            return start(status, kept + ([("x-amz-checksum-sha256", checksum)] if checksum else []))

        return self.served(environ, begin)

    def _no_times(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/html"), ("Content-Length", "5")])
        return [b""]

    def _no_range(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            return start(status, [one for one in headers if one[0].lower() != "content-range"])

        return self.served(environ, begin)

    def _cut(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        """Cut the connection when half of the request, or half of the answer, has passed."""
        if environ["REQUEST_METHOD"] == "PUT":
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]) // 2)
        else:
            octets = b"".join(self.served(environ, start))
            yield octets[: len(octets) // 2]
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionError

    def fault(self, terms: dict[str, Any]) -> None:
        """Let the next requests of a method fail."""
        self.faults.append(terms)

    def calm(self, _: Any) -> list[str]:
        """End all faults; return the methods of the requests since the last time."""
        self.faults.clear()
        seen, self.seen = self.seen, []
        return seen

    def age(self, key: str) -> None:
        """Make an object two days old."""
        _get_bucket().keys[key].last_modified -= timedelta(days=2)


def _get_bucket() -> Any:
    from moto.s3.models import s3_backends

    return s3_backends[_ACCOUNT[0]][_ACCOUNT[1]].buckets[BUCKET]


def _make_account() -> tuple[str, str]:
    """Make a bucket, and a user with a key for it; from then on every request needs a key."""
    from moto import settings
    from moto.iam.models import iam_backends
    from moto.s3.models import s3_backends

    s3_backends[_ACCOUNT[0]][_ACCOUNT[1]].create_bucket(BUCKET, "us-east-1")
    users = iam_backends[_ACCOUNT[0]][_ACCOUNT[1]]
    users.create_user("us-east-1", "gateway")
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    users.put_user_policy("gateway", "all", json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
    key = users.create_access_key("gateway")
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    return key.access_key_id, key.secret_access_key


def main() -> None:
    """Serve until this process is killed."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    served = FaultyApplication(DomainDispatcherApplication(create_backend_app))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if len(sys.argv) > 2 else None
    if tls is not None:
        tls.load_cert_chain(sys.argv[2])
    server = make_server(
        "127.0.0.1", int(sys.argv[1]), served, True, request_handler=MotoRequestHandler, ssl_context=tls
    )
    print(*_make_account(), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
