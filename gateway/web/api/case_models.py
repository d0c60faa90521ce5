"""The answers about cases: summary, applications, notices, decisions, messages."""

from __future__ import annotations

from datetime import date as Day  # noqa: N812 - a field has the name
from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from pydantic.config import JsonDict

from gateway.cases import DeadlineState
from gateway.state_machines import CASE, CLEARANCE, FEE, MESSAGE, REQUEST
from gateway.web.api.api_operations import AnswerModel, QueryModel
from gateway.wire import convert_to_utc, normalize_text


def _require_text_of_time(value: object) -> object:
    """Raise for a bare number: the checker would take it for seconds."""
    if isinstance(value, str) and "T" not in value.upper():
        raise ValueError("a time must be written as in RFC 3339")
    return value


def _compose(value: object) -> object:
    """Return a text as values of submissions are compared: in Normalization Form C."""
    return normalize_text(value) if isinstance(value, str) else value


Moment = Annotated[AwareDatetime, BeforeValidator(_require_text_of_time), AfterValidator(convert_to_utc)]
ComposedText = Annotated[str, BeforeValidator(_compose)]
_OUTCOMES = ("APPROVED", "PARTIAL", "REJECTED", "REFUSED", "WITHDRAWN")
Cursor = Annotated[str, Field(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
CaseState = Annotated[str, Field(json_schema_extra={"enum": list(CASE.states)})]
Outcome = Annotated[str, Field(json_schema_extra={"enum": list(_OUTCOMES)})]
ClearanceState = Annotated[str, Field(json_schema_extra={"enum": list(CLEARANCE.states)})]
FeeDeadlineState = Annotated[str, Field(json_schema_extra={"enum": [one.value for one in DeadlineState]})]
FeeState = Annotated[str, Field(json_schema_extra={"enum": list(FEE.states)})]
RequestState = Annotated[str, Field(json_schema_extra={"enum": list(REQUEST.states)})]
MessageState = Annotated[str, Field(json_schema_extra={"enum": list(MESSAGE.states)})]


class CaseQuery(QueryModel):
    """Which cases a list shows."""

    reference: ComposedText | None = Field(
        None, min_length=1, max_length=64, description="The declarant's own reference."
    )
    goods_reference: ComposedText | None = Field(
        None,
        min_length=1,
        max_length=70,
        description="A UCR, bill of lading, container or cargo number of the goods, in full.",
    )
    state: str | None = Field(
        None, pattern=f"^({'|'.join(CASE.states)})$", description="Only cases in this state."
    )
    outcome: str | None = Field(
        None, pattern=f"^({'|'.join(_OUTCOMES)})$", description="Only cases with this outcome."
    )
    since: Moment | None = Field(None, description="Only cases opened at this time or later.")
    until: Moment | None = Field(None, description="Only cases opened at this time or earlier.")
    cursor: Cursor | None = Field(None, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=200, description="Number of cases on a page.")


class CaseSummary(AnswerModel):
    """One case."""

    number: str = Field(description="The case number.", examples=["SW260000001X"])
    reference: str = Field(description="The declarant's own reference.")
    state: CaseState
    outcome: Outcome | None = None
    document: str = Field(description="Type of the declaration; - where it could not be read.")
    declarant: str = Field(description="The party for which it was filed.")
    applicant: str = Field(description="The party that sent it.")
    ucr: str | None = None
    opened_at: datetime
    due_at: datetime | None = None
    closed_at: datetime | None = None


class CaseList(AnswerModel):
    """A page of cases, newest first."""

    cases: list[CaseSummary]
    next: str | None = Field(None, description="Cursor of the next page; absent on the last page.")


class FindingView(AnswerModel):
    """A problem or a warning that was found in a submission."""

    id: str
    text: str
    pointer: str | None = None


class MissingDocument(AnswerModel):
    """A need of a held case; any one of the documents answers it."""

    text: str
    pointer: str | None = None
    item: int | None = Field(None, description="Absent where several needs are told as one.")
    law: str | None = None
    documents: list[str]
    organisations: list[str]


class HeldCase(AnswerModel):
    """The time until which a case is held, and the missing documents."""

    until: datetime = Field(description="Then the case is refused.")
    missing: list[MissingDocument]
    problems: list[FindingView] = Field(
        default=[], description="Why it could not go on when others had brought something."
    )


class WorkingSeconds(AnswerModel):
    """The working time that each holder has had an application so far, in seconds."""

    applicant: int = 0
    agency: int = 0
    hub: int = 0


_HOLDER_NAMES: Final[JsonDict] = {"enum": ["applicant", "agency", "hub"]}
_TASK_NAMES: Final = [
    *("pay", "answer", "inspect", "cancel", "decide", "forward", "reach"),
    *("file", "file_again", "parent"),
]


class DueTask(AnswerModel):
    """A task that is due: who has it, since when and until when."""

    holder: str = Field(json_schema_extra=_HOLDER_NAMES)
    task: str = Field(
        examples=_TASK_NAMES,
        description="`cancel`: the agency has to say whether it cancels the application.",
    )
    fee: str | None = Field(None, description="The number of the fee that must be paid.")
    since: datetime | None = None
    due_at: datetime | None = None


class Custody(AnswerModel):
    """Who has the next move about an application; about the case itself while it is held.

    Holder, task and times are those of the first of the `tasks`.
    """

    application: str | None = Field(None, description="The number of the application; absent of a held case.")
    agency: str | None = None
    holder: str | None = Field(
        None,
        json_schema_extra=_HOLDER_NAMES,
        description="Absent when nothing is due: after the decision, once every fee is settled.",
    )
    task: str | None = Field(None, examples=_TASK_NAMES)
    since: datetime | None = None
    due_at: datetime | None = None
    tasks: list[DueTask] = Field(
        description="Every task that is due. Fees come first, also after the decision; each is a task."
    )
    working_seconds: WorkingSeconds | None = Field(
        None, description="In the working hours of the agency; absent where its calendar does not know a day."
    )


class ResultReference(AnswerModel):
    """A signed result of the case."""

    message_id: str
    issued_at: datetime


class OutsideResult(AnswerModel):
    """A decision that an agency made without an application, about a number that an item names."""

    item: int
    law: str
    decision: str
    agency: str
    number: str
    quantity: str | None = Field(
        None,
        description="What stands written off for the case. Absent where nothing is, and in a child "
        "declaration: it is written off for the parent.",
    )
    unit: str | None = Field(None, description="The unit of the quantity.")
    conditions: list[str]
    notice: str
    issued_at: datetime


class FeeMove(AnswerModel):
    """A payment or a refund."""

    kind: str = Field(json_schema_extra={"enum": ["payment", "refund"]})
    reference: str = Field(description="The provider's number of a payment; ours of a refund.")
    state: str = Field(
        json_schema_extra={"enum": ["COUNTED", "NOT_COUNTED", "ORDERED", "DONE"]},
        description="NOT_COUNTED: it is given back. ORDERED: it is not given back yet.",
    )
    amount: str
    currency: str
    moved_at: datetime | None = None


class Fee(AnswerModel):
    """A fee that an agency demands for an application."""

    number: str = Field(examples=["A26000001001N-F01"])
    application: str = Field(description="The number of the application.")
    agency: str
    kind: str = Field(description="application, inspection or general.")
    gate: str = Field(
        json_schema_extra={"enum": ["forwarding", "result"]},
        description="forwarding: the application is held until it is paid.",
    )
    state: FeeState
    amount: str | None = Field(None, description="Absent for a fee that is paid elsewhere.")
    currency: str | None = None
    due_on: Day | None = Field(None, description="The last day.")
    due_at: datetime | None = Field(None, description="Until when exactly; absent where that is not known.")
    deadline: FeeDeadlineState | None = Field(None, description="What became of that time.")
    payment_notice: str | None = Field(None, description="The agency's own number of it.")
    refundable: bool
    address: str | None = Field(None, description="Where it is paid; only while it can be paid there.")
    paid_at: datetime | None = None
    moves: list[FeeMove] = Field(description="What was paid and given back, oldest first.")


class ItemRelease(AnswerModel):
    """An item, or a part of one, that a child declaration took."""

    item: int
    child: str = Field(description="The case number of the child.")
    measure: str | None = Field(None, description="Absent for an item without a measure.")
    quantity: str | None = None
    unit: str | None = None
    released_at: datetime
    returned_at: datetime | None = Field(None, description="When it was given back.")


class ItemRest(AnswerModel):
    """What stays of an item, by one measure."""

    item: int
    measure: str
    quantity: str
    unit: str


class TakenItem(AnswerModel):
    """An item of the parent, or a part of one, that a child declaration holds."""

    item: int
    parent: str = Field(description="The case number of the parent.")
    measure: str | None = None
    quantity: str | None = None
    unit: str | None = None


class InheritedDecision(AnswerModel):
    """A decision on an application of the parent that counts for a child declaration."""

    item: int
    law: str
    decision: str
    number: str | None = None
    agency: str
    document: str
    parent: str = Field(description="The case number of the parent.")


class InheritedCancellation(AnswerModel):
    """A cancelled application above a child declaration: its items are not approved any more."""

    application: str = Field(description="The number of the application.")
    agency: str
    document: str
    items: list[int] = Field(description="The items that the child has of it.")
    parent: str | None = Field(
        None, description="The case number of the declaration with the application: the parent, or one above."
    )


class RemovedItem(AnswerModel):
    """An item that an amendment took out of the declaration, and why."""

    item: int
    at: datetime
    reason: str
    refused: bool = Field(description="Whether an agency had refused it.")


class Case(CaseSummary):
    """One case, with the findings in its submission and the results that were made."""

    message_id: str = Field(description="The id of the message that opened the case.")
    clearance: ClearanceState | None = Field(
        None, description="The state of clearance; absent while customs has said nothing."
    )
    problems: list[FindingView] = Field(description="Why the submission was refused.")
    warnings: list[FindingView]
    held: HeldCase | None = Field(None, description="Only of a case in the state HELD.")
    results: list[ResultReference] = Field(
        description="Its signed results, oldest first; a correction adds one."
    )
    outside_results: list[OutsideResult] = Field(
        description="Results without an application, under numbers that the declaration names."
    )
    fees: list[Fee] = Field(description="What agencies demand for its applications.")
    released: list[ItemRelease] = Field(
        description="What child declarations took of its items, one row for each measure; given back too."
    )
    stays: list[ItemRest] = Field(description="What is left of each item of which something has left.")
    taken: list[TakenItem] = Field(description="Of a child declaration: what it holds of its parent.")
    inherited: list[InheritedDecision] = Field(
        description="Of a child declaration: the decisions of its parent that count for it."
    )
    inherited_cancellations: list[InheritedCancellation] = Field(
        description="Of a child declaration: cancelled applications of its parent that concern it (GW410)."
    )
    removed: list[RemovedItem] = Field(description="The items that amendments took out of the declaration.")
    awaited: list[str] = Field(description="Numbers that the declaration names and no agency has said yet.")
    custody: list[Custody] = Field(description="Who has the next move, since when and until when.")


class Decision(AnswerModel):
    """The decision in force on one item under one law."""

    item: int
    law: str
    decision: str
    number: str | None = None
    date: Day | None = None
    quantity: str | None = None
    unit: str | None = None
    conditions: list[str]
    notice: str
    issued_at: datetime
    counts: bool = Field(
        description="False when its application was cancelled, or when it approves what was withdrawn."
    )


class Application(AnswerModel):
    """One application of the case to an agency, with the decisions of the agency."""

    number: str
    application: str = Field(description="The id of the application in the submission.")
    agency: str
    document: str
    state: RequestState
    status_code: str | None = None
    receipt_number: str | None = None
    due_at: datetime | None = None
    decided_at: datetime | None = None
    decisions: list[Decision]


class ApplicationList(AnswerModel):
    """The applications of a case."""

    applications: list[Application]


class Notice(AnswerModel):
    """A notice of an agency about an application."""

    number: str
    application: str = Field(description="The number of the application.")
    agency: str
    issued_at: datetime
    received_at: datetime
    status_code: str
    text: str
    pointers: list[str]
    deadline: datetime | None = None
    stated_at: datetime | None = Field(
        None,
        description="The time that the notice states, ahead of the clock. It counts from `issued_at`.",
    )
    overruled_by: str | None = Field(
        None,
        description="The number of the notice that counted already when this one came, which has no effect.",
    )


class NoticeList(AnswerModel):
    """The notices of a case, in the order in which they were received."""

    notices: list[Notice]


class MessageProperty(AnswerModel):
    """A property from the header of the message, such as originalSender; `type` if the sender gave one."""

    name: str
    value: str
    type: str | None = None


class MessagePart(AnswerModel):
    """One payload of a message, without its octets."""

    cid: str = Field(description="Its Content-ID.")
    media_type: str
    size: int = Field(description="Octets, after decryption and expansion.")
    properties: list[MessageProperty]


class Message(AnswerModel):
    """A message of the caller, or one for the caller."""

    message_id: str
    direction: str = Field(json_schema_extra={"enum": ["in", "out"]}, description="in: the caller sent it.")
    channel: str = Field(description="api, console, or the messaging protocol.", examples=["api"])
    action: str
    state: MessageState
    received_at: datetime = Field(description="When it was received, or made.")
    case: str | None = Field(None, description="The number of its case, as soon as it has one.")
    ref_to_message_id: str | None = None
    sha256: str = Field(description="The digest of the octets that were received or made.")
    problem: str | None = None
    has_receipt: bool
    properties: list[MessageProperty] = Field(description="Those of the message, as AS4 has them.")
    parts: list[MessagePart] = Field(description="In the order of the message.")


class EvidenceRecord(AnswerModel):
    """One record of the evidence: a leaf of the Merkle tree."""

    kind: str
    subject: str
    at: datetime
    digest: str | None = Field(None, description="SHA-256 of the octets that it is about.")
    data: str = Field(description="Its data as canonical JSON; of one that is complete, what was hashed.")
    complete: bool = Field(
        description="False where some data is not for the parties: its hash is over more than is shown."
    )
    leaf_hash: str
    sequence: int | None = Field(None, description="Its place in the tree, as soon as it has one.")


class WithheldRecord(AnswerModel):
    """A record that is not for the parties of the case, or that was changed in the database, by its hash."""

    leaf_hash: str
    sequence: int | None = Field(None, description="Its place in the tree, as soon as it has one.")


class Evidence(AnswerModel):
    """The evidence about a case, its messages and its applications, oldest first."""

    case: str
    records: list[EvidenceRecord]
    withheld: list[WithheldRecord] = Field(
        description="The other records: what the inside of an agency or of the hub is about, and what was"
        " changed in the database."
    )
