"""The plan of simulated customs: what it answers to calls, and whether it reports clearance."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from lxml import etree

from gateway.conformance.partners.agency_callbacks import Callback
from gateway.conformance.partners.agency_documents import build_acknowledgment
from gateway.conformance.partners.partner_identity import get_current_time, read_file
from gateway.conformance.partners.soap_endpoint import VerifiedCall
from gateway.errors import MISUSE, GatewayError
from gateway.wire import CUSTOMS, SERVICE_CUSTOMS

__all__ = ["CustomsPlan", "read_customs_plan"]

_KEYS: Final = frozenset({"answer", "operations", "reasons", "clearance", "delay"})
_REASON_KEYS: Final = ("code", "pointer", "text")


@dataclass(frozen=True, slots=True)
class CustomsPlan:
    """How customs behaves.

    `answer` is R24 or R25, or empty for a receipt number alone; it is given to these `operations` (all
    without one). `reasons` (code, pointer, text) stand in it. `clearance` is the code that is reported
    `delay` seconds after the requirements of a case are met; empty: none.
    """

    answer: str = ""
    operations: tuple[str, ...] = ()
    reasons: tuple[dict[str, str], ...] = ()
    clearance: str = ""
    delay: float = 0.5

    def build_answer(self, call: VerifiedCall, receipt: str) -> etree._Element:
        """Return the answer to a call; a repeated call gets the same notice number."""
        if not self.answer or (self.operations and call.operation.name not in self.operations):
            return build_acknowledgment(call.operation.response, receipt)
        root = etree.Element(call.operation.response)
        said = etree.SubElement(etree.SubElement(root, f"{{{CUSTOMS}}}Answer"), f"{{{CUSTOMS}}}Notice")
        values = {
            "NoticeNumber": f"N-{call.message_id[-60:]}",
            "IssuedAt": _write_now(),
            "ResultCode": self.answer,
        }
        _write_values(said, CUSTOMS, values)
        for one in self.reasons:
            reason = etree.SubElement(said, f"{{{CUSTOMS}}}Reason")
            _write_values(
                reason, CUSTOMS, {name.title(): one[name] for name in _REASON_KEYS if one.get(name)}
            )
        return root

    def plan_clearance(self, case: str, code: str) -> Callback | None:
        """Return the report that a case is cleared, when its requirements are met; None otherwise."""
        if not self.clearance or code != "19":
            return None
        root = etree.Element(f"{{{SERVICE_CUSTOMS}}}ReportClearance")
        number = str(uuid4())
        values = {
            "CaseNumber": case,
            "NoticeNumber": number,
            "IssuedAt": _write_now(),
            "ResultCode": self.clearance,
        }
        _write_values(root, SERVICE_CUSTOMS, values)
        content = etree.tostring(root, encoding="unicode")
        due = get_current_time() + timedelta(seconds=self.delay)
        return Callback(f"urn:uuid:{number}", "ReportClearance", content, due)


def read_customs_plan(path: Path | None) -> CustomsPlan:
    """Read a plan file (TOML); raises GW808 for a wrong one. Without one there are receipt numbers alone."""
    if path is None:
        return CustomsPlan()
    try:
        table: dict[str, Any] = tomllib.loads(read_file(path).decode())
    except ValueError as error:
        raise GatewayError(MISUSE, f"the plan cannot be read: {str(error)[:200]}", str(path)) from None
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise GatewayError(MISUSE, f"a plan has no key {unknown[0][:40]!r}", unknown[0][:40])
    reasons = tuple(
        {str(name): str(value) for name, value in one.items()} for one in table.get("reasons", ())
    )
    wrong = sorted({name for one in reasons for name in one} - set(_REASON_KEYS))
    if wrong:
        raise GatewayError(MISUSE, f"a reason has no key {wrong[0][:40]!r}", "reasons")
    return CustomsPlan(
        str(table.get("answer", "")),
        tuple(str(one) for one in table.get("operations", ())),
        reasons,
        str(table.get("clearance", "")),
        float(table.get("delay", 0.5)),
    )


def _write_values(parent: etree._Element, namespace: str, values: dict[str, str]) -> None:
    for name, value in values.items():
        etree.SubElement(parent, f"{{{namespace}}}{name}").text = value


def _write_now() -> str:
    return get_current_time().isoformat(timespec="milliseconds").replace("+00:00", "Z")
