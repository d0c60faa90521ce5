"""What the pages of a draft share: the right, the open draft, the judgement, and where to go next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from flask import abort, redirect, request
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.hub import InspectionReport, SignerAdmission, inspect_submission, make_inspection_rules
from gateway.store import read_row_number
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.filing.draft_checks import DraftReport, Judge, check_draft
from gateway.web.console.filing.draft_service import Draft, load_draft, load_named_files
from gateway.web.console.page_guards import get_visitor, require_right
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate

__all__ = ["MIB", "check_open_draft", "go_on", "guard_page", "load_open_draft", "make_judge", "read_version"]

MIB: Final = 1024 * 1024


def guard_page(page: Callable[..., Any]) -> Callable[..., Any]:
    """Let only persons who file see a page."""
    return require_right(Right.FILE_SUBMISSIONS)(page)


def make_judge(services: ConsoleServices) -> Judge:
    """Return the judgement of the hub for the visitor's organisation, as of now."""
    party, now = get_visitor().organisation.code, services.clock()
    rules = make_inspection_rules(services.hub, party, now)
    # What is not signed yet is judged as if the organisation had signed it.
    assumed = replace(rules, admit=lambda _: SignerAdmission(party, None, {}), thorough=True)

    def judge(content: bytes, files: Mapping[str, bytes], signed: bool) -> InspectionReport:
        return inspect_submission(content, files, rules if signed else assumed)

    return judge


def check_open_draft(services: ConsoleServices, draft: Draft) -> DraftReport:
    """Return the judgement of a draft as it stands."""
    return check_draft(make_judge(services), draft, load_named_files(services, draft))


def load_open_draft(services: ConsoleServices, number: int) -> Draft:
    """Return a draft that may be changed; one that was handed in may not (409)."""
    draft = load_draft(services, get_visitor(), number)
    if not draft.is_open:
        abort(HTTPStatus.CONFLICT, translate("This submission was handed in and cannot be changed."))
    return draft


def go_on(services: ConsoleServices, path: str, sentence: str) -> Response:
    """Go to a page, which shows the sentence."""
    leave_notice(services, sentence)
    return redirect(path)


def read_version() -> int:
    """Return the version of the draft that the form shows."""
    return read_row_number(request.form.get("version", "")) or 0
