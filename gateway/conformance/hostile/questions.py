"""Questions between handlers that would tell strangers of the messages of others: APP-05.

Whoever has seen a MessageId, in a log or on the way, can ask what became of the message: the
answer is for its sender alone.  ebMS 2.0 has a word for that, UnAuthorized (§7.1.2); a
SecurityFailure says it too, and so does a NotRecognized, which is told of every unknown id.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

from gateway.conformance.hostile.alterations import on_tree, text_set
from gateway.conformance.hostile.case import (
    ACCEPTED,
    Answer,
    Case,
    Exchange,
    Expected,
    NotOfferedError,
    Post,
    WrongAnswerError,
)
from gateway.errors import GatewayError
from gateway.model import StatusRequest
from gateway.wire.namespaces import EB
from gateway.wire.soap import read_envelope
from gateway.wire.xml import parse_xml

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES"]

_SOURCE: Final = "CWE-639; ebMS 2.0 §7.1.1"
_TOLD_NOTHING: Final = ("UnAuthorized", "NotRecognized")
#: An answer that says nothing, or a refusal: both keep what is asked about.
_KEPT: Final = Expected(accepted=True, lawful=True, ebms=("SecurityFailure",), http=(401, 403), silent=True)

#: Makes the question about a message of A.
_Question = Callable[["Bench", str], Post]


def _question(
    asker: str = "a", signer: str | None = "a", changed: str | None = None, member: str = "a"
) -> _Question:
    """Return: `asker` asks, `signer` signs (nobody: None); then `changed` becomes what is asked about."""

    def make(bench: Bench, about: str) -> Post:
        pmode = bench.members[asker].outgoing("Store")
        unit = StatusRequest(
            message_id=bench.new_id(member),
            conversation_id="c-question",
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=bench.now(),
            about=changed or about,
            sync_reply=True,
        )
        after = on_tree(text_set("//eb:StatusRequest/eb:RefToMessageId", about)) if changed else None
        return bench.message(unit, signer=signer, signed=signer is not None, tampered=after)

    return make


def _status(answer: Answer) -> str:
    """Return the word of a StatusResponse, "" where the answer is none."""
    try:
        body = read_envelope(parse_xml(answer.body)).body
    except GatewayError:
        return ""
    found = body.find(f"{{{EB}}}StatusResponse")
    return "" if found is None else found.get(f"{{{EB}}}messageStatus", "")


def _case(name: str, title: str, ask: _Question) -> Case:
    """Return: A is told of its message; then somebody asks about it who must not be told."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        unit = bench.unit()
        yield Exchange(bench.message(unit), ACCEPTED)
        own = _status((yield Exchange(_question()(bench, unit.message_id), ACCEPTED)))
        if own in ("", *_TOLD_NOTHING):
            raise NotOfferedError("the gateway tells nobody what became of a message")
        told = _status((yield Exchange(ask(bench, unit.message_id), _KEPT)))
        if told and told not in _TOLD_NOTHING:
            raise WrongAnswerError(f"somebody else was told that A's message is {told}")
        unknown = _status((yield Exchange(ask(bench, bench.new_id()), _KEPT)))
        if told != unknown:
            words = f"a known id is {told or 'refused'}, an unknown one {unknown or 'refused'}"
            raise WrongAnswerError(words)

    return Case(name, title, "ebms2", _SOURCE, play)


CASES: Final[tuple[Case, ...]] = (
    _case("APP-05.status-unsigned", "nobody has signed the question", _question(signer=None)),
    _case("APP-05.status-of-another", "B asks about A's message", _question("b", "b")),
    _case("APP-05.status-as-another", "B asks in A's name", _question("a", "b")),
    _case("APP-05.status-stranger", "a stranger asks in A's name", _question("a", "stranger")),
    _case(
        "APP-05.status-changed",
        "a question of A's, changed on its way to be about another message",
        _question(changed="other@suite.invalid"),
    ),
)
