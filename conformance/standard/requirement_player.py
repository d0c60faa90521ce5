"""Plays requirements against a gateway: sends, waits for the answer on either way, and checks it.

A gateway may limit how many refusals it posts, because anyone can send a message that is refused. Then
each further negative requirement would wait in vain. The suite waits in full for some of them, shortly
for the others, and says so once.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final

from gateway.message_model import UserMessage
from gateway_conformance.hostile import Answer, HttpRequest, UrlTarget
from gateway_conformance.reports import ExchangeLog, RecordedMessage, UnmetError, record_message
from gateway_conformance.standard.answer_checks import run_check
from gateway_conformance.standard.callback_listener import CallbackListener, Inbox, Replier
from gateway_conformance.standard.judged_answer import JudgedAnswer
from gateway_conformance.standard.message_building import MessageBuilder, SentMessage
from gateway_conformance.standard.received_message import BACK_CHANNEL, ReceivedMessage, find_text
from gateway_conformance.standard.suite_party import SuiteParty
from gateway_conformance.standard.suite_requirement import Requirement, SuiteProfile

#: After this number of waits in vain, one after the other, the suite shortens its waits.
_IN_VAIN: Final = 5
_SHORT: Final = 0.5
_SUBJECTS: Final = {"positive": "what it should answer", "negative": "what it should refuse"}


@dataclass
class _Waits:
    """The waits for answers by POST in requirements of one kind."""

    answered: int = 0
    in_vain: int = 0
    last_answered: str = ""
    first_in_vain: str = ""
    shortened: list[str] = field(default_factory=list)


@dataclass
class AnswerPatience:
    """Says how long to wait for an answer by POST; `seconds` is the longest time. Safe for threads."""

    seconds: float
    _kinds: dict[str, _Waits] = field(default_factory=lambda: {name: _Waits() for name in _SUBJECTS})
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get_seconds(self, kind: str) -> float:
        """Return how long to wait now, in a requirement of that kind."""
        with self._lock:
            shortened = self._kinds[kind].in_vain >= _IN_VAIN
        return min(self.seconds, _SHORT) if shortened else self.seconds

    def count_wait(self, requirement_kind: str, requirement: str, *, answered: bool) -> bool:
        """Count a wait that is over; return whether it was shortened and the gateway has answered before.

        Then nothing is known: the gateway can answer, but it might be slow.
        """
        with self._lock:
            waits = self._kinds[requirement_kind]
            if answered:
                waits.answered += 1
                waits.in_vain, waits.last_answered = 0, requirement
                return False
            shortened = waits.in_vain >= _IN_VAIN
            waits.in_vain += 1
            if waits.in_vain == 1:
                waits.first_in_vain = requirement
            if shortened:
                waits.shortened.append(requirement)
            return shortened and waits.answered > 0

    def list_findings(self) -> tuple[str, ...]:
        """Return one sentence for each kind of which the gateway gave up to give answers."""
        with self._lock:
            return tuple(self._describe_waits(kind) for kind, waits in self._kinds.items() if waits.shortened)

    def _describe_waits(self, requirement_kind: str) -> str:
        waits, subject = self._kinds[requirement_kind], _SUBJECTS[requirement_kind]
        waited = f"The suite waited {self.seconds:g} s for {_IN_VAIN} answers"
        if not waits.answered:
            return (
                f"The gateway never answered by POST {subject}. {waited}, and shortly for "
                f"{len(waits.shortened)} more."
            )
        return (
            f"The gateway answered by POST {subject} {waits.answered} times, the last time in "
            f"{waits.last_answered}, and not from {waits.first_in_vain} on. {waited}; the "
            f"{len(waits.shortened)} after them have no verdict. It may limit its answers: raise the limit, "
            f"or run the rest later with --only."
        )


#: How long nothing must come, for a check that nothing comes.
QUIET: Final = 0.4


@dataclass
class Opponent:
    """The tested gateway and everything that plays against it need: the suite as partner, and a listener.

    `restart` makes the operator restart the gateway, and returns when it is there again.
    """

    party: SuiteParty
    target: UrlTarget
    listener: CallbackListener
    profile: SuiteProfile
    restart: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.patience = AnswerPatience(self.profile.patience)


@dataclass
class Play:
    """One requirement that is being played, in a conversation of its own.

    `is_unsure` after an answer was not waited for as long as the profile says.
    """

    requirement: Requirement
    opponent: Opponent
    log: ExchangeLog = field(default_factory=ExchangeLog)
    conversation: str = field(default_factory=lambda: f"c-{uuid.uuid4()}")
    earlier: dict[str, JudgedAnswer] = field(default_factory=dict)
    is_unsure: bool = False

    def __post_init__(self) -> None:
        opponent = self.opponent
        self.inbox: Inbox = opponent.listener.open_inbox(self.conversation, self.log)
        self.builder = MessageBuilder(
            opponent.party,
            self.requirement.agreement,
            opponent.profile.action,
            self.conversation,
            str(opponent.profile.outbound.get("reply_to", "")),
        )

    @property
    def replier(self) -> Replier:
        """Return the suite as it answers messages of the gateway in this play."""
        return Replier(self.opponent.party, self.requirement.agreement, self.send_request)

    def send_request(self, request: HttpRequest) -> ReceivedMessage:
        """Send one request, record the exchange, and return the HTTP answer."""
        answer = self.opponent.target.send(request)
        line = f"{request.method} {self.opponent.target.name} HTTP/1.1"
        sent = record_message(line, request.headers, request.body)
        self.log.add_exchange(
            sent, _record_answer(answer), answer.connect_problem or _describe_silence(answer)
        )
        if answer.connect_problem:
            raise UnmetError(answer.connect_problem)
        return ReceivedMessage(BACK_CHANNEL, answer.status, answer.headers, answer.body, "", answer.seconds)

    def exchange_message(self, sent: SentMessage, *, is_silence_expected: bool = False) -> JudgedAnswer:
        """Send a message, and wait for its answer on the way that was agreed; `quiet`: none is expected."""
        self.opponent.listener.add_conversation(sent.unit.conversation_id, self.inbox)
        before = len(self.inbox.arrivals)
        http = self.send_request(sent.request)
        answers = [http] if http.root is not None else []
        if not answers and (is_silence_expected or not sent.agreement.is_synchronous(self.builder.action)):
            # What HTTP itself has refused gets no answer by POST.
            refused = http.status is not None and http.status >= HTTPStatus.BAD_REQUEST
            answers = self._await_callbacks(sent, before, is_silence_expected=is_silence_expected or refused)
        answer = next((message for message in answers if not message.fault), None)
        others = tuple(message for message in answers if message is not answer and message is not http)
        return JudgedAnswer(self.opponent.party, sent, http, answer, others, self.earlier)

    def _await_callbacks(
        self, sent: SentMessage, earlier_count: int, *, is_silence_expected: bool
    ) -> list[ReceivedMessage]:
        """Return the messages that the gateway posts about a sent message; `quiet`: none is expected."""
        message_id = sent.unit.message_id
        inbox = self.inbox

        def is_about(message: ReceivedMessage) -> bool:
            return any(
                arrival.message is message for arrival in inbox.arrivals[earlier_count:]
            ) and message_id in (
                message.ref_to,
                find_text(message.root, "//eb:Acknowledgment/eb:RefToMessageId"),
            )

        if is_silence_expected:
            return [arrival.message for arrival in inbox.wait_for(is_about, QUIET)]
        patience, row = self.opponent.patience, self.requirement
        answers = [arrival.message for arrival in inbox.wait_for(is_about, patience.get_seconds(row.kind))]
        if patience.count_wait(row.kind, row.id, answered=bool(answers)):
            self.is_unsure = True
        return answers


def play_steps(play: Play) -> None:
    """Play the steps of a row; raise `UnmetError` at the first check that fails."""
    for step in play.requirement.steps:
        wait_seconds(float(step.send.get("pause", 0)))
        sent = play.builder.build_message(step.name, _add_agreement_kind(play.requirement, step.send))
        names = [name for name, _ in step.checks]
        judged = play.exchange_message(sent, is_silence_expected=_expects_nothing(names, sent))
        play.earlier[step.name] = replace(judged, earlier={})
        for name, argument in step.checks:
            if wrong := run_check(judged, name, argument):
                raise UnmetError(f"step {step.name}: {wrong}" if len(play.requirement.steps) > 1 else wrong)


def _expects_nothing(names: list[str], sent: SentMessage) -> bool:
    """Return whether no answer is waited for: silence is checked, or a message asks for no answer."""
    if "silence" in names:
        return True
    unit = sent.unit
    return isinstance(unit, UserMessage) and unit.ack_requested is None and set(names) <= {"not-refused"}


def _add_agreement_kind(requirement: Requirement, message_row: Mapping[str, object]) -> Mapping[str, object]:
    return message_row if "agreement" in message_row else {**message_row, "agreement": requirement.agreement}


def _record_answer(answer: Answer) -> RecordedMessage | None:
    if answer.status is None:
        return None
    return record_message(f"HTTP/1.1 {answer.status}", answer.headers, answer.body)


def _describe_silence(answer: Answer) -> str:
    if answer.status is not None:
        return ""
    return "no answer in time" if answer.timed_out else "the connection ended without an answer"


def wait_seconds(seconds: float) -> None:
    """Wait; plays on several threads wait at the same time."""
    time.sleep(seconds)
