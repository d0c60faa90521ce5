"""Hostile answers of a SOAP service: forged, replayed, wrapped, for another call, foreign faults."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from lxml import etree

from gateway.client import HttpReply, IncomingRequest
from gateway.errors import NOT_SUPPORTED, GatewayError
from gateway.pki import Signer
from gateway.wire import (
    ANONYMOUS,
    SOAP11,
    SOAP12,
    WSA,
    WSU,
    AddressingHeaders,
    ServiceDescription,
    SoapFault,
    WsdlOperation,
    build_addressed_envelope,
    parse_xml,
    read_addressing,
    read_envelope,
    serialize_element,
    write_fault_envelope,
)
from gateway.xmlsec import sign_soap_envelope
from gateway_conformance.hostile.attack_cases import BODY, HEADER, SECURITY
from gateway_conformance.hostile.content_mutations import (
    TreeMutation,
    combine_mutations,
    duplicate_element,
    get_element,
    remove_element,
    set_attribute,
)
from gateway_conformance.hostile.reply_attacks.reply_server import (
    ACCEPTED_ANSWER,
    ReplyBehavior,
    ReplyConnection,
    ReplyRow,
    ReplyScenario,
    make_reply_scenarios,
    use_behavior,
)
from gateway_conformance.partners import CONTENT_TYPE, make_message_id

_BODY: Final = f"{{{SOAP11}}}Body"
_HEADER: Final = f"{{{SOAP11}}}Header"
_WRAPPER: Final = "{urn:wrapper}Wrapper"
_WSU_ID: Final = f"{{{WSU}}}Id"
_STRANGE: Final = {"soap": "GW603"}
_PAGE: Final = '<html><script>alert(1)</script>\u202egpj.exe\u0085\u009b31m "; DROP TABLE cases'
_RELATES_TO: Final = f"{HEADER}/wsa:RelatesTo"
#: Changes nothing.
_NOTHING: Final = combine_mutations()


@dataclass(frozen=True, slots=True)
class _ReplyOptions:
    """How an answer differs from the honest one; `before` and `after` stand around the signing."""

    signer: Signer | None
    relates_to: str | None
    at: datetime
    before: TreeMutation = _NOTHING
    after: TreeMutation = _NOTHING


@dataclass
class AgencyReplyForger:
    """Makes a service's answers: its own key, that of another partner of the same hub, a `stranger`'s.

    `build_response` makes the response element for an operation; `replies_by_message_id` holds the answers
    given so far by MessageID of the call, and may be shared between the services of several partners.
    """

    description: ServiceDescription
    signer: Signer
    other_partner: Signer
    stranger: Signer
    build_response: Callable[[WsdlOperation], etree._Element]
    clock: Callable[[], datetime]
    replies_by_message_id: dict[str, bytes] = field(default_factory=dict)
    face: str = "soap"

    def read_unverified_call(self, request: IncomingRequest) -> tuple[str, WsdlOperation]:
        """Return MessageID and operation of an unverified call; raises GatewayError for other octets."""
        envelope = read_envelope(parse_xml(request.body))
        operation = (
            self.description.find_by_request(str(envelope.body_elements[0].tag))
            if envelope.body_elements
            else None
        )
        if operation is None or envelope.header is None:
            raise GatewayError(NOT_SUPPORTED, "no call of this service", "/soap:Envelope/soap:Body")
        return read_addressing(envelope.header).message_id, operation

    def make_honest_reply(self, request: IncomingRequest) -> HttpReply:
        """Return the signed answer to a call."""
        message_id, _ = self.read_unverified_call(request)
        octets = self.make_reply(request, _ReplyOptions(self.signer, message_id, self.clock()))
        self.replies_by_message_id[message_id] = octets
        return HttpReply(200, CONTENT_TYPE, octets)

    def make_reply(self, request: IncomingRequest, options: _ReplyOptions) -> bytes:
        """Return an answer with the given options."""
        _, operation = self.read_unverified_call(request)
        values = AddressingHeaders(operation.reply_action, make_message_id(), ANONYMOUS, options.relates_to)
        root = build_addressed_envelope(self.build_response(operation), values)
        options.before(root)
        if options.signer is not None:
            sign_soap_envelope(root, options.signer, now=options.at)
        options.after(root)
        return serialize_element(root)


def _get_agency_forger(reply_connection: ReplyConnection) -> AgencyReplyForger:
    if not isinstance(reply_connection.forger, AgencyReplyForger):
        raise TypeError("this play is for a SOAP service")
    return reply_connection.forger


def _send_envelope(reply_connection: ReplyConnection, octets: bytes, status: int = 200) -> None:
    reply_connection.send_reply(HttpReply(status, CONTENT_TYPE, octets))


def _send_with_options(reply_connection: ReplyConnection, **options: Any) -> None:
    """Answer this call with the given options; everything else is honest."""
    forger = _get_agency_forger(reply_connection)
    message_id, _ = forger.read_unverified_call(reply_connection.request)
    honest = _ReplyOptions(forger.signer, message_id, forger.clock())
    _send_envelope(reply_connection, forger.make_reply(reply_connection.request, replace(honest, **options)))


def _sign_as(signer_name: str) -> ReplyBehavior:
    """Return the behaviour that signs the answer as `other_partner` or `stranger`, or leaves it unsigned."""
    return lambda reply_connection: _send_with_options(
        reply_connection,
        signer=getattr(_get_agency_forger(reply_connection), signer_name) if signer_name else None,
    )


def _sign_at_offset(seconds: float) -> ReplyBehavior:
    return lambda reply_connection: _send_with_options(
        reply_connection, at=_get_agency_forger(reply_connection).clock() + timedelta(seconds=seconds)
    )


def _relate_to(message_id: str | None) -> ReplyBehavior:
    return lambda reply_connection: _send_with_options(reply_connection, relates_to=message_id)


def _change_after_signing(change: TreeMutation) -> ReplyBehavior:
    return lambda reply_connection: _send_with_options(reply_connection, after=change)


def _change_before_signing(change: TreeMutation) -> ReplyBehavior:
    return lambda reply_connection: _send_with_options(reply_connection, before=change)


def _send_honest_reply(reply_connection: ReplyConnection) -> None:
    reply_connection.send_reply(reply_connection.make_honest_reply())


def _replay_earlier_reply(reply_connection: ReplyConnection) -> None:
    """Answer with the signed answer to any earlier call."""
    forger = _get_agency_forger(reply_connection)
    message_id, _ = forger.read_unverified_call(reply_connection.request)
    earlier = [octets for call_id, octets in forger.replies_by_message_id.items() if call_id != message_id]
    if not earlier:
        _relate_to("urn:uuid:00000000-0000-4000-8000-000000000000")(reply_connection)
        return
    _send_envelope(reply_connection, earlier[-1])


def _answer_other_call(reply_connection: ReplyConnection) -> None:
    """Sign an answer to another service's call with the service's own key."""
    forger = _get_agency_forger(reply_connection)
    message_id, _ = forger.read_unverified_call(reply_connection.request)
    earlier_id = next(
        (call_id for call_id in forger.replies_by_message_id if call_id != message_id), make_message_id()
    )
    _relate_to(earlier_id)(reply_connection)


def _reflect_call(reply_connection: ReplyConnection) -> None:
    _send_envelope(reply_connection, reply_connection.request.body)


def _wrap_body(root: etree._Element, **attributes: str) -> None:
    """Move the signed Body into the Header, and put another in its place."""
    body = root[-1]
    etree.SubElement(root[0], _WRAPPER).append(body)
    etree.SubElement(root, _BODY, attributes).append(deepcopy(body[0]))


def _wrap_body_under_id(root: etree._Element) -> None:
    _wrap_body(root, **{_WSU_ID: str(root[-1].get(_WSU_ID))})


def _wrap_relates_to(root: etree._Element) -> None:
    """Keep the signed RelatesTo aside and put another in its place."""
    relates_to = get_element(root, _RELATES_TO)
    aside = etree.SubElement(root[0], _WRAPPER)
    forged = deepcopy(relates_to)
    del forged.attrib[_WSU_ID]
    relates_to.addnext(forged)
    aside.append(relates_to)


def _append_relates_to(root: etree._Element) -> None:
    relates_to = get_element(root, _RELATES_TO)
    etree.SubElement(root[0], relates_to.tag).text = relates_to.text


def _redirect_reply_to(root: etree._Element) -> None:
    for name in ("ReplyTo", "FaultTo"):
        there = etree.SubElement(root[0], f"{{{WSA}}}{name}")
        etree.SubElement(there, f"{{{WSA}}}Address").text = "http://169.254.169.254/latest/meta-data/"


def _append_mandatory_header(root: etree._Element) -> None:
    etree.SubElement(root[0], "{urn:x}Obey", {f"{{{SOAP11}}}mustUnderstand": "1"})


def _set_long_numbers(root: etree._Element) -> None:
    for element in root.iter("{*}item"):
        element.text = "9" * 4000


def _change_body_text(root: etree._Element) -> None:
    leaf = next(element for element in root[-1].iter() if not len(element) and element.text)
    leaf.text = f"X{leaf.text}"


def _convert_to_soap12(root: etree._Element) -> None:
    for element in list(root.iter(f"{{{SOAP11}}}*")):
        element.tag = f"{{{SOAP12}}}{etree.QName(element).localname}"


def _send_fault(*, by: str = "", status: int = 500, relates_to_call: bool = True) -> ReplyBehavior:
    """Return the behaviour that answers with a SOAP fault, signed by `by` (empty: unsigned).

    A signed fault relates to the call, or (`relates_to_call` false) to another message id.
    """

    def run_scenario(reply_connection: ReplyConnection) -> None:
        forger = _get_agency_forger(reply_connection)
        message_id, _ = forger.read_unverified_call(reply_connection.request)
        root = parse_xml(write_fault_envelope(SoapFault("Client", _PAGE)))
        if by:
            header = etree.Element(_HEADER)
            root.insert(0, header)
            values = AddressingHeaders(
                "urn:fault", make_message_id(), None, message_id if relates_to_call else make_message_id()
            )
            addressed_envelope = build_addressed_envelope(etree.Element("x"), values)
            for block in list(addressed_envelope[0]):
                header.append(block)
            sign_soap_envelope(root, getattr(forger, by), now=forger.clock())
        _send_envelope(reply_connection, serialize_element(root), status)

    return run_scenario


# fmt: off
#: Answers that are forged, replayed, late, or for another caller.
_FORGED: Final[tuple[ReplyRow[ReplyBehavior], ...]] = (
    ("SIG-13.unsigned-answer", "the answer without a signature", _sign_as("")),
    ("SIG-30.answer-by-a-stranger", "signed by a certificate of another authority", _sign_as("stranger")),
    ("REP-09.answer-by-another-partner", "signed by another partner with a good certificate",
     _sign_as("other_partner")),
    ("REP-09.answer-to-anothers-call", "signed by the partner, for another partner's call",
     _answer_other_call),
    ("REP-09.replayed-answer", "an earlier answer, truly signed, to another call", _replay_earlier_reply),
    ("REP-09.answer-to-nobody", "an answer that relates to nothing", _relate_to(None)),
    ("REP-09.mirrored-call", "our own signed call, sent back", _reflect_call),
    ("REP-05.old-answer", "an answer signed six minutes ago", _sign_at_offset(-360)),
    ("REP-05.answer-of-the-future", "an answer signed in six minutes", _sign_at_offset(360)),
)

#: The honest answer, changed after the partner signed it.
_SPOILED: Final[tuple[ReplyRow[TreeMutation], ...]] = (
    ("SIG-13.signature-dropped", "the signature cut out", remove_element(SECURITY)),
    ("SIG-07.answer-with-its-body-in-the-header", "the signed Body moved aside", _wrap_body),
    ("SIG-07.answer-with-two-bodies", "the Body twice", duplicate_element(BODY)),
    ("SIG-08.answer-with-an-id-twice", "another Body under the signed one's Id", _wrap_body_under_id),
    ("SIG-07.answer-with-its-relation-aside", "the signed RelatesTo moved aside", _wrap_relates_to),
    ("SIG-13.answer-with-a-relation-added", "a second, unsigned RelatesTo", _append_relates_to),
    ("SIG-13.answer-changed", "a value changed after signing", _change_body_text),
    ("APP-08.soap-1.2", "an envelope of SOAP 1.2", _convert_to_soap12),
)

#: Answers that the partner changed before signing.
_WISHES: Final[tuple[ReplyRow[TreeMutation], ...]] = (
    ("REP-11.reply-to-elsewhere", "ReplyTo and FaultTo name an address inside", _redirect_reply_to),
    ("REP-09.related-otherwise", "a relation of another kind",
     set_attribute(_RELATES_TO, "RelationshipType", "urn:other")),
    ("APP-08.must-understand", "a header that must be understood", _append_mandatory_header),
    ("DOS-12.answer-of-digits", "a number of 4,000 digits, truly signed", _set_long_numbers),
)

#: Faults that are not signed by the partner.
_FAULTS: Final[tuple[ReplyRow[ReplyBehavior], ...]] = (
    ("APP-08.unsigned-fault", "an unsigned fault Client with a page in it", _send_fault()),
    ("APP-08.fault-by-a-stranger", "a fault Client by a stranger", _send_fault(by="stranger")),
    ("REP-09.fault-by-another-partner", "a fault Client by another partner", _send_fault(by="other_partner")),
    ("REP-09.fault-to-another-call", "a signed fault about another call",
     _send_fault(by="signer", relates_to_call=False)),
    ("APP-08.fault-200", "an unsigned fault Client under status 200", _send_fault(status=200)),
)

SOAP_REPLIES: Final[tuple[ReplyScenario, ...]] = (
    ReplyScenario("APP-08.honest-answer", "the control: the honest answer", "",
     {"soap": ACCEPTED_ANSWER, "ebms2": ACCEPTED_ANSWER}, _send_honest_reply),
    *make_reply_scenarios("", _FORGED, use_behavior, _STRANGE, "security.md"),
    *make_reply_scenarios("", _SPOILED, _change_after_signing, _STRANGE, "security.md"),
    *make_reply_scenarios("", _WISHES, _change_before_signing, _STRANGE, "security.md"),
    *make_reply_scenarios("", _FAULTS, use_behavior, {"soap": "GW608"}, "security.md APP-08"),
    ReplyScenario("APP-08.fault-with-page", "a signed fault Client with a page in it", "security.md APP-08",
     {"soap": "GW602"}, _send_fault(by="signer")),
)
# fmt: on
