"""P-Modes as they are stored: every value is written, and what is missing has its default."""

from __future__ import annotations

import json

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
