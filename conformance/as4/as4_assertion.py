"""The assertions that a profile of AS4 makes about a gateway, and the declarations of a tested gateway.

The assertions of a profile are YAML, ``conformance/suites/as4/assertions/PROFILE.yaml``. Each assertion has
its clause, the message that is sent, and the conditions that must hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway_conformance import DATA_FOLDER
from gateway_conformance.standard import read_profile_table

_SIDES: Final = ("receives", "sends")
_EXPECTATIONS: Final = {
    "": "",
    "receipt": "a signed receipt of every digest in the HTTP answer",
    "error": "an error of ebMS in the HTTP answer",
    "refused": "an error of ebMS or a SOAP Fault, and no receipt",
}
_LISTS: Final = ("codes", "checks", "also")
_SUFFIX: Final = ".yaml"


@dataclass(frozen=True, slots=True)
class Assertion:
    """One row of a table.

    `side` says whether the gateway receives or sends. `send` describes the message of the suite. `expect`
    is the expected answer of the gateway, with one of the error `codes`; `also` are further checks of the
    answer. `checks` are the checks of a message that the gateway sends. `delivered` says which payloads the
    gateway's consumer must have received, `consumer` that the gateway must notify its consumer.
    """

    id: str
    clause: str
    title: str
    side: str
    level: str = "required"
    kind: str = "positive"
    feature: str = ""
    play: str = ""
    expect: str = ""
    delivered: str = ""
    consumer: str = ""
    codes: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    send: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expectation(self) -> str:
        """Return the expectation in words: the answer, the codes, the checks and the play."""
        expectation = _EXPECTATIONS[self.expect]
        parts = [expectation, *self.codes, *self.also, *self.checks, self.play]
        return "; ".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """Return the assertion as a JSON object."""
        names = ("id", "clause", "title", "level", "feature", "kind", "side", "play", "expectation")
        return {name: getattr(self, name) for name in names}


@cache
def list_assertion_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that have a table."""
    folder = DATA_FOLDER.joinpath("suites", "as4", "assertions")
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in folder.iterdir()))


@cache
def _read_assertions(profile: str) -> tuple[Assertion, ...]:
    folder = DATA_FOLDER.joinpath("suites", "as4", "assertions")
    rows = yaml.safe_load(folder.joinpath(profile + _SUFFIX).read_text(encoding="utf-8"))
    assertions = tuple(_read_assertion(row) for row in rows)
    repeated = [
        name for name, count in Counter(assertion.id for assertion in assertions).items() if count > 1
    ]
    if repeated:
        raise GatewayError(OUR_MISTAKE, f"two assertions have the id {repeated[0]}", profile)
    return assertions


def _read_assertion(row: Mapping[str, Any]) -> Assertion:
    if set(row) - set(Assertion.__dataclass_fields__):
        raise GatewayError(OUR_MISTAKE, f"keys of a row: {', '.join(sorted(row))}", str(row.get("id")))
    lists = {name: tuple(row[name]) for name in _LISTS if name in row}
    assertion = Assertion(**{**row, **lists})
    if assertion.side not in _SIDES or assertion.expect not in _EXPECTATIONS or not assertion.expectation:
        raise GatewayError(OUR_MISTAKE, "side, expect, checks or play are wrong", assertion.id)
    return assertion


def select_assertions(profile: str, only: str | None) -> tuple[Assertion, ...]:
    """Return the assertions of a profile whose id matches a glob; all without one."""
    return tuple(
        assertion
        for assertion in _read_assertions(profile)
        if only is None or fnmatchcase(assertion.id, only)
    )


#: The features that a gateway may declare, each with its meaning.
FEATURES: Final[Mapping[str, str]] = {
    "two-way": "answers a message by one of its own (Two-Way push-and-push)",
    "several-payloads": "can be made to send a message with a leading XML document and two more payloads",
    "test-service": "takes messages of the test service, and delivers them to nobody",
    "ping": "can be made to send a message of the test service (outbound.ping)",
    "utf-16": "can be made to send an XML payload in UTF-16 (outbound.utf16)",
    "delivered": "shows what it has delivered (key delivered)",
    "producer": "shows what it has told the producer of a message (key producer)",
    "consumer": "shows what it has told the consumer (key consumer)",
    "properties": "shows the properties of a message (key properties)",
    "pull": "gives its messages to who pulls them (agreement pull)",
    "pull-login": "gives its messages to who pulls them with a name and a password (agreement login)",
    "callback": "posts receipts and errors where that is agreed (agreement callback)",
    "two-way-sync": "gives its response in the HTTP answer to the request (agreement sync)",
}
_KEYS: Final = ("features", "login", "message", "name", "outbound", "patience", "show")
_COMMANDS: Final = ("delivered", "producer", "consumer", "properties")


@dataclass(frozen=True, slots=True)
class GatewayDeclarations:
    """The declarations of a tested gateway.

    `outbound` says how the suite makes the gateway send: `reply_to` is an action that the gateway answers
    by a message of its own; `command` (and `ping`, `utf16`, `several`) is a command, in which
    ``{conversation}`` is replaced. `show` has commands that print data from inside the gateway, in which
    ``{message_id}`` is replaced: `delivered` prints the SHA-256 of each delivered payload, `producer` and
    `consumer` the notifications that each of them received, `properties` the properties of a message.
    `patience` is in seconds. `login` is the name by which the suite pulls with its password.
    """

    name: str = ""
    features: frozenset[str] = frozenset()
    action: str = "Store"
    outbound: Mapping[str, str] = field(default_factory=dict)
    show: Mapping[str, str] = field(default_factory=dict)
    patience: float = 10.0
    login: str = "suite-as4"

    def has_feature(self, name: str) -> bool:
        """Return whether a feature is declared, with the command that it needs."""
        return not name or (name in self.features and (name not in _COMMANDS or name in self.show))


def read_gateway_declarations(path: Path) -> GatewayDeclarations:
    """Return the facts in a YAML file; raise GW902 for one that is wrong, GW808 for one that is absent."""
    table = read_profile_table(path, _KEYS, FEATURES)
    return GatewayDeclarations(
        name=str(table.get("name", "")),
        features=frozenset(table.get("features") or ()),
        action=str((table.get("message") or {}).get("action", "Store")),
        outbound=_read_text_values(table.get("outbound")),
        show=_read_text_values(table.get("show")),
        patience=float(table.get("patience", 10)),
        login=str(table.get("login", GatewayDeclarations().login)),
    )


def _read_text_values(table: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (table or {}).items()}
