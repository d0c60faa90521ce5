"""The faces tell the server whom a signature proved, as soon as it did and never before."""

from __future__ import annotations

import io
from typing import Any

import pytest

from gateway.web.server.request_bodies import PARTY_CALLBACK_KEY
from gateway_conformance.hostile import AGENCY, AttackerKit, HttpRequest, WsgiTarget
from tests.flows.hostile.conftest import opponents

__all__ = ["opponents"]


def told(target: WsgiTarget, post: HttpRequest) -> list[str]:
    """Send one request and return the parties that the server was told."""
    parties: list[str] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": target.faces[post.face].path,
        "CONTENT_LENGTH": str(len(post.body)),
        "wsgi.input": io.BytesIO(post.body),
        PARTY_CALLBACK_KEY: parties.append,
    }
    for name, value in post.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    b"".join(target.application(environ, lambda *_: None))
    return parties


@pytest.mark.long
def test_who_signed_is_told(opponents: tuple[AttackerKit, WsgiTarget]) -> None:
    bench, target = opponents
    assert told(target, bench.build_message()) == ["suite-a"]
    assert told(target, bench.build_message(bench.make_unit("b"), "b")) == ["suite-b"]
    assert told(target, bench.build_call()) == [AGENCY]


def test_who_only_says_so_is_not_told(opponents: tuple[AttackerKit, WsgiTarget]) -> None:
    bench, target = opponents
    unsigned = bench.build_message(signed=False)
    forged = bench.build_message(signer="stranger")
    changed = bench.build_message()
    spoiled = HttpRequest(
        "ebms2", changed.headers, changed.body.replace(b"eb:MessageId>", b"eb:MessageId>x", 1)
    )
    call = bench.build_call(signer="stranger")
    assert [told(target, post) for post in (unsigned, forged, spoiled, call)] == [[], [], [], []]
