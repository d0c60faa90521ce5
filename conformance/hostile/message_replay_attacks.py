"""Messages that are repeated, late, or reuse a MessageId (REP-01 to REP-04)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from lxml import etree

from gateway.message_model import Payload, UserMessage
from gateway.wire import parse_xml
from gateway_conformance.hostile.attack_cases import (
    AttackCase,
    AttackTable,
    RequestMaker,
    change_before_signing,
    change_on_the_way,
    expect_refusal,
    make_attack_case,
    make_table_cases,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    BOUNDARY,
    NEXT,
    SIGNATURE,
    OctetMutation,
    TreeMutation,
    combine_mutations,
    get_element,
    insert_element,
    mutate_tree,
    recompute_envelope_digest,
    recompute_signature,
    remove_element,
    replace_text,
    set_text,
)
from gateway_conformance.hostile.exchange import (
    ACCEPTED,
    LAWFUL,
    Answer,
    Exchange,
    HttpRequest,
    WrongAnswerError,
)
from gateway_conformance.hostile.naive_verifier import detach_element

_AGAIN: Final = "ebMS 2.0 §6.5.1: a duplicate gets the stored acknowledgment"
_REUSED: Final = "ebMS 2.0 §3.1.6.1: a MessageId is unique"
_BOUND: Final = "ebMS 2.0 §4.1.3: MessageData is signed"
_LATE: Final = "ebMS 2.0 §3.1.6.4"
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_VALUE: Final = "//ds:SignatureValue"
_ENVELOPE: Final = re.compile(rb"<([\w.-]+:Envelope)\b.*</\1>", re.DOTALL)
_HIDDEN_ID: Final = f'<eb:MessageId soap:actor="{NEXT}">new@suite.example</eb:MessageId>'
_NEW_ID: Final = set_text("//eb:MessageId", "new@suite.example")

#: Makes the second request from the first one.
_RepeatMaker = Callable[[AttackerKit, HttpRequest], HttpRequest]
#: Makes a text from a kit.
_TextMaker = Callable[[AttackerKit], str]


def _repeat_unchanged(_: AttackerKit, post: HttpRequest) -> HttpRequest:
    return post


def _repeat_without_header(name: str) -> _RepeatMaker:
    return lambda _, post: replace(
        post, headers={key: value for key, value in post.headers.items() if key != name}
    )


def _repeat_with_other_boundary(_: AttackerKit, post: HttpRequest) -> HttpRequest:
    content_type = post.headers["Content-Type"].replace(BOUNDARY, "=-another")
    body = post.body.replace(f"--{BOUNDARY}".encode(), b"--=-another")
    return replace(post, headers={**post.headers, "Content-Type": content_type}, body=body)


def _repeat_with_changed_envelope(change: OctetMutation) -> _RepeatMaker:
    """Return the change of the envelope in the first part; the rest stays the same."""

    def make_repeat(_: AttackerKit, post: HttpRequest) -> HttpRequest:
        match = _ENVELOPE.search(post.body)
        if match is None:
            raise LookupError("the message has no envelope")
        return replace(post, body=post.body[: match.start()] + change(match[0]) + post.body[match.end() :])

    return make_repeat


def _repeat_with_changed_tree(change: TreeMutation) -> _RepeatMaker:
    return _repeat_with_changed_envelope(mutate_tree(change))


def _negate_ecdsa_value(value: str) -> str:
    """Return the other valid ECDSA value for the same message: s becomes n - s."""
    octets = base64.b64decode(value)
    s = _ORDER - int.from_bytes(octets[32:])
    return base64.b64encode(octets[:32] + s.to_bytes(32)).decode()


def _repeat_signed_anew(kit: AttackerKit, post: HttpRequest) -> HttpRequest:
    return _repeat_with_changed_envelope(mutate_tree(recompute_signature(kit.get_signer("b"))))(kit, post)


# fmt: off
#: Variant, title, the second request, and the sender.
_REPEATS: Final[tuple[tuple[str, str, _RepeatMaker, str], ...]] = (
    ("exact", "the same octets again", _repeat_unchanged, "a"),
    ("boundary", "the same message with another MIME boundary", _repeat_with_other_boundary, "a"),
    ("soap-action", "the same message without SOAPAction", _repeat_without_header("SOAPAction"), "a"),
    ("without-sync-reply", "the same without SyncReply, which no digest sees",
     _repeat_with_changed_tree(remove_element("//eb:SyncReply")), "a"),
    ("byte-order-mark", "the same with a byte order mark before the envelope",
     _repeat_with_changed_envelope(lambda data: b"\xef\xbb\xbf" + data), "a"),
    ("key-name-spaces", "the same with its signature value in several lines",
     _repeat_with_changed_tree(replace_text(_VALUE, lambda text: f"\n{text[:9]}\n{text[9:]}\n")), "a"),
    ("signed-anew", "the same signed again: another value, the same digests", _repeat_signed_anew, "b"),
    ("malleable", "the same with the other good ECDSA value: n - s for s",
     _repeat_with_changed_tree(replace_text(_VALUE, _negate_ecdsa_value)), "b"),
)
# fmt: on


def _make_repeat_case(variant: str, title: str, make_repeat: _RepeatMaker, member: str) -> AttackCase:
    """Return the case in which the repeat must get the same answer as the first, octet for octet."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        post = kit.build_message(member=member)
        first = yield Exchange(post, ACCEPTED)
        for _ in range(2):
            second = yield Exchange(make_repeat(kit, post), LAWFUL)
            if second.body != first.body:
                raise WrongAnswerError("the repeat was answered by other octets than the message")

    return AttackCase(f"REP-01.{variant}", title, "ebms2", _AGAIN, run_scenario)


def _change_unit(**changes: Any) -> Callable[[UserMessage], UserMessage]:
    """Return the change of fields of a message; a callable value gets the message."""
    return lambda unit: replace(
        unit, **{key: value(unit) if callable(value) else value for key, value in changes.items()}
    )


def _make_reuse_case(variant: str, title: str, change: Callable[[UserMessage], UserMessage]) -> AttackCase:
    """Return the case of another message of A under a MessageId that A used; the first must stay valid."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        unit = kit.make_unit()
        post = kit.build_message(unit)
        first = yield Exchange(post, ACCEPTED)
        yield Exchange(kit.build_message(change(unit)), expect_refusal("GW312"))
        again = yield Exchange(post, LAWFUL)
        if again.body != first.body:
            raise WrongAnswerError("the first message is not answered as before")

    return AttackCase(f"REP-02.{variant}", title, "ebms2", _REUSED, run_scenario)


def _forge_first_content(unit: UserMessage) -> tuple[Payload, ...]:
    return (replace(unit.payloads[0], octets=b"<forged/>"), *unit.payloads[1:])


def _add_third_payload(unit: UserMessage) -> tuple[Payload, ...]:
    return (*unit.payloads, Payload("p3@suite.example", "application/xml", b"<c/>"))


# fmt: off
#: Times, SyncReply and Description are not among it: what differs in them alone says the same, and may be a
#: repeat that its sender wrote anew, or be refused.
_REUSES: Final[tuple[tuple[str, str, Callable[[UserMessage], UserMessage]], ...]] = (
    ("payload", "another payload under a known MessageId", _change_unit(payloads=_forge_first_content)),
    ("fewer-payloads", "one payload less under a known MessageId",
     _change_unit(payloads=lambda unit: unit.payloads[:1])),
    ("more-payloads", "one payload more under a known MessageId", _change_unit(payloads=_add_third_payload)),
    ("conversation", "another conversation under a known MessageId",
     _change_unit(conversation_id="another-conversation")),
)
# fmt: on


def _run_id_used_by_other_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Let B use an id before A does; A's message must be accepted."""
    unit = kit.make_unit()
    theirs = replace(kit.make_unit("b"), message_id=unit.message_id)
    yield Exchange(kit.build_message(theirs, "b"), ACCEPTED)
    answer = yield Exchange(kit.build_message(unit), LAWFUL)
    if unit.message_id.encode() not in answer.body:
        raise WrongAnswerError("A's message is not acknowledged")


def _run_reuse_after_refusal(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send a forged message under an id; then the honest message with this id must be accepted."""
    unit = kit.make_unit()
    forged = mutate_tree(set_text("//eb:ConversationId", "forged"))
    yield Exchange(kit.build_message(unit, tampered=forged), expect_refusal("GW202"))
    yield Exchange(kit.build_message(unit), LAWFUL)


def _swap_signature(kit: AttackerKit) -> HttpRequest:
    """Return a message with the signature of another one of the same sender."""
    second_request = kit.build_message(kit.make_unit(payloads=()))
    foreign = get_element(parse_xml(second_request.body), SIGNATURE)

    def alter_tree(root: etree._Element) -> None:
        signature = get_element(root, SIGNATURE)
        signature.addprevious(foreign)
        detach_element(signature)

    return kit.build_message(kit.make_unit(payloads=()), tampered=mutate_tree(alter_tree))


# fmt: off
_NEW_IDS: Final[AttackTable[TreeMutation]] = (
    ("new-id", "a signed message under a new MessageId", _NEW_ID, "GW202", False),
    ("new-id-hidden", "a new MessageId where no digest sees it",
     insert_element("//eb:MessageData", _HIDDEN_ID), "GW107", True),
    ("new-time", "a signed message with a new Timestamp",
     set_text("//eb:MessageData/eb:Timestamp", "2026-01-01T00:00:00Z"), "GW202", False),
    ("digest-not-value", "a new MessageId with its digest made right, the value as it was",
     combine_mutations(_NEW_ID, recompute_envelope_digest), "GW202", False),
)
# fmt: on


def _set_time_to_live(make_text: _TextMaker) -> RequestMaker:
    return lambda kit: change_before_signing(set_text("//eb:TimeToLive", make_text(kit)))(kit)


def _write_text(text: str) -> _TextMaker:
    return lambda _: text


def _write_earlier_time(**earlier: float) -> _TextMaker:
    return lambda kit: (kit.get_current_time() - timedelta(**earlier)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_with_offset(kit: AttackerKit) -> str:
    """Return the time five minutes ago with the offset of Seoul."""
    seoul_time = kit.get_current_time() + timedelta(hours=9) - timedelta(minutes=5)
    return seoul_time.strftime("%Y-%m-%dT%H:%M:%S+09:00")


# fmt: off
_LATE_TIMES: Final[AttackTable[_TextMaker]] = (
    ("second", "TimeToLive passed a second ago", _write_earlier_time(seconds=1), "GW306"),
    ("year", "TimeToLive passed a year ago", _write_earlier_time(days=365), "GW306"),
    ("offset", "TimeToLive has passed, written with an offset that looks like tomorrow", _write_with_offset,
     "GW306"),
    ("first-year", "TimeToLive is in the year 1", _write_text("0001-01-01T00:00:00Z"), "GW306"),
    ("no-date", "TimeToLive is no date", _write_text("2026-02-30T00:00:00Z"), "GW107"),
    ("words", "TimeToLive is a word", _write_text("never"), "GW107"),
    ("empty", "TimeToLive is empty", _write_text(""), "GW107"),
    ("long-year", "TimeToLive is in the year 999999999", _write_text("999999999-01-01T00:00:00Z"), "GW107"),
    ("leap-second", "TimeToLive is in a leap second that never was", _write_text("2026-11-20T09:00:60Z"),
     "GW107"),
)
# fmt: on


def _run_late_twice_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send an expired message twice; both are refused in the same way and nothing is stored."""
    unit = kit.make_unit(expires_at=kit.get_current_time() - timedelta(minutes=1))
    post = kit.build_message(unit)
    for _ in range(2):
        yield Exchange(post, expect_refusal("GW306"))


CASES: Final[tuple[AttackCase, ...]] = (
    *(_make_repeat_case(*row) for row in _REPEATS),
    *(_make_reuse_case(*row) for row in _REUSES),
    AttackCase(
        "REP-02.taken-by-other",
        "B has used A's MessageId before: ids belong to their sender",
        "ebms2",
        _REUSED,
        _run_id_used_by_other_scenario,
    ),
    AttackCase(
        "REP-02.after-refusal",
        "a forged message does not use up the MessageId that it names",
        "ebms2",
        _REUSED,
        _run_reuse_after_refusal,
    ),
    *make_table_cases("REP-03.", _NEW_IDS, change_on_the_way, _BOUND),
    make_attack_case(
        "REP-03.signature-of-other",
        "the signature of another message of the same sender",
        _swap_signature,
        "GW202",
        _BOUND,
    ),
    *make_table_cases("REP-04.", _LATE_TIMES, _set_time_to_live, _LATE, naive=True),
    AttackCase(
        "REP-04.late-twice",
        "a message that came too late comes again",
        "ebms2",
        _LATE,
        _run_late_twice_scenario,
    ),
)
"""Attacks by repetition: REP-01 to REP-04."""
