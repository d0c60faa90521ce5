"""A simulated agency: accepts applications, decides them by its plan, and can misbehave on request.

Its form may be one of its own. A certificate or a rejection of that form is about a whole application, under
every law of its document. For any other decision of a plan the form has no notice: the agency reports that
decision by SubmitDecision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from lxml import etree

from gateway.client import (
    HttpReply,
    IncomingRequest,
    Journal,
    PartnerIdentity,
    get_current_time,
    read_journal,
)
from gateway.errors import OUR_MISTAKE, REPLY_UNMATCHED, RULE_BROKEN, GatewayError
from gateway_conformance.partners.agency_callbacks import Callback, CallbackQueue
from gateway_conformance.partners.agency_documents import (
    DecidingNotice,
    DocumentCatalogue,
    ItemDecision,
    ReceivedApplication,
    build_acknowledgment,
    build_decision_call,
    build_delivery_call,
    build_information_call,
    build_notice_answer,
    build_status_call,
    decide_application,
    read_application,
)
from gateway_conformance.partners.agency_plan import AgencyPlan, AgencyPlans
from gateway_conformance.partners.carried_format import CarriedContent
from gateway_conformance.partners.soap_endpoint import SimulatedService, VerifiedCall, make_message_id

_ZONE: Final = timezone(timedelta(hours=9))
_APPROVED: Final = {"APPROVED", "APPROVED_WITH_CONDITIONS"}


def make_decision_notice(
    application: ReceivedApplication, decision: DecidingNotice, receipt: str
) -> tuple[str, CarriedContent] | None:
    """Return the name and the content of the notice that decides an application; None where there is none.

    `receipt` is the receipt number. A document with a type code of its own (GOVCBRFR2) has a certificate that
    repeats the request, which is not made here; one without has no rejection.
    """
    decisions = {item_decision.decision for item_decision in decision.decisions}
    if application.type_code and decisions == {"REJECTED"} and decision.status == "R04":
        return "GOVCBRRBJ", _make_rejection(application, decision, receipt)
    if not application.type_code and decisions and decisions <= _APPROVED and decision.status == "R01":
        return "CERTIFICATE", _make_certificate(application, decision)
    return None


def _make_certificate(application: ReceivedApplication, decision: DecidingNotice) -> CarriedContent:
    items: CarriedContent = {"ConsignmentItem": list(_list_certified_items(application, decision))}
    return {
        "TypeCode": "CERTIFICATE",
        "Status": {"NameCode": decision.status},
        "Declaration": {
            "TypeCode": application.document,
            "ID": application.number,
            "Consignment": items,
        },
        "ID": f"{application.number}-{decision.number.rpartition('-')[0].rpartition('-')[2]}",
        "IssueDateTime": _format_moment(decision.issued_at),
        "Authenticator": {"Name": application.document.partition("-")[0]},
    }


def _list_certified_items(
    application: ReceivedApplication, decision: DecidingNotice
) -> Iterator[CarriedContent]:
    """Yield the line of each item: its own identity in the request, the number of its permit, conditions."""
    first: dict[int, ItemDecision] = {}
    for item_decision in decision.decisions:
        first.setdefault(item_decision.item, item_decision)
    for item in application.items:
        item_decision = first[item.number]
        content: CarriedContent = {"Commodity": {"ID": item.key}}
        if item_decision.number is not None:
            content["AdditionalDocument"] = {"ID": item_decision.number}
        if item_decision.conditions:
            content["AdditionalInformation"] = {"Content": list(item_decision.conditions)}
        yield content


def _make_rejection(
    application: ReceivedApplication, decision: DecidingNotice, receipt: str
) -> CarriedContent:
    return {
        "TypeCode": "GOVCBRRBJ",
        "Declaration": {
            "TypeCode": application.type_code,
            "ID": application.number,
            "FunctionalReferenceID": receipt[-20:],
            "Reason": "The application does not meet the requirement.",
        },
        "ID": decision.number[-20:],
        "IssueDateTime": _format_moment(decision.issued_at),
    }


def _format_moment(moment: datetime) -> str:
    """Return a moment rounded up to a whole second, so that every earlier notice stays older."""
    whole = moment.astimezone(_ZONE) + timedelta(microseconds=999_999)
    return whole.strftime("%Y%m%d%H%M%S")


#: Calls about an application that do not bring it.
_SIDE_CALLS: Final = ("CancelApplication", "NotifyClearance", "NotifyPayment")
#: The status codes by which an agency answers whether it cancels an application.
_CANCELLATION_CODES: Final = {"accept": "G03", "refuse": "G04"}


class _NoAnswerError(Exception):
    """The call is not answered."""


@dataclass(slots=True)
class _CallContext:
    """The plan for one call and its answer."""

    plan: AgencyPlan = field(default_factory=AgencyPlan)
    repeated: bool = False


class AgencySimulator(SimulatedService):
    """One agency with one folder: effects.jsonl, calls.jsonl and refusals.jsonl outlive the process."""

    def __init__(
        self,
        identity: PartnerIdentity,
        catalogue: DocumentCatalogue,
        folder_: Path,
        plans: AgencyPlans,
        hub_url: str,
    ) -> None:
        super().__init__(identity, "agency-template.wsdl", folder_)
        self.agency = catalogue.agency
        self._plans = plans
        self._catalogue = catalogue
        self._applications: dict[str, tuple[str, int]] = {}
        calls = Journal(folder_ / "calls.jsonl")
        self._callback_queue = CallbackQueue(identity, hub_url, calls)
        self._pending = tuple(self._load_pending_callbacks(folder_))

    def start(self) -> None:
        """Start the callbacks, beginning with those that an earlier process left open."""
        for callback in self._pending:
            self._callback_queue.add(callback)
        self._callback_queue.start()

    def close(self) -> None:
        """Stop the callbacks."""
        self._callback_queue.close()

    def _load_pending_callbacks(self, folder_: Path) -> Iterator[Callback]:
        completed = {row["message_id"] for row in read_journal(folder_ / "calls.jsonl") if row.get("done")}
        pending: list[Callback] = []
        for row in read_journal(folder_ / "effects.jsonl"):
            self._index_effect(row)
            if row.get("cancels"):
                pending = [callback for callback in pending if callback.application != row["application"]]
            pending += (
                Callback.from_row(callback)
                for callback in row["errands"]
                if callback["message_id"] not in completed
            )
        yield from pending

    def _index_effect(self, row: dict[str, Any]) -> None:
        self._recorded_answers[row["message_id"]] = (row["body_sha256"], row["answer"])
        count = self._applications.get(row["application"], ("", 0))[1]
        self._applications[row["application"]] = (row["case"], count + 1)

    def __call__(self, request: IncomingRequest) -> HttpReply:
        """Answer one call."""
        call_context = _CallContext()
        try:
            reply, problem = self.endpoint.serve_request(
                request, lambda call: self._handle_call(call, call_context)
            )
        except _NoAnswerError:
            return HttpReply(closes_connection=True)
        if problem is not None:
            self._refusals.write_refusal(problem)
            return reply
        return self._apply_late_misbehavior(reply, call_context.plan)

    def _handle_call(self, call: VerifiedCall, call_context: _CallContext) -> etree._Element:
        application = None if call.operation.name in _SIDE_CALLS else self._read_call_application(call)
        call_context.plan = self._plans.select_plan(application.values) if application else self._plans.usual
        self._apply_early_misbehavior(call_context.plan)
        callbacks: tuple[Callback, ...] = ()
        with self._lock:
            answer = self._find_recorded_answer(call)
            if answer is None:
                answer, callbacks = self._execute_call(call, application, call_context.plan)
        self._dispatch_callbacks(callbacks, call_context.plan)
        return etree.fromstring(answer.encode())

    def _read_call_application(self, call: VerifiedCall) -> ReceivedApplication:
        return read_application(call.content, self._catalogue)

    @staticmethod
    def _apply_early_misbehavior(plan: AgencyPlan) -> None:
        if plan.consume_misbehavior("silent"):
            raise _NoAnswerError
        if plan.consume_misbehavior("fault-server"):
            raise GatewayError(OUR_MISTAKE, "the agency's system is down")
        if plan.consume_misbehavior("fault-client"):
            raise GatewayError(RULE_BROKEN, "the agency refuses this application")

    def _execute_call(
        self, call: VerifiedCall, application: ReceivedApplication | None, plan: AgencyPlan
    ) -> tuple[str, tuple[Callback, ...]]:
        """Perform a new call; its effect and its answer are on disk before the answer is sent."""
        number = application.number if application else _read_child_text(call.content, "ApplicationNumber")
        operation = call.operation.name
        if operation != "SubmitApplication" and number not in self._applications:
            raise GatewayError(
                REPLY_UNMATCHED, f"application {number[:40]!r} is unknown", "ApplicationNumber"
            )
        if operation == "SubmitApplication" and number in self._applications:
            raise GatewayError(
                RULE_BROKEN, f"application {number[:40]!r} exists already", "ApplicationNumber"
            )
        callbacks: tuple[Callback, ...] = ()
        if operation in ("NotifyClearance", "NotifyPayment"):
            response = build_acknowledgment(call.operation.response, self._make_receipt_number(number))
        elif application is None:
            response, callbacks = self._plan_cancellation(call, number, plan)
        else:
            response, callbacks = self._plan_answer(call, application, plan)
        answer = etree.tostring(response, encoding="unicode")
        row = self._make_effect_row(call, number, application) | {
            "answer": answer,
            "errands": [callback.to_row() for callback in callbacks],
            "cancels": operation == "CancelApplication" and plan.cancellation.startswith("accept"),
            "clearance": _read_child_text(call.content, "ResultCode")
            if operation == "NotifyClearance"
            else "",
        }
        self._effects.write(row)
        self._index_effect(row)
        return answer, callbacks

    def _make_effect_row(
        self, call: VerifiedCall, number: str, application: ReceivedApplication | None
    ) -> dict[str, Any]:
        return {
            "effect": call.operation.name,
            "message_id": call.message_id,
            "body_sha256": call.sha256,
            "application": number,
            "case": application.case if application else self._applications[number][0],
            "document": application.document if application else "",
            "items": [item.number for item in application.items] if application else [],
            "at": get_current_time().isoformat(timespec="milliseconds"),
        }

    def _plan_cancellation(
        self, call: VerifiedCall, number: str, plan: AgencyPlan
    ) -> tuple[etree._Element, tuple[Callback, ...]]:
        """Return the answer to a cancellation and its callbacks; G03 drops the application's queued ones."""
        at = get_current_time()
        if self._catalogue.carried is not None:
            # Notices of its form name whole seconds, rounded up: the cancelling notice must be later.
            at += timedelta(seconds=1)
        verdict, _, later = plan.cancellation.partition("-")
        notice_stem = f"{self.agency}-{number}-{self._applications[number][1] + 1}-C"
        status = _CANCELLATION_CODES.get(verdict)
        if status == "G03":
            self._callback_queue.drop(number)
        if status is not None and not later:
            return build_notice_answer(call.operation.response, DecidingNotice(notice_stem, at, status)), ()
        answer = build_acknowledgment(call.operation.response, self._make_receipt_number(number))
        if status is None:
            return answer, ()
        due = at + timedelta(seconds=plan.delay)
        # Issued last: every notice that the agency sent before the cancellation is older.
        content = build_status_call(number, notice_stem, due, status)
        return answer, (_make_callback(content, due, 1),)

    def _plan_answer(
        self, call: VerifiedCall, application: ReceivedApplication, plan: AgencyPlan
    ) -> tuple[etree._Element, tuple[Callback, ...]]:
        """Return the answer to an application or supplement, and the callbacks that follow it."""
        at = get_current_time()
        notice_stem = (
            f"{self.agency}-{application.number}-{self._applications.get(application.number, ('', 0))[1] + 1}"
        )
        decision = decide_application(
            application, plan, self._catalogue.get_document_laws(application.document), f"{notice_stem}-D", at
        )
        times = 2 if any(misbehavior.name == "duplicate" for misbehavior in plan.mischief) else 1
        behaviour = plan.behaviour
        if behaviour == "information" and call.operation.name == "SubmitSupplement":
            behaviour = "immediate"
        if behaviour == "immediate" and self._catalogue.carried is None:
            again = (
                (_make_callback(build_decision_call(application.number, decision), at, 1),)
                if times == 2
                else ()
            )
            return build_notice_answer(call.operation.response, decision), again
        answer = build_acknowledgment(call.operation.response, self._make_receipt_number(application.number))
        if behaviour == "wait":
            return answer, ()
        if behaviour == "immediate":
            # The answer to a call is always XML: the decision follows at once, in the agency's own form.
            return answer, (self._make_decision_callback(application, plan, decision, at, times),)
        due = at + timedelta(seconds=plan.delay)
        if behaviour == "information":
            information_call = build_information_call(application.number, f"{notice_stem}-Q", at, plan)
            return answer, (_make_callback(information_call, due, times),)
        return answer, tuple(self._plan_callbacks(application, plan, notice_stem, at, due, times))

    def _plan_callbacks(
        self,
        application: ReceivedApplication,
        plan: AgencyPlan,
        notice_stem: str,
        at: datetime,
        due: datetime,
        times: int,
    ) -> Iterator[Callback]:
        """Yield the callbacks of an application, from its receipt `at` until it is decided when `due`.

        The numbers of the notices begin with `notice_stem`. Each callback is made `times` times.
        """
        for position, status in enumerate(plan.steps, start=1):
            moment = at + timedelta(milliseconds=position)
            step = build_status_call(application.number, f"{notice_stem}-S{position}", moment, status)
            yield _make_callback(step, at + (due - at) * position / (len(plan.steps) + 1), times)
        moment = at + timedelta(milliseconds=len(plan.steps) + 1)
        laws = self._catalogue.get_document_laws(application.document)
        decision = decide_application(application, plan, laws, f"{notice_stem}-D", moment)
        yield self._make_decision_callback(application, plan, decision, due, times)
        if times == 2:
            yield self._make_decision_callback(application, plan, decision, due + timedelta(seconds=0.5), 1)

    def _make_decision_callback(
        self,
        application: ReceivedApplication,
        plan: AgencyPlan,
        decision: DecidingNotice,
        due: datetime,
        times: int,
    ) -> Callback:
        """Return the callback that decides, in the agency's form where a notice of it says the same."""
        carried = self._catalogue.carried
        receipt = self._make_receipt_number(application.number)
        notice = make_decision_notice(application, decision, receipt) if carried and not plan.laws else None
        if carried is None or notice is None or not carried.has_notice(notice[0]):
            return _make_callback(build_decision_call(application.number, decision), due, times)
        content = build_delivery_call(carried.carry_notice(*notice))
        return replace(_make_callback(content, due, times), application_number=application.number)

    def _make_receipt_number(self, application_number: str) -> str:
        return f"{self.agency}-{application_number}"

    def _dispatch_callbacks(self, callbacks: tuple[Callback, ...], plan: AgencyPlan) -> None:
        overtaking = bool(callbacks) and plan.consume_misbehavior("overtaking") is not None
        for callback in callbacks:
            if not (overtaking and self._callback_queue.call_immediately(callback)):
                self._callback_queue.add(callback)

    def _apply_late_misbehavior(self, reply: HttpReply, plan: AgencyPlan) -> HttpReply:
        """Return the answer after the plan's misbehaviours were applied to it."""
        spoiled = self._misbehave_late(reply, plan.consume_misbehavior)
        if spoiled is not reply:
            return spoiled
        if plan.consume_misbehavior("wrong-signature"):
            return HttpReply(reply.status, reply.content_type, _forge_answer_body(reply.body))
        return reply


def _forge_answer_body(body: bytes) -> bytes:
    """Change the content of the answer in a way that every schema allows."""
    for name in (b"ReceiptNumber", b"NoticeNumber"):
        body = body.replace(b"<" + name + b">", b"<" + name + b">X", 1)
    return body


def _make_callback(content: etree._Element, due: datetime, times: int) -> Callback:
    name = etree.QName(content).localname
    return Callback(make_message_id(), name, etree.tostring(content, encoding="unicode"), due, times)


def _read_child_text(content: etree._Element, name: str) -> str:
    return " ".join((content.findtext(f"{{*}}{name}") or "").split())
