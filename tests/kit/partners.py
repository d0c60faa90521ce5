"""The partners of the hub as the test plays them: SOAP services, and the applicant's handler."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from gateway.cases import AgencyAcknowledgment, AgencyAnswer, SignedReply
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.soap_client import SoapDestination
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, UserMessage
from gateway.protocols import Parcel
from gateway.store import HttpResponse as Posted
from gateway.wire import parse_xml
from gateway.xmlsec import verify_document
from gateway_conformance.foreign_verifier import find_signature_fault
from tests.kit.house import Neighbour, signer_named

__all__ = ["Call", "Inbox", "ScriptedSoap"]


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
    broken: list[BaseException] = field(default_factory=list)

    @staticmethod
    def read_answer(posted: AgencyAnswer) -> tuple[AgencyAnswer, SignedReply]:
        return posted, SignedReply(b"<signed answer/>")

    def post_call(self, envelope: bytes, destination: SoapDestination) -> AgencyAnswer:
        root = parse_xml(envelope)
        body = root[-1][0]
        name = destination.endpoint.rsplit("/", 1)[-1]
        self.calls.append(Call(name, etree.QName(body).localname, body, envelope))
        laid = self.answers.get(name)
        answer = laid.popleft() if laid else AgencyAcknowledgment(f"R-{name}-{len(self.calls)}")
        if isinstance(answer, Exception):
            raise answer
        if not callable(answer):
            return answer  # type: ignore[no-any-return]
        try:
            return answer(self.calls[-1])  # type: ignore[no-any-return]
        except GatewayError:
            raise
        except BaseException as broken:
            self.broken.append(broken)
            raise


@dataclass
class Inbox:
    """The applicant's message handler: keeps what it gets and answers as told."""

    broker: Neighbour
    got: list[UserMessage] = field(default_factory=list)
    octets: list[bytes] = field(default_factory=list)
    signals: list[Posted] = field(default_factory=list)
    answers: deque[Any] = field(default_factory=deque)
    broken: list[BaseException] = field(default_factory=list)

    def post(self, url: str, headers: dict[str, str], body: bytes) -> HttpAnswer:
        """Take a POST of the hub as HTTP would bring it."""
        del url
        parcel = Parcel(headers, MemoryBody(body))
        opened = self.broker.core.open_units(parcel, self.broker.context())
        if not isinstance(opened.unit, UserMessage):
            self.signals.append(Posted(200, dict(headers), body))
            return HttpAnswer(204, {}, b"")
        self.octets.append(body)
        self.got.append(opened.unit)
        told = self.answers.popleft() if self.answers else self._receipt
        if isinstance(told, Exception):
            raise told
        if not callable(told):
            return told  # type: ignore[no-any-return]
        try:
            return told(opened)  # type: ignore[no-any-return]
        except BaseException as broken:
            self.broken.append(broken)
            raise

    def _receipt(self, opened: Any) -> HttpAnswer:
        context = self.broker.context()
        core = self.broker.core
        parcel = core.seal((core.make_receipt(opened, context),), opened.pmode, context)
        return HttpAnswer(
            200, {"content-type": parcel.headers["Content-Type"]}, parcel.body.open_stream().read()
        )

    def documents(self, name: str) -> list[etree._Element]:
        """Return the verified documents of one kind (Result, Notice) in order of arrival."""
        contents = [unit.payloads[0].content for unit in self.got]
        roots = [parse_xml(content) for content in contents]
        hub = signer_named("hub").certificate
        for root, content in zip(roots, contents, strict=True):
            assert verify_document(root).certificate == hub
            assert find_signature_fault(content, hub, hub.not_before) is None
        return [root for root in roots if etree.QName(root).localname == name]
