"""The bundle of the evidence of a case: a ZIP file with proofs, and with the octets that they are about."""

from __future__ import annotations

import json
import os
import re
import tempfile
import weakref
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from typing import BinaryIO, Final, cast

from flask import Response, request
from sqlalchemy import Connection

from gateway.errors import EVIDENCE_NOT_SEALED, GatewayError
from gateway.evidence import EvidenceReader, list_subject_leaves, make_proof
from gateway.hub import read_unless_removed
from gateway.message_model import Body, DigestedBody, PositionedStream, count_octets, iterate_octets
from gateway.store import CaseRow, agency_requests, messages, payloads
from gateway.web.server import FILE_KEY, SentFile

_MOST_MESSAGES: Final = 200
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class _BundleBody(DigestedBody):
    """A ZIP file that has no name on the disk; it is deleted when the last stream of it is closed."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(os.fstat(descriptor).st_size)
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def open_stream(self) -> BinaryIO:
        """Return a new stream that begins at the first octet of the ZIP file."""
        return cast("BinaryIO", PositionedStream(self._descriptor, self))


def make_case_bundle(conn: Connection, case: CaseRow, reader: EvidenceReader) -> Body:
    """Return a ZIP file with the proofs of a case and the octets of its messages and agency replies.

    The proofs are those that `gateway evidence prove` writes. Evidence that the reader may not see is in the
    proofs as a hash. Octets that retention has removed are named in README.txt.

    All files in the ZIP file have the time at which the case was opened, so the same evidence makes the same
    ZIP file. The ZIP file is written to a temporary file, piece by piece.
    """
    stamp = case.opened_at.timetuple()[:6]
    with tempfile.TemporaryFile() as written:
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, content in _list_bundle_files(conn, case, reader):
                info = zipfile.ZipInfo(name, stamp)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.file_size = count_octets(content)
                with bundle.open(info, "w") as target:
                    for piece in iterate_octets(content):
                        target.write(piece)
        written.flush()
        return _BundleBody(os.dup(written.fileno()))


def _list_bundle_files(
    conn: Connection, case: CaseRow, reader: EvidenceReader
) -> Iterator[tuple[str, bytes | Body]]:
    """Yield the path and content of each file: proofs, messages, agency replies, and a README at the end."""
    unsealed_names: list[str] = []
    removed_names: list[str] = []
    yield from _list_proofs(conn, case, reader, unsealed_names)
    for row in messages.list_messages(conn, limit=_MOST_MESSAGES, case_id=case.id):
        folder = f"messages/{row.id}-{clean_file_name(row.action)}"
        parcel = read_unless_removed(partial(messages.open_parcel, conn, row.id))
        if parcel is None:
            removed_names.append(folder)
        else:
            headers, octets = parcel
            yield f"{folder}/headers.txt", _write_headers(headers)
            yield f"{folder}/message.bin", octets
        parts = read_unless_removed(partial(messages.load_payloads, conn, row.id))
        for index, part in enumerate(parts or ()):
            name = "document.xml" if index == 0 else f"{index}-{clean_file_name(part.content_id)}"
            yield f"{folder}/{name}", part.octets
        response = messages.find_response(conn, row.id) if row.direction == "in" else None
        if response is not None:
            yield f"{folder}/receipt.xml", response.body
    for application in agency_requests.list_by_case(conn, case.id):
        for leaf in list_subject_leaves(conn, "request", application.id):
            if leaf.kind == "reply" and leaf.digest:
                # Retention never removes them: a reply that is missing is broken evidence.
                content = payloads.get_payload_octets(conn, leaf.digest)
                yield f"agencies/{clean_file_name(application.agency)}-{leaf.id}.xml", content
    yield "README.txt", _write_readme(case, unsealed_names, removed_names).encode()


def _list_proofs(
    conn: Connection, case: CaseRow, reader: EvidenceReader, unsealed_names: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the proofs of the case's evidence; append the names of unsealed evidence to `unsealed_names`."""
    for subject, number, name in _list_subjects(conn, case):
        if not list_subject_leaves(conn, subject, number):
            continue
        try:
            proof = make_proof(conn, subject, str(number), reader)
        except GatewayError as problem:
            # Evidence of the last minutes has no head yet. Broken evidence is not reported as such evidence.
            if problem.problem is not EVIDENCE_NOT_SEALED:
                raise
            unsealed_names.append(name)
            continue
        yield f"proofs/{name}.json", (json.dumps(proof, ensure_ascii=False, indent=1) + "\n").encode()


def _list_subjects(conn: Connection, case: CaseRow) -> Iterator[tuple[str, int, str]]:
    """Yield the subject type, row id and file name of the case, its applications and its messages."""
    yield "case", case.id, "case"
    for application in agency_requests.list_by_case(conn, case.id):
        yield "request", application.id, f"application-{clean_file_name(application.agency)}-{application.id}"
    for row in messages.list_messages(conn, limit=_MOST_MESSAGES, case_id=case.id):
        yield "message", row.id, f"message-{row.id}"


def _write_headers(headers: Mapping[str, str]) -> bytes:
    """Return the headers of HTTP and the empty line; `gateway verify` reads them with the message behind."""
    return "".join(f"{name}: {text}\r\n" for name, text in headers.items()).encode() + b"\r\n"


def _write_readme(case: CaseRow, unsealed_names: list[str], removed_names: list[str]) -> str:
    """Return the text of README.txt, which explains the folders and lists whatever the bundle lacks.

    It lacks the evidence that is not sealed yet, and the octets that retention has removed.
    """
    lines = [
        f"Evidence of case {case.number}.",
        "",
        "proofs/    each file is verified by: gateway evidence verify FILE --signer PEM (or --anchor PEM)",
        "           (withheld: what is not for the parties of the case, by its hash)",
        "messages/  what was received and sent, octet for octet, with the signed receipts;",
        "           headers.txt and message.bin, one behind the other, are what gateway verify FILE reads;",
        "           the identity that it prints is the digest of the leaf NRO;",
        "           the digest of the leaf NRS is the SHA-256 of what the hub sent (message.bin)",
        "agencies/  what the agencies said, with their signatures; the digest of the leaf reply is the",
        "           SHA-256 of the file",
        *(["", "Not yet sealed, fetch the bundle again later:", *unsealed_names] if unsealed_names else []),
        *(["", "Removed by retention:", *removed_names] if removed_names else []),
    ]
    return "\n".join(lines) + "\n"


def clean_file_name(name: str, fallback: str = "part") -> str:
    """Return a name that is safe in every file system; `fallback` where nothing of it is left."""
    return _STRANGE.sub("_", name).strip("._")[:60].rstrip("._") or fallback


def make_body_response(content: Body, media_type: str | None, status: int = 200) -> Response:
    """Return an answer with these octets; raises GW325 if their object is missing."""
    wrap: type[SentFile] = request.environ.get(FILE_KEY, SentFile)
    answer = Response(wrap(content.open_stream()), status, content_type=media_type, direct_passthrough=True)
    answer.content_length = content.octet_count
    return answer
