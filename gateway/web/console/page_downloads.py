"""Octets of a stranger as a download: no browser shows, runs or guesses them."""

from __future__ import annotations

from typing import Final

from flask import Response

__all__ = ["make_download"]

#: One type, whatever the sender says that it is.
_TYPE: Final = "application/octet-stream"
_POLICY: Final = "sandbox; default-src 'none'"


def make_download(name: str, octets: bytes) -> Response:
    """Return octets as an attachment with this name, which must be safe in a file system."""
    answer = Response(octets, content_type=_TYPE)
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer
