"""The pages of one's own account: sign-in, password, sessions and passkeys."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from flask import Blueprint, abort, g, redirect, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    PasskeyError,
    Right,
    find_password_problem,
)
from gateway.config import mask_url
from gateway.hub import record_password_change
from gateway.store import (
    AuditEntry,
    accounts,
    audit_log,
    event_readers,
    parties,
    read_transaction,
    sessions,
    write_transaction,
)
from gateway.web.console.kept_forms import answer_signed_in, continue_session, render_sign_in
from gateway.web.console.page_formats import LANGUAGES, translate
from gateway.web.console.page_guards import (
    COOKIE,
    Authentication,
    begin_session,
    check_return_path,
    clear_session_cookie,
    end_session,
    find_client_certificate,
    get_network,
    require_right,
    require_sign_in,
    services,
    set_session_cookie,
    store_flash_message,
    switch_organisation,
    visitor,
)
from gateway.web.console.page_needs import hash_typed_password, take_password
from gateway.web.console.passkey_challenges import (
    begin_passkey_registration,
    begin_passkey_sign_in,
    finish_passkey_registration,
)
from gateway.web.console.sign_in import (
    SignInResult,
    describe_certificate_refusal,
    find_method_refusal,
    needs_new_sign_in,
    sign_in_with_certificate,
    sign_in_with_passkey,
    sign_in_with_password,
)

pages: Final = Blueprint("account", __name__, url_prefix="/console")

_SALT = 16
_A_YEAR = 365 * 24 * 3600


@pages.get("/sign-in")
def show_sign_in() -> Response | str:
    """Show the page to sign in; redirect a person who is signed in already."""
    if g.visitor is not None:
        return redirect(check_return_path(request.args.get("next", "")))
    return_path = check_return_path(request.args.get("next", ""))
    refusal = g.get("session_refusal")
    problem = "" if refusal is None else describe_certificate_refusal(refusal)
    return render_sign_in(problem, path=return_path)


@pages.post("/sign-out")
def sign_out() -> Response:
    """End the session, also one that does not count now because of its certificate."""
    end_session(request.cookies.get(COOKIE, ""))
    answer = redirect("/console/sign-in")
    clear_session_cookie(answer)
    return answer


@pages.post("/sign-in")
@take_password
def sign_in() -> Response | tuple[str, int]:
    """Sign a person in by name and password."""
    name = request.form.get("name", "")[:200]
    result = sign_in_with_password(name, request.form.get("password", ""), get_network())
    return _answer_result(result, translate("The name or the password is wrong."), name=name)


@pages.post("/language")
def choose_language() -> Response:
    """Keep the language that a person reads."""
    chosen = request.form.get("language", "")
    answer = redirect(check_return_path(request.form.get("next", "")))
    if chosen in LANGUAGES:
        answer.set_cookie("language", chosen, max_age=_A_YEAR, secure=True, httponly=True, samesite="Lax")
        if g.visitor is not None:
            with write_transaction(services.engine, "console.language") as conn:
                accounts.update_account(conn, g.visitor.account, language=chosen)
    return answer


@pages.get("/account")
@require_sign_in
def show_account(problem: str = "") -> str:
    """Show one's own account; `problem` is why the password was not changed."""
    with read_transaction(services.engine) as conn:
        usable_roles = accounts.list_usable_roles(conn, visitor.account)
        account = accounts.find_by_id(conn, visitor.account)
        has_passkey = bool(sessions.list_passkeys(conn, visitor.account))
    organisations = sorted({(row.kind, row.organisation) for row in usable_roles})
    return render_template(
        "account.html",
        organisations=organisations,
        has_password=account is not None and account.password is not None,
        has_passkey=has_passkey,
        sign_in_again=needs_new_sign_in(visitor, account),
        problem=problem,
    )


@pages.post("/account/password")
@take_password
@require_sign_in
def change_password() -> Response | tuple[str, int]:
    """Change the password; every session ends, and this one is replaced by a new one."""
    old, new = request.form.get("old", ""), request.form.get("new", "")
    refusal = find_password_problem(new, (visitor.name, visitor.display_name))
    problem = find_method_refusal(visitor, old, get_network())
    if problem is None and refusal is not None:
        problem = translate(refusal)
    if problem is not None:
        return show_account(problem), HTTPStatus.UNPROCESSABLE_ENTITY
    hashed = hash_typed_password(new, services.random(_SALT))
    with write_transaction(services.engine, "console.password") as conn:
        _require_open_session(conn)
        now = services.clock()
        accounts.set_password(conn, visitor.account, hashed, now)
        entry = AuditEntry(visitor.name, "account", "change_password", visitor.name)
        record_password_change(conn, entry, now)
        authentication = Authentication(visitor.method, get_network(), visitor.authenticated_at)
        token = begin_session(conn, visitor.account, authentication)
    answer = redirect("/console/account")
    if token is not None:
        set_session_cookie(answer, continue_session(request.cookies.get(COOKIE, ""), token))
    return answer


def _require_open_session(conn: Connection) -> None:
    """Lead to the page to sign in where others have ended this session since the request began."""
    if not sessions.lock_open_session(conn, visitor.account, visitor.session):
        abort(redirect("/console/sign-in"))


@pages.post("/account/organisation")
@require_sign_in
def choose_organisation() -> Response:
    """Act for another organisation of the same person."""
    kind, _, code = request.form.get("organisation", "").partition("/")
    answer = redirect("/console/")
    if kind in set(OrganisationKind):
        organisation = Organisation(OrganisationKind(kind), code)
        token = switch_organisation(visitor, organisation, get_network())
        if token is not None:
            set_session_cookie(answer, token)
    return answer


@pages.get("/account/certificates")
@require_sign_in
def show_certificates() -> str:
    """Show the certificates of the organisation, and its webhooks."""
    party = visitor.organisation.code
    has_register = visitor.organisation.kind is not OrganisationKind.OPERATOR
    may_manage = visitor.may(Right.MANAGE_API_CLIENTS)
    with read_transaction(services.engine) as conn:
        return render_template(
            "certificates.html",
            account=accounts.find_by_id(conn, visitor.account),
            has_register=has_register,
            certificates=parties.list_certificates(conn, party) if has_register else (),
            webhooks=event_readers.list_webhooks(conn, party) if may_manage else (),
            now=services.clock(),
        )


@pages.post("/account/certificates/webhooks/<name>/delete")
@require_right(Right.MANAGE_API_CLIENTS)
def delete_webhook(name: str) -> Response:
    """Delete a webhook of the organisation."""
    organisation = f"{visitor.organisation.kind}/{visitor.organisation.code}"
    with write_transaction(services.engine, "api.webhook") as conn:
        row = event_readers.find_webhook(conn, name, visitor.organisation.code)
        if row is None:
            abort(HTTPStatus.NOT_FOUND)
        event_readers.delete_webhook(conn, name)
        before = {"url": mask_url(row.url), "state": row.state}
        entry = AuditEntry(
            visitor.name,
            organisation,
            "webhook delete",
            f"webhook {name}",
            remote=get_network(),
            before=before,
        )
        audit_log.record_action(conn, entry, services.clock())
    store_flash_message(translate("The webhook is deleted."))
    return redirect("/console/account/certificates")


_PAGE: Final = "/console/account/passkeys"
#: Passkeys of an account: a person has few devices.
_MOST_PASSKEYS: Final = 20
_LONGEST_NAME: Final = 80


@pages.post("/sign-in/passkey/options")
def send_sign_in_options() -> Response:
    """Send the browser the options for a sign-in with a passkey."""
    return _answer_options(begin_passkey_sign_in(get_network()))


@pages.post("/account/passkeys/options")
@require_sign_in
def send_registration_options() -> Response:
    """Send the browser the options for a new passkey."""
    return _answer_options(begin_passkey_registration(visitor))


def _answer_options(options: str | None) -> Response:
    if options is None:
        abort(HTTPStatus.TOO_MANY_REQUESTS, translate("Passkeys cannot be used here now."))
    return Response(options, mimetype="application/json")


@pages.post("/sign-in/passkey")
def sign_in_by_passkey() -> Response | tuple[str, int]:
    """Sign a person in by a passkey."""
    answer = request.form.get("passkey_answer", "")
    result = sign_in_with_passkey(answer, get_network())
    return _answer_result(result, translate("The passkey was not accepted."))


@pages.post("/sign-in/certificate")
def sign_in_by_certificate() -> Response | tuple[str, int]:
    """Sign a person in by the client certificate of the connection."""
    sha256 = find_client_certificate(request)
    if sha256 is None:
        abort(HTTPStatus.FORBIDDEN, translate("Your browser has shown no certificate."))
    result = sign_in_with_certificate(sha256, get_network())
    problem = translate("The certificate was not accepted.")
    if result.refusal is not None:
        problem = f"{problem} {describe_certificate_refusal(result.refusal)}"
    return _answer_result(result, problem)


def _answer_result(result: SignInResult, refusal: str, name: str = "") -> Response | tuple[str, int]:
    """Begin the session of a good sign-in; show the page to sign in again after any other."""
    return_path = check_return_path(request.form.get("next", ""))
    if result.token is not None:
        return answer_signed_in(result.token, return_path)
    if result.wait_time is not None:
        problem, status = translate("Too many attempts. Try again later."), HTTPStatus.TOO_MANY_REQUESTS
    else:
        problem, status = refusal, HTTPStatus.UNAUTHORIZED
    page = render_sign_in(
        problem,
        path=return_path,
        encrypted_form=request.form.get("kept", ""),
        name=name,
        reauthenticates="reauthenticate" in request.form,
    )
    return page, status


@pages.get("/account/passkeys")
@require_sign_in
def show_passkeys(problem: str = "", name: str = "") -> str:
    """Show one's own passkeys; `problem` is why that of this name was not added, or one not removed."""
    with read_transaction(services.engine) as conn:
        registered = sessions.list_passkeys(conn, visitor.account)
        account = accounts.find_by_id(conn, visitor.account)
    return render_template(
        "passkeys.html",
        passkeys=registered,
        has_password=account is not None and account.password is not None,
        has_passkey=bool(registered),
        sign_in_again=needs_new_sign_in(visitor, account),
        problem=problem,
        name=name,
    )


@pages.post("/account/passkeys")
@take_password
@require_sign_in
def add_passkey() -> Response | tuple[str, int]:
    """Register a passkey; it requires a fresh proof, so that a stolen session does not suffice."""
    name = " ".join(request.form.get("name", "").split())
    problem = "" if name else translate("A passkey needs a name.")
    if len(name) > _LONGEST_NAME:
        problem = translate("This is too long.")
    if not problem:
        password = request.form.get("password", "")
        problem = find_method_refusal(visitor, password, get_network()) or ""
    if not problem:
        problem = _store_passkey(name, request.form.get("passkey_answer", ""))
    if problem:
        return show_passkeys(problem, name), HTTPStatus.UNPROCESSABLE_ENTITY
    return redirect(_PAGE)


def _store_passkey(name: str, answer: str) -> str:
    """Store the passkey of an answer; return the sentence that refuses it, empty if it is accepted."""
    try:
        with write_transaction(services.engine, "console.passkey") as conn:
            _require_open_session(conn)
            if len(sessions.list_passkeys(conn, visitor.account)) >= _MOST_PASSKEYS:
                return translate("You have as many passkeys as an account may have. Remove one first.")
            finish_passkey_registration(conn, visitor, name, answer)
            entry = AuditEntry(visitor.name, "account", "add_passkey", name)
            audit_log.record_action(conn, entry, services.clock())
    except PasskeyError:
        return translate("The passkey was not accepted.")
    return ""


@pages.post("/account/passkeys/<int:passkey>/remove")
@require_sign_in
def remove_passkey(passkey: int) -> Response | tuple[str, int]:
    """Remove a passkey; the last way to sign in stays."""
    with write_transaction(services.engine, "console.passkey") as conn:
        is_last = not _has_other_sign_in(conn, visitor.account)
        name = None if is_last else sessions.remove_passkey(conn, visitor.account, passkey)
        if name is not None:
            # A lost device may be signed in: its sessions must end.
            now = services.clock()
            sessions.end_open_account_sessions(
                conn, visitor.account, now, method="passkey", kept_session_id=visitor.session
            )
            entry = AuditEntry(visitor.name, "account", "remove_passkey", name)
            audit_log.record_action(conn, entry, services.clock())
    if is_last:
        sentence = translate("This is the only way to sign in to the account; set a password first.")
        return show_passkeys(sentence), HTTPStatus.CONFLICT
    if name is None:
        abort(HTTPStatus.NOT_FOUND)
    return redirect(_PAGE)


def _has_other_sign_in(conn: Connection, account: int) -> bool:
    """Return whether an account has a way to sign in when one of its passkeys is removed."""
    row = accounts.find_by_id(conn, account)
    others = row is not None and any((row.password, row.certificate_sha256, row.oidc_subject))
    return others or len(sessions.list_passkeys(conn, account)) > 1
