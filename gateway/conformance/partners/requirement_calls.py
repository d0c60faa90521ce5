"""Lets a simulated agency say what it decided about a number of its own: no application asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lxml import etree

from gateway.conformance.partners.agency_callbacks import Callback, CallbackQueue
from gateway.conformance.partners.journal import Journal
from gateway.conformance.partners.partner_identity import PartnerIdentity
from gateway.wire import SERVICE_AGENCY, serialize_element

__all__ = ["say_requirement_result"]


def say_requirement_result(
    identity: PartnerIdentity, hub_url: str, journal: Journal, said: Mapping[str, Any], at: datetime
) -> bool:
    """Call SubmitDecision with a requirement number; return whether the hub accepted it.

    `said` has `requirement`, `notice`, `law` and `decision`, and perhaps `quantity` with its `unit`.
    """
    content = serialize_element(_build_call(said, at)).decode()
    errand = Callback(f"urn:uuid:{said['notice']}", "SubmitDecision", content, at)
    return CallbackQueue(identity, hub_url, journal, threads=0).call_immediately(errand)


def _build_call(said: Mapping[str, Any], at: datetime) -> etree._Element:
    nsmap: Any = {None: SERVICE_AGENCY}
    root = etree.Element(f"{{{SERVICE_AGENCY}}}SubmitDecision", nsmap=nsmap)
    approves = said["decision"] != "REJECTED"
    _add_texts(
        root,
        RequirementNumber=said["requirement"],
        NoticeNumber=said["notice"],
        IssuedAt=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        StatusCode="R01" if approves else "R04",
    )
    decision = etree.SubElement(root, f"{{{SERVICE_AGENCY}}}Decision")
    _add_texts(decision, item=1, law=said["law"], decision=said["decision"], number=said["requirement"])
    _add_texts(decision, **{name: said[name] for name in ("quantity", "unit") if name in said})
    return root


def _add_texts(parent: etree._Element, **texts: Any) -> None:
    for name, text in texts.items():
        etree.SubElement(parent, f"{{{SERVICE_AGENCY}}}{name}").text = str(text)
