"""What a stored message turns out to be: a submission judged, split and put into calls.

Nothing here writes.  All that is slow about admitting a submission (its signature, its
schemas, the split, the wording of calls) happens here, before a transaction begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from lxml import etree
from sqlalchemy import Row

from gateway.cases.documents import judge
from gateway.cases.filing import Filing, check_filing
from gateway.cases.numbers import application_number, case_number
from gateway.cases.result import FoundProblem
from gateway.cases.submission import Application, Submission, check_attachments, read_submission
from gateway.errors import (
    DOCUMENT_INVALID,
    NO_OPEN_CASE,
    NOT_SUPPORTED,
    RULE_BROKEN,
    GatewayError,
)
from gateway.harmonize import Bundle, Request, split
from gateway.hub.hub import Hub
from gateway.hub.knowledge import Knowledge
from gateway.hub.trust.signers import Moments, Opened, Signing, open_document, signing_of
from gateway.model import Payload
from gateway.states import CASE, REQUEST
from gateway.store import cases, requests
from gateway.store.engine import reading
from gateway.wire.namespaces import SUB
from gateway.wire.prescan import Limits
from gateway.wire.shipped import SUBMISSION, schemas

__all__ = ["Arrived", "Intake", "Prepared", "RefusedError", "examine", "found_problem", "is_passing"]

#: A reference is one line in every document of ours.
_LINE_BREAK = re.compile(r"[\t\r\n]")

#: What the caller's Action promises of the submission's Function (contracts of the service).
_FUNCTION_OF = {"Submit": "9", "Supplement": "35"}


@dataclass(frozen=True, slots=True)
class Arrived:
    """A stored business message with its payloads, as the local agent hands it over."""

    row: Row[Any]
    payloads: tuple[Payload, ...]
    knowledge: Knowledge


@dataclass(frozen=True, slots=True)
class Prepared:
    """One application, ready: its request document and the number the agency will know it by."""

    application: Application
    number: str
    request: Request


@dataclass(frozen=True, slots=True)
class Intake:
    """A submission that may open (or supplement) a case; `bundle` is the digest of what it was split by."""

    submission: Submission
    declarant: str
    signing: Signing
    case_number: str
    bundle: str
    prepared: tuple[Prepared, ...]
    attachments: Mapping[str, Payload]
    root: etree._Element = field(repr=False)


class RefusedError(Exception):
    """The submission is refused: every problem found, and its reference where it could be read.

    `signing` says who was admitted as its signer, where it came so far.
    """

    def __init__(
        self,
        problems: tuple[FoundProblem, ...],
        reference: str = "",
        declarant: str = "",
        signing: Signing | None = None,
    ) -> None:
        super().__init__("; ".join(problem.id for problem in problems))
        self.problems = problems
        self.reference = reference
        self.declarant = declarant
        self.signing = signing


def examine(hub: Hub, arrived: Arrived, at: datetime) -> Intake:
    """Judge and split the submission of a message; raises RefusedError with all that is wrong.

    What is wrong with us, or may pass, refuses nothing: such a GatewayError goes through.
    """
    reference = declarant = ""
    signing: Signing | None = None
    try:
        opened = _opened(arrived, hub.limits)
        root = opened.root
        reference = _readable_reference(root)
        signing = signing_of(hub, opened, arrived.knowledge, Moments(arrived.row.received_at, at))
        submission = read_submission(root)
        _check_function(arrived.row.action, submission.function)
        declarant = _declarant(arrived, submission, signing, at)
        further = _attachments(arrived, submission)
        numbers = _numbers(hub, arrived, submission, declarant)
        # Taken once: the mappings in force may change while this submission is split.
        bundle = hub.rules.bundle
        prepared = _prepared(bundle, submission, (numbers.applications, further), root)
    except GatewayError as error:
        if is_passing(error):
            raise
        raise RefusedError((found_problem(error),), reference, declarant, signing) from error
    except RefusedError as error:
        error.reference, error.declarant = error.reference or reference, declarant
        error.signing = signing
        raise
    return Intake(submission, declarant, signing, numbers.case, bundle.digest, prepared, further, root)


def is_passing(error: GatewayError) -> bool:
    """Tell whether an error says nothing of the submission: a fault of ours, or one that may pass."""
    return error.problem.ours or error.problem.retry


def found_problem(error: GatewayError) -> FoundProblem:
    """Return an error as a problem to tell the applicant."""
    return FoundProblem(error.problem.id, error.detail, error.location)


def _opened(arrived: Arrived, limits: Limits) -> Opened:
    if not arrived.payloads:
        raise GatewayError(DOCUMENT_INVALID, "the message carries no submission", "cid:")
    opened = open_document(arrived.payloads[0].content, limits)
    root = opened.root
    accepted, remarks = judge(root, schemas(SUBMISSION))
    if not accepted:
        raise RefusedError(
            tuple(FoundProblem(one.problem.id, one.message, one.pointer or one.xpath) for one in remarks),
            _readable_reference(root),
        )
    return opened


def _readable_reference(root: etree._Element) -> str:
    text = root.findtext(f"{{{SUB}}}Reference") or ""
    return _LINE_BREAK.sub(" ", text.strip())[:35].strip()


def _check_function(action: str, function: str) -> None:
    if action not in _FUNCTION_OF:
        raise GatewayError(NOT_SUPPORTED, f"action {action[:40]!r} is not served yet", "eb:Action")
    if function != _FUNCTION_OF[action]:
        detail = f"action {action} carries Function {_FUNCTION_OF[action]}, not {function[:10]}"
        raise GatewayError(RULE_BROKEN, detail, "/Submission/Function")


def _declarant(arrived: Arrived, submission: Submission, signing: Signing, at: datetime) -> str:
    filing = Filing(
        submission.declarant_id,
        submission.agent_id,
        signing.party,
        arrived.row.from_party,
        signing.voucher,
    )
    return check_filing(filing, arrived.knowledge.register(at))


def _attachments(arrived: Arrived, submission: Submission) -> dict[str, Payload]:
    """Return the further payloads by content id, each of the media type that the submission states.

    What MIME calls a part no signature covers (ebMS 2.0 §4.1.3 digests its content), and the
    type goes on to the agency with it.
    """
    stated = {one.content_id: one.media_type for one in submission.attachments}
    return {
        one.content_id: replace(one, media_type=stated.get(one.content_id) or one.media_type)
        for one in arrived.payloads[1:]
    }


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The case's number, and the number of each application by its id."""

    case: str
    applications: Mapping[str, str]


def _numbers(hub: Hub, arrived: Arrived, submission: Submission, declarant: str) -> _Numbers:
    """Return new numbers, or those of the case that a supplement speaks about."""
    if submission.function == "9":
        message, year = arrived.row.id, arrived.row.received_at.year
        new = {one.id: application_number(message, year, one.position) for one in submission.applications}
        return _Numbers(case_number(message, year), new)
    with reading(hub.engine) as conn:
        case = cases.by_reference(conn, declarant, submission.reference)
        if case is None or case.state in CASE.final or case.state == "DECIDED":
            raise GatewayError(
                NO_OPEN_CASE, f"no open case under {submission.reference!r}", "/Submission/Reference"
            )
        asked = {row.application: row for row in requests.of_case(conn, case.id)}
    for one in submission.applications:
        row = asked.get(one.id)
        if row is None or row.document != one.document or row.state in REQUEST.final:
            detail = f"case {case.number} has no open application {one.id[:40]!r} of {one.document[:40]!r}"
            raise GatewayError(NO_OPEN_CASE, detail, f"APP[{one.position}]")
        if {item for item, _ in row.required} != set(one.items):
            detail = f"a supplement concerns the items of application {one.id[:40]!r}, no others"
            raise GatewayError(RULE_BROKEN, detail, f"APP[{one.position}]/Items")
    return _Numbers(case.number, {one.id: str(asked[one.id].number) for one in submission.applications})


def _prepared(
    bundle: Bundle,
    submission: Submission,
    given: tuple[Mapping[str, str], Mapping[str, Payload]],
    root: etree._Element,
) -> tuple[Prepared, ...]:
    """Return every application ready to send; refuses with what is wrong in attachments and in fields."""
    numbers, further = given
    done = split(root, bundle, {key: {"application_number": number} for key, number in numbers.items()})
    wrong = check_attachments(submission, {cid: payload.content for cid, payload in further.items()})
    problems = tuple(FoundProblem(one.problem.id, one.detail, one.pointer) for one in done.problems)
    if problems or wrong:
        raise RefusedError((*map(found_problem, wrong), *problems))
    by_id = {request.application: request for request in done.requests}
    return tuple(Prepared(one, numbers[one.id], by_id[one.id]) for one in submission.applications)
