"""The bundle of the evidence of a case: a ZIP file with proofs, and with the octets that they are about."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from sqlalchemy import Connection, Row

from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves, make_proof
from gateway.message_model import Body, DigestedBody, count_octets, iterate_octets
from gateway.store import agency_requests, messages, payloads

__all__ = ["clean_file_name", "make_case_bundle"]

_MOST_MESSAGES: Final = 200
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class _BundleBody(DigestedBody):
    """A ZIP file in a file without a name, which is gone when nobody has it any more."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(os.fstat(descriptor).st_size)
        self.descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return cast("BinaryIO", _BundleStream(self))


class _BundleStream(io.RawIOBase):
    """Reads a bundle at a place of its own, and keeps it."""

    def __init__(self, bundle: _BundleBody) -> None:
        self._bundle = bundle
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._bundle.descriptor, [buffer], self._position)
        self._position += count
        return count


def make_case_bundle(conn: Connection, case: Row[Any]) -> Body:
    """Return a ZIP file: the proofs of the case, as `gateway evidence prove` writes them, and its octets.

    The files have the time at which the case was opened: the same evidence makes the same file. It is
    written to a temporary file, piece by piece.
    """
    stamp = case.opened_at.timetuple()[:6]
    with tempfile.TemporaryFile() as written:
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, content in _list_bundle_files(conn, case):
                info = zipfile.ZipInfo(name, stamp)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.file_size = count_octets(content)
                with bundle.open(info, "w") as target:
                    for piece in iterate_octets(content):
                        target.write(piece)
        written.flush()
        return _BundleBody(os.dup(written.fileno()))


def _list_bundle_files(conn: Connection, case: Row[Any]) -> Iterator[tuple[str, bytes | Body]]:
    waiting: list[str] = []
    yield from _list_proofs(conn, case, waiting)
    for row in messages.list_messages(conn, limit=_MOST_MESSAGES, case_id=case.id):
        folder = f"messages/{row.id}-{clean_file_name(row.action)}"
        yield f"{folder}/message.bin", messages.open_parcel(conn, row.id)[1]
        for place, part in enumerate(messages.load_payloads(conn, row.id)):
            name = "document.xml" if place == 0 else f"{place}-{clean_file_name(part.content_id)}"
            yield f"{folder}/{name}", part.octets
        response = messages.find_response(conn, row.id) if row.direction == "in" else None
        if response is not None:
            yield f"{folder}/receipt.xml", response.body
    for request in agency_requests.list_by_case(conn, case.id):
        for leaf in list_subject_leaves(conn, "request", request.id):
            if leaf.kind == "reply" and leaf.digest:
                content = payloads.get_payload_octets(conn, leaf.digest)
                yield f"agencies/{clean_file_name(request.agency)}-{leaf.id}.xml", content
    yield "README.txt", _write_readme(case, waiting).encode()


def _list_proofs(conn: Connection, case: Row[Any], waiting: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the proofs; what is not sealed yet is added to `waiting`."""
    for subject, number, name in _list_subjects(conn, case):
        if not list_subject_leaves(conn, subject, number):
            continue
        try:
            proof = make_proof(conn, subject, str(number))
        except GatewayError as problem:
            # Evidence of the last minutes has no head yet.
            waiting.append(f"{name}: {problem.problem.id} {problem.detail}")
            continue
        yield f"proofs/{name}.json", (json.dumps(proof, ensure_ascii=False, indent=1) + "\n").encode()


def _list_subjects(conn: Connection, case: Row[Any]) -> Iterator[tuple[str, int, str]]:
    yield "case", case.id, "case"
    for request in agency_requests.list_by_case(conn, case.id):
        yield "request", request.id, f"application-{clean_file_name(request.agency)}-{request.id}"
    for row in messages.list_messages(conn, limit=_MOST_MESSAGES, case_id=case.id):
        yield "message", row.id, f"message-{row.id}"


def _write_readme(case: Row[Any], waiting: list[str]) -> str:
    lines = [
        f"Evidence of case {case.number}.",
        "",
        "proofs/    each file is verified by: gateway evidence verify FILE --signer PEM (or --anchor PEM)",
        "messages/  what was received and sent, octet for octet, with the signed receipts",
        "agencies/  what the agencies said, with their signatures",
        *(["", "Not yet sealed, fetch the bundle again later:", *waiting] if waiting else []),
    ]
    return "\n".join(lines) + "\n"


def clean_file_name(name: str) -> str:
    """Return a name that is safe in every file system."""
    return _STRANGE.sub("_", name).strip("._")[:60] or "part"
