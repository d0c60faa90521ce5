"""The HTTP status of a problem, for clients of the API and for browsers.

That of the catalogue is for ebXML and SOAP, where a refusal may be a good answer (200) or a fault (500).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.errors import GatewayError

#: Statuses of the catalogue that mean the same to every client.
_REFUSALS: Final = (*range(400, 500), 503)
#: The statuses of other refusals, by the first three characters of the problem's id.
_FAMILIES: Final[Mapping[str, int]] = {
    **{"GW1": 400, "GW2": 401, "GW3": 422, "GW4": 422, "GW5": 422},
    **{"GW6": 502, "GW7": 409, "GW8": 503, "GW9": 503},
}
#: The statuses of single problems that have another status than the catalogue or the table above gives.
_STATUS: Final[Mapping[str, int]] = {"GW208": 401, "GW302": 403, "GW312": 409, "GW807": 429, "GW808": 422}


def find_status(problem: GatewayError) -> int:
    """Return the HTTP status of a problem."""
    problem_kind = problem.problem
    if problem_kind.id in _STATUS:
        return _STATUS[problem_kind.id]
    catalogue_status = problem_kind.codes.http or 500
    if catalogue_status in _REFUSALS:
        return catalogue_status
    return _FAMILIES[problem_kind.id[:3]]
