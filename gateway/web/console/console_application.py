"""Builds the Flask application of the console: the rules for every page, and the sections."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from flask import Flask, Response, abort, current_app, g, redirect, render_template, request
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from gateway import __version__
from gateway.accounts import Right, derive_form_token, find_relying_party, find_web_origin
from gateway.errors import OUR_MISTAKE, TOO_MANY_REQUESTS, GatewayError
from gateway.store import sessions, write_transaction
from gateway.web.console.account_pages import pages as account_pages
from gateway.web.console.filing.filing_pages import pages as filing_pages
from gateway.web.console.following.answer_pages import pages as answer_pages
from gateway.web.console.following.case_pages import pages as case_pages
from gateway.web.console.isolated_texts import isolate_texts, write_isolated_texts
from gateway.web.console.kept_forms import answer_ended_session
from gateway.web.console.oidc_pages import build_oidc_pages
from gateway.web.console.operations.operations_pages import pages as operations_pages
from gateway.web.console.operations.status_pages import build_status_pages
from gateway.web.console.page_formats import (
    LANGUAGES,
    add_page_formats,
    choose_language,
    get_translations,
    show_word,
    translate,
    translate_word,
)
from gateway.web.console.page_guards import (
    COOKIE,
    FORM_TOKEN,
    ConsoleServices,
    Visitor,
    add_security_headers,
    find_client_certificate,
    find_client_network,
    find_forgery,
    find_session_refusal,
    find_visitor,
    get_home_path,
    get_request_address,
    get_request_path,
    is_session_unread,
    needs_sign_in,
    prolong_session,
    services,
)
from gateway.web.console.page_needs import find_accepted_octets
from gateway.web.console.people.people_pages import pages as people_pages
from gateway.web.console.people.welcome_pages import pages as welcome_pages
from gateway.web.console.statistics_pages import pages as statistics_pages
from gateway.web.console.work.act_pages import pages as work_act_pages
from gateway.web.console.work.proposal_pages import pages as proposal_pages
from gateway.web.console.work.shown_acts import make_shown_act
from gateway.web.console.work.work_pages import pages as work_pages
from gateway.web.problem_status import find_status
from gateway.web.request_texts import (
    RunningRequests,
    add_converters,
    check_path_texts,
    check_request_texts,
    normalize_form_texts,
    remove_invalid_date_headers,
)
from gateway.web.server import normalize_addresses, report_proven_party

_LOG: Final = logging.getLogger(__name__)
#: Octets of a form; sections that take files have a limit of their own.
_LARGEST_FORM: Final = 1024 * 1024
_SECTIONS: Final = (
    account_pages,
    people_pages,
    welcome_pages,
    case_pages,
    answer_pages,
    statistics_pages,
    filing_pages,
    work_pages,
    work_act_pages,
    proposal_pages,
    operations_pages,
)


def build_console(services: ConsoleServices) -> Flask:
    """Return the application that answers every path below ``/console``."""
    application = Flask(__name__, static_folder="static", static_url_path="/console/static")
    application.extensions["console"] = services
    # A redirect by the router itself would contain the Host of the request, even a wrong one.
    application.url_map.merge_slashes = False
    application.url_map.strict_slashes = False
    application.config |= {"MAX_CONTENT_LENGTH": _LARGEST_FORM, "MAX_FORM_MEMORY_SIZE": _LARGEST_FORM}
    add_converters(application.url_map)
    _prepare_templates(application, services)
    url = services.settings.console.public_url
    origin = None if url is None else find_web_origin(url)
    running = RunningRequests(_compute_request_limit(services))
    proxies = normalize_addresses(services.settings.http.proxies)

    @application.before_request
    def begin_request() -> AnyResponse | None:
        g.network = find_client_network(request, proxies)
        return _begin_request(origin, running)

    application.teardown_request(lambda _: _end_request(running))
    application.after_request(add_security_headers)
    application.after_request(write_isolated_texts)
    application.register_error_handler(HTTPException, _answer_http_error)
    application.register_error_handler(GatewayError, _answer_problem)
    application.register_error_handler(Exception, _answer_mistake)
    for pages in _SECTIONS:
        application.register_blueprint(pages)
    application.register_blueprint(build_oidc_pages(services))
    application.register_blueprint(build_status_pages(services))
    application.add_url_rule("/console/", "home", _answer_home)
    return application


def _prepare_templates(application: Flask, services: ConsoleServices) -> None:
    """Give the templates translations, filters, common values and the isolation of right-to-left texts."""
    environment = application.jinja_env
    environment.add_extension("jinja2.ext.i18n")
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: get_translations(g.language).gettext(message),
        lambda singular, plural, number: get_translations(g.language).ngettext(singular, plural, number),
        newstyle=True,
    )
    isolate_texts(environment)
    environment.filters |= {"word": show_word, "plain_word": translate_word, "shown": make_shown_act}
    add_page_formats(environment, services.settings.hub.time_zone)
    application.context_processor(_list_page_values)


def _list_page_values() -> dict[str, Any]:
    """Return the variables that every template may use, by name."""
    return {
        "hub_name": services.settings.hub.name,
        "version": __version__,
        "languages": LANGUAGES,
        "language": g.get("language", services.settings.console.language),
        "visitor": g.get("visitor"),
        "notice": _take_flash_message,
        "Right": Right,
        "form_token_field": _make_form_token_field,
        "get_request_address": get_request_address,
        "get_request_path": get_request_path,
        "practice": services.settings.console.practice,
        "practice_url": services.settings.console.practice_url,
        "real_url": services.settings.console.real_url,
        "has_certificate": lambda: find_client_certificate(request) is not None,
        "openid_label": _find_openid_label(),
        "passkeys_work": find_relying_party(services.public_url) is not None,
    }


def _find_openid_label() -> str:
    """Return the name of the OpenID provider on the sign-in page; nothing without a provider."""
    oidc = services.settings.console.oidc
    return "" if oidc.issuer is None else oidc.label


def _make_form_token_field() -> Markup:
    """Return the hidden field that every form of a person with a session contains; nothing without one."""
    session_visitor: Visitor | None = g.get("visitor") or g.get("session_visitor")
    token = session_visitor.form_token if session_visitor else g.get("unread_form_token")
    return (
        Markup('<input type="hidden" name="{}" value="{}">').format(FORM_TOKEN, token) if token else Markup()
    )


def _take_flash_message() -> str | None:
    """Return and remove the message stored for the next page of this session; None if there is none."""
    visitor: Visitor | None = g.get("visitor")
    if visitor is None or not g.get("has_flash_message"):
        return None
    with write_transaction(services.engine, "console.notice") as conn:
        return sessions.take_flash_message(conn, visitor.session)


def _compute_request_limit(services: ConsoleServices) -> int:
    """Return how many requests of one account may run at once: one thread at least stays for others."""
    console = services.settings.console
    return max(1, min(console.requests_per_account, console.threads - 1))


def _end_request(running: RunningRequests) -> None:
    caller = g.pop("running_caller", None)
    if caller is not None:
        running.end_request(caller)


def _begin_request(origin: str | None, running: RunningRequests) -> AnyResponse | None:
    """Find visitor and language of a request; refuse it if it may be forged or its data cannot be stored."""
    g.visitor = None
    fallback = services.settings.console.language
    g.language = g.chosen_language = choose_language(request.cookies, request.accept_languages, fallback)
    check_path_texts(request)
    remove_invalid_date_headers(request)
    if request.path.startswith("/console/static/"):
        return None
    page = current_app.view_functions.get(request.endpoint or "")
    if is_session_unread(page):
        check_request_texts(request)
        token = request.cookies.get(COOKIE)
        g.unread_form_token = derive_form_token(token) if token else None
        return None
    # A page that looks for news by itself is not a person at work: the session ends when it is idle.
    is_use = "X-Refresh" not in request.headers
    g.visitor = g.session_visitor = find_visitor(request.cookies.get(COOKIE))
    if g.visitor is not None:
        g.language = g.visitor.language
        caller = f"account {g.visitor.account}"
        running.begin_request(caller)
        g.running_caller = caller
        _check_session(page)
    visitor: Visitor | None = g.visitor
    if visitor is not None:
        report_proven_party(request.environ, f"account {visitor.account}")
        if is_use:
            prolong_session(visitor)
        g.has_flash_message = visitor.has_flash_message
        accepted = find_accepted_octets(page)
        if accepted is not None:
            request.max_content_length = accepted
    check_request_texts(request)
    normalize_form_texts(request)
    # The page to sign in has no form token of a session that began in another window since it was shown.
    is_sign_in = request.path.startswith("/console/sign-in")
    forgery = find_forgery(request, None if is_sign_in else g.session_visitor, origin)
    if forgery is not None:
        abort(HTTPStatus.FORBIDDEN, forgery)
    return answer_ended_session() if visitor is None else None


def _check_session(page: Callable[..., object] | None) -> None:
    """Let the request have no visitor where the session does not count now; `g.session_refusal` says why.

    Raises GW806 for a page that needs a sign-in, where the certificate of the session could not be validated.
    The pages to sign in and out are shown all the same.
    """
    g.visitor, g.language = None, g.chosen_language
    try:
        g.session_refusal = find_session_refusal(g.session_visitor)
    except GatewayError as problem:
        if page is not None and needs_sign_in(page):
            raise
        g.session_refusal = problem
    if g.session_refusal is None:
        g.visitor, g.language = g.session_visitor, g.session_visitor.language


def _answer_home() -> AnyResponse:
    return redirect(get_home_path(g.visitor))


def _answer_http_error(error: HTTPException) -> AnyResponse | tuple[str, int]:
    """Return the error page of an HTTP error; a redirect or a ready response is returned as it is."""
    if isinstance(error.response, Response) or (error.code or 500) < HTTPStatus.BAD_REQUEST:
        return error.get_response()
    code = error.code or 500
    return render_template("error.html", status=code, refusal=_describe_refusal(error)), code


def _describe_refusal(error: HTTPException) -> str:
    """Return a sentence on why a request was refused, in the language of the request.

    If the page gave no reason, it is the sentence of the HTTP status.
    """
    if error.description and error.description != type(error).description:
        return translate_word(error.description)
    usual = {
        HTTPStatus.BAD_REQUEST: translate("The request is not complete, or it cannot be understood."),
        HTTPStatus.FORBIDDEN: translate("Your role does not have the right to see this page."),
        HTTPStatus.NOT_FOUND: translate("There is nothing at this address for your organisation."),
        HTTPStatus.METHOD_NOT_ALLOWED: translate(
            "This address is not for a page. Go back, and use the button."
        ),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: translate("What was sent is too large."),
    }
    return usual.get(HTTPStatus(error.code or 500)) or translate("The request was not accepted.")


def _answer_problem(problem: GatewayError) -> tuple[str, int, dict[str, str]]:
    """Return the page of a problem with its HTTP status; for GW807, with Retry-After."""
    status = find_status(problem)
    if problem.problem is TOO_MANY_REQUESTS:
        refusal = translate("Other pages of your account are being made. Load this page again in a second.")
        page = render_template("error.html", status=problem.problem.id, refusal=refusal)
        return page, status, {"Retry-After": "1"}
    return render_template("problem.html", problem=problem), status, {}


def _answer_mistake(mistake: Exception) -> tuple[str, int]:
    """Answer an unexpected exception with the error page; only the log has the details."""
    _LOG.error("console: %s", type(mistake).__name__, extra={"path": request.path})
    _LOG.debug("console", exc_info=mistake)
    refusal = translate(
        "Something went wrong in the gateway. Try again. If it stays so, tell the operator when."
    )
    page = render_template("error.html", status=OUR_MISTAKE.id, refusal=refusal)
    return page, find_status(GatewayError(OUR_MISTAKE))
