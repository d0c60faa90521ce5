"""Builds the Flask application of the API: each declared operation becomes a route."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, request
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from gateway.errors import NOT_FOUND, OUR_MISTAKE, REQUEST_MALFORMED, TOO_LARGE, GatewayError
from gateway.message_model import Body, as_body
from gateway.web.api.api_caller import find_caller
from gateway.web.api.api_operations import JSON, NOBODY, Answer, ApiAnswer, ApiCall, Operation
from gateway.web.api.api_services import BASE_PATH, ApiServices
from gateway.web.api.openapi_document import PATH_PARAMETERS, make_openapi_document
from gateway.web.api.operation_table import OPERATIONS
from gateway.web.api.problem_answers import PROBLEM_TYPE, make_problem_details
from gateway.web.api.request_reader import read_request
from gateway.web.server import CERTIFICATE_KEY, STREAM_KEY, report_proven_party
from gateway.web.streamed_bodies import send_body

__all__ = ["build_api"]

_LOG: Final = logging.getLogger(__name__)
_RETRY_AFTER: Final = "2"
_SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def build_api(services: ApiServices) -> Flask:
    """Return the application that answers every path below ``/api/v1``."""
    application = Flask("gateway-api", static_folder=None)
    # Message ids may contain slashes, also two in a row.
    application.url_map.merge_slashes = False
    application.config |= {
        "MAX_CONTENT_LENGTH": services.settings.limits.body,
        "MAX_FORM_PARTS": services.settings.limits.parts + 1,
    }
    application.register_error_handler(HTTPException, _answer_http_error)
    application.register_error_handler(Exception, _answer_mistake)
    for one in (*OPERATIONS, _describe_itself(services)):
        application.add_url_rule(
            BASE_PATH + _write_rule(one.path),
            one.id,
            _build_view(services, one),
            methods=[one.method],
            provide_automatic_options=False,
        )
    return application


def _write_rule(path: str) -> str:
    return re.sub(
        r"\{(\w+)\}", lambda found: f"<{'path' if found[1] == 'id' else 'string'}:{found[1]}>", path
    )


def _describe_itself(services: ApiServices) -> Operation:
    """Return the operation that serves the OpenAPI document."""
    content = _write_description(services.public_url.removesuffix(BASE_PATH) + BASE_PATH)
    return Operation(
        id="getDescription",
        method="GET",
        path="/openapi.json",
        tag="reference",
        summary="Get this document",
        handle=lambda _: ApiAnswer(content),
        answers=(Answer(200, "The OpenAPI document"),),
        public=True,
    )


@lru_cache(maxsize=4)
def _write_description(server: str) -> bytes:
    return json.dumps(make_openapi_document(OPERATIONS, server), ensure_ascii=False).encode()


def _build_view(services: ApiServices, operation: Operation) -> Callable[..., Response]:
    def answer_request(**path: str) -> Response:
        party = None
        try:
            _check_path(path)
            caller = NOBODY
            if not operation.public:
                caller = find_caller(
                    services, request.headers.get("Authorization", ""), request.environ.get(CERTIFICATE_KEY)
                )
                party = caller.party
                report_proven_party(request.environ, party)
            call = ApiCall(services, caller, path, None, {}, is_still_allowed=_keep_checking(services))
            call = read_request(operation, call)
            return _finish_answer(operation, operation.handle(call))
        except GatewayError as problem:
            if operation.method == "POST":
                services.hub.tally.count_refusal(party, problem)
            return _answer_problem(operation, problem)

    return answer_request


def _keep_checking(services: ApiServices) -> Callable[[], bool]:
    """Return a function that tells whether the credentials of this request still hold."""
    shown, given = request.environ.get(CERTIFICATE_KEY), request.headers.get("Authorization", "")

    def is_still_allowed() -> bool:
        try:
            find_caller(services, given, shown)
        except GatewayError:
            return False
        return True

    return is_still_allowed


@lru_cache(64)
def _compile_pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removeprefix("^").removesuffix("$"), re.ASCII)


def _check_path(path: Mapping[str, str]) -> None:
    for name, value in path.items():
        if _compile_pattern(PATH_PARAMETERS[name][0]).fullmatch(value) is None:
            raise GatewayError(NOT_FOUND, "the address is misspelt", name)


def _finish_answer(operation: Operation, answer: ApiAnswer) -> Response:
    content = _write_body(answer)
    response = _make_response(content, answer)
    response.headers.update(_SECURITY_HEADERS)
    is_reading = operation.method == "GET"
    response.headers["Cache-Control"] = (
        ("no-cache" if operation.public else "private, no-cache") if is_reading else "no-store"
    )
    response.headers.update(dict(answer.headers))
    if answer.stream is not None:
        request.environ[STREAM_KEY] = answer.stream
    elif is_reading and answer.status == HTTPStatus.OK and content is not None:
        tag = as_body(content).sha256_hex[:32]
        response.set_etag(tag)
        if "*" in request.if_none_match or request.if_none_match.contains_weak(tag):
            response.status_code = HTTPStatus.NOT_MODIFIED
            response.close()
            response.direct_passthrough = False
            response.set_data(b"")
            response.headers.pop("Content-Type", None)
    return response


def _make_response(content: bytes | Body | None, answer: ApiAnswer) -> Response:
    if content is None or isinstance(content, bytes):
        return Response(content, answer.status, content_type=None if content is None else answer.media_type)
    return send_body(content, answer.media_type, answer.status)


def _write_body(answer: ApiAnswer) -> bytes | Body | None:
    if isinstance(answer.body, BaseModel):
        return answer.body.model_dump_json(exclude_none=True).encode()
    return answer.body


def _answer_problem(
    operation: Operation | None, problem: GatewayError, status: int | None = None
) -> Response:
    details = make_problem_details(problem)
    if status is not None:
        details = details.model_copy(update={"status": status})
    if operation is not None and operation.make_error is not None:
        told = operation.make_error(problem)
        response = _make_response(_write_body(told), replace(told, media_type=JSON))
        response.headers.update(dict(told.headers))
    else:
        content = details.model_dump_json(exclude_none=True)
        response = Response(content, details.status, content_type=PROBLEM_TYPE)
        response.headers["Cache-Control"] = "no-store"
    response.headers.update(_SECURITY_HEADERS)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="api"'
    if response.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        response.headers["Retry-After"] = _RETRY_AFTER
    return response


def _answer_http_error(error: HTTPException) -> Response:
    """Answer what is found wrong before an operation is reached, or by the reader of forms."""
    if isinstance(error, RequestEntityTooLarge):
        return _answer_problem(None, GatewayError(TOO_LARGE, "the body is too large", "body"))
    if isinstance(error, MethodNotAllowed):
        response = _answer_problem(
            None, GatewayError(REQUEST_MALFORMED, "this address has no such method", "method"), error.code
        )
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response
    if error.code == HTTPStatus.NOT_FOUND:
        return _answer_problem(None, GatewayError(NOT_FOUND, "there is no such address", "path"))
    return _answer_problem(None, GatewayError(REQUEST_MALFORMED, str(error.description)[:200], "request"))


def _answer_mistake(mistake: Exception) -> Response:
    """Answer a mistake of ours: the answer names no detail; the log does."""
    _LOG.error("api: %s at %s", type(mistake).__name__, request.path)
    _LOG.debug("api", exc_info=mistake)
    return _answer_problem(None, GatewayError(OUR_MISTAKE))
