"""The pages of an answer to an agency: the form, the supplement to sign, and its return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from flask import Blueprint, abort, make_response, redirect, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.harmonize import AnswerField
from gateway.store import (
    AgencyRequestRow,
    CaseAnswerRow,
    CaseRow,
    agency_requests,
    case_answers,
    cases,
    messages,
    read_transaction,
)
from gateway.web.console.filing.draft_service import DraftFinding
from gateway.web.console.filing.form_input import make_painter
from gateway.web.console.filing.form_view import FieldNode, FormPainter, list_inputs, to_stated_moment
from gateway.web.console.following.answer_service import (
    MOST_OCTETS,
    AnswerBase,
    UploadedFile,
    hand_in_answer,
    prepare_answer,
    read_answer_base,
)
from gateway.web.console.following.case_pages import find_case, make_attachment
from gateway.web.console.page_formats import name_agency, name_document, translate
from gateway.web.console.page_guards import (
    require_right,
    services,
    store_flash_message,
    visitor,
)
from gateway.web.console.page_needs import accept_files

pages: Final = Blueprint("answers", __name__, url_prefix="/console/cases")

_FILES: Final = "files"
_Answer = str | Response | tuple[str, int]


@dataclass(frozen=True, slots=True)
class AnswerInput:
    """One field of the form, with its value filed before, and the input that the page draws for it."""

    field: AnswerField
    node: FieldNode


@pages.get("/<number>/answers/<application>")
@require_right(Right.FILE_SUBMISSIONS)
def show_answer_form(number: str, application: str) -> _Answer:
    """Show the form of an answer."""
    case = _read_case(number)
    return _render_form(case, _read_base(case, application), {}, ())


def _read_case(number: str) -> CaseRow:
    with read_transaction(services.engine) as conn:
        return find_case(conn, number)


def _read_base(case: CaseRow, application_number: str) -> AnswerBase:
    """Return the filed values and the notice with which the form of an answer to an agency begins.

    Answers 409 with the reason if there is no form: the application is decided, or the filed document cannot
    be read.
    """
    every, reason = request.values.get("all") == "1", None
    with read_transaction(services.engine) as conn:
        try:
            base = read_answer_base(conn, case, application_number, every_field=every)
        except GatewayError as problem:
            base, reason = None, problem
        if base is None:
            _find_request(conn, case, application_number)
    if base is None:
        page = render_template("following/no_answer.html", case=case, problem=reason)
        abort(make_response(page, HTTPStatus.CONFLICT))
    return base


def _find_request(conn: Connection, case: CaseRow, application_number: str) -> AgencyRequestRow:
    request_row = agency_requests.find_by_number(conn, application_number)
    if request_row is None or request_row.case_id != case.id:
        abort(HTTPStatus.NOT_FOUND)
    return request_row


def _render_form(
    case: CaseRow, base: AnswerBase, typed: Mapping[str, str], findings: Sequence[DraftFinding]
) -> str:
    """Return the page of the form, with `typed` values in place of those that were filed."""
    with read_transaction(services.engine) as conn:
        earlier = case_answers.list_answers(conn, visitor.organisation.code, base.request.id)
    painter = _make_painter(base, typed, findings)
    return render_template(
        "following/answer.html",
        case=case,
        base=base,
        agency=name_agency(services.hub.rules.bundle, base.request.agency),
        document=name_document(services.hub.rules.bundle, base.request.document),
        inputs=[AnswerInput(field, _draw_input(painter, field)) for field in base.answer_form.fields],
        lists=painter.lists,
        findings=findings,
        earlier=earlier,
        every=request.values.get("all") == "1",
        now=services.clock(),
    )


def _make_painter(
    base: AnswerBase, typed: Mapping[str, str], findings: Sequence[DraftFinding]
) -> FormPainter:
    """Return the painter of the answer form, with the values `typed` and the findings at their fields."""
    values = replace(base.answer_form.values, values={**base.answer_form.values.values, **typed})
    errors: dict[str, list[str]] = {}
    for finding in findings:
        if finding.key:
            errors.setdefault(finding.key, []).append(finding.sentence)
    return make_painter(values, errors)


def _draw_input(painter: FormPainter, field: AnswerField) -> FieldNode:
    """Return the input of a field, with the value filed before as its hint."""
    hint = translate("Nothing was filed here before.")
    if field.value:
        hint = f"{translate('Filed before')}: {field.value} {field.unit}".rstrip()
    node = painter.draw_input(field.key, field.field)
    return replace(node, label=node.label or field.field.name, hints=(hint,))


@pages.post("/<number>/answers/<application>")
@accept_files(MOST_OCTETS)
@require_right(Right.FILE_SUBMISSIONS)
def prepare_supplement(number: str, application: str) -> _Answer:
    """Make the supplement of the form, or show the form again with its errors."""
    case = _read_case(number)
    base = _read_base(case, application)
    values = dict(_list_changes(base))
    uploads = tuple(_list_uploads(base))
    if not values and not uploads:
        nothing = DraftFinding(translate("Nothing was changed and no file was added."))
        page = _render_form(case, base, values, (nothing,))
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    answer, findings = prepare_answer(base, values, uploads)
    if answer is None:
        page = _render_form(case, base, values, findings)
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    return redirect(f"/console/cases/{case.number}/answers/{application}/{answer}", HTTPStatus.SEE_OTHER)


def _list_changes(base: AnswerBase) -> Iterator[tuple[str, str]]:
    """Yield the key and the new value of each input whose text differs from the text on the page."""
    painter = _make_painter(base, {}, ())
    for node in list_inputs(painter.draw_input(field.key, field.field) for field in base.answer_form.fields):
        drawn, text = (
            value.replace("\r\n", "\n").strip()
            for value in (node.value, request.form.get(node.key, node.value))
        )
        if node.kind != "file" and text != drawn:
            yield node.key, to_stated_moment(text, painter.zone) if node.kind == "datetime-local" else text


def _list_uploads(base: AnswerBase) -> Iterator[UploadedFile]:
    """Yield the uploaded files of the request: first those of form fields, then those without a field."""
    for answer_field in base.answer_form.fields:
        if answer_field.is_file:
            for file in request.files.getlist(answer_field.key):
                if file.filename:
                    yield UploadedFile(answer_field.key, file.filename, file.read())
    for file in request.files.getlist(_FILES):
        if file.filename:
            yield UploadedFile("", file.filename, file.read())


@pages.get("/<number>/answers/<application>/<int:answer>")
@require_right(Right.FILE_SUBMISSIONS)
def show_answer(number: str, application: str, answer: int) -> str:
    """Show a supplement that was prepared."""
    return _render_answer(_read_case(number), application, answer)


def _render_answer(
    case: CaseRow, application_number: str, answer: int, findings: Sequence[DraftFinding] = ()
) -> str:
    """Return the page of a supplement: to be signed, or with the message that it has become."""
    with read_transaction(services.engine, acknowledges_data=True) as conn:
        request_row, row = _find_answer(conn, case, application_number, answer)
        message = None if row.message is None else messages.find_by_id(conn, row.message)
        became = message.case_id if message is not None else None
        other_case = None if became in (None, case.id) else cases.find_by_id(conn, became)
        files = case_answers.load_files(conn, row.id)
    return render_template(
        "following/answer_return.html",
        case=case,
        request_row=request_row,
        answer=row,
        files=files,
        message=message,
        other=other_case,
        findings=findings,
        agency=name_agency(services.hub.rules.bundle, request_row.agency),
        name=_make_file_name(case, row),
    )


def _find_answer(
    conn: Connection, case: CaseRow, application_number: str, answer: int
) -> tuple[AgencyRequestRow, CaseAnswerRow]:
    """Return the request and the party's stored answer with the number `answer`; 404 if there is none."""
    request_row = _find_request(conn, case, application_number)
    row = case_answers.find_answer(conn, visitor.organisation.code, request_row.id, answer)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    return request_row, row


def _make_file_name(case: CaseRow, answer: CaseAnswerRow) -> str:
    return f"{case.number}-answer-{answer.id}.xml"


@pages.get("/<number>/answers/<application>/<int:answer>/document")
@require_right(Right.FILE_SUBMISSIONS)
def fetch_answer(number: str, application: str, answer: int) -> Response:
    """Return the supplement without its signature, as a file."""
    with read_transaction(services.engine) as conn:
        case = find_case(conn, number)
        _, row = _find_answer(conn, case, application, answer)
    return make_attachment(_make_file_name(case, row), row.content)


@pages.get("/<number>/answers/<application>/<int:answer>/receipt")
@require_right(Right.FILE_SUBMISSIONS)
def fetch_answer_receipt(number: str, application: str, answer: int) -> Response:
    """Return the signed receipt of an answer that was handed in."""
    with read_transaction(services.engine, acknowledges_data=True) as conn:
        case = find_case(conn, number)
        _, row = _find_answer(conn, case, application, answer)
        response = None if row.message is None else messages.find_response(conn, row.message)
    if response is None:
        abort(HTTPStatus.NOT_FOUND)
    return make_attachment(f"{case.number}-answer-{row.id}-receipt.xml", response.body)


@pages.post("/<number>/answers/<application>/<int:answer>")
@accept_files(MOST_OCTETS)
@require_right(Right.FILE_SUBMISSIONS)
def return_answer(number: str, application: str, answer: int) -> _Answer:
    """Take the signed supplement back, and file it."""
    with read_transaction(services.engine) as conn:
        case = find_case(conn, number)
        _, row = _find_answer(conn, case, application, answer)
        files = case_answers.load_files(conn, row.id)
    file = request.files.get("signed")
    content = b"" if file is None else file.read()
    if row.message is None:
        findings = (
            hand_in_answer(row, files, content)
            if content
            else [DraftFinding(translate("Choose the signed file."))]
        )
        if findings:
            return _render_answer(case, application, answer, findings), HTTPStatus.UNPROCESSABLE_ENTITY
    store_flash_message(translate("Your answer was handed in. The receipt is on this page."))
    return redirect(f"/console/cases/{case.number}/answers/{application}/{answer}", HTTPStatus.SEE_OTHER)
