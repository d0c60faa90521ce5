"""Writes one request as text, which is read once: quicker than to make each element of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, cast

from lxml import etree

from gateway.harmonize.language import TargetElement
from gateway.harmonize.submission import OriginRow

__all__ = ["RequestWriter", "escape_attribute", "escape_text", "find_special", "read_request"]

_IN_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_IN_ATTRIBUTE: Final = _IN_TEXT | str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})
#: Finds a character that may not stand in a text, or in an attribute, as it is.
find_special: Final = re.compile('[&<>\r"\t\n]').search
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
#: So many parts are joined: each takes 50 octets more than its text, and a text may take two for a character.
_MANY: Final = 1024


@dataclass(slots=True)
class RequestWriter:
    """The writer of one request: its XML in pieces, which are read once at the end, and value origins.

    Many pieces are gathered into one of octets, into which nothing is written any more.
    `written` counts the elements of the container that is being written. `keeps_origins` is false where
    only the origins of content ids are kept. They follow those of other requests, from `first` on.
    """

    parts: list[str | bytes] = field(default_factory=list)
    origins: list[OriginRow] = field(default_factory=list)
    written: int = 0
    keeps_origins: bool = True
    first: int = field(init=False)
    _has_gathered: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.first = len(self.origins)

    def add_origin(self, row: OriginRow) -> None:
        """Keep the origin of a value."""
        self.origins.append(row)

    def list_own_origins(self) -> tuple[OriginRow, ...]:
        """Return the origins of this request."""
        return tuple(self.origins[self.first :])

    def add_leaf(self, target: TargetElement, text: str) -> int:
        """Write an element that holds a text; return where its start tag ends, for attributes."""
        self.written += 1
        # One piece for the start tag, one for the rest: attributes are written between them.
        self.parts += (target.start, f">{escape_text(text)}{target.end}")
        return len(self.parts) - 1

    def add_plain_leaf(self, target: TargetElement, text: str) -> None:
        """Write an element that holds a text and has no attributes but its fixed ones."""
        self.written += 1
        if find_special(text) is not None:
            text = text.translate(_IN_TEXT)
        self.parts.append(f"{target.start}>{text}{target.end}")

    def open_container(self, target: TargetElement) -> tuple[int, int, int]:
        """Begin an element that holds others; return what `close_container` must know.

        Its first number is that of the piece with the start tag.
        """
        opened = len(self.parts), len(self.origins), self.written
        if target.attributes:
            self.parts += (target.start, ">")
        else:
            self.parts.append(f"{target.start}>")
        self.written = 0
        return opened

    def close_container(
        self, target: TargetElement, opened: tuple[int, int, int], *, keeps_empty: bool = False
    ) -> bool:
        """End an element; leave it out, and return False, where it holds its constant children alone."""
        empty = self.written == target.constants
        begun, told, self.written = opened
        if empty and not keeps_empty:
            self.take_back(begun, told)
            return False
        self.parts.append(target.end)
        self.written += 1
        return True

    def take_back(self, begun: int, told: int) -> None:
        """Take back what was written since there were so many pieces and origins.

        The leaves of a value that was refused in it are retained.
        """
        del self.parts[begun:]
        # Those without leaves, which may be taken back, are not kept where only those of content ids are.
        if self.keeps_origins:
            self.origins[told:] = [one for one in self.origins[told:] if one[2]]

    def add_attribute(self, position: int, name: str, text: str) -> None:
        """Write an attribute in the start tag that ends before the piece `position`."""
        start = self.parts[position - 1]
        assert isinstance(start, str)
        self.parts[position - 1] = f'{start} {name}="{escape_attribute(text)}"'

    def gather_parts(self, begun: int) -> int:
        """Join what was written since `begun` where that is many parts; return where to go on from.

        Only between two occurrences of a repetition: nothing is written any more into what is joined.
        """
        if len(self.parts) - begun < _MANY:
            return begun
        self.parts[begun:] = [_join_parts(self.parts[begun:])]
        self._has_gathered = True
        return begun + 1

    def finish(self, name: str, namespace: str) -> bytes:
        """Return the request with what was written in it, in UTF-8; nothing is written afterwards."""
        parts = (f'<{name} xmlns="{namespace}">', *self.parts, f"</{name}>")
        self.parts.clear()
        return _join_parts(parts) if self._has_gathered else "".join(cast("tuple[str, ...]", parts)).encode()


def _join_parts(parts: Iterable[str | bytes]) -> bytes:
    """Return texts, and octets that were gathered before, as octets in UTF-8."""
    return b"".join(_encode_alike(alike) for _, alike in groupby(parts, type))


def _encode_alike(parts: Iterable[str | bytes]) -> bytes:
    """Return parts that are all texts, or all octets."""
    alike = list(parts)
    return "".join(alike).encode() if isinstance(alike[0], str) else b"".join(alike)  # type: ignore[arg-type]


def read_request(octets: bytes) -> etree._Element:
    """Return the root of a written request, in a tree of its own."""
    # Every character is one of XML 1.0: it comes from the submission, the mappings or the hub.
    return etree.fromstring(octets, _PARSER)


def escape_text(text: str) -> str:
    """Return a text as it is written in an element."""
    return text.translate(_IN_TEXT) if find_special(text) is not None else text


def escape_attribute(text: str) -> str:
    """Return a text as it is written in an attribute."""
    return text.translate(_IN_ATTRIBUTE) if find_special(text) is not None else text
