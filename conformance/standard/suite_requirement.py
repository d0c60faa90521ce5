"""The requirements of ebMS 2.0 for a gateway, and the declarations of a tested gateway in its profile.

The requirements are YAML under ``conformance/suites/ebms2``. A row has its clause and the steps of its
play: the message to send, and the expectations of the answer. Where a play needs more than sending and
expecting, the row names a play that is written in code and gives the arguments of that play.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.client import read_file
from gateway.errors import OUR_MISTAKE, SUITE_PROFILE_WRONG, GatewayError
from gateway_conformance import DATA_FOLDER

#: The levels of a requirement. If it is not met, the gateway has failed (required) or is advised.
LEVELS: Final = ("required", "recommended")
_KINDS: Final = ("positive", "negative")
#: The play that sends and expects step by step; its steps are in the row.
EXCHANGE: Final = "exchange"
_STEP_KEYS: Final = frozenset(("name", "send", "expect"))


@dataclass(frozen=True, slots=True)
class Step:
    """One message of a play, and the checks that its answer must pass.

    `name` is how later steps refer to it. `send` describes the message, `checks` has names of checks
    with their arguments.
    """

    name: str
    send: Mapping[str, Any]
    checks: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of a table.

    `iic` are the numbers of the test requirements of the OASIS ebXML IIC that are known to ask for the
    same. `feature` is the feature that a gateway must declare for the requirement to apply; ``core``
    applies to all. `agreement` is the kind of agreement under which the play runs.
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
    folder = DATA_FOLDER.joinpath("suites", "ebms2", "requirements")
    files = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda path: path.name
    )
    requirements = []
    for file in files:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
        requirements += [_read_requirement(row, file.name) for row in table]
    repeated = [
        name for name, count in Counter(requirement.id for requirement in requirements).items() if count > 1
    ]
    if repeated:
        raise GatewayError(OUR_MISTAKE, f"two requirements have the id {repeated[0]}", "requirements")
    return tuple(requirements)


def select_requirements(only: str | None) -> tuple[Requirement, ...]:
    """Return the requirements whose id matches a glob; all without one."""
    return tuple(
        requirement
        for requirement in read_requirements()
        if only is None or fnmatchcase(requirement.id, only)
    )


def _read_requirement(row: Mapping[str, Any], file: str) -> Requirement:
    unknown = sorted(set(row) - {"send", "expect", *Requirement.__dataclass_fields__})
    if unknown or not {"id", "clause", "title"} <= set(row):
        raise GatewayError(OUR_MISTAKE, f"keys of a row: {unknown}", f"{file}: {row.get('id')}")
    steps = tuple(_read_steps(row, file))
    plain = ("id", "title", "level", "feature", "kind", "agreement", "play")
    values = {name: str(row[name]) for name in plain if name in row}
    requirement = Requirement(
        clause=str(row["clause"]),
        iic=tuple(str(row.get("iic", "")).split()),
        steps=steps,
        arguments=row.get("arguments", {}),
        expectation=str(row.get("expectation") or _describe_steps(steps)),
        **values,
    )
    _check_requirement(requirement, file)
    return requirement


def _check_requirement(requirement: Requirement, file: str) -> None:
    right = requirement.level in LEVELS and requirement.kind in _KINDS and bool(requirement.expectation)
    if not right or (requirement.play == EXCHANGE) != bool(requirement.steps):
        raise GatewayError(OUR_MISTAKE, "level, kind, play or steps are wrong", f"{file}: {requirement.id}")


def _read_steps(row: Mapping[str, Any], file: str) -> Iterable[Step]:
    rows = row.get("steps")
    if rows is None and "expect" in row:
        rows = [{"send": row.get("send", {}), "expect": row["expect"]}]
    for number, step in enumerate(rows or (), 1):
        if set(step) - _STEP_KEYS:
            raise GatewayError(
                OUR_MISTAKE, f"keys of a step: {', '.join(sorted(step))}", f"{file}: {row['id']}"
            )
        checks = tuple(_read_check(check) for check in step.get("expect", ()))
        yield Step(str(step.get("name", number)), _read_message_row(step.get("send", {})), checks)


def _read_message_row(message_row: Any) -> Mapping[str, Any]:
    return {"unit": message_row} if isinstance(message_row, str) else message_row


def _read_check(check: Any) -> tuple[str, Any]:
    if isinstance(check, str):
        return check, None
    ((name, argument),) = check.items()
    return str(name), argument


def _describe_steps(steps: tuple[Step, ...]) -> str:
    """Return the expectations of the last step in words."""
    if not steps:
        return ""
    expectations = [
        name if argument is None else f"{name} {_format_argument(argument)}"
        for name, argument in steps[-1].checks
    ]
    return "; ".join(expectations)


def _format_argument(argument: Any) -> str:
    if isinstance(argument, list):
        return "/".join(str(element) for element in argument)
    if isinstance(argument, dict):
        return " ".join(f"{name}={_format_argument(value)}" for name, value in argument.items())
    return str(argument)


#: The features that a gateway may declare, each with its meaning.
FEATURES: Final[Mapping[str, str]] = {
    "ping": "answers Ping with Pong",
    "status": "answers StatusRequest with StatusResponse",
    "signed-messages": "signs, and verifies what it receives",
    "signed-signals": "signs Acknowledgments when that is asked",
    "back-channel": "answers on the connection of the request when that is agreed",
    "callback": "answers by a POST of its own when that is agreed",
    "per-message": "agreements may leave acknowledgment and duplicate elimination to the sender",
    "agreement-period": "an agreement begins and ends",
    "outbound": "can be made to send a message (key outbound)",
    "restart": "can be restarted during the run (--restart-command)",
    "order": "keeps the order of messages (MessageOrder)",
    "response-only": "sends the business response on the connection (responseOnly)",
    "signals-and-response": "sends Acknowledgment and response in one message (signalsAndResponse)",
    "xml-encryption": "encrypts and decrypts payloads by XML Encryption, AES-GCM and RSA-OAEP",
    "cms-encryption": "encrypts and decrypts payloads as CMS envelopes, AES-GCM and RSA-OAEP",
    "intermediary": "passes messages on to other parties (routes to suite-behind and back)",
}
_PROFILE_KEYS: Final = ("features", "message", "name", "outbound", "patience")
#: The keys of a profile that have a mapping.
_MAPPINGS: Final = ("message", "outbound", "show")


@dataclass(frozen=True, slots=True)
class SuiteProfile:
    """The declarations of a tested gateway.

    `message` has the `action` of the business message that the suite sends, and may have `payload`, a file.
    `outbound` says how the suite makes the gateway send: `reply_to` is an action that the gateway answers
    by a message of its own; `command` is a command, in which ``{conversation}`` and ``{cpa}`` are replaced.
    `patience` is the longest time in seconds until an answer comes.
    """

    name: str = ""
    features: frozenset[str] = frozenset()
    message: Mapping[str, Any] = field(default_factory=dict)
    outbound: Mapping[str, Any] = field(default_factory=dict)
    patience: float = 10.0

    @property
    def action(self) -> str:
        """Return the action of the business message that the suite sends."""
        return str(self.message.get("action", "Store"))


def read_suite_profile(path: Path) -> SuiteProfile:
    """Return the profile in a YAML file; raise GW902 for one that is wrong, GW808 for one that is absent."""
    table = read_profile_table(path, _PROFILE_KEYS, FEATURES)
    return SuiteProfile(
        name=str(table.get("name", "")),
        features=frozenset(table.get("features") or ()),
        message=table.get("message") or {},
        outbound=table.get("outbound") or {},
        patience=float(table.get("patience", 10)),
    )


def read_profile_table(path: Path, keys: Collection[str], features: Collection[str]) -> dict[str, Any]:
    """Return the checked table of a file with the declarations of a tested gateway.

    The table has only names of `keys`, and its list of features only names of `features`. Raises GW902 for a
    wrong table, GW808 for an absent file.
    """
    try:
        table = yaml.safe_load(read_file(path))
    except yaml.YAMLError as mistake:
        raise _make_profile_error(path, f"not YAML: {str(mistake)[:200]}") from None
    if not isinstance(table, dict):
        raise _make_profile_error(path, "a profile is a mapping")
    _check_names(path, "key", table, keys)
    declared = table.get("features") or []
    if not isinstance(declared, list):
        raise _make_profile_error(path, "features is a list of names")
    _check_names(path, "feature", declared, features)
    for key in _MAPPINGS:
        if not isinstance(table.get(key) or {}, dict):
            raise _make_profile_error(path, f"{key} is a mapping")
    patience = table.get("patience", 10)
    if isinstance(patience, bool) or not isinstance(patience, int | float) or not 0.1 <= patience <= 120:
        raise _make_profile_error(path, "patience is 0.1 to 120 seconds")
    return table


def _check_names(path: Path, noun: str, names: Iterable[Any], allowed: Collection[str]) -> None:
    for name in names:
        if str(name) not in allowed:
            raise _make_profile_error(
                path, f"{str(name)[:60]!r} is no {noun}; known are {', '.join(allowed)}"
            )


def _make_profile_error(path: Path, detail: str) -> GatewayError:
    return GatewayError(SUITE_PROFILE_WRONG, detail, str(path))
