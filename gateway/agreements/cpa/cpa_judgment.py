"""Judges a CPA by all rules: of its form, and where that is good of its content."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from gateway.agreements.cpa.binding_checks import BINDING_CHECKS
from gateway.agreements.cpa.certificate_checks import CERTIFICATE_CHECKS
from gateway.agreements.cpa.channel_checks import CHANNEL_CHECKS
from gateway.agreements.cpa.cpa_model import CpaDocument
from gateway.agreements.cpa.cpa_reader import find_form_problems, read_cpa
from gateway.agreements.cpa.cpa_rules import CpaFinding
from gateway.agreements.cpa.cpa_view import CpaCheck, build_view
from gateway.agreements.cpa.packaging_checks import PACKAGING_CHECKS
from gateway.agreements.cpa.party_checks import PARTY_CHECKS
from gateway.agreements.cpa.reference_checks import CONVERSION_CHECKS, REFERENCE_CHECKS
from gateway.agreements.cpa.security_checks import SECURITY_CHECKS
from gateway.agreements.cpa.transport_checks import TRANSPORT_CHECKS

__all__ = ["CpaJudgment", "judge_cpa"]

_ORDER: Final = ("error", "warning", "note")
_CHECKS: Final[tuple[CpaCheck, ...]] = (
    *REFERENCE_CHECKS,
    *PARTY_CHECKS,
    *BINDING_CHECKS,
    *CHANNEL_CHECKS,
    *SECURITY_CHECKS,
    *CERTIFICATE_CHECKS,
    *TRANSPORT_CHECKS,
    *PACKAGING_CHECKS,
)


class CpaJudgment(NamedTuple):
    """A document, None where its form is wrong, and the findings on it, errors first."""

    document: CpaDocument | None
    findings: tuple[CpaFinding, ...]


def judge_cpa(data: bytes, name: str, at: datetime) -> CpaJudgment:
    """Return what the octets of a CPA say and every finding on them at the time `at`.

    It raises for no document, however bad.
    """
    problems = find_form_problems(data)
    if problems:
        # A document that is not even XML has no path.
        rule = "xml" if problems[0].place.xpath == "/" else "schema"
        return CpaJudgment(None, tuple(CpaFinding(rule, one.place, one.message) for one in problems))
    document = read_cpa(data, name)
    return CpaJudgment(document, _list_findings(document, at))


def _list_findings(document: CpaDocument, at: datetime) -> tuple[CpaFinding, ...]:
    """Return every finding on a document, errors first, each once at its place."""
    view = build_view(document, at)
    found = [one for check in _CHECKS for one in check(view)]
    if not any(one.severity == "error" for one in found):
        found += [one for check in CONVERSION_CHECKS for one in check(view)]
    once = {(one.rule, one.place.xpath): one for one in reversed(found)}
    kept = [one for one in found if once[one.rule, one.place.xpath] is one]
    return tuple(sorted(kept, key=lambda one: _ORDER.index(one.severity)))
