"""Judges a submission by the rules of need: which documents its goods need, and which of them it has.

`gateway.hub.submissions.split` calls it before a case is opened. `gateway submission check` and `gateway
rules check` call it for a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import Application, Disclaimer, ReportedProblem, Submission, read_submission
from gateway.config import NeedSettings
from gateway.errors import DOCUMENT_INVALID, OCTETS_PURGED, GatewayError
from gateway.harmonize import MappingBundle
from gateway.message_model import Payload
from gateway.needs import (
    FiledDocument,
    NeedFinding,
    NeedIndex,
    NeedJudgement,
    StatedDisclaimer,
    evaluate_needs,
    read_declared_goods,
)
from gateway.store import messages
from gateway.wire import SUB, are_opposite, parse_xml, read_declared_direction, serialize_element

if TYPE_CHECKING:
    from gateway.hub.register.decision_rules import DecisionRules


@dataclass(frozen=True, slots=True)
class NeedsAssessment:
    """The judgement of a submission by the rules of need and the policy.

    `problems` refuse it, `missing` hold it. `disclaimers` are those of the submission with their verdicts.
    `tables` are the editions that were used.
    """

    problems: tuple[NeedFinding, ...] = ()
    warnings: tuple[NeedFinding, ...] = ()
    disclaimers: tuple[dict[str, Any], ...] = ()
    tables: tuple[str, ...] = ()
    missing: tuple[NeedFinding, ...] = ()

    def report_problems(self) -> tuple[ReportedProblem, ...]:
        """Return the problems that refuse the submission, for the applicant."""
        return _report_findings(self.problems)

    def report_warnings(self) -> tuple[ReportedProblem, ...]:
        """Return the warnings, for the case."""
        return _report_findings(self.warnings)

    def describe_for_case(self) -> dict[str, Any]:
        """Return the values stored with the case: tables, disclaimers and the documents that warnings miss.

        Each such document has the text of its warning, the item and the law: a certificate that comes later
        may answer the warning. Empty lists are left out.
        """
        needed = [
            {"text": finding.text, "item": finding.item, "law": finding.need.law}
            for finding in self.warnings
            if finding.need is not None
        ]
        described = {"need_tables": self.tables, "disclaimers": self.disclaimers, "needed": needed}
        return {name: list(entries) for name, entries in described.items() if entries}


def _report_findings(findings: Sequence[NeedFinding]) -> tuple[ReportedProblem, ...]:
    return tuple(ReportedProblem(finding.problem.id, finding.text, finding.pointer) for finding in findings)


#: Where no table is in force, and of a withdrawal.
NO_NEEDS: Final = NeedsAssessment()


@dataclass(frozen=True, slots=True)
class CaseNeeds:
    """The facts of an open case for its needs: `rules_day` is the day whose rules hold.

    `warning_texts` are the texts of its warnings. `applications` and `disclaimers` are those of the case,
    which a supplement does not repeat; None where the submission is the whole again. `is_held` says that the
    case is held: it may then be held again.
    """

    rules_day: date
    warning_texts: frozenset[str] = frozenset()
    applications: tuple[Application, ...] | None = None
    disclaimers: tuple[Disclaimer, ...] = ()
    is_held: bool = False


def assess_submission_needs(
    submission: Submission,
    rules: DecisionRules,
    policy: NeedSettings,
    day: date,
    case_needs: CaseNeeds | None = None,
    covered_laws: Collection[tuple[int, str]] = (),
    awaited_findings: Sequence[NeedFinding] = (),
) -> NeedsAssessment:
    """Return the judgement of the rules in force on a day, and of the policy, about a submission.

    A supplement or an amendment is judged together with the documents of its case, by the rules of the day of
    the case. It is refused only for documents that it makes missing itself: a warning of the case stays a
    warning. `covered_laws` are items and laws for which an agency has approved a number that the item names.
    `awaited_findings` are the other findings that a submission waits for if it can be held; otherwise a later
    step reports them.
    """
    if submission.function != "9" and case_needs is None:
        return NO_NEEDS
    index = rules.needs.get_index(test_editions=policy.test_edition)
    judgement = _evaluate_case_needs(submission, index, rules.bundle, day, case_needs, covered_laws)
    return apply_need_policy(judgement, index, policy, case_needs, awaited_findings)


def apply_need_policy(
    judgement: NeedJudgement,
    index: NeedIndex,
    policy: NeedSettings,
    case_needs: CaseNeeds | None = None,
    awaited_findings: Sequence[NeedFinding] = (),
) -> NeedsAssessment:
    """Return the effect of a judgement by the policy; the rest is as in `assess_submission_needs`."""
    # The policy of the day of filing counts for a held case.
    is_held = case_needs is not None and case_needs.is_held
    action = "hold" if is_held else _choose_action(policy, judgement.direction)
    can_hold = action == "hold" and (case_needs is None or is_held)
    findings_to_await = tuple(awaited_findings) if can_hold else ()
    if not judgement.tables and not judgement.disclaimers:
        # Without a table in force nothing is known of any goods.
        return replace(NO_NEEDS, missing=findings_to_await)
    stored_texts = case_needs.warning_texts if case_needs else frozenset()
    missing_findings = [
        finding
        for finding in judgement.findings
        if finding.kind == "missing" and finding.text not in stored_texts
    ]
    missing_findings = [] if action == "warn" else missing_findings
    refusing_findings = [
        finding
        for finding in judgement.findings
        if finding.kind == "error" or (finding in missing_findings and not can_hold)
    ]
    return NeedsAssessment(
        tuple(refusing_findings),
        tuple(
            finding
            for finding in judgement.findings
            if finding not in refusing_findings and finding not in missing_findings
        ),
        tuple(_describe_disclaimers(judgement, index)),
        judgement.tables,
        (*missing_findings, *findings_to_await) if can_hold else (),
    )


def _choose_action(needs: NeedSettings, direction: str | None) -> str:
    """Return the effect of a missing document in this direction; a warning if the direction is unknown."""
    return {"import": needs.imports, "export": needs.exports}.get(direction or "", "warn")


def _evaluate_case_needs(
    submission: Submission,
    index: NeedIndex,
    bundle: MappingBundle,
    day: date,
    case_needs: CaseNeeds | None,
    covered_laws: Collection[tuple[int, str]],
) -> NeedJudgement:
    """Judge the goods of a submission with its own documents, or with those of the case it belongs to."""
    if case_needs is None:
        return evaluate_document_needs(
            submission.declaration,
            submission.applications,
            submission.disclaimers,
            index,
            bundle,
            day,
            covered_laws,
        )
    filed = submission.applications if case_needs.applications is None else case_needs.applications
    disclaimers = submission.disclaimers or case_needs.disclaimers
    return evaluate_document_needs(
        submission.declaration, filed, disclaimers, index, bundle, case_needs.rules_day, covered_laws
    )


def evaluate_document_needs(
    declaration: etree._Element,
    applications: Sequence[Application],
    disclaimers: Sequence[Disclaimer],
    index: NeedIndex,
    bundle: MappingBundle,
    day: date,
    covered_laws: Collection[tuple[int, str]] = (),
) -> NeedJudgement:
    """Judge a declaration with these applications and disclaimers by the rules of need of a day.

    An application of a document that the mappings do not have, or of the other direction, is left out: it is
    refused elsewhere.
    """
    direction = read_declared_direction(declaration)
    documents = tuple(
        FiledDocument(
            application.position,
            application.document,
            document_mapping.laws,
            document_mapping.direction,
            application.items,
        )
        for application in applications
        if (document_mapping := bundle.documents.get(application.document)) is not None
        and not are_opposite(document_mapping.direction, direction)
    )
    stated_disclaimers = tuple(
        StatedDisclaimer(disclaimer.item, disclaimer.law, disclaimer.reason, disclaimer.text)
        for disclaimer in disclaimers
    )
    return evaluate_needs(
        read_declared_goods(declaration), documents, stated_disclaimers, index, day, covered_laws
    )


def _describe_disclaimers(judgement: NeedJudgement, index: NeedIndex) -> list[dict[str, Any]]:
    """Return the disclaimers with their verdicts, and the organisations that their laws concern."""
    return [
        {
            "item": disclaimer.statement.item,
            "law": disclaimer.statement.law,
            "reason": disclaimer.statement.reason,
            "text": disclaimer.statement.text,
            "verdict": disclaimer.verdict,
            "organisations": sorted(
                index.book.list_organisations(disclaimer.statement.law, judgement.direction or "")
            ),
        }
        for disclaimer in judgement.disclaimers
    ]


def make_disclaimer_attachment(
    needs_assessment: NeedsAssessment, organisation: str, case_number: str
) -> tuple[Payload, ...]:
    """Return the attachment with the disclaimers of the organisation's laws; none without disclaimers."""
    disclaimers = [
        disclaimer
        for disclaimer in needs_assessment.disclaimers
        if organisation in disclaimer["organisations"]
    ]
    if not disclaimers:
        return ()
    root = etree.Element("Disclaimers", xmlns=SUB)
    for disclaimer in disclaimers:
        element = etree.SubElement(root, "Disclaimer")
        for name in ("item", "law", "reason"):
            element.set(name, str(disclaimer[name]))
        element.text = disclaimer["text"] or None
    return (Payload(f"disclaimers@{case_number}", "application/xml", serialize_element(root)),)


def load_stored_submission(conn: Connection, message: int) -> Submission:
    """Return the submission of a stored message; raises GW402 where its message has none.

    Its signature was verified at admission. Raises a GatewayError where retention removed its octets.
    """
    return read_submission(load_stored_tree(conn, message))


def load_stored_tree(conn: Connection, message: int) -> etree._Element:
    """Return the root of the submission of a stored message; raises as `load_stored_submission` does."""
    stored_payloads = messages.load_payloads(conn, message)
    if not stored_payloads:
        raise GatewayError(DOCUMENT_INVALID, "the message carries no submission", "cid:")
    return parse_xml(stored_payloads[0].content)


_Read = TypeVar("_Read")


def read_unless_removed(read: Callable[[], _Read]) -> _Read | None:
    """Return the result of `read`; None where retention has removed the octets that it needs (GW320)."""
    try:
        return read()
    except GatewayError as error:
        if error.problem is not OCTETS_PURGED:
            raise
        return None
