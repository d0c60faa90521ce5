"""Hub and partners as processes on one machine, for tests that kill and look from outside.

The partners are those of ``gateway demo``.  The hub is one process of `tests.kit.single`,
started again after each kill.  What is believed is what partners wrote down, what the
broker holds, and what the database says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.client import (
    BrokerClient,
    SealedSubmission,
    read_journal,
    read_membership,
    seal_submission,
    sign_submission,
)
from gateway.protocols import Parcel
from gateway.store import (
    HttpResponse,
    agency_requests,
    cases,
    deliveries,
    make_engine,
    messages,
    read_transaction,
)
from gateway_conformance.partners import make_supplement
from gateway_conformance.verbs.demo_stage import read_cast
from tests.kit.forked_stage import ForkedStage
from tests.kit.gateway import RunningGateway, post

#: Retries that a test can wait for.
QUICK_DELIVERY = """
[delivery]
first_retry = "200ms"
longest_retry = "400ms"
retries = 60
lease = "2s"
poll = "20ms"
crashes = 1000
"""


class Town(ForkedStage):
    """A stage whose hub the test starts, kills and starts again."""

    def __init__(
        self,
        home: Path,
        database_url: str,
        *,
        agency: dict[str, str] | None = None,
        cast: Any = None,
        working: int = 1,
    ) -> None:
        played = cast or read_cast()
        # Longer than any of these tests may take, so that no message is too old however slow the machine is.
        patient = played.agreement.replace("retries: 10", "retries: 600")
        super().__init__(home, replace(played, agreement=patient), absent=frozenset({"hub"}))
        self.database_url = database_url
        self.agency = agency or {}
        self.working = working
        self.build()
        self.member = read_membership(self.get_partner_folder("broker"), "broker")
        self._numbers = iter(range(1, 1_000_000))

    def _format_settings_file(self) -> str:
        text = re.sub(r"\[delivery\]\n[^\[]*", QUICK_DELIVERY, super()._format_settings_file())
        for code, more in self.agency.items():
            text = text.replace(f"[agency.{code}]", f"[agency.{code}]\n{more}")
        return f'{text}\n[database]\nurl = "{self.database_url}"\n'

    @property
    def url(self) -> str:
        """Return where the hub takes ebMS messages."""
        return f"{self.hub_url}/msh/ebms2"

    def start_partners(self, **plans: dict[str, Any]) -> None:
        """Start agencies, customs and broker; `plans` replaces what an agency of the cast does."""
        for agency in self.cast.agencies:
            agency["plan"] = plans.get(agency["code"], agency["plan"])
        self.start()

    @contextmanager
    def hub(self, failpoint: str = "") -> Iterator[RunningGateway]:
        """Run the hub as one process, with a failpoint if wished."""
        with RunningGateway(self.home, "both", failpoint=failpoint) as running:
            yield running

    @contextmanager
    def processes(self, failpoint: str = "") -> Iterator[Sequence[RunningGateway]]:
        """Run the hub as one process, and beside it what delivers too; all have the failpoint."""
        with self.hub(failpoint) as first, ExitStack() as others:
            more = [RunningGateway(self.home, "work", failpoint=failpoint) for _ in range(self.working - 1)]
            yield [first, *map(others.enter_context, more)]

    def submission(self, change: Callable[[etree._Element], None] | None = None) -> SealedSubmission:
        """Return a sealed submission under a reference of its own."""
        root = etree.fromstring(self.cast.sample)
        reference = f"TOWN-{next(self._numbers):06d}"
        for element in root.iter("{*}Reference", "{*}FunctionalReferenceID"):
            element.text = reference
        if change is not None:
            change(root)
        content = etree.tostring(root)
        self._last = content
        return seal_submission(
            sign_submission(content, self.member), dict(self.cast.attachments), self.member, self.url
        )

    def supplement_of(self, first: SealedSubmission, application: str) -> SealedSubmission:
        """Return the sealed supplement of one application of a submission."""
        content = first.unit.payloads[0].content
        changed = make_supplement(content, application, {"PlaceOfProduction": "Zijpe, perceel 14 en 15"})
        return seal_submission(
            sign_submission(changed, self.member), {}, self.member, self.url, first.unit.conversation_id
        )

    def send(self, message: SealedSubmission) -> HttpResponse | None:
        """POST once; None when the connection ended without an answer."""
        return post(self.url, Parcel(message.parcel.headers, message.parcel.body))

    def deliver(self, message: SealedSubmission) -> None:
        """Send as the broker's client does, until the receipt is verified."""
        BrokerClient(self.member, self.home / "sent").send_submission(message)

    # What is seen from outside.

    def effects(self, partner: str) -> list[dict[str, Any]]:
        """Return the effects a partner wrote down."""
        return list(read_journal(self.get_partner_folder(partner) / "log" / "effects.jsonl"))

    def received(self) -> list[dict[str, Any]]:
        """Return what the broker has kept."""
        return list(read_journal(self.get_partner_folder("broker") / "log" / "messages.jsonl"))

    def refusals(self) -> list[dict[str, Any]]:
        """Return everything that any partner refused."""
        names = ("broker", "customs", *(one["code"] for one in self.cast.agencies))
        return [
            row
            for name in names
            for row in read_journal(self.get_partner_folder(name) / "log" / "refusals.jsonl")
        ]

    def case_of(self, message: SealedSubmission) -> Any | None:
        """Return the case a submission opened."""
        engine = make_engine(self.database_url)
        try:
            with read_transaction(engine) as conn:
                row = messages.find_by_message_id(conn, "in", "broker", message.unit.message_id)
                return cases.find_by_id(conn, row.case_id) if row is not None and row.case_id else None
        finally:
            engine.dispose()

    def look(self, message: SealedSubmission) -> tuple[Any, list[Any], list[Any]]:
        """Return case, requests and deliveries of a submission."""
        case = self.case_of(message)
        engine = make_engine(self.database_url)
        try:
            with read_transaction(engine) as conn:
                return (
                    case,
                    list(agency_requests.list_by_case(conn, case.id)),
                    list(deliveries.list_by_case(conn, case.id)),
                )
        finally:
            engine.dispose()

    def check_effects(self, numbers: set[str]) -> None:
        """Each application had its effect, and no agency has two of one kind for one application."""
        filed: set[str] = set()
        for agency in (one["code"] for one in self.cast.agencies):
            told = Counter((row["effect"], row["application"]) for row in self.effects(agency))
            twice = {key for key, count in told.items() if count > 1}
            assert not twice, f"{agency} has two effects: {twice}"
            filed |= {application for effect, application in told if effect == "SubmitApplication"}
        assert numbers <= filed
