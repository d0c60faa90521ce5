"""Path validation against the published suites, through the verb as outsiders run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import CERTIFICATE_UNTRUSTED, GatewayError
from gateway.pki import (
    PATH_RULES,
    Certificate,
    CertificateUse,
    RevocationData,
    TrustPolicy,
    TrustStore,
    read_certificate,
    validate_path,
)
from tests.kit.paths import ROOT
from tests.pki.suites import limbo, odd, pkits
from tests.pki.suites.verb import run_batch, tally

pytestmark = pytest.mark.vectors

MANUAL = ROOT / "gateway" / "manual" / "pki-suites.md"


@pytest.fixture
def nist(vectors: Path) -> Path:
    return vectors / "vectors" / "nist-pkits"


def test_pkits_with_expected_results(nist: Path):
    counted = tally("given", pkits.given_rows(nist))
    assert counted.wrong == []
    assert (counted.cases, counted.right) == (71, 71)


@pytest.mark.long
def test_pkits_in_all_sections(nist: Path):
    """Every test of the document, its variants with other policies too, revocation always asked for."""
    suite = pkits.Suite(nist)
    assert suite.counts() == {section: number for section, (number, _) in pkits.SECTIONS.items()}
    rows = list(suite.rows())
    # The suite counts 246; two of its tests are asked twice here.
    assert len(rows) == 247
    counted = tally("all", rows)
    assert counted.wrong == []
    assert (counted.right, counted.argued) == (247, 0)


def test_pkits_with_all_certificates_and_lists_in_hand(nist: Path):
    """Every certificate whose name says Valid or Invalid, in one register of 180 authorities."""
    certificates = _read_all(nist / "certs")
    anchor = certificates["TrustAnchorRootCertificate.crt"]
    ours = [each for name, each in certificates.items() if not name.endswith("EE.crt") and each != anchor]
    policy = TrustPolicy(certificates=PATH_RULES, leaf_may_be_ca=True)
    trust = TrustStore((anchor,), tuple(ours), policy)
    lists = RevocationData([path.read_bytes() for path in sorted((nist / "crls").iterdir())], PATH_RULES)
    names = [path.name for path in (nist / "certs").iterdir() if path.name.startswith(("Valid", "Invalid"))]
    at = pkits.moment()
    wrong = []
    for name in sorted(names):
        found = certificates.get(name)
        good = (
            found is not None
            and validate_path(found, at, CertificateUse.SIGNING, trust, lists).status == "valid"
        )
        if good != name.startswith("Valid"):
            wrong.append(name)
    assert wrong == []
    assert len(names) > 190


def _read_all(folder: Path) -> dict[str, Certificate]:
    found = {}
    for path in sorted(folder.iterdir()):
        try:
            found[path.name] = read_certificate(path.read_bytes(), PATH_RULES)
        except GatewayError as refused:
            if refused.problem is not CERTIFICATE_UNTRUSTED:
                raise
    return found


@pytest.mark.parametrize(("use", "right"), [("tls", 112), ("any", 93)])
def test_limbo(vectors: Path, use: str, right: int):
    rows = limbo.rows(vectors / "vectors" / "x509-limbo", use)
    counted = tally(use, rows)
    assert counted.wrong == []
    assert (counted.cases, counted.right) == (117, right)


@pytest.mark.parametrize("argued", [limbo.ARGUED_TLS, limbo.ARGUED_ANY])
def test_every_deviation_is_argued_in_the_manual(argued: dict[str, str]):
    page = MANUAL.read_text("utf-8")
    for name, reason in argued.items():
        assert f"`{name.removeprefix('rfc5280::')}`" in page, name
        assert f"| {reason} |" in page, reason


def test_the_other_cases_of_limbo_end(vectors: Path):
    told = run_batch(limbo.others(vectors / "vectors" / "x509-limbo"))
    assert len(told) == 56
    assert [each for each in told if odd.broken(each)] == []


@pytest.mark.long
def test_odd_files_break_nothing(vectors: Path):
    cases = odd.asked(vectors / "vectors" / "pyca-x509")
    told = run_batch([asked for _, asked in cases])
    assert len(told) > 700
    assert [(name, each) for (name, _), each in zip(cases, told, strict=True) if odd.broken(each)] == []
