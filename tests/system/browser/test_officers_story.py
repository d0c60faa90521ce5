"""An officer's day in a real browser: signs in, takes an application, asks, decides; the result arrives.

The decision is confirmed by a passkey that Chromium holds. The broker's signed result is the last thing
that happens.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions
from sqlalchemy import Engine

from gateway.accounts import find_relying_party
from gateway.web.officers import OfficerDesk
from tests.flows.craft import reference, supplement
from tests.kit.browser import ConsoleBrowser, serve_pages, start_browser
from tests.kit.console import PASSWORD, Console
from tests.kit.officers import ConsoleStory
from tests.kit.ports import find_free_port

pytestmark = [pytest.mark.browser, pytest.mark.long]


def open_console(engine: Engine, port: int, **options: object) -> tuple[ConsoleStory, Console]:
    """Return a story with one agency at the console, and the console of its officers."""
    story = ConsoleStory(engine, "KFDA", **options)
    desk = OfficerDesk(story.hub, story.settings, story.keys, find_relying_party(f"http://localhost:{port}"))
    console = Console(story.hub, desk=desk, console={"port": port})
    for name, role in (("kim", "officer"), ("lee", "approver")):
        console.add_account(name, ("agency", "KFDA"), role)
    story.submit()
    story.tick()
    return story, console


def hold_passkey(browser: ConsoleBrowser) -> None:
    """Register a passkey for the person who has signed in."""
    options = VirtualAuthenticatorOptions()
    options.has_resident_key = options.has_user_verification = options.is_user_verified = True
    browser.driver.add_virtual_authenticator(options)
    browser.open("/console/account/passkeys")
    browser.fill("Name of the passkey", "Desk")
    browser.fill("Present password", PASSWORD)
    browser.press("Add")


def tick(browser: ConsoleBrowser, pointer: str) -> None:
    """Tick the field of a form with this pointer."""
    box = browser.driver.find_element(By.CSS_SELECTOR, f'input[value="{pointer}"]')
    browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", box)
    box.click()


def test_an_officer_asks_and_decides_and_the_result_arrives(engine: Engine, tmp_path: Path) -> None:
    port = find_free_port()
    story, console = open_console(engine, port, confirm=["passkey"])
    number = story.look().number
    with serve_pages(console, port) as url, start_browser(tmp_path, url) as browser:
        browser.sign_in("kim")
        hold_passkey(browser)
        browser.open("/console/work")
        browser.take_picture("work", tmp_path)
        browser.press("Take")
        browser.open("/console/work?tab=mine")
        browser.press(number)
        browser.take_picture("application", tmp_path)

        browser.press("Ask for information")
        browser.press("Preview")
        assert "Mend these fields:" in browser.text
        browser.take_picture("ask-errors", tmp_path)
        browser.fill("What is asked", "식품유형을 확인하여 주십시오.")
        browser.driver.execute_script(
            "arguments[0].value = '2026-12-01T18:00'", browser.find_field("Deadline")
        )
        tick(browser, "APP[2]/KFDA-FOOD-IMP/ITEM[2]/FoodClass[1]")
        browser.press("Preview")
        browser.take_picture("ask-preview", tmp_path)
        browser.press("Confirm and send")
        assert "This was sent." in browser.text
        story.tick(seconds=1)
        assert story.inbox.documents("Notice")[-1].findtext(".//{*}StatusCode") == "D01"

        def change(root):  # type: ignore[no-untyped-def]
            supplement(root)
            next(root.iter("{*}FoodClass")).text = "1"

        story.submit(story.submission(change), action="Supplement")
        story.tick(seconds=1)
        browser.open(f"/console/applications/{number}")
        assert "What changed is marked." in browser.text
        browser.take_picture("application-supplemented", tmp_path)

        browser.press("Fee")
        browser.fill("What happens", "Y01 application fee levied")
        browser.fill("Amount", "12,000")
        browser.take_picture("fee", tmp_path)
        browser.press("Preview")
        browser.press("Confirm and send")
        assert "12000 KRW" in browser.text

        browser.press("Decide")
        browser.fill("Decision", "Approved with conditions")
        browser.fill("Document number", "식약-2026-0017")
        browser.fill("Quantity", "1950")
        browser.fill("Unit", "NMB")
        browser.fill("Conditions, or the reason of a refusal; one a line", "한글표시사항 부착")
        browser.take_picture("decide", tmp_path)
        browser.press("Preview")
        browser.take_picture("decide-preview", tmp_path)
        browser.press("Confirm and send: by passkey")
        assert "This was sent." in browser.text
        browser.press("한국어")
        browser.take_picture("application-decided-ko", tmp_path)
    story.decide_others()
    story.tick(seconds=1)
    assert story.outcome() == ("APPROVED", {1: "APPROVED", 2: "APPROVED_WITH_CONDITIONS", 3: "APPROVED"})


@pytest.mark.night
def test_two_officers_decide_and_new_work_appears_by_itself(engine: Engine, tmp_path: Path) -> None:
    port = find_free_port()
    story, console = open_console(engine, port, four_eyes=True)
    number = story.look().number
    with serve_pages(console, port) as url, start_browser(tmp_path, url) as browser:
        browser.sign_in("kim")
        browser.open("/console/work")
        browser.driver.execute_script("window.same = true")
        story.submit(story.submission(reference("HB-2")))
        story.tick()
        browser.wait_for("The list has changed.")
        assert story.look().number in browser.text
        assert browser.driver.execute_script("return window.same"), "the page was not loaded anew"

        browser.open(f"/console/applications/{number}/acts/decide")
        browser.fill("Decision", "Rejected")
        browser.fill("Conditions, or the reason of a refusal; one a line", "잔류농약 기준 초과")
        browser.press("Preview")
        browser.press("Propose")
        assert "Another officer approves it." in browser.text
        browser.press("Sign out")

        browser.sign_in("lee")
        browser.open("/console/work?tab=approve")
        browser.take_picture("work-approve", tmp_path)
        browser.press(number)
        browser.press("A decision is proposed by kim")
        browser.take_picture("proposal", tmp_path)
        browser.press("Approve and send")
        assert "This was sent." in browser.text

        browser.open("/console/work")
        for box in browser.list_all("input[type=checkbox]"):
            box.click()
        browser.press("Decide the chosen ones together")
        browser.fill("Decision", "Approved")
        browser.take_picture("batch", tmp_path)
        browser.press("Preview")
        browser.take_picture("batch-preview", tmp_path)
        browser.press("Propose")
        browser.take_picture("batch-done", tmp_path)
        assert "Done" in browser.text


@pytest.mark.night
def test_the_work_list_without_scripts(engine: Engine, tmp_path: Path) -> None:
    port = find_free_port()
    story, console = open_console(engine, port)
    number = story.look().number
    with serve_pages(console, port) as url, start_browser(tmp_path, url, scripts=False) as browser:
        browser.sign_in("kim")
        browser.open("/console/work")
        browser.press("Take")
        browser.open(f"/console/applications/{number}/acts/decide")
        browser.fill("Decision", "Approved")
        browser.press("Preview")
        browser.press("Confirm and send")
        assert "This was sent." in browser.text
    assert story.look().state == "DECIDED"
