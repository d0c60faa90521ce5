"""Plays one assertion: posts its message, or makes the gateway send; judges the answer or the message."""

from __future__ import annotations

import hashlib
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import Payload, Receipt, UserMessage
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, as4
from gateway.wire import DEFAULT_LIMITS, EB3
from gateway_conformance.as4.as4_assertion import Assertion, GatewayDeclarations
from gateway_conformance.as4.as4_party import As4Inbox, As4Listener, As4Party
from gateway_conformance.as4.draft_message import DraftMessage
from gateway_conformance.as4.seen_message import SeenMessage
from gateway_conformance.as4.sent_checks import SentCase, find_sent_fault
from gateway_conformance.hostile import HttpRequest, UrlTarget
from gateway_conformance.partner_files import make_stranger
from gateway_conformance.reports import ExchangeLog, UnmetError, record_message

_SUCCESS: Final = range(200, 300)


@dataclass(frozen=True)
class AnswerCase:
    """A message of the suite with the answer to it."""

    sent_parcel: Parcel
    message_id: str
    answer: SeenMessage
    context: ProtocolContext

    def open_receipt(self) -> OpenedMessage:
        """Return the receipt after all checks: signer, signature and digests; raises GatewayError."""
        sent = as4.read_sent_unit(self.sent_parcel, DEFAULT_LIMITS)
        return self.answer.open(self.context, sent)


def find_answer_fault(row: Assertion, case: AnswerCase) -> str:
    """Return the first fault of an answer; an empty text when the answer is as the row demands it."""
    if wrong := _EXPECTATIONS[row.expect](row, case):
        return wrong
    for name in row.also:
        if name not in _CHECKS_BY_NAME:
            raise GatewayError(OUR_MISTAKE, f"there is no check {name!r}", row.id)
        if wrong := _CHECKS_BY_NAME[name](case):
            return wrong
    return ""


def _find_receipt_fault(_: Assertion, case: AnswerCase) -> str:
    answer = case.answer
    if answer.status not in _SUCCESS:
        return f"no receipt: {answer.describe()}"
    try:
        opened = case.open_receipt()
    except GatewayError as wrong:
        return f"no good receipt: {answer.describe()}: {wrong.problem.id} {wrong.detail}"
    return "" if isinstance(opened.unit, Receipt) else f"no receipt: {answer.describe()}"


def _find_error_fault(row: Assertion, case: AnswerCase) -> str:
    codes = case.answer.codes
    if case.answer.select("//eb3:SignalMessage/eb3:Receipt"):
        return "it got a receipt"
    if not codes:
        return f"no error of ebMS: {case.answer.describe()}"
    if row.codes and not set(codes) & set(row.codes):
        return f"the error is {', '.join(codes)[:80]}, not {' or '.join(row.codes)}"
    return ""


def _find_refusal_fault(_: Assertion, case: AnswerCase) -> str:
    answer = case.answer
    if answer.select("//eb3:SignalMessage/eb3:Receipt"):
        return "it got a receipt"
    # A refusal may be an error (FeatureNotSupported is a warning), a SOAP Fault, or the status of HTTP alone.
    refusal = answer.select("//eb3:SignalMessage/eb3:Error") or answer.fault
    refused = refusal or (answer.status is not None and answer.status not in _SUCCESS)
    return "" if refused else f"it was not refused: {answer.describe()}"


_EXPECTATIONS: Final[Mapping[str, Callable[[Assertion, AnswerCase], str]]] = {
    "receipt": _find_receipt_fault,
    "error": _find_error_fault,
    "refused": _find_refusal_fault,
}


def _check_body_signed(case: AnswerCase) -> str:
    name = case.answer.find_text("/soap12:Envelope/soap12:Body/@wsu:Id")
    covered = {str(uri) for uri in case.answer.select("//ds:SignedInfo/ds:Reference/@URI")}
    return "" if name and f"#{name}" in covered else "the Body of the receipt is not signed"


def _check_receipt_digests(case: AnswerCase) -> str:
    opened = case.open_receipt()
    receipted = (
        {reference.uri for reference in opened.unit.references} if isinstance(opened.unit, Receipt) else set()
    )
    sent = SeenMessage(dict(case.sent_parcel.headers), case.sent_parcel.read_octets())
    expected = {str(uri) for uri in sent.select("//ds:SignedInfo/ds:Reference/@URI")}
    return (
        ""
        if expected <= receipted
        else f"the receipt lacks the digest of {', '.join(sorted(expected - receipted))[:200]}"
    )


def _check_receipt_id(case: AnswerCase) -> str:
    reference = case.answer.find_text("//eb3:MessageInfo/eb3:RefToMessageId")
    if reference != case.message_id:
        return f"the receipt refers to {reference[:80]!r}"
    receipt_id = case.answer.message_id
    return "" if receipt_id and receipt_id != case.message_id else "the receipt has no MessageId of its own"


def _check_error_attributes(case: AnswerCase) -> str:
    for name in ("errorCode", "severity"):
        if not case.answer.find_text(f"//eb3:Error/@{name}"):
            return f"the error has no {name}"
    if case.answer.find_text("//eb3:Error/@severity").lower() != "failure":
        return "its severity is not failure"
    references = {
        case.answer.find_text("//eb3:Error/@refToMessageInError"),
        case.answer.find_text("//eb3:MessageInfo/eb3:RefToMessageId"),
    }
    return "" if case.message_id in references else "the error does not name the message that it is about"


_CHECKS_BY_NAME: Final[Mapping[str, Callable[[AnswerCase], str]]] = {
    "body-signed": _check_body_signed,
    "digests": _check_receipt_digests,
    "own-id": _check_receipt_id,
    "error-attributes": _check_error_attributes,
}


_COMMAND_SECONDS: Final = 60.0
#: How much later than agreed a repeat may come.
_LATE: Final = 10.0
#: How long no delivery may come where none is allowed.
_NO_DELIVERY_SECONDS: Final = 2.0
_SHOW_PAUSE: Final = 0.2
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

    `first_case` is the message that the gateway has sent first: many assertions judge the same one.
    """

    party: As4Party
    target: UrlTarget
    listener: As4Listener
    declarations: GatewayDeclarations
    first_case: SentCase | None = None
    first_log: ExchangeLog | None = None


@dataclass
class As4Play:
    """One assertion that is being played, in a conversation of its own."""

    assertion: Assertion
    opponent: As4Opponent
    log: ExchangeLog = field(default_factory=ExchangeLog)
    conversation: str = field(default_factory=lambda: f"c-{uuid.uuid4()}")

    def play_one_message(self) -> None:
        """Play an assertion about one message, received or sent; raises as `run_play` does."""
        if self.assertion.side == "receives":
            self.post_and_judge()
        else:
            self.judge_sent(self._get_first_case())

    # Messages that the gateway receives.

    def make_draft(self, **changed: Any) -> DraftMessage:
        """Return the message that the row describes, not yet sealed."""
        row_values: Mapping[str, Any] = {**self.assertion.send, **changed}
        party, context = self.opponent.party, self.opponent.party.build_context()
        action = self._choose_action(row_values)
        pmode = party.get_sending_pmode(str(row_values.get("agreement", "main")), action)
        if not row_values.get("compressed", True):
            pmode = replace(pmode, packaging=None)
        if not row_values.get("encrypted", True):
            pmode = replace(pmode, encryption=None)
        signer = None if row_values.get("signed") is False else party.membership.identity.signer
        if row_values.get("signer") == "stranger":
            signer = make_stranger(context.now.year, key_kind="rsa-2048").signer
        unit = UserMessage(
            message_id=str(row_values.get("id") or context.make_message_id()),
            conversation_id=self.conversation,
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=context.now.replace(microsecond=context.now.microsecond // 1000 * 1000),
            service=pmode.service,
            service_type=pmode.service_type,
            action=action,
            payloads=_make_payloads(row_values.get("payloads", ("xml",)), row_values.get("properties", {})),
        )
        properties = row_values.get("properties", {})
        return DraftMessage(unit, pmode, context, signer, tuple(row_values.get("change", ())), properties)

    def _choose_action(self, row_values: Mapping[str, Any]) -> str:
        if row_values.get("service") == "test":
            return f"{EB3}test"
        if row_values.get("request"):
            return self._get_outbound("reply_to")
        return str(row_values.get("action", self.opponent.declarations.action))

    def _get_outbound(self, name: str) -> str:
        command = self.opponent.declarations.outbound.get(name)
        if not command:
            raise LookupError(f"the profile of the gateway does not say outbound.{name}")
        return command

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
        received = None
        if answer.status is not None:
            received = record_message(f"HTTP/1.1 {answer.status}", answer.headers, answer.body)
        self.log.add_exchange(sent, received, answer.connect_problem or ("" if received else "no answer"))
        return SeenMessage(answer.headers, answer.body, answer.status)

    def post_and_judge(self) -> None:
        """Post the message of the row; judge the answer, the delivery and the consumer's notification."""
        draft = self.make_draft()
        case = self.post(draft)
        if wrong := find_answer_fault(self.assertion, case):
            raise UnmetError(wrong)
        if self.assertion.delivered:
            self._judge_delivery(draft)
        if self.assertion.consumer:
            self._require_words("consumer", case.message_id, (case.message_id, *self.assertion.codes))

    def _judge_delivery(self, draft: DraftMessage) -> None:
        if "delivered" not in self.opponent.declarations.show:
            return  # a row that is about nothing else names the feature
        digests = [hashlib.sha256(payload.content).hexdigest() for payload in draft.unit.payloads]
        if self.assertion.delivered == "none":
            self._require_no_delivery(draft.unit.message_id, digests)
            return
        printed = self.show("delivered", draft.unit.message_id)
        missing = [digest for digest in digests if digest not in printed]
        if missing:
            raise UnmetError(f"{len(missing)} of {len(digests)} payloads were not delivered as they were")

    def _require_no_delivery(self, message_id: str, digests: Sequence[str]) -> None:
        """Raise when one of these payloads is delivered, at once or a little after the receipt."""
        end = time.monotonic() + _NO_DELIVERY_SECONDS
        while True:
            is_over = time.monotonic() > end
            printed = self._show_once("delivered", message_id)
            if any(digest in printed for digest in digests):
                raise UnmetError("the message was delivered")
            if is_over:
                return
            time.sleep(_SHOW_PAUSE)

    def show(self, subject: str, message_id: str) -> str:
        """Return the output of a command of the operator, as soon as the command prints any text."""
        end = time.monotonic() + self.opponent.declarations.patience
        while True:
            printed = self._show_once(subject, message_id)
            if printed.strip() or time.monotonic() > end:
                return printed
            time.sleep(_SHOW_PAUSE)

    def _show_once(self, subject: str, message_id: str) -> str:
        completed = subprocess.run(  # noqa: S602
            self.opponent.declarations.show[subject].replace("{message_id}", message_id),
            shell=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        return completed.stdout

    def _require_words(self, subject: str, message_id: str, texts: tuple[str, ...]) -> None:
        printed = self.show(subject, message_id)
        if not any(text in printed for text in texts):
            raise UnmetError(f"the {subject} was not told: {printed.strip()[:200] or 'nothing was printed'}")

    # Messages that the gateway sends.

    def _get_first_case(self) -> SentCase:
        if any(check in ("several-parts",) for check in self.assertion.checks):
            return self.trigger("several")
        if self.opponent.first_case is None:
            self.opponent.first_case, self.opponent.first_log = self.trigger(), self.log
        elif self.opponent.first_log is not None:
            self.log = self.opponent.first_log
        return self.opponent.first_case

    def trigger(self, command: str = "command", silent: int = 0) -> SentCase:
        """Make the gateway send, and return its first message; `silent` attempts get no receipt."""
        inbox, request = self.start(command, silent)
        arrivals = inbox.wait_for(1, self.opponent.declarations.patience)
        if not arrivals:
            raise UnmetError(f"the gateway sent nothing within {self.opponent.declarations.patience:g} s")
        return self.make_case(arrivals[0], request)

    def start(self, command: str = "command", silent: int = 0) -> tuple[As4Inbox, str]:
        """Make the gateway send; return the inbox and the MessageId of the trigger, empty for a command."""
        inbox = self.opponent.listener.open_inbox(self.conversation, self.log, silent)
        outbound = self.opponent.declarations.outbound
        if command in outbound:
            command_line = outbound[command].replace("{conversation}", self.conversation)
            completed = subprocess.run(  # noqa: S602
                command_line, shell=True, check=False, capture_output=True, timeout=_COMMAND_SECONDS
            )
            # A command that waits for the receipt fails where the play gives none.
            if completed.returncode and not inbox.arrivals:
                raise subprocess.SubprocessError(
                    f"{command_line[:200]} ended with status {completed.returncode}"
                )
            return inbox, ""
        if command != "command" or "reply_to" not in outbound:
            raise LookupError(f"the profile of the gateway does not say outbound.{command}")
        draft = self.make_draft(action=outbound["reply_to"])
        case = self.post(draft)
        if wrong := find_answer_fault(replace(self.assertion, expect="receipt", also=()), case):
            raise UnmetError(f"the message that makes the gateway send was not taken: {wrong}")
        return inbox, draft.unit.message_id

    def make_case(self, message: SeenMessage, request: str) -> SentCase:
        """Return a message of the gateway with the P-Modes, conversation and request that it must fit."""
        party = self.opponent.party
        theirs = tuple(
            pmode
            for pmodes in party.agreements.values()
            for pmode in pmodes
            if pmode.from_party[0] in party.membership.hub_identifiers
        )
        return SentCase(message, party.build_context(), theirs, self.conversation, request)

    def judge_sent(self, case: SentCase) -> None:
        """Judge a message of the gateway by the checks of the row."""
        for name in self.assertion.checks:
            if wrong := find_sent_fault(name, case):
                raise UnmetError(f"{name}: {wrong}")

    def get_pull_interval(self) -> float:
        """Return the agreed time after which a pulled message without receipt is given again."""
        return float(self.opponent.party.get_pulled_pmode("pull").reliability.retry_interval)

    def get_interval(self) -> float:
        """Return the agreed time between two attempts of the gateway."""
        pmodes = self.opponent.party.agreements["main"]
        ours = self.opponent.party.membership.own_identifiers
        return float(next(pmode.reliability.retry_interval for pmode in pmodes if pmode.to_party[0] in ours))


def _make_payloads(names: Any, properties: Mapping[str, str]) -> tuple[Payload, ...]:
    payloads = []
    for number, name in enumerate(names, 1):
        kind, content, defaults = _SAMPLES[str(name)]
        remaining = tuple(prop for prop in defaults if prop[0] not in properties)
        payloads.append(Payload(f"part-{number}-{uuid.uuid4()}@suite.invalid", kind, content, remaining))
    return tuple(payloads)


def _play_repeated_post(play: As4Play) -> None:
    """Post the same octets twice; both answers must be as the row demands."""
    draft = play.make_draft()
    first = play.post(draft)
    if wrong := find_answer_fault(play.assertion, first):
        raise UnmetError(f"the first time: {wrong}")
    again = replace(first, answer=play.post_parcel(first.sent_parcel))
    if wrong := find_answer_fault(play.assertion, again):
        raise UnmetError(f"the second time: {wrong}")


def _play_reused_id(play: As4Play) -> None:
    """Post a message, then another one with the same MessageId; judge the answer to the second."""
    first = play.make_draft()
    if wrong := find_answer_fault(replace(play.assertion, expect="receipt"), play.post(first)):
        raise UnmetError(f"the first message: {wrong}")
    second = play.make_draft(id=first.unit.message_id, payloads=("text",))
    if wrong := find_answer_fault(play.assertion, play.post(second)):
        raise UnmetError(f"the other message: {wrong}")


def _play_repeats(play: As4Play) -> None:
    """Give no receipt; the gateway must send its message again, with the same MessageId."""
    inbox, _ = play.start(silent=1_000)
    attempts = inbox.wait_for(2, play.opponent.declarations.patience + play.get_interval() + _LATE)
    if len(attempts) < 2:
        raise UnmetError(f"{len(attempts)} attempts came, and nothing was answered")
    if len({attempt.message_id for attempt in attempts}) > 1:
        raise UnmetError("a repeat has another MessageId")


def _play_end_of_repeats(play: As4Play) -> None:
    """Give a receipt to the second attempt only; no attempt may come after it."""
    inbox, _ = play.start(silent=1)
    attempts = inbox.wait_for(2, play.opponent.declarations.patience + play.get_interval() + _LATE)
    if len(attempts) < 2:
        raise UnmetError("the message did not come again")
    time.sleep(play.get_interval() + 1.0)
    if len(attempts := inbox.wait_for(0, 0)) > 2:
        raise UnmetError(f"{len(attempts) - 2} more attempts came after the receipt")


def _play_missing_receipt(play: As4Play) -> None:
    """Give no receipt; the gateway must notify its producer of EBMS:0301 (MissingReceipt)."""
    inbox, _ = play.start(silent=1_000)
    attempts = inbox.wait_for(1, play.opponent.declarations.patience)
    if not attempts:
        raise UnmetError("the gateway sent nothing")
    end = time.monotonic() + 3 * (play.get_interval() + _LATE)
    while True:
        printed = play.show("producer", attempts[0].message_id)
        if any(text in printed for text in _MISSING):
            return
        if time.monotonic() > end:
            raise UnmetError(f"the producer was not told: {printed.strip()[:200] or 'nothing was printed'}")
        time.sleep(1.0)


def _make_command_play(command: str) -> Callable[[As4Play], None]:
    return lambda play: play.judge_sent(play.trigger(command))


#: Plays by the names that the tables use.
MESSAGE_PLAYS: Final[Mapping[str, Callable[[As4Play], None]]] = {
    "again": _play_repeated_post,
    "reused-id": _play_reused_id,
    "repeats": _play_repeats,
    "repeats-end": _play_end_of_repeats,
    "missing-receipt": _play_missing_receipt,
    "ping": _make_command_play("ping"),
    "charset": _make_command_play("utf16"),
}
