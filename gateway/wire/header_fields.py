"""Header fields of MIME and HTTP, and the media type in a Content-Type field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NoReturn

from gateway.errors import MIME_MALFORMED, TOO_LARGE, GatewayError
from gateway.wire.xml_prescan import DEFAULT_LIMITS, WireLimits

__all__ = [
    "MediaType",
    "is_identity_coding",
    "is_text_xml",
    "parse_media_type",
    "raise_mime_error",
    "read_header_fields",
    "write_header_fields",
]

_NAME: Final = r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"
_MEDIA_TYPE: Final = re.compile(rf"\s*({_NAME}/{_NAME})[ \t]*")
# RFC 2045 §5.1 forbids a slash or another special in an unquoted value, but many senders write one.
_PARAMETER: Final = re.compile(
    rf";[ \t]*(?:({_NAME})[ \t]*=[ \t]*"
    r'(?:"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*)"|([^\s;"\\]+))[ \t]*)?'
)
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_HEADER: Final = re.compile(rf"({_NAME}):[ \t]*(.*)", re.DOTALL)
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SINGLE: Final = {
    "content-type",
    "content-id",
    "content-transfer-encoding",
    "content-length",
    "transfer-encoding",
}
_MAX_PARAMETERS: Final = 32
#: Parameters that determine how a message is read. Some readers decode the form of RFC 2231 (``start*``,
#: ``charset*0``), with any codec that the sender names, and some ignore it: two readers would read two
#: messages.
_SAID_PLAINLY: Final = frozenset({"boundary", "charset", "start", "type"})


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type: its name in lower case, and its parameters by lower-case name."""

    name: str
    parameters: Mapping[str, str]


# The parts of messages have few different media types; only that of the whole message, with its boundary, is
# always a new one.
@lru_cache(maxsize=256)
def parse_media_type(value: str) -> MediaType:
    """Return the media type in `value`; raise the malformed-MIME problem for a parameter given twice."""
    start = _MEDIA_TYPE.match(value)
    if start is None or len(value) > 4096:
        raise_mime_error(f"{value[:80]!r} is not a media type")
    parameters: dict[str, str] = {}
    position = start.end()
    while position < len(value):
        found = _PARAMETER.match(value, position)
        if found is None:
            raise_mime_error(
                f"the parameters of the media type cannot be read from {value[position : position + 40]!r}"
            )
        position = found.end()
        name = (found[1] or "").lower()
        if name in parameters or len(parameters) == _MAX_PARAMETERS:
            raise_mime_error(f"parameter {name[:40]!r} of the media type stands twice, or there are too many")
        if name:
            if "*" in name and name.partition("*")[0] in _SAID_PLAINLY:
                raise_mime_error(f"parameter {name[:40]!r} of the media type is written as RFC 2231 has it")
            quoted = found[2]
            parameters[name] = _QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else found[3]
    return MediaType(start[1].lower(), MappingProxyType(parameters))


def is_identity_coding(value: str) -> bool:
    """Return whether a Content-Encoding says that the content is not encoded (RFC 9110 §8.4)."""
    return value.strip().lower() == "identity"


def is_text_xml(value: str) -> bool:
    """Return whether `value`, a Content-Type, is text/xml in UTF-8 (the default charset)."""
    try:
        media = parse_media_type(value)
    except GatewayError:
        return False
    charset = media.parameters.get("charset", "utf-8").lower().replace("_", "-")
    return media.name == "text/xml" and charset in ("utf-8", "utf8")


def read_header_fields(
    block: bytes, end_of_line: bytes, limits: WireLimits = DEFAULT_LIMITS, location: str = "header fields"
) -> dict[str, str]:
    """Return the header fields of `block` by lower-case name; continuation lines are unfolded."""
    if len(block) > limits.part_headers:
        detail = f"a header block has more than {limits.part_headers} octets"
        raise GatewayError(TOO_LARGE, detail, location)
    headers: dict[str, str] = {}
    for count, line in enumerate(_unfold_lines(block, end_of_line)):
        found = _HEADER.fullmatch(line)
        if found is None or _FORBIDDEN.search(line):
            raise_mime_error(f"{line[:80]!r} is not a header field")
        name, value = found[1].lower(), found[2].rstrip(" \t")
        if count == limits.part_header_count:
            raise GatewayError(TOO_LARGE, f"there are more than {count} header fields", location)
        if name in headers and name in _SINGLE:
            raise_mime_error(f"header field {name} stands twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def write_header_fields(headers: Mapping[str, str]) -> bytes:
    """Return `headers`, one on each line; raise for a name or value that would not read back unchanged."""
    for name, value in headers.items():
        if not _HEADER.fullmatch(f"{name}:") or _FORBIDDEN.search(value) or value != value.strip(" \t"):
            raise_mime_error(f"{name[:40]!r} cannot be written as a header field")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def raise_mime_error(detail: str, location: str = "") -> NoReturn:
    """Raise the problem of malformed MIME."""
    raise GatewayError(MIME_MALFORMED, detail, location)


def _unfold_lines(block: bytes, end_of_line: bytes) -> Iterator[str]:
    try:
        lines = block.decode("utf-8").split(end_of_line.decode())
    except UnicodeDecodeError:
        raise_mime_error("a header field is not UTF-8")
    current = ""
    for line in lines:
        if line[:1] in (" ", "\t") and current:
            current += " " + line.strip(" \t")
            continue
        if current:
            yield current
        current = line
    if current:
        yield current
