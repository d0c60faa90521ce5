"""MIME multipart/related: read strictly and in linear time, and written so that it reads back.

Two readers that disagree about where a part ends can be made to read two different messages.
Ambiguous input is therefore rejected: a boundary followed by other characters, line ends of
both kinds around boundaries, a missing final boundary, a Content-ID used twice, a nested
multipart.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, Final, NoReturn
from urllib.parse import unquote

from gateway.errors import MEDIA_TYPE_REFUSED, TOO_LARGE, GatewayError
from gateway.message_model import Body, JoinedBody, MemoryBody, SlicedBody, count_octets, read_octets
from gateway.wire.header_fields import (
    MediaType,
    is_utf8,
    parse_media_type,
    raise_mime_error,
    read_header_fields,
    write_header_fields,
)
from gateway.wire.strict_elements import decode_base64_octets
from gateway.wire.xml_prescan import DEFAULT_LIMITS, WireLimits

#: A body of at most this number of octets is read whole.
_MAX_MEMORY_BODY: Final = 1024**2
_PIECE_OCTETS: Final = 1024**2


class BodyWindow:
    """Large octets that are read where they are asked for; one open stream moves over them."""

    def __init__(self, body: Body, stream: BinaryIO) -> None:
        self._body = body
        self._stream = stream

    def __len__(self) -> int:
        return self._body.octet_count

    def __getitem__(self, octet_range: slice) -> bytes:
        start, end, _ = octet_range.indices(len(self))
        self._stream.seek(start)
        return _read_exactly(self._stream, max(0, end - start))

    def startswith(self, prefix: bytes) -> bool:
        """Return whether the octets begin with `prefix`."""
        return self[: len(prefix)] == prefix

    def find(self, pattern: bytes, start: int = 0, end: int | None = None) -> int:
        """Return the first offset of `pattern` between two offsets, -1 where there is none."""
        end = len(self) if end is None else min(end, len(self))
        position, unmatched_end = max(start, 0), b""
        self._stream.seek(position)
        while position < end:
            piece = _read_exactly(self._stream, min(_PIECE_OCTETS, end - position))
            if not piece:
                return -1
            searched_octets = unmatched_end + piece
            offset = searched_octets.find(pattern)
            if offset >= 0:
                return position - len(unmatched_end) + offset
            position += len(piece)
            # These octets may begin the `pattern`; the offsets before the position stay the same.
            unmatched_end = searched_octets[max(0, len(searched_octets) - len(pattern) + 1) :]
        return -1

    def slice_body(self, start: int, end: int) -> Body:
        """Return a piece as a body of its own."""
        return SlicedBody(self._body, start, end - start)


OctetWindow = bytes | BodyWindow


@contextmanager
def open_window(octets: bytes | Body) -> Iterator[OctetWindow]:
    """Give access to octets by position: small ones in memory, large ones through a stream."""
    if isinstance(octets, bytes):
        yield octets
    elif isinstance(octets, MemoryBody) or count_octets(octets) <= _MAX_MEMORY_BODY:
        yield read_octets(octets)
    else:
        with octets.open_stream() as stream:
            yield BodyWindow(octets, stream)


def _read_exactly(stream: BinaryIO, octet_count: int) -> bytes:
    """Return `octet_count` octets, fewer only at the end: an unbuffered stream may give less at a time."""
    piece = stream.read(octet_count)
    if len(piece) == octet_count or not piece:
        return piece
    pieces, missing_count = [piece], octet_count - len(piece)
    while missing_count and (piece := stream.read(missing_count)):
        pieces.append(piece)
        missing_count -= len(piece)
    return b"".join(pieces)


_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_CONTENT_ID_FIELD: Final = re.compile(
    rb"^content-id:[ \t]*<([!-;=?-~]{1,255})>", re.IGNORECASE | re.MULTILINE
)
_CONTENT_ID: Final = re.compile(r"<([^<>\s]{1,255})>|([^<>\s]{1,255})")
_AFTER_BOUNDARY: Final = re.compile(rb"(--)?[ \t]*(\r?\n|\Z)")
_BAD_QUOTED_PRINTABLE: Final = re.compile(
    rb"=(?![0-9A-Fa-f]{2}|\r?\n)|[ \t](?:\r?\n|\Z)|[^\t\r\n -~]|\r(?!\n)"
)
_BASE64_SPACE: Final = b" \t\r\n"
# These fields are written from the part itself, or would be wrong for the octets that are written.
_GENERATED_FIELDS: Final = {"content-type", "content-id", "content-transfer-encoding", "content-length"}
#: Transfer encodings that leave the octets unchanged.
_UNCHANGED_ENCODINGS: Final = frozenset({"binary", "8bit"})
#: Octets of a part of a large body that are held in memory, and of all that must be decoded.
_MAX_MEMORY_PART: Final = 1024**2
_MAX_DECODED_OCTETS: Final = 64 * 1024**2
#: The most octets of white space that may follow a boundary.
_MAX_DELIMITER_OCTETS: Final = 4096
XML_TYPES: Final = ("text/xml", "application/xml", "application/soap+xml")
"""The media types of a root part."""
XOP_TYPE: Final = "application/xop+xml"
"""The media type of the root part of an XOP package, which MTOM sends."""

#: Codings of HTTP (RFC 9110 §8.4.1, RFC 9112 §7.2). They stand for other octets than those of the part; MIME
#: has none of them.
_CODING_FIELDS: Final = ("content-encoding", "transfer-encoding")
_CODINGS: Final = frozenset({"br", "chunked", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})


@dataclass(frozen=True, slots=True)
class MimePart:
    """One MIME part: `headers` by lower-case name, and the octets after transfer decoding.

    Large octets are a `Body`, which is read in pieces; `content` reads all of them into memory.
    """

    headers: Mapping[str, str]
    content_id: str
    media_type: str
    octets: bytes | Body

    @property
    def content(self) -> bytes:
        """Return all octets, in memory."""
        return read_octets(self.octets)

    def read_head(self, count: int) -> bytes:
        """Return the first octets."""
        if isinstance(self.octets, bytes):
            return self.octets[:count]
        with self.octets.open_stream() as stream:
            return stream.read(count)


@dataclass(frozen=True, slots=True)
class RelatedParts:
    """A SOAP message with its attachments."""

    root: MimePart
    attachments: tuple[MimePart, ...] = ()


def read_multipart_related(
    content_type: str,
    octets: bytes | Body,
    limits: WireLimits = DEFAULT_LIMITS,
    root_types: Collection[str] = XML_TYPES,
) -> RelatedParts:
    """Return the parts of a body: a multipart/related, or bare XML as its only part.

    `root_types` are the media types that the root part may have. Of a large body, only small parts are held
    in memory; a large part is a piece of the body. Raises the problems of malformed MIME, of a refused media
    type, and of a message over `limits`.
    """
    if count_octets(octets) > limits.body:
        detail = f"the message has {count_octets(octets)} octets, {limits.body} are allowed"
        raise GatewayError(TOO_LARGE, detail, "body")
    media_type = parse_media_type(content_type)
    if media_type.name in root_types:
        return RelatedParts(_read_bare_document(content_type, media_type, octets, limits))
    boundary, budget = _get_boundary(media_type, root_types), _DecodedOctetBudget()
    with open_window(octets) as body:
        parts = [
            _read_part(body, region, part_number, limits, budget)
            for part_number, region in enumerate(_iterate_part_regions(body, boundary, limits), 1)
        ]
    _reject_duplicate_ids(parts)
    root_index = _find_root_index(parts, get_start_id(media_type))
    root = parts[root_index]
    root_octets = _load_document(root.octets, limits)
    root = root if root_octets is root.octets else replace(root, octets=root_octets)
    return RelatedParts(
        _check_root_part(root, root_types), tuple(parts[:root_index] + parts[root_index + 1 :])
    )


def read_root_part(content_type: str, octets: bytes | Body, limits: WireLimits = DEFAULT_LIMITS) -> MimePart:
    """Return the root part of a body that was read as a whole before, however large the body is.

    The octets after the root part are neither searched nor checked. Raises as `read_multipart_related` does.
    """
    media_type = parse_media_type(content_type)
    if media_type.name in XML_TYPES:
        return _read_bare_document(content_type, media_type, octets, limits)
    boundary, start_id = _get_boundary(media_type), get_start_id(media_type)
    root, budget = None, _DecodedOctetBudget()
    with open_window(octets) as body:
        for part_number, region in enumerate(_iterate_part_regions(body, boundary, limits), 1):
            part = _read_part(body, region, part_number, limits, budget)
            if root is None or part.content_id == start_id:
                root = part
            if not start_id or part.content_id == start_id:
                break
    assert root is not None  # without one the regions have raised
    return _check_root_part(replace(root, octets=_load_document(root.octets, limits)))


def _read_bare_document(
    content_type: str, media_type: MediaType, octets: bytes | Body, limits: WireLimits
) -> MimePart:
    document_octets = _load_document(octets, limits)
    return _check_root_part(MimePart({"content-type": content_type}, "", media_type.name, document_octets))


def _get_boundary(media_type: MediaType, root_types: Collection[str] = XML_TYPES) -> bytes:
    """Return the boundary of a multipart/related whose root is XML; raise for another media type."""
    if media_type.name != "multipart/related":
        raise GatewayError(
            MEDIA_TYPE_REFUSED, f"media type {media_type.name[:80]!r} is not accepted", "Content-Type"
        )
    if media_type.parameters.get("type", "text/xml").lower() not in root_types:
        raise GatewayError(MEDIA_TYPE_REFUSED, "the type parameter does not name XML", "Content-Type")
    boundary = media_type.parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise_mime_error(
            "the boundary parameter is missing or not 1 to 70 characters of RFC 2046", "Content-Type"
        )
    return boundary.encode()


def _load_document(octets: bytes | Body, limits: WireLimits) -> bytes:
    """Return the octets of a document, in memory; raise GW102 for one beyond the limit."""
    if count_octets(octets) > limits.xml:
        detail = f"the document has {count_octets(octets)} octets, {limits.xml} are allowed"
        raise GatewayError(TOO_LARGE, detail, "document")
    return read_octets(octets)


def write_multipart_related(
    root: bytes,
    attachments: Sequence[MimePart],
    boundary: str,
    root_id: str,
    root_type: str = "text/xml",
) -> tuple[str, bytes]:
    """Return Content-Type and body of a multipart/related with `root` as its first part, all in memory.

    Contents are written as they are, without transfer encoding.  `boundary` must not occur
    in any of them; the caller makes the boundary and the Content-IDs unique.
    """
    content_type, body = join_multipart_related(root, attachments, boundary, root_id, root_type)
    return content_type, read_octets(body)


def join_multipart_related(
    root: bytes,
    attachments: Sequence[MimePart],
    boundary: str,
    root_id: str,
    root_type: str = "text/xml",
) -> tuple[str, Body]:
    """Return Content-Type and body of a multipart/related, as `write_multipart_related` does.

    The body is in memory when its parts are; else it reads them in pieces.
    """
    marker = b"--" + boundary.encode("ascii", "replace")
    all_parts = [
        MimePart({"content-type": f"{root_type}; charset=UTF-8"}, root_id, root_type, root),
        *attachments,
    ]
    if not _BOUNDARY.fullmatch(boundary) or any(_has_marker(part.octets, marker) for part in all_parts):
        raise_mime_error("the boundary is not 1 to 70 characters of RFC 2046, or occurs in a part")
    _reject_duplicate_ids(all_parts)
    pieces: list[bytes | Body] = []
    for part in all_parts:
        pieces += (marker + b"\r\n" + _write_part_headers(part) + b"\r\n", part.octets, b"\r\n")
    pieces.append(marker + b"--\r\n")
    content_type = f'multipart/related; type="{root_type}"; start="<{root_id}>"; boundary="{boundary}"'
    memory_pieces = [piece for piece in pieces if isinstance(piece, bytes)]
    return content_type, MemoryBody(b"".join(memory_pieces)) if len(memory_pieces) == len(
        pieces
    ) else JoinedBody(pieces)


def _has_marker(octets: bytes | Body, marker: bytes) -> bool:
    if isinstance(octets, bytes):
        return marker in octets
    with open_window(octets) as body:
        return body.find(marker) >= 0


@dataclass(frozen=True)
class _PartRegion:
    """Where a part with its header fields is in a body, in octets, and the line end of its delimiters."""

    start: int
    end: int
    end_of_line: bytes


def _iterate_part_regions(body: OctetWindow, boundary: bytes, limits: WireLimits) -> Iterator[_PartRegion]:
    """Yield the region of each part of `body`.

    A boundary counts only at the start of a line. Each one found there is a delimiter or ends
    the reading, so the number of searches is at most the number of parts.
    """
    marker = b"\n--" + boundary
    first_boundary = -1 if body.startswith(marker[1:]) else body.find(marker)
    if first_boundary < 0 and not body.startswith(marker[1:]):
        raise_mime_error("the boundary does not occur")
    if first_boundary + 1 > limits.padding:
        _raise_padding_error("before the first boundary", limits, 0)
    is_final, end_of_line, start = _read_delimiter(body, first_boundary + len(marker))
    if is_final or not end_of_line:
        raise_mime_error("the first boundary is the final one")
    if first_boundary >= 0:
        _check_line_end(body, first_boundary, end_of_line)
    for part_number in range(1, limits.parts + 1):
        position = body.find(marker, start - 1)
        if position < 0:
            raise_mime_error("the final boundary is missing")
        is_final, line_end, next_start = _read_delimiter(body, position + len(marker))
        _check_line_end(body, position, end_of_line)
        end = position + 1 - len(end_of_line)
        if end < start or line_end not in (end_of_line, b""):
            raise_mime_error(f"part {part_number} is empty, or line ends differ after its boundary")
        yield _PartRegion(start, end, end_of_line)
        if is_final:
            return _check_epilogue(body, next_start, marker, limits)
        start = next_start
    raise GatewayError(TOO_LARGE, f"there are more than {limits.parts} parts", f"octet {start}")


def _read_delimiter(body: OctetWindow, position: int) -> tuple[bool, bytes, int]:
    """Return whether the boundary that ends at `position` is the final one, its line end, and its end."""
    following_octets = body[position : position + _MAX_DELIMITER_OCTETS]
    delimiter = _AFTER_BOUNDARY.match(following_octets)
    if delimiter is None or (not delimiter[2] and position + len(following_octets) < len(body)):
        raise_mime_error("a boundary is followed by other characters", f"octet {position}")
    return delimiter[1] is not None, delimiter[2], position + delimiter.end()


def _check_line_end(body: OctetWindow, line_feed: int, end_of_line: bytes) -> None:
    # Readers differ on a bare line feed in a message with CRLF lines, and on CRLF in one with bare line
    # feeds.
    has_carriage_return = line_feed > 0 and body[line_feed - 1 : line_feed] == b"\r"
    if has_carriage_return != (end_of_line == b"\r\n"):
        raise_mime_error("line ends differ before and after boundaries", f"octet {line_feed}")


def _raise_padding_error(place_in_body: str, limits: WireLimits, position: int) -> NoReturn:
    raise GatewayError(
        TOO_LARGE, f"more than {limits.padding} octets stand {place_in_body}", f"octet {position}"
    )


def _check_epilogue(body: OctetWindow, position: int, marker: bytes, limits: WireLimits) -> None:
    if len(body) - position > limits.padding:
        _raise_padding_error("after the final boundary", limits, position)
    if body.find(marker, position - 1) >= 0:
        raise_mime_error("there is a boundary after the final one")


def _describe_part_location(part_number: int, header_block: bytes) -> str:
    """Return the place of a part: its number, and its Content-ID where its header fields have one."""
    content_id_match = _CONTENT_ID_FIELD.search(header_block)
    return f"part {part_number}" + (f", cid:{content_id_match[1].decode()}" if content_id_match else "")


class _DecodedOctetBudget:
    """The octets that the parts of one body may have together where they must be decoded, in memory."""

    def __init__(self) -> None:
        self._octets_left = _MAX_DECODED_OCTETS

    def spend_octets(self, octet_count: int, content_id: str) -> None:
        """Subtract the octets of a part from the budget; raise GW102 when the budget is exceeded."""
        self._octets_left -= octet_count
        if self._octets_left < 0:
            detail = f"parts of more than {_MAX_DECODED_OCTETS} octets together must be binary"
            raise GatewayError(TOO_LARGE, detail, f"cid:{content_id}")


def _read_part(
    body: OctetWindow,
    region: _PartRegion,
    part_number: int,
    limits: WireLimits,
    budget: _DecodedOctetBudget,
) -> MimePart:
    """Return the decoded part in `region`; raise GW103 if malformed. `part_number` is for error texts."""
    start, end, end_of_line = region.start, region.end, region.end_of_line
    line_end_length = len(end_of_line)
    if body[start : min(end, start + line_end_length)] == end_of_line:
        header_end, content_start = start, start + line_end_length
    else:
        header_end = body.find(end_of_line * 2, start, end)
        content_start = header_end + 2 * line_end_length
        if header_end < 0:  # header fields alone, each with its line end
            if body[max(start, end - line_end_length) : end] != end_of_line:
                raise_mime_error("a part has no empty line after its header fields", f"octet {start}")
            header_end, content_start = end - line_end_length, end
    header_block = body[start : min(header_end, start + limits.part_headers + 1)]
    part_location = _describe_part_location(part_number, header_block)
    headers = read_header_fields(header_block, end_of_line, limits, part_location)
    media_type = parse_media_type(headers.get("content-type", "text/plain"))
    if media_type.name.startswith(("multipart/", "message/")):
        raise_mime_error("a part is itself a multipart or message", f"octet {start}")
    _reject_http_codings(headers, start)
    content_id = _parse_content_id(headers.get("content-id", ""))
    encoding = headers.get("content-transfer-encoding", "binary").lower()
    if not isinstance(body, bytes) and encoding not in _UNCHANGED_ENCODINGS:
        budget.spend_octets(end - content_start, content_id)
    return MimePart(
        headers, content_id, media_type.name, _extract_content(body, content_start, end, encoding, content_id)
    )


def _extract_content(
    body: OctetWindow, content_start: int, content_end: int, encoding: str, content_id: str
) -> bytes | Body:
    """Return the decoded content, as a piece of the body if the body is large and not in memory."""
    if content_end - content_start <= _MAX_MEMORY_PART or isinstance(body, bytes):
        return _decode_content(body[content_start:content_end], encoding, content_id)
    if encoding in _UNCHANGED_ENCODINGS:
        return body.slice_body(content_start, content_end)
    return _decode_content(body[content_start:content_end], encoding, content_id)


def _reject_http_codings(headers: Mapping[str, str], part_start: int) -> None:
    """Raise when a part has an HTTP coding: a reader that undoes it reads other octets than those signed.

    Some senders write a charset or a transfer encoding in these fields; those change nothing
    and are accepted.
    """
    for field_name in _CODING_FIELDS:
        if field_name in headers and not _CODINGS.isdisjoint(
            headers[field_name].lower().replace(",", " ").split()
        ):
            raise_mime_error(f"a part has a coding of HTTP in the field {field_name}", f"octet {part_start}")


def _parse_content_id(header_value: str) -> str:
    """Return a Content-ID without angle brackets, "" for an empty value; raise GW103 for any other."""
    if not header_value:
        return ""
    id_match = _CONTENT_ID.fullmatch(header_value)
    if id_match is None:
        raise_mime_error(f"{header_value[:80]!r} is not a Content-ID")
    return id_match[1] or id_match[2]


def _decode_content(content: bytes, encoding: str, content_id: str) -> bytes:
    """Return content decoded by its Content-Transfer-Encoding; raise GW103 for a malformed one."""
    location = f"cid:{content_id}"
    if encoding == "base64":
        base64_text = content.translate(None, _BASE64_SPACE)
        octets = decode_base64_octets(base64_text) if base64_text else b""
        if octets is None:
            raise_mime_error("a part is not base64 in its canonical spelling", location)
        return octets
    if encoding == "quoted-printable":
        if _BAD_QUOTED_PRINTABLE.search(content):
            raise_mime_error("a part is not quoted-printable", location)
        return binascii.a2b_qp(content)
    if encoding not in ("binary", "8bit", "7bit"):
        raise_mime_error(f"transfer encoding {encoding[:40]!r} is unknown", location)
    if encoding == "7bit" and not content.isascii():
        raise_mime_error("a part declared 7bit holds octets above 127", location)
    return content


def _reject_duplicate_ids(parts: Sequence[MimePart]) -> None:
    seen_ids: set[str] = set()
    for part in parts:
        # Some readers treat ids that differ only in case or %-escapes as the same id.
        comparable_id = unquote(part.content_id).casefold()
        if comparable_id in seen_ids:
            raise_mime_error("a Content-ID stands twice", f"cid:{part.content_id}")
        if comparable_id:
            seen_ids.add(comparable_id)


def get_start_id(media_type: MediaType) -> str:
    """Return the Content-ID of the root part, empty where the media type names none."""
    return media_type.parameters.get("start", "").strip().removeprefix("<").removesuffix(">")


def _find_root_index(parts: Sequence[MimePart], start_id: str) -> int:
    for index, part in enumerate(parts):
        if start_id and part.content_id == start_id:
            return index
    return 0  # no start parameter, or one that names no part: RFC 2387 §3.2


def _check_root_part(part: MimePart, root_types: Collection[str] = XML_TYPES) -> MimePart:
    """Return `part`; raise GW101 unless its type is one of `root_types` and its charset is UTF-8."""
    media_type = parse_media_type(part.headers.get("content-type", "text/plain"))
    if media_type.name not in root_types:
        raise GatewayError(
            MEDIA_TYPE_REFUSED, f"the root part is {media_type.name[:80]!r}, it must be XML", "root part"
        )
    charset = media_type.parameters.get("charset", "").lower()
    if not is_utf8(media_type) and not (charset == "us-ascii" and part.content.isascii()):
        raise GatewayError(MEDIA_TYPE_REFUSED, f"charset {charset[:40]!r}, it must be UTF-8", "root part")
    return part


def _write_part_headers(part: MimePart) -> bytes:
    """Return the MIME header of a part; raise GW103 if its `media_type` is not that of its Content-Type."""
    header_fields = {"Content-Type": part.headers.get("content-type", part.media_type)}
    if part.content_id:
        header_fields["Content-ID"] = f"<{_parse_content_id(part.content_id)}>"
    header_fields |= {name: value for name, value in part.headers.items() if name not in _GENERATED_FIELDS}
    if parse_media_type(header_fields["Content-Type"]).name != part.media_type:
        raise_mime_error(f"the media type and the Content-Type of {part.content_id[:80]!r} differ")
    return write_header_fields(header_fields)
