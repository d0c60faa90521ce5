"""Sign-in by OpenID Connect: to the provider and back (authorization code, PKCE, state, nonce).

Only an account that is bound to the subject may enter; none is made here. The state is kept on our side,
belongs to the browser that began, and is used once.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import IdTokenError, digest_token, make_token
from gateway.store import NewOidcSignIn, oidc_sign_ins, write_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.oidc_provider import AuthorizationRequest, OidcProvider, ProviderError
from gateway.web.console.page_guards import check_return_path, get_network
from gateway.web.console.page_security import set_session_cookie
from gateway.web.console.page_translations import translate
from gateway.web.console.sign_in import sign_in_with_subject

__all__ = ["build_oidc_pages"]

_LOG: Final = logging.getLogger(__name__)
_PATH: Final = "/console/sign-in/openid"
#: Lax, because the provider sends the browser back: the cookie of the session is never sent so.
_COOKIE: Final = "__Host-openid"
_LIFE: Final = timedelta(minutes=10)
_MOST_OPEN: Final = 100
_RANDOM: Final = 32
_Page = Response | tuple[str, int]


def build_oidc_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages; without a provider in the settings, they do not exist."""
    pages = Blueprint("oidc", __name__, url_prefix=_PATH)
    oidc = services.settings.console.oidc
    if oidc.issuer is None:
        return pages
    provider = OidcProvider(oidc, f"{services.public_url}{_PATH}/return", services.clock)

    @pages.get("")
    def begin_sign_in() -> _Page:
        return _answer_begin(services, provider)

    @pages.get("/return")
    def end_sign_in() -> _Page:
        return _answer_return(services, provider)

    return pages


def _answer_begin(services: ConsoleServices, provider: OidcProvider) -> _Page:
    state, nonce, verifier, browser = (make_token(services.random(_RANDOM)) for _ in range(4))
    now = services.clock()
    try:
        url = provider.build_authorization_url(AuthorizationRequest(state, nonce, verifier))
    except ProviderError as problem:
        return _answer_problem(problem)
    new = NewOidcSignIn(
        state_sha256=digest_token(state),
        browser_sha256=digest_token(browser),
        nonce=nonce,
        verifier=verifier,
        return_path=check_return_path(request.args.get("next", "")),
        network=get_network(),
        expires_at=now + _LIFE,
    )
    with write_transaction(services.engine, "console.openid") as conn:
        if oidc_sign_ins.count_waiting_sign_ins(conn, new.network, now) >= _MOST_OPEN:
            abort(HTTPStatus.TOO_MANY_REQUESTS, translate("Too many attempts. Try again later."))
        oidc_sign_ins.insert_sign_in(conn, new)
    answer = redirect(url)
    seconds = int(_LIFE.total_seconds())
    answer.set_cookie(_COOKIE, browser, max_age=seconds, secure=True, httponly=True, samesite="Lax", path="/")
    return answer


def _answer_return(services: ConsoleServices, provider: OidcProvider) -> _Page:
    state, browser = request.args.get("state", ""), request.cookies.get(_COOKIE, "")
    with write_transaction(services.engine, "console.openid") as conn:
        waiting = oidc_sign_ins.take_sign_in(
            conn, digest_token(state), digest_token(browser), services.clock()
        )
    if waiting is None or request.args.get("iss", provider.issuer) != provider.issuer:
        return _refuse(translate("This answer of the provider belongs to no sign-in of this browser."))
    code = request.args.get("code", "")
    if not code:
        return _refuse(translate("The provider has not signed you in."))
    try:
        subject = provider.redeem_code(code, AuthorizationRequest(state, waiting.nonce, waiting.verifier))
    except IdTokenError as problem:
        _LOG.warning("sign-in by OpenID refused: %s", problem)
        return _refuse(translate("The provider has not signed you in."))
    except ProviderError as problem:
        return _answer_problem(problem)
    return _enter(services, (provider.issuer, subject), waiting.return_path)


def _enter(services: ConsoleServices, person: tuple[str, str], path: str) -> _Page:
    result = sign_in_with_subject(services, person, get_network())
    if result.token is None:
        return _refuse(translate("No account of this console belongs to this person."))
    # The browser comes from another site: it sends the strict cookie only from a page of ours on.
    answer = Response(render_template("signed_in.html", path=path), mimetype="text/html")
    set_session_cookie(answer, result.token)
    answer.delete_cookie(_COOKIE, secure=True, httponly=True, samesite="Lax", path="/")
    return answer


def _refuse(sentence: str) -> _Page:
    return render_template("sign_in.html", next="/console/", problem=sentence), HTTPStatus.UNAUTHORIZED


def _answer_problem(problem: ProviderError) -> _Page:
    _LOG.warning("OpenID provider: %s", problem)
    sentence = translate("The OpenID provider cannot be reached, or gives no good answer.")
    page = render_template("sign_in.html", next="/console/", problem=sentence)
    return page, HTTPStatus.SERVICE_UNAVAILABLE
