"""The hot questions are answered from an index, however long the history grows."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import event

from gateway.message_model import PartyId
from gateway.store import (
    DuePlace,
    ListFilter,
    PartyCaseFilter,
    SequenceKey,
    SequenceState,
    StatisticsFilter,
    TimedPosition,
    WorkFilter,
    WorkTab,
    accounts,
    agreements,
    back_channel,
    case_searches,
    cases,
    daily_statistics,
    deadlines,
    decisions,
    deliveries,
    delivery_maintenance,
    event_readers,
    exact_searches,
    fee_searches,
    fees,
    find_case_facts,
    find_notice_with_case,
    item_releases,
    lane_faults,
    lanes,
    limited_conversations,
    list_searches,
    mailbox_messages,
    message_sequences,
    messages,
    notices,
    octet_removal,
    officer_work,
    open_request,
    ordered_deliveries,
    parties,
    register_version,
    requirement_quantities,
    requirement_results,
    seen_calls,
    sessions,
    state_counts,
    submission_drafts,
    time_stamps,
    work_lists,
    write_transaction,
)
from tests.kit.claims import claim_deliveries
from tests.kit.rows import NOW, delivery, later, message, open_case, request


def asked(engine, act):
    """Return the statements, with their parameters, that the act sends to the database."""
    seen = []

    def note(_conn, _cursor, statement, parameters, _context, _many):
        if not statement.startswith("BEGIN"):
            seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        with write_transaction(engine) as conn:
            act(conn)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return seen


def plan_of(engine, statement, parameters):
    """Return the plan as the database tells it, made without knowing the parameters."""
    with write_transaction(engine) as conn:
        if engine.dialect.name == "sqlite":
            rows = conn.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters).all()
            return "\n".join(row.detail for row in rows)
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
        generic = re.sub(r"%\(\w+\)s", _numbered(), statement)
        rows = conn.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {generic}").all()
        return "\n".join(row[0] for row in rows)


def _numbered():
    known: dict[str, str] = {}
    return lambda found: known.setdefault(found[0], f"${len(known) + 1}")


def _list_overdue_fees(conn):
    return fee_searches.list_fees(conn, overdue=fee_searches.OverdueTime(NOW, NOW.date()))


QUESTIONS = {
    "sequence of a conversation": (
        lambda conn: message_sequences.find_sequence(conn, SequenceKey("in", "P", "A", "C")),
        "conversation_id",
        "message_sequences_",
    ),
    "what a sequence holds": (
        lambda conn: message_sequences.list_held(conn, 1),
        "ordered_messages",
        "ix_ordered_messages_held",
    ),
    "how much a sequence holds": (
        lambda conn: message_sequences.count_held(conn, 1, 9),
        "ordered_messages",
        "ix_ordered_messages_held",
    ),
    "message at an ordinal": (
        lambda conn: message_sequences.find_at_ordinal(conn, 1, 2),
        "ordered_messages",
        "uq_ordered_messages_ordinal",
    ),
    "held messages whose time is over": (
        lambda conn: message_sequences.list_expired(conn, NOW, 9),
        "ordered_messages",
        "ix_ordered_messages_expires_at",
    ),
    "held messages whose time is over, behind a place": (
        lambda conn: message_sequences.list_expired(conn, NOW, 9, DuePlace(NOW, 1)),
        "ordered_messages",
        "ix_ordered_messages_expires_at",
    ),
    "sequences that hold messages": (
        lambda conn: message_sequences.list_sequences(conn, limit=9),
        "ordered_messages",
        "ix_ordered_messages_held",
    ),
    "place of a delivery": (
        lambda conn: ordered_deliveries.find_ordered_delivery(conn, 1),
        "ordered_deliveries",
        "ordered_deliveries",
    ),
    "last delivery of a sequence": (
        lambda conn: ordered_deliveries.find_open_delivery(conn, SequenceState(1, 5, 0)),
        "ordered_deliveries",
        "ordered_deliveries_",
    ),
    "conversation under an agreement": (
        lambda conn: limited_conversations.find_conversation(conn, "A", "C"),
        "conversations",
        "conversations_",
    ),
    "agreements between two parties": (
        lambda conn: agreements.list_active_pmodes(conn, ("hub", "broker")),
        "pmodes",
        "ix_pmodes_parties",
    ),
    "open conversations of an agreement": (
        lambda conn: limited_conversations.count_open(conn, "A"),
        "conversations",
        "ix_conversations_open",
    ),
    "conversations that have ended": (
        lambda conn: limited_conversations.end_closed_conversations(conn, "A", NOW),
        "conversations",
        "ix_conversations_open",
    ),
    "old attempts to sign in": (
        lambda conn: sessions.remove_old_attempts(conn, NOW, is_successful=False),
        "sign_ins",
        "ix_sign_ins_age",
    ),
    "old sessions": (
        lambda conn: sessions.remove_old_sessions(conn, NOW),
        "sessions",
        "ix_sessions_created_at",
    ),
    "failures of a name in a network": (
        lambda conn: accounts.count_failed_sign_ins(conn, NOW, NOW, name="kim", network="192.0.2.1"),
        "sign_ins",
        "ix_sign_ins_n",
    ),
    "failures of a network": (
        lambda conn: accounts.count_failed_sign_ins(conn, NOW, NOW, network="192.0.2.1"),
        "sign_ins",
        "ix_sign_ins_network",
    ),
    "challenges that wait": (
        lambda conn: sessions.count_challenges(conn, "192.0.2.1", NOW),
        "passkey_challenges",
        "ix_passkey_challenges_network",
    ),
    "events that wait": (lambda conn: event_readers.has_waiting_events(conn), "IS NULL", "_events_"),
    "events of a party": (
        lambda conn: event_readers.list_events(conn, "P", 5, 9),
        "event_readers",
        "event_readers",
    ),
    "cases of a party": (
        lambda conn: case_searches.list_party_cases(conn, PartyCaseFilter("P", limit=9)),
        "applicant",
        "ix_cases_applicant",
    ),
    "message of a party": (
        lambda conn: case_searches.find_own_message(conn, "P", "M"),
        "from_party",
        "_messages_",
    ),
    "claim": (
        lambda conn: claim_deliveries(conn, "KR-A", "w", NOW, later(9)),
        "due AS",
        "ix_deliveries_due",
    ),
    "oldest message to be pulled": (
        lambda conn: back_channel.find_waiting_message(conn, "nowhere", NOW),
        "deliveries.due_at",
        "ix_deliveries_due",
    ),
    "old pull requests": (
        lambda conn: back_channel.record_pull_request(conn, "x", NOW, NOW),
        "seen_at <",
        "ix_pull_requests_seen_at",
    ),
    "other content of a call": (
        lambda conn: seen_calls.has_other_content(conn, seen_calls.NewSeenCall("s", "P", "M", "c"), NOW),
        "message_id",
        "ix_seen_calls_message_id",
    ),
    "old calls": (
        lambda conn: seen_calls.remove_old_calls(conn, NOW),
        "seen_at <",
        "ix_seen_calls_seen_at",
    ),
    "due lanes": (lambda conn: lanes.list_due_lanes(conn, NOW), "EXISTS", "ix_deliveries_due"),
    "lost leases": (
        lambda conn: delivery_maintenance.reclaim_lost_leases(conn, NOW, "u"),
        "lease_until",
        "ix_deliveries_leased",
    ),
    "time-outs": (
        lambda conn: delivery_maintenance.requeue_unreceipted(conn, NOW, "u"),
        "due_at",
        "ix_deliveries_awaiting",
    ),
    "expired": (
        lambda conn: delivery_maintenance.list_expired_deliveries(conn, NOW),
        "expires_at",
        "ix_deliveries_due",
    ),
    "expired, behind a place": (
        lambda conn: delivery_maintenance.list_expired_deliveries(conn, NOW, after=DuePlace(NOW, 1)),
        "expires_at",
        "ix_deliveries_due",
    ),
    "name on the wire": (
        lambda conn: deliveries.find_by_wire_id(conn, "x"),
        "wire_id",
        "ix_deliveries_wire_id",
    ),
    "of a case": (lambda conn: deliveries.list_by_case(conn, 1), "case_id", "ix_deliveries_case_id"),
    "unfinished of a case": (
        lambda conn: deliveries.list_unfinished(conn, 1),
        "case_id",
        "ix_deliveries_case_id",
    ),
    "messages of a case": (
        lambda conn: messages.list_messages(conn, case_id=1),
        "case_id",
        "ix_messages_case_id",
    ),
    "cases in a state": (
        lambda conn: list_searches.search_cases(conn, ListFilter(states=("DECIDED",))),
        "cases",
        "ix_cases_state",
    ),
    "cases of an agency": (
        lambda conn: list_searches.search_cases(conn, ListFilter(agency="KR-A")),
        "agency_requests",
        "ix_agency_requests_agency",
    ),
    "cases of a reference": (
        lambda conn: list_searches.search_cases(conn, ListFilter(reference="R", states=("DECIDED",))),
        "functional_reference",
        "ix_cases_",
    ),
    "cases of goods": (
        lambda conn: list_searches.search_cases(conn, ListFilter(reference="R")),
        "case_references",
        "_case_references",
    ),
    "cases of a party's goods": (
        lambda conn: case_searches.search_party_cases(conn, PartyCaseFilter("broker", reference="R")),
        "case_references",
        "_case_references",
    ),
    "own cases of goods": (
        lambda conn: case_searches.list_party_cases(conn, PartyCaseFilter("P", goods_reference="R")),
        "case_references",
        "_case_references",
    ),
    "a case searched by its goods": (
        lambda conn: exact_searches.find_cases(conn, "R"),
        "case_references",
        "_case_references",
    ),
    "messages of a partner": (
        lambda conn: list_searches.search_messages(conn, ListFilter(party="broker")),
        "from_party",
        "ix_messages_sender",
    ),
    "messages to a partner": (
        lambda conn: list_searches.search_messages(conn, ListFilter(party="broker")),
        "from_party",
        "ix_messages_receiver",
    ),
    "messages that stopped": (
        lambda conn: list_searches.search_messages(conn, ListFilter(states=("FAILED",))),
        "state",
        "ix_messages_stopped",
    ),
    "messages since": (
        lambda conn: list_searches.search_messages(conn, ListFilter(since=NOW)),
        "received_at",
        "ix_messages_received_at",
    ),
    "messages before": (
        lambda conn: list_searches.search_messages(conn, ListFilter(until=NOW, after=9)),
        "received_at",
        "ix_messages_received_at",
    ),
    "messages of a partner since": (
        lambda conn: list_searches.search_messages(conn, ListFilter(since=NOW, party="broker")),
        "min(",
        "ix_messages_received_at",
    ),
    "deliveries that stopped": (
        lambda conn: list_searches.search_deliveries(conn, ListFilter(states=("FAILED",))),
        "state",
        "ix_deliveries_stopped",
    ),
    "deliveries that are queued": (
        lambda conn: list_searches.search_deliveries(conn, ListFilter(states=("QUEUED",))),
        "state",
        "ix_deliveries_due",
    ),
    "cases of a declarant": (
        lambda conn: case_searches.search_party_cases(conn, PartyCaseFilter("broker", states=("DECIDED",))),
        "declarant",
        "ix_cases_declarant",
    ),
    "cases that a party sent": (
        lambda conn: case_searches.search_party_cases(conn, PartyCaseFilter("broker")),
        "applicant",
        "ix_cases_applicant",
    ),
    "a case of a party": (
        lambda conn: case_searches.search_party_cases(conn, PartyCaseFilter("broker", reference="R")),
        "functional_reference",
        "ix_cases_functional_reference",
    ),
    "statistics of a party": (
        lambda conn: daily_statistics.sum_statistics(
            conn, StatisticsFilter("case_outcome", NOW.date(), NOW.date(), party="broker"), ("day",)
        ),
        "daily_statistics",
        "_daily_statistics",
    ),
    "statistics of an agency": (
        lambda conn: daily_statistics.sum_statistics(
            conn, StatisticsFilter("request_outcome", NOW.date(), NOW.date(), agency="KR-A"), ("day",)
        ),
        "daily_statistics",
        "ix_daily_statistics_agency",
    ),
    **{
        f"work of an agency: {tab.value}": (
            lambda conn, tab=tab: work_lists.list_work(conn, WorkFilter("KR-A", tab, 1, NOW)),
            word,
            index,
        )
        for tab, word, index in (
            (WorkTab.NEW, "FROM agency_requests", "ix_agency_requests_state"),
            (WorkTab.HELD, "FROM agency_requests", "ix_agency_requests_state"),
            (WorkTab.MINE, "FROM work_claims", "ix_work_claims_account"),
            (WorkTab.WAITING, "FROM agency_requests", "ix_agency_requests_state"),
            (WorkTab.APPROVE, "FROM officer_acts", "ix_officer_acts_agency"),
            (WorkTab.CANCEL, "FROM agency_requests", "ix_agency_requests_asked"),
            (WorkTab.OVERDUE, "FROM agency_requests", "ix_agency_requests_due"),
            (WorkTab.DECIDED, "FROM agency_requests", "ix_agency_requests_state"),
        )
    },
    "work of an agency by deadline": (
        lambda conn: work_lists.list_work(conn, WorkFilter("KR-A", WorkTab.NEW, 1, NOW, order="due")),
        "FROM agency_requests",
        "ix_agency_requests_due",
    ),
    "decided work for goods": (
        lambda conn: work_lists.list_work(conn, WorkFilter("KR-A", WorkTab.DECIDED, 1, NOW, hs="0601")),
        "FROM agency_requests",
        "ix_application_summaries_heading",
    ),
    "decided work of an applicant": (
        lambda conn: work_lists.list_work(conn, WorkFilter("KR-A", WorkTab.ALL, 1, NOW, applicant="1")),
        "FROM agency_requests",
        "ix_application_summaries_applicant",
    ),
    "overdue work is counted": (
        lambda conn: work_lists.count_work(conn, "KR-A", 1, NOW),
        "due_at <=",
        "ix_agency_requests_due",
    ),
    "decided work whose fee is overdue": (
        lambda conn: work_lists.list_work(conn, WorkFilter("KR-A", WorkTab.OVERDUE, 1, NOW)),
        "min(",
        "ix_deadlines_state",
    ),
    "what is new": (
        lambda conn: work_lists.compute_work_list_version(conn, "KR-A"),
        "max(agency_requests.id)",
        "ix_agency_requests_state",
    ),
    "application of a receipt": (
        lambda conn: work_lists.find_application_numbers(conn, "KR-A", "R-1"),
        "correlations",
        "correlations",
    ),
    "application of a decision": (
        lambda conn: work_lists.find_application_numbers(conn, "KR-A", "R-1"),
        "decisions",
        "ix_decisions_number",
    ),
    "earlier applications": (
        lambda conn: work_lists.list_previous_applications(conn, "KR-A", 9, applicant_id="1", heading="0601"),
        "application_summaries",
        "ix_application_summaries_",
    ),
    "calls in the mailbox": (
        lambda conn: officer_work.list_mailbox_calls(conn, 1),
        "console_mailbox",
        "ix_console_mailbox_request_id",
    ),
    "undecided in the mailbox": (
        lambda conn: officer_work.count_undecided(conn, "KR-A"),
        "console_mailbox",
        "ix_console_mailbox_agency",
    ),
    "act under way": (
        lambda conn: officer_work.find_open_act(conn, 1),
        "officer_acts",
        "under_way",
    ),
    "uses of a case": (
        lambda conn: requirement_quantities.list_uses_of_case(conn, 1),
        "requirement_uses",
        "ix_requirement_uses_case_id",
    ),
    "deadlines that are due": (
        lambda conn: deadlines.list_due(conn, NOW, 100),
        "deadlines",
        "ix_deadlines_next",
    ),
    "deadlines that are due, behind a place": (
        lambda conn: deadlines.list_due(conn, NOW, 100, DuePlace(NOW, 1)),
        "deadlines",
        "ix_deadlines_next",
    ),
    "deadlines of a case that run": (
        lambda conn: deadlines.list_live(conn, 1),
        "deadlines",
        "ix_deadlines_",
    ),
    "deadlines that run in some cases": (
        lambda conn: deadlines.list_running(conn, [1, 2]),
        "deadlines",
        "ix_deadlines_",
    ),
    "cases of a party that are open or owe a fee": (
        lambda conn: case_searches.search_party_cases(
            conn, PartyCaseFilter("broker", ("OPENED",), or_owes_fee=True)
        ),
        "fees",
        "ix_fees_due",
    ),
    "open fees of some requests": (
        lambda conn: fees.list_open(conn, [1, 2]),
        "fees",
        "ix_fees_request_id",
    ),
    "deadlines of the fees of cases": (
        lambda conn: deadlines.list_of_fees(conn, [1, 2]),
        "deadlines",
        "ix_deadlines_case_id",
    ),
    "deadlines of a case": (
        lambda conn: deadlines.list_by_case(conn, 1),
        "deadlines",
        "ix_deadlines_case_id",
    ),
    "deadlines by state": (
        lambda conn: deadlines.list_by_state(conn, "OVERDUE", 0, 100),
        "deadlines",
        "ix_deadlines_state",
    ),
    "deadlines that the calendar does not know": (
        lambda conn: deadlines.wake_unknown(conn, NOW),
        "deadlines",
        "ix_deadlines_state",
    ),
    "uses of a requirement": (
        lambda conn: requirement_quantities.list_uses(conn, 1),
        "requirement_uses",
        "ix_requirement_uses_requirement_id",
    ),
    "what has left a case": (
        lambda conn: item_releases.list_releases_from(conn, 1),
        "item_releases",
        "ix_item_releases_parent_id",
    ),
    "what a child has taken": (
        lambda conn: item_releases.list_releases_into(conn, 1),
        "item_releases",
        "ix_item_releases_child_id",
    ),
    "results without an application": (
        lambda conn: requirement_results.list_results(conn, [1]),
        "requirement_results",
        "ix_requirement_results_requirement_id",
    ),
    "what a case waits for": (
        lambda conn: requirement_results.list_awaited_uses(conn, 1),
        "awaited_requirements",
        "ix_awaited_requirements_case_id",
    ),
    "cases that wait for a number": (
        lambda conn: requirement_results.list_concerned_cases(conn, 1, "R-1"),
        "awaited_requirements",
        "ix_awaited_requirements_number",
    ),
    "requirements by number": (
        lambda conn: requirement_quantities.find_requirements(conn, ["C-1"]),
        "requirements",
        "requirements_",
    ),
    "what decisions grant": (
        lambda conn: requirement_quantities.list_granting_decisions(conn, ["C-1"]),
        "decisions",
        "ix_decisions_number",
    ),
    "acts to resume": (lambda conn: officer_work.list_intended_acts(conn), "officer_acts", "under_way"),
    "acts of an application": (
        lambda conn: officer_work.find_desk_state(conn, 1, "KR-A"),
        "officer_acts",
        "ix_officer_acts_request_id",
    ),
    "refusals of an agency": (
        lambda conn: decisions.count_refusal_reasons(conn, "KR-A", NOW, later(9)),
        "decisions",
        "ix_agency_requests_decided",
    ),
    "cases of a UCR": (lambda conn: exact_searches.find_cases(conn, "X"), "cases.ucr =", "ix_cases_ucr"),
    "standing cases of a reference": (
        lambda conn: cases.list_active_by_reference(conn, "X", "customs", 2),
        "functional_reference",
        "ix_cases_functional_reference",
    ),
    "cases of a permit": (
        lambda conn: exact_searches.find_cases(conn, "X"),
        "decisions.number =",
        "ix_decisions_number",
    ),
    "failed deliveries with a text": (
        lambda conn: exact_searches.search_failed_deliveries(conn, "refused"),
        "JOIN",
        "ix_deliveries_stopped",
    ),
    "messages with a problem": (
        lambda conn: exact_searches.list_problem_messages(conn, "GW101"),
        "problem",
        "ix_messages_problem",
    ),
    "deliveries that had a problem": (
        lambda conn: exact_searches.list_problem_deliveries(conn, "GW601"),
        "delivery_attempts",
        "ix_delivery_attempts_problem",
    ),
    "lanes": (lanes.summarize_lanes, "oldest", "ix_deliveries_due"),
    "failed deliveries by lane": (deliveries.summarize_failed, "FAILED", "ix_deliveries_stopped"),
    "whether a delivery of a lane is not done": (
        lambda conn: lane_faults.has_open_deliveries(conn, "KPTA", NOW),
        "QUEUED",
        "ix_deliveries_due",
    ),
    "the last good delivery of a lane": (
        lambda conn: lane_faults.find_last_delivered(conn, "KPTA"),
        "max",
        "ix_deliveries_done",
    ),
    "deliveries made in an hour": (
        lambda conn: state_counts.count_traffic(conn, NOW, later(1)),
        "finished_at",
        "ix_deliveries_done",
    ),
    "the last good delivery": (state_counts.list_last_delivered, "finished_at", "ix_deliveries_done"),
    "cases opened in an hour": (
        lambda conn: state_counts.count_traffic(conn, NOW, later(1)),
        "opened_at",
        "ix_cases_opened_at",
    ),
    "messages stored in an hour": (
        lambda conn: state_counts.count_traffic(conn, NOW, later(1)),
        "received_at",
        "ix_messages_received_at",
    ),
    "cases opened in a period, page by page": (
        lambda conn: cases.list_opened_between(conn, NOW, later(1), TimedPosition(NOW, 0), 100),
        "opened_at",
        "ix_cases_opened_at",
    ),
    "cases opened in a period, the newest first, page by page": (
        lambda conn: cases.list_newest_between(conn, NOW, TimedPosition(later(1), 0), 100),
        "opened_at",
        "ix_cases_opened_at",
    ),
    "how many cases were opened in a period": (
        lambda conn: cases.count_opened_between(conn, NOW, later(1)),
        "opened_at",
        "ix_cases_opened_at",
    ),
    "cases whose octets may go": (
        lambda conn: octet_removal.list_ended_cases(conn, NOW, octet_removal.START, 20),
        "ended_at",
        "ix_cases_unpurged",
    ),
    "cases that wait for numbers": (
        lambda conn: requirement_results.list_waiting_cases(conn, ["2026-118"]),
        "awaited_requirements",
        "ix_awaited_requirements_number",
    ),
    "held cases of a declarant": (
        lambda conn: cases.list_held(conn, "broker1"),
        "declarant",
        "ix_cases_declarant",
    ),
    "changes that are not admitted yet": (
        lambda conn: messages.is_change_waiting(conn, NOW, later(1)),
        "received_at",
        "ix_messages_unpurged",
    ),
    "messages in mailboxes whose octets may go": (
        lambda conn: octet_removal.list_old_caseless_messages(conn, NOW, octet_removal.START, 20),
        "direction",
        "ix_messages_unpurged",
    ),
    "messages that rest in the mailbox": (
        lambda conn: list_searches.search_messages(conn, ListFilter(), resting=True),
        "dedupe_key",
        "ix_messages_unpurged",
    ),
    "how many messages rest in the mailbox": (
        mailbox_messages.summarize_resting,
        "dedupe_key",
        "ix_messages_unpurged",
    ),
    "the tasks of messages that rest in the mailbox": (
        mailbox_messages.summarize_resting,
        "dedupe_key",
        "deliveries",
    ),
    "responses to waiting requests": (
        lambda conn: back_channel.list_responses(conn, (1, 2, 3)),
        "asked",
        "ix_messages_case_id",
    ),
    "submissions of a party, to be copied": (
        lambda conn: submission_drafts.list_submissions(conn, "broker1", 51, 1000),
        "action",
        "ix_messages_sender",
    ),
    "drafts of a party": (
        lambda conn: submission_drafts.list_drafts(conn, "broker1", 51, 1000),
        "submission_drafts",
        "ix_submission_drafts_party",
    ),
    "open drafts of a party": (
        lambda conn: submission_drafts.count_drafts(conn, "broker1"),
        "submission_drafts",
        "ix_submission_drafts_party",
    ),
    "fees of an application": (
        lambda conn: fees.list_by_request(conn, 1),
        "fees",
        "ix_fees_request_id",
    ),
    "fees of a case": (
        lambda conn: fee_searches.list_by_case(conn, 1),
        "fees",
        "ix_fees_request_id",
    ),
    "fees with an overdue deadline": (_list_overdue_fees, "due_on", "ix_deadlines_state"),
    "fees whose deadline nobody has looked at yet": (_list_overdue_fees, "due_on", "ix_deadlines_next"),
    "fees after their last day, without a deadline": (_list_overdue_fees, "due_on", "ix_fees_due"),
    "payments and refunds of a fee": (
        lambda conn: fees.list_movements(conn, 1),
        "fee_movements",
        "ix_fee_movements_fee_id",
    ),
    "payments and refunds of some days": (
        lambda conn: fees.list_movements_between(conn, NOW, later(1)),
        "moved_at",
        "ix_fee_movements_moved",
    ),
    "an answered application": (
        lambda conn: open_request(conn, 1),
        "decided_at_console",
        "ix_officer_acts_request_id",
    ),
    "what a Result is made of": (
        lambda conn: find_case_facts(conn, 1),
        "FROM cases",
        "ix_awaited_requirements_case_id",
    ),
    "what decides items beside the applications": (
        lambda conn: item_releases.may_have_outside_decisions(conn, 1),
        "EXISTS",
        "ix_requirement_uses_case",
    ),
    "the children of a case": (
        lambda conn: item_releases.list_children(conn, 1),
        "FROM item_releases",
        "ix_item_releases_parent",
    ),
    "whether a number is known that a case waits for": (
        lambda conn: requirement_results.is_concerned_case(conn, 1),
        "awaited_requirements",
        "ix_awaited_requirements_case",
    ),
    "whether a case is open": (
        lambda conn: cases.find_whether_delivery_failed(conn, 1),
        "deliveries",
        "ix_deliveries_case_id",
    ),
    "the head that was stamped last": (
        lambda conn: time_stamps.compute_stamping_progress(conn),
        "max(time_stamps.seal)",
        "_time_stamps_",
    ),
    "requirement": (
        lambda conn: decisions.find_by_requirement(conn, "KR-A", "R-1"),
        "decisions",
        "ix_decisions_number",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize(("act", "word", "index"), QUESTIONS.values(), ids=list(QUESTIONS))
def test_a_hot_question_uses_its_index(engine, act, word, index):
    with write_transaction(engine) as conn:
        request(conn, open_case(conn))
        deliveries.enqueue_delivery(conn, delivery(), NOW)
    found = [(text, values) for text, values in asked(engine, act) if word in text and "WHERE" in text]
    assert found
    assert index in plan_of(engine, *found[0])


def test_receiving_takes_few_statements(engine):
    def receive(conn):
        register_version.get_register_version(conn)
        done = messages.accept_message(conn, message(), None, NOW)
        new = delivery(agent="local", destination="local", dedupe_key=f"admit:{done.id}")
        deliveries.enqueue_delivery(conn, new, NOW)

    assert len(asked(engine, receive)) <= 6


def test_a_party_is_found_in_one_statement(engine):
    assert len(asked(engine, lambda conn: parties.find_by_identifier(conn, PartyId("x")))) == 1


def test_what_messages_are_made_of_is_found_by_keys(engine):
    with write_transaction(engine) as conn:
        case = open_case(conn)
        new = notices.NewNotice(request(conn, case), "KR-A", "N1", NOW, "11")
        notices.insert_notice(conn, new, NOW)
    for act in (lambda conn: find_notice_with_case(conn, 1), lambda conn: find_case_facts(conn, case)):
        for text, values in asked(engine, act):
            plan = plan_of(engine, text, values)
            for table in ("notices", "agency_requests", "cases", "messages"):
                assert f"Seq Scan on {table}" not in plan
                assert f"SCAN {table}" not in plan
