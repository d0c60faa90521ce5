"""The values that a compiled reader makes of the elements of a call are those that Spyne makes of them."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import etree

from gateway.errors import REPLY_UNMATCHED, GatewayError
from gateway.web.agency_service import build_agency_application
from gateway.web.customs_service import build_customs_application
from gateway.web.spyne_service import build_spyne_application, declare_operation
from gateway.web.spyne_shim import ComplexModel, ServiceBase, Soap11, primitive
from gateway.web.spyne_values import MemberReader
from gateway.wire.namespaces import SERVICE_AGENCY, SERVICE_CUSTOMS
from tests.kit.soap import agency_call
from tests.web.test_agency_service import ACKNOWLEDGE, DECISION, INFORMATION, World
from tests.web.test_agency_service import world as world

FEE = """<RequirementNumber>R-1</RequirementNumber><NoticeNumber>N-3</NoticeNumber>
<IssuedAt>2026-11-20T09:00:00.25+09:00</IssuedAt><StatusCode>R01</StatusCode>
<Fee><amount>10.50</amount><currency>EUR</currency>
<dueDate>2026-12-01</dueDate><refundable>true</refundable></Fee><ValidUntil>2027-01-01</ValidUntil>"""
ANSWER = """<CaseNumber>SW1</CaseNumber><NoticeNumber>N-4</NoticeNumber>
<IssuedAt>2026-11-20T09:00:00Z</IssuedAt>
<ResultCode>A</ResultCode><Reason><Code>X1</Code><Text>one</Text></Reason>
<Reason><Text>two &amp; 3</Text></Reason>"""
CLEARED = """<DeclarationReference>D1</DeclarationReference><NoticeNumber>N-5</NoticeNumber>
<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><ResultCode>B</ResultCode>
<Item><item> 3 </item><ResultCode>C1</ResultCode></Item>"""
SERVICES = {
    SERVICE_AGENCY: build_agency_application,
    SERVICE_CUSTOMS: build_customs_application,
}


def plain(value: Any) -> Any:
    """Return a value of either reader in one form."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, ComplexModel):
        return {name: plain(getattr(value, name)) for name in value.get_flat_type_info(type(value))}
    return (
        {name: plain(one) for name, one in vars(value).items()}
        if isinstance(value, SimpleNamespace)
        else value
    )


@pytest.mark.parametrize(
    ("namespace", "operation", "content"),
    [
        (SERVICE_AGENCY, "Acknowledge", ACKNOWLEDGE),
        (SERVICE_AGENCY, "RequestInformation", INFORMATION),
        (SERVICE_AGENCY, "SubmitDecision", DECISION),
        (SERVICE_AGENCY, "SubmitDecision", FEE),
        (SERVICE_CUSTOMS, "ReportAnswer", ANSWER),
        (SERVICE_CUSTOMS, "ReportClearance", CLEARED),
    ],
    ids=["acknowledge", "information", "decision", "fee", "answer", "clearance"],
)
def test_the_values_are_those_of_spyne(namespace: str, operation: str, content: str) -> None:
    element = etree.fromstring(f'<{operation} xmlns="{namespace}">{content}</{operation}>')
    application = SERVICES[namespace]()
    (method,) = application.interface.service_method_map[element.tag]
    theirs = Soap11(app=application).from_element(None, method.in_message, element)
    context = SimpleNamespace(method_request_string=element.tag, in_body_doc=element, in_object=None)
    application.in_protocol.deserialize(context)
    assert plain(context.in_object) == list(plain(theirs).values())


def test_what_no_type_declares_is_refused() -> None:
    class Pair(ComplexModel):  # type: ignore[misc]
        """Two texts."""

        _type_info = [("one", primitive.Unicode), ("two", primitive.Unicode)]  # noqa: RUF012

    reader = MemberReader(Pair, {})
    assert reader.read_values(etree.fromstring("<a><two>2</two></a>")) == {"one": None, "two": "2"}
    with pytest.raises(KeyError):
        reader.read_values(etree.fromstring("<a><three/></a>"))


def test_a_type_without_a_reader_is_found_when_the_service_is_built() -> None:
    class Service(ServiceBase):  # type: ignore[misc]
        """A service whose call has octets."""

        @declare_operation("Take", Octets=primitive.Duration)
        def take(ctx: Any, octets: Any) -> None:
            """Take octets."""

    with pytest.raises(TypeError, match="no value can be made of the type"):
        build_spyne_application(Service, SERVICE_AGENCY, "Taker")


def test_a_fee_is_refundable_whatever_is_around_the_word(world: World) -> None:
    world.post(agency_call("SubmitDecision", FEE.replace("true", " true ")))
    [(_, said, _)] = world.handler.said
    assert said.answer.fee.refundable


@pytest.mark.parametrize("failure", [None, GatewayError(REPLY_UNMATCHED)], ids=["taken", "refused"])
def test_nothing_of_a_call_waits_for_the_garbage_collector(
    world: World, failure: GatewayError | None
) -> None:
    bodies = [agency_call("SubmitDecision", DECISION, f"urn:uuid:kept-{number}") for number in range(4)]
    world.post(bodies.pop())
    world.handler.failure = failure
    world.post(bodies.pop())
    gc.collect()
    gc.disable()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        for body in bodies:
            world.post(body)
        gc.collect()
        left = {type(one).__name__ for one in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left.isdisjoint({"_Element", "VerifiedCall", "Caller", "_CallState"})
