"""The whole way of a clearance with real processes: hub, agencies, broker, and customs with a plan.

Customs accepts what it is told, clears when the requirements are met, and calls the hub. The hub is
killed when it has stored the clearance and not answered yet: customs calls again.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.client import read_journal
from gateway.state_machines import CLEARANCE
from gateway.store import customs_notices, make_engine, read_transaction
from gateway.store.transitions import list_transitions
from gateway_conformance.verbs.demo_stage import read_cast
from tests.kit.databases import in_turn
from tests.kit.life import Life
from tests.kit.town import Town
from tests.kit.waiting import until
from tests.system.crash.test_every_commit import check_story

pytestmark = pytest.mark.long
PLAN = 'answer = "R24"\nclearance = "5EC"\ndelay = 0.2\n'


@pytest.fixture
def town(tmp_path: Path, database_url: str) -> Iterator[Town]:
    town = Town(tmp_path / "town", database_url, cast=read_cast())
    plan = tmp_path / "customs.toml"
    plan.write_text(PLAN)
    town.options = {"customs": ("--hub", f"{town.hub_url}/soap/customs", "--plan", str(plan))}
    try:
        yield town
    finally:
        town.close()


@in_turn
@pytest.mark.timeout(300)
def test_a_clearance_reaches_applicant_and_agency_once_though_the_hub_dies(town: Town) -> None:
    town.start_partners()
    life = Life(town)
    life.file()
    (message,) = life.filed
    with town.hub("customs.call.after_commit") as hub:

        def died() -> bool:
            if hub.process.poll() is None:
                life.go_on()
            return hub.process.poll() is not None

        until(died)
        assert hub.ended_by() == signal.SIGKILL
    assert cleared(town) == []
    with town.hub():
        until(lambda: life.go_on() or cleared(town))
        until(lambda: effects(town)["KPTA"]["NotifyClearance"])
        until(life.ended)
        until(lambda: calls_of_customs(town)[-1]["done"])
        # What the clearance brings about is sent after the case is closed.
        until(lambda: all(row.state == "DELIVERED" for row in town.look(message)[2]))
    check_story(town, message)
    found = effects(town)
    assert [found[code]["NotifyClearance"] for code in ("KPTA", "KFDA", "NPQS")] == [1, 0, 0]
    assert len(cleared(town)) == 1
    # The first call got no answer: it was repeated until the hub had one.
    calls = calls_of_customs(town)
    assert len({row["message_id"] for row in calls}) == 1
    assert [row["done"] for row in calls] == [False] * (len(calls) - 1) + [True]
    assert len(calls) > 1
    case, _, _ = town.look(message)
    engine = make_engine(town.database_url)
    with read_transaction(engine) as conn:
        assert customs_notices.find_clearance_state(conn, case.id) == "CLEARED"
        steps = Counter(row.event for row in list_transitions(conn, CLEARANCE, case.id))
    assert steps == {"accept": 3, "clear": 1}
    engine.dispose()


def effects(town: Town) -> dict[str, Counter[str]]:
    codes = [one["code"] for one in town.cast.agencies]
    return {code: Counter(row["effect"] for row in town.effects(code)) for code in codes}


def calls_of_customs(town: Town) -> list[dict[str, Any]]:
    return list(read_journal(town.get_partner_folder("customs") / "log" / "callbacks.jsonl"))


def cleared(town: Town) -> list[object]:
    """Return the notices of customs that the broker has."""
    return [row for row in town.received() if "customs" in json.dumps(row["said"]).lower()]
