"""Two gateways and a hop between them, three processes: a Result goes through, with every receipt."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import Connection

from gateway.agreements import ForwardingRule
from gateway.evidence import list_subject_leaves
from gateway.hub import make_rule_columns
from gateway.message_model import PartyId
from gateway.operations import load_unchecked_agreement
from gateway.store import agreements, lanes, make_engine, parties, read_transaction, write_transaction
from tests.kit.gateway import RunningGateway
from tests.kit.hop_town import KIND, HopTown, list_stored
from tests.kit.life import Life
from tests.kit.ports import find_free_port
from tests.kit.waiting import until

pytestmark = pytest.mark.long


class TwoHubTown(HopTown):
    """A town in which a gateway of ours is the handler of the broker, too; the hop asks it for receipts."""

    patience = MappingProxyType({**HopTown.patience, "acknowledgment": "signed"})

    def __init__(self, home: Path, database_url: str, hop_database_url: str, far_database_url: str) -> None:
        self.far_port, self.far_home = find_free_port(), home / "far"
        self.far_database_url = far_database_url
        super().__init__(home, database_url, hop_database_url)
        self._make_far_hub()
        self._route_by_hop()

    @property
    def broker_url(self) -> str:
        """Return where the hop brings what is for the broker: to the second gateway."""
        return f"http://127.0.0.1:{self.far_port}/msh/ebms2"

    def _make_far_hub(self) -> None:
        engine = self._make_gateway("broker", self.far_home, self.far_port, self.far_database_url)
        agreement = self.cast.agreement.replace("{hub}", str(self.ports["hub"]))
        with write_transaction(engine) as conn:
            self._register_parties_of(conn, ("broker", "hub", "hop"))
            load_unchecked_agreement(conn, agreement.encode(), "agreement.yaml", self.now)
        engine.dispose()

    def _route_by_hop(self) -> None:
        """Let the first gateway ask the hop for a signed receipt of its own."""
        engine = make_engine(self.database_url)
        rule = ForwardingRule(PartyId("broker", KIND), "hop", self.url, ("hub",), acknowledgment="signed")
        with write_transaction(engine) as conn:
            assert parties.find_by_identifier(conn, PartyId("hop", KIND)) is not None
            agreements.insert_forwarding_rule(conn, make_rule_columns(rule), self.now)
        engine.dispose()

    def far(self) -> RunningGateway:
        """Return the second gateway as one process."""
        return RunningGateway(self.far_home, "both")

    def hold_broker_lane(self) -> None:
        """Let the first gateway send nothing to the broker."""
        self._change_first_gateway(
            lambda conn: lanes.hold_lane(conn, "msh:broker", self.now, "test", "a test")
        )

    def release_broker_lane(self) -> None:
        """Let the first gateway send to the broker again."""
        self._change_first_gateway(lambda conn: lanes.release_lane(conn, "msh:broker", self.now))

    def _change_first_gateway(self, change: Callable[[Connection], object]) -> None:
        engine = make_engine(self.database_url)
        try:
            with write_transaction(engine) as conn:
                change(conn)
        finally:
            engine.dispose()

    def evidence(self, delivery: int) -> list[str]:
        """Return the kinds of evidence that the first gateway has of a delivery."""
        engine = make_engine(self.database_url)
        try:
            with read_transaction(engine) as conn:
                return [row.kind for row in list_subject_leaves(conn, "delivery", delivery)]
        finally:
            engine.dispose()


@pytest.fixture
def town(tmp_path: Path, sqlite_url: str, templates: Any) -> Iterator[TwoHubTown]:
    town = TwoHubTown(tmp_path / "town", sqlite_url, templates.fresh("sqlite"), templates.fresh("sqlite"))
    try:
        yield town
    finally:
        town.close()


@pytest.mark.timeout(600)
def test_a_result_goes_from_hub_to_hub_through_a_hop_that_is_killed(town: TwoHubTown) -> None:
    town.start_partners(KPTA={"behaviour": "immediate"}, NPQS={"behaviour": "immediate"})
    life = Life(town)
    life.file()
    (filed,) = life.filed
    # However quick the agencies are, the hop has only the submission before it is killed.
    town.hold_broker_lane()
    with ExitStack() as running:
        running.enter_context(town.hub())
        running.enter_context(town.far())
        with town.hop() as hop:
            until(lambda: life.go_on() or town.case_of(filed))
            hop.end(kill=True)
        assert "Result" not in {row.action for row in list_stored(town.far_database_url)}
        town.release_broker_lane()
        until(lambda: town.case_of(filed).state == "DECIDED")
        # It is killed when the second gateway has the Result, and the hop has not noted it.
        with town.hop("hop.after_post") as hop:
            until(lambda: hop.process.poll() is not None)
            assert hop.ended_by() == signal.SIGKILL
        with town.hop():
            until(life.ended)
            until(lambda: {row.state for row in town.passed()} == {"PROCESSED"})
    case, _, sent = town.look(filed)
    assert (case.state, case.outcome) == ("CLOSED", "APPROVED")
    mine = [row for row in sent if row.destination == "broker"]
    assert {row.state for row in mine} == {"DELIVERED"}
    # A hop that is killed may owe its own receipt; that of the To party, end to end, is always there.
    told = [town.evidence(row.id) for row in mine]
    assert all(kinds[-1] == "NRR" and set(kinds) <= {"hop_receipt", "NRR"} for kinds in told), told
    assert ["hop_receipt", "NRR"] in told
    came = [row for row in list_stored(town.far_database_url) if row.action in ("Notice", "Result")]
    assert {(row.from_party, row.direction, row.state) for row in came} == {("hub", "in", "ACCEPTED")}
    assert len({row.message_id for row in came}) == len(came) == len(mine)
    assert [row.action for row in came].count("Result") == 1
