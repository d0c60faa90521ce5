"""Sign and hand in: the submission as a file, the signed one taken back, and its receipt."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, abort, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.filing.draft_checks import DraftReport
from gateway.web.console.filing.draft_pages import MIB, check_open_draft, go_on, guard_page, make_judge
from gateway.web.console.filing.draft_service import Draft, load_draft
from gateway.web.console.filing.submission_return import find_handed_in, hand_in_draft, mend_draft
from gateway.web.console.page_guards import accept_files, get_visitor
from gateway.web.console.page_translations import translate

__all__ = ["add_signing_pages"]

_ROOM_FOR_SUBMISSION: Final = 16 * MIB


def add_signing_pages(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the pages."""

    @pages.get("/<int:number>/sign")
    @guard_page
    def show_signing(number: int) -> AnyResponse | str:
        draft = load_draft(services, get_visitor(), number)
        if mend_draft(services, get_visitor(), draft) or not draft.is_open:
            return redirect(draft.path)
        return _render_signing(draft, check_open_draft(services, draft))

    @pages.get("/<int:number>/submission.xml")
    @guard_page
    def download_submission(number: int) -> Response:
        draft = load_draft(services, get_visitor(), number)
        content = check_open_draft(services, draft).content
        return _answer_xml(content, f"submission-{draft.id}.xml")

    @pages.post("/<int:number>/sign")
    @accept_files(_ROOM_FOR_SUBMISSION)
    @guard_page
    def hand_in(number: int) -> AnyResponse | tuple[str, int]:
        return _answer_hand_in(services, load_draft(services, get_visitor(), number))

    @pages.get("/<int:number>/receipt.xml")
    @guard_page
    def download_receipt(number: int) -> Response:
        draft = load_draft(services, get_visitor(), number)
        done = find_handed_in(services, draft)
        if done is None or not done.receipt:
            abort(HTTPStatus.NOT_FOUND)
        return _answer_xml(done.receipt, f"receipt-{draft.id}.xml")


def _answer_xml(content: bytes, name: str) -> Response:
    if not content:
        abort(HTTPStatus.NOT_FOUND)
    answer = Response(content, content_type="application/xml")
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    return answer


def _render_signing(draft: Draft, report: DraftReport, **more: Any) -> str:
    return render_template("filing/sign.html", draft=draft, report=report, **more)


def _answer_hand_in(services: ConsoleServices, draft: Draft) -> AnyResponse | tuple[str, int]:
    visitor = get_visitor()
    if mend_draft(services, visitor, draft) or not draft.is_open:
        return redirect(draft.path)
    upload = request.files.get("signed")
    content = upload.stream.read() if upload is not None else b""
    found = hand_in_draft(services, visitor, draft, content, make_judge(services))
    if not found:
        return go_on(services, draft.path, translate("The submission was handed in."))
    report = check_open_draft(services, draft)
    return _render_signing(draft, report, refused=found), HTTPStatus.UNPROCESSABLE_ENTITY
