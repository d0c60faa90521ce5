"""The head of an agency adds a person, who sets a password by the link; all pages are free of barriers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.browser import DESK, NARROW, WIDE, serve_pages, start_browser
from tests.kit.console import Console
from tests.kit.levels import at_night
from tests.kit.ports import find_free_port
from tests.kit.story import Story

pytestmark = [pytest.mark.browser, pytest.mark.long]
SIZES = (NARROW, DESK, WIDE)
NEW = "quite another long sentence"


@pytest.mark.parametrize("scripts", [True, *at_night(False)], ids=["with scripts", "without scripts"])
def test_a_person_is_added_and_enters(story: Story, tmp_path: Path, scripts: bool) -> None:
    port = find_free_port()
    console = Console(story.house.hub, console={"port": port})
    console.add_account("head", ("agency", "KPTA"), "head")
    with serve_pages(console, port) as url, start_browser(tmp_path, url, scripts=scripts) as browser:
        browser.sign_in("head")
        browser.open("/console/people")
        browser.press("Add a person")
        browser.take_picture("people-add", tmp_path)
        browser.fill("Name to sign in", "lee")
        browser.fill("Name that others see", "Lee Min-ho")
        browser.find("input[value=officer]").click()
        browser.press("Add")
        browser.check_page()
        link = browser.find("pre").text
        browser.open("/console/people")
        browser.take_picture("people", tmp_path)
        browser.press("Lee Min-ho")
        browser.take_picture("person", tmp_path)
        browser.press("Sign out")
        browser.driver.get(link)
        browser.take_picture("welcome", tmp_path)
        browser.fill("New password", NEW)
        browser.fill("The same password again", NEW)
        browser.press("Set the password")
        browser.open("/console/account")
        assert "Lee Min-ho" in browser.find("header").text
        browser.press("Sign out")
        browser.sign_in("head")
        browser.open("/console/people")
        browser.press("Lee Min-ho")
        browser.press("Suspend")
        assert "suspended" in browser.text
        browser.press("Sign out")
        browser.sign_in("lee", NEW)
        assert "The name or the password is wrong." in browser.text


def test_two_persons_let_an_officer_in(story: Story, tmp_path: Path) -> None:
    """The head has the link, a supervisor the code; who has both is the new officer."""
    port = find_free_port()
    agency = {"endpoint": "http://127.0.0.1:9/", "four_eyes": True}
    console = Console(story.house.hub, console={"port": port}, agency={"KPTA": agency})
    console.add_account("head", ("agency", "KPTA"), "head")
    console.add_account("boss", ("operator", "hub"), "supervisor")
    with serve_pages(console, port) as url, start_browser(tmp_path, url) as browser:
        browser.sign_in("head")
        browser.open("/console/people/add")
        browser.fill("Name to sign in", "lee")
        browser.fill("Name that others see", "Lee Min-ho")
        browser.find("input[value=officer]").click()
        browser.fill("Reason", "joins us in May")
        browser.take_picture("people-propose", tmp_path, SIZES)
        browser.press("Add")
        browser.take_picture("people-link-of-two", tmp_path, SIZES)
        link = browser.find("pre").text
        browser.open("/console/people")
        assert "joins us in May" in browser.text
        browser.take_picture("people-proposals", tmp_path, SIZES)
        browser.press("Sign out")
        browser.sign_in("boss")
        browser.open("/console/operations/acts/1")
        browser.take_picture("people-approve", tmp_path, SIZES)
        browser.find_field("Reason").send_keys("I know Mr Lee")
        browser.press("Approve and do it")
        browser.take_picture("people-code", tmp_path, SIZES)
        code = browser.find("pre").text
        browser.press("Sign out")
        browser.driver.get(link)
        browser.take_picture("people-welcome-code", tmp_path, SIZES)
        browser.fill("Code of the link", code.lower())
        browser.fill("New password", NEW)
        browser.fill("The same password again", NEW)
        browser.press("Set the password")
        browser.open("/console/account")
        assert "Lee Min-ho" in browser.find("header").text
