"""What an agency says or does about an application that is not its own, or that its officers decided."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from gateway.cases import AgencyAcknowledgment, Decision, DecisionCode, Notice
from gateway.errors import REPLY_UNMATCHED, SHOWN_CHANGED, GatewayError
from gateway.hub.answers.delivered_notices import _find_request
from gateway.hub.answers.reply import _overrules_console
from gateway.hub.officers import act_records
from gateway.hub.officers.act_records import ProposalStep, _find_proposal
from gateway.store import agency_requests, read_transaction, write_transaction
from tests.kit.rows import open_case, request

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
NO_CONNECTION: Any = None
APPROVED = Decision(1, "FOOD", DecisionCode.APPROVED)


def test_a_document_is_about_an_application_of_its_agency(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        row = agency_requests.find_by_id(conn, request(conn, open_case(conn), agency="KR-A"))
    assert row is not None
    with read_transaction(engine) as conn:
        found = _find_request(conn, "KR-A", row.number, "/Status")
        assert found is not None
        assert found.id == row.id
        with pytest.raises(GatewayError) as refused:
            _find_request(conn, "KR-B", row.number, "/Status")
        assert refused.value.problem is REPLY_UNMATCHED
        assert _find_request(conn, "KR-B", "THEIRS-1", "/Status") is None


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ({}, None),
        ({"agency": "KR-B"}, REPLY_UNMATCHED),
        ({"state": "WITHDRAWN"}, SHOWN_CHANGED),
        ({"content": "0" * 64}, SHOWN_CHANGED),
    ],
)
def test_an_approver_takes_the_proposal_of_the_own_agency_that_was_shown(
    monkeypatch: pytest.MonkeyPatch, stored: dict[str, str], problem: Any
) -> None:
    row = SimpleNamespace(**{"id": 7, "agency": "KR-A", "state": "PROPOSED", "content": "c" * 64} | stored)
    monkeypatch.setattr(act_records.officer_work, "find_act", lambda conn, act: {7: row}.get(act))
    officer: Any = SimpleNamespace(agency="KR-A")
    if problem is None:
        assert _find_proposal(NO_CONNECTION, officer, ProposalStep(7, "c" * 64)) is row
        return
    with pytest.raises(GatewayError) as refused:
        _find_proposal(NO_CONNECTION, officer, ProposalStep(7, "c" * 64))
    assert refused.value.problem is problem


@pytest.mark.parametrize(
    ("answer", "decided_at_console", "expected"),
    [
        (Notice("N", NOW, "R01", (APPROVED,)), True, True),
        (Notice("N", NOW, "other", (APPROVED,)), True, True),
        (Notice("N", NOW, "R01"), True, True),
        (Notice("N", NOW, "G03"), True, True),
        (Notice("N", NOW, "S01"), True, False),
        (Notice("N", NOW, "other"), True, False),
        (AgencyAcknowledgment("heard"), True, False),
        (Notice("N", NOW, "R01", (APPROVED,)), False, False),
    ],
)
def test_what_the_system_says_of_an_application_decided_at_the_console(
    answer: Any, decided_at_console: bool, expected: bool
) -> None:
    events = {"R01": "decide", "G03": "cancel", "S01": "inspect"}
    codes = {code: SimpleNamespace(event=event) for code, event in events.items()}

    def load_rules_of(conn: Connection, request: Any) -> Any:
        return SimpleNamespace(status_codes=codes)

    hub: Any = SimpleNamespace(load_rules_of=load_rules_of)
    decided: Any = SimpleNamespace(decided_at_console=decided_at_console)
    assert _overrules_console(NO_CONNECTION, hub, decided, answer) is expected
