"""Signs a composed call, and opens its answer: signature, signer, addressing, content.

The MessageID and Body of a composed call (``service_contracts``) never change. `sign_call` signs
them for one attempt. `open_signed_answer` accepts nothing that the agency did not sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from lxml import etree

from gateway.cases import PartnerAnswer, SignedReply, read_partner_notice
from gateway.delivery.attempt_outcome import CALL_ANSWERS, AnswerKind
from gateway.delivery.http_answer_reader import HttpAnswer, make_status_error
from gateway.delivery.http_client import HttpLimits
from gateway.delivery.service_contracts import ServiceContract, WsdlFile, load_contract
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    PARTNER_FAULT,
    REFUSED_FOR_GOOD,
    REQUEST_INVALID,
    GatewayError,
    confirm_refusal,
    describe_exception,
    raise_resource_problem,
)
from gateway.pki import Certificate, Signer
from gateway.wire import (
    DEFAULT_LIMITS,
    SoapEnvelope,
    SoapFault,
    WireLimits,
    WsdlOperation,
    add_destination,
    is_soap11_type,
    parse_xml,
    read_addressing,
    read_envelope,
    read_fault,
    read_own_element,
    serialize_element,
    unwrap_soap_envelope,
)
from gateway.xmlsec import (
    SignedSoapMessage,
    read_soap_message,
    sign_soap_envelope,
    verify_soap_message,
)

# For these fault codes the partner would answer the same octets in the same way again. Everything else
# may pass: a fault of its own, a clock, a certificate that is not loaded yet. A repeat is signed anew.
_FINAL_FAULT_CODES: Final = frozenset({"Client", "VersionMismatch", "MustUnderstand"})


def read_partner_answer(wrapper: etree._Element) -> PartnerAnswer:
    """Return the content of the response element `wrapper`, which its schema has validated."""
    try:
        return read_partner_notice(wrapper[0][0])
    except (ValueError, OverflowError, ArithmeticError) as problem:
        detail = f"a value of the answer cannot be used: {describe_exception(problem)}"
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "/soap:Envelope/soap:Body") from problem


def make_fault_error(fault: SoapFault, is_authentic: bool) -> GatewayError:
    """Return GW602 for a fault that will be repeated, GW608 for one that may pass.

    An unsigned fault never ends a delivery: anyone may have sent it.
    """
    code_name = fault.code.rpartition("}")[2].rpartition(":")[2].partition(".")[0]
    is_permanent = (
        code_name in _FINAL_FAULT_CODES
        and not fault.code.startswith("{")
        and not fault.code.startswith("wsse:")
    )
    detail = "it answered with a fault" if is_authentic else "it answered with a fault that it did not sign"
    return GatewayError(
        REFUSED_FOR_GOOD if is_permanent and is_authentic else PARTNER_FAULT,
        detail,
        "/soap:Envelope/soap:Body/soap:Fault",
        theirs=f"fault {fault.code[:120]}: {fault.text[:500]}",
    )


#: Checks the certificate that signed an answer; raises GatewayError when it is not the partner's.
SignerCheck = Callable[[Certificate, datetime], None]

_CONTENT_TYPE: Final = "text/xml; charset=utf-8"

#: The largest size, in octets, of an envelope whose tree is small for every content.
_SMALL_ENVELOPE_OCTETS: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """How the answers of one partner are verified.

    With `accepts_unsigned_faults` an unsigned fault counts as sent by the partner. This is only for a
    partner that cannot sign faults, and only over TLS with a pinned certificate. An answer is
    limited by `limits`, as an agency's own call is.
    """

    check_signer: SignerCheck
    accepts_unsigned_faults: bool = False
    limits: WireLimits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class SignedCall:
    """A call signed for one attempt: HTTP headers, body, and the MessageID to which its answer must refer."""

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
) -> SignedCall:
    """Sign the stored `envelope` with a Timestamp of `now`; MessageID and Body stay as they are.

    An envelope that was composed before the partner had an address gets `address` as its ``To``. Raises
    GW504 for a call of another contract, GW102 for one beyond `limits`.
    """
    # We wrote it; a large one is checked as if it came from outside.
    is_small = len(envelope) <= min(_SMALL_ENVELOPE_OCTETS, limits.xml)
    root = read_own_element(envelope) if is_small else parse_xml(envelope, limits)
    stored_envelope = read_envelope(root)
    request_name = str(stored_envelope.body_elements[0].tag) if stored_envelope.body_elements else ""
    operation = contract.description.find_by_request(request_name)
    if operation is None or stored_envelope.header is None:
        raise GatewayError(REQUEST_INVALID, "the stored call is of another contract", contract.wsdl_name)
    addressing = read_addressing(stored_envelope.header)
    if addressing.to is None and address is not None:
        add_destination(stored_envelope.header, address)
    sign_soap_envelope(root, signer, now=now)
    headers = {"Content-Type": _CONTENT_TYPE, "SOAPAction": f'"{addressing.action}"'}
    return SignedCall(addressing.message_id, operation, headers, serialize_element(root))


def open_signed_answer(
    answer: HttpAnswer,
    call: SignedCall,
    contract: ServiceContract,
    answer_policy: AnswerPolicy,
    now: datetime,
) -> tuple[PartnerAnswer, SignedReply]:
    """Return the partner's answer to `call`, and its signed octets with the digest of its certificate.

    The octets are those of the envelope alone, without any packaging around it. They suffice to verify its
    signature again.

    Raises GW608 when another attempt may succeed; GW602 when the partner refuses for good; GW603 when the
    answer is malformed, not the partner's, or relates to another call.
    """
    return confirm_refusal(lambda: _open_answer_once(answer, call, contract, answer_policy, now))


def _open_answer_once(
    answer: HttpAnswer,
    call: SignedCall,
    contract: ServiceContract,
    answer_policy: AnswerPolicy,
    now: datetime,
) -> tuple[PartnerAnswer, SignedReply]:
    """Open the answer as `open_signed_answer` does, but without confirming a refusal."""
    _check_media_type(answer)
    try:
        envelope_octets = unwrap_soap_envelope(
            answer.headers["content-type"], answer.body, answer_policy.limits
        )
        envelope = read_soap_message(envelope_octets, answer_policy.limits)
    except GatewayError as problem:
        raise_resource_problem(problem)
        answer_error = make_unaccepted_answer_error(problem)
        raise (
            make_status_error(answer, answer_error.detail) if answer.status >= 400 else answer_error
        ) from problem
    fault = read_fault(envelope)
    try:
        message = _verify_answer(envelope, call, answer_policy, now)
    except GatewayError as problem:
        raise_resource_problem(problem)
        if fault is not None:
            raise make_fault_error(fault, is_authentic=answer_policy.accepts_unsigned_faults) from problem
        raise
    if fault is not None:
        raise make_fault_error(fault, is_authentic=True)
    if answer.status != 200:
        raise _make_answer_error(f"HTTP status {answer.status} with an answer that is not a fault", "HTTP")
    return _read_operation_answer(message, call, contract), SignedReply(
        envelope_octets, message.certificate.sha256
    )


def _check_media_type(answer: HttpAnswer) -> None:
    """Raise for an answer that is none of SOAP 1.1 by its status or its media type."""
    if CALL_ANSWERS.classify_answer(answer) is AnswerKind.PASSING_ERROR:
        raise make_status_error(answer)
    if not is_soap11_type(answer.headers.get("content-type", "")) or "content-encoding" in answer.headers:
        if answer.status >= 400:
            raise make_status_error(answer)
        raise _make_answer_error("the answer is not text/xml in UTF-8", "Content-Type")


def _verify_answer(
    envelope: SoapEnvelope, call: SignedCall, answer_policy: AnswerPolicy, now: datetime
) -> SignedSoapMessage:
    """Return the signed content of the partner's answer; raise GW603 if it is no answer to `call`."""
    try:
        message = verify_soap_message(
            envelope,
            now=now,
            check_certificate=lambda certificate: answer_policy.check_signer(certificate, now),
            limits=answer_policy.limits,
        )
    except GatewayError as problem:
        raise make_unaccepted_answer_error(problem) from problem
    if message.addressing.relates_to != call.message_id:
        raise _make_answer_error(
            "the answer relates to another call", "/soap:Envelope/soap:Header/wsa:RelatesTo"
        )
    return message


def _read_operation_answer(
    message: SignedSoapMessage, call: SignedCall, contract: ServiceContract
) -> PartnerAnswer:
    """Return the partner's answer in a verified message.

    Raise GW603 unless the action, the element and the schema are those of the called operation.
    """
    signed_elements = message.content
    if message.addressing.action != call.operation.reply_action:
        raise _make_answer_error("the answer has another action", "/soap:Envelope/soap:Header/wsa:Action")
    if len(signed_elements) != 1 or signed_elements[0].tag != call.operation.response:
        raise _make_answer_error(
            f"the answer to {call.operation.name} is another element", "/soap:Envelope/soap:Body"
        )
    try:
        contract.description.schema.validate_element(signed_elements[0])
    except GatewayError as problem:
        raise_resource_problem(problem)
        raise _make_answer_error(problem.detail, problem.location) from problem
    return read_partner_answer(signed_elements[0])


def _make_answer_error(detail: str, location: str) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, detail[:500], location)


def make_unaccepted_answer_error(problem: GatewayError) -> GatewayError:
    """Return GW603 for an answer that is refused for `problem`."""
    return _make_answer_error(f"{problem.problem.id} {problem.detail}", problem.location)


@dataclass(frozen=True, slots=True)
class SoapDestination:
    """A partner's service: its WSDL (a name means a shipped one), its configured address, its rules.

    The address in the WSDL is never used, because a WSDL may come from elsewhere. `http_limits` are the
    limits of this partner alone; None: those of the HTTP client.
    """

    wsdl: WsdlFile | str
    endpoint: str
    answer_policy: AnswerPolicy
    http_limits: HttpLimits | None = None


class CallSender(Protocol):
    """Takes a signed call to its destination and returns the answer."""

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, limits: HttpLimits | None = None
    ) -> HttpAnswer:
        """POST `body`; raises GW601 when no answer arrives in time, GW603 for a malformed one."""


@dataclass(frozen=True, slots=True)
class PostedCall:
    """A call that was made, its destination, and the octets of its answer."""

    call: SignedCall
    answer: HttpAnswer
    destination: SoapDestination


class SoapCaller:
    """Makes attempts: signs, sends, opens the answer; safe to share between threads.

    `signer` returns the key that signs now.
    """

    def __init__(
        self,
        sender: CallSender,
        get_signer: Callable[[], Signer],
        clock: Callable[[], datetime],
    ) -> None:
        self._sender = sender
        self._get_signer = get_signer
        self._clock = clock

    def post_call(self, envelope: bytes, destination: SoapDestination) -> PostedCall:
        """Make one attempt: sign the stored `envelope` anew and send it; the answer is not read yet.

        Raises as `sign_call` does, GW601 when no answer arrives in time, and GW603 for a malformed one.
        """
        contract = load_contract(destination.wsdl)
        call = sign_call(
            envelope,
            contract,
            self._get_signer(),
            self._clock(),
            destination.answer_policy.limits,
            address=destination.endpoint,
        )
        answer = self._sender.post(destination.endpoint, call.headers, call.body, destination.http_limits)
        return PostedCall(call, answer, destination)

    def read_answer(self, posted_call: PostedCall) -> tuple[PartnerAnswer, SignedReply]:
        """Return the answer, and its signed octets with the digest of the accepted certificate.

        Raises as `open_signed_answer` does.
        """
        return open_signed_answer(
            posted_call.answer,
            posted_call.call,
            load_contract(posted_call.destination.wsdl),
            posted_call.destination.answer_policy,
            self._clock(),
        )
