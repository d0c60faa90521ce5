"""Pages of a person's own account: sign-in, sign-out, language, organisation, password."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, g, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    find_password_problem,
    hash_password,
)
from gateway.store import AuditEntry, accounts, audit_log, read_transaction, write_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.page_guards import check_return_path, get_network, get_visitor, require_sign_in
from gateway.web.console.page_security import clear_session_cookie, set_session_cookie
from gateway.web.console.page_translations import LANGUAGES, translate
from gateway.web.console.sign_in import check_present_password, sign_in_with_password
from gateway.web.console.visitor_session import Visitor, begin_session, leave_session, switch_organisation

__all__ = ["build_account_pages"]

_SALT = 16
_A_YEAR = 365 * 24 * 3600


def build_account_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages."""
    pages = Blueprint("account", __name__, url_prefix="/console")

    @pages.get("/sign-in")
    def show_sign_in() -> Response | str:
        if g.visitor is not None:
            return redirect(check_return_path(request.args.get("next", "")))
        return render_template("sign_in.html", next=check_return_path(request.args.get("next", "")))

    @pages.post("/sign-in")
    def sign_in() -> Response | tuple[str, int]:
        return _answer_sign_in(services)

    @pages.post("/sign-out")
    @require_sign_in
    def sign_out() -> Response:
        leave_session(services, get_visitor())
        answer = redirect("/console/sign-in")
        clear_session_cookie(answer)
        return answer

    @pages.post("/language")
    def choose_language() -> Response:
        return _answer_language(services)

    @pages.get("/account")
    @require_sign_in
    def show_account() -> str:
        return _render_account(services, get_visitor())

    @pages.post("/account/password")
    @require_sign_in
    def change_password() -> Response | tuple[str, int]:
        return _answer_password(services, get_visitor())

    @pages.post("/account/organisation")
    @require_sign_in
    def choose_organisation() -> Response:
        return _answer_organisation(services, get_visitor())

    return pages


def _answer_sign_in(services: ConsoleServices) -> Response | tuple[str, int]:
    name = request.form.get("name", "")[:200]
    wanted = check_return_path(request.form.get("next", ""))
    result = sign_in_with_password(services, name, request.form.get("password", ""), get_network())
    if result.token is not None:
        answer = redirect(wanted)
        set_session_cookie(answer, result.token)
        return answer
    if result.wait is not None:
        problem, status = translate("Too many attempts. Try again later."), HTTPStatus.TOO_MANY_REQUESTS
    else:
        problem, status = translate("The name or the password is wrong."), HTTPStatus.UNAUTHORIZED
    return render_template("sign_in.html", next=wanted, name=name, problem=problem), status


def _answer_language(services: ConsoleServices) -> Response:
    chosen = request.form.get("language", "")
    answer = redirect(check_return_path(request.form.get("next", "")))
    if chosen in LANGUAGES:
        answer.set_cookie("language", chosen, max_age=_A_YEAR, secure=True, httponly=True, samesite="Lax")
        if g.visitor is not None:
            with write_transaction(services.engine, "console.language") as conn:
                accounts.update_account(conn, g.visitor.account, language=chosen)
    return answer


def _render_account(services: ConsoleServices, visitor: Visitor, **more: Any) -> str:
    with read_transaction(services.engine) as conn:
        given = accounts.list_roles_of(conn, visitor.account)
    organisations = sorted({(row.kind, row.organisation) for row in given})
    return render_template("account.html", organisations=organisations, **more)


def _answer_password(services: ConsoleServices, visitor: Visitor) -> Response | tuple[str, int]:
    """Change the password; every session ends, and this one is replaced by a new one."""
    old, new = request.form.get("old", ""), request.form.get("new", "")
    refusal = find_password_problem(new, (visitor.name, visitor.display_name))
    problem = check_present_password(services, visitor, old, get_network())
    if problem is None and refusal is not None:
        problem = translate(refusal)
    if problem is not None:
        page = _render_account(services, visitor, problem=problem)
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    hashed = hash_password(new, services.random(_SALT))
    with write_transaction(services.engine, "console.password") as conn:
        now = services.clock()
        accounts.set_password(conn, visitor.account, hashed, now)
        entry = AuditEntry(visitor.name, "account", "change_password", visitor.name)
        audit_log.record_action(conn, entry, now)
        token = begin_session(conn, services, visitor.account, visitor.method, get_network())
    answer = redirect("/console/account")
    if token is not None:
        set_session_cookie(answer, token)
    return answer


def _answer_organisation(services: ConsoleServices, visitor: Visitor) -> Response:
    kind, _, code = request.form.get("organisation", "").partition("/")
    answer = redirect("/console/")
    if kind in set(OrganisationKind):
        wanted = Organisation(OrganisationKind(kind), code)
        token = switch_organisation(services, visitor, wanted, get_network())
        if token is not None:
            set_session_cookie(answer, token)
    return answer
