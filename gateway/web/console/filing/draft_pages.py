"""Functions that the pages of a draft share, and the pages to which the signed submission is uploaded.

The uploaded document must be that of the draft, with a valid signature. It is then processed like every
submission without ebXML (`gateway.hub.file_submission`). The private key of the trader never reaches the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from http import HTTPStatus
from typing import Final

from flask import Blueprint, Response, abort, g, redirect, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response as AnyResponse

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.harmonize import write_form_values
from gateway.hub import (
    FiledSubmission,
    InspectionReport,
    SignerAdmission,
    file_submission,
    inspect_submission,
    make_inspection_rules,
)
from gateway.message_model import Payload
from gateway.store import (
    CaseAnswerRow,
    CaseRow,
    MessageRow,
    SubmissionDraftRow,
    cases,
    messages,
    read_position,
    read_transaction,
    submission_drafts,
    write_transaction,
)
from gateway.web.console.filing.draft_service import (
    Draft,
    DraftFinding,
    DraftReport,
    Judge,
    check_draft,
    check_signed_document,
    describe_problem,
    load_draft,
    load_named_files,
)
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import (
    require_right,
    services,
    store_flash_message,
    visitor,
)
from gateway.web.console.page_needs import accept_files
from gateway.wire import DS, parse_xml
from gateway.xmlsec import compute_unsigned_digest

pages: Final = Blueprint("signing", __name__)

MIB: Final = 1024 * 1024


#: Lets only persons who file see a page.
guard_page: Final = require_right(Right.FILE_SUBMISSIONS)


def make_judge() -> Judge:
    """Return the object that checks submissions of the visitor's organisation, with rules as of now."""
    party, now = visitor.organisation.code, services.clock()
    rules = make_inspection_rules(services.hub, party, now)
    # An unsigned submission is judged as if the organisation had signed it.
    assumed = replace(rules, admit=lambda _: SignerAdmission(party, None, {}), ignores_schema_errors=True)

    def judge(content: bytes, files: Mapping[str, bytes], is_signed: bool) -> InspectionReport:
        return inspect_submission(content, files, rules if is_signed else assumed)

    return judge


def check_open_draft(draft: Draft) -> DraftReport:
    """Return the report on a draft with its present values, for pages; a draft that is filed is checked anew.

    The report is reused for up to a minute, if draft, party, register, mappings and language are the same.
    """
    # SQLite gives the number of a deleted draft to the next new draft, also to one of another party.
    party = visitor.organisation.code
    rules = services.hub.rules
    # The content ids of files are made of their digests, so the values stand for the files, too.
    values = sha256(write_form_values(draft.values).encode()).digest()
    epoch = services.hub.refresh_snapshot().epoch
    key = (draft.id, party, values, g.language, epoch, rules.bundle.digest, rules.tables)
    return services.draft_reports.find_report(
        key,
        services.clock(),
        lambda: check_draft(make_judge(), draft, load_named_files(draft)),
    )


def load_open_draft(number: int) -> Draft:
    """Return a draft that may be changed; answers 409 for a draft that was handed in already."""
    draft = load_draft(number)
    if not draft.is_open:
        abort(HTTPStatus.CONFLICT, translate("This submission was handed in and cannot be changed."))
    return draft


def redirect_with_message(path: str, sentence: str) -> AnyResponse:
    """Return a redirect to a page of the console, which then shows the sentence."""
    store_flash_message(sentence)
    return redirect(path)


def read_version() -> int:
    """Return the version of the draft that the form shows."""
    return read_position(request.form.get("version", "")) or 0


@dataclass(frozen=True, slots=True)
class HandedIn:
    """A draft that was handed in: its message, its case as soon as there is one, and its receipt."""

    message: MessageRow
    case: CaseRow | None
    receipt: bytes


def hand_in_draft(draft: Draft, signed: bytes) -> list[DraftFinding]:
    """Hand in the signed submission of a draft; return the findings on it, none when it is stored."""
    contents = load_named_files(draft)
    fingerprint = check_draft(make_judge(), draft, contents).fingerprint
    mismatch = translate("This is another document than the draft: the draft or the file was changed.")
    types = {attachment.cid: attachment.media_type for attachment in draft.values.attachments}
    # A file that is not stored is a finding of the judge.
    files = tuple(Payload(cid, kind, contents[cid]) for cid, kind in types.items() if cid in contents)
    prepared = PreparedDocument("draft", draft.row, fingerprint, files, mismatch)
    return file_signed_document(
        prepared,
        signed,
        lambda conn, message: submission_drafts.mark_handed_in(conn, draft.id, message, services.clock()),
    )


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A document that a person signs outside of the gateway, with its attached files.

    `kind` says whether its `row` is a draft or an answer. `fingerprint` is the digest of the document without
    a signature. `mismatch` is the sentence for a signed document that is not the prepared one.
    """

    kind: str
    row: SubmissionDraftRow | CaseAnswerRow
    fingerprint: str
    files: tuple[Payload, ...]
    mismatch: str

    @property
    def message_id(self) -> str:
        """Return the id of its message: it becomes one message, however often it is sent.

        The time is part of it because the number of a deleted draft may be given again.
        """
        return f"{self.kind}-{self.row.id}-{self.row.created_at:%Y%m%d%H%M%S%f}@{services.hub.host}"


def file_signed_document(
    prepared: PreparedDocument, signed: bytes, mark_filed: Callable[[Connection, int], None]
) -> list[DraftFinding]:
    """File a signed document; return the findings on it, none when it is stored.

    `mark_filed` is called with the row id of the message that was made of the document.
    """
    files = {file.content_id: file.content for file in prepared.files}
    findings = _check_prepared_document(prepared, signed) or check_signed_document(
        make_judge(), files, signed
    )
    if findings:
        return findings
    origin = {"account": visitor.name, "sign_in": visitor.method, prepared.kind: prepared.row.id}
    filing = FiledSubmission(
        signed, prepared.files, "console", visitor.organisation.code, origin, prepared.message_id
    )
    try:
        receipt = file_submission(services.hub, filing)
    except GatewayError as problem:
        return [describe_problem(problem)]
    with write_transaction(services.engine, "console.handed_in") as conn:
        mark_filed(conn, receipt.message_row_id)
    return []


def _check_prepared_document(prepared: PreparedDocument, content: bytes) -> list[DraftFinding]:
    """Return a finding unless this is the prepared document, with a signature."""
    try:
        root = parse_xml(content, services.hub.limits)
    except GatewayError as problem:
        return [describe_problem(problem)]
    if root.find(f"{{{DS}}}Signature") is None:
        return [DraftFinding(translate("The file has no signature. Sign it first."))]
    actual = compute_unsigned_digest(root)
    if actual != prepared.fingerprint:
        return [DraftFinding(prepared.mismatch, f"{actual[:16]} ≠ {prepared.fingerprint[:16]}")]
    return []


def mark_filed_draft(draft: Draft) -> bool:
    """Mark an open draft as handed in if its message is stored already; return whether it was marked."""
    if not draft.is_open:
        return False
    with read_transaction(services.engine) as conn:
        name = PreparedDocument("draft", draft.row, "", (), "").message_id
        row = messages.find_by_message_id(conn, "in", visitor.organisation.code, name)
    if row is None:
        return False
    with write_transaction(services.engine, "console.handed_in") as conn:
        submission_drafts.mark_handed_in(conn, draft.id, row.id, row.received_at)
    return True


def find_handed_in(draft: Draft) -> HandedIn | None:
    """Return message, case and receipt of a draft that was handed in; None for any other."""
    if draft.row.message is None:
        return None
    # The page acknowledges the submission, so all required copies must have the data that it shows.
    with read_transaction(services.engine, acknowledges_data=True) as conn:
        message = messages.find_by_id(conn, draft.row.message)
        answer = messages.find_response(conn, draft.row.message)
        case = cases.find_by_id(conn, message.case_id) if message is not None and message.case_id else None
    if message is None:
        return None
    return HandedIn(message, case, b"" if answer is None else answer.body)


_ROOM_FOR_SUBMISSION: Final = 16 * MIB


@pages.get("/<int:number>/sign")
@guard_page
def show_signing(number: int) -> AnyResponse | str:
    """Show how a draft is signed, and handed in."""
    draft = load_draft(number)
    if mark_filed_draft(draft) or not draft.is_open:
        return redirect(draft.path)
    return _render_signing(draft, check_open_draft(draft))


@pages.get("/<int:number>/submission.xml")
@guard_page
def download_submission(number: int) -> Response:
    """Return the submission of a draft, to be signed."""
    draft = load_draft(number)
    content = check_open_draft(draft).content
    return _answer_xml(content, f"submission-{draft.id}.xml")


@pages.get("/<int:number>/receipt.xml")
@guard_page
def download_receipt(number: int) -> Response:
    """Return the signed receipt of a submission."""
    draft = load_draft(number)
    handed_in = find_handed_in(draft)
    if handed_in is None or not handed_in.receipt:
        abort(HTTPStatus.NOT_FOUND)
    return _answer_xml(handed_in.receipt, f"receipt-{draft.id}.xml")


def _answer_xml(content: bytes, name: str) -> Response:
    if not content:
        abort(HTTPStatus.NOT_FOUND)
    answer = Response(content, content_type="application/xml")
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    return answer


def _render_signing(draft: Draft, report: DraftReport, refused: Sequence[DraftFinding] = ()) -> str:
    return render_template("filing/sign.html", draft=draft, report=report, refused=refused)


@pages.post("/<int:number>/sign")
@accept_files(_ROOM_FOR_SUBMISSION)
@guard_page
def hand_in(number: int) -> AnyResponse | tuple[str, int]:
    """Take the signed submission back, and hand it in."""
    draft = load_draft(number)
    if mark_filed_draft(draft) or not draft.is_open:
        return redirect(draft.path)
    upload = request.files.get("signed")
    content = upload.stream.read() if upload is not None else b""
    findings = hand_in_draft(draft, content)
    if not findings:
        return redirect_with_message(draft.path, translate("The submission was handed in."))
    report = check_open_draft(draft)
    return _render_signing(draft, report, refused=findings), HTTPStatus.UNPROCESSABLE_ENTITY
