"""The operations on cases: list, case, applications, notices, result, evidence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.hub import read_standing_warnings
from gateway.operations import (
    describe_case_fees,
    describe_case_results,
    describe_releases,
    explain_no_effect,
    read_custody_times,
)
from gateway.store import (
    OwnCaseFilter,
    agency_requests,
    customs_notices,
    decisions,
    messages,
    notices,
    own_cases,
    read_transaction,
    requirement_results,
)
from gateway.web.api.api_operations import (
    XML,
    ZIP,
    Answer,
    ApiAnswer,
    ApiCall,
    Operation,
    make_not_found_error,
)
from gateway.web.api.case_models import (
    Application,
    ApplicationList,
    Case,
    CaseList,
    CaseQuery,
    CaseSummary,
    Custody,
    Decision,
    Evidence,
    EvidenceRecord,
    Fee,
    FeeMove,
    FindingView,
    HeldCase,
    InheritedCancellation,
    InheritedDecision,
    ItemRelease,
    ItemRest,
    MissingDocument,
    Notice,
    NoticeList,
    OutsideResult,
    RemovedItem,
    ResultReference,
    TakenItem,
    WorkingSeconds,
)
from gateway.web.api.model_bases import AnswerModel
from gateway.web.api.page_cursors import read_cursor, write_cursor
from gateway.web.case_bundle import clean_file_name, make_case_bundle

__all__ = ["CASE_OPERATIONS"]

_CURSOR: Final = "case"


def _list_cases(call: ApiCall) -> ApiAnswer:
    query: CaseQuery = call.query
    wanted = OwnCaseFilter(
        call.party,
        query.limit + 1,
        read_cursor(_CURSOR, query.cursor),
        query.reference,
        query.state,
        query.outcome,
        query.since,
        query.until,
    )
    with read_transaction(call.services.engine, promises=True) as conn:
        rows = own_cases.list_own_cases(conn, wanted)
    shown = rows[: query.limit]
    more = write_cursor(_CURSOR, shown[-1].id) if len(rows) > query.limit else None
    return ApiAnswer(CaseList(cases=[CaseSummary(**_read_case(row)) for row in shown], next=more))


def _read_case(row: Row[Any]) -> dict[str, Any]:
    return {
        "number": row.number,
        "reference": row.functional_reference,
        "state": row.state,
        "outcome": row.outcome,
        "document": row.document,
        "declarant": row.declarant,
        "applicant": row.applicant,
        "ucr": row.ucr,
        "opened_at": row.opened_at,
        "due_at": row.due_at,
        "closed_at": row.closed_at,
    }


def _find_case(conn: Connection, call: ApiCall) -> Row[Any]:
    row = own_cases.find_own_case(conn, call.party, call.path["number"])
    if row is None:
        raise make_not_found_error("such case")
    return row


def _get_case(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine, promises=True) as conn:
        row = _find_case(conn, call)
        message = messages.find_by_id(conn, row.message)
        results = own_cases.list_case_documents(conn, row.id, "Result")
        outside = describe_case_results(conn, row)
        awaited = requirement_results.list_awaited_uses(conn, row.id)
        clearance = customs_notices.find_state(conn, row.id)
        levied = describe_case_fees(conn, row.id)
        moved = describe_releases(conn, row)
        timetable = call.services.hub.timetable.read_timetable(conn)
        custody = read_custody_times(conn, row, timetable, call.services.clock())
        warnings = read_standing_warnings(conn, row, lambda: call.services.hub.rules.bundle)
    detail = row.detail or {}
    return ApiAnswer(
        Case(
            **_read_case(row),
            message_id=message.message_id if message else "",
            clearance=clearance,
            problems=_read_findings(detail.get("problems", ())),
            warnings=_read_findings(warnings),
            held=_read_hold(detail.get("held")),
            results=[
                ResultReference(message_id=one.message_id, issued_at=one.received_at) for one in results
            ],
            outside_results=[OutsideResult(**one) for one in outside],
            fees=[_read_fee(one) for one in levied],
            **_read_moves(moved),
            awaited=sorted({one.number for one in awaited}),
            custody=[_read_custody(one) for one in custody],
        )
    )


def _read_moves(moved: dict[str, Any]) -> dict[str, Any]:
    """Return what left the case, what stays, what it took, and what was removed."""

    def read(model: type[AnswerModel], row: dict[str, Any]) -> Any:
        # An item without a measure has neither quantity nor unit.
        hidden = {"measure", "quantity", "unit"} if not row.get("measure", "-") else set()
        return model(**{name: row[name] for name in model.model_fields if name in row.keys() - hidden})

    return {
        "released": [read(ItemRelease, one) for one in moved["released"]],
        "stays": [read(ItemRest, one) for one in moved["stays"] if one["measure"]],
        "taken": [read(TakenItem, one) for one in moved["taken"]],
        "inherited": [InheritedDecision(**one) for one in moved["inherited"]],
        "inherited_cancellations": [InheritedCancellation(**one) for one in moved["inherited_cancellations"]],
        "removed": [read(RemovedItem, one) for one in moved["removed"]],
    }


def _read_custody(one: dict[str, Any]) -> Custody:
    spent = one.pop("working_seconds")
    return Custody(**one, working_seconds=None if spent is None else WorkingSeconds(**spent))


def _read_fee(fee: dict[str, Any]) -> Fee:
    said = {name: fee[name] for name in Fee.model_fields if name in fee}
    said["payment_notice"] = fee["payment_notice"] or None
    said["address"] = fee["address"] if fee["state"] == "ORDERED" else None
    moves = [FeeMove(**{name: one[name] for name in FeeMove.model_fields}) for one in fee["movements"]]
    return Fee(**said, moves=moves)


def _read_findings(found: Sequence[dict[str, Any]]) -> list[FindingView]:
    return [FindingView(id=one["id"], text=one["text"], pointer=one.get("pointer") or None) for one in found]


def _read_hold(held: dict[str, Any] | None) -> HeldCase | None:
    if held is None:
        return None
    missing = [
        MissingDocument(
            text=one["text"],
            pointer=one["pointer"] or None,
            item=one.get("item"),
            law=one.get("law"),
            documents=one.get("documents", []),
            organisations=one.get("organisations", []),
        )
        for one in held["missing"]
    ]
    problems = _read_findings(held.get("problems", ()))
    return HeldCase(until=datetime.fromisoformat(held["until"]), missing=missing, problems=problems)


def _list_applications(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine, promises=True) as conn:
        case = _find_case(conn, call)
        rows = agency_requests.list_by_case(conn, case.id)
        decided: dict[int, list[Decision]] = {}
        asked = {row.id: row for row in rows}
        for one in decisions.list_current_decisions(conn, case.id):
            counts = explain_no_effect(case, asked[one.request_id], one) is None
            decided.setdefault(one.request_id, []).append(_read_decision(one, counts=counts))
    return ApiAnswer(
        ApplicationList(
            applications=[
                Application(
                    number=row.number,
                    application=row.application,
                    agency=row.agency,
                    document=row.document,
                    state=row.state,
                    status_code=row.status_code,
                    receipt_number=row.receipt_number,
                    due_at=row.due_at,
                    decided_at=row.decided_at,
                    decisions=decided.get(row.id, []),
                )
                for row in rows
            ]
        )
    )


def _read_decision(row: Row[Any], *, counts: bool) -> Decision:
    return Decision(
        item=row.item,
        law=row.law,
        decision=row.decision,
        number=row.number,
        date=row.date,
        quantity=row.quantity,
        unit=row.unit,
        conditions=list(row.conditions),
        notice=row.notice_no,
        issued_at=row.issued_at,
        counts=counts,
    )


def _list_notices(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine, promises=True) as conn:
        case = _find_case(conn, call)
        told = [
            (request, row)
            for request in agency_requests.list_by_case(conn, case.id)
            for row in notices.list_by_request(conn, request.id)
        ]
    told.sort(key=lambda one: one[1].id)
    return ApiAnswer(
        NoticeList(
            notices=[
                Notice(
                    number=row.number,
                    application=request.number,
                    agency=row.agency,
                    issued_at=row.issued_at,
                    received_at=row.received_at,
                    status_code=row.status_code,
                    text=row.text,
                    pointers=list(row.pointers),
                    deadline=row.deadline,
                )
                for request, row in told
            ]
        )
    )


def _get_result(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine, promises=True) as conn:
        case = _find_case(conn, call)
        made = own_cases.list_case_documents(conn, case.id, "Result")
        if not made:
            raise make_not_found_error("result of this case yet")
        document = messages.load_payloads(conn, made[-1].id)[0]
    return ApiAnswer(
        document.octets, media_type=XML, headers={"Gateway-Message-Id": str(made[-1].message_id)}
    )


def _list_evidence(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine, promises=True) as conn:
        case = _find_case(conn, call)
        rows = own_cases.list_case_evidence(conn, case.id)
    return ApiAnswer(
        Evidence(
            case=case.number,
            records=[
                EvidenceRecord(
                    kind=row.kind,
                    subject=row.subject_type,
                    at=row.at,
                    digest=row.digest,
                    data=row.data,
                    leaf_hash=row.leaf_hash,
                    sequence=row.seq,
                )
                for row in rows
            ],
        )
    )


def _get_bundle(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine, promises=True) as conn:
        case = _find_case(conn, call)
        bundle = make_case_bundle(conn, case)
    place = f'attachment; filename="{clean_file_name(case.number)}-evidence.zip"'
    return ApiAnswer(bundle, media_type=ZIP, headers={"Content-Disposition": place})


CASE_OPERATIONS: Final = (
    Operation(
        id="listCases",
        method="GET",
        path="/cases",
        tag="cases",
        summary="List the cases that the caller sent, or that were filed for it, newest first",
        handle=_list_cases,
        query=CaseQuery,
        answers=(Answer(200, "A page of cases", CaseList),),
    ),
    Operation(
        id="getCase",
        method="GET",
        path="/cases/{number}",
        tag="cases",
        summary="Get one case",
        handle=_get_case,
        answers=(Answer(200, "The case", Case),),
        problems=(404,),
    ),
    Operation(
        id="listApplications",
        method="GET",
        path="/cases/{number}/applications",
        tag="cases",
        summary="List what the agencies were asked, and their decisions in force",
        handle=_list_applications,
        answers=(Answer(200, "The applications", ApplicationList),),
        problems=(404,),
    ),
    Operation(
        id="listNotices",
        method="GET",
        path="/cases/{number}/notices",
        tag="cases",
        summary="List what the agencies said about the case",
        handle=_list_notices,
        answers=(Answer(200, "The notices", NoticeList),),
        problems=(404,),
    ),
    Operation(
        id="listEvidence",
        method="GET",
        path="/cases/{number}/evidence",
        tag="cases",
        summary="List the evidence about a case",
        handle=_list_evidence,
        answers=(Answer(200, "The evidence", Evidence),),
        problems=(404,),
    ),
    Operation(
        id="getEvidenceBundle",
        method="GET",
        path="/cases/{number}/evidence/bundle",
        tag="cases",
        summary="Get the evidence of a case as a ZIP file: proofs, messages and receipts",
        description=(
            "The file of the console. Each proof is verified by `gateway evidence verify`. Evidence of the "
            "last minutes may not be sealed yet; README.txt says so."
        ),
        handle=_get_bundle,
        answers=(
            Answer(
                200,
                "The bundle",
                media_type=ZIP,
                headers={"Content-Disposition": "A name for the file."},
            ),
        ),
        problems=(404,),
    ),
    Operation(
        id="getResult",
        method="GET",
        path="/results/{number}",
        tag="cases",
        summary="Get the last signed result of a case, as it was made",
        handle=_get_result,
        answers=(
            Answer(
                200,
                "The signed Result",
                media_type=XML,
                headers={"Gateway-Message-Id": "The id of the message that carries it."},
            ),
        ),
        problems=(404,),
    ),
)
