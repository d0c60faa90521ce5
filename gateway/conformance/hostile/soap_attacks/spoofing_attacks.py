"""The agencies' face: who calls, about what, how often, and where the answer shall go."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import (
    BODY,
    HEADER,
    SECURITY,
    RequestMaker,
    expect_refusal,
    make_attack_case,
    make_call_attack,
    make_call_transit_attack,
)
from gateway.conformance.hostile.exchange import ACCEPTED, LAWFUL, Answer, Exchange, HttpRequest
from gateway.conformance.hostile.octet_mutations import swap_octets
from gateway.conformance.hostile.soap_attacks import reference_attacks as soap_signatures
from gateway.conformance.hostile.soap_attacks import timestamp_attacks as soap_times
from gateway.conformance.hostile.soap_attacks import token_attacks as soap_tokens
from gateway.conformance.hostile.soap_attacks import transform_attacks as soap_forms
from gateway.conformance.hostile.tree_mutations import (
    append_element,
    duplicate_element,
    get_element,
    insert_element,
    mutate_tree,
    set_text,
)
from gateway.wire import SERVICE_AGENCY

__all__ = ["CASES"]

_ATTACKER: Final = "http://169.254.169.254/reply"

_REPLAY: Final = "WS-Attacker (replay); WS-Security §13"
_ELSEWHERE: Final = "WS-Addressing spoofing (WS-Attacker)"
_SPOOFED: Final = "SOAPAction spoofing (WS-Attacker)"
_NAME: Final = "one agency in another's name; cross-tenant decisions"


def _run_replay_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
    post = bench.build_call()
    yield Exchange(post, ACCEPTED)
    yield Exchange(post, expect_refusal("GW211"))


def _run_white_space_replay(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send the same signed parts in another text: white space between header blocks is not signed."""
    post = bench.build_call()
    yield Exchange(post, ACCEPTED)
    body = post.body.replace(b"<soap:Body", b"\n<soap:Body", 1)
    yield Exchange(HttpRequest(post.face, post.headers, body), expect_refusal("GW211"))


def _run_reused_id_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
    name = f"urn:uuid:{bench.uuids()}"
    yield Exchange(bench.build_call(addressing={"message_id": name}), ACCEPTED)
    other = (
        f"<ApplicationNumber>{bench.application}</ApplicationNumber><ReceiptNumber>ANOTHER</ReceiptNumber>"
    )
    yield Exchange(bench.build_call(content=other, addressing={"message_id": name}), expect_refusal("GW312"))


def _run_repeat_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send the same call signed anew: a repeat, which changes nothing and is answered as before."""
    name = f"urn:uuid:{bench.uuids()}"
    for expected in (ACCEPTED, LAWFUL):
        at_that_time = bench.get_current_time() + timedelta(milliseconds=expected is LAWFUL)
        yield Exchange(bench.build_call(addressing={"message_id": name}, now=at_that_time), expected)


_REPLAYS: Final = (
    AttackCase(
        "REP-01.call-repeat",
        "a call signed anew under its MessageID: a repeat, not an attack",
        "soap",
        "WSDL of the service: a call may be repeated",
        _run_repeat_scenario,
    ),
    AttackCase("REP-03.call", "the same octets of a call again", "soap", _REPLAY, _run_replay_scenario),
    AttackCase(
        "REP-03.call-white-space",
        "the same signed parts again, with other white space between them",
        "soap",
        _REPLAY,
        _run_white_space_replay,
    ),
    AttackCase(
        "REP-02.call", "another call under a known MessageID", "soap", _REPLAY, _run_reused_id_scenario
    ),
    make_call_transit_attack(
        "REP-03.call-new-id",
        "a signed call under a new MessageID",
        set_text(f"{HEADER}/wsa:MessageID", "urn:uuid:new"),
        "GW202",
        _REPLAY,
    ),
    make_call_transit_attack(
        "REP-03.call-second-id",
        "a second MessageID before the signed one",
        insert_element(HEADER, "<wsa:MessageID>urn:uuid:new</wsa:MessageID>"),
        "GW107",
        _REPLAY,
        naive=True,
    ),
)


def _make_added_address_call(name: str) -> RequestMaker:
    """Return: a call whose agency wants its answer somewhere else, and signs that."""

    def mutate_octets(data: bytes) -> bytes:
        block = f"<wsa:{name}><wsa:Address>{_ATTACKER}</wsa:Address></wsa:{name}>"
        return mutate_tree(append_element(HEADER, block))(data)

    return lambda bench: bench.build_call(envelope=mutate_octets)


def _make_reply_elsewhere_call(bench: AttackerKit) -> HttpRequest:
    address = "http://www.w3.org/2005/08/addressing/anonymous"
    return bench.build_call(
        envelope=swap_octets(
            f"{address}</wsa:Address></wsa:ReplyTo>", f"{_ATTACKER}</wsa:Address></wsa:ReplyTo>"
        )
    )


_ADDRESSES: Final = (
    make_call_attack(
        "REP-11.call-reply-to",
        "wsa:ReplyTo is an attacker's address",
        _make_reply_elsewhere_call,
        "GW311",
        _ELSEWHERE,
    ),
    make_call_attack(
        "REP-11.call-fault-to",
        "wsa:FaultTo is an attacker's address",
        _make_added_address_call("FaultTo"),
        "GW311",
        _ELSEWHERE,
    ),
    make_call_attack(
        "REP-11.call-reply-to-twice",
        "a second wsa:ReplyTo with an attacker's address",
        _make_added_address_call("ReplyTo"),
        "GW107",
        _ELSEWHERE,
    ),
    make_call_transit_attack(
        "REP-11.call-fault-to-added",
        "wsa:FaultTo added after the call was signed",
        append_element(HEADER, f"<wsa:FaultTo><wsa:Address>{_ATTACKER}</wsa:Address></wsa:FaultTo>"),
        "GW311",
        _ELSEWHERE,
        naive=True,
    ),
    make_call_attack(
        "REP-11.call-old-addressing",
        "ReplyTo of the addressing of 2004",
        lambda bench: bench.build_call(
            envelope=mutate_tree(
                append_element(
                    HEADER,
                    f'<a:ReplyTo xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"><a:Address>{_ATTACKER}</a:Address></a:ReplyTo>',
                )
            )
        ),
        "GW107",
        _ELSEWHERE,
    ),
    make_attack_case(
        "REP-11.call-to",
        "a call signed for another service",
        lambda bench: bench.build_call(addressing={"to": "https://another.invalid/soap"}),
        "GW304",
        "a signed call brought to another service",
        face="soap",
        feature="public-url",
        naive=True,
    ),
    make_call_attack(
        "REP-12.call-soap-action",
        "SOAPAction of another operation",
        lambda bench: bench.build_call(action=f'"{SERVICE_AGENCY}:SubmitDecision"'),
        "GW304",
        _SPOOFED,
    ),
    make_call_attack(
        "REP-12.call-wsa-action",
        "wsa:Action of another operation",
        lambda bench: bench.build_call(
            addressing={"action": f"{SERVICE_AGENCY}:SubmitDecision"},
            action=f'"{SERVICE_AGENCY}:Acknowledge"',
        ),
        "GW304",
        _SPOOFED,
    ),
    make_call_attack(
        "REP-12.call-both-actions",
        "SOAPAction and wsa:Action of another operation than the Body",
        lambda bench: bench.build_call(
            addressing={"action": f"{SERVICE_AGENCY}:SubmitDecision"},
            action=f'"{SERVICE_AGENCY}:SubmitDecision"',
        ),
        "GW304",
        _SPOOFED,
    ),
    make_call_attack(
        "REP-12.call-response",
        "the Body holds a response instead of a request",
        lambda bench: bench.build_call(content=_make_operation_element("AcknowledgeResponse")),
        "GW311",
        _SPOOFED,
    ),
    make_call_attack(
        "REP-12.call-unknown",
        "the Body holds an operation that there is not",
        lambda bench: bench.build_call(content=_make_operation_element("Purge")),
        "GW311",
        _SPOOFED,
    ),
    make_call_attack(
        "REP-12.call-two-requests",
        "the Body holds two requests",
        lambda bench: bench.build_call(envelope=mutate_tree(duplicate_element(f"{BODY}/*"))),
        "GW311",
        _SPOOFED,
    ),
)


def _make_operation_element(name: str) -> etree._Element:
    return etree.Element(f"{{{SERVICE_AGENCY}}}{name}")


def _build_decision_content(number: str) -> str:
    return (
        f"<ApplicationNumber>{number}</ApplicationNumber><NoticeNumber>SUITE-N1</NoticeNumber>"
        "<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><StatusCode>R01</StatusCode>"
        "<Decision><item>1</item><law>01</law><decision>APPROVED</decision></Decision>"
    )


def _make_decision_call(number: str) -> RequestMaker:
    return lambda bench: bench.build_call("SubmitDecision", _build_decision_content(number))


def _make_signed_call(who: str) -> RequestMaker:
    return lambda bench: bench.build_call(signer=who)


def _make_operation_call(operation: str, content: str) -> RequestMaker:
    return lambda bench: bench.build_call(operation, content)


_NOT_ASKED: Final = "<ApplicationNumber>NOT-ASKED-1</ApplicationNumber>"

_CALLERS: Final = (
    *(
        make_call_attack(
            f"SIG-31.call-{who}",
            f"a call that {words} signed",
            _make_signed_call(who),
            "GW209 GW212 GW701",
            _NAME,
        )
        for who, words in (("a", "a broker has"), ("b", "another broker has"))
    ),
    *(
        make_call_attack(
            f"SIG-30.call-{who}",
            f"a call signed by {words}",
            _make_signed_call(who),
            "GW209",
            "pysaml2: a random certificate in the message",
        )
        for who, words in (
            ("stranger", "a key of an authority that nobody named"),
            ("selfsigned", "a key that vouches for itself"),
        )
    ),
    *(
        make_call_attack(
            f"SIG-32.call-{who}",
            f"a call signed with a certificate that is {words}",
            _make_signed_call(who),
            "GW205 GW206 GW207 GW209",
            "RFC 5280",
        )
        for who, words in (
            ("expired", "expired"),
            ("revoked", "revoked"),
            ("encryption", "for encryption only"),
        )
    ),
    make_call_attack(
        "SIG-31.call-decision",
        "a decision about an application that went to another agency",
        _make_decision_call("NOT-ASKED-1"),
        "GW701",
        _NAME,
    ),
    make_call_attack(
        "SIG-31.call-acknowledge",
        "an acknowledgment of an application that went to another agency",
        _make_operation_call("Acknowledge", f"{_NOT_ASKED}<ReceiptNumber>R</ReceiptNumber>"),
        "GW701",
        _NAME,
    ),
    make_call_attack(
        "SIG-31.call-information",
        "a question about an application that went to another agency",
        _make_operation_call(
            "RequestInformation",
            f"{_NOT_ASKED}<NoticeNumber>N</NoticeNumber><IssuedAt>2026-11-20T09:00:00Z</IssuedAt><Text>?</Text>",
        ),
        "GW701",
        _NAME,
    ),
    make_call_attack(
        "SIG-31.call-wildcard",
        "a decision about an application whose number is a pattern",
        _make_decision_call("%"),
        "GW701",
        _NAME,
    ),
    make_call_attack(
        "SIG-31.call-requirement",
        "a decision by a requirement that nobody was asked for",
        lambda bench: bench.build_call(
            "SubmitDecision", _build_decision_content("x").replace("ApplicationNumber", "RequirementNumber")
        ),
        "GW701",
        _NAME,
    ),
)


def _make_header_block_cases() -> tuple[AttackCase, ...]:
    """Return calls with header blocks that somebody put in."""
    rows: tuple[tuple[str, str, Callable[[Any], object], str], ...] = (
        ("unknown", "an unknown header block", append_element(HEADER, "<x:Trace>forged</x:Trace>"), "GW107"),
        (
            "demanding",
            "an unknown header block that must be understood",
            append_element(HEADER, '<x:Trace soap:mustUnderstand="1"/>'),
            "GW106",
        ),
        (
            "other-actor",
            "a header block for somebody else that must be understood",
            append_element(HEADER, '<x:Trace soap:mustUnderstand="1" soap:actor="urn:example:other"/>'),
            "GW107",
        ),
        (
            "security-actor",
            "the Security header is for another actor",
            lambda root: get_element(root, SECURITY).set(
                "{http://schemas.xmlsoap.org/soap/envelope/}actor", "urn:example:other"
            ),
            "GW107",
        ),
        (
            "message-header",
            "a MessageHeader of ebMS in a call",
            append_element(HEADER, "<eb:MessageHeader/>"),
            "GW107",
        ),
        (
            "session",
            "a wsse:Security of the version 1.1",
            append_element(
                HEADER,
                '<s:Security xmlns:s="http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd"/>',
            ),
            "GW107",
        ),
    )
    return tuple(
        make_call_transit_attack(
            f"SIG-23.call-{name}",
            title,
            change,
            problem,
            "SOAP 1.1 §4.2: header blocks that nobody signed",
            naive=True,
        )
        for name, title, change, problem in rows
    )


CASES: Final[tuple[AttackCase, ...]] = (
    *soap_signatures.CASES,
    *soap_forms.CASES,
    *soap_tokens.CASES,
    *soap_times.CASES,
    *_REPLAYS,
    *_ADDRESSES,
    *_CALLERS,
    *_make_header_block_cases(),
)
