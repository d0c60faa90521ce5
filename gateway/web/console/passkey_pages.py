"""Pages of passkeys and certificates: sign-in by them, and the passkeys of a person's own account."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import PasskeyError
from gateway.store import (
    AuditEntry,
    accounts,
    audit_log,
    passkeys,
    read_transaction,
    sessions,
    write_transaction,
)
from gateway.web.console.client_connection import find_client_certificate
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.page_guards import check_return_path, get_network, get_visitor, require_sign_in
from gateway.web.console.page_security import set_session_cookie
from gateway.web.console.page_translations import translate
from gateway.web.console.passkey_challenges import offer_registration, offer_sign_in, take_registration
from gateway.web.console.sign_in import (
    SignInResult,
    check_present_password,
    sign_in_with_certificate,
    sign_in_with_passkey,
)
from gateway.web.console.visitor_session import Visitor

__all__ = ["build_passkey_pages"]

_PAGE: Final = "/console/account/passkeys"
_LONGEST_NAME: Final = 80


def build_passkey_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages."""
    pages = Blueprint("passkeys", __name__, url_prefix="/console")

    @pages.post("/sign-in/passkey/options")
    def send_sign_in_options() -> Response:
        return _answer_options(offer_sign_in(services, get_network()))

    @pages.post("/sign-in/passkey")
    def sign_in() -> Response | tuple[str, int]:
        return _answer_sign_in(services)

    @pages.post("/sign-in/certificate")
    def sign_in_by_certificate() -> Response | tuple[str, int]:
        return _answer_certificate(services)

    @pages.get("/account/passkeys")
    @require_sign_in
    def show_passkeys() -> str:
        return _render_passkeys(services, get_visitor())

    @pages.post("/account/passkeys/options")
    @require_sign_in
    def send_registration_options() -> Response:
        return _answer_options(offer_registration(services, get_visitor()))

    @pages.post("/account/passkeys")
    @require_sign_in
    def add_passkey() -> Response | tuple[str, int]:
        return _answer_passkey(services, get_visitor())

    @pages.post("/account/passkeys/<int:passkey>/remove")
    @require_sign_in
    def remove_passkey(passkey: int) -> Response | tuple[str, int]:
        return _answer_removal(services, get_visitor(), passkey)

    return pages


def _answer_options(options: str | None) -> Response:
    if options is None:
        abort(HTTPStatus.TOO_MANY_REQUESTS, translate("Passkeys cannot be used here now."))
    return Response(options, mimetype="application/json")


def _answer_sign_in(services: ConsoleServices) -> Response | tuple[str, int]:
    answer = request.form.get("passkey_answer", "")
    result = sign_in_with_passkey(services, answer, get_network())
    return _answer_result(result, translate("The passkey was not accepted."))


def _answer_certificate(services: ConsoleServices) -> Response | tuple[str, int]:
    shown = find_client_certificate(request)
    if shown is None:
        abort(HTTPStatus.FORBIDDEN, translate("Your browser has shown no certificate."))
    result = sign_in_with_certificate(services, shown, get_network())
    return _answer_result(result, translate("The certificate was not accepted."))


def _answer_result(result: SignInResult, refusal: str) -> Response | tuple[str, int]:
    wanted = check_return_path(request.form.get("next", ""))
    if result.token is not None:
        response = redirect(wanted)
        set_session_cookie(response, result.token)
        return response
    if result.wait is not None:
        problem, status = translate("Too many attempts. Try again later."), HTTPStatus.TOO_MANY_REQUESTS
    else:
        problem, status = refusal, HTTPStatus.UNAUTHORIZED
    return render_template("sign_in.html", next=wanted, problem=problem), status


def _render_passkeys(services: ConsoleServices, visitor: Visitor, **more: Any) -> str:
    with read_transaction(services.engine) as conn:
        found = passkeys.list_passkeys(conn, visitor.account)
        account = accounts.find_by_id(conn, visitor.account)
    has_password = account is not None and account.password is not None
    return render_template("passkeys.html", passkeys=found, has_password=has_password, **more)


def _answer_passkey(services: ConsoleServices, visitor: Visitor) -> Response | tuple[str, int]:
    """Register a passkey; who stole a session cannot, because the present password is asked for."""
    name = " ".join(request.form.get("name", "").split())[:_LONGEST_NAME]
    problem = "" if name else translate("A passkey needs a name.")
    if not problem:
        given = request.form.get("password", "")
        problem = check_present_password(services, visitor, given, get_network()) or ""
    if not problem:
        problem = _store_passkey(services, visitor, name, request.form.get("passkey_answer", ""))
    if problem:
        page = _render_passkeys(services, visitor, problem=problem, name=name)
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    return redirect(_PAGE)


def _store_passkey(services: ConsoleServices, visitor: Visitor, name: str, answer: str) -> str:
    """Store the passkey of an answer; return why it is not accepted, or nothing."""
    try:
        with write_transaction(services.engine, "console.passkey") as conn:
            take_registration(conn, services, visitor, name, answer)
            entry = AuditEntry(visitor.name, "account", "add_passkey", name)
            audit_log.record_action(conn, entry, services.clock())
    except PasskeyError:
        return translate("The passkey was not accepted.")
    return ""


def _answer_removal(services: ConsoleServices, visitor: Visitor, passkey: int) -> Response | tuple[str, int]:
    with write_transaction(services.engine, "console.passkey") as conn:
        problem = "" if _keeps_way(conn, visitor.account) else "last"
        name = None if problem else passkeys.remove_passkey(conn, visitor.account, passkey)
        if name is not None:
            # Who holds the lost device may be signed in by it.
            now = services.clock()
            sessions.end_sessions_of(conn, visitor.account, now, method="passkey", but=visitor.session)
            entry = AuditEntry(visitor.name, "account", "remove_passkey", name)
            audit_log.record_action(conn, entry, services.clock())
    if problem:
        sentence = translate("This is the only way to sign in to the account; set a password first.")
        return _render_passkeys(services, visitor, problem=sentence), HTTPStatus.CONFLICT
    if name is None:
        abort(HTTPStatus.NOT_FOUND)
    return redirect(_PAGE)


def _keeps_way(conn: Any, account: int) -> bool:
    """Return whether an account has a way to sign in when one of its passkeys is removed."""
    row = accounts.find_by_id(conn, account)
    others = row is not None and any((row.password, row.certificate_sha256, row.oidc_subject))
    return others or len(passkeys.list_passkeys(conn, account)) > 1
