"""Unrequested signals, requests for answers to another address, and questions about messages of others.

A third party that has seen a MessageId, in a log or on the way, can ask for the status of the message
(APP-05): the answer is for the sender of the message alone. The status of ebMS 2.0 for such a question is
UnAuthorized (§7.1.2); a SecurityFailure refuses it too, and so does NotRecognized, the status of every
unknown id.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from lxml import etree

from gateway.errors import GatewayError
from gateway.message_model import (
    AckRequest,
    DigestReference,
    ErrorEntry,
    ErrorSignal,
    MemoryBody,
    Pong,
    StatusRequest,
    StatusResponse,
    Unit,
)
from gateway.protocols import PROTOCOLS, SOAP_ACTION, Parcel
from gateway.wire import EB, parse_xml, read_envelope
from gateway.xmlsec import SHA256
from gateway_conformance.hostile.attack_cases import (
    HEADER,
    AttackCase,
    AttackTable,
    PlainTable,
    RequestMaker,
    Scenario,
    change_before_signing,
    expect_refusal,
    make_table_cases,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    ACTOR,
    NEXT,
    NEXT_MSH,
    TreeMutation,
    append_element,
    combine_mutations,
    get_element,
    mutate_tree,
    remove_element,
    set_attribute,
    set_text,
)
from gateway_conformance.hostile.exchange import (
    ACCEPTED,
    LAWFUL,
    Answer,
    Exchange,
    Expectation,
    HttpRequest,
    NotOfferedError,
    WrongAnswerError,
)

_FORGED: Final = "acknowledgment forgery; ebMS 2.0 §6.3.2"
_LOOP: Final = "mail loop; ebMS 2.0 §4.2.4.3 and §6.3.2.7"
_ELSEWHERE: Final = "WS-Addressing spoofing (WS-Attacker); reply addresses are those of the agreement"
_SPOOFED: Final = "SOAPAction spoofing (WS-Attacker); ebMS 2.0 appendix B.2"
_ERROR: Final = (ErrorEntry("SecurityFailure", "Error", "", "GW202"),)
_WARNING: Final = (ErrorEntry("Unknown", "Warning", "", "hm"),)
_OTHER_DIGESTS: Final = tuple(DigestReference(uri, SHA256, bytes(32)) for uri in ("", "cid:p1"))
_OTHER_ID: Final = "other@suite.example"
_ATTACKER: Final = "http://169.254.169.254/msh"
_REPLY_TO: Final = f"<x:ReplyTo>{_ATTACKER}</x:ReplyTo>"
_ACK_REQUESTED: Final = '<eb:AckRequested eb:version="2.0" soap:mustUnderstand="1" eb:signed="true"/>'
_SYNC_REPLY: Final = f'<eb:SyncReply eb:version="2.0" soap:mustUnderstand="1" soap:actor="{NEXT}"/>'
_ACK: Final = "//eb:AckRequested"
_SYNC: Final = "//eb:SyncReply"
_SIGNAL_SERVICE: Final = "urn:oasis:names:tc:ebxml-msg:service"

#: Makes a signal from an honest message and the gateway's answer to it.
_AnswerSignalMaker = Callable[[AttackerKit, HttpRequest, Answer], HttpRequest]


def _check_no_message(answer: Answer) -> None:
    if b"Envelope" in answer.body:
        raise WrongAnswerError("the signal was answered by a message")


def _make_unanswered_cases(
    rows: PlainTable[RequestMaker], source: str, prefix: str = "", times: int = 1
) -> Iterator[AttackCase]:
    """Yield the cases with signals that may be accepted or not, and are never answered."""
    for variant, title, make in rows:
        scenario = _make_unanswered_scenario(make, times)
        yield AttackCase(prefix + variant, title, "ebms2", source, scenario)


def _make_unanswered_scenario(make: RequestMaker, times: int) -> Scenario:
    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        post = make(kit)
        for _ in range(times):
            answer = yield Exchange(post, LAWFUL)
            _check_no_message(answer)

    return run_scenario


def _make_after_answer_case(
    variant: str, title: str, make_signal: _AnswerSignalMaker, source: str
) -> AttackCase:
    """Return the case with a signal that is derived from the gateway's answer to an honest message."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        post = kit.build_message()
        answer = yield Exchange(post, ACCEPTED)
        signal_answer = yield Exchange(make_signal(kit, post, answer), LAWFUL)
        _check_no_message(signal_answer)

    return AttackCase(variant, title, "ebms2", source, run_scenario)


def _make_unsent_message_id(kit: AttackerKit) -> str:
    return f"never-sent-{kit.make_message_id('gateway')}"


def _make_receipt_request(
    signer: str = "a", *, signed: bool = True, tampered: Any = None, **changes: Any
) -> RequestMaker:
    def make_request(kit: AttackerKit) -> HttpRequest:
        unit = kit.make_receipt(_make_unsent_message_id(kit), **changes)
        return kit.build_message(unit, signer=signer, signed=signed, tampered=tampered)

    return make_request


def _make_signal_request(kind: Callable[..., Unit], *, member: str = "a", **fields: Any) -> RequestMaker:
    """Return the maker of a request with a signal that refers to a message that was never sent."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        return kit.build_message(_make_signal_unit(kit, kind, member, fields), member)

    return make_request


def _make_signal_unit(
    kit: AttackerKit, kind: Callable[..., Unit], member: str, fields: dict[str, Any]
) -> Unit:
    unsent_id = _make_unsent_message_id(kit)
    reference_fields = {"conversation_id": f"c-{unsent_id}", "ref_to_message_id": unsent_id}
    return kit.make_signal(kind, member, **reference_fields | fields)


def _read_answer_id(kit: AttackerKit, answer: Answer) -> str:
    """Return the MessageId of the gateway's answer."""
    parcel = Parcel({"Content-Type": answer.headers.get("content-type", "")}, MemoryBody(answer.body))
    return PROTOCOLS["ebms2"].open_units(parcel, kit.build_context()).unit.message_id


def _reflect_answer(_: AttackerKit, __: HttpRequest, answer: Answer) -> HttpRequest:
    """Return the gateway's own answer, sent back to it."""
    content_type = answer.headers.get("content-type", "")
    return HttpRequest("ebms2", {"Content-Type": content_type, "SOAPAction": SOAP_ACTION}, answer.body)


def _make_error_about(kit: AttackerKit, _: HttpRequest, answer: Answer) -> HttpRequest:
    fields = {"ref_to_message_id": _read_answer_id(kit, answer), "errors": _ERROR}
    return kit.build_message(_make_signal_unit(kit, ErrorSignal, "a", fields))


def _make_receipt_about(kit: AttackerKit, _: HttpRequest, answer: Answer) -> HttpRequest:
    return kit.build_message(kit.make_receipt(_read_answer_id(kit, answer)))


def _run_reflected_error(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send the gateway's own ErrorList back to it."""
    forged = mutate_tree(set_text("//eb:ConversationId", "forged"))
    answer = yield Exchange(kit.build_message(tampered=forged), expect_refusal("GW202"))
    reflected_answer = yield Exchange(_reflect_answer(kit, kit.build_message(), answer), LAWFUL)
    _check_no_message(reflected_answer)


def _make_broken_receipt(change: TreeMutation) -> RequestMaker:
    return _make_receipt_request(tampered=mutate_tree(change))


def _make_receipt_of_own(kit: AttackerKit, post: HttpRequest, _: Answer) -> HttpRequest:
    start = post.body.index(b"<eb:MessageId>") + 14
    message_id = post.body[start : post.body.index(b"</eb:MessageId>")].decode()
    return kit.build_message(kit.make_receipt(message_id))


def _append_to_header(text: str) -> TreeMutation:
    return append_element(HEADER, text)


# fmt: off
_RECEIPTS: Final[PlainTable[RequestMaker]] = (
    ("REP-07.unsigned", "an Acknowledgment that nobody signed", _make_receipt_request(signed=False)),
    ("REP-07.other-signer", "an Acknowledgment of A that B signed", _make_receipt_request("b")),
    ("REP-07.stranger", "an Acknowledgment of A that a stranger signed", _make_receipt_request("stranger")),
    ("REP-07.wrong-digests", "an Acknowledgment with digests of other octets",
     _make_receipt_request(references=_OTHER_DIGESTS)),
    ("REP-07.changed", "an Acknowledgment changed after it was signed",
     _make_broken_receipt(set_text("//eb:Acknowledgment/eb:RefToMessageId", _OTHER_ID))),
    ("REP-07.two-references", "an Acknowledgment whose two RefToMessageId differ",
     _make_broken_receipt(set_text("//eb:MessageData/eb:RefToMessageId", _OTHER_ID))),
    ("REP-07.next-handler", "an Acknowledgment for the next handler",
     _make_broken_receipt(set_attribute("//eb:Acknowledgment", "soap:actor", NEXT_MSH))),
    ("REP-07.nothing", "a message that is called Acknowledgment and has none",
     _make_broken_receipt(remove_element("//eb:Acknowledgment"))),
    ("REP-08.never-sent", "an Acknowledgment of a message that was never sent", _make_receipt_request()),
)

_REPEATED: Final[PlainTable[RequestMaker]] = (
    ("REP-08.twice", "the same Acknowledgment three times", _make_receipt_request()),
)

#: The signal that is derived from the gateway's answer, and its purpose.
_REFLECTED: Final[tuple[tuple[str, str, _AnswerSignalMaker, str], ...]] = (
    ("REP-08.own-message", "an Acknowledgment of the sender's own message", _make_receipt_of_own, _FORGED),
    ("REP-10.receipt-reflected", "the gateway's own Acknowledgment sent back to it", _reflect_answer, _LOOP),
    ("REP-10.receipt-of-receipt", "an Acknowledgment of the gateway's Acknowledgment", _make_receipt_about,
     _LOOP),
    ("REP-10.error-about-receipt", "an error about the gateway's Acknowledgment", _make_error_about, _LOOP),
)

_LOOPS: Final[PlainTable[RequestMaker]] = (
    ("error", "an error about a message that was never sent",
     _make_signal_request(ErrorSignal, errors=_ERROR)),
    ("error-about-nothing", "an error about no message",
     _make_signal_request(ErrorSignal, errors=_ERROR, ref_to_message_id=None)),
    ("warning", "a warning about a message that was never sent",
     _make_signal_request(ErrorSignal, errors=_WARNING)),
    ("many-errors", "two hundred errors about a message that was never sent",
     _make_signal_request(ErrorSignal, errors=_ERROR * 200)),
    ("pong", "a Pong that nobody asked for", _make_signal_request(Pong)),
    ("status", "a StatusResponse that nobody asked for",
     _make_signal_request(StatusResponse, queried_message_id="m@suite.example", status="Processed")),
    ("receipt-wants-receipt", "an Acknowledgment that asks for an Acknowledgment",
     _make_broken_receipt(_append_to_header(_ACK_REQUESTED))),
    ("receipt-wants-sync", "an Acknowledgment that asks for an answer on its connection",
     _make_broken_receipt(_append_to_header(_SYNC_REPLY))),
)
# fmt: on


def _remove_actor(root: etree._Element) -> None:
    del get_element(root, _SYNC).attrib[ACTOR]


def _make_connection_answer_case(variant: str, title: str, make: RequestMaker) -> AttackCase:
    """Return the case that requests an answer to another address; the answer must come on the connection."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        answer = yield Exchange(make(kit), LAWFUL)
        if b"Acknowledgment" not in answer.body:
            raise WrongAnswerError("the acknowledgment did not come on the connection")

    return AttackCase(f"REP-11.{variant}", title, "ebms2", _ELSEWHERE, run_scenario, naive=True)


def _set_http_header(name: str, value: str = _ATTACKER) -> RequestMaker:
    return lambda kit: kit.wrap_parcel(kit.build_parcel(), {name: value})


def _add_reply_block(name: str) -> RequestMaker:
    block = f"<{name}><wsa:Address>{_ATTACKER}</wsa:Address></{name}>"
    return change_before_signing(_append_to_header(block))


# fmt: off
_WISHES: Final[AttackTable[TreeMutation]] = (
    ("ack-to-url", "AckRequested whose actor is a URL", set_attribute(_ACK, "soap:actor", _ATTACKER),
     "GW304"),
    ("ack-to-next", "AckRequested for the next handler", set_attribute(_ACK, "soap:actor", NEXT_MSH),
     "GW304"),
    ("ack-to-next-node", "AckRequested for the next node", set_attribute(_ACK, "soap:actor", NEXT), "GW304"),
    ("ack-to-nobody", "AckRequested with an empty actor", set_attribute(_ACK, "soap:actor", ""), "GW304"),
    ("sync-to-url", "SyncReply whose actor is a URL", set_attribute(_SYNC, "soap:actor", _ATTACKER), "GW304"),
    ("sync-without-actor", "SyncReply without actor", _remove_actor, "GW107"),
    ("via-endpoint", "an endpoint as extension of AckRequested", append_element(_ACK, _REPLY_TO), "GW311"),
    ("address-in-from", "an address beside PartyId in From", append_element("//eb:From", _REPLY_TO), "GW107"),
)

_CONNECTION_WISHES: Final[PlainTable[RequestMaker]] = (
    ("reply-to", "wsa:ReplyTo in a message of ebMS", _add_reply_block("wsa:ReplyTo")),
    ("fault-to", "wsa:FaultTo in a message of ebMS", _add_reply_block("wsa:FaultTo")),
    ("unknown-reply-to", "a ReplyTo of nobody's", change_before_signing(_append_to_header(_REPLY_TO))),
    ("http-host", "a forwarded host in the HTTP headers", _set_http_header("X-Forwarded-Host")),
    ("http-url", "another URL in the HTTP headers", _set_http_header("X-Original-URL")),
    ("http-location", "Content-Location in the HTTP headers", _set_http_header("Content-Location")),
    ("http-from", "From in the HTTP headers", _set_http_header("From")),
)
# fmt: on


def _set_soap_action(value: str) -> RequestMaker:
    return _set_http_header("SOAPAction", value)


def _change_unit(**changes: Any) -> RequestMaker:
    return lambda kit: kit.build_message(kit.make_unit(**changes))


def _disguise_as_signal(action: str) -> RequestMaker:
    """Return the builder of a business message that says it is a signal of that name."""

    def clear_service_type(root: etree._Element) -> None:
        get_element(root, "//eb:Service").attrib.clear()

    service = set_text("//eb:Service", _SIGNAL_SERVICE)
    set_action = set_text("//eb:MessageHeader/eb:Action", action)
    return change_before_signing(combine_mutations(service, set_action, clear_service_type))


# fmt: off
_CONTRADICTIONS: Final[AttackTable[RequestMaker]] = (
    ("other-action", "SOAPAction names another action", _set_soap_action('"suite:store/Withdraw"'), "GW304"),
    ("other-protocol", "SOAPAction is that of the agencies' service",
     _set_soap_action('"urn:single-window:service:agency:1:SubmitDecision"'), "GW304"),
    ("url", "SOAPAction is a URL", _set_soap_action(f'"{_ATTACKER}"'), "GW304"),
    ("case", "SOAPAction differs in case", _set_soap_action('"EBXML"'), "GW304"),
    ("two", "SOAPAction holds two values", _set_soap_action('"ebXML", "Withdraw"'), "GW304"),
    ("long", "SOAPAction has ten thousand characters", _set_soap_action(f'"{"x" * 10_000}"'), "GW304"),
    ("ping", "a business message that says it is a Ping", _disguise_as_signal("Ping"), "GW304"),
    ("unknown-signal", "a business message that says it is a signal that there is not",
     _disguise_as_signal("Withdraw"), "GW303"),
    ("no-elimination", "no DuplicateElimination where it was agreed",
     _change_unit(duplicate_elimination=False), "GW304"),
    ("no-ack", "no AckRequested where it was agreed", _change_unit(ack_requested=None), "GW304"),
    ("unsigned-ack", "an unsigned acknowledgment is asked for where a signed one was agreed",
     _change_unit(ack_requested=AckRequest(signed=False)), "GW304"),
)

#: Business messages that say they are signals without answer: they are neither accepted nor answered.
_DISGUISED_MESSAGES: Final[PlainTable[RequestMaker]] = (
    ("acknowledgment", "a business message that says it is an Acknowledgment",
     _disguise_as_signal("Acknowledgment")),
    ("messageerror", "a business message that says it is an error", _disguise_as_signal("MessageError")),
    ("pong", "a business message that says it is a Pong", _disguise_as_signal("Pong")),
    ("statusresponse", "a business message that says it is a StatusResponse",
     _disguise_as_signal("StatusResponse")),
)
# fmt: on


_SOURCE: Final = "CWE-639; ebMS 2.0 §7.1.1"
_UNKNOWN_STATUSES: Final = ("UnAuthorized", "NotRecognized")
#: An answer without information, or a refusal: both protect the message.
_NO_INFORMATION: Final = Expectation(
    is_acceptance=True, must_accept=True, ebms=("SecurityFailure",), http=(401, 403), silent=True
)

#: Makes the question about a message of A.
_QuestionMaker = Callable[[AttackerKit, str], HttpRequest]


def _make_status_question(
    asker: str = "a", signer: str | None = "a", signed_id: str | None = None
) -> _QuestionMaker:
    """Return the maker of a status request by `asker`, signed by `signer` (None: unsigned).

    With `signed_id`, that message id is signed, and afterwards the real one is put in its place.
    """

    def make_question(kit: AttackerKit, message_id: str) -> HttpRequest:
        fields = {
            "conversation_id": "c-question",
            "queried_message_id": signed_id or message_id,
            "sync_reply": True,
        }
        unit = kit.make_signal(StatusRequest, asker, message_id=kit.make_message_id(), **fields)
        replace_id = (
            mutate_tree(set_text("//eb:StatusRequest/eb:RefToMessageId", message_id)) if signed_id else None
        )
        return kit.build_message(unit, signer=signer, signed=signer is not None, tampered=replace_id)

    return make_question


def _read_message_status(answer: Answer) -> str:
    """Return the status of a StatusResponse; an empty text for another answer."""
    try:
        body = read_envelope(parse_xml(answer.body)).body
    except GatewayError:
        return ""
    response = body.find(f"{{{EB}}}StatusResponse")
    return "" if response is None else response.get(f"{{{EB}}}messageStatus", "")


def _make_status_case(variant: str, title: str, make_question: _QuestionMaker) -> AttackCase:
    """Return the case in which A gets the status of its message, and then another party asks and must not."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        unit = kit.make_unit()
        yield Exchange(kit.build_message(unit), ACCEPTED)
        own_status = _read_message_status(
            (yield Exchange(_make_status_question()(kit, unit.message_id), ACCEPTED))
        )
        if own_status in ("", *_UNKNOWN_STATUSES):
            raise NotOfferedError("the gateway tells nobody what became of a message")
        foreign_status = _read_message_status(
            (yield Exchange(make_question(kit, unit.message_id), _NO_INFORMATION))
        )
        if foreign_status and foreign_status not in _UNKNOWN_STATUSES:
            raise WrongAnswerError(f"somebody else was told that A's message is {foreign_status}")
        unknown = _read_message_status(
            (yield Exchange(make_question(kit, kit.make_message_id()), _NO_INFORMATION))
        )
        if foreign_status != unknown:
            difference = f"a known id is {foreign_status or 'refused'}, an unknown one {unknown or 'refused'}"
            raise WrongAnswerError(difference)

    return AttackCase(f"APP-05.status-{variant}", title, "ebms2", _SOURCE, run_scenario)


# fmt: off
_QUESTIONS: Final = (
    ("unsigned", "nobody has signed the question", _make_status_question(signer=None)),
    ("of-another", "B asks about A's message", _make_status_question("b", "b")),
    ("as-another", "B asks in A's name", _make_status_question("a", "b")),
    ("stranger", "a stranger asks in A's name", _make_status_question("a", "stranger")),
    ("changed", "a question of A's, changed on its way to be about another message",
     _make_status_question(signed_id="other@suite.invalid")),
)
# fmt: on

CASES: Final[tuple[AttackCase, ...]] = (
    *_make_unanswered_cases(_RECEIPTS, _FORGED),
    *_make_unanswered_cases(_REPEATED, _FORGED, times=3),
    *(_make_after_answer_case(*row) for row in _REFLECTED),
    AttackCase(
        "REP-10.error-reflected",
        "the gateway's own ErrorList sent back to it",
        "ebms2",
        _LOOP,
        _run_reflected_error,
    ),
    *_make_unanswered_cases(_LOOPS, _LOOP, "REP-10."),
    *make_table_cases("REP-11.", _WISHES, change_before_signing, _ELSEWHERE, naive=True),
    *(_make_connection_answer_case(*row) for row in _CONNECTION_WISHES),
    *make_table_cases("REP-12.", _CONTRADICTIONS, use_request_maker, _SPOOFED, naive=True),
    *_make_unanswered_cases(_DISGUISED_MESSAGES, _SPOOFED, "REP-12.as-"),
    *(_make_status_case(*row) for row in _QUESTIONS),
)
"""Signals that nobody asked for, other disguises, and questions by others."""
