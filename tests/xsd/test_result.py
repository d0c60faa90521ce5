"""The schema of what the hub tells the applicant: results and notices."""

from __future__ import annotations

import re

import pytest
from lxml import etree

from gateway import state_machines
from gateway.cases import CaseOutcome, DecisionCode
from gateway.errors import PROBLEMS
from gateway.wire import RESULT, load_shipped_schemas

RESPONSE = (
    "<Response xmlns='urn:wco:datamodel:WCO:RES-DMS:2'><FunctionCode>01</FunctionCode>"
    "<FunctionalReferenceID>R-1</FunctionalReferenceID><Declaration><ID>KR1</ID></Declaration></Response>"
)
DECISION = (
    "<Decision item='1' law='05' document='FIRST' organisation='ONE' decision='APPROVED_WITH_CONDITIONS'>"
    "<Number>N-1</Number><Date>2026-11-20</Date><Quantity unitCode='KGM'>1.5</Quantity>"
    "<Condition>keep cool</Condition><Condition>keep dry</Condition>"
    "<NoticeNumber>7</NoticeNumber><IssuedAt>2026-11-20T09:00:00Z</IssuedAt></Decision>"
)
PROBLEM = "<Problem id='GW503' pointer='42A/67A[1]/R038'>no importer</Problem>"
SIGNATURE = "<Signature xmlns='http://www.w3.org/2000/09/xmldsig#'><SignedInfo/></Signature>"
HEADER = "<CaseNumber>C-1</CaseNumber><Reference>R-1</Reference>"
REQUEST = (
    "<Request application='A-1' document='FIRST' organisation='ONE'><State>INFORMATION_REQUIRED</State>"
    "<StatusCode>B01</StatusCode><ReceiptNumber>E-1</ReceiptNumber><NoticeNumber>7</NoticeNumber>"
    "<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><Text>which lot?</Text>"
    "<Pointer>APP[1]/FIRST/ITEM[1]/Lot[1]</Pointer>"
    "<Deadline>2026-11-27T09:00:00Z</Deadline><Fee currencyID='KRW'>5000</Fee></Request>"
)
ATTRIBUTES = "xmlns='urn:single-window:result:1' version='1' xml:id='doc'"
WHOLE = (
    f"<Result {ATTRIBUTES}>{HEADER}<Outcome>PARTIAL</Outcome>"
    f"{DECISION}{PROBLEM}{RESPONSE}{SIGNATURE}</Result>"
)
NOTICE = f"<Notice {ATTRIBUTES}>{HEADER}{REQUEST}{SIGNATURE}</Notice>"

VALID = [
    (NOTICE, "</Request>", re.sub("<NoticeNumber>.*</IssuedAt>", "", DECISION) * 2 + "</Request>"),
    (WHOLE, "", ""),
    (WHOLE, SIGNATURE, ""),
    (WHOLE, DECISION, ""),
    (WHOLE, DECISION, DECISION * 3),
    (WHOLE, PROBLEM, PROBLEM * 2),
    (WHOLE, r"<Number>.*</IssuedAt>", ""),
    (WHOLE, " pointer='42A/67A[1]/R038'", ""),
    (WHOLE, "<Reference>R-1</Reference>", ""),
    (WHOLE, " version='1' xml:id='doc'", ""),
    (NOTICE, "", ""),
    (NOTICE, SIGNATURE, ""),
    (NOTICE, r"<StatusCode>.*</Fee>", ""),
]
INVALID = [
    (WHOLE, "<CaseNumber>C-1</CaseNumber>", ""),
    (WHOLE, HEADER, "<Reference>R-1</Reference><CaseNumber>C-1</CaseNumber>"),
    (WHOLE, "<Outcome>PARTIAL</Outcome>", ""),
    (WHOLE, "PARTIAL", "PENDING"),
    (WHOLE, "APPROVED_WITH_CONDITIONS", "MAYBE"),
    (WHOLE, " law='05'", ""),
    (WHOLE, " organisation='ONE'", ""),
    (WHOLE, "2026-11-20<", "20.11.2026<"),
    (WHOLE, "'GW503'", "'503'"),
    (WHOLE, RESPONSE, ""),
    (WHOLE, RESPONSE, RESPONSE * 2),
    (WHOLE, "<FunctionCode>01", "<FunctionCode>x"),
    (WHOLE, PROBLEM + RESPONSE, RESPONSE + PROBLEM),
    (WHOLE, SIGNATURE, SIGNATURE * 2),
    (WHOLE, "</Result>", REQUEST + "</Result>"),
    (WHOLE, "version='1'", "version='2'"),
    (NOTICE, REQUEST, ""),
    (NOTICE, REQUEST, REQUEST * 2),
    (NOTICE, "INFORMATION_REQUIRED", "WAITING"),
    (NOTICE, "B01", "B1"),
    (NOTICE, " currencyID='KRW'", ""),
    (NOTICE, "2026-11-27T09:00:00Z", "soon"),
    (NOTICE, "<StatusCode>B01</StatusCode>", "<StatusCode>B01</StatusCode>" * 2),
]


def changed(text: str, old: str, new: str) -> etree._Element:
    found = re.search(old if ".*" in old else re.escape(old), text)
    assert found, old
    return etree.fromstring(text[: found.start()] + new + text[found.end() :])


@pytest.mark.parametrize(("text", "old", "new"), VALID)
def test_what_the_hub_may_say(text: str, old: str, new: str) -> None:
    assert load_shipped_schemas(RESULT).list_violations(changed(text, old, new)) == []


@pytest.mark.night
@pytest.mark.parametrize(("text", "old", "new"), INVALID)
def test_what_the_hub_may_not_say(text: str, old: str, new: str) -> None:
    assert load_shipped_schemas(RESULT).list_violations(changed(text, old, new))


@pytest.mark.parametrize("state", state_machines.REQUEST.states)
def test_each_state_of_a_request_can_be_told(state: str) -> None:
    assert load_shipped_schemas(RESULT).is_valid(changed(NOTICE, "INFORMATION_REQUIRED", state))


@pytest.mark.parametrize("code", DecisionCode)
def test_each_decision_can_be_told(code: DecisionCode) -> None:
    assert load_shipped_schemas(RESULT).is_valid(changed(WHOLE, "APPROVED_WITH_CONDITIONS", code))


@pytest.mark.parametrize("outcome", CaseOutcome)
def test_each_outcome_can_be_told(outcome: CaseOutcome) -> None:
    assert load_shipped_schemas(RESULT).is_valid(changed(WHOLE, "PARTIAL", outcome))


def test_each_problem_can_be_told() -> None:
    for problem in PROBLEMS:
        assert load_shipped_schemas(RESULT).is_valid(changed(WHOLE, "GW503", problem))
