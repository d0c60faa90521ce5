"""States, outcomes and tasks of cases in words, with the sign and the colour that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import g

from gateway.cases import CaseCustody, CustodyTask, find_hold_task
from gateway.harmonize import MappingBundle
from gateway.web.console.page_translations import translate

__all__ = [
    "StateWords",
    "describe_case_state",
    "describe_custody",
    "describe_decision",
    "describe_fee_state",
    "describe_request_state",
    "name_agency",
    "name_document",
]


@dataclass(frozen=True, slots=True)
class StateWords:
    """A state as a page shows it: its words, a sign, and the class of its colour."""

    words: str
    sign: str
    kind: str


def describe_case_state(state: str, outcome: str | None, held: Mapping[str, Any] | None = None) -> StateWords:
    """Return the state of a case, by its outcome when it has one; `held` is what a held case lacks."""
    if outcome:
        told = {
            "APPROVED": StateWords(translate("Approved"), "✓", "good"),
            "PARTIAL": StateWords(translate("Approved in part"), "◐", "warn"),
            "REJECTED": StateWords(translate("Rejected"), "✗", "bad"),
            "REFUSED": StateWords(translate("Not accepted"), "✗", "bad"),
            "WITHDRAWN": StateWords(translate("Withdrawn"), "–", "idle"),
        }
        return told[outcome]
    if state == "WITHDRAWN":
        return StateWords(translate("Withdrawn"), "–", "idle")
    if state == "OPENED":
        return StateWords(translate("Being read"), "…", "idle")
    task = find_hold_task(held) if held else CustodyTask.FILE
    if state == "HELD" and task is CustodyTask.PARENT:
        return StateWords(translate("Held: its parent case is not decided"), "…", "idle")
    if state == "HELD" and task is CustodyTask.FILE_AGAIN:
        return StateWords(translate("Held: it cannot go on as it was filed"), "!", "warn")
    if state == "HELD":
        return StateWords(translate("Held: an application is missing"), "!", "warn")
    return StateWords(translate("With the agencies"), "…", "idle")


def describe_request_state(state: str, decided: str = "") -> StateWords:
    """Return the state of an application; `decided` is its outcome in one word."""
    if state == "DECIDED" and decided:
        return describe_case_state("CLOSED", decided)
    told = {
        "PREPARED": StateWords(translate("On its way to the agency"), "…", "idle"),
        "SENT": StateWords(translate("Sent to the agency"), "…", "idle"),
        "ACKNOWLEDGED": StateWords(translate("Received by the agency"), "…", "idle"),
        "INFORMATION_REQUIRED": StateWords(translate("Information is asked for"), "!", "warn"),
        "INSPECTION": StateWords(translate("Inspection"), "!", "warn"),
        "FEE_DUE": StateWords(translate("A fee is due"), "!", "warn"),
        "STRANDED": StateWords(translate("Not with the agency yet"), "!", "warn"),
        "DECIDED": StateWords(translate("Decided"), "✓", "good"),
        "CANCELLED": StateWords(translate("Cancelled"), "–", "idle"),
    }
    return told[state]


def describe_fee_state(state: str) -> StateWords:
    """Return the state of a fee."""
    told = {
        "LEVIED": StateWords(translate("To be paid"), "!", "warn"),
        "ORDERED": StateWords(translate("To be paid"), "!", "warn"),
        "PAID": StateWords(translate("Paid"), "✓", "good"),
        "CONFIRMED": StateWords(translate("Paid, the agency has it"), "✓", "good"),
        "CANCELLED": StateWords(translate("Not due any more"), "–", "idle"),
        "REFUNDING": StateWords(translate("Is being given back"), "…", "idle"),
        "REFUNDED": StateWords(translate("Given back"), "–", "idle"),
        "PARTLY_REFUNDED": StateWords(translate("Given back in part"), "–", "idle"),
    }
    return told[state]


def describe_decision(decision: str) -> StateWords:
    """Return a decision of an agency on one item."""
    told = {
        "APPROVED": StateWords(translate("Approved"), "✓", "good"),
        "APPROVED_WITH_CONDITIONS": StateWords(translate("Approved with conditions"), "✓", "warn"),
        "REJECTED": StateWords(translate("Rejected"), "✗", "bad"),
        "NOT_CONCERNED": StateWords(translate("Not concerned"), "–", "idle"),
    }
    return told[decision]


def describe_custody(one: CaseCustody, bundle: MappingBundle) -> str:
    """Return who must do what, in a short sentence."""
    told = {
        CustodyTask.ANSWER: translate("You: answer the question of %(agency)s"),
        CustodyTask.PAY: translate("You: pay the fee of %(agency)s"),
        CustodyTask.INSPECT: translate("%(agency)s: inspection"),
        CustodyTask.DECIDE: translate("%(agency)s: decision"),
        CustodyTask.FORWARD: translate("Gateway: hand the application to %(agency)s"),
        CustodyTask.REACH: translate("Gateway: bring the application to %(agency)s, which failed"),
        CustodyTask.ADMIT: translate("Gateway: read the submission"),
        CustodyTask.RELAY: translate("Gateway: deliver the result"),
        CustodyTask.FILE: translate("You: file the applications that are missing"),
        CustodyTask.FILE_AGAIN: translate("You: file the declaration again"),
        CustodyTask.PARENT: translate("Gateway: wait for the decision on the parent case"),
    }
    return told[one.task] % {"agency": name_agency(bundle, one.agency)}


def name_agency(bundle: MappingBundle, code: str) -> str:
    """Return the name of an agency in the language of the page; the code where the mappings have none."""
    return _choose_name(bundle.organisations.get(code), code)


def name_document(bundle: MappingBundle, document: str) -> str:
    """Return the name of a document in the language of the page; its id where the mappings have none."""
    return _choose_name(bundle.documents.get(document), document)


def _choose_name(named: Any, fallback: str) -> str:
    if named is None:
        return fallback
    return str(named.ko if g.language == "ko" else named.en) or fallback
