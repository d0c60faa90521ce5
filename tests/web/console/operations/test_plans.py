"""No page of operators scans a table that grows with every case, however many cases there are."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, event

from tests.kit.console import Browser
from tests.kit.databases import BOTH, database_url
from tests.kit.story import Story
from tests.store.test_query_plans import plan_of

__all__ = ["database_url"]

GROWING = (
    *("messages", "message_payloads", "payloads", "cases", "agency_requests", "notices", "decisions"),
    *(
        "correlations",
        "case_references",
        "deliveries",
        "delivery_attempts",
        "transitions",
        "evidence",
        "verdicts",
        "audit",
    ),
)
PAGES = (
    *(
        "",
        "/search?q=HB2026-000123",
        "/search?q=connection",
        "/cases?reference=MSKU1234565",
        "/deliveries",
        "/deliveries?lane=KPTA",
    ),
    *("/deliveries?state=FAILED", "/deliveries/1", "/lanes/KPTA", "/messages", "/messages?party=broker1"),
    *("/messages?state=FAILED", "/messages?since=2026-11-20T00:00", "/messages/1", "/cases"),
    *("/cases?state=IN_PROGRESS", "/parties/broker1", "/problems/GW601", "/audit", "/acts", "/status"),
)
SCAN = re.compile(
    r"(?:SCAN |Seq Scan on )(?:earlier|asked)?\s*(" + "|".join(GROWING) + r")\b(?! USING (?:COVERING )?INDEX)"
)


@pytest.fixture
def statements() -> Iterator[list[tuple[str, object]]]:
    seen: list[tuple[str, object]] = []

    def note(_conn: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            seen.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


@BOTH
def test_no_page_scans_what_grows(
    engine: Engine, story: Story, failed: int, operator: Browser, statements: list[tuple[str, object]]
) -> None:
    wrong, looked = {}, set()
    paths = [*PAGES, f"/cases/{story.case().number}"]
    for path in paths:
        statements.clear()
        assert operator.get(f"/console/operations{path}").status_code == 200
        for statement, parameters in tuple(statements):
            # The newest rows of a list are read in the order of the key, and no more than the page needs.
            if statement in looked or "LIMIT" in statement:
                continue
            looked.add(statement)
            found = SCAN.search(plan_of(engine, statement, parameters))
            if found:
                wrong[path] = f"{found[0]}: {statement[:300]}"
    assert not wrong, "\n".join(f"{path}: {words}" for path, words in wrong.items())
    assert len(looked) > 40
