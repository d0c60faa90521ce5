"""A simulated agency: takes applications, decides them by its plan, and can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from lxml import etree

from gateway.conformance.applications import Application, Catalogue, read_application
from gateway.conformance.call_backs import CallBacks, Errand
from gateway.conformance.desk import Call, Desk, new_id
from gateway.conformance.http import Reply, Request
from gateway.conformance.identity import Identity, now
from gateway.conformance.journal import Journal, read_journal
from gateway.conformance.notices import (
    acknowledged,
    answer_notice,
    decide,
    decision_call,
    information_call,
    step_call,
)
from gateway.conformance.plan import Plan, Plans
from gateway.errors import MESSAGE_ID_REUSED, OUR_MISTAKE, REPLY_UNMATCHED, RULE_BROKEN, GatewayError
from gateway.share import folder
from gateway.wire.namespaces import WSA
from gateway.wire.wsdl import ServiceDescription, read_wsdl

__all__ = ["AgencySimulator", "describe_service"]

_GARBAGE: Final = b"<html><body>502 proxy \xff\xfe</body>"


def describe_service(name: str) -> ServiceDescription:
    """Return the service of a shipped WSDL."""
    return read_wsdl(folder("wsdl").joinpath(name).read_bytes())


class _SilentError(Exception):
    """The caller hears nothing."""


@dataclass(slots=True)
class _Mood:
    """What shall happen to the answer of one call."""

    plan: Plan = field(default_factory=Plan)
    repeated: bool = False


class AgencySimulator:
    """One agency on one folder: effects.jsonl, calls.jsonl and refusals.jsonl outlive the process."""

    def __init__(
        self, identity: Identity, catalogue: Catalogue, folder_: Path, plans: Plans, hub_url: str
    ) -> None:
        self.agency = catalogue.agency
        self._plans = plans
        self._catalogue = catalogue
        self.desk = Desk(identity, describe_service("agency-template.wsdl"))
        self._effects = Journal(folder_ / "effects.jsonl")
        self._refusals = Journal(folder_ / "refusals.jsonl")
        self._known: dict[str, tuple[str, str]] = {}
        self._applications: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()
        calls = Journal(folder_ / "calls.jsonl")
        self._call_backs = CallBacks(identity, hub_url, calls)
        self._pending = tuple(self._reload(folder_))

    def start(self) -> None:
        """Begin to call back, with what an earlier process left undone first."""
        for errand in self._pending:
            self._call_backs.add(errand)
        self._call_backs.start()

    def close(self) -> None:
        """Make no more calls."""
        self._call_backs.close()

    def _reload(self, folder_: Path) -> Iterator[Errand]:
        done = {row["message_id"] for row in read_journal(folder_ / "calls.jsonl") if row.get("done")}
        for row in read_journal(folder_ / "effects.jsonl"):
            self._remember(row)
            yield from (Errand.from_row(one) for one in row["errands"] if one["message_id"] not in done)

    def _remember(self, row: dict[str, Any]) -> None:
        self._known[row["message_id"]] = (row["body_sha256"], row["answer"])
        count = self._applications.get(row["application"], ("", 0))[1]
        self._applications[row["application"]] = (row["case"], count + 1)

    def __call__(self, request: Request) -> Reply:
        """Answer one call."""
        mood = _Mood()
        try:
            reply, problem = self.desk.serve(request, lambda call: self._handle(call, mood))
        except _SilentError:
            return Reply(closes=True)
        if problem is not None:
            self._refuse(problem)
            return reply
        return self._spoiled(reply, mood.plan)

    def _refuse(self, problem: GatewayError) -> None:
        row = {
            "problem": problem.problem.id,
            "detail": problem.detail[:300],
            "location": problem.location[:200],
        }
        self._refusals.write(row | {"at": now().isoformat(timespec="milliseconds")})

    def _handle(self, call: Call, mood: _Mood) -> etree._Element:
        application = None if call.operation.name == "CancelApplication" else self._read(call)
        mood.plan = self._plans.of(application.values) if application else self._plans.usual
        self._misbehave_before(mood.plan)
        errands: tuple[Errand, ...] = ()
        with self._lock:
            known = self._known.get(call.message_id)
            if known is None:
                answer, errands = self._work(call, application, mood.plan)
            else:
                answer = _repeated(call, known)
        self._send_off(errands, mood.plan)
        return etree.fromstring(answer.encode())

    def _read(self, call: Call) -> Application:
        return read_application(call.content, self._catalogue)

    @staticmethod
    def _misbehave_before(plan: Plan) -> None:
        if plan.misbehaves("silent"):
            raise _SilentError
        if plan.misbehaves("fault-server"):
            raise GatewayError(OUR_MISTAKE, "the agency's system is down")
        if plan.misbehaves("fault-client"):
            raise GatewayError(RULE_BROKEN, "the agency does not want this application")

    def _work(
        self, call: Call, application: Application | None, plan: Plan
    ) -> tuple[str, tuple[Errand, ...]]:
        """Do what a new call asks: its effect is on disk, with its answer, before anybody hears of it."""
        number = application.number if application else _text(call.content, "ApplicationNumber")
        operation = call.operation.name
        if operation != "SubmitApplication" and number not in self._applications:
            raise GatewayError(
                REPLY_UNMATCHED, f"no application {number[:40]!r} came here", "ApplicationNumber"
            )
        if operation == "SubmitApplication" and number in self._applications:
            raise GatewayError(
                RULE_BROKEN, f"application {number[:40]!r} is here already", "ApplicationNumber"
            )
        if application is None:
            response = acknowledged(call.operation.response, self._receipt(number))
            errands: tuple[Errand, ...] = ()
        else:
            response, errands = self._decide(call, application, plan)
        answer = etree.tostring(response, encoding="unicode")
        row = self._row(call, number, application) | {
            "answer": answer,
            "errands": [one.as_row() for one in errands],
        }
        self._effects.write(row)
        self._remember(row)
        return answer, errands

    def _row(self, call: Call, number: str, application: Application | None) -> dict[str, Any]:
        return {
            "effect": call.operation.name,
            "message_id": call.message_id,
            "body_sha256": call.sha256,
            "application": number,
            "case": application.case if application else self._applications[number][0],
            "document": application.document if application else "",
            "items": [item.number for item in application.items] if application else [],
            "at": now().isoformat(timespec="milliseconds"),
        }

    def _decide(
        self, call: Call, application: Application, plan: Plan
    ) -> tuple[etree._Element, tuple[Errand, ...]]:
        """Return the answer to an application or supplement, and the calls that follow it."""
        at = now()
        stem = (
            f"{self.agency}-{application.number}-{self._applications.get(application.number, ('', 0))[1] + 1}"
        )
        said = decide(application, plan, self._catalogue.laws(application.document), (f"{stem}-D", at))
        twice = 2 if any(one.name == "duplicate" for one in plan.mischief) else 1
        behaviour = plan.behaviour
        if behaviour == "information" and call.operation.name == "SubmitSupplement":
            behaviour = "immediate"
        if behaviour == "immediate":
            again = (_errand(decision_call(application.number, said), at, 1),) if twice == 2 else ()
            return answer_notice(call.operation.response, said), again
        answer = acknowledged(call.operation.response, self._receipt(application.number))
        if behaviour == "wait":
            return answer, ()
        due = at + timedelta(seconds=plan.delay)
        if behaviour == "information":
            asked = information_call(application.number, f"{stem}-Q", at, plan)
            return answer, (_errand(asked, due, twice),)
        return answer, tuple(self._later(application, plan, (stem, at, due), twice))

    def _later(
        self, application: Application, plan: Plan, when: tuple[str, datetime, datetime], twice: int
    ) -> Iterator[Errand]:
        stem, at, due = when
        for position, status in enumerate(plan.steps, start=1):
            moment = at + timedelta(milliseconds=position)
            step = step_call(application.number, f"{stem}-S{position}", moment, status)
            yield _errand(step, at + (due - at) * position / (len(plan.steps) + 1), twice)
        moment = at + timedelta(milliseconds=len(plan.steps) + 1)
        laws = self._catalogue.laws(application.document)
        content = decision_call(application.number, decide(application, plan, laws, (f"{stem}-D", moment)))
        yield _errand(content, due, twice)
        if twice == 2:
            yield _errand(content, due + timedelta(seconds=0.5), 1)

    def _receipt(self, number: str) -> str:
        return f"{self.agency}-{number}"

    def _send_off(self, errands: tuple[Errand, ...], plan: Plan) -> None:
        overtaking = bool(errands) and plan.misbehaves("overtaking") is not None
        for errand in errands:
            if not (overtaking and self._call_backs.make_now(errand)):
                self._call_backs.add(errand)

    def _spoiled(self, reply: Reply, plan: Plan) -> Reply:
        """Return the answer as the plan's misbehaviours leave it."""
        for name in ("slow", "late"):
            waiting = plan.misbehaves(name)
            if waiting is not None:
                waiting.wait()
        if plan.misbehaves("lost"):
            return Reply(closes=True)
        if plan.misbehaves("garbage"):
            return Reply(200, reply.content_type, _GARBAGE)
        if plan.misbehaves("wrong-signature"):
            return Reply(reply.status, reply.content_type, _forged(reply.body))
        return reply


def _repeated(call: Call, known: tuple[str, str]) -> str:
    """Return the answer given before; refuse another Body under a MessageID that is taken."""
    digest, answer = known
    if digest != call.sha256:
        where = f"/soap:Envelope/soap:Header/{{{WSA}}}MessageID"
        raise GatewayError(MESSAGE_ID_REUSED, "another call had this MessageID", where)
    return answer


def _forged(body: bytes) -> bytes:
    """Change what the answer says, in a way that every schema allows."""
    for name in (b"ReceiptNumber", b"NoticeNumber"):
        body = body.replace(b"<" + name + b">", b"<" + name + b">X", 1)
    return body


def _errand(content: etree._Element, due: datetime, times: int) -> Errand:
    name = etree.QName(content).localname
    return Errand(new_id(), name, etree.tostring(content, encoding="unicode"), due, times)


def _text(content: etree._Element, name: str) -> str:
    return " ".join((content.findtext(f"{{*}}{name}") or "").split())
