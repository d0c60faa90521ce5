"""Pages behind the link that a new person gets: they set the first password, without a session.

A link that two persons have made together asks for its code, too. One that a single person has made is no
good for an account that needs two.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from flask import Blueprint, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    digest_shared_link,
    digest_token,
    find_password_problem,
)
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
from gateway.web.console.people.managed_accounts import get_second_person_rules
from gateway.web.console.sign_in import find_binding_problem

pages: Final = Blueprint("welcome", __name__, url_prefix="/console")

_SALT: Final = 16
#: The token of a link: 32 octets in base64url.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_Page = Response | tuple[str, int]


@pages.get("/welcome/<token>")
def show_welcome(token: str) -> _Page:
    """Show the form for a first password; who has the link needs no session."""
    return _render_welcome(_find_account(digest_token(token)))


@pages.get("/welcome/<token>/code")
def show_welcome_with_code(token: str) -> _Page:
    """Show the form for a password and the code of the link; without the code the person is not known.

    Answers 404 for a link that was cut, or changed otherwise.
    """
    if not _TOKEN.fullmatch(token):
        return _render_welcome(None)
    return make_response(_render_code_form())


@pages.post("/welcome/<token>")
@take_password
def set_first_password(token: str) -> _Page:
    """Set the first password, and begin a session."""
    digest = digest_token(token)
    account = _find_account(digest)
    if account is None:
        return _render_welcome(None)
    problem = _find_typed_problem(account)
    return _render_welcome(account, problem) if problem else _set_password(digest)


@pages.post("/welcome/<token>/code")
@take_password
def set_password_with_code(token: str) -> _Page:
    """Set a password behind a link of two parts, and begin a session."""
    digest = digest_shared_link(digest_token(token), request.form.get("code", ""))
    with read_transaction(services.engine) as conn:
        account = accounts.find_invitation(conn, digest, services.clock())
    if account is None:
        problem = translate("Link and code do not belong together, are not approved yet, or are over.")
    else:
        problem = _find_typed_problem(account)
    if problem:
        return _render_code_form(problem), HTTPStatus.UNPROCESSABLE_ENTITY
    return _set_password(digest)


def _find_account(digest: str) -> InvitedAccountRow | None:
    """Return the account of a link that one person has made; None if it is not good, or needs two persons."""
    with read_transaction(services.engine) as conn:
        account = accounts.find_invitation(conn, digest, services.clock())
        roles = () if account is None else accounts.list_account_roles(conn, account.id)
    rules = get_second_person_rules()
    places = [Organisation(OrganisationKind(row.kind), row.organisation) for row in roles]
    return None if any(map(rules.needs_two_persons, places)) else account


def _find_typed_problem(account: InvitedAccountRow) -> str:
    """Return why the typed password is not taken, as a sentence; empty if it is."""
    bound = find_binding_problem(account)
    if bound is not None:
        return bound
    new = request.form.get("new", "")
    problem = find_password_problem(new, (account.name, account.display_name))
    if problem is None and new != request.form.get("again", ""):
        problem = "The two passwords are not the same."
    return translate(problem) if problem else ""


def _render_welcome(account: InvitedAccountRow | None, problem: str = "") -> tuple[str, int]:
    page_text = render_template("people/welcome.html", account=account, problem=problem, asks_code=False)
    if account is None:
        return page_text, HTTPStatus.NOT_FOUND
    return page_text, HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK


def _render_code_form(problem: str = "") -> str:
    return render_template("people/welcome.html", account=None, problem=problem, asks_code=True)


def _set_password(digest: str) -> Response:
    """Set the typed password behind the link of this digest; the answer begins a session."""
    hashed = hash_typed_password(request.form.get("new", ""), services.random(_SALT))
    session = _store_password(digest, hashed)
    answer = redirect("/console/")
    if session is not None:
        set_session_cookie(answer, continue_session(request.cookies.get(COOKIE, ""), session))
    return answer


def _store_password(digest: str, hashed: str) -> str | None:
    """Set the password if the link is still good, and use the link up; return the token of a session."""
    network = get_network()
    with write_transaction(services.engine, "console.password") as conn:
        now = services.clock()
        account = accounts.find_invitation(conn, digest, now)
        if account is None:
            return None
        accounts.lock_account(conn, account.id)
        # Of two that use the link at the same time, the second finds it no more; nor is an older link found.
        if accounts.find_invitation(conn, digest, now) is None:
            return None
        accounts.set_password(conn, account.id, hashed, now)
        entry = AuditEntry(account.name, "account", "change_password", account.name, remote=network)
        record_password_change(conn, entry, now)
        accounts.record_sign_in(conn, account.name, network, is_successful=True, at=now)
        return begin_session(conn, account.id, Authentication("password", network, now))
