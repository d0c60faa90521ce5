"""Downloads of a case: octets as they were received and sent, and the bundle of its evidence.

What is fetched is never shown by the browser: it comes as an attachment of no type that a browser
would open, and in a sandbox.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from flask import Response, abort
from sqlalchemy import Connection, Row

from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves, make_proof
from gateway.store import agency_requests, messages, payloads
from gateway.web.console.following.case_signatures import list_agency_statements
from gateway.web.console.page_downloads import make_download

__all__ = ["answer_bundle", "answer_message_part", "answer_statement", "make_attachment"]

_MOST_MESSAGES: Final = 200
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def answer_message_part(conn: Connection, case: Row[Any], message: int, part: str) -> Response:
    """Return octets of a message of the case.

    The part is ``document`` (what it carries), ``receipt`` (the answer that was given), ``message``
    (the whole), or the position of an attachment.
    """
    row = messages.find_by_id(conn, message)
    if row is None or row.case_id != case.id:
        abort(HTTPStatus.NOT_FOUND)
    found = _find_part(conn, row, part)
    if found is None:
        abort(HTTPStatus.NOT_FOUND)
    name, content = found
    return make_attachment(f"{case.number}-{message}-{name}", content)


def _find_part(conn: Connection, row: Row[Any], part: str) -> tuple[str, bytes] | None:
    if part == "receipt":
        response = messages.find_response(conn, row.id) if row.direction == "in" else None
        return None if response is None else ("receipt.xml", response.body)
    if part == "message":
        return "message.bin", messages.load_parcel(conn, row.id)[1]
    parts = messages.load_payloads(conn, row.id)
    place = 0 if part == "document" else int(part) if part.isascii() and part.isdigit() else -1
    if not 0 <= place < len(parts) or (part != "document" and place == 0):
        return None
    name = f"{row.action.lower()}.xml" if place == 0 else parts[place].content_id
    return name, parts[place].content


def answer_statement(conn: Connection, case: Row[Any], leaf: int) -> Response:
    """Return the signed octets in which an agency said something about an application of the case."""
    found = [
        (request.agency, one.digest)
        for request in agency_requests.list_by_case(conn, case.id)
        for one in list_agency_statements(conn, request.id)
        if one.leaf == leaf
    ]
    if not found:
        abort(HTTPStatus.NOT_FOUND)
    agency, digest = found[0]
    return make_attachment(f"{case.number}-{agency}-{leaf}.xml", payloads.get_payload_octets(conn, digest))


def answer_bundle(conn: Connection, case: Row[Any], now: datetime) -> Response:
    """Return a ZIP file: the proofs of the case, as `gateway evidence prove` writes them, and its octets."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as bundle:
        stamp = now.timetuple()[:6]
        for name, content in _list_bundle_files(conn, case):
            # A fixed mode and time: the same evidence makes the same files.
            bundle.writestr(zipfile.ZipInfo(name, stamp), content, zipfile.ZIP_DEFLATED)
    return make_attachment(f"{case.number}-evidence.zip", written.getvalue())


def _list_bundle_files(conn: Connection, case: Row[Any]) -> Iterator[tuple[str, bytes]]:
    waiting: list[str] = []
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
    for row in messages.list_messages(conn, limit=_MOST_MESSAGES, case_id=case.id):
        folder = f"messages/{row.id}-{_clean_name(row.action)}"
        yield f"{folder}/message.bin", messages.load_parcel(conn, row.id)[1]
        for place, part in enumerate(messages.load_payloads(conn, row.id)):
            name = "document.xml" if place == 0 else f"{place}-{_clean_name(part.content_id)}"
            yield f"{folder}/{name}", part.content
        response = messages.find_response(conn, row.id) if row.direction == "in" else None
        if response is not None:
            yield f"{folder}/receipt.xml", response.body
    for request in agency_requests.list_by_case(conn, case.id):
        for one in list_agency_statements(conn, request.id):
            content = payloads.get_payload_octets(conn, one.digest)
            yield f"agencies/{_clean_name(request.agency)}-{one.leaf}.xml", content
    yield "README.txt", _write_readme(case, waiting).encode()


def _list_subjects(conn: Connection, case: Row[Any]) -> Iterator[tuple[str, int, str]]:
    yield "case", case.id, "case"
    for request in agency_requests.list_by_case(conn, case.id):
        yield "request", request.id, f"application-{_clean_name(request.agency)}-{request.id}"
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


def _clean_name(name: str) -> str:
    """Return a name that is safe in every file system."""
    return _STRANGE.sub("_", name).strip("._")[:60] or "part"


def make_attachment(name: str, content: bytes) -> Response:
    """Return octets as a file that no browser shows."""
    return make_download("-".join(_clean_name(part) for part in name.split("-")), content)
