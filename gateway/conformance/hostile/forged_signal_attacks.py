"""Acknowledgments, errors and answers that nobody asked for, and wishes for answers elsewhere.

A signal is never answered by a signal (ebMS 2.0 §4.2.4.3, §6.3.2.7): what a gateway thinks
of a forged one stays with it.  Whoever could make it answer would have a mail loop.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from typing import Any, Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import (
    ACCEPTED,
    LAWFUL,
    Answer,
    Exchange,
    Expectation,
    HttpRequest,
    WrongAnswerError,
)
from gateway.conformance.hostile.message_attacks import make_attack_case
from gateway.conformance.hostile.scenarios import RequestMaker, expect_refusal
from gateway.conformance.hostile.tree_mutations import (
    NEXT,
    NEXT_MSH,
    TreeMutation,
    append_element,
    mutate_tree,
    remove_element,
    set_attribute,
    set_text,
)
from gateway.message_model import (
    AckRequest,
    DigestReference,
    ErrorEntry,
    ErrorSignal,
    MemoryBody,
    Pong,
    StatusResponse,
    Unit,
)
from gateway.protocols import PROTOCOLS, Parcel
from gateway.xmlsec.algorithms import SHA256

__all__ = ["CASES"]

_FORGED: Final = "acknowledgment forgery; ebMS 2.0 §6.3.2"
_LOOP: Final = "mail loop; ebMS 2.0 §4.2.4.3 and §6.3.2.7"
_ELSEWHERE: Final = "WS-Addressing spoofing (WS-Attacker); reply addresses are those of the agreement"
_SPOOFED: Final = "SOAPAction spoofing (WS-Attacker); ebMS 2.0 appendix B.2"
_ERROR: Final = (ErrorEntry("SecurityFailure", "Error", "", "GW202"),)
_WARNING: Final = (ErrorEntry("Unknown", "Warning", "", "hm"),)


def _check_no_message(answer: Answer) -> None:
    if b"Envelope" in answer.body:
        raise WrongAnswerError("the signal was answered by a message")


def _make_unanswered_case(
    name: str, title: str, make: RequestMaker, source: str, times: int = 1
) -> AttackCase:
    """Return: a signal that may be believed or not, and is never answered."""

    def run_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
        post = make(bench)
        for _ in range(times):
            answer = yield Exchange(post, LAWFUL)
            _check_no_message(answer)

    return AttackCase(name, title, "ebms2", source, run_scenario)


def _make_after_answer_case(
    name: str, title: str, make: Callable[[AttackerKit, HttpRequest, Answer], HttpRequest], source: str
) -> AttackCase:
    """Return: a signal made of the gateway's own answer to an honest message."""

    def run_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
        post = bench.build_message()
        answer = yield Exchange(post, ACCEPTED)
        back = yield Exchange(make(bench, post, answer), LAWFUL)
        _check_no_message(back)

    return AttackCase(name, title, "ebms2", source, run_scenario)


def _make_unknown_id(bench: AttackerKit, name: str) -> str:
    return f"{name}-{bench.make_message_id('gateway')}"


def _make_receipt_request(
    signer: str = "a", *, signed: bool = True, tampered: Any = None, **changes: Any
) -> RequestMaker:
    def make_request(bench: AttackerKit) -> HttpRequest:
        unit = bench.make_receipt(_make_unknown_id(bench, "never-sent"), **changes)
        return bench.build_message(unit, signer=signer, signed=signed, tampered=tampered)

    return make_request


def _make_wrong_references() -> tuple[DigestReference, ...]:
    return (DigestReference("", SHA256, bytes(32)), DigestReference("cid:p1", SHA256, bytes(32)))


def _make_signal_request(kind: Callable[..., Unit], *, member: str = "a", **fields: Any) -> RequestMaker:
    """Return: a signal of another kind than Acknowledgment, addressed like one."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        return bench.build_message(_make_signal_unit(bench, kind, member, fields), member)

    return make_request


def _make_signal_unit(
    bench: AttackerKit, kind: Callable[..., Unit], member: str, fields: dict[str, Any]
) -> Unit:
    base = bench.make_receipt(_make_unknown_id(bench, "never-sent"), member)
    names = ("message_id", "conversation_id", "sender", "receiver", "agreement", "timestamp")
    made = {one: getattr(base, one) for one in names} | {"ref_to_message_id": base.ref_to_message_id}
    return kind(**made | fields)


def _read_answer_id(bench: AttackerKit, answer: Answer) -> str:
    """Return the MessageId of the gateway's answer."""
    parcel = Parcel({"Content-Type": answer.headers.get("content-type", "")}, MemoryBody(answer.body))
    return PROTOCOLS["ebms2"].open(parcel, bench.build_context()).unit.message_id


def _reflect_answer(_: AttackerKit, __: HttpRequest, answer: Answer) -> HttpRequest:
    """Return the gateway's own answer, sent back to it."""
    kind = answer.headers.get("content-type", "")
    return HttpRequest("ebms2", {"Content-Type": kind, "SOAPAction": '"ebXML"'}, answer.body)


def _make_error_about(bench: AttackerKit, _: HttpRequest, answer: Answer) -> HttpRequest:
    fields = {"ref_to_message_id": _read_answer_id(bench, answer), "errors": _ERROR}
    return bench.build_message(_make_signal_unit(bench, ErrorSignal, "a", fields))


def _make_receipt_about(bench: AttackerKit, _: HttpRequest, answer: Answer) -> HttpRequest:
    return bench.build_message(bench.make_receipt(_read_answer_id(bench, answer)))


def _run_reflected_error(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send the gateway's own ErrorList back to it."""
    forged = mutate_tree(set_text("//eb:ConversationId", "forged"))
    answer = yield Exchange(bench.build_message(tampered=forged), expect_refusal("GW202"))
    back = yield Exchange(_reflect_answer(bench, bench.build_message(), answer), LAWFUL)
    _check_no_message(back)


def _make_broken_receipt(change: TreeMutation) -> RequestMaker:
    return _make_receipt_request(tampered=mutate_tree(change))


_RECEIPTS: Final = (
    _make_unanswered_case(
        "REP-07.unsigned",
        "an Acknowledgment that nobody signed",
        _make_receipt_request(signed=False),
        _FORGED,
    ),
    _make_unanswered_case(
        "REP-07.other-signer", "an Acknowledgment of A that B signed", _make_receipt_request("b"), _FORGED
    ),
    _make_unanswered_case(
        "REP-07.stranger",
        "an Acknowledgment of A that a stranger signed",
        _make_receipt_request("stranger"),
        _FORGED,
    ),
    _make_unanswered_case(
        "REP-07.wrong-digests",
        "an Acknowledgment with digests of other octets",
        _make_receipt_request(references=_make_wrong_references()),
        _FORGED,
    ),
    _make_unanswered_case(
        "REP-07.changed",
        "an Acknowledgment changed after it was signed",
        _make_broken_receipt(set_text("//eb:Acknowledgment/eb:RefToMessageId", "other@suite.example")),
        _FORGED,
    ),
    _make_unanswered_case(
        "REP-07.two-references",
        "an Acknowledgment whose two RefToMessageId differ",
        _make_broken_receipt(set_text("//eb:MessageData/eb:RefToMessageId", "other@suite.example")),
        _FORGED,
    ),
    _make_unanswered_case(
        "REP-07.next-handler",
        "an Acknowledgment for the next handler",
        _make_broken_receipt(set_attribute("//eb:Acknowledgment", "soap:actor", NEXT_MSH)),
        _FORGED,
    ),
    _make_unanswered_case(
        "REP-07.nothing",
        "a message that is called Acknowledgment and has none",
        _make_broken_receipt(remove_element("//eb:Acknowledgment")),
        _FORGED,
    ),
    _make_unanswered_case(
        "REP-08.never-sent",
        "an Acknowledgment of a message that was never sent",
        _make_receipt_request(),
        _FORGED,
    ),
    _make_unanswered_case(
        "REP-08.twice", "the same Acknowledgment three times", _make_receipt_request(), _FORGED, times=3
    ),
    _make_after_answer_case(
        "REP-08.own-message",
        "an Acknowledgment of the sender's own message",
        lambda bench, post, _: bench.build_message(bench.make_receipt(_read_message_id(post))),
        _FORGED,
    ),
)


def _read_message_id(post: HttpRequest) -> str:
    start = post.body.index(b"<eb:MessageId>") + 14
    return post.body[start : post.body.index(b"</eb:MessageId>")].decode()


_LOOPS: Final = (
    _make_after_answer_case(
        "REP-10.receipt-reflected", "the gateway's own Acknowledgment sent back to it", _reflect_answer, _LOOP
    ),
    _make_after_answer_case(
        "REP-10.receipt-of-receipt",
        "an Acknowledgment of the gateway's Acknowledgment",
        _make_receipt_about,
        _LOOP,
    ),
    _make_after_answer_case(
        "REP-10.error-about-receipt", "an error about the gateway's Acknowledgment", _make_error_about, _LOOP
    ),
    AttackCase(
        "REP-10.error-reflected",
        "the gateway's own ErrorList sent back to it",
        "ebms2",
        _LOOP,
        _run_reflected_error,
    ),
    _make_unanswered_case(
        "REP-10.error",
        "an error about a message that was never sent",
        _make_signal_request(ErrorSignal, errors=_ERROR),
        _LOOP,
    ),
    _make_unanswered_case(
        "REP-10.error-about-nothing",
        "an error about no message",
        _make_signal_request(ErrorSignal, errors=_ERROR, ref_to_message_id=None),
        _LOOP,
    ),
    _make_unanswered_case(
        "REP-10.warning",
        "a warning about a message that was never sent",
        _make_signal_request(ErrorSignal, errors=_WARNING),
        _LOOP,
    ),
    _make_unanswered_case(
        "REP-10.many-errors",
        "two hundred errors about a message that was never sent",
        _make_signal_request(ErrorSignal, errors=_ERROR * 200),
        _LOOP,
    ),
    _make_unanswered_case("REP-10.pong", "a Pong that nobody asked for", _make_signal_request(Pong), _LOOP),
    _make_unanswered_case(
        "REP-10.status",
        "a StatusResponse that nobody asked for",
        _make_signal_request(StatusResponse, about="m@suite.example", status="Processed"),
        _LOOP,
    ),
    _make_unanswered_case(
        "REP-10.receipt-wants-receipt",
        "an Acknowledgment that asks for an Acknowledgment",
        _make_broken_receipt(
            append_element(
                "/soap:Envelope/soap:Header",
                '<eb:AckRequested eb:version="2.0" soap:mustUnderstand="1" eb:signed="true"/>',
            )
        ),
        _LOOP,
    ),
    _make_unanswered_case(
        "REP-10.receipt-wants-sync",
        "an Acknowledgment that asks for an answer on its connection",
        _make_broken_receipt(
            append_element(
                "/soap:Envelope/soap:Header",
                f'<eb:SyncReply eb:version="2.0" soap:mustUnderstand="1" soap:actor="{NEXT}"/>',
            )
        ),
        _LOOP,
    ),
)


def _make_altered_request(change: TreeMutation) -> RequestMaker:
    """Return: A's message, changed before A signed it."""
    return lambda bench: bench.build_message(envelope=mutate_tree(change))


def _make_connection_answer_case(name: str, title: str, make: RequestMaker) -> AttackCase:
    """Return: a wish for an answer elsewhere, which changes nothing: it comes on the connection."""

    def run_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
        answer = yield Exchange(make(bench), LAWFUL)
        if b"Acknowledgment" not in answer.body:
            raise WrongAnswerError("the acknowledgment did not come on the connection")

    return AttackCase(name, title, "ebms2", _ELSEWHERE, run_scenario, naive=True)


def _make_http_field_request(name: str) -> RequestMaker:
    return lambda bench: bench.wrap_parcel(bench.build_parcel(), {name: _ATTACKER})


_ATTACKER: Final = "http://169.254.169.254/msh"
_ACK: Final = "//eb:AckRequested"
_SYNC: Final = "//eb:SyncReply"

_WISHES: Final = (
    *(
        make_attack_case(
            f"REP-11.{name}", title, _make_altered_request(change), problem, _ELSEWHERE, naive=naive
        )
        for name, title, change, problem, naive in (
            (
                "ack-to-url",
                "AckRequested whose actor is a URL",
                set_attribute(_ACK, "soap:actor", _ATTACKER),
                "GW304",
                True,
            ),
            (
                "ack-to-next",
                "AckRequested for the next handler",
                set_attribute(_ACK, "soap:actor", NEXT_MSH),
                "GW311",
                True,
            ),
            (
                "ack-to-next-node",
                "AckRequested for the next node",
                set_attribute(_ACK, "soap:actor", NEXT),
                "GW304",
                True,
            ),
            (
                "ack-to-nobody",
                "AckRequested with an empty actor",
                set_attribute(_ACK, "soap:actor", ""),
                "GW304",
                True,
            ),
            (
                "sync-to-url",
                "SyncReply whose actor is a URL",
                set_attribute(_SYNC, "soap:actor", _ATTACKER),
                "GW304",
                True,
            ),
            (
                "sync-without-actor",
                "SyncReply without actor",
                lambda root: _remove_actor(root),
                "GW107",
                True,
            ),
            (
                "via-endpoint",
                "an endpoint as extension of AckRequested",
                append_element(_ACK, f"<x:ReplyTo>{_ATTACKER}</x:ReplyTo>"),
                "GW311",
                True,
            ),
            (
                "address-in-from",
                "an address beside PartyId in From",
                append_element("//eb:From", f"<x:ReplyTo>{_ATTACKER}</x:ReplyTo>"),
                "GW107",
                True,
            ),
        )
    ),
    *(
        _make_connection_answer_case(
            f"REP-11.{name}", title, _make_altered_request(append_element("/soap:Envelope/soap:Header", text))
        )
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
        _make_connection_answer_case(f"REP-11.{name}", title, _make_http_field_request(field))
        for name, title, field in (
            ("http-host", "a forwarded host in the HTTP headers", "X-Forwarded-Host"),
            ("http-url", "another URL in the HTTP headers", "X-Original-URL"),
            ("http-location", "Content-Location in the HTTP headers", "Content-Location"),
            ("http-from", "From in the HTTP headers", "From"),
        )
    ),
)


def _remove_actor(root: Any) -> None:
    for block in root.iter("{*}SyncReply"):
        block.attrib.pop(f"{{{root.nsmap['soap']}}}actor")


def _make_soap_action_request(value: str) -> RequestMaker:
    return lambda bench: bench.wrap_parcel(bench.build_parcel(), {"SOAPAction": value})


def _make_unit_request(**changes: Any) -> RequestMaker:
    return lambda bench: bench.build_message(bench.make_unit(**changes))


_SIGNAL_SERVICE: Final = "urn:oasis:names:tc:ebxml-msg:service"


def _make_false_signal_request(action: str) -> RequestMaker:
    """Return: a business message that says it is a signal of that name."""
    changes = (set_text("//eb:Service", _SIGNAL_SERVICE), set_text("//eb:MessageHeader/eb:Action", action))

    def clear_service_type(root: Any) -> None:
        for service in root.iter("{*}Service"):
            service.attrib.clear()

    return lambda bench: bench.build_message(envelope=mutate_tree(*changes, clear_service_type))


def _make_contradiction_case(row: tuple[str, str, RequestMaker, str | Expectation]) -> AttackCase:
    name, title, make, expected = row
    return make_attack_case(f"REP-12.{name}", title, make, expected, _SPOOFED, naive=True)


_CONTRADICTIONS: Final = tuple(
    map(
        _make_contradiction_case,
        (
            (
                "other-action",
                "SOAPAction names another action",
                _make_soap_action_request('"suite:store/Withdraw"'),
                "GW304",
            ),
            (
                "other-protocol",
                "SOAPAction is that of the agencies' service",
                _make_soap_action_request('"urn:single-window:service:agency:1:SubmitDecision"'),
                "GW304",
            ),
            ("url", "SOAPAction is a URL", _make_soap_action_request(f'"{_ATTACKER}"'), "GW304"),
            ("case", "SOAPAction differs in case", _make_soap_action_request('"EBXML"'), "GW304"),
            ("two", "SOAPAction holds two values", _make_soap_action_request('"ebXML", "Withdraw"'), "GW304"),
            (
                "long",
                "SOAPAction has ten thousand characters",
                _make_soap_action_request(f'"{"x" * 10_000}"'),
                "GW304",
            ),
            (
                "ping",
                "a business message that says it is a Ping",
                _make_false_signal_request("Ping"),
                "GW304",
            ),
            (
                "unknown-signal",
                "a business message that says it is a signal that there is not",
                _make_false_signal_request("Withdraw"),
                "GW303",
            ),
            (
                "no-elimination",
                "no DuplicateElimination where it was agreed",
                _make_unit_request(duplicate_elimination=False),
                "GW304",
            ),
            (
                "no-ack",
                "no AckRequested where it was agreed",
                _make_unit_request(ack_requested=None),
                "GW304",
            ),
            (
                "unsigned-ack",
                "an unsigned acknowledgment is asked for where a signed one was agreed",
                _make_unit_request(ack_requested=AckRequest(signed=False)),
                "GW304",
            ),
        ),
    )
)

#: Business messages that claim to be signals which nobody answers: neither taken nor answered.
_CLAIMS: Final = tuple(
    _make_unanswered_case(
        f"REP-12.as-{action.lower()}",
        f"a business message that says it is {words}",
        _make_false_signal_request(action),
        _SPOOFED,
    )
    for action, words in (
        ("Acknowledgment", "an Acknowledgment"),
        ("MessageError", "an error"),
        ("Pong", "a Pong"),
        ("StatusResponse", "a StatusResponse"),
    )
)

CASES: Final[tuple[AttackCase, ...]] = tuple(
    itertools.chain(_RECEIPTS, _LOOPS, _WISHES, _CONTRADICTIONS, _CLAIMS)
)
