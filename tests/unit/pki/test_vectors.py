"""Path validation against the published suites: NIST PKITS and x509-limbo."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki.certificates import DEFAULT_RULES, Certificate, read_certificate
from gateway.pki.revocation import Revocations
from gateway.pki.trust import DEFAULT_POLICY, TrustPolicy, TrustStore, Use, UseRule, Verdict, validate_path

pytestmark = pytest.mark.vectors

LONGEST = 2.0
ANY_USE = UseRule(frozenset(), frozenset(), frozenset())

# --- NIST PKITS -------------------------------------------------------------------------------

PKITS_MOMENT = datetime(2022, 5, 1, tzinfo=UTC)
# The suite is older than the profile: constraints that are not critical, a negative serial number,
# DSA keys and SHA-1 under them, authorities at the end of a path.  Nothing else is relaxed.
PKITS_RULES = replace(
    DEFAULT_RULES,
    key_types=DEFAULT_RULES.key_types | {"dsa"},
    positive_serial=False,
    critical_constraints=False,
    signatures=DEFAULT_RULES.signatures | {"1.2.840.10040.4.3"},
    weak_digests=frozenset({"md2", "md5"}),
)
PKITS_POLICY = TrustPolicy(certificates=PKITS_RULES, uses={Use.SIGNING: ANY_USE}, leaf_may_be_ca=True)
# A DSA key that takes its parameters from its issuer's cannot be read alone; DSA is refused anyway.
STRICTER = {"40105": errors.CERTIFICATE_UNTRUSTED}
PROBLEMS = {
    "RevokedError": {errors.CERTIFICATE_REVOKED},
    "InsufficientRevinfoError": {errors.REVOCATION_UNKNOWN},
    "StaleRevinfoError": {errors.REVOCATION_UNKNOWN},
    "PathValidationError": {errors.CERTIFICATE_UNTRUSTED, errors.CERTIFICATE_EXPIRED},
}
NEGATIVE_SERIAL = "ignore:Parsed a serial number which wasn't positive"


@cache
def pkits(path: Path) -> Certificate:
    return read_certificate(path.read_bytes(), PKITS_RULES)


def pkits_verdict(folder: Path, case: dict[str, Any]) -> Verdict:
    asked = case.get("revocation") is not False
    policy = PKITS_POLICY if asked else replace(PKITS_POLICY, revocation="if_present")
    names = ["TrustAnchorRootCRL.crl", *(case.get("crls") or [])] if asked else []
    lists = Revocations([(folder / "crls" / each).read_bytes() for each in names], PKITS_RULES)
    certificates = folder / "certs"
    try:
        anchor = pkits(certificates / "TrustAnchorRootCertificate.crt")
        others = tuple(pkits(certificates / each) for each in case["other_certs"])
        leaf = pkits(certificates / case["cert"])
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail, (), PKITS_MOMENT)
    return validate_path(leaf, PKITS_MOMENT, Use.SIGNING, TrustStore((anchor,), others, policy), lists)


@pytest.mark.filterwarnings(NEGATIVE_SERIAL)
def test_pkits_with_expected_results(vectors: Path):
    folder = vectors / "vectors" / "nist-pkits"
    wrong, right, slowest = [], 0, 0.0
    cases = json.loads((folder / "pkits.json").read_text("utf-8"))
    for case in cases:
        start = time.perf_counter()
        verdict = pkits_verdict(folder, case)
        slowest = max(slowest, time.perf_counter() - start)
        expected = case.get("error")
        allowed = PROBLEMS[expected["class"]] if expected else {STRICTER.get(case["id"])}
        if verdict.problem in allowed:
            right += 1
        else:
            wrong.append((case["id"], case["name"], verdict.status, verdict.reason))
    print(
        f"\nPKITS with expected results: {right} right, {len(wrong)} wrong, slowest {slowest * 1000:.1f} ms"
    )
    assert wrong == []
    assert right == len(cases) == 71
    assert slowest < LONGEST


# What is not supported is never believed: indirect lists, reasons spread over several lists, and
# a list of changes that releases a certificate.
PKITS_NOT_CLEARED = {
    "ValidDSASignaturesTest4EE.crt": "indeterminate",
    "ValidDSAParameterInheritanceTest5EE.crt": "invalid",
    "ValidIDPwithindirectCRLTest22EE.crt": "indeterminate",
    "ValidIDPwithindirectCRLTest24EE.crt": "indeterminate",
    "ValidIDPwithindirectCRLTest25EE.crt": "indeterminate",
    "ValidcRLIssuerTest28EE.crt": "indeterminate",
    "ValidcRLIssuerTest29EE.crt": "indeterminate",
    "ValidcRLIssuerTest30EE.crt": "indeterminate",
    "ValidcRLIssuerTest33EE.crt": "indeterminate",
    "ValiddeltaCRLTest5EE.crt": "invalid",
    "ValidonlySomeReasonsTest18EE.crt": "indeterminate",
    "ValidonlySomeReasonsTest19EE.crt": "indeterminate",
}


def _read_all(paths: Iterable[Path]) -> dict[str, Certificate]:
    found = {}
    for path in sorted(paths):
        try:
            found[path.name] = pkits(path)
        except GatewayError as refused:
            if refused.problem is not errors.CERTIFICATE_UNTRUSTED:
                raise
    return found


@pytest.mark.filterwarnings(NEGATIVE_SERIAL)
def test_pkits_with_all_certificates_and_lists_in_hand(vectors: Path):
    """Every certificate whose name says Valid or Invalid, in one register of 180 authorities."""
    folder = vectors / "vectors" / "nist-pkits"
    certificates = _read_all((folder / "certs").iterdir())
    anchor = certificates["TrustAnchorRootCertificate.crt"]
    ours = [each for name, each in certificates.items() if not name.endswith("EE.crt") and each != anchor]
    trust = TrustStore((anchor,), tuple(ours), PKITS_POLICY)
    lists = Revocations([path.read_bytes() for path in sorted((folder / "crls").iterdir())], PKITS_RULES)
    names = sorted(path.name for path in (folder / "certs").iterdir())
    wrong, right, slowest = [], 0, 0.0
    for name in (each for each in names if each.startswith(("Valid", "Invalid"))):
        start = time.perf_counter()
        status = "invalid"
        if name in certificates:
            status = validate_path(certificates[name], PKITS_MOMENT, Use.SIGNING, trust, lists).status
        slowest = max(slowest, time.perf_counter() - start)
        good = PKITS_NOT_CLEARED.get(name, "valid") if name.startswith("Valid") else "no"
        if (status == good) if good != "no" else (status != "valid"):
            right += 1
        else:
            wrong.append((name, status))
    not_cleared = len(PKITS_NOT_CLEARED)
    print(f"\nPKITS by name: {right - not_cleared} right, {not_cleared} not cleared, {len(wrong)} wrong")
    print(f"slowest {slowest * 1000:.1f} ms")
    assert wrong == []
    assert right > 190
    assert slowest < LONGEST


# --- x509-limbo -------------------------------------------------------------------------------

LIMBO_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
PURPOSES = {
    "SERVER": UseRule(frozenset(), frozenset({"1.3.6.1.5.5.7.3.1"}), frozenset()),
    "CLIENT": UseRule(frozenset(), frozenset({"1.3.6.1.5.5.7.3.2"}), frozenset()),
}
# Cases of RFC 5280 in which a good path is refused: the library does not do constraints on
# addresses and on other names, and says so by an exception.
LIMBO_REFUSED = {
    "rfc5280::nc::permitted-ipv4-match",
    "rfc5280::nc::permitted-ipv6-match",
    "rfc5280::nc::nc-forbids-othername-noop",
}
# Cases that turn on the host name a client asked for; no host is asked for here.
LIMBO_HOST_NAMES = {"rfc5280::nc::nc-forbids-dnsname-wildcard-san", "rfc5280::ca-as-leaf-wrong-san"}


def _readable(texts: list[str]) -> tuple[Certificate, ...]:
    found = []
    for text in texts:
        try:
            found.append(read_certificate(text.encode()))
        except GatewayError as refused:
            if refused.problem is not errors.CERTIFICATE_UNTRUSTED:
                raise
    return tuple(found)


def limbo_verdict(case: dict[str, Any]) -> str:
    policy = replace(
        DEFAULT_POLICY,
        revocation="if_present",
        leaf_may_be_ca=True,
        uses={Use.TLS: PURPOSES[case["validation_kind"]]},
    )
    at = datetime.fromisoformat(case["validation_time"]) if case["validation_time"] else LIMBO_MOMENT
    trust = TrustStore(_readable(case["trusted_certs"]), (), policy)
    try:
        leaf = read_certificate(case["peer_certificate"].encode())
        trust = trust.with_peers(_readable(case["untrusted_intermediates"]))
    except GatewayError as refused:
        if refused.problem is not errors.CERTIFICATE_UNTRUSTED:
            raise
        return "refused"
    return validate_path(leaf, at, Use.TLS, trust, Revocations()).status


def test_limbo(vectors: Path):
    cases = json.loads((vectors / "vectors" / "x509-limbo" / "limbo.json").read_text("utf-8"))["testcases"]
    counts: Counter[tuple[str, str]] = Counter()
    wrong, slowest = [], 0.0
    for case in cases:
        start = time.perf_counter()
        status = limbo_verdict(case)
        slowest = max(slowest, time.perf_counter() - start)
        family, good = case["id"].split("::")[0], case["expected_result"] == "SUCCESS"
        verdict = "right" if (status == "valid") == good else "refused" if good else "accepted"
        counts[family, verdict] += 1
        if family in ("rfc5280", "invalid") and verdict != "right":
            wrong.append((case["id"], verdict))
    print(f"\nx509-limbo: {dict(sorted(counts.items()))}, slowest {slowest * 1000:.1f} ms")
    expected = {(each, "refused") for each in LIMBO_REFUSED} | {
        (each, "accepted") for each in LIMBO_HOST_NAMES
    }
    assert set(wrong) == expected
    assert counts["rfc5280", "right"] >= 97
    # The other families are about host names and browsers' rules; they must only end, and soon.
    assert sum(counts.values()) == len(cases) >= 173
    assert slowest < LONGEST
