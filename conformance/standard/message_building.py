"""Builds the message of a step: a unit, changed before and after it is signed, in the packaging of the row.

A row describes changes by the name of the operation: ``{text: [//eb:Action, Nothing]}`` gives an element
another text. Values may have placeholders: ``${now}``, ``${later}``, ``${past}``, ``${id}``, ``${id:STEP}``,
``${new}``.

The writer of the gateway always packs in one way. A receiver must read all others too, so the suite has a
writer of its own (ebMS 2.0 §2.1).
"""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import Payload, Ping, Pong, StatusResponse, Unit, UserMessage
from gateway.pki import Signer
from gateway.protocols import SOAP_ACTION, build_envelope_tree
from gateway.wire import format_instant, parse_xml, read_multipart_related, serialize_element
from gateway_conformance.hostile import (
    HttpRequest,
    OctetMutation,
    TreeMutation,
    append_element,
    duplicate_element,
    encode_chunked,
    expand_name,
    get_element,
    insert_after,
    insert_element,
    make_first_child,
    move_element,
    mutate_tree,
    parse_element,
    remove_attribute,
    remove_element,
    rename_element,
    set_attribute,
    set_text,
    swap_octets,
)
from gateway_conformance.message_signing import sign_message
from gateway_conformance.partner_files import make_stranger
from gateway_conformance.standard.suite_party import SuiteAgreement, SuiteParty
from gateway_conformance.standard.unit_making import (
    SAMPLE_PAYLOAD,
    UNIT_KEYS,
    UnitMaker,
    make_unit,
    seal_payloads,
)

_PLACEHOLDER: Final = re.compile(r"\$\{([a-z]+)(?::([A-Za-z0-9_-]+))?\}")
#: Returns the value of a placeholder and its argument.
Values = Callable[[str, str], str]


def shift_instant(now: datetime, name: str) -> str:
    """Return the text of ``now``, ``later`` (an hour), ``past`` (an hour ago)."""
    hours = {"now": 0, "later": 1, "past": -1}[name]
    return format_instant(now + timedelta(hours=hours), "seconds")


def fill_placeholders(value: Any, values: Values) -> Any:
    """Return `value`, a text or lists and mappings of texts, with its placeholders filled."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: values(match[1], match[2] or ""), value)
    if isinstance(value, Mapping):
        return {name: fill_placeholders(entry, values) for name, entry in value.items()}
    if isinstance(value, Sequence):
        return [fill_placeholders(entry, values) for entry in value]
    return value


def build_octet_change(rows: Sequence[Mapping[str, Any]]) -> OctetMutation | None:
    """Return all changes of a list as one change of the octets of an envelope; None for none."""
    if not rows:
        return None
    changes = [_build_operation_change(*_split_operation(row)) for row in rows]

    def change_octets(data: bytes) -> bytes:
        for change in changes:
            data = change(data)
        return data

    return change_octets


def _split_operation(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    ((name, argument),) = row.items()
    return name, [str(text) for text in (argument if isinstance(argument, list) else [argument])]


def _build_operation_change(operation: str, arguments: list[str]) -> OctetMutation:
    if operation == "swap":
        return lambda data: re.sub(
            rb"(?<=[ </])" + re.escape(arguments[0].encode()), arguments[1].encode(), data
        )
    if operation == "octets":
        return swap_octets(arguments[0], arguments[1])
    if operation == "encode":
        return lambda data: data.decode("utf-8").encode(arguments[0])
    if operation == "prefix":
        return lambda data: arguments[0].encode("utf-8") + data
    if operation not in _OPERATIONS:
        raise GatewayError(OUR_MISTAKE, f"{operation!r} changes nothing", "requirements")
    return mutate_tree(_OPERATIONS[operation](*arguments))


def _move_first(path: str) -> TreeMutation:
    """Return the change that makes an element the first child of its parent."""

    def alter_tree(root: etree._Element) -> None:
        element = get_element(root, path)
        parent = element.getparent()
        if parent is None:
            raise LookupError(f"{path} has no parent")
        make_first_child(parent, element)

    return alter_tree


def _insert_before(path: str, text: str) -> TreeMutation:
    return lambda root: get_element(root, path).addprevious(parse_element(text))


_OPERATIONS: Final[Mapping[str, Callable[..., TreeMutation]]] = {
    "text": set_text,
    "set": set_attribute,
    "unset": remove_attribute,
    "remove": remove_element,
    "append": append_element,
    "insert": insert_element,
    "after": insert_after,
    "before": _insert_before,
    "rename": lambda path, name: rename_element(path, expand_name(name)),
    "repeat": duplicate_element,
    "move": move_element,
    "first": _move_first,
    "indent": lambda *_: etree.indent,
}


_BOUNDARY: Final = "=-suite-boundary"


@dataclass(frozen=True, slots=True)
class PackageOptions:
    """The packaging of a message; the default is the packaging of a careful sender.

    `multipart` False sends the bare envelope, None only where there is no payload. `start` and `kind`
    say whether these parameters are present. `root_last` puts the envelope behind the payloads. `encode`
    and `root_encode` are transfer codings of payloads and envelope.
    """

    multipart: bool | None = None
    start: bool = True
    kind: bool = True
    root_type: str = "text/xml; charset=UTF-8"
    root_id: str = "<root@suite.example>"
    root_last: bool = False
    reversed: bool = False
    boundary: str = _BOUNDARY
    encode: str = ""
    root_encode: str = ""
    part_headers: Mapping[str, str] = field(default_factory=dict)
    root_headers: Mapping[str, str] = field(default_factory=dict)
    preamble: str = ""
    epilogue: str = ""
    brackets: bool = True
    lower_case: bool = False
    drop_parts: bool = False
    more_parameters: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> PackageOptions:
        """Return the form that a row describes; raise GW901 for a name that there is not."""
        allowed = {field.name for field in fields(cls)}
        if unknown := sorted(set(row) - allowed):
            raise GatewayError(OUR_MISTAKE, f"packages have no {unknown}", "requirements")
        return cls(**row)


def pack_message(root: bytes, payloads: Sequence[Payload], options: PackageOptions) -> tuple[str, bytes]:
    """Return Content-Type and octets of the HTTP body."""
    if not options.multipart and (options.multipart is False or not payloads):
        return options.root_type, root
    parts = [] if options.drop_parts else [_write_payload(payload, options) for payload in payloads]
    if options.reversed:
        parts.reverse()
    at = len(parts) if options.root_last else 0
    parts.insert(at, _write_root(root, options))
    marker = b"--" + options.boundary.encode()
    body = b"".join(marker + b"\r\n" + part + b"\r\n" for part in parts)
    preamble = options.preamble.encode() + b"\r\n" if options.preamble else b""
    return _write_content_type(options), preamble + body + marker + b"--\r\n" + options.epilogue.encode()


def _write_content_type(options: PackageOptions) -> str:
    kind = '; type="text/xml"' if options.kind else ""
    start = f'; start="{options.root_id}"' if options.start else ""
    return f'multipart/related{kind}{start}; boundary="{options.boundary}"{options.more_parameters}'


def _write_root(root: bytes, options: PackageOptions) -> bytes:
    headers = {
        "Content-Type": options.root_type,
        "Content-ID": options.root_id,
        **options.root_headers,
    }
    return _write_part(headers, root, options.root_encode, options)


def _write_payload(payload: Payload, options: PackageOptions) -> bytes:
    name = f"<{payload.content_id}>" if options.brackets else payload.content_id
    headers = {"Content-Type": payload.media_type, "Content-ID": name, **options.part_headers}
    return _write_part(headers, payload.content, options.encode, options)


def _write_part(headers: Mapping[str, str], content: bytes, coding: str, options: PackageOptions) -> bytes:
    if coding:
        headers = {**headers, "Content-Transfer-Encoding": coding}
        content = _encode_content(content, coding.lower())
    lines = (
        f"{name.lower() if options.lower_case else name}: {value}\r\n" for name, value in headers.items()
    )
    return "".join(lines).encode() + b"\r\n" + content


def _encode_content(content: bytes, coding: str) -> bytes:
    """Return the content in a transfer coding; binary, 8bit and 7bit change nothing."""
    if coding == "base64":
        return base64.encodebytes(content).replace(b"\n", b"\r\n")
    if coding == "quoted-printable":
        return quopri.encodestring(content).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return content


_MESSAGE_KEYS: Final = frozenset(
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
    """The message of a step: the unit before its changes, the request, and the envelope as it was sent."""

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
            "about": str(getattr(unit, "queried_message_id", "")),
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

    def build_message(self, step_name: str, message_row: Mapping[str, Any]) -> SentMessage:
        """Return the message of a step, and remember it; raises LookupError where the agreement lacks it."""
        if unknown := sorted(set(message_row) - UNIT_KEYS - _MESSAGE_KEYS):
            raise GatewayError(OUR_MISTAKE, f"a step has no {unknown}", step_name)
        if "again" in message_row:
            message = replace(self.sent[message_row["again"]], name=step_name)
        else:
            message = self._make_message(step_name, message_row)
        self.sent[step_name] = message
        return message

    def _make_message(self, step_name: str, message_row: Mapping[str, Any]) -> SentMessage:
        agreement = self._get_agreement(message_row.get("agreement", self.kind))
        now, fresh_id = self.party.get_current_time(), self.party.make_message_id()
        filled = fill_placeholders(message_row, lambda kind, step: self._get_value(kind, step, now, fresh_id))
        unit = make_unit(self._make_unit_maker(filled, agreement, now, fresh_id))
        request = self._build_request(unit, agreement, filled)
        return SentMessage(step_name, unit, request, _read_root(request), agreement)

    def _get_agreement(self, kind: str) -> SuiteAgreement:
        if kind not in self.party.agreements:
            raise LookupError(f"the partner folder has no agreement of the kind {kind}")
        return self.party.agreements[kind]

    def _get_value(self, placeholder_name: str, step_name: str, now: datetime, fresh_id: str) -> str:
        if placeholder_name in ("now", "later", "past"):
            return shift_instant(now, placeholder_name)
        if placeholder_name == "new":
            return self.party.make_message_id()
        if placeholder_name == "reply":
            return self._get_reply_action()
        if placeholder_name == "id":
            return self.sent[step_name].unit.message_id if step_name else fresh_id
        raise GatewayError(OUR_MISTAKE, f"there is no value ${{{placeholder_name}}}", "requirements")

    def _get_reply_action(self) -> str:
        if not self.reply_action:
            raise LookupError("the profile names no action to which the gateway answers (outbound.reply_to)")
        return self.reply_action

    def _make_unit_maker(
        self, message_row: Mapping[str, Any], agreement: SuiteAgreement, now: datetime, fresh_id: str
    ) -> UnitMaker:
        subject = str(message_row.get("about") or self.party.make_message_id())
        action = message_row.get("action", self.action)
        return UnitMaker(
            pmode=agreement.get_sending_pmode(action),
            send=message_row,
            message_id=str(message_row.get("id", fresh_id)),
            conversation=str(message_row.get("conversation", self.conversation)),
            ref_to_message_id=self.sent[subject].unit.message_id if subject in self.sent else subject,
            at=now,
            payload=self.payload,
            is_synchronous=agreement.is_synchronous(action),
        )

    def _build_request(
        self, unit: Unit, agreement: SuiteAgreement, message_row: Mapping[str, Any]
    ) -> HttpRequest:
        payloads: tuple[Payload, ...] = unit.payloads if isinstance(unit, UserMessage) else ()
        root = self._write_envelope(unit, agreement, message_row)
        terms = agreement.get_sending_pmode(message_row.get("action", self.action)).encryption
        payloads = seal_payloads(payloads, message_row.get("encrypt"), terms, agreement.membership.identity)
        kind, body = pack_message(root, payloads, PackageOptions.from_row(message_row.get("package", {})))
        headers = {
            "SOAPAction": SOAP_ACTION,
            "Content-Type": _change_content_type(kind, message_row),
            **message_row.get("headers", {}),
        }
        fields = {name: value for name, value in headers.items() if value != ""}
        body = _change_body(body, message_row)
        if message_row.get("chunked"):
            fields, body = {**fields, "Transfer-Encoding": "chunked"}, encode_chunked(body, 997)
        return HttpRequest("ebms2", fields, body, message_row.get("method", "POST"))

    def _write_envelope(self, unit: Unit, agreement: SuiteAgreement, message_row: Mapping[str, Any]) -> bytes:
        """Return the octets of the envelope: changed, signed, changed again."""
        root = serialize_element(build_envelope_tree((unit,)))
        change, tamper = (
            build_octet_change(message_row.get("change", ())),
            build_octet_change(message_row.get("tamper", ())),
        )
        root = change(root) if change else root
        if self._is_signed(unit, agreement, message_row):
            tree = parse_xml(root)
            payloads = unit.payloads if isinstance(unit, UserMessage) else ()
            contents = {payload.content_id: payload.content for payload in payloads}
            covered = {} if message_row.get("signer") == "envelope-only" else contents
            sign_message(tree, covered, self._choose_signer(agreement, message_row))
            root = serialize_element(tree)
        return tamper(root) if tamper else root

    def _choose_signer(self, agreement: SuiteAgreement, message_row: Mapping[str, Any]) -> Signer:
        if message_row.get("signer") == "stranger":
            return make_stranger(self.party.get_current_time().year).signer
        return agreement.membership.identity.signer

    def _is_signed(self, unit: Unit, agreement: SuiteAgreement, message_row: Mapping[str, Any]) -> bool:
        pmode = agreement.get_sending_pmode(message_row.get("action", self.action))
        usual = pmode.security.sign and not isinstance(unit, Ping | Pong | StatusResponse)
        return bool(message_row.get("signed", usual))


def _change_content_type(header_value: str, message_row: Mapping[str, Any]) -> str:
    """Return the Content-Type: `type` is a text, or a list in which each old text precedes its new text."""
    content_type = message_row.get("type", [])
    if isinstance(content_type, str):
        return content_type
    for old, new in zip(content_type[::2], content_type[1::2], strict=True):
        if old not in header_value:
            raise LookupError(f"not in the Content-Type: {old}")
        header_value = header_value.replace(old, new, 1)
    return header_value


def _change_body(body: bytes, message_row: Mapping[str, Any]) -> bytes:
    for old, new in message_row.get("body", ()):
        if old.encode() not in body:
            raise LookupError(f"not in the body: {old}")
        body = body.replace(old.encode(), new.encode(), 1)
    return body


def _read_root(request: HttpRequest) -> etree._Element | None:
    """Return the envelope that was sent; None when it was made unreadable."""
    try:
        related = read_multipart_related(request.headers.get("Content-Type", ""), request.body)
        return parse_xml(related.root.content)
    except GatewayError:
        return None
