"""A broker's message has a number where the agreement guarantees the order of messages, else none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.agreements import PModeIndex, read_pmodes
from gateway.client import Membership
from gateway.message_model import SequenceNumber
from tests.kit.house import AGREEMENT

ORDERED = AGREEMENT.replace(b"deliver_to: case}", b"deliver_to: case, reliability: {message_order: true}}")


@pytest.mark.parametrize(
    ("agreement", "place"), [(AGREEMENT, None), (ORDERED, SequenceNumber(0, "Reset"))], ids=["none", "agreed"]
)
def test_a_broker_numbers_what_has_an_order(agreement: bytes, place: SequenceNumber | None) -> None:
    pmodes = read_pmodes(agreement, "agreement")
    submit: Any = next(one for one in pmodes if one.action == "Submit")
    broker = Membership(None, PModeIndex(pmodes), frozenset(submit.from_party), frozenset(submit.to_party))  # type: ignore[arg-type]
    unit = broker.make_user_message("Submit", "m-1@broker", datetime.now(UTC))
    assert unit.sequence == place
