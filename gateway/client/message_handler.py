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
from gateway.client.kept_submissions import find_stored_parcel, measure_largest_split_message
from gateway.client.message_folder import JournalStore, MessageStore
from gateway.client.partner_identity import Membership
from gateway.client.sealed_submissions import get_protocol_core
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
_PROBLEM_ID_PATTERN: Final = re.compile(r"^GW[0-9]{3} ")
_POST_SECONDS: Final = 30.0
_EMPTY_REPLY: Final = HttpReply(204)
_BUSY_REPLY: Final = HttpReply(503, "text/plain", b"come again\n", {"Retry-After": "1"})


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
        self._core = get_protocol_core(membership)
        self._listener = listener
        self.folder = folder
        self._store = store or JournalStore(folder)
        self._fragments = FragmentFolder(folder / "fragments", self._core)
        self._tls = tls
        #: The URL for answers to pulled messages, if it is not the agreed endpoint.
        self.pulled_from = ""
        self._rows = {row["message_id"]: row for row in self._store.read_rows()}
        self._sent_messages: dict[str, tuple[SentUnit, Parcel]] = {}
        self._max_sent_octets = 0
        self._problem_by_message: dict[str, GatewayError | None] = {}
        self._post_threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._answer_arrived = threading.Condition(self._lock)
        self._join_lock = threading.Lock()

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
            return _make_parcel_reply(refusal.parcel, refusal.http_status)
        except OSError as problem:
            # Nothing is acknowledged that is not on disk: the hub sends it again.
            self._record_refusal(GatewayError(NO_ROOM, f"cannot store: {problem.strerror}", "folder"))
            return _BUSY_REPLY

    def _record_refusal(self, problem: GatewayError) -> None:
        """Store a refusal; an error of the disk is ignored, so that the sender gets an answer."""
        with suppress(OSError):
            self._store.write_refusal(problem)

    def build_context(self) -> ProtocolContext:
        """Return the protocol context of this party, which knows the messages sent from this folder."""
        context = self.membership.build_context()
        limits = replace(context.limits, body=max(context.limits.body, self._measure_largest_sent()))
        return replace(context, find_sent_parcel=self._find_sent_parcel, limits=limits)

    def finish_posts(self) -> None:
        """Wait until the joined messages are posted or have failed, at most `_POST_SECONDS` for each."""
        has_timed_out = False
        while not has_timed_out:
            with self._lock:
                running_posts = [post for post in self._post_threads if post.is_alive()]
            if not running_posts:
                return
            for post in running_posts:
                post.join(_POST_SECONDS)
                has_timed_out = has_timed_out or post.is_alive()

    def list_rows(self) -> list[dict[str, Any]]:
        """Return the rows of all messages stored so far, in the order of arrival."""
        with self._lock:
            return list(self._rows.values())

    def expect_receipt(self, sent_unit: SentUnit, parcel: Parcel) -> None:
        """Register a sent unit and its parcel, in case the hub sends its receipt in a separate POST."""
        with self._lock:
            self._sent_messages[sent_unit.unit.message_id] = sent_unit, parcel
            self._max_sent_octets = max(self._max_sent_octets, parcel.body.octet_count)

    def store_pulled_message(self, opened_message: OpenedMessage, context: ProtocolContext) -> HttpReply:
        """Store once a message that came in an answer to this party; return its receipt, to be posted.

        Raises GW312 for another message under a known MessageId, and GW806 where nothing can be written.
        """
        unit = opened_message.unit
        if not isinstance(unit, UserMessage):
            raise GatewayError(NOT_SUPPORTED, f"a {type(unit).__name__} in an answer", "Messaging")
        try:
            if opened_message.fragment_header is not None:
                return self._store_pulled_fragment(unit, opened_message, context)
            row = self._store_once(unit, opened_message, context)
        except OSError as problem:
            raise GatewayError(NO_ROOM, f"cannot store: {problem.strerror}", "folder") from None
        return _make_receipt_reply(row)

    def _store_pulled_fragment(
        self, unit: UserMessage, opened: OpenedMessage, context: ProtocolContext
    ) -> HttpReply:
        """Store a fragment once and return its receipt; a GatewayError that it raises names the fragment."""
        try:
            return self._store_fragment(opened, context)
        except GatewayError as problem:
            problem.message_part = unit
            raise

    def store_refusal(self, problem: GatewayError) -> None:
        """Store why a message that came in an answer to this party was refused."""
        self._store.write_refusal(problem)

    def _find_sent_parcel(self, _protocol: str, message_id: str) -> Parcel | None:
        """Return the parcel that was sent under `message_id`, from memory or from the folder ``sent``."""
        with self._lock:
            sent_message = self._sent_messages.get(message_id)
        # Another process may have sent it from the same folder.
        return (
            sent_message[1]
            if sent_message is not None
            else find_stored_parcel(self.folder / "sent", message_id)
        )

    def _measure_largest_sent(self) -> int:
        """Return the size, in octets, of the largest sent message that a signal may refer to."""
        return max(self._max_sent_octets, measure_largest_split_message(self.folder / "sent"))

    def wait_for_receipt(self, message_id: str, seconds: float) -> tuple[bool, GatewayError | None]:
        """Wait for the receipt of a message; return whether an answer arrived, and its problem."""
        with self._answer_arrived:
            self._answer_arrived.wait_for(lambda: message_id in self._problem_by_message, seconds)
            return message_id in self._problem_by_message, self._problem_by_message.get(message_id)

    def _answer_unit(self, opened: OpenedMessage, context: ProtocolContext) -> HttpReply:
        """Return the reply to an opened message: a receipt, a Pong, or an empty reply to a signal."""
        unit = opened.unit
        if opened.fragment_header is not None and isinstance(unit, UserMessage):
            return self.send_receipt(self._store_fragment(opened, context), opened)
        if isinstance(unit, UserMessage):
            row = self._store_once(unit, opened, context)
            return self.acknowledge_message(unit, opened, row, context)
        if isinstance(unit, Ping):
            return _make_parcel_reply(
                self._core.seal((self._core.make_pong(unit, context),), opened.pmode, context), 200
            )
        if isinstance(unit, Receipt | ErrorSignal):
            self._apply_signal(unit, opened)
        return _EMPTY_REPLY

    def _apply_signal(self, unit: Receipt | ErrorSignal, opened: OpenedMessage) -> None:
        """Record a receipt or an error for its sent message, and wake the threads that wait for it.

        A signal that refers to no sent message is only given to the store.
        """
        problem: GatewayError | None = None
        with self._answer_arrived:
            sent_message = self._sent_messages.get(unit.ref_to_message_id or "")
            if sent_message is None:
                self._store.write_signal(opened)
                return
            sent_unit = sent_message[0]
            try:
                self._core.check_answer(opened, sent_unit)
                if isinstance(unit, ErrorSignal):
                    problem = read_signal_error(unit)
            except GatewayError as check_problem:
                problem = check_problem
            self._problem_by_message[sent_unit.unit.message_id] = problem
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
                is_new = unit.message_id not in self._rows
                if is_new:
                    self._store.write_message(row, opened)
                row = self._rows.setdefault(unit.message_id, row)
            if is_new and self._listener is not None:
                self._listener(row)
        if row["identity"] != opened.identity:
            raise GatewayError(MESSAGE_ID_REUSED, "another message has this MessageId", "eb:MessageId")
        return row

    def _make_message_row(
        self, unit: UserMessage, opened: OpenedMessage, context: ProtocolContext
    ) -> dict[str, Any]:
        """Return the row to store for a received message: receipt, identifiers and fields of its document."""
        receipt = self._core.make_receipt(opened, context)
        sealed_parcel = self._core.seal((receipt,), opened.pmode, context)
        return _make_receipt_record(sealed_parcel) | {
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
        return (
            _EMPTY_REPLY
            if unit.ack_requested is None
            else self.send_receipt(_make_receipt_reply(row), opened)
        )

    def send_receipt(self, receipt: HttpReply, opened: OpenedMessage) -> HttpReply:
        """Return `receipt` if it goes into the HTTP answer; else post it, and return an empty answer."""
        if self._core.has_synchronous_answer(opened.unit, opened.pmode):
            return receipt
        self._post_signal(receipt, (opened.pmode.reply_endpoint if opened.pmode else None) or "")
        return _EMPTY_REPLY

    def join_groups(self) -> None:
        """Join the fragments of each message that is complete, and post its receipt where that was lost.

        A process of this folder was killed before that, or could not reach the hub.
        """
        for group in self._fragments.list_complete():
            self._run_in_thread(partial(self._join_group, group))

    def _store_fragment(self, opened: OpenedMessage, context: ProtocolContext) -> HttpReply:
        """Store a fragment once and return its receipt; join its message when this was the last one."""

        def seal_receipt() -> dict[str, Any]:
            receipt = self._core.make_receipt(opened, context)
            return _make_receipt_record(self._core.seal((receipt,), opened.pmode, context))

        try:
            receipt_record, complete_group = self._fragments.store_fragment(opened, context.now, seal_receipt)
        except GroupRefusedError as group_refusal:
            if opened.pmode is not None:
                self._post_refusal(group_refusal.group_name, group_refusal.problem, opened.pmode, context)
            raise group_refusal.problem from None
        if complete_group is not None:
            # The last fragment arrived, or one was repeated because the receipt of the whole was lost.
            self._run_in_thread(partial(self._join_group, complete_group))
        return _make_receipt_reply(receipt_record)

    def _join_group(self, group: CompleteGroup) -> None:
        """Join and store the message of a complete group, and post its receipt; or refuse the group."""
        context = self.build_context()
        pmode = self.membership.book.find_by_id(group.agreement, group.pmode, context.now)
        if pmode is None or pmode.splitting is None:
            return
        # If the message cannot be stored, a repeated fragment or the next process joins it again.
        with suppress(OSError):
            with self._join_lock:
                try:
                    row = self._find_joined_row(group) or self._store_joined_message(group, pmode, context)
                except GatewayError as problem:
                    self._store.write_refusal(problem)
                    if not problem.problem.ours:
                        self._fragments.refuse_group(group.folder, problem)
                        self._post_refusal(group.tally.group, problem, pmode, context)
                    return
            if self._try_post(_make_receipt_reply(row), self._get_endpoint(pmode)):
                group.record_receipt_delivered()

    def _get_endpoint(self, pmode: PMode) -> str:
        """Return the URL for answers to messages of a P-Mode; for pulled messages the one they came from."""
        agreed_endpoint = pmode.reply_endpoint or ""
        return agreed_endpoint if pmode.pull is None else self.pulled_from or agreed_endpoint

    def _find_joined_row(self, group: CompleteGroup) -> dict[str, Any] | None:
        """Return the row of the message that was joined from a group; None if it has not been stored."""
        stored_id = group.find_message()
        with self._lock:
            return None if stored_id is None else self._rows.get(stored_id)

    def _store_joined_message(
        self, group: CompleteGroup, pmode: PMode, context: ProtocolContext
    ) -> dict[str, Any]:
        """Store the message of a complete group as one that came whole; return its row."""
        assert pmode.splitting is not None  # the caller has looked
        parcel = group.join_pieces(self._core, pmode.splitting)
        wide_context = replace(context, limits=replace(context.limits, body=pmode.splitting.message_size))
        opened = self._core.open_joined(group.tally, parcel, wide_context)
        assert isinstance(opened.unit, UserMessage)  # nothing else is split
        row = self._store_once(opened.unit, opened, wide_context)
        group.end_group(opened.unit.message_id)
        return row

    def _post_refusal(
        self, group_name: str, problem: GatewayError, pmode: PMode, context: ProtocolContext
    ) -> None:
        """Post the error about a message in fragments: its group has its MessageId (part 2 §4.4.2)."""
        refused_message = UserMessage(
            message_id=group_name,
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
            sealed_parcel = self._core.seal((signal,), pmode, context)
            self._post_signal(_make_parcel_reply(sealed_parcel, 200), self._get_endpoint(pmode))

    def _post_signal(self, signal: HttpReply, endpoint: str) -> None:
        self._run_in_thread(partial(self._try_post, signal, endpoint))

    def _try_post(self, signal: HttpReply, endpoint: str) -> bool:
        """Post a receipt or an error once; return whether it arrived."""
        try:
            with closing(HttpPoster(endpoint, tls=self._tls)) as poster:
                answer = poster.post(make_signal_headers(signal.content_type), signal.body)
        except GatewayError:
            return False
        return 200 <= answer.status < 300

    def _run_in_thread(self, run_task: Callable[[], object]) -> None:
        """Run `run_task` in a thread of its own, for which `finish_posts` waits."""
        thread = threading.Thread(target=run_task, daemon=True)
        with self._lock:
            self._post_threads = [*(post for post in self._post_threads if post.is_alive()), thread]
            thread.start()


def make_signal_headers(content_type: str) -> dict[str, str]:
    """Return the HTTP headers of a signal that is posted; only SOAP 1.1 has SOAPAction."""
    soap_action_header = {"SOAPAction": SOAP_ACTION} if content_type.startswith("text/xml") else {}
    return {"Content-Type": content_type, **soap_action_header}


def read_signal_error(signal: ErrorSignal) -> GatewayError | None:
    """Return the error that a signal reports; None for a warning."""
    first_error = next((error for error in signal.errors if error.severity == "Error"), None)
    if first_error is None:
        return None
    # A hub of this software begins the text with its own problem id, which is removed: GW602 is the id here.
    description = _PROBLEM_ID_PATTERN.sub("", first_error.description)
    detail = f"the other side says {first_error.code}: {description}"[:500]
    return GatewayError(
        REFUSED_FOR_GOOD, detail, first_error.location[:300], theirs=first_error.description[:500]
    )


def _make_receipt_record(sealed_parcel: Parcel) -> dict[str, Any]:
    """Return the keys of a row that hold a receipt."""
    octets = base64.b64encode(sealed_parcel.read_octets()).decode()
    return {"receipt": octets, "receipt_type": sealed_parcel.get_header("Content-Type")}


def _make_receipt_reply(row: Mapping[str, Any]) -> HttpReply:
    return HttpReply(200, row["receipt_type"], base64.b64decode(row["receipt"]))


def _make_parcel_reply(parcel: Parcel | None, status: int) -> HttpReply:
    if parcel is None:
        return HttpReply(status if status != 200 else 204)
    return HttpReply(status, parcel.get_header("Content-Type"), parcel.read_octets())
