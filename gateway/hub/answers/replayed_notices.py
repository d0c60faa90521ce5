"""Replays the notices of a case from the database, and those that an agency might send next.

It only reads. A notice that the hub has not received passes the checks that its arrival would pass, in the
same order (`gateway.hub.answers.reply`, `gateway.hub.answers.answer_effects`); then it is placed behind the
stored ones. The rules are those of the mappings that the application pins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from gateway.cases import (
    CaseOutcome,
    Decision,
    DecisionDifference,
    Notice,
    NoticeReplay,
    NoticeToReplay,
    PlaceDifference,
    ReplayedApplication,
    StatusCode,
    check_issue_time,
    check_issued_after_opening,
    check_notice_numbers,
    check_notice_status,
    check_place,
    complete_decisions,
    find_count_time,
    find_differences,
    read_subjects,
    replay_notices,
)
from gateway.errors import CASE_CLOSED, DECISION_CONFLICT, MAPPING_WRONG, REPLY_UNMATCHED, GatewayError
from gateway.hub.answers.answer_effects import check_decided_items, check_version, make_notice_row
from gateway.hub.answers.case_progress import CANCELLATION_EVENTS, evaluate_outcome_by
from gateway.hub.answers.placed_notices import group_decisions, list_ahead_notices, list_dated_notices
from gateway.hub.completion.standing_demands import make_request_scope, read_demands
from gateway.hub.fees.fee_ends import check_forwarded
from gateway.hub.hub import Hub
from gateway.hub.register.active_rules import ActiveRules
from gateway.hub.register.decision_rules import (
    load_status_codes,
    open_active_mappings,
    open_stored_mappings,
)
from gateway.store import (
    CaseRow,
    NewNotice,
    NoticeSummary,
    RequestWithFeesRow,
    StoredNotice,
    agency_requests,
    decisions,
    mapping_bundles,
    notices,
    open_request,
)


@dataclass(frozen=True, slots=True)
class OfferedNotice:
    """A notice that the hub has not received, about the application of a number.

    `argument_xpaths` has the XPath of each argument of the hub's call in a document of the agency's own form.
    """

    application: str
    notice: Notice
    argument_xpaths: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApplicationReplay:
    """An application with its notices in order, its status codes, and what the database says otherwise."""

    request: RequestWithFeesRow
    status_codes: Mapping[str, StatusCode]
    is_cancelled: bool
    replay: NoticeReplay
    differences: tuple[DecisionDifference | PlaceDifference, ...]


@dataclass(frozen=True, slots=True)
class CaseReplay:
    """The applications of a case, and its outcome by the notices of its agencies (None: undecided)."""

    applications: tuple[ApplicationReplay, ...]
    outcome: CaseOutcome | None


class CaseReplayer:
    """The notices of a case as they are stored; notices that might come next can be added to them."""

    def __init__(self, conn: Connection, case: CaseRow, now: datetime) -> None:
        self._conn = conn
        self._case = case
        self._now = now
        codes_by_digest: dict[str, Mapping[str, StatusCode]] = {}
        self._applications: dict[str, _ReplayedRequest] = {}
        for row in agency_requests.list_by_case(conn, case.id):
            if row.mapping_sha256 not in codes_by_digest:
                codes_by_digest[row.mapping_sha256] = _load_codes(conn, row.mapping_sha256, now)
            codes = codes_by_digest[row.mapping_sha256]
            self._applications[row.number] = _ReplayedRequest(conn, case, row, codes)

    @property
    def requests(self) -> Sequence[RequestWithFeesRow]:
        """Return the applications of the case."""
        return [application.request for application in self._applications.values()]

    def add_offered_notice(self, hub: Hub, offered: OfferedNotice) -> bool:
        """Add a notice as if it came now; return whether it has an effect: a repeat of a stored one has none.

        Raises what its arrival would raise (GW403, GW404, GW701, GW702, GW703, GW719), with the place in the
        document of the agency, and GW701 for one about an application of another case.
        """
        try:
            notice = offered.notice
            check_issue_time(notice.issued_at, self._now)
            application = self._applications.get(offered.application)
            if application is None:
                detail = f"case {self._case.number} has no application {offered.application[:40]!r}"
                raise GatewayError(REPLY_UNMATCHED, detail, "ApplicationNumber")
            return application.add_notice(self._conn, hub, notice, self._now)
        except GatewayError as error:
            name = error.location.partition("[")[0]
            xpath = offered.argument_xpaths.get(name, error.location)
            raise GatewayError(error.problem, error.detail, xpath) from error

    def replay(self) -> CaseReplay:
        """Return the notices of each application in their order, with the outcome of the case by them."""
        applications = tuple(application.replay() for application in self._applications.values())
        own_decisions = [
            ranked for application in applications for ranked in application.replay.ranked_decisions
        ]
        cancelled = [
            application.request.id
            for application in applications
            if application.is_cancelled and application.request.state != "CANCELLED"
        ]
        outcome = evaluate_outcome_by(self._conn, self._case, own_decisions, cancelled)
        return CaseReplay(applications, outcome)


def _load_codes(conn: Connection, digest: str, now: datetime) -> Mapping[str, StatusCode]:
    """Return the status codes of the mappings of this digest; those in force where it is not known.

    `Hub.load_rules_of` returns the same, and loads the mappings with them.
    """
    if mapping_bundles.has_bundle(conn, digest):
        try:
            return load_status_codes(open_stored_mappings(conn, digest))
        except GatewayError as unread:
            if unread.problem is not MAPPING_WRONG:
                raise
            # Stored by another version, which this one does not read.
            return load_status_codes(open_active_mappings(conn, now))
    rules = ActiveRules().load_bundle(conn, digest)
    return rules.status_codes if rules is not None else load_status_codes(open_active_mappings(conn, now))


class _ReplayedRequest:
    """One application with its notices; the offered ones have row ids behind those of the stored ones."""

    def __init__(
        self,
        conn: Connection,
        case: CaseRow,
        request: RequestWithFeesRow,
        codes: Mapping[str, StatusCode],
    ) -> None:
        self.request = request
        self._case = case
        self._codes = codes
        self._is_cancelled = request.state == "CANCELLED"
        self._summaries = [
            NoticeSummary(*(getattr(row, name) for name in NoticeSummary._fields))
            for row in notices.list_by_request(conn, request.id)
        ]
        rows = decisions.list_all_by_request(conn, request.id)
        counting = {row.id for row in decisions.list_by_request(conn, request.id)}
        self._decisions = group_decisions(self._summaries, rows)
        self._outdated = {(row.notice_no, row.item, row.law) for row in rows if row.id not in counting}
        self._superseded = {
            (row.notice_no, row.item, row.law) for row in rows if row.superseded_by is not None
        }
        self._offered: dict[str, NewNotice] = {}
        self._stored_count = len(self._summaries)

    def add_notice(self, conn: Connection, hub: Hub, notice: Notice, now: datetime) -> bool:
        """Check a notice as its arrival does, and add it; return whether it has an effect."""
        request = self.request
        code = self._codes.get(notice.status_code)
        event = "" if code is None else code.event
        if (notice.decisions or event in ("decide", *CANCELLATION_EVENTS)) and _is_decided_at_console(
            conn, request.id
        ):
            detail = f"application {request.number} was decided at the console"
            raise GatewayError(CASE_CLOSED, detail, "ApplicationNumber")
        check_forwarded(conn, request, notice, self._codes)
        code = check_notice_status(notice, self._codes)
        new_notice = make_notice_row(request, notice)
        notice = complete_decisions(notice, code, request.required, hub.zone)
        check_decided_items(request, notice.decisions)
        if self._is_cancelled and (notice.decisions or event == "decide"):
            raise GatewayError(
                CASE_CLOSED, f"application {request.number} was cancelled", "ApplicationNumber"
            )
        if self._is_repeated(conn, new_notice):
            return False
        check_issued_after_opening(notice.issued_at, self._case.opened_at)
        check_notice_numbers(notice)
        self._insert_notice(notice, now)
        self._offered[notice.number] = new_notice
        self._is_cancelled = self._is_cancelled or event == "cancel"
        return True

    def _is_repeated(self, conn: Connection, notice: NewNotice) -> bool:
        offered = self._offered.get(notice.number)
        if offered is None:
            return notices.is_repeated_notice(conn, notice)
        if offered.content_sha256 != notice.content_sha256:
            detail = f"notice {notice.number[:40]} is in an earlier file with different content"
            raise GatewayError(DECISION_CONFLICT, detail, "NoticeNumber")
        return True

    def _insert_notice(self, notice: Notice, now: datetime) -> None:
        ahead_notices = [] if notice.states_day else list_ahead_notices(self._summaries)
        counts_at = find_count_time(notice.issued_at, now, ahead_notices)
        is_shifted = counts_at != notice.issued_at
        summary = NoticeSummary(
            id=max((summary.id for summary in self._summaries), default=0) + 1,
            number=notice.number,
            issued_at=counts_at,
            status_code=notice.status_code,
            text=notice.text,
            received_at=now,
            deadline=notice.deadline,
            fee_notice=None,
            day_begins_at=notice.issued_at if notice.states_day and not is_shifted else None,
            stated_at=notice.issued_at if is_shifted else None,
        )
        summaries = [*self._summaries, summary]
        check_version(notice, StoredNotice(summary.id, "", summaries))
        counting: dict[int, tuple[Decision, ...]] = {
            earlier.id: tuple(
                decision
                for decision in self._decisions[earlier.id]
                if (earlier.number, decision.item, decision.law) not in self._outdated
            )
            for earlier in self._summaries
        }
        dated = list_dated_notices(summaries, counting | {summary.id: notice.decisions}, self._codes)
        check_place(dated[-1], dated)
        removed = set(read_subjects(self.request.removed or ()))
        self._summaries = summaries
        self._decisions[summary.id] = notice.decisions
        self._outdated |= {
            (notice.number, decision.item, decision.law)
            for decision in notice.decisions
            if (decision.item, decision.law) in removed
        }

    def replay(self) -> ApplicationReplay:
        """Return the notices in their order; the differences are those of the stored notices alone."""
        application = ReplayedApplication(
            number=self.request.number,
            items=tuple(sorted(make_request_scope(self.request).items)),
            is_cancelled=self._is_cancelled,
            is_withdrawn=self._case.outcome == CaseOutcome.WITHDRAWN,
            amended_after=read_demands(self.request).amended_after,
        )
        all_notices = self._list_notices()
        stored_notices = all_notices[: self._stored_count]
        replay = replay_notices(application, all_notices, self._codes)
        stored_replay = replay
        if len(stored_notices) < len(all_notices):
            stored_replay = replay_notices(application, stored_notices, self._codes)
        differences = tuple(find_differences(stored_notices, stored_replay))
        return ApplicationReplay(self.request, self._codes, self._is_cancelled, replay, differences)

    def _list_notices(self) -> list[NoticeToReplay]:
        dated_notices = list_dated_notices(self._summaries, self._decisions, self._codes)
        replayed = []
        for position, (summary, dated) in enumerate(zip(self._summaries, dated_notices, strict=True)):
            is_stored = position < self._stored_count
            notice_decisions = self._decisions[summary.id]
            subjects = [(decision.item, decision.law) for decision in notice_decisions]
            replayed.append(
                NoticeToReplay(
                    dated,
                    summary.status_code,
                    received_at=summary.received_at if is_stored else None,
                    decisions=notice_decisions,
                    deadline=summary.deadline,
                    outdated=frozenset(
                        [subject for subject in subjects if (summary.number, *subject) in self._outdated]
                    ),
                    superseded=frozenset(
                        [subject for subject in subjects if (summary.number, *subject) in self._superseded]
                    ),
                    stored_place=summary.issued_at if is_stored else None,
                )
            )
        return replayed


def _is_decided_at_console(conn: Connection, request_id: int) -> bool:
    request = open_request(conn, request_id)
    return request is not None and bool(request.decided_at_console)
