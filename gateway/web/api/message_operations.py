"""The operations on messages: file a submission, look at a message, fetch its receipt and its document."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from pydantic import Field
from sqlalchemy import Connection

from gateway.errors import MIME_MALFORMED, REQUEST_MALFORMED, GatewayError
from gateway.hub import FiledSubmission, file_submission
from gateway.message_model import Payload
from gateway.operations import read_message_properties
from gateway.store import MessageRow, case_searches, cases, messages, read_transaction
from gateway.web.api.api_operations import (
    BASE_PATH,
    XML,
    Answer,
    AnswerModel,
    ApiAnswer,
    ApiCall,
    HeaderParameter,
    OperationSection,
    RequestBody,
    make_not_found_error,
    read_model,
)
from gateway.web.api.case_models import Message, MessagePart, MessageProperty

SUBMISSIONS: Final = OperationSection("submissions")
MESSAGES: Final = OperationSection("messages")

_KEY: Final = "Idempotency-Key"
#: The words that follow the id of a message in the addresses of its parts.
_LAST_WORDS: Final = ("receipt", "document")
_ENDS: Final = " or ".join(f"/{word}" for word in _LAST_WORDS)
_FORM_TYPE: Final = "multipart/form-data"
_SUBMISSION: Final = "submission"
_ATTACHMENTS: Final = "attachments"
_OCTETS: Final = "*/*"
_FORM_SCHEMA: Final[Mapping[str, Any]] = {
    "title": "SubmissionForm",
    "type": "object",
    "required": [_SUBMISSION],
    "properties": {
        _SUBMISSION: {
            "type": "string",
            "format": "binary",
            "description": "The submission, signed by the declarant (XAdES).",
        },
        _ATTACHMENTS: {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "Its attachments; the file name of each is its content id in the submission.",
        },
    },
    "additionalProperties": False,
}


class Filing(AnswerModel):
    """A stored submission: its id, and the signed receipt."""

    message_id: str = Field(description="The id of the submission; the Idempotency-Key where one was given.")
    new: bool = Field(description="False where the same submission was stored before under this id.")
    received_at: datetime
    receipt: str = Field(
        description="The receipt, signed by the hub (XAdES): XML, in base64.",
        json_schema_extra={"contentEncoding": "base64", "contentMediaType": XML},
    )
    receipt_url: str = Field(description="Where the receipt stays.")
    message_url: str = Field(
        description="Where the message stays; it names the case as soon as there is one."
    )


@SUBMISSIONS.declare(
    "POST",
    "/submissions",
    "fileSubmission",
    "File a signed submission",
    Answer(201, "The submission is stored", Filing, headers={"Location": "Where the message stays."}),
    Answer(
        200,
        "The same submission was stored before",
        Filing,
        headers={"Location": "Where the message stays."},
    ),
    description=(
        "The submission is the same document that a message of ebXML carries. It is on disk before the "
        "answer. It is checked after that: its case says whether it is refused, and why."
    ),
    headers=(
        HeaderParameter(
            _KEY,
            "The id of the submission, as MessageId. The same submission under the same id is stored "
            "once and gets the same receipt; another one is GW312. No step of it between slashes is '.' or "
            f"'..', and it does not end with {_ENDS}: no address could have it.",
            "^[!-;=?-~]{1,200}$",
            "order-2026-000123",
        ),
    ),
    body=RequestBody(
        "The signed submission, alone or with its attachments",
        {_FORM_TYPE: _FORM_SCHEMA, XML: {"type": "string", "format": "binary"}},
    ),
    problems=(403, 409, 413, 415, 422),
)
def _file_submission(call: ApiCall) -> ApiAnswer:
    """Store the submission in the body and answer its receipt: 201, or 200 if it was stored before."""
    content, attachments = _read_parts(call)
    key = call.headers.get(_KEY.lower(), "")
    if _is_unreachable(key):
        _check_earlier_key(call, key)
    filed = FiledSubmission(content, attachments, "api", call.party, call.caller.authentication, key)
    stored = file_submission(call.services.hub, filed)
    with read_transaction(call.services.engine) as conn:
        row = messages.find_by_id(conn, stored.message_row_id)
    path = f"{BASE_PATH}/messages/{quote(stored.message_id, safe='')}"
    answer = Filing(
        message_id=stored.message_id,
        new=stored.is_new,
        received_at=row.received_at if row else call.services.clock(),
        receipt=base64.b64encode(stored.receipt.body).decode(),
        receipt_url=f"{path}/receipt",
        message_url=path,
    )
    return ApiAnswer(answer, 201 if stored.is_new else 200, headers={"Location": path})


def _is_unreachable(key: str) -> bool:
    """Return whether no address leads to a message with this key.

    `.` and `..` are steps to clients and proxies, encoded too (RFC 3986 section 5.2.4), and the last words of
    other addresses lead there.
    """
    steps = key.split("/")
    return "." in steps or ".." in steps or (len(steps) > 1 and steps[-1] in _LAST_WORDS)


def _check_earlier_key(call: ApiCall, key: str) -> None:
    """Raise GW110 for a new key that no URL can contain; accept one that is stored already."""
    with read_transaction(call.services.engine) as conn:
        row = messages.find_by_message_id(conn, "in", call.party, key)
    if row is None:
        detail = f"no address can have this key: a step of it is '.' or '..', or it ends with {_ENDS}"
        raise GatewayError(REQUEST_MALFORMED, detail, _KEY)


def _read_parts(call: ApiCall) -> tuple[bytes, tuple[Payload, ...]]:
    """Return the submission and its attachments from a form; a body of XML is the submission alone."""
    if call.body:
        return call.body, ()
    submissions = [payload for name, payload in call.parts if name == _SUBMISSION]
    others = [name for name, _ in call.parts if name not in (_SUBMISSION, _ATTACHMENTS)]
    if call.form or others:
        name = next(iter((*call.form, *others))) or ""
        detail = f"{name[:40]!r} is no file of this form" if name else "a part has no name"
        raise GatewayError(MIME_MALFORMED, detail.replace("'", ""), name[:80])
    if len(submissions) != 1:
        raise GatewayError(MIME_MALFORMED, "the form has not exactly one file of this name", _SUBMISSION)
    return submissions[0].content, tuple(payload for name, payload in call.parts if name == _ATTACHMENTS)


def _find_message(conn: Connection, call: ApiCall) -> MessageRow:
    row = case_searches.find_own_message(conn, call.party, call.path["id"])
    if row is None:
        raise make_not_found_error("such message")
    return row


@MESSAGES.declare(
    "GET",
    "/messages/{id}",
    "getMessage",
    "Get the state of a message, and its case",
    Answer(200, "The message", Message),
    problems=(404,),
)
def _get_message(call: ApiCall) -> ApiAnswer:
    """Answer one message of the party, with its properties and the description of its parts."""
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        row = _find_message(conn, call)
        case = cases.find_by_id(conn, row.case_id) if row.case_id else None
        properties = read_message_properties(conn, row.id)
        parts = messages.list_parts(conn, row.id)
    return ApiAnswer(
        read_model(
            Message,
            row,
            channel=row.protocol,
            case=case.number if case else None,
            sha256=row.parcel_sha256,
            has_receipt=row.answer_sha256 is not None,
            properties=properties,
            parts=[
                read_model(
                    MessagePart,
                    part,
                    cid=part.content_id,
                    properties=[MessageProperty(name=name, value=value) for name, value in part.properties],
                )
                for part in parts
            ],
        )
    )


@MESSAGES.declare(
    "GET",
    "/messages/{id}/receipt",
    "getReceipt",
    "Get the stored receipt of a message that the caller sent, octet by octet",
    Answer(200, "The receipt, in the form in which it was made", media_type=_OCTETS),
    problems=(404,),
)
def _get_receipt(call: ApiCall) -> ApiAnswer:
    """Answer the stored response to a received message, with its own media type; 404 if there is none."""
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        stored = messages.find_response(conn, _find_message(conn, call).id)
    if stored is None:
        raise make_not_found_error("receipt of this message")
    media_type = next(
        (value for name, value in stored.headers.items() if name.lower() == "content-type"), XML
    )
    return ApiAnswer(stored.body, media_type=media_type)


@MESSAGES.declare(
    "GET",
    "/messages/{id}/document",
    "getDocument",
    "Get the document that a message carries: the submission, the result or the notice",
    Answer(200, "The document", media_type=XML),
    problems=(404,),
)
def _get_document(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        parts = messages.load_payloads(conn, _find_message(conn, call).id)
    if not parts:
        raise make_not_found_error("document in this message")
    return ApiAnswer(parts[0].octets, media_type=XML)
