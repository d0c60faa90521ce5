"""Plays in which the suite pulls: what waits, what is given again, what ends it, and who may not pull."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.conformance.as4.as4_assertion import UnmetError
from gateway.conformance.as4.as4_party import SECRET_FILE
from gateway.conformance.as4.as4_play import As4Play
from gateway.conformance.as4.draft_message import sign_again
from gateway.conformance.as4.pull_login import PullToken, add_token, make_token
from gateway.conformance.as4.seen_message import SeenMessage
from gateway.conformance.as4.stranger_signer import make_stranger
from gateway.errors import DECOMPRESSION_FAILED, GatewayError
from gateway.message_model import PullRequest, Receipt
from gateway.protocols import OpenedMessage, Parcel, SentUnit, as4, make_pull_request

__all__ = ["PULL_PLAYS"]

_PAUSE: Final = 0.3
#: How much later than agreed a message may be given again, and how long the suite looks whether it is.
_LATE: Final = 10.0
_AFTER: Final = 1.0
_EMPTY: Final = "//eb3:Error[@errorCode='EBMS:0006']"


@dataclass(frozen=True)
class PulledMessage:
    """A message that the gateway gave, after all checks, and as it came."""

    opened: OpenedMessage
    seen: SeenMessage

    @property
    def message_id(self) -> str:
        """Return its MessageId."""
        return self.opened.unit.message_id


def _pull(play: As4Play, *bundled: Receipt) -> PulledMessage | SeenMessage:
    """Pull once; return the message, or the answer that there is none. Raises GatewayError for a bad one."""
    asked, parcel = _make_request(play, *bundled)
    seen = play.post_parcel(parcel)
    if not seen.select("//eb3:UserMessage"):
        return seen
    return PulledMessage(seen.open(play.opponent.party.build_context(), SentUnit(asked)), seen)


def _make_request(play: As4Play, *bundled: Receipt) -> tuple[PullRequest, Parcel]:
    party, send = play.opponent.party, play.row.send
    pmode, context = party.get_pulled_pmode(str(send["agreement"])), party.build_context()
    asked = make_pull_request(pmode, context)
    if "channel" in send:
        asked = replace(asked, mpc=send["channel"] or None)
    if "login" in send:
        return asked, _write_login_request(play, asked, _make_login(play, str(send["login"])))
    parcel = as4.seal((asked, *bundled), None, context)
    if send.get("signed") is False:
        return asked, sign_again(parcel, None)
    if send.get("signer") == "stranger":
        return asked, sign_again(parcel, make_stranger(context.now.year))
    return asked, parcel


def _make_login(play: As4Play, way: str) -> PullToken | None:
    """Return a new token of the suite; raise LookupError without its password."""
    party = play.opponent.party
    if not party.password:
        raise LookupError(f"the partner folder has no {SECRET_FILE}")
    return make_token(play.opponent.facts.login, party.password, way, party.build_context().now)


def _write_login_request(play: As4Play, asked: PullRequest, token: PullToken | None) -> Parcel:
    """Return a PullRequest that nobody signs, with a token."""
    return add_token(sign_again(as4.seal((asked,), None, play.opponent.party.build_context()), None), token)


def _require_empty(seen: SeenMessage) -> None:
    """Raise unless an answer is the warning that nothing waits."""
    if seen.select("//eb3:SignalMessage") and seen.codes:
        raise UnmetError(f"the PullRequest was refused: {seen.describe()}")
    if not seen.select(_EMPTY):
        raise UnmetError(f"the answer is no EBMS:0006: {seen.describe()}")


def _acknowledge(play: As4Play, message: PulledMessage) -> None:
    """Post the receipt of a message, and raise unless the gateway takes it."""
    context = play.opponent.party.build_context()
    _post_signal(play, as4.seal((as4.make_receipt(message.opened, context),), None, context))


def _post_signal(play: As4Play, parcel: Parcel) -> None:
    answer = play.post_parcel(parcel)
    if answer.codes or answer.status is None or not 200 <= answer.status < 300:
        raise UnmetError(f"the signal about the pulled message was not taken: {answer.describe()}")


def _empty_channel(play: As4Play) -> None:
    """Pull and acknowledge all that waits from before."""
    end = time.monotonic() + play.opponent.facts.patience
    while time.monotonic() < end:
        found = _pull(play)
        if isinstance(found, SeenMessage):
            _require_empty(found)
            return
        _acknowledge(play, found)
    raise UnmetError("the channel does not become empty, although every message is acknowledged")


def _fetch(play: As4Play) -> PulledMessage:
    """Make the gateway send, and pull what it has for this conversation."""
    _empty_channel(play)
    play.start()
    found = _look(play, play.opponent.facts.patience)
    if found is None:
        raise UnmetError(f"nothing was given within {play.opponent.facts.patience:g} s")
    return found


def _look(play: As4Play, seconds: float) -> PulledMessage | None:
    """Pull until a message of this conversation comes, and acknowledge others; None when time is over."""
    end = time.monotonic() + seconds
    while True:
        found = _pull(play)
        if isinstance(found, PulledMessage):
            if found.opened.unit.conversation_id == play.conversation:
                return found
            _acknowledge(play, found)
        else:
            _require_empty(found)
        if time.monotonic() > end:
            return None
        time.sleep(_PAUSE)


def _require_gone(play: As4Play, message: PulledMessage) -> None:
    """Raise when a message that has ended is given again after the interval."""
    end = time.monotonic() + play.get_pull_interval() + _AFTER
    while time.monotonic() < end:
        found = _pull(play)
        if isinstance(found, SeenMessage):
            time.sleep(_PAUSE)
        elif found.message_id == message.message_id:
            raise UnmetError("the message was given again after it had ended")
        # Without a pause after another message: it may have waited before this one.


def _play_empty(play: As4Play) -> None:
    _empty_channel(play)


def _play_pull(play: As4Play) -> None:
    found = _fetch(play)
    _acknowledge(play, found)
    play.judge_sent(replace(play.make_case(found.seen, ""), opened=found.opened))


def _play_receipt(play: As4Play) -> None:
    found = _fetch(play)
    _acknowledge(play, found)
    _require_gone(play, found)


def _play_error(play: As4Play) -> None:
    found, context = _fetch(play), play.opponent.party.build_context()
    problem = GatewayError(DECOMPRESSION_FAILED, "the suite refuses it", "eb3:PayloadInfo")
    signal = as4.make_error_signal(problem, found.opened.unit, context)
    if signal is not None:
        _post_signal(play, as4.seal((signal,), None, context))
    _require_gone(play, found)


def _play_again(play: As4Play) -> None:
    first = _fetch(play)
    later = _look(play, play.get_pull_interval() + _LATE)
    if later is None:
        raise UnmetError("a message without receipt was not given again")
    _acknowledge(play, later)
    if (later.message_id, later.opened.identity) != (first.message_id, first.opened.identity):
        raise UnmetError("another message was given in the place of the one without receipt")


def _play_parallel(play: As4Play) -> None:
    first, again = _fetch(play), _pull(play)
    _acknowledge(play, first)
    if isinstance(again, PulledMessage):
        raise UnmetError(f"it was given again at once as {again.message_id[:80]}")
    _require_empty(again)


def _play_bundled(play: As4Play) -> None:
    found, context = _fetch(play), play.opponent.party.build_context()
    receipt = as4.make_receipt(found.opened, context)
    answer = _pull(play, receipt)
    if isinstance(answer, SeenMessage):
        _require_empty(answer)
    _require_gone(play, found)


def _play_refused(play: As4Play) -> None:
    """Judge the answer to a PullRequest that must not be served, with something waiting."""
    _let_wait(_make_right(play))
    _judge_refusal(play, _make_request(play)[1])


def _play_login_again(play: As4Play) -> None:
    """Judge the second use of a token that was good once, with something waiting."""
    token = _make_login(play, "right")
    _empty_channel(play)
    first = play.post_parcel(_write_login_request(play, _make_request(play)[0], token))
    _require_empty(first)
    _let_wait(play)
    _judge_refusal(play, _write_login_request(play, _make_request(play)[0], token))


def _make_right(play: As4Play) -> As4Play:
    """Return a play that pulls as it is agreed."""
    send = {"agreement": play.row.send["agreement"]}
    return replace(
        play, row=replace(play.row, send=send | ({"login": "right"} if "login" in play.row.send else {}))
    )


def _let_wait(rightly: As4Play) -> None:
    """Make the gateway send a message, and give it the time to let it wait on its channel."""
    _empty_channel(rightly)
    rightly.start()
    time.sleep(_AFTER)


def _judge_refusal(play: As4Play, asked: Parcel) -> None:
    answer = play.post_parcel(asked)
    if answer.select("//eb3:UserMessage"):
        raise UnmetError("a message was given")
    if answer.select(_EMPTY):
        raise UnmetError(f"it was answered as one to an empty channel: {answer.describe()}")
    if answer.status == 200 and not answer.codes and not answer.fault:
        raise UnmetError(f"it was not refused: {answer.describe()}")


PULL_PLAYS: Final[Mapping[str, Callable[[As4Play], None]]] = {
    "pull-empty": _play_empty,
    "pull": _play_pull,
    "pull-receipt": _play_receipt,
    "pull-error": _play_error,
    "pull-again": _play_again,
    "pull-parallel": _play_parallel,
    "pull-bundled": _play_bundled,
    "pull-refused": _play_refused,
    "pull-login-again": _play_login_again,
}
