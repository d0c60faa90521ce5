"""The day of an agency's decision is that of the zone of the notices, whichever zone its text names."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from lxml import etree

from gateway.cases import make_notice
from gateway.errors import GatewayError
from gateway.harmonize import NoticeFacts, draw_notice, load_bundle, read_notice
from gateway.share import get_data_folder

BUNDLE = load_bundle(get_data_folder("mappings"))


def state_issue(text: str) -> NoticeFacts:
    """Return the facts of a decision that was issued at a time of ISO 8601."""
    root, _ = draw_notice(BUNDLE.notices.notices["GOVCBRDS7"], BUNDLE.notices, "1", None)
    facts = read_notice(etree.fromstring(etree.tostring(root)), BUNDLE.notices, None)
    assert any(one.name == "decision" for one in facts.facts)
    stated = [replace(one, value=text) if one.name == "issued_at" else one for one in facts.facts]
    return replace(facts, notice=replace(facts.notice, role="certificate"), facts=tuple(stated))


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-20T23:30:00Z", date(2026, 11, 21)),
        ("2026-11-21T08:30:00+09:00", date(2026, 11, 21)),
        ("2026-11-20T10:00:00-05:00", date(2026, 11, 21)),
        ("2026-11-20T14:59:59Z", date(2026, 11, 20)),
        ("2026-11-20", date(2026, 11, 20)),
    ],
)
def test_a_decision_is_of_the_day_of_the_zone(text: str, day: date) -> None:
    notice = make_notice(state_issue(text), BUNDLE, [(1, "99")])
    assert {one.date for one in notice.decisions} == {day}


def test_a_day_that_no_zone_has_is_refused() -> None:
    with pytest.raises(GatewayError) as refused:
        make_notice(state_issue("9999-12-31T23:30:00Z"), BUNDLE, [(1, "99")])
    assert refused.value.problem.id == "GW717"
