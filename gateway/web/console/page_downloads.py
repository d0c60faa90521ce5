"""Octets of a stranger as a download: no browser shows, runs or guesses them."""

from __future__ import annotations

from typing import Final

from flask import Response

from gateway.message_model import Body
from gateway.web.streamed_bodies import send_body

__all__ = ["make_download"]

#: One type, whatever the sender says that it is.
_TYPE: Final = "application/octet-stream"
_POLICY: Final = "sandbox; default-src 'none'"


def make_download(name: str, octets: bytes | Body) -> Response:
    """Return octets as an attachment with this name, which must be safe in a file system.

    Those of a body are read while they are sent.
    """
    answer = Response(octets, content_type=_TYPE) if isinstance(octets, bytes) else send_body(octets, _TYPE)
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer
