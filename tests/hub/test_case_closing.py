"""Which deliveries that failed keep a decided case open."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sqlalchemy import Engine

from gateway.hub.completion.case_closing import _is_remainder_moot
from gateway.store import write_transaction
from tests.kit import tables
from tests.kit.rows import open_case, request


def make_message(action: str, *, agent: str = "msh", state: str = "FAILED") -> Any:
    return SimpleNamespace(
        state=state, agent=agent, parameters={"action": action}, subject_type="message", subject_id="1"
    )


def make_call(request_id: int, *, subject: str = "request") -> Any:
    return SimpleNamespace(
        state="FAILED", agent="soap", parameters={}, subject_type=subject, subject_id=str(request_id)
    )


NOTICE, RESULT = make_message("Notice"), make_message("Result")


def test_a_case_closes_over_notices_and_calls_of_ended_applications_alone(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        case = open_case(conn)
        ended, open_ = request(conn, case), request(conn, case)
        row = tables.agency_requests.c.id == ended
        conn.execute(tables.agency_requests.update().where(row).values(state="DECIDED"))
        for unfinished, is_moot in (
            ([NOTICE], True),
            ([NOTICE, make_call(ended)], True),
            ([RESULT], False),
            ([NOTICE, RESULT], False),
            ([make_call(open_)], False),
            ([make_call(ended), make_call(open_)], False),
            ([make_call(ended, subject="notice")], False),
            ([make_message("Notice", state="QUEUED")], False),
            ([NOTICE, make_message("Notice", state="HELD")], False),
            ([make_message("Notice", agent="soap")], False),
        ):
            assert _is_remainder_moot(conn, case, unfinished) is is_moot, unfinished
