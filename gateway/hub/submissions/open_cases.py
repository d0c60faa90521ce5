"""The case that a supplement, an amendment or a withdrawal is about, and whether it may still have one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from gateway.cases import (
    Application,
    CaseOutcome,
    Disclaimer,
    NumberOrigin,
    Submission,
    has_approval,
    make_application_number,
    read_change_reason,
)
from gateway.errors import CLEARED_ALREADY, DOCUMENT_NEEDED, NO_OPEN_CASE, RULE_BROKEN, GatewayError
from gateway.hub.amendments.former_items import (
    AmendedItems,
    check_amended_applications,
    check_same_direction,
    is_dropped,
    read_amended_items,
)
from gateway.hub.completion.standing_demands import (
    is_cancellation_open,
    list_standing_numbers,
    make_standing_decisions,
)
from gateway.hub.hub import Hub
from gateway.hub.submissions.document_needs import CaseNeeds
from gateway.hub.submissions.processed_submission import find_case_bundle
from gateway.state_machines import CASE, REQUEST
from gateway.store import (
    CaseRow,
    RequestWithFeesRow,
    agency_requests,
    cases,
    customs_notices,
    decisions,
    item_releases,
    messages,
    read_transaction,
)
from gateway.wire import find_day

#: The function of an amended application in the call to its agency: sent again (UNTDID 1225).
_RETRANSMISSION: Final = "35"
#: The function of an application that its agency gets for the first time.
_FIRST: Final = "9"


@dataclass(frozen=True, slots=True)
class CaseNumbers:
    """The case's number, and the number of each application by its id.

    `laws_by_application` has the laws of the applications that a supplement repeats: those they were opened
    with, also when the mappings have changed since. `bundle_digest` is the digest of the mappings of the
    case.
    """

    case_number: str
    application_numbers: Mapping[str, str]
    laws_by_application: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: The function in the requests to agencies; if empty, the function of the submission.
    request_function: str = ""
    bundle_digest: str | None = None
    #: The facts about the needs of the case, if these are weighed again.
    case_needs: CaseNeeds | None = None
    #: The changes of a complete new submission in the declaration of the case.
    amended_items: AmendedItems | None = None
    #: The ids of the applications that an amendment adds: their agencies have heard of nothing.
    new_application_ids: frozenset[str] = frozenset()

    def list_hub_values(self, application_id: str) -> dict[str, str]:
        """Return the values of the hub in the request of an application."""
        function = _FIRST if application_id in self.new_application_ids else self.request_function
        function_value = {"function": function} if function else {}
        return {"application_number": self.application_numbers[application_id], **function_value}


def check_open_case(hub: Hub, submission: Submission, declarant: str, origin: NumberOrigin) -> CaseNumbers:
    """Return the numbers of the case that a supplement, an amendment or a withdrawal is about.

    New applications have their numbers of the `origin`.

    Raises GW407 where the state of the case does not allow the submission, GW404 for a mistake in it.
    """
    if submission.function == "1":
        return _check_withdrawal(hub, submission, declarant)
    if submission.function == "13":
        return _check_amendment(hub, submission, declarant, origin)
    return _check_supplement(hub, submission, declarant)


def _check_supplement(hub: Hub, submission: Submission, declarant: str) -> CaseNumbers:
    """Return the numbers of the case that is supplemented and of its applications, by their ids.

    Raises GW407 without an open case or application, GW404 for items of another application or a declaration
    of another direction.
    """
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_reference(conn, declarant, submission.reference)
        if case is None:
            raise _make_no_open_case_error(f"no open case under {submission.reference!r}")
        requests = tuple(agency_requests.list_by_case(conn, case.id))
    check_supplementable(submission, case, requests)
    check_same_direction(submission, case)
    requests_by_application = {row.application: row for row in requests}
    rows = {
        application.id: requests_by_application[application.id] for application in submission.applications
    }
    return CaseNumbers(
        case.number,
        {key: str(row.number) for key, row in rows.items()},
        {key: _list_laws(row) for key, row in rows.items()},
        bundle_digest=find_case_bundle(case, rows.values()),
        case_needs=load_case_needs(hub, case, requests),
    )


def check_supplementable(
    submission: Submission, case: CaseRow, requests: Sequence[RequestWithFeesRow]
) -> None:
    """Raise GW407 where a case, or its `requests`, is not open for a supplement; GW404 for other items."""
    if case.state in CASE.final_states or case.state == "DECIDED":
        raise _make_no_open_case_error(f"no open case under {submission.reference!r}")
    if _is_being_withdrawn(case, requests):
        raise _make_no_open_case_error(f"case {case.number} is being withdrawn")
    requests_by_application = {row.application: row for row in requests}
    for application in submission.applications:
        row = requests_by_application.get(application.id)
        if row is None or row.document != application.document or row.state in REQUEST.final_states:
            detail = (
                f"case {case.number} has no open application {application.id[:40]!r} "
                f"of {application.document[:40]!r}"
            )
            raise GatewayError(NO_OPEN_CASE, detail, f"APP[{application.position}]")
        if {item for item, _ in row.required} != set(application.items):
            detail = f"a supplement concerns the items of application {application.id[:40]!r}, no others"
            raise GatewayError(RULE_BROKEN, detail, f"APP[{application.position}]/Items")


def _check_withdrawal(hub: Hub, submission: Submission, declarant: str) -> CaseNumbers:
    """Return the number of the case that is withdrawn; its applications, where repeated, are all named."""
    read_change_reason(submission.declaration)
    with read_transaction(hub.engine) as conn:
        case = find_named_case(conn, declarant, submission.reference)
        requests = agency_requests.list_by_case(conn, case.id)
        check_withdrawable(conn, case, requests)
        check_not_cleared(conn, case)
    if case.state == "HELD":
        # Its applications were not taken up yet.
        return CaseNumbers(case.number, {})
    _check_repeated_applications(submission, requests)
    return CaseNumbers(case.number, {})


def _check_amendment(hub: Hub, submission: Submission, declarant: str, origin: NumberOrigin) -> CaseNumbers:
    """Return the numbers of the case that is amended by the whole submission again."""
    read_change_reason(submission.declaration)
    with read_transaction(hub.engine) as conn:
        case = find_named_case(conn, declarant, submission.reference)
        requests = tuple(agency_requests.list_by_case(conn, case.id))
        check_amendable(case, requests)
        check_not_cleared(conn, case)
        amended_items = read_amended_items(conn, case, submission, hub.rules.parent_codes)
    check_amended_applications(submission, requests, amended_items.change)
    requests_by_application = {row.application: row for row in requests if row.state != "CANCELLED"}
    new = [
        application
        for application in submission.applications
        if application.id not in requests_by_application
    ]
    return CaseNumbers(
        case.number,
        {key: str(row.number) for key, row in requests_by_application.items()}
        | {
            application.id: make_application_number(origin.serial, origin.year, application.position)
            for application in new
        },
        {key: _list_laws(row) for key, row in requests_by_application.items()},
        _RETRANSMISSION,
        find_case_bundle(case, requests_by_application.values()),
        load_case_needs(hub, case),
        amended_items,
        frozenset(application.id for application in new),
    )


def load_case_needs(hub: Hub, case: CaseRow, rows: Iterable[RequestWithFeesRow] | None = None) -> CaseNeeds:
    """Return the facts of a case by which its needs are judged: documents, warnings and disclaimers.

    `rows` are its requests, given if a supplement leaves some out; None otherwise.
    """
    detail = case.detail or {}
    with read_transaction(hub.engine) as conn:
        message = messages.find_by_id(conn, case.message)
    since = case.opened_at if message is None else message.received_at
    documents = disclaimers = None
    if rows is not None:
        documents = tuple(
            Application(row.sequence, row.application, row.document, _list_items(row), ())
            for row in rows
            if row.state != "CANCELLED"
        )
        disclaimers = tuple(
            Disclaimer(disclaimer["item"], disclaimer["law"], disclaimer["reason"], disclaimer["text"])
            for disclaimer in detail.get("disclaimers", ())
        )
    return CaseNeeds(
        find_day(since, hub.zone),
        frozenset(
            warning["text"] for warning in detail.get("warnings", ()) if warning["id"] == DOCUMENT_NEEDED.id
        ),
        documents,
        disclaimers or (),
        case.state == "HELD",
    )


def _list_items(request: RequestWithFeesRow) -> tuple[int, ...]:
    return tuple(dict.fromkeys(int(item) for item, _ in request.required))


def _list_laws(request: RequestWithFeesRow) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(law) for _, law in request.required))


def check_amendable(case: CaseRow, requests: Iterable[RequestWithFeesRow]) -> None:
    """Raise GW407 for a case that has ended without a declaration, or that is being withdrawn."""
    if case.state in ("REFUSED", "WITHDRAWN"):
        raise _make_no_open_case_error(f"case {case.number} is {case.state}: there is nothing to amend")
    if _is_being_withdrawn(case, requests):
        raise _make_no_open_case_error(f"case {case.number} is being withdrawn")


def _check_repeated_applications(submission: Submission, requests: Sequence[RequestWithFeesRow]) -> None:
    """Check that the applications which a withdrawal repeats, if any, are all those of its case.

    Of the `requests` of the case, those that are cancelled, or have lost all items to an amendment, may be
    left out. Raises GW407 for an application that the case does not have, GW404 if one is left out.
    """
    document_by_application = {row.application: row.document for row in requests}
    for application in submission.applications:
        if document_by_application.get(application.id) != application.document:
            detail = f"the case has no application {application.id[:40]!r} of {application.document[:40]!r}"
            raise GatewayError(NO_OPEN_CASE, detail, f"APP[{application.position}]")
    needed = {row.application for row in requests if row.state != "CANCELLED" and not is_dropped(row)}
    missing = sorted(needed - {application.id for application in submission.applications})
    if submission.applications and missing:
        detail = f"a withdrawal is about the whole case: application {missing[0][:40]!r} is not named"
        raise GatewayError(RULE_BROKEN, detail, f"APP[{submission.applications[0].position}]")


def check_not_cleared(conn: Connection, case: CaseRow) -> None:
    """Raise GW714 for a case that customs has cleared: only customs itself may correct it (5FE)."""
    if customs_notices.find_clearance_state(conn, case.id) == "CLEARED":
        detail = f"customs has cleared case {case.number}: apply to customs for its correction (5FE)"
        raise GatewayError(CLEARED_ALREADY, detail, "/Submission/Function")


def check_withdrawable(conn: Connection, case: CaseRow, requests: Iterable[RequestWithFeesRow]) -> None:
    """Raise GW407 for a case with nothing left to withdraw, or whose withdrawal is under way.

    A child declaration that is rejected has items of its parent to give back.
    """
    requests = tuple(requests)
    rejected = case.outcome == CaseOutcome.REJECTED
    if case.state in ("REFUSED", "WITHDRAWN") or (
        rejected and not item_releases.list_releases_into(conn, case.id)
    ):
        ended = case.state if case.state in ("REFUSED", "WITHDRAWN") else case.outcome
        raise _make_no_open_case_error(f"case {case.number} is {ended}: there is nothing to withdraw")
    if _is_being_withdrawn(case, requests):
        raise _make_no_open_case_error(f"case {case.number} is being withdrawn already")


def _is_being_withdrawn(case: CaseRow, requests: Iterable[RequestWithFeesRow]) -> bool:
    """Return whether the withdrawal of a case waits for an agency to say whether it cancels.

    Without a withdrawal, an agency is asked about the application that an amendment has left out. A
    withdrawal that comes then waits for the answer to this question, too.
    """
    return "withdrawal" in (case.detail or {}) and any(map(is_cancellation_open, requests))


def list_cancellable_requests(
    conn: Connection, case: int, requests: Iterable[RequestWithFeesRow]
) -> list[RequestWithFeesRow]:
    """Return the requests of a case that an agency has to cancel: undecided ones and approved ones."""
    requests = tuple(requests)
    ranked_decisions = make_standing_decisions(
        decisions.list_by_case(conn, case), list_standing_numbers(requests)
    )
    return [
        row
        for row in requests
        if (row.state not in REQUEST.final_states and not is_cancellation_open(row))
        or (
            row.state == "DECIDED"
            and has_approval(ranked for ranked in ranked_decisions if ranked.request == row.number)
        )
    ]


def find_named_case(conn: Connection, declarant: str, reference: str) -> CaseRow:
    """Return the case that is changed, by its reference; raise GW407 where it does not exist."""
    case = cases.find_by_reference(conn, declarant, reference)
    if case is None:
        raise _make_no_open_case_error(f"no case under {reference!r}")
    return case


def _make_no_open_case_error(detail: str) -> GatewayError:
    """Return GW407: there is no open case that the submission may change."""
    return GatewayError(NO_OPEN_CASE, detail, "/Submission/Reference")
