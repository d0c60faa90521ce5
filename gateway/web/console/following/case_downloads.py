"""Downloads of a case: octets as they were received and sent, and the bundle of its evidence.

What is fetched is never shown by the browser: it comes as an attachment of no type that a browser
would open, and in a sandbox.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, abort
from sqlalchemy import Connection, Row

from gateway.message_model import Body
from gateway.store import agency_requests, messages, payloads, read_row_number
from gateway.web.case_bundle import clean_file_name, make_case_bundle
from gateway.web.console.following.case_signatures import list_agency_statements
from gateway.web.console.page_downloads import make_download

__all__ = ["answer_bundle", "answer_message_part", "answer_statement", "make_attachment"]


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


def _find_part(conn: Connection, row: Row[Any], part: str) -> tuple[str, bytes | Body] | None:
    if part == "receipt":
        response = messages.find_response(conn, row.id) if row.direction == "in" else None
        return None if response is None else ("receipt.xml", response.body)
    if part == "message":
        return "message.bin", messages.open_parcel(conn, row.id)[1]
    parts = messages.load_payloads(conn, row.id)
    place = 0 if part == "document" else read_row_number(part)
    if place is None or place >= len(parts) or (part != "document" and place == 0):
        return None
    name = f"{row.action.lower()}.xml" if place == 0 else parts[place].content_id
    return name, parts[place].octets


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


def answer_bundle(conn: Connection, case: Row[Any]) -> Response:
    """Return a ZIP file: the proofs of the case, as `gateway evidence prove` writes them, and its octets."""
    return make_attachment(f"{case.number}-evidence.zip", make_case_bundle(conn, case))


def make_attachment(name: str, content: bytes | Body) -> Response:
    """Return octets as a file that no browser shows."""
    return make_download("-".join(clean_file_name(part) for part in name.split("-")), content)
