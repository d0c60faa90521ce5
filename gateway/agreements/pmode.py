"""The P-Mode: the terms that two parties agreed for one service and action, in one direction.

A P-Mode does not depend on which side is ours: it refers to the From and the To party. A
reader of CPAs or other agreements would produce this type too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from gateway.errors import MISUSE, GatewayError
from gateway.message_model import Party, PartyId

__all__ = [
    "CHOICES",
    "DESTINATIONS",
    "POLICIES",
    "PROTOCOLS_KNOWN",
    "SYNC_REPLY_MODES",
    "PMode",
    "Reliability",
    "Security",
    "is_uri",
    "parse_instant",
    "pmode_from_json",
    "pmode_to_json",
]

CHOICES: Final = ("always", "never", "per_message")
SYNC_REPLY_MODES: Final = ("none", "mshSignalsOnly", "signalsOnly", "responseOnly", "signalsAndResponse")
POLICIES: Final = ("strict", "legacy-norway")
PROTOCOLS_KNOWN: Final = ("ebms2", "as4")
DESTINATIONS: Final = ("case", "mailbox")

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENDPOINT = re.compile(r"https?://[^\s/?#]+[^\s#]*")
_MAX_RETRIES: Final = 100
_MAX_SECONDS: Final = 366 * 24 * 3600
_MAX_TEXT: Final = 1024


def is_uri(text: str) -> bool:
    """Return whether `text` is an absolute URI, as an untyped PartyId or Service must be."""
    return _URI.fullmatch(text) is not None


def parse_instant(text: str, location: str) -> datetime:
    """Return the UTC time of an ISO 8601 `text` with a time zone; raise GW808."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as mistake:
        raise GatewayError(MISUSE, f"{text[:60]!r} is not a date and time", location) from mistake
    if moment.tzinfo is None:
        raise GatewayError(MISUSE, f"{text[:60]!r} lacks its time zone", location)
    return moment.astimezone(UTC)


def _require_condition(held: bool, detail: str, location: str) -> None:
    if not held:
        raise GatewayError(MISUSE, detail, location)


@dataclass(frozen=True, slots=True)
class Security:
    """The signers and the signature policy.

    `certificates` (SHA-256, hexadecimal) pins the signers of messages of the From party,
    `reply_certificates` those of the signals in reply; if empty, the register of parties
    decides. `sign_status`: where messages are signed, only a signed StatusRequest is
    answered; it is false for partners whose handler cannot sign one. `mutual_tls`: incoming
    messages are accepted only over TLS with a client certificate of their sender.
    """

    sign: bool = True
    policy: str = "strict"
    mutual_tls: bool = False
    sign_status: bool = True
    certificates: tuple[str, ...] = ()
    reply_certificates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_condition(
            self.policy in POLICIES, f"policy is one of {', '.join(POLICIES)}", "security/policy"
        )
        for name, pins in (
            ("certificates", self.certificates),
            ("reply_certificates", self.reply_certificates),
        ):
            for pin in pins:
                _require_condition(
                    _SHA256.fullmatch(pin) is not None,
                    "a pin is 64 lower-case hex digits",
                    f"security/{name}",
                )

    @property
    def needs_signed_status(self) -> bool:
        """Return whether a StatusRequest must be signed (ebMS 2.0 §7.1.1 leaves this to the agreement)."""
        return self.sign and self.sign_status


@dataclass(frozen=True, slots=True)
class Reliability:
    """Acknowledgments, duplicate elimination and retries (ebMS 2.0 chapter 6); intervals in seconds."""

    ack_requested: str = "always"
    ack_signed: str = "always"
    duplicate_elimination: str = "always"
    retries: int = 3
    retry_interval: int = 300
    persist_duration: int = 432_000

    def __post_init__(self) -> None:
        for name in ("ack_requested", "ack_signed", "duplicate_elimination"):
            value = getattr(self, name)
            _require_condition(
                value in CHOICES, f"{name} is one of {', '.join(CHOICES)}", f"reliability/{name}"
            )
        _require_condition(
            0 <= self.retries <= _MAX_RETRIES, f"retries is 0 to {_MAX_RETRIES}", "reliability/retries"
        )
        for name in ("retry_interval", "persist_duration"):
            value = getattr(self, name)
            _require_condition(
                0 < value <= _MAX_SECONDS, f"{name} is 1 to {_MAX_SECONDS} seconds", f"reliability/{name}"
            )
        # ebMS 2.0 §6.4.6: a receiver that forgets a message while the sender still repeats it delivers it
        # twice.
        _require_condition(
            self.persist_duration >= self.time_to_live,
            "persist_duration must last for all repeats: (retries + 1) x retry_interval",
            "reliability/persist_duration",
        )

    @property
    def time_to_live(self) -> int:
        """Return the number of seconds within which all repeats are sent."""
        return (self.retries + 1) * self.retry_interval


@dataclass(frozen=True, slots=True)
class PMode:
    """One direction of one action of an agreement.

    `endpoint` is the URL of the To party's handler, `reply_endpoint` that of the From party
    (for signals that are not sent in the answer). `deliver_to` names the application of the
    hub that receives the message when the To party is the hub.
    """

    id: str
    agreement: str
    from_party: tuple[PartyId, ...]
    to_party: tuple[PartyId, ...]
    service: str
    action: str
    valid_from: datetime
    valid_until: datetime
    protocol: str = "ebms2"
    service_type: str | None = None
    from_role: str | None = None
    to_role: str | None = None
    security: Security = field(default_factory=Security)
    reliability: Reliability = field(default_factory=Reliability)
    sync_reply_mode: str = "none"
    endpoint: str | None = None
    reply_endpoint: str | None = None
    deliver_to: str = "mailbox"

    def __post_init__(self) -> None:
        _check_names(self)
        _check_parties(self)
        for name in ("endpoint", "reply_endpoint"):
            url = getattr(self, name)
            _require_condition(
                url is None or _ENDPOINT.fullmatch(url) is not None, f"{name} is an http(s) URL", name
            )
        _require_condition(
            self.valid_from < self.valid_until, "valid_until lies before valid_from", "valid_until"
        )

    @property
    def sender(self) -> Party:
        """Return the From party as named in a header of this P-Mode."""
        return Party(self.from_party, self.from_role)

    @property
    def receiver(self) -> Party:
        """Return the To party as named in a header of this P-Mode."""
        return Party(self.to_party, self.to_role)

    def is_in_force(self, at: datetime) -> bool:
        """Return whether the agreement is in force at the time `at`."""
        return self.valid_from <= at < self.valid_until


def _check_names(pmode: PMode) -> None:
    for name in ("id", "agreement", "service", "action"):
        value = getattr(pmode, name)
        _require_condition(
            bool(value) and value == value.strip() and len(value) <= _MAX_TEXT,
            f"{name} is a short text",
            name,
        )
    _require_condition(
        pmode.protocol in PROTOCOLS_KNOWN, f"protocol is one of {', '.join(PROTOCOLS_KNOWN)}", "protocol"
    )
    _require_condition(
        pmode.sync_reply_mode in SYNC_REPLY_MODES, "sync_reply_mode is not one of ebMS 2.0", "sync_reply_mode"
    )
    _require_condition(
        pmode.deliver_to in DESTINATIONS, f"deliver_to is one of {', '.join(DESTINATIONS)}", "deliver_to"
    )
    # ebMS 2.0 §3.1.4.1: a Service without type is a URI.
    _require_condition(
        pmode.service_type is not None or is_uri(pmode.service), "a service without type is a URI", "service"
    )


def _check_parties(pmode: PMode) -> None:
    for name, ids in (("from", pmode.from_party), ("to", pmode.to_party)):
        _require_condition(bool(ids), f"the {name} party has no id", name)
        for one in ids:
            _require_condition(
                bool(one.value) and one.value == one.value.strip(), "a party id is empty", name
            )
            # ebMS 2.0 §3.1.1.1: a PartyId without type is a URI.
            _require_condition(
                one.type is not None or is_uri(one.value), "a party id without type is a URI", name
            )
        types = [one.type for one in ids]
        _require_condition(len(set(types)) == len(types), "two ids of one party have the same type", name)
    _require_condition(not set(pmode.from_party) & set(pmode.to_party), "both parties have the same id", "to")


def pmode_to_json(pmode: PMode) -> dict[str, object]:
    """Return `pmode` as plain JSON values, the form in which it is stored."""
    security, reliability = pmode.security, pmode.reliability
    return {
        "id": pmode.id,
        "agreement": pmode.agreement,
        "protocol": pmode.protocol,
        "from_party": [[one.value, one.type] for one in pmode.from_party],
        "from_role": pmode.from_role,
        "to_party": [[one.value, one.type] for one in pmode.to_party],
        "to_role": pmode.to_role,
        "service": pmode.service,
        "service_type": pmode.service_type,
        "action": pmode.action,
        "valid_from": pmode.valid_from.isoformat(),
        "valid_until": pmode.valid_until.isoformat(),
        "security": {
            "sign": security.sign,
            "policy": security.policy,
            "mutual_tls": security.mutual_tls,
            "sign_status": security.sign_status,
            "certificates": list(security.certificates),
            "reply_certificates": list(security.reply_certificates),
        },
        "reliability": {name: getattr(reliability, name) for name in Reliability.__dataclass_fields__},
        "sync_reply_mode": pmode.sync_reply_mode,
        "endpoint": pmode.endpoint,
        "reply_endpoint": pmode.reply_endpoint,
        "deliver_to": pmode.deliver_to,
    }


def _read_security(data: dict[str, Any]) -> Security:
    for name in ("certificates", "reply_certificates"):
        data[name] = tuple(data[name])
    return Security(**data)


def pmode_from_json(data: Mapping[str, object]) -> PMode:
    """Return the P-Mode that `pmode_to_json` converted to `data`; raise GW808 for anything else."""
    values: dict[str, Any] = dict(data)
    try:
        for name in ("from_party", "to_party"):
            values[name] = tuple(PartyId(value, kind) for value, kind in values[name])
        for name in ("valid_from", "valid_until"):
            values[name] = parse_instant(values[name], name)
        values["security"] = _read_security(dict(values["security"]))
        values["reliability"] = Reliability(**values["reliability"])
        return PMode(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as mistake:
        detail = "the stored P-Mode has another form"
        raise GatewayError(MISUSE, detail, str(data.get("id", ""))) from mistake
