"""The operations on cases: list, case, applications, notices, result, evidence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.evidence import EvidenceReader, canonicalize_json, is_visible_whole, select_visible_fields
from gateway.hub import read_standing_warnings
from gateway.operations import (
    describe_case_fees,
    describe_case_results,
    describe_releases,
    explain_no_effect,
    read_custody_times,
)
from gateway.store import (
    CaseRow,
    EvidenceRow,
    PartyCaseFilter,
    agency_requests,
    case_searches,
    customs_notices,
    decisions,
    messages,
    notices,
    read_transaction,
    requirement_results,
)
from gateway.web.api.api_operations import (
    XML,
    ZIP,
    Answer,
    AnswerModel,
    ApiAnswer,
    ApiCall,
    OperationSection,
    make_not_found_error,
    read_cursor,
    read_model,
    write_cursor,
)
from gateway.web.api.case_models import (
    Application,
    ApplicationList,
    Case,
    CaseList,
    CaseQuery,
    CaseSummary,
    Decision,
    Evidence,
    EvidenceRecord,
    Fee,
    FeeMove,
    FindingView,
    HeldCase,
    ItemRelease,
    ItemRest,
    MissingDocument,
    Notice,
    NoticeList,
    RemovedItem,
    ResultReference,
    TakenItem,
    WithheldRecord,
)
from gateway.web.case_bundle import clean_file_name, make_case_bundle

CASES: Final = OperationSection("cases")

_CURSOR: Final = "case"


@CASES.declare(
    "GET",
    "/cases",
    "listCases",
    "List the cases that the caller sent, or that were filed for it, newest first",
    Answer(200, "A page of cases", CaseList),
    query=CaseQuery,
)
def _list_cases(call: ApiCall) -> ApiAnswer:
    """Answer a page of the party's cases that match the query, with the cursor of the next page."""
    query: CaseQuery = call.query
    criteria = PartyCaseFilter(
        call.party,
        states=(query.state,) if query.state else (),
        functional_reference=query.reference,
        goods_reference=query.goods_reference,
        outcome=query.outcome,
        since=query.since,
        until=query.until,
        limit=query.limit + 1,
        after=read_cursor(_CURSOR, query.cursor),
    )
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        rows = case_searches.list_party_cases(conn, criteria)
    page_rows = rows[: query.limit]
    next_cursor = write_cursor(_CURSOR, page_rows[-1].id) if len(rows) > query.limit else None
    summaries = [read_model(CaseSummary, row, reference=row.functional_reference) for row in page_rows]
    return ApiAnswer(CaseList(cases=summaries, next=next_cursor))


def _find_case(conn: Connection, call: ApiCall) -> CaseRow:
    row = case_searches.find_party_case(conn, call.party, call.path["number"])
    if row is None:
        raise make_not_found_error("such case")
    return row


@CASES.declare(
    "GET", "/cases/{number}", "getCase", "Get one case", Answer(200, "The case", Case), problems=(404,)
)
def _get_case(call: ApiCall) -> ApiAnswer:
    """Answer one case of the party, with its results, fees, warnings and custody times."""
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        row = _find_case(conn, call)
        message = messages.find_by_id(conn, row.message)
        results = case_searches.list_case_documents(conn, row.id, "Result")
        outside = describe_case_results(conn, row)
        awaited = requirement_results.list_awaited_uses(conn, row.id)
        clearance = customs_notices.find_clearance_state(conn, row.id)
        levied = describe_case_fees(conn, row.id)
        releases = describe_releases(conn, row)
        timetable = call.services.hub.timetable.read_timetable(conn)
        custody = read_custody_times(conn, row, timetable, call.services.clock())
        warnings = read_standing_warnings(conn, row, lambda: call.services.hub.rules.bundle)
    detail = row.detail or {}
    return ApiAnswer(
        read_model(
            Case,
            row,
            reference=row.functional_reference,
            message_id=message.message_id if message else "",
            clearance=clearance,
            problems=_read_findings(detail.get("problems", ())),
            warnings=_read_findings(warnings),
            held=_read_hold(detail.get("held")),
            results=[
                ResultReference(message_id=result.message_id, issued_at=result.received_at)
                for result in results
            ],
            outside_results=outside,
            fees=[_read_fee(fee) for fee in levied],
            **_make_release_members(releases),
            awaited=sorted({awaited_use.number for awaited_use in awaited}),
            custody=custody,
        )
    )


def _make_release_members(releases: dict[str, Any]) -> dict[str, Any]:
    """Return the items that left the case, stay in it, were taken from its parent, or were removed.

    Also returns the decisions and cancellations that the case inherits from its parent.
    """

    def read(model: type[AnswerModel], list_name: str) -> list[Any]:
        # An item without a measure has neither quantity nor unit.
        absent = {"measure": None, "quantity": None, "unit": None}
        return [
            read_model(model, row if row.get("measure", "-") else row | absent) for row in releases[list_name]
        ]

    return {
        "released": read(ItemRelease, "released"),
        "stays": [read_model(ItemRest, rest) for rest in releases["stays"] if rest["measure"]],
        "taken": read(TakenItem, "taken"),
        "inherited": releases["inherited"],
        "inherited_cancellations": releases["inherited_cancellations"],
        "removed": read(RemovedItem, "removed"),
    }


def _read_fee(fee: dict[str, Any]) -> Fee:
    """Return the API's view of a fee; the payment address is given only while the fee is to be paid."""
    return read_model(
        Fee,
        fee,
        payment_notice=fee["payment_notice"] or None,
        address=fee["address"] if fee["state"] == "ORDERED" else None,
        moves=[read_model(FeeMove, movement) for movement in fee["movements"]],
    )


def _read_findings(findings: Sequence[dict[str, Any]]) -> list[FindingView]:
    return [read_model(FindingView, finding, pointer=finding.get("pointer") or None) for finding in findings]


def _read_hold(held: dict[str, Any] | None) -> HeldCase | None:
    """Return the API's view of the reasons that hold a case; None if `held` is None."""
    if held is None:
        return None
    nothing: dict[str, Any] = {"documents": [], "organisations": []}
    missing = [
        read_model(MissingDocument, nothing | document, pointer=document["pointer"] or None)
        for document in held["missing"]
    ]
    problems = _read_findings(held.get("problems", ()))
    # bounded: a time that the hub wrote
    return HeldCase(until=datetime.fromisoformat(held["until"]), missing=missing, problems=problems)


@CASES.declare(
    "GET",
    "/cases/{number}/applications",
    "listApplications",
    "List what the agencies were asked, and their decisions in force",
    Answer(200, "The applications", ApplicationList),
    problems=(404,),
)
def _list_applications(call: ApiCall) -> ApiAnswer:
    """Answer the applications of a case, each with its current decisions and whether each has an effect."""
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        case = _find_case(conn, call)
        rows = agency_requests.list_by_case(conn, case.id)
        decisions_by_request: dict[int, list[Decision]] = {}
        requests_by_id = {row.id: row for row in rows}
        for decision in decisions.list_current_decisions(conn, case.id):
            counts = explain_no_effect(case, requests_by_id[decision.request_id], decision) is None
            decisions_by_request.setdefault(decision.request_id, []).append(
                read_model(Decision, decision, notice=decision.notice_no, counts=counts)
            )
    return ApiAnswer(
        ApplicationList(
            applications=[
                read_model(Application, row, decisions=decisions_by_request.get(row.id, [])) for row in rows
            ]
        )
    )


@CASES.declare(
    "GET",
    "/cases/{number}/notices",
    "listNotices",
    "List what the agencies said about the case",
    Answer(200, "The notices", NoticeList),
    problems=(404,),
)
def _list_notices(call: ApiCall) -> ApiAnswer:
    """Answer the notices of all applications of a case, in the order in which they were stored."""
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        case = _find_case(conn, call)
        request_notices = [
            (request, row)
            for request in agency_requests.list_by_case(conn, case.id)
            for row in notices.list_by_request(conn, request.id)
        ]
    request_notices.sort(key=lambda pair: pair[1].id)
    return ApiAnswer(
        NoticeList(
            notices=[read_model(Notice, row, application=request.number) for request, row in request_notices]
        )
    )


@CASES.declare(
    "GET",
    "/cases/{number}/evidence",
    "listEvidence",
    "List the evidence about a case",
    Answer(200, "The evidence", Evidence),
    problems=(404,),
)
def _list_evidence(call: ApiCall) -> ApiAnswer:
    """Answer the evidence of a case: the fields that the party may see, else only the hash of the leaf.

    Of a broken leaf only the hash is answered, too.
    """
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        case = _find_case(conn, call)
        rows = case_searches.list_case_evidence(conn, case.id)
    reader = EvidenceReader(call.party)
    visible_records = [(row, select_visible_fields(row, reader)) for row in rows]
    return ApiAnswer(
        Evidence(
            case=case.number,
            records=[
                _read_record(row, fields, reader) for row, fields in visible_records if fields is not None
            ],
            withheld=[
                WithheldRecord(leaf_hash=row.leaf_hash, sequence=row.seq)
                for row, fields in visible_records
                if fields is None
            ],
        )
    )


def _read_record(row: EvidenceRow, fields: dict[str, Any], reader: EvidenceReader) -> EvidenceRecord:
    """Return a record of which the caller sees these fields of its data."""
    return read_model(
        EvidenceRecord,
        row,
        subject=row.subject_type,
        data=canonicalize_json(fields),
        complete=is_visible_whole(row, reader),
        sequence=row.seq,
    )


@CASES.declare(
    "GET",
    "/cases/{number}/evidence/bundle",
    "getEvidenceBundle",
    "Get the evidence of a case as a ZIP file: proofs, messages and receipts",
    Answer(
        200,
        "The bundle",
        media_type=ZIP,
        headers={"Content-Disposition": "A name for the file."},
    ),
    description=(
        "The file of the console. Each proof is verified by `gateway evidence verify`. Evidence of the "
        "last minutes may not be sealed yet; README.txt says so."
    ),
    problems=(404,),
)
def _get_bundle(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        case = _find_case(conn, call)
        bundle = make_case_bundle(conn, case, EvidenceReader(call.party))
    disposition = f'attachment; filename="{clean_file_name(case.number)}-evidence.zip"'
    return ApiAnswer(bundle, media_type=ZIP, headers={"Content-Disposition": disposition})


@CASES.declare(
    "GET",
    "/results/{number}",
    "getResult",
    "Get the last signed result of a case, as it was made",
    Answer(
        200,
        "The signed Result",
        media_type=XML,
        headers={"Gateway-Message-Id": "The id of the message that carries it."},
    ),
    problems=(404,),
)
def _get_result(call: ApiCall) -> ApiAnswer:
    """Answer the XML of the latest Result of a case; 404 before there is one."""
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        case = _find_case(conn, call)
        documents = case_searches.list_case_documents(conn, case.id, "Result")
        if not documents:
            raise make_not_found_error("result of this case yet")
        document = messages.load_payloads(conn, documents[-1].id)[0]
    return ApiAnswer(
        document.octets, media_type=XML, headers={"Gateway-Message-Id": str(documents[-1].message_id)}
    )
