"""An operator asks a hub at work how it is, again and again: nothing false is said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.forked_verbs import run_verb
from tests.kit.stores import mark_store
from tests.kit.town import Town
from tests.kit.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.fixture
def town(tmp_path: Path, database_url: str) -> Iterator[Town]:
    made = Town(tmp_path, database_url)
    mark_store(made.home)
    made.start_partners()
    yield made
    made.close()


@contextmanager
def file_without_end(town: Town) -> Iterator[list[None]]:
    """File some submissions in each second while the block runs; the list has an entry for each."""
    is_over = threading.Event()
    filed: list[None] = []

    def file() -> None:
        while not is_over.wait(0.3):
            town.deliver(town.submission())
            filed.append(None)

    broker = threading.Thread(target=file)
    broker.start()
    try:
        yield filed
    finally:
        is_over.set()
        broker.join()


def ask(town: Town, *words: str) -> dict[str, Any]:
    """Run a verb that reads, which must end well; return its JSON."""
    asked = run_verb(*words, "--json", "--home", str(town.home))
    assert asked.returncode == 0, (words, asked.stdout, asked.stderr)
    answer: dict[str, Any] = json.loads(asked.stdout)
    return answer


@BOTH_AT_LANDING
@pytest.mark.parametrize("rounds", [4, pytest.param(50, marks=pytest.mark.night)])
def test_nothing_false_is_said_of_a_hub_at_work(town: Town, rounds: int) -> None:
    with town.hub():
        town.deliver(town.submission())
        # The hub seals evidence from time to time: before the first head nothing can be checked.
        until(lambda: ask(town, "evidence", "check")["leaves"])
        alone = ask(town, "check")
        with file_without_end(town) as filed:
            for _ in range(rounds):
                already_filed = len(filed)
                assert ask(town, "check") == alone
                assert ask(town, "restore", "check")["older"] is False
                assert ask(town, "evidence", "check")["leaves"] > 0
                assert len(filed) > already_filed
    assert not alone["problems"]
