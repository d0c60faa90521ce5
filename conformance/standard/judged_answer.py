"""Checks of answers, encrypted messages (§4.1.4.5) and messages passed on (§10.1) in ebMS 2.0."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from gateway.client import EBMS2
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.protocols import OpenedMessage, Parcel
from gateway.wire import XENC, canonicalize_element, parse_xml, read_multipart_related
from gateway.xmlsec import STRICT
from gateway_conformance.message_signing import verify_message_signature
from gateway_conformance.standard.message_building import SentMessage
from gateway_conformance.standard.received_message import ReceivedMessage, select_nodes
from gateway_conformance.standard.suite_party import SuiteParty


@dataclass(frozen=True)
class JudgedAnswer:
    """The input of a check: the sent message, the HTTP answer, and the answering message, if there is one.

    `answer` came on the back channel or as a callback. `others` are the other messages that came about the
    sent message; `earlier` has the input of the earlier steps, by the name of the step.
    """

    party: SuiteParty
    sent: SentMessage
    http: ReceivedMessage
    answer: ReceivedMessage | None
    others: tuple[ReceivedMessage, ...] = ()
    earlier: Mapping[str, JudgedAnswer] = field(default_factory=dict)

    @property
    def root(self) -> etree._Element | None:
        """Return the envelope of the answer."""
        return None if self.answer is None else self.answer.root

    def describe_answer(self) -> str:
        """Return the answer in words, or the HTTP answer where no message answers."""
        if self.answer is None:
            return f"{self.http}, and nothing by POST" if self.http.status is not None else str(self.http)
        return f"{self.answer.channel}: {self.answer}"


_CMS: Final = ("application/pkcs7-mime", "application/x-pkcs7-mime")


def _open_answer(judged: JudgedAnswer, answer: ReceivedMessage) -> OpenedMessage:
    """Open a message of the gateway with the keys of the suite; raise GatewayError for a faulty message."""
    headers = {name: answer.headers.get(name.lower(), "") for name in ("Content-Type", "SOAPAction")}
    context = judged.party.build_context(judged.sent.agreement.kind)
    return EBMS2.open_units(Parcel(headers, MemoryBody(answer.body)), context)


def check_opens(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the suite can decrypt the message, and that its signature is of the payloads in clear."""
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    try:
        opened = _open_answer(judged, judged.answer)
    except GatewayError as wrong:
        return f"the suite cannot open it: {wrong.detail}"
    return "" if opened.verified_signature is not None else "it is not signed"


def check_unwrapped(judged: JudgedAnswer, argument: Any) -> str:
    """Check that every payload was encrypted by one of `cipher` and `transport`, the ends of their names."""
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    try:
        opened = _open_answer(judged, judged.answer)
    except GatewayError as wrong:
        return f"the suite cannot open it: {wrong.detail}"
    if not opened.unwrapped_parts:
        return "no payload is encrypted"
    for payload in opened.unwrapped_parts:
        for name, algorithm in (("cipher", payload.cipher), ("transport", payload.transport)):
            allowed = argument.get(name)
            if allowed and not algorithm.endswith(tuple(allowed)):
                return f"the {name} of {payload.content_id[:80]} is {algorithm}"
    return ""


def check_encrypted(judged: JudgedAnswer, argument: Any) -> str:
    """Check that every part besides the envelope is encrypted in that form: ``xml`` or ``cms``."""
    if judged.answer is None or not judged.answer.parts[1:]:
        return f"no message with payloads: {judged.describe_answer()}"
    for part in judged.answer.parts[1:]:
        kind = part.media_type.partition(";")[0].strip().lower()
        good = kind in _CMS if argument == "cms" else _is_encrypted_data(part.content)
        if not good:
            return f"the part {part.content_id[:80]} ({kind[:40]}) is not encrypted as agreed"
    return ""


def _is_encrypted_data(content: bytes) -> bool:
    try:
        return bool(parse_xml(content).tag == f"{{{XENC}}}EncryptedData")
    except GatewayError:
        return False


def check_same_refusal(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the answer has the codes and the words of the refusal of an earlier step."""
    before = judged.earlier[str(argument)].answer
    if judged.answer is None or before is None or not before.error_codes:
        return f"no refusal: {judged.describe_answer()}"
    now, then = (_read_refusal(answer) for answer in (judged.answer, before))
    return "" if now == then else f"it is told apart: {now} and {then}"


def _read_refusal(answer: ReceivedMessage) -> tuple[tuple[str, ...], tuple[str, ...]]:
    texts = select_nodes(answer.root, "//eb:ErrorList//eb:Description/text()")
    return answer.error_codes, tuple(str(text) for text in texts)


def check_signer(judged: JudgedAnswer, argument: Any) -> str:
    """Check that a message has the good signature of a party of the suite: ``suite`` or ``behind``."""
    answer = judged.answer
    if answer is None or answer.root is None:
        return f"no message: {judged.describe_answer()}"
    signer = judged.party.behind if argument == "behind" else judged.sent.agreement.membership.identity.signer
    contents = {part.content_id: part.content for part in answer.parts[1:]}
    try:
        signature = verify_message_signature(deepcopy(answer.root), contents, STRICT)
    except GatewayError as wrong:
        return f"the signature is no longer good: {wrong.detail}"
    good = signer is not None and signature.certificate.sha256 == signer.certificate.sha256
    return "" if good else f"another has signed it: {signature.certificate.subject[:120]}"


def check_same_header(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that eb:MessageHeader is the same as in the sent message."""
    now, then = (_canonicalize_message_header(root) for root in (judged.root, judged.sent.root))
    return "" if now and now == then else "the MessageHeader is not the one that was sent"


def _canonicalize_message_header(root: etree._Element | None) -> bytes:
    headers = select_nodes(root, "/soap:Envelope/soap:Header/eb:MessageHeader")
    return canonicalize_element(headers[0]) if headers else b""


def check_same_parts(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the payloads are those that were sent, with their Content-IDs and octets."""
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    sent = judged.sent.request
    before = read_multipart_related(sent.headers.get("Content-Type", ""), sent.body).attachments
    now = _list_parts(judged.answer)
    return "" if now == [(part.content_id, part.content) for part in before] else "the payloads were changed"


def _list_parts(message: ReceivedMessage) -> list[tuple[str, bytes]]:
    return [(part.content_id, part.content) for part in message.parts[1:]]
