"""The page behind the link of a new account: its owner sets a password, and is signed in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, redirect, render_template, request
from sqlalchemy import Row
from werkzeug.wrappers import Response

from gateway.accounts import digest_token, find_password_problem, hash_password
from gateway.store import (
    AuditEntry,
    account_invitations,
    accounts,
    audit_log,
    read_transaction,
    write_transaction,
)
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.page_guards import get_network
from gateway.web.console.page_security import set_session_cookie
from gateway.web.console.page_translations import translate
from gateway.web.console.visitor_session import begin_session

__all__ = ["build_welcome_pages"]

_SALT: Final = 16
_Page = Response | tuple[str, int]


def build_welcome_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages; who has the link needs no session."""
    pages = Blueprint("welcome", __name__, url_prefix="/console")

    @pages.get("/welcome/<token>")
    def show_welcome(token: str) -> _Page:
        return _render_welcome(_find_account(services, token))

    @pages.post("/welcome/<token>")
    def set_first_password(token: str) -> _Page:
        return _answer_password(services, token)

    return pages


def _find_account(services: ConsoleServices, token: str) -> Row[Any] | None:
    with read_transaction(services.engine) as conn:
        return account_invitations.find_invitation(conn, digest_token(token), services.clock())


def _render_welcome(account: Row[Any] | None, problem: str = "") -> tuple[str, int]:
    if account is None:
        return render_template("people/welcome.html", account=None), HTTPStatus.NOT_FOUND
    status = HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK
    return render_template("people/welcome.html", account=account, problem=problem), status


def _answer_password(services: ConsoleServices, token: str) -> _Page:
    account = _find_account(services, token)
    if account is None:
        return _render_welcome(None)
    new = request.form.get("new", "")
    problem = find_password_problem(new, (account.name, account.display_name))
    if problem is None and new != request.form.get("again", ""):
        problem = "The two passwords are not the same."
    if problem is not None:
        return _render_welcome(account, translate(problem))
    session = _store_password(services, token, hash_password(new, services.random(_SALT)))
    answer = redirect("/console/")
    if session is not None:
        set_session_cookie(answer, session)
    return answer


def _store_password(services: ConsoleServices, token: str, hashed: str) -> str | None:
    """Set the password if the link is still good, and use the link up; return the token of a session."""
    network = get_network()
    with write_transaction(services.engine, "console.password") as conn:
        now = services.clock()
        account = account_invitations.find_invitation(conn, digest_token(token), now)
        # Of two that use the link at the same time, the second finds nothing to remove.
        if account is None or not account_invitations.remove_invitations(conn, account.id):
            return None
        accounts.set_password(conn, account.id, hashed, now)
        entry = AuditEntry(account.name, "account", "change_password", account.name, remote=network)
        audit_log.record_action(conn, entry, now)
        accounts.record_sign_in(conn, account.name, network, True, now)
        return begin_session(conn, services, account.id, "password", network)
