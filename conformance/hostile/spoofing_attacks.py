"""Attacks on the service for agencies: wrong callers, wrong subjects, and wrong documents."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any, Final

from lxml import etree

from gateway.wire import ANONYMOUS, SERVICE_AGENCY
from gateway_conformance.hostile.attack_cases import (
    BODY,
    DECLARE_PREFIXES,
    HEADER,
    SECURITY,
    AttackCase,
    AttackTable,
    RequestMaker,
    Scenario,
    SourcedTable,
    change_call_before_signing,
    change_call_on_the_way,
    expect_early_refusal,
    expect_refusal,
    make_attack_case,
    make_sourced_cases,
    make_table_cases,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    TreeMutation,
    append_element,
    duplicate_element,
    insert_element,
    mutate_tree,
    set_attribute,
    set_text,
    swap_octets,
)
from gateway_conformance.hostile.exchange import ACCEPTED, LAWFUL, Answer, Exchange, HttpRequest

_ATTACKER: Final = "http://169.254.169.254/reply"
_DECISION: Final = f"{SERVICE_AGENCY}:SubmitDecision"
_QUOTED_DECISION: Final = f'"{_DECISION}"'

_REPLAY: Final = "WS-Attacker (replay); WS-Security §13"
_ELSEWHERE: Final = "WS-Addressing spoofing (WS-Attacker)"
_SPOOFED: Final = "SOAPAction spoofing (WS-Attacker)"
_NOT_VALID: Final = "GW205 GW206 GW207 GW209"
_NAME: Final = "one agency in another's name; cross-tenant decisions"
_RANDOM: Final = "pysaml2: a random certificate in the message"
_BLOCKS: Final = "SOAP 1.1 §4.2: header blocks that nobody signed"


def _run_replay(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    post = kit.build_call()
    yield Exchange(post, ACCEPTED)
    yield Exchange(post, expect_refusal("GW211"))


def _run_white_space_replay(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send the same signed parts with other white space between header blocks, which is not signed."""
    post = kit.build_call()
    yield Exchange(post, ACCEPTED)
    body = post.body.replace(b"<soap:Body", b"\n<soap:Body", 1)
    yield Exchange(HttpRequest(post.face, post.headers, body), expect_refusal("GW211"))


def _run_reused_id(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    message_id = f"urn:uuid:{kit.make_uuid()}"
    yield Exchange(kit.build_call(addressing={"message_id": message_id}), ACCEPTED)
    second_content = (
        f"<ApplicationNumber>{kit.application_number}</ApplicationNumber>"
        "<ReceiptNumber>ANOTHER</ReceiptNumber>"
    )
    yield Exchange(
        kit.build_call(content=second_content, addressing={"message_id": message_id}), expect_refusal("GW312")
    )


def _run_repeat(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send the same call with a new signature: a repeat, which changes nothing and gets the same answer."""
    message_id = f"urn:uuid:{kit.make_uuid()}"
    for expected in (ACCEPTED, LAWFUL):
        call_time = kit.get_current_time() + timedelta(milliseconds=expected is LAWFUL)
        yield Exchange(kit.build_call(addressing={"message_id": message_id}, now=call_time), expected)


def _make_call(*arguments: str, **hooks: Any) -> RequestMaker:
    return lambda kit: kit.build_call(*arguments, **hooks)


def _send_element(element_name: str) -> RequestMaker:
    """Return the step that sends a call whose Body contains an element of that name."""
    return lambda kit: kit.build_call(content=etree.Element(f"{{{SERVICE_AGENCY}}}{element_name}"))


def _build_reply_address(name: str) -> str:
    return f"<wsa:{name}><wsa:Address>{_ATTACKER}</wsa:Address></wsa:{name}>"


def _add_address(name: str) -> RequestMaker:
    """Return the step that sends a signed call with another reply address."""
    return change_call_before_signing(append_element(HEADER, _build_reply_address(name)))


def _build_decision_content(kit: AttackerKit, application_number: str) -> str:
    return (
        f"<ApplicationNumber>{application_number}</ApplicationNumber><NoticeNumber>SUITE-N1</NoticeNumber>"
        f"<IssuedAt>{kit.write_issue_time()}</IssuedAt><StatusCode>R01</StatusCode>"
        "<Decision><item>1</item><law>01</law><decision>APPROVED</decision></Decision>"
    )


def _make_decision_call(application_number: str) -> RequestMaker:
    return lambda kit: kit.build_call("SubmitDecision", _build_decision_content(kit, application_number))


def _make_result_call(*, has_decision: bool = True) -> RequestMaker:
    """Return the step that sends a result without an application; law 01 is none of the suite's agency."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        content = _build_decision_content(kit, "x").replace("ApplicationNumber", "RequirementNumber")
        return kit.build_call(
            "SubmitDecision", content if has_decision else content.partition("<Decision>")[0]
        )

    return make_request


_REPLY_ELSEWHERE: Final = swap_octets(
    f"{ANONYMOUS}</wsa:Address></wsa:ReplyTo>", f"{_ATTACKER}</wsa:Address></wsa:ReplyTo>"
)
_OLD_REPLY_TO: Final = (
    '<a:ReplyTo xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing">'
    f"<a:Address>{_ATTACKER}</a:Address></a:ReplyTo>"
)
_NOT_ASKED: Final = "<ApplicationNumber>NOT-ASKED-1</ApplicationNumber>"
_SECURITY_1_1: Final = (
    '<s:Security xmlns:s="http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd"/>'
)

# fmt: off
#: Repeated calls.
_REPEATED: Final[tuple[tuple[str, str, Scenario, str], ...]] = (
    ("REP-01.call-repeat", "a call signed anew under its MessageID: a repeat, not an attack", _run_repeat,
     "WSDL of the service: a call may be repeated"),
    ("REP-03.call", "the same octets of a call again", _run_replay, _REPLAY),
    ("REP-03.call-white-space", "the same signed parts again, with other white space between them",
     _run_white_space_replay, _REPLAY),
    ("REP-02.call", "another call under a known MessageID", _run_reused_id, _REPLAY),
)

#: Calls changed after they were signed.
_CHANGED: Final[SourcedTable[TreeMutation]] = (
    ("REP-03.call-new-id", "a signed call under a new MessageID",
     set_text(f"{HEADER}/wsa:MessageID", "urn:uuid:new"), "GW202", _REPLAY, False),
    ("REP-03.call-second-id", "a second MessageID before the signed one",
     insert_element(HEADER, "<wsa:MessageID>urn:uuid:new</wsa:MessageID>"), "GW107", _REPLAY),
    ("REP-11.call-fault-to-added", "wsa:FaultTo added after the call was signed",
     append_element(HEADER, _build_reply_address("FaultTo")), "GW311", _ELSEWHERE),
)

#: Signers of a call.
_SIGNERS: Final[SourcedTable[str]] = (
    ("SIG-31.call-a", "a call that a broker has signed", "a", "GW209 GW212 GW701", _NAME),
    ("SIG-31.call-b", "a call that another broker has signed", "b", "GW209 GW212 GW701", _NAME),
    ("SIG-30.call-stranger", "a call signed by a key of an authority that nobody named", "stranger", "GW209",
     _RANDOM),
    ("SIG-30.call-selfsigned", "a call signed by a key that vouches for itself", "selfsigned", "GW209",
     _RANDOM),
    ("SIG-32.call-expired", "a call signed with a certificate that is expired", "expired", _NOT_VALID,
     "RFC 5280"),
    ("SIG-32.call-revoked", "a call signed with a certificate that is revoked", "revoked", _NOT_VALID,
     "RFC 5280"),
    ("SIG-32.call-encryption", "a call signed with a certificate that is for encryption only", "encryption",
     _NOT_VALID, "RFC 5280"),
)

#: Calls that their agency has signed as they are.
_CALLS: Final[SourcedTable[RequestMaker]] = (
    ("REP-11.call-reply-to", "wsa:ReplyTo is an attacker's address", _make_call(envelope=_REPLY_ELSEWHERE),
     "GW311", _ELSEWHERE),
    ("REP-11.call-fault-to", "wsa:FaultTo is an attacker's address", _add_address("FaultTo"), "GW311",
     _ELSEWHERE),
    ("REP-11.call-reply-to-twice", "a second wsa:ReplyTo with an attacker's address", _add_address("ReplyTo"),
     "GW107", _ELSEWHERE),
    ("REP-11.call-old-addressing", "ReplyTo of the addressing of 2004",
     change_call_before_signing(append_element(HEADER, _OLD_REPLY_TO)), "GW107", _ELSEWHERE),
    ("REP-12.call-soap-action", "SOAPAction of another operation", _make_call(action=_QUOTED_DECISION),
     "GW304", _SPOOFED),
    ("REP-12.call-wsa-action", "wsa:Action of another operation",
     _make_call(addressing={"action": _DECISION}, action=f'"{SERVICE_AGENCY}:Acknowledge"'), "GW304",
     _SPOOFED),
    ("REP-12.call-both-actions", "SOAPAction and wsa:Action of another operation than the Body",
     _make_call(addressing={"action": _DECISION}, action=_QUOTED_DECISION), "GW304", _SPOOFED),
    ("REP-12.call-response", "the Body holds a response instead of a request",
     _send_element("AcknowledgeResponse"), "GW311", _SPOOFED),
    ("REP-12.call-unknown", "the Body holds an operation that there is not", _send_element("Purge"), "GW311",
     _SPOOFED),
    ("REP-12.call-two-requests", "the Body holds two requests",
     change_call_before_signing(duplicate_element(f"{BODY}/*")), "GW311", _SPOOFED),
    ("SIG-31.call-decision", "a decision about an application that went to another agency",
     _make_decision_call("NOT-ASKED-1"), "GW701", _NAME),
    ("SIG-31.call-acknowledge", "an acknowledgment of an application that went to another agency",
     _make_call("Acknowledge", f"{_NOT_ASKED}<ReceiptNumber>R</ReceiptNumber>"), "GW701", _NAME),
    ("SIG-31.call-information", "a question about an application that went to another agency",
     _make_call("RequestInformation",
     f"{_NOT_ASKED}<NoticeNumber>N</NoticeNumber><IssuedAt>2026-11-20T09:00:00Z</IssuedAt><Text>?</Text>"),
     "GW701", _NAME),
    ("SIG-31.call-wildcard", "a decision about an application whose number is a pattern",
     _make_decision_call("%"), "GW701", _NAME),
    ("SIG-31.call-requirement", "a result without an application under a law of another agency",
     _make_result_call(), "GW404 GW701", _NAME),
    ("SIG-31.call-requirement-note", "a notice without a decision by a requirement that nobody was asked for",
     _make_result_call(has_decision=False), "GW701", _NAME),
)

#: Header blocks that an attacker inserted.
_HEADER_BLOCKS: Final[AttackTable[str]] = (
    ("call-unknown", "an unknown header block", "<x:Trace>forged</x:Trace>", "GW107"),
    ("call-demanding", "an unknown header block that must be understood",
     '<x:Trace soap:mustUnderstand="1"/>', "GW106"),
    ("call-other-actor", "a header block for somebody else that must be understood",
     '<x:Trace soap:mustUnderstand="1" soap:actor="urn:example:other"/>', "GW107"),
    ("call-message-header", "a MessageHeader of ebMS in a call", "<eb:MessageHeader/>", "GW107"),
    ("call-session", "a wsse:Security of the version 1.1", _SECURITY_1_1, "GW107"),
)
# fmt: on


_DOCUMENT_NAMESPACE: Final = "urn:single-window:document:govcbrasd:1"
_SHAPE: Final = "a document that is none of its form"
_CHANGED_AFTER: Final = "a signed call changed on its way"
_DEEP: Final = 60
_MANY: Final = "GW101 GW102 GW104 GW107 GW311 GW401 GW402 GW701 GW716 GW717"


def _write_document(application_number: str, content: str = "") -> str:
    return (
        f'<Response xmlns="{_DOCUMENT_NAMESPACE}"><TypeCode>GOVCBRASD</TypeCode>'
        "<Declaration><TypeCode>GOVCBRFR2</TypeCode>"
        f"<ID>{application_number}</ID></Declaration><ID>SUITE-D1</ID><IssueDateTime>20261120180000</IssueDateTime>"
        f"<AdditionalInformation><StatementTypeCode>G03</StatementTypeCode></AdditionalInformation>{content}"
        "</Response>"
    )


def _deliver(*documents: str) -> RequestMaker:
    content = f"<Document>{''.join(documents)}</Document>"
    return lambda kit: kit.build_call("DeliverNotice", content)


def _change_document(change: TreeMutation) -> RequestMaker:
    """Return the step that sends a document which was changed after the call was signed."""

    def build(kit: AttackerKit) -> HttpRequest:
        content = f"<Document>{_write_document(kit.application_number)}</Document>"
        return kit.build_call(
            "DeliverNotice", content, envelope=DECLARE_PREFIXES, tampered=mutate_tree(change)
        )

    return build


# fmt: off
_DELIVERED: Final[tuple[tuple[str, str, RequestMaker, str, str], ...]] = (
    ("SIG-31.document", "a document about an application that went to another agency",
     _deliver(_write_document("NOT-ASKED-1")), "GW701 GW716 GW717", _NAME),
    ("SIG-31.document-wildcard", "a document about an application whose number is a pattern",
     _deliver(_write_document("%")), "GW701 GW716 GW717", _NAME),
    ("SIG-31.document-two-ids", "a document that names two applications",
     _deliver(_write_document("NOT-ASKED-1", "<Declaration><ID>NOT-ASKED-2</ID></Declaration>")),
     "GW701 GW716 GW717", _NAME),
    ("SIG-31.document-two", "two documents in one call",
     _deliver(_write_document("NOT-ASKED-1"), _write_document("NOT-ASKED-2")), _MANY, _SHAPE),
    ("SIG-31.document-none", "a call without a document", _deliver(), _MANY, _SHAPE),
    ("SIG-31.document-text", "words in the place of a document", _deliver("approve it all"), _MANY, _SHAPE),
    ("SIG-31.document-stranger", "a document of a form that nobody has described",
     _deliver('<Decision xmlns="urn:example:unknown"><Approve/></Decision>'), _MANY, _SHAPE),
    ("SIG-31.document-result", "a result of the gateway itself as a document of an agency",
     _deliver('<Result xmlns="urn:single-window:result:1" version="1"><Outcome>APPROVED</Outcome></Result>'),
     _MANY, _SHAPE),
    ("SIG-31.document-submission", "a submission as a document of an agency",
     _deliver('<Submission xmlns="urn:single-window:submission:1"/>'), _MANY, _SHAPE),
    ("DOS-05.document-deep", "a document that is 60 elements deep",
     _deliver(f'<Response xmlns="{_DOCUMENT_NAMESPACE}">{"<a>" * _DEEP}{"</a>" * _DEEP}</Response>'), _MANY,
     "deep nesting"),
)

_CHANGED_DOCUMENTS: Final[tuple[tuple[str, str, TreeMutation, str, str], ...]] = (
    ("SIG-13.document-code", "the status of a document changed after it was signed",
     set_text(f"{BODY}//*[local-name()='StatementTypeCode']", "G01"), "GW202", _CHANGED_AFTER),
    ("SIG-13.document-added", "a second document beside the signed one",
     append_element(f"{BODY}/*/*", "<x:Response/>"), "GW202", _CHANGED_AFTER),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *(AttackCase(name, title, "soap", source, run) for name, title, run, source in _REPEATED),
    *make_sourced_cases("", _CHANGED, change_call_on_the_way, face="soap", naive=True),
    *make_sourced_cases("", _SIGNERS, lambda who: _make_call(signer=who), face="soap", naive=True),
    *make_sourced_cases("", _CALLS, use_request_maker, face="soap", naive=True),
    make_attack_case("REP-11.call-to", "a call signed for another service",
     _make_call(addressing={"to": "https://another.invalid/soap"}), "GW304",
     "a signed call brought to another service", face="soap", feature="public-url", naive=True),
    *make_table_cases("SIG-23.", _HEADER_BLOCKS,
     lambda block: change_call_on_the_way(append_element(HEADER, block)), _BLOCKS, face="soap", naive=True),
    make_attack_case("SIG-23.call-security-actor", "the Security header is for another actor",
     change_call_on_the_way(set_attribute(SECURITY, "soap:actor", "urn:example:other")), "GW107", _BLOCKS,
     face="soap", naive=True),
    *(make_attack_case(name, title, make, expect_early_refusal(*problems.split()), source, face="soap")
      for name, title, make, problems, source in _DELIVERED),
    *(make_attack_case(name, title, _change_document(change), expect_early_refusal(*problems.split()),
                       source, face="soap")
      for name, title, change, problems, source in _CHANGED_DOCUMENTS),
)
# fmt: on
"""Repetition, addresses, actions, callers and header blocks of calls; wrong documents in them."""
