"""Step 3, split: a stored message is read as a submission and split into one request per application.

The input is a stored message with its payloads, and the register of one epoch. Signature, signer, schema,
declarant and function are checked, and the mappings in force make the request documents. Nothing is written:
the step runs inside `gateway.hub.submissions.admit`, before its transaction. The output is a case whose
requests go to the agencies, or a refusal that names every problem found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from lxml import etree

from gateway.agreements import FILING_FUNCTIONS
from gateway.cases import (
    DeclaredUses,
    Filing,
    ReportedProblem,
    Submission,
    authorize_filing,
    check_attachments,
    make_application_number,
    make_case_number,
    read_declared_uses,
    read_submission,
    validate_document,
)
from gateway.errors import (
    DOCUMENT_INVALID,
    NOT_SUPPORTED,
    RULE_BROKEN,
    GatewayError,
    confirm_refusal,
    find_refusal_id,
)
from gateway.harmonize import (
    DeclarationFinding,
    MappingBundle,
    StowedFields,
    SubmissionIndex,
    find_broken_rules,
    index_submission,
    stow_fields,
    write_requests,
)
from gateway.hub.amendments.former_items import find_former_message, load_former_submission
from gateway.hub.hub import Hub
from gateway.hub.register.decision_rules import DecisionRules
from gateway.hub.requirements.partial_release import (
    find_undecided_parent,
    prepare_release,
)
from gateway.hub.requirements.requirement_coverage import list_covered_laws, list_released_laws
from gateway.hub.submissions.document_needs import (
    NO_NEEDS,
    CaseNeeds,
    NeedsAssessment,
    assess_submission_needs,
    evaluate_document_needs,
)
from gateway.hub.submissions.held_cases import find_held_case, make_held_numbers
from gateway.hub.submissions.open_cases import CaseNumbers, check_open_case
from gateway.hub.submissions.processed_submission import (
    PreparedApplication,
    PreparedRelease,
    ProcessedSubmission,
    StoredSubmission,
)
from gateway.hub.trust.message_senders import (
    OpenedDocument,
    SignerAdmission,
    SubmissionTimes,
    admit_signer,
    open_document,
)
from gateway.message_model import Payload
from gateway.store import cases, read_transaction
from gateway.wire import SUB, SUBMISSION, WireLimits, find_day, load_shipped_schemas, release_objects


def add_former_missing_documents(
    hub: Hub, case_needs: CaseNeeds, number: str, rules: DecisionRules, release: PreparedRelease | None
) -> CaseNeeds:
    """Return the needs of a case, to whose warnings the documents are added that it lacks already.

    These are the documents that its declaration in force lacks. If retention has removed that declaration,
    nothing is added.
    """
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_number(conn, number)
        former = None if case is None else load_former_submission(conn, find_former_message(conn, case))
    if former is None:
        return case_needs
    declared_uses = replace(
        read_declared_uses(former.declaration, rules.bundle.organisations), day=case_needs.rules_day
    )
    covered_laws = list_covered_laws(hub, declared_uses, case_needs.rules_day, number) | list_released_laws(
        hub, release
    )
    documents = former.applications if case_needs.applications is None else case_needs.applications
    disclaimers = former.disclaimers if case_needs.applications is None else case_needs.disclaimers
    index = rules.needs.get_index(test_editions=hub.need_policy.test_edition)
    judgement = evaluate_document_needs(
        former.declaration, documents, disclaimers, index, rules.bundle, case_needs.rules_day, covered_laws
    )
    missing_texts = {finding.text for finding in judgement.findings if finding.kind == "missing"}
    return replace(case_needs, warning_texts=case_needs.warning_texts | missing_texts)


#: A reference is one line in every document of the hub.
_LINE_BREAK = re.compile(r"[\t\r\n]")


class SubmissionRejectedError(Exception):
    """The submission is refused: every problem found, and its reference where it could be read.

    `signer_admission` is the admitted signer, and `bundle_digest` the digest of the mappings, where
    processing came that far.
    """

    def __init__(
        self,
        problems: tuple[ReportedProblem, ...],
        reference: str = "",
        declarant: str = "",
        signer_admission: SignerAdmission | None = None,
        bundle_digest: str | None = None,
    ) -> None:
        super().__init__("; ".join(problem.id for problem in problems))
        self.problems = problems
        self.reference = reference
        self.declarant = declarant
        self.signer_admission = signer_admission
        self.bundle_digest = bundle_digest

    @classmethod
    def from_processed(
        cls, processed: ProcessedSubmission, problems: tuple[ReportedProblem, ...]
    ) -> SubmissionRejectedError:
        """Return the refusal of a submission that was right by itself."""
        reference, declarant = processed.submission.reference, processed.declarant
        return cls(problems, reference, declarant, processed.signer_admission, processed.bundle_digest)


def process_submission(hub: Hub, stored_submission: StoredSubmission, at: datetime) -> ProcessedSubmission:
    """Validate and split the submission of a message; raises SubmissionRejectedError with every problem.

    A fault of the hub, or one that may pass, refuses nothing: its GatewayError is raised unchanged.
    """
    return confirm_refusal(lambda: _check_and_split(hub, stored_submission, at), _name_rejection)


def _name_rejection(error: Exception) -> str | None:
    """Return the ids of the problems for which a submission is refused."""
    return str(error) if isinstance(error, SubmissionRejectedError) else find_refusal_id(error)


def _check_and_split(hub: Hub, stored_submission: StoredSubmission, at: datetime) -> ProcessedSubmission:
    """Check a submission and make its requests; `at` is the time by which its signer is admitted.

    Raises SubmissionRejectedError with the problems found; the GatewayError of a fault of the hub, or of one
    that may pass, is raised unchanged.
    """
    reference = declarant = ""
    signer_admission: SignerAdmission | None = None
    bundle_digest: str | None = None
    try:
        opened = _open_submission(stored_submission, hub.limits)
        root = opened.root
        reference = _read_reference(root)
        signer_admission = admit_signer(
            hub,
            opened,
            stored_submission.register_snapshot,
            SubmissionTimes(stored_submission.message_row.received_at, at),
        )
        # The fields are not read before the requests are written: until then their tree takes no memory.
        stowed = stow_fields(root)
        submission = read_submission(root)
        day = find_day(stored_submission.message_row.received_at, hub.zone)
        check_function(stored_submission.message_row.action, submission.function)
        declarant = _check_declarant(stored_submission, submission, signer_admission, at)
        attachments = _collect_attachments(stored_submission, submission)
        numbers = _assign_numbers(hub, stored_submission, submission, declarant)
        # Read once: the mappings in force may change while this submission is split.
        rules = find_rules_of_case(hub, numbers, stored_submission.message_row.received_at)
        bundle_digest = rules.bundle.digest
        declared_uses = read_declared_uses(submission.declaration, rules.bundle.organisations)
        used = replace(declared_uses, day=day)
        release = prepare_release(hub, submission, declarant, rules.parent_codes)
        split_input = _SplitInput(numbers, attachments, SubmittedGoods(rules, used, numbers, release), stowed)
        made_requests = _make_requests(hub, stored_submission, submission, split_input, root)
        if stowed.are_long:
            # The memory of the index of a long submission: the next steps need large blocks instead.
            release_objects()
    except GatewayError as error:
        if is_transient_error(error):
            raise
        problems = (make_found_problem(error),)
        raise SubmissionRejectedError(
            problems, reference, declarant, signer_admission, bundle_digest
        ) from error
    except SubmissionRejectedError as error:
        stated_reference = error.reference or reference
        raise SubmissionRejectedError(
            error.problems, stated_reference, declarant, signer_admission, bundle_digest
        ) from error
    return ProcessedSubmission(
        message=stored_submission.message_row,
        submission=submission,
        declarant=declarant,
        signer_admission=signer_admission,
        case_number=numbers.case_number,
        bundle_digest=bundle_digest,
        prepared_applications=made_requests.prepared_applications,
        attachments=attachments,
        root=root,
        warnings=made_requests.warnings
        + (() if numbers.amended_items is None else numbers.amended_items.warnings),
        needs=made_requests.needs_assessment,
        declared_uses=used,
        units=rules.bundle.units,
        release=release,
        is_held=numbers.case_needs is not None and numbers.case_needs.is_held,
        amended_items=numbers.amended_items,
        new_application_numbers=frozenset(
            numbers.application_numbers[application_id] for application_id in numbers.new_application_ids
        ),
    )


@dataclass(frozen=True, slots=True)
class _MadeRequests:
    """The applications that are ready to send, and the findings about them."""

    prepared_applications: tuple[PreparedApplication, ...] = ()
    warnings: tuple[ReportedProblem, ...] = ()
    needs_assessment: NeedsAssessment = NO_NEEDS


@dataclass(frozen=True, slots=True)
class _SplitInput:
    """The input of splitting a submission."""

    numbers: CaseNumbers
    attachments: Mapping[str, Payload]
    goods: SubmittedGoods
    stowed: StowedFields


def _make_requests(
    hub: Hub,
    stored_submission: StoredSubmission,
    submission: Submission,
    split_input: _SplitInput,
    root: etree._Element,
) -> _MadeRequests:
    """Return the requests of a submission; a withdrawal has none. Raises with every problem found."""
    bundle = split_input.goods.rules.bundle
    if submission.function == "1":
        _check_enclosed_attachments(submission, split_input.attachments)
        return _MadeRequests()
    submission_index = index_submission(root, keeps_fields=False, stowed=split_input.stowed)
    broken_rules = find_broken_rules(submission_index, bundle, stored_submission.message_row.received_at)
    prepared = _prepare_applications(
        bundle, submission, split_input.numbers, split_input.attachments, broken_rules, submission_index
    )
    day = find_day(stored_submission.message_row.received_at, hub.zone)
    needs_assessment = assess_needs(hub, submission, split_input.goods, day)
    if needs_assessment.problems:
        raise SubmissionRejectedError(needs_assessment.report_problems())
    warnings = (_report_finding(finding) for finding in broken_rules if not finding.is_error)
    return _MadeRequests(prepared, (*warnings, *needs_assessment.report_warnings()), needs_assessment)


@dataclass(frozen=True, slots=True)
class SubmittedGoods:
    """The facts by which the needs of goods are judged: the rules and the case of the submission.

    `declared_uses` are the certificates that the goods use; `numbers` has the numbers of their case, and
    `release` the items that they take of a parent.
    """

    rules: DecisionRules
    declared_uses: DeclaredUses
    numbers: CaseNumbers
    release: PreparedRelease | None = None


def assess_needs(hub: Hub, submission: Submission, goods: SubmittedGoods, day: date) -> NeedsAssessment:
    """Return the judgement of a submission by the rules of need.

    An admitted case is refused only for documents that the submission itself makes missing.
    """
    rules, numbers, release = goods.rules, goods.numbers, goods.release
    case_needs = numbers.case_needs
    # The certificates that an admitted case uses also cover its amendment and its supplement.
    is_admitted = submission.function == "13" or (case_needs is not None and not case_needs.is_held)
    own_case = numbers.case_number if is_admitted else ""
    covered_laws = list_covered_laws(hub, goods.declared_uses, day, own_case) | list_released_laws(
        hub, release
    )
    awaited_findings = find_undecided_parent(hub, release)
    needs_assessment = assess_submission_needs(
        submission, rules, hub.need_policy, day, case_needs, covered_laws, awaited_findings
    )
    if case_needs is None or case_needs.is_held or not needs_assessment.problems:
        return needs_assessment
    case_needs = add_former_missing_documents(hub, case_needs, numbers.case_number, rules, release)
    return assess_submission_needs(submission, rules, hub.need_policy, day, case_needs, covered_laws)


def describe_findings(processed: ProcessedSubmission) -> dict[str, Any]:
    """Return the warnings of an admitted submission, and its judged needs, for the row of its case."""
    warnings = [asdict(warning) for warning in processed.warnings]
    return ({"warnings": warnings} if warnings else {}) | processed.needs.describe_for_case()


def describe_traders(processed: ProcessedSubmission) -> dict[str, str]:
    """Return importer and exporter for the row of the case, as far as the declaration states them.

    The certificates of the agencies will be issued to these two.
    """
    used = processed.declared_uses
    traders = {"importer": used.importer, "exporter": used.exporter}
    return {name: value for name, value in traders.items() if value}


def is_transient_error(error: GatewayError) -> bool:
    """Return whether an error is not about the submission: a fault of the hub, or one that may pass."""
    return error.problem.ours or error.problem.retry


def make_found_problem(error: GatewayError) -> ReportedProblem:
    """Return an error as a problem to report to the applicant."""
    return ReportedProblem(error.problem.id, error.detail, error.location)


def _open_submission(stored_submission: StoredSubmission, limits: WireLimits) -> OpenedDocument:
    """Return the first payload of a stored submission, parsed and valid by the submission schema.

    Raises GW402 without payloads, SubmissionRejectedError with all violations of the schema.
    """
    if not stored_submission.payloads:
        raise GatewayError(DOCUMENT_INVALID, "the message carries no submission", "cid:")
    opened = open_document(stored_submission.payloads[0].content, limits)
    root = opened.root
    accepted, violations = validate_document(root, load_shipped_schemas(SUBMISSION))
    if not accepted:
        raise SubmissionRejectedError(
            tuple(
                ReportedProblem(remark.problem.id, remark.message, remark.pointer or remark.xpath)
                for remark in violations
            ),
            _read_reference(root),
        )
    return opened


def _read_reference(root: etree._Element) -> str:
    text = root.findtext(f"{{{SUB}}}Reference") or ""
    return _LINE_BREAK.sub(" ", text.strip())[:35].strip()


def check_function(action: str, function: str) -> None:
    """Raise GW311 for an action that is not served, GW404 for a Function of another action."""
    if action not in FILING_FUNCTIONS:
        raise GatewayError(NOT_SUPPORTED, f"action {action[:40]!r} is not served yet", "eb:Action")
    if function != FILING_FUNCTIONS[action]:
        detail = f"action {action} carries Function {FILING_FUNCTIONS[action]}, not {function[:10]}"
        raise GatewayError(RULE_BROKEN, detail, "/Submission/Function")


def _check_declarant(
    stored_submission: StoredSubmission,
    submission: Submission,
    signer_admission: SignerAdmission,
    at: datetime,
) -> str:
    """Return the declarant's party; raise GW405 unless signer and sender may file the submission for it."""
    filing = Filing(
        submission.declarant_id,
        submission.agent_id,
        signer_admission.party,
        stored_submission.message_row.from_party,
        signer_admission.voucher,
    )
    return authorize_filing(filing, stored_submission.register_snapshot.make_filing_register(at))


def _collect_attachments(stored_submission: StoredSubmission, submission: Submission) -> dict[str, Payload]:
    """Return the further payloads by content id, each with the media type that the submission states.

    No signature covers the MIME media type of a part (ebMS 2.0 §4.1.3 digests only its content),
    and the type is sent on to the agency.
    """
    media_types = {attachment.content_id: attachment.media_type for attachment in submission.attachments}
    return {
        payload.content_id: replace(
            payload, media_type=media_types.get(payload.content_id) or payload.media_type
        )
        for payload in stored_submission.payloads[1:]
    }


def _assign_numbers(
    hub: Hub, stored_submission: StoredSubmission, submission: Submission, declarant: str
) -> CaseNumbers:
    """Return new numbers, or those of the case that is supplemented, amended or withdrawn."""
    held = find_held_case(hub, submission, declarant, stored_submission.message_row)
    if held is not None:
        return make_held_numbers(
            hub, submission, held, stored_submission.origin, stored_submission.message_row.id
        )
    if submission.function == "9":
        origin = stored_submission.origin
        new = {
            application.id: make_application_number(origin.serial, origin.year, application.position)
            for application in submission.applications
        }
        return CaseNumbers(make_case_number(origin.serial, origin.year), new)
    return check_open_case(hub, submission, declarant, stored_submission.origin)


def find_rules_of_case(hub: Hub, numbers: CaseNumbers, received_at: datetime) -> DecisionRules:
    """Return the rules of the case that is changed, else those in force when its message was received.

    A case whose mappings are not stored is changed by those in force: it was opened by a version of the
    program that did not store them.
    """
    pinned = None if numbers.bundle_digest is None else hub.register.find_pinned_rules(numbers.bundle_digest)
    return pinned or hub.register.find_rules(received_at)


def _report_finding(finding: DeclarationFinding) -> ReportedProblem:
    return ReportedProblem(finding.problem.id, finding.detail, finding.pointer)


def _check_enclosed_attachments(submission: Submission, attachments: Mapping[str, Payload]) -> None:
    attachment_problems = check_attachments(
        submission, {cid: payload.octets for cid, payload in attachments.items()}
    )
    if attachment_problems:
        raise SubmissionRejectedError(tuple(map(make_found_problem, attachment_problems)))


def _prepare_applications(
    bundle: MappingBundle,
    submission: Submission,
    numbers: CaseNumbers,
    attachments: Mapping[str, Payload],
    broken_rules: Sequence[DeclarationFinding],
    submission_index: SubmissionIndex,
) -> tuple[PreparedApplication, ...]:
    """Return every application ready to send; raises with the problems of attachments and of fields.

    `broken_rules` are the rules of the declaration that do not hold.
    """
    written = write_requests(
        submission_index,
        bundle,
        {key: numbers.list_hub_values(key) for key in numbers.application_numbers},
        # The changes of an amendment are found by comparing both trees.
        discards_fields=submission.function != "13",
    )
    attachment_problems = check_attachments(
        submission, {cid: payload.octets for cid, payload in attachments.items()}
    )
    errors = [finding for finding in broken_rules if finding.is_error]
    # A value that a rule reports is not reported again by its targets.
    reported_pointers = {finding.pointer for finding in errors}
    problems = (
        *map(_report_finding, errors),
        *(
            ReportedProblem(problem.problem.id, problem.sentence, problem.pointer)
            for problem in written.problems
            if problem.pointer not in reported_pointers
        ),
    )
    if problems or attachment_problems:
        raise SubmissionRejectedError((*map(make_found_problem, attachment_problems), *problems))
    by_id = {request.application: request for request in written.requests}
    return tuple(
        PreparedApplication(
            application,
            numbers.application_numbers[application.id],
            by_id[application.id],
            numbers.laws_by_application.get(application.id) or by_id[application.id].laws,
        )
        for application in submission.applications
    )
