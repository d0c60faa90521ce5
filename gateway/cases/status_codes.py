"""The requirement status codes (A00-Z05) and the effect of each on an agency request."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.cases.agency_notices import Decision, DecisionCode, Notice
from gateway.errors import CODE_UNKNOWN, DECISION_CONFLICT, GatewayError

__all__ = ["StatusCode", "check_notice_status", "read_status_codes"]


@dataclass(frozen=True, slots=True)
class StatusCode:
    """One code: its name, the party that may set it, and the outcome that it means.

    `event` is the event of the request's state machine that it causes; empty for codes that
    only the hub or customs set.
    """

    code: str
    name: str
    set_by: str
    outcome: str
    event: str


#: The decisions that a status code of an outcome contradicts; other outcomes contradict none.
_CONTRADICTS: Mapping[str, frozenset[DecisionCode]] = {
    "approved": frozenset({DecisionCode.REJECTED}),
    "conditional": frozenset({DecisionCode.REJECTED}),
    "rejected": frozenset({DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS}),
    "revoked": frozenset({DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS}),
}


def read_status_codes(table: str) -> Mapping[str, StatusCode]:
    """Read the code table (CSV with header code, name, set_by, outcome, event, …)."""
    return {
        row["code"]: StatusCode(row["code"], row["name"], row["set_by"], row["outcome"], row["event"])
        for row in csv.DictReader(io.StringIO(table))
    }


def check_notice_status(notice: Notice, codes: Mapping[str, StatusCode]) -> StatusCode:
    """Return the status code of a notice of an agency.

    Raise GW403 for a code that is unknown or that an agency may not set, GW702 for a notice
    with a contradiction: code against decision, or two decisions on one (item, law).
    """
    code = codes.get(notice.status_code)
    if code is None or not code.event:
        known = "is unknown" if code is None else f"is set by {code.set_by}, not by an agency"
        raise GatewayError(CODE_UNKNOWN, f"status code {notice.status_code[:20]!r} {known}", "StatusCode")
    seen: dict[tuple[int, str], Decision] = {}
    for position, decision in enumerate(notice.decisions, start=1):
        where = f"Decision[{position}]"
        if decision.decision in _CONTRADICTS.get(code.outcome, ()):
            raise GatewayError(
                DECISION_CONFLICT,
                f"status code {code.code} ({code.name}) contradicts {decision.decision}",
                where,
            )
        earlier = seen.setdefault((decision.item, decision.law), decision)
        if earlier != decision:
            raise GatewayError(
                DECISION_CONFLICT, f"item {decision.item} is decided twice under law {decision.law}", where
            )
    return code
