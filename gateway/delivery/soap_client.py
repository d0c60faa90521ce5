"""Seals a composed call, and opens what came back: signature, signer, addressing, meaning.

`compose` (``soap_contracts``) makes octets whose MessageID and Body stand for ever; `seal`
signs them for one attempt; `open_answer` believes nothing that the agency did not sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.cases.notices import Answer
from gateway.delivery.http import HttpAnswer
from gateway.delivery.soap_answers import problem_of_fault, problem_of_status, read_answer
from gateway.delivery.soap_contracts import Contract
from gateway.errors import ANSWER_NOT_UNDERSTOOD, REQUEST_INVALID, GatewayError
from gateway.pki.certificates import Certificate
from gateway.pki.keys import Signer
from gateway.wire.addressing import read_addressing
from gateway.wire.fields import is_text_xml
from gateway.wire.namespaces import WSA, WSSE
from gateway.wire.prescan import DEFAULT_LIMITS, Limits
from gateway.wire.soap import Envelope, read_envelope, read_fault, require_understood
from gateway.wire.wsdl import Operation
from gateway.wire.xml import parse_xml, serialize
from gateway.xmlsec.algorithms import STRICT, SignaturePolicy
from gateway.xmlsec.wss import DEFAULT_WINDOW, Window, sign_request, verify_request

__all__ = ["AnswerRules", "Judge", "SealedCall", "open_answer", "seal"]

#: Judges the certificate that signed an answer; raises GatewayError when it is not the partner's.
Judge = Callable[[Certificate, datetime], None]

_CONTENT_TYPE: Final = "text/xml; charset=utf-8"
_UNDERSTOOD: Final = frozenset(
    {f"{{{WSSE}}}Security"}
    | {f"{{{WSA}}}{name}" for name in ("Action", "MessageID", "To", "RelatesTo", "From")}
)


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """How answers of one partner are judged.

    With `unsigned_faults` a fault that is not signed counts as the partner's own word; only
    for one that cannot sign faults, and only over TLS with a pinned certificate.  An answer is
    bounded by `limits` as an agency's own call is.
    """

    judge: Judge
    policy: SignaturePolicy = STRICT
    window: Window = DEFAULT_WINDOW
    unsigned_faults: bool = False
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class SealedCall:
    """A call signed for one attempt: HTTP headers and body, and what its answer must refer to."""

    message_id: str
    operation: Operation
    headers: dict[str, str]
    body: bytes


def seal(
    envelope: bytes, contract: Contract, signer: Signer, now: datetime, limits: Limits = DEFAULT_LIMITS
) -> SealedCall:
    """Sign the stored `envelope` with a Timestamp of `now`; MessageID and Body stay as they are."""
    root = parse_xml(envelope, limits)
    soap = read_envelope(root)
    operation = contract.description.by_request(str(soap.content[0].tag)) if soap.content else None
    if operation is None or soap.header is None:
        raise GatewayError(REQUEST_INVALID, "the stored call is of another contract", contract.name)
    addressing = read_addressing(soap.header)
    sign_request(root, signer, now=now)
    headers = {"Content-Type": _CONTENT_TYPE, "SOAPAction": f'"{addressing.action}"'}
    return SealedCall(addressing.message_id, operation, headers, serialize(root))


def open_answer(
    answer: HttpAnswer, call: SealedCall, contract: Contract, rules: AnswerRules, now: datetime
) -> Answer:
    """Return what the partner answered to `call`.

    Raises GW601 when another attempt may do better, GW602 when the partner refuses for
    good, GW603 when the answer is not one, is not the partner's or answers another call.
    """
    envelope = _envelope(answer, rules)
    fault = read_fault(envelope)
    problem = _distrust(envelope, call, rules, now)
    if fault is not None:
        raise problem_of_fault(fault, authentic=problem is None or rules.unsigned_faults)
    if problem is not None:
        raise problem
    if answer.status != 200:
        raise _strange(f"HTTP status {answer.status} with an answer that is no fault", "HTTP")
    return _meaning(envelope, call, contract)


def _envelope(answer: HttpAnswer, rules: AnswerRules) -> Envelope:
    xml = is_text_xml(answer.headers.get("content-type", ""))
    if answer.status not in (200, 500) and not xml:
        raise problem_of_status(answer.status)
    if not xml or "content-encoding" in answer.headers:
        if answer.status >= 400:
            raise problem_of_status(answer.status)
        raise _strange("the answer is not text/xml in UTF-8", "Content-Type")
    try:
        envelope = read_envelope(parse_xml(answer.body, rules.limits, envelope=True))
        require_understood(envelope, _UNDERSTOOD)
    except GatewayError as problem:
        if answer.status >= 400:
            raise problem_of_status(answer.status) from problem
        raise _strange(f"{problem.problem.id} {problem.detail}", problem.location) from problem
    if envelope.version != "1.1":
        raise _strange("the answer is SOAP 1.2", "/soap:Envelope")
    return envelope


def _distrust(envelope: Envelope, call: SealedCall, rules: AnswerRules, now: datetime) -> GatewayError | None:
    """Return why this is not the partner's answer to `call`, None when it is."""
    try:
        signed = verify_request(envelope.root, rules.policy, now=now, window=rules.window)
        rules.judge(signed.certificate, now)
        if envelope.header is None:
            return _strange("the answer has no addressing", "/soap:Envelope")
        related = read_addressing(envelope.header).relates_to
    except GatewayError as problem:
        return _strange(f"{problem.problem.id} {problem.detail}", problem.location)
    if related != call.message_id:
        return _strange("the answer relates to another call", "/soap:Envelope/soap:Header/wsa:RelatesTo")
    return None


def _meaning(envelope: Envelope, call: SealedCall, contract: Contract) -> Answer:
    content = envelope.content
    if envelope.header is None or read_addressing(envelope.header).action != call.operation.reply_action:
        raise _strange("the answer has another action", "/soap:Envelope/soap:Header/wsa:Action")
    if len(content) != 1 or content[0].tag != call.operation.response:
        raise _strange(f"the answer to {call.operation.name} is another element", "/soap:Envelope/soap:Body")
    try:
        contract.description.schema.check(content[0])
    except GatewayError as problem:
        raise _strange(problem.detail, problem.location) from problem
    return read_answer(content[0])


def _strange(detail: str, location: str) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, detail[:500], location)
