"""Answers to agencies by form: what the form begins from, the supplement that it makes, and its return.

The supplement is signed by the trader, outside of the gateway. What comes back must be the same document;
it is filed as every submission without ebXML is, and admitted as every supplement is.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.harmonize import AnswerForm, FormAttachment, compose_answer, make_answer_form
from gateway.hub import (
    FiledSubmission,
    InspectionFinding,
    SignerAdmission,
    file_submission,
    inspect_submission,
    make_inspection_rules,
)
from gateway.message_model import Payload
from gateway.state_machines import CASE, REQUEST
from gateway.store import (
    NewAnswer,
    agency_requests,
    case_answers,
    messages,
    notices,
    write_transaction,
)
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.page_translations import translate
from gateway.web.console.visitor_session import Visitor
from gateway.wire import DS, parse_xml, serialize_element
from gateway.xmlsec import compute_unsigned_digest

__all__ = [
    "MOST_FILES",
    "MOST_OCTETS",
    "AnswerBase",
    "AnswerFinding",
    "UploadedFile",
    "hand_in_answer",
    "prepare_answer",
    "read_answer_base",
]

MOST_FILES: Final = 20
MOST_OCTETS: Final = 20 * 1024 * 1024
_MOST_MESSAGES: Final = 200
_ACTIONS: Final = ("Submit", "Supplement")
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_UNKNOWN_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of the form: the key of its field, empty for one that belongs to no field."""

    key: str
    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class AnswerBase:
    """What an answer begins from: the request, the form with its values, and the files sent before."""

    request: Row[Any]
    form: AnswerForm
    files: tuple[Payload, ...]
    question: Row[Any] | None


@dataclass(frozen=True, slots=True)
class AnswerFinding:
    """What is wrong with an answer, and the key of the field; an empty key is the whole."""

    problem: str
    sentence: str
    key: str = ""


def read_answer_base(
    conn: Connection, services: ConsoleServices, case: Row[Any], number: str, *, every_field: bool = False
) -> AnswerBase | None:
    """Return what an answer about an application of the case begins from; None when there is none.

    There is none for another application, and for one that waits for nothing any more. Raises
    GW402 where what was filed cannot be read, GW501 for a document without a mapping.
    """
    request = agency_requests.find_by_number(conn, number)
    if request is None or request.case_id != case.id or request.state in REQUEST.final:
        return None
    if case.state in CASE.final or case.state == "DECIDED":
        return None
    said = notices.list_by_request(conn, request.id)
    asking = [row for row in said if row.pointers or row.text or row.deadline]
    question = max(asking, key=lambda row: (row.issued_at, row.number), default=None)
    pointers = () if question is None else tuple(question.pointers)
    stored = messages.list_messages(conn, limit=_MOST_MESSAGES, case_id=case.id, direction="in")
    for row in stored:
        if row.action not in _ACTIONS or row.state != "PROCESSED" or row.problem is not None:
            continue
        parts = messages.load_payloads(conn, row.id)
        root = parse_xml(parts[0].content, services.hub.limits)
        if any(one.get("id") == request.application for one in root.iterfind("{*}Application")):
            form = make_answer_form(
                services.hub.rules.bundle, root, request.application, pointers, every_field=every_field
            )
            return AnswerBase(request, form, parts[1:], question)
    raise GatewayError(DOCUMENT_INVALID, "the submission of this application is not stored", number[:40])


def prepare_answer(
    services: ConsoleServices,
    visitor: Visitor,
    base: AnswerBase,
    changes: Mapping[str, str],
    uploads: Sequence[UploadedFile],
) -> tuple[int | None, list[AnswerFinding]]:
    """Store the supplement that the form makes; return its id, or what the hub would refuse in it."""
    found = _check_uploads(uploads)
    if found:
        return None, found
    named = [(one, _name_content(one)) for one in uploads]
    given = {**changes, **{one.key: cid for one, cid in named if one.key}}
    attachments = tuple(_describe_file(one, cid) for one, cid in named)
    try:
        composed = compose_answer(base.form, given, attachments)
    except GatewayError as problem:
        return None, [AnswerFinding(problem.problem.id, problem.detail, problem.location)]
    content = serialize_element(composed.root)
    wanted = {str(one.get("cid")) for one in composed.root.iter("{*}Attachment")}
    new = (Payload(cid, _guess_type(one.name), one.content) for one, cid in named)
    files = {one.content_id: one for one in (*base.files, *new) if one.content_id in wanted}
    found = _inspect_unsigned(services, visitor, base, content, files)
    if found:
        return None, found
    stored = NewAnswer(
        visitor.organisation.code,
        base.request.id,
        content,
        compute_unsigned_digest(parse_xml(content, services.hub.limits)),
        visitor.name,
        tuple(files.values()),
    )
    with write_transaction(services.engine, "console.answer") as conn:
        return case_answers.insert_answer(conn, stored, services.clock()), []


def _check_uploads(uploads: Sequence[UploadedFile]) -> list[AnswerFinding]:
    if len(uploads) > MOST_FILES:
        return [AnswerFinding("", translate("There are too many files."))]
    if any(not one.content for one in uploads):
        return [AnswerFinding("", translate("A file is empty."))]
    return []


def _name_content(one: UploadedFile) -> str:
    """Return the content id of a file: the same file has the same one."""
    clean = _STRANGE.sub("_", one.name).strip("._")[-60:] or "file"
    return f"{hashlib.sha256(one.content).hexdigest()[:16]}-{clean}"


def _describe_file(one: UploadedFile, cid: str) -> FormAttachment:
    digest = hashlib.sha256(one.content).hexdigest()
    return FormAttachment(cid, 1, _guess_type(one.name), digest, len(one.content))


def _guess_type(name: str) -> str:
    """Return the media type of a file by its name; what the browser says of it is not believed."""
    return mimetypes.guess_type(name)[0] or _UNKNOWN_TYPE


def _inspect_unsigned(
    services: ConsoleServices,
    visitor: Visitor,
    base: AnswerBase,
    content: bytes,
    files: Mapping[str, Payload],
) -> list[AnswerFinding]:
    """Return what the hub would refuse, if this party signed the supplement as it is."""
    party = visitor.organisation.code
    rules = make_inspection_rules(services.hub, party, services.clock())
    signed = SignerAdmission(party, None, {})
    report = inspect_submission(
        content,
        {cid: one.content for cid, one in files.items()},
        replace(rules, admit=lambda _: signed, thorough=True),
    )
    return _place_findings(base.form, report.findings)


def _place_findings(form: AnswerForm, found: Iterable[InspectionFinding]) -> list[AnswerFinding]:
    return [AnswerFinding(one.problem.id, one.message, form.find_key(one.pointer)) for one in found]


def hand_in_answer(
    services: ConsoleServices, visitor: Visitor, answer: Row[Any], files: Sequence[Payload], content: bytes
) -> list[AnswerFinding]:
    """File the signed supplement; return what is wrong with it, nothing when it is stored."""
    try:
        root = parse_xml(content, services.hub.limits)
    except GatewayError as problem:
        return [AnswerFinding(problem.problem.id, problem.detail)]
    if root.find(f"{{{DS}}}Signature") is None:
        return [AnswerFinding("", translate("The file has no signature. Sign it first."))]
    if compute_unsigned_digest(root) != answer.fingerprint:
        return [AnswerFinding("", translate("This is not the document that was prepared here."))]
    party = visitor.organisation.code
    rules = make_inspection_rules(services.hub, party, services.clock())
    report = inspect_submission(content, {one.content_id: one.content for one in files}, rules)
    if report.findings:
        return [AnswerFinding(one.problem.id, one.message) for one in report.findings]
    return _file_answer(services, visitor, answer, (content, tuple(files)))


def _file_answer(
    services: ConsoleServices,
    visitor: Visitor,
    answer: Row[Any],
    signed: tuple[bytes, tuple[Payload, ...]],
) -> list[AnswerFinding]:
    content, files = signed
    filed = FiledSubmission(
        content,
        files,
        "console",
        visitor.organisation.code,
        {"account": visitor.name, "sign_in": visitor.method, "answer": answer.id},
        # An answer becomes one message, however often it is sent.
        f"answer-{answer.id}-{answer.created_at:%Y%m%d%H%M%S%f}@{services.hub.host}",
    )
    try:
        receipt = file_submission(services.hub, filed)
    except GatewayError as problem:
        return [AnswerFinding(problem.problem.id, problem.detail)]
    with write_transaction(services.engine, "console.answer") as conn:
        case_answers.mark_handed_in(conn, answer.id, receipt.message, services.clock())
    return []
