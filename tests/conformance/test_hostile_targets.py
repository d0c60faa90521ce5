"""Where the octets of an attack go: the path of a hidden request, the Host of a raw one, ports, dates."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from gateway.cli.verb_groups import Arguments
from gateway.errors import GatewayError
from gateway.message_model import PartyId
from gateway_conformance.hostile import AttackerKit, UrlTarget, make_partner_folder, make_sample_kit
from gateway_conformance.hostile.attack_targets import WireAddress
from gateway_conformance.hostile.exchange import FaceAddress, RawScript
from gateway_conformance.hostile.raw_http_requests import RawRequest, make_smuggling_scenario
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority, make_revocation_list
from gateway_conformance.verbs.conformance import _open_opponents

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def embed(request: RawRequest, hidden: bytes) -> RawRequest:
    return request.with_framing(b"Content-Length: %d" % len(hidden), body=hidden)


def find_hidden_path(kit: AttackerKit) -> bytes:
    """Return the path of the hidden request, as the scenario builds it."""
    step = next(make_smuggling_scenario(embed)(kit)).step
    assert isinstance(step, RawScript)
    return step.script[0][0].partition(b"\r\n\r\n")[2].split(b" ")[1]


def test_a_hidden_request_goes_to_the_url_of_the_face() -> None:
    kit = make_sample_kit(NOW)
    assert find_hidden_path(kit) == b"/msh/ebms2"
    faces = {**kit.faces, "ebms2": FaceAddress("/msh/ebms2", "https://gw.example/other?x=1")}
    assert find_hidden_path(replace(kit, faces=faces)) == b"/other?x=1"


@pytest.mark.parametrize("url", ["http://gw.example/base", "http://gw.example/base/msh/ebms2"])
def test_a_hidden_request_goes_below_the_base_url(url: str) -> None:
    options = Arguments(url=url, partner=None, client_certificate=None, client_key=None, ca=None)
    with _open_opponents(options) as (kit, _):
        assert find_hidden_path(kit) == b"/base/msh/ebms2"


@pytest.mark.parametrize("url", ["http://gw.example/base?x=1", "http://gw.example/#f"])
def test_a_base_url_has_no_query(url: str) -> None:
    with pytest.raises(GatewayError, match="GW808"):
        UrlTarget(url, {"ebms2": FaceAddress("/msh/ebms2")})
    target = UrlTarget(url, {"ebms2": FaceAddress("/msh/ebms2", "http://gw.example/other?x=1")})
    assert target.name == url


@pytest.mark.parametrize(("host", "sent"), [("::1", b"[::1]:8080"), ("gw.example", b"gw.example:8080")])
def test_the_host_of_a_raw_request_has_the_brackets_of_an_address(host: str, sent: bytes) -> None:
    wire = WireAddress(host, 8080, None, "/msh")
    assert wire.fill_placeholders(b"Host: {host}\r\n") == b"Host: %b\r\n" % sent


@pytest.mark.parametrize(
    "url", ["http://gw.example:0", "https://gw.example:0/msh/ebms2", "http://[no-address", "http://[::1"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(GatewayError, match="GW808"):
        UrlTarget(url, {"ebms2": FaceAddress("/msh/ebms2")})


@pytest.mark.parametrize("is_empty", [False, True])
def test_the_new_revocation_list_follows_the_list_in_force(is_empty: bool) -> None:
    start, revoked_at = NOW - timedelta(days=200), NOW - timedelta(days=90)
    authority = make_authority("CN=Test CA", start)
    gateway = issue_certificate(authority, "CN=gateway", NOW, CertificateOrder()).certificate
    since = {} if is_empty else {7: revoked_at}
    earlier = make_revocation_list(authority, [*since], NOW - timedelta(days=1), number=41, since=since)
    made = make_partner_folder(authority, (gateway,), (PartyId("gateway", "t"),), NOW, earlier)
    crl = x509.load_der_x509_crl(made.crl)
    listed = {entry.serial_number: entry.revocation_date_utc for entry in crl}
    revoked = made.issued["revoked"].certificate.serial
    assert listed == {**since, revoked: NOW - timedelta(seconds=1)}
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 42
