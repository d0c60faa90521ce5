"""Applies what customs says: in the answer to a call of ours, or in a call of its own.

The case row is locked first. When the transaction has committed, the signed octets, the notice and the
state of clearance are in the database, and what follows is queued: the Notice to the applicant, and the
news to the agencies that want them (`gateway.hub.customs.customs_news`). An error of customs (R25) is an
answer: the call was made, and is not repeated.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import (
    CustomsCall,
    CustomsNotice,
    PartnerAnswer,
    SignedReply,
    check_clearance_direction,
    check_customs_code,
)
from gateway.errors import REPLY_UNMATCHED, RULE_BROKEN, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.completion import case_closing
from gateway.hub.customs.customs_records import record_customs_notice
from gateway.hub.hub import Hub
from gateway.hub.outbox import CUSTOMS, FinishLease
from gateway.hub.reply import describe_signer
from gateway.needs import find_declared_direction
from gateway.store import DeliveryLease, cases, deliveries, payloads, write_transaction

__all__ = ["apply_customs_answer", "apply_customs_call"]


def apply_customs_answer(
    hub: Hub, lease: DeliveryLease, answer: PartnerAnswer, spoken: SignedReply, finish: FinishLease
) -> None:
    """Store what customs answered to a call of ours, and end the delivery of that call.

    Raises GW403 for a code that is no answer, GW702 for a notice number that was used for something else.
    """
    now = hub.clock()
    closing = case_closing.closing_transaction(
        hub.engine, "partner.customs", lease.id, now, case_id=lease.case_id
    )
    with closing as conn:
        finish(conn)
        kept = payloads.store_payload(conn, spoken.envelope, now)
        signer = describe_signer(hub, spoken)
        said = {"operation": str(lease.parameters.get("operation")), "answer": repr(answer)[:300]}
        record_evidence(conn, "customs", "delivery", lease.id, kept, {**said, **signer}, now)
        if isinstance(answer, CustomsNotice) and lease.case_id is not None:
            kind = check_customs_code(answer, hub.rules.customs_codes, clears=False)
            case = cases.lock_case(conn, lease.case_id)
            record_customs_notice(conn, case, answer, kind, (kept, signer), now, lease.id)


def apply_customs_call(hub: Hub, said: CustomsCall, spoken: SignedReply, *, clears: bool) -> str:
    """Apply a notice that customs sent in a call of its own; return the case number.

    With `clears` it says how clearance ended, otherwise it answers what customs was told. Raises GW701
    for a case that customs was told nothing of, GW403 and GW404 for what the notice may not say (also the
    result of an import about an export declaration, and the other way round), GW702
    for a notice number that was used for something else.
    """
    kind = check_customs_code(said.notice, hub.rules.customs_codes, clears=clears)
    with write_transaction(hub.engine, "customs.call") as conn:
        case = cases.lock_case(conn, _find_case(conn, said).id)
        _check_items(case, said.notice)
        if clears:
            direction = find_declared_direction(case.document)
            check_clearance_direction(said.notice, hub.rules.customs_codes, direction)
        now = hub.clock()
        kept = payloads.store_payload(conn, spoken.envelope, now)
        _record_call(conn, hub, case, (said.notice, kind), (kept, spoken), now)
    return str(case.number)


def _record_call(
    conn: Connection,
    hub: Hub,
    case: Row[Any],
    said: tuple[CustomsNotice, str],
    proof: tuple[str, SignedReply],
    now: datetime,
) -> None:
    notice, kind = said
    kept, spoken = proof
    record_customs_notice(conn, case, notice, kind, (kept, describe_signer(hub, spoken)), now)


def _find_case(conn: Connection, said: CustomsCall) -> Row[Any]:
    """Return the case that customs names; raises GW701 where customs was told of none, or of several."""
    # Of a refused or a held submission customs was told nothing, nor of one that was withdrawn while held.
    if said.case_number is not None:
        named = cases.find_by_number(conn, said.case_number)
        standing = [] if named is None or not _was_told(conn, named) else [named]
        where, name = "CaseNumber", said.case_number
    else:
        where, name = "DeclarationReference", said.reference or ""
        standing = list(cases.list_standing_by_reference(conn, name, CUSTOMS, 2))
    if len(standing) == 1:
        return standing[0]
    detail = f"customs was told nothing under {name[:40]!r}"
    if standing:
        detail = f"several declarants use the reference {name[:40]!r}: name the case"
    raise GatewayError(REPLY_UNMATCHED, detail, where)


def _was_told(conn: Connection, case: Row[Any]) -> bool:
    if case.state in ("REFUSED", "HELD"):
        return False
    told = (row.destination == CUSTOMS for row in deliveries.list_outlines(conn, case.id))
    return case.state != "WITHDRAWN" or any(told)


def _check_items(case: Row[Any], notice: CustomsNotice) -> None:
    """Raise GW404 for an item that the declaration has not, or that is named twice."""
    known = set((case.detail or {}).get("items", ()))
    seen: set[int] = set()
    for position, one in enumerate(notice.items, start=1):
        if one.item not in known or one.item in seen:
            what = "is named twice" if one.item in seen else f"is no part of case {case.number}"
            raise GatewayError(RULE_BROKEN, f"item {one.item} {what}", f"Item[{position}]")
        seen.add(one.item)
