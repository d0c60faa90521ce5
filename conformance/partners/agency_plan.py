"""The plan of a simulated agency: how it decides, and how it misbehaves."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from gateway.client import read_file
from gateway.errors import MISUSE, GatewayError
from gateway_conformance.partners.misbehavior import AGENCY_MISBEHAVIORS, Misbehavior, take_misbehavior

BEHAVIOURS: Final = {
    "immediate": "decides in the answer to the call",
    "later": "acknowledges the call, then calls back with its decision after the delay",
    "information": (
        "acknowledges the call, calls back to request information, and decides when the supplement arrives"
    ),
    "wait": "acknowledges the call and never decides",
}
CANCELLATIONS: Final = {
    "accept": "cancels in the answer to the call",
    "refuse": "refuses in the answer to the call, and goes on",
    "accept-later": "acknowledges the call, then calls back that it cancels, after the delay",
    "refuse-later": "acknowledges the call, then calls back that it refuses, after the delay",
    "wait": "acknowledges the call and never says whether it cancels",
}
DECISIONS: Final = ("APPROVED", "APPROVED_WITH_CONDITIONS", "REJECTED", "NOT_CONCERNED")


@dataclass(frozen=True, slots=True)
class ItemRule:
    """A decision for items: the one with this number, those whose HS code has this prefix, or all."""

    decision: str = "APPROVED"
    number: int | None = None
    hs: str | None = None
    conditions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise _make_settings_error(f"a decision must be one of {', '.join(DECISIONS)}", self.decision)

    def matches_item(self, number: int, hs: str) -> bool:
        """Return whether the rule applies to an item."""
        return self.number in (None, number) and hs.startswith(self.hs or "")


@dataclass(frozen=True, slots=True)
class AgencyPlan:
    """The treatment of applications.

    `cancellation` says how it answers CancelApplication. `status` is the code of the deciding notice,
    derived from the decisions when empty; `steps` are codes reported in separate notices before it.
    `deadline` is in seconds from the question.
    """

    behaviour: str = "immediate"
    cancellation: str = "accept"
    delay: float = 0.5
    status: str = ""
    steps: tuple[str, ...] = ()
    laws: tuple[str, ...] = ()
    items: tuple[ItemRule, ...] = ()
    pointers: tuple[str, ...] = ()
    text: str = "More information is needed."
    deadline: float = 7 * 86400.0
    mischief: tuple[Misbehavior, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.behaviour not in BEHAVIOURS:
            raise _make_settings_error(f"a behaviour must be one of {', '.join(BEHAVIOURS)}", self.behaviour)
        if self.cancellation not in CANCELLATIONS:
            allowed = ", ".join(CANCELLATIONS)
            raise _make_settings_error(f"a cancellation must be one of {allowed}", self.cancellation)

    def find_rule(self, number: int, hs: str) -> ItemRule:
        """Return the first rule that applies to an item; approval when none does."""
        return next((rule for rule in self.items if rule.matches_item(number, hs)), ItemRule())

    def consume_misbehavior(self, name: str) -> Misbehavior | None:
        """Return the misbehaviour of that name if it applies to this call."""
        return take_misbehavior(self.mischief, name)


@dataclass(frozen=True, slots=True)
class AgencyPlans:
    """The usual plan, and other plans for documents that contain a certain value."""

    usual: AgencyPlan = AgencyPlan()
    others: tuple[tuple[str, AgencyPlan], ...] = ()

    def select_plan(self, values: Iterable[str]) -> AgencyPlan:
        """Return the plan of a document by its values: the first one whose pattern matches a value."""
        if not self.others:
            return self.usual
        texts = list(values)
        for pattern, plan in self.others:
            if any(fnmatchcase(value, pattern) for value in texts):
                return plan
        return self.usual


def read_agency_plans(path: Path | None, changes: Mapping[str, Any]) -> AgencyPlans:
    """Read a plan file, with the values of `changes` on top; ``[[when]] value = "…"`` starts another plan."""
    table = _load_table(path) if path is not None else {}
    others = table.pop("when", [])
    usual = _override_plan(AgencyPlan(), table | dict(changes))
    return AgencyPlans(
        usual, tuple((str(row.pop("value", "*")), _override_plan(usual, row)) for row in others)
    )


def _load_table(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file or, by its name, of a JSON file."""
    try:
        text = read_file(path).decode("utf-8-sig")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise _make_settings_error(f"the plan cannot be read: {str(error)[:200]}", str(path)) from None
    if not isinstance(table, dict):
        raise _make_settings_error("a plan must be a table", str(path))
    return table


def _override_plan(plan: AgencyPlan, table: Mapping[str, Any]) -> AgencyPlan:
    """Return the plan with the values of a table in place of its own."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        match key:
            case "behaviour" | "cancellation" | "status" | "text":
                values[key] = str(value)
            case "delay" | "deadline":
                values[key] = float(value)
            case "steps" | "laws" | "pointers":
                values[key] = tuple(str(text) for text in value)
            case "items":
                values[key] = tuple(
                    rule if isinstance(rule, ItemRule) else _make_item_rule(rule) for rule in value
                )
            case "mischief":
                values[key] = tuple(Misbehavior.from_text(str(text), AGENCY_MISBEHAVIORS) for text in value)
            case _:
                raise _make_settings_error(f"a plan has no key {key[:40]!r}", key[:40])
    return replace(plan, **values)


def _make_item_rule(row: Mapping[str, Any]) -> ItemRule:
    unknown = set(row) - {"decision", "number", "hs", "conditions"}
    if unknown:
        raise _make_settings_error(f"an item rule has no key {sorted(unknown)[0][:40]!r}", "items")
    return ItemRule(**{**row, "conditions": tuple(row.get("conditions", ()))})


def _make_settings_error(detail: str, location: str) -> GatewayError:
    return GatewayError(MISUSE, detail, location[:80])
