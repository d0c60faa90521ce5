"""A broker follows a case in Chromium: a question, the answer by form, the result, and the receipt of all."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from lxml import etree

from gateway.cases import DecisionCode
from gateway.xmlsec import sign_document
from tests.kit.browser import ConsoleBrowser, serve_pages, start_browser
from tests.kit.console import Console
from tests.kit.house import signer_named
from tests.kit.story import Story, asked
from tests.kit.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.long]

QUESTION = (
    "유통기한 표시를 확인하여 주십시오. "
    "Please state the expiry date of the lot, and send the certificate of origin."
)


def fetch(browser: ConsoleBrowser, words: str) -> bytes:
    """Follow a link that gives a file; return the file."""
    known = set(browser.downloads.glob("[!.]*"))
    (link, *_) = [
        one
        for one in browser.list_all("main a")
        if " ".join((one.get_attribute("textContent") or "").split()).startswith(words)
    ]
    link.click()

    def find_file() -> Path | None:
        files = {file for file in browser.downloads.glob("[!.]*") if file.suffix != ".crdownload"} - known
        return files.pop() if files and all(file.stat().st_size for file in files) else None

    return until(find_file, problem=lambda: f"no file after {words!r}").read_bytes()


def test_a_broker_answers_a_question_and_sees_the_result(story: Story, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    console = Console(story.house.hub)
    console.add_account("han", ("party", "broker1"), "filer")
    story.submit()
    story.tick()
    pointers = ("APP[2]/KFDA-FOOD-IMP/ITEM[2]/ExpiryDate", "42A/67A[1]/68A[2]/23A[1]/137")
    deadline = story.clock() + timedelta(days=3)
    story.hear("KFDA", asked(story, "KFDA", "Q1", text=QUESTION, pointers=pointers, deadline=deadline))
    story.decide("NPQS", DecisionCode.REJECTED)
    story.tick(minutes=5)
    origin = tmp_path / "origin.pdf"
    origin.write_bytes(b"%PDF-1.4 certificate of origin")
    with serve_pages(console) as url, start_browser(tmp_path / "browser", url) as browser:
        browser.sign_in("han")
        assert browser.path == "/console/cases"
        assert "You: answer the question of Korea Food & Drug Administration" in browser.text
        browser.take_picture("following-cases", pictures)
        browser.press(str(story.case().number))
        browser.wait_for("Please state the expiry date")
        browser.take_picture("following-question", pictures)
        browser.press("Answer")
        browser.find("input[type=date]").send_keys("01312028")
        browser.find("#files").send_keys(str(origin))
        browser.take_picture("following-answer", pictures)
        browser.press("Make the document to sign")
        browser.take_picture("following-sign", pictures)
        unsigned = etree.fromstring(fetch(browser, "Fetch the document"))
        signed = tmp_path / "signed.xml"
        signed.write_bytes(
            etree.tostring(sign_document(unsigned, signer_named("broker1"), now=story.clock()))
        )
        browser.find("#signed").send_keys(str(signed))
        browser.press("Hand in the answer")
        assert "Your answer was handed in." in browser.text
        assert b"Receipt" in fetch(browser, "Signed receipt")
        story.tick()
        told = [call for call in story.soap.calls if call.destination == "KFDA"]
        assert "2028-01-31" in etree.tostring(told[-1].body, encoding="unicode")
        story.decide("KPTA")
        story.decide("KFDA", number="N2")
        story.tick(minutes=5)
        for _ in range(6):
            story.hub.statistics.count_new_steps()
        browser.open("/console/cases?state=ended")
        assert "Approved in part" in browser.text
        browser.press(str(story.case().number))
        assert "The last agency has decided." in browser.text
        browser.take_picture("following-result", pictures)
        assert b"<Outcome>PARTIAL</Outcome>" in fetch(browser, "Document: Result")
        assert b"Acknowledgment" in fetch(browser, "Signed receipt: Submission")
        browser.open("/console/cases/statistics")
        assert "Outcomes of each day" in browser.text
        browser.take_picture("following-statistics", pictures)
        browser.press("한국어")
        browser.open(f"/console/cases/{story.case().number}")
        assert "진행 경과" in browser.text
        browser.take_picture("following-result-ko", pictures)
