"""The hub as a broker meets it: seals results by the demo's agreement, and gives receipts, good and bad."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from gateway.agreements import PMode, PModeIndex, read_pmodes
from gateway.cases import (
    CaseHeader,
    CaseOutcome,
    DecidedRequest,
    Decision,
    DecisionCode,
    Notice,
    RankedDecision,
    ReportedProblem,
    RequestState,
    make_notice_document,
    make_result_document,
)
from gateway.client import HttpPoster, HttpReply, IncomingRequest, PartnerServer
from gateway.message_model import AckRequest, MemoryBody, PartyId, Payload, UserMessage
from gateway.pki import CertificateValidator, RevocationData, TrustStore, read_certificates
from gateway.protocols import PROTOCOLS, Parcel, ProtocolContext, SentUnit
from gateway.wire import serialize_element
from gateway.xmlsec import sign_document
from tests.conformance.simulated_hubs import clock, signer_of
from tests.kit.paths import ROOT

EBMS2 = PROTOCOLS["ebms2"]
TYPE = "urn:single-window:demo:party"
REFERENCE = "HB2026-000123"
_numbers = itertools.count(1)


def agreement(hub: int, broker: int, sync: bool = True) -> bytes:
    """Return the demo's agreement for two ports."""
    text = (ROOT / "conformance/demo/agreement.yaml").read_text(encoding="utf-8")
    text = text.replace("{hub}", str(hub)).replace("{broker}", str(broker))
    return (text if sync else text.replace("mshSignalsOnly", "none")).encode()


@dataclass
class MessagingHub:
    """The hub's side of the agreement between broker and hub."""

    keys: Path
    agreement: bytes
    signs_as: str = "hub"

    def pmode(self, action: str) -> PMode:
        return next(one for one in read_pmodes(self.agreement, "agreement") if one.action == action)

    def context(self) -> ProtocolContext:
        revocations = RevocationData([(self.keys / "crl.pem").read_bytes()])
        known = {signer_of(self.keys, name).certificate.sha256: name for name in ("hub", "broker")}
        return ProtocolContext(
            agreements=PModeIndex(read_pmodes(self.agreement, "agreement")),
            validate_certificate=CertificateValidator(
                TrustStore(read_certificates((self.keys / "ca.pem").read_bytes())), revocations
            ),
            signers={"hub": signer_of(self.keys, self.signs_as)},
            now=clock(),
            make_message_id=lambda: f"m{next(_numbers)}@hub.example",
            find_certificate_party=known.get,
            find_party_name={PartyId("hub", TYPE): "hub", PartyId("broker", TYPE): "broker"}.get,
        )

    def result(
        self,
        outcome: CaseOutcome = CaseOutcome.APPROVED,
        *,
        reference: str = REFERENCE,
        spoil: Callable[[bytes], bytes] = bytes,
        by: str | None = "hub",
        problems: tuple[ReportedProblem, ...] = (),
    ) -> bytes:
        """Return a signed Result; `by` None leaves it unsigned, `spoil` changes it afterwards."""
        decision = Decision(
            1, "05", DecisionCode.APPROVED, "P-1", date(2026, 11, 20), conditions=("Keep dry.",)
        )
        standing = RankedDecision("S1", decision, clock(), "N-1")
        told = ((DecidedRequest("S1", "KFDA-FOOD-IMP", "KFDA"), standing),) if not problems else ()
        root = make_result_document(CaseHeader("SW1", reference, clock()), outcome, told, problems)
        if by is not None:
            sign_document(root, signer_of(self.keys, by), now=clock())
        return spoil(serialize_element(root))

    def notice(self) -> bytes:
        state = RequestState("A2", "KFDA-FOOD-IMP", "KFDA", "INFORMATION_REQUIRED")
        said = Notice("N-1", clock(), "D01", (), "Where?", ("APP[2]",), clock())
        root = make_notice_document(CaseHeader("SW1", REFERENCE, clock()), state, said)
        sign_document(root, signer_of(self.keys, "hub"), now=clock())
        return serialize_element(root)

    def message(self, action: str, content: bytes, ref_to: str | None = None) -> UserMessage:
        pmode, context = self.pmode(action), self.context()
        message_id = context.make_message_id()
        return UserMessage(
            message_id=message_id,
            conversation_id="c-1",
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=context.now,
            service=pmode.service,
            service_type=pmode.service_type,
            action=action,
            ref_to_message_id=ref_to,
            duplicate_elimination=True,
            ack_requested=AckRequest(signed=True),
            sync_reply=pmode.sync_reply_mode != "none",
            payloads=(Payload(f"document.{message_id}", "application/xml", content),),
        )

    def seal(self, unit: UserMessage) -> Parcel:
        return EBMS2.seal((unit,), self.pmode(unit.action), self.context())

    def sent(self, parcel: Parcel) -> SentUnit:
        return EBMS2.read_sent_unit(parcel, self.context().limits)

    def judge(self, reply: HttpReply, parcel: Parcel) -> None:
        """Hold what came back against what was sent; raises when it is not the receipt."""
        back = Parcel({"Content-Type": reply.content_type}, MemoryBody(reply.body))
        EBMS2.open_units(back, self.context(), self.sent(parcel))


def octets(parcel: Parcel) -> bytes:
    with parcel.body.open_stream() as stream:
        return stream.read()


def as_request(parcel: Parcel, spoil: Callable[[bytes], bytes] = bytes) -> IncomingRequest:
    headers = {name.lower(): value for name, value in parcel.headers.items()} | {"soapaction": '"ebXML"'}
    return IncomingRequest("/msh/ebms2", headers, spoil(octets(parcel)))


_FAULT = (
    b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault>'
    b"<faultcode>e:Client</faultcode><faultstring>blocked</faultstring></e:Fault></e:Body></e:Envelope>"
)
#: What answers in place of the hub, by the word of a script.
PAGES = {
    "gone": HttpReply(404, "text/plain", b"gone\n"),
    "forbidden": HttpReply(403, "text/html", b"<html><h1>403 Forbidden</h1></html>"),
    "large": HttpReply(413, "text/html; charset=utf-8", b"<html/>"),
    "moved": HttpReply(302, "text/html", b"<html/>", {"Location": "/login"}),
    "nothing": HttpReply(405, "", b""),
    "broken": HttpReply(500, "text/html", b"<html>Internal error</html>"),
    "xml": HttpReply(403, "text/xml", b"<error>blocked by rule 942100</error>"),
}


@dataclass
class ReceivingHub:
    """A hub on a port that takes submissions, gives the receipts it is told to, and sends results."""

    keys: Path
    script: list[str] = field(default_factory=list)
    got: list[bytes] = field(default_factory=list)
    units: list[UserMessage] = field(default_factory=list)
    back: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = PartnerServer(self._serve)
        self.url = f"http://127.0.0.1:{self.server.port}/msh/ebms2"
        self.side: MessagingHub | None = None
        self.server.start()

    def agree(self, broker: int, sync: bool = True) -> bytes:
        made = agreement(self.server.port, broker, sync)
        self.side = MessagingHub(self.keys, made)
        return made

    def _serve(self, request: IncomingRequest) -> HttpReply:
        """Answer by the next word of the script; a good receipt when there is none left."""
        side = self.side
        assert side is not None
        self.got.append(request.body)
        word = self.script.pop(0) if self.script else "receipt"
        if word == "silent":
            return HttpReply(closes_connection=True)
        if word == "busy":
            return HttpReply(503, "text/plain", b"busy\n")
        if word in PAGES:
            return PAGES[word]
        if word == "fault":
            return HttpReply(400, "text/xml; charset=utf-8", _FAULT)
        parcel = Parcel(
            {"Content-Type": request.headers["content-type"], "SOAPAction": '"ebXML"'},
            MemoryBody(request.body),
        )
        context = side.context()
        opened = EBMS2.open_units(parcel, context)
        assert isinstance(opened.unit, UserMessage)
        self.units.append(opened.unit)
        if word == "empty":
            return HttpReply(204)
        receipt = EBMS2.make_receipt(opened, context)
        if "wrong" in word:
            wrong = tuple(replace(one, digest=b"0" * 32) for one in receipt.references)
            receipt = replace(receipt, references=wrong)
        if word == "other-signer":
            context = replace(context, signers={"hub": signer_of(self.keys, "stranger")})
        sealed = EBMS2.seal((receipt,), opened.pmode, context)
        if "post" in word:
            endpoint = opened.pmode.reply_endpoint if opened.pmode else ""
            self.post(str(endpoint), sealed)
            return HttpReply(204)
        return HttpReply(200, sealed.get_header("Content-Type"), octets(sealed))

    def post(self, url: str, parcel: Parcel) -> HttpReply:
        poster = HttpPoster(url)
        try:
            reply = poster.post({"SOAPAction": '"ebXML"', **parcel.headers}, octets(parcel))
        finally:
            poster.close()
        self.back.append((reply.status, reply.body))
        return reply

    def close(self) -> None:
        self.server.close()
