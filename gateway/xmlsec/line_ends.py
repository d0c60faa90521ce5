"""Gives text the line ends in which it is signed."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.message_model import Body, iterate_octets

__all__ = ["iterate_crlf_lines"]

#: Octets that are replaced at a time.
_STEP = 1024**2


def iterate_crlf_lines(content: bytes | Body) -> Iterator[bytes]:
    """Yield the octets with CR LF at each end of a line, in pieces that are small enough to be held.

    The end of a line is CR LF, CR or LF (RFC 2046 §4.1.1 for the form, SwA profile §5.4.2).
    """
    ends_with_return = False
    for piece in _iterate_pieces(content):
        # The other half of a CR LF whose first half ended the piece before.
        octets = piece[1:] if ends_with_return and piece.startswith(b"\n") else piece
        ends_with_return = piece.endswith(b"\r")
        yield octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _iterate_pieces(content: bytes | Body) -> Iterator[bytes]:
    if isinstance(content, bytes):
        for start in range(0, len(content), _STEP):
            yield content[start : start + _STEP]
    else:
        yield from iterate_octets(content)
