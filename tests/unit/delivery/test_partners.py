"""Which partner is called where, and whose signature counts as its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.config import load
from gateway.delivery.partners import Partner, Partners
from gateway.delivery.reloading import SettingsFile, WatchedPartners, partners_of
from gateway.delivery.wsdl_files import WsdlFile
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
    return Partners(lambda: {"KPTA": KPTA}, Judge(store, revocations), by_sha.get)


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
    known = Partners(lambda: {"KPTA": KPTA}, Judge(store, revocations), lambda _: "kpta")
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
    assert found["customs"].wsdl == WsdlFile("customs.wsdl")


def watched(path: Any) -> WatchedPartners:
    """Return the partners of a settings file, read again whenever it changes."""
    file = SettingsFile(path, lambda: load(path, home=path.parent))
    return WatchedPartners(file.read(), file)


KPTA_ALONE = '[agency.KPTA]\nendpoint = "http://kpta.example/"\n'


def test_an_agency_that_is_added_to_the_settings_is_called_without_a_restart(tmp_path: Any) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(KPTA_ALONE)
    found = watched(path)
    assert sorted(found.partners()) == ["KPTA"]
    path.write_text(f'{KPTA_ALONE}[agency.HARBOUR]\nendpoint = "http://harbour.example/"\nretries = 7\n')
    assert found.partners()["HARBOUR"].endpoint == "http://harbour.example/"
    assert found.partners()["HARBOUR"].wsdl == WsdlFile("agency-template.wsdl")
    assert found.plans()["HARBOUR"].retries == 7


def test_settings_that_cannot_be_read_leave_the_partners_as_they_were(tmp_path: Any, caplog: Any) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(KPTA_ALONE)
    found = watched(path)
    path.write_text("[agency.KPTA]\nendpiont = 'http://kpta.example/'\n")
    assert sorted(found.partners()) == ["KPTA"]
    assert "GW801" in caplog.text
    path.unlink()
    assert sorted(found.partners()) == ["KPTA"]


def test_new_settings_are_told_before_anybody_is_called_by_them(tmp_path: Any) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(KPTA_ALONE)
    told: list[list[str]] = []
    file = SettingsFile(path, lambda: load(path, home=tmp_path))
    found = WatchedPartners(file.read(), file, lambda settings: told.append(sorted(settings.agency)))
    path.write_text(KPTA_ALONE.replace("KPTA", "KFDA") + KPTA_ALONE)
    assert sorted(found.partners()) == ["KFDA", "KPTA"]
    assert told == [["KFDA", "KPTA"]]
