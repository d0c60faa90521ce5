"""A broker's message handler: opens what the hub posts, keeps it, acknowledges it, and knows it again."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.conformance.documents import read_document
from gateway.conformance.http import Poster, Reply, Request
from gateway.conformance.identity import now
from gateway.conformance.journal import Journal, read_journal
from gateway.conformance.membership import Membership
from gateway.conformance.mischief import Mischief, take
from gateway.errors import MESSAGE_ID_REUSED, REFUSED_FOR_GOOD, GatewayError
from gateway.model import ErrorSignal, Octets, Ping, Receipt, UserMessage
from gateway.protocols import PROTOCOLS, Context, Opened, Parcel, Sent

__all__ = ["EBMS2", "SOAP_ACTION", "MessageHandler", "content_of"]

EBMS2: Final = PROTOCOLS["ebms2"]
SOAP_ACTION: Final = '"ebXML"'
_NOTHING: Final = Reply(204)


def content_of(parcel: Parcel) -> bytes:
    """Return the octets of a parcel."""
    with parcel.body.open() as stream:
        return stream.read()


class MessageHandler:
    """Takes POSTs of the hub; every message kept is a row of ``messages.jsonl``, its document a file.

    `listener` is told each row once, after it is kept.
    """

    def __init__(
        self,
        membership: Membership,
        folder: Path,
        mischief: tuple[Mischief, ...] = (),
        listener: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.membership = membership
        self._folder = folder
        self._mischief = mischief
        self._listener = listener
        self._messages = Journal(folder / "messages.jsonl")
        self._refusals = Journal(folder / "refusals.jsonl")
        self._known = {row["message_id"]: row for row in read_journal(folder / "messages.jsonl")}
        self._expected: dict[str, Sent] = {}
        self._settled: dict[str, GatewayError | None] = {}
        self._lock = threading.Lock()
        self._heard = threading.Condition(self._lock)

    def __call__(self, request: Request) -> Reply:
        """Answer one POST."""
        if take(self._mischief, "silent"):
            return Reply(closes=True)
        if take(self._mischief, "busy"):
            return Reply(503, "text/plain", b"come again\n", {"Retry-After": "1"})
        headers = {
            "Content-Type": request.headers.get("content-type", ""),
            "SOAPAction": request.headers.get("soapaction", ""),
        }
        parcel = Parcel(headers, Octets(request.body))
        context = self.membership.context()
        try:
            return self._answer(EBMS2.open(parcel, context), context)
        except GatewayError as problem:
            self._refused(problem)
            refusal = EBMS2.refuse(problem, parcel, context)
            return _reply(refusal.parcel, refusal.status)

    def expect(self, sent: Sent) -> None:
        """Wait for the receipt of what was sent, should it come by a POST of the hub's own."""
        with self._lock:
            self._expected[sent.unit.message_id] = sent

    def settled(self, message_id: str, seconds: float) -> tuple[bool, GatewayError | None]:
        """Wait for the receipt of a message; tell whether an answer came, and what was wrong with it."""
        with self._heard:
            self._heard.wait_for(lambda: message_id in self._settled, seconds)
            return message_id in self._settled, self._settled.get(message_id)

    def _answer(self, opened: Opened, context: Context) -> Reply:
        unit = opened.unit
        if isinstance(unit, UserMessage):
            return self._keep(unit, opened, context)
        if isinstance(unit, Ping):
            return _reply(EBMS2.seal((EBMS2.pong(unit, context),), opened.pmode, context), 200)
        if isinstance(unit, Receipt | ErrorSignal):
            self._settle(unit, opened)
        return _NOTHING

    def _settle(self, unit: Receipt | ErrorSignal, opened: Opened) -> None:
        problem: GatewayError | None = None
        with self._heard:
            sent = self._expected.get(unit.ref_to_message_id or "")
            if sent is None:
                return
            try:
                EBMS2.check_answer(opened, sent)
                if isinstance(unit, ErrorSignal):
                    problem = _told(unit)
            except GatewayError as wrong:
                problem = wrong
            self._settled[sent.unit.message_id] = problem
            self._heard.notify_all()

    def _keep(self, unit: UserMessage, opened: Opened, context: Context) -> Reply:
        """Keep a message once and return its receipt, the same octets each time."""
        with self._lock:
            row = self._known.get(unit.message_id)
        if row is None:
            row = self._row(unit, opened, context)
            with self._lock:
                new = unit.message_id not in self._known
                row = self._known.setdefault(unit.message_id, row)
                if new:
                    self._store(unit, row)
            if new and self._listener is not None:
                self._listener(row)
        if row["identity"] != opened.identity:
            raise GatewayError(MESSAGE_ID_REUSED, "another message has this MessageId", "eb:MessageId")
        return self._receipted(unit, opened, (row, context))

    def _row(self, unit: UserMessage, opened: Opened, context: Context) -> dict[str, Any]:
        sealed = EBMS2.seal((EBMS2.receipt(opened, context),), opened.pmode, context)
        return {
            "message_id": unit.message_id,
            "action": unit.action,
            "ref_to": unit.ref_to_message_id,
            "conversation": unit.conversation_id,
            "identity": opened.identity,
            "said": read_document(unit, self.membership.identity),
            "receipt": base64.b64encode(content_of(sealed)).decode(),
            "receipt_type": sealed.header("Content-Type"),
            "at": context.now.isoformat(timespec="milliseconds"),
        }

    def _store(self, unit: UserMessage, row: dict[str, Any]) -> None:
        name = f"{len(self._known):04d}-{unit.action}.xml"
        if unit.payloads:
            (self._folder / name).write_bytes(unit.payloads[0].content)
        row["file"] = name
        self._messages.write(row)

    def _receipted(self, unit: UserMessage, opened: Opened, kept: tuple[dict[str, Any], Context]) -> Reply:
        row, context = kept
        slow = take(self._mischief, "slow")
        if slow is not None:
            slow.wait()
        if unit.ack_requested is None or take(self._mischief, "no-receipt"):
            return _NOTHING
        if take(self._mischief, "garbage"):
            return Reply(200, "text/xml", b"<soap:Envelope>\xff</nothing>")
        receipt = Reply(200, row["receipt_type"], base64.b64decode(row["receipt"]))
        if take(self._mischief, "bad-receipt"):
            receipt = _reply(_bad_receipt(opened, context), 200)
        if EBMS2.answers_at_once(unit, opened.pmode):
            return receipt
        self._post(receipt, (opened.pmode.reply_endpoint if opened.pmode else None) or "")
        return _NOTHING

    def _post(self, receipt: Reply, endpoint: str) -> None:
        def post() -> None:
            with suppress(GatewayError), closing(Poster(endpoint)) as poster:
                headers = {"Content-Type": receipt.content_type, "SOAPAction": SOAP_ACTION}
                poster.post(headers, receipt.body)

        threading.Thread(target=post, daemon=True).start()

    def _refused(self, problem: GatewayError) -> None:
        row = {
            "problem": problem.problem.id,
            "detail": problem.detail[:300],
            "location": problem.location[:200],
        }
        self._refusals.write(row | {"at": now().isoformat(timespec="milliseconds")})


def _told(signal: ErrorSignal) -> GatewayError | None:
    """Return the error that a signal tells; a warning is none."""
    worst = next((one for one in signal.errors if one.severity == "Error"), None)
    if worst is None:
        return None
    return GatewayError(REFUSED_FOR_GOOD, f"{worst.code}: {worst.description}"[:500], worst.location[:300])


def _bad_receipt(opened: Opened, context: Context) -> Parcel:
    good = EBMS2.receipt(opened, context)
    references = tuple(replace(one, digest=bytes(reversed(one.digest))) for one in good.references)
    return EBMS2.seal((replace(good, references=references),), opened.pmode, context)


def _reply(parcel: Parcel | None, status: int) -> Reply:
    if parcel is None:
        return Reply(status if status != 200 else 204)
    return Reply(status, parcel.header("Content-Type"), content_of(parcel))
