"""The frame of the console in a real browser: sign-in, account, both languages, with and without scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.browser import WIDE, serve_pages, start_browser
from tests.kit.console import Console
from tests.kit.levels import at_night
from tests.kit.story import Story

pytestmark = [pytest.mark.browser, pytest.mark.long]


@pytest.mark.parametrize("scripts", [True, *at_night(False)], ids=["with scripts", "without scripts"])
def test_a_person_signs_in_changes_the_language_and_signs_out(
    story: Story, tmp_path: Path, scripts: bool
) -> None:
    console = Console(story.house.hub)
    console.add_account("kim", ("agency", "KPTA"), "officer")
    with serve_pages(console) as url, start_browser(tmp_path, url, scripts=scripts) as browser:
        browser.open("/console/account")
        assert browser.path.startswith("/console/sign-in")
        browser.take_picture("sign-in", tmp_path / "pictures", (360, 1280, WIDE))
        browser.sign_in("kim", "wrong")
        assert "Kim" not in browser.find("header").text
        browser.sign_in("kim")
        browser.open("/console/account")
        assert "Kim" in browser.find("header").text
        browser.take_picture("account", tmp_path / "pictures")
        browser.press("Certificates")
        browser.take_picture("certificates", tmp_path / "pictures")
        browser.open("/console/nothing")
        assert "There is nothing at this address" in browser.text
        browser.take_picture("nothing", tmp_path / "pictures")
        browser.press("한국어")
        assert browser.find("html").get_attribute("lang") == "ko"
        browser.press("로그아웃")
        browser.open("/console/account")
        assert browser.path.startswith("/console/sign-in")
