"""Killed at random under load, again and again, the gateway loses nothing and does nothing twice.

Serving and delivering are processes on one database, one that serves and one or two that deliver; any of
them is killed at a random moment while submissions go on being filed.  ``GATEWAY_KILLS`` says how
often: 10 times unless told, and 20 times where all drawn runs happen.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.gateway import RunningGateway
from tests.kit.life import Life
from tests.kit.town import Town
from tests.kit.waiting import until
from tests.system.crash.test_every_commit import check_story

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("GATEWAY_KILLS", "10"))
_AT_ONCE = 4
#: Enough that something is always on its way, few enough that all of it ends soon.
_MOST = 3 * KILLS


class Filing(threading.Thread):
    """Files submissions, a few at a time, until told to stop."""

    def __init__(self, life: Life) -> None:
        super().__init__(daemon=True)
        self.life = life
        self.stop = threading.Event()
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                open_ones = [one for one in self.life.filed if not self.life.receipts.get(one.reference)]
                for _ in range(min(_AT_ONCE - len(open_ones), _MOST - len(self.life.filed))):
                    self.life.file()
                self.life.go_on()
                time.sleep(0.2)
        except BaseException as problem:
            self.problem = problem


@pytest.mark.night
@BOTH_AT_LANDING
@pytest.mark.timeout(300 + 10 * KILLS)
@pytest.mark.parametrize("working", [1, 2])
def test_random_kills_under_load(tmp_path: Path, database_url: str, working: int) -> None:
    seed = int(os.environ.get("GATEWAY_SEED", "20261120"))
    chance = random.Random(seed)
    town = Town(tmp_path / "town", database_url)
    town.start_partners()
    life = Life(town)
    filing = Filing(life)
    roles = ["serve", *["work"] * working]
    killed = {"serve": 0, "work": 0}
    running = [RunningGateway(town.home, what).__enter__() for what in roles]
    try:
        filing.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 1.2))
            place = chance.randrange(len(roles))
            running[place].end(kill=True)
            killed[roles[place]] += 1
            running[place] = RunningGateway(town.home, roles[place]).__enter__()
        filing.stop.set()
        filing.join(60)
        assert filing.problem is None, filing.problem
        until(life.ended, 200)
        life.repeat_everything()
    finally:
        filing.stop.set()
        for one in running:
            one.end()
        town.close()
    for message in life.filed:
        check_story(town, message)
    print(f"\n{killed} kills with seed {seed}, {len(life.filed)} cases filed and closed")
