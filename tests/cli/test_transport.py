"""What `gateway check` says of TLS: files that cannot be used, ends that come, and what goes in the clear."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway import cli
from gateway.agreements import PModeIndex, read_pmodes
from gateway.cli.home_folder import read_home_settings
from gateway.cli.hub_findings import check_transport, find_transport_warnings
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub.register.trusted_register import RegisterSnapshot
from gateway.message_model import PartyId
from gateway_conformance.pki import CertificateOrder, issue_certificate, load_authority
from gateway_conformance.verbs.conformance_home import make_suite_home
from tests.kit.house import AGREEMENT, PARTY_TYPE

#: Each case is an attack of its own.

NOW = datetime.now(UTC)
NOBODY = RegisterSnapshot(0, PModeIndex(()), {}, {}, {}, ())
AGENCY = '[agency.ORG]\nendpoint = "{}"\nchannel = "soap"\nwsdl = "agency-template.wsdl"\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("transport") / "home"
    make_suite_home(place)
    for name, days in (("good", 300), ("soon", 5), ("over", 1)):
        at = datetime.now(UTC) - timedelta(days=2 if name == "over" else 0)
        order = CertificateOrder("tls", days=days, alternative_names=("dns:localhost",))
        issued = issue_certificate(load_authority(place / "pki"), "CN=localhost", at, order)
        (place / "pki" / f"{name}.pem").write_bytes(issued.key_pem + issued.certificate.pem)
    (place / "pki" / "bad.pem").write_text("nothing")
    return place


def settings(home: Path, more: str) -> Settings:
    (home / "gateway.toml").write_text(f'[hub]\nhome = "."\n{more}')
    return read_home_settings(home)


def tls(name: str, more: str = "") -> str:
    return f'[http]\ntls_certificate = "pki/{name}.pem"\ntls_key = {{ file = "pki/{name}.pem" }}\n{more}'


def call(name: str) -> str:
    return (
        f'[tls."a.example"]\nanchors = ["pki/ca.pem"]\n'
        f'certificate = "pki/{name}.pem"\nkey = {{ file = "pki/{name}.pem" }}\n'
    )


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (tls("good", 'client_ca = "pki/ca.pem"\n') + call("good"), None),
        (tls("bad"), "GW803 TLS"),
        (tls("good", 'client_ca = "pki/bad.pem"\n'), "GW803 TLS"),
        (tls("good", 'client_ca = "pki/none.pem"\n'), "GW803 TLS"),
        (tls("over"), "GW206 http.tls_certificate"),
        (tls("good").replace('{ file = "pki/good.pem" }', '{ env = "K" }'), "GW801 http.tls_key"),
        (call("bad"), "GW803 TLS"),
        (call("over"), "GW206 tls.a.example.certificate"),
        ('[tls."*"]\nanchors = ["pki/none.pem"]\n', "GW803 TLS"),
        ('[tls."*"]\ncertificate = "pki/good.pem"\n', "GW801 tls.*"),
        ('[tls."a.example"]\nlogin = "hub"\nlogin_password = { file = "none" }\n', "GW803 "),
        ('[http]\nclient_ca = "pki/ca.pem"\n', "GW801 http"),
        (tls("good", 'mutual_tls = ["a"]\n'), "GW801 http"),
    ],
)
def test_files_that_cannot_be_used(home: Path, more: str, problem: str | None) -> None:
    if problem is None:
        check_transport(settings(home, more))
        return
    with pytest.raises(GatewayError) as caught:
        check_transport(settings(home, more))
    told, location = caught.value, caught.value.location
    # Wrong settings name their key before the text, and their file as the place.
    place = told.detail.partition(": ")[0] if location.endswith("gateway.toml") else location
    assert f"{told.problem.id} {place}" == problem


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[http]\nhost = "0.0.0.0"\n', "the gateway serves plain HTTP at 0.0.0.0"),
        ('[http]\nhost = "0.0.0.0"\nproxies = ["192.0.2.1"]\n', None),
        (tls("good", 'host = "0.0.0.0"\n'), None),
        ('[http]\nhost = "127.0.0.2"\n', None),
        ('[http]\nhost = "::1"\n', None),
        (tls("soon"), "http.tls_certificate ends in"),
        (call("soon"), "tls.a.example.certificate ends in"),
        (
            AGENCY.format("http://agency.example/soap"),
            "agency.ORG is called over plain HTTP at agency.example",
        ),
        (AGENCY.format("https://agency.example/soap"), None),
        (AGENCY.format("http://localhost:1/soap"), None),
        ('[customs]\nendpoint = "http://customs.example/"\n', "customs is called over plain HTTP"),
    ],
)
def test_what_is_in_the_clear_and_what_ends(home: Path, more: str, words: str | None) -> None:
    warnings = list(find_transport_warnings(settings(home, more), NOBODY, datetime.now(UTC)))
    assert [one for one in warnings if words is None or words not in one] == []
    assert len(warnings) == (words is not None)


def test_parties_of_agreements_are_called_too(home: Path) -> None:
    modes = read_pmodes(AGREEMENT.replace(b"http://127.0.0.1:8901", b"http://broker.example"), "a")
    names = {PartyId("broker1", PARTY_TYPE): "broker1", PartyId("hub", PARTY_TYPE): "hub"}
    known = RegisterSnapshot(0, PModeIndex(modes), {}, names, {}, ())
    told = list(find_transport_warnings(settings(home, ""), known, datetime.now(UTC)))
    assert told == ["party broker1 is called over plain HTTP at broker.example"]


def test_a_party_of_several_agencies_is_named(home: Path) -> None:
    one = '[agency.{}]\nendpoint = "https://agency.example/soap"\n{}'
    shared = one.format("A", 'party = "system"\n') + one.format("system", "") + one.format("B", "")
    warnings = list(find_transport_warnings(settings(home, shared), NOBODY, NOW))
    assert warnings == [
        "party system is the party of several agencies (A, system): they are called, but what the party "
        "sends is refused (GW209)"
    ]
    own = one.format("A", 'party = "system"\n') + one.format("B", 'party = "A"\n')
    assert list(find_transport_warnings(settings(home, own), NOBODY, NOW)) == []


def test_who_is_bound_in_vain_is_told(home: Path) -> None:
    asked = tls("good", 'client_ca = "pki/ca.pem"\nmutual_tls = ["broker1", "brokre2", "*"]\n')
    [mode, *_] = read_pmodes(AGREEMENT, "a")
    names = {PartyId("broker1", PARTY_TYPE): "broker1"}
    known = RegisterSnapshot(0, PModeIndex((mode,)), {}, names, {}, ())
    told = [one for one in find_transport_warnings(settings(home, asked), known, NOW) if "mutual" in one]
    assert told == ["http.mutual_tls names brokre2, which is not an active party: the entry has no effect"]
    bound = replace(mode, security=replace(mode.security, mutual_tls=True))
    known = replace(known, book=PModeIndex((bound,)))
    assert not [one for one in find_transport_warnings(settings(home, asked), known, NOW) if "P-Mode" in one]
    told = [
        one for one in find_transport_warnings(settings(home, tls("good")), known, NOW) if "mutual" in one
    ]
    assert told == [
        "P-Modes require mutual_tls, but without http.client_ca no client certificate is requested"
    ]


def test_check_says_both(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    editions = "[calendars]\ntest_edition = false\n[needs]\ntest_edition = false\n"
    settings(home, tls("over") + '[customs]\nendpoint = "http://customs.example/"\n' + editions)
    assert cli.main(["check", "--json", "--home", str(home)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in told["problems"]] == ["GW206"]
    told["warnings"] = [
        words
        for words in told["warnings"]
        if not any(other in words for other in ("open to other", "GW607", "before forwarding"))
    ]
    assert told["warnings"] == ["customs is called over plain HTTP at customs.example"]
