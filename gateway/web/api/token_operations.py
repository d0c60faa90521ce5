"""The token endpoint (RFC 6749 §4.4 with RFC 7523): a client assertion gets an access token."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from gateway.errors import CREDENTIALS_REFUSED, REQUEST_MALFORMED, GatewayError
from gateway.web.api.access_tokens import issue_token
from gateway.web.api.api_operations import Answer, ApiAnswer, ApiCall, Operation, RequestBody
from gateway.web.api.client_assertions import LARGEST_ASSERTION
from gateway.web.api.model_bases import AnswerModel, QueryModel
from gateway.web.api.problem_answers import find_status

__all__ = ["TOKEN_OPERATIONS", "TokenError"]

_FORM: Final = "application/x-www-form-urlencoded"
_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_GRANT: Final = "client_credentials"


class TokenRequest(QueryModel):
    """The form by which an access token is asked for."""

    grant_type: str = Field(max_length=100, examples=[_GRANT])
    client_assertion_type: str = Field(max_length=100, examples=[_TYPE])
    client_assertion: str = Field(
        max_length=LARGEST_ASSERTION, description="A JWT signed by the client's key."
    )
    client_id: str = Field("", max_length=200, description="The party; it may be left out.")


class TokenAnswer(AnswerModel):
    """An access token."""

    access_token: str
    token_type: str = Field("Bearer", json_schema_extra={"const": "Bearer"})
    expires_in: int = Field(description="Seconds until it ends.", ge=1)


class TokenError(AnswerModel):
    """Why there is no token (RFC 6749 §5.2), with the id of the problem."""

    error: str = Field(
        json_schema_extra={
            "enum": ["invalid_request", "invalid_client", "unsupported_grant_type", "temporarily_unavailable"]
        }
    )
    error_description: str
    id: str = Field(pattern="^GW[0-9]{3}$")


def _issue_token(call: ApiCall) -> ApiAnswer:
    asked: TokenRequest = call.model
    if asked.grant_type != _GRANT:
        raise GatewayError(REQUEST_MALFORMED, f"the grant type must be {_GRANT}", "grant_type")
    if asked.client_assertion_type != _TYPE:
        raise GatewayError(REQUEST_MALFORMED, f"the type must be {_TYPE}", "client_assertion_type")
    token = issue_token(call.services, asked.client_assertion, asked.client_id)
    seconds = int(call.services.settings.api.token.total_seconds())
    # RFC 6749 §5.1: no cache may keep a token.
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    return ApiAnswer(TokenAnswer(access_token=token, expires_in=seconds), headers=headers)


def make_token_error(problem: GatewayError) -> ApiAnswer:
    """Return the answer of the token endpoint to a problem, in the words of RFC 6749."""
    status = find_status(problem)
    word = "temporarily_unavailable" if status >= 429 else "invalid_request"
    if problem.problem is CREDENTIALS_REFUSED:
        word = "invalid_client"
    elif problem.location == "grant_type":
        word = "unsupported_grant_type"
    answer = TokenError(error=word, error_description=problem.detail[:500], id=problem.problem.id)
    headers: dict[str, Any] = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    return ApiAnswer(answer, status, headers=headers)


TOKEN_OPERATIONS: Final = (
    Operation(
        id="getToken",
        method="POST",
        path="/token",
        tag="token",
        summary="Get an access token by a client assertion (private_key_jwt)",
        description=(
            "The assertion is a JWT, signed by a registered signing key of the party: iss and sub are the "
            "party, aud is the address of the API or of this endpoint, exp is at most five minutes ahead, "
            "jti is new, kid is the SHA-256 of the certificate in hexadecimal."
        ),
        handle=_issue_token,
        body=RequestBody("The grant and the assertion", {_FORM: TokenRequest}),
        answers=(Answer(200, "The token", TokenAnswer),),
        problems=(413, 415),
        make_error=make_token_error,
        error_model=TokenError,
        public=True,
    ),
)
