"""The work queue of an agency, and the page of one application."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.kit.console import Browser, Console
from tests.kit.story import LABEL, Story


@pytest.fixture
def story(engine: Engine) -> Story:
    story = Story(engine)
    story.submit()
    story.tick()
    return story


@pytest.fixture
def officer(console: Console) -> Browser:
    console.add_account("kim", ("agency", "KFDA"), "officer")
    return console.sign_in("kim")


def test_new_work_shows_number_applicant_goods_and_law(officer, story):
    page = officer.get("/console/work").text
    assert story.request("KFDA").number in page
    assert "주식회사 한빛무역" in page
    assert "1905320000" in page
    assert "Caramel wafers" in page
    assert story.request("NPQS").number not in page


def test_the_application_is_drawn_from_its_form(officer, story):
    page = officer.get(f"/console/applications/{story.request('KFDA').number}")
    assert page.status_code == 200, page.text
    for words in ("Importer name", "주식회사 한빛무역", "Food class", "processed food", "밀가루"):
        assert words in page.text


def test_a_file_is_a_download_and_nothing_else(officer, story):
    answer = officer.get(f"/console/applications/{story.request('KFDA').number}/files/1")
    assert answer.data == LABEL
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=korean-label_sample.bin")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
