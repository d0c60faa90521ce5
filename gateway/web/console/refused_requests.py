"""The page for a request that the server refuses before the console sees it, in the person's language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask import Flask, Response, g, make_response, render_template
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header, parse_cookie

from gateway.errors import GatewayError
from gateway.web.console.page_formats import choose_language
from gateway.web.problem_status import find_status
from gateway.web.server import GateRejection

#: Characters of a header field that are read: the limit of the head may be what the request breaks.
_LONGEST_FIELD: Final = 500
#: Headers that the server writes itself.
_NOT_KEPT: Final = frozenset({"content-type", "content-length", "retry-after"})
_MEDIA_TYPE: Final = "text/html; charset=utf-8"


class RefusedRequestPages:
    """The pages of a console, one for each problem and language, each made once for many refusals."""

    def __init__(self, application: Flask, language: str) -> None:
        self._application = application
        self._language = language
        self._pages: dict[tuple[str, str], Response] = {}

    def make_rejection(self, problem: GatewayError, fields: Mapping[str, str]) -> GateRejection:
        """Return the answer to a request with these header fields that is refused for a problem."""
        accepted = parse_accept_header(fields.get("accept-language", "")[:_LONGEST_FIELD], LanguageAccept)
        cookies = parse_cookie(fields.get("cookie", "")[:_LONGEST_FIELD])
        language = choose_language(cookies, accepted, self._language)
        key = (problem.problem.id, language)
        if key not in self._pages:
            self._pages[key] = self._render_page(problem, language)
        page = self._pages[key]
        status = int(getattr(problem, "status", None) or find_status(problem))  # bounded: of the catalogue
        headers = [header for header in page.headers if header[0].lower() not in _NOT_KEPT]
        return GateRejection(status, _MEDIA_TYPE, page.get_data(), tuple(headers))

    def _render_page(self, problem: GatewayError, language: str) -> Response:
        """Return the page of a problem, which says nothing about a single request, with its headers."""
        with self._application.test_request_context("/console/"):
            g.visitor, g.language = None, language
            page = make_response(render_template("problem.html", problem=GatewayError(problem.problem)))
            return self._application.process_response(page)
