"""Hostile answers of a SOAP service: forged, replayed, wrapped, meant for another call, faults of anyone."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from lxml import etree

from gateway.conformance.hostile.reply_attacks.reply_server import TAKEN, ReplyConnection, ReplyScenario
from gateway.conformance.partners import (
    CONTENT_TYPE,
    HttpReply,
    IncomingRequest,
    build_addressed_envelope,
    make_message_id,
)
from gateway.errors import NOT_SUPPORTED, GatewayError
from gateway.pki import Signer
from gateway.wire import (
    ANONYMOUS,
    SOAP11,
    SOAP12,
    WSA,
    WSSE,
    WSU,
    AddressingHeaders,
    ServiceDescription,
    SoapFault,
    WsdlOperation,
    parse_xml,
    read_addressing,
    read_envelope,
    serialize_element,
    write_fault_envelope,
)
from gateway.xmlsec import sign_soap_envelope

__all__ = ["SOAP_REPLIES", "AgencyReplyForger"]

_BODY: Final = f"{{{SOAP11}}}Body"
_HEADER: Final = f"{{{SOAP11}}}Header"
_SECURITY: Final = f"{{{WSSE}}}Security"
_PAGE: Final = '<html><script>alert(1)</script>\u202egpj.exe\u0085\u009b31m "; DROP TABLE cases'
#: Changes an envelope, or whatever is made of it.
TreeMutation = Callable[[etree._Element], None]


def _change_nothing(_: etree._Element) -> None:
    """Change nothing."""


@dataclass(frozen=True, slots=True)
class _ReplyOptions:
    """How an answer differs from the honest one; `before` and `after` stand around the signing."""

    signer: Signer | None
    relates_to: str | None
    at: datetime
    before: TreeMutation = _change_nothing
    after: TreeMutation = _change_nothing


@dataclass
class AgencyReplyForger:
    """Makes a service's answers: its own key, that of `other` (a partner of the same hub), a `stranger`'s.

    `build_response` makes the response element for an operation; `history` holds the answers given so
    far by MessageID of the call, and may be shared between the services of several partners.
    """

    description: ServiceDescription
    signer: Signer
    other: Signer
    stranger: Signer
    build_response: Callable[[WsdlOperation], etree._Element]
    clock: Callable[[], datetime]
    history: dict[str, bytes] = field(default_factory=dict)
    face: str = "soap"

    def read_unverified_call(self, request: IncomingRequest) -> tuple[str, WsdlOperation]:
        """Return MessageID and operation of a call, unverified; raises GatewayError when it is none."""
        envelope = read_envelope(parse_xml(request.body))
        found = (
            self.description.find_by_request(str(envelope.body_elements[0].tag))
            if envelope.body_elements
            else None
        )
        if found is None or envelope.header is None:
            raise GatewayError(NOT_SUPPORTED, "no call of this service", "/soap:Envelope/soap:Body")
        return read_addressing(envelope.header).message_id, found

    def make_honest_reply(self, request: IncomingRequest) -> HttpReply:
        """Return the signed answer to a call."""
        message_id, _ = self.read_unverified_call(request)
        octets = self.make_reply(request, _ReplyOptions(self.signer, message_id, self.clock()))
        self.history[message_id] = octets
        return HttpReply(200, CONTENT_TYPE, octets)

    def make_reply(self, request: IncomingRequest, wish: _ReplyOptions) -> bytes:
        """Return an answer as wished."""
        _, operation = self.read_unverified_call(request)
        values = AddressingHeaders(operation.reply_action, make_message_id(), ANONYMOUS, wish.relates_to)
        root = build_addressed_envelope(self.build_response(operation), values)
        wish.before(root)
        if wish.signer is not None:
            sign_soap_envelope(root, wish.signer, now=wish.at)
        wish.after(root)
        return serialize_element(root)


def _get_agency_forger(there: ReplyConnection) -> AgencyReplyForger:
    if not isinstance(there.forger, AgencyReplyForger):
        raise TypeError("this play is for a SOAP service")
    return there.forger


def _send_envelope(there: ReplyConnection, octets: bytes, status: int = 200) -> None:
    there.send_reply(HttpReply(status, CONTENT_TYPE, octets))


def _send_reply_as(
    who: str,
    *,
    late: float = 0.0,
    before: TreeMutation = _change_nothing,
    after: TreeMutation = _change_nothing,
) -> Callable[..., None]:
    """Answer this call, signed by `who`, `late` seconds from now, changed before or after signing."""

    def run_scenario(there: ReplyConnection) -> None:
        forger = _get_agency_forger(there)
        message_id, _ = forger.read_unverified_call(there.request)
        at = forger.clock() + timedelta(seconds=late)
        signer = getattr(forger, who) if who else None
        _send_envelope(
            there, forger.make_reply(there.request, _ReplyOptions(signer, message_id, at, before, after))
        )

    return run_scenario


def _send_reply_relating_to(to: str | None) -> Callable[[ReplyConnection], None]:
    def run_scenario(there: ReplyConnection) -> None:
        forger = _get_agency_forger(there)
        _send_envelope(
            there, forger.make_reply(there.request, _ReplyOptions(forger.signer, to, forger.clock()))
        )

    return run_scenario


def _send_honest_reply(there: ReplyConnection) -> None:
    there.send_reply(there.make_honest_reply())


def _replay_earlier_reply(there: ReplyConnection) -> None:
    """Answer by what was answered, truly signed, to another call; to any that there was."""
    forger = _get_agency_forger(there)
    message_id, _ = forger.read_unverified_call(there.request)
    earlier = [octets for other, octets in forger.history.items() if other != message_id]
    if not earlier:
        _send_reply_relating_to("urn:uuid:00000000-0000-4000-8000-000000000000")(there)
        return
    _send_envelope(there, earlier[-1])


def _answer_other_call(there: ReplyConnection) -> None:
    """Sign, with the service's own key, an answer to a call that somebody else got."""
    forger = _get_agency_forger(there)
    message_id, _ = forger.read_unverified_call(there.request)
    other = next((one for one in forger.history if one != message_id), make_message_id())
    _send_reply_relating_to(other)(there)


def _reflect_call(there: ReplyConnection) -> None:
    _send_envelope(there, there.request.body)


# Changes of the signed envelope.


def _wrap_body_in_header(root: etree._Element) -> None:
    body = root[-1]
    etree.SubElement(root[0], "{urn:wrapper}Wrapper").append(body)
    forged = etree.SubElement(root, _BODY)
    forged.append(deepcopy(body[0]))


def _duplicate_body(root: etree._Element) -> None:
    root.append(deepcopy(root[-1]))


def _duplicate_body_id(root: etree._Element) -> None:
    body = root[-1]
    holder = etree.SubElement(root[0], "{urn:wrapper}Wrapper")
    holder.append(body)
    forged = etree.SubElement(root, _BODY, {f"{{{WSU}}}Id": str(body.get(f"{{{WSU}}}Id"))})
    forged.append(deepcopy(body[0]))


def _wrap_relates_to(root: etree._Element) -> None:
    """Keep the signed RelatesTo aside and put another in its place."""
    found = root.find(f".//{{{WSA}}}RelatesTo")
    if found is None:
        raise LookupError("wsa:RelatesTo")
    aside = etree.SubElement(root[0], "{urn:wrapper}Wrapper")
    found.addnext(deepcopy(found))
    del found.getnext().attrib[f"{{{WSU}}}Id"]  # type: ignore[union-attr]
    aside.append(found)


def _append_relates_to(root: etree._Element) -> None:
    found = root.find(f".//{{{WSA}}}RelatesTo")
    if found is None:
        raise LookupError("wsa:RelatesTo")
    etree.SubElement(root[0], found.tag).text = found.text


def _redirect_reply_to(root: etree._Element) -> None:
    for name in ("ReplyTo", "FaultTo"):
        there = etree.SubElement(root[0], f"{{{WSA}}}{name}")
        etree.SubElement(there, f"{{{WSA}}}Address").text = "http://169.254.169.254/latest/meta-data/"


def _set_relationship_type(root: etree._Element) -> None:
    for one in root.iter(f"{{{WSA}}}RelatesTo"):
        one.set("RelationshipType", "urn:other")


def _append_mandatory_header(root: etree._Element) -> None:
    etree.SubElement(root[0], "{urn:x}Obey", {f"{{{SOAP11}}}mustUnderstand": "1"})


def _set_long_numbers(root: etree._Element) -> None:
    for one in root.iter("{*}item"):
        one.text = "9" * 4000


def _change_body_text(root: etree._Element) -> None:
    leaf = next(one for one in root[-1].iter() if not len(one) and one.text)
    leaf.text = f"X{leaf.text}"


def _remove_security(root: etree._Element) -> None:
    for one in list(root.iter(_SECURITY)):
        one.getparent().remove(one)  # type: ignore[union-attr]


def _convert_to_soap12(root: etree._Element) -> None:
    for one in list(root.iter(f"{{{SOAP11}}}*")):
        one.tag = f"{{{SOAP12}}}{etree.QName(one).localname}"


# Faults.


def _send_fault(
    code: str, *, by: str = "", status: int = 500, related: bool = True
) -> Callable[[ReplyConnection], None]:
    def run_scenario(there: ReplyConnection) -> None:
        forger = _get_agency_forger(there)
        message_id, _ = forger.read_unverified_call(there.request)
        root = parse_xml(write_fault_envelope(SoapFault(code, _PAGE)))
        if by:
            header = etree.Element(_HEADER)
            root.insert(0, header)
            values = AddressingHeaders(
                "urn:fault", make_message_id(), None, message_id if related else make_message_id()
            )
            whole = build_addressed_envelope(etree.Element("x"), values)
            for one in list(whole[0]):
                header.append(one)
            sign_soap_envelope(root, getattr(forger, by), now=forger.clock())
        _send_envelope(there, serialize_element(root), status)

    return run_scenario


_Row = tuple[str, str, Callable[[ReplyConnection], None]]
_FORGED: Final[tuple[_Row, ...]] = (
    ("SIG-13.unsigned-answer", "the answer without a signature", _send_reply_as("")),
    ("SIG-13.signature-dropped", "the signature cut out", _send_reply_as("signer", after=_remove_security)),
    (
        "SIG-30.answer-by-a-stranger",
        "signed by a certificate of another authority",
        _send_reply_as("stranger"),
    ),
    (
        "REP-09.answer-by-another-partner",
        "signed by another partner with a good certificate",
        _send_reply_as("other"),
    ),
    (
        "REP-09.answer-to-anothers-call",
        "signed by the partner, for another partner's call",
        _answer_other_call,
    ),
    ("REP-09.replayed-answer", "an earlier answer, truly signed, to another call", _replay_earlier_reply),
    ("REP-09.answer-to-nobody", "an answer that relates to nothing", _send_reply_relating_to(None)),
    ("REP-09.mirrored-call", "our own signed call, sent back", _reflect_call),
    ("REP-05.old-answer", "an answer signed six minutes ago", _send_reply_as("signer", late=-360)),
    ("REP-05.answer-of-the-future", "an answer signed in six minutes", _send_reply_as("signer", late=360)),
    (
        "SIG-07.answer-with-its-body-in-the-header",
        "the signed Body moved aside",
        _send_reply_as("signer", after=_wrap_body_in_header),
    ),
    ("SIG-07.answer-with-two-bodies", "the Body twice", _send_reply_as("signer", after=_duplicate_body)),
    (
        "SIG-08.answer-with-an-id-twice",
        "another Body under the signed one's Id",
        _send_reply_as("signer", after=_duplicate_body_id),
    ),
    (
        "SIG-07.answer-with-its-relation-aside",
        "the signed RelatesTo moved aside",
        _send_reply_as("signer", after=_wrap_relates_to),
    ),
    (
        "SIG-13.answer-with-a-relation-added",
        "a second, unsigned RelatesTo",
        _send_reply_as("signer", after=_append_relates_to),
    ),
    (
        "SIG-13.answer-changed",
        "a value changed after signing",
        _send_reply_as("signer", after=_change_body_text),
    ),
    (
        "REP-11.reply-to-elsewhere",
        "ReplyTo and FaultTo name an address inside",
        _send_reply_as("signer", before=_redirect_reply_to),
    ),
    (
        "REP-09.related-otherwise",
        "a relation of another kind",
        _send_reply_as("signer", before=_set_relationship_type),
    ),
    (
        "APP-08.must-understand",
        "a header that must be understood",
        _send_reply_as("signer", before=_append_mandatory_header),
    ),
    (
        "DOS-12.answer-of-digits",
        "a number of 4,000 digits, truly signed",
        _send_reply_as("signer", before=_set_long_numbers),
    ),
    ("APP-08.soap-1.2", "an envelope of SOAP 1.2", _send_reply_as("signer", after=_convert_to_soap12)),
)
_FAULTS: Final = (
    ("APP-08.unsigned-fault", "an unsigned fault Client with a page in it", _send_fault("Client"), "GW601"),
    (
        "APP-08.fault-by-a-stranger",
        "a fault Client by a stranger",
        _send_fault("Client", by="stranger"),
        "GW601",
    ),
    (
        "REP-09.fault-by-another-partner",
        "a fault Client by another partner",
        _send_fault("Client", by="other"),
        "GW601",
    ),
    (
        "REP-09.fault-to-another-call",
        "a signed fault about another call",
        _send_fault("Client", by="signer", related=False),
        "GW601",
    ),
    (
        "APP-08.fault-200",
        "an unsigned fault Client under status 200",
        _send_fault("Client", status=200),
        "GW601",
    ),
    (
        "APP-08.fault-with-page",
        "a signed fault Client with a page in it",
        _send_fault("Client", by="signer"),
        "GW602",
    ),
)

SOAP_REPLIES: Final[tuple[ReplyScenario, ...]] = (
    ReplyScenario(
        "APP-08.honest-answer",
        "the control: the honest answer",
        "",
        {"soap": TAKEN, "ebms2": TAKEN},
        _send_honest_reply,
    ),
    *(ReplyScenario(name, title, "security.md", {"soap": "GW603"}, play) for name, title, play in _FORGED),
    *(
        ReplyScenario(name, title, "security.md APP-08", {"soap": end}, play)
        for name, title, play, end in _FAULTS
    ),
)
