"""Checks of an answer, by the names that the tables use.

A check takes the sent message with its answers, and an argument; it returns the fault, or an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.share import get_data_folder
from gateway.wire import DS, EB, SchemaSet, canonicalize_element, parse_instant
from gateway.xmlsec import STRICT
from gateway_conformance.message_signing import verify_message_signature
from gateway_conformance.standard.judged_answer import (
    JudgedAnswer,
    check_encrypted,
    check_opens,
    check_same_header,
    check_same_parts,
    check_same_refusal,
    check_signer,
    check_unwrapped,
)
from gateway_conformance.standard.received_message import ReceivedMessage, find_text, select_nodes

_SERVICE: Final = "urn:oasis:names:tc:ebxml-msg:service"
_HEADER_CODES: Final = ("Inconsistent", "OtherXml", "ValueNotRecognized")
#: Names of sets of codes, where ebMS 2.0 leaves the choice to the receiver.
_CODE_SETS: Final[Mapping[str, tuple[str, ...]]] = {"header": _HEADER_CODES}
_MESSAGE_ID: Final = re.compile(r"[^\s<>@]+@[^\s<>@]+")
_UNRESERVED: Final = "@!$&'()*+,;=:-._~/"
_NEAR: Final = timedelta(minutes=10)


Check = Callable[[JudgedAnswer, Any], str]


def run_check(judged: JudgedAnswer, check_name: str, argument: Any) -> str:
    """Return the fault that a check finds, or an empty text; raise GW901 for a check that does not exist."""
    if check_name not in CHECKS:
        raise GatewayError(OUR_MISTAKE, f"there is no check {check_name!r}", "requirements")
    return CHECKS[check_name](judged, argument)


def _check_acknowledged(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the answer acknowledges the sent message and, without ``unsigned``, that it is signed."""
    answer = judged.answer
    if answer is None or answer.action != "Acknowledgment" or answer.error_codes:
        return f"no Acknowledgment: {judged.describe_answer()}"
    message_id = find_text(answer.root, "//eb:Acknowledgment/eb:RefToMessageId")
    if message_id != judged.sent.unit.message_id:
        return f"the Acknowledgment is of {message_id[:80]!r}"
    if argument == "unsigned":
        return ""
    return find_signature_problem(judged, answer)


def _check_refused(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the answer is an ErrorList with one of the codes, about the sent message."""
    codes = _expand_codes(argument)
    answer = judged.answer
    if answer is None or not answer.error_codes:
        return f"no ErrorList of severity Error: {judged.describe_answer()}"
    if answer.ref_to not in ("", judged.sent.unit.message_id):
        return f"the MessageError is about {answer.ref_to[:80]!r}"
    if codes and not set(answer.error_codes) & set(codes):
        return f"another errorCode: {answer}"
    return ""


def _expand_codes(argument: Any) -> tuple[str, ...]:
    if argument is None:
        return ()
    names = argument if isinstance(argument, list) else [argument]
    return tuple(code for name in names for code in _CODE_SETS.get(str(name), (str(name),)))


def _check_fault(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the HTTP answer is a SOAP fault with one of the codes."""
    names = argument if isinstance(argument, list) else [argument]
    if judged.http.fault in names:
        return ""
    return f"no SOAP fault {'/'.join(names)}: {judged.describe_answer()}"


def _check_rejected(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the message is refused by one of: `codes` of an ErrorList, `faults`, `http` statuses."""
    row = argument or {}
    if judged.answer is not None and judged.answer.error_codes:
        return _check_refused(judged, row["codes"]) if "codes" in row else ""
    if judged.http.fault:
        allowed = row.get("faults", ["Client"])
        return "" if judged.http.fault in allowed else f"another SOAP fault: {judged.http}"
    if judged.http.root is None and judged.http.status in row.get("http", ()):
        return ""
    return f"not refused: {judged.describe_answer()}"


def _check_silence(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that nothing answers: a status 2xx without a message, and no POST."""
    if judged.answer is not None or judged.others:
        return f"it was answered: {judged.describe_answer()}"
    if judged.http.body.strip():
        return f"the HTTP answer has a body: {judged.http}"
    return "" if judged.http.status is not None and 200 <= judged.http.status < 300 else f"{judged.http}"


def _check_not_refused(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the message is taken: a status 2xx without ErrorList and fault."""
    if judged.answer is not None and judged.answer.error_codes:
        return f"refused: {judged.describe_answer()}"
    if judged.http.fault or judged.http.status is None or not 200 <= judged.http.status < 300:
        return f"refused: {judged.http}"
    return ""


def _check_answered(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the answer is a message with the Action `argument`, about the sent message."""
    answer = judged.answer
    if answer is None or answer.action != argument:
        return f"no {argument}: {judged.describe_answer()}"
    if answer.ref_to != judged.sent.unit.message_id:
        return f"the {argument} is about {answer.ref_to[:80]!r}, not about {judged.sent.unit.message_id}"
    return ""


def _check_status(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the answer is a StatusResponse with one of the values of messageStatus."""
    wrong = _check_answered(judged, "StatusResponse")
    status = find_text(judged.root, "//eb:StatusResponse/@eb:messageStatus")
    names = argument if isinstance(argument, list) else [argument]
    return wrong or ("" if status in names else f"messageStatus is {status[:40]!r}, not {'/'.join(names)}")


def _check_xpath(judged: JudgedAnswer, argument: Any) -> str:
    """Check that an XPath over the answer is true; its variables are the values of the sent message."""
    if judged.root is None:
        return f"no message: {judged.describe_answer()}"
    if select_nodes(judged.root, f"boolean({argument})", judged.sent.get_values()):
        return ""
    return f"not true of the answer: {argument}"


def _check_http_status(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the HTTP answer has one of the statuses."""
    allowed = argument if isinstance(argument, list) else [argument]
    return "" if judged.http.status in allowed else f"HTTP status {judged.http.status}, not {allowed}"


def _check_http_header(judged: JudgedAnswer, argument: Any) -> str:
    """Check that a header field of the message that answers matches a pattern."""
    name, pattern = argument
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    value = judged.answer.headers.get(str(name).lower(), "")
    return "" if re.fullmatch(str(pattern), value) else f"{name} is {value[:120]!r}"


def _check_answer_channel(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the answer came on the ``back channel``, or as a ``callback``."""
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    return "" if judged.answer.channel == argument else f"the answer came by {judged.answer.channel}"


def _check_schema(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the envelope and every element of ebMS 2.0 in it is valid by its schema."""
    if judged.root is None:
        return f"no message: {judged.describe_answer()}"
    folder = get_data_folder("xsd")
    soap = SchemaSet.load_cached(folder, "soap/envelope-1.1.xsd").list_violations(judged.root)
    blocks = select_nodes(judged.root, f"/soap:Envelope/*/*[namespace-uri()='{EB}']")
    schema = SchemaSet.load_cached(folder, "ebms2/msg-header-2_0.xsd")
    violations = [
        *soap,
        *(violation for block in blocks for violation in schema.list_violations(deepcopy(block))),
    ]
    return (
        ""
        if blocks and not violations
        else f"not valid: {violations[0].message if violations else 'no block of ebMS'}"
    )


def _check_signature(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the answer is signed by the gateway over everything, and the signature is good."""
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    return find_signature_problem(judged, judged.answer)


def find_signature_problem(judged: JudgedAnswer, answer: ReceivedMessage) -> str:
    """Return the fault of the signature of a message of the gateway; an empty text if there is none."""
    if answer.root is None:
        return "no envelope"
    identity = judged.sent.agreement.membership.identity
    contents = {part.content_id: part.content for part in answer.parts[1:]}
    try:
        # A copy: the verifier may remove comments from the tree.
        signed = verify_message_signature(deepcopy(answer.root), contents, STRICT)
        identity.verify_hub_certificate(signed.certificate, datetime.now(UTC), "ds:Signature")
    except GatewayError as wrong:
        return f"the signature is not good: {wrong.detail}"
    return ""


def _check_references(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the Acknowledgment repeats every ds:Reference of the sent message, and no other."""
    sent = _list_references(judged.sent.root, "//ds:SignedInfo/ds:Reference")
    acknowledged = _list_references(judged.root, "//eb:Acknowledgment/ds:Reference")
    if not acknowledged:
        return f"no ds:Reference: {judged.describe_answer()}"
    return "" if sorted(sent) == sorted(acknowledged) else "the references are not those that were signed"


def _list_references(root: etree._Element | None, path: str) -> list[tuple[str, ...]]:
    """Return each reference as URI, transforms with their parameters, digest method and value."""
    return [_summarize_reference(node) for node in select_nodes(root, path)]


def _summarize_reference(reference: etree._Element) -> tuple[str, ...]:
    transforms = [
        f"{node.get('Algorithm')} {' '.join(''.join(str(text) for text in node.itertext()).split())}"
        for node in reference.iterfind(f"{{{DS}}}Transforms/{{{DS}}}Transform")
    ]
    method = reference.find(f"{{{DS}}}DigestMethod")
    value = reference.findtext(f"{{{DS}}}DigestValue", "")
    algorithm = "" if method is None else method.get("Algorithm", "")
    return (reference.get("URI", "absent"), *transforms, algorithm, "".join(value.split()))


def _check_same_octets(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the answer has the octets of the answer to an earlier step."""
    before = judged.earlier[str(argument)].answer
    if judged.answer is None or before is None:
        return f"no message: {judged.describe_answer()}"
    same = judged.answer.root is not None and before.root is not None and judged.answer.body == before.body
    return "" if same else "the octets are not those of the first answer"


def _check_same_acknowledgment(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the answer says the same as that to an earlier step about the same message."""
    before = judged.earlier[str(argument)].answer
    first = None if before is None else before.root
    path = "//eb:Acknowledgment/eb:RefToMessageId"
    if judged.root is None or find_text(judged.root, path) != find_text(first, path):
        return f"not the Acknowledgment of before: {judged.describe_answer()}"
    now, then = (_list_references(root, "//eb:Acknowledgment/ds:Reference") for root in (judged.root, first))
    return "" if now == then else "it repeats other digests than before"


def _check_other_id(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the answer has another MessageId than the answer to an earlier step."""
    before = judged.earlier[str(argument)].answer
    if judged.answer is None or before is None or not judged.answer.message_id:
        return f"no message: {judged.describe_answer()}"
    return "" if judged.answer.message_id != before.message_id else "two messages have one MessageId"


def _check_instant(judged: JudgedAnswer, argument: Any) -> str:
    """Check that a time in the answer is an xs:dateTime in UTC (Z), near to now."""
    text = find_text(judged.root, str(argument))
    if not text.endswith("Z"):
        return f"{text[:60]!r} at {argument} is not a time in UTC"
    try:
        at = parse_instant(text)
    except (ValueError, GatewayError):
        return f"{text[:60]!r} at {argument} is no xs:dateTime"
    away = abs(at - datetime.now(UTC))
    return "" if away < _NEAR else f"{text} is {away} away from now"


def _check_message_id(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the MessageId of the answer has the form of RFC 2822, without angle brackets."""
    message_id = "" if judged.answer is None else judged.answer.message_id
    return "" if _MESSAGE_ID.fullmatch(message_id) else f"the MessageId is {message_id[:120]!r}"


def _check_new_id(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the answer has a MessageId of its own."""
    message_id = "" if judged.answer is None else judged.answer.message_id
    return (
        ""
        if message_id and message_id != judged.sent.unit.message_id
        else f"the MessageId is {message_id[:120]!r}"
    )


def _check_no_traces(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that no text of the answer has a trace of the program."""
    traces = (b"Traceback (most recent call last)", b"\n\tat java.", b".java:", b"Exception in thread")
    present = [trace for trace in traces if trace in judged.http.body]
    return f"the answer has {present[0]!r}" if present else ""


def _check_in_time(judged: JudgedAnswer, argument: Any) -> str:
    """Check that the HTTP answer came within that number of seconds."""
    good = judged.http.seconds <= float(argument)
    return "" if good else f"the answer took {judged.http.seconds:.1f} s"


def _check_canonical(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the octets of SignedInfo say C14N 1.0, which ebMS 2.0 asks for."""
    methods = select_nodes(judged.root, "//ds:SignedInfo/ds:CanonicalizationMethod/@Algorithm")
    good = methods == ["http://www.w3.org/TR/2001/REC-xml-c14n-20010315"]
    good = good and bool(canonicalize_element(select_nodes(judged.root, "//ds:SignedInfo")[0]))
    return "" if good else f"CanonicalizationMethod is {methods}"


def _check_xpath_transform(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the reference to the envelope has the three transforms of §4.1.3 in their order."""
    transforms = [
        str(uri)
        for uri in select_nodes(judged.root, "//ds:Reference[@URI='']/ds:Transforms/ds:Transform/@Algorithm")
    ]
    expected = [
        "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
        "http://www.w3.org/TR/1999/REC-xpath-19991116",
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
    ]
    return "" if transforms[: len(expected)] == expected else f"the transforms are {transforms}"


def _check_parts_named(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the Manifest names every part besides the root, and no other."""
    if judged.answer is None:
        return f"no message: {judged.describe_answer()}"
    referenced = sorted(
        str(href) for href in select_nodes(judged.root, "//eb:Manifest/eb:Reference/@xlink:href")
    )
    part_uris = sorted(f"cid:{quote(part.content_id, safe=_UNRESERVED)}" for part in judged.answer.parts[1:])
    return "" if referenced == part_uris else f"the Manifest names {referenced}, the parts are {part_uris}"


def _check_time_to_live(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that a TimeToLive, where there is one, is a time in UTC after the Timestamp."""
    if judged.root is None:
        return f"no message: {judged.describe_answer()}"
    text = find_text(judged.root, "//eb:MessageData/eb:TimeToLive")
    if not text:
        return ""
    try:
        late = parse_instant(text) > parse_instant(find_text(judged.root, "//eb:MessageData/eb:Timestamp"))
    except (ValueError, GatewayError):
        return f"{text[:60]!r} is no xs:dateTime"
    return "" if late and text.endswith("Z") else f"TimeToLive is {text[:60]!r}"


def _check_any(judged: JudgedAnswer, argument: Any) -> str:
    """Check that one of several checks holds."""
    rows = [(entry, None) if isinstance(entry, str) else next(iter(entry.items())) for entry in argument]
    wrongs = [run_check(judged, str(name), value) for name, value in rows]
    return "" if not all(wrongs) else "; ".join(wrongs)


def _check_signal_service(judged: JudgedAnswer, argument: Any) -> str:  # noqa: ARG001
    """Check that the answer has the Service of signals."""
    service = find_text(judged.root, "//eb:MessageHeader/eb:Service")
    return "" if service == _SERVICE else f"the Service is {service[:120]!r}"


#: Every check by the name that the tables use.
CHECKS: Final[Mapping[str, Check]] = {
    "acknowledged": _check_acknowledged,
    "refused": _check_refused,
    "fault": _check_fault,
    "rejected": _check_rejected,
    "silence": _check_silence,
    "not-refused": _check_not_refused,
    "answered": _check_answered,
    "status": _check_status,
    "xpath": _check_xpath,
    "http-status": _check_http_status,
    "http-header": _check_http_header,
    "way": _check_answer_channel,
    "schema": _check_schema,
    "signature": _check_signature,
    "references": _check_references,
    "same-octets": _check_same_octets,
    "same-acknowledgment": _check_same_acknowledgment,
    "other-id": _check_other_id,
    "instant": _check_instant,
    "message-id": _check_message_id,
    "new-id": _check_new_id,
    "no-trace": _check_no_traces,
    "in-time": _check_in_time,
    "c14n": _check_canonical,
    "envelope-transforms": _check_xpath_transform,
    "signal-service": _check_signal_service,
    "any": _check_any,
    "parts-named": _check_parts_named,
    "time-to-live": _check_time_to_live,
    "opens": check_opens,
    "encrypted": check_encrypted,
    "unwrapped": check_unwrapped,
    "same-refusal": check_same_refusal,
    "signer": check_signer,
    "same-header": check_same_header,
    "same-parts": check_same_parts,
}
