"""Status codes: known ones are read, contradictions refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.cases import Decision, DecisionCode, Notice, check_notice_status, read_status_codes
from gateway.errors import GatewayError
from gateway.share import get_data_folder
from gateway.state_machines import REQUEST

CODES = read_status_codes(
    get_data_folder("mappings").joinpath("codelists", "requirement-status.csv").read_text(encoding="utf-8")
)


def notice(code: str, *decisions: Decision) -> Notice:
    return Notice("N1", datetime(2026, 11, 20, tzinfo=UTC), code, decisions)


def decided(code: DecisionCode, item: int = 1, law: str = "12") -> Decision:
    return Decision(item, law, code)


def test_the_table_is_whole_and_each_event_is_one_of_the_machine() -> None:
    assert len(CODES) == 74
    known = REQUEST.events
    assert {code.event for code in CODES.values() if code.event} <= known
    assert all(bool(code.event) == (code.set_by == "agency") for code in CODES.values())


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("C04", "acknowledge"),
        ("D01", "ask"),
        ("E01", "inspect"),
        ("Y05", "fee"),
        ("R01", "decide"),
        ("F02", "decide"),
    ],
)
def test_a_code_causes_the_event_it_stands_for(code: str, event: str) -> None:
    assert check_notice_status(notice(code), CODES).event == event


@pytest.mark.parametrize("code", ["", "Q99", "r01", "A00", "Z04", "Y03", "x" * 5000])
def test_a_code_that_is_not_an_agencys_is_refused(code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check_notice_status(notice(code), CODES)
    assert caught.value.problem.id == "GW403"
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    ("code", "decision"),
    [
        ("R01", DecisionCode.REJECTED),
        ("F03", DecisionCode.REJECTED),
        ("H01", DecisionCode.REJECTED),
        ("R04", DecisionCode.APPROVED),
        ("F01", DecisionCode.APPROVED_WITH_CONDITIONS),
        ("G02", DecisionCode.APPROVED),
    ],
)
def test_a_code_that_contradicts_its_decision_is_refused_at_the_decision(
    code: str, decision: DecisionCode
) -> None:
    with pytest.raises(GatewayError) as caught:
        check_notice_status(
            notice(code, decided(DecisionCode.NOT_CONCERNED, law="05"), decided(decision)), CODES
        )
    assert (caught.value.problem.id, caught.value.location) == ("GW702", "Decision[2]")


@pytest.mark.parametrize("code", ["F02", "F11", "E06", "R01"])
def test_a_code_that_leaves_it_open_agrees_with_any_decision(code: str) -> None:
    mixed = [decided(DecisionCode.APPROVED, 1)]
    if code != "R01":
        mixed.append(decided(DecisionCode.REJECTED, 2))
    assert check_notice_status(notice(code, *mixed), CODES).code == code


def test_two_decisions_on_one_item_and_law_must_agree() -> None:
    check_notice_status(notice("F02", decided(DecisionCode.REJECTED), decided(DecisionCode.REJECTED)), CODES)
    with pytest.raises(GatewayError, match="decided twice"):
        check_notice_status(
            notice("F02", decided(DecisionCode.REJECTED), decided(DecisionCode.APPROVED)), CODES
        )


HEAD = "code,phase,name,set_by,carrier,terminal,outcome,event\n"
GOOD = "E09,inspection,samples taken,agency,GOVCBRRBH,n,inspection,inspect\n"


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        (HEAD.replace("event", "evnt") + GOOD, 1, "no column event"),
        (HEAD + GOOD.replace(",inspect\n", ",inspcet\n"), 2, "event must be one of acknowledge"),
        (HEAD + GOOD.replace(",inspect\n", ",withdraw\n"), 2, "event must be one of acknowledge"),
        (HEAD + GOOD.replace("agency", "hub"), 2, "no event otherwise"),
        (HEAD + GOOD.replace(",inspect\n", ",\n"), 2, "has an event when agencies set it"),
        (HEAD + GOOD.replace("agency", "agent"), 2, "set_by must be one of agency, customs, hub"),
        (HEAD + GOOD.replace("n,inspection", "n,inspecting"), 2, "outcome must be one of"),
        (HEAD + GOOD + GOOD, 3, "stands twice"),
        (HEAD + GOOD.replace("E09", "EA9"), 2, "a capital letter and two digits"),
    ],
)
def test_a_table_that_is_wrong_is_refused_at_its_line(table: str, line: int, said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_status_codes(table)
    assert caught.value.problem.id == "GW502"
    assert caught.value.location == f"requirement-status.csv:{line}"
    assert said in caught.value.detail


def test_a_code_of_our_own_has_its_effect() -> None:
    codes = read_status_codes(HEAD + GOOD)
    assert check_notice_status(notice("E09"), codes).event == "inspect"
