"""Messages that come again, late, or under a name that was used before (REP-01 to REP-04)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import (
    ACCEPTED,
    LAWFUL,
    Answer,
    Exchange,
    HttpRequest,
    WrongAnswerError,
)
from gateway.conformance.hostile.message_attacks import make_attack_case
from gateway.conformance.hostile.message_mutation import BOUNDARY
from gateway.conformance.hostile.naive_verifier import detach_element
from gateway.conformance.hostile.scenarios import expect_refusal
from gateway.conformance.hostile.tree_mutations import (
    SIGNATURE,
    get_element,
    insert_element,
    mutate_tree,
    recompute_envelope_digest,
    recompute_signature,
    remove_element,
    replace_text,
    set_text,
)
from gateway.message_model import Payload
from gateway.wire.xml import parse_xml

__all__ = ["CASES"]

_AGAIN: Final = "ebMS 2.0 §6.5.1: a duplicate gets the stored acknowledgment"
_REUSED: Final = "ebMS 2.0 §3.1.6.1: a MessageId is unique"
_BOUND: Final = "ebMS 2.0 §4.1.3: MessageData is signed"
_LATE: Final = "ebMS 2.0 §3.1.6.4"
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

#: Makes what is sent the second time from what was sent the first time.
_RepeatMaker = Callable[["AttackerKit", HttpRequest], HttpRequest]


def _repeat_unchanged(_: AttackerKit, post: HttpRequest) -> HttpRequest:
    return post


def _repeat_with_body(change: Callable[[bytes], bytes]) -> _RepeatMaker:
    return lambda _, post: replace(post, body=change(post.body))


def _repeat_with_header(name: str, value: str | None) -> _RepeatMaker:
    def make_repeat(_: AttackerKit, post: HttpRequest) -> HttpRequest:
        headers = {key: old for key, old in post.headers.items() if key != name}
        return replace(post, headers=headers | ({} if value is None else {name: value}))

    return make_repeat


def _repeat_with_other_boundary(_: AttackerKit, post: HttpRequest) -> HttpRequest:
    kind = post.headers["Content-Type"].replace(BOUNDARY, "=-another")
    body = post.body.replace(f"--{BOUNDARY}".encode(), b"--=-another")
    return replace(post, headers={**post.headers, "Content-Type": kind}, body=body)


def _repeat_with_envelope(change: Callable[[bytes], bytes]) -> _RepeatMaker:
    """Return: the envelope in the first part is changed, the rest stays."""

    def make_repeat(_: AttackerKit, post: HttpRequest) -> HttpRequest:
        start, end = post.body.index(b"<soap:Envelope"), post.body.index(b"</soap:Envelope>") + 16
        return replace(post, body=post.body[:start] + change(post.body[start:end]) + post.body[end:])

    return make_repeat


def _negate_ecdsa_value(value: str) -> str:
    """Return the other ECDSA value that is good for the same message: s becomes n - s."""
    octets = base64.b64decode(value)
    s = _ORDER - int.from_bytes(octets[32:])
    return base64.b64encode(octets[:32] + s.to_bytes(32)).decode()


def _repeat_signed_anew(bench: AttackerKit, post: HttpRequest) -> HttpRequest:
    return _repeat_with_envelope(mutate_tree(recompute_signature(bench.get_signer("b"))))(bench, post)


def _make_repeat_case(name: str, title: str, again: _RepeatMaker, member: str = "a") -> AttackCase:
    """Return: the answer to the repeat must be that to the first, octet for octet."""

    def run_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
        post = bench.build_message(member=member)
        first = yield Exchange(post, ACCEPTED)
        for _ in range(2):
            second = yield Exchange(again(bench, post), LAWFUL)
            if second.body != first.body:
                raise WrongAnswerError("the repeat was answered by other octets than the message")

    return AttackCase(f"REP-01.{name}", title, "ebms2", _AGAIN, run_scenario)


_REPEATS: Final = (
    _make_repeat_case("exact", "the same octets again", _repeat_unchanged),
    _make_repeat_case("boundary", "the same message with another MIME boundary", _repeat_with_other_boundary),
    _make_repeat_case(
        "soap-action", "the same message without SOAPAction", _repeat_with_header("SOAPAction", None)
    ),
    _make_repeat_case(
        "without-sync-reply",
        "the same without SyncReply, which no digest sees",
        _repeat_with_envelope(mutate_tree(remove_element("//eb:SyncReply"))),
    ),
    _make_repeat_case(
        "byte-order-mark",
        "the same with a byte order mark before the envelope",
        _repeat_with_envelope(lambda data: b"\xef\xbb\xbf" + data),
    ),
    _make_repeat_case(
        "key-name-spaces",
        "the same with its signature value in several lines",
        _repeat_with_envelope(
            mutate_tree(replace_text("//ds:SignatureValue", lambda text: f"\n{text[:9]}\n{text[9:]}\n"))
        ),
    ),
    _make_repeat_case(
        "signed-anew", "the same signed again: another value, the same digests", _repeat_signed_anew, "b"
    ),
    _make_repeat_case(
        "malleable",
        "the same with the other good ECDSA value: n - s for s",
        _repeat_with_envelope(mutate_tree(replace_text("//ds:SignatureValue", _negate_ecdsa_value))),
        "b",
    ),
)


def _make_reuse_case(name: str, title: str, **changes: Any) -> AttackCase:
    """Return: another message of A under a MessageId that A used; the first must stand."""

    def run_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
        unit = bench.make_unit()
        post = bench.build_message(unit)
        first = yield Exchange(post, ACCEPTED)
        made = {key: value(unit) if callable(value) else value for key, value in changes.items()}
        yield Exchange(bench.build_message(replace(unit, **made)), expect_refusal("GW312"))
        again = yield Exchange(post, LAWFUL)
        if again.body != first.body:
            raise WrongAnswerError("the first message is not answered as before")

    return AttackCase(f"REP-02.{name}", title, "ebms2", _REUSED, run_scenario)


def _replace_first_content(unit: Any) -> Any:
    return (replace(unit.payloads[0], content=b"<forged/>"), *unit.payloads[1:])


def _run_id_of_other_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
    """B uses an id before A does: A's message must be taken all the same."""
    unit = bench.make_unit()
    theirs = replace(bench.make_unit("b"), message_id=unit.message_id)
    yield Exchange(bench.build_message(theirs, "b"), ACCEPTED)
    answer = yield Exchange(bench.build_message(unit), LAWFUL)
    if unit.message_id.encode() not in answer.body:
        raise WrongAnswerError("A's message is not acknowledged")


def _run_reuse_after_refusal(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Have a forged message refused under an id; the honest one under it must then be taken."""
    unit = bench.make_unit()
    forged = mutate_tree(set_text("//eb:ConversationId", "forged"))
    yield Exchange(bench.build_message(unit, tampered=forged), expect_refusal("GW202"))
    yield Exchange(bench.build_message(unit), LAWFUL)


_REUSES: Final = (
    _make_reuse_case("payload", "another payload under a known MessageId", payloads=_replace_first_content),
    _make_reuse_case(
        "fewer-payloads", "one payload less under a known MessageId", payloads=lambda unit: unit.payloads[:1]
    ),
    _make_reuse_case(
        "more-payloads",
        "one payload more under a known MessageId",
        payloads=lambda unit: (*unit.payloads, Payload("p3@suite.example", "application/xml", b"<c/>")),
    ),
    _make_reuse_case(
        "conversation", "another conversation under a known MessageId", conversation_id="another-conversation"
    ),
    _make_reuse_case(
        "timestamp",
        "another Timestamp under a known MessageId",
        timestamp=lambda unit: unit.timestamp - timedelta(seconds=1),
    ),
    _make_reuse_case(
        "time-to-live",
        "another TimeToLive under a known MessageId",
        expires_at=lambda unit: unit.expires_at + timedelta(hours=1),
    ),
    _make_reuse_case(
        "sync-reply-and-description",
        "a Description more under a known MessageId",
        description="another",
        sync_reply=True,
    ),
    AttackCase(
        "REP-02.taken-by-other",
        "B has used A's MessageId before: ids belong to their sender",
        "ebms2",
        _REUSED,
        _run_id_of_other_scenario,
    ),
    AttackCase(
        "REP-02.after-refusal",
        "a forged message does not use up the MessageId that it names",
        "ebms2",
        _REUSED,
        _run_reuse_after_refusal,
    ),
)


def _swap_signature(bench: AttackerKit) -> HttpRequest:
    """Return a message with the signature of another one of the same sender."""
    other = bench.build_message(bench.make_unit(payloads=()))
    foreign = get_element(parse_xml(other.body), SIGNATURE)

    def alter_tree(root: Any) -> None:
        mine = get_element(root, SIGNATURE)
        mine.addprevious(foreign)
        detach_element(mine)

    return bench.build_message(bench.make_unit(payloads=()), tampered=mutate_tree(alter_tree))


def _insert_hidden_id(bench: AttackerKit) -> HttpRequest:
    """Return a message with a new MessageId before the signed one, where no digest sees it."""
    hidden = '<eb:MessageId soap:actor="http://schemas.xmlsoap.org/soap/actor/next">new@suite.example</eb:MessageId>'
    return bench.build_message(tampered=mutate_tree(insert_element("//eb:MessageData", hidden)))


_NEW_IDS: Final = (
    make_attack_case(
        "REP-03.new-id",
        "a signed message under a new MessageId",
        lambda bench: bench.build_message(
            tampered=mutate_tree(set_text("//eb:MessageId", "new@suite.example"))
        ),
        "GW202",
        _BOUND,
    ),
    make_attack_case(
        "REP-03.new-id-hidden",
        "a new MessageId where no digest sees it",
        _insert_hidden_id,
        "GW107",
        _BOUND,
        naive=True,
    ),
    make_attack_case(
        "REP-03.signature-of-other",
        "the signature of another message of the same sender",
        _swap_signature,
        "GW202",
        _BOUND,
    ),
    make_attack_case(
        "REP-03.new-time",
        "a signed message with a new Timestamp",
        lambda bench: bench.build_message(
            tampered=mutate_tree(set_text("//eb:MessageData/eb:Timestamp", "2026-01-01T00:00:00Z"))
        ),
        "GW202",
        _BOUND,
    ),
    make_attack_case(
        "REP-03.digest-not-value",
        "a new MessageId with its digest made right, the value as it was",
        lambda bench: bench.build_message(
            tampered=mutate_tree(set_text("//eb:MessageId", "new@suite.example"), recompute_envelope_digest)
        ),
        "GW202",
        _BOUND,
    ),
)


def _make_time_to_live_case(
    name: str, title: str, text: Callable[[AttackerKit], str], expected: str
) -> AttackCase:
    def make_request(bench: AttackerKit) -> HttpRequest:
        changed = mutate_tree(set_text("//eb:TimeToLive", text(bench)))
        return bench.build_message(envelope=changed)

    return make_attack_case(f"REP-04.{name}", title, make_request, expected, _LATE, naive=True)


def _format_earlier_time(bench: AttackerKit, **earlier: float) -> str:
    at_that_time = bench.get_current_time() - timedelta(**earlier)
    return at_that_time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _run_late_twice_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send a message too late, twice: it leaves nothing, and is refused in the same way again."""
    unit = bench.make_unit(expires_at=bench.get_current_time() - timedelta(minutes=1))
    post = bench.build_message(unit)
    for _ in range(2):
        yield Exchange(post, expect_refusal("GW306"))


_LATE_CASES: Final = (
    _make_time_to_live_case(
        "second",
        "TimeToLive passed a second ago",
        lambda bench: _format_earlier_time(bench, seconds=1),
        "GW306",
    ),
    _make_time_to_live_case(
        "year", "TimeToLive passed a year ago", lambda bench: _format_earlier_time(bench, days=365), "GW306"
    ),
    _make_time_to_live_case(
        "offset",
        "TimeToLive has passed, written with an offset that looks like tomorrow",
        lambda bench: (bench.get_current_time() + timedelta(hours=9) - timedelta(minutes=5)).strftime(
            "%Y-%m-%dT%H:%M:%S+09:00"
        ),
        "GW306",
    ),
    _make_time_to_live_case(
        "first-year", "TimeToLive is in the year 1", lambda _: "0001-01-01T00:00:00Z", "GW306"
    ),
    _make_time_to_live_case("no-date", "TimeToLive is no date", lambda _: "2026-02-30T00:00:00Z", "GW107"),
    _make_time_to_live_case("words", "TimeToLive is a word", lambda _: "never", "GW107"),
    _make_time_to_live_case("empty", "TimeToLive is empty", lambda _: "", "GW107"),
    _make_time_to_live_case(
        "long-year", "TimeToLive is in the year 999999999", lambda _: "999999999-01-01T00:00:00Z", "GW107"
    ),
    _make_time_to_live_case(
        "leap-second",
        "TimeToLive is in a leap second that never was",
        lambda _: "2026-11-20T09:00:60Z",
        "GW107",
    ),
    AttackCase(
        "REP-04.late-twice",
        "a message that came too late comes again",
        "ebms2",
        _LATE,
        _run_late_twice_scenario,
    ),
)

CASES: Final[tuple[AttackCase, ...]] = (*_REPEATS, *_REUSES, *_NEW_IDS, *_LATE_CASES)
