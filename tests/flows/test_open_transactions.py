"""What others say in a transaction that is still open when a case begins to wait is seen all the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.store import make_engine, requirement_results
from tests.flows.craft import Change
from tests.flows.test_held_case_waking import HELD
from tests.flows.test_held_cases import HOLD
from tests.flows.test_outside_results import say
from tests.flows.test_requirement_ledger import used_of, using
from tests.kit.story import Story


@pytest.fixture
def engine(postgresql_url: str) -> Iterator[Engine]:
    """SQLite has one transaction that writes: nothing is open beside it."""
    made = make_engine(postgresql_url)
    yield made
    made.dispose()


@contextmanager
def saying(story: Story, monkeypatch: pytest.MonkeyPatch, **words: Any) -> Iterator[None]:
    """Let an agency say a number in a transaction that has looked who waits, and commits at the end."""
    looked, go = threading.Event(), threading.Event()
    list_cases = requirement_results.list_concerned_cases

    def linger(*args: Any) -> Any:
        found = list_cases(*args)
        looked.set()
        assert go.wait(30)
        return found

    monkeypatch.setattr(requirement_results, "list_concerned_cases", linger)
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(say, story, **words)
        assert looked.wait(30)
        try:
            yield
        finally:
            go.set()
        told.result(30)


CASES: dict[str, tuple[Change, dict[str, Any], str]] = {
    "held": (HELD, {"agency": "NPQS", "number": "NPQS-77", "law": "12"}, "NPQS-77"),
    "admitted": (using("D1", (1, "2026-118", "40", "KGM")), {}, "2026-118"),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", CASES)
def test_a_case_that_begins_to_wait_at_that_instant_has_the_number_a_minute_later(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    change, words, number = CASES[kind]
    story = Story(engine)
    story.hub.need_policy = HOLD if kind == "held" else story.hub.need_policy
    with saying(story, monkeypatch, **words):
        story.submit(story.submission(change), attach=kind == "held")
        story.tick()
        # It has looked, and saw nothing: the transaction is open.
        assert story.case().state == ("HELD" if kind == "held" else "CLOSED")
    story.tick(seconds=61)
    assert used_of(story, number) == {"KGM": "10" if kind == "held" else "40"}
    assert story.case().state == ("IN_PROGRESS" if kind == "held" else "CLOSED")
