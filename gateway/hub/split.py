"""Step 3, split: a stored message is read as a submission and split into one request per application.

The input is a stored message with its payloads, and the register of one epoch. Signature, signer,
schema, declarant and function are checked, and the mappings in force make the request documents.
Nothing is written: the step runs inside `gateway.hub.admit`, before its transaction. The output is
a case whose requests go to the agencies, or a refusal that names every problem found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from lxml import etree

from gateway.cases import (
    ClaimedRequirements,
    Filing,
    ReportedProblem,
    Submission,
    authorize_filing,
    check_attachments,
    make_application_number,
    make_case_number,
    read_requirement_claim,
    read_submission,
    validate_document,
)
from gateway.errors import (
    DOCUMENT_INVALID,
    NOT_SUPPORTED,
    RULE_BROKEN,
    GatewayError,
)
from gateway.harmonize import (
    DeclarationFinding,
    MappingBundle,
    StowedFields,
    SubmissionIndex,
    UnitTable,
    find_broken_rules,
    index_submission,
    stow_fields,
    write_requests,
)
from gateway.hub.document_needs import NO_NEEDS, WeighedNeeds, find_local_day, weigh_submission_needs
from gateway.hub.former_needs import add_former_lacks
from gateway.hub.held_cases import find_held_case, make_held_numbers
from gateway.hub.hub import Hub
from gateway.hub.open_cases import CaseNumbers, check_open_case
from gateway.hub.partial_release import find_undecided_parent, list_released_laws, prepare_release
from gateway.hub.processed_submission import (
    PreparedApplication,
    PreparedRelease,
    ProcessedSubmission,
    StoredSubmission,
)
from gateway.hub.register import DecisionRules
from gateway.hub.requirement_coverage import list_covered_laws
from gateway.hub.trust import OpenedDocument, SignerAdmission, SubmissionTimes, admit_signer, open_document
from gateway.message_model import Payload
from gateway.wire import SUB, SUBMISSION, WireLimits, load_shipped_schemas, release_objects

__all__ = [
    "SubmissionRejectedError",
    "SubmittedGoods",
    "check_function",
    "describe_findings",
    "find_rules_of_case",
    "is_transient_error",
    "make_found_problem",
    "process_submission",
    "weigh_needs",
]

#: A reference is one line in every document of ours.
_LINE_BREAK = re.compile(r"[\t\r\n]")

#: The submission's Function for each Action of the caller (contracts of the service).
_FUNCTION_OF = {"Submit": "9", "Supplement": "35", "Amend": "13", "Withdraw": "1"}


class SubmissionRejectedError(Exception):
    """The submission is refused: every problem found, and its reference where it could be read.

    `signing` is the admitted signer, and `bundle` the digest of the mappings, where processing came that
    far.
    """

    def __init__(
        self,
        problems: tuple[ReportedProblem, ...],
        reference: str = "",
        declarant: str = "",
        signing: SignerAdmission | None = None,
        bundle: str | None = None,
    ) -> None:
        super().__init__("; ".join(problem.id for problem in problems))
        self.problems = problems
        self.reference = reference
        self.declarant = declarant
        self.signing = signing
        self.bundle = bundle


def process_submission(hub: Hub, arrived: StoredSubmission, at: datetime) -> ProcessedSubmission:
    """Validate and split the submission of a message; raises SubmissionRejectedError with every problem.

    A fault that is ours, or that may pass, refuses nothing: its GatewayError is raised unchanged.
    """
    reference = declarant = ""
    signing: SignerAdmission | None = None
    bundle: str | None = None
    try:
        opened = _open_submission(arrived, hub.limits)
        root = opened.root
        reference = _read_reference(root)
        signing = admit_signer(hub, opened, arrived.knowledge, SubmissionTimes(arrived.row.received_at, at))
        # Nothing reads them until the requests are written: what is made until then is not beside their tree.
        stowed = stow_fields(root)
        submission = read_submission(root)
        day = find_local_day(arrived.row.received_at, hub.zone)
        check_function(arrived.row.action, submission.function)
        declarant = _check_declarant(arrived, submission, signing, at)
        further = _collect_attachments(arrived, submission)
        numbers = _assign_numbers(hub, arrived, submission, declarant)
        # Read once: the mappings in force may change while this submission is split.
        rules = find_rules_of_case(hub, numbers, arrived.row.received_at)
        bundle = rules.bundle.digest
        claim = read_requirement_claim(submission.declaration, rules.bundle.organisations)
        used = replace(claim, day=day)
        release = prepare_release(hub, submission, declarant, rules.parent_codes)
        given = _SplitInput(numbers, further, SubmittedGoods(rules, used, numbers, release), stowed)
        made = _make_requests(hub, arrived, submission, given, root)
        if stowed.are_long:
            # The index of a long submission: what follows needs large blocks instead.
            release_objects()
    except GatewayError as error:
        if is_transient_error(error):
            raise
        told = (make_found_problem(error),)
        raise SubmissionRejectedError(told, reference, declarant, signing, bundle) from error
    except SubmissionRejectedError as error:
        found = error.reference or reference
        raise SubmissionRejectedError(error.problems, found, declarant, signing, bundle) from error
    return ProcessedSubmission(
        submission,
        declarant,
        signing,
        numbers.case,
        made.bundle,
        made.prepared,
        further,
        root,
        (*made.warnings, *(() if numbers.amended is None else numbers.amended.warnings)),
        made.weighed,
        used,
        made.units,
        release,
        numbers.standing is not None and numbers.standing.held,
        numbers.amended,
        frozenset(numbers.applications[one] for one in numbers.new),
    )


@dataclass(frozen=True, slots=True)
class _MadeRequests:
    """The applications that are ready to send, the mappings that made them, and what was found."""

    bundle: str
    units: UnitTable
    prepared: tuple[PreparedApplication, ...] = ()
    warnings: tuple[ReportedProblem, ...] = ()
    weighed: WeighedNeeds = NO_NEEDS


@dataclass(frozen=True, slots=True)
class _SplitInput:
    """What a submission is split with."""

    numbers: CaseNumbers
    attachments: Mapping[str, Payload]
    goods: SubmittedGoods
    stowed: StowedFields


def _make_requests(
    hub: Hub, arrived: StoredSubmission, submission: Submission, given: _SplitInput, root: etree._Element
) -> _MadeRequests:
    """Return the requests of a submission; a withdrawal has none. Raises with every problem found."""
    bundle = given.goods.rules.bundle
    if submission.function == "1":
        _check_enclosed_attachments(submission, given.attachments)
        return _MadeRequests(bundle.digest, bundle.units)
    facts = index_submission(root, keeps_fields=False, stowed=given.stowed)
    broken = find_broken_rules(facts, bundle, arrived.row.received_at)
    prepared = _prepare_applications(bundle, submission, (given.numbers, given.attachments, broken), facts)
    day = find_local_day(arrived.row.received_at, hub.zone)
    weighed = weigh_needs(hub, submission, given.goods, day)
    if weighed.problems:
        raise SubmissionRejectedError(weighed.report_problems())
    found = (_report_finding(one) for one in broken if not one.is_error)
    return _MadeRequests(bundle.digest, bundle.units, prepared, (*found, *weighed.report_warnings()), weighed)


@dataclass(frozen=True, slots=True)
class SubmittedGoods:
    """What the needs of goods are weighed by: the rules and the case of the submission.

    `used` is what the goods use of certificates; `numbers` has what their case has, and `release` what they
    take of a parent.
    """

    rules: DecisionRules
    used: ClaimedRequirements
    numbers: CaseNumbers
    release: PreparedRelease | None = None


def weigh_needs(hub: Hub, submission: Submission, goods: SubmittedGoods, day: date) -> WeighedNeeds:
    """Return what the rules of need say; an admitted case is refused for what is made lacking alone."""
    rules, numbers, release = goods.rules, goods.numbers, goods.release
    standing, amended = numbers.standing, numbers.case if submission.function == "13" else ""
    covered = list_covered_laws(hub, goods.used, day, amended) | list_released_laws(hub, release)
    awaits = find_undecided_parent(hub, release)
    weighed = weigh_submission_needs(submission, rules, hub.need_policy, day, standing, covered, awaits)
    if standing is None or standing.held or not weighed.problems:
        return weighed
    standing = add_former_lacks(hub, standing, numbers.case, rules, release)
    return weigh_submission_needs(submission, rules, hub.need_policy, day, standing, covered)


def describe_findings(intake: ProcessedSubmission) -> dict[str, Any]:
    """Return the warnings of an admitted submission, and what was weighed, for the row of its case."""
    found = [asdict(one) for one in intake.warnings]
    return ({"warnings": found} if found else {}) | intake.needs.describe_for_case()


def is_transient_error(error: GatewayError) -> bool:
    """Return whether an error is not about the submission: a fault of ours, or one that may pass."""
    return error.problem.ours or error.problem.retry


def make_found_problem(error: GatewayError) -> ReportedProblem:
    """Return an error as a problem to report to the applicant."""
    return ReportedProblem(error.problem.id, error.detail, error.location)


def _open_submission(arrived: StoredSubmission, limits: WireLimits) -> OpenedDocument:
    if not arrived.payloads:
        raise GatewayError(DOCUMENT_INVALID, "the message carries no submission", "cid:")
    opened = open_document(arrived.payloads[0].content, limits)
    root = opened.root
    accepted, remarks = validate_document(root, load_shipped_schemas(SUBMISSION))
    if not accepted:
        raise SubmissionRejectedError(
            tuple(ReportedProblem(one.problem.id, one.message, one.pointer or one.xpath) for one in remarks),
            _read_reference(root),
        )
    return opened


def _read_reference(root: etree._Element) -> str:
    text = root.findtext(f"{{{SUB}}}Reference") or ""
    return _LINE_BREAK.sub(" ", text.strip())[:35].strip()


def check_function(action: str, function: str) -> None:
    """Raise GW311 for an action that is not served, GW404 for a Function of another action."""
    if action not in _FUNCTION_OF:
        raise GatewayError(NOT_SUPPORTED, f"action {action[:40]!r} is not served yet", "eb:Action")
    if function != _FUNCTION_OF[action]:
        detail = f"action {action} carries Function {_FUNCTION_OF[action]}, not {function[:10]}"
        raise GatewayError(RULE_BROKEN, detail, "/Submission/Function")


def _check_declarant(
    arrived: StoredSubmission, submission: Submission, signing: SignerAdmission, at: datetime
) -> str:
    filing = Filing(
        submission.declarant_id,
        submission.agent_id,
        signing.party,
        arrived.row.from_party,
        signing.voucher,
    )
    return authorize_filing(filing, arrived.knowledge.make_filing_register(at))


def _collect_attachments(arrived: StoredSubmission, submission: Submission) -> dict[str, Payload]:
    """Return the further payloads by content id, each with the media type that the submission states.

    No signature covers the MIME media type of a part (ebMS 2.0 §4.1.3 digests only its content),
    and the type is sent on to the agency.
    """
    stated = {one.content_id: one.media_type for one in submission.attachments}
    return {
        one.content_id: replace(one, media_type=stated.get(one.content_id) or one.media_type)
        for one in arrived.payloads[1:]
    }


def _assign_numbers(
    hub: Hub, arrived: StoredSubmission, submission: Submission, declarant: str
) -> CaseNumbers:
    """Return new numbers, or those of the case that is supplemented, amended or withdrawn."""
    held = find_held_case(hub, submission, declarant, arrived.row)
    if held is not None:
        return make_held_numbers(hub, submission, held, (arrived.row.id, arrived.row.received_at.year))
    message, year = arrived.row.id, arrived.row.received_at.year
    if submission.function == "9":
        new = {
            one.id: make_application_number(message, year, one.position) for one in submission.applications
        }
        return CaseNumbers(make_case_number(message, year), new)
    return check_open_case(hub, submission, declarant, (message, year))


def find_rules_of_case(hub: Hub, numbers: CaseNumbers, received_at: datetime) -> DecisionRules:
    """Return the rules of the case that is changed, else those in force when its message was received.

    A case whose mappings are not stored is changed by those in force: it was opened by a version of the
    program that did not store them.
    """
    pinned = None if numbers.bundle is None else hub.find_pinned_rules(numbers.bundle)
    return pinned or hub.find_rules(received_at)


def _report_finding(finding: DeclarationFinding) -> ReportedProblem:
    return ReportedProblem(finding.problem.id, finding.detail, finding.pointer)


def _check_enclosed_attachments(submission: Submission, further: Mapping[str, Payload]) -> None:
    wrong = check_attachments(submission, {cid: payload.octets for cid, payload in further.items()})
    if wrong:
        raise SubmissionRejectedError(tuple(map(make_found_problem, wrong)))


def _prepare_applications(
    bundle: MappingBundle,
    submission: Submission,
    given: tuple[CaseNumbers, Mapping[str, Payload], Sequence[DeclarationFinding]],
    facts: SubmissionIndex,
) -> tuple[PreparedApplication, ...]:
    """Return every application ready to send; raises with the problems of attachments and of fields."""
    numbers, further, broken = given
    done = write_requests(
        facts,
        bundle,
        {key: numbers.list_hub_values(key) for key in numbers.applications},
        # What an amendment changes is found by comparing both trees.
        spends_fields=submission.function != "13",
    )
    wrong = check_attachments(submission, {cid: payload.octets for cid, payload in further.items()})
    problems = (
        *(_report_finding(one) for one in broken if one.is_error),
        *(ReportedProblem(one.problem.id, one.sentence, one.pointer) for one in done.problems),
    )
    if problems or wrong:
        raise SubmissionRejectedError((*map(make_found_problem, wrong), *problems))
    by_id = {request.application: request for request in done.requests}
    return tuple(
        PreparedApplication(
            one,
            numbers.applications[one.id],
            by_id[one.id],
            numbers.laws.get(one.id) or by_id[one.id].laws,
        )
        for one in submission.applications
    )
