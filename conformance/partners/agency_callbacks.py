"""Calls that a simulated partner makes to the hub: callbacks, and decisions without an application.

A callback is sent with the same MessageID and Body, signed again, until the hub accepts it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lxml import etree

from gateway.client import HttpPoster, HttpReply, Journal, PartnerIdentity, get_current_time
from gateway.errors import ANSWER_NOT_UNDERSTOOD, GatewayError
from gateway.wire import (
    SERVICE_AGENCY,
    AddressingHeaders,
    SoapFault,
    build_addressed_envelope,
    format_instant,
    read_fault,
    serialize_element,
)
from gateway.xmlsec import read_soap_message, sign_soap_envelope, verify_soap_message
from gateway_conformance.partners.soap_endpoint import CONTENT_TYPE

_TOKEN: Final = "/soap:Envelope/soap:Header/wsse:Security"  # noqa: S105
_FIRST_RETRY: Final = 0.2
_MAX_RETRY_DELAY: Final = 5.0
_MAX_TRIES: Final = 200
_END_WITHIN: Final = 2.0


@dataclass(frozen=True, slots=True)
class Callback:
    """One call to make: its MessageID, its operation, its content as text, when, and how often.

    `application_number` is the number of the application, where the content does not name it.
    """

    message_id: str
    operation: str
    content: str
    due: datetime
    times: int = 1
    application_number: str = ""

    @property
    def application(self) -> str:
        """Return the number of the application that it is about."""
        number = etree.fromstring(self.content.encode()).findtext("{*}ApplicationNumber")
        return self.application_number or (number or "").strip()

    def to_row(self) -> dict[str, Any]:
        """Return the callback as a row for JSON."""
        return {
            "message_id": self.message_id,
            "operation": self.operation,
            "content": self.content,
            "due": self.due.isoformat(),
            "times": self.times,
            "about": self.application_number,
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Callback:
        """Return the callback of a row that `to_row` wrote."""
        return cls(
            row["message_id"],
            row["operation"],
            row["content"],
            datetime.fromisoformat(row["due"]),
            row["times"],
            row.get("about", ""),
        )


class CallbackQueue:
    """Makes callbacks when they are due; several at once, each repeated until status 200."""

    def __init__(self, identity: PartnerIdentity, hub_url: str, journal: Journal, threads: int = 4) -> None:
        self._identity = identity
        self._poster = HttpPoster(hub_url)
        self._journal = journal
        self._queue: list[tuple[float, int, Callback, int]] = []
        self._numbers = itertools.count()
        self._filled = threading.Condition()
        self._stopping = False
        self._threads = [threading.Thread(target=self._run_worker, daemon=True) for _ in range(threads)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Start no more callbacks, and wait a short time for the active ones."""
        with self._filled:
            self._stopping = True
            self._filled.notify_all()
        for thread in self._threads:
            thread.join(_END_WITHIN)
        self._poster.close()

    def drop(self, application: str) -> None:
        """Make none of the callbacks about an application that are queued now."""
        with self._filled:
            remaining = [entry for entry in self._queue if entry[2].application != application]
            self._queue = remaining
            heapq.heapify(self._queue)

    def add(self, callback: Callback) -> None:
        """Queue `callback` for the time when it is due."""
        self._enqueue_callback(callback, (callback.due - get_current_time()).total_seconds(), 1)

    def call_immediately(self, callback: Callback, patience: float = 10.0) -> bool:
        """Make `callback` at once in the caller's thread; return whether the hub accepted it."""
        end = time.monotonic() + patience
        tries = 0
        while time.monotonic() < end:
            tries += 1
            if self._attempt_callback(callback, tries):
                return True
            time.sleep(_FIRST_RETRY)
        return False

    def _enqueue_callback(self, callback: Callback, wait: float, tries: int) -> None:
        with self._filled:
            heapq.heappush(
                self._queue, (time.monotonic() + max(wait, 0.0), next(self._numbers), callback, tries)
            )
            self._filled.notify()

    def _run_worker(self) -> None:
        while True:
            due = self._take_due_callback()
            if due is None:
                return
            callback, tries = due
            if not self._attempt_callback(callback, tries) and tries < _MAX_TRIES:
                self._enqueue_callback(
                    callback, min(_FIRST_RETRY * 2 ** (tries - 1), _MAX_RETRY_DELAY), tries + 1
                )

    def _take_due_callback(self) -> tuple[Callback, int] | None:
        with self._filled:
            while not self._stopping:
                if not self._queue:
                    self._filled.wait()
                    continue
                wait = self._queue[0][0] - time.monotonic()
                if wait <= 0:
                    return heapq.heappop(self._queue)[2:]
                self._filled.wait(wait)
        return None

    def _attempt_callback(self, callback: Callback, tries: int) -> bool:
        """Make one attempt, `times` over, and record its result."""
        good = True
        for _ in range(callback.times):
            status, problem = self._post_callback(callback)
            good = good and status == 200
            self._journal.write(
                {
                    "message_id": callback.message_id,
                    "operation": callback.operation,
                    "try": tries,
                    "status": status,
                    "verified": status == 200 and problem is None,
                    "problem": problem,
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "done": good,
                }
            )
        return good

    def _post_callback(self, callback: Callback) -> tuple[int, str | None]:
        content = etree.fromstring(callback.content.encode())
        action = f"{etree.QName(content).namespace}:{callback.operation}"
        values = AddressingHeaders(action, callback.message_id, self._poster.url)
        root = build_addressed_envelope(content, values)
        sign_soap_envelope(root, self._identity.signer, now=get_current_time())
        headers = {"Content-Type": CONTENT_TYPE, "SOAPAction": f'"{action}"'}
        try:
            answer = self._poster.post(headers, serialize_element(root))
        except GatewayError as problem:
            return 0, str(problem)[:300]
        return answer.status, self._find_answer_problem(answer, callback)

    def _find_answer_problem(self, answer: HttpReply, callback: Callback) -> str | None:
        """Return the fault in the hub's answer, or why it is not the hub's answer; None for a good one."""
        try:
            fault = read_hub_answer(answer.body, callback.message_id, self._identity, get_current_time())
        except GatewayError as problem:
            return str(problem)[:300]
        return f"{fault.code}: {fault.text}"[:300] if fault is not None else None


def read_hub_answer(
    octets: bytes, message_id: str, identity: PartnerIdentity, at: datetime
) -> SoapFault | None:
    """Return the fault with which the hub refuses the call `message_id`, None when it accepted the call.

    Raises GatewayError when the answer is not signed by the hub that `identity` knows, or
    relates to another call.
    """
    envelope = read_soap_message(octets)
    message = verify_soap_message(
        envelope,
        now=at,
        check_certificate=lambda signer: identity.verify_hub_certificate(signer, at, _TOKEN),
    )
    if message.addressing.relates_to != message_id:
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer relates to another call", "wsa:RelatesTo")
    return read_fault(envelope)


def say_requirement_result(
    identity: PartnerIdentity,
    hub_url: str,
    journal: Journal,
    decision_values: Mapping[str, Any],
    at: datetime,
) -> bool:
    """Call SubmitDecision with a requirement number; return whether the hub accepted it.

    `decision_values` has `requirement`, `notice`, `law` and `decision`, and perhaps `quantity` with its
    `unit`.
    """
    content = serialize_element(_build_requirement_call(decision_values, at)).decode()
    callback = Callback(f"urn:uuid:{decision_values['notice']}", "SubmitDecision", content, at)
    return CallbackQueue(identity, hub_url, journal, threads=0).call_immediately(callback)


def _build_requirement_call(decision_values: Mapping[str, Any], at: datetime) -> etree._Element:
    nsmap: Any = {None: SERVICE_AGENCY}
    root = etree.Element(f"{{{SERVICE_AGENCY}}}SubmitDecision", nsmap=nsmap)
    approves = decision_values["decision"] != "REJECTED"
    _add_texts(
        root,
        RequirementNumber=decision_values["requirement"],
        NoticeNumber=decision_values["notice"],
        IssuedAt=format_instant(at),
        StatusCode="R01" if approves else "R04",
    )
    decision = etree.SubElement(root, f"{{{SERVICE_AGENCY}}}Decision")
    _add_texts(
        decision,
        item=1,
        law=decision_values["law"],
        decision=decision_values["decision"],
        number=decision_values["requirement"],
    )
    _add_texts(
        decision, **{name: decision_values[name] for name in ("quantity", "unit") if name in decision_values}
    )
    return root


def _add_texts(parent: etree._Element, **texts: Any) -> None:
    for name, text in texts.items():
        etree.SubElement(parent, f"{{{SERVICE_AGENCY}}}{name}").text = str(text)
