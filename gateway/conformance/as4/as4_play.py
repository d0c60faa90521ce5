"""Plays one assertion: posts what it describes, or makes the gateway send, and judges what comes."""

from __future__ import annotations

import hashlib
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.conformance.as4.answer_checks import AnswerCase, find_answer_fault
from gateway.conformance.as4.as4_assertion import Assertion, UnmetError
from gateway.conformance.as4.as4_listener import As4Inbox, As4Listener
from gateway.conformance.as4.as4_party import As4Party
from gateway.conformance.as4.draft_message import DraftMessage
from gateway.conformance.as4.gateway_facts import GatewayFacts
from gateway.conformance.as4.seen_message import SeenMessage
from gateway.conformance.as4.sent_checks import SentCase, find_sent_fault
from gateway.conformance.as4.stranger_signer import make_stranger
from gateway.conformance.hostile import HttpRequest, UrlTarget
from gateway.conformance.reports import ExchangeLog, record_message
from gateway.message_model import Payload, UserMessage
from gateway.protocols import Parcel
from gateway.wire import EB3

__all__ = ["MESSAGE_PLAYS", "As4Opponent", "As4Play"]

_COMMAND_SECONDS: Final = 60.0
#: How much later than agreed a repeat may come.
_LATE: Final = 10.0
_XML: Final = b'<?xml version="1.0" encoding="UTF-8"?><order xmlns="urn:example:order"><item>1</item></order>'
_SAMPLES: Final[Mapping[str, tuple[str, bytes, tuple[tuple[str, str], ...]]]] = {
    "xml": ("application/xml", _XML, (("CharacterSet", "UTF-8"),)),
    "text": ("text/plain", b"one\r\ntwo\r\n", ()),
    "octets": ("application/octet-stream", bytes(range(256)) * 4, ()),
}
_MISSING: Final = ("0301", "MissingReceipt")


@dataclass
class As4Opponent:
    """The tested gateway, and everything that plays against it need.

    `kept` is the message that the gateway has sent first: many assertions judge the same one.
    """

    party: As4Party
    target: UrlTarget
    listener: As4Listener
    facts: GatewayFacts
    kept: SentCase | None = None
    kept_log: ExchangeLog | None = None


@dataclass
class As4Play:
    """One assertion that is being played, in a conversation of its own."""

    row: Assertion
    opponent: As4Opponent
    log: ExchangeLog = field(default_factory=ExchangeLog)
    conversation: str = field(default_factory=lambda: f"c-{uuid.uuid4()}")

    def play_one_message(self) -> None:
        """Play an assertion about one message, received or sent; raises as `run_play` does."""
        if self.row.side == "receives":
            self.post_and_judge()
        else:
            self.judge_sent(self._get_kept())

    # What the gateway receives.

    def make_draft(self, **changed: Any) -> DraftMessage:
        """Return the message that the row describes, not yet sealed."""
        send: Mapping[str, Any] = {**self.row.send, **changed}
        party, context = self.opponent.party, self.opponent.party.build_context()
        action = self._choose_action(send)
        pmode = party.get_sending_pmode(str(send.get("agreement", "main")), action)
        if not send.get("compressed", True):
            pmode = replace(pmode, packaging=None)
        if not send.get("encrypted", True):
            pmode = replace(pmode, encryption=None)
        signer = None if send.get("signed") is False else party.membership.identity.signer
        if send.get("signer") == "stranger":
            signer = make_stranger(context.now.year)
        unit = UserMessage(
            message_id=str(send.get("id") or context.make_message_id()),
            conversation_id=self.conversation,
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=context.now.replace(microsecond=context.now.microsecond // 1000 * 1000),
            service=pmode.service,
            service_type=pmode.service_type,
            action=action,
            payloads=_make_payloads(send.get("payloads", ("xml",)), send.get("properties", {})),
        )
        properties = send.get("properties", {})
        return DraftMessage(unit, pmode, context, signer, tuple(send.get("change", ())), properties)

    def _choose_action(self, send: Mapping[str, Any]) -> str:
        if send.get("service") == "test":
            return f"{EB3}test"
        if send.get("request"):
            return self._get_outbound("reply_to")
        return str(send.get("action", self.opponent.facts.action))

    def _get_outbound(self, name: str) -> str:
        found = self.opponent.facts.outbound.get(name)
        if not found:
            raise LookupError(f"the profile of the gateway does not say outbound.{name}")
        return found

    def post(self, draft: DraftMessage) -> AnswerCase:
        """Post a message, and return it with its answer."""
        parcel = draft.build_parcel()
        return AnswerCase(parcel, draft.unit.message_id, self.post_parcel(parcel), draft.context)

    def post_parcel(self, parcel: Parcel) -> SeenMessage:
        """Post octets, record the exchange, and return the HTTP answer."""
        headers = {"Content-Type": parcel.get_header("Content-Type")}
        target = self.opponent.target
        answer = target.send(HttpRequest("ebms2", headers, parcel.read_octets()))
        sent = record_message(f"POST {target.name} HTTP/1.1", headers, parcel.read_octets())
        told = None
        if answer.status is not None:
            told = record_message(f"HTTP/1.1 {answer.status}", answer.headers, answer.body)
        self.log.add_exchange(sent, told, answer.trouble or ("" if told else "no answer"))
        return SeenMessage(answer.headers, answer.body, answer.status)

    def post_and_judge(self) -> None:
        """Post the message of the row, and judge answer, delivery and what the consumer is told."""
        draft = self.make_draft()
        case = self.post(draft)
        if wrong := find_answer_fault(self.row, case):
            raise UnmetError(wrong)
        if self.row.delivered:
            self._judge_delivery(draft)
        if self.row.consumer:
            self._require_words("consumer", case.message_id, (case.message_id, *self.row.codes))

    def _judge_delivery(self, draft: DraftMessage) -> None:
        if "delivered" not in self.opponent.facts.show:
            return  # a row that is about nothing else names the feature
        shown = self.show("delivered", draft.unit.message_id)
        wanted = [hashlib.sha256(one.content).hexdigest() for one in draft.unit.payloads]
        if self.row.delivered == "none":
            if any(one in shown for one in wanted):
                raise UnmetError("the message was delivered")
            return
        missing = [one for one in wanted if one not in shown]
        if missing:
            raise UnmetError(f"{len(missing)} of {len(wanted)} payloads were not delivered as they were")

    def show(self, what: str, message_id: str) -> str:
        """Return what a command of the operator prints, as soon as it prints anything."""
        words = self.opponent.facts.show[what].replace("{message_id}", message_id)
        end = time.monotonic() + self.opponent.facts.patience
        while True:
            done = subprocess.run(  # noqa: S602
                words, shell=True, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
            )
            if done.stdout.strip() or time.monotonic() > end or self.row.delivered == "none":
                return done.stdout
            time.sleep(0.2)

    def _require_words(self, what: str, message_id: str, words: tuple[str, ...]) -> None:
        shown = self.show(what, message_id)
        if not any(one in shown for one in words):
            raise UnmetError(f"the {what} was not told: {shown.strip()[:200] or 'nothing was printed'}")

    # What the gateway sends.

    def _get_kept(self) -> SentCase:
        if any(one in ("several-parts",) for one in self.row.checks):
            return self.trigger("several")
        if self.opponent.kept is None:
            self.opponent.kept, self.opponent.kept_log = self.trigger(), self.log
        elif self.opponent.kept_log is not None:
            self.log = self.opponent.kept_log
        return self.opponent.kept

    def trigger(self, command: str = "command", silent: int = 0) -> SentCase:
        """Make the gateway send, and return its first message; `silent` attempts get no receipt."""
        box, request = self.start(command, silent)
        found = box.wait_for(1, self.opponent.facts.patience)
        if not found:
            raise UnmetError(f"the gateway sent nothing within {self.opponent.facts.patience:g} s")
        return self.make_case(found[0], request)

    def start(self, command: str = "command", silent: int = 0) -> tuple[As4Inbox, str]:
        """Make the gateway send; return the inbox, and the MessageId of what the suite sent for it."""
        box = self.opponent.listener.open_inbox(self.conversation, self.log, silent)
        outbound = self.opponent.facts.outbound
        if command in outbound:
            words = outbound[command].replace("{conversation}", self.conversation)
            done = subprocess.run(  # noqa: S602
                words, shell=True, check=False, capture_output=True, timeout=_COMMAND_SECONDS
            )
            # A command that waits for the receipt fails where the play gives none.
            if done.returncode and not box.arrivals:
                raise subprocess.SubprocessError(f"{words[:200]} ended with status {done.returncode}")
            return box, ""
        if command != "command" or "reply_to" not in outbound:
            raise LookupError(f"the profile of the gateway does not say outbound.{command}")
        draft = self.make_draft(action=outbound["reply_to"])
        case = self.post(draft)
        if wrong := find_answer_fault(replace(self.row, expect="receipt", also=()), case):
            raise UnmetError(f"the message that makes the gateway send was not taken: {wrong}")
        return box, draft.unit.message_id

    def make_case(self, seen: SeenMessage, request: str) -> SentCase:
        """Return a message of the gateway with what it must be like."""
        party = self.opponent.party
        theirs = tuple(
            one
            for pmodes in party.agreements.values()
            for one in pmodes
            if one.from_party[0] in party.membership.theirs
        )
        return SentCase(seen, party.build_context(), theirs, self.conversation, request)

    def judge_sent(self, case: SentCase) -> None:
        """Judge a message of the gateway by the checks of the row."""
        for name in self.row.checks:
            if wrong := find_sent_fault(name, case):
                raise UnmetError(f"{name}: {wrong}")

    def get_pull_interval(self) -> float:
        """Return the agreed time after which a pulled message without receipt is given again."""
        return float(self.opponent.party.get_pulled_pmode("pull").reliability.retry_interval)

    def get_interval(self) -> float:
        """Return the agreed time between two attempts of the gateway."""
        pmodes = self.opponent.party.agreements["main"]
        ours = self.opponent.party.membership.ours
        return float(next(one.reliability.retry_interval for one in pmodes if one.to_party[0] in ours))


def _make_payloads(names: Any, properties: Mapping[str, str]) -> tuple[Payload, ...]:
    made = []
    for number, name in enumerate(names, 1):
        kind, content, own = _SAMPLES[str(name)]
        kept = tuple(one for one in own if one[0] not in properties)
        made.append(Payload(f"part-{number}-{uuid.uuid4()}@suite.invalid", kind, content, kept))
    return tuple(made)


def _play_again(play: As4Play) -> None:
    draft = play.make_draft()
    first = play.post(draft)
    if wrong := find_answer_fault(play.row, first):
        raise UnmetError(f"the first time: {wrong}")
    again = replace(first, answer=play.post_parcel(first.sent))
    if wrong := find_answer_fault(play.row, again):
        raise UnmetError(f"the second time: {wrong}")


def _play_reused_id(play: As4Play) -> None:
    first = play.make_draft()
    if wrong := find_answer_fault(replace(play.row, expect="receipt"), play.post(first)):
        raise UnmetError(f"the first message: {wrong}")
    other = play.make_draft(id=first.unit.message_id, payloads=("text",))
    if wrong := find_answer_fault(play.row, play.post(other)):
        raise UnmetError(f"the other message: {wrong}")


def _play_repeats(play: As4Play) -> None:
    box, _ = play.start(silent=1_000)
    found = box.wait_for(2, play.opponent.facts.patience + play.get_interval() + _LATE)
    if len(found) < 2:
        raise UnmetError(f"{len(found)} attempts came, and nothing was answered")
    if len({one.message_id for one in found}) > 1:
        raise UnmetError("a repeat has another MessageId")


def _play_end_of_repeats(play: As4Play) -> None:
    box, _ = play.start(silent=1)
    found = box.wait_for(2, play.opponent.facts.patience + play.get_interval() + _LATE)
    if len(found) < 2:
        raise UnmetError("the message did not come again")
    time.sleep(play.get_interval() + 1.0)
    if len(found := box.wait_for(0, 0)) > 2:
        raise UnmetError(f"{len(found) - 2} more attempts came after the receipt")


def _play_missing_receipt(play: As4Play) -> None:
    box, _ = play.start(silent=1_000)
    found = box.wait_for(1, play.opponent.facts.patience)
    if not found:
        raise UnmetError("the gateway sent nothing")
    end = time.monotonic() + 3 * (play.get_interval() + _LATE)
    while True:
        shown = play.show("producer", found[0].message_id)
        if any(one in shown for one in _MISSING):
            return
        if time.monotonic() > end:
            raise UnmetError(f"the producer was not told: {shown.strip()[:200] or 'nothing was printed'}")
        time.sleep(1.0)


def _play_command(name: str) -> Callable[[As4Play], None]:
    return lambda play: play.judge_sent(play.trigger(name))


#: Plays by the names that the tables use.
MESSAGE_PLAYS: Final[Mapping[str, Callable[[As4Play], None]]] = {
    "again": _play_again,
    "reused-id": _play_reused_id,
    "repeats": _play_repeats,
    "repeats-end": _play_end_of_repeats,
    "missing-receipt": _play_missing_receipt,
    "ping": _play_command("ping"),
    "charset": _play_command("utf16"),
}
