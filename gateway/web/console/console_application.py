"""Builds the Flask application of the console: what holds for every page, and the sections."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

from flask import Flask, Response, abort, current_app, g, redirect, render_template, request
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from gateway.accounts import Right, find_relying_party
from gateway.errors import OUR_MISTAKE, PROBLEMS, GatewayError
from gateway.store import sessions, write_transaction
from gateway.web.console.account_pages import build_account_pages
from gateway.web.console.certificate_pages import build_certificate_pages
from gateway.web.console.client_connection import find_client_certificate, find_client_network
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.filing import build_filing_pages
from gateway.web.console.following import build_following_pages
from gateway.web.console.oidc_pages import build_oidc_pages
from gateway.web.console.operations import build_operations_pages, build_status_pages
from gateway.web.console.page_formats import add_page_formats
from gateway.web.console.page_guards import find_accepted_octets, get_home_path
from gateway.web.console.page_security import COOKIE, FORM_TOKEN, add_security_headers, find_forgery
from gateway.web.console.page_translations import (
    LANGUAGES,
    get_translations,
    show_word,
    translate,
    translate_word,
)
from gateway.web.console.passkey_pages import build_passkey_pages
from gateway.web.console.people.people_pages import build_people_pages
from gateway.web.console.people.welcome_pages import build_welcome_pages
from gateway.web.console.visitor_session import Visitor, find_visitor
from gateway.web.console.work.work_section import build_work_section

__all__ = ["build_console"]

_LOG: Final = logging.getLogger(__name__)
#: Octets of a form; sections that take files have a limit of their own.
_LARGEST_FORM: Final = 1024 * 1024


def build_console(services: ConsoleServices) -> Flask:
    """Return the application that answers every path below ``/console``."""
    application = Flask(__name__, static_folder="static", static_url_path="/console/static")
    application.config |= {"MAX_CONTENT_LENGTH": _LARGEST_FORM, "MAX_FORM_MEMORY_SIZE": _LARGEST_FORM}
    _prepare_templates(application, services)
    application.before_request(lambda: _begin_request(services))
    application.after_request(add_security_headers)
    application.register_error_handler(HTTPException, _answer_http_error)
    application.register_error_handler(GatewayError, _answer_problem)
    application.register_error_handler(Exception, _answer_mistake)
    application.register_blueprint(build_account_pages(services))
    application.register_blueprint(build_passkey_pages(services))
    application.register_blueprint(build_certificate_pages(services))
    application.register_blueprint(build_work_section(services))
    application.register_blueprint(build_oidc_pages(services))
    application.register_blueprint(build_people_pages(services))
    application.register_blueprint(build_welcome_pages(services))
    application.register_blueprint(build_following_pages(services))
    application.register_blueprint(build_operations_pages(services))
    application.register_blueprint(build_status_pages(services))
    application.register_blueprint(build_filing_pages(services))
    application.add_url_rule("/console/", "home", _answer_home)
    return application


def _prepare_templates(application: Flask, services: ConsoleServices) -> None:
    environment = application.jinja_env
    environment.add_extension("jinja2.ext.i18n")
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        lambda one: get_translations(g.language).gettext(one),
        lambda one, more, number: get_translations(g.language).ngettext(one, more, number),
        newstyle=True,
    )
    environment.filters |= {"word": show_word, "plain_word": translate_word}
    add_page_formats(environment, services.settings.hub.time_zone)
    application.context_processor(lambda: _list_page_values(services))


def _list_page_values(services: ConsoleServices) -> dict[str, Any]:
    """Return what every template may use."""
    return {
        "hub_name": services.settings.hub.name,
        "languages": LANGUAGES,
        "language": g.get("language", services.settings.console.language),
        "visitor": g.get("visitor"),
        "notice": lambda: _take_notice(services),
        "Right": Right,
        "form_token_field": _make_form_token_field,
        "practice": services.settings.console.practice,
        "practice_url": services.settings.console.practice_url,
        "real_url": services.settings.console.real_url,
        "has_certificate": lambda: find_client_certificate(request) is not None,
        "openid_label": _find_openid_label(services),
        "name_problem": lambda name: PROBLEMS[name].title if name in PROBLEMS else name,
        "passkeys_work": find_relying_party(services.public_url) is not None,
    }


def _find_openid_label(services: ConsoleServices) -> str:
    """Return the name of the OpenID provider on the sign-in page; nothing without a provider."""
    oidc = services.settings.console.oidc
    return "" if oidc.issuer is None else oidc.label


def _make_form_token_field() -> Markup:
    """Return the hidden field that every form of a signed-in person contains."""
    field = Markup('<input type="hidden" name="{}" value="{}">')
    return field.format(FORM_TOKEN, g.visitor.form_token if g.visitor else "")


def _take_notice(services: ConsoleServices) -> str | None:
    visitor: Visitor | None = g.get("visitor")
    if visitor is None or not g.get("has_notice"):
        return None
    with write_transaction(services.engine, "console.notice") as conn:
        return sessions.take_notice(conn, visitor.session)


def _begin_request(services: ConsoleServices) -> AnyResponse | None:
    """Find the person and the language of a request; refuse a request that may be forged."""
    g.visitor = None
    g.network = find_client_network(request, services.settings.http.proxies)
    g.language = _choose_language(services.settings.console.language)
    if request.path.startswith("/console/static/"):
        return None
    # A page that looks for news by itself is not a person at work: the session ends when it is idle.
    is_use = "X-Refresh" not in request.headers
    visitor = find_visitor(services, request.cookies.get(COOKIE), is_use=is_use)
    g.visitor = visitor
    if visitor is not None:
        g.language = visitor.language
        g.has_notice = visitor.has_notice
        accepted = find_accepted_octets(current_app.view_functions.get(request.endpoint or ""))
        if accepted is not None:
            request.max_content_length = accepted
    forgery = find_forgery(request, visitor, services.public_url)
    if forgery is not None:
        abort(HTTPStatus.FORBIDDEN, forgery)
    return None


def _choose_language(fallback: str) -> str:
    chosen = request.cookies.get("language", "")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(list(LANGUAGES), fallback) or fallback


def _answer_home() -> AnyResponse:
    return redirect(get_home_path(g.visitor))


def _answer_http_error(error: HTTPException) -> AnyResponse | tuple[str, int]:
    if isinstance(error.response, Response) or (error.code or 500) < HTTPStatus.BAD_REQUEST:
        return error.get_response()
    code = error.code or 500
    return render_template("error.html", status=code, refusal=_describe_refusal(error)), code


def _describe_refusal(error: HTTPException) -> str:
    """Return why a request was refused, in the language of the request.

    Where no page has said why, the sentence is that of the status.
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


def _answer_problem(problem: GatewayError) -> tuple[str, int]:
    status = int(problem.problem.http or 500)
    return render_template("problem.html", problem=problem), status


def _answer_mistake(mistake: Exception) -> tuple[str, int]:
    """Answer a mistake of ours: the page names no detail; the log does."""
    _LOG.error("console: %s at %s", type(mistake).__name__, request.path)
    _LOG.debug("console", exc_info=mistake)
    problem = OUR_MISTAKE
    told = translate(
        "Something went wrong in the gateway. Try again. If it stays so, tell the operator when."
    )
    return render_template("error.html", status=problem.id, refusal=told), int(problem.http or 500)
