"""What the page of one case shows, read once: who holds it, its applications, its timeline, its documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from flask import g
from sqlalchemy import Connection, Row

from gateway.cases import CaseCustody, CustodyHolder, CustomsReason, find_case_custody
from gateway.errors import PROBLEMS, GatewayError, Problem
from gateway.harmonize import FieldFinder, MappingBundle
from gateway.hub import read_standing_warnings, read_stored_notice
from gateway.operations import (
    NoEffect,
    describe_releases,
    explain_no_effect,
    find_fee_deadlines,
    read_request_custody,
)
from gateway.state_machines import CASE, REQUEST
from gateway.store import agency_requests, customs_notices, decisions, fees, messages, notices, transitions
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.following.case_signatures import (
    SignatureFact,
    SignedStatement,
    list_agency_statements,
    list_message_signatures,
    verify_own_document,
)
from gateway.web.console.following.case_words import (
    StateWords,
    describe_case_state,
    describe_custody,
    describe_decision,
    describe_fee_state,
    describe_request_state,
    name_agency,
    name_document,
)
from gateway.web.console.page_translations import translate, translate_word
from gateway.wire import parse_xml

__all__ = ["ApplicationView", "CaseView", "read_case_view"]

_MOST_MESSAGES: Final = 200
_LONGEST_TEXT: Final = 2000
#: Steps that a notice of the agency tells better.
_TOLD_BY_NOTICE: Final = frozenset({"ask", "inspect", "fee", "decide", "decide_item", "correct"})


@dataclass(frozen=True, slots=True)
class PointedField:
    """A field that an agency points at: its label in the language of the page, and the pointer."""

    label: str
    pointer: str


@dataclass(frozen=True, slots=True)
class NoticeView:
    """A notice of an agency as received, with the signed octets that contained it."""

    number: str
    at: datetime
    received_at: datetime
    status_code: str
    status: str
    text: str
    fields: tuple[PointedField, ...]
    deadline: datetime | None
    decided: int
    statement: SignedStatement | None


@dataclass(frozen=True, slots=True)
class DecisionView:
    """A decision of an agency on one item; `past` when a later one took its place.

    `no_effect` says why it does not count, where nothing took its place.
    """

    row: Any
    words: StateWords
    past: bool
    no_effect: str = ""


@dataclass(frozen=True, slots=True)
class FeeView:
    """A fee of an application; with an address only while it can be paid there.

    `due_at` is until when exactly; None where that is not known. `late` says that it was not paid in time.
    """

    row: Any
    words: StateWords
    address: str
    due_at: datetime | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class ApplicationView:
    """One application of the case at its agency."""

    row: Any
    agency: str
    document: str
    state: StateWords
    since: datetime | None
    custody: CaseCustody | None
    waits: str
    notices: tuple[NoticeView, ...]
    decisions: tuple[DecisionView, ...]
    fees: tuple[FeeView, ...] = ()

    @property
    def is_asked(self) -> bool:
        """Return whether the applicant must do something for it."""
        return self.custody is not None and self.custody.holder is CustodyHolder.APPLICANT

    @property
    def question(self) -> NoticeView | None:
        """Return the latest notice that asks for something and decides nothing."""
        asking = [one for one in self.notices if not one.decided]
        return max(asking, key=lambda one: (one.at, one.number), default=None)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One event: when, who, what; a notice where one tells it, a document where one came of it."""

    at: datetime
    who: str
    words: str
    kind: str = "idle"
    notice: NoticeView | None = None
    message: int | None = None


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A message of the case whose octets can be fetched, and the signatures on it."""

    message: Any
    words: str
    signatures: tuple[SignatureFact, ...]
    attachments: int


@dataclass(frozen=True, slots=True)
class ProblemView:
    """A problem of a refused submission: what was found, its place, and what the catalogue says of it."""

    id: str
    text: str
    field: PointedField | None
    known: Problem | None
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class CaseView:
    """Everything that the page of a case shows."""

    case: Any
    state: StateWords
    held: tuple[str, ...]
    until: datetime | None
    since: datetime
    applications: tuple[ApplicationView, ...]
    timeline: tuple[TimelineEntry, ...]
    documents: tuple[DocumentView, ...]
    problems: tuple[ProblemView, ...] = field(default=())
    #: What has left the case, stays, was taken and was removed, as `case show` tells it.
    moves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def requests_to_me(self) -> tuple[ApplicationView, ...]:
        """Return the applications for which the applicant must do something."""
        return tuple(one for one in self.applications if one.is_asked)

    @property
    def inherited(self) -> tuple[Mapping[str, Any], ...]:
        """Return the decisions of the parent that count for the case, each with its words."""
        return tuple(
            {**one, "words": describe_decision(one["decision"])} for one in self.moves.get("inherited", ())
        )


def read_case_view(conn: Connection, services: ConsoleServices, case: Row[Any]) -> CaseView:
    """Return what the page of a case shows."""
    reader = _CaseReader(conn, services, case)
    applications = tuple(reader.read_application(row) for row in agency_requests.list_by_case(conn, case.id))
    held = (case.detail or {}).get("held")
    until = datetime.fromisoformat(held["until"]) if held else None
    custody = find_case_custody(case.state, (one.custody for one in applications), held)
    bundle = services.hub.rules.bundle
    steps = transitions.list_transitions(conn, CASE, case.id)
    moved = [row.at for row in steps if row.from_state != row.to_state]
    stored = messages.list_messages(conn, limit=_MOST_MESSAGES, case_id=case.id)
    # Before the timeline, which says what each notice is about.
    documents = tuple(reader.read_document(row) for row in reversed(stored))
    since = [one.since for one in applications if one.since is not None and one.custody in custody[:1]]
    return CaseView(
        case=case,
        state=describe_case_state(case.state, case.outcome, held),
        held=tuple(dict.fromkeys(describe_custody(one, bundle) for one in custody)),
        until=until,
        since=max(since or moved or [case.opened_at]),
        applications=applications,
        timeline=tuple(reader.list_timeline(steps, applications, stored)),
        documents=documents,
        problems=tuple(reader.list_problems()),
        moves=describe_releases(conn, case),
    )


class _CaseReader:
    """Reads the parts of one case."""

    def __init__(self, conn: Connection, services: ConsoleServices, case: Row[Any]) -> None:
        self._conn = conn
        self._case = case
        self._hub = services.hub
        self._signers = frozenset(one.certificate.sha256 for one in services.hub.signers)
        self._bundle: MappingBundle = services.hub.rules.bundle
        self._fields = FieldFinder(self._bundle)
        self._steps: dict[int, Sequence[Row[Any]]] = {}
        self._about: dict[int, str] = {}

    def read_application(self, row: Row[Any]) -> ApplicationView:
        steps = self._steps[row.id] = transitions.list_transitions(self._conn, REQUEST, row.id)
        said = decisions.list_by_request(self._conn, row.id)
        current = {one.decision for one in said if one.superseded_by is None}
        custody = read_request_custody(row)
        return ApplicationView(
            row=row,
            agency=name_agency(self._bundle, row.agency),
            document=name_document(self._bundle, row.document),
            state=describe_request_state(row.state, _sum_up(current)),
            since=max((one.at for one in steps if one.from_state != one.to_state), default=None),
            custody=custody,
            waits="" if custody is None else describe_custody(custody, self._bundle),
            notices=tuple(self._list_notices(row, said)),
            decisions=tuple(
                self._read_decision(row, one)
                for one in sorted(said, key=lambda one: (one.item, one.law, one.id))
            ),
            fees=tuple(self._list_fees(row)),
        )

    def _list_fees(self, request: Row[Any]) -> Iterator[FeeView]:
        rows = fees.list_by_request(self._conn, request.id)
        due = find_fee_deadlines(self._conn, rows)
        for row in rows:
            place = row.address or "" if row.state == "ORDERED" else ""
            until = due.get(row.number)
            late = until is not None and until.state in ("OVERDUE", "LATE")
            at = None if until is None else until.due_at
            yield FeeView(row, describe_fee_state(row.state), place, at, late)

    def _read_decision(self, request: Row[Any], said: Row[Any]) -> DecisionView:
        why = explain_no_effect(self._case, request, said)
        past = why is NoEffect.SUPERSEDED
        return DecisionView(
            said, describe_decision(said.decision), past, "" if past else translate_word(why or "")
        )

    def _list_notices(self, request: Row[Any], said: Sequence[Row[Any]]) -> Iterator[NoticeView]:
        statements = {
            number: one for one in list_agency_statements(self._conn, request.id) for number in one.notices
        }
        codes = self._hub.load_rules_of(self._conn, request).status_codes
        for row in notices.list_by_request(self._conn, request.id):
            code = codes.get(row.status_code)
            yield NoticeView(
                number=row.number,
                at=row.issued_at,
                received_at=row.received_at,
                status_code=row.status_code,
                status="" if code is None else code.name,
                text=row.text[:_LONGEST_TEXT],
                fields=tuple(self._name_field(pointer, request.document) for pointer in row.pointers),
                deadline=row.deadline,
                decided=sum(one.notice_no == row.number for one in said),
                statement=statements.get(row.number),
            )

    def _name_field(self, pointer: str, document: str = "") -> PointedField:
        """Return the label of the field at a pointer; without one the pointer alone."""
        found = self._fields.find_at(pointer, document)
        labels = [(one.ko if g.language == "ko" else one.en) or one.name for one in found[:3]]
        return PointedField(", ".join(labels), pointer)

    def list_problems(self) -> Iterator[ProblemView]:
        """Yield the problems of a refused submission, or what a held case lacks, then the warnings."""
        detail = self._case.detail or {}
        warnings = read_standing_warnings(self._conn, self._case, lambda: self._bundle)
        found = (detail.get("problems", ()), False), (warnings, True)
        held = detail.get("held", {})
        lacks = (held.get("missing", ()), False), (held.get("problems", ()), False)
        for told, is_warning in (*lacks, *found):
            for one in told:
                pointer = one.get("pointer") or ""
                place = self._name_field(pointer) if pointer else None
                known = PROBLEMS.get(one["id"])
                yield ProblemView(one["id"], one["text"][:_LONGEST_TEXT], place, known, is_warning)

    def list_timeline(
        self,
        steps: Sequence[Row[Any]],
        applications: Sequence[ApplicationView],
        stored: Sequence[Row[Any]],
    ) -> list[TimelineEntry]:
        """Return what happened, the newest first."""
        found = [*self._list_message_entries(stored, "in"), *self._list_case_entries(steps, first=True)]
        for one in applications:
            found += self._list_application_entries(one)
        found += self._list_customs_entries()
        found += [*self._list_case_entries(steps, first=False), *self._list_message_entries(stored, "out")]
        # What has the same time happened in the order of this list.
        return sorted(found, key=lambda entry: entry.at)[::-1]

    def _list_message_entries(self, stored: Sequence[Row[Any]], direction: str) -> Iterator[TimelineEntry]:
        told = {
            ("in", "Submit"): translate("The submission was received."),
            ("in", "Supplement"): translate("The answer to a question was received."),
            ("in", "Withdraw"): translate("The withdrawal was received."),
            ("in", "Amend"): translate("The amendment was received."),
            ("out", "Result"): translate("The result was issued."),
            ("out", "Notice"): translate("A notice was issued."),
        }
        for row in reversed(stored):
            if row.direction == direction:
                who = row.from_party if direction == "in" else translate("Gateway")
                words = told.get((direction, row.action), str(row.action))
                about = self._about.get(row.id)
                words = f"{words} {about}." if about else words
                yield TimelineEntry(row.received_at, who, words, "idle", None, row.id)

    def _list_case_entries(self, steps: Sequence[Row[Any]], *, first: bool) -> Iterator[TimelineEntry]:
        gateway = translate("Gateway")
        told = {
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
            if row.event in told and (row.from_state == CASE.initial) is first:
                words, kind = told[row.event]
                yield TimelineEntry(row.at, gateway, words, kind)

    def _list_customs_entries(self) -> Iterator[TimelineEntry]:
        """Yield what customs has said, with its reasons and the fields that they are about."""
        told = {
            "accepted": (translate("Customs has accepted what it was told."), "good"),
            "error": (translate("Customs reports errors:"), "bad"),
            "cleared": (translate("Customs has cleared the goods."), "good"),
            "refused": (translate("Customs refuses clearance."), "bad"),
            "cancelled": (translate("Customs has cancelled the clearance."), "bad"),
        }
        for row in customs_notices.list_by_case(self._conn, self._case.id):
            said = read_stored_notice(self._conn, row)
            words, kind = told[row.kind]
            about = [one for one in (said.text, *map(self._describe_reason, said.reasons)) if one]
            whole = " ".join([words, "; ".join(about)[:_LONGEST_TEXT]]).rstrip()
            yield TimelineEntry(row.received_at, translate("Customs"), whole, kind)

    def _describe_reason(self, reason: CustomsReason) -> str:
        if not reason.pointer:
            return reason.text
        place = self._name_field(reason.pointer)
        label = place.label or place.pointer
        return f"{label}: {reason.text}"

    def _list_application_entries(self, one: ApplicationView) -> Iterator[TimelineEntry]:
        told = {
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
        for row in self._steps[one.row.id]:
            if row.event in _TOLD_BY_NOTICE or row.event not in told or (row.event == "send" and sent):
                continue
            sent = sent or row.event == "send"
            number = f" {row.detail}" if row.event == "acknowledge" and row.detail else ""
            yield TimelineEntry(row.at, one.agency, f"{told[row.event]}{number}")
        for notice in one.notices:
            words = (
                translate("The agency has decided.") if notice.decided else translate("The agency writes:")
            )
            kind = "good" if notice.decided else "warn"
            yield TimelineEntry(notice.received_at, one.agency, words, kind, notice)

    def read_document(self, row: Row[Any]) -> DocumentView:
        """Return a message of the case with the signatures on it."""
        signatures: tuple[SignatureFact, ...]
        parts = messages.load_payloads(self._conn, row.id)
        if row.direction == "in":
            signatures = tuple(list_message_signatures(self._conn, row))
        else:
            known = self._signers | {row.signer_sha256 or ""}
            signatures = (verify_own_document(parts[0].content, row.received_at, known),) if parts else ()
        words = _name_message(row)
        if row.direction == "out" and row.action == "Notice" and parts:
            self._about[row.id] = about = self._describe_notice(parts[0].content)
            words = f"{words}: {about}" if about else words
        return DocumentView(row, words, signatures, max(len(parts) - 1, 0))

    def _describe_notice(self, content: bytes) -> str:
        """Return the agency that a notice of the gateway is about, and the state that it tells."""
        try:
            root = parse_xml(content)
        except GatewayError:
            return ""
        found = root.find("{*}Request")
        if found is None:
            return "" if root.find("{*}Customs") is None else translate("Customs")
        agency, state = found.get("organisation", ""), found.findtext("{*}State") or ""
        told = describe_request_state(state).words if state in REQUEST.states else state
        return f"{name_agency(self._bundle, agency)}, {told}"


def _name_message(row: Row[Any]) -> str:
    told = {
        ("in", "Submit"): translate("Submission"),
        ("in", "Supplement"): translate("Answer to a question"),
        ("in", "Withdraw"): translate("Withdrawal"),
        ("in", "Amend"): translate("Amendment"),
        ("out", "Result"): translate("Result"),
        ("out", "Notice"): translate("Notice"),
    }
    return told.get((row.direction, row.action), str(row.action))


def _sum_up(current: set[str]) -> str:
    """Return the outcome of an application in one word, empty while nothing is decided."""
    if not current:
        return ""
    if "REJECTED" not in current:
        return "APPROVED"
    return "REJECTED" if current == {"REJECTED"} else "PARTIAL"
