"""Gives stored octets to Flask as an answer that is read while it is sent."""

from __future__ import annotations

from flask import Response, request

from gateway.message_model import Body
from gateway.web.server import FILE_KEY, SentFile

__all__ = ["send_body"]


def send_body(content: Body, media_type: str | None, status: int = 200) -> Response:
    """Return an answer with these octets; raises GW325 where they are gone."""
    wrap: type[SentFile] = request.environ.get(FILE_KEY, SentFile)
    answer = Response(wrap(content.open_stream()), status, content_type=media_type, direct_passthrough=True)
    answer.content_length = content.octet_count
    return answer
