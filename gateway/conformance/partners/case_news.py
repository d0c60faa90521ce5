"""What a broker knows about a case without a Result: from the notices that it has received."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["summarize_notices"]

#: The states of a request in which the agency waits for the applicant.
_OPEN: Final = frozenset({"INFORMATION_REQUIRED", "INSPECTION", "FEE_DUE"})
_SHOWN: Final = ("application", "document", "organisation", "state", "status_code", "text")


def summarize_notices(said: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return case number, state, applications and open questions by the fields of verified notices.

    The last notice of an application counts, by its IssuedAt, then by arrival. The state is None
    where no notice has come: then only the receipt is known. `held` is there only of a held case:
    until when, and what is missing.
    """
    said = tuple(said)
    last: dict[str, Mapping[str, Any]] = {}
    for one in (one for one in said if "application" in one):
        known = last.get(one["application"])
        if known is None or _read_issue_time(one) >= _read_issue_time(known):
            last[one["application"]] = one
    applications = [{name: one[name] for name in _SHOWN} for one in last.values()]
    questions = [
        {name: one[name] for name in (*_SHOWN, "pointers", "deadline")}
        for one in last.values()
        if one["state"] in _OPEN
    ]
    number = next((one["case_number"] for one in said), None)
    holds = sorted((one for one in said if "missing" in one), key=_read_issue_time)
    # No agency hears of a case before it is held no longer.
    held = {name: holds[-1][name] for name in ("until", "missing")} if holds and not last else None
    state = "IN_PROGRESS" if last else "HELD" if held else None
    told = {"case_number": number, "state": state, "applications": applications, "questions": questions}
    return told | ({"held": held} if held else {})


def _read_issue_time(said: Mapping[str, Any]) -> datetime:
    """Return IssuedAt; the beginning of time where there is none, so that the order of arrival decides."""
    earliest = datetime.min.replace(tzinfo=UTC)
    try:
        at = datetime.fromisoformat(said["issued_at"] or "")
    except ValueError:
        return earliest
    return at if at.tzinfo else at.replace(tzinfo=UTC)
