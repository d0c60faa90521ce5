"""Writes one request as text, which is read once: quicker than to make each element of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lxml import etree

from gateway.harmonize.language import TargetElement
from gateway.harmonize.types import SourceMark

__all__ = ["RequestWriter", "ValueOrigin", "read_request"]

_IN_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_IN_ATTRIBUTE: Final = _IN_TEXT | str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})
_SPECIAL: Final = re.compile('[&<>\r"\t\n]')
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
#: So many parts are joined: each takes 50 octets more than its text.
_MANY: Final = 4096


class ValueOrigin(NamedTuple):
    """The origin of one value of a request: target path, source, leaves, rule and conversions."""

    target: str
    source: str
    leaves: tuple[int, ...]
    rule: SourceMark
    transforms: tuple[str, ...]


@dataclass(slots=True)
class RequestWriter:
    """The writer of one request: its XML in pieces, which are read once at the end, and value origins.

    `written` counts the elements of the container that is being written. `keeps_origins` is false where
    only the origins of content ids are kept.
    """

    parts: list[str] = field(default_factory=list)
    origins: list[ValueOrigin] = field(default_factory=list)
    written: int = 0
    keeps_origins: bool = True

    def add_origin(
        self, target: str, source: str, leaves: tuple[int, ...], rule: tuple[SourceMark, tuple[str, ...]]
    ) -> None:
        """Keep the origin of a value; `rule` with its conversions."""
        self.origins.append(tuple.__new__(ValueOrigin, (target, source, leaves, *rule)))

    def add_leaf(self, target: TargetElement, text: str) -> int:
        """Write an element that holds a text; return where its start tag ends, for attributes."""
        self.written += 1
        start = _write_start(target)
        # One piece for the start tag, one for the rest: attributes are written between them.
        self.parts += (start, f">{_escape_text(text)}</{target.name}>")
        return len(self.parts) - 1

    def add_plain_leaf(self, target: TargetElement, text: str) -> None:
        """Write an element that holds a text and has no attributes but its fixed ones."""
        self.written += 1
        if _SPECIAL.search(text) is not None:
            text = text.translate(_IN_TEXT)
        name = target.name
        # Few elements have fixed attributes.
        start = _write_start(target) if target.fixed else f"<{name}"
        self.parts.append(f"{start}>{text}</{name}>")

    def add_measured_leaf(self, target: TargetElement, text: str, name: str, measure: str) -> None:
        """Write an element that holds a number, with the attribute `name` that says in what it is counted."""
        self.written += 1
        if _SPECIAL.search(measure) is not None:
            measure = measure.translate(_IN_ATTRIBUTE)
        self.parts.append(f'{_write_start(target)} {name}="{measure}">{_escape_text(text)}</{target.name}>')

    def open_container(self, target: TargetElement) -> int:
        """Begin an element that holds others; return where its start tag ends, for attributes."""
        if target.attributes or target.fixed:
            self.parts += (_write_start(target), ">")
        else:
            self.parts.append(f"<{target.name}>")
        self.written = 0
        return len(self.parts) - 1

    def add_attribute(self, position: int, name: str, text: str) -> None:
        """Write an attribute in the start tag that ends at `position`."""
        escaped = text.translate(_IN_ATTRIBUTE) if _SPECIAL.search(text) is not None else text
        self.parts[position - 1] += f' {name}="{escaped}"'

    def gather_parts(self, begun: int) -> int:
        """Join what was written since `begun` where that is many parts; return where to go on from.

        Only between two occurrences of a repetition: nothing is written any more into what is joined.
        """
        if len(self.parts) - begun < _MANY:
            return begun
        self.parts[begun:] = ["".join(self.parts[begun:])]
        return begun + 1

    def finish(self, name: str, namespace: str) -> bytes:
        """Return the request with what was written in it, in UTF-8; nothing is written afterwards."""
        text = "".join((f'<{name} xmlns="{namespace}">', *self.parts, f"</{name}>"))
        # A long request takes its memory once.
        self.parts.clear()
        return text.encode()


def read_request(octets: bytes) -> etree._Element:
    """Return the root of a written request, in a tree of its own."""
    # Every character is one of XML 1.0: it comes from the submission, the mappings or the hub.
    return etree.fromstring(octets, _PARSER)


def _escape_text(text: str) -> str:
    return text.translate(_IN_TEXT) if _SPECIAL.search(text) is not None else text


def _write_start(target: TargetElement) -> str:
    """Return the start tag of an element, still open, with its fixed attributes."""
    if not target.fixed:
        return f"<{target.name}"
    fixed = "".join(f' {name}="{value.translate(_IN_ATTRIBUTE)}"' for name, value in target.fixed)
    return f"<{target.name}{fixed}"
