"""A trader files a food import by form, signs with the verb, hands in, and sees the receipt and the case."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from selenium.webdriver.common.by import By

from gateway.cli import main
from gateway.harmonize import read_form_values
from gateway.wire import parse_xml
from gateway.xmlsec import verify_document
from tests.kit.browser import ConsoleBrowser, serve_pages, start_browser
from tests.kit.console import Console
from tests.kit.house import bundle, signer_named
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.story import LABEL, Story

pytestmark = [pytest.mark.browser, pytest.mark.long]
SAMPLE = ROOT / "conformance" / "submissions" / "KFDA-FOOD-IMP" / "valid.xml"
#: The goods item of the sample that needs no list of ingredients.
ITEM = "1"


def read_sample() -> dict[str, str]:
    """Return what the trader types: the sample with one goods item, by the names of the inputs."""
    values = dict(read_form_values(bundle(), etree.fromstring(SAMPLE.read_bytes())).values.values)
    values |= {"h/declaration.reference": "FORM-1", "h/declarant.id": "6N001", "h/package_count": "2400"}
    values.pop("h/agent.id", None)
    left = ("i#2/", "a#1/i#2", "#2", "seal", "container", "h/issued_at")
    return {key: text for key, text in values.items() if not any(one in key for one in left)}


def open_rest(browser: ConsoleBrowser) -> None:
    """Open the fields that may apply."""
    for one in browser.list_all("details:not([open]) > summary"):
        one.click()


def type_page(browser: ConsoleBrowser, values: dict[str, str]) -> None:
    """Type each value into its input on the page, where the page has it."""
    open_rest(browser)
    for element in browser.list_all("form.filing input, form.filing select, form.filing textarea"):
        key = element.get_attribute("name") or ""
        if key not in values or element.get_attribute("type") in ("file", "hidden", "date", "datetime-local"):
            continue
        if element.tag_name == "select":
            element.find_element(By.CSS_SELECTOR, f"option[value='{values[key]}']").click()
        else:
            element.clear()
            element.send_keys(values[key])


def set_moment(browser: ConsoleBrowser, name: str, value: str) -> None:
    """Set a date, or a time, which browsers let people choose in their own way."""
    field = browser.driver.find_element(By.NAME, name)
    browser.driver.execute_script("arguments[0].value = arguments[1]", field, value)


def test_a_trader_files_by_form_and_sees_the_receipt(story: Story, tmp_path: Path) -> None:
    port = find_free_port()
    console = Console(story.house.hub, console={"port": port})
    console.add_account("kim", ("party", "broker1"), "filer")
    values = read_sample()
    label = tmp_path / "label.pdf"
    label.write_bytes(LABEL)
    with serve_pages(console, port) as url, start_browser(tmp_path, url) as browser:
        browser.sign_in("kim")
        browser.open("/console/submissions")
        browser.press("New submission")
        browser.take_picture("filing-documents", tmp_path)
        browser.find("#document-KFDA-FOOD-IMP").click()
        browser.press("Begin")
        browser.press("Check")
        browser.take_picture("filing-problems", tmp_path)
        browser.find("#summary a").click()
        browser.take_picture("filing-declaration-problems", tmp_path)
        type_page(browser, values)
        set_moment(browser, "h/arrival_at", "2026-11-21T06:00")
        browser.press("Save and check")
        assert "Nothing wrong was found on this page." in browser.text, browser.text[:2000]
        browser.take_picture("filing-declaration", tmp_path)
        draft = browser.path.partition("/declaration")[0]
        browser.open(f"{draft}/items")
        browser.take_picture("filing-items", tmp_path)
        browser.open(f"{draft}/items/{ITEM}")
        open_rest(browser)
        browser.press("Add Package type, Package count, Marks and numbers")
        type_page(browser, values)
        set_moment(browser, "a#1/i#1/manufacture_date", "2026-09-30")
        browser.driver.find_element(By.NAME, "a#1/i#1/korean_label").send_keys(str(label))
        browser.press("Save and check")
        assert "Nothing wrong was found on this page." in browser.text, browser.text[:3000]
        # A warning is told as one, and does not keep anybody from handing in.
        assert "needs NFPQIS-FOOD-IMP under law 05" in browser.text
        browser.take_picture("filing-item", tmp_path)
        browser.open(draft)
        browser.take_picture("filing-draft", tmp_path)
        browser.press("Sign and hand in")
        browser.take_picture("filing-sign", tmp_path)
        content = console.enter("kim").get(f"{draft}/submission.xml").data
        (tmp_path / "submission.xml").write_bytes(content)
        write_key(tmp_path)
        words = ["--key", str(tmp_path / "key.pem"), "--certificate", str(tmp_path / "cert.pem")]
        assert main(["sign", str(tmp_path / "submission.xml"), *words]) == 0
        browser.find("#signed").send_keys(str(tmp_path / "submission.signed.xml"))
        browser.press("Hand in")
        assert "The submission was handed in." in browser.text, browser.text
        story.tick()
        browser.open(draft)
        browser.take_picture("filing-receipt", tmp_path)
        number = story.case().number
        assert number in browser.text
        receipt = console.enter("kim").get(f"{draft}/receipt.xml").data
        assert verify_document(parse_xml(receipt)).certificate == signer_named("hub").certificate
        browser.press(number)
        assert "FORM-1" in browser.text
    assert story.case().functional_reference == "FORM-1"


def write_key(folder: Path) -> None:
    """Write the trader's key and certificate, which the hub never sees."""
    signer = signer_named("broker1")
    pem = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    (folder / "cert.pem").write_bytes(signer.certificate.pem)


@pytest.mark.night
def test_the_form_works_without_scripts(story: Story, tmp_path: Path) -> None:
    port = find_free_port()
    console = Console(story.house.hub, console={"port": port})
    console.add_account("kim", ("party", "broker1"), "filer")
    with serve_pages(console, port) as url, start_browser(tmp_path, url, scripts=False) as browser:
        browser.sign_in("kim")
        browser.open("/console/submissions/new")
        browser.find("#document-KFDA-FOOD-IMP").click()
        browser.press("Begin")
        draft = browser.path
        browser.open(f"{draft}/declaration")
        browser.driver.find_element(By.NAME, "h/importer.name").send_keys("주식회사 동해식품")
        browser.press("Save and continue")
        browser.open(f"{draft}/declaration")
        kept = browser.driver.find_element(By.NAME, "h/importer.name").get_attribute("value")
        assert kept == "주식회사 동해식품"
