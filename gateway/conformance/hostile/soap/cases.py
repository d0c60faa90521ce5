"""The agencies' face: who calls, about what, how often, and where the answer shall go."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    added,
    at,
    doubled,
    inserted,
    on_tree,
    text_set,
)
from gateway.conformance.hostile.calls import (
    BODY,
    HEADER,
    SECURITY,
    a_call,
    on_its_way,
)
from gateway.conformance.hostile.case import ACCEPTED, LAWFUL, Answer, Case, Exchange, Post
from gateway.conformance.hostile.craft import swap
from gateway.conformance.hostile.plays import Maker, refusal
from gateway.conformance.hostile.soap import forms as soap_forms
from gateway.conformance.hostile.soap import signatures as soap_signatures
from gateway.conformance.hostile.soap import times as soap_times
from gateway.conformance.hostile.soap import tokens as soap_tokens
from gateway.conformance.hostile.tampered import attack
from gateway.wire.namespaces import SERVICE_AGENCY

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES"]

_ATTACKER: Final = "http://169.254.169.254/reply"

_REPLAY: Final = "WS-Attacker (replay); WS-Security §13"
_ELSEWHERE: Final = "WS-Addressing spoofing (WS-Attacker)"
_SPOOFED: Final = "SOAPAction spoofing (WS-Attacker)"
_NAME: Final = "one agency in another's name; cross-tenant decisions"


def _replayed(bench: Bench) -> Generator[Exchange, Answer, None]:
    post = bench.call()
    yield Exchange(post, ACCEPTED)
    yield Exchange(post, refusal("GW211"))


def _replayed_by_other_route(bench: Bench) -> Generator[Exchange, Answer, None]:
    """Send the same signed parts in another text: white space between header blocks is not signed."""
    post = bench.call()
    yield Exchange(post, ACCEPTED)
    body = post.body.replace(b"<soap:Body", b"\n<soap:Body", 1)
    yield Exchange(Post(post.face, post.headers, body), refusal("GW211"))


def _id_reused(bench: Bench) -> Generator[Exchange, Answer, None]:
    name = f"urn:uuid:{bench.uuids()}"
    yield Exchange(bench.call(addressing={"message_id": name}), ACCEPTED)
    other = (
        f"<ApplicationNumber>{bench.application}</ApplicationNumber><ReceiptNumber>ANOTHER</ReceiptNumber>"
    )
    yield Exchange(bench.call(content=other, addressing={"message_id": name}), refusal("GW312"))


def _repeated(bench: Bench) -> Generator[Exchange, Answer, None]:
    """Send the same call signed anew: a repeat, which changes nothing and is answered as before."""
    name = f"urn:uuid:{bench.uuids()}"
    for expected in (ACCEPTED, LAWFUL):
        at_that_time = bench.now() + timedelta(milliseconds=expected is LAWFUL)
        yield Exchange(bench.call(addressing={"message_id": name}, now=at_that_time), expected)


_REPLAYS: Final = (
    Case(
        "REP-01.call-repeat",
        "a call signed anew under its MessageID: a repeat, not an attack",
        "soap",
        "WSDL of the service: a call may be repeated",
        _repeated,
    ),
    Case("REP-03.call", "the same octets of a call again", "soap", _REPLAY, _replayed),
    Case(
        "REP-03.call-white-space",
        "the same signed parts again, with other white space between them",
        "soap",
        _REPLAY,
        _replayed_by_other_route,
    ),
    Case("REP-02.call", "another call under a known MessageID", "soap", _REPLAY, _id_reused),
    on_its_way(
        "REP-03.call-new-id",
        "a signed call under a new MessageID",
        text_set(f"{HEADER}/wsa:MessageID", "urn:uuid:new"),
        "GW202",
        _REPLAY,
    ),
    on_its_way(
        "REP-03.call-second-id",
        "a second MessageID before the signed one",
        inserted(HEADER, "<wsa:MessageID>urn:uuid:new</wsa:MessageID>"),
        "GW107",
        _REPLAY,
        naive=True,
    ),
)


def _reply_to(name: str) -> Maker:
    """Return: a call whose agency wants its answer somewhere else, and signs that."""

    def add(data: bytes) -> bytes:
        block = f"<wsa:{name}><wsa:Address>{_ATTACKER}</wsa:Address></wsa:{name}>"
        return on_tree(added(HEADER, block))(data)

    return lambda bench: bench.call(envelope=add)


def _reply_elsewhere(bench: Bench) -> Post:
    address = "http://www.w3.org/2005/08/addressing/anonymous"
    return bench.call(
        envelope=swap(f"{address}</wsa:Address></wsa:ReplyTo>", f"{_ATTACKER}</wsa:Address></wsa:ReplyTo>")
    )


_ADDRESSES: Final = (
    a_call(
        "REP-11.call-reply-to", "wsa:ReplyTo is an attacker's address", _reply_elsewhere, "GW311", _ELSEWHERE
    ),
    a_call(
        "REP-11.call-fault-to",
        "wsa:FaultTo is an attacker's address",
        _reply_to("FaultTo"),
        "GW311",
        _ELSEWHERE,
    ),
    a_call(
        "REP-11.call-reply-to-twice",
        "a second wsa:ReplyTo with an attacker's address",
        _reply_to("ReplyTo"),
        "GW107",
        _ELSEWHERE,
    ),
    on_its_way(
        "REP-11.call-fault-to-added",
        "wsa:FaultTo added after the call was signed",
        added(HEADER, f"<wsa:FaultTo><wsa:Address>{_ATTACKER}</wsa:Address></wsa:FaultTo>"),
        "GW311",
        _ELSEWHERE,
        naive=True,
    ),
    a_call(
        "REP-11.call-old-addressing",
        "ReplyTo of the addressing of 2004",
        lambda bench: bench.call(
            envelope=on_tree(
                added(
                    HEADER,
                    f'<a:ReplyTo xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"><a:Address>{_ATTACKER}</a:Address></a:ReplyTo>',
                )
            )
        ),
        "GW107",
        _ELSEWHERE,
    ),
    attack(
        "REP-11.call-to",
        "a call signed for another service",
        lambda bench: bench.call(addressing={"to": "https://another.invalid/soap"}),
        "GW304",
        "a signed call brought to another service",
        face="soap",
        feature="public-url",
        naive=True,
    ),
    a_call(
        "REP-12.call-soap-action",
        "SOAPAction of another operation",
        lambda bench: bench.call(action=f'"{SERVICE_AGENCY}:SubmitDecision"'),
        "GW304",
        _SPOOFED,
    ),
    a_call(
        "REP-12.call-wsa-action",
        "wsa:Action of another operation",
        lambda bench: bench.call(
            addressing={"action": f"{SERVICE_AGENCY}:SubmitDecision"},
            action=f'"{SERVICE_AGENCY}:Acknowledge"',
        ),
        "GW304",
        _SPOOFED,
    ),
    a_call(
        "REP-12.call-both-actions",
        "SOAPAction and wsa:Action of another operation than the Body",
        lambda bench: bench.call(
            addressing={"action": f"{SERVICE_AGENCY}:SubmitDecision"},
            action=f'"{SERVICE_AGENCY}:SubmitDecision"',
        ),
        "GW304",
        _SPOOFED,
    ),
    a_call(
        "REP-12.call-response",
        "the Body holds a response instead of a request",
        lambda bench: bench.call(content=_named("AcknowledgeResponse")),
        "GW311",
        _SPOOFED,
    ),
    a_call(
        "REP-12.call-unknown",
        "the Body holds an operation that there is not",
        lambda bench: bench.call(content=_named("Purge")),
        "GW311",
        _SPOOFED,
    ),
    a_call(
        "REP-12.call-two-requests",
        "the Body holds two requests",
        lambda bench: bench.call(envelope=on_tree(doubled(f"{BODY}/*"))),
        "GW311",
        _SPOOFED,
    ),
)


def _named(name: str) -> etree._Element:
    return etree.Element(f"{{{SERVICE_AGENCY}}}{name}")


def _decision(number: str) -> str:
    return (
        f"<ApplicationNumber>{number}</ApplicationNumber><NoticeNumber>SUITE-N1</NoticeNumber>"
        "<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><StatusCode>R01</StatusCode>"
        "<Decision><item>1</item><law>01</law><decision>APPROVED</decision></Decision>"
    )


def _decides(number: str) -> Maker:
    return lambda bench: bench.call("SubmitDecision", _decision(number))


def _by(who: str) -> Maker:
    return lambda bench: bench.call(signer=who)


def _number(operation: str, content: str) -> Maker:
    return lambda bench: bench.call(operation, content)


_NOT_ASKED: Final = "<ApplicationNumber>NOT-ASKED-1</ApplicationNumber>"

_CALLERS: Final = (
    *(
        a_call(f"SIG-31.call-{who}", f"a call that {words} signed", _by(who), "GW209 GW212 GW701", _NAME)
        for who, words in (("a", "a broker has"), ("b", "another broker has"))
    ),
    *(
        a_call(
            f"SIG-30.call-{who}",
            f"a call signed by {words}",
            _by(who),
            "GW209",
            "pysaml2: a random certificate in the message",
        )
        for who, words in (
            ("stranger", "a key of an authority that nobody named"),
            ("selfsigned", "a key that vouches for itself"),
        )
    ),
    *(
        a_call(
            f"SIG-32.call-{who}",
            f"a call signed with a certificate that is {words}",
            _by(who),
            "GW205 GW206 GW207 GW209",
            "RFC 5280",
        )
        for who, words in (
            ("expired", "expired"),
            ("revoked", "revoked"),
            ("encryption", "for encryption only"),
        )
    ),
    a_call(
        "SIG-31.call-decision",
        "a decision about an application that went to another agency",
        _decides("NOT-ASKED-1"),
        "GW701",
        _NAME,
    ),
    a_call(
        "SIG-31.call-acknowledge",
        "an acknowledgment of an application that went to another agency",
        _number("Acknowledge", f"{_NOT_ASKED}<ReceiptNumber>R</ReceiptNumber>"),
        "GW701",
        _NAME,
    ),
    a_call(
        "SIG-31.call-information",
        "a question about an application that went to another agency",
        _number(
            "RequestInformation",
            f"{_NOT_ASKED}<NoticeNumber>N</NoticeNumber><IssuedAt>2026-11-20T09:00:00Z</IssuedAt><Text>?</Text>",
        ),
        "GW701",
        _NAME,
    ),
    a_call(
        "SIG-31.call-wildcard",
        "a decision about an application whose number is a pattern",
        _decides("%"),
        "GW701",
        _NAME,
    ),
    a_call(
        "SIG-31.call-requirement",
        "a decision by a requirement that nobody was asked for",
        lambda bench: bench.call(
            "SubmitDecision", _decision("x").replace("ApplicationNumber", "RequirementNumber")
        ),
        "GW701",
        _NAME,
    ),
)


def _blocks() -> tuple[Case, ...]:
    """Return calls with header blocks that somebody put in."""
    rows: tuple[tuple[str, str, Callable[[Any], object], str], ...] = (
        ("unknown", "an unknown header block", added(HEADER, "<x:Trace>forged</x:Trace>"), "GW107"),
        (
            "demanding",
            "an unknown header block that must be understood",
            added(HEADER, '<x:Trace soap:mustUnderstand="1"/>'),
            "GW106",
        ),
        (
            "other-actor",
            "a header block for somebody else that must be understood",
            added(HEADER, '<x:Trace soap:mustUnderstand="1" soap:actor="urn:example:other"/>'),
            "GW107",
        ),
        (
            "security-actor",
            "the Security header is for another actor",
            lambda root: at(root, SECURITY).set(
                "{http://schemas.xmlsoap.org/soap/envelope/}actor", "urn:example:other"
            ),
            "GW107",
        ),
        (
            "message-header",
            "a MessageHeader of ebMS in a call",
            added(HEADER, "<eb:MessageHeader/>"),
            "GW107",
        ),
        (
            "session",
            "a wsse:Security of the version 1.1",
            added(
                HEADER,
                '<s:Security xmlns:s="http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd"/>',
            ),
            "GW107",
        ),
    )
    return tuple(
        on_its_way(
            f"SIG-23.call-{name}",
            title,
            change,
            problem,
            "SOAP 1.1 §4.2: header blocks that nobody signed",
            naive=True,
        )
        for name, title, change, problem in rows
    )


CASES: Final[tuple[Case, ...]] = (
    *soap_signatures.CASES,
    *soap_forms.CASES,
    *soap_tokens.CASES,
    *soap_times.CASES,
    *_REPLAYS,
    *_ADDRESSES,
    *_CALLERS,
    *_blocks(),
)
