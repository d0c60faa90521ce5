"""Times of documents on pages: in the zone of the hub, with what is written; other texts as they are."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from gateway.web.console.page_formats import format_written_time
from tests.kit.console import Console
from tests.kit.databases import BOTH
from tests.kit.officers import ConsoleStory

SEOUL = ZoneInfo("Asia/Seoul")


@pytest.mark.parametrize("text", ["2026-11-20T09:00:00Z", "2026-11-20T09:00:00.5Z"])
def test_a_time_is_shown_in_the_zone(text: str) -> None:
    shown = format_written_time(text, SEOUL)
    assert "2026-11-20 18:00 KST" in shown
    assert text in shown


@pytest.mark.parametrize(
    "text",
    ["", "2026-13-20T09:00:00Z", "0000-12-31T23:59:59Z", "2026-11-20", "<b>Z", "２026-11-20T09:00:00Z"],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert format_written_time(text, SEOUL) == text


@pytest.mark.long
@BOTH
def test_an_application_shows_times_of_the_zone_and_words_for_truth(engine: Engine) -> None:
    story = ConsoleStory(engine, "KFDA")
    console = Console(story.hub, desk=story.desk, agency={})
    story.submit()
    story.tick()
    console.add_account("kim", ("agency", "KFDA"), "officer")
    page = console.enter("kim").get(f"/console/applications/{story.look().number}").text
    form = page[page.index("Application form") : page.index("<h2>Files")]
    assert '<time datetime="2026-11-20T18:00:00+09:00">' in form
    assert "<dd>false" not in form
    assert "<dd>no</dd>" in form
