"""Checks of a message that the gateway passed on (ebMS 2.0 §10.1): what is signed stays as it was."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from lxml import etree

from gateway.conformance.standard.judged_answer import Judged
from gateway.conformance.standard.received_message import ReceivedMessage, select_nodes
from gateway.errors import GatewayError
from gateway.wire import canonicalize_element, read_multipart_related
from gateway.xmlsec import STRICT, verify_message_signature

__all__ = ["check_same_header", "check_same_parts", "check_signer"]


def check_signer(judged: Judged, argument: Any) -> str:
    """Check that a message has the good signature of a party of the suite: ``suite`` or ``behind``."""
    answer = judged.answer
    if answer is None or answer.root is None:
        return f"no message: {judged.describe_answer()}"
    signer = judged.party.behind if argument == "behind" else judged.sent.agreement.membership.identity.signer
    contents = {one.content_id: one.content for one in answer.parts[1:]}
    try:
        found = verify_message_signature(deepcopy(answer.root), contents, STRICT)
    except GatewayError as wrong:
        return f"the signature is no longer good: {wrong.detail}"
    good = signer is not None and found.certificate.sha256 == signer.certificate.sha256
    return "" if good else f"another has signed it: {found.certificate.subject[:120]}"


def check_same_header(judged: Judged, argument: Any) -> str:  # noqa: ARG001
    """Check that eb:MessageHeader is the one that was sent."""
    now, then = (_write_header(root) for root in (judged.root, judged.sent.root))
    return "" if now and now == then else "the MessageHeader is not the one that was sent"


def _write_header(root: etree._Element | None) -> bytes:
    found = select_nodes(root, "/soap:Envelope/soap:Header/eb:MessageHeader")
    return canonicalize_element(found[0]) if found else b""


def check_same_parts(judged: Judged, argument: Any) -> str:  # noqa: ARG001
    """Check that the payloads are those that were sent, with their Content-IDs and octets."""
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    sent = judged.sent.request
    before = read_multipart_related(sent.headers.get("Content-Type", ""), sent.body).attachments
    now = _list_parts(judged.answer)
    return "" if now == [(one.content_id, one.content) for one in before] else "the payloads were changed"


def _list_parts(message: ReceivedMessage) -> list[tuple[str, bytes]]:
    return [(one.content_id, one.content) for one in message.parts[1:]]
