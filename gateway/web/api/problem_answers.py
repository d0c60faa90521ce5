"""Turns problems into problem details (RFC 9457), each with its id of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from gateway.errors import PROBLEMS, GatewayError
from gateway.web.api.api_services import BASE_PATH
from gateway.web.api.model_bases import AnswerModel

__all__ = ["PROBLEM_TYPE", "ProblemDetails", "find_status", "make_gate_rejection", "make_problem_details"]

PROBLEM_TYPE: Final = "application/problem+json"

#: The status of a problem in the API, where it is not that of its family. Messages of ebXML and SOAP
#: carry the same problems in other ways.
_STATUS: Final[Mapping[str, int]] = {
    "GW101": 415,
    "GW102": 413,
    "GW110": 400,
    "GW111": 408,
    "GW112": 404,
    "GW206": 401,
    "GW212": 403,
    "GW213": 401,
    "GW214": 401,
    "GW302": 403,
    "GW312": 409,
    "GW803": 503,
    "GW804": 503,
    "GW806": 503,
    "GW807": 429,
}
_FAMILIES: Final[Mapping[str, int]] = {"GW1": 400, "GW2": 401, "GW3": 422, "GW4": 422, "GW5": 422, "GW7": 409}
_LONGEST: Final = 2000


class ProblemDetails(AnswerModel):
    """A problem: what kind it is, what happened here, where, and what helps."""

    type: str = Field(
        description="Where the kind of problem is described.", examples=["/api/v1/problems/GW112"]
    )
    title: str = Field(description="The kind of problem, in few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened with this request.")
    id: str = Field(description="The id of the kind of problem.", pattern="^GW[0-9]{3}$", examples=["GW112"])
    location: str | None = Field(None, description="Where in the request: a parameter, a header, an XPath.")
    remedy: str | None = Field(None, description="What helps.")


def find_status(problem: GatewayError) -> int:
    """Return the HTTP status of a problem."""
    one = problem.problem.id
    fallback = 503 if problem.problem.retry and problem.problem.ours else 500
    return _STATUS.get(one) or _FAMILIES.get(one[:3], fallback)


def make_problem_details(problem: GatewayError) -> ProblemDetails:
    """Return the details of a problem."""
    kind = PROBLEMS[problem.problem.id]
    return ProblemDetails(
        type=f"{BASE_PATH}/problems/{kind.id}",
        title=kind.title,
        status=find_status(problem),
        detail=problem.detail[:_LONGEST],
        id=kind.id,
        location=problem.location[:_LONGEST] or None,
        remedy=kind.remedy,
    )


def make_gate_rejection(problem: GatewayError) -> tuple[int, str, bytes]:
    """Return status, media type and octets for a request that the gate refuses."""
    details = make_problem_details(problem)
    return details.status, PROBLEM_TYPE, details.model_dump_json(exclude_none=True).encode()
