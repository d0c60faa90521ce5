"""Broker, hop and hub are processes; the hop is killed at every commit, and each message has one effect."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.agreements import ForwardingRule
from gateway.cli.demo_stage import read_cast
from gateway.cli.registration import register_certificate
from gateway.hub.register.stored_forwarding_rules import make_rule_columns
from gateway.message_model import PartyId
from gateway.pki.certificates import read_certificate
from gateway.store import forwarding_rules, messages, migrate_schema, parties
from gateway.store.engine import make_engine, read_transaction, write_transaction
from tests.kit.gateway import RunningGateway
from tests.kit.house import Clock
from tests.kit.life import Life
from tests.kit.ports import find_free_port
from tests.kit.town import QUICK_DELIVERY, Town

pytestmark = pytest.mark.long

KIND = "urn:single-window:demo:party"
NAMES = ("passing.message", "passing.answered", "passing.forwarded")
POINTS = [*(f"{name}.{side}_commit" for name in NAMES for side in ("before", "after")), "hop.after_post"]


class HopTown(Town):
    """A town in which broker and hub reach each other through a hop only."""

    def __init__(self, home: Path, database_url: str, hop_database_url: str) -> None:
        self.hop_port = find_free_port()
        self.hop_home, self.hop_database_url = home / "hop", hop_database_url
        cast = read_cast()
        hop = {"name": "hop", "role": "hub", "key": "p-256", "ids": [f"{KIND}|hop"]}
        # What is for the broker goes to the hop, for longer than the hop is away in all its kills together.
        by_hop = cast.agreement.replace("{broker}", str(self.hop_port)).replace("retries: 10", "retries: 900")
        super().__init__(
            home, database_url, cast=replace(cast, parties=(*cast.parties, hop), agreement=by_hop)
        )
        self._make_hop()

    @property
    def url(self) -> str:
        """Return where the broker sends its messages: to the hop."""
        return f"http://127.0.0.1:{self.hop_port}/msh/ebms2"

    def _make_hop(self) -> None:
        pki = self.hop_home / "pki"
        pki.mkdir(parents=True)
        for file, name in (("hop.cert.pem", "hub.cert.pem"), ("hop.key.pem", "hub.key.pem")):
            (pki / name).write_bytes((self.home / "pki" / file).read_bytes())
        for file in ("ca.pem", "crl.pem"):
            (pki / file).write_bytes((self.home / "pki" / file).read_bytes())
        (self.hop_home / "gateway.toml").write_text(
            f'[hub]\nparty = "hop"\nhome = "."\n[http]\nport = {self.hop_port}\n'
            f'[database]\nurl = "{self.hop_database_url}"\n{QUICK_DELIVERY}'
        )
        engine = make_engine(self.hop_database_url)
        migrate_schema(engine)
        now = self.now = Clock().now
        ends = {
            "hub": (f"{self.hub_url}/msh/ebms2", "broker"),
            "broker": (f"http://127.0.0.1:{self.ports['broker']}/msh/ebms2", "hub"),
        }
        with write_transaction(engine) as conn:
            for name in ("hop", *ends):
                parties.register_party(conn, name, name, "applicant", now, [PartyId(name, KIND)])
                content = (self.home / "pki" / f"{name}.cert.pem").read_bytes()
                register_certificate(conn, name, read_certificate(content).der, now)
            for name, (endpoint, sender) in ends.items():
                rule = ForwardingRule(
                    PartyId(name, KIND), name, endpoint, (sender,), retries=900, retry_interval=1
                )
                forwarding_rules.insert_rule(conn, make_rule_columns(rule), now)
        engine.dispose()

    def hop(self, failpoint: str = "") -> RunningGateway:
        """Return the hop as one process, with a failpoint if wished."""
        return RunningGateway(self.hop_home, "both", failpoint=failpoint)

    def passed(self) -> list[Any]:
        """Return what the hop has stored."""
        engine = make_engine(self.hop_database_url)
        try:
            with read_transaction(engine) as conn:
                return list(messages.list_messages(conn, limit=1000))
        finally:
            engine.dispose()


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

                town.wait(died, 60)
                assert hop.ended_by() == signal.SIGKILL, f"at {point} the hop ended otherwise"
        with town.hop():
            town.wait(life.ended, 300)
            for message in life.filed:
                case, asked, sent = town.look(message)
                assert (case.state, case.outcome) == ("CLOSED", "APPROVED")
                assert {row.state for row in sent} == {"DELIVERED"}
                town.check_effects({row.number for row in asked})
            town.wait(lambda: {row.state for row in town.passed()} == {"PROCESSED"}, 60)
    told = [(one["reference"], one["verified"], one["outcome"]) for one in results(town)]
    assert sorted(told) == sorted((one.reference, True, "APPROVED") for one in life.filed)
    ids = [(row.from_party, row.message_id) for row in town.passed()]
    assert len(ids) == len(set(ids))
