"""The page for a request that the server refuses before the console sees it, in the person's language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask import Flask, g, render_template
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header, parse_cookie

from gateway.errors import GatewayError
from gateway.web.console.page_formats import choose_language
from gateway.web.problem_status import find_status
from gateway.web.server import GateRejection

_MEDIA_TYPE: Final = "text/html; charset=utf-8"


class RefusedRequestPages:
    """The pages of a console, one for each problem and language, each made once for many refusals."""

    def __init__(self, application: Flask, language: str) -> None:
        self._application = application
        self._language = language
        self._pages: dict[tuple[str, str], bytes] = {}

    def make_rejection(self, problem: GatewayError, fields: Mapping[str, str]) -> GateRejection:
        """Return the answer to a request with these header fields that is refused for a problem."""
        accepted = parse_accept_header(fields.get("accept-language"), LanguageAccept)
        language = choose_language(parse_cookie(fields.get("cookie")), accepted, self._language)
        key = (problem.problem.id, language)
        if key not in self._pages:
            self._pages[key] = self._render_page(problem, language)
        status = int(getattr(problem, "status", None) or find_status(problem))  # bounded: of the catalogue
        return GateRejection(status, _MEDIA_TYPE, self._pages[key])

    def _render_page(self, problem: GatewayError, language: str) -> bytes:
        """Return the page of a problem, which says nothing about a single request."""
        with self._application.test_request_context("/console/"):
            g.visitor, g.language = None, language
            return render_template("problem.html", problem=GatewayError(problem.problem)).encode()
