"""What a tested gateway of AS4 declares: features, how it is made to send, and where it is looked into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.conformance.partners import read_file
from gateway.errors import SUITE_PROFILE_WRONG, GatewayError

__all__ = ["FEATURES", "GatewayFacts", "read_gateway_facts"]

#: What a gateway may declare, and what that means.
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
_KEYS: Final = frozenset(("name", "features", "message", "outbound", "patience", "show", "login"))
_COMMANDS: Final = ("delivered", "producer", "consumer", "properties")


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What the tested side declares.

    `outbound` says how it is made to send: `reply_to` an action that it answers by a message of its own, or
    `command` (and `ping`, `utf16`, `several`), in which ``{conversation}`` is replaced. `show` has commands
    that print what is seen inside: `delivered` the SHA-256 of each delivered payload, `producer` and
    `consumer` what they were told, `properties` those of a message; ``{message_id}`` is replaced.
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


def read_gateway_facts(path: Path) -> GatewayFacts:
    """Return the facts in a YAML file; raise GW902 for one that is wrong, GW808 for one that is absent."""
    try:
        table = yaml.safe_load(read_file(path))
    except yaml.YAMLError as mistake:
        raise GatewayError(SUITE_PROFILE_WRONG, f"not YAML: {str(mistake)[:200]}", str(path)) from None
    if not isinstance(table, dict) or not all(
        isinstance(table.get(key) or {}, dict) for key in ("message", "outbound", "show")
    ):
        raise GatewayError(
            SUITE_PROFILE_WRONG, "a profile, message, outbound and show are mappings", str(path)
        )
    unknown = sorted(str(name) for name in set(table) - _KEYS)
    features = table.get("features") or []
    if not isinstance(features, list):
        raise GatewayError(SUITE_PROFILE_WRONG, "features is a list of names", str(path))
    unknown += sorted(str(name) for name in set(map(str, features)) - set(FEATURES))
    if unknown:
        known = f"known are {', '.join(sorted(_KEYS))}; features {', '.join(FEATURES)}"
        raise GatewayError(SUITE_PROFILE_WRONG, f"{unknown[0][:60]!r} is not known; {known}", str(path))
    return GatewayFacts(
        name=str(table.get("name", "")),
        features=frozenset(features),
        action=str((table.get("message") or {}).get("action", "Store")),
        outbound=_read_texts(table.get("outbound")),
        show=_read_texts(table.get("show")),
        patience=_read_patience(table.get("patience", 10), path),
        login=str(table.get("login", GatewayFacts().login)),
    )


def _read_texts(table: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (table or {}).items()}


def _read_patience(value: Any, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= 120:
        raise GatewayError(SUITE_PROFILE_WRONG, "patience is 0.1 to 120 seconds", str(path))
    return float(value)
