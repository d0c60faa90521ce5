"""An agency over real HTTP that validates each call strictly by the schema that it got once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.client import HttpReply, IncomingRequest, PartnerIdentity, PartnerServer
from gateway.delivery import BoundSchemas, HttpClient, HttpLimits, PartnerService
from gateway.delivery.agents import PartnerAgent
from gateway.delivery.service_contracts import WsdlFile
from gateway.delivery.soap_client import SoapCaller
from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.share import get_data_folder
from gateway.wire import read_wsdl
from gateway_conformance.partners import build_acknowledgment, soap_endpoint
from gateway_conformance.partners.soap_endpoint import SimulatedService, SoapEndpoint, VerifiedCall
from tests.kit.house import signer_named
from tests.kit.story import PLAN, Story

__all__ = ["StrictAgency", "agree", "older_template", "own_wsdl", "serve_strict_agency"]


def older_template() -> bytes:
    """Return the template as it was before calls named what is to be decided: under the same namespace."""
    template = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
    for name in (b"Items", b"Laws"):
        attribute = b'<xs:attribute name="%s" type="a:%s"/>' % (name.lower(), name)
        assert attribute in template
        template = template.replace(attribute, b"")
    return template


def own_wsdl(folder: Path, content: bytes, name: str = "kpta-own.wsdl") -> WsdlFile:
    """Write a WSDL into an operator's own data folder, with its digest agreed."""
    place = folder / "wsdl" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return WsdlFile(name, hashlib.sha256(content).hexdigest(), (folder,))


class StrictAgency(SimulatedService):
    """Takes what is valid by its schema, once for each MessageID; it refuses the rest by signed faults."""

    def __init__(self, story: Story, folder: Path, wsdl: bytes) -> None:
        super().__init__(_identify(story), "agency-template.wsdl", folder)
        self.effects: list[VerifiedCall] = []
        #: Problems of refused calls.
        self.refused: list[str] = []
        #: By which it validates documents, too.
        self.documents = BoundSchemas(None, {})
        #: How many answers get lost.
        self.loses = 0
        self.learn(wsdl)

    def learn(self, wsdl: bytes) -> None:
        """Validate by this WSDL from now on."""
        self.endpoint = SoapEndpoint(self.endpoint.identity, read_wsdl(wsdl))

    def __call__(self, request: IncomingRequest) -> HttpReply:
        reply, problem = self.endpoint.serve_request(request, self._take)
        if problem is not None:
            self.refused.append(str(problem))
        if self.loses and problem is None:
            self.loses -= 1
            return HttpReply(closes_connection=True)
        return reply

    def _take(self, call: VerifiedCall) -> etree._Element:
        answer = self._find_recorded_answer(call)
        if answer is None:
            self._check_document(call.content)
            self.effects.append(call)
            number = call.content.findtext("{*}ApplicationNumber") or ""
            made = build_acknowledgment(call.operation.response, f"R-{number}")
            answer = etree.tostring(made, encoding="unicode")
            self._recorded_answers[call.message_id] = call.sha256, answer
        return etree.fromstring(answer)

    def _check_document(self, content: etree._Element) -> None:
        part = content.find("{*}Document")
        try:
            if part is not None:
                self.documents.check_document(part[0])
        except GatewayError as problem:
            raise GatewayError(DOCUMENT_INVALID, problem.detail) from problem


def _identify(story: Story) -> PartnerIdentity:
    hub = frozenset({story.hub.signer.certificate.sha256})
    return PartnerIdentity("KPTA", signer_named("kpta"), story.hub.judge, hub)


@contextmanager
def serve_strict_agency(
    story: Story, folder: Path, wsdl: bytes, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StrictAgency]:
    """Give KPTA of a story as a strict agency over HTTP; everybody else is as ever."""
    monkeypatch.setattr(soap_endpoint, "get_current_time", story.clock)
    agency = StrictAgency(story, folder, wsdl)
    server = PartnerServer(agency)
    server.start()
    sender = HttpClient(HttpLimits(total_seconds=60))
    caller = SoapCaller(sender, lambda: story.hub.signer, story.hub.clock)
    url = f"http://127.0.0.1:{server.port}/KPTA"
    story.addresses["KPTA"] = replace(story.addresses["KPTA"], endpoint=url)

    class Soap:
        def post_call(self, envelope: bytes, destination: Any) -> Any:
            way = caller if destination.endpoint == url else story.soap
            return way, way.post_call(envelope, destination)

        def read_answer(self, posted: Any) -> Any:
            return posted[0].read_answer(posted[1])

    plans = dict.fromkeys(story.addresses, PLAN)
    partners: Any = story.hub.composer
    story.agents["soap"] = PartnerAgent(story.hub, Soap(), partners, lambda: plans)  # type: ignore[arg-type]
    try:
        yield agency
    finally:
        server.close()
        sender.close()


def agree(story: Story, wsdl: WsdlFile | str) -> PartnerService:
    """Let the hub call KPTA by this WSDL from now on; return it as the settings have it."""
    story.addresses["KPTA"] = replace(story.addresses["KPTA"], wsdl=wsdl)
    return story.addresses["KPTA"]
