"""The steps of the manual after a database was lost, on both databases, with real processes and partners."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from gateway.client import SealedSubmission
from tests.kit.backups import back_up, restore
from tests.kit.databases import BOTH
from tests.kit.gateway import RunningGateway
from tests.kit.town import Town
from tests.kit.waiting import until

pytestmark = pytest.mark.night


def run_verb(town: Town, *words: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "gateway", *words, "--json", "--home", str(town.home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def read_status(town: Town, page: str) -> tuple[int, str]:
    try:
        with urlopen(f"{town.hub_url}{page}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def file_and_wait(town: Town, count: int) -> list[SealedSubmission]:
    """File submissions, wait until the broker has all Results, and return them."""
    filed = [town.submission() for _ in range(count)]
    for one in filed:
        town.deliver(one)
    conversations = {one.unit.conversation_id for one in filed}
    until(lambda: conversations <= set(count_results(town)))
    return filed


def count_results(town: Town) -> Counter[str]:
    return Counter(row["conversation"] for row in town.received() if row["action"] == "Result")


@BOTH
@pytest.mark.timeout(600)
def test_a_restored_backup_gives_no_number_twice(tmp_path: Path, database_url: str) -> None:
    town = Town(tmp_path / "town", database_url)
    town.start_partners(KPTA={"behaviour": "immediate"}, NPQS={"behaviour": "immediate"})
    try:
        with RunningGateway(town.home, "serve"), RunningGateway(town.home, "work"):
            file_and_wait(town, 2)
            # An hour later: filed, acknowledged, and not admitted yet.
            back_up(database_url, tmp_path / "backup")
            file_and_wait(town, 3)
            kept = town.home / "head.txt"
            assert run_verb(town, "evidence", "seal", "--now", "--to", str(kept))[0] == 0
            time.sleep(3)  # A mark is written every second or two.
        restore(database_url, tmp_path / "backup")

        with RunningGateway(town.home, "serve"):
            worker = RunningGateway(town.home, "work")
            first = town.submission()
            answer = town.send(first)
            assert answer is not None
            assert (answer.status, answer.body[:5]) == (503, b"GW810")
            assert read_status(town, "/status/ready")[0] == 503
            assert "gateway_database_held 1.0" in read_status(town, "/metrics/process")[1]
            status, told = run_verb(town, "check")
            assert (status, "GW810" in [one["id"] for one in told["problems"]]) == (1, True)
            status, told = run_verb(town, "restore", "check", "--head", str(kept))
            assert (status, told["older"], told["heads"][0]["verdict"]) == (1, True, "later")
            assert run_verb(town, "evidence", "check")[0] == 0
            effects = len(town.effects("customs"))

            status, told = run_verb(town, "restore", "confirm", "--head", str(kept), "--reason", "a fire")
            assert (status, told["generation"]) == (0, 2)
            until(lambda: read_status(town, "/status/ready")[0] == 200)
            with worker:
                town.deliver(first)
                last = [first, *file_and_wait(town, 2)]
                until(lambda: len(town.effects("customs")) >= effects + len(last))
                until(lambda: first.unit.conversation_id in count_results(town))
                numbers = [town.case_of(one).number for one in last]
            assert all(number >= told["first_case"] for number in numbers)
    finally:
        town.close()
    assert set(count_results(town).values()) == {1}
    registered = [row for row in town.effects("customs") if row["effect"] == "RegisterDeclaration"]
    twice = [number for number, count in Counter(row["case"] for row in registered).items() if count > 1]
    assert not twice, twice
