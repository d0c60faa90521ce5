"""The page to sign in, and the form that waits there until the same person has signed in again.

So waits a form whose session has ended, and one that needs a recent proof of who sends it. Nothing is stored:
the page carries the form, encrypted by a key that is derived from the token of the session before. Only the
cookie of the browser has that token, and no page can read it; and the form is decrypted only for the account
of that session.

A person who signs in by OpenID leaves that page. So the form is stored with that sign-in, encrypted together
with the token of the session by a key that is derived from a secret in another cookie of the browser.
"""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from flask import current_app, g, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    derive_form_token,
    digest_token,
    is_recent_proof,
)
from gateway.store import SessionOfAccountRow, read_transaction, sessions, write_transaction
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import (
    COOKIE,
    FORM_TOKEN,
    find_visitor,
    get_network,
    needs_sign_in,
    services,
    set_session_cookie,
    switch_organisation,
    visitor,
)

#: Octets of a form that is kept; as many again are added by the encryption and its text form.
_MOST_OCTETS: Final = 256 * 1024
#: Forms below these paths are not stored: they have passwords and codes, which must be typed again.
_SECRET: Final = ("/console/account", "/console/sign-", "/console/welcome")


@dataclass(frozen=True, slots=True)
class KeptForm:
    """An encrypted form on the sign-in page, and the token of the session before, which decrypts it."""

    encrypted_form: str = ""
    former_token: str = ""


def read_kept_form() -> KeptForm:
    """Return the encrypted form of this sign-in request, with the session token in the browser's cookie."""
    return KeptForm(request.form.get("kept", ""), request.cookies.get(COOKIE, ""))


def seal_waiting_form(kept_form: KeptForm, secret: str) -> str | None:
    """Return a kept form, encrypted once more by `secret`, to be stored while it waits for an OpenID sign-in.

    The token of the session before, which decrypts the form, is encrypted with it: also without a form, so
    that the person goes on in the same organisation. Return None if this session is not found.
    """
    if _find_session(kept_form.former_token) is None:
        return None
    encrypted_form = "" if _decrypt_form(kept_form) is None else kept_form.encrypted_form
    sealed = json.dumps([encrypted_form, kept_form.former_token]).encode()
    return _make_cipher(secret).encrypt(sealed).decode()


def open_waiting_form(sealed: str | None, secret: str) -> KeptForm:
    """Return the form that `seal_waiting_form` encrypted by this secret; an empty one if there is none."""
    if sealed is None:
        return KeptForm()
    encrypted_form, former_token = json.loads(_make_cipher(secret).decrypt(sealed.encode()))
    return KeptForm(encrypted_form, former_token)


def render_sign_in(
    problem: str = "",
    *,
    path: str = "/console/",
    encrypted_form: str = "",
    name: str = "",
    reauthenticates: bool = False,
) -> str:
    """Return the page to sign in; `problem` is a sentence on why it is shown, or why the last try failed.

    The sign-in leads to `path`, or to the form that waits. With `reauthenticates` an OpenID provider is asked
    to authenticate the person anew, and must show that it did. `name` is in the field for the name.
    """
    return render_template(
        "sign_in.html",
        next=path,
        problem=problem,
        kept=encrypted_form,
        name=name,
        reauthenticates=reauthenticates,
    )


def answer_ended_session() -> Response | None:
    """Return the sign-in page with the form of this request in it; None for a form that is not kept.

    The form must carry the form token of the session in the cookie, which proves that it was made in that
    session. Of files only the names are kept.
    """
    token = request.cookies.get(COOKIE, "")
    page = current_app.view_functions.get(request.endpoint or "")
    if request.method != "POST" or page is None or not needs_sign_in(page):
        return None
    session = _find_session(token)
    if session is None or request.path.startswith(_SECRET):
        return None
    form_token = request.form.get(FORM_TOKEN, "")
    is_own = hmac.compare_digest(form_token.encode(), _get_form_token(session, token).encode())
    fields = _list_typed_fields()
    encrypted_form = _encrypt_form(token, fields)
    if not is_own or not fields or not encrypted_form:
        return None
    problem = translate("Your session has ended. Sign in again: what you typed is kept.")
    return make_response(render_sign_in(problem, encrypted_form=encrypted_form), HTTPStatus.UNAUTHORIZED)


def answer_missing_proof(purpose: str, path: str) -> Response | None:
    """Return the page to sign in again, with the form of this request in it; None after a recent proof.

    It is for acts that give power to the one who sits at a browser which its owner left unlocked. `purpose`
    says what the form does: the person reads it before sending the form. Without the form, the sign-in leads
    to `path`.
    """
    if is_recent_proof(visitor.authenticated_at, services.clock()):
        return None
    token, fields = request.cookies.get(COOKIE, ""), _list_typed_fields()
    encrypted_form = _encrypt_form(token, fields, purpose)
    problem = f"{purpose}. {translate('Sign in again first: so the gateway knows that it is you.')}"
    if fields and encrypted_form:
        problem = f"{problem} {translate('What you typed is kept.')}"
    page_text = render_sign_in(
        problem, path=path, encrypted_form=encrypted_form, name=visitor.name, reauthenticates=True
    )
    return make_response(page_text, HTTPStatus.UNAUTHORIZED)


def _list_typed_fields() -> list[list[str]]:
    """Return the names and texts of the form of this request, without its token."""
    return [[name, text] for name, text in request.form.items(multi=True) if name != FORM_TOKEN]


def _encrypt_form(token: str, fields: list[list[str]], purpose: str = "") -> str:
    """Return the form of this request, encrypted by the token of its session; empty if it is too long."""
    # A field for files comes with an empty name where no file was chosen.
    file_names = [file.filename for _, file in request.files.items(multi=True) if file.filename]
    form_content = {
        "path": request.full_path.rstrip("?"),
        "fields": fields,
        "file_names": file_names,
        "purpose": purpose,
    }
    form = json.dumps(form_content).encode()
    return "" if len(form) > _MOST_OCTETS else _make_cipher(token).encrypt(form).decode()


def answer_signed_in(token: str, path: str) -> Response:
    """Return the answer that sets the session cookie: a redirect to `path`, or the account's kept form."""
    kept_form = read_kept_form()
    token = continue_session(kept_form.former_token, token)
    answer = answer_kept_form(token, kept_form)
    if answer is None:
        answer = redirect(path)
        set_session_cookie(answer, token)
    return answer


def continue_session(former_token: str, token: str) -> str:
    """End the session that this browser has had before; return the token of the new session.

    It is that of `token`. Where the same person acted in another organisation, it is that of a session there.
    Its forms have the token of those before: the pages in other windows of the browser still work.
    """
    before, after = _find_session(former_token), _find_session(token)
    if before is None or after is None:
        return token
    with write_transaction(services.engine, "console.session") as conn:
        sessions.end_session(conn, before.id, services.clock())
    if before.account_id != after.account_id:
        return token
    if _get_organisation(before) != _get_organisation(after):
        new_visitor = find_visitor(token)
        there = new_visitor and switch_organisation(new_visitor, _get_organisation(before), get_network())
        if not there:
            return token
        token = there
    with write_transaction(services.engine, "console.session") as conn:
        sessions.set_form_token(conn, digest_token(token), _get_form_token(before, former_token))
    return token


def answer_kept_form(token: str, kept_form: KeptForm) -> Response | None:
    """Return the answer that sets the session cookie and shows the account's kept form; None without one.

    The form is shown only in the organisation in which it was typed. The next page tells of one that is not.
    """
    before, after = _find_session(kept_form.former_token), _find_session(token)
    if before is None or after is None:
        return None
    is_same = (before.account_id, _get_organisation(before)) == (after.account_id, _get_organisation(after))
    typed_form = _decrypt_form(kept_form) if is_same else None
    if typed_form is None:
        if kept_form.encrypted_form:
            with write_transaction(services.engine, "console.notice") as conn:
                sentence = translate("A form that waited belongs to another session. It was not sent.")
                sessions.set_flash_message(conn, after.id, sentence)
        return None
    g.visitor, g.language = find_visitor(token), after.language
    fields = [(name, text) for name, text in typed_form["fields"]]
    page_text = render_template(
        "kept_form.html",
        path=typed_form["path"],
        fields=fields,
        file_names=typed_form["file_names"],
        purpose=typed_form.get("purpose", ""),
    )
    answer = make_response(page_text)
    set_session_cookie(answer, token)
    return answer


def _decrypt_form(kept_form: KeptForm) -> dict[str, Any] | None:
    """Return the decrypted form of the sign-in page; None if it does not belong to the session before."""
    try:
        decrypted = _make_cipher(kept_form.former_token).decrypt(kept_form.encrypted_form.encode())
    except InvalidToken:
        return None
    typed_form: dict[str, Any] = json.loads(decrypted)
    return typed_form


def _get_form_token(session: SessionOfAccountRow, token: str) -> str:
    return session.form_token or derive_form_token(token)


def _get_organisation(session: SessionOfAccountRow) -> Organisation:
    return Organisation(OrganisationKind(session.kind), session.organisation)


def _find_session(token: str) -> SessionOfAccountRow | None:
    with read_transaction(services.engine) as conn:
        return sessions.find_session(conn, digest_token(token))


def _make_cipher(token: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hmac.new(token.encode(), b"kept form", sha256).digest()))
