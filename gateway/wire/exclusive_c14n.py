"""Exclusive canonical form with the default namespace in its PrefixList.

WSS4J names ``#default`` wherever a default namespace is in scope. lxml passes only those
prefixes to libxml2 that occur in the document as names, so it never passes this one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from xml.parsers import expat

from gateway.wire.namespaces import XML

__all__ = ["canonicalize_exclusive"]

_TEXT: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"}
_VALUE: Final = {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
_ESCAPED_TEXT: Final = str.maketrans(_TEXT)
_ESCAPED_VALUE: Final = str.maketrans(_VALUE)


def canonicalize_exclusive(document: bytes, prefixes: Collection[str], comments: bool) -> bytes:
    """Return the exclusive canonical form of the well-formed UTF-8 `document`; its root is the apex."""
    writer = _ExclusiveWriter({"" if prefix == "#default" else prefix for prefix in prefixes})
    parser = expat.ParserCreate("UTF-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = writer.write_start_tag
    parser.EndElementHandler = writer.write_end_tag
    parser.CharacterDataHandler = writer.write_text
    parser.ProcessingInstructionHandler = writer.write_instruction
    if comments:
        parser.CommentHandler = writer.write_comment
    parser.Parse(document, True)
    return "".join(writer.pieces).encode()


class _ExclusiveWriter:
    """Writes the canonical form of what expat reads; names are qualified names with their prefixes."""

    def __init__(self, inclusive: set[str]) -> None:
        self.inclusive = inclusive
        self.pieces: list[str] = []
        self.scopes: list[dict[str, str]] = [{}]
        self.rendered: list[dict[str, str]] = [{}]

    def write_start_tag(self, name: str, attributes: list[str]) -> None:
        pairs = list(zip(attributes[::2], attributes[1::2], strict=True))
        declared = {key[6:]: value for key, value in pairs if key == "xmlns" or key.startswith("xmlns:")}
        scope = self.scopes[-1] | declared
        own = [(key, value) for key, value in pairs if key != "xmlns" and not key.startswith("xmlns:")]
        used = {_get_prefix(name)} | {_get_prefix(key) for key, _ in own if ":" in key}
        rendered = self.rendered[-1]
        fresh = {
            prefix: scope.get(prefix, "")
            for prefix in (used | self.inclusive) - {"xml"}
            if rendered.get(prefix, "") != scope.get(prefix, "")
        }
        self.scopes.append(scope)
        self.rendered.append(rendered | fresh)
        names = [(f"xmlns:{prefix}" if prefix else "xmlns", fresh[prefix]) for prefix in sorted(fresh)]
        scope_of = {**scope, "xml": XML}
        # Namespaces are sorted by prefix, attributes by namespace name and then local name.
        own.sort(key=lambda pair: _make_attribute_key(pair[0], scope_of))
        written = "".join(f' {key}="{value.translate(_ESCAPED_VALUE)}"' for key, value in names + own)
        self.pieces.append(f"<{name}{written}>")

    def write_end_tag(self, name: str) -> None:
        self.scopes.pop()
        self.rendered.pop()
        self.pieces.append(f"</{name}>")

    def write_text(self, data: str) -> None:
        self.pieces.append(data.translate(_ESCAPED_TEXT))

    def write_instruction(self, target: str, data: str) -> None:
        if len(self.scopes) > 1:  # the apex is an element: nodes outside it are not part of the form
            self.pieces.append(f"<?{target}{' ' if data else ''}{data}?>")

    def write_comment(self, data: str) -> None:
        if len(self.scopes) > 1:
            self.pieces.append(f"<!--{data}-->")


def _get_prefix(name: str) -> str:
    return name.partition(":")[0] if ":" in name else ""


def _make_attribute_key(name: str, scope: dict[str, str]) -> tuple[str, str]:
    prefix, colon, local = name.partition(":")
    return (scope.get(prefix, ""), local) if colon else ("", name)
