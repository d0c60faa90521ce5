"""StatusRequests about messages of other parties (APP-05).

Whoever has seen a MessageId, in a log or on the way, can ask what became of the message: the
answer is for its sender alone.  ebMS 2.0 has a word for that, UnAuthorized (§7.1.2); a
SecurityFailure says it too, and so does a NotRecognized, which is told of every unknown id.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import (
    ACCEPTED,
    Answer,
    Exchange,
    Expectation,
    HttpRequest,
    NotOfferedError,
    WrongAnswerError,
)
from gateway.conformance.hostile.tree_mutations import mutate_tree, set_text
from gateway.errors import GatewayError
from gateway.message_model import StatusRequest
from gateway.wire import EB, parse_xml, read_envelope

_SOURCE: Final = "CWE-639; ebMS 2.0 §7.1.1"
_TOLD_NOTHING: Final = ("UnAuthorized", "NotRecognized")
#: An answer without information, or a refusal: both protect the message.
_KEPT: Final = Expectation(
    accepted=True, lawful=True, ebms=("SecurityFailure",), http=(401, 403), silent=True
)

#: Makes the question about a message of A.
_QuestionMaker = Callable[[AttackerKit, str], HttpRequest]


def _make_status_question(
    asker: str = "a", signer: str | None = "a", changed: str | None = None
) -> _QuestionMaker:
    """Return the request of `asker`, signed by `signer` (None: unsigned); `changed` changes the subject."""

    def make_question(kit: AttackerKit, about: str) -> HttpRequest:
        fields = {"conversation_id": "c-question", "about": changed or about, "sync_reply": True}
        unit = kit.make_signal(StatusRequest, asker, message_id=kit.make_message_id(), **fields)
        after = mutate_tree(set_text("//eb:StatusRequest/eb:RefToMessageId", about)) if changed else None
        return kit.build_message(unit, signer=signer, signed=signer is not None, tampered=after)

    return make_question


def _read_message_status(answer: Answer) -> str:
    """Return the status of a StatusResponse; an empty text for another answer."""
    try:
        body = read_envelope(parse_xml(answer.body)).body
    except GatewayError:
        return ""
    found = body.find(f"{{{EB}}}StatusResponse")
    return "" if found is None else found.get(f"{{{EB}}}messageStatus", "")


def _make_status_case(variant: str, title: str, ask: _QuestionMaker) -> AttackCase:
    """Return the case in which A gets the status of its message, and then another party asks and must not."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        unit = kit.make_unit()
        yield Exchange(kit.build_message(unit), ACCEPTED)
        own = _read_message_status((yield Exchange(_make_status_question()(kit, unit.message_id), ACCEPTED)))
        if own in ("", *_TOLD_NOTHING):
            raise NotOfferedError("the gateway tells nobody what became of a message")
        told = _read_message_status((yield Exchange(ask(kit, unit.message_id), _KEPT)))
        if told and told not in _TOLD_NOTHING:
            raise WrongAnswerError(f"somebody else was told that A's message is {told}")
        unknown = _read_message_status((yield Exchange(ask(kit, kit.make_message_id()), _KEPT)))
        if told != unknown:
            words = f"a known id is {told or 'refused'}, an unknown one {unknown or 'refused'}"
            raise WrongAnswerError(words)

    return AttackCase(f"APP-05.status-{variant}", title, "ebms2", _SOURCE, run_scenario)


# fmt: off
_QUESTIONS: Final = (
    ("unsigned", "nobody has signed the question", _make_status_question(signer=None)),
    ("of-another", "B asks about A's message", _make_status_question("b", "b")),
    ("as-another", "B asks in A's name", _make_status_question("a", "b")),
    ("stranger", "a stranger asks in A's name", _make_status_question("a", "stranger")),
    ("changed", "a question of A's, changed on its way to be about another message",
     _make_status_question(changed="other@suite.invalid")),
)
# fmt: on

CASES: Final[tuple[AttackCase, ...]] = tuple(_make_status_case(*row) for row in _QUESTIONS)
"""Attacks by questions: APP-05."""
