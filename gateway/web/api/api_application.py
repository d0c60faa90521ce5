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

from gateway.errors import (
    CLIENT_CERTIFICATE,
    CREDENTIALS_REFUSED,
    NOT_FOUND,
    OUR_MISTAKE,
    REQUEST_MALFORMED,
    TOO_LARGE,
    GatewayError,
)
from gateway.hub import SenderConnection, check_client_certificate
from gateway.message_model import Body, as_body
from gateway.store import find_database_hold
from gateway.web.api.access_tokens import TOKENS, find_token_party
from gateway.web.api.api_operations import (
    BASE_PATH,
    JSON,
    NOBODY,
    PROBLEM_TYPE,
    Answer,
    ApiAnswer,
    ApiCall,
    ApiServices,
    Caller,
    Operation,
    make_problem_details,
    read_request,
)
from gateway.web.api.case_operations import CASES
from gateway.web.api.event_operations import EVENTS, WEBHOOKS
from gateway.web.api.message_operations import MESSAGES, SUBMISSIONS
from gateway.web.api.openapi_document import PATH_PARAMETERS, make_openapi_document
from gateway.web.api.reference_operations import (
    REFERENCE,
    REGISTER,
    STATISTICS,
)
from gateway.web.case_bundle import make_body_response
from gateway.web.request_texts import RunningRequests, add_converters
from gateway.web.server import CERTIFICATE_KEY, STREAM_KEY, report_proven_party

OPERATIONS: Final[tuple[Operation, ...]] = (
    *TOKENS.operations,
    *SUBMISSIONS.operations,
    *MESSAGES.operations,
    *CASES.operations,
    *EVENTS.operations,
    *WEBHOOKS.operations,
    *REGISTER.operations,
    *STATISTICS.operations,
    *REFERENCE.operations,
)


_BEARER: Final = "bearer "


def find_caller(services: ApiServices, authorization: str, fingerprint: str | None) -> Caller:
    """Return the party that sends a request; raises GW214 or GW213 if the request does not prove one.

    `fingerprint` is the SHA-256 of the client certificate of the connection. A certificate that is shown
    must be the party's own, also beside a token.
    """
    hub, now = services.hub, services.clock()
    knowledge = hub.refresh_snapshot()
    if authorization:
        if not authorization.lower().startswith(_BEARER):
            raise GatewayError(CREDENTIALS_REFUSED, "only Bearer tokens are accepted", "Authorization")
        party, certificate = find_token_party(services, knowledge, authorization[len(_BEARER) :].strip())
        if fingerprint is not None or hub.mutual_tls:
            check_client_certificate(hub, SenderConnection(party, fingerprint), knowledge, now)
        return Caller(party, "token", certificate)
    if fingerprint is None:
        raise GatewayError(CREDENTIALS_REFUSED, "the request has no access token", "Authorization")
    assignment = knowledge.tls_clients.get(fingerprint)
    if assignment is None:
        detail = f"certificate {fingerprint[:16]} is not registered for an active party"
        raise GatewayError(CLIENT_CERTIFICATE, detail, "TLS")
    check_client_certificate(hub, SenderConnection(assignment.party, fingerprint), knowledge, now)
    return Caller(assignment.party, "certificate", fingerprint)


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
    add_converters(application.url_map)
    application.config |= {
        "MAX_CONTENT_LENGTH": services.settings.limits.body,
        "MAX_FORM_PARTS": services.settings.limits.parts + 1,
    }
    application.register_error_handler(HTTPException, _answer_http_error)
    application.register_error_handler(Exception, _answer_mistake)
    api = services.settings.api
    running = RunningRequests(max(1, min(api.running_per_party, api.threads - 1)))
    for operation in (*OPERATIONS, _make_description_operation(services)):
        application.add_url_rule(
            BASE_PATH + _write_rule(operation.path),
            operation.id,
            _build_view(services, operation, running),
            methods=[operation.method],
            provide_automatic_options=False,
        )
    return application


def _write_rule(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: f"<{'id' if match[1] == 'id' else 'string'}:{match[1]}>", path)


def _make_description_operation(services: ApiServices) -> Operation:
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


def _build_view(
    services: ApiServices, operation: Operation, running: RunningRequests
) -> Callable[..., Response]:
    """Return the Flask view of an operation.

    It identifies the caller, reads the request and calls the handler; a GatewayError becomes the answer.
    """

    def answer_request(**path: str) -> Response:
        party = None
        try:
            _check_path(path)
            # A public answer has nothing from the database, or does not wait for it.
            if not (operation.public and operation.method == "GET"):
                hold_problem = find_database_hold(services.engine)
                if hold_problem is not None:
                    raise hold_problem
            caller = NOBODY
            if not operation.public:
                caller = find_caller(
                    services, request.headers.get("Authorization", ""), request.environ.get(CERTIFICATE_KEY)
                )
                party = caller.party
                report_proven_party(request.environ, party)
            call = ApiCall(
                services,
                caller,
                path,
                query=None,
                headers={},
                is_still_allowed=_make_credential_check(services),
            )
            if party is None:
                return _finish_answer(operation, operation.handle(read_request(operation, call)))
            running.begin_request(party)
            try:
                return _finish_answer(operation, operation.handle(read_request(operation, call)))
            finally:
                running.end_request(party)
        except GatewayError as problem:
            if operation.method == "POST":
                services.hub.tally.count_refusal(party, problem)
            return _answer_problem(operation, problem)

    return answer_request


def _make_credential_check(services: ApiServices) -> Callable[[], bool]:
    """Return a function that returns whether the credentials of this request are still valid."""
    fingerprint, authorization = (
        request.environ.get(CERTIFICATE_KEY),
        request.headers.get("Authorization", ""),
    )

    def is_still_allowed() -> bool:
        try:
            find_caller(services, authorization, fingerprint)
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
    """Return the response of an answer, with security and cache headers.

    A successful GET gets an ETag; if the request names this ETag, the response is 304 without a body.
    """
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
    return make_body_response(content, answer.media_type, answer.status)


def _write_body(answer: ApiAnswer) -> bytes | Body | None:
    if isinstance(answer.body, BaseModel):
        return answer.body.model_dump_json(exclude_none=True).encode()
    return answer.body


def _answer_problem(
    operation: Operation | None, problem: GatewayError, status: int | None = None
) -> Response:
    """Return the problem as an HTTP response (RFC 9457), with `status` in place of its usual status.

    An operation that defines its own form of errors (`make_error`) is answered in this form.
    """
    details = make_problem_details(problem)
    if status is not None:
        details = details.model_copy(update={"status": status})
    if operation is not None and operation.make_error is not None:
        answer = operation.make_error(problem)
        response = _make_response(_write_body(answer), replace(answer, media_type=JSON))
        response.headers.update(dict(answer.headers))
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
    """Answer an HTTP error that arises before an operation is reached, or in the parser of forms."""
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
    """Answer an unexpected exception with the problem OUR_MISTAKE; only the log has the details."""
    _LOG.error("api: %s", type(mistake).__name__, extra={"path": request.path})
    _LOG.debug("api", exc_info=mistake)
    return _answer_problem(None, GatewayError(OUR_MISTAKE))
