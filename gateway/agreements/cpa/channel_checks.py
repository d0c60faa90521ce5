"""Rules on delivery channels: answers, acknowledgments, duplicates, repeats, order, signals."""

from __future__ import annotations

from typing import Final

from gateway.agreements.cpa.channel_choice import BoundAction, ChannelUse, find_signal_channel
from gateway.agreements.cpa.cpa_model import DocumentBinding
from gateway.agreements.cpa.cpa_rules import CpaFinding
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Found, quote_name

__all__ = ["CHANNEL_CHECKS"]

_SIGNALS: Final = (*("Acknowledgment", "MessageError", "StatusRequest", "StatusResponse", "Ping", "Pong"),)
_MOST_RETRIES: Final = 10_000
_LONGEST: Final = 366 * 24 * 3600


def _find_several_channels(view: CpaView) -> Found:
    for action, *used in view.list_uses():
        for binding, use in zip((action.binding, action.other), used, strict=True):
            if len(binding.channels) > 1 and use.channel is not None:
                names = ", ".join(quote_name(one) for one in binding.channels)
                text = f"{quote_name(binding.action)} has the channels {names}: {quote_name(use.channel.id)} "
                text += "is used, the first over HTTP; the others stand by"
                yield CpaFinding("channels-several", binding.place, text)


def _find_different_channels(view: CpaView) -> Found:
    for action, ours, theirs in view.list_uses():
        one, other = ours.channel, theirs.channel
        if one is None or other is None:
            continue
        name = quote_name(action.binding.action)
        told = f"{name}: the channel of the sender says "
        if one.sync_reply_mode != other.sync_reply_mode:
            text = told + f"syncReplyMode {one.sync_reply_mode}, that of the receiver {other.sync_reply_mode}"
            yield CpaFinding("sync-different", one.place, text)
        if (one.ack_requested, one.ack_signature_requested) != (
            other.ack_requested,
            other.ack_signature_requested,
        ):
            text = told + f"ackRequested {one.ack_requested} and ackSignatureRequested "
            text += f"{one.ack_signature_requested}, that of the receiver {other.ack_requested} and "
            text += other.ack_signature_requested
            yield CpaFinding("ack-different", one.place, text)
        if one.duplicate_elimination != other.duplicate_elimination:
            text = told + f"duplicateElimination {one.duplicate_elimination}, that of the receiver "
            text += other.duplicate_elimination
            yield CpaFinding("elimination-different", one.place, text)


def _find_ack_problems(view: CpaView) -> Found:
    for action, ours, _ in view.list_uses():
        channel, business = ours.channel, action.binding.business
        if channel is None:
            continue
        name = quote_name(action.binding.action)
        requested, signed = channel.ack_requested, channel.ack_signature_requested
        if requested == "always" and channel.sync_reply_mode == "responseOnly":
            text = f"{name} is always acknowledged, and responseOnly has no room for the acknowledgment"
            yield CpaFinding("sync-against-acks", channel.place, text)
        if signed == "always" and requested == "never":
            text = "signed acknowledgments are always requested, acknowledgments never"
            yield CpaFinding("ack-signature-alone", channel.place, text)
        if signed == "always" and requested != "never" and not _can_sign_acks(action):
            text = f"party {quote_name(action.receiver.name)} has no certificate to sign acknowledgments with"
            yield CpaFinding("ack-signature-impossible", channel.place, text)
        if business.non_repudiation_receipt and (requested == "never" or signed == "never"):
            text = f"{name} wants non-repudiation of receipt, and no signed acknowledgment is requested"
            yield CpaFinding("receipt-unrequested", business.place, text)
        if channel.actor is not None and channel.actor.endswith("nextMSH"):
            text = f"acknowledgments of {name} are requested of the next MSH"
            yield CpaFinding("actor-next", channel.place, text)


def _can_sign_acks(action: BoundAction) -> bool:
    sides = (
        find_signal_channel(action.receiver, "Acknowledgment"),
        *(theirs for _, theirs in action.list_channels()),
    )
    return any(one.sender is not None and one.sender.non_repudiation is not None for one in sides)


def _find_signal_problems(view: CpaView) -> Found:
    for party in view.document.parties:
        default = party.channels.get(party.default_channel)
        if default is not None and default.ack_requested == "always":
            text = f"signals of party {quote_name(party.name)} are to be acknowledged, which no signal is"
            yield CpaFinding("signals-acknowledged", default.place, text)
        seen: set[str] = set()
        for one in party.overrides:
            if one.action not in _SIGNALS:
                text = f"{quote_name(one.action)} is no signal; those are {', '.join(_SIGNALS)}"
                yield CpaFinding("override-unknown", one.place, text)
            if one.action in seen:
                text = f"{quote_name(one.action)} has a channel already"
                yield CpaFinding("override-repeated", one.place, text)
            seen.add(one.action)


def _find_retry_problems(view: CpaView) -> Found:
    for action, ours, theirs in view.list_uses():
        sender, channel = ours.sender, ours.channel
        if sender is None or channel is None:
            continue
        name, retries = quote_name(action.binding.action), sender.retries or 0
        if retries > 0 and channel.ack_requested == "never":
            text = f"{name} is repeated {retries} times at most, and never acknowledged: nothing is repeated"
            yield CpaFinding("retries-unacknowledged", sender.place, text)
        if retries > 0 and channel.duplicate_elimination == "never" and channel.ack_requested != "never":
            text = f"{name} is repeated, and duplicates are not eliminated: a repeat has a second effect"
            yield CpaFinding("retries-uneliminated", sender.place, text)
        if channel.ack_requested == "always" and not sender.reliable:
            text = f"{name} is always acknowledged, and nothing says how often it is repeated"
            yield CpaFinding("ack-unrepeated", sender.place, text)
        if channel.ack_requested != "never":
            yield from _judge_memory(name, sender, theirs)


def _judge_memory(name: str, sender: DocumentBinding, theirs: ChannelUse) -> Found:
    receiver = theirs.receiver
    if receiver is None:
        return
    kept, last = receiver.persist_duration, ((sender.retries or 0) + 1) * (sender.retry_interval or 0)
    if kept is not None and sender.retries and 0 <= kept < last:
        text = f"{name} may be repeated for {last} seconds, and is remembered for {kept}"
        yield CpaFinding("persist-short", receiver.place, text)
    agreed = (sender.retries, sender.retry_interval, sender.ordered)
    other = (receiver.retries, receiver.retry_interval, receiver.ordered)
    if sender.reliable and receiver.reliable and agreed != other:
        text = f"sender and receiver of {name} have different ReliableMessaging: that of the sender counts"
        yield CpaFinding("reliability-different", receiver.place, text)


def _find_wrong_numbers(view: CpaView) -> Found:
    for party in view.document.parties:
        for exchange in party.exchanges.values():
            for one in (exchange.sender, exchange.receiver):
                if one is not None:
                    yield from _judge_numbers(one)


def _judge_numbers(one: DocumentBinding) -> Found:
    interval, persist = one.retry_interval, one.persist_duration
    repeats = one.retries is not None and one.retries > 0
    wrong = [
        text
        for text, is_wrong in (
            (f"Retries {one.retries}", one.retries is not None and not 0 <= one.retries <= _MOST_RETRIES),
            (f"RetryInterval {interval} seconds", interval is not None and not 0 <= interval <= _LONGEST),
            (f"RetryInterval {interval} seconds", interval == 0 and repeats),
            (f"PersistDuration {persist} seconds", persist is not None and not 0 <= persist <= _LONGEST),
        )
        if is_wrong
    ]
    for text in wrong:
        words = f"{text}: at most {_MOST_RETRIES} repeats and 366 days, and no repeat at once"
        yield CpaFinding("retries-range", one.place, words)
    if one.reliable and (one.retries is None) != (interval is None) and one.retries != 0:
        known, missing = ("Retries", "RetryInterval") if interval is None else ("RetryInterval", "Retries")
        yield CpaFinding(
            "retries-untimed", one.place, f"{known} is agreed, {missing} is not: the hub has its own"
        )


def _find_order_problems(view: CpaView) -> Found:
    for action, ours, _ in view.list_uses():
        channel = ours.channel
        if channel is None or ours.sender is None or not ours.sender.ordered:
            continue
        place, name = ours.sender.place, quote_name(action.binding.action)
        for rule, text in _list_order_faults(channel.duplicate_elimination, channel.ack_requested):
            yield CpaFinding(rule, place, f"the order of {name} is guaranteed, and {text}")
        if channel.sync_reply_mode != "none":
            text = f"the order of {name} is guaranteed, and it is answered on its connection"
            yield CpaFinding("order-synchronous", place, text)


def _list_order_faults(elimination: str, acks: str) -> list[tuple[str, str]]:
    found = []
    if elimination != "always":
        found.append(("order-uneliminated", f"duplicateElimination is {elimination}"))
    if acks != "always":
        found.append(("order-unacknowledged", f"ackRequested is {acks}"))
    return found


CHANNEL_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_several_channels,
    _find_different_channels,
    _find_ack_problems,
    _find_signal_problems,
    _find_retry_problems,
    _find_wrong_numbers,
    _find_order_problems,
)
