"""Acknowledgments, errors and answers that nobody asked for, and wishes for answers elsewhere.

A signal is never answered by a signal (ebMS 2.0 §4.2.4.3, §6.3.2.7): what a gateway thinks
of a forged one stays with it.  Whoever could make it answer would have a mail loop.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from gateway.conformance.hostile.alterations import (
    NEXT,
    NEXT_MSH,
    Alteration,
    added,
    attribute_set,
    on_tree,
    removed,
    text_set,
)
from gateway.conformance.hostile.case import (
    ACCEPTED,
    LAWFUL,
    Answer,
    Case,
    Exchange,
    Expected,
    Post,
    WrongAnswerError,
)
from gateway.conformance.hostile.plays import Maker, refusal
from gateway.conformance.hostile.tampered import attack
from gateway.model import (
    AckRequest,
    DigestReference,
    ErrorEntry,
    ErrorSignal,
    Octets,
    Pong,
    StatusResponse,
    Unit,
)
from gateway.protocols import PROTOCOLS, Parcel
from gateway.xmlsec.algorithms import SHA256

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES"]

_FORGED: Final = "acknowledgment forgery; ebMS 2.0 §6.3.2"
_LOOP: Final = "mail loop; ebMS 2.0 §4.2.4.3 and §6.3.2.7"
_ELSEWHERE: Final = "WS-Addressing spoofing (WS-Attacker); reply addresses are those of the agreement"
_SPOOFED: Final = "SOAPAction spoofing (WS-Attacker); ebMS 2.0 appendix B.2"
_ERROR: Final = (ErrorEntry("SecurityFailure", "Error", "", "GW202"),)
_WARNING: Final = (ErrorEntry("Unknown", "Warning", "", "hm"),)


def _check_silent(answer: Answer) -> None:
    if b"Envelope" in answer.body:
        raise WrongAnswerError("the signal was answered by a message")


def _unanswered(name: str, title: str, make: Maker, source: str, times: int = 1) -> Case:
    """Return: a signal that may be believed or not, and is never answered."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        post = make(bench)
        for _ in range(times):
            answer = yield Exchange(post, LAWFUL)
            _check_silent(answer)

    return Case(name, title, "ebms2", source, play)


def _after_answer(name: str, title: str, make: Callable[[Bench, Post, Answer], Post], source: str) -> Case:
    """Return: a signal made of the gateway's own answer to an honest message."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        post = bench.message()
        answer = yield Exchange(post, ACCEPTED)
        back = yield Exchange(make(bench, post, answer), LAWFUL)
        _check_silent(back)

    return Case(name, title, "ebms2", source, play)


def _about(bench: Bench, name: str) -> str:
    return f"{name}-{bench.new_id('gateway')}"


def _receipt(signer: str = "a", *, signed: bool = True, tampered: Any = None, **changes: Any) -> Maker:
    def make(bench: Bench) -> Post:
        unit = bench.receipt_unit(_about(bench, "never-sent"), **changes)
        return bench.message(unit, signer=signer, signed=signed, tampered=tampered)

    return make


def _references() -> tuple[DigestReference, ...]:
    return (DigestReference("", SHA256, bytes(32)), DigestReference("cid:p1", SHA256, bytes(32)))


def _signal(kind: Callable[..., Unit], *, member: str = "a", **fields: Any) -> Maker:
    """Return: a signal of another kind than Acknowledgment, addressed like one."""

    def make(bench: Bench) -> Post:
        return bench.message(_addressed_like(bench, kind, member, fields), member)

    return make


def _addressed_like(bench: Bench, kind: Callable[..., Unit], member: str, fields: dict[str, Any]) -> Unit:
    base = bench.receipt_unit(_about(bench, "never-sent"), member)
    names = ("message_id", "conversation_id", "sender", "receiver", "agreement", "timestamp")
    made = {one: getattr(base, one) for one in names} | {"ref_to_message_id": base.ref_to_message_id}
    return kind(**made | fields)


def _id_of(bench: Bench, answer: Answer) -> str:
    """Return the MessageId of the gateway's answer."""
    parcel = Parcel({"Content-Type": answer.headers.get("content-type", "")}, Octets(answer.body))
    return PROTOCOLS["ebms2"].open(parcel, bench.context()).unit.message_id


def _back(_: Bench, __: Post, answer: Answer) -> Post:
    """Return the gateway's own answer, sent back to it."""
    kind = answer.headers.get("content-type", "")
    return Post("ebms2", {"Content-Type": kind, "SOAPAction": '"ebXML"'}, answer.body)


def _error_about(bench: Bench, _: Post, answer: Answer) -> Post:
    fields = {"ref_to_message_id": _id_of(bench, answer), "errors": _ERROR}
    return bench.message(_addressed_like(bench, ErrorSignal, "a", fields))


def _receipt_about(bench: Bench, _: Post, answer: Answer) -> Post:
    return bench.message(bench.receipt_unit(_id_of(bench, answer)))


def _error_reflected(bench: Bench) -> Generator[Exchange, Answer, None]:
    """Send the gateway's own ErrorList back to it."""
    forged = on_tree(text_set("//eb:ConversationId", "forged"))
    answer = yield Exchange(bench.message(tampered=forged), refusal("GW202"))
    back = yield Exchange(_back(bench, bench.message(), answer), LAWFUL)
    _check_silent(back)


def _broken_receipt(change: Alteration) -> Maker:
    return _receipt(tampered=on_tree(change))


_RECEIPTS: Final = (
    _unanswered("REP-07.unsigned", "an Acknowledgment that nobody signed", _receipt(signed=False), _FORGED),
    _unanswered("REP-07.other-signer", "an Acknowledgment of A that B signed", _receipt("b"), _FORGED),
    _unanswered(
        "REP-07.stranger", "an Acknowledgment of A that a stranger signed", _receipt("stranger"), _FORGED
    ),
    _unanswered(
        "REP-07.wrong-digests",
        "an Acknowledgment with digests of other octets",
        _receipt(references=_references()),
        _FORGED,
    ),
    _unanswered(
        "REP-07.changed",
        "an Acknowledgment changed after it was signed",
        _broken_receipt(text_set("//eb:Acknowledgment/eb:RefToMessageId", "other@suite.example")),
        _FORGED,
    ),
    _unanswered(
        "REP-07.two-references",
        "an Acknowledgment whose two RefToMessageId differ",
        _broken_receipt(text_set("//eb:MessageData/eb:RefToMessageId", "other@suite.example")),
        _FORGED,
    ),
    _unanswered(
        "REP-07.next-handler",
        "an Acknowledgment for the next handler",
        _broken_receipt(attribute_set("//eb:Acknowledgment", "soap:actor", NEXT_MSH)),
        _FORGED,
    ),
    _unanswered(
        "REP-07.nothing",
        "a message that is called Acknowledgment and has none",
        _broken_receipt(removed("//eb:Acknowledgment")),
        _FORGED,
    ),
    _unanswered(
        "REP-08.never-sent", "an Acknowledgment of a message that was never sent", _receipt(), _FORGED
    ),
    _unanswered("REP-08.twice", "the same Acknowledgment three times", _receipt(), _FORGED, times=3),
    _after_answer(
        "REP-08.own-message",
        "an Acknowledgment of the sender's own message",
        lambda bench, post, _: bench.message(bench.receipt_unit(_message_id(post))),
        _FORGED,
    ),
)


def _message_id(post: Post) -> str:
    start = post.body.index(b"<eb:MessageId>") + 14
    return post.body[start : post.body.index(b"</eb:MessageId>")].decode()


_LOOPS: Final = (
    _after_answer(
        "REP-10.receipt-reflected", "the gateway's own Acknowledgment sent back to it", _back, _LOOP
    ),
    _after_answer(
        "REP-10.receipt-of-receipt",
        "an Acknowledgment of the gateway's Acknowledgment",
        _receipt_about,
        _LOOP,
    ),
    _after_answer(
        "REP-10.error-about-receipt", "an error about the gateway's Acknowledgment", _error_about, _LOOP
    ),
    Case(
        "REP-10.error-reflected",
        "the gateway's own ErrorList sent back to it",
        "ebms2",
        _LOOP,
        _error_reflected,
    ),
    _unanswered(
        "REP-10.error",
        "an error about a message that was never sent",
        _signal(ErrorSignal, errors=_ERROR),
        _LOOP,
    ),
    _unanswered(
        "REP-10.error-about-nothing",
        "an error about no message",
        _signal(ErrorSignal, errors=_ERROR, ref_to_message_id=None),
        _LOOP,
    ),
    _unanswered(
        "REP-10.warning",
        "a warning about a message that was never sent",
        _signal(ErrorSignal, errors=_WARNING),
        _LOOP,
    ),
    _unanswered(
        "REP-10.many-errors",
        "two hundred errors about a message that was never sent",
        _signal(ErrorSignal, errors=_ERROR * 200),
        _LOOP,
    ),
    _unanswered("REP-10.pong", "a Pong that nobody asked for", _signal(Pong), _LOOP),
    _unanswered(
        "REP-10.status",
        "a StatusResponse that nobody asked for",
        _signal(StatusResponse, about="m@suite.example", status="Processed"),
        _LOOP,
    ),
    _unanswered(
        "REP-10.receipt-wants-receipt",
        "an Acknowledgment that asks for an Acknowledgment",
        _broken_receipt(
            added(
                "/soap:Envelope/soap:Header",
                '<eb:AckRequested eb:version="2.0" soap:mustUnderstand="1" eb:signed="true"/>',
            )
        ),
        _LOOP,
    ),
    _unanswered(
        "REP-10.receipt-wants-sync",
        "an Acknowledgment that asks for an answer on its connection",
        _broken_receipt(
            added(
                "/soap:Envelope/soap:Header",
                f'<eb:SyncReply eb:version="2.0" soap:mustUnderstand="1" soap:actor="{NEXT}"/>',
            )
        ),
        _LOOP,
    ),
)


def _signed_with(change: Alteration) -> Maker:
    """Return: A's message, changed before A signed it."""
    return lambda bench: bench.message(envelope=on_tree(change))


def _answered_here(name: str, title: str, make: Maker) -> Case:
    """Return: a wish for an answer elsewhere, which changes nothing: it comes on the connection."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        answer = yield Exchange(make(bench), LAWFUL)
        if b"Acknowledgment" not in answer.body:
            raise WrongAnswerError("the acknowledgment did not come on the connection")

    return Case(name, title, "ebms2", _ELSEWHERE, play, naive=True)


def _http_field(name: str) -> Maker:
    return lambda bench: bench.post(bench.craft(), {name: _ATTACKER})


_ATTACKER: Final = "http://169.254.169.254/msh"
_ACK: Final = "//eb:AckRequested"
_SYNC: Final = "//eb:SyncReply"

_WISHES: Final = (
    *(
        attack(f"REP-11.{name}", title, _signed_with(change), problem, _ELSEWHERE, naive=naive)
        for name, title, change, problem, naive in (
            (
                "ack-to-url",
                "AckRequested whose actor is a URL",
                attribute_set(_ACK, "soap:actor", _ATTACKER),
                "GW304",
                True,
            ),
            (
                "ack-to-next",
                "AckRequested for the next handler",
                attribute_set(_ACK, "soap:actor", NEXT_MSH),
                "GW311",
                True,
            ),
            (
                "ack-to-next-node",
                "AckRequested for the next node",
                attribute_set(_ACK, "soap:actor", NEXT),
                "GW304",
                True,
            ),
            (
                "ack-to-nobody",
                "AckRequested with an empty actor",
                attribute_set(_ACK, "soap:actor", ""),
                "GW304",
                True,
            ),
            (
                "sync-to-url",
                "SyncReply whose actor is a URL",
                attribute_set(_SYNC, "soap:actor", _ATTACKER),
                "GW304",
                True,
            ),
            (
                "sync-without-actor",
                "SyncReply without actor",
                lambda root: _without_actor(root),
                "GW107",
                True,
            ),
            (
                "via-endpoint",
                "an endpoint as extension of AckRequested",
                added(_ACK, f"<x:ReplyTo>{_ATTACKER}</x:ReplyTo>"),
                "GW311",
                True,
            ),
            (
                "address-in-from",
                "an address beside PartyId in From",
                added("//eb:From", f"<x:ReplyTo>{_ATTACKER}</x:ReplyTo>"),
                "GW107",
                True,
            ),
        )
    ),
    *(
        _answered_here(f"REP-11.{name}", title, _signed_with(added("/soap:Envelope/soap:Header", text)))
        for name, title, text in (
            (
                "reply-to",
                "wsa:ReplyTo in a message of ebMS",
                f"<wsa:ReplyTo><wsa:Address>{_ATTACKER}</wsa:Address></wsa:ReplyTo>",
            ),
            (
                "fault-to",
                "wsa:FaultTo in a message of ebMS",
                f"<wsa:FaultTo><wsa:Address>{_ATTACKER}</wsa:Address></wsa:FaultTo>",
            ),
            ("unknown-reply-to", "a ReplyTo of nobody's", f"<x:ReplyTo>{_ATTACKER}</x:ReplyTo>"),
        )
    ),
    *(
        _answered_here(f"REP-11.{name}", title, _http_field(field))
        for name, title, field in (
            ("http-host", "a forwarded host in the HTTP headers", "X-Forwarded-Host"),
            ("http-url", "another URL in the HTTP headers", "X-Original-URL"),
            ("http-location", "Content-Location in the HTTP headers", "Content-Location"),
            ("http-from", "From in the HTTP headers", "From"),
        )
    ),
)


def _without_actor(root: Any) -> None:
    for block in root.iter("{*}SyncReply"):
        block.attrib.pop(f"{{{root.nsmap['soap']}}}actor")


def _action(value: str) -> Maker:
    return lambda bench: bench.post(bench.craft(), {"SOAPAction": value})


def _terms(**changes: Any) -> Maker:
    return lambda bench: bench.message(bench.unit(**changes))


_SIGNAL_SERVICE: Final = "urn:oasis:names:tc:ebxml-msg:service"


def _as_signal(action: str) -> Maker:
    """Return: a business message that says it is a signal of that name."""
    changes = (text_set("//eb:Service", _SIGNAL_SERVICE), text_set("//eb:MessageHeader/eb:Action", action))

    def untyped(root: Any) -> None:
        for service in root.iter("{*}Service"):
            service.attrib.clear()

    return lambda bench: bench.message(envelope=on_tree(*changes, untyped))


def _case(row: tuple[str, str, Maker, str | Expected]) -> Case:
    name, title, make, expected = row
    return attack(f"REP-12.{name}", title, make, expected, _SPOOFED, naive=True)


_CONTRADICTIONS: Final = tuple(
    map(
        _case,
        (
            ("other-action", "SOAPAction names another action", _action('"suite:store/Withdraw"'), "GW304"),
            (
                "other-protocol",
                "SOAPAction is that of the agencies' service",
                _action('"urn:single-window:service:agency:1:SubmitDecision"'),
                "GW304",
            ),
            ("url", "SOAPAction is a URL", _action(f'"{_ATTACKER}"'), "GW304"),
            ("case", "SOAPAction differs in case", _action('"EBXML"'), "GW304"),
            ("two", "SOAPAction holds two values", _action('"ebXML", "Withdraw"'), "GW304"),
            ("long", "SOAPAction has ten thousand characters", _action(f'"{"x" * 10_000}"'), "GW304"),
            ("ping", "a business message that says it is a Ping", _as_signal("Ping"), "GW304"),
            (
                "unknown-signal",
                "a business message that says it is a signal that there is not",
                _as_signal("Withdraw"),
                "GW303",
            ),
            (
                "no-elimination",
                "no DuplicateElimination where it was agreed",
                _terms(duplicate_elimination=False),
                "GW304",
            ),
            ("no-ack", "no AckRequested where it was agreed", _terms(ack_requested=None), "GW304"),
            (
                "unsigned-ack",
                "an unsigned acknowledgment is asked for where a signed one was agreed",
                _terms(ack_requested=AckRequest(signed=False)),
                "GW304",
            ),
        ),
    )
)

#: Business messages that claim to be signals which nobody answers: neither taken nor answered.
_CLAIMS: Final = tuple(
    _unanswered(
        f"REP-12.as-{action.lower()}",
        f"a business message that says it is {words}",
        _as_signal(action),
        _SPOOFED,
    )
    for action, words in (
        ("Acknowledgment", "an Acknowledgment"),
        ("MessageError", "an error"),
        ("Pong", "a Pong"),
        ("StatusResponse", "a StatusResponse"),
    )
)

CASES: Final[tuple[Case, ...]] = tuple(itertools.chain(_RECEIPTS, _LOOPS, _WISHES, _CONTRADICTIONS, _CLAIMS))
