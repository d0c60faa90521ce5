"""The picture of a mapping in a real browser: nothing overlaps, nothing is cut off, pointing lights up."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from gateway.cli import main

pytestmark = [pytest.mark.browser, pytest.mark.long]
DOCUMENTS = ("KPTA-PHARM-IMP", "EMC-WASTE-IMP", "NVRQS-ANIQ-IMP")
BOXES = """
return [...document.querySelectorAll(arguments[0])].map(one => {
  const box = one.getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom, one.scrollHeight - one.clientHeight, one.textContent];
})"""
CUT = """
return [...document.querySelectorAll(arguments[0])]
  .filter(one => one.scrollWidth > one.clientWidth && getComputedStyle(one).textOverflow !== 'ellipsis')
  .map(one => one.textContent)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    profile = tmp_path_factory.mktemp("browser")
    sandbox = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    for argument in ("--headless=new", *sandbox, "--window-size=1700,1000", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(params=DOCUMENTS)
def page(browser: webdriver.Chrome, request: pytest.FixtureRequest, tmp_path: Path) -> webdriver.Chrome:
    file = tmp_path / "page.html"
    assert main(["map", "matrix", request.param, "--out", str(file)]) == 0
    browser.get(file.as_uri())
    return browser


def boxes(browser: webdriver.Chrome, selector: str) -> list[Any]:
    found = browser.execute_script(BOXES, selector)
    assert found, selector
    return sorted(found, key=lambda box: (box[1], box[0]))


@pytest.mark.parametrize("selector", [".row.left", ".row.right", ".badges"])
def test_no_row_lies_over_another(page: webdriver.Chrome, selector: str) -> None:
    for above, below in pairwise(boxes(page, selector)):
        assert above[3] <= below[1] + 0.5, (above[5], below[5])


def test_columns_stand_side_by_side(page: webdriver.Chrome) -> None:
    left, badges, right = (boxes(page, one) for one in (".row.left", ".badges", ".row.right"))
    assert max(box[2] for box in left) < min(box[0] for box in badges)
    assert max(box[2] for box in badges) < min(box[0] for box in right)
    assert max(box[2] for box in right) <= page.execute_script("return document.body.clientWidth") + 24


def test_texts_of_a_row_and_badges_do_not_touch(page: webdriver.Chrome) -> None:
    for holder in page.execute_script(
        "return [...document.querySelectorAll('.row, .badges')].map(row => "
        "[...row.children].map(one => { const box = one.getBoundingClientRect();"
        " return [box.left, box.right, one.textContent]; }))"
    ):
        for one, other in pairwise(holder):
            assert one[1] <= other[0] + 0.5, (one[2], other[2])


def test_what_is_too_long_is_cut_with_a_sign_that_it_is(page: webdriver.Chrome) -> None:
    assert page.execute_script(CUT, ".row span, .badge, .columns div") == []


def test_the_picture_holds_all_of_its_rows(page: webdriver.Chrome) -> None:
    (area,) = boxes(page, ".map")
    assert all(box[3] <= area[3] + 0.5 for box in boxes(page, ".row"))
    heading = "const one = document.querySelector('h2'); return one && one.getBoundingClientRect().top"
    below = page.execute_script(heading)
    assert below is None or below >= area[3]


def test_pointing_at_a_row_lights_up_its_lines(page: webdriver.Chrome) -> None:
    row = page.find_elements(By.CSS_SELECTOR, ".row.left.tied")[3]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", row)
    ActionChains(page).move_to_element(row).perform()
    own, other = f".link.{row.get_attribute('id')}", f".link:not(.{row.get_attribute('id')})"
    opacity = "return getComputedStyle(document.querySelector(arguments[0])).opacity"
    assert page.execute_script(opacity, own) == "1"
    assert float(page.execute_script(opacity, other)) < 0.5


def test_the_picture_is_printed_on_one_sheet(page: webdriver.Chrome) -> None:
    printed = page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    assert len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(printed["data"]))) == 1
