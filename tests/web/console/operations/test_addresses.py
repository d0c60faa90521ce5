"""Pages of parties and lanes whose names have signs that mean something in an address."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import pytest

from gateway.store import lanes, parties, write_transaction
from tests.kit.console import Browser, Console
from tests.kit.story import Story

NAMES = ["a/b", "a/../b", "a//b", "urn:x?c=d#e", "100%25 &<b>", "가/나", "/a/"]


@pytest.mark.parametrize("name", NAMES)
def test_the_pages_of_a_party_and_of_its_lane_are_found_by_their_links(
    story: Story, operator: Browser, name: str
) -> None:
    with write_transaction(story.house.engine, "test") as conn:
        parties.register_party(conn, name, f"The party {name}", "applicant", story.clock(), [])
        lanes.hold_lane(conn, f"msh:{name}", story.clock(), "kim", "it is being moved")
    page = follow(operator, operator.get("/console/operations/parties").text, name)
    assert f"The party {name}" in unescape(page)
    lane = follow(operator, page, f"msh:{name}")
    assert "it is being moved" in lane
    follow(operator, operator.get("/console/operations").text, f"msh:{name}")
    found = operator.get("/console/operations/search", query_string={"q": name}).text
    follow(operator, found, f"The party {name} ({name})")


def follow(browser: Browser, page: str, words: str) -> str:
    """Return the page to which the link with these words leads."""
    links = re.findall(r'href="([^"]*)">([^<]*)</a>', page)
    (link,) = [unescape(target) for target, text in links if unescape(text) == words]
    # A browser takes steps such as `..` out of an address before it asks.
    assert urljoin("http://localhost/", link) == f"http://localhost{link}"
    answer = browser.get(link)
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("name", ["a%2Fb", "a?b=c", "a#b", "a\\b", "a/b", "100%25 &<b>"])
def test_the_way_back_leads_to_the_same_page(
    story: Story, console: Console, operator: Browser, name: str
) -> None:
    with write_transaction(story.house.engine, "test") as conn:
        parties.register_party(conn, name, f"The party {name}", "applicant", story.clock(), [])
    path = f"/console/operations/parties/{quote(name, safe='')}"
    act = {"act": "party suspend", "party": name}
    page = operator.get("/console/operations/act", query_string=act).text
    assert f"The party {name}" in unescape(follow(operator, page, "Back"))
    (hidden,) = re.findall(r'name="next" value="([^"]*)"', operator.get(path).text)
    back = operator.post("/console/language", language="ko", next=unescape(hidden))
    assert f"The party {name}" in unescape(operator.get(back.location).text)
    asked = parse_qs(urlsplit(console.visit().get(f"{path}?x=%26").location).query)["next"]
    assert f"The party {name}" in unescape(operator.get(asked[0]).text)
    assert asked[0].endswith("?x=%26")
