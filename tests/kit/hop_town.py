"""A town of processes in which broker and hub reach each other through a hop only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Engine

from gateway.agreements import ForwardingRule
from gateway.cli.registration import register_certificate
from gateway.hub import make_rule_columns
from gateway.message_model import PartyId
from gateway.pki import read_certificate
from gateway.store import (
    agreements,
    make_engine,
    messages,
    migrate_schema,
    parties,
    read_transaction,
    write_transaction,
)
from gateway_conformance.verbs.demo_stage import read_cast
from tests.kit.gateway import RunningGateway
from tests.kit.house import Clock
from tests.kit.ports import find_free_port
from tests.kit.stores import mark_store
from tests.kit.town import QUICK_DELIVERY, Town

__all__ = ["KIND", "HopTown", "list_stored"]

KIND = "urn:single-window:demo:party"


def list_stored(database_url: str) -> list[Any]:
    """Return the messages that a gateway has stored."""
    engine = make_engine(database_url)
    try:
        with read_transaction(engine) as conn:
            return list(messages.list_messages(conn, limit=1000))
    finally:
        engine.dispose()


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

    @property
    def broker_url(self) -> str:
        """Return where the hop brings what is for the broker."""
        return f"http://127.0.0.1:{self.ports['broker']}/msh/ebms2"

    def _make_hop(self) -> None:
        engine = self._make_gateway("hop", self.hop_home, self.hop_port, self.hop_database_url)
        ends = {"hub": (f"{self.hub_url}/msh/ebms2", "broker"), "broker": (self.broker_url, "hub")}
        with write_transaction(engine) as conn:
            self._register_parties_of(conn, ("hop", *ends))
            for name, (endpoint, sender) in ends.items():
                rule = ForwardingRule(PartyId(name, KIND), name, endpoint, (sender,), **self.patience)
                agreements.insert_forwarding_rule(conn, make_rule_columns(rule), self.now)
        engine.dispose()

    #: How long and how often the hop tries to bring a message.
    patience: Mapping[str, Any] = MappingProxyType({"retries": 900, "retry_interval": 1})

    def _make_gateway(self, name: str, home: Path, port: int, database_url: str) -> Engine:
        """Make the home of one more gateway, whose own party has the key of this name."""
        self.now = Clock().now
        pki = home / "pki"
        pki.mkdir(parents=True)
        files = {f"{name}.cert.pem": "hub.cert.pem", f"{name}.key.pem": "hub.key.pem"}
        for file, its_name in (files | {one: one for one in ("ca.pem", "crl.pem")}).items():
            (pki / its_name).write_bytes((self.home / "pki" / file).read_bytes())
        (home / "gateway.toml").write_text(
            f'[hub]\nparty = "{name}"\nhome = "."\n[http]\nport = {port}\n'
            f'[database]\nurl = "{database_url}"\n{QUICK_DELIVERY}'
        )
        engine = make_engine(database_url)
        migrate_schema(engine)
        mark_store(home)
        return engine

    def _register_parties_of(self, conn: Connection, names: Iterable[str]) -> None:
        for name in names:
            parties.register_party(conn, name, name, "applicant", self.now, [PartyId(name, KIND)])
            content = (self.home / "pki" / f"{name}.cert.pem").read_bytes()
            register_certificate(conn, name, read_certificate(content).der, self.now)

    def hop(self, failpoint: str = "") -> RunningGateway:
        """Return the hop as one process, with a failpoint if wished."""
        return RunningGateway(self.hop_home, "both", failpoint=failpoint)

    def passed(self) -> list[Any]:
        """Return what the hop has stored."""
        return list_stored(self.hop_database_url)
