"""A broker's client without a server: pulls its waiting messages, stores them, and posts their receipts."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Final

from gateway.agreements import PMode
from gateway.client.http_transport import FetchedAnswer, HttpPoster, HttpReply
from gateway.client.message_handler import MessageHandler, make_signal_headers, read_signal_error
from gateway.client.partner_identity import Membership, get_current_time
from gateway.client.sealed_submissions import get_protocol_core
from gateway.client.sending_outcome import raise_not_answered_error
from gateway.errors import ANSWER_NOT_UNDERSTOOD, MISUSE, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, UserMessage
from gateway.protocols import Parcel, ProtocolContext, SentUnit, make_pull_request

#: The largest number of messages of one channel that are pulled in one round.
_MAX_MESSAGES: Final = 1000
#: Octets of the largest message that is pulled whole. It is in a file, not in memory.
_MAX_MESSAGE_OCTETS: Final = 2 * 1024**3


class MessagePuller:
    """Pulls from every channel of an agreement; `handler` stores each message once.

    `url` replaces the agreed endpoint of the hub. `tls` has the trust anchors and the client
    certificate; by default the operating system's anchors are used.
    """

    def __init__(
        self,
        membership: Membership,
        handler: MessageHandler,
        url: str = "",
        time_out: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raise GW808 where the agreement has nothing that is pulled, or no endpoint of the hub."""
        self._membership = membership
        self._core = get_protocol_core(membership)
        self._handler = handler
        self._channel_pmodes = membership.list_pulled_pmodes(get_current_time())
        if not self._channel_pmodes:
            advice = (
                "ebMS 2.0, of which a CPA is, posts every message: receive them by gateway listen"
                if membership.protocol == "ebms2"
                else "what it pulls has pull in its P-Mode"
            )
            detail = f"by the agreement this party pulls nothing now; {advice}"
            raise GatewayError(MISUSE, detail, "agreement")
        agreed_endpoint = next(
            (pmode.reply_endpoint for pmode in self._channel_pmodes if pmode.reply_endpoint), ""
        )
        self._poster = HttpPoster(url or agreed_endpoint, time_out, tls)
        handler.pulled_from = self._poster.url

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()

    def pull_messages(self) -> int:
        """Pull from each channel until no message waits there; return how many messages came.

        Raises GatewayError: GW601 where the hub cannot be reached, GW602 for a refusal, and the problem of a
        message that was refused here and whose refusal was posted to the hub.
        """
        return sum(map(self._pull_channel, self._channel_pmodes))

    def _pull_channel(self, pmode: PMode) -> int:
        """Pull until the channel of `pmode` is empty or repeats a message; return the number of messages.

        It stops after `_MAX_MESSAGES`.
        """
        message_ids: set[str] = set()
        while len(message_ids) < _MAX_MESSAGES:
            message_id = self._pull_message(pmode)
            # If the hub gives a message again, its receipt did not arrive: the next pull repeats the receipt.
            if message_id is None or message_id in message_ids:
                break
            message_ids.add(message_id)
        return len(message_ids)

    def _pull_message(self, pmode: PMode) -> str | None:
        """Pull once, store the message and post its receipt; return its MessageId, None if none came."""
        context = self._handler.build_context()
        context = replace(context, limits=replace(context.limits, body=_MAX_MESSAGE_OCTETS))
        request = make_pull_request(pmode, context)
        parcel = self._core.seal((request,), pmode, context)
        headers, folder = dict(parcel.headers), self._handler.folder
        with self._poster.fetch(headers, parcel.read_octets(), folder, _MAX_MESSAGE_OCTETS) as answer:
            answer_parcel = self._read_parcel(answer)
            try:
                opened_message = self._core.open_units(answer_parcel, context, SentUnit(request))
                if isinstance(opened_message.unit, ErrorSignal):
                    return self._raise_signal_error(opened_message.unit)
                receipt = self._handler.store_pulled_message(opened_message, context)
            except GatewayError as problem:
                self._report_refusal(problem, answer_parcel, context)
                raise
        self._post_signal(receipt)
        return opened_message.unit.message_id

    def _read_parcel(self, answer: FetchedAnswer) -> Parcel:
        """Return the parcel in the answer to a PullRequest; raise where there is none."""
        is_empty = isinstance(answer.body, MemoryBody) and not answer.body.content.strip()
        self._check_status(answer, is_empty=is_empty)
        if is_empty:
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "it answered a PullRequest with nothing", "HTTP")
        return Parcel({"Content-Type": answer.content_type}, answer.body)

    @staticmethod
    def _raise_signal_error(unit: ErrorSignal) -> None:
        """Return None for the warning that nothing waits; raise for an error."""
        problem = read_signal_error(unit)
        if problem is not None:
            raise problem

    def _report_refusal(self, problem: GatewayError, answer_parcel: Parcel, context: ProtocolContext) -> None:
        """Store why a pulled message is refused, and post the error to the hub.

        Nothing is done for a problem that concerns no user message, such as one of an error signal of the
        hub.
        """
        if not isinstance(problem.message_part, UserMessage):
            return
        self._handler.store_refusal(problem)
        refusal = self._core.reject_parcel(problem, answer_parcel, context)
        if refusal.parcel is not None:
            content_type = refusal.parcel.get_header("Content-Type")
            self._post_signal(HttpReply(200, content_type, refusal.parcel.read_octets()))

    def _post_signal(self, signal: HttpReply) -> None:
        """Post a receipt or an error; raise for an error in the answer."""
        answer = self._post(make_signal_headers(signal.content_type), signal.body)
        if not answer.body.strip():
            return
        answer_parcel = Parcel({"Content-Type": answer.content_type}, MemoryBody(answer.body))
        # The signature is not verified: an error in the answer is only reported to the user.
        unit = self._core.read_sent_unit(answer_parcel, self._membership.build_context().limits).unit
        if isinstance(unit, ErrorSignal):
            self._raise_signal_error(unit)

    def _post(self, headers: dict[str, str], body: bytes) -> HttpReply:
        answer = self._poster.post(headers, body)
        self._check_status(answer, is_empty=not answer.body.strip())
        return answer

    def _check_status(self, answer: HttpReply | FetchedAnswer, *, is_empty: bool) -> None:
        if not (200 <= answer.status < 300 or (answer.status == 500 and not is_empty)):
            raise_not_answered_error(answer, self._poster.url)
