"""The faces tell the server whom a signature proved, as soon as it did and never before."""

from __future__ import annotations

import io
from typing import Any

from gateway.conformance.hostile.bench import Bench
from gateway.conformance.hostile.case import Post
from gateway.conformance.hostile.partner import AGENCY
from gateway.conformance.hostile.target import WsgiTarget
from gateway.web.bodies import PROVED
from tests.hostile.conftest import opponents

__all__ = ["opponents"]


def told(target: WsgiTarget, post: Post) -> list[str]:
    """Send one request and return the parties that the server was told."""
    parties: list[str] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": target.faces[post.face].path,
        "CONTENT_LENGTH": str(len(post.body)),
        "wsgi.input": io.BytesIO(post.body),
        PROVED: parties.append,
    }
    for name, value in post.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    b"".join(target.application(environ, lambda *_: None))
    return parties


def test_who_signed_is_told(opponents: tuple[Bench, WsgiTarget]) -> None:
    bench, target = opponents
    assert told(target, bench.message()) == ["suite-a"]
    assert told(target, bench.message(bench.unit("b"), "b")) == ["suite-b"]
    assert told(target, bench.call()) == [AGENCY]


def test_who_only_says_so_is_not_told(opponents: tuple[Bench, WsgiTarget]) -> None:
    bench, target = opponents
    unsigned = bench.message(signed=False)
    forged = bench.message(signer="stranger")
    changed = bench.message()
    spoiled = Post("ebms2", changed.headers, changed.body.replace(b"eb:MessageId>", b"eb:MessageId>x", 1))
    call = bench.call(signer="stranger")
    assert [told(target, post) for post in (unsigned, forged, spoiled, call)] == [[], [], [], []]
