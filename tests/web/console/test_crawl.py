"""Somebody follows every link of the console while strangers' markup is in every field that takes free text.

No page may contain the markup as markup, no link may lead nowhere, and no page may fail (APP-04).
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest
from lxml import etree, html
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from gateway.store import make_engine
from gateway.web.console.page_guards import get_home_path
from tests.flows.craft import all_of, reference
from tests.kit.console import Browser, Console
from tests.kit.story import Story, asked

#: Markup, a quotation mark of each kind, and the beginning of a formula.
MARK = '=<q x="\'">'
#: With a change of the writing direction, which an agency's set of characters does not have.
REFUSED = MARK + "\u202e"
FREE = re.compile(r"[A-Za-z가-힣.]+ [A-Za-z가-힣. 0-9]+")
PEOPLE = {
    "officer": ("agency", "KFDA", "head"),
    "trader": ("party", "broker1", "manager"),
    "operator": ("operator", "root", "supervisor"),
    "administrator": ("operator", "root", "administrator"),
}
MOST = 300


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """Pages are the same on each database."""
    made = make_engine(sqlite_url)
    yield made
    made.dispose()


def plant(root: etree._Element, mark: str = MARK) -> None:
    """Put a mark in front of every free text of a submission; equal texts stay equal."""
    planted = 0
    for element in root.iter("{*}*"):
        if len(element) == 0 and FREE.fullmatch((element.text or "").strip()):
            element.text = (mark + (element.text or "").strip())[:35]
            planted += 1
    assert planted > 10


@pytest.fixture
def planted(story: Story) -> Story:
    """A case that is closed, one that waits for the applicant, and one that was refused."""
    story.submit(story.submission(all_of(reference("REFUSED"), lambda root: plant(root, REFUSED))))
    story.tick(seconds=1)
    assert story.outcome()[0] == "REFUSED"
    story.submit(story.submission(plant))
    story.tick(seconds=1)
    story.hear("KPTA", asked(story, "KPTA", "N1", text=MARK + "which one?"))
    story.tick(seconds=1)
    story.decide("KFDA", DecisionCode.REJECTED, number=MARK)
    story.tick(seconds=1)
    return story


def crawl(person: Browser, start: str) -> dict[str, tuple[str, bytes]]:
    """Return every page that can be reached by links: its media type and its octets."""
    seen: dict[str, tuple[str, bytes]] = {}
    waiting = deque([start])
    while waiting and len(seen) < MOST:
        path = waiting.popleft()
        if path in seen:
            continue
        answer = person.get(path, follow_redirects=True)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
        seen[path] = (answer.mimetype, answer.data)
        if answer.mimetype == "text/html":
            waiting.extend(link for link in list_links(path, answer.data) if link not in seen)
    return seen


def list_links(path: str, page: bytes) -> Iterator[str]:
    for link in html.fromstring(page).iter("a"):
        target = urljoin(path, link.get("href", "")).partition("#")[0]
        assert target.startswith(("/console/", "/console")), (path, target)
        yield target


def check_cells(path: str, table: bytes) -> None:
    """Fail when a spreadsheet would take a cell for a formula."""
    for row in csv.reader(io.StringIO(table.decode("utf-8-sig"))):
        assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))], (path, row)


@pytest.mark.night
@pytest.mark.parametrize("who", PEOPLE)
def test_no_page_repeats_markup_and_every_link_leads_somewhere(planted: Story, who: str) -> None:
    console = Console(planted.house.hub)
    kind, organisation, role = PEOPLE[who]
    console.add_account("kim", (kind, organisation), role)
    person = console.enter("kim")
    pages = crawl(person, "/console/")
    assert len(pages) > 3
    told = 0
    for path, (media_type, page) in pages.items():
        if media_type == "text/csv":
            check_cells(path, page)
        elif media_type == "text/html":
            assert b"<q x=" not in page, path
            told += page.count(b"&lt;q x=")
    assert told or who == "administrator", sorted(pages)


def test_home_paths_are_pages() -> None:
    assert get_home_path(None) == "/console/sign-in"
