"""What the hub applies of the calls of officers, beside what the service for agencies reads in them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from lxml import etree

from gateway.cases import (
    Decision,
    DecisionAct,
    DecisionCode,
    DecisionPurpose,
    FeeAct,
    InformationAct,
    InspectionAct,
    OfficerAct,
    ReceiveAct,
    build_act_call,
    read_callback,
)
from gateway.web.agency_service import build_agency_service
from gateway.wire import SERVICE_AGENCY, AddressingHeaders
from tests.kit.soap import NOW, envelope, signed
from tests.web.test_agency_service import Recorder, World, security

LONG_TEXT = " 성분표를 <내십시오> \r\n& the label.\n\n"
ACTS: tuple[OfficerAct, ...] = (
    ReceiveAct("C04", LONG_TEXT),
    InformationAct(LONG_TEXT, ("42A/67A[1]", "42A/D026"), datetime(2026, 12, 1, 23, 59, 59, 999_999, UTC)),
    InspectionAct("E01", "field 현장", date(2026, 12, 3), "hall <2>", "odd", LONG_TEXT, NOW),
    InspectionAct("E07", text=None),
    FeeAct("Y01", "12000", date(2026, 12, 1), "rule 7", "KRW", LONG_TEXT),
    FeeAct("Y01", "", date(2026, 12, 1), text=LONG_TEXT),
    FeeAct("Y04", text=LONG_TEXT),
    DecisionAct(
        DecisionPurpose.DECIDE,
        (
            Decision(1, "01", DecisionCode.APPROVED, "P  1", date(2026, 11, 20), Decimal("10.500"), "KGM",
                     ("keep  dry ", "라벨\n부착")),
            Decision(2, "70", DecisionCode.REJECTED),
        ),
        "a remark",
        date(2027, 1, 31),
        LONG_TEXT,
    ),
    DecisionAct(DecisionPurpose.REVOKE, (Decision(1, "01", DecisionCode.REJECTED),)),
)  # fmt: skip


@pytest.mark.parametrize("act", ACTS, ids=[type(act).__name__ for act in ACTS])
def test_an_officers_act_says_what_its_call_would_say_here(act: OfficerAct) -> None:
    """The hub applies an act without this service: its evidence has to mean the same to both."""
    content = build_act_call(act, "A-1", "A-1-C01", NOW)
    name = etree.QName(content).localname
    applied = read_callback(content)
    octets = signed(envelope(content, AddressingHeaders(f"{SERVICE_AGENCY}:{name}", "urn:uuid:act")))
    handler = Recorder()
    assert World(handler, build_agency_service(handler.apply, security())).post(octets).status == "200 OK"
    [(callback, _)] = handler.said
    assert callback == applied
    assert applied.application_number == "A-1"
