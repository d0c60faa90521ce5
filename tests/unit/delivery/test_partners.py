"""Which partner is called where, and whose signature counts as its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.config import load
from gateway.delivery.assembly import partners_of
from gateway.delivery.partners import Partner, Partners
from gateway.errors import GatewayError
from gateway.hub.calls import OutgoingCall
from gateway.pki.issue import Order, issue_certificate, make_authority
from gateway.pki.trust import Judge
from tests.kit.house import authority, signer_named, trust

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
KPTA = Partner("agencies/KPTA.wsdl", "http://kpta.example/", "kpta")


def partners(owners: dict[str, str]) -> Partners:
    store, revocations = trust()
    by_sha = {signer_named(name).certificate.sha256: party for name, party in owners.items()}
    return Partners({"KPTA": KPTA}, Judge(store, revocations), by_sha.get)


def test_only_the_configured_are_known() -> None:
    known = partners({})
    assert known.knows("KPTA")
    assert not known.knows("customs")
    assert known.destination("KPTA").endpoint == "http://kpta.example/"


@pytest.mark.parametrize("ask", ["destination", "compose"])
def test_an_unknown_destination_is_a_fault_of_the_settings(ask: str) -> None:
    known = partners({})
    asks: dict[str, Callable[[], object]] = {
        "destination": lambda: known.destination("NPQS"),
        "compose": lambda: known.compose(OutgoingCall("NPQS", "CancelApplication", "urn:uuid:1")),
    }
    with pytest.raises(GatewayError) as caught:
        asks[ask]()
    assert (caught.value.problem.id, caught.value.location) == ("GW801", "agency.NPQS")


def test_a_call_that_does_not_fit_the_contract_is_not_worded() -> None:
    with pytest.raises(GatewayError) as caught:
        partners({}).compose(OutgoingCall("KPTA", "CancelApplication", "urn:uuid:1", {"Reason": "x"}))
    assert caught.value.problem.id == "GW504"


def judged(owners: dict[str, str], signer: str) -> str:
    judge: Any = partners(owners).destination("KPTA").rules.judge
    try:
        judge(signer_named(signer).certificate, NOW)
    except GatewayError as error:
        return error.problem.id
    return ""


def test_an_answer_is_signed_by_the_partner_itself() -> None:
    assert judged({"kpta": "kpta"}, "kpta") == ""
    assert judged({"kpta": "kpta", "kfda": "kfda"}, "kfda") == "GW209"
    assert judged({}, "kpta") == "GW209"


def test_the_partners_certificate_must_be_trusted() -> None:
    stranger = issue_certificate(
        make_authority("CN=Elsewhere", NOW, "p-256"), "CN=kpta", NOW, Order(key_kind="p-256")
    ).signer
    store, revocations = trust()
    known = Partners({"KPTA": KPTA}, Judge(store, revocations), lambda _: "kpta")
    with pytest.raises(GatewayError) as caught:
        known.destination("KPTA").rules.judge(stranger.certificate, NOW)
    assert caught.value.problem.id == "GW205"
    assert authority().certificate.sha256 != stranger.certificate.sha256


def test_agencies_without_address_or_of_another_channel_are_not_called(tmp_path: Any) -> None:
    settings = tmp_path / "gateway.toml"
    settings.write_text(
        '[agency.KPTA]\nendpoint = "http://kpta.example/"\n'
        '[agency.KFDA]\nchannel = "mailbox"\n[customs]\nendpoint = "http://customs.example/"\n'
    )
    found = partners_of(load(settings, home=tmp_path))
    assert sorted(found) == ["KPTA", "customs"]
    assert found["customs"].wsdl == "customs.wsdl"
