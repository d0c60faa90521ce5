"""`gateway agreement export` writes what other products load, with the certificates of the register."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings
from gateway.pki import read_certificates
from gateway.store import make_engine, parties, read_transaction
from gateway.wire import DS, TP
from tests.agreements.cpa.documents import list_real_files
from tests.agreements.cpa.foreign_reader import list_faults
from tests.agreements.cpa.written_cpa import write_cpa
from tests.cli.test_registration import Run, certified, home, keys, run
from tests.kit.house import AGREEMENT

__all__ = ["home", "keys", "run"]
NAME = "urn:example:agreement:broker1-hub:2026"
HUB, BROKER = (f"urn:example:party-type|{name}" for name in ("hub", "broker1"))


@pytest.fixture
def registered(home: Path, run: Run) -> Path:
    """Return a home whose hub and broker have certificates to sign with, and the example agreement."""
    assert run("party", "add", "hub", "--name", "Hub", "--role", "hub", "--id", HUB)[0] == 0
    words = ("--name", "Broker 1", "--role", "applicant", "--id", BROKER)
    signing = certified(home, "broker1")
    assert run("party", "add", "broker1", *words, "--certificate", signing)[0] == 0
    (home / "a.yaml").write_bytes(AGREEMENT)
    status, text = run("agreement", "load", home / "a.yaml", "--accept-warnings")
    assert status == 0, text
    return home


def list_octets(file: Path, reference: str) -> list[bytes]:
    """Return the certificates of both parties to which elements of a name refer."""
    root, found = etree.parse(file).getroot(), []
    for party in root.iter(f"{{{TP}}}PartyInfo"):
        names = {one.get(f"{{{TP}}}certId"): one for one in party.iterfind(f"{{{TP}}}Certificate")}
        used = {one.get(f"{{{TP}}}certId") for one in party.iter(f"{{{TP}}}{reference}")}
        found += [names[one].findtext(f".//{{{DS}}}X509Certificate") for one in sorted(used)]
    return [base64.b64decode(one) for one in found if one is not None]


def read_leaf(path: Path) -> bytes:
    return read_certificates(path.read_bytes())[0].der


@pytest.mark.night
def test_the_certificates_of_the_register_stand_in_the_document(registered: Path, run: Run) -> None:
    file = registered / "cpa.xml"
    status, text = run("agreement", "export", NAME, "--out", file, "--json")
    assert (status, json.loads(text)["missing_certificates"]) == (0, [])
    assert list_faults(file.read_bytes()) == []
    own = read_home_settings(registered).pki.signing_certificate
    wanted = {read_leaf(registered / "broker1.cert.pem"), read_leaf(own)}
    assert set(list_octets(file, "SigningCertificateRef")) == wanted
    # One that ends later counts from the day on which it may be used.
    later, tomorrow = certified(registered, "later", "--days", "900"), datetime.now(UTC) + timedelta(days=1)
    words = ("party", "certificate", "add", "broker1", later, "--from", tomorrow.isoformat())
    assert run(*words)[0] == 0
    assert run("agreement", "export", NAME, "--out", file)[0] == 0
    assert set(list_octets(file, "SigningCertificateRef")) == wanted


@pytest.mark.night
def test_what_is_encrypted_for_a_party_is_encrypted_for_its_other_certificate(
    registered: Path, run: Run
) -> None:
    secret = b"  security:\n    sign: true"
    encrypted = AGREEMENT.replace(secret, b"  encryption: {algorithms: [aes256-gcm]}\n" + secret)
    assert encrypted != AGREEMENT
    (registered / "a.yaml").write_bytes(encrypted)
    assert run("agreement", "load", registered / "a.yaml", "--accept-warnings")[0] == 0
    file = registered / "cpa.xml"
    status, text = run("agreement", "export", NAME, "--out", file)
    assert (status, "no certificate of broker1 for encryption and of hub for encryption" in text) == (0, True)
    for party in ("broker1", "hub"):
        made = certified(registered, f"{party}-decrypts", "--profile", "encryption")
        words = ("party", "certificate", "add", party, made, "--use", "encryption")
        assert run(*words)[0] == 0
    status, text = run("agreement", "export", NAME, "--out", file)
    assert (status, text.strip()) == (0, f"Agreement {NAME} is written to {file}.")
    assert list_faults(file.read_bytes()) == []
    wanted = {read_leaf(registered / f"{party}-decrypts.cert.pem") for party in ("broker1", "hub")}
    assert set(list_octets(file, "EncryptionCertificateRef")) == wanted
    assert wanted.isdisjoint(list_octets(file, "SigningCertificateRef"))


@pytest.mark.night
def test_the_certificates_of_this_hub_are_those_of_its_settings(registered: Path, run: Run) -> None:
    """It serves, calls its partner's host and decrypts with certificates that no register has."""
    uses = {
        "serves": ("--profile", "tls-server"),
        "calls": ("--profile", "tls"),
        "decrypts": ("--profile", "encryption"),
    }
    made = {use: certified(registered, f"hub-{use}", *words) for use, words in uses.items()}
    broker = certified(registered, "broker1-calls", "--profile", "tls")
    assert run("party", "certificate", "add", "broker1", broker, "--use", "tls")[0] == 0
    run("agreement", "list")  # what was printed before is read
    keys = {use: path.with_name(path.name.replace(".cert.", ".key.")) for use, path in made.items()}
    settings = registered / "gateway.toml"
    settings.write_text(
        f"""{settings.read_text()}
[http]
tls_certificate = "{made["serves"]}"
tls_key = {{file = "{keys["serves"]}"}}
[tls."Broker.example:8443"]
certificate = "{made["calls"]}"
key = {{file = "{keys["calls"]}"}}
[decryption.now]
certificate = "{made["decrypts"]}"
key = {{file = "{keys["decrypts"]}"}}
"""
    )
    secure = AGREEMENT.replace(b"http://127.0.0.1:8900", b"https://hub.example")
    secure = secure.replace(b"http://127.0.0.1:8901", b"https://broker.example:8443")
    secret = b"  security:\n    sign: true"
    secure = secure.replace(
        secret, b"  encryption: {algorithms: [aes256-gcm]}\n" + secret + b"\n    mutual_tls: true"
    )
    (registered / "a.yaml").write_bytes(secure)
    status, text = run("agreement", "load", registered / "a.yaml", "--accept-warnings")
    assert status == 0, text
    file = registered / "cpa.xml"
    assert run("agreement", "export", NAME, "--out", file)[0] == 0
    assert list_octets(file, "ServerCertificateRef") == [read_leaf(made["serves"])]
    assert list_octets(file, "ClientCertificateRef") == [read_leaf(broker), read_leaf(made["calls"])]
    assert read_leaf(made["decrypts"]) in list_octets(file, "EncryptionCertificateRef")


def test_a_server_whose_certificate_is_not_here_is_told(registered: Path, run: Run) -> None:
    """A register has no certificates of servers: a partner's is only named, at each https endpoint."""
    secure = AGREEMENT.replace(b"http://", b"https://")
    (registered / "a.yaml").write_bytes(secure)
    assert run("agreement", "load", registered / "a.yaml", "--accept-warnings")[0] == 0
    file = registered / "cpa.xml"
    status, text = run("agreement", "export", NAME, "--out", file, "--json")
    missing = [(entry["party"], entry["use"]) for entry in json.loads(text)["missing_certificates"]]
    assert (status, missing) == (0, [("broker1", "tls"), ("hub", "tls")])
    faults = list_faults(file.read_bytes())
    assert faults == [
        f"Certificate party{number}-server-certificate has no X509Certificate" for number in (1, 2)
    ]
    # A half of which no P-Mode says anything is described, too.
    status, text = run("agreement", "profile", NAME, "--out", file, "--json")
    assert json.loads(text)["missing_certificates"] == [{"party": "hub", "use": "tls"}]
    receivers = list(etree.parse(file).getroot().iter(f"{{{TP}}}TransportReceiver"))
    assert all(receiver.find(f"{{{TP}}}TransportServerSecurity") is not None for receiver in receivers)


@pytest.mark.night
def test_another_hub_has_equal_pmodes_and_the_partner_with_its_certificate(
    registered: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = registered / "cpa.xml", tmp_path / "other"
    assert run("agreement", "export", NAME, "--out", file)[0] == 0
    shown = json.loads(run("agreement", "show", NAME, "--json")[1])["pmodes"]
    assert main(["migrate", "--home", str(other), "--new"]) == 0
    (other / "pki").symlink_to((registered / "pki").resolve())
    assert main(["agreement", "load", str(file), "--as", HUB, "--home", str(other), "--accept-warnings"]) == 0
    capsys.readouterr()
    assert main(["agreement", "show", NAME, "--home", str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pmodes"] == shown
    engine = make_engine(read_home_settings(other).database.url)
    with read_transaction(engine) as conn:
        held: list[Any] = list(parties.list_certificates(conn, "broker1"))
    engine.dispose()
    assert [(row.use, row.der) for row in held] == [("signing", read_leaf(registered / "broker1.cert.pem"))]


@pytest.mark.vectors
def test_a_real_agreement_is_loaded_and_exported_for_the_product_that_made_it(
    registered: Path, run: Run, vectors: Path
) -> None:
    for file in list_real_files(vectors)[::3]:
        status, text = run("agreement", "load", file, "--accept-warnings", "--json")
        assert status == 0, file.name
        name = json.loads(text)["agreement"]
        exported = registered / "exported.xml"
        status, text = run("agreement", "export", name, "--out", exported, "--json")
        assert (status, json.loads(text)["missing_certificates"]) == (0, []), file.name
        assert list_faults(exported.read_bytes()) == [], file.name
        assert b":Terms" not in exported.read_bytes(), file.name


@pytest.mark.night
def test_two_profiles_become_an_agreement_that_both_hubs_load(
    registered: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("ours", "theirs", "cpa", "agreed")
    ours, theirs, proposal, agreed = (registered / f"{name}.xml" for name in names)
    status, text = run("agreement", "profile", registered / "a.yaml", "--out", ours, "--id", "hub:2027")
    assert (status, text.strip()) == (0, f"The profile hub:2027 of hub is written to {ours}.")
    status, text = run("agreement", "profile", NAME, "--party", BROKER, "--out", theirs, "--json")
    assert (status, json.loads(text)["profile"]) == (0, f"{NAME}:profile")
    now = datetime.now(UTC)
    period = (
        "--start",
        (now - timedelta(days=1)).isoformat(),
        "--end",
        (now + timedelta(days=90)).isoformat(),
    )
    words = ("agreement", "compose", ours, theirs, "--id", "urn:example:both", *period, "--out", proposal)
    assert main(list(map(str, words))) == 0
    assert run("agreement", "load", proposal, "--accept-warnings")[0] == 1
    assert main(["agreement", "agree", str(proposal), "--out", str(agreed)]) == 0
    assert "is agreed: nothing found." in capsys.readouterr().out
    assert list_faults(agreed.read_bytes()) == []
    status, text = run("agreement", "load", agreed, "--accept-warnings", "--json")
    assert (status, json.loads(text)["loaded"]) == (0, True)
    pmodes = json.loads(run("agreement", "show", "urn:example:both", "--json")[1])["pmodes"]
    delivered = {one["action"]: one["deliver_to"] for one in pmodes}
    assert (delivered["Submit"], delivered["Store"], delivered["Result"]) == ("case", "mailbox", "mailbox")
    other = tmp_path / "other"
    assert main(["migrate", "--home", str(other), "--new"]) == 0
    (other / "pki").symlink_to((registered / "pki").resolve())
    words = ("agreement", "load", agreed, "--as", BROKER, "--home", other, "--accept-warnings")
    assert main(list(map(str, words))) == 0


@pytest.mark.night
def test_whose_profile_it_is_must_be_known(registered: Path, run: Run) -> None:
    (registered / "b.yaml").write_bytes(AGREEMENT.replace(b"value: hub", b"value: other"))
    status, text = run("agreement", "profile", registered / "b.yaml", "--out", registered / "x.xml")
    assert (status, "no party of the agreement is this hub; --party names one of" in text) == (2, True)
    words = ("--party", "urn:example:party-type|stranger", "--out", registered / "x.xml")
    status, text = run("agreement", "profile", NAME, *words)
    assert (status, "stranger is no party of the agreement" in text) == (1, True)
    words = ("--party", "urn:example:party-type|other", "--out", registered / "x.xml")
    status, text = run("agreement", "profile", registered / "b.yaml", *words)
    assert (status, "there is no certificate of other for signing" in text) == (0, True)


def test_what_nobody_can_keep_is_not_agreed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proposed = ('tp:value="agreed"', 'tp:value="proposed"')
    file, out = tmp_path / "a.xml", tmp_path / "b.xml"
    file.write_bytes(write_cpa(proposed, ("<tp:Retries>3", "<tp:Retries>99999")))
    assert main(["agreement", "agree", str(file), "--out", str(out)]) == 1
    assert "nobody can keep this agreement: " in capsys.readouterr().err
    assert not out.exists()
    file.write_bytes(write_cpa(proposed))
    assert main(["agreement", "agree", str(file), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    assert main(["agreement", "agree", str(out), "--out", str(file)]) == 1
    assert "the agreement is agreed: there is nothing to agree" in capsys.readouterr().err
