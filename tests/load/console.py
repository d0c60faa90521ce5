"""Times every page of the console that links lead to, with a grown database behind it.

Run it as ``python -m tests.load.console URL CASES`` on a migrated, empty database. It grows the database
(`tests.load.growth`), signs in as an officer, a trader and an operator, follows every link that is not a
file, searches, and asks for each page again and again. It prints, as JSON lines, the server time of each
page: median and 99th percentile in milliseconds, slowest first; then what intake costs.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from statistics import median, quantiles
from typing import Final
from urllib.parse import urljoin

from lxml import html
from sqlalchemy import Engine

from gateway.store import agency_requests, cases, make_engine, read_transaction
from tests.kit.console import Browser, Console
from tests.kit.story import Story
from tests.load.growth import grow_database

__all__ = ["list_searches", "measure_pages"]

PEOPLE: Final = {
    "officer": ("agency", "KFDA", "head"),
    "trader": ("party", "broker1", "manager"),
    "operator": ("operator", "hub", "supervisor"),
}
#: Pages of one person; requests of one page.
MOST_PAGES, REQUESTS = 60, 40
MEDIAN_AIM, WORST_AIM = 100.0, 300.0
#: A word of a path with a digit in it: the number of a case, of an application, of a row.
_NUMBERED: Final = re.compile(r"[\w.@%-]*\d[\w.@%-]*")


def measure_pages(story: Story, searches: dict[str, tuple[str, ...]]) -> list[dict[str, object]]:
    """Return the times of every page that each person reaches, slowest first."""
    console = Console(story.house.hub)
    rows = []
    for name, (kind, organisation, role) in PEOPLE.items():
        console.add_account(name, (kind, organisation), role)
        person = console.enter(name)
        for path in crawl_pages(person, ("/console/", *searches[name])):
            rows.append({"who": name, "path": path, **time_page(person, path)})
    return sorted(rows, key=lambda row: -float(str(row["p99_ms"])))


def crawl_pages(person: Browser, starts: tuple[str, ...]) -> list[str]:
    """Return the paths of pages that links lead to; of alike pages (another number) only a few."""
    seen: list[str] = []
    shapes: dict[str, int] = {}
    waiting = deque(starts)
    while waiting and len(seen) < MOST_PAGES:
        path = waiting.popleft()
        shape = _NUMBERED.sub("#", path)
        if path in seen or shapes.get(shape, 0) >= 2:
            continue
        answer = person.get(path, follow_redirects=True)
        if answer.mimetype != "text/html":
            continue
        shapes[shape] = shapes.get(shape, 0) + 1
        seen.append(path)
        waiting.extend(list_links(path, answer.data))
    return seen


def list_links(path: str, page: bytes) -> Iterator[str]:
    """Yield the targets of a page's links, as a browser would ask for them."""
    for link in html.fromstring(page).iter("a"):
        yield urljoin(path, link.get("href", "")).partition("#")[0]


def time_page(person: Browser, path: str) -> dict[str, float | int]:
    """Return the times of a page in milliseconds, and its octets."""
    times = []
    size = 0
    for _ in range(REQUESTS):
        began = time.perf_counter()
        size = len(person.client.get(path, follow_redirects=True).data)
        times.append(1000 * (time.perf_counter() - began))
    return {
        "median_ms": round(median(times), 1),
        "p99_ms": round(quantiles(times, n=100)[-1], 1),
        "octets": size,
    }


def list_searches(engine: Engine) -> dict[str, tuple[str, ...]]:
    """Return what each person searches for: numbers, references and words that exist, and that do not."""
    with read_transaction(engine) as conn:
        case = cases.list_cases(conn, limit=1)[0]
        number = agency_requests.list_by_case(conn, case.id)[0].number
    words = (case.number, case.functional_reference, number, "nothing-of-this-name")
    return {
        "officer": tuple(f"/console/work?q={word}" for word in words),
        "trader": tuple(f"/console/cases?text={word}" for word in words),
        "operator": tuple(f"/console/operations/search?q={word}" for word in words),
    }


def main(arguments: list[str]) -> int:
    """Grow a database, time the pages, and print the rows; the status is 1 when a page is too slow."""
    url, wanted = arguments
    engine = make_engine(url)
    began = time.monotonic()
    story = grow_database(engine, int(wanted))
    print(json.dumps({"cases": int(wanted), "grown_in_s": round(time.monotonic() - began)}), flush=True)
    rows = measure_pages(story, list_searches(engine))
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    slow = [
        row
        for row in rows
        if float(str(row["median_ms"])) > MEDIAN_AIM or float(str(row["p99_ms"])) > WORST_AIM
    ]
    print(json.dumps({"pages": len(rows), "too_slow": len(slow)}))
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
