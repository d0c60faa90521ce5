"""The pages, `gateway case show` and `gateway check` say which notice counts, and which one never did."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gateway.cases import DecisionCode
from gateway.cli import main
from gateway.operations import find_overruled_notices, find_unclear_orders
from gateway.store import decisions, read_transaction, write_transaction
from tests.flows.test_overruled_notices import decide, story
from tests.kit.console import Console
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.story import ITEMS, LAWS, Story

__all__ = ["story"]

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED


def list_case_lines(story: Story, home: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines of `gateway case show` about KFDA's item."""
    assert main(["case", "show", story.case().number, *write_settings(story, home)]) == 0
    law = f" law {LAWS['KFDA']}:"
    return [line.strip() for line in capsys.readouterr().out.splitlines() if law in line]


def write_settings(story: Story, home: Path) -> list[str]:
    """Write the settings of a home with the database of a story; return the option that names it."""
    url = story.house.engine.url.render_as_string(hide_password=False)
    (home / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    return ["--home", str(home)]


@BOTH_AT_LANDING
def test_case_show_names_the_notice_that_counts(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = story.clock()
    for number, code in (("10", REJECTED), ("9", APPROVED), ("11", REJECTED)):
        decide(story, number, code, at)
    item = f"item {ITEMS['KFDA']} law {LAWS['KFDA']}:"
    assert list_case_lines(story, tmp_path, capsys) == [
        f"{item} REJECTED  (superseded by notice 11)",
        f"{item} APPROVED  (never counted: notice 11 counts)",
        f"{item} REJECTED",
    ]
    assert main(["case", "show", story.case().number, "--json", *write_settings(story, tmp_path)]) == 0
    decisions = json.loads(capsys.readouterr().out)["decisions"]
    assert [
        (row["notice_no"], row["no_effect"], row["superseded_by_notice"], row["never_counted"])
        for row in decisions
    ] == [("10", "superseded", "11", False), ("9", "superseded", "11", True), ("11", None, None, False)]


def test_the_page_of_a_case_says_whether_a_decision_counted_in_both_languages(
    story: Story,
) -> None:
    console, at = Console(story.house.hub), story.clock()
    for number, code in (("10", REJECTED), ("9", APPROVED), ("11", REJECTED)):
        decide(story, number, code, at)
    console.add_account("han", ("party", story.case().declarant), "filer")
    browser, address = console.sign_in("han"), f"/console/cases/{story.case().number}"
    page = browser.get(address).text
    for words in (
        "replaced by notice 11",
        "never counted: notice 11 counts",
        "had no effect: notice 10 counted already",
    ):
        assert page.count(words) == 1, words
    browser.post("/console/language", language="ko")
    korean = browser.get(address).text
    for words in (
        "통지 11의 결정으로 변경됨",
        "효력이 발생한 적 없음. 유효한 통지: 11",
        "효력이 없었음. 이미 유효했던 통지: 10",
    ):
        assert korean.count(words) == 1, words


@BOTH_AT_LANDING
def test_check_names_the_notices_of_the_last_days_that_had_no_effect(story: Story) -> None:
    at = story.clock()
    decide(story, "10", REJECTED, at)
    decide(story, "9", APPROVED, at)
    application = story.number_of("KFDA")
    with read_transaction(story.house.engine) as conn:
        assert list(find_overruled_notices(conn, at + timedelta(hours=5))) == [
            f"notice 9 of KFDA about application {application} came 5 h ago and had no effect: notice 10 "
            "counted already (if it was meant to count, the agency sends SubmitDecision under a new number "
            "with a later IssuedAt)"
        ]
        (warning,) = find_overruled_notices(conn, at + timedelta(minutes=59))
        assert "came 59 min ago" in warning
        assert list(find_overruled_notices(conn, at + timedelta(days=8))) == []
        assert list(find_unclear_orders(conn)) == []
    # The agency has said what counts.
    decide(story, "11", APPROVED, at + timedelta(seconds=1))
    with read_transaction(story.house.engine) as conn:
        assert list(find_overruled_notices(conn, at + timedelta(hours=5))) == []


def test_gateway_check_prints_the_warnings(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = story.clock()
    decide(story, "10", REJECTED, at)
    decide(story, "9", APPROVED, at)
    monkeypatch.setattr("gateway.cli.commands.check.get_current_time", story.clock)
    main(["check", "--json", *write_settings(story, tmp_path)])
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert [warning[:29] for warning in warnings if "had no effect" in warning] == [
        "notice 9 of KFDA about applic"
    ]


def test_check_counts_the_notices_that_it_does_not_name(story: Story) -> None:
    at = story.clock()
    decide(story, "99", REJECTED, at)
    for number in range(10, 32):
        decide(story, str(number), APPROVED, at)
    with read_transaction(story.house.engine) as conn:
        warnings = list(find_overruled_notices(conn, at))
    assert len(warnings) == 21
    assert warnings[0].startswith("notice 31 of KFDA")
    assert warnings[-1] == "2 more notices of the last 7 days without effect"


@BOTH_AT_LANDING
def test_check_names_applications_whose_order_was_that_of_the_text(story: Story) -> None:
    at = story.clock()
    decide(story, "9", APPROVED, at)
    decide(story, "10", REJECTED, at)
    # As an earlier version had it: 9 counts, as its text follows that of 10.
    with write_transaction(story.house.engine) as conn:
        nine, ten = conn.execute(
            select(decisions.decisions.c.id).order_by(decisions.decisions.c.id)
        ).scalars()
        for superseded, successor in ((nine, None), (ten, nine)):
            change = update(decisions.decisions).where(decisions.decisions.c.id == superseded)
            conn.execute(change.values(superseded_by=successor))
    application = story.number_of("KFDA")
    expected = (
        f"KFDA, application {application}: notices 9 and 10 were issued at one time; 9 was told as in force, "
        "and by the number 10 counts (ask the agency which of the two holds; a notice with a later time "
        "settles it)"
    )
    with read_transaction(story.house.engine) as conn:
        assert list(find_unclear_orders(conn)) == [expected]
    decide(story, "11", APPROVED, at + timedelta(seconds=1))
    with read_transaction(story.house.engine) as conn:
        assert list(find_unclear_orders(conn)) == []
