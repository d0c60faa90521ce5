"""Builds what a step sends: a unit, changed before and after it is signed, in the packaging of the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.conformance.hostile import HttpRequest
from gateway.conformance.standard.attempt_replies import make_stranger_signer
from gateway.conformance.standard.message_changes import build_octet_change, fill_placeholders, shift_instant
from gateway.conformance.standard.message_packaging import PackageForm, pack_message
from gateway.conformance.standard.sealed_payloads import seal_payloads
from gateway.conformance.standard.suite_party import SuiteAgreement, SuiteParty
from gateway.conformance.standard.unit_making import SAMPLE_PAYLOAD, UNIT_KEYS, UnitMaker, make_unit
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import Payload, Ping, Pong, StatusResponse, Unit, UserMessage
from gateway.pki import Signer
from gateway.protocols import SOAP_ACTION, build_envelope_tree
from gateway.wire import parse_xml, read_multipart_related, serialize_element
from gateway.xmlsec import sign_message

__all__ = ["MessageBuilder", "SentMessage"]

_FORM_KEYS: Final = frozenset(
    (
        "change",
        "tamper",
        "signed",
        "headers",
        "type",
        "body",
        "package",
        "agreement",
        "again",
        "method",
        "pause",
        "signer",
        "chunked",
        "encrypt",
    )
)


@dataclass(frozen=True)
class SentMessage:
    """What a step sent: the unit before its changes, the request, and the envelope as it was sent."""

    name: str
    unit: Unit
    request: HttpRequest
    root: etree._Element | None
    agreement: SuiteAgreement

    def get_values(self) -> dict[str, str]:
        """Return the variables of XPath expressions: the values of the message."""
        unit = self.unit
        return {
            "id": unit.message_id,
            "conversation": unit.conversation_id,
            "cpa": unit.agreement,
            "from": unit.sender.ids[0].value,
            "from_type": unit.sender.ids[0].type or "",
            "from_role": unit.sender.role or "",
            "to": unit.receiver.ids[0].value,
            "to_type": unit.receiver.ids[0].type or "",
            "to_role": unit.receiver.role or "",
            "about": str(getattr(unit, "about", "")),
        }


@dataclass
class MessageBuilder:
    """Builds the messages of one play, which are one conversation; `sent` has them by step.

    `kind` is the agreement under which they are sent, `action` that of a business message,
    `reply_action` that of one to which the gateway answers by a message of its own.
    """

    party: SuiteParty
    kind: str
    action: str
    conversation: str
    reply_action: str = ""
    payload: bytes = SAMPLE_PAYLOAD
    sent: dict[str, SentMessage] = field(default_factory=dict)

    def build_message(self, name: str, send: Mapping[str, Any]) -> SentMessage:
        """Return the message of a step, and remember it; raises LookupError where the agreement lacks it."""
        if unknown := sorted(set(send) - UNIT_KEYS - _FORM_KEYS):
            raise GatewayError(OUR_MISTAKE, f"a step has no {unknown}", name)
        if "again" in send:
            made = replace(self.sent[send["again"]], name=name)
        else:
            made = self._make_message(name, send)
        self.sent[name] = made
        return made

    def _make_message(self, name: str, send: Mapping[str, Any]) -> SentMessage:
        agreement = self._get_agreement(send.get("agreement", self.kind))
        now, own = self.party.get_current_time(), self.party.make_message_id()
        filled = fill_placeholders(send, lambda what, about: self._get_value(what, about, (now, own)))
        unit = make_unit(self._make_unit_maker(filled, agreement, (now, own)))
        request = self._build_request(unit, agreement, filled)
        return SentMessage(name, unit, request, _read_root(request), agreement)

    def _get_agreement(self, kind: str) -> SuiteAgreement:
        if kind not in self.party.agreements:
            raise LookupError(f"the partner folder has no agreement of the kind {kind}")
        return self.party.agreements[kind]

    def _get_value(self, what: str, about: str, fresh: tuple[datetime, str]) -> str:
        now, own = fresh
        if what in ("now", "later", "past"):
            return shift_instant(now, what)
        if what == "new":
            return self.party.make_message_id()
        if what == "reply":
            return self._get_reply_action()
        if what == "id":
            return self.sent[about].unit.message_id if about else own
        raise GatewayError(OUR_MISTAKE, f"there is no value ${{{what}}}", "requirements")

    def _get_reply_action(self) -> str:
        if not self.reply_action:
            raise LookupError("the profile names no action to which the gateway answers (outbound.reply_to)")
        return self.reply_action

    def _make_unit_maker(
        self, send: Mapping[str, Any], agreement: SuiteAgreement, fresh: tuple[datetime, str]
    ) -> UnitMaker:
        now, own = fresh
        about = str(send.get("about") or self.party.make_message_id())
        action = send.get("action", self.action)
        return UnitMaker(
            pmode=agreement.get_sending_pmode(action),
            send=send,
            message_id=str(send.get("id", own)),
            conversation=str(send.get("conversation", self.conversation)),
            about=self.sent[about].unit.message_id if about in self.sent else about,
            at=now,
            payload=self.payload,
            is_synchronous=agreement.is_synchronous(action),
        )

    def _build_request(self, unit: Unit, agreement: SuiteAgreement, send: Mapping[str, Any]) -> HttpRequest:
        payloads: tuple[Payload, ...] = unit.payloads if isinstance(unit, UserMessage) else ()
        root = self._write_envelope(unit, agreement, send)
        terms = agreement.get_sending_pmode(send.get("action", self.action)).encryption
        payloads = seal_payloads(payloads, send.get("encrypt"), terms, agreement.membership.identity)
        kind, body = pack_message(root, payloads, PackageForm.from_row(send.get("package", {})))
        headers = {
            "SOAPAction": SOAP_ACTION,
            "Content-Type": _change_type(kind, send),
            **send.get("headers", {}),
        }
        shown = {name: value for name, value in headers.items() if value != ""}
        body = _change_body(body, send)
        if send.get("chunked"):
            shown, body = {**shown, "Transfer-Encoding": "chunked"}, _cut_into_chunks(body)
        return HttpRequest("ebms2", shown, body, send.get("method", "POST"))

    def _write_envelope(self, unit: Unit, agreement: SuiteAgreement, send: Mapping[str, Any]) -> bytes:
        """Return the octets of the envelope: changed, signed, changed again."""
        root = serialize_element(build_envelope_tree((unit,)))
        change, tamper = (
            build_octet_change(send.get("change", ())),
            build_octet_change(send.get("tamper", ())),
        )
        root = change(root) if change else root
        if self._is_signed(unit, agreement, send):
            tree = parse_xml(root)
            found = unit.payloads if isinstance(unit, UserMessage) else ()
            contents = {one.content_id: one.content for one in found}
            covered = {} if send.get("signer") == "envelope-only" else contents
            sign_message(tree, covered, self._choose_signer(agreement, send))
            root = serialize_element(tree)
        return tamper(root) if tamper else root

    def _choose_signer(self, agreement: SuiteAgreement, send: Mapping[str, Any]) -> Signer:
        if send.get("signer") == "stranger":
            return make_stranger_signer(self.party.get_current_time().year)
        return agreement.membership.identity.signer

    def _is_signed(self, unit: Unit, agreement: SuiteAgreement, send: Mapping[str, Any]) -> bool:
        pmode = agreement.get_sending_pmode(send.get("action", self.action))
        usual = pmode.security.sign and not isinstance(unit, Ping | Pong | StatusResponse)
        return bool(send.get("signed", usual))


def _change_type(kind: str, send: Mapping[str, Any]) -> str:
    """Return the Content-Type: `type` is a text, or a list of what is replaced and by what."""
    wanted = send.get("type", [])
    if isinstance(wanted, str):
        return wanted
    for old, new in zip(wanted[::2], wanted[1::2], strict=True):
        if old not in kind:
            raise LookupError(f"not in the Content-Type: {old}")
        kind = kind.replace(old, new, 1)
    return kind


def _change_body(body: bytes, send: Mapping[str, Any]) -> bytes:
    for old, new in send.get("body", ()):
        if old.encode() not in body:
            raise LookupError(f"not in the body: {old}")
        body = body.replace(old.encode(), new.encode(), 1)
    return body


def _cut_into_chunks(body: bytes) -> bytes:
    """Return a body in the transfer coding chunked (RFC 9112 §7.1), in uneven chunks."""
    pieces = [body[at : at + 997] for at in range(0, len(body), 997)]
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


def _read_root(request: HttpRequest) -> etree._Element | None:
    """Return the envelope that was sent; None when it was made unreadable."""
    try:
        found = read_multipart_related(request.headers.get("Content-Type", ""), request.body)
        return parse_xml(found.root.content)
    except GatewayError:
        return None
