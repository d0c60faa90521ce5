"""The sandbox authority: what it issues is good, except where it was declared bad."""

from __future__ import annotations

import json
import stat
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12

from gateway import errors
from gateway.cli import main
from gateway.errors import GatewayError
from gateway.pki import (
    KEY_KINDS,
    CertificateUse,
    CertificateValidator,
    RevocationData,
    TrustStore,
    load_signer,
    make_private_key,
    read_certificate,
)
from gateway_conformance.pki import (
    CertificateOrder,
    SandboxParty,
    issue_certificate,
    load_authority,
    load_demo_parties,
    load_profiles,
    make_authority,
    make_revocation_list,
    make_sandbox,
)
from tests.kit.paths import ROOT
from tests.pki.certificate_forgery import DAY, NOW
from tests.pki.conftest import World

PARTIES = (
    SandboxParty("broker", "CN=Broker,O=Example"),
    SandboxParty("agency", key_kind="rsa-2048", keystore=True),
    SandboxParty("revoked", state="revoked"),
    SandboxParty("expired", state="expired"),
    SandboxParty("future", state="future"),
    SandboxParty("wrong-use", profile="tls-server"),
)
EXPECTED = {
    "revoked": errors.CERTIFICATE_REVOKED,
    "expired": errors.CERTIFICATE_EXPIRED,
    "future": errors.CERTIFICATE_EXPIRED,
    "wrong-use": errors.CERTIFICATE_UNTRUSTED,
}


def judge_of(folder: Path) -> CertificateValidator:
    trust = TrustStore((read_certificate((folder / "ca.pem").read_bytes()),))
    return CertificateValidator(trust, RevocationData([(folder / "crl.pem").read_bytes()]))


@pytest.mark.long
def test_a_sandbox_is_as_declared(tmp_path: Path):
    made = make_sandbox(tmp_path / "pki", PARTIES, NOW, password=b"changeit")
    judge = judge_of(made.folder)
    for party in PARTIES:
        certificate = (made.folder / f"{party.name}.cert.pem").read_bytes()
        signer = load_signer((made.folder / f"{party.name}.key.pem").read_bytes(), certificate)
        assert signer.certificate == made.signers[party.name].certificate
        verdict = judge(signer.certificate.der, CertificateUse.SIGNING, NOW)
        assert verdict.problem is EXPECTED.get(party.name), party.name
    assert made.signers["broker"].certificate.subject == "CN=Broker,O=Example"
    assert made.signers["agency"].certificate.subject == "CN=agency"
    assert made.signers["agency"].certificate.key_type == "rsa"
    assert made.authority.certificate.path_length == 0


@pytest.mark.long
def test_the_demo_is_as_declared(tmp_path: Path):
    parties = load_demo_parties()
    assert {"hub", "broker", "customs", "agency", *EXPECTED} <= {party.name for party in parties}
    made = make_sandbox(tmp_path, parties, NOW)
    judge = judge_of(tmp_path)
    for party in parties:
        use = CertificateUse.TLS_SERVER if party.profile == "tls" else CertificateUse.SIGNING
        verdict = judge(made.signers[party.name].certificate.der, use, NOW)
        assert verdict.problem is EXPECTED.get(party.name), party.name


DECLARED = tomllib.loads((ROOT / "conformance" / "pki" / "demo.toml").read_text("utf-8"))["party"]
PROFILES = tomllib.loads((ROOT / "conformance" / "pki" / "profiles.toml").read_text("utf-8"))["profile"]
OUR_NAMES = {
    "digital_signature": "digitalSignature", "content_commitment": "nonRepudiation",
    "key_encipherment": "keyEncipherment", "data_encipherment": "dataEncipherment",
    "key_agreement": "keyAgreement", "key_cert_sign": "keyCertSign", "crl_sign": "cRLSign",
}  # fmt: skip


@pytest.mark.long
def test_the_verb_makes_what_is_declared_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Read here by other means than the program's: the files, and what stands in each certificate."""
    folder = tmp_path / "made"
    assert main(["pki", "demo", "--out", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["certificates"]
    assert [row["name"] for row in rows] == [party["name"] for party in DECLARED]
    made = {each.name for each in folder.iterdir()}
    keys = {f"{party['name']}.{kind}.pem" for party in DECLARED for kind in ("cert", "key")}
    assert made - keys <= {"ca.pem", "ca.key.pem", "crl.pem", *(f"{one['name']}.p12" for one in DECLARED)}
    assert keys <= made
    listed = x509.load_pem_x509_crl((folder / "crl.pem").read_bytes())
    assert listed.next_update_utc is not None
    assert listed.next_update_utc - listed.last_update_utc == timedelta(days=30)
    revoked = {entry.serial_number for entry in listed}
    for party in DECLARED:
        found = x509.load_pem_x509_certificate((folder / f"{party['name']}.cert.pem").read_bytes())
        assert_declared(found, party, revoked)
    assert len(revoked) == 1
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    assert_profile(authority, PROFILES["authority"])


def assert_declared(found: x509.Certificate, party: dict[str, str], revoked: set[int]) -> None:
    now = datetime.now(UTC)
    assert found.subject == x509.Name.from_rfc4514_string(party["subject"])
    key = found.public_key()
    kind = f"rsa-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else "p-256"
    assert kind == party.get("key_kind", kind)
    assert_profile(found, PROFILES[party.get("profile", "signing")])
    state = party.get("state", "good")
    assert (found.serial_number in revoked) == (state == "revoked")
    assert (found.not_valid_after_utc < now) == (state == "expired")
    assert (found.not_valid_before_utc > now) == (state == "future")


def assert_profile(found: x509.Certificate, profile: dict[str, Any]) -> None:
    said = found.extensions.get_extension_for_class(x509.KeyUsage)
    usages = {name for attribute, name in OUR_NAMES.items() if getattr(said.value, attribute)}
    assert usages == set(profile["key_usage"])
    assert said.critical
    try:
        purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        named = [one.dotted_string for one in purposes.value]
        assert purposes.critical == profile.get("extended_critical", False)
    except x509.ExtensionNotFound:
        named = []
    assert named == profile.get("extended_key_usage", [])


def test_no_key_lies_in_the_folder():
    for file in (ROOT / "pki").rglob("*"):
        if file.is_file():
            octets = file.read_bytes()
            assert b"PRIVATE KEY-----" not in octets, file
            assert file.suffix in (".md", ".toml"), f"{file} is neither words nor rules"
    # And one of every kind of bad certificate is declared.
    assert {party.get("state", "good") for party in DECLARED} == {"good", "revoked", "expired", "future"}
    assert "tls-server" in {party.get("profile") for party in DECLARED}


@pytest.mark.long
def test_keys_are_for_their_owner_alone(tmp_path: Path):
    (tmp_path / "broker.key.pem").write_bytes(b"old")
    (tmp_path / "broker.key.pem").chmod(0o644)
    make_sandbox(tmp_path, PARTIES, NOW, password=b"changeit")
    for path in tmp_path.iterdir():
        mode = stat.S_IMODE(path.stat().st_mode)
        secret = path.name.endswith((".key.pem", ".p12"))
        assert (mode == 0o600) == secret, path.name
        assert (b"PRIVATE" in path.read_bytes()) == path.name.endswith(".key.pem")


@pytest.mark.long
def test_a_key_store_opens_elsewhere(tmp_path: Path):
    made = make_sandbox(tmp_path, PARTIES, NOW, password=b"changeit")
    key, certificate, others = pkcs12.load_key_and_certificates(
        (tmp_path / "agency.p12").read_bytes(), b"changeit"
    )
    assert key is not None
    assert certificate is not None
    assert certificate == x509.load_der_x509_certificate(made.signers["agency"].certificate.der)
    assert [each.subject.rfc4514_string() for each in others] == [made.authority.certificate.subject]
    assert not (tmp_path / "broker.p12").exists()


def test_a_sandbox_is_not_overwritten_by_mistake(tmp_path: Path):
    make_sandbox(tmp_path, PARTIES[:1], NOW)
    before = (tmp_path / "ca.key.pem").read_bytes()
    with pytest.raises(GatewayError) as caught:
        make_sandbox(tmp_path, PARTIES[:1], NOW)
    assert caught.value.problem is errors.MISUSE
    assert (tmp_path / "ca.key.pem").read_bytes() == before
    make_sandbox(tmp_path, PARTIES[:1], NOW, overwrite=True)
    assert (tmp_path / "ca.key.pem").read_bytes() != before


def test_the_authority_of_a_sandbox_issues_more(tmp_path: Path):
    make_sandbox(tmp_path, PARTIES[:1], NOW)
    authority = load_authority(tmp_path)
    late = issue_certificate(authority, "Late", NOW).certificate
    assert judge_of(tmp_path)(late.der, CertificateUse.SIGNING, NOW).status == "valid"
    with pytest.raises(GatewayError) as caught:
        load_authority(tmp_path / "elsewhere")
    assert caught.value.problem is errors.MISUSE


@pytest.mark.parametrize(
    "parties",
    [
        [SandboxParty("../broker")],
        [SandboxParty("")],
        [SandboxParty("ca")],
        [SandboxParty("a/b")],
        [SandboxParty("CA")],
        [SandboxParty("a b")],
        [SandboxParty("a"), SandboxParty("A")],
        [SandboxParty("a"), SandboxParty("a")],
        [SandboxParty("a", state="odd")],  # type: ignore[arg-type]
        [SandboxParty("a", profile="odd")],
        [SandboxParty("a", key_kind="odd")],
        [SandboxParty("a", subject="=odd=")],
        [SandboxParty("a", keystore=True)],
    ],
)
def test_parties_that_cannot_be(tmp_path: Path, parties: list[SandboxParty]):
    with pytest.raises(GatewayError) as caught:
        make_sandbox(tmp_path / "pki", parties, NOW)
    assert caught.value.problem is errors.MISUSE


def test_a_party_may_have_the_code_of_an_agency(tmp_path: Path):
    make_sandbox(tmp_path / "pki", [SandboxParty("ORG")], NOW)
    assert (tmp_path / "pki" / "ORG.cert.pem").is_file()


def test_a_name_that_cannot_be_says_what_can(tmp_path: Path):
    with pytest.raises(GatewayError, match="letters, digits"):
        make_sandbox(tmp_path / "pki", [SandboxParty("a b")], NOW)


@pytest.mark.long
@pytest.mark.parametrize("kind", KEY_KINDS)
def test_kinds_of_keys(world: World, kind: str):
    certificate = issue_certificate(world.sub, "P", NOW, CertificateOrder(key_kind=kind)).certificate
    assert certificate.key_type == {"rsa": "rsa", "p": "ec", "ed25519": "ed25519"}[kind.split("-")[0]]
    if kind.startswith(("rsa-", "p-")):
        assert certificate.public_key.key_size == int(kind.split("-")[1])  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["rsa-1024", "rsa-x", "p-192", ""])
def test_kinds_of_keys_that_are_not_made(kind: str):
    with pytest.raises(GatewayError):
        make_private_key(kind)


def test_an_order_may_differ_from_its_profile(world: World):
    order = CertificateOrder(days=3, starts=-DAY, serial=5, alternative_names=("dns:a.example",))
    certificate = issue_certificate(world.sub, "P", NOW, order).certificate
    assert (certificate.not_before, certificate.not_after) == (NOW - DAY, NOW + 2 * DAY)
    assert certificate.serial == 5
    assert certificate.alternative_names == ("dns:a.example",)
    with pytest.raises(GatewayError):
        issue_certificate(world.sub, "P", NOW, CertificateOrder(alternative_names=("ip:1.2.3.4",)))


def test_two_certificates_for_one_key(world: World):
    first = issue_certificate(world.sub, "P", NOW)
    again = issue_certificate(world.sub, "P", NOW, key=first.key)
    assert again.certificate != first.certificate
    assert again.certificate.public_key == first.certificate.public_key
    assert load_pem_private_key(again.key_pem, None).public_key() == first.certificate.public_key


def test_an_authority_below_another(world: World):
    sub = make_authority("Sub", NOW, issuer=world.root, path_length=None)
    assert sub.certificate.path_length is None
    assert sub.certificate.issuer_der == world.root.certificate.subject_der
    assert sub.issuer is world.root


def test_a_list(world: World):
    made = x509.load_der_x509_crl(make_revocation_list(world.sub, {9, 3}, NOW, NOW + DAY, number=8))
    assert [each.serial_number for each in made] == [3, 9]
    assert (made.last_update_utc, made.next_update_utc) == (NOW, NOW + DAY)
    assert made.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 8
    assert made.is_signature_valid(world.sub.certificate.public_key)


def test_the_profiles(world: World):
    assert {"authority", "signing", "encryption", "tls", "tls-server", "time-stamping"} == set(
        load_profiles()
    )
    for name in load_profiles():
        if name != "authority":
            issued = issue_certificate(world.sub, "P", NOW, CertificateOrder(profile=name)).certificate
            assert issued.key_usage == load_profiles()[name].key_usage


def test_keys_are_not_shown(world: World):
    assert "PrivateKey" not in repr(world.root)
