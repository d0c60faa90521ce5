"""Messages that come again, late, or under a name that was used before (REP-01 to REP-04)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.conformance.hostile.alterations import (
    SIGNATURE,
    at,
    digest_again,
    inserted,
    on_tree,
    removed,
    replaced_text,
    sign_again,
    text_set,
)
from gateway.conformance.hostile.case import (
    ACCEPTED,
    LAWFUL,
    Answer,
    Case,
    Exchange,
    Post,
    WrongAnswerError,
)
from gateway.conformance.hostile.craft import BOUNDARY
from gateway.conformance.hostile.naive import remove
from gateway.conformance.hostile.plays import refusal
from gateway.conformance.hostile.tampered import attack
from gateway.model import Payload
from gateway.wire.xml import parse_xml

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES"]

_AGAIN: Final = "ebMS 2.0 §6.5.1: a duplicate gets the stored acknowledgment"
_REUSED: Final = "ebMS 2.0 §3.1.6.1: a MessageId is unique"
_BOUND: Final = "ebMS 2.0 §4.1.3: MessageData is signed"
_LATE: Final = "ebMS 2.0 §3.1.6.4"
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

#: Makes what is sent the second time from what was sent the first time.
_Repeat = Callable[["Bench", Post], Post]


def _same(_: Bench, post: Post) -> Post:
    return post


def _body(change: Callable[[bytes], bytes]) -> _Repeat:
    return lambda _, post: replace(post, body=change(post.body))


def _header(name: str, value: str | None) -> _Repeat:
    def change(_: Bench, post: Post) -> Post:
        headers = {key: old for key, old in post.headers.items() if key != name}
        return replace(post, headers=headers | ({} if value is None else {name: value}))

    return change


def _other_boundary(_: Bench, post: Post) -> Post:
    kind = post.headers["Content-Type"].replace(BOUNDARY, "=-another")
    body = post.body.replace(f"--{BOUNDARY}".encode(), b"--=-another")
    return replace(post, headers={**post.headers, "Content-Type": kind}, body=body)


def _envelope(change: Callable[[bytes], bytes]) -> _Repeat:
    """Return: the envelope in the first part is changed, the rest stays."""

    def again(_: Bench, post: Post) -> Post:
        start, end = post.body.index(b"<soap:Envelope"), post.body.index(b"</soap:Envelope>") + 16
        return replace(post, body=post.body[:start] + change(post.body[start:end]) + post.body[end:])

    return again


def _other_half(value: str) -> str:
    """Return the other ECDSA value that is good for the same message: s becomes n - s."""
    octets = base64.b64decode(value)
    s = _ORDER - int.from_bytes(octets[32:])
    return base64.b64encode(octets[:32] + s.to_bytes(32)).decode()


def _signed_anew(bench: Bench, post: Post) -> Post:
    return _envelope(on_tree(sign_again(bench.signer("b"))))(bench, post)


def _repeated(name: str, title: str, again: _Repeat, member: str = "a") -> Case:
    """Return: the answer to the repeat must be that to the first, octet for octet."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        post = bench.message(member=member)
        first = yield Exchange(post, ACCEPTED)
        for _ in range(2):
            second = yield Exchange(again(bench, post), LAWFUL)
            if second.body != first.body:
                raise WrongAnswerError("the repeat was answered by other octets than the message")

    return Case(f"REP-01.{name}", title, "ebms2", _AGAIN, play)


_REPEATS: Final = (
    _repeated("exact", "the same octets again", _same),
    _repeated("boundary", "the same message with another MIME boundary", _other_boundary),
    _repeated("soap-action", "the same message without SOAPAction", _header("SOAPAction", None)),
    _repeated(
        "without-sync-reply",
        "the same without SyncReply, which no digest sees",
        _envelope(on_tree(removed("//eb:SyncReply"))),
    ),
    _repeated(
        "byte-order-mark",
        "the same with a byte order mark before the envelope",
        _envelope(lambda data: b"\xef\xbb\xbf" + data),
    ),
    _repeated(
        "key-name-spaces",
        "the same with its signature value in several lines",
        _envelope(on_tree(replaced_text("//ds:SignatureValue", lambda text: f"\n{text[:9]}\n{text[9:]}\n"))),
    ),
    _repeated("signed-anew", "the same signed again: another value, the same digests", _signed_anew, "b"),
    _repeated(
        "malleable",
        "the same with the other good ECDSA value: n - s for s",
        _envelope(on_tree(replaced_text("//ds:SignatureValue", _other_half))),
        "b",
    ),
)


def _reused(name: str, title: str, **changes: Any) -> Case:
    """Return: another message of A under a MessageId that A used; the first must stand."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        unit = bench.unit()
        post = bench.message(unit)
        first = yield Exchange(post, ACCEPTED)
        made = {key: value(unit) if callable(value) else value for key, value in changes.items()}
        yield Exchange(bench.message(replace(unit, **made)), refusal("GW312"))
        again = yield Exchange(post, LAWFUL)
        if again.body != first.body:
            raise WrongAnswerError("the first message is not answered as before")

    return Case(f"REP-02.{name}", title, "ebms2", _REUSED, play)


def _other_content(unit: Any) -> Any:
    return (replace(unit.payloads[0], content=b"<forged/>"), *unit.payloads[1:])


def _taken_by_other(bench: Bench) -> Generator[Exchange, Answer, None]:
    """B uses an id before A does: A's message must be taken all the same."""
    unit = bench.unit()
    theirs = replace(bench.unit("b"), message_id=unit.message_id)
    yield Exchange(bench.message(theirs, "b"), ACCEPTED)
    answer = yield Exchange(bench.message(unit), LAWFUL)
    if unit.message_id.encode() not in answer.body:
        raise WrongAnswerError("A's message is not acknowledged")


def _reused_after_refusal(bench: Bench) -> Generator[Exchange, Answer, None]:
    """Have a forged message refused under an id; the honest one under it must then be taken."""
    unit = bench.unit()
    forged = on_tree(text_set("//eb:ConversationId", "forged"))
    yield Exchange(bench.message(unit, tampered=forged), refusal("GW202"))
    yield Exchange(bench.message(unit), LAWFUL)


_REUSES: Final = (
    _reused("payload", "another payload under a known MessageId", payloads=_other_content),
    _reused(
        "fewer-payloads", "one payload less under a known MessageId", payloads=lambda unit: unit.payloads[:1]
    ),
    _reused(
        "more-payloads",
        "one payload more under a known MessageId",
        payloads=lambda unit: (*unit.payloads, Payload("p3@suite.example", "application/xml", b"<c/>")),
    ),
    _reused(
        "conversation", "another conversation under a known MessageId", conversation_id="another-conversation"
    ),
    _reused(
        "timestamp",
        "another Timestamp under a known MessageId",
        timestamp=lambda unit: unit.timestamp - timedelta(seconds=1),
    ),
    _reused(
        "time-to-live",
        "another TimeToLive under a known MessageId",
        expires_at=lambda unit: unit.expires_at + timedelta(hours=1),
    ),
    _reused(
        "sync-reply-and-description",
        "a Description more under a known MessageId",
        description="another",
        sync_reply=True,
    ),
    Case(
        "REP-02.taken-by-other",
        "B has used A's MessageId before: ids belong to their sender",
        "ebms2",
        _REUSED,
        _taken_by_other,
    ),
    Case(
        "REP-02.after-refusal",
        "a forged message does not use up the MessageId that it names",
        "ebms2",
        _REUSED,
        _reused_after_refusal,
    ),
)


def _signature_of_other(bench: Bench) -> Post:
    """Return a message with the signature of another one of the same sender."""
    other = bench.message(bench.unit(payloads=()))
    foreign = at(parse_xml(other.body), SIGNATURE)

    def change(root: Any) -> None:
        mine = at(root, SIGNATURE)
        mine.addprevious(foreign)
        remove(mine)

    return bench.message(bench.unit(payloads=()), tampered=on_tree(change))


def _new_id_hidden(bench: Bench) -> Post:
    """Return a message with a new MessageId before the signed one, where no digest sees it."""
    hidden = '<eb:MessageId soap:actor="http://schemas.xmlsoap.org/soap/actor/next">new@suite.example</eb:MessageId>'
    return bench.message(tampered=on_tree(inserted("//eb:MessageData", hidden)))


_NEW_IDS: Final = (
    attack(
        "REP-03.new-id",
        "a signed message under a new MessageId",
        lambda bench: bench.message(tampered=on_tree(text_set("//eb:MessageId", "new@suite.example"))),
        "GW202",
        _BOUND,
    ),
    attack(
        "REP-03.new-id-hidden",
        "a new MessageId where no digest sees it",
        _new_id_hidden,
        "GW107",
        _BOUND,
        naive=True,
    ),
    attack(
        "REP-03.signature-of-other",
        "the signature of another message of the same sender",
        _signature_of_other,
        "GW202",
        _BOUND,
    ),
    attack(
        "REP-03.new-time",
        "a signed message with a new Timestamp",
        lambda bench: bench.message(
            tampered=on_tree(text_set("//eb:MessageData/eb:Timestamp", "2026-01-01T00:00:00Z"))
        ),
        "GW202",
        _BOUND,
    ),
    attack(
        "REP-03.digest-not-value",
        "a new MessageId with its digest made right, the value as it was",
        lambda bench: bench.message(
            tampered=on_tree(text_set("//eb:MessageId", "new@suite.example"), digest_again)
        ),
        "GW202",
        _BOUND,
    ),
)


def _lives_until(name: str, title: str, text: Callable[[Bench], str], expected: str) -> Case:
    def make(bench: Bench) -> Post:
        changed = on_tree(text_set("//eb:TimeToLive", text(bench)))
        return bench.message(envelope=changed)

    return attack(f"REP-04.{name}", title, make, expected, _LATE, naive=True)


def _stamp(bench: Bench, **earlier: float) -> str:
    at_that_time = bench.now() - timedelta(**earlier)
    return at_that_time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _late_twice(bench: Bench) -> Generator[Exchange, Answer, None]:
    """Send a message too late, twice: it leaves nothing, and is refused in the same way again."""
    unit = bench.unit(expires_at=bench.now() - timedelta(minutes=1))
    post = bench.message(unit)
    for _ in range(2):
        yield Exchange(post, refusal("GW306"))


_LATE_CASES: Final = (
    _lives_until("second", "TimeToLive passed a second ago", lambda bench: _stamp(bench, seconds=1), "GW306"),
    _lives_until("year", "TimeToLive passed a year ago", lambda bench: _stamp(bench, days=365), "GW306"),
    _lives_until(
        "offset",
        "TimeToLive has passed, written with an offset that looks like tomorrow",
        lambda bench: (bench.now() + timedelta(hours=9) - timedelta(minutes=5)).strftime(
            "%Y-%m-%dT%H:%M:%S+09:00"
        ),
        "GW306",
    ),
    _lives_until("first-year", "TimeToLive is in the year 1", lambda _: "0001-01-01T00:00:00Z", "GW306"),
    _lives_until("no-date", "TimeToLive is no date", lambda _: "2026-02-30T00:00:00Z", "GW107"),
    _lives_until("words", "TimeToLive is a word", lambda _: "never", "GW107"),
    _lives_until("empty", "TimeToLive is empty", lambda _: "", "GW107"),
    _lives_until(
        "long-year", "TimeToLive is in the year 999999999", lambda _: "999999999-01-01T00:00:00Z", "GW107"
    ),
    _lives_until(
        "leap-second",
        "TimeToLive is in a leap second that never was",
        lambda _: "2026-11-20T09:00:60Z",
        "GW107",
    ),
    Case("REP-04.late-twice", "a message that came too late comes again", "ebms2", _LATE, _late_twice),
)

CASES: Final[tuple[Case, ...]] = (*_REPEATS, *_REUSES, *_NEW_IDS, *_LATE_CASES)
