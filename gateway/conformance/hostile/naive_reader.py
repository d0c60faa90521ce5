"""A naive gateway's reading of a verified request: parts, elements, values.

Products read in each of these ways: elements by name at any place, parts by position,
Content-IDs without regard to case. If reader and verifier use different elements or parts,
a wrapped message succeeds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, unquote_plus

from lxml import etree

from gateway.conformance.hostile import naive_verifier
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.wire import EB, PREFIXES, XLINK

__all__ = [
    "ELEMENT_STRATEGIES",
    "PART_STRATEGIES",
    "MimePart",
    "accepts_request",
    "read_content",
    "read_value",
    "split_parts",
]

_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)"?')
_START: Final = re.compile(r'start="?<?([^">;]+)>?"?')
_COMMENT: Final = re.compile(r"\([^)]*\)")


@dataclass(frozen=True, slots=True)
class MimePart:
    """One MIME part as received: header fields in their order, and the content."""

    fields: tuple[tuple[str, str], ...]
    content: bytes

    def get_field_values(self, name: str) -> list[str]:
        """Return the values of all header fields of that name."""
        return [value for field, value in self.fields if field == name]

    @property
    def content_id(self) -> str:
        """Return the first Content-ID, without its angle brackets; "" when there is none."""
        return next(iter(self.get_field_values("content-id")), "").strip("<>")


def split_parts(post: HttpRequest) -> tuple[MimePart, ...]:
    """Return the parts of a request, a multipart inside a part not opened."""
    kind = post.headers["Content-Type"]
    return tuple(_split_multipart(kind, post.body)) or (MimePart((), post.body),)


def _split_multipart(kind: str, body: bytes) -> Iterator[MimePart]:
    found = _BOUNDARY.search(kind)
    if found is None:
        return
    marker = b"\r\n--" + found[1].encode()
    for piece in (b"\r\n" + body).split(marker)[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n") if ":" in line)
        yield MimePart(tuple((name.strip().lower(), value.strip()) for name, _, value in lines), content)


def _flatten_parts(post: HttpRequest) -> Iterator[MimePart]:
    """Yield the parts, and those inside a part that is a multipart itself, where it stands."""
    for part in split_parts(post):
        kind = next(iter(part.get_field_values("content-type")), "")
        inner = tuple(_split_multipart(kind, part.content)) if kind.startswith("multipart/") else ()
        yield from inner or (part,)


def accepts_request(post: HttpRequest, root_by: str = "start") -> bool:
    """Return whether the naive verifier accepts a request; `root_by` selects the part with the envelope.

    Of two parts with the same Content-ID it uses the last, as a program with a lookup table does.
    """
    contents = {part.content_id: part.content for part in split_parts(post)}
    return naive_verifier.accepts_signature(_parse_envelope(_find_root_part(post, root_by).content), contents)


def _find_root_part(post: HttpRequest, by: str) -> MimePart:
    parts = split_parts(post)
    start = _START.search(post.headers["Content-Type"])
    if by == "first" or start is None:
        return parts[0]
    return next((part for part in parts if part.content_id == start[1]), parts[0])


def _parse_envelope(data: bytes) -> etree._Element:
    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))


def _find_by_name(root: etree._Element, path: str) -> etree._Element | None:
    """Return the first element of that name in the document, as getElementsByTagName does."""
    name = path.rpartition("/")[2]
    prefix, _, local = name.partition(":")
    return next(root.iter(f"{{{PREFIXES[prefix]}}}{local}"), None)


def _find_by_path(root: etree._Element, path: str) -> etree._Element | None:
    """Return the first element at the path where it belongs."""
    return root.find(path, PREFIXES)


def _find_last_at_path(root: etree._Element, path: str) -> etree._Element | None:
    """Return the last element at its path, as a loop over the children does that keeps the last match."""
    found = root.findall(path, PREFIXES)
    return found[-1] if found else None


#: How a naive gateway finds the element that it reads.
ELEMENT_STRATEGIES: Final[Mapping[str, Callable[[etree._Element, str], etree._Element | None]]] = {
    "name": _find_by_name,
    "path": _find_by_path,
    "last": _find_last_at_path,
}


def read_value(post: HttpRequest, path: str, value: str, way: str, root_by: str = "start") -> str | None:
    """Return the value that the naive gateway reads: the path `value` in the element at `path`."""
    root = _parse_envelope(_find_root_part(post, root_by).content)
    found = ELEMENT_STRATEGIES[way](root, path)
    if found is None:
        return None
    texts = found.xpath(value, namespaces=dict(PREFIXES))
    first = texts[0] if isinstance(texts, list) and texts else None
    return first.text if isinstance(first, etree._Element) else None if first is None else str(first)


def _find_first_content(post: HttpRequest, wanted: Callable[[MimePart], bool]) -> bytes | None:
    return next((part.content for part in _flatten_parts(post) if wanted(part)), None)


def _find_by_any_case(post: HttpRequest, href: str) -> bytes | None:
    return _find_first_content(post, lambda part: part.content_id.lower() == unquote(href[4:]).lower())


def _find_by_location(post: HttpRequest, href: str) -> bytes | None:
    # SOAP with Attachments, chapter 3: a Content-Location is resolved like any other URI.
    return _find_first_content(
        post,
        lambda part: (
            href in part.get_field_values("content-location") or part.content_id == unquote(href[4:])
        ),
    )


def _find_by_any_field(post: HttpRequest, href: str) -> bytes | None:
    return _find_first_content(
        post, lambda part: f"<{unquote(href[4:])}>" in part.get_field_values("content-id")
    )


def _find_without_comments(post: HttpRequest, href: str) -> bytes | None:
    def is_wanted_part(part: MimePart) -> bool:
        fields = part.get_field_values("content-id")
        return bool(fields) and _COMMENT.sub("", fields[0]).strip(" <>") == unquote(href[4:])

    return _find_first_content(post, is_wanted_part)


#: How a naive gateway finds the part that the Manifest names.
PART_STRATEGIES: Final[Mapping[str, Callable[[HttpRequest, str], bytes | None]]] = {
    "first": lambda post, href: _find_first_content(post, lambda part: part.content_id == unquote(href[4:])),
    "position": lambda post, _: split_parts(post)[1].content,
    "any case": _find_by_any_case,
    "location": _find_by_location,
    "literal": lambda post, href: _find_first_content(post, lambda part: part.content_id == href[4:]),
    "plus": lambda post, href: _find_first_content(
        post, lambda part: part.content_id == unquote_plus(href[4:])
    ),
    "any field": _find_by_any_field,
    "comments": _find_without_comments,
    "prefix": lambda post, href: _find_first_content(
        post, lambda part: part.content_id.startswith(unquote(href[4:]))
    ),
}


def read_content(post: HttpRequest, way: str) -> bytes | None:
    """Return the content that the naive gateway uses as the first payload of the Manifest."""
    root = _parse_envelope(_find_root_part(post, "start").content)
    reference = next(root.iter(f"{{{EB}}}Reference"))
    return PART_STRATEGIES[way](post, reference.get(f"{{{XLINK}}}href", ""))
