"""Which partner is called where, and whose signature counts as its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from gateway.config import load_settings
from gateway.delivery import HttpLimits, PartnerService, SettingsFile, build_partners
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.partner_directory import PartnerDirectory, PartnerSettings, find_expected_wsdl
from gateway.delivery.service_contracts import WsdlFile, load_contract
from gateway.delivery.soap_client import SoapCaller
from gateway.errors import NO_ROOM, GatewayError
from gateway.hub.outbox.outgoing_calls import OutgoingCall
from gateway.pki import CertificateValidator
from gateway.share import get_data_folder
from gateway.wire import DEFAULT_LIMITS, WireLimits
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.kit.house import authority, signer_named, trust

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
KPTA = PartnerService("agencies/KPTA.wsdl", "http://kpta.example/", "kpta")


def partners(owners: dict[str, str]) -> PartnerDirectory:
    store, revocations = trust()
    by_sha = {signer_named(name).certificate.sha256: party for name, party in owners.items()}
    return PartnerDirectory(lambda: {"KPTA": KPTA}, CertificateValidator(store, revocations), by_sha.get)


def test_only_the_configured_are_known() -> None:
    known = partners({})
    assert known.has_destination("KPTA")
    assert not known.has_destination("customs")
    assert known.resolve_destination("KPTA").endpoint == "http://kpta.example/"


def test_a_destination_is_made_anew_when_the_settings_change() -> None:
    store, revocations = trust()
    called = {"KPTA": KPTA}
    owners = {signer_named("kpta").certificate.sha256: "kpta"}
    known = PartnerDirectory(lambda: dict(called), CertificateValidator(store, revocations), owners.get)
    first = known.resolve_destination("KPTA")
    assert known.resolve_destination("KPTA") is first
    called["KPTA"] = replace(
        KPTA, endpoint="http://other.example/", party="other", accepts_unsigned_faults=True
    )
    second = known.resolve_destination("KPTA")
    assert (second.endpoint, second.answer_policy.accepts_unsigned_faults) == ("http://other.example/", True)
    with pytest.raises(GatewayError) as refused:
        second.answer_policy.check_signer(signer_named("kpta").certificate, NOW)
    assert refused.value.problem.id == "GW209"
    del called["KPTA"]
    with pytest.raises(GatewayError) as gone:
        known.resolve_destination("KPTA")
    assert gone.value.problem.id == "GW607"


@pytest.mark.parametrize("ask", ["destination", "compose"])
def test_an_unknown_destination_is_a_fault_of_the_settings(ask: str) -> None:
    known = partners({})
    asks: dict[str, Callable[[], object]] = {
        "destination": lambda: known.resolve_destination("NPQS"),
        "compose": lambda: known.compose_call(OutgoingCall("NPQS", "CancelApplication", "urn:uuid:1")),
    }
    with pytest.raises(GatewayError) as caught:
        asks[ask]()
    assert (caught.value.problem.id, caught.value.location) == ("GW607", "agency.NPQS.endpoint")


def test_a_call_that_does_not_fit_the_contract_is_not_worded() -> None:
    with pytest.raises(GatewayError) as caught:
        partners({}).compose_call(OutgoingCall("KPTA", "CancelApplication", "urn:uuid:1", {"Reason": "x"}))
    assert caught.value.problem.id == "GW504"


def judged(owners: dict[str, str], signer: str) -> str:
    judge: Any = partners(owners).resolve_destination("KPTA").answer_policy.check_signer
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
        make_authority("CN=Elsewhere", NOW, "p-256"), "CN=kpta", NOW, CertificateOrder(key_kind="p-256")
    ).signer
    store, revocations = trust()
    known = PartnerDirectory(
        lambda: {"KPTA": KPTA}, CertificateValidator(store, revocations), lambda _: "kpta"
    )
    with pytest.raises(GatewayError) as caught:
        known.resolve_destination("KPTA").answer_policy.check_signer(stranger.certificate, NOW)
    assert caught.value.problem.id == "GW205"
    assert authority().certificate.sha256 != stranger.certificate.sha256


def test_agencies_without_address_or_of_another_channel_are_not_called(tmp_path: Any) -> None:
    settings = tmp_path / "gateway.toml"
    settings.write_text(
        '[agency.KPTA]\nendpoint = "http://kpta.example/"\n'
        '[agency.KFDA]\nchannel = "mailbox"\n[customs]\nendpoint = "http://customs.example/"\n'
    )
    found = build_partners(load_settings(settings, home=tmp_path))
    assert sorted(found) == ["KPTA", "customs"]
    assert found["customs"].wsdl == WsdlFile("customs.wsdl")


def test_each_partner_has_the_time_that_its_settings_give_it(tmp_path: Any) -> None:
    settings = tmp_path / "gateway.toml"
    settings.write_text(
        '[agency.KPTA]\nendpoint = "http://kpta.example/"\ntime_out = "2s"\n'
        '[agency.KFDA]\nendpoint = "http://kfda.example/"\n'
        '[customs]\nendpoint = "http://customs.example/"\ntime_out = "90s"\n'
    )
    found = build_partners(load_settings(settings, home=tmp_path))
    known = PartnerDirectory(lambda: found, CertificateValidator(*trust()), lambda _: None)
    bounds = {name: known.resolve_destination(name).http_limits for name in found}
    assert bounds == {
        "KPTA": HttpLimits(connect_seconds=2, read_seconds=2, total_seconds=4),  # short: as it is set
        "KFDA": HttpLimits(connect_seconds=10, read_seconds=30, total_seconds=60),
        "customs": HttpLimits(connect_seconds=10, read_seconds=90, total_seconds=180),
    }


def test_answers_are_bounded_by_the_limits_of_the_settings() -> None:
    limits = WireLimits(depth=7)
    known = PartnerDirectory(lambda: {"KPTA": KPTA}, CertificateValidator(*trust()), lambda _: None, limits)
    assert known.resolve_destination("KPTA").answer_policy.limits is limits


class Sender:
    """Keeps by which bounds it was asked."""

    def __init__(self) -> None:
        self.bounds: list[HttpLimits | None] = []

    def post(self, *_: object) -> HttpAnswer:
        self.bounds.append(_[3])  # type: ignore[arg-type]
        return HttpAnswer(404, {}, b"")


def test_a_call_is_bounded_as_its_partner_is() -> None:
    sender, own = Sender(), HttpLimits(read_seconds=33)
    agent = SoapCaller(sender, lambda: signer_named("hub"), lambda: NOW)  # type: ignore[arg-type]
    for bounds in (own, None):
        partner = replace(KPTA, http_limits=bounds)
        known = PartnerDirectory(
            lambda one=partner: {"KPTA": one}, CertificateValidator(*trust()), lambda _: None
        )  # type: ignore[misc]
        words = {"ApplicationNumber": "1", "Reason": "none"}
        envelope = known.compose_call(OutgoingCall("KPTA", "CancelApplication", "urn:uuid:1", words)).octets
        with pytest.raises(GatewayError):
            agent.read_answer(agent.post_call(envelope, known.resolve_destination("KPTA")))
    assert sender.bounds == [own, None]


def watched(path: Any) -> PartnerSettings:
    """Return the partners of a settings file, read again whenever it changes."""
    file = SettingsFile(path, lambda: load_settings(path, home=path.parent))
    return PartnerSettings(file.read(), file)


KPTA_ALONE = '[agency.KPTA]\nendpoint = "http://kpta.example/"\n'


def test_an_agency_that_is_added_to_the_settings_is_called_without_a_restart(tmp_path: Any) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(KPTA_ALONE)
    found = watched(path)
    assert sorted(found.get_partners()) == ["KPTA"]
    path.write_text(f'{KPTA_ALONE}[agency.HARBOUR]\nendpoint = "http://harbour.example/"\nretries = 7\n')
    assert found.get_partners()["HARBOUR"].endpoint == "http://harbour.example/"
    assert found.get_partners()["HARBOUR"].wsdl == WsdlFile("agency-template.wsdl")
    assert found.get_retry_plans()["HARBOUR"].max_retries == 7


def test_settings_that_cannot_be_read_leave_the_partners_as_they_were(tmp_path: Any, caplog: Any) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(KPTA_ALONE)
    found = watched(path)
    path.write_text("[agency.KPTA]\nendpiont = 'http://kpta.example/'\n")
    assert sorted(found.get_partners()) == ["KPTA"]
    assert "GW801" in caplog.text
    path.unlink()
    assert sorted(found.get_partners()) == ["KPTA"]


def test_new_settings_are_told_before_anybody_is_called_by_them(tmp_path: Any) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(KPTA_ALONE)
    told: list[list[str]] = []
    file = SettingsFile(path, lambda: load_settings(path, home=tmp_path))
    found = PartnerSettings(file.read(), file, lambda settings: told.append(sorted(settings.agency)))
    path.write_text(KPTA_ALONE.replace("KPTA", "KFDA") + KPTA_ALONE)
    assert sorted(found.get_partners()) == ["KFDA", "KPTA"]
    assert told == [["KFDA", "KPTA"]]


def test_new_settings_are_used_as_soon_as_the_database_is_back(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What follows from them is stored first; the log says once that it cannot be."""
    path = tmp_path / "gateway.toml"
    path.write_text(KPTA_ALONE)
    is_away = True

    def store_consequences(_settings: Any) -> None:
        if is_away:
            raise GatewayError(NO_ROOM, "the database is not reached")

    file = SettingsFile(path, lambda: load_settings(path, home=tmp_path))
    found = PartnerSettings(file.read(), file, store_consequences)
    path.write_text(KPTA_ALONE.replace("KPTA", "KFDA") + KPTA_ALONE)
    for _ in range(3):
        assert sorted(found.get_partners()) == ["KPTA"]
    assert caplog.text.count("cannot be used") == 1
    is_away = False
    assert sorted(found.get_partners()) == ["KFDA", "KPTA"]


def test_an_agency_without_an_address_has_its_own_contract_else_the_template(tmp_path: Any) -> None:
    settings = load_settings(None, home=tmp_path)
    found = partial(find_expected_wsdl, settings)
    known = PartnerDirectory(
        dict, CertificateValidator(*trust()), lambda _: None, DEFAULT_LIMITS, find_wsdl=found
    )
    assert (found("KPTA").relative_path, found("NEW").relative_path) == (
        "agencies/KPTA.wsdl",
        "agency-template.wsdl",
    )
    words = {"ApplicationNumber": "A-1", "Reason": "x"}
    for agency in ("KPTA", "NEW"):
        envelope = known.compose_call(OutgoingCall(agency, "CancelApplication", "urn:uuid:1", words)).octets
        assert b"urn:uuid:1" in envelope
    with pytest.raises(GatewayError) as caught:
        known.compose_call(OutgoingCall("customs", "RegisterDeclaration", "urn:uuid:1"))
    assert caught.value.location == "customs.endpoint"


OWN_KEY = f'wsdl_sha256 = "{"0" * 64}"\n'


def read_template_digest() -> str:
    return hashlib.sha256(get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()).hexdigest()


def test_an_agreed_wsdl_that_this_node_lacks_is_not_replaced_by_the_template(tmp_path: Any) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(f'[agency.HARBOUR]\nendpoint = "http://harbour.example/"\n{OWN_KEY}')
    (partner,) = build_partners(load_settings(path, home=tmp_path)).values()
    with pytest.raises(GatewayError) as caught:
        load_contract(partner.wsdl)
    assert (caught.value.problem.id, caught.value.location) == ("GW801", "wsdl/agencies/HARBOUR.wsdl")
    assert caught.value.detail == (
        "this node has no such WSDL in a folder of share.folders, and agency.HARBOUR.wsdl_sha256 is not that "
        "of the template"
    )
    path.write_text(path.read_text().replace("0" * 64, read_template_digest()))
    (partner,) = build_partners(load_settings(path, home=tmp_path)).values()
    assert load_contract(partner.wsdl).sha256 == read_template_digest(), "the template may be agreed, too"


def test_settings_whose_wsdl_is_not_here_leave_the_partners_as_they_were(tmp_path: Any, caplog: Any) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(KPTA_ALONE)
    found = watched(path)
    path.write_text(f'{KPTA_ALONE}[agency.HARBOUR]\nendpoint = "http://harbour.example/"\n{OWN_KEY}')
    assert sorted(found.get_partners()) == ["KPTA"]
    assert "the partners stay as they were: GW801 this node has no such WSDL" in caplog.text
