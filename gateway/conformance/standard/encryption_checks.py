"""Checks of encrypted messages of the gateway (ebMS 2.0 §4.1.4.5), and of how it refuses those of others."""

from __future__ import annotations

from typing import Any, Final

from gateway.conformance.partners import EBMS2
from gateway.conformance.standard.judged_answer import Judged
from gateway.conformance.standard.received_message import ReceivedMessage, select_nodes
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.protocols import OpenedMessage, Parcel
from gateway.wire import XENC, parse_xml

__all__ = ["check_encrypted", "check_opens", "check_same_refusal", "check_unwrapped"]

_CMS: Final = ("application/pkcs7-mime", "application/x-pkcs7-mime")


def _open_answer(judged: Judged, answer: ReceivedMessage) -> OpenedMessage:
    """Open a message of the gateway with the keys of the suite; raise what is wrong with it."""
    headers = {name: answer.headers.get(name.lower(), "") for name in ("Content-Type", "SOAPAction")}
    context = judged.party.build_context(judged.sent.agreement.kind)
    return EBMS2.open(Parcel(headers, MemoryBody(answer.body)), context)


def check_opens(judged: Judged, argument: Any) -> str:  # noqa: ARG001
    """Check that the suite can decrypt the message, and that its signature is of the payloads in clear."""
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    try:
        opened = _open_answer(judged, judged.answer)
    except GatewayError as wrong:
        return f"the suite cannot open it: {wrong.detail}"
    return "" if opened.signed is not None else "it is not signed"


def check_unwrapped(judged: Judged, argument: Any) -> str:
    """Check that every payload was encrypted by one of `cipher` and `transport`, the ends of their names."""
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    try:
        opened = _open_answer(judged, judged.answer)
    except GatewayError as wrong:
        return f"the suite cannot open it: {wrong.detail}"
    if not opened.unwrapped:
        return "no payload is encrypted"
    for one in opened.unwrapped:
        for name, told in (("cipher", one.cipher), ("transport", one.transport)):
            known = argument.get(name)
            if known and not told.endswith(tuple(known)):
                return f"the {name} of {one.content_id[:80]} is {told}"
    return ""


def check_encrypted(judged: Judged, argument: Any) -> str:
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


def check_same_refusal(judged: Judged, argument: Any) -> str:
    """Check that the answer has the codes and the words of the refusal of an earlier step."""
    before = judged.earlier[str(argument)].answer
    if judged.answer is None or before is None or not before.error_codes:
        return f"no refusal: {judged.describe_answer()}"
    now, then = (_read_words(one) for one in (judged.answer, before))
    return "" if now == then else f"it is told apart: {now} and {then}"


def _read_words(answer: ReceivedMessage) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words = select_nodes(answer.root, "//eb:ErrorList//eb:Description/text()")
    return answer.error_codes, tuple(str(one) for one in words)
