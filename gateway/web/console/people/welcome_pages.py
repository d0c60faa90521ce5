"""Pages behind the link that a new person gets: they set the first password, without a session."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from flask import Blueprint, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import digest_token, find_password_problem
from gateway.hub import record_password_change
from gateway.store import AuditEntry, InvitedAccountRow, accounts, read_transaction, write_transaction
from gateway.web.console.kept_forms import continue_session
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import (
    COOKIE,
    Authentication,
    begin_session,
    get_network,
    services,
    set_session_cookie,
)
from gateway.web.console.page_needs import hash_typed_password, take_password
from gateway.web.console.sign_in import find_binding_problem

pages: Final = Blueprint("welcome", __name__, url_prefix="/console")

_SALT: Final = 16
_Page = Response | tuple[str, int]


@pages.get("/welcome/<token>")
def show_welcome(token: str) -> _Page:
    """Show the form for a first password; who has the link needs no session."""
    return _render_welcome(_find_account(token))


def _find_account(token: str) -> InvitedAccountRow | None:
    with read_transaction(services.engine) as conn:
        return accounts.find_invitation(conn, digest_token(token), services.clock())


def _render_welcome(account: InvitedAccountRow | None, problem: str = "") -> tuple[str, int]:
    if account is None:
        return render_template("people/welcome.html", account=None, problem=""), HTTPStatus.NOT_FOUND
    status = HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK
    return render_template("people/welcome.html", account=account, problem=problem), status


@pages.post("/welcome/<token>")
@take_password
def set_first_password(token: str) -> _Page:
    """Set the first password, and begin a session."""
    account = _find_account(token)
    if account is None:
        return _render_welcome(None)
    bound = find_binding_problem(account)
    if bound is not None:
        return _render_welcome(account, bound)
    new = request.form.get("new", "")
    problem = find_password_problem(new, (account.name, account.display_name))
    if problem is None and new != request.form.get("again", ""):
        problem = "The two passwords are not the same."
    if problem is not None:
        return _render_welcome(account, translate(problem))
    session = _store_password(token, hash_typed_password(new, services.random(_SALT)))
    answer = redirect("/console/")
    if session is not None:
        set_session_cookie(answer, continue_session(request.cookies.get(COOKIE, ""), session))
    return answer


def _store_password(token: str, hashed: str) -> str | None:
    """Set the password if the link is still good, and use the link up; return the token of a session."""
    network = get_network()
    with write_transaction(services.engine, "console.password") as conn:
        now = services.clock()
        account = accounts.find_invitation(conn, digest_token(token), now)
        # Of two that use the link at the same time, the second finds nothing to remove.
        if account is None or not accounts.remove_invitations(conn, account.id):
            return None
        accounts.set_password(conn, account.id, hashed, now)
        entry = AuditEntry(account.name, "account", "change_password", account.name, remote=network)
        record_password_change(conn, entry, now)
        accounts.record_sign_in(conn, account.name, network, is_successful=True, at=now)
        return begin_session(conn, account.id, Authentication("password", network, now))
