"""The whole story in process: one applicant, three agencies and customs, played by the test.

Nothing runs by itself: `tick` lets the workers do what is due at this moment, and the test
says what each agency answers.  What goes out over SOAP is the real envelope, judged here
as the partner would.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import AgencyAnswer, AgencyCallback, Decision, DecisionCode, Notice
from gateway.cli.registration import register_certificate
from gateway.delivery import PartnerService
from gateway.delivery.agents import LocalAgent, MshAgent, PartnerAgent
from gateway.delivery.attempt_outcome import RetryPlan
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.delivery.partner_directory import PartnerDirectory
from gateway.errors import UNREACHABLE, GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import RecognitionPolicy, apply_call_back, maintain_hub
from gateway.hub.trust.trusted_lists import NOBODY
from gateway.message_model import PartyId, Payload, UserMessage
from gateway.pki import KeySigner
from gateway.state_machines import StateMachine
from gateway.store import agency_requests, cases, deliveries, parties, read_transaction, write_transaction
from gateway.store.transitions import list_transitions
from gateway.wire import AGENCY, CUSTOMS, SUB, serialize_element
from gateway.xmlsec import sign_document
from gateway_conformance import DATA_FOLDER
from tests.kit.house import AGREEMENT, PARTY_TYPE, START, House, Neighbour, signer_named
from tests.kit.partners import Call, Inbox, ScriptedSoap

AGENCIES = ("KPTA", "KFDA", "NPQS")
LAWS = {"KPTA": "01", "KFDA": "05", "NPQS": "12"}
ITEMS = {"KPTA": 1, "KFDA": 2, "NPQS": 3}
PLAN = RetryPlan(max_retries=3, first_delay=timedelta(seconds=10))
_SAMPLES = DATA_FOLDER.joinpath("samples")
#: Without notices on the way: the result is the first that the applicant hears.
QUIET = b"\n".join(line for line in AGREEMENT.splitlines() if b"broker1-notice" not in line)
LABEL = _SAMPLES.joinpath("korean-label.pdf").read_bytes()


class Story:
    """One hub with everyone around it."""

    def __init__(
        self,
        engine: Engine,
        *,
        customs: bool = True,
        agreement: bytes = AGREEMENT,
        terms: RecognitionPolicy = NOBODY,
        first: int = 1,
    ) -> None:
        self.soap = ScriptedSoap()
        self.house = House(engine, agreement=agreement, terms=terms, first=first)
        self.clock = self.house.clock
        self.broker = Neighbour("broker1", self.clock, agreement, itertools.count(first))
        self.inbox = Inbox(self.broker)
        if first == 1:
            self._register()
        addresses = {
            name: PartnerService(_wsdl(name), f"http://partner.example/{name}", name) for name in AGENCIES
        }
        if customs:
            addresses["customs"] = PartnerService("customs.wsdl", "http://partner.example/customs", "customs")
        self.addresses = addresses
        hub = self.house.hub
        partners = PartnerDirectory(
            lambda: addresses,
            hub.judge,
            lambda sha: hub.refresh_snapshot().find_certificate_party(sha, hub.clock()),
            find_wsdl=_wsdl,
        )
        hub.composer = partners
        self.hub = hub
        self.agents: dict[str, Any] = {
            "local": LocalAgent(hub, PLAN),
            "msh": MshAgent(hub, self.inbox),  # type: ignore[arg-type]
            "soap": PartnerAgent(hub, self.soap, partners, lambda: dict.fromkeys(addresses, PLAN)),  # type: ignore[arg-type]
        }
        self.worker = self.new_worker("w1")

    def new_worker(self, name: str, threads: int = 4) -> DeliveryWorker:
        """Return another worker on the same database."""
        pace = WorkerSettings(
            threads=threads, lease_time=timedelta(seconds=60), poll_seconds=0.01, maintenance_seconds=0.05
        )
        maintain = partial(maintain_hub, self.hub)
        return DeliveryWorker(
            self.house.engine, self.agents, self.clock, name=name, worker_settings=pace, maintain_hub=maintain
        )

    def _register(self) -> None:
        now = self.clock()
        with write_transaction(self.house.engine) as conn:
            parties.add_identifier(conn, "broker1", PartyId("6N001", "urn:example:customs-id"))
            for name in (*AGENCIES, "customs"):
                parties.register_party(conn, name, name, "customs" if name == "customs" else "agency", now)
                register_certificate(conn, name, signer_named(name.lower()).certificate.der, now)

    def register(self, name: str, *values: str, signer: KeySigner | None = None) -> None:
        """Register another applicant with a certificate and identifiers that customs knows."""
        now = self.clock()
        ids = [PartyId(name, PARTY_TYPE), *(PartyId(value, "urn:example:customs-id") for value in values)]
        with write_transaction(self.house.engine) as conn:
            parties.register_party(conn, name, name.title(), "applicant", now, ids)
            register_certificate(conn, name, (signer or signer_named(name)).certificate.der, now)

    def mandate(self, holder: str, principal: str) -> None:
        """Let a party file for another."""
        with write_transaction(self.house.engine) as conn:
            parties.insert_mandate(conn, holder, principal, START - timedelta(days=1))

    def submission(
        self, change: Callable[[etree._Element], None] | None = None, signer: KeySigner | None = None
    ) -> etree._Element:
        """Return the sample submission, changed and then signed by the broker."""
        root = unsigned()
        if change is not None:
            change(root)
        return sign_document(root, signer or signer_named("broker1"), now=self.clock())

    def submit(
        self,
        root: etree._Element | bytes | None = None,
        *,
        action: str = "Submit",
        attach: bool = True,
        **changes: Any,
    ) -> UserMessage:
        """Send a submission as the broker does; returns the message sent."""
        root = self.submission() if root is None else root
        content = root if isinstance(root, bytes) else serialize_element(root)
        unit = self.broker.message(action, content, **changes)
        if attach:
            label = Payload("korean-label@sample", "application/pdf", LABEL)
            unit = self.broker.message(action, content, payloads=(unit.payloads[0], label), **changes)
        answer = self.house.post(self.broker.seal(unit))
        assert answer.status == (200 if unit.sync_reply else 204)
        assert b"ErrorList" not in answer.body
        return unit

    def tick(self, **forward: float) -> int:
        """Move the clock, then do upkeep and all that is due; returns how many deliveries that was."""
        self.clock.forward(**forward)
        self.worker.run_maintenance()
        done = 0
        while made := self.worker.run_once():
            done += made
        # What the test did wrong in a partner's place, a worker takes for a mistake of the hub.
        assert self.inbox.broken + self.soap.broken == []
        return done

    def say(self, agency: str, *answers: Any) -> None:
        """Lay out what a partner answers to its next calls."""
        self.soap.answers.setdefault(agency, deque()).extend(answers)

    def number_of(self, agency: str) -> str:
        """Return the ApplicationNumber the agency was called with."""
        call = next(call for call in self.soap.calls if call.destination == agency)
        return call.text("ApplicationNumber") or ""

    def decide(self, agency: str, code: DecisionCode = DecisionCode.APPROVED, **words: Any) -> None:
        """Let an agency call back with a decision on its item."""
        apply_call_back(
            self.hub, agency, AgencyCallback(self.notice(agency, code, **words), self.number_of(agency))
        )

    def notice(
        self,
        agency: str,
        code: DecisionCode = DecisionCode.APPROVED,
        *,
        number: str = "N1",
        status: str = "",
        **more: Any,
    ) -> Notice:
        """Return a notice that decides the agency's one item."""
        status = status or ("R04" if code is DecisionCode.REJECTED else "R01")
        decision = Decision(ITEMS[agency], LAWS[agency], code, f"{agency}-P-{number}")
        return Notice(f"{agency}-{number}", more.get("at", self.clock()), status, (decision,))

    def hear(self, agency: str, answer: AgencyAnswer) -> str:
        """Let an agency call back about its application; returns the case number."""
        return apply_call_back(self.hub, agency, AgencyCallback(answer, self.number_of(agency)))

    def decide_all(self, *but: str) -> None:
        """Let every agency approve, except those named."""
        for agency in AGENCIES:
            if agency not in but:
                self.decide(agency)

    def request(self, agency: str) -> Any:
        """Return what an agency was asked in the newest case."""
        with read_transaction(self.house.engine) as conn:
            return next(
                row for row in agency_requests.list_by_case(conn, self.case().id) if row.agency == agency
            )

    def delivery(self, **equal: Any) -> Any:
        """Return the one delivery of these values."""
        (found,) = self.deliveries(**equal)
        return found

    def operate(self, act: Callable[..., None], delivery: int) -> None:
        """Let an operator act on a delivery."""
        with write_transaction(self.house.engine) as conn:
            act(conn, delivery, self.clock(), "operator")

    def result(self) -> etree._Element:
        """Return the last Result that the applicant got."""
        return self.inbox.documents("Result")[-1]

    def outcome(self) -> tuple[str, dict[int, str]]:
        """Return the outcome of the last Result, and the decision on each item."""
        result = self.result()
        told = {int(one.get("item", "0")): one.get("decision", "") for one in result.findall("{*}Decision")}
        return result.findtext("{*}Outcome") or "", told

    def problems(self) -> list[tuple[str, str]]:
        """Return id and pointer of each problem in the last Result, which must be REFUSED."""
        assert self.outcome()[0] == "REFUSED"
        return [(one.get("id", ""), one.get("pointer", "")) for one in self.result().findall("{*}Problem")]

    def evidence(self, subject: str, about: int) -> list[str]:
        """Return the kinds of evidence about one thing, in order."""
        with read_transaction(self.house.engine) as conn:
            return [row.kind for row in list_subject_leaves(conn, subject, about)]

    def steps(self, machine: StateMachine, about: int) -> list[tuple[str, str]]:
        """Return event and state after it of each recorded step of one thing."""
        with read_transaction(self.house.engine) as conn:
            return [(row.event, row.to_state) for row in list_transitions(conn, machine, about)]

    def case(self) -> Any:
        """Return the newest case."""
        with read_transaction(self.house.engine) as conn:
            return cases.list_cases(conn, limit=1)[0]

    def deliveries(self, **equal: Any) -> list[Any]:
        """Return deliveries, oldest first."""
        with read_transaction(self.house.engine) as conn:
            return list(reversed(deliveries.list_deliveries(conn, limit=200, **equal)))

    def customs_codes(self) -> list[str]:
        """Return the pending codes that customs was told, in order."""
        told = [call for call in self.soap.calls if call.destination == "customs"]
        return [code for call in told if (code := call.text("PendingCode"))]


def asked(story: Story, agency: str, number: str, *, status: str = "D01", **more: object) -> Notice:
    """Return a notice of an agency that wants something."""
    words = {"text": "the certificate of origin", "pointers": ("42A/67A[1]",), "deadline": None} | more
    return Notice(f"{agency}-{number}", story.clock(), status, **words)  # type: ignore[arg-type]


def unsigned() -> etree._Element:
    """Return the sample submission as it is before anybody signs it."""
    return etree.fromstring(_SAMPLES.joinpath("import-three-items.xml").read_bytes())


def unreachable(words: str = "connection refused") -> GatewayError:
    """Return the problem of a partner that is not there."""
    return GatewayError(UNREACHABLE, words)


def content_of(call: Call) -> str:
    """Return the digest of a call's Body, which never changes between attempts."""
    return hashlib.sha256(etree.tostring(call.body, method="c14n", exclusive=True)).hexdigest()


@pytest.fixture
def story(engine: Engine) -> Story:
    """Return a story whose applicant has filed, and whose agencies have their applications."""
    made = Story(engine)
    made.submit()
    made.tick()
    return made


def _wsdl(name: str) -> str:
    return f"agencies/{name}.wsdl"


__all__ = [
    "AGENCY",
    "CUSTOMS",
    "SUB",
    "Call",
    "Inbox",
    "ScriptedSoap",
    "Story",
    "content_of",
    "story",
    "unreachable",
    "unsigned",
]
