"""The outside vectors, counted: nothing is wrong, and what is judged does not shrink."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.xmlsec import LEGACY_NORWAY, STRICT, SignaturePolicy, VerificationReport
from tests.kit.paths import ROOT
from tests.xmlsec.vectors import forms, signed, wycheproof

pytestmark = pytest.mark.vectors

# suite, policy: documents, valid, invalid
SIGNED = {
    ("xmldsig-santuario", "strict"): (103, 0, 0),
    ("xmldsig-santuario", "legacy-norway"): (103, 0, 0),
    ("xmldsig-xmlsec", "strict"): (188, 12, 2),
    ("xmldsig-xmlsec", "legacy-norway"): (188, 15, 2),
    ("xmldsig-signxml", "strict"): (180, 26, 2),
    ("xmldsig-signxml", "legacy-norway"): (180, 27, 2),
}


@pytest.mark.parametrize(("suite", "policy"), SIGNED)
def test_signed_documents(vectors: Path, suite: str, policy: str) -> None:
    by_name: dict[str, SignaturePolicy] = {"strict": STRICT, "legacy-norway": LEGACY_NORWAY}
    told = signed.count(vectors, suite, by_name[policy])
    assert told.wrong == []
    assert (told.documents, told.valid, told.invalid) == SIGNED[suite, policy]
    assert told.documents == told.valid + told.invalid + sum(told.refused.values())


def test_a_wrong_verdict_is_counted_as_wrong() -> None:
    told = signed.Count()
    told.add("good.xml", VerificationReport("invalid", reason="r"))
    told.add("bad-signature.xml", VerificationReport("valid"))
    told.add("good.xml", VerificationReport("refused by policy", policy_rule="algorithm"))
    told.add(next(iter(signed.ARGUED)), VerificationReport("invalid"))
    assert len(told.wrong) == 2
    assert (len(told.argued), dict(told.refused)) == (1, {"algorithm": 1})


def test_canonical_forms(vectors: Path) -> None:
    told = forms.count(vectors)
    assert told.wrong == []
    assert (told.equal, told.digests, told.bad_digests) == (45, 361, 6)


@pytest.mark.parametrize("name", [*wycheproof.JUDGED, *wycheproof.REFUSED])
def test_wycheproof(vectors: Path, name: str) -> None:
    told = wycheproof.count(vectors, name)
    assert told.wrong == []
    assert told.cases == sum(told.right.values()) + sum(told.refused.values())
    if name in wycheproof.REFUSED:
        assert sum(told.refused.values()) == told.cases
    else:
        assert set(told.refused) <= {"the public exponent of the RSA key is outside what FIPS 186-5 allows"}
        assert sum(told.refused.values()) <= 2
        assert told.right["valid"] > 5


def test_every_file_of_wycheproof_is_spoken_of(vectors: Path) -> None:
    there = {path.name for path in (vectors / "vectors" / "wycheproof").glob("*_test.json")}
    assert there == {*wycheproof.JUDGED, *wycheproof.REFUSED, *wycheproof.ELSEWHERE}


def test_the_command() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "tests.xmlsec.vectors", "--json"], cwd=ROOT, capture_output=True
    )
    assert made.returncode == 0, made.stderr
    assert set(json.loads(made.stdout)) == {"signed", "canonical", "wycheproof"}
