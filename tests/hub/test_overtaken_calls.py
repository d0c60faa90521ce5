"""A call that waits is not sent any more where an amendment sends the application anew."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.hub.outbox.outgoing_calls import CANCELLATION, SUBMISSION, end_overtaken_calls
from gateway.store import deliveries, write_transaction
from tests.kit.rows import NOW, delivery


@pytest.mark.parametrize("is_held", [False, True])
@pytest.mark.parametrize(
    ("operation", "is_sent_anew", "is_ended"),
    [
        (SUBMISSION, True, True),
        ("supplement", True, True),
        (CANCELLATION, True, False),
        (SUBMISSION, False, False),
        ("supplement", False, False),
    ],
)
def test_calls_that_wait_end_when_the_application_is_sent_anew(
    engine: Engine, operation: str, is_sent_anew: bool, is_ended: bool, is_held: bool
) -> None:
    with write_transaction(engine) as conn:
        deliveries.ensure_lanes(conn, "KR-A")
        number = deliveries.enqueue_delivery(conn, delivery(parameters={"operation": operation}), NOW)
        assert number is not None
        if is_held:
            deliveries.hold_delivery(conn, number, NOW, "hub")
        row = deliveries.find_by_id(conn, number)
        assert row is not None
        end_overtaken_calls(conn, [row], NOW, "hub", is_sent_anew=is_sent_anew)
        after = deliveries.find_by_id(conn, number)
        assert after is not None
        assert after.state == ("CANCELLED" if is_ended else row.state)
