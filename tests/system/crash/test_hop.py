"""Broker, hop and hub are processes; the hop is killed at every commit, and each message has one effect."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.gateway import RunningGateway
from tests.kit.hop_town import HopTown
from tests.kit.life import Life
from tests.kit.town import Town
from tests.kit.waiting import until

pytestmark = pytest.mark.long

NAMES = ("passing.message", "passing.answered", "passing.forwarded")
POINTS = [*(f"{name}.{side}_commit" for name in NAMES for side in ("before", "after")), "hop.after_post"]


@pytest.fixture
def town(tmp_path: Path, sqlite_url: str, templates: Any) -> Iterator[HopTown]:
    town = HopTown(tmp_path / "town", sqlite_url, templates.fresh("sqlite"))
    try:
        yield town
    finally:
        town.close()


def results(town: Town) -> list[dict[str, Any]]:
    return [row["said"] for row in town.received() if row["action"] == "Result"]


@pytest.mark.timeout(900)
def test_what_goes_through_the_hop_has_one_effect_in_spite_of_every_kill(town: HopTown) -> None:
    town.start_partners()
    life = Life(town)
    with town.hub():
        for point in POINTS:
            life.file()
            with town.hop(point) as hop:

                def died(hop: RunningGateway = hop) -> bool:
                    if hop.process.poll() is None:
                        life.go_on()
                    return hop.process.poll() is not None

                until(died)
                assert hop.ended_by() == signal.SIGKILL, f"at {point} the hop ended otherwise"
        with town.hop():
            until(life.ended, 300)
            for message in life.filed:
                case, asked, sent = town.look(message)
                assert (case.state, case.outcome) == ("CLOSED", "APPROVED")
                assert {row.state for row in sent} == {"DELIVERED"}
                town.check_effects({row.number for row in asked})
            until(lambda: {row.state for row in town.passed()} == {"PROCESSED"})
    told = [(one["reference"], one["verified"], one["outcome"]) for one in results(town)]
    assert sorted(told) == sorted((one.reference, True, "APPROVED") for one in life.filed)
    ids = [(row.from_party, row.message_id) for row in town.passed()]
    assert len(ids) == len(set(ids))
