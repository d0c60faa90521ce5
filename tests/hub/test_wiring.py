"""What a hub believes, as its settings say it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.errors import GatewayError
from gateway.hub import RejectingComposer, build_hub
from gateway.hub.trust.trust_settings import load_trust_store
from gateway.pki import CertificateUse, RevocationData, validate_path
from gateway_conformance.pki import CertificationAuthority, issue_certificate, make_authority
from gateway_conformance.verbs.conformance_home import make_suite_home

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def written(folder: Path, name: str, authority: CertificationAuthority) -> str:
    (folder / name).write_bytes(authority.certificate.pem)
    return f'"{name}"'


def settings_file(folder: Path, **pki: str) -> Path:
    lines = "".join(f"{key} = [{value}]\n" for key, value in pki.items())
    (folder / "gateway.toml").write_text(f'[hub]\nhome = "."\n[pki]\n{lines}', encoding="utf-8")
    return folder / "gateway.toml"


@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_authorities_below_an_anchor_are_those_of_the_settings(tmp_path: Path, named: bool) -> None:
    root = make_authority("CN=Root", NOW, path_length=1)
    below = make_authority("CN=Below", NOW, issuer=root)
    leaf = issue_certificate(below, "CN=Firm", NOW).certificate
    lines = {"anchors": written(tmp_path, "root.pem", root)}
    if named:
        lines["intermediates"] = written(tmp_path, "below.pem", below)
    trust = load_trust_store(load_settings(settings_file(tmp_path, **lines)))
    without_lists = replace(trust, policy=replace(trust.policy, revocation="none"))
    verdict = validate_path(leaf, NOW, CertificateUse.SIGNING, without_lists, RevocationData())
    assert (verdict.status == "valid") is named, verdict.reason


def test_an_intermediate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = make_authority("CN=Root", NOW)
    (tmp_path / "below.pem").write_text("nothing", encoding="utf-8")
    path = settings_file(tmp_path, anchors=written(tmp_path, "root.pem", root), intermediates='"below.pem"')
    with pytest.raises(GatewayError, match=r"below\.pem") as refused:
        load_trust_store(load_settings(path))
    assert refused.value.location == "pki.intermediates"


@pytest.mark.long
def test_the_settings_say_how_many_refusals_are_posted(tmp_path: Path) -> None:
    settings = make_suite_home(tmp_path, "[http]\nport = 8900\n")
    fewer = settings.model_copy(update={"limits": settings.limits.model_copy(update={"posted_refusals": 2})})
    for known, most in ((settings, 10_000), (fewer, 2)):
        hub = build_hub(known, RejectingComposer(), at_work=False)
        try:
            assert all(hub.refusals.acquire_slot("http://a.example", NOW) for _ in range(most))
            assert not hub.refusals.acquire_slot("http://a.example", NOW)
        finally:
            hub.close()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://gw.example.org/a//b", "gw.example.org"),
        ("https://gw.example.org:8443/to//other.example.net", "gw.example.org"),
        ("https://user@gw.example.org", "gw.example.org"),
        ("https://localhost/", "hub.single-window.invalid"),
        ("https://[2001:db8::1]:8443/", "hub.single-window.invalid"),
        ("https://[::ffff:192.0.2.1]/", "hub.single-window.invalid"),
        ("https://Hub.Example.ORG:8443/x", "Hub.Example.ORG"),
    ],
)
def test_the_ids_of_messages_have_the_host_of_the_public_address(tmp_path: Path, url: str, host: str) -> None:
    settings = make_suite_home(tmp_path, f'[http]\nport = 8900\npublic_url = "{url}"\n')
    hub = build_hub(settings, RejectingComposer(), at_work=False)
    try:
        assert hub.host == host
    finally:
        hub.close()
