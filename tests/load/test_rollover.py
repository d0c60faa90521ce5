"""A change of keys on both sides under a small load, over HTTP; nothing of it is judged by the clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.load.rollover import Heard, Plan, main

pytestmark = pytest.mark.night

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
PLAN = Plan.around(NOON, 40)


@pytest.mark.parametrize(
    "where",
    [(), pytest.param(("--token",), marks=[pytest.mark.hsm, pytest.mark.night])],
    ids=["files", "token"],
)
def test_no_message_is_refused_while_both_sides_change_their_keys(
    capsys: pytest.CaptureFixture[str], where: tuple[str, ...]
) -> None:
    assert main(["--seconds", "20", "--senders", "2", "--processes", "1", *where]) == 0
    out = capsys.readouterr().out
    found: Mapping[str, Any] = json.loads(out[out.index("{") :])
    assert found["broken"] == found["wrong"] == []
    assert found["sent"] - found["refused_after_the_cut"] == found["receipts_verified"] == found["stored"]
    assert set(found["in_the_overlap"]) == {"broker1", "broker1-next"}
    assert {"broker1 -> hub", "broker1-next -> hub-next"} <= set(found["by_keys"])
    assert found["last"].startswith("GW206")


@pytest.mark.parametrize(
    ("key", "sent", "answered", "problem", "by", "words"),
    [
        ("broker1", -30, -29, "", "hub", ""),
        ("broker1", -1, 1, "", "hub", ""),
        ("broker1", -1, 1, "", "hub-next", ""),
        ("broker1", 11, 12, "GW206 …", "hub-next", ""),
        ("broker1", 9, 11, "GW206 …", "hub-next", ""),
        ("broker1", 8, 9, "GW206 …", "hub-next", "refused"),
        ("broker1", 11, 12, "GW209 …", "hub-next", "refused"),
        ("broker1-next", 11, 12, "GW206 …", "hub-next", "refused"),
        ("broker1", 11, 12, "", "hub-next", "taken after the cut"),
        ("broker1", -3, -2, "", "hub-next", "before its start"),
        ("broker1", 1, 2, "", "hub", "after its end"),
    ],
)
def test_what_counts_as_wrong(key: str, sent: int, answered: int, problem: str, by: str, words: str) -> None:
    moments = [NOON + timedelta(seconds=at) for at in (sent, answered)]
    said = Heard(key, moments[0], moments[1], problem, by).wrong(PLAN)
    assert bool(words) == bool(said)
    assert words in said
