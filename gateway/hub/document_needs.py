"""Judges a submission by the rules of need: which documents its goods need, and what it has of them.

`gateway.hub.split` asks before a case is opened. `gateway submission check` and `gateway rules check`
ask the same for a file.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import Application, Disclaimer, ReportedProblem, Submission, read_submission
from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub.need_policy import NeedPolicy
from gateway.message_model import Payload
from gateway.needs import (
    FiledDocument,
    NeedFinding,
    NeedIndex,
    NeedJudgement,
    StatedDisclaimer,
    judge_needs,
    read_declared_goods,
)
from gateway.store import messages
from gateway.wire import SUB, parse_xml, serialize_element

if TYPE_CHECKING:
    from gateway.hub.register import DecisionRules

__all__ = [
    "NO_NEEDS",
    "StandingNeeds",
    "WeighedNeeds",
    "find_local_day",
    "judge_document_needs",
    "load_stored_submission",
    "load_stored_tree",
    "make_disclaimer_attachment",
    "weigh_need_judgement",
    "weigh_submission_needs",
]


@dataclass(frozen=True, slots=True)
class WeighedNeeds:
    """What the rules of need and the policy say of a submission.

    `problems` refuse it, `missing` hold it. `disclaimers` are those of the submission with their
    verdicts. `tables` are the editions asked.
    """

    problems: tuple[NeedFinding, ...] = ()
    warnings: tuple[NeedFinding, ...] = ()
    disclaimers: tuple[dict[str, Any], ...] = ()
    tables: tuple[str, ...] = ()
    missing: tuple[NeedFinding, ...] = ()

    def report_problems(self) -> tuple[ReportedProblem, ...]:
        """Return what refuses the submission, for the applicant."""
        return tuple(ReportedProblem(one.problem.id, one.text, one.pointer) for one in self.problems)

    def report_warnings(self) -> tuple[ReportedProblem, ...]:
        """Return the warnings, for the case."""
        return tuple(ReportedProblem(one.problem.id, one.text, one.pointer) for one in self.warnings)

    def describe_for_case(self) -> dict[str, Any]:
        """Return what is stored with the case: the tables, and what there is of the other two.

        These are the disclaimers, and what each warning of a missing document is about: a certificate
        that comes later may answer it.
        """
        needed = [
            {"text": one.text, "item": one.item, "law": one.need.law}
            for one in self.warnings
            if one.need is not None
        ]
        told = {"need_tables": self.tables, "disclaimers": self.disclaimers, "needed": needed}
        return {name: list(found) for name, found in told.items() if found}


#: Where no table is in force, and of a withdrawal.
NO_NEEDS: Final = WeighedNeeds()


@dataclass(frozen=True, slots=True)
class StandingNeeds:
    """What an open case has: `since` the day whose rules hold for it, and the `words` it was warned of.

    `documents` and `disclaimers` are those of the case, which a supplement does not repeat; None
    where the submission is the whole again. A `held` case may be held on.
    """

    since: date
    words: frozenset[str] = frozenset()
    documents: tuple[Application, ...] | None = None
    disclaimers: tuple[Disclaimer, ...] = ()
    held: bool = False


def weigh_submission_needs(
    submission: Submission,
    rules: DecisionRules,
    policy: NeedPolicy,
    day: date,
    standing: StandingNeeds | None = None,
    covered: Collection[tuple[int, str]] = (),
    awaits: Sequence[NeedFinding] = (),
) -> WeighedNeeds:
    """Return what the rules in force on a day, and the policy, say of a submission.

    A supplement or an amendment is weighed with what its case has, by the rules of the day of the case.
    It is refused only for what it makes lacking: what the case was warned of stays a warning. `covered`
    are items and laws for which an agency has approved a number that the item names. `awaits` is what else
    a submission waits for that can be held; of another one it is told where the hub comes to it.
    """
    if submission.function != "9" and standing is None:
        return NO_NEEDS
    index = rules.needs.get_index(test_editions=policy.test_editions)
    found = _judge_standing_needs(submission, (index, rules.bundle), day, standing, covered)
    return weigh_need_judgement(found, index, policy, standing, awaits)


def weigh_need_judgement(
    found: NeedJudgement,
    index: NeedIndex,
    policy: NeedPolicy,
    standing: StandingNeeds | None = None,
    awaits: Sequence[NeedFinding] = (),
) -> WeighedNeeds:
    """Return what the policy makes of what the rules of need say; the rest as `weigh_submission_needs`."""
    # The policy of the day of filing counts for a held case.
    held = standing is not None and standing.held
    action = "hold" if held else policy.get_action(found.direction)
    can_hold = action == "hold" and (standing is None or held)
    awaited = tuple(awaits) if can_hold else ()
    if not found.tables and not found.disclaimers:
        # Without a table in force nothing is known of any goods.
        return replace(NO_NEEDS, missing=awaited)
    known = standing.words if standing else frozenset()
    lacking = [one for one in found.findings if one.kind == "missing" and one.text not in known]
    lacking = [] if action == "warn" else lacking
    grave = [one for one in found.findings if one.kind == "error" or (one in lacking and not can_hold)]
    return WeighedNeeds(
        tuple(grave),
        tuple(one for one in found.findings if one not in grave and one not in lacking),
        tuple(_describe_disclaimers(found, index)),
        found.tables,
        (*lacking, *awaited) if can_hold else (),
    )


def _judge_standing_needs(
    submission: Submission,
    rules: tuple[NeedIndex, MappingBundle],
    day: date,
    standing: StandingNeeds | None,
    covered: Collection[tuple[int, str]],
) -> NeedJudgement:
    """Judge the goods of a submission with its own documents, or with those of the case it belongs to."""
    if standing is None:
        own = (submission.applications, submission.disclaimers)
        return judge_document_needs(submission.declaration, own, rules, day, covered)
    filed = submission.applications if standing.documents is None else standing.documents
    stated = submission.disclaimers or standing.disclaimers
    return judge_document_needs(submission.declaration, (filed, stated), rules, standing.since, covered)


def judge_document_needs(
    declaration: etree._Element,
    filed: tuple[tuple[Application, ...], tuple[Disclaimer, ...]],
    rules: tuple[NeedIndex, MappingBundle],
    day: date,
    covered: Collection[tuple[int, str]] = (),
) -> NeedJudgement:
    """Return what the rules of need say on a day of a declaration with these applications and disclaimers.

    An application of a document that the mappings do not have is left out: it is refused elsewhere.
    """
    (applications, disclaimers), (index, bundle) = filed, rules
    documents = tuple(
        FiledDocument(one.position, one.document, known.laws, known.direction, one.items)
        for one in applications
        if (known := bundle.documents.get(one.document)) is not None
    )
    stated = tuple(StatedDisclaimer(one.item, one.law, one.reason, one.text) for one in disclaimers)
    return judge_needs(read_declared_goods(declaration), documents, stated, index, day, covered)


def _describe_disclaimers(found: NeedJudgement, index: NeedIndex) -> list[dict[str, Any]]:
    """Return the disclaimers with their verdicts, and the organisations that their laws concern."""
    return [
        {
            "item": one.stated.item,
            "law": one.stated.law,
            "reason": one.stated.reason,
            "text": one.stated.text,
            "verdict": one.verdict,
            "organisations": sorted(index.book.list_organisations(one.stated.law, found.direction or "")),
        }
        for one in found.disclaimers
    ]


def make_disclaimer_attachment(
    weighed: WeighedNeeds, organisation: str, case_number: str
) -> tuple[Payload, ...]:
    """Return the attachment that tells an organisation the disclaimers of its laws; none without one."""
    told = [one for one in weighed.disclaimers if organisation in one["organisations"]]
    if not told:
        return ()
    root = etree.Element("Disclaimers", xmlns=SUB)
    for one in told:
        element = etree.SubElement(root, "Disclaimer")
        for name in ("item", "law", "reason"):
            element.set(name, str(one[name]))
        element.text = one["text"] or None
    return (Payload(f"disclaimers@{case_number}", "application/xml", serialize_element(root)),)


def load_stored_submission(conn: Connection, message: int) -> Submission:
    """Return the submission of a stored message; raises GW402 where its message has none.

    Its signature was verified at admission. Raises a GatewayError where retention removed its octets.
    """
    return read_submission(load_stored_tree(conn, message))


def load_stored_tree(conn: Connection, message: int) -> etree._Element:
    """Return the root of the submission of a stored message; raises as `load_stored_submission` does."""
    found = messages.load_payloads(conn, message)
    if not found:
        raise GatewayError(DOCUMENT_INVALID, "the message carries no submission", "cid:")
    return parse_xml(found[0].content)


def find_local_day(moment: datetime, zone: tzinfo) -> date:
    """Return the day of a moment where the hub is: the law of that day holds."""
    return moment.astimezone(zone).date()
