"""Simulated customs: registers declarations, and is told which requirements are pending and which are met."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.conformance.agency import describe_service
from gateway.conformance.desk import Call, Desk
from gateway.conformance.http import Reply, Request
from gateway.conformance.identity import Identity, now
from gateway.conformance.journal import Journal, read_journal
from gateway.conformance.mischief import Mischief, take
from gateway.conformance.notices import acknowledged
from gateway.errors import MESSAGE_ID_REUSED, OUR_MISTAKE, RULE_BROKEN, GatewayError
from gateway.wire.shipped import DECLARATION, schemas

__all__ = ["CustomsSimulator"]


class CustomsSimulator:
    """One customs system on one folder: effects.jsonl and refusals.jsonl outlive the process."""

    def __init__(self, identity: Identity, folder: Path, mischief: tuple[Mischief, ...] = ()) -> None:
        self._mischief = mischief
        self.desk = Desk(identity, describe_service("customs.wsdl"))
        self._schema = schemas(DECLARATION)
        self._effects = Journal(folder / "effects.jsonl")
        self._refusals = Journal(folder / "refusals.jsonl")
        self._known: dict[str, tuple[str, str]] = {}
        self._cases: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        for row in read_journal(folder / "effects.jsonl"):
            self._remember(row)

    def __call__(self, request: Request) -> Reply:
        """Answer one call."""
        if take(self._mischief, "silent"):
            return Reply(closes=True)
        reply, problem = self.desk.serve(request, self._handle)
        if problem is not None:
            row = {
                "problem": problem.problem.id,
                "detail": problem.detail[:300],
                "location": problem.location[:200],
            }
            self._refusals.write(row | {"at": now().isoformat(timespec="milliseconds")})
            return reply
        return self._spoiled(reply)

    def _spoiled(self, reply: Reply) -> Reply:
        for name in ("slow", "late"):
            waiting = take(self._mischief, name)
            if waiting is not None:
                waiting.wait()
        if take(self._mischief, "lost"):
            return Reply(closes=True)
        return Reply(200, reply.content_type, b"\xff\xfe") if take(self._mischief, "garbage") else reply

    def _remember(self, row: dict[str, Any]) -> None:
        self._known[row["message_id"]] = (row["body_sha256"], row["receipt"])
        self._cases.setdefault(row["case"], set()).add(row["code"] or "registered")

    def _handle(self, call: Call) -> etree._Element:
        if take(self._mischief, "fault-server"):
            raise GatewayError(OUR_MISTAKE, "customs' system is down")
        with self._lock:
            known = self._known.get(call.message_id)
            if known is None:
                receipt = self._work(call)
            elif known[0] == call.sha256:
                receipt = known[1]
            else:
                raise GatewayError(MESSAGE_ID_REUSED, "another call had this MessageID", "wsa:MessageID")
        return acknowledged(call.operation.response, receipt)

    def _work(self, call: Call) -> str:
        case = " ".join((call.content.findtext("{*}CaseNumber") or "").split())
        code = (call.content.findtext("{*}PendingCode") or "").strip()
        if code:
            self._check_order(case, code)
        else:
            self._check_declaration(call.content)
        row = {
            "effect": call.operation.name,
            "message_id": call.message_id,
            "body_sha256": call.sha256,
            "case": case,
            "code": code,
            "requirements": [_requirement(one) for one in call.content.iterfind("{*}Requirement")],
            "receipt": f"CUSTOMS-{case}-{code or 'R'}",
            "at": now().isoformat(timespec="milliseconds"),
        }
        self._effects.write(row)
        self._remember(row)
        return str(row["receipt"])

    def _check_order(self, case: str, code: str) -> None:
        """Refuse 18 before the declaration is registered, and 19 before 18."""
        needed = "registered" if code == "18" else "18"
        if needed not in self._cases.get(case, ()):
            raise GatewayError(
                RULE_BROKEN, f"pending code {code} before {needed} of case {case[:40]}", "PendingCode"
            )

    def _check_declaration(self, content: etree._Element) -> None:
        document = next(content.iterfind("{*}Declaration/*"))
        self._schema.check(document)


def _requirement(element: etree._Element) -> dict[str, str]:
    return {etree.QName(child).localname: (child.text or "").strip() for child in element.iterchildren("*")}
