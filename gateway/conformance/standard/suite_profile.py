"""The profile of a tested gateway: its optional features, and how it can be made to send and to restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.conformance.partners import read_file
from gateway.errors import SUITE_PROFILE_WRONG, GatewayError

__all__ = ["FEATURES", "SuiteProfile", "read_suite_profile"]

#: What a gateway may declare, and what that means.
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
_KEYS: Final = frozenset(("name", "features", "message", "outbound", "patience"))


@dataclass(frozen=True, slots=True)
class SuiteProfile:
    """What the tested side declares.

    `message` has the `action` of the business message that the suite sends, and may have `payload`, a
    file. `outbound` says how the gateway is made to send: `reply_to` an action to which it answers with
    a message of its own, or `command`, in which ``{conversation}`` is replaced. `patience` is the longest
    time in seconds until an answer comes.
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
    try:
        table = yaml.safe_load(read_file(path))
    except yaml.YAMLError as mistake:
        raise GatewayError(SUITE_PROFILE_WRONG, f"not YAML: {str(mistake)[:200]}", str(path)) from None
    if not isinstance(table, dict):
        raise GatewayError(SUITE_PROFILE_WRONG, "a profile is a mapping", str(path))
    _check_keys(table, path)
    return SuiteProfile(
        name=str(table.get("name", "")),
        features=frozenset(table.get("features") or ()),
        message=table.get("message") or {},
        outbound=table.get("outbound") or {},
        patience=_read_patience(table, path),
    )


def _check_keys(table: Mapping[str, Any], path: Path) -> None:
    for name in table:
        if name not in _KEYS:
            told = f"{str(name)[:60]!r} is no key; known are {', '.join(sorted(_KEYS))}"
            raise GatewayError(SUITE_PROFILE_WRONG, told, str(path))
    features = table.get("features") or []
    if not isinstance(features, list):
        raise GatewayError(SUITE_PROFILE_WRONG, "features is a list of names", str(path))
    for name in features:
        if name not in FEATURES:
            told = f"{str(name)[:60]!r} is no feature; known are {', '.join(FEATURES)}"
            raise GatewayError(SUITE_PROFILE_WRONG, told, str(path))
    for key in ("message", "outbound"):
        if not isinstance(table.get(key) or {}, dict):
            raise GatewayError(SUITE_PROFILE_WRONG, f"{key} is a mapping", str(path))


def _read_patience(table: Mapping[str, Any], path: Path) -> float:
    value = table.get("patience", 10)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= 120:
        raise GatewayError(SUITE_PROFILE_WRONG, "patience is 0.1 to 120 seconds", str(path))
    return float(value)
