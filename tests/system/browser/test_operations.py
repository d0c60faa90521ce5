"""An operator in a real browser: what failed, why, again with a reason, delivered; and the public status."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.browser import DESK, NARROW, WIDE, ConsoleBrowser, serve_pages, start_browser
from tests.kit.console import Console
from tests.kit.house import AGREEMENT
from tests.kit.story import Story, unreachable

pytestmark = [pytest.mark.browser, pytest.mark.night]
SIZES = (NARROW, DESK, WIDE)


def fail_a_delivery(story: Story) -> int:
    story.say("KPTA", *[unreachable("Connection refused by 198.51.100.7")] * 4)
    story.submit()
    for _ in range(6):
        story.tick(minutes=5)
    return int(story.delivery(destination="KPTA", state="FAILED").id)


def test_an_operator_finds_a_failed_delivery_and_sees_it_delivered(story: Story, tmp_path: Path) -> None:
    failed = fail_a_delivery(story)
    console = Console(story.house.hub, agency={"KPTA": {"endpoint": "https://kpta.example/soap"}})
    console.add_account("kim", ("operator", "operator"), "operator")
    pictures = tmp_path / "pictures"
    with serve_pages(console) as url, start_browser(tmp_path, url) as browser:
        browser.sign_in("kim")
        assert browser.path == "/console/operations"
        assert "Has failed deliveries" in browser.text
        browser.take_picture("operations-now", pictures, SIZES)
        browser.fill("Number, reference, id, party, or text of an error", "198.51.100.7")
        browser.press("Find")
        browser.take_picture("operations-search", pictures, SIZES)
        browser.press(str(failed))
        assert "Connection refused by 198.51.100.7" in browser.text
        browser.take_picture("operations-delivery", pictures, SIZES)
        browser.press("GW604")
        assert "Meaning" in browser.text
        browser.take_picture("operations-problem", pictures, SIZES)
        browser.open(f"/console/operations/deliveries/{failed}")
        browser.press("Queue again")
        browser.fill("Reason", "the agency says that its firewall is open again")
        browser.take_picture("operations-act", pictures, SIZES)
        browser.press("Queue again")
        assert "is QUEUED now" in browser.text
        story.tick()
        browser.open(f"/console/operations/deliveries/{failed}")
        assert "✓ DELIVERED" in browser.text
        assert "the agency says that its firewall is open again" in browser.text
        look_at_objects(browser, story, pictures)


def look_at_objects(browser: ConsoleBrowser, story: Story, pictures: Path) -> None:
    """Open the lists, the case, the message and the audit, each without a barrier."""
    browser.open(f"/console/operations/cases/{story.case().number}")
    assert "from the first octet to the last receipt" in browser.text
    browser.take_picture("operations-case", pictures, SIZES)
    browser.open("/console/operations/messages/1")
    browser.take_picture("operations-message", pictures, SIZES)
    for name in ("deliveries", "messages", "cases", "parties", "problems", "audit", "lanes/KPTA"):
        browser.open(f"/console/operations/{name}")
        browser.take_picture(f"operations-{name.replace('/', '-')}", pictures, SIZES)


def test_an_agreement_is_approved_by_a_second_person(story: Story, tmp_path: Path) -> None:
    console = Console(story.house.hub, console={"second_person": ["agreement load"]})
    console.add_account("park", ("operator", "operator"), "administrator")
    console.add_account("lee", ("operator", "operator"), "supervisor")
    file = tmp_path / "agreement.yaml"
    file.write_bytes(AGREEMENT + b"\n# reviewed in July\n")
    pictures = tmp_path / "pictures"
    with serve_pages(console) as url, start_browser(tmp_path, url) as browser:
        browser.sign_in("park")
        browser.open("/console/operations/agreements")
        browser.take_picture("operations-agreements", pictures, SIZES)
        browser.fill("Agreement (YAML)", str(file))
        browser.press("Look at it")
        assert "# reviewed in July" in browser.text
        browser.take_picture("operations-difference", pictures, SIZES)
        browser.fill("Reason", "yearly review")
        browser.press("Load agreement")
        assert "waits for a second person" in browser.text
        place = browser.path
        browser.open("/console/operations/mappings")
        browser.take_picture("operations-mappings", pictures, (NARROW, DESK))
        browser.press("Sign out")
        browser.sign_in("lee")
        browser.press("1 act waits for a second person")
        browser.take_picture("operations-acts", pictures, SIZES)
        browser.open(place)
        browser.find_field("Reason").send_keys("read it, fine")
        browser.press("Approve and do it")
        assert "✓ DONE" in browser.text


def test_everybody_reads_the_public_status(story: Story, tmp_path: Path) -> None:
    console = Console(story.house.hub, agency={"KPTA": {"endpoint": "https://kpta.example/soap"}})
    console.add_account("kim", ("operator", "operator"), "operator")
    story.submit()
    story.tick()
    pictures = tmp_path / "pictures"
    with serve_pages(console) as url, start_browser(tmp_path, url) as browser:
        browser.sign_in("kim")
        browser.open("/console/operations/status")
        fields = {
            "Title in Korean": "요건확인 지연",
            "Title in English": "Slow requirement confirmation",
            "Text in Korean": "일부 기관의 회신이 늦어지고 있습니다.",
            "Text in English": "Some agencies answer late.",
        }
        for label, words in fields.items():
            browser.fill(label, words)
        browser.driver.execute_script(
            "document.getElementById('starts_at').value = arguments[0]",
            f"{story.clock():%Y-%m-%dT%H:%M}",
        )
        browser.take_picture("operations-notices", pictures, SIZES)
        browser.press("Publish")
        browser.open("/console/operations/act?act=queue+hold&lane=KPTA")
        browser.fill("Reason", "its centre has a fire")
        browser.press("Hold")
        browser.press("Sign out")
        story.clock.forward(seconds=20)
        browser.open("/console/status")
        assert "Slow requirement confirmation" in browser.text
        assert "KPTA" in browser.text
        assert "fire" not in browser.text
        browser.take_picture("status", pictures, SIZES)
        browser.press("한국어")
        assert "요건확인 지연" in browser.text
        browser.take_picture("status-ko", pictures, SIZES)
