"""Plays of the ways in which the gateway answers: by callback, in the HTTP answer, and to a PullRequest.

The gateway posts a receipt on another connection, gives its response in the HTTP answer, or gives its
messages to the suite when the suite pulls. The plays of pulling check which message the gateway gives,
which message it gives again, which signals end a message, and which PullRequests the gateway must refuse.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from xml.sax.saxutils import escape

from gateway.errors import DECOMPRESSION_FAILED, GatewayError
from gateway.message_model import MemoryBody, PullRequest, Receipt, UserMessage
from gateway.protocols import OpenedMessage, Parcel, SentUnit, as4, make_pull_request
from gateway.wire import BASE64_ENCODING, DEFAULT_LIMITS, SOAP12, WSSE, WSU
from gateway.xmlsec import EBMS_ROLE
from gateway_conformance.as4.as4_party import SECRET_FILE
from gateway_conformance.as4.as4_play import AnswerCase, As4Play, find_answer_fault
from gateway_conformance.as4.draft_message import sign_again
from gateway_conformance.as4.seen_message import SeenMessage
from gateway_conformance.partner_files import make_stranger
from gateway_conformance.reports import UnmetError

_SUCCESS: Final = range(200, 300)


def _play_callback(play: As4Play) -> None:
    """Post a message whose receipt comes by callback; judge the callback. The HTTP answer must be empty."""
    draft = play.make_draft()
    inbox = play.opponent.listener.open_inbox(draft.unit.message_id, play.log)
    case = play.post(draft)
    if case.answer.status not in _SUCCESS or case.answer.body.strip():
        raise UnmetError(f"the HTTP answer is not empty: {case.answer.describe()}")
    arrivals = inbox.wait_for(1, play.opponent.declarations.patience)
    if not arrivals:
        raise UnmetError(f"nothing was posted about it within {play.opponent.declarations.patience:g} s")
    # A callback has no HTTP status of its own.
    posted = replace(case, answer=SeenMessage(arrivals[0].headers, arrivals[0].body, 200))
    if wrong := find_answer_fault(play.assertion, posted):
        raise UnmetError(wrong)


def _post_request(play: As4Play) -> tuple[AnswerCase, OpenedMessage]:
    """Post a request; return its checked answer, and raise UnmetError for an answer without a response."""
    case = play.post(play.make_draft(request=True))
    if not case.answer.select("//eb3:UserMessage"):
        raise UnmetError(f"no response is in the HTTP answer: {case.answer.describe()}")
    opened = case.answer.open(case.context, as4.read_sent_unit(case.sent_parcel, DEFAULT_LIMITS))
    if isinstance(opened.unit, UserMessage):
        receipt = as4.make_receipt(replace(opened, units=(opened.unit,)), case.context)
        play.post_parcel(as4.seal((receipt,), None, case.context))
    return case, opened


def _play_response_in_answer(play: As4Play) -> None:
    """Post a request; judge the response in its HTTP answer by the checks of the row."""
    case, _ = _post_request(play)
    play.judge_sent(play.make_case(case.answer, case.message_id))


def _play_receipt_beside_response(play: As4Play) -> None:
    """Post a request; raise UnmetError unless the HTTP answer has its receipt beside the response."""
    case, opened = _post_request(play)
    receipt = next((unit for unit in opened.units if isinstance(unit, Receipt)), None)
    if receipt is None:
        raise UnmetError("no receipt is beside the response")
    if receipt.ref_to_message_id != case.message_id:
        raise UnmetError(f"the receipt refers to {str(receipt.ref_to_message_id)[:80]!r}")


def _play_shown_properties(play: As4Play) -> None:
    """Post a message with properties, and look whether they are shown."""
    case = play.post(play.make_draft())
    if wrong := find_answer_fault(play.assertion, case):
        raise UnmetError(wrong)
    sent = SeenMessage(dict(case.sent_parcel.headers), case.sent_parcel.read_octets())
    expected = {str(text) for text in sent.select("//eb3:MessageProperties/eb3:Property/text()")}
    printed = play.show("properties", case.message_id)
    missing = sorted(value for value in expected if value not in printed)
    if missing:
        raise UnmetError(f"{len(missing)} of {len(expected)} properties are not shown: {missing[0][:80]}")


ANSWER_PLAYS: Final[Mapping[str, Callable[[As4Play], None]]] = {
    "callback": _play_callback,
    "sync": _play_response_in_answer,
    "sync-receipt": _play_receipt_beside_response,
    "kept-properties": _play_shown_properties,
}


#: The ways in which a row of a table has the suite log in; ``none`` is without a token.
LOGIN_WAYS: Final = ("right", "wrong", "unknown", "none", "stale")
_DIGEST: Final = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
)
_STALE: Final = timedelta(hours=1)
_NONCE_OCTETS: Final = 16
_HEADER: Final = b"<soap12:Header>"


@dataclass(frozen=True, slots=True)
class PullToken:
    """A UsernameToken as it is written (UsernameToken Profile 1.1 §3.1)."""

    name: str
    digest: str
    nonce: str
    created: str

    def write_header(self) -> bytes:
        """Return the octets of a wsse:Security header that contains only this token (core §7.10)."""
        text = (
            f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" xmlns:s12="{SOAP12}" '
            f's12:role="{EBMS_ROLE}" s12:mustUnderstand="true"><wsse:UsernameToken>'
            f"<wsse:Username>{escape(self.name)}</wsse:Username>"
            f'<wsse:Password Type="{_DIGEST}">{self.digest}</wsse:Password>'
            f'<wsse:Nonce EncodingType="{BASE64_ENCODING}">{self.nonce}</wsse:Nonce>'
            f"<wsu:Created>{self.created}</wsu:Created></wsse:UsernameToken></wsse:Security>"
        )
        return text.encode()


def make_token(name: str, password: bytes, variant: str, now: datetime) -> PullToken | None:
    """Return a new token, right or wrong as `variant` of `LOGIN_WAYS` says; None for ``none``."""
    if variant == "none":
        return None
    at = now - _STALE if variant == "stale" else now
    created = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
    nonce = secrets.token_bytes(_NONCE_OCTETS)
    used_password = secrets.token_hex().encode() if variant == "wrong" else password
    # The profile names SHA-1.
    digest = hashlib.sha1(nonce + created.encode() + used_password, usedforsecurity=False).digest()
    login = f"{name}-{secrets.token_hex(4)}" if variant == "unknown" else name
    return PullToken(login, base64.b64encode(digest).decode(), base64.b64encode(nonce).decode(), created)


def add_token(parcel: Parcel, token: PullToken | None) -> Parcel:
    """Return an unsigned signal with a login token in its SOAP Header; unchanged where `token` is None."""
    if token is None:
        return parcel
    octets = parcel.read_octets().replace(_HEADER, _HEADER + token.write_header(), 1)
    return Parcel(dict(parcel.headers), MemoryBody(octets))


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


def _pull_once(play: As4Play, *bundled: Receipt) -> PulledMessage | SeenMessage:
    """Pull once; return the message, or the answer that there is none. Raises GatewayError for a bad one."""
    pull_request, parcel = _make_pull_request_parcel(play, *bundled)
    seen = play.post_parcel(parcel)
    if not seen.select("//eb3:UserMessage"):
        return seen
    return PulledMessage(seen.open(play.opponent.party.build_context(), SentUnit(pull_request)), seen)


def _make_pull_request_parcel(play: As4Play, *bundled: Receipt) -> tuple[PullRequest, Parcel]:
    party, row_values = play.opponent.party, play.assertion.send
    pmode, context = party.get_pulled_pmode(str(row_values["agreement"])), party.build_context()
    pull_request = make_pull_request(pmode, context)
    if "channel" in row_values:
        pull_request = replace(pull_request, mpc=row_values["channel"] or None)
    if "login" in row_values:
        return pull_request, _write_login_request(
            play, pull_request, _make_login(play, str(row_values["login"]))
        )
    parcel = as4.seal((pull_request, *bundled), None, context)
    if row_values.get("signed") is False:
        return pull_request, sign_again(parcel, None)
    if row_values.get("signer") == "stranger":
        return pull_request, sign_again(parcel, make_stranger(context.now.year, key_kind="rsa-2048").signer)
    return pull_request, parcel


def _make_login(play: As4Play, variant: str) -> PullToken | None:
    """Return a new token of the suite; raise LookupError without its password."""
    party = play.opponent.party
    if not party.password:
        raise LookupError(f"the partner folder has no {SECRET_FILE}")
    return make_token(play.opponent.declarations.login, party.password, variant, party.build_context().now)


def _write_login_request(play: As4Play, pull_request: PullRequest, token: PullToken | None) -> Parcel:
    """Return an unsigned PullRequest with a token; with `token` None it has none."""
    return add_token(
        sign_again(as4.seal((pull_request,), None, play.opponent.party.build_context()), None), token
    )


def _require_empty_channel_warning(answer: SeenMessage) -> None:
    """Raise unless an answer is the warning that nothing waits."""
    if answer.select("//eb3:SignalMessage") and answer.codes:
        raise UnmetError(f"the PullRequest was refused: {answer.describe()}")
    if not answer.select(_EMPTY):
        raise UnmetError(f"the answer is no EBMS:0006: {answer.describe()}")


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
    end = time.monotonic() + play.opponent.declarations.patience
    while time.monotonic() < end:
        pulled = _pull_once(play)
        if isinstance(pulled, SeenMessage):
            _require_empty_channel_warning(pulled)
            return
        _acknowledge(play, pulled)
    raise UnmetError("the channel does not become empty, although every message is acknowledged")


def _pull_triggered_message(play: As4Play) -> PulledMessage:
    """Make the gateway send a message, and return the message of this conversation that the suite pulls."""
    _empty_channel(play)
    play.start()
    message = _await_own_message(play, play.opponent.declarations.patience)
    if message is None:
        raise UnmetError(f"nothing was given within {play.opponent.declarations.patience:g} s")
    return message


def _await_own_message(play: As4Play, seconds: float) -> PulledMessage | None:
    """Pull until a message of this conversation comes, and acknowledge others; None when time is over."""
    end = time.monotonic() + seconds
    while True:
        pulled = _pull_once(play)
        if isinstance(pulled, PulledMessage):
            if pulled.opened.unit.conversation_id == play.conversation:
                return pulled
            _acknowledge(play, pulled)
        else:
            _require_empty_channel_warning(pulled)
        if time.monotonic() > end:
            return None
        time.sleep(_PAUSE)


def _require_not_given_again(play: As4Play, message: PulledMessage) -> None:
    """Raise when a message that has ended is given again after the interval."""
    end = time.monotonic() + play.get_pull_interval() + _AFTER
    while time.monotonic() < end:
        pulled = _pull_once(play)
        if isinstance(pulled, SeenMessage):
            time.sleep(_PAUSE)
        elif pulled.message_id == message.message_id:
            raise UnmetError("the message was given again after it had ended")
        # Without a pause after another message: it may have waited before this one.


def _play_empty_channel(play: As4Play) -> None:
    _empty_channel(play)


def _play_pulled_message(play: As4Play) -> None:
    message = _pull_triggered_message(play)
    _acknowledge(play, message)
    play.judge_sent(replace(play.make_case(message.seen, ""), opened=message.opened))


def _play_receipt_of_pulled_message(play: As4Play) -> None:
    """Pull a message and post its receipt; raise UnmetError where the message is given again after that."""
    message = _pull_triggered_message(play)
    _acknowledge(play, message)
    _require_not_given_again(play, message)


def _play_error_about_pulled_message(play: As4Play) -> None:
    """Pull a message and post an error about it; raise UnmetError where it is given again after that."""
    message, context = _pull_triggered_message(play), play.opponent.party.build_context()
    problem = GatewayError(DECOMPRESSION_FAILED, "the suite refuses it", "eb3:PayloadInfo")
    signal = as4.make_error_signal(problem, message.opened.unit, context)
    if signal is not None:
        _post_signal(play, as4.seal((signal,), None, context))
    _require_not_given_again(play, message)


def _play_message_given_again(play: As4Play) -> None:
    """Pull a message without a receipt; raise UnmetError unless the same message is given again."""
    first = _pull_triggered_message(play)
    later = _await_own_message(play, play.get_pull_interval() + _LATE)
    if later is None:
        raise UnmetError("a message without receipt was not given again")
    _acknowledge(play, later)
    if (later.message_id, later.opened.identity) != (first.message_id, first.opened.identity):
        raise UnmetError("another message was given in the place of the one without receipt")


def _play_parallel_pull(play: As4Play) -> None:
    """Pull twice before the receipt; raise UnmetError where the second PullRequest gets a message too."""
    first, again = _pull_triggered_message(play), _pull_once(play)
    _acknowledge(play, first)
    if isinstance(again, PulledMessage):
        raise UnmetError(f"it was given again at once as {again.message_id[:80]}")
    _require_empty_channel_warning(again)


def _play_bundled_receipt(play: As4Play) -> None:
    """Pull a message and send its receipt with the next PullRequest; the message must not come again."""
    message, context = _pull_triggered_message(play), play.opponent.party.build_context()
    receipt = as4.make_receipt(message.opened, context)
    answer = _pull_once(play, receipt)
    if isinstance(answer, SeenMessage):
        _require_empty_channel_warning(answer)
    _require_not_given_again(play, message)


def _play_refused_pull(play: As4Play) -> None:
    """Judge the answer to a PullRequest that must not be served, with something waiting."""
    _make_message_wait(_make_agreed_play(play))
    _judge_refusal(play, _make_pull_request_parcel(play)[1])


def _play_reused_login(play: As4Play) -> None:
    """Judge the second use of a token that was good once, with something waiting."""
    token = _make_login(play, "right")
    _empty_channel(play)
    first = play.post_parcel(_write_login_request(play, _make_pull_request_parcel(play)[0], token))
    _require_empty_channel_warning(first)
    _make_message_wait(play)
    _judge_refusal(play, _write_login_request(play, _make_pull_request_parcel(play)[0], token))


def _make_agreed_play(play: As4Play) -> As4Play:
    """Return a play that pulls as it is agreed."""
    send = {"agreement": play.assertion.send["agreement"]}
    return replace(
        play,
        assertion=replace(
            play.assertion, send=send | ({"login": "right"} if "login" in play.assertion.send else {})
        ),
    )


def _make_message_wait(rightly: As4Play) -> None:
    """Make the gateway send a message, and give it the time to let it wait on its channel."""
    _empty_channel(rightly)
    rightly.start()
    time.sleep(_AFTER)


def _judge_refusal(play: As4Play, pull_request: Parcel) -> None:
    answer = play.post_parcel(pull_request)
    if answer.select("//eb3:UserMessage"):
        raise UnmetError("a message was given")
    if answer.select(_EMPTY):
        raise UnmetError(f"it was answered as one to an empty channel: {answer.describe()}")
    if answer.status in range(200, 300) and not answer.codes and not answer.fault:
        raise UnmetError(f"it was not refused: {answer.describe()}")


PULL_PLAYS: Final[Mapping[str, Callable[[As4Play], None]]] = {
    "pull-empty": _play_empty_channel,
    "pull": _play_pulled_message,
    "pull-receipt": _play_receipt_of_pulled_message,
    "pull-error": _play_error_about_pulled_message,
    "pull-again": _play_message_given_again,
    "pull-parallel": _play_parallel_pull,
    "pull-bundled": _play_bundled_receipt,
    "pull-refused": _play_refused_pull,
    "pull-login-again": _play_reused_login,
}
