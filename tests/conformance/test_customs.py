"""Simulated customs registers what is valid, and takes pending codes in their order only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cases import AgencyAcknowledgment, CustomsNotice, CustomsReason
from gateway.client import PartnerServer, read_identity, read_journal
from gateway.delivery import ServiceCall
from gateway.errors import MISUSE, PARTNER_FAULT, UNREACHABLE, GatewayError
from gateway.share import get_data_folder
from gateway.wire import WCO_DEC, WCO_MD, parse_xml, read_wsdl
from gateway_conformance.partners import (
    CUSTOMS_MISBEHAVIORS,
    CustomsSimulator,
    Misbehavior,
    read_customs_plan,
)
from tests.conformance.simulated_hubs import SAMPLE, CallingHub


@dataclass
class Customs:
    server: PartnerServer
    folder: Path
    url: str

    def effects(self) -> list[tuple[str, str]]:
        return [(row["effect"], row["code"]) for row in read_journal(self.folder / "effects.jsonl")]


def started(keys: Path, folder: Path, *mischief: str) -> Customs:
    wrongs = tuple(Misbehavior.from_text(text, CUSTOMS_MISBEHAVIORS) for text in mischief)
    simulator = CustomsSimulator(read_identity(keys, "customs"), folder, wrongs)
    server = PartnerServer(simulator)
    url = f"http://127.0.0.1:{server.port}/soap"
    simulator.endpoint.addresses = frozenset({url})
    server.start()
    return Customs(server, folder, url)


@pytest.fixture
def customs(keys: Path, tmp_path: Path) -> Iterator[Customs]:
    running = started(keys, tmp_path / "customs")
    yield running
    running.server.close()


@pytest.fixture
def hub(keys: Path) -> CallingHub:
    return CallingHub(keys, partner="customs", wsdl="customs.wsdl")


def declaration(*, bare: bool = False) -> etree._Element:
    root = parse_xml(SAMPLE)
    found = root.find(f".//{{{WCO_DEC}}}Declaration" if bare else f"{{{WCO_MD}}}MetaData")
    assert found is not None
    return parse_xml(etree.tostring(found, with_tail=False))


def register(url: str, document: etree._Element, case: str = "SW-1", **changes: Any) -> ServiceCall:
    return ServiceCall(
        "RegisterDeclaration", f"urn:uuid:register-{case}", url, {"CaseNumber": case}, document, **changes
    )


def report(url: str, code: str, case: str = "SW-1", **arguments: Any) -> ServiceCall:
    values = {"CaseNumber": case, "PendingCode": code, **arguments}
    return ServiceCall("ReportRequirements", f"urn:uuid:report-{code}-{case}", url, values)


def withdraw(url: str, case: str = "SW-1") -> ServiceCall:
    values = {"CaseNumber": case, "Reason": "84: damaged"}
    return ServiceCall("WithdrawDeclaration", f"urn:uuid:withdraw-{case}", url, values)


def refusal(hub: CallingHub, url: str, call: ServiceCall) -> str:
    return hub.fault(hub.send(url, hub.compose(call))).text[:5]


@pytest.mark.parametrize("bare", [False, True])
def test_a_declaration_then_18_then_19(hub: CallingHub, customs: Customs, bare: bool) -> None:
    required = {"Requirement": [{"item": 1, "law": "01", "number": "N-1"}]}
    calls = (
        register(customs.url, declaration(bare=bare)),
        report(customs.url, "18"),
        report(customs.url, "19", **required),
    )
    assert all(isinstance(hub.call(customs.url, call), AgencyAcknowledgment) for call in calls)
    assert customs.effects() == [
        ("RegisterDeclaration", ""),
        ("ReportRequirements", "18"),
        ("ReportRequirements", "19"),
    ]
    last = list(read_journal(customs.folder / "effects.jsonl"))[-1]
    assert last["requirements"] == [{"item": "1", "law": "01", "number": "N-1"}]


def test_19_is_refused_before_18_and_18_before_the_declaration(hub: CallingHub, customs: Customs) -> None:
    assert refusal(hub, customs.url, report(customs.url, "18")) == "GW404"
    hub.call(customs.url, register(customs.url, declaration()))
    assert refusal(hub, customs.url, report(customs.url, "19")) == "GW404"
    assert refusal(hub, customs.url, report(customs.url, "18", "SW-2")) == "GW404"
    assert customs.effects() == [("RegisterDeclaration", "")]


def test_a_declaration_against_its_schema_is_refused(hub: CallingHub, customs: Customs) -> None:
    wrong = declaration()
    found = next(wrong.iter(f"{{{WCO_DEC}}}GoodsItemQuantity"))
    found.text = "three"
    assert refusal(hub, customs.url, register(customs.url, wrong)) == "GW402"
    assert customs.effects() == []


def test_only_the_hub_is_heard(hub: CallingHub, customs: Customs) -> None:
    call = register(customs.url, declaration())
    stranger = replace(hub, by="stranger")
    answer = stranger.send(customs.url, hub.compose(call))
    assert hub.fault(answer).text.startswith("GW209")
    spoiled = hub.send(customs.url, hub.compose(call), lambda octets: octets.replace(b"SW-1<", b"SW-3<", 1))
    assert hub.fault(spoiled).text.startswith("GW202")
    assert customs.effects() == []


def test_repeats_count_once_even_after_a_restart(hub: CallingHub, customs: Customs, keys: Path) -> None:
    call = register(customs.url, declaration())
    first = hub.call(customs.url, call)
    assert hub.call(customs.url, call) == first
    customs.server.close()
    again = started(keys, customs.folder)
    try:
        assert hub.call(again.url, replace(call, address=again.url)) == first
        assert (
            refusal(hub, again.url, replace(call, address=again.url, arguments={"CaseNumber": "SW-7"}))
            == "GW312"
        )
        assert isinstance(hub.call(again.url, report(again.url, "18")), AgencyAcknowledgment)
    finally:
        again.server.close()
    assert again.effects() == [("RegisterDeclaration", ""), ("ReportRequirements", "18")]


@pytest.mark.parametrize(("mischief", "effects"), [("silent*1", 0), ("lost*1", 1), ("fault-server*1", 0)])
def test_customs_misbehaves_as_told(
    hub: CallingHub, keys: Path, tmp_path: Path, mischief: str, effects: int
) -> None:
    running = started(keys, tmp_path / "customs", mischief)
    try:
        call = register(running.url, declaration())
        with pytest.raises(GatewayError) as caught:
            hub.call(running.url, call)
        assert caught.value.problem is (PARTNER_FAULT if "fault" in mischief else UNREACHABLE)
        assert len(running.effects()) == effects
        assert isinstance(hub.call(running.url, call), AgencyAcknowledgment)
        assert len(running.effects()) == 1
    finally:
        running.server.close()


def test_only_a_registered_declaration_is_withdrawn(hub: CallingHub, customs: Customs) -> None:
    assert refusal(hub, customs.url, withdraw(customs.url)) == "GW404"
    hub.call(customs.url, register(customs.url, declaration()))
    hub.call(customs.url, withdraw(customs.url))
    assert customs.effects() == [("RegisterDeclaration", ""), ("WithdrawDeclaration", "")]


def test_customs_answers_and_clears_by_its_plan(keys: Path, tmp_path: Path, hub: CallingHub) -> None:
    """R25 with its reason to the declaration, and nothing beyond it without an address of the hub."""
    file = tmp_path / "plan.toml"
    file.write_text(
        '\ufeffanswer = "R25"\noperations = ["RegisterDeclaration"]\nclearance = "5EC"\n'
        '[[reasons]]\ncode = "E1"\npointer = "42A/67A[1]"\ntext = "no weight"\n'
    )
    plan = read_customs_plan(file)
    simulator = CustomsSimulator(read_identity(keys, "customs"), tmp_path / "customs", (), plan)
    server = PartnerServer(simulator)
    url = f"http://127.0.0.1:{server.port}/soap"
    simulator.endpoint.addresses = frozenset({url})
    server.start()
    try:
        answer: Any = hub.call(url, register(url, declaration()))
        assert isinstance(answer, CustomsNotice)
        assert (answer.code, answer.reasons) == ("R25", (CustomsReason("no weight", "42A/67A[1]", "E1"),))
    finally:
        server.close()
    errand = plan.plan_clearance("C-1", "19")
    assert errand is not None
    service = read_wsdl(get_data_folder("wsdl").joinpath("hub-customs.wsdl").read_bytes())
    service.schema.validate_element(parse_xml(errand.content.encode()))
    assert plan.plan_clearance("C-1", "18") is None


@pytest.mark.parametrize("text", ["answr = 1", "[[reasons]]\nwords = 1", "x ="])
def test_a_wrong_plan_names_its_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(text)
    with pytest.raises(GatewayError) as refused:
        read_customs_plan(file)
    assert refused.value.problem is MISUSE
