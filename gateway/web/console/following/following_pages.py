"""The pages on which a party follows its cases."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, abort, render_template
from sqlalchemy import Connection, Row
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.cases import normalize_hub_number
from gateway.store import party_cases, read_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.following.answer_pages import (
    answer_download,
    answer_form_page,
    answer_form_post,
    answer_receipt,
    answer_signed_post,
    show_answer,
)
from gateway.web.console.following.answer_service import MOST_OCTETS
from gateway.web.console.following.case_downloads import (
    answer_bundle,
    answer_message_part,
    answer_statement,
)
from gateway.web.console.following.case_list_pages import answer_case_list
from gateway.web.console.following.case_view import read_case_view
from gateway.web.console.following.statistics_pages import answer_statistics
from gateway.web.console.page_guards import accept_files, get_visitor, require_right

__all__ = ["build_following_pages"]

_Answer = str | Response | tuple[str, int]


def build_following_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages."""
    pages = Blueprint("following", __name__, url_prefix="/console/cases")

    @pages.get("")
    @require_right(Right.READ_CASES)
    def list_cases() -> str | Response:
        return answer_case_list(services)

    @pages.get("/statistics")
    @require_right(Right.READ_CASES)
    def show_statistics() -> str | Response:
        if not get_visitor().may(Right.READ_STATISTICS):
            abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to see this page.")
        return answer_statistics(services)

    @pages.get("/<number>")
    @require_right(Right.READ_CASES)
    def show_case(number: str) -> str:
        with read_transaction(services.engine, promises=True) as conn:
            view = read_case_view(conn, services, _find_case(conn, number))
        return render_template("following/case.html", view=view, now=services.clock())

    @pages.get("/<number>/messages/<int:message>/<part>")
    @require_right(Right.READ_CASES)
    def fetch_part(number: str, message: int, part: str) -> Response:
        with read_transaction(services.engine, promises=True) as conn:
            return answer_message_part(conn, _find_case(conn, number), message, part)

    @pages.get("/<number>/statements/<int:leaf>")
    @require_right(Right.READ_CASES)
    def fetch_statement(number: str, leaf: int) -> Response:
        with read_transaction(services.engine, promises=True) as conn:
            return answer_statement(conn, _find_case(conn, number), leaf)

    @pages.get("/<number>/evidence")
    @require_right(Right.READ_CASES)
    def fetch_evidence(number: str) -> Response:
        with read_transaction(services.engine, promises=True) as conn:
            return answer_bundle(conn, _find_case(conn, number))

    _add_answer_pages(pages, services)
    return pages


def _add_answer_pages(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the pages of answers to agencies."""

    @pages.get("/<number>/answers/<application>")
    @require_right(Right.FILE_SUBMISSIONS)
    def show_answer_form(number: str, application: str) -> _Answer:
        return answer_form_page(services, _read_case(services, number), application)

    @pages.post("/<number>/answers/<application>")
    @accept_files(MOST_OCTETS)
    @require_right(Right.FILE_SUBMISSIONS)
    def prepare_answer(number: str, application: str) -> _Answer:
        return answer_form_post(services, _read_case(services, number), application)

    @pages.get("/<number>/answers/<application>/<int:answer>")
    @require_right(Right.FILE_SUBMISSIONS)
    def show_prepared_answer(number: str, application: str, answer: int) -> _Answer:
        return show_answer(services, _read_case(services, number), application, answer)

    @pages.get("/<number>/answers/<application>/<int:answer>/document")
    @require_right(Right.FILE_SUBMISSIONS)
    def fetch_answer(number: str, application: str, answer: int) -> _Answer:
        return answer_download(services, _read_case(services, number), application, answer)

    @pages.get("/<number>/answers/<application>/<int:answer>/receipt")
    @require_right(Right.FILE_SUBMISSIONS)
    def fetch_answer_receipt(number: str, application: str, answer: int) -> _Answer:
        return answer_receipt(services, _read_case(services, number), application, answer)

    @pages.post("/<number>/answers/<application>/<int:answer>")
    @accept_files(MOST_OCTETS)
    @require_right(Right.FILE_SUBMISSIONS)
    def return_answer(number: str, application: str, answer: int) -> _Answer:
        return answer_signed_post(services, _read_case(services, number), application, answer)


def _read_case(services: ConsoleServices, number: str) -> Row[Any]:
    with read_transaction(services.engine) as conn:
        return _find_case(conn, number)


def _find_case(conn: Connection, number: str) -> Row[Any]:
    """Return a case of the person's party; any other number is not found."""
    party = get_visitor().organisation.code
    found = party_cases.find_party_case(conn, party, normalize_hub_number(number[:64]))
    if found is None:
        abort(HTTPStatus.NOT_FOUND)
    return found
