"""Splits a SOAP envelope, by its octets alone, into what is in its Body and all else.

The header of an answer is like that of the answer before, while its Body says something else each time. Both
parts are envelopes themselves, so they are read as any other.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SplitEnvelope", "split_at_body"]


class SplitEnvelope(NamedTuple):
    """The octets of an envelope with nothing in its Body, and of the Body with nothing before it.

    An element in the Body has in `framed` the ancestors that it has in the whole envelope. Both hold where
    `hollow` is a well-formed envelope, the elements around the Body are the same in both, and the root of
    `framed` has one child: what is between the tags may end the Body itself.
    """

    hollow: bytes
    content: bytes
    framed: bytes


def split_at_body(document: bytes) -> SplitEnvelope | None:
    """Return the two parts of an envelope whose last end tags are those of its Body and its own.

    The tags are found by their names, which proves nothing: a document that is split elsewhere has a `hollow`
    part that is no such envelope.
    """
    last = document.rfind(b"</")
    end = document.rfind(b"</", 0, max(last, 0))
    if end < 0:
        return None
    outer, inner = (document[at + 2 : document.find(b">", at)] for at in (last, end))
    top = document.find(b">", document.find(b"<" + outer)) + 1
    body = document.find(b"<" + inner, top)
    start = document.find(b">", body) + 1
    if not 0 < top <= body < start <= end:
        return None
    return SplitEnvelope(
        document[:start] + document[end:], document[start:end], document[:top] + document[body:]
    )
