"""A hostile partner as a process, and its answers to an ebMS 2.0 message: invalid receipts and errors.

Its identity is from a partner folder; it gives its replies in order.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from lxml import etree

from gateway.client import (
    EBMS2,
    HttpReply,
    IncomingRequest,
    Journal,
    get_current_time,
    read_file,
    read_identity,
    read_membership,
)
from gateway.errors import MISUSE, SIGNATURE_INVALID, GatewayError
from gateway.message_model import MemoryBody, Receipt, Unit
from gateway.pki import Signer, load_signer
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext
from gateway.wire import DS, WsdlOperation
from gateway_conformance.hostile.content_mutations import prepend_prolog
from gateway_conformance.hostile.reply_attacks.octet_replies import OCTET_REPLIES
from gateway_conformance.hostile.reply_attacks.reply_server import (
    ReplyBehavior,
    ReplyConnection,
    ReplyForger,
    ReplyRow,
    ReplyScenario,
    ReplyServer,
    make_reply_scenarios,
    send_changed_octets,
    use_behavior,
)
from gateway_conformance.hostile.reply_attacks.soap_replies import SOAP_REPLIES, AgencyReplyForger
from gateway_conformance.partners import build_acknowledgment, load_service_description
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority

_OTHER_ID: Final = "earlier@else.suite.invalid"


@dataclass
class BrokerReplyForger:
    """Makes a message handler's answers, signed with its own key, or as `stranger` or another partner."""

    context: Callable[[], ProtocolContext]
    other_partner: Signer
    stranger: Signer
    replies_by_message_id: dict[str, HttpReply] = field(default_factory=dict)
    face: str = "ebms2"

    def open_message(self, request: IncomingRequest) -> OpenedMessage:
        """Return the verified message that was sent; raises GatewayError."""
        header_keys = {"Content-Type": "content-type", "SOAPAction": "soapaction"}
        headers = {name: request.headers.get(key, "") for name, key in header_keys.items()}
        return EBMS2.open_units(Parcel(headers, MemoryBody(request.body)), self.context())

    def make_honest_reply(self, request: IncomingRequest) -> HttpReply:
        """Return the signed receipt of a message."""
        opened = self.open_message(request)
        reply = self.seal_signal(EBMS2.make_receipt(opened, self.context()), opened)
        self.replies_by_message_id[opened.unit.message_id] = reply
        return reply

    def seal_signal(self, unit: Unit, opened: OpenedMessage, signer: Signer | None = None) -> HttpReply:
        """Return a signal as the answer to a message."""
        context = self.context()
        if signer is not None:
            context = replace(context, signers=dict.fromkeys(context.signers, signer))
        parcel = EBMS2.seal((unit,), opened.pmode, context)
        return HttpReply(200, parcel.get_header("Content-Type"), parcel.read_octets())


def _get_broker_forger(reply_connection: ReplyConnection) -> BrokerReplyForger:
    if not isinstance(reply_connection.forger, BrokerReplyForger):
        raise TypeError("this play is for a message handler")
    return reply_connection.forger


def _send_changed_receipt(change: Callable[[Receipt], Unit], signer_name: str = "") -> ReplyBehavior:
    """Return the behaviour that changes the receipt and signs it as the partner, or as `signer_name`."""

    def run_scenario(reply_connection: ReplyConnection) -> None:
        forger = _get_broker_forger(reply_connection)
        opened = forger.open_message(reply_connection.request)
        changed_receipt = change(EBMS2.make_receipt(opened, forger.context()))
        reply_connection.send_reply(
            forger.seal_signal(changed_receipt, opened, getattr(forger, signer_name) if signer_name else None)
        )

    return run_scenario


def _change_receipt(**fields: Any) -> ReplyBehavior:
    return _send_changed_receipt(lambda receipt: replace(receipt, **fields))


def _remove_signatures(octets: bytes) -> bytes:
    root = etree.fromstring(octets)
    for signature in list(root.iter(f"{{{DS}}}Signature")):
        signature.getparent().remove(signature)  # type: ignore[union-attr]
    return etree.tostring(root, encoding="utf-8")


def _replay_earlier_receipt(reply_connection: ReplyConnection) -> None:
    """Answer with the earlier receipt of another message."""
    forger = _get_broker_forger(reply_connection)
    message_id = forger.open_message(reply_connection.request).unit.message_id
    earlier = [reply for name, reply in forger.replies_by_message_id.items() if name != message_id]
    if earlier:
        reply_connection.send_reply(earlier[-1])
    else:
        _change_receipt(ref_to_message_id=_OTHER_ID)(reply_connection)


def _make_error_reply(reply_connection: ReplyConnection, message_id: str = "") -> HttpReply:
    """Return a signed MessageError about the message of the request, or about the message `message_id`."""
    forger = _get_broker_forger(reply_connection)
    opened = forger.open_message(reply_connection.request)
    problem = GatewayError(SIGNATURE_INVALID, "the digest differs", "eb:Body")
    unit = EBMS2.make_error_signal(problem, opened.unit, forger.context())
    if unit is None:
        raise LookupError("there is no such error")
    return forger.seal_signal(replace(unit, ref_to_message_id=message_id or unit.ref_to_message_id), opened)


def _send_signed_error(message_id: str = "") -> ReplyBehavior:
    return lambda reply_connection: reply_connection.send_reply(
        _make_error_reply(reply_connection, message_id)
    )


def _send_unsigned_error(reply_connection: ReplyConnection) -> None:
    reply = _make_error_reply(reply_connection)
    reply_connection.send_reply(replace(reply, body=_remove_signatures(reply.body)))


def _reflect_message(reply_connection: ReplyConnection) -> None:
    reply_connection.send_reply(
        HttpReply(
            200, reply_connection.request.headers.get("content-type", ""), reply_connection.request.body
        )
    )


def _send_many_parts(reply_connection: ReplyConnection) -> None:
    parts = b"--b\r\n\r\n\r\n" * 20_000 + b"--b--\r\n"
    reply_connection.send_reply(HttpReply(200, 'multipart/related; boundary=b; type="text/xml"', parts))


def _replace_first_digest(unit: Receipt) -> Unit:
    first = replace(unit.references[0], digest=bytes(len(unit.references[0].digest)))
    return replace(unit, references=(first, *unit.references[1:]))


# fmt: off
_REPLIES: Final[tuple[ReplyRow[ReplyBehavior], ...]] = (
    ("REP-07.unsigned-receipt", "the receipt without its signature", send_changed_octets(_remove_signatures)),
    ("REP-07.receipt-by-a-stranger", "a receipt by another authority's certificate",
     _send_changed_receipt(replace, "stranger")),
    ("REP-07.receipt-by-another-party", "a receipt by another party",
     _send_changed_receipt(replace, "other_partner")),
    ("REP-07.receipt-of-another-message", "a receipt that names another message",
     _change_receipt(ref_to_message_id=_OTHER_ID)),
    ("REP-07.receipt-of-other-octets", "a receipt with another digest",
     _send_changed_receipt(_replace_first_digest)),
    ("REP-07.receipt-of-nothing", "a receipt without digests", _change_receipt(references=())),
    ("REP-07.replayed-receipt", "the receipt of another message, as it was given", _replay_earlier_receipt),
    ("REP-07.unsigned-error", "an error that nobody signed", _send_unsigned_error),
    ("REP-07.error-of-another-message", "an error about another message", _send_signed_error(_OTHER_ID)),
    ("APP-08.mirrored-message", "our own message, sent back", _reflect_message),
    ("DOS-08.many-parts", "an answer of 20,000 empty parts", _send_many_parts),
    ("DOS-01.laughing-receipt", "a receipt with a document type",
     send_changed_octets(prepend_prolog(lambda: b"<!DOCTYPE x>"))),
)

EBMS2_REPLIES: Final[tuple[ReplyScenario, ...]] = (
    *make_reply_scenarios("", _REPLIES, use_behavior, {"ebms2": "GW603"}, "security.md"),
    ReplyScenario("REP-07.signed-error",
     "the partner's own error: the delivery ends, the message is not acknowledged", "ebMS 2.0 §4.2.3",
     {"ebms2": "GW602"}, _send_signed_error()),
)
# fmt: on


#: All hostile answers of this suite to a gateway that calls a partner.
REPLIES: Final[tuple[ReplyScenario, ...]] = (*SOAP_REPLIES, *OCTET_REPLIES, *EBMS2_REPLIES)

_PAST: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class HostilePartner:
    """The identity of the partner: a NAME of a partner folder, and the key of another partner.

    `face` is ``soap`` (a service of the WSDL named) or ``ebms2`` (a message handler).
    """

    partner_folder: Path
    partner_name: str
    other_partner: str
    face: str
    wsdl: str = "agency-template.wsdl"


def select_replies(face: str, pattern: str = "*") -> tuple[ReplyScenario, ...]:
    """Return the replies of a face (``soap``, ``ebms2``) whose id matches a shell pattern."""
    return tuple(
        scenario
        for scenario in REPLIES
        if face in scenario.outcome_by_face and fnmatchcase(scenario.id, pattern)
    )


def build_hostile_server(
    partner: HostilePartner, pattern: str, folder: Path, host: str, port: int
) -> ReplyServer:
    """Return a server that answers each request with the next reply that matches `pattern`.

    After the last reply the sequence starts again. Each reply is recorded as a row of ``plays.jsonl`` in
    `folder`, with the outcome that the client must reach.
    """
    chosen = select_replies(partner.face, pattern)
    if not chosen:
        raise GatewayError(MISUSE, f"no play of {partner.face} fits {pattern[:80]!r}", "--play")
    endless: Iterator[ReplyScenario] = itertools.cycle(chosen)
    choice_lock = threading.Lock()
    journal = Journal(folder / "plays.jsonl")

    def choose_scenario(_: IncomingRequest) -> ReplyScenario:
        with choice_lock:
            return next(endless)

    def record_scenario(play: ReplyScenario, _: IncomingRequest) -> None:
        row = {"play": play.id, "title": play.title, "outcome": play.outcome_by_face[partner.face]}
        journal.write(row | {"at": get_current_time().isoformat(timespec="milliseconds")})

    return ReplyServer(
        _build_reply_forger(partner), choose_scenario, host, port, record_scenario=record_scenario
    )


def _build_reply_forger(partner: HostilePartner) -> ReplyForger:
    signer = read_identity(partner.partner_folder, partner.partner_name).signer
    other_signer = load_signer(
        read_file(partner.partner_folder / f"{partner.other_partner}.key.pem"),
        read_file(partner.partner_folder / f"{partner.other_partner}.cert.pem"),
    )
    stranger = _issue_stranger(signer)
    if partner.face == "soap":
        return AgencyReplyForger(
            load_service_description(partner.wsdl),
            signer,
            other_signer,
            stranger,
            _acknowledge_operation,
            get_current_time,
        )
    return BrokerReplyForger(
        read_membership(partner.partner_folder, partner.partner_name).build_context, other_signer, stranger
    )


def _issue_stranger(signer: Signer) -> Signer:
    """Return a signer with the same subject, certified by an unknown authority."""
    elsewhere = make_authority("CN=Nobody knows it", get_current_time() - _PAST, "p-256")
    order = CertificateOrder(key_kind="p-256")
    return issue_certificate(elsewhere, signer.certificate.subject, get_current_time() - _PAST, order).signer


def _acknowledge_operation(operation: WsdlOperation) -> etree._Element:
    return build_acknowledgment(operation.response, "R-1")
