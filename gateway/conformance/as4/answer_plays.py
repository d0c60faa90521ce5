"""Plays in which the answer comes otherwise: posted by a connection of its own, or with a response in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from gateway.conformance.as4.answer_checks import AnswerCase, find_answer_fault
from gateway.conformance.as4.as4_assertion import UnmetError
from gateway.conformance.as4.as4_play import As4Play
from gateway.conformance.as4.seen_message import SeenMessage
from gateway.message_model import Receipt, UserMessage
from gateway.protocols import OpenedMessage, as4
from gateway.wire import DEFAULT_LIMITS

__all__ = ["ANSWER_PLAYS"]

_SUCCESS: Final = range(200, 300)


def _play_callback(play: As4Play) -> None:
    """Post a message whose answer is posted: the HTTP answer is empty, and what comes is judged."""
    draft = play.make_draft()
    box = play.opponent.listener.open_inbox(draft.unit.message_id, play.log)
    case = play.post(draft)
    if case.answer.status not in _SUCCESS or case.answer.body.strip():
        raise UnmetError(f"the HTTP answer is not empty: {case.answer.describe()}")
    found = box.wait_for(1, play.opponent.facts.patience)
    if not found:
        raise UnmetError(f"nothing was posted about it within {play.opponent.facts.patience:g} s")
    # What is posted has no status of its own.
    posted = replace(case, answer=SeenMessage(found[0].headers, found[0].body, 200))
    if wrong := find_answer_fault(play.row, posted):
        raise UnmetError(wrong)


def _exchange(play: As4Play) -> tuple[AnswerCase, OpenedMessage]:
    """Post a request, and return its answer, after all checks; raises when there is no response in it."""
    case = play.post(play.make_draft(request=True))
    if not case.answer.select("//eb3:UserMessage"):
        raise UnmetError(f"no response is in the HTTP answer: {case.answer.describe()}")
    opened = case.answer.open(case.context, as4.read_sent_unit(case.sent, DEFAULT_LIMITS))
    if isinstance(opened.unit, UserMessage):
        receipt = as4.make_receipt(replace(opened, units=(opened.unit,)), case.context)
        play.post_parcel(as4.seal((receipt,), None, case.context))
    return case, opened


def _play_sync(play: As4Play) -> None:
    case, _ = _exchange(play)
    play.judge_sent(play.make_case(case.answer, case.message_id))


def _play_sync_receipt(play: As4Play) -> None:
    case, opened = _exchange(play)
    receipt = next((one for one in opened.units if isinstance(one, Receipt)), None)
    if receipt is None:
        raise UnmetError("no receipt is beside the response")
    if receipt.ref_to_message_id != case.message_id:
        raise UnmetError(f"the receipt refers to {str(receipt.ref_to_message_id)[:80]!r}")


def _play_properties(play: As4Play) -> None:
    """Post a message with properties, and look whether they are shown."""
    case = play.post(play.make_draft())
    if wrong := find_answer_fault(play.row, case):
        raise UnmetError(wrong)
    sent = SeenMessage(dict(case.sent.headers), case.sent.read_octets())
    wanted = {str(one) for one in sent.select("//eb3:MessageProperties/eb3:Property/text()")}
    shown = play.show("properties", case.message_id)
    missing = sorted(one for one in wanted if one not in shown)
    if missing:
        raise UnmetError(f"{len(missing)} of {len(wanted)} properties are not shown: {missing[0][:80]}")


ANSWER_PLAYS: Final[Mapping[str, Callable[[As4Play], None]]] = {
    "callback": _play_callback,
    "sync": _play_sync,
    "sync-receipt": _play_sync_receipt,
    "kept-properties": _play_properties,
}
