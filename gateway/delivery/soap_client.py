"""Signs a composed call, and opens its answer: signature, signer, addressing, content.

The MessageID and Body of a composed call (``service_contracts``) never change. `sign_call` signs
them for one attempt. `open_signed_answer` accepts nothing that the agency did not sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.cases import PartnerAnswer
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.known_calls import KnownCalls, WrittenCall
from gateway.delivery.service_contracts import ServiceContract
from gateway.delivery.soap_answers import make_fault_error, make_status_error, read_partner_answer
from gateway.errors import ANSWER_NOT_UNDERSTOOD, REQUEST_INVALID, GatewayError
from gateway.pki import Certificate, Signer
from gateway.protocols import SOAP_ANSWERS, EnvelopeMemory, SoapTerms, open_known_soap, remember_soap
from gateway.wire import (
    DEFAULT_LIMITS,
    SOAP11,
    WSA,
    WSSE,
    SoapEnvelope,
    WireLimits,
    WsdlOperation,
    add_destination,
    check_must_understand,
    is_text_xml,
    parse_xml,
    read_addressing,
    read_envelope,
    read_fault,
    read_own_element,
    serialize_element,
)
from gateway.xmlsec import (
    DEFAULT_WINDOW,
    STRICT,
    SignaturePolicy,
    TimestampWindow,
    sign_soap_envelope,
    verify_soap_envelope,
)

__all__ = ["AnswerPolicy", "SignedCall", "SignerCheck", "open_signed_answer", "sign_call"]

#: Checks the certificate that signed an answer; raises GatewayError when it is not the partner's.
SignerCheck = Callable[[Certificate, datetime], None]

_CONTENT_TYPE: Final = "text/xml; charset=utf-8"
_UNDERSTOOD: Final = frozenset(
    {f"{{{WSSE}}}Security"}
    | {f"{{{WSA}}}{name}" for name in ("Action", "MessageID", "To", "RelatesTo", "From")}
)

_FAULT: Final = f"{{{SOAP11}}}Fault"
#: Octets of an envelope whose tree is small, whatever is in it.
_SMALL: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """How the answers of one partner are verified.

    With `unsigned_faults` an unsigned fault counts as sent by the partner. This is only for a
    partner that cannot sign faults, and only over TLS with a pinned certificate. An answer is
    limited by `limits`, as an agency's own call is.
    """

    judge: SignerCheck
    policy: SignaturePolicy = STRICT
    window: TimestampWindow = DEFAULT_WINDOW
    unsigned_faults: bool = False
    limits: WireLimits = DEFAULT_LIMITS

    @property
    def terms(self) -> SoapTerms:
        """Return how the signature of an answer is verified."""
        return SoapTerms(self.policy, self.limits, self.window)


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """What an answer says under a verified signature; whose it is, and to what, is not judged yet."""

    certificate: Certificate
    action: str
    relates_to: str | None
    content: Sequence[etree._Element]


@dataclass(frozen=True, slots=True)
class SignedCall:
    """A call signed for one attempt: HTTP headers and body, and what its answer must refer to."""

    message_id: str
    operation: WsdlOperation
    headers: dict[str, str]
    body: bytes


def sign_call(
    envelope: bytes,
    contract: ServiceContract,
    signer: Signer,
    now: datetime,
    limits: WireLimits = DEFAULT_LIMITS,
    *,
    address: str | None = None,
    known: KnownCalls | None = None,
) -> SignedCall:
    """Sign the stored `envelope` with a Timestamp of `now`; MessageID and Body stay as they are.

    An envelope that was composed before the partner had an address gets `address` as its ``To``. One like
    a call in `known` is signed in less time; others are remembered there.
    """
    small = len(envelope) <= min(_SMALL, limits.xml)
    written = known.sign_call(envelope, signer, now, address) if known is not None and small else None
    operation = None if written is None else contract.description.find_by_request(written.request)
    if written is None or operation is None:
        written, operation = _sign_whole_call(envelope, contract, (signer, now), limits, address)
        if known is not None and small:
            known.remember_call(envelope, written, signer, address)
    headers = {"Content-Type": _CONTENT_TYPE, "SOAPAction": f'"{written.action}"'}
    return SignedCall(written.message_id, operation, headers, written.octets)


def _sign_whole_call(
    envelope: bytes,
    contract: ServiceContract,
    by: tuple[Signer, datetime],
    limits: WireLimits,
    address: str | None,
) -> tuple[WrittenCall, WsdlOperation]:
    """Return the signed call of a stored envelope, and its operation."""
    # We wrote it; a large one is looked at as if it came from outside.
    small = len(envelope) <= min(_SMALL, limits.xml)
    root = read_own_element(envelope) if small else parse_xml(envelope, limits)
    soap = read_envelope(root)
    request = str(soap.body_elements[0].tag) if soap.body_elements else ""
    operation = contract.description.find_by_request(request)
    if operation is None or soap.header is None:
        raise GatewayError(REQUEST_INVALID, "the stored call is of another contract", contract.name)
    addressing = read_addressing(soap.header)
    if addressing.to is None and address is not None:
        add_destination(soap.header, address)
    sign_soap_envelope(root, by[0], now=by[1])
    written = WrittenCall(addressing.message_id, addressing.action, request, serialize_element(root))
    return written, operation


def open_signed_answer(
    answer: HttpAnswer,
    call: SignedCall,
    contract: ServiceContract,
    rules: AnswerPolicy,
    now: datetime,
    memory: EnvelopeMemory[Any] | None = None,
) -> tuple[PartnerAnswer, Certificate]:
    """Return what the partner answered to `call`, and the accepted certificate of its signature.

    Raises GW608 when another attempt may succeed; GW602 when the partner refuses for good; GW603
    when the answer is malformed, not the partner's, or relates to another call. An answer whose
    envelope is like one in `memory` is opened in less time; others are remembered there.
    """
    signed = None if memory is None else _find_known_answer(answer, call, rules, now, memory)
    if signed is not None:
        try:
            rules.judge(signed.certificate, now)
        except GatewayError as problem:
            raise _make_trust_error(problem) from problem
        return _read_operation_answer(signed, call, contract), signed.certificate
    signed = _open_whole_answer(answer, call, rules, now)
    said = _read_operation_answer(signed, call, contract)
    if memory is not None:
        remember_soap(SOAP_ANSWERS, answer.body, signed.certificate, rules.terms, memory)
    return said, signed.certificate


def _find_known_answer(
    answer: HttpAnswer, call: SignedCall, rules: AnswerPolicy, now: datetime, memory: EnvelopeMemory[Any]
) -> SignedAnswer | None:
    """Return the verified answer to `call` if it is like one that was accepted; a fault is not."""
    xml = is_text_xml(answer.headers.get("content-type", ""))
    if answer.status != 200 or not xml or "content-encoding" in answer.headers:
        return None
    known = open_known_soap(SOAP_ANSWERS, answer.body, rules.terms, now, memory)
    if known is None or known.addressing.relates_to != call.message_id:
        return None
    said, content = known.addressing, known.content
    if any(one.tag == _FAULT for one in content):
        return None
    return SignedAnswer(known.certificate, said.action, said.relates_to, content)


def _open_whole_answer(
    answer: HttpAnswer, call: SignedCall, rules: AnswerPolicy, now: datetime
) -> SignedAnswer:
    """Return the verified answer to `call` of its partner."""
    envelope = _read_answer_envelope(answer, rules)
    fault = read_fault(envelope)
    try:
        signed = _verify_answer(envelope, call, rules, now)
    except GatewayError as problem:
        if fault is not None:
            raise make_fault_error(fault, authentic=rules.unsigned_faults) from problem
        raise
    if fault is not None:
        raise make_fault_error(fault, authentic=True)
    if answer.status != 200:
        raise _make_answer_error(f"HTTP status {answer.status} with an answer that is not a fault", "HTTP")
    return signed


def _read_answer_envelope(answer: HttpAnswer, rules: AnswerPolicy) -> SoapEnvelope:
    xml = is_text_xml(answer.headers.get("content-type", ""))
    if answer.status not in (200, 500) and not xml:
        raise make_status_error(answer.status)
    if not xml or "content-encoding" in answer.headers:
        if answer.status >= 400:
            raise make_status_error(answer.status)
        raise _make_answer_error("the answer is not text/xml in UTF-8", "Content-Type")
    try:
        envelope = read_envelope(parse_xml(answer.body, rules.limits, envelope=True))
        check_must_understand(envelope, _UNDERSTOOD)
    except GatewayError as problem:
        if answer.status >= 400:
            raise make_status_error(answer.status) from problem
        raise _make_answer_error(f"{problem.problem.id} {problem.detail}", problem.location) from problem
    if envelope.version != "1.1":
        raise _make_answer_error("the answer is SOAP 1.2", "/soap:Envelope")
    return envelope


def _verify_answer(
    envelope: SoapEnvelope, call: SignedCall, rules: AnswerPolicy, now: datetime
) -> SignedAnswer:
    """Return what the partner signed; raise GW603 for what is not its answer to `call`."""
    try:
        signed = verify_soap_envelope(envelope.root, rules.policy, now=now, window=rules.window)
        rules.judge(signed.certificate, now)
        assert envelope.header is not None, "the signature is in the header"
        said = read_addressing(envelope.header)
    except GatewayError as problem:
        raise _make_trust_error(problem) from problem
    if said.relates_to != call.message_id:
        raise _make_answer_error(
            "the answer relates to another call", "/soap:Envelope/soap:Header/wsa:RelatesTo"
        )
    return SignedAnswer(signed.certificate, said.action, said.relates_to, envelope.body_elements)


def _read_operation_answer(
    signed: SignedAnswer, call: SignedCall, contract: ServiceContract
) -> PartnerAnswer:
    content = signed.content
    if signed.action != call.operation.reply_action:
        raise _make_answer_error("the answer has another action", "/soap:Envelope/soap:Header/wsa:Action")
    if len(content) != 1 or content[0].tag != call.operation.response:
        raise _make_answer_error(
            f"the answer to {call.operation.name} is another element", "/soap:Envelope/soap:Body"
        )
    try:
        contract.description.schema.validate_element(content[0])
    except GatewayError as problem:
        raise _make_answer_error(problem.detail, problem.location) from problem
    return read_partner_answer(content[0])


def _make_answer_error(detail: str, location: str) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, detail[:500], location)


def _make_trust_error(problem: GatewayError) -> GatewayError:
    return _make_answer_error(f"{problem.problem.id} {problem.detail}", problem.location)
