"""Hostile answers of a SOAP service: forged, replayed, wrapped, meant for another call, faults of anyone."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from lxml import etree

from gateway.conformance.desk import CONTENT_TYPE, addressed, new_id
from gateway.conformance.hostile.replies.server import TAKEN, Conversation, ReplyPlay
from gateway.conformance.http import Reply, Request
from gateway.errors import NOT_SUPPORTED, GatewayError
from gateway.pki.keys import Signer
from gateway.wire.addressing import Addressing, read_addressing
from gateway.wire.namespaces import ANONYMOUS, SOAP11, SOAP12, WSA, WSSE, WSU
from gateway.wire.soap import Fault, fault_envelope, read_envelope
from gateway.wire.wsdl import Operation, ServiceDescription
from gateway.wire.xml import parse_xml, serialize
from gateway.xmlsec.wss import sign_request

__all__ = ["SOAP_REPLIES", "AgencyForger"]

_BODY: Final = f"{{{SOAP11}}}Body"
_HEADER: Final = f"{{{SOAP11}}}Header"
_SECURITY: Final = f"{{{WSSE}}}Security"
_PAGE: Final = '<html><script>alert(1)</script>\u202egpj.exe\u0085\u009b31m "; DROP TABLE cases'
#: Changes an envelope, or whatever is made of it.
Change = Callable[[etree._Element], None]


def _nothing(_: etree._Element) -> None:
    """Change nothing."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """How an answer differs from the honest one; `before` and `after` stand around the signing."""

    signer: Signer | None
    relates_to: str | None
    at: datetime
    before: Change = _nothing
    after: Change = _nothing


@dataclass
class AgencyForger:
    """Makes a service's answers: its own key, that of `other` (a partner of the same hub), a `stranger`'s.

    `say` makes the response element for an operation; `history` holds the answers given so
    far by MessageID of the call, and may be shared between the services of several partners.
    """

    description: ServiceDescription
    signer: Signer
    other: Signer
    stranger: Signer
    say: Callable[[Operation], etree._Element]
    clock: Callable[[], datetime]
    history: dict[str, bytes] = field(default_factory=dict)
    face: str = "soap"

    def asked(self, request: Request) -> tuple[str, Operation]:
        """Return MessageID and operation of a call, unverified; raises GatewayError when it is none."""
        envelope = read_envelope(parse_xml(request.body))
        found = self.description.by_request(str(envelope.content[0].tag)) if envelope.content else None
        if found is None or envelope.header is None:
            raise GatewayError(NOT_SUPPORTED, "no call of this service", "/soap:Envelope/soap:Body")
        return read_addressing(envelope.header).message_id, found

    def honest(self, request: Request) -> Reply:
        """Return the signed answer to a call."""
        message_id, _ = self.asked(request)
        octets = self.made(request, _Wish(self.signer, message_id, self.clock()))
        self.history[message_id] = octets
        return Reply(200, CONTENT_TYPE, octets)

    def made(self, request: Request, wish: _Wish) -> bytes:
        """Return an answer as wished."""
        _, operation = self.asked(request)
        values = Addressing(operation.reply_action, new_id(), ANONYMOUS, wish.relates_to)
        root = addressed(self.say(operation), values)
        wish.before(root)
        if wish.signer is not None:
            sign_request(root, wish.signer, now=wish.at)
        wish.after(root)
        return serialize(root)


def _forger(there: Conversation) -> AgencyForger:
    if not isinstance(there.forger, AgencyForger):
        raise TypeError("this play is for a SOAP service")
    return there.forger


def _answer(there: Conversation, octets: bytes, status: int = 200) -> None:
    there.answer(Reply(status, CONTENT_TYPE, octets))


def _as(
    who: str, *, late: float = 0.0, before: Change = _nothing, after: Change = _nothing
) -> Callable[..., None]:
    """Answer this call, signed by `who`, `late` seconds from now, changed before or after signing."""

    def play(there: Conversation) -> None:
        forger = _forger(there)
        message_id, _ = forger.asked(there.request)
        at = forger.clock() + timedelta(seconds=late)
        signer = getattr(forger, who) if who else None
        _answer(there, forger.made(there.request, _Wish(signer, message_id, at, before, after)))

    return play


def _relating(to: str | None) -> Callable[[Conversation], None]:
    def play(there: Conversation) -> None:
        forger = _forger(there)
        _answer(there, forger.made(there.request, _Wish(forger.signer, to, forger.clock())))

    return play


def _honest(there: Conversation) -> None:
    there.answer(there.honest())


def _replayed(there: Conversation) -> None:
    """Answer by what was answered, truly signed, to another call; to any that there was."""
    forger = _forger(there)
    message_id, _ = forger.asked(there.request)
    earlier = [octets for other, octets in forger.history.items() if other != message_id]
    if not earlier:
        _relating("urn:uuid:00000000-0000-4000-8000-000000000000")(there)
        return
    _answer(there, earlier[-1])


def _to_anothers_call(there: Conversation) -> None:
    """Sign, with the service's own key, an answer to a call that somebody else got."""
    forger = _forger(there)
    message_id, _ = forger.asked(there.request)
    other = next((one for one in forger.history if one != message_id), new_id())
    _relating(other)(there)


def _mirrored(there: Conversation) -> None:
    _answer(there, there.request.body)


# Changes of the signed envelope.


def _body_in_header(root: etree._Element) -> None:
    body = root[-1]
    etree.SubElement(root[0], "{urn:wrapper}Wrapper").append(body)
    forged = etree.SubElement(root, _BODY)
    forged.append(deepcopy(body[0]))


def _body_twice(root: etree._Element) -> None:
    root.append(deepcopy(root[-1]))


def _id_taken_twice(root: etree._Element) -> None:
    body = root[-1]
    holder = etree.SubElement(root[0], "{urn:wrapper}Wrapper")
    holder.append(body)
    forged = etree.SubElement(root, _BODY, {f"{{{WSU}}}Id": str(body.get(f"{{{WSU}}}Id"))})
    forged.append(deepcopy(body[0]))


def _relation_wrapped(root: etree._Element) -> None:
    """Keep the signed RelatesTo aside and put another in its place."""
    found = root.find(f".//{{{WSA}}}RelatesTo")
    if found is None:
        raise LookupError("wsa:RelatesTo")
    aside = etree.SubElement(root[0], "{urn:wrapper}Wrapper")
    found.addnext(deepcopy(found))
    del found.getnext().attrib[f"{{{WSU}}}Id"]  # type: ignore[union-attr]
    aside.append(found)


def _relation_added(root: etree._Element) -> None:
    found = root.find(f".//{{{WSA}}}RelatesTo")
    if found is None:
        raise LookupError("wsa:RelatesTo")
    etree.SubElement(root[0], found.tag).text = found.text


def _reply_to_elsewhere(root: etree._Element) -> None:
    for name in ("ReplyTo", "FaultTo"):
        there = etree.SubElement(root[0], f"{{{WSA}}}{name}")
        etree.SubElement(there, f"{{{WSA}}}Address").text = "http://169.254.169.254/latest/meta-data/"


def _relation_of_another_kind(root: etree._Element) -> None:
    for one in root.iter(f"{{{WSA}}}RelatesTo"):
        one.set("RelationshipType", "urn:other")


def _header_to_understand(root: etree._Element) -> None:
    etree.SubElement(root[0], "{urn:x}Obey", {f"{{{SOAP11}}}mustUnderstand": "1"})


def _digits(root: etree._Element) -> None:
    for one in root.iter("{*}item"):
        one.text = "9" * 4000


def _text_changed(root: etree._Element) -> None:
    leaf = next(one for one in root[-1].iter() if not len(one) and one.text)
    leaf.text = f"X{leaf.text}"


def _security_dropped(root: etree._Element) -> None:
    for one in list(root.iter(_SECURITY)):
        one.getparent().remove(one)  # type: ignore[union-attr]


def _next_version(root: etree._Element) -> None:
    for one in list(root.iter(f"{{{SOAP11}}}*")):
        one.tag = f"{{{SOAP12}}}{etree.QName(one).localname}"


# Faults.


def _fault(
    code: str, *, by: str = "", status: int = 500, related: bool = True
) -> Callable[[Conversation], None]:
    def play(there: Conversation) -> None:
        forger = _forger(there)
        message_id, _ = forger.asked(there.request)
        root = parse_xml(fault_envelope(Fault(code, _PAGE)))
        if by:
            header = etree.Element(_HEADER)
            root.insert(0, header)
            values = Addressing("urn:fault", new_id(), None, message_id if related else new_id())
            whole = addressed(etree.Element("x"), values)
            for one in list(whole[0]):
                header.append(one)
            sign_request(root, getattr(forger, by), now=forger.clock())
        _answer(there, serialize(root), status)

    return play


_Row = tuple[str, str, Callable[[Conversation], None]]
_FORGED: Final[tuple[_Row, ...]] = (
    ("SIG-13.unsigned-answer", "the answer without a signature", _as("")),
    ("SIG-13.signature-dropped", "the signature cut out", _as("signer", after=_security_dropped)),
    ("SIG-30.answer-by-a-stranger", "signed by a certificate of another authority", _as("stranger")),
    ("REP-09.answer-by-another-partner", "signed by another partner with a good certificate", _as("other")),
    (
        "REP-09.answer-to-anothers-call",
        "signed by the partner, for another partner's call",
        _to_anothers_call,
    ),
    ("REP-09.replayed-answer", "an earlier answer, truly signed, to another call", _replayed),
    ("REP-09.answer-to-nobody", "an answer that relates to nothing", _relating(None)),
    ("REP-09.mirrored-call", "our own signed call, sent back", _mirrored),
    ("REP-05.old-answer", "an answer signed six minutes ago", _as("signer", late=-360)),
    ("REP-05.answer-of-the-future", "an answer signed in six minutes", _as("signer", late=360)),
    (
        "SIG-07.answer-with-its-body-in-the-header",
        "the signed Body moved aside",
        _as("signer", after=_body_in_header),
    ),
    ("SIG-07.answer-with-two-bodies", "the Body twice", _as("signer", after=_body_twice)),
    (
        "SIG-08.answer-with-an-id-twice",
        "another Body under the signed one's Id",
        _as("signer", after=_id_taken_twice),
    ),
    (
        "SIG-07.answer-with-its-relation-aside",
        "the signed RelatesTo moved aside",
        _as("signer", after=_relation_wrapped),
    ),
    (
        "SIG-13.answer-with-a-relation-added",
        "a second, unsigned RelatesTo",
        _as("signer", after=_relation_added),
    ),
    ("SIG-13.answer-changed", "a value changed after signing", _as("signer", after=_text_changed)),
    (
        "REP-11.reply-to-elsewhere",
        "ReplyTo and FaultTo name an address inside",
        _as("signer", before=_reply_to_elsewhere),
    ),
    (
        "REP-09.related-otherwise",
        "a relation of another kind",
        _as("signer", before=_relation_of_another_kind),
    ),
    (
        "APP-08.must-understand",
        "a header that must be understood",
        _as("signer", before=_header_to_understand),
    ),
    ("DOS-12.answer-of-digits", "a number of 4,000 digits, truly signed", _as("signer", before=_digits)),
    ("APP-08.soap-1.2", "an envelope of SOAP 1.2", _as("signer", after=_next_version)),
)
_FAULTS: Final = (
    ("APP-08.unsigned-fault", "an unsigned fault Client with a page in it", _fault("Client"), "GW601"),
    ("APP-08.fault-by-a-stranger", "a fault Client by a stranger", _fault("Client", by="stranger"), "GW601"),
    (
        "REP-09.fault-by-another-partner",
        "a fault Client by another partner",
        _fault("Client", by="other"),
        "GW601",
    ),
    (
        "REP-09.fault-to-another-call",
        "a signed fault about another call",
        _fault("Client", by="signer", related=False),
        "GW601",
    ),
    ("APP-08.fault-200", "an unsigned fault Client under status 200", _fault("Client", status=200), "GW601"),
    (
        "APP-08.fault-with-page",
        "a signed fault Client with a page in it",
        _fault("Client", by="signer"),
        "GW602",
    ),
)

SOAP_REPLIES: Final[tuple[ReplyPlay, ...]] = (
    ReplyPlay(
        "APP-08.honest-answer", "the control: the honest answer", "", {"soap": TAKEN, "ebms2": TAKEN}, _honest
    ),
    *(ReplyPlay(name, title, "security.md", {"soap": "GW603"}, play) for name, title, play in _FORGED),
    *(
        ReplyPlay(name, title, "security.md APP-08", {"soap": end}, play)
        for name, title, play, end in _FAULTS
    ),
)
