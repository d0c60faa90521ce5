"""Packs an envelope and its payloads as a row describes: every freedom that MIME leaves to a sender.

The writer of the gateway always packs in one way. A receiver must read all others too, so the suite
has a writer of its own (ebMS 2.0 §2.1).
"""

from __future__ import annotations

import base64
import quopri
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import Payload

__all__ = ["PackageForm", "pack_message"]

_BOUNDARY: Final = "=-suite-boundary"


@dataclass(frozen=True, slots=True)
class PackageForm:
    """How a message is packed; the default is what a careful sender does.

    `multipart` False sends the bare envelope, None only where there is no payload. `start` and `kind`
    say whether these parameters are present. `root_last` puts the envelope behind the payloads. `encode`
    and `root_encode` are transfer codings of payloads and envelope.
    """

    multipart: bool | None = None
    start: bool = True
    kind: bool = True
    root_type: str = "text/xml; charset=UTF-8"
    root_id: str = "<root@suite.example>"
    root_last: bool = False
    reversed: bool = False
    boundary: str = _BOUNDARY
    encode: str = ""
    root_encode: str = ""
    part_headers: Mapping[str, str] = field(default_factory=dict)
    root_headers: Mapping[str, str] = field(default_factory=dict)
    preamble: str = ""
    epilogue: str = ""
    brackets: bool = True
    lower_case: bool = False
    drop_parts: bool = False
    more_parameters: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> PackageForm:
        """Return the form that a row describes; raise GW901 for a name that there is not."""
        known = {one.name for one in fields(cls)}
        if unknown := sorted(set(row) - known):
            raise GatewayError(OUR_MISTAKE, f"packages have no {unknown}", "requirements")
        return cls(**row)


def pack_message(root: bytes, payloads: Sequence[Payload], form: PackageForm) -> tuple[str, bytes]:
    """Return Content-Type and octets of the HTTP body."""
    if not form.multipart and (form.multipart is False or not payloads):
        return form.root_type, root
    parts = [] if form.drop_parts else [_write_payload(one, form) for one in payloads]
    if form.reversed:
        parts.reverse()
    at = len(parts) if form.root_last else 0
    parts.insert(at, _write_root(root, form))
    marker = b"--" + form.boundary.encode()
    body = b"".join(marker + b"\r\n" + one + b"\r\n" for one in parts)
    preamble = form.preamble.encode() + b"\r\n" if form.preamble else b""
    return _write_type(form), preamble + body + marker + b"--\r\n" + form.epilogue.encode()


def _write_type(form: PackageForm) -> str:
    kind = '; type="text/xml"' if form.kind else ""
    start = f'; start="{form.root_id}"' if form.start else ""
    return f'multipart/related{kind}{start}; boundary="{form.boundary}"{form.more_parameters}'


def _write_root(root: bytes, form: PackageForm) -> bytes:
    headers = {"Content-Type": form.root_type, "Content-ID": form.root_id, **form.root_headers}
    return _write_part(headers, root, form.root_encode, form)


def _write_payload(payload: Payload, form: PackageForm) -> bytes:
    name = f"<{payload.content_id}>" if form.brackets else payload.content_id
    headers = {"Content-Type": payload.media_type, "Content-ID": name, **form.part_headers}
    return _write_part(headers, payload.content, form.encode, form)


def _write_part(headers: Mapping[str, str], content: bytes, coding: str, form: PackageForm) -> bytes:
    if coding:
        headers = {**headers, "Content-Transfer-Encoding": coding}
        content = _encode_content(content, coding.lower())
    lines = (f"{name.lower() if form.lower_case else name}: {value}\r\n" for name, value in headers.items())
    return "".join(lines).encode() + b"\r\n" + content


def _encode_content(content: bytes, coding: str) -> bytes:
    """Return the content in a transfer coding; binary, 8bit and 7bit change nothing."""
    if coding == "base64":
        return base64.encodebytes(content).replace(b"\n", b"\r\n")
    if coding == "quoted-printable":
        return quopri.encodestring(content).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return content
