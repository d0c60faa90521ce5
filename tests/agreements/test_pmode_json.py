"""P-Modes as they are stored: every value is written, and what is missing has its default."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings

from gateway.agreements import PMode, pmode_from_json, pmode_to_json
from gateway.errors import GatewayError
from tests.agreements.pmode_strategies import pmodes
from tests.agreements.test_pmodes import pmode


@pytest.mark.night
@settings(max_examples=60, deadline=None)
@given(pmodes)
def test_every_term_is_stored_and_read_again(one: PMode) -> None:
    assert pmode_from_json(json.loads(json.dumps(pmode_to_json(one)))) == one


def test_what_an_older_version_stored_has_defaults() -> None:
    stored = pmode_to_json(pmode())
    for name in (
        *("channel", "encryption", "packaging", "transport", "business", "conversations", "endpoints"),
        *("signals", "alternatives", "answers", "answered_by"),
    ):
        del stored[name]
    stored["security"] = {
        "sign": True,
        "policy": "strict",
        "mutual_tls": False,
        "sign_status": True,
        "certificates": [],
        "reply_certificates": [],
    }
    stored["reliability"] = {"ack_requested": "always", "retries": 3}
    assert pmode_from_json(stored) == pmode()


@pytest.mark.parametrize(
    "change",
    [
        {"encryption": {"protocol": "XMLENC"}},
        {"packaging": {"name": "p", "mime_type": "a/b", "parts": [{"nick": 1}]}},
        {"endpoints": [{"kind": "request"}]},
        {"signals": ["Ping"]},
        {"surprise": 1},
        {"reliability": {"retries": None}},
        {"reliability": {"retry_interval": None}},
        {"reliability": {"persist_duration": None}},
        {"splitting": {"open_groups": None}},
    ],
)
def test_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(GatewayError) as caught:
        pmode_from_json(pmode_to_json(pmode()) | change)
    assert caught.value.problem.id == "GW808"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+09:00", "9999-12-31T23:59:59-05:00"])
def test_a_time_that_utc_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(GatewayError, match="outside of the years 1 to 9999 in UTC") as caught:
        pmode_from_json(pmode_to_json(pmode()) | {"valid_until": text})
    assert caught.value.problem.id == "GW808"


def test_an_agreement_without_an_end_is_one_until_the_year_9999() -> None:
    read_back = pmode_from_json(pmode_to_json(pmode()) | {"valid_until": "9999-12-31T23:59:59Z"})
    assert read_back.valid_until == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
