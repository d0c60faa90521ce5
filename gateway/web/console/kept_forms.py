"""Keeps the input of a form whose session has ended, until the same person has signed in again.

Nothing is stored: the sign-in page carries the form, encrypted by a key that is derived from the token of the
ended session. Only the cookie of the browser has that token, and no page can read it; and the form is
decrypted only for the account of that session.

A person who signs in by OpenID leaves that page. So the form is stored with that sign-in, encrypted together
with the token of the ended session by a key that is derived from a secret in another cookie of the browser.
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

from gateway.accounts import Organisation, OrganisationKind, derive_form_token, digest_token
from gateway.store import SessionOfAccountRow, read_transaction, sessions
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
)

#: Octets of a form that is kept; as many again are added by the encryption and its text form.
_MOST_OCTETS: Final = 256 * 1024
#: Forms below these paths are not stored: they have passwords and codes, which must be typed again.
_SECRET: Final = ("/console/account", "/console/sign-", "/console/welcome")


@dataclass(frozen=True, slots=True)
class KeptForm:
    """An encrypted form on the sign-in page, and the token of the ended session that decrypts it."""

    encrypted_form: str = ""
    ended_token: str = ""


def read_kept_form() -> KeptForm:
    """Return the encrypted form of this sign-in request, with the session token in the browser's cookie."""
    return KeptForm(request.form.get("kept", ""), request.cookies.get(COOKIE, ""))


def seal_waiting_form(kept_form: KeptForm, secret: str) -> str | None:
    """Return a kept form, encrypted once more by `secret`, to be stored while it waits for an OpenID sign-in.

    The token of the ended session, which decrypts the form, is encrypted with it. Return None if this session
    is not found, or if its token decrypts no form.
    """
    if _find_session(kept_form.ended_token) is None or _decrypt_form(kept_form) is None:
        return None
    sealed = json.dumps([kept_form.encrypted_form, kept_form.ended_token]).encode()
    return _make_cipher(secret).encrypt(sealed).decode()


def open_waiting_form(sealed: str | None, secret: str) -> KeptForm:
    """Return the form that `seal_waiting_form` encrypted by this secret; an empty one if there is none."""
    if sealed is None:
        return KeptForm()
    encrypted_form, ended_token = json.loads(_make_cipher(secret).decrypt(sealed.encode()))
    return KeptForm(encrypted_form, ended_token)


def answer_ended_session() -> Response | None:
    """Return the sign-in page with the form of this request in it; None for a form that is not kept.

    The form must carry the form token of the session in the cookie, which proves that it was made in that
    session. Of files only the names are kept.
    """
    token = request.cookies.get(COOKIE, "")
    page = current_app.view_functions.get(request.endpoint or "")
    if request.method != "POST" or page is None or not needs_sign_in(page):
        return None
    form_token = request.form.get(FORM_TOKEN, "")
    is_own = hmac.compare_digest(form_token.encode(), derive_form_token(token).encode())
    if not is_own or request.path.startswith(_SECRET):
        return None
    session = _find_session(token)
    fields = [[name, text] for name, text in request.form.items(multi=True) if name != FORM_TOKEN]
    # A field for files comes with an empty name where no file was chosen.
    file_names = [file.filename for _, file in request.files.items(multi=True) if file.filename]
    form_content = {"path": request.full_path.rstrip("?"), "fields": fields, "file_names": file_names}
    form = json.dumps(form_content).encode()
    if session is None or not fields or len(form) > _MOST_OCTETS:
        return None
    encrypted_form = _make_cipher(token).encrypt(form).decode()
    problem = translate("Your session has ended. Sign in again: what you typed is kept.")
    page_text = render_template(
        "sign_in.html", next="/console/", kept=encrypted_form, problem=problem, name=""
    )
    return make_response(page_text, HTTPStatus.UNAUTHORIZED)


def answer_signed_in(token: str, path: str) -> Response:
    """Return the answer that sets the session cookie: a redirect to `path`, or the account's kept form."""
    answer = answer_kept_form(token, read_kept_form())
    if answer is None:
        answer = redirect(path)
        set_session_cookie(answer, token)
    return answer


def answer_kept_form(token: str, kept_form: KeptForm) -> Response | None:
    """Return the answer that sets the session cookie and shows the account's kept form; None without one.

    The form is shown only in the organisation in which it was typed.
    """
    before, after = _find_session(kept_form.ended_token), _find_session(token)
    if before is None or after is None or before.account_id != after.account_id:
        return None
    typed_form = _decrypt_form(kept_form)
    returned = None if typed_form is None else _return_to_organisation(before, token)
    if typed_form is None or returned is None:
        return None
    g.visitor = find_visitor(returned)
    fields = [(name, text) for name, text in typed_form["fields"]]
    page_text = render_template(
        "kept_form.html",
        path=typed_form["path"],
        fields=fields,
        file_names=typed_form["file_names"],
    )
    answer = make_response(page_text)
    set_session_cookie(answer, returned)
    return answer


def _decrypt_form(kept_form: KeptForm) -> dict[str, Any] | None:
    """Return the decrypted form of the sign-in page; None if it does not belong to the ended session."""
    try:
        decrypted = _make_cipher(kept_form.ended_token).decrypt(kept_form.encrypted_form.encode())
    except InvalidToken:
        return None
    typed_form: dict[str, Any] = json.loads(decrypted)
    return typed_form


def _return_to_organisation(before: SessionOfAccountRow, token: str) -> str | None:
    """Return the token of a session in the organisation of the ended one; None without a role there."""
    visitor = find_visitor(token)
    if visitor is None:
        return None
    former_organisation = Organisation(OrganisationKind(before.kind), before.organisation)
    if former_organisation == visitor.organisation:
        return token
    return switch_organisation(visitor, former_organisation, get_network())


def _find_session(token: str) -> SessionOfAccountRow | None:
    with read_transaction(services.engine) as conn:
        return sessions.find_session(conn, digest_token(token))


def _make_cipher(token: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hmac.new(token.encode(), b"kept form", sha256).digest()))
