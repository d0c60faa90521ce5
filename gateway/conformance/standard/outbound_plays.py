"""Plays in which the tested gateway sends of its own accord: how its message looks, when it repeats it.

The suite makes the gateway send, by a message to which it answers or by a command, and answers each
attempt by a script. Then the arrivals are judged: how many, with which octets, how far apart.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

from gateway.agreements import PMode
from gateway.conformance.standard.answer_checks import find_signature_problem, run_check
from gateway.conformance.standard.attempt_replies import make_attempt_reply
from gateway.conformance.standard.callback_listener import Arrival
from gateway.conformance.standard.judged_answer import Judged
from gateway.conformance.standard.message_building import SentMessage
from gateway.conformance.standard.received_message import BACK_CHANNEL, ReceivedMessage, find_text
from gateway.conformance.standard.requirement_player import Play, UnmetError
from gateway.errors import OUR_MISTAKE, GatewayError

__all__ = ["PLAYS"]

_SIGNALS: Final = "urn:oasis:names:tc:ebxml-msg:service"
_COMMAND_SECONDS: Final = 60.0
#: How much later than agreed a repeat may come, in seconds and as a share of the interval.
_LATE: Final = 10.0
_EARLY: Final = 0.9


def _is_business(message: ReceivedMessage) -> bool:
    return message.root is not None and find_text(message.root, "//eb:MessageHeader/eb:Service") != _SIGNALS


def _trigger_message(play: Play, name: str = "trigger") -> SentMessage:
    """Make the gateway send a message in the conversation of the play; return what the suite sent for it."""
    outbound = play.opponent.profile.outbound
    if "command" in outbound:
        made = play.builder.build_message(name, {})
        words = str(outbound["command"]).replace("{conversation}", play.conversation)
        words = words.replace("{cpa}", made.agreement.name)
        subprocess.run(words, shell=True, check=True, timeout=_COMMAND_SECONDS)  # noqa: S602
        return made
    if "reply_to" not in outbound:
        raise LookupError("the profile does not say how the gateway is made to send (outbound)")
    made = play.builder.build_message(name, {"action": str(outbound["reply_to"])})
    judged = play.exchange_message(made)
    if judged.answer is None or judged.answer.action != "Acknowledgment":
        raise UnmetError(f"the message that makes the gateway send was not taken: {judged.describe_answer()}")
    return made


def play_outbound(play: Play) -> None:
    """Make the gateway send, answer each attempt by the script of the row, and judge what came."""
    script = [str(one) for one in play.requirement.arguments.get("replies", ["ack"])]

    def answer_attempt(message: ReceivedMessage, _: int) -> Any:
        if not _is_business(message):
            return play.opponent.listener.answer_message(message)
        before = sum(1 for one in play.inbox.arrivals if _is_business(one.message))
        return make_attempt_reply(play.replier, script[min(before, len(script) - 1)], message)

    play.inbox.answer = answer_attempt
    sent = _trigger_message(play)
    arrivals = _collect_attempts(play, sent)
    for name in play.requirement.arguments.get("all", ()):
        if wrong := _ATTEMPT_CHECKS[name](arrivals, _get_reply_pmode(arrivals, sent)):
            raise UnmetError(wrong)
    judged = Judged(play.opponent.party, sent, _make_no_answer(), arrivals[0].message)
    for row in play.requirement.arguments.get("first", ()):
        name, argument = (row, None) if isinstance(row, str) else next(iter(row.items()))
        if wrong := run_check(judged, str(name), argument):
            raise UnmetError(wrong)


def _make_no_answer() -> ReceivedMessage:
    return ReceivedMessage(BACK_CHANNEL, None, {}, b"")


def _collect_attempts(play: Play, sent: SentMessage) -> list[Arrival]:
    """Return the attempts; `count` in the row says how many there must be, and no more."""
    patience = play.opponent.profile.patience
    first = play.inbox.wait_for(_is_business, patience)
    if not first:
        raise UnmetError(f"the gateway sent no message within {patience:g} s")
    pmode = _get_reply_pmode(first, sent)
    wanted = _read_count(play.requirement.arguments.get("count"), pmode)
    if wanted is None:
        return first
    interval = float(pmode.reliability.retry_interval)
    for number in range(2, wanted + 1):
        if len(play.inbox.wait_for(_is_business, interval + _LATE + patience, number)) < number:
            raise UnmetError(f"{number - 1} attempts came, {wanted} are agreed")
    # One more would have to come within the interval.
    time.sleep(interval + 1.0)
    found = play.inbox.wait_for(_is_business, 0)
    if len(found) > wanted:
        raise UnmetError(f"{len(found)} attempts came, {wanted} are right")
    return found


def _read_count(count: Any, pmode: PMode) -> int | None:
    """Return the number of attempts: a number, or ``retries``: the first and all agreed repeats."""
    if count == "retries":
        return pmode.reliability.retries + 1
    return None if count is None else int(count)


def _get_reply_pmode(arrivals: list[Arrival], sent: SentMessage) -> PMode:
    action = arrivals[0].message.action
    for one in sent.agreement.find_receiving_pmodes():
        if one.action == action:
            return one
    raise UnmetError(f"the agreement has no action {action[:80]!r} that the gateway may send")


def _find_other_octets(arrivals: list[Arrival], _: PMode) -> str:
    """Return what differs when an attempt has other octets than the first."""
    first = arrivals[0].message
    for number, one in enumerate(arrivals[1:], 2):
        if one.message.body != first.body:
            return f"attempt {number} has other octets than the first"
        if one.message.headers.get("content-type") != first.headers.get("content-type"):
            return f"attempt {number} has another Content-Type"
    return "" if len(arrivals) > 1 else "there was no second attempt"


def _find_other_id(arrivals: list[Arrival], _: PMode) -> str:
    ids = {one.message.message_id for one in arrivals}
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
        if len(play.inbox.wait_for(_is_business, play.opponent.profile.patience, number)) < number:
            raise UnmetError(f"the gateway sent {number - 1} messages, not {number}")
    found = [one.message.message_id for one in play.inbox.wait_for(_is_business, 0)]
    if len(set(found)) != len(found):
        raise UnmetError("two messages have one MessageId")


def play_agreed_header(play: Play) -> None:
    """Make the gateway send; every value of the header is the agreed one."""
    sent = _trigger_message(play)
    arrivals = play.inbox.wait_for(_is_business, play.opponent.profile.patience)
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
        told = find_text(message.root, path)
        if value and told.replace("1", "true") != value and told != value:
            raise UnmetError(f"{path} is {told[:80]!r}, agreed is {value[:80]!r}")


def play_restart_attempt(play: Play) -> None:
    """Restart the gateway while a message is not acknowledged: it comes again with the same octets."""
    restart = play.opponent.restart
    if restart is None:
        raise GatewayError(OUR_MISTAKE, "a play with a restart was begun without one", play.requirement.id)
    ready = False

    def answer_attempt(message: ReceivedMessage, _: int) -> Any:
        return make_attempt_reply(
            play.replier, "ack" if ready or not _is_business(message) else "503", message
        )

    play.inbox.answer = answer_attempt
    sent = _trigger_message(play)
    if not play.inbox.wait_for(_is_business, play.opponent.profile.patience):
        raise UnmetError("the gateway sent no message")
    restart()
    ready = True
    before = len(play.inbox.wait_for(_is_business, 0))
    found = play.inbox.wait_for(_is_business, play.opponent.profile.patience * 3, before + 1)
    if len(found) <= before:
        raise UnmetError("the message did not come again after the restart")
    if wrong := _find_other_octets([found[0], found[-1]], _get_reply_pmode(found, sent)):
        raise UnmetError(wrong)


def play_restart_duplicate(play: Play) -> None:
    """Send a message, restart the gateway, send the message again: the Acknowledgment is the same one."""
    restart = play.opponent.restart
    if restart is None:
        raise GatewayError(OUR_MISTAKE, "a play with a restart was begun without one", play.requirement.id)
    first = play.builder.build_message("first", {})
    before = play.exchange_message(first)
    restart()
    again = play.exchange_message(play.builder.build_message("again", {"again": "first"}))
    for judged in (before, again):
        if judged.answer is None or find_signature_problem(judged, judged.answer):
            raise UnmetError(f"no good Acknowledgment: {judged.describe_answer()}")
    ids = [one.answer.message_id for one in (before, again) if one.answer is not None]
    if ids[0] != ids[1]:
        raise UnmetError("after the restart the message got another Acknowledgment: it was taken as new")


def play_restart_status(play: Play) -> None:
    """Send a message, restart the gateway, ask for the status of the message: it is known."""
    restart = play.opponent.restart
    if restart is None:
        raise GatewayError(OUR_MISTAKE, "a play with a restart was begun without one", play.requirement.id)
    taken = play.exchange_message(play.builder.build_message("first", {}))
    if taken.answer is None or taken.answer.action != "Acknowledgment":
        raise UnmetError(f"the message was not taken: {taken.describe_answer()}")
    restart()
    asked = play.builder.build_message("status", {"unit": "status", "about": "first"})
    if wrong := run_check(play.exchange_message(asked), "status", ["Received", "Processed"]):
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
