from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.client import PartnerServer, read_identity, read_journal
from gateway_conformance.partners import AgencySimulator, DocumentCatalogue, read_agency_plans
from tests.conformance.simulated_hubs import CallingHub, ListeningHub, make_partners


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_partners(tmp_path_factory.mktemp("partners"))


@pytest.fixture
def hub(keys: Path) -> CallingHub:
    return CallingHub(keys)


@pytest.fixture
def listening(keys: Path) -> Iterator[ListeningHub]:
    hub = ListeningHub(keys)
    yield hub
    hub.close()


@dataclass
class Agency:
    """A running simulator on its folder."""

    simulator: AgencySimulator
    server: PartnerServer
    folder: Path
    url: str

    def effects(self) -> list[dict[str, Any]]:
        return list(read_journal(self.folder / "effects.jsonl"))

    def refusals(self) -> list[str]:
        return [row["problem"] for row in read_journal(self.folder / "refusals.jsonl")]

    def calls(self) -> list[dict[str, Any]]:
        return list(read_journal(self.folder / "calls.jsonl"))

    def close(self) -> None:
        self.server.close()
        self.simulator.close()


@dataclass
class Agencies:
    """Starts agencies: the same folder each time, unless another is asked for."""

    keys: Path
    folder: Path
    hub_url: str
    running: list[Agency] = field(default_factory=list)

    def __call__(
        self,
        agency: str = "KFDA",
        path: Path | None = None,
        catalogue: DocumentCatalogue | None = None,
        **plan: Any,
    ) -> Agency:
        identity = read_identity(self.keys, "agency")
        plans = read_agency_plans(path, plan)
        known = catalogue or DocumentCatalogue(agency)
        simulator = AgencySimulator(identity, known, self.folder, plans, self.hub_url)
        server = PartnerServer(simulator)
        url = f"http://127.0.0.1:{server.port}/soap"
        simulator.endpoint.addresses = frozenset({url})
        simulator.start()
        server.start()
        started = Agency(simulator, server, self.folder, url)
        self.running.append(started)
        return started


@pytest.fixture
def agencies(keys: Path, tmp_path: Path, listening: ListeningHub) -> Iterator[Agencies]:
    started = Agencies(keys, tmp_path / "agency", listening.url)
    yield started
    for agency in started.running:
        agency.close()
