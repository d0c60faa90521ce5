"""The hub changes its key: what partners and the conformance suite are given before and after the cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings
from gateway.client import read_identity
from gateway.pki import read_certificate, read_certificates
from gateway.web import build_application
from gateway_conformance.hostile import AttackRunner, WsgiTarget, read_attacker_kit
from gateway_conformance.verbs.conformance_home import make_suite_home


def change_key(home: Path, starts: datetime) -> None:
    """Make the next key of a home, which takes over at `starts`."""
    make_suite_home(home)
    pki = home / "pki"
    key, request, certificate = (str(pki / f"next.{end}") for end in ("key.pem", "csr.pem", "cert.pem"))
    assert main(["pki", "request", "CN=hub", "--key", key, "--out", request]) == 0
    assert main(["pki", "issue", request, "--ca", str(pki), "--out", certificate]) == 0
    with (home / "gateway.toml").open("a", encoding="utf-8") as file:
        file.write(
            f"[pki.next]\nstarts = {starts.isoformat(timespec='seconds')}\n"
            'signing_key = { file = "pki/next.key.pem" }\nsigning_certificate = "pki/next.cert.pem"\n'
        )


@pytest.mark.long
@pytest.mark.parametrize(
    ("hours", "names"),
    [(-1, ["next"]), (48, ["hub", "next"])],
    ids=["after the change", "before the change"],
)
def test_the_suite_is_given_the_certificates_that_the_hub_uses(
    tmp_path: Path, hours: int, names: list[str]
) -> None:
    home = tmp_path / "home"
    change_key(home, datetime.now(UTC) + timedelta(hours=hours))
    assert main(["conformance", "invite", "--out", str(tmp_path / "partner"), "--home", str(home)]) == 0
    given = read_certificates((tmp_path / "partner" / "hub.cert.pem").read_bytes())
    pki = home / "pki"
    assert list(given) == [read_certificate((pki / f"{name}.cert.pem").read_bytes()) for name in names]
    kit = read_attacker_kit(tmp_path / "partner")
    target = WsgiTarget(build_application(read_home_settings(home)), kit.faces)
    assert AttackRunner(kit, target)._check_control("ebms2") == ""


@pytest.mark.long
def test_partners_take_the_file_of_two_certificates(tmp_path: Path) -> None:
    home = tmp_path / "home"
    change_key(home, datetime.now(UTC) + timedelta(hours=48))
    pki, both = home / "pki", tmp_path / "hub.pem"
    assert main(["pki", "ours", "--out", str(both), "--home", str(home)]) == 0
    identity = read_identity(pki, "hub", (both,))
    for name in ("hub", "next"):
        found = read_certificate((pki / f"{name}.cert.pem").read_bytes())
        assert identity.is_hub_certificate(found.sha256)
