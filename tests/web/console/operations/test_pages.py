"""Every page of operators is shown, in both languages, from a case with a failed delivery."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.kit.console import Browser
from tests.kit.story import Story

PAGES = (
    *("", "/search", "/search?q=HB2026-000123", "/search?q=refused", "/deliveries", "/messages", "/cases"),
    *("/parties", "/parties/broker1", "/agreements", "/mappings", "/acts", "/problems", "/audit", "/status"),
    *("/lanes/KPTA", "/lanes/local", "/problems/GW601", "/messages/1", "/audit/1"),
    *("/act?act=queue+hold&lane=KPTA", "/act?act=party+suspend&party=broker1", "/deliveries?state=FAILED"),
)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_page_is_shown(story: Story, failed: int, operator: Browser, language: str) -> None:
    operator.get("/console/account")
    operator.post("/console/language", language=language, next="/console/account")
    number = story.case().number
    for path in (
        *PAGES,
        f"/deliveries/{failed}",
        f"/cases/{number}",
        f"/act?act=queue+requeue&delivery={failed}",
    ):
        page = operator.get(f"/console/operations{path}")
        assert page.status_code == 200, (path, page.text[:3000])
        assert len(re.findall("<h1", page.text)) == 1, path


@pytest.mark.parametrize(
    "name", ["find_contract_warnings", "find_failed_deliveries", "collect_trust_remarks"]
)
def test_the_first_page_says_which_check_has_failed_and_shows_the_rest(
    operator: Browser, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def warn(*_: object) -> Iterator[str]:
        yield "a message rests"

    def fail(*_: object) -> Iterator[str]:
        raise LookupError("nothing at 3")

    monkeypatch.setattr("gateway.operations.overview_report.find_resting_filings", warn)
    monkeypatch.setattr(f"gateway.operations.overview_report.{name}", fail)
    page = operator.get("/console/operations")
    assert page.status_code == 200
    assert "a message rests" in page.text
    assert re.search(r"GW905.{0,200}has failed: LookupError: nothing at 3", page.text, re.DOTALL)
