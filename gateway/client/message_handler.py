"""A broker's message handler: opens the hub's messages, stores and acknowledges them, finds duplicates."""

from __future__ import annotations

import base64
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.agreements import PMode
from gateway.client.fragment_folder import CompleteGroup, FragmentFolder, GroupRefusedError
from gateway.client.http_transport import HttpPoster, HttpReply, IncomingRequest
from gateway.client.hub_documents import read_hub_document
from gateway.client.kept_submissions import find_kept_parcel, measure_largest_kept
from gateway.client.message_folder import JournalStore, MessageStore
from gateway.client.partner_identity import Membership
from gateway.client.sealed_submissions import find_agreed_core
from gateway.errors import MESSAGE_ID_REUSED, NO_ROOM, NOT_SUPPORTED, REFUSED_FOR_GOOD, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, Ping, Receipt, UserMessage
from gateway.protocols import (
    PROTOCOLS,
    SOAP_ACTION,
    OpenedMessage,
    Parcel,
    ProtocolContext,
    SentUnit,
    open_message,
)

EBMS2: Final = PROTOCOLS["ebms2"]
_OWN_ID: Final = re.compile(r"^GW[0-9]{3} ")
_POST_WITHIN: Final = 30.0
_NOTHING: Final = HttpReply(204)
_BUSY: Final = HttpReply(503, "text/plain", b"come again\n", {"Retry-After": "1"})


class MessageHandler:
    """Accepts POSTs of the hub, stores every message once, and acknowledges it.

    `store` is a journal in `folder` by default. `listener` receives each row once, after it is
    stored, and must neither wait nor raise: the receipt comes after it. `tls` is for receipts that are sent
    by a POST of their own.
    """

    def __init__(
        self,
        membership: Membership,
        folder: Path,
        listener: Callable[[dict[str, Any]], None] | None = None,
        *,
        store: MessageStore | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.membership = membership
        self._core = find_agreed_core(membership)
        self._listener = listener
        self.folder = folder
        self._store = store or JournalStore(folder)
        self._fragments = FragmentFolder(folder / "fragments", self._core)
        self._tls = tls
        #: The URL for answers to pulled messages, if it is not the agreed endpoint.
        self.pulled_from = ""
        self._rows = {row["message_id"]: row for row in self._store.read_rows()}
        self._expected: dict[str, tuple[SentUnit, Parcel]] = {}
        self._largest_sent = 0
        self._settled: dict[str, GatewayError | None] = {}
        self._posts: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._answer_arrived = threading.Condition(self._lock)
        self._joining = threading.Lock()

    def __call__(self, request: IncomingRequest) -> HttpReply:
        """Answer one POST."""
        headers = {
            "Content-Type": request.headers.get("content-type", ""),
            "SOAPAction": request.headers.get("soapaction", ""),
        }
        parcel = Parcel(headers, MemoryBody(request.body))
        context = self.build_context()
        try:
            return self._answer_unit(open_message(self._core, parcel, context), context)
        except GatewayError as problem:
            self._record_refusal(problem)
            refusal = self._core.reject_parcel(problem, parcel, context)
            return _make_parcel_reply(refusal.parcel, refusal.status)
        except OSError as problem:
            # Nothing is acknowledged that is not on disk: the hub sends it again.
            self._record_refusal(GatewayError(NO_ROOM, f"cannot store: {problem.strerror}", "folder"))
            return _BUSY

    def _record_refusal(self, problem: GatewayError) -> None:
        """Store a refusal; the sender gets its answer also where the disk takes no more."""
        with suppress(OSError):
            self._store.write_refusal(problem)

    def build_context(self) -> ProtocolContext:
        """Return the protocol context of this party, which knows the messages sent from this folder."""
        context = self.membership.build_context()
        limits = replace(context.limits, body=max(context.limits.body, self._measure_largest_sent()))
        return replace(context, find_sent_parcel=self._find_sent_parcel, limits=limits)

    def finish_posts(self) -> None:
        """Wait until the joined messages are posted or have failed, at most `_POST_WITHIN` for each."""
        late = False
        while not late:
            with self._lock:
                posts = [post for post in self._posts if post.is_alive()]
            if not posts:
                return
            for post in posts:
                post.join(_POST_WITHIN)
                late = late or post.is_alive()

    def list_rows(self) -> list[dict[str, Any]]:
        """Return the rows of all messages stored so far, in the order of arrival."""
        with self._lock:
            return list(self._rows.values())

    def expect_receipt(self, sent: SentUnit, parcel: Parcel) -> None:
        """Register a sent unit and its parcel, in case the hub sends its receipt in a separate POST."""
        with self._lock:
            self._expected[sent.unit.message_id] = sent, parcel
            self._largest_sent = max(self._largest_sent, parcel.body.octet_count)

    def keep_fetched(self, opened: OpenedMessage, context: ProtocolContext) -> HttpReply:
        """Store once a message that came in an answer to this party; return its receipt, to be posted.

        Raises GW312 for another message under a known MessageId, and GW806 where nothing can be written.
        """
        unit = opened.unit
        if not isinstance(unit, UserMessage):
            raise GatewayError(NOT_SUPPORTED, f"a {type(unit).__name__} in an answer", "Messaging")
        try:
            if opened.fragment is not None:
                return self._keep_pulled_fragment(unit, opened, context)
            row = self._store_once(unit, opened, context)
        except OSError as problem:
            raise GatewayError(NO_ROOM, f"cannot store: {problem.strerror}", "folder") from None
        return _make_receipt(row)

    def _keep_pulled_fragment(
        self, unit: UserMessage, opened: OpenedMessage, context: ProtocolContext
    ) -> HttpReply:
        """Store a fragment once and return its receipt; a GatewayError that it raises names the fragment."""
        try:
            return self._keep_fragment(opened, context)
        except GatewayError as problem:
            problem.message_part = unit
            raise

    def keep_refusal(self, problem: GatewayError) -> None:
        """Store why a message that came in an answer to this party was refused."""
        self._store.write_refusal(problem)

    def _find_sent_parcel(self, _protocol: str, message_id: str) -> Parcel | None:
        with self._lock:
            expected = self._expected.get(message_id)
        # Another process may have sent it from the same folder.
        return expected[1] if expected is not None else find_kept_parcel(self.folder / "sent", message_id)

    def _measure_largest_sent(self) -> int:
        """Return the size, in octets, of the largest sent message that a signal may refer to."""
        return max(self._largest_sent, measure_largest_kept(self.folder / "sent"))

    def wait_for_receipt(self, message_id: str, seconds: float) -> tuple[bool, GatewayError | None]:
        """Wait for the receipt of a message; return whether an answer arrived, and its problem."""
        with self._answer_arrived:
            self._answer_arrived.wait_for(lambda: message_id in self._settled, seconds)
            return message_id in self._settled, self._settled.get(message_id)

    def _answer_unit(self, opened: OpenedMessage, context: ProtocolContext) -> HttpReply:
        unit = opened.unit
        if opened.fragment is not None and isinstance(unit, UserMessage):
            return self.send_receipt(self._keep_fragment(opened, context), opened)
        if isinstance(unit, UserMessage):
            row = self._store_once(unit, opened, context)
            return self.acknowledge_message(unit, opened, row, context)
        if isinstance(unit, Ping):
            return _make_parcel_reply(
                self._core.seal((self._core.make_pong(unit, context),), opened.pmode, context), 200
            )
        if isinstance(unit, Receipt | ErrorSignal):
            self._settle_signal(unit, opened)
        return _NOTHING

    def _settle_signal(self, unit: Receipt | ErrorSignal, opened: OpenedMessage) -> None:
        problem: GatewayError | None = None
        with self._answer_arrived:
            expected = self._expected.get(unit.ref_to_message_id or "")
            if expected is None:
                self._store.write_signal(opened)
                return
            sent = expected[0]
            try:
                self._core.check_answer(opened, sent)
                if isinstance(unit, ErrorSignal):
                    problem = read_signal_error(unit)
            except GatewayError as wrong:
                problem = wrong
            self._settled[sent.unit.message_id] = problem
            self._answer_arrived.notify_all()

    def _store_once(
        self, unit: UserMessage, opened: OpenedMessage, context: ProtocolContext
    ) -> dict[str, Any]:
        """Return the row of a message, which is new or known; raise GW312 for another under its id."""
        with self._lock:
            row = self._rows.get(unit.message_id)
        if row is None:
            row = self._make_message_row(unit, opened, context)
            with self._lock:
                new = unit.message_id not in self._rows
                if new:
                    self._store.write_message(row, opened)
                row = self._rows.setdefault(unit.message_id, row)
            if new and self._listener is not None:
                self._listener(row)
        if row["identity"] != opened.identity:
            raise GatewayError(MESSAGE_ID_REUSED, "another message has this MessageId", "eb:MessageId")
        return row

    def _make_message_row(
        self, unit: UserMessage, opened: OpenedMessage, context: ProtocolContext
    ) -> dict[str, Any]:
        receipt = self._core.make_receipt(opened, context)
        sealed = self._core.seal((receipt,), opened.pmode, context)
        return _write_receipt(sealed) | {
            "message_id": unit.message_id,
            "action": unit.action,
            "ref_to": unit.ref_to_message_id,
            "conversation": unit.conversation_id,
            "identity": opened.identity,
            "said": read_hub_document(unit, self.membership.identity),
            "at": context.now.isoformat(timespec="milliseconds"),
        }

    def acknowledge_message(
        self,
        unit: UserMessage,
        opened: OpenedMessage,
        row: Mapping[str, Any],
        context: ProtocolContext,  # noqa: ARG002
    ) -> HttpReply:
        """Return the answer to a stored message: the receipt in its row, the same octets each time."""
        return _NOTHING if unit.ack_requested is None else self.send_receipt(_make_receipt(row), opened)

    def send_receipt(self, receipt: HttpReply, opened: OpenedMessage) -> HttpReply:
        """Return a receipt where it goes into the HTTP answer; else post it, and return an empty answer."""
        if self._core.has_synchronous_answer(opened.unit, opened.pmode):
            return receipt
        self._post_signal(receipt, (opened.pmode.reply_endpoint if opened.pmode else None) or "")
        return _NOTHING

    def join_groups(self) -> None:
        """Join the fragments of each message that is complete, and post its receipt where that was lost.

        A process of this folder was killed before that, or could not reach the hub.
        """
        for group in self._fragments.list_complete():
            self._run_beside(partial(self._join_group, group))

    def _keep_fragment(self, opened: OpenedMessage, context: ProtocolContext) -> HttpReply:
        """Store a fragment once and return its receipt; join its message when this was the last one."""

        def seal() -> dict[str, Any]:
            receipt = self._core.make_receipt(opened, context)
            return _write_receipt(self._core.seal((receipt,), opened.pmode, context))

        try:
            receipt_row, complete = self._fragments.take_fragment(opened, context.now, seal)
        except GroupRefusedError as refused:
            if opened.pmode is not None:
                self._tell_refusal(refused.group, refused.problem, opened.pmode, context)
            raise refused.problem from None
        if complete is not None:
            # Here for the last fragment, and for a repeat of any: the receipt of the whole was lost then.
            self._run_beside(partial(self._join_group, complete))
        return _make_receipt(receipt_row)

    def _join_group(self, group: CompleteGroup) -> None:
        """Store the message that a complete group is, and post its receipt; or refuse the group."""
        context = self.build_context()
        pmode = self.membership.book.find_by_id(group.agreement, group.pmode, context.now)
        if pmode is None or pmode.splitting is None:
            return
        # Where it cannot be stored, a repeat of a fragment or the next process tries it again.
        with suppress(OSError):
            with self._joining:
                try:
                    row = self._find_joined(group) or self._store_joined(group, pmode, context)
                except GatewayError as problem:
                    self._store.write_refusal(problem)
                    if not problem.problem.ours:
                        self._fragments.refuse_group(group.folder, problem)
                        self._tell_refusal(group.tally.group, problem, pmode, context)
                    return
            if self._try_post(_make_receipt(row), self._get_endpoint(pmode)):
                group.note_told()

    def _get_endpoint(self, pmode: PMode) -> str:
        """Return the URL for answers to messages of a P-Mode; for pulled messages the one they came from."""
        agreed = pmode.reply_endpoint or ""
        return agreed if pmode.pull is None else self.pulled_from or agreed

    def _find_joined(self, group: CompleteGroup) -> dict[str, Any] | None:
        """Return the row of the message that was stored of a group, None where that was not."""
        stored = group.find_message()
        with self._lock:
            return None if stored is None else self._rows.get(stored)

    def _store_joined(self, group: CompleteGroup, pmode: PMode, context: ProtocolContext) -> dict[str, Any]:
        """Store the message of a complete group as one that came whole; return its row."""
        assert pmode.splitting is not None  # the caller has looked
        parcel = group.join_pieces(self._core, pmode.splitting)
        wide = replace(context, limits=replace(context.limits, body=pmode.splitting.message_size))
        opened = self._core.open_joined(group.tally, parcel, wide)
        assert isinstance(opened.unit, UserMessage)  # nothing else is split
        row = self._store_once(opened.unit, opened, wide)
        group.end(opened.unit.message_id)
        return row

    def _tell_refusal(
        self, group: str, problem: GatewayError, pmode: PMode, context: ProtocolContext
    ) -> None:
        """Post the error about a message in fragments: its group has its MessageId (part 2 §4.4.2)."""
        refused_message = UserMessage(
            message_id=group,
            conversation_id="",
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=context.now,
            service=pmode.service,
            action=pmode.action,
        )
        signal = self._core.make_error_signal(problem, refused_message, context)
        if signal is not None and pmode.reply_endpoint is not None:
            sealed = self._core.seal((signal,), pmode, context)
            self._post_signal(_make_parcel_reply(sealed, 200), self._get_endpoint(pmode))

    def _post_signal(self, signal: HttpReply, endpoint: str) -> None:
        self._run_beside(partial(self._try_post, signal, endpoint))

    def _try_post(self, signal: HttpReply, endpoint: str) -> bool:
        """Post a receipt or an error once; return whether it arrived."""
        try:
            with closing(HttpPoster(endpoint, tls=self._tls)) as poster:
                answer = poster.post(make_signal_headers(signal.content_type), signal.body)
        except GatewayError:
            return False
        return 200 <= answer.status < 300

    def _run_beside(self, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        with self._lock:
            self._posts = [*(post for post in self._posts if post.is_alive()), thread]
            thread.start()


def make_signal_headers(content_type: str) -> dict[str, str]:
    """Return the HTTP headers of a signal that is posted; only SOAP 1.1 has SOAPAction."""
    action = {"SOAPAction": SOAP_ACTION} if content_type.startswith("text/xml") else {}
    return {"Content-Type": content_type, **action}


def read_signal_error(signal: ErrorSignal) -> GatewayError | None:
    """Return the error that a signal reports; None for a warning."""
    worst = next((error for error in signal.errors if error.severity == "Error"), None)
    if worst is None:
        return None
    # A hub of our kind begins with an id of its own: the sentence has one id, that of what happened here.
    description = _OWN_ID.sub("", worst.description)
    detail = f"the other side says {worst.code}: {description}"[:500]
    return GatewayError(REFUSED_FOR_GOOD, detail, worst.location[:300], theirs=worst.description[:500])


def _write_receipt(sealed: Parcel) -> dict[str, Any]:
    """Return a receipt as a row has it."""
    octets = base64.b64encode(sealed.read_octets()).decode()
    return {"receipt": octets, "receipt_type": sealed.get_header("Content-Type")}


def _make_receipt(row: Mapping[str, Any]) -> HttpReply:
    return HttpReply(200, row["receipt_type"], base64.b64decode(row["receipt"]))


def _make_parcel_reply(parcel: Parcel | None, status: int) -> HttpReply:
    if parcel is None:
        return HttpReply(status if status != 200 else 204)
    return HttpReply(status, parcel.get_header("Content-Type"), parcel.read_octets())
