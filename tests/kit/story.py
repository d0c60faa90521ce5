"""The whole story in process: one applicant, three agencies and customs, played by the test.

Nothing runs by itself: `tick` lets the workers do what is due at this moment, and the test
says what each agency answers.  What goes out over SOAP is the real envelope, judged here
as the partner would.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from lxml import etree
from sqlalchemy import Engine

from gateway.cases.notices import Acknowledged, Answer, CallBack, Decision, DecisionCode, Notice
from gateway.cli.register import register_certificate
from gateway.delivery.agents.local import LocalAgent
from gateway.delivery.agents.msh import MshAgent
from gateway.delivery.agents.partner import PartnerAgent
from gateway.delivery.agents.soap import SoapDestination
from gateway.delivery.http import HttpAnswer
from gateway.delivery.partners import Partner, Partners
from gateway.delivery.retry import RetryPlan
from gateway.delivery.worker import Pace, Worker
from gateway.errors import UNREACHABLE, GatewayError
from gateway.hub.reply import call_back
from gateway.model import Octets, PartyId, Payload, UserMessage
from gateway.protocols import Parcel
from gateway.share import folder
from gateway.store import cases, deliveries, mandates, parties
from gateway.store.engine import reading, transaction
from gateway.wire.namespaces import AGENCY, CUSTOMS, SUB
from gateway.wire.xml import parse_xml, serialize
from gateway.xmlsec.xades import sign_document, verify_document
from tests.kit.house import EBMS2, START, House, Neighbour, signer_named

AGENCIES = ("KPTA", "KFDA", "NPQS")
LAWS = {"KPTA": "01", "KFDA": "05", "NPQS": "12"}
ITEMS = {"KPTA": 1, "KFDA": 2, "NPQS": 3}
PLAN = RetryPlan(retries=3, first=timedelta(seconds=10))
_SAMPLES = folder("conformance").joinpath("samples")
LABEL = _SAMPLES.joinpath("korean-label.pdf").read_bytes()


@dataclass
class Call:
    """One SOAP call that the hub made: where, which operation, its body, its MessageID."""

    destination: str
    operation: str
    body: etree._Element
    envelope: bytes

    def text(self, name: str) -> str | None:
        """Return the text of a direct argument."""
        return self.body.findtext(f"{{*}}{name}")


@dataclass
class ScriptedSoap:
    """Stands where the SOAP agent stands: records calls and answers what the test has laid out."""

    calls: list[Call] = field(default_factory=list)
    answers: dict[str, deque[Any]] = field(default_factory=dict)

    def deliver(self, envelope: bytes, destination: SoapDestination) -> Answer:
        root = parse_xml(envelope)
        body = root[-1][0]
        name = destination.endpoint.rsplit("/", 1)[-1]
        self.calls.append(Call(name, etree.QName(body).localname, body, envelope))
        laid = self.answers.get(name)
        answer = laid.popleft() if laid else Acknowledged(f"R-{name}-{len(self.calls)}")
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(self.calls[-1])  # type: ignore[no-any-return]
        return answer  # type: ignore[no-any-return]


@dataclass
class Inbox:
    """The applicant's message handler: keeps what it gets and answers as told."""

    broker: Neighbour
    got: list[UserMessage] = field(default_factory=list)
    octets: list[bytes] = field(default_factory=list)
    answers: deque[Any] = field(default_factory=deque)

    def post(self, url: str, headers: dict[str, str], body: bytes) -> HttpAnswer:
        """Take a POST of the hub as HTTP would bring it."""
        del url
        self.octets.append(body)
        parcel = Parcel(headers, Octets(body))
        opened = EBMS2.open(parcel, self.broker.context())
        if isinstance(opened.unit, UserMessage):
            self.got.append(opened.unit)
        told = self.answers.popleft() if self.answers else self._receipt
        if isinstance(told, Exception):
            raise told
        return told(opened) if callable(told) else told  # type: ignore[no-any-return]

    def _receipt(self, opened: Any) -> HttpAnswer:
        if not isinstance(opened.unit, UserMessage):
            return HttpAnswer(204, {}, b"")
        context = self.broker.context()
        parcel = EBMS2.seal((EBMS2.receipt(opened, context),), opened.pmode, context)
        return HttpAnswer(200, {"content-type": parcel.headers["Content-Type"]}, parcel.body.open().read())

    def documents(self, name: str) -> list[etree._Element]:
        """Return the verified documents of one kind (Result, Notice) in order of arrival."""
        roots = [parse_xml(unit.payloads[0].content) for unit in self.got]
        for root in roots:
            assert verify_document(root).certificate == signer_named("hub").certificate
        return [root for root in roots if etree.QName(root).localname == name]


class Story:
    """One hub with everyone around it."""

    def __init__(self, engine: Engine) -> None:
        self.soap = ScriptedSoap()
        self.house = House(engine)
        self.clock = self.house.clock
        self.broker = Neighbour("broker1", self.clock)
        self.inbox = Inbox(self.broker)
        self._register()
        addresses = {name: Partner(_wsdl(name), f"http://partner.example/{name}", name) for name in AGENCIES}
        addresses["customs"] = Partner("customs.wsdl", "http://partner.example/customs", "customs")
        hub = self.house.hub
        partners = Partners(addresses, hub.judge, lambda sha: hub.refresh().by_certificate.get(sha))
        hub.composer = partners
        self.hub = hub
        agents: dict[str, Any] = {
            "local": LocalAgent(hub, PLAN),
            "msh": MshAgent(hub, self.inbox),  # type: ignore[arg-type]
            "soap": PartnerAgent(hub, self.soap, partners, dict.fromkeys(addresses, PLAN)),  # type: ignore[arg-type]
        }
        self.worker = Worker(engine, agents, self.clock, name="w1", pace=Pace(threads=4))

    def _register(self) -> None:
        now = self.clock()
        with transaction(self.house.engine) as conn:
            parties.add_id(conn, "broker1", PartyId("6N001", "urn:example:customs-id"))
            for name in (*AGENCIES, "customs"):
                parties.add(conn, name, name, "customs" if name == "customs" else "agency", now)
                register_certificate(conn, name, signer_named(name.lower()).certificate.der, now)

    def mandate(self, holder: str, principal: str) -> None:
        """Let a party file for another."""
        with transaction(self.house.engine) as conn:
            mandates.add(conn, holder, principal, START - timedelta(days=1))

    def submission(self, change: Callable[[etree._Element], None] | None = None) -> etree._Element:
        """Return the sample submission, changed and then signed by the broker."""
        root = etree.fromstring(_SAMPLES.joinpath("import-three-items.xml").read_bytes())
        if change is not None:
            change(root)
        return sign_document(root, signer_named("broker1"), now=self.clock())

    def submit(
        self, root: etree._Element | None = None, *, action: str = "Submit", attach: bool = True, **changes: Any
    ) -> UserMessage:
        """Send a submission as the broker does; returns the message sent."""
        content = serialize(self.submission() if root is None else root)
        unit = self.broker.message(action, content, **changes)
        if attach:
            label = Payload("korean-label@sample", "application/pdf", LABEL)
            unit = self.broker.message(action, content, payloads=(unit.payloads[0], label), **changes)
        answer = self.house.post(self.broker.seal(unit))
        assert answer.status == 200
        return unit

    def tick(self, **forward: float) -> int:
        """Move the clock, then hand over everything that is due; returns how much it was."""
        self.clock.forward(**forward)
        done = 0
        while made := self.worker.run_once():
            done += made
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
        call_back(self.hub, agency, CallBack(self.notice(agency, code, **words), self.number_of(agency)))

    def notice(
        self, agency: str, code: DecisionCode = DecisionCode.APPROVED, *, number: str = "N1", status: str = "", **more: Any
    ) -> Notice:
        """Return a notice that decides the agency's one item."""
        status = status or ("R04" if code is DecisionCode.REJECTED else "R01")
        decision = Decision(ITEMS[agency], LAWS[agency], code, f"{agency}-P-{number}")
        return Notice(f"{agency}-{number}", more.get("at", self.clock()), status, (decision,))

    def case(self) -> Any:
        """Return the newest case."""
        with reading(self.house.engine) as conn:
            return cases.search(conn, limit=1)[0]

    def deliveries(self, **equal: Any) -> list[Any]:
        """Return deliveries, oldest first."""
        with reading(self.house.engine) as conn:
            return list(reversed(deliveries.search(conn, limit=200, **equal)))

    def customs_codes(self) -> list[str]:
        """Return the pending codes that customs was told, in order."""
        told = [call for call in self.soap.calls if call.destination == "customs"]
        return [code for call in told if (code := call.text("PendingCode"))]


def unreachable(words: str = "connection refused") -> GatewayError:
    """Return the problem of a partner that is not there."""
    return GatewayError(UNREACHABLE, words)


def content_of(call: Call) -> str:
    """Return the digest of a call's Body, which never changes between attempts."""
    return hashlib.sha256(etree.tostring(call.body, method="c14n", exclusive=True)).hexdigest()


def _wsdl(name: str) -> str:
    return f"agencies/{name}.wsdl"


__all__ = ["AGENCY", "CUSTOMS", "SUB", "Call", "Inbox", "ScriptedSoap", "Story", "content_of", "unreachable"]
