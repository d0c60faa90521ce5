"""NIST PKITS: the 71 cases whose results come with the vectors, and all sections by their document.

The certificates of a case say in their file names what must come of them; sections 4.8, 4.10 and
4.12 ask some of them again with other initial policies, which are written down here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1_x509

from tests.pki.suites.verb import Row

AT = "2022-05-01T00:00:00Z"
COUNT_GIVEN = 71

_POLICY = {f"P{number}": f"2.16.840.1.101.3.2.1.48.{number}" for number in range(1, 11)}
# How many tests a section has, and how the certificates of its tests are called.
SECTIONS = {
    "4.7": (5, r"(?:In)?[Vv]alidkeyUsage"),
    "4.9": (8, r"(?:In)?[Vv]alid(?:SelfIssued)?requireExplicitPolicy"),
    "4.11": (11, r"(?:In)?[Vv]alid(?:SelfIssued)?inhibitPolicyMapping"),
    "4.12": (10, r"(?:(?:In)?[Vv]alid)?(?:SelfIssued)?inhibitAnyPolicy"),
    "4.13": (38, r"(?:In)?[Vv]alid(?:DN|DNS|RFC822|URI|DNandRFC822)nameConstraints"),
    "4.14": (
        35,
        r"(?:In)?[Vv]alid(?:distributionPoint|NoissuingDistributionPoint|onlyContains|onlySomeReasons"
        r"|IDPwithindirectCRL|cRLIssuer)",
    ),
    "4.15": (10, r"(?:In)?[Vv]aliddeltaCRL"),
    "4.16": (2, r"(?:In)?[Vv]alidUnknown(?:Not)?CriticalCertificateExtension"),
}
_EXPLICIT = {"require_explicit_policy": True}


def _of(*names: str, **more: Any) -> dict[str, Any]:
    return {"policy": [_POLICY[name] for name in names], **more}


# Section 4.8: (test, certificate, what is asked, whether the path is good).
POLICIES: tuple[tuple[str, str, dict[str, Any], bool], ...] = (
    ("4.8.1.1", "ValidCertificatePathTest1", _EXPLICIT, True),
    ("4.8.1.2", "ValidCertificatePathTest1", _of("P1", **_EXPLICIT), True),
    ("4.8.1.3", "ValidCertificatePathTest1", _of("P2", **_EXPLICIT), False),
    ("4.8.1.4", "ValidCertificatePathTest1", _of("P1", "P2", **_EXPLICIT), True),
    ("4.8.2.1", "AllCertificatesNoPoliciesTest2", {}, True),
    ("4.8.2.2", "AllCertificatesNoPoliciesTest2", _EXPLICIT, False),
    ("4.8.3.1", "DifferentPoliciesTest3", {}, True),
    ("4.8.3.2", "DifferentPoliciesTest3", _EXPLICIT, False),
    ("4.8.3.3", "DifferentPoliciesTest3", _of("P1", "P2", **_EXPLICIT), False),
    ("4.8.4", "DifferentPoliciesTest4", {}, False),
    ("4.8.5", "DifferentPoliciesTest5", {}, False),
    ("4.8.6.1", "OverlappingPoliciesTest6", {}, True),
    ("4.8.6.2", "OverlappingPoliciesTest6", _of("P1"), True),
    ("4.8.6.3", "OverlappingPoliciesTest6", _of("P2"), False),
    ("4.8.7", "DifferentPoliciesTest7", {}, False),
    ("4.8.8", "DifferentPoliciesTest8", {}, False),
    ("4.8.9", "DifferentPoliciesTest9", {}, False),
    ("4.8.10.1", "AllCertificatesSamePoliciesTest10", {}, True),
    ("4.8.10.2", "AllCertificatesSamePoliciesTest10", _of("P1"), True),
    ("4.8.10.3", "AllCertificatesSamePoliciesTest10", _of("P2"), True),
    ("4.8.11.1", "AllCertificatesanyPolicyTest11", {}, True),
    ("4.8.11.2", "AllCertificatesanyPolicyTest11", _of("P1"), True),
    ("4.8.12", "DifferentPoliciesTest12", {}, False),
    ("4.8.13.1", "AllCertificatesSamePoliciesTest13", _of("P1"), True),
    ("4.8.13.2", "AllCertificatesSamePoliciesTest13", _of("P2"), True),
    ("4.8.13.3", "AllCertificatesSamePoliciesTest13", _of("P3"), True),
    ("4.8.14.1", "AnyPolicyTest14", _of("P1"), True),
    ("4.8.14.2", "AnyPolicyTest14", _of("P2"), False),
    ("4.8.15", "UserNoticeQualifierTest15", {}, True),
    ("4.8.16", "UserNoticeQualifierTest16", {}, True),
    ("4.8.17", "UserNoticeQualifierTest17", {}, True),
    ("4.8.18.1", "UserNoticeQualifierTest18", _of("P1"), True),
    ("4.8.18.2", "UserNoticeQualifierTest18", _of("P2"), True),
    ("4.8.19", "UserNoticeQualifierTest19", {}, True),
    ("4.8.20", "CPSPointerQualifierTest20", _EXPLICIT, True),
    ("4.10.1.1", "ValidPolicyMappingTest1", _of("P1"), True),
    ("4.10.1.2", "ValidPolicyMappingTest1", _of("P2"), False),
    ("4.10.1.3", "ValidPolicyMappingTest1", {"inhibit_mapping": True}, False),
    ("4.10.2.1", "InvalidPolicyMappingTest2", {}, False),
    ("4.10.2.2", "InvalidPolicyMappingTest2", {"inhibit_mapping": True}, False),
    ("4.10.3.1", "ValidPolicyMappingTest3", _of("P1"), False),
    ("4.10.3.2", "ValidPolicyMappingTest3", _of("P2"), True),
    ("4.10.4", "InvalidPolicyMappingTest4", {}, False),
    ("4.10.5.1", "ValidPolicyMappingTest5", _of("P1"), True),
    ("4.10.5.2", "ValidPolicyMappingTest5", _of("P6"), False),
    ("4.10.6.1", "ValidPolicyMappingTest6", _of("P1"), True),
    ("4.10.6.2", "ValidPolicyMappingTest6", _of("P6"), False),
    ("4.10.7", "InvalidMappingFromanyPolicyTest7", {}, False),
    ("4.10.8", "InvalidMappingToanyPolicyTest8", {}, False),
    ("4.10.9", "ValidPolicyMappingTest9", {}, True),
    ("4.10.10", "InvalidPolicyMappingTest10", {}, False),
    ("4.10.11", "ValidPolicyMappingTest11", {}, True),
    ("4.10.12.1", "ValidPolicyMappingTest12", _of("P1"), True),
    ("4.10.12.2", "ValidPolicyMappingTest12", _of("P2"), True),
    ("4.10.13", "ValidPolicyMappingTest13", {}, True),
    ("4.10.14", "ValidPolicyMappingTest14", {}, True),
    ("4.12.3.1", "inhibitAnyPolicyTest3", {}, True),
    ("4.12.3.2", "inhibitAnyPolicyTest3", {"inhibit_any": True}, False),
)


def given_rows(folder: Path) -> list[Row]:
    """Return the cases whose expected results come with the vectors, with the lists named there."""
    return [_given(folder, case) for case in json.loads((folder / "pkits.json").read_text("utf-8"))]


def _given(folder: Path, case: dict[str, Any]) -> Row:
    lists = ["TrustAnchorRootCRL.crl", *(case.get("crls") or [])]
    asked = {
        "leaf": str(folder / "certs" / case["cert"]),
        "anchor": [str(folder / "certs" / "TrustAnchorRootCertificate.crt")],
        "intermediate": [str(folder / "certs" / name) for name in case["other_certs"]],
        "crl": [str(folder / "crls" / name) for name in dict.fromkeys(lists)],
        "use": "any",
        "at": AT,
        "revocation": "none" if case.get("revocation") is False else "require",
    }
    return Row(f"{case['id']} {case['name']}", asked, good="error" not in case)


@dataclass
class Suite:
    """The files of the suite, and which of them a case needs."""

    folder: Path

    def rows(self) -> Iterator[Row]:
        """Yield every test of every section; each has what leads from it to the anchor, and its lists."""
        for case in json.loads((self.folder / "pkits.json").read_text("utf-8")):
            yield self._row(case["id"], case["cert"].removesuffix("EE.crt"), {}, good="error" not in case)
        for number, leaf, asked, good in POLICIES:
            yield self._row(number, leaf, asked, good=good)
        for section, (_, pattern) in SECTIONS.items():
            for leaf in sorted(self._leaves(pattern)):
                if leaf.startswith(("Valid", "Invalid")):
                    yield self._row(section, leaf, {}, good=leaf.startswith("Valid"))

    def _leaves(self, pattern: str) -> list[str]:
        names = (path.name.removesuffix("EE.crt") for path in (self.folder / "certs").glob("*EE.crt"))
        return [name for name in names if re.match(pattern, name)]

    def counts(self) -> dict[str, int]:
        """Return how many certificates each section has."""
        return {section: len(self._leaves(pattern)) for section, (_, pattern) in SECTIONS.items()}

    def _row(self, number: str, leaf: str, asked: dict[str, Any], *, good: bool) -> Row:
        path = self.folder / "certs" / f"{leaf}EE.crt"
        wanted, issuers = self._above(path)
        lists = sorted({crl for issuer in issuers for crl in self._crls.get(issuer, ())})
        words = {
            "leaf": str(path),
            "anchor": [str(self.folder / "certs" / "TrustAnchorRootCertificate.crt")],
            "intermediate": wanted,
            "crl": lists,
            "use": "any",
            "at": AT,
            "revocation": "require",
            **asked,
        }
        return Row(f"{number} {leaf}", words, good)

    def _above(self, leaf: Path) -> tuple[list[str], set[str]]:
        """Return the authorities that a certificate may need, and the names that may issue lists."""
        waiting, issuers, wanted = [str(leaf)], set(), set()
        while waiting:
            names = self._names(waiting.pop()) - issuers
            issuers |= names
            more = {path for name in names for path in self._authorities.get(name, ())} - wanted
            wanted |= more
            waiting.extend(more)
        return sorted(wanted), issuers

    def _names(self, path: str) -> set[str]:
        parsed = asn1_x509.Certificate.load(Path(path).read_bytes())
        names = {_plain(parsed.issuer)}
        for point in parsed.crl_distribution_points_value or ():
            issuers = point["crl_issuer"]
            names |= {_plain(each.chosen) for each in issuers} if issuers.native else set()
        return names

    @cached_property
    def _authorities(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in sorted((self.folder / "certs").glob("*Cert.crt")):
            parsed = asn1_x509.Certificate.load(path.read_bytes())
            found.setdefault(_plain(parsed.subject), []).append(str(path))
        return found

    @cached_property
    def _crls(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in sorted((self.folder / "crls").glob("*.crl")):
            parsed = asn1_crl.CertificateList.load(path.read_bytes())
            found.setdefault(_plain(parsed.issuer), []).append(str(path))
        return found


def _plain(name: asn1_x509.Name) -> str:
    return str(name.hashable)


def moment() -> datetime:
    """Return the moment as of which the suite is judged."""
    return datetime.fromisoformat(AT)
