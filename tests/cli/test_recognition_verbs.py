"""Verbs around recognition: what they make is what others read, and what is misused says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from gateway.cli import main
from gateway.pki import (
    DEFAULT_POLICY,
    CertificateUse,
    PolicyInputs,
    RevocationData,
    TrustStore,
    Verdict,
    read_certificate,
    validate_octets,
)
from gateway_conformance.pki import load_authority

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)

    def type_(*words: str) -> tuple[int, str]:
        status = main(list(words))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out + printed.err

    return type_


@pytest.fixture
def sandboxes(run: Run) -> Run:
    assert run("pki", "demo", "--out", "ours", "--bridges")[0] == 0
    assert run("pki", "demo", "--out", "theirs", "--authority", "CN=Theirs,C=ZZ")[0] == 0
    return run


def certified(run: Run, *words: str) -> bytes:
    Path("firm.key.pem").unlink(missing_ok=True)
    assert run("pki", "request", "CN=Firm", "--key", "firm.key.pem", "--out", "firm.csr.pem")[0] == 0
    assert run("pki", "issue", "firm.csr.pem", "--ca", "theirs", "--out", "firm.cert.pem", *words)[0] == 0
    return Path("firm.cert.pem").read_bytes()


def over(bridge: bytes, firm: bytes) -> Verdict:
    """Judge a firm of theirs with a bridge of ours, by our policy alone."""
    policy = PolicyInputs(accepted=frozenset({"1.2.410.1"}), explicit=True)
    rule = DEFAULT_POLICY.__class__(revocation="none", policies=policy)
    store = TrustStore((load_authority(Path("ours")).certificate,), (read_certificate(bridge),), rule)
    return validate_octets(
        read_certificate(firm).der, CertificateUse.SIGNING, datetime.now(UTC), store, RevocationData()
    )


@pytest.mark.long
def test_a_bridge_maps_policies_and_certifies_no_further_authority(sandboxes: Run) -> None:
    status, _ = sandboxes(
        *("pki", "cross", "theirs/ca.pem", "--ca", "ours", "--policy", "1.2.410.1=2.16.56.1"),
        *("--policy", "1.2.410.2=2.16.56.2", "--out", "cross.pem"),
    )
    assert status == 0
    bridge = Path("cross.pem").read_bytes()
    made = x509.load_pem_x509_certificate(bridge)
    assert made.subject == x509.load_pem_x509_certificate(Path("theirs/ca.pem").read_bytes()).subject
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert over(bridge, certified(sandboxes, "--policy", "2.16.56.1")).status == "valid"
    for words in ((), ("--policy", "2.16.56.2"), ("--policy", "1.2.410.1")):
        assert over(bridge, certified(sandboxes, *words)).status == "invalid", words


@pytest.mark.long
@pytest.mark.parametrize(
    ("certificate", "policy", "words"),
    [
        ("theirs/broker.cert.pem", "1.2.410.1=2.16.56.1", "a bridge leads to an authority"),
        ("theirs/ca.pem", "1.2.410.1=ours", "no policy"),
        ("theirs/ca.pem", "basic=2.16.56.1", "no policy"),
        ("theirs/ca.pem", "1.2.410.1", "no policy"),
    ],
)
def test_what_makes_no_bridge(sandboxes: Run, certificate: str, policy: str, words: str) -> None:
    status, text = sandboxes(
        *("pki", "cross", certificate, "--ca", "ours", "--policy", policy, "--out", "cross.pem")
    )
    assert (status, words in text, Path("cross.pem").exists()) == (2, True, False), text


@pytest.mark.long
def test_a_document_is_signed_once(sandboxes: Run) -> None:
    Path("bare.xml").write_text("<Declaration>cargo</Declaration>", encoding="utf-8")
    key = ["--key", "ours/broker.key.pem", "--certificate", "ours/broker.cert.pem"]
    assert sandboxes("signature", "make", "bare.xml", "--out", "signed.xml", *key)[0] == 0
    status, text = sandboxes("signature", "verify", "signed.xml", "--trust", "ours/ca.pem", "--json")
    told = json.loads(text)
    assert (status, told["verdict"], told["covered"][0]) == (0, "valid", "/"), text
    before = Path("signed.xml").read_bytes()
    status, text = sandboxes("signature", "make", "signed.xml", "--out", "signed.xml", *key)
    assert (status, "already has a signature" in text) == (2, True)
    assert Path("signed.xml").read_bytes() == before


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--home", ".", "--signer", "ours/ca.pem"),
        ("--home", ".", "--named-by", "list.xml"),
    ],
)
def test_a_list_is_taken_into_a_folder_or_by_a_hub_that_knows_who_signs(
    sandboxes: Run, words: tuple[str, ...]
) -> None:
    Path("list.xml").write_text("<list/>", encoding="utf-8")
    status, text = sandboxes("pki", "list", "import", "list.xml", *words)
    assert (status, "--into" in text) == (2, True), text


@pytest.mark.long
def test_a_hub_that_names_no_signer_takes_no_list(sandboxes: Run) -> None:
    Path("list.xml").write_text("<list/>", encoding="utf-8")
    assert sandboxes("migrate", "--new", "--home", ".")[0] == 0
    status, text = sandboxes("pki", "list", "import", "list.xml", "--home", ".")
    assert (status, "GW801" in text, "recognition.signers" in text) == (2, True, True), text
    assert sandboxes("pki", "list", "list", "--home", ".", "--json") == (0, "")
