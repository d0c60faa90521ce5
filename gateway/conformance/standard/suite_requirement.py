"""A requirement of ebMS 2.0: its clause, its play, and what must come back; read from tables.

The tables are YAML under ``conformance/suites/ebms2``. A row has the steps of its play: what is
sent, and what is expected of the answer. Where a play needs more than sending and expecting, the
row names one that is written in code and gives its arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

import yaml

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.share import get_data_folder

__all__ = ["LEVELS", "Requirement", "Step", "read_requirements", "select_requirements"]

#: What follows when a requirement is not met: the gateway has failed, or is advised.
LEVELS: Final = ("required", "recommended")
_KINDS: Final = ("positive", "negative")
#: The play that sends and expects step by step; its steps are in the row.
EXCHANGE: Final = "exchange"
_KEYS: Final = frozenset(
    [
        "id",
        "clause",
        "iic",
        "title",
        "level",
        "feature",
        "kind",
        "agreement",
        "play",
        "send",
        "expect",
        "steps",
        "arguments",
        "expectation",
    ]
)
_STEP_KEYS: Final = frozenset(("name", "send", "expect"))


@dataclass(frozen=True, slots=True)
class Step:
    """One message of a play, and the checks that its answer must pass.

    `name` is how later steps refer to it. `send` describes the message, `expect` has names of checks
    with their arguments.
    """

    name: str
    send: Mapping[str, Any]
    expect: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of a table.

    `iic` are the numbers of the test requirements of the OASIS ebXML IIC that are known to ask for
    the same. `feature` is what a gateway must declare for the requirement to apply; ``core`` applies
    to all. `agreement` is the kind of agreement under which the play runs.
    """

    id: str
    clause: str
    title: str
    level: str = "required"
    feature: str = "core"
    kind: str = "positive"
    agreement: str = "main"
    play: str = EXCHANGE
    iic: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    expectation: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the requirement as a JSON object."""
        names = ("id", "clause", "title", "level", "feature", "kind", "agreement", "play", "expectation")
        return {name: getattr(self, name) for name in names} | {"iic": list(self.iic)}


@cache
def read_requirements() -> tuple[Requirement, ...]:
    """Return all requirements in the order of the tables; raise GW901 for a table that is wrong."""
    folder = get_data_folder("conformance").joinpath("suites", "ebms2", "requirements")
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".yaml")), key=lambda one: one.name)
    found = []
    for file in files:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
        found += [_read_row(row, file.name) for row in table]
    repeated = [name for name, count in Counter(one.id for one in found).items() if count > 1]
    if repeated:
        raise GatewayError(OUR_MISTAKE, f"two requirements have the id {repeated[0]}", "requirements")
    return tuple(found)


def select_requirements(only: str | None) -> tuple[Requirement, ...]:
    """Return the requirements whose id matches a glob; all without one."""
    return tuple(one for one in read_requirements() if only is None or fnmatchcase(one.id, only))


def _read_row(row: Mapping[str, Any], file: str) -> Requirement:
    unknown = sorted(set(row) - _KEYS)
    if unknown or not {"id", "clause", "title"} <= set(row):
        raise GatewayError(OUR_MISTAKE, f"keys of a row: {unknown}", f"{file}: {row.get('id')}")
    steps = tuple(_read_steps(row, file))
    plain = ("id", "title", "level", "feature", "kind", "agreement", "play")
    values = {name: str(row[name]) for name in plain if name in row}
    made = Requirement(
        clause=str(row["clause"]),
        iic=tuple(str(row.get("iic", "")).split()),
        steps=steps,
        arguments=row.get("arguments", {}),
        expectation=str(row.get("expectation") or _describe_steps(steps)),
        **values,
    )
    _check_row(made, file)
    return made


def _check_row(made: Requirement, file: str) -> None:
    right = made.level in LEVELS and made.kind in _KINDS and bool(made.expectation)
    if not right or (made.play == EXCHANGE) != bool(made.steps):
        raise GatewayError(OUR_MISTAKE, "level, kind, play or steps are wrong", f"{file}: {made.id}")


def _read_steps(row: Mapping[str, Any], file: str) -> Iterable[Step]:
    rows = row.get("steps")
    if rows is None and "expect" in row:
        rows = [{"send": row.get("send", {}), "expect": row["expect"]}]
    for number, one in enumerate(rows or (), 1):
        if set(one) - _STEP_KEYS:
            raise GatewayError(
                OUR_MISTAKE, f"keys of a step: {', '.join(sorted(one))}", f"{file}: {row['id']}"
            )
        checks = tuple(_read_check(check) for check in one.get("expect", ()))
        yield Step(str(one.get("name", number)), _read_send(one.get("send", {})), checks)


def _read_send(send: Any) -> Mapping[str, Any]:
    return {"unit": send} if isinstance(send, str) else send


def _read_check(check: Any) -> tuple[str, Any]:
    if isinstance(check, str):
        return check, None
    ((name, argument),) = check.items()
    return str(name), argument


def _describe_steps(steps: tuple[Step, ...]) -> str:
    """Return what the last step expects, in words."""
    if not steps:
        return ""
    told = [
        name if argument is None else f"{name} {_format_argument(argument)}"
        for name, argument in steps[-1].expect
    ]
    return "; ".join(told)


def _format_argument(argument: Any) -> str:
    if isinstance(argument, list):
        return "/".join(str(one) for one in argument)
    if isinstance(argument, dict):
        return " ".join(f"{name}={_format_argument(value)}" for name, value in argument.items())
    return str(argument)
