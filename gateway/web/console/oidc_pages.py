"""The pages of sign-in by an OpenID Connect provider."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from flask import Blueprint, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import (
    IdTokenError,
    ProofFault,
    VerifiedIdToken,
    digest_token,
    find_proof_fault,
    make_token,
)
from gateway.store import NewOidcSignIn, sessions, write_transaction
from gateway.web.console.kept_forms import (
    KeptForm,
    answer_kept_form,
    continue_session,
    open_waiting_form,
    read_kept_form,
    render_sign_in,
    seal_waiting_form,
)
from gateway.web.console.oidc_provider import (
    AuthorizationRequest,
    CodeRefusedError,
    OidcProvider,
    ProviderError,
)
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import (
    Authentication,
    ConsoleServices,
    check_return_path,
    get_network,
    services,
    set_session_cookie,
)
from gateway.web.console.sign_in import find_network_wait, record_failed_proof, sign_in_with_subject

_LOG: Final = logging.getLogger(__name__)
_PATH: Final = "/console/sign-in/openid"
#: Lax, because the provider sends the browser back: the cookie of the session is never sent so.
_COOKIE: Final = "__Host-openid"
_LIFE: Final = timedelta(minutes=10)
_MOST_OPEN: Final = 100
_RANDOM: Final = 32
_Page = Response | tuple[str, int]


@dataclass(frozen=True, slots=True)
class _RequestedSignIn:
    """What a person asks of a sign-in: the page to return to, a new authentication, the form that waits."""

    return_path: str = "/console/"
    reauthenticates: bool = False
    kept_form: KeptForm = field(default_factory=KeptForm)


def build_oidc_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages; without a provider in the settings, they do not exist."""
    pages = Blueprint("oidc", __name__, url_prefix=_PATH)
    oidc = services.settings.console.oidc
    if oidc.issuer is None:
        return pages
    provider = OidcProvider(oidc, f"{services.public_url}{_PATH}/return", services.clock)

    pages.add_url_rule("", "show_sign_in", _answer_address)
    pages.add_url_rule("", "begin_sign_in", partial(_answer_begin, provider), methods=["POST"])
    pages.add_url_rule("/return", "end_sign_in", partial(_answer_return, provider))
    return pages


def _answer_address() -> Response:
    """Lead a browser that opens the address of the form to the page with the form.

    A page of another site can open addresses in a browser: so that stores nothing and begins no sign-in.
    """
    return_path = check_return_path(request.args.get("next", ""))
    return redirect(f"/console/sign-in?{urlencode({'next': return_path})}")


def _answer_begin(provider: OidcProvider) -> _Page:
    """Store a new OpenID sign-in and lead the browser to the provider.

    The random state and a cookie bind the answer to this browser. Answers 429 if its network has too many.
    """
    state, nonce, verifier, browser = (make_token(services.random(_RANDOM)) for _ in range(4))
    now = services.clock()
    requested = _RequestedSignIn(
        check_return_path(request.form.get("next", "")), "reauthenticate" in request.form, read_kept_form()
    )
    authorization_request = AuthorizationRequest(state, nonce, verifier, requested.reauthenticates)
    try:
        url = provider.build_authorization_url(authorization_request)
    except ProviderError as problem:
        return _answer_problem(problem, requested)
    new_sign_in = NewOidcSignIn(
        state_sha256=digest_token(state),
        browser_sha256=digest_token(browser),
        nonce=nonce,
        verifier=verifier,
        return_path=requested.return_path,
        network=get_network(),
        expires_at=now + _LIFE,
        kept_form=seal_waiting_form(requested.kept_form, browser),
        reauthenticates=requested.reauthenticates,
    )
    with write_transaction(services.engine, "console.openid") as conn:
        if sessions.count_waiting_oidc_sign_ins(conn, new_sign_in.network, now) >= _MOST_OPEN:
            return _answer_many_attempts(requested)
        sessions.insert_oidc_sign_in(conn, new_sign_in)
    # Browsers let no form redirect to another site: so a page of the console does it after the form.
    answer = make_response(render_template("openid_start.html", url=url))
    seconds = int(_LIFE.total_seconds())  # bounded: a setting
    answer.set_cookie(_COOKIE, browser, max_age=seconds, secure=True, httponly=True, samesite="Lax", path="/")
    return answer


def _answer_return(provider: OidcProvider) -> _Page:
    """Sign in the person whom the provider's answer names, or return a page that refuses the sign-in.

    The state, the cookie and the issuer (RFC 9207) must be those of a sign-in that this browser has begun.
    """
    state, browser = request.args.get("state", ""), request.cookies.get(_COOKIE, "")
    with write_transaction(services.engine, "console.openid") as conn:
        waiting_sign_in = sessions.take_oidc_sign_in(
            conn, digest_token(state), digest_token(browser), services.clock()
        )
    if waiting_sign_in is None or request.args.get("iss", provider.issuer) != provider.issuer:
        return _render_refusal(
            translate("This answer of the provider is late, or belongs to no sign-in of this browser."),
            _RequestedSignIn(),
        )
    # Only a browser that began a sign-in here gets here: another page cannot use up the attempts of others.
    requested = _RequestedSignIn(
        waiting_sign_in.return_path,
        waiting_sign_in.reauthenticates,
        open_waiting_form(waiting_sign_in.kept_form, browser),
    )
    network = get_network()
    if find_network_wait(network) is not None:
        return _answer_many_attempts(requested)
    code = request.args.get("code", "")
    if not code:
        return _render_refusal(translate("The provider has not signed you in."), requested)
    try:
        authorization_request = AuthorizationRequest(state, waiting_sign_in.nonce, waiting_sign_in.verifier)
        id_token = provider.redeem_code(code, authorization_request, network)
    except (IdTokenError, CodeRefusedError) as problem:
        record_failed_proof("openid", network)
        _LOG.warning("sign-in by OpenID refused: %s", problem)
        return _render_refusal(translate("The provider has not signed you in."), requested)
    except ProviderError as problem:
        return _answer_problem(problem, requested)
    return _sign_in_with_token(provider.issuer, id_token, requested, waiting_sign_in.expires_at - _LIFE)


def _sign_in_with_token(
    issuer: str, id_token: VerifiedIdToken, requested: _RequestedSignIn, requested_at: datetime
) -> _Page:
    """Sign in the person of an ID token; refuse a token that does not show the proof that was asked for."""
    authenticated_at, fault = None, None
    # Any other sign-in may rest on the session that the provider keeps for the owner of the browser.
    if requested.reauthenticates:
        authenticated_at = id_token.authenticated_at
        fault = find_proof_fault(authenticated_at, requested_at, services.clock())
    authentication = Authentication("openid", get_network(), authenticated_at)
    result = sign_in_with_subject(issuer, id_token.subject, authentication, may_enter=fault is None)
    if result.token is not None:
        return _finish_sign_in(result.token, requested)
    if result.wait_time is not None:
        return _answer_many_attempts(requested)
    sentence = translate("No account of this console belongs to this person.")
    if fault is not None:
        _LOG.warning("sign-in by OpenID refused: %s", fault)
        sentence = _describe_fault(fault)
    return _render_refusal(sentence, requested)


def _describe_fault(fault: ProofFault) -> str:
    """Return what a person reads whose ID token does not show the authentication that was asked for."""
    if fault is ProofFault.MISSING:
        return translate(
            "The provider does not say when it asked who you are. Use another way to sign in, and tell the "
            "operator: the claim auth_time is missing."
        )
    return translate(
        "The provider does not show that it has asked who you are since your request. Sign in there with "
        "your credentials, within five minutes. If this happens again, tell the operator: the clocks may "
        "differ."
    )


def _finish_sign_in(token: str, requested: _RequestedSignIn) -> Response:
    """Set the session cookie; show the form that waited for the sign-in, else lead to the page asked for."""
    token = continue_session(requested.kept_form.former_token, token)
    answer = answer_kept_form(token, requested.kept_form)
    if answer is None:
        # The browser comes from another site: it sends the strict cookie only from a page of the console.
        page_text = render_template("signed_in.html", path=requested.return_path)
        answer = Response(page_text, mimetype="text/html")
        set_session_cookie(answer, token)
    answer.delete_cookie(_COOKIE, secure=True, httponly=True, samesite="Lax", path="/")
    return answer


def _render_refusal(
    sentence: str, requested: _RequestedSignIn, status: HTTPStatus = HTTPStatus.UNAUTHORIZED
) -> _Page:
    """Return the page to sign in, from which the person can try the same again."""
    page = render_sign_in(
        sentence,
        path=requested.return_path,
        encrypted_form=requested.kept_form.encrypted_form,
        reauthenticates=requested.reauthenticates,
    )
    return page, status


def _answer_many_attempts(requested: _RequestedSignIn) -> _Page:
    sentence = translate("Too many attempts. Try again later.")
    return _render_refusal(sentence, requested, HTTPStatus.TOO_MANY_REQUESTS)


def _answer_problem(problem: ProviderError, requested: _RequestedSignIn) -> _Page:
    _LOG.warning("OpenID provider: %s", problem)
    sentence = translate("The OpenID provider cannot be reached, or gives no good answer.")
    return _render_refusal(sentence, requested, HTTPStatus.SERVICE_UNAVAILABLE)
