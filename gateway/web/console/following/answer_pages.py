"""The pages of an answer to an agency: the form, the supplement to sign, and its return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from flask import abort, g, redirect, render_template, request
from sqlalchemy import Connection, Row
from werkzeug.wrappers import Response

from gateway.errors import GatewayError
from gateway.harmonize import AnswerField, MappingBundle, list_field_codes
from gateway.store import (
    agency_requests,
    case_answers,
    cases,
    messages,
    read_transaction,
)
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.following.answer_service import (
    AnswerBase,
    AnswerFinding,
    UploadedFile,
    hand_in_answer,
    prepare_answer,
    read_answer_base,
)
from gateway.web.console.following.case_downloads import make_attachment
from gateway.web.console.following.case_words import name_agency, name_document
from gateway.web.console.page_guards import get_visitor
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate

__all__ = [
    "answer_download",
    "answer_form_page",
    "answer_form_post",
    "answer_receipt",
    "answer_signed_post",
    "show_answer",
]

_MOST_CHOICES: Final = 60
_LONG: Final = 120
_FILES: Final = "files"
_Answer = str | Response | tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Input:
    """One field as the page draws it; `kind` is text, long, date, choice or file."""

    id: str
    key: str
    label: str
    kind: str
    value: str
    before: str
    unit_key: str | None
    unit: str
    choices: tuple[tuple[str, str], ...]
    errors: tuple[AnswerFinding, ...]
    pointed: bool


def answer_form_page(services: ConsoleServices, case: Row[Any], number: str) -> _Answer:
    """Return the form of an answer."""
    base, problem = _read_base(services, case, number)
    if base is None:
        return _refuse_page(services, case, number, problem)
    return _render_form(services, case, base, {}, ())


def _read_base(
    services: ConsoleServices, case: Row[Any], number: str
) -> tuple[AnswerBase | None, GatewayError | None]:
    every = request.values.get("all") == "1"
    with read_transaction(services.engine) as conn:
        try:
            return read_answer_base(conn, services, case, number, every_field=every), None
        except GatewayError as problem:
            return None, problem


def _refuse_page(
    services: ConsoleServices, case: Row[Any], number: str, problem: GatewayError | None
) -> tuple[str, int]:
    """Return why there is no form: the application is decided, or what was filed cannot be read."""
    with read_transaction(services.engine) as conn:
        _find_request(conn, case, number)
    page = render_template("following/no_answer.html", case=case, problem=problem)
    return page, HTTPStatus.CONFLICT


def _find_request(conn: Connection, case: Row[Any], number: str) -> Row[Any]:
    found = agency_requests.find_by_number(conn, number)
    if found is None or found.case_id != case.id:
        abort(HTTPStatus.NOT_FOUND)
    return found


def _render_form(
    services: ConsoleServices,
    case: Row[Any],
    base: AnswerBase,
    given: Mapping[str, str],
    found: Sequence[AnswerFinding],
) -> str:
    bundle = services.hub.rules.bundle
    with read_transaction(services.engine) as conn:
        earlier = case_answers.list_answers(conn, get_visitor().organisation.code, base.request.id)
    return render_template(
        "following/answer.html",
        case=case,
        base=base,
        agency=name_agency(bundle, base.request.agency),
        document=name_document(bundle, base.request.document),
        inputs=list(_draw_inputs(bundle, base, given, found)),
        findings=found,
        earlier=earlier,
        every=request.values.get("all") == "1",
        now=services.clock(),
    )


def _draw_inputs(
    bundle: MappingBundle, base: AnswerBase, given: Mapping[str, str], found: Sequence[AnswerFinding]
) -> Iterator[_Input]:
    for place, one in enumerate(base.form.fields, 1):
        codes = list_field_codes(one.field, bundle)
        value = given.get(one.key, one.value)
        yield _Input(
            id=f"field-{place}",
            key=one.key,
            label=(one.field.ko if g.language == "ko" else one.field.en) or one.field.name,
            kind=_choose_kind(one, len(codes)),
            value=value,
            before=one.value,
            unit_key=one.unit_key,
            unit=given.get(one.unit_key or "", one.unit),
            choices=_list_choices(codes, value),
            errors=tuple(each for each in found if each.key == one.key),
            pointed=one.pointed,
        )


def _choose_kind(one: AnswerField, codes: int) -> str:
    if one.is_file:
        return "file"
    if 0 < codes <= _MOST_CHOICES:
        return "choice"
    if one.field.kind == "date":
        return "date"
    longest = one.field.shape.longest
    return "long" if len(one.value) > _LONG or (longest is not None and longest > _LONG) else "text"


def _list_choices(codes: Mapping[str, tuple[str, str]], value: str) -> tuple[tuple[str, str], ...]:
    """Return the codes with their labels; a value that is no code of the list is kept as one."""
    if not 0 < len(codes) <= _MOST_CHOICES:
        return ()
    place = 0 if g.language == "ko" else 1
    found = [("", ""), *((code, f"{code} {labels[place]}".strip()) for code, labels in codes.items())]
    if value not in {code for code, _ in found}:
        found.append((value, value))
    return tuple(found)


def answer_form_post(services: ConsoleServices, case: Row[Any], number: str) -> _Answer:
    """Make the supplement of the form; show the form again with what is wrong."""
    base, problem = _read_base(services, case, number)
    if base is None:
        return _refuse_page(services, case, number, problem)
    known = {one.key for one in base.form.fields if not one.is_file}
    known |= {one.unit_key for one in base.form.fields if one.unit_key}
    given = {key: value.replace("\r\n", "\n").strip() for key, value in request.form.items() if key in known}
    uploads = tuple(_list_uploads(base))
    changed = any(base.form.values.values.get(key, "") != value for key, value in given.items())
    if not changed and not uploads:
        nothing = AnswerFinding("", translate("Nothing was changed and no file was added."))
        page = _render_form(services, case, base, given, (nothing,))
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    answer, found = prepare_answer(services, get_visitor(), base, given, uploads)
    if answer is None:
        page = _render_form(services, case, base, given, found)
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    return redirect(f"/console/cases/{case.number}/answers/{number}/{answer}", HTTPStatus.SEE_OTHER)


def _list_uploads(base: AnswerBase) -> Iterator[UploadedFile]:
    for one in base.form.fields:
        if one.is_file:
            for file in request.files.getlist(one.key):
                if file.filename:
                    yield UploadedFile(one.key, file.filename, file.read())
    for file in request.files.getlist(_FILES):
        if file.filename:
            yield UploadedFile("", file.filename, file.read())


def show_answer(
    services: ConsoleServices,
    case: Row[Any],
    number: str,
    answer: int,
    found: Sequence[AnswerFinding] = (),
) -> str:
    """Return the page of a supplement: to be signed, or what became of it."""
    with read_transaction(services.engine, promises=True) as conn:
        asked, row = _find_answer(conn, case, number, answer)
        message = None if row.message is None else messages.find_by_id(conn, row.message)
        became = message.case_id if message is not None else None
        other = None if became in (None, case.id) else cases.find_by_id(conn, became)
        files = case_answers.load_files(conn, row.id)
    return render_template(
        "following/answer_return.html",
        case=case,
        request_row=asked,
        answer=row,
        files=files,
        message=message,
        other=other,
        findings=found,
        agency=name_agency(services.hub.rules.bundle, asked.agency),
        name=_name_file(case, row),
    )


def _find_answer(conn: Connection, case: Row[Any], number: str, answer: int) -> tuple[Row[Any], Row[Any]]:
    asked = _find_request(conn, case, number)
    row = case_answers.find_answer(conn, get_visitor().organisation.code, asked.id, answer)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    return asked, row


def _name_file(case: Row[Any], answer: Row[Any]) -> str:
    return f"{case.number}-answer-{answer.id}.xml"


def answer_download(services: ConsoleServices, case: Row[Any], number: str, answer: int) -> Response:
    """Return the supplement without its signature, as a file."""
    with read_transaction(services.engine) as conn:
        _, row = _find_answer(conn, case, number, answer)
    return make_attachment(_name_file(case, row), row.content)


def answer_receipt(services: ConsoleServices, case: Row[Any], number: str, answer: int) -> Response:
    """Return the signed receipt of an answer that was handed in."""
    with read_transaction(services.engine, promises=True) as conn:
        _, row = _find_answer(conn, case, number, answer)
        response = None if row.message is None else messages.find_response(conn, row.message)
    if response is None:
        abort(HTTPStatus.NOT_FOUND)
    return make_attachment(f"{case.number}-answer-{row.id}-receipt.xml", response.body)


def answer_signed_post(services: ConsoleServices, case: Row[Any], number: str, answer: int) -> _Answer:
    """Take the signed supplement back, and file it."""
    visitor = get_visitor()
    with read_transaction(services.engine) as conn:
        _, row = _find_answer(conn, case, number, answer)
        files = case_answers.load_files(conn, row.id)
    file = request.files.get("signed")
    content = b"" if file is None else file.read()
    if row.message is None:
        found = (
            hand_in_answer(services, visitor, row, files, content)
            if content
            else [AnswerFinding("", translate("Choose the signed file."))]
        )
        if found:
            return show_answer(services, case, number, answer, found), HTTPStatus.UNPROCESSABLE_ENTITY
    leave_notice(services, translate("Your answer was handed in. The receipt is on this page."))
    return redirect(f"/console/cases/{case.number}/answers/{number}/{answer}", HTTPStatus.SEE_OTHER)
