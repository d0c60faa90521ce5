"""Which notice says how an application stands now: what was said before an amendment may count no more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row

from gateway.hub.completion.standing_demands import list_open_levies, restore_demands
from gateway.store import agency_requests, decisions, fees, notices

__all__ = ["find_status_notice", "renew_status_code"]


def find_status_notice(
    conn: Connection, request: int, known: Iterable[Any], amended_after: int
) -> Any | None:
    """Return the last issued of the `known` notices about a request (row id) that count; None without one.

    One with decisions counts as long as one of them does. Another one counts until the request is amended
    (`amended_after` is the row id of the last notice before that), or as long as the fee is open that it
    levied.
    """
    decided = {row.notice_no for row in decisions.list_all_by_request(conn, request)}
    counted = {row.notice_no for row in decisions.list_by_request(conn, request)}
    levied = {number for _, number in list_open_levies(fees.list_by_request(conn, request))}
    counting = [
        one
        for one in known
        if one.number in counted
        or (one.number not in decided and (one.id > amended_after or one.number in levied))
    ]
    return max(counting, key=lambda one: (one.issued_at, one.number), default=None)


def renew_status_code(conn: Connection, request: Row[Any]) -> None:
    """Show the status code of the last notice that counts about a request that was amended; others stay."""
    demands = restore_demands(request)
    if demands is None or not demands.amended_after:
        return
    known = notices.list_by_request(conn, request.id)
    said = find_status_notice(conn, request.id, known, demands.amended_after)
    code = None if said is None else said.status_code
    if code != request.status_code:
        agency_requests.set_status_code(conn, request.id, code)
