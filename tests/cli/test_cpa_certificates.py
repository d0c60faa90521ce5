"""Certificates and signatures of CPA documents: believed after validation, never without."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from gateway.cli.home_folder import read_home_settings
from gateway.hub import get_current_time
from gateway.pki import load_signer
from gateway.store import make_engine, parties, read_transaction
from gateway.wire import DS, TP, parse_xml, serialize_element
from gateway.xmlsec import sign_document
from tests.agreements.cpa.written_cpa import make_certificate, write_cpa
from tests.cli.test_registration import Run, certified, home, keys, run

__all__ = ["home", "keys", "run"]
BUYER = "urn:example:party-type|party-a"
_SELLER = make_certificate("b", usage="digital_signature key_encipherment")


@pytest.fixture
def certificate(home: Path) -> Path:
    return certified(home, "party-b")


def write_trusted(home: Path, certificate: Path, *changes: tuple[str, str]) -> Path:
    """Write a CPA whose seller has a certificate that the hub believes."""
    der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
    ecdsa = (
        "<tp:SignatureAlgorithm>http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256</tp:SignatureAlgorithm>"
    )
    both = ("RSA-SHA256</tp:SignatureAlgorithm>", f"RSA-SHA256</tp:SignatureAlgorithm>{ecdsa}")
    file = home / "a.xml"
    file.write_bytes(write_cpa((_SELLER, base64.b64encode(der).decode()), both, *changes))
    return file


def load(run: Run, file: Path) -> tuple[int, dict[str, Any]]:
    run("agreement", "list")  # what was printed before is read
    status, text = run("agreement", "load", file, "--as", BUYER, "--accept-warnings", "--json")
    return status, json.loads(text.splitlines()[-1])


def list_held(home: Path, party: str) -> set[tuple[str, str]]:
    engine = make_engine(read_home_settings(home).database.url)
    try:
        with read_transaction(engine) as conn:
            return {(row.use, row.status) for row in parties.list_certificates(conn, party)}
    finally:
        engine.dispose()


@pytest.mark.night
def test_a_valid_certificate_becomes_that_of_the_partner(home: Path, run: Run, certificate: Path) -> None:
    status, told = load(run, write_trusted(home, certificate))
    assert (status, told["loaded"]) == (0, True)
    assert ("signing", "ACTIVE") in list_held(home, "party-b")
    shown = json.loads(run("agreement", "show", told["agreement"], "--json")[1])
    assert "party-b" in {one["party"] for one in shown["certificates"]}


def sign_cpa(file: Path, certificate: Path) -> None:
    """Sign a CPA as its seller: the signature stands in the element that the schema gives it."""
    key = certificate.with_name(certificate.name.replace(".cert.", ".key."))
    root = parse_xml(file.read_bytes())
    place = etree.SubElement(root, f"{{{TP}}}Signature")
    sign_document(root, load_signer(key.read_bytes(), certificate.read_bytes()), now=get_current_time())
    (signature,) = root.iter(f"{{{DS}}}Signature")
    place.append(signature)
    file.write_bytes(serialize_element(root))


@pytest.mark.night
def test_a_signed_agreement_is_verified(home: Path, run: Run, certificate: Path) -> None:
    settings = (home / "gateway.toml").read_text()
    (home / "gateway.toml").write_text(settings.replace("[hub]", "[hub]\nsigned_agreements = true"))
    file = write_trusted(home, certificate, ('tp:value="agreed"', 'tp:value="signed"'))
    sign_cpa(file, certificate)
    signed = file.read_bytes()
    status, told = load(run, file)
    assert [one for one in told["findings"] if one["severity"] == "error"] == []
    assert status == 0
    file.write_bytes(signed.replace(b"<tp:Retries>3", b"<tp:Retries>4"))
    status, told = load(run, file)
    (wrong,) = [one for one in told["findings"] if one["severity"] == "error"]
    assert (status, wrong["id"]) == (1, "signature-wrong")
    assert "digest" in wrong["message"]


@pytest.mark.night
def test_each_of_several_signatures_is_verified_without_the_others(
    home: Path, run: Run, certificate: Path
) -> None:
    file = write_trusted(home, certificate, ('tp:value="agreed"', 'tp:value="signed"'))
    unsigned, places = file.read_bytes(), []
    for signer in (certificate, certified(home, "stranger")):
        file.write_bytes(unsigned)
        sign_cpa(file, signer)
        places.append(next(parse_xml(file.read_bytes()).iter(f"{{{TP}}}Signature")))
    places[0].append(places[1][0])
    file.write_bytes(serialize_element(places[0].getroottree().getroot()))
    status, told = load(run, file)
    (wrong,) = [one for one in told["findings"] if one["severity"] == "error"]
    assert (status, wrong["message"]) == (1, "the signature was made by no party of the agreement")
    assert wrong["xpath"].endswith("ds:Signature[2]")


@pytest.mark.night
def test_a_stranger_does_not_sign_an_agreement(home: Path, run: Run, certificate: Path) -> None:
    file = write_trusted(home, certificate, ('tp:value="agreed"', 'tp:value="signed"'))
    sign_cpa(file, certified(home, "stranger"))
    status, told = load(run, file)
    (wrong,) = [one for one in told["findings"] if one["severity"] == "error"]
    assert (status, wrong["id"]) == (1, "signature-wrong")
    assert wrong["message"] == "the signature was made by no party of the agreement"
