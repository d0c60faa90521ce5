"""Plays in which the tested gateway sends of its own accord, or passes on messages of the suite.

The suite makes the gateway send, by a message to which it answers or by a command, and answers each attempt
by a script. Then the arrivals are judged: how many, with which octets, how far apart.

Where the gateway is an intermediary (ebMS 2.0 chapter 10) the suite is on both sides: it sends as one party,
and listens as the other, `suite-behind`. The gateway passes messages on by a route that its operator has
set, and each message has an agreement between the two parties of the suite alone.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

from gateway.agreements import PMode
from gateway.client import HttpReply
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway_conformance.reports import UnmetError
from gateway_conformance.standard.answer_checks import find_signature_problem, run_check
from gateway_conformance.standard.callback_listener import (
    Arrival,
    make_attempt_reply,
    make_end_acknowledgment,
)
from gateway_conformance.standard.judged_answer import JudgedAnswer
from gateway_conformance.standard.message_building import SentMessage
from gateway_conformance.standard.received_message import BACK_CHANNEL, ReceivedMessage, find_text
from gateway_conformance.standard.requirement_player import Play

_SIGNALS: Final = "urn:oasis:names:tc:ebxml-msg:service"
_COMMAND_SECONDS: Final = 60.0
#: How much later than agreed a repeat may come, in seconds and as a share of the interval.
_LATE: Final = 10.0
_EARLY: Final = 0.9


def _is_business_message(message: ReceivedMessage) -> bool:
    return message.root is not None and find_text(message.root, "//eb:MessageHeader/eb:Service") != _SIGNALS


def _trigger_message(play: Play, step_name: str = "trigger") -> SentMessage:
    """Make the gateway send a message in the conversation of the play; return the message of the suite.

    The suite posts this message, unless the profile has a command that makes the gateway send.
    """
    outbound = play.opponent.profile.outbound
    if "command" in outbound:
        message = play.builder.build_message(step_name, {})
        command = str(outbound["command"]).replace("{conversation}", play.conversation)
        command = command.replace("{cpa}", message.agreement.name)
        subprocess.run(command, shell=True, check=True, timeout=_COMMAND_SECONDS)  # noqa: S602
        return message
    if "reply_to" not in outbound:
        raise LookupError("the profile does not say how the gateway is made to send (outbound)")
    message = play.builder.build_message(step_name, {"action": str(outbound["reply_to"])})
    judged = play.exchange_message(message)
    if judged.answer is None or judged.answer.action != "Acknowledgment":
        raise UnmetError(f"the message that makes the gateway send was not taken: {judged.describe_answer()}")
    return message


def play_outbound(play: Play) -> None:
    """Make the gateway send, answer each attempt by the script of the row, and judge the attempts."""
    script = [str(reply) for reply in play.requirement.arguments.get("replies", ["ack"])]

    def answer_attempt(message: ReceivedMessage, _: int) -> Any:
        if not _is_business_message(message):
            return play.opponent.listener.answer_message(message)
        earlier_count = sum(1 for arrival in play.inbox.arrivals if _is_business_message(arrival.message))
        return make_attempt_reply(play.replier, script[min(earlier_count, len(script) - 1)], message)

    play.inbox.answer = answer_attempt
    sent = _trigger_message(play)
    arrivals = _collect_attempts(play, sent)
    for name in play.requirement.arguments.get("all", ()):
        if wrong := _ATTEMPT_CHECKS[name](arrivals, _get_reply_pmode(arrivals, sent)):
            raise UnmetError(wrong)
    judged = JudgedAnswer(play.opponent.party, sent, _make_no_answer(), arrivals[0].message)
    _run_checks(judged, play.requirement.arguments.get("first", ()))


def _make_no_answer() -> ReceivedMessage:
    return ReceivedMessage(BACK_CHANNEL, None, {}, b"")


def _collect_attempts(play: Play, sent: SentMessage) -> list[Arrival]:
    """Return the attempts; `count` in the row says how many there must be, and no more."""
    patience = play.opponent.profile.patience
    first = play.inbox.wait_for(_is_business_message, patience)
    if not first:
        raise UnmetError(f"the gateway sent no message within {patience:g} s")
    pmode = _get_reply_pmode(first, sent)
    expected = _read_attempt_count(play.requirement.arguments.get("count"), pmode)
    if expected is None:
        return first
    interval = float(pmode.reliability.retry_interval)
    for number in range(2, expected + 1):
        if len(play.inbox.wait_for(_is_business_message, interval + _LATE + patience, number)) < number:
            raise UnmetError(f"{number - 1} attempts came, {expected} are agreed")
    # One more would have to come within the interval.
    time.sleep(interval + 1.0)
    attempts = play.inbox.wait_for(_is_business_message, 0)
    if len(attempts) > expected:
        raise UnmetError(f"{len(attempts)} attempts came, {expected} are right")
    return attempts


def _read_attempt_count(count: Any, pmode: PMode) -> int | None:
    """Return the number of attempts: a number, or ``retries``: the first and all agreed repeats."""
    if count == "retries":
        return pmode.reliability.retries + 1
    return None if count is None else int(count)


def _get_reply_pmode(arrivals: list[Arrival], sent: SentMessage) -> PMode:
    action = arrivals[0].message.action
    for pmode in sent.agreement.find_receiving_pmodes():
        if pmode.action == action:
            return pmode
    raise UnmetError(f"the agreement has no action {action[:80]!r} that the gateway may send")


def _find_other_octets(arrivals: list[Arrival], _: PMode) -> str:
    """Return the difference of an attempt from the first in octets or Content-Type; else an empty text."""
    first = arrivals[0].message
    for number, arrival in enumerate(arrivals[1:], 2):
        if arrival.message.body != first.body:
            return f"attempt {number} has other octets than the first"
        if arrival.message.headers.get("content-type") != first.headers.get("content-type"):
            return f"attempt {number} has another Content-Type"
    return "" if len(arrivals) > 1 else "there was no second attempt"


def _find_other_id(arrivals: list[Arrival], _: PMode) -> str:
    ids = {arrival.message.message_id for arrival in arrivals}
    return (
        "" if len(ids) == 1 and len(arrivals) > 1 else f"{len(arrivals)} attempts have {len(ids)} MessageIds"
    )


def _find_wrong_interval(arrivals: list[Arrival], pmode: PMode) -> str:
    interval = pmode.reliability.retry_interval
    for before, after in pairwise(arrivals):
        gap = after.at - before.at
        if not interval * _EARLY <= gap <= interval + _LATE:
            return f"{gap:.1f} s between two attempts, {interval} s were agreed"
    return "" if len(arrivals) > 1 else "there was no second attempt"


_ATTEMPT_CHECKS: Final[Mapping[str, Callable[[list[Arrival], PMode], str]]] = {
    "same-octets": _find_other_octets,
    "same-id": _find_other_id,
    "interval": _find_wrong_interval,
}


def play_two_outbound(play: Play) -> None:
    """Make the gateway send twice; the two messages have different MessageIds."""
    for number in (1, 2):
        _trigger_message(play, f"trigger{number}")
        if len(play.inbox.wait_for(_is_business_message, play.opponent.profile.patience, number)) < number:
            raise UnmetError(f"the gateway sent {number - 1} messages, not {number}")
    message_ids = [arrival.message.message_id for arrival in play.inbox.wait_for(_is_business_message, 0)]
    if len(set(message_ids)) != len(message_ids):
        raise UnmetError("two messages have one MessageId")


def play_agreed_header(play: Play) -> None:
    """Make the gateway send; every value of the header is the agreed one."""
    sent = _trigger_message(play)
    arrivals = play.inbox.wait_for(_is_business_message, play.opponent.profile.patience)
    if not arrivals:
        raise UnmetError("the gateway sent no message")
    message, pmode = arrivals[0].message, _get_reply_pmode(arrivals, sent)
    agreed = {
        "//eb:CPAId": pmode.agreement,
        "//eb:MessageHeader/eb:From/eb:PartyId": pmode.from_party[0].value,
        "//eb:MessageHeader/eb:To/eb:PartyId": pmode.to_party[0].value,
        "//eb:MessageHeader/eb:Service": pmode.service,
        "//eb:MessageHeader/eb:Service/@eb:type": pmode.service_type or "",
        "//eb:AckRequested/@eb:signed": "true" if pmode.reliability.ack_signed == "always" else "",
    }
    for path, value in agreed.items():
        actual = find_text(message.root, path)
        if value and actual.replace("1", "true") != value and actual != value:
            raise UnmetError(f"{path} is {actual[:80]!r}, agreed is {value[:80]!r}")


def play_restart_attempt(play: Play) -> None:
    """Restart the gateway while a message is not acknowledged: it comes again with the same octets."""
    restart = play.opponent.restart
    if restart is None:
        raise GatewayError(OUR_MISTAKE, "a play with a restart was begun without one", play.requirement.id)
    ready = False

    def answer_attempt(message: ReceivedMessage, _: int) -> Any:
        return make_attempt_reply(
            play.replier, "ack" if ready or not _is_business_message(message) else "503", message
        )

    play.inbox.answer = answer_attempt
    sent = _trigger_message(play)
    if not play.inbox.wait_for(_is_business_message, play.opponent.profile.patience):
        raise UnmetError("the gateway sent no message")
    restart()
    ready = True
    earlier_count = len(play.inbox.wait_for(_is_business_message, 0))
    attempts = play.inbox.wait_for(
        _is_business_message, play.opponent.profile.patience * 3, earlier_count + 1
    )
    if len(attempts) <= earlier_count:
        raise UnmetError("the message did not come again after the restart")
    if wrong := _find_other_octets([attempts[0], attempts[-1]], _get_reply_pmode(attempts, sent)):
        raise UnmetError(wrong)


def play_restart_duplicate(play: Play) -> None:
    """Send a message, restart the gateway, send the message again: the Acknowledgment is the same one."""
    restart = play.opponent.restart
    if restart is None:
        raise GatewayError(OUR_MISTAKE, "a play with a restart was begun without one", play.requirement.id)
    first = play.builder.build_message("first", {})
    first_answer = play.exchange_message(first)
    restart()
    again = play.exchange_message(play.builder.build_message("again", {"again": "first"}))
    for judged in (first_answer, again):
        if judged.answer is None or find_signature_problem(judged, judged.answer):
            raise UnmetError(f"no good Acknowledgment: {judged.describe_answer()}")
    ids = [exchange.answer.message_id for exchange in (first_answer, again) if exchange.answer is not None]
    if ids[0] != ids[1]:
        raise UnmetError("after the restart the message got another Acknowledgment: it was taken as new")


def play_restart_status(play: Play) -> None:
    """Send a message, restart the gateway, ask for the status of the message: it is known."""
    restart = play.opponent.restart
    if restart is None:
        raise GatewayError(OUR_MISTAKE, "a play with a restart was begun without one", play.requirement.id)
    submitted = play.exchange_message(play.builder.build_message("first", {}))
    if submitted.answer is None or submitted.answer.action != "Acknowledgment":
        raise UnmetError(f"the message was not taken: {submitted.describe_answer()}")
    restart()
    question = play.builder.build_message("status", {"unit": "status", "about": "first"})
    if wrong := run_check(play.exchange_message(question), "status", ["Received", "Processed"]):
        raise UnmetError(f"after the restart: {wrong}")


#: Every play by the name that the tables use.
PLAYS: Final[Mapping[str, Callable[[Play], None]]] = {
    "outbound": play_outbound,
    "outbound-twice": play_two_outbound,
    "outbound-agreed": play_agreed_header,
    "restart-attempt": play_restart_attempt,
    "restart-duplicate": play_restart_duplicate,
    "restart-status": play_restart_status,
}


#: The path of the party behind the gateway; messages at other paths are for the party that sent.
_BEHIND: Final = "/suite/behind"
#: How long nothing more must come.
_QUIET: Final = 1.5
_PAUSE: Final = 0.2


def _is_passed_on(message: ReceivedMessage) -> bool:
    return message.path.partition("?")[0] == _BEHIND


def _is_sent_back(message: ReceivedMessage) -> bool:
    return message.root is not None and not _is_passed_on(message)


def play_forward(play: Play) -> None:
    """Send a message for the party behind the gateway; judge the messages there, and those that come back.

    The row has `send`, the script `replies` of the party behind, and checks: `hop` of the answer of the
    gateway, `onward` of the message that the gateway passes on, `back` of the message that it sends to the
    first sender.
    """
    arguments = play.requirement.arguments
    play.inbox.answer = _make_scripted_answer(
        play, [str(reply) for reply in arguments.get("replies", ["204"])]
    )
    sent, judged = _send_message(play, arguments.get("send", {}))
    _run_checks(judged, arguments.get("hop", ()))
    count = int(arguments.get("count", 1))
    arrivals = _collect_forwarded(play, sent, count)
    _judge_forwarded(play, sent, arrivals, arguments)
    if "back" in arguments:
        _judge_returned(play, sent, arguments["back"])


def _send_message(play: Play, send: Mapping[str, Any]) -> tuple[SentMessage, JudgedAnswer]:
    sent = play.builder.build_message("message", {"agreement": play.requirement.agreement, **send})
    return sent, play.exchange_message(sent)


def _make_scripted_answer(play: Play, script: list[str]) -> Callable[[ReceivedMessage, int], HttpReply]:
    def answer_message(message: ReceivedMessage, _: int) -> HttpReply:
        if not _is_passed_on(message):
            return HttpReply(204)
        before = sum(1 for arrival in play.inbox.arrivals if _is_passed_on(arrival.message))
        word = script[min(before, len(script) - 1)]
        if word == "end-ack":
            return make_end_acknowledgment(play.opponent.party, message)
        return HttpReply(int(word), "text/plain", b"" if word == "204" else b"the suite says so\n")

    return answer_message


def _collect_forwarded(play: Play, sent: SentMessage, count: int) -> list[Arrival]:
    """Return `count` attempts or more at the party behind; raise UnmetError for fewer or another message."""
    seconds = play.opponent.profile.patience
    arrivals: list[Arrival] = []
    for number in range(1, count + 1):
        arrivals = play.inbox.wait_for(_is_passed_on, seconds, number)
        if len(arrivals) < number:
            raise UnmetError(f"{len(arrivals)} messages came to the party behind, not {count}")
    wrong = [arrival.message for arrival in arrivals if arrival.message.message_id != sent.unit.message_id]
    if wrong:
        raise UnmetError(f"another message came to the party behind: {wrong[0]}")
    return arrivals


def _judge_forwarded(
    play: Play, sent: SentMessage, arrivals: list[Arrival], arguments: Mapping[str, Any]
) -> None:
    first = arrivals[0].message
    if any(arrival.message.body != first.body for arrival in arrivals):
        raise UnmetError("an attempt has other octets than the first")
    _run_checks(
        JudgedAnswer(play.opponent.party, sent, _make_no_answer(), first), arguments.get("onward", ())
    )


def _judge_returned(play: Play, sent: SentMessage, rows: Any) -> None:
    arrivals = play.inbox.wait_for(_is_sent_back, play.opponent.profile.patience * 2)
    if not arrivals:
        raise UnmetError("nothing came back to the party that sent")
    _run_checks(JudgedAnswer(play.opponent.party, sent, _make_no_answer(), arrivals[-1].message), rows)


def _run_checks(judged: JudgedAnswer, rows: Any) -> None:
    for row in rows:
        name, argument = (row, None) if isinstance(row, str) else next(iter(row.items()))
        if wrong := run_check(judged, str(name), argument):
            raise UnmetError(wrong)


def play_no_forward(play: Play) -> None:
    """Send a message that must not be passed on: it is refused, and nothing comes to the party behind."""
    arguments = play.requirement.arguments
    play.inbox.answer = _make_scripted_answer(play, ["204"])
    _, judged = _send_message(play, arguments.get("send", {}))
    _run_checks(judged, arguments.get("hop", ()))
    if play.inbox.wait_for(_is_passed_on, _QUIET):
        raise UnmetError("the message was passed on")


def play_forward_again(play: Play) -> None:
    """Send the same octets twice: the message goes on once, and both get the same Acknowledgment."""
    play.inbox.answer = _make_scripted_answer(play, ["204"])
    sent, first = _send_message(play, play.requirement.arguments.get("send", {}))
    _collect_forwarded(play, sent, 1)
    again = play.exchange_message(play.builder.build_message("again", {"again": "message"}))
    for judged in (first, again):
        _run_checks(judged, ["acknowledged"])
    if first.answer is None or again.answer is None or first.answer.body != again.answer.body:
        raise UnmetError("the repeat got another Acknowledgment than the message")
    if len(play.inbox.wait_for(_is_passed_on, _QUIET, 2)) > 1:
        raise UnmetError("the message was passed on twice")


def play_forwarded_status(play: Play) -> None:
    """Ask for the status of a message that was passed on: it is Forwarded."""
    play.inbox.answer = _make_scripted_answer(play, ["204"])
    sent, _ = _send_message(play, play.requirement.arguments.get("send", {}))
    _collect_forwarded(play, sent, 1)
    end = time.monotonic() + play.opponent.profile.patience
    wrong = ""
    while time.monotonic() < end:
        question = play.builder.build_message(
            f"status-{time.monotonic()}", {"unit": "status", "about": "message", "agreement": "sync"}
        )
        wrong = run_check(play.exchange_message(question), "status", "Forwarded")
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
