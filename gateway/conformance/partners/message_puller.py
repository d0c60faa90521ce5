"""A broker's client without a server: pulls what waits for it, stores it, and posts its receipt."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Final

from gateway.agreements import PMode
from gateway.conformance.partners.agreed_protocol import find_agreed_core
from gateway.conformance.partners.http_transport import FetchedAnswer, HttpPoster, HttpReply
from gateway.conformance.partners.message_handler import (
    MessageHandler,
    make_signal_headers,
    read_signal_error,
)
from gateway.conformance.partners.partner_identity import Membership
from gateway.conformance.partners.sending_outcome import raise_for_status
from gateway.errors import ANSWER_NOT_UNDERSTOOD, MISUSE, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, UserMessage
from gateway.protocols import Parcel, ProtocolContext, SentUnit, make_pull_request

__all__ = ["MessagePuller"]

#: So many messages of one channel are pulled in one turn.
_MOST: Final = 1000
#: Octets of the largest message that is pulled whole. It is in a file, not in memory.
_LARGEST: Final = 2 * 1024**3


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
        self._core = find_agreed_core(membership)
        self._handler = handler
        self._channels = membership.list_pulled_pmodes()
        if not self._channels:
            raise GatewayError(MISUSE, "by the agreement this party pulls nothing now", "agreement")
        agreed = next((one.reply_endpoint for one in self._channels if one.reply_endpoint), "")
        self._poster = HttpPoster(url or agreed, time_out, tls)
        handler.pulled_from = self._poster.url

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()

    def pull_messages(self) -> int:
        """Pull from each channel until nothing waits there; return how many messages came.

        Raises GatewayError: GW601 where the hub cannot be reached, GW602 for a refusal, and the
        problem of a message that was refused here, which the hub has been told.
        """
        return sum(map(self._empty_channel, self._channels))

    def _empty_channel(self, pmode: PMode) -> int:
        came: set[str] = set()
        while len(came) < _MOST:
            message_id = self._pull_message(pmode)
            # A message that is given twice has a receipt that did not arrive: the next turn repeats it.
            if message_id is None or message_id in came:
                break
            came.add(message_id)
        return len(came)

    def _pull_message(self, pmode: PMode) -> str | None:
        """Pull once, store what came, and post its receipt; return its MessageId, None where nothing was."""
        context = self._handler.build_context()
        context = replace(context, limits=replace(context.limits, body=_LARGEST))
        asked = make_pull_request(pmode, context)
        parcel = self._core.seal((asked,), pmode, context)
        headers, folder = dict(parcel.headers), self._handler.folder
        with self._poster.fetch(headers, parcel.read_octets(), folder, _LARGEST) as answer:
            found = self._read_parcel(answer)
            try:
                opened = self._core.open(found, context, SentUnit(asked))
                if isinstance(opened.unit, ErrorSignal):
                    return self._read_error(opened.unit)
                receipt = self._handler.keep_fetched(opened, context)
            except GatewayError as problem:
                self._report_refusal(problem, found, context)
                raise
        self._post_signal(receipt)
        return opened.unit.message_id

    def _read_parcel(self, answer: FetchedAnswer) -> Parcel:
        """Return the parcel in the answer to a PullRequest; raise where there is none."""
        is_empty = isinstance(answer.body, MemoryBody) and not answer.body.content.strip()
        self._check_status(answer.status, is_empty)
        if is_empty:
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "it answered a PullRequest with nothing", "HTTP")
        return Parcel({"Content-Type": answer.content_type}, answer.body)

    @staticmethod
    def _read_error(unit: ErrorSignal) -> None:
        """Return None for the warning that nothing waits; raise for an error."""
        problem = read_signal_error(unit)
        if problem is not None:
            raise problem

    def _report_refusal(self, problem: GatewayError, found: Parcel, context: ProtocolContext) -> None:
        """Store why a pulled message is refused, and tell the hub; nothing is told of an error of its own."""
        if not isinstance(problem.heard, UserMessage):
            return
        self._handler.keep_refusal(problem)
        refusal = self._core.reject_parcel(problem, found, context)
        if refusal.parcel is not None:
            kind = refusal.parcel.get_header("Content-Type")
            self._post_signal(HttpReply(200, kind, refusal.parcel.read_octets()))

    def _post_signal(self, signal: HttpReply) -> None:
        """Post a receipt or an error; raise for an error in the answer."""
        answer = self._post(make_signal_headers(signal.content_type), signal.body)
        if not answer.body.strip():
            return
        back = Parcel({"Content-Type": answer.content_type}, MemoryBody(answer.body))
        # It is only told to a person: nothing depends on who wrote it.
        unit = self._core.read_sent_unit(back, self._membership.build_context().limits).unit
        if isinstance(unit, ErrorSignal):
            self._read_error(unit)

    def _post(self, headers: dict[str, str], body: bytes) -> HttpReply:
        answer = self._poster.post(headers, body)
        self._check_status(answer.status, not answer.body.strip())
        return answer

    def _check_status(self, status: int, is_empty: bool) -> None:
        if not (200 <= status < 300 or (status == 500 and not is_empty)):
            raise_for_status(HttpReply(status), self._poster.url)
