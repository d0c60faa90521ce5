"""Plays in which the tested gateway is an intermediary (ebMS 2.0 chapter 10).

The suite is on both sides: it sends as one party, and listens as the other, `suite-behind`. The gateway
passes messages on by a route that its operator has set, and each message has an agreement between the
two parties of the suite alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.conformance.partners import HttpReply
from gateway.conformance.standard.answer_checks import run_check
from gateway.conformance.standard.attempt_replies import make_end_acknowledgment
from gateway.conformance.standard.callback_listener import Arrival
from gateway.conformance.standard.judged_answer import Judged
from gateway.conformance.standard.message_building import SentMessage
from gateway.conformance.standard.received_message import BACK_CHANNEL, ReceivedMessage
from gateway.conformance.standard.requirement_player import Play, UnmetError

__all__ = ["FORWARDING_PLAYS"]

#: The path of the party behind the gateway; what comes elsewhere is for the party that sent.
_BEHIND: Final = "/suite/behind"
#: How long nothing more must come.
_QUIET: Final = 1.5
_PAUSE: Final = 0.2


def _goes_on(message: ReceivedMessage) -> bool:
    return message.path.partition("?")[0] == _BEHIND


def _comes_back(message: ReceivedMessage) -> bool:
    return message.root is not None and not _goes_on(message)


def play_forward(play: Play) -> None:
    """Send a message for the party behind the gateway, and judge what comes there and what comes back.

    The row has `send`, the script `replies` of the party behind, and checks: `hop` of the answer of the
    gateway, `onward` of what it passed on, `back` of what it sends to the party that sent.
    """
    arguments = play.requirement.arguments
    play.inbox.answer = _make_script(play, [str(one) for one in arguments.get("replies", ["204"])])
    sent, judged = _send_message(play, arguments.get("send", {}))
    _run_checks(judged, arguments.get("hop", ()))
    count = int(arguments.get("count", 1))
    arrivals = _collect_onward(play, sent, count)
    _judge_onward(play, sent, arrivals, arguments)
    if "back" in arguments:
        _judge_way_back(play, sent, arguments["back"])


def _send_message(play: Play, send: Mapping[str, Any]) -> tuple[SentMessage, Judged]:
    sent = play.builder.build_message("message", {"agreement": play.requirement.agreement, **send})
    return sent, play.exchange_message(sent)


def _make_script(play: Play, script: list[str]) -> Callable[[ReceivedMessage, int], HttpReply]:
    def answer_message(message: ReceivedMessage, _: int) -> HttpReply:
        if not _goes_on(message):
            return HttpReply(204)
        before = sum(1 for one in play.inbox.arrivals if _goes_on(one.message))
        word = script[min(before, len(script) - 1)]
        if word == "end-ack":
            return make_end_acknowledgment(play.opponent.party, message)
        return HttpReply(int(word), "text/plain", b"" if word == "204" else b"the suite says so\n")

    return answer_message


def _collect_onward(play: Play, sent: SentMessage, count: int) -> list[Arrival]:
    """Return what came at the party behind: so many attempts, and no other message."""
    seconds = play.opponent.profile.patience
    found: list[Arrival] = []
    for number in range(1, count + 1):
        found = play.inbox.wait_for(_goes_on, seconds, number)
        if len(found) < number:
            raise UnmetError(f"{len(found)} messages came to the party behind, not {count}")
    wrong = [one.message for one in found if one.message.message_id != sent.unit.message_id]
    if wrong:
        raise UnmetError(f"another message came to the party behind: {wrong[0]}")
    return found


def _judge_onward(
    play: Play, sent: SentMessage, arrivals: list[Arrival], arguments: Mapping[str, Any]
) -> None:
    first = arrivals[0].message
    if any(one.message.body != first.body for one in arrivals):
        raise UnmetError("an attempt has other octets than the first")
    _run_checks(Judged(play.opponent.party, sent, _make_no_answer(), first), arguments.get("onward", ()))


def _judge_way_back(play: Play, sent: SentMessage, rows: Any) -> None:
    found = play.inbox.wait_for(_comes_back, play.opponent.profile.patience * 2)
    if not found:
        raise UnmetError("nothing came back to the party that sent")
    _run_checks(Judged(play.opponent.party, sent, _make_no_answer(), found[-1].message), rows)


def _make_no_answer() -> ReceivedMessage:
    return ReceivedMessage(BACK_CHANNEL, None, {}, b"")


def _run_checks(judged: Judged, rows: Any) -> None:
    for row in rows:
        name, argument = (row, None) if isinstance(row, str) else next(iter(row.items()))
        if wrong := run_check(judged, str(name), argument):
            raise UnmetError(wrong)


def play_no_forward(play: Play) -> None:
    """Send a message that must not be passed on: it is refused, and nothing comes to the party behind."""
    arguments = play.requirement.arguments
    play.inbox.answer = _make_script(play, ["204"])
    _, judged = _send_message(play, arguments.get("send", {}))
    _run_checks(judged, arguments.get("hop", ()))
    if play.inbox.wait_for(_goes_on, _QUIET):
        raise UnmetError("the message was passed on")


def play_forward_again(play: Play) -> None:
    """Send the same octets twice: the message goes on once, and both get the same Acknowledgment."""
    play.inbox.answer = _make_script(play, ["204"])
    sent, first = _send_message(play, play.requirement.arguments.get("send", {}))
    _collect_onward(play, sent, 1)
    again = play.exchange_message(play.builder.build_message("again", {"again": "message"}))
    for judged in (first, again):
        _run_checks(judged, ["acknowledged"])
    if first.answer is None or again.answer is None or first.answer.body != again.answer.body:
        raise UnmetError("the repeat got another Acknowledgment than the message")
    if len(play.inbox.wait_for(_goes_on, _QUIET, 2)) > 1:
        raise UnmetError("the message was passed on twice")


def play_forwarded_status(play: Play) -> None:
    """Ask for the status of a message that was passed on: it is Forwarded."""
    play.inbox.answer = _make_script(play, ["204"])
    sent, _ = _send_message(play, play.requirement.arguments.get("send", {}))
    _collect_onward(play, sent, 1)
    end = time.monotonic() + play.opponent.profile.patience
    wrong = ""
    while time.monotonic() < end:
        asked = play.builder.build_message(
            f"status-{time.monotonic()}", {"unit": "status", "about": "message", "agreement": "sync"}
        )
        wrong = run_check(play.exchange_message(asked), "status", "Forwarded")
        if not wrong:
            return
        time.sleep(_PAUSE)
    raise UnmetError(wrong)


#: Every play of an intermediary by the name that the tables use.
FORWARDING_PLAYS: Final[Mapping[str, Callable[[Play], None]]] = {
    "forward": play_forward,
    "no-forward": play_no_forward,
    "forward-again": play_forward_again,
    "forwarded-status": play_forwarded_status,
}
