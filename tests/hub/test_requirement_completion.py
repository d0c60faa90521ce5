"""What was said under a number is read only for a code that takes it back."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cases import AgencyCallback, Notice
from gateway.hub import load_shipped_rules
from gateway.hub.requirements.requirement_results import complete_requirement_result


def say(code: str) -> AgencyCallback:
    """Return a notice without decisions under a number of the agency."""
    notice = Notice(number="N-1", issued_at=datetime(2026, 11, 20, 9, tzinfo=UTC), status_code=code)
    return AgencyCallback(notice, requirement_number="S-1")


@pytest.mark.long
@pytest.mark.parametrize("code", ["F03", "C04", "no code"])
def test_a_code_that_is_not_final_reads_nothing(code: str) -> None:
    # There is no database to read from.
    hub: Any = SimpleNamespace(rules=load_shipped_rules())
    said = say(code)
    assert complete_requirement_result(hub, "KFDA", said) is said
    with pytest.raises(AttributeError):
        complete_requirement_result(hub, "KFDA", say("G02"))
