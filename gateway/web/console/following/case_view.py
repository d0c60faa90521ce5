"""The content of the page of one case, read once: its holder, applications, timeline and documents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import CaseCustody, CustodyHolder, CustodyTask, CustomsReason, find_case_custody
from gateway.errors import PROBLEMS, GatewayError, Problem
from gateway.harmonize import FieldFinder, MappingBundle
from gateway.hub import read_shown_notice, read_standing_warnings
from gateway.notice_order import order_notice
from gateway.operations import (
    NoEffect,
    Replacement,
    describe_releases,
    explain_no_effect,
    find_fee_deadlines,
    find_replacement,
    load_request_custodies,
    read_request_times,
)
from gateway.state_machines import CASE, REQUEST
from gateway.store import (
    CaseRow,
    DecisionWithTextRow,
    FeeMovementRow,
    FeeRow,
    MessageRow,
    NoticeRow,
    RequestWithFeesRow,
    TransitionRow,
    agency_requests,
    customs_notices,
    decisions,
    fees,
    messages,
    notices,
    transitions,
)
from gateway.web.console.following.case_signatures import (
    SignatureFact,
    SignedStatement,
    StateWords,
    describe_case_state,
    describe_custody,
    describe_decision,
    describe_fee_state,
    describe_request_state,
    list_agency_statements,
    list_message_signatures,
    verify_own_document,
)
from gateway.web.console.page_formats import (
    choose_label,
    name_agency,
    name_document,
    translate,
    translate_word,
)
from gateway.web.console.page_guards import services
from gateway.wire import parse_xml

_MOST_MESSAGES: Final = 200
_LONGEST_TEXT: Final = 2000
#: The event of the notices that ask the applicant for the task.
_ASKED_BY: Final = {CustodyTask.ANSWER: "ask", CustodyTask.PAY: "fee"}
_OPEN_FEE_STATES: Final = ("LEVIED", "ORDERED")
#: The states of a refund, each with the state of a fee whose words describe it.
_REFUND_STATES: Final = {"ORDERED": "REFUNDING", "DONE": "REFUNDED"}
#: Transitions that the timeline omits, because a notice of the agency explains them.
_TOLD_BY_NOTICE: Final = frozenset({"ask", "inspect", "fee", "decide", "decide_item", "correct"})


@dataclass(frozen=True, slots=True)
class PointedField:
    """A field that an agency points at: its label in the language of the page, and the pointer."""

    label: str
    pointer: str


@dataclass(frozen=True, slots=True)
class NoticeView:
    """A notice of an agency as received, with the signed octets that contained it."""

    row: NoticeRow
    status: str
    event: str
    fields: tuple[PointedField, ...]
    decided: int
    statement: SignedStatement | None


@dataclass(frozen=True, slots=True)
class DecisionView:
    """A decision of an agency on one item, and the notice that counts in its place.

    `no_effect` says why a decision does not count that was not replaced.
    """

    row: DecisionWithTextRow
    state: StateWords
    replacement: Replacement | None
    no_effect: str = ""


@dataclass(frozen=True, slots=True)
class RefundView:
    """An amount that is given back, or was."""

    row: FeeMovementRow
    state: StateWords


@dataclass(frozen=True, slots=True)
class FeeView:
    """A fee of an application; with an address only while it can be paid there.

    `due_at` is the exact end of the time for payment; None if that is not known. `late` says that it was not
    paid in time. `refunds` are the amounts that the payment provider gives back.
    """

    row: FeeRow
    state: StateWords
    address: str
    due_at: datetime | None = None
    late: bool = False
    refunds: tuple[RefundView, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task that is due on an application, in words, with the latest notice that asks for it.

    `fee` is the fee that must be paid, if it is known which.
    """

    custody: CaseCustody
    sentence: str
    since: datetime | None
    notice: NoticeView | None
    fee: FeeView | None

    @property
    def is_own(self) -> bool:
        """Return whether the applicant has the task."""
        return self.custody.holder is CustodyHolder.APPLICANT


@dataclass(frozen=True, slots=True)
class ApplicationView:
    """One application of the case at its agency, with every task that is due on it."""

    row: RequestWithFeesRow
    agency: str
    document: str
    state: StateWords
    since: datetime | None
    tasks: tuple[TaskView, ...]
    notices: tuple[NoticeView, ...]
    decisions: tuple[DecisionView, ...]
    fees: tuple[FeeView, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnTask:
    """A task of the applicant, with its application."""

    application: ApplicationView
    task: TaskView


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One event: time, actor and text, with a notice that reports it, or a document that it led to."""

    at: datetime
    actor: str
    text: str
    kind: str = "idle"
    notice: NoticeView | None = None
    message: int | None = None


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A message of the case whose octets can be fetched, and the signatures on it."""

    message: MessageRow
    title: str
    signatures: tuple[SignatureFact, ...]
    attachments: int


@dataclass(frozen=True, slots=True)
class ProblemView:
    """A problem of a refused submission: the detail, its place, and the text of the catalogue on it."""

    id: str
    text: str
    field: PointedField | None
    problem: Problem | None
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class CaseView:
    """Everything that the page of a case shows."""

    case: CaseRow
    state: StateWords
    held: tuple[str, ...]
    until: datetime | None
    since: datetime
    applications: tuple[ApplicationView, ...]
    timeline: tuple[TimelineEntry, ...]
    documents: tuple[DocumentView, ...]
    problems: tuple[ProblemView, ...] = field(default=())
    #: The items that were released, stay, were taken and were removed, as `case show` prints them.
    moves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def own_tasks(self) -> tuple[OwnTask, ...]:
        """Return the tasks of the applicant: what must be paid first, then by deadline."""
        own_tasks = [
            OwnTask(application, task)
            for application in self.applications
            for task in application.tasks
            if task.is_own
        ]
        return tuple(sorted(own_tasks, key=lambda own: own.task.custody.order))

    @property
    def inherited(self) -> tuple[Mapping[str, Any], ...]:
        """Return the decisions of the parent that count for the case, each with its words."""
        return tuple(
            {**decision, "decision_state": describe_decision(decision["decision"])}
            for decision in self.moves.get("inherited", ())
        )


def read_case_view(conn: Connection, case: CaseRow) -> CaseView:
    """Return the content of the page of a case."""
    reader = _CaseReader(conn, case)
    rows = agency_requests.list_by_case(conn, case.id)
    custodies = load_request_custodies(conn, rows)
    applications = tuple(reader.read_application(row, custodies[row.id]) for row in rows)
    case_hold = (case.detail or {}).get("held")
    # bounded: a time that the hub wrote
    until = datetime.fromisoformat(case_hold["until"]) if case_hold else None
    custody = find_case_custody(case.state, itertools.chain.from_iterable(custodies.values()), case_hold)
    bundle = services.hub.rules.bundle
    steps = transitions.list_transitions(conn, CASE, case.id)
    moved = [row.at for row in steps if row.from_state != row.to_state]
    case_messages = messages.list_messages(conn, limit=_MOST_MESSAGES, case_id=case.id)
    # The documents are read before the timeline, which needs the subjects of the notices.
    documents = tuple(reader.read_document(row) for row in reversed(case_messages))
    since = [
        task.since
        for application in applications
        for task in application.tasks
        if task.custody in custody[:1] and task.since is not None
    ]
    return CaseView(
        case=case,
        state=describe_case_state(case.state, case.outcome, case_hold),
        held=tuple(dict.fromkeys(describe_custody(case_custody, bundle) for case_custody in custody)),
        until=until,
        since=max(since or moved or [case.opened_at]),
        applications=applications,
        timeline=tuple(reader.list_timeline(steps, applications, case_messages)),
        documents=documents,
        problems=tuple(reader.list_problems()),
        moves=describe_releases(conn, case),
    )


class _CaseReader:
    """Reads the parts of one case."""

    def __init__(self, conn: Connection, case: CaseRow) -> None:
        self._conn = conn
        self._case = case
        self._hub = services.hub
        self._signers = frozenset(signer.certificate.sha256 for signer in services.hub.signers)
        self._bundle: MappingBundle = services.hub.rules.bundle
        self._fields = FieldFinder(self._bundle)
        self._steps: dict[int, Sequence[TransitionRow]] = {}
        self._request_labels: dict[int, str] = {}

    def read_application(self, row: RequestWithFeesRow, custodies: Sequence[CaseCustody]) -> ApplicationView:
        """Return an application with its notices, decisions and fees, and the tasks that are due on it.

        Keeps its state transitions in `_steps`, for the timeline.
        """
        steps = self._steps[row.id] = transitions.list_transitions(self._conn, REQUEST, row.id)
        decision_rows = decisions.list_by_request(self._conn, row.id)
        current = {
            decision_row.decision for decision_row in decision_rows if decision_row.superseded_by is None
        }
        notice_views = tuple(self._list_notices(row, decision_rows))
        fee_views = tuple(self._list_fees(row, custodies))
        times = read_request_times(self._conn, self._case, row, services.clock())
        return ApplicationView(
            row=row,
            agency=name_agency(self._bundle, row.agency),
            document=name_document(self._bundle, row.document),
            state=describe_request_state(
                row.state, _summarize_decisions(current), is_asked=row.cancellation == "ASKED"
            ),
            since=max((step.at for step in steps if step.from_state != step.to_state), default=None),
            tasks=tuple(
                self._make_task(custody, times.find_start(custody), notice_views, fee_views)
                for custody in custodies
            ),
            notices=notice_views,
            decisions=tuple(
                self._read_decision(row, decision_row, decision_rows)
                for decision_row in sorted(
                    decision_rows,
                    key=lambda decision_row: (decision_row.item, decision_row.law, decision_row.id),
                )
            ),
            fees=fee_views,
        )

    def _make_task(
        self,
        custody: CaseCustody,
        since: datetime | None,
        notice_views: Sequence[NoticeView],
        fee_views: Sequence[FeeView],
    ) -> TaskView:
        """Return a task in words, with the latest notice that asks for it; of a fee, that which levied it."""
        fee = next((view for view in fee_views if view.row.number == custody.fee), None)
        asking = [notice for notice in notice_views if notice.event == _ASKED_BY.get(custody.task)]
        if fee is not None:
            asking = [notice for notice in asking if notice.row.number == fee.row.notice]
        latest = max(
            asking,
            key=lambda notice: (order_notice(notice.row.issued_at, notice.row.number), notice.row.id),
            default=None,
        )
        return TaskView(custody, describe_custody(custody, self._bundle), since, latest, fee)

    def _list_fees(self, request: RequestWithFeesRow, custodies: Sequence[CaseCustody]) -> Iterator[FeeView]:
        """Yield the fees of an application; the payment address is given only while the fee is to be paid."""
        payable = {custody.fee for custody in custodies}
        rows = fees.list_by_request(self._conn, request.id)
        due = find_fee_deadlines(self._conn, rows)
        for row in rows:
            address = row.address or "" if row.state == "ORDERED" else ""
            deadline = due.get(row.number)
            late = deadline is not None and deadline.state in ("OVERDUE", "LATE")
            at = None if deadline is None else deadline.due_at
            refunds = tuple(self._list_refunds(row.id))
            is_postponed = row.state in _OPEN_FEE_STATES and row.number not in payable
            state = describe_fee_state(row.state, is_postponed=is_postponed)
            yield FeeView(row, state, address, at, late, refunds)

    def _list_refunds(self, fee: int) -> Iterator[RefundView]:
        for row in fees.list_movements(self._conn, fee):
            if row.kind == "refund" and row.state in _REFUND_STATES:
                yield RefundView(row, describe_fee_state(_REFUND_STATES[row.state]))

    def _read_decision(
        self,
        request: RequestWithFeesRow,
        decision: DecisionWithTextRow,
        decision_rows: Sequence[DecisionWithTextRow],
    ) -> DecisionView:
        """Return a decision of a request; `decision_rows` are all of the request."""
        why = explain_no_effect(self._case, request, decision)
        replacement = find_replacement(decision, decision_rows)
        no_effect = "" if why is NoEffect.SUPERSEDED else translate_word(why or "")
        return DecisionView(decision, describe_decision(decision.decision), replacement, no_effect)

    def _list_notices(
        self, request: RequestWithFeesRow, decision_rows: Sequence[DecisionWithTextRow]
    ) -> Iterator[NoticeView]:
        """Yield the notices of an application, each with its status, fields and signed statement."""
        statements = {
            number: statement
            for statement in list_agency_statements(self._conn, request.id)
            for number in statement.notice_numbers
        }
        codes = self._hub.load_rules_of(self._conn, request).status_codes
        for row in notices.list_by_request(self._conn, request.id):
            code = codes.get(row.status_code)
            yield NoticeView(
                row=row,
                status="" if code is None else code.name,
                event="" if code is None else code.event,
                fields=tuple(self._find_field_label(pointer, request.document) for pointer in row.pointers),
                decided=sum(decision_row.notice_no == row.number for decision_row in decision_rows),
                statement=statements.get(row.number),
            )

    def _find_field_label(self, pointer: str, document: str = "") -> PointedField:
        """Return the label of the field at a pointer; without one the pointer alone."""
        form_fields = self._fields.find_by_location(pointer, document)
        labels = [choose_label(form_field) or form_field.name for form_field in form_fields[:3]]
        return PointedField(", ".join(labels), pointer)

    def list_problems(self) -> Iterator[ProblemView]:
        """Yield the needs and problems of a held case, or the problems of a refused one, then warnings."""
        detail = self._case.detail or {}
        warnings = read_standing_warnings(self._conn, self._case, lambda: self._bundle)
        general = (detail.get("problems", ()), False), (warnings, True)
        held = detail.get("held", {})
        lacks = (held.get("missing", ()), False), (held.get("problems", ()), False)
        for findings, is_warning in (*lacks, *general):
            for finding in findings:
                pointer = finding.get("pointer") or ""
                pointed_field = self._find_field_label(pointer) if pointer else None
                problem = PROBLEMS.get(finding["id"])
                yield ProblemView(
                    finding["id"], finding["text"][:_LONGEST_TEXT], pointed_field, problem, is_warning
                )

    def list_timeline(
        self,
        steps: Sequence[TransitionRow],
        applications: Sequence[ApplicationView],
        case_messages: Sequence[MessageRow],
    ) -> list[TimelineEntry]:
        """Return the events of the case, the newest first."""
        entries = [
            *self._list_message_entries(case_messages, "in"),
            *self._list_case_entries(steps, is_first=True),
        ]
        for application in applications:
            entries += self._list_application_entries(application)
        entries += self._list_customs_entries()
        entries += [
            *self._list_case_entries(steps, is_first=False),
            *self._list_message_entries(case_messages, "out"),
        ]
        # Events with the same time happened in the order of this list.
        return sorted(entries, key=lambda entry: entry.at)[::-1]

    def _list_message_entries(
        self, case_messages: Sequence[MessageRow], direction: str
    ) -> Iterator[TimelineEntry]:
        """Yield the timeline entries of the messages of one `direction`: ``in`` or ``out``."""
        sentences = {
            ("in", "Submit"): translate("The submission was received."),
            ("in", "Supplement"): translate("The answer to a question was received."),
            ("in", "Withdraw"): translate("The withdrawal was received."),
            ("in", "Amend"): translate("The amendment was received."),
            ("out", "Result"): translate("The result was issued."),
            ("out", "Notice"): translate("A notice was issued."),
        }
        for row in reversed(case_messages):
            if row.direction == direction:
                actor = row.from_party if direction == "in" else translate("Gateway")
                sentence = sentences.get((direction, row.action), str(row.action))
                subject = self._request_labels.get(row.id)
                sentence = f"{sentence} {subject}." if subject else sentence
                yield TimelineEntry(row.received_at, actor, sentence, message=row.id)

    def _list_case_entries(
        self, steps: Sequence[TransitionRow], *, is_first: bool
    ) -> Iterator[TimelineEntry]:
        """Yield the timeline entries of the case's transitions.

        With `is_first` only those from the initial state, else only the others.
        """
        gateway = translate("Gateway")
        sentences = {
            "refuse": (translate("The submission was not accepted."), "bad"),
            "dispatch": (translate("The submission was accepted and divided among the agencies."), "good"),
            "none_concerned": (translate("No agency is concerned."), "good"),
            "last_decision": (translate("The last agency has decided."), "good"),
            "correct": (translate("An agency has changed its decision."), "warn"),
            "amend": (translate("The declaration was amended."), "warn"),
            "withdraw": (translate("The agencies are asked to cancel their applications."), "warn"),
            "withdrawn": (translate("The case was withdrawn."), "idle"),
            "relayed": (translate("The case is closed: everything was delivered."), "good"),
        }
        for row in steps:
            if row.event in sentences and (row.from_state == CASE.initial_state) is is_first:
                sentence, kind = sentences[row.event]
                yield TimelineEntry(row.at, gateway, sentence, kind)

    def _list_customs_entries(self) -> Iterator[TimelineEntry]:
        """Yield the notices of customs, with their reasons and the fields that these are about."""
        sentences = {
            "accepted": (translate("Customs has accepted what it was told."), "good"),
            "error": (translate("Customs reports errors:"), "bad"),
            "cleared": (translate("Customs has cleared the goods."), "good"),
            "refused": (translate("Customs refuses clearance."), "bad"),
            "cancelled": (translate("Customs has cancelled the clearance."), "bad"),
        }
        for row in customs_notices.list_by_case(self._conn, self._case.id):
            notice = read_shown_notice(self._conn, row)
            sentence, kind = sentences[row.kind]
            details = [
                detail for detail in (notice.text, *map(self._describe_reason, notice.reasons)) if detail
            ]
            whole = " ".join([sentence, "; ".join(details)[:_LONGEST_TEXT]]).rstrip()
            yield TimelineEntry(row.received_at, translate("Customs"), whole, kind)

    def _describe_reason(self, reason: CustomsReason) -> str:
        """Return the reason of customs, with the label of the field that it points to."""
        if not reason.pointer:
            return reason.text
        pointed_field = self._find_field_label(reason.pointer)
        label = pointed_field.label or pointed_field.pointer
        return f"{label}: {reason.text}"

    def _list_application_entries(self, application: ApplicationView) -> Iterator[TimelineEntry]:
        """Yield the timeline entries of an application: its transitions, then its notices.

        Omits transitions that a notice explains, and each sending after the first.
        """
        sentences = {
            "send": translate("The application was handed to the agency."),
            "acknowledge": translate("The agency has received the application."),
            "supplement": translate("The answer is on its way to the agency."),
            "undeliverable": translate(
                "The agency could not be given the application. An operator of the gateway looks at it."
            ),
            "resend": translate("The application is sent again."),
            "amend": translate("The amended application is on its way to the agency."),
            "ask_cancel": translate("The agency is asked to cancel the application."),
            "refuse_cancel": translate("The agency does not cancel the application."),
            "cancel": translate("The application was cancelled."),
        }
        sent = False
        for row in self._steps[application.row.id]:
            if row.event in _TOLD_BY_NOTICE or row.event not in sentences or (row.event == "send" and sent):
                continue
            sent = sent or row.event == "send"
            number = f" {row.detail}" if row.event == "acknowledge" and row.detail else ""
            yield TimelineEntry(row.at, application.agency, f"{sentences[row.event]}{number}")
        for notice in application.notices:
            sentence = (
                translate("The agency has decided.") if notice.decided else translate("The agency writes:")
            )
            kind = "good" if notice.decided else "warn"
            yield TimelineEntry(notice.row.received_at, application.agency, sentence, kind, notice)

    def read_document(self, row: MessageRow) -> DocumentView:
        """Return a message of the case with the signatures on it."""
        signatures: tuple[SignatureFact, ...]
        parts = messages.load_payloads(self._conn, row.id)
        if row.direction == "in":
            signatures = tuple(list_message_signatures(self._conn, row))
        else:
            own_signers = self._signers | {row.signer_sha256 or ""}
            signatures = (
                (verify_own_document(parts[0].content, row.received_at, own_signers),) if parts else ()
            )
        title = _make_message_title(row)
        if row.direction == "out" and row.action == "Notice" and parts:
            self._request_labels[row.id] = subject = self._describe_notice(parts[0].content)
            title = f"{title}: {subject}" if subject else title
        return DocumentView(row, title, signatures, max(len(parts) - 1, 0))

    def _describe_notice(self, content: bytes) -> str:
        """Return the agency that a notice of the gateway is about, and the state in the notice."""
        try:
            root = parse_xml(content)
        except GatewayError:
            return ""
        request_element = root.find("{*}Request")
        if request_element is None:
            return "" if root.find("{*}Customs") is None else translate("Customs")
        agency, state = request_element.get("organisation", ""), request_element.findtext("{*}State") or ""
        state_words = describe_request_state(state).label if state in REQUEST.states else state
        return f"{name_agency(self._bundle, agency)}, {state_words}"


def _make_message_title(row: MessageRow) -> str:
    """Return the translated title of a message, by its direction and action; else the action itself."""
    names = {
        ("in", "Submit"): translate("Submission"),
        ("in", "Supplement"): translate("Answer to a question"),
        ("in", "Withdraw"): translate("Withdrawal"),
        ("in", "Amend"): translate("Amendment"),
        ("out", "Result"): translate("Result"),
        ("out", "Notice"): translate("Notice"),
    }
    return names.get((row.direction, row.action), str(row.action))


def _summarize_decisions(decision_codes: set[str]) -> str:
    """Return APPROVED, REJECTED or PARTIAL for an application, an empty text while nothing is decided."""
    if not decision_codes:
        return ""
    if "REJECTED" not in decision_codes:
        return "APPROVED"
    return "REJECTED" if decision_codes == {"REJECTED"} else "PARTIAL"
