"""Inspects a submission before it is sent: every step of admission, and every problem found at once.

`gateway.hub.submissions.split` stops at the first step that fails, since nothing may be read that no
signature covers. An inspection stores and sends nothing, so it goes on: each step is done that the problems
found so far permit. The steps themselves are the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TypeVar

from lxml import etree
from sqlalchemy import Connection

from gateway.agreements import FILING_ACTIONS
from gateway.cases import (
    DeclaredUses,
    Filing,
    NumberOrigin,
    ReportedProblem,
    Submission,
    ValidatedChildUses,
    ValidatedUses,
    authorize_filing,
    check_attachments,
    describe_awaited_requirement,
    read_declared_uses,
    read_submission,
    validate_document,
)
from gateway.errors import PROBLEMS, REFERENCE_REUSED, GatewayError, Problem
from gateway.harmonize import (
    MappingBundle,
    UnitTable,
    find_broken_rules,
    make_placeholder_numbers,
    split_submission,
)
from gateway.hub.answers.case_progress import list_rejected_case_items
from gateway.hub.hub import Hub
from gateway.hub.requirements.partial_release import inspect_amended_release, inspect_release, prepare_release
from gateway.hub.requirements.requirement_ledger import inspect_requirements, list_former_uses
from gateway.hub.requirements.stated_uses import validate_stated_uses
from gateway.hub.submissions.document_needs import NeedsAssessment
from gateway.hub.submissions.held_cases import make_held_numbers
from gateway.hub.submissions.open_cases import CaseNumbers, check_open_case
from gateway.hub.submissions.processed_submission import PreparedRelease
from gateway.hub.submissions.split import SubmittedGoods, assess_needs, check_function, find_rules_of_case
from gateway.hub.trust.message_senders import (
    OpenedDocument,
    SignerAdmission,
    SubmissionTimes,
    admit_signer,
    open_document,
)
from gateway.store import CaseRow, cases, read_transaction, requirement_quantities
from gateway.wire import (
    DEFAULT_LIMITS,
    SUBMISSION,
    ElementLocations,
    WireLimits,
    find_day,
    load_shipped_schemas,
)


@dataclass(frozen=True, slots=True)
class AmendedUses:
    """The uses by an amended case: of its own certificates, and of those of its parent (`child_uses`).

    `problems` are those of items that leave the parent.
    """

    problems: tuple[ReportedProblem, ...]
    child_uses: ValidatedChildUses
    validated_uses: ValidatedUses


def inspect_amended_uses(
    conn: Connection,
    case: CaseRow,
    declared_uses: DeclaredUses,
    release: PreparedRelease | None,
    units: UnitTable,
    on: date,
) -> AmendedUses:
    """Return the judged uses of a case as it would be after its amendment.

    The present uses of the case count as given back. An item that is rejected uses nothing: the amendment may
    reopen it, which is not known before it is filed. Raises GW416 where nothing leaves the parent.
    """
    problems: tuple[ReportedProblem, ...] = ()
    child_uses = ValidatedChildUses(declared_uses)
    rejected = list_rejected_case_items(conn, case)
    former = list_former_uses(conn, case.id, rejected)
    if release is not None:
        problems = inspect_amended_release(conn, release, case.id, units)
        child_uses = validate_stated_uses(
            conn, release.parent_case_id, release.declared_release, declared_uses, units, case.id
        )
    judged = inspect_requirements(conn, child_uses.own_uses, units, on, former, rejected)
    return AmendedUses(problems, child_uses, judged)


_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class InspectionFinding:
    """One problem with its place: pointer or location, XPath, and line (0 where it has none)."""

    problem: Problem
    message: str
    pointer: str
    xpath: str
    line: int
    application: str | None = None
    document: str | None = None
    organisation: str | None = None

    @property
    def concern(self) -> str:
        """Return the application, document and organisation that it concerns; empty for the whole."""
        if self.application is None:
            return ""
        recipient = f" of {self.organisation}" if self.organisation else ""
        return f"application {self.application}: {self.document}{recipient}"


@dataclass(frozen=True, slots=True)
class UseFindings:
    """The findings about items that a submission takes of a parent, and about the certificates it uses."""

    problems: tuple[ReportedProblem, ...] = ()
    warnings: tuple[ReportedProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseInspection:
    """The facts by which the change of a case is judged, in place of the rules in force.

    `is_held` says that the case is held: its submission is checked as a new one. The `warnings` are about its
    items and pointers.
    """

    bundle: MappingBundle
    prepare_release: Callable[[Submission, str], PreparedRelease | None]
    assess_needs: Callable[[Submission, PreparedRelease | None], NeedsAssessment]
    check_certificate_uses: Callable[[Submission, PreparedRelease | None, str], UseFindings]
    is_held: bool = False
    warnings: tuple[ReportedProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class InspectionRules:
    """The functions by which a submission is inspected; a step without its function is not done.

    `admit` returns the signer or raises. `authorize` returns the declarant's party, or raises for a signer or
    sender that may not file. `find_case` raises for a reference in use, and for a change that its case may
    not have; it returns the facts by which the change of a case is judged. With `ignores_schema_errors` the
    mappings are applied also where the schema does not hold: that is for a document whose structure is known
    to be right, such as that of a form which is not complete yet. `prepare_release` returns the items that a
    child of a declarant takes of its parent, `assess_needs` judges by the rules of need,
    `check_certificate_uses` judges the items that leave the parent and the uses of certificates.
    """

    bundle: MappingBundle
    admit: Callable[[OpenedDocument], SignerAdmission | None]
    authorize: Callable[[Submission, SignerAdmission], str] | None = None
    find_case: Callable[[Submission, str], CaseInspection | None] | None = None
    limits: WireLimits = DEFAULT_LIMITS
    at: datetime | None = None
    ignores_schema_errors: bool = False
    prepare_release: Callable[[Submission, str], PreparedRelease | None] | None = None
    assess_needs: Callable[[Submission, PreparedRelease | None], NeedsAssessment] | None = None
    check_certificate_uses: Callable[[Submission, PreparedRelease | None, str], UseFindings] | None = None


@dataclass(slots=True)
class InspectionReport:
    """The problems found, in the order of the steps, and the steps that were not done, in words.

    The `warnings` refuse nothing.
    """

    findings: list[InspectionFinding] = field(default_factory=list)
    warnings: list[InspectionFinding] = field(default_factory=list)
    skipped_steps: list[str] = field(default_factory=list)
    signer: str | None = None
    reference: str = ""


def make_inspection_rules(hub: Hub, sender: str | None, at: datetime) -> InspectionRules:
    """Return the rules of a hub as they are now; without `sender`, the signer sends the message."""
    register = hub.refresh_snapshot()
    goods = _GoodsInspection(hub, at, CaseNumbers("", {}))

    def authorize(submission: Submission, signing: SignerAdmission) -> str:
        filing = Filing(
            submission.declarant_id,
            submission.agent_id,
            signing.party,
            sender or signing.voucher or signing.party,
            signing.voucher,
        )
        return authorize_filing(filing, register.make_filing_register(at))

    return InspectionRules(
        goods.rules.bundle,
        lambda opened: admit_signer(hub, opened, register, SubmissionTimes(at, at)),
        authorize,
        lambda submission, declarant: _find_case(hub, submission, declarant, at),
        hub.limits,
        at,
        prepare_release=goods.prepare_release,
        assess_needs=goods.assess_needs,
        check_certificate_uses=goods.check_certificate_uses,
    )


def _find_case(hub: Hub, submission: Submission, declarant: str, at: datetime) -> CaseInspection | None:
    """Return the facts by which the admission would judge the change of a case; None for a new case.

    Raises as the admission does for a change that the case may not have; GW408 for a reference in use.
    """
    with read_transaction(hub.engine) as conn:
        named_case = cases.find_by_reference(conn, declarant, submission.reference)
    if submission.function == "9":
        if named_case is not None and named_case.state != "REFUSED":
            detail = f"{submission.reference!r} is the reference of case {named_case.number}"
            raise GatewayError(REFERENCE_REUSED, detail, "/Submission/Reference")
        return None
    # No number is assigned: a submission that is only checked has no message.
    origin = NumberOrigin(0, at.year)
    goes_on = named_case is not None and named_case.state == "HELD" and submission.function != "1"
    if named_case is not None and goes_on:
        numbers = make_held_numbers(hub, submission, named_case, origin)
    else:
        numbers = check_open_case(hub, submission, declarant, origin)
    goods = _GoodsInspection(hub, at, numbers)
    return CaseInspection(
        goods.rules.bundle,
        goods.prepare_release,
        goods.assess_needs,
        goods.check_certificate_uses,
        goes_on,
        () if numbers.amended_items is None else numbers.amended_items.warnings,
    )


class _GoodsInspection:
    """The steps over the goods of a submission, by the rules of its case or by those in force."""

    def __init__(self, hub: Hub, at: datetime, numbers: CaseNumbers) -> None:
        self._hub = hub
        self._numbers = numbers
        self._day = find_day(at, hub.zone)
        self.rules = find_rules_of_case(hub, numbers, at)

    def prepare_release(self, submission: Submission, declarant: str) -> PreparedRelease | None:
        """Return the items that a declarant's child takes of its parent; raise GW416 as admission does."""
        return prepare_release(self._hub, submission, declarant, self.rules.parent_codes)

    def _read_declared_uses(self, submission: Submission) -> DeclaredUses:
        return read_declared_uses(submission.declaration, self.rules.bundle.organisations)

    def assess_needs(self, submission: Submission, release: PreparedRelease | None) -> NeedsAssessment:
        """Return the judgement by the rules of need."""
        used = replace(self._read_declared_uses(submission), day=self._day)
        goods = SubmittedGoods(self.rules, used, self._numbers, release)
        return assess_needs(self._hub, submission, goods, self._day)

    def check_certificate_uses(
        self, submission: Submission, release: PreparedRelease | None, declarant: str
    ) -> UseFindings:
        """Return the findings on items that leave a parent, and on the certificates used."""
        declared_uses, units, day = self._read_declared_uses(submission), self.rules.bundle.units, self._day
        child = ValidatedChildUses(declared_uses)
        problems: tuple[ReportedProblem, ...] = ()
        with read_transaction(self._hub.engine) as conn:
            amended = _find_amended_case(conn, submission, declarant)
            if amended is not None:
                uses = inspect_amended_uses(conn, amended, declared_uses, release, units, day)
                problems, child, judged = uses.problems, uses.child_uses, uses.validated_uses
            else:
                if release is not None:
                    problems = inspect_release(conn, release, units)
                    child = validate_stated_uses(
                        conn, release.parent_case_id, release.declared_release, declared_uses, units
                    )
                judged = inspect_requirements(conn, child.own_uses, units, day)
            waiting = _list_awaited_certificates(conn, child)
        return UseFindings(
            (*problems, *(finding.report() for finding in (*child.problems, *judged.problems))),
            (*(finding.report() for finding in judged.warnings), *waiting),
        )


def _find_amended_case(conn: Connection, submission: Submission, declarant: str) -> CaseRow | None:
    """Return the case that an amendment is about; None for a held one, which is judged as a new one."""
    if submission.function != "13":
        return None
    named_case = cases.find_by_reference(conn, declarant, submission.reference)
    return None if named_case is None or named_case.state == "HELD" else named_case


def _list_awaited_certificates(conn: Connection, child: ValidatedChildUses) -> tuple[ReportedProblem, ...]:
    """Return each number that a child and the cases above would wait for, as its Result would state it."""
    places: dict[tuple[str, str, int], str] = {}
    for use in child.waiting_uses:
        places.setdefault((use.number, use.agency, use.item), use.pointer)
    requirements = requirement_quantities.find_requirements(conn, {number for number, _, _ in places})
    certificate_numbers = {
        row.number for row in requirement_quantities.select_certificates(conn, requirements)
    }
    descriptions = (
        (describe_awaited_requirement(*subject, has_certificate=subject[0] in certificate_numbers), pointer)
        for subject, pointer in places.items()
    )
    return tuple(ReportedProblem(problem.id, text, pointer) for (problem, text), pointer in descriptions)


def inspect_submission(
    content: bytes, attachments: Mapping[str, bytes], rules: InspectionRules
) -> InspectionReport:
    """Return every problem of a submission and its attachments (by content id)."""
    report = InspectionReport()
    try:
        opened = open_document(content, rules.limits)
    except GatewayError as error:
        report.findings.append(_make_placeless_finding(error))
        return report
    _Inspection(opened, rules, report).run_steps(attachments)
    return report


class _Inspection:
    """The steps over one document that could be read."""

    def __init__(self, opened: OpenedDocument, rules: InspectionRules, report: InspectionReport) -> None:
        self._opened = opened
        self._rules = rules
        self._report = report
        self._locations = ElementLocations(opened.root)
        #: The case that is changed, once it is known.
        self._case: CaseInspection | None = None

    def run_steps(self, attachments: Mapping[str, bytes]) -> None:
        """Check schema, signature, content, who may file, attachments and mappings."""
        is_valid = self._check_schema()
        signer_admission = self._try_step(lambda: self._rules.admit(self._opened))
        self._report.signer = signer_admission.party if signer_admission is not None else None
        if not is_valid and self._rules.ignores_schema_errors:
            self._check_mappings(self._opened.root)
            return
        if not is_valid:
            self._report.skipped_steps.append("content, attachments and mappings: the schema comes first")
            return
        submission = self._try_step(lambda: read_submission(self._opened.root))
        declarant: str | None = None
        if submission is not None:
            self._report.reference = submission.reference
            self._try_step(
                lambda: check_function(FILING_ACTIONS.get(submission.function, "-"), submission.function)
            )
            declarant = self._check_filing(submission, signer_admission)
            for wrong in check_attachments(submission, attachments):
                self._add_error(wrong)
        else:
            self._report.skipped_steps.append("attachments and who may file: the content comes first")
        if submission is not None and submission.function == "1":
            return
        self._check_mappings(self._opened.root)
        if submission is not None:
            self._check_goods(submission, declarant)

    def _check_goods(self, submission: Submission, declarant: str | None) -> None:
        """Check the needs of the goods, the items taken of a parent, and the certificates used."""
        rules, release = self._rules, None
        if submission.function != "9" and rules.assess_needs is not None and self._case is None:
            self._report.skipped_steps.append("needs and certificates: the case that is changed is not known")
            return
        if declarant is not None and rules.prepare_release is not None:
            prepare = rules.prepare_release
            findings_before = len(self._report.findings)
            release = self._try_step(lambda: prepare(submission, declarant))
            if len(self._report.findings) > findings_before:
                self._report.skipped_steps.append(
                    "needs and certificates: the parent of the items comes first"
                )
                return
        needs_assessment = None if rules.assess_needs is None else rules.assess_needs(submission, release)
        if needs_assessment is not None:
            self._report_needs(needs_assessment)
        # A child that is held takes nothing of its parent yet: it is judged when it goes on.
        will_be_held = release is not None and needs_assessment is not None and bool(needs_assessment.missing)
        is_case_held = self._case is not None and self._case.is_held
        if (submission.function == "9" or is_case_held) and not will_be_held:
            self._check_requirements(submission, release, declarant or "")
        elif submission.function == "13" and declarant is not None and not is_case_held:
            self._check_requirements(submission, release, declarant)

    def _check_requirements(
        self, submission: Submission, release: PreparedRelease | None, declarant: str
    ) -> None:
        """Add the problems and warnings of the certificates that the goods use to the report."""
        judge = self._rules.check_certificate_uses
        use_findings = (
            None if judge is None else self._try_step(lambda: judge(submission, release, declarant))
        )
        if use_findings is None:
            return
        self._report_problems(self._report.findings, use_findings.problems)
        self._report_problems(self._report.warnings, use_findings.warnings)

    def _report_problems(
        self, findings: list[InspectionFinding], problems: Iterable[ReportedProblem]
    ) -> None:
        findings += [
            self._make_finding(PROBLEMS[problem.id], problem.text, problem.pointer) for problem in problems
        ]

    def _report_needs(self, needs_assessment: NeedsAssessment) -> None:
        """Add the results of the rules of need to the report; missing documents are warnings."""
        for findings, need_findings in (
            (self._report.findings, needs_assessment.problems),
            (self._report.warnings, (*needs_assessment.missing, *needs_assessment.warnings)),
        ):
            findings += [
                self._make_finding(finding.problem, finding.text, finding.pointer)
                for finding in need_findings
            ]

    def _check_schema(self) -> bool:
        """Add the violations of the submission schema to the findings; return whether it is valid."""
        valid, violations = validate_document(self._opened.root, load_shipped_schemas(SUBMISSION))
        self._report.findings += [
            InspectionFinding(
                violation.problem, violation.message, violation.pointer, violation.xpath, violation.line
            )
            for violation in violations
        ]
        return valid

    def _check_filing(self, submission: Submission, signer_admission: SignerAdmission | None) -> str | None:
        """Check who files, and the case; return the declarant where it is known."""
        rules = self._rules
        if rules.authorize is None or signer_admission is None:
            self._report.skipped_steps.append(
                "who may file: the signer or the register of parties is not known"
            )
            return None
        authorize, find_case = rules.authorize, rules.find_case
        declarant = self._try_step(lambda: authorize(submission, signer_admission))
        if declarant is not None and find_case is not None:
            self._case = self._try_step(lambda: find_case(submission, declarant))
            self._apply_case_rules()
        return declarant

    def _apply_case_rules(self) -> None:
        """Go on by the rules of the case that is changed, and report the warnings about its items."""
        case = self._case
        if case is None:
            return
        self._rules = replace(
            self._rules,
            bundle=case.bundle,
            prepare_release=case.prepare_release,
            assess_needs=case.assess_needs,
            check_certificate_uses=case.check_certificate_uses,
        )
        self._report_problems(self._report.warnings, case.warnings)

    def _check_mappings(self, root: etree._Element) -> None:
        """Split the submission by the mappings, and check the rules; add their problems to the findings.

        A problem at a pointer that has a finding already is left out.
        """
        split = self._try_step(
            lambda: split_submission(root, self._rules.bundle, make_placeholder_numbers(root))
        )
        self._check_rules(root)
        if split is None:
            return
        # A problem that the content check found at a place is not reported again for each application there.
        reported_pointers = {problem.pointer for problem in self._report.findings if problem.pointer}
        self._report.findings += [
            replace(
                self._make_finding(problem.problem, problem.detail, problem.pointer),
                application=problem.application,
                document=problem.document,
                organisation=problem.organisation or None,
            )
            for problem in split.problems
            if problem.pointer not in reported_pointers
        ]

    def _check_rules(self, root: etree._Element) -> None:
        for finding in find_broken_rules(root, self._rules.bundle, self._rules.at):
            findings = self._report.findings if finding.is_error else self._report.warnings
            findings.append(self._make_finding(finding.problem, finding.detail, finding.pointer))

    def _try_step(self, step: Callable[[], _Result]) -> _Result | None:
        try:
            return step()
        except GatewayError as error:
            self._add_error(error)
            return None

    def _add_error(self, error: GatewayError) -> None:
        """Report an error with the XPath and line of its place, where its location is a pointer."""
        if error.location.startswith(("/", "cid:")):
            finding = _make_placeless_finding(error)
        else:
            finding = self._make_finding(error.problem, error.detail, error.location)
        self._report.findings.append(finding)

    def _make_finding(self, problem: Problem, message: str, pointer: str) -> InspectionFinding:
        xpath, line = self._locations.find_xpath(pointer) or "", self._locations.find_line_number(pointer)
        return InspectionFinding(problem, message, pointer, xpath, line)


def _make_placeless_finding(error: GatewayError) -> InspectionFinding:
    return InspectionFinding(error.problem, error.detail, error.location, "", 0)
