"""Answers to agencies by form: the initial form, the supplement that is made of it, and its signed upload.

The trader signs the supplement outside of the gateway. The uploaded document must be the same one; it is
filed like every submission without ebXML, and admitted like every supplement.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.cases import DeadlineKind
from gateway.errors import DOCUMENT_INVALID, TOO_MANY_REQUESTS, GatewayError
from gateway.harmonize import AnswerForm, FormAttachment, compose_answer, make_answer_form
from gateway.message_model import Payload
from gateway.notice_order import order_notice
from gateway.state_machines import CASE, REQUEST
from gateway.store import (
    AgencyRequestRow,
    CaseAnswerRow,
    CaseRow,
    NewAnswer,
    NoticeRow,
    agency_requests,
    case_answers,
    deadlines,
    messages,
    notices,
    write_transaction,
)
from gateway.web.case_bundle import clean_file_name
from gateway.web.console.filing.draft_pages import PreparedDocument, file_signed_document, make_judge
from gateway.web.console.filing.draft_service import DraftFinding, describe_problem, link_finding
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import services, visitor
from gateway.wire import parse_xml, serialize_element
from gateway.xmlsec import compute_unsigned_digest

MOST_FILES: Final = 20
MOST_OCTETS: Final = 20 * 1024 * 1024
#: Answers that a party prepares about one application within a day; the pages list as many.
MOST_ANSWERS: Final = 20
_MOST_MESSAGES: Final = 200
_ACTIONS: Final = ("Submit", "Supplement")
_UNKNOWN_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of the form: the key of its field, empty for one that belongs to no field."""

    key: str
    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class AnswerBase:
    """The start of an answer: the request, its form with the filed values, and the files sent before.

    `deadline` is the one of the agency's open question; None where there is none.
    """

    request: AgencyRequestRow
    answer_form: AnswerForm
    files: tuple[Payload, ...]
    question: NoticeRow | None
    deadline: datetime | None


def read_answer_base(
    conn: Connection, case: CaseRow, application_number: str, *, every_field: bool = False
) -> AnswerBase | None:
    """Return the notice to answer and the form with the filed values; None if no answer is possible.

    None for an application of another case, and for one that is finished. Raises GW402 if the filed document
    cannot be read, GW501 for a document without a mapping.
    """
    request = agency_requests.find_by_number(conn, application_number)
    if request is None or request.case_id != case.id or request.state in REQUEST.final_states:
        return None
    if case.state in CASE.final_states or case.state == "DECIDED":
        return None
    agency_notices = notices.list_by_request(conn, request.id)
    codes = services.hub.load_rules_of(conn, request).status_codes
    questions = {code.code for code in codes.values() if code.event == "ask"}
    asking = [row for row in agency_notices if row.pointers or row.text or row.deadline]
    # The latest question of the agency; without a question, its latest other notice.
    question = max(
        asking,
        key=lambda row: (row.status_code in questions, order_notice(row.issued_at, row.number), row.id),
        default=None,
    )
    pointers = () if question is None else tuple(question.pointers)
    stored = messages.list_messages(conn, limit=_MOST_MESSAGES, case_id=case.id, direction="in")
    for row in stored:
        if row.action not in _ACTIONS or row.state != "PROCESSED" or row.problem is not None:
            continue
        parts = messages.load_payloads(conn, row.id)
        root = parse_xml(parts[0].content, services.hub.limits)
        if any(
            application.get("id") == request.application for application in root.iterfind("{*}Application")
        ):
            form = make_answer_form(
                services.hub.rules.bundle, root, request.application, pointers, every_field=every_field
            )
            return AnswerBase(request, form, parts[1:], question, _find_deadline(conn, request))
    raise GatewayError(
        DOCUMENT_INVALID, "the submission of this application is not stored", application_number[:40]
    )


def _find_deadline(conn: Connection, request: AgencyRequestRow) -> datetime | None:
    """Return the deadline of the open question about a request; None where there is none."""
    due_times = [
        row.due_at
        for row in deadlines.list_running(conn, [request.case_id])
        if row.request_id == request.id and row.kind == DeadlineKind.ANSWER and row.due_at is not None
    ]
    return min(due_times, default=None)


def prepare_answer(
    base: AnswerBase, changes: Mapping[str, str], uploads: Sequence[UploadedFile]
) -> tuple[int | None, list[DraftFinding]]:
    """Store the supplement that the form makes; return its id, or the findings that refuse it."""
    findings = _check_uploads(uploads)
    if findings:
        return None, findings
    named_uploads = [(upload, _make_content_id(upload)) for upload in uploads]
    values = {**changes, **{upload.key: cid for upload, cid in named_uploads if upload.key}}
    attachments = tuple(_describe_file(upload, cid) for upload, cid in named_uploads)
    try:
        composed = compose_answer(base.answer_form, values, attachments)
    except GatewayError as problem:
        return None, [replace(describe_problem(problem), key=problem.location)]
    content = serialize_element(composed.root)
    used_ids = {str(attachment.get("cid")) for attachment in composed.root.iter("{*}Attachment")}
    new = (Payload(cid, _guess_type(upload.name), upload.content) for upload, cid in named_uploads)
    files = {payload.content_id: payload for payload in (*base.files, *new) if payload.content_id in used_ids}
    report = make_judge()(content, {cid: file.content for cid, file in files.items()}, False)
    # A field outside of the form has no key: its finding keeps the words that name it.
    findings = [
        link_finding(finding, base.answer_form.find_key(finding.pointer) or None)
        for finding in report.findings
    ]
    if findings:
        return None, findings
    new_answer = NewAnswer(
        visitor.organisation.code,
        base.request.id,
        content,
        compute_unsigned_digest(parse_xml(content, services.hub.limits)),
        visitor.name,
        tuple(files.values()),
    )
    with write_transaction(services.engine, "console.answer") as conn:
        now = services.clock()
        since = now - timedelta(days=1)
        if case_answers.count_answers(conn, new_answer.party, new_answer.request_id, since) >= MOST_ANSWERS:
            detail = f"{MOST_ANSWERS} answers about this application were prepared within a day: send one"
            return None, [describe_problem(GatewayError(TOO_MANY_REQUESTS, detail))]
        return case_answers.insert_answer(conn, new_answer, now), []


def _check_uploads(uploads: Sequence[UploadedFile]) -> list[DraftFinding]:
    if len(uploads) > MOST_FILES:
        return [DraftFinding(translate("There are too many files."))]
    if any(not upload.content for upload in uploads):
        return [DraftFinding(translate("A file is empty."))]
    return []


def _make_content_id(upload: UploadedFile) -> str:
    """Return the content id of a file, made of its digest and its name."""
    clean_name = clean_file_name(upload.name[-60:], "file")
    return f"{hashlib.sha256(upload.content).hexdigest()[:16]}-{clean_name}"


def _describe_file(upload: UploadedFile, cid: str) -> FormAttachment:
    digest = hashlib.sha256(upload.content).hexdigest()
    return FormAttachment(cid, 1, _guess_type(upload.name), digest, len(upload.content))


def _guess_type(name: str) -> str:
    """Return the media type of a file by its name; the type that the browser sends is not used."""
    return mimetypes.guess_type(name)[0] or _UNKNOWN_TYPE


def hand_in_answer(answer: CaseAnswerRow, files: Sequence[Payload], content: bytes) -> list[DraftFinding]:
    """File the signed supplement; return the findings on it, none when it is stored."""
    mismatch = translate("This is not the document that was prepared here.")
    prepared = PreparedDocument("answer", answer, answer.fingerprint, tuple(files), mismatch)
    return file_signed_document(
        prepared,
        content,
        lambda conn, message: case_answers.mark_handed_in(conn, answer.id, message, services.clock()),
    )
