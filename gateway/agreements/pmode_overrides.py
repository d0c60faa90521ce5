"""What a hub does differently from the document of an agreement, which stays as it was signed.

An override changes the endpoint or the certificates of one party, the retries of messages, or the
policy of their encryption. Who set it, when and why is kept with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.agreements.pmode import PMode
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId

__all__ = ["OVERRIDDEN_TERMS", "PModeOverride", "apply_overrides", "read_overrides", "write_overrides"]

OVERRIDDEN_TERMS: Final = ("endpoint", "certificate", "retries", "retry_interval", "encryption_policy")
_OF_A_PARTY: Final = ("endpoint", "certificate")


@dataclass(frozen=True, slots=True)
class PModeOverride:
    """One override: `term` of `OVERRIDDEN_TERMS`, of one P-Mode (None: of all), or of one `party`."""

    term: str
    value: str | int
    reason: str
    by: str
    at: str
    pmode: str | None = None
    party: tuple[PartyId, ...] = ()

    def __post_init__(self) -> None:
        if self.term not in OVERRIDDEN_TERMS or (self.term in _OF_A_PARTY) != bool(self.party):
            raise GatewayError(MISUSE, f"an override is of {', '.join(OVERRIDDEN_TERMS)}", self.term[:80])

    @property
    def key(self) -> tuple[str, str | None, tuple[PartyId, ...]]:
        """Return what is overridden: a later override of the same replaces this one."""
        return (self.term, self.pmode, self.party)

    def changes_pmode(self, pmode: PMode) -> bool:
        """Return whether the override is of this P-Mode."""
        return self.pmode in (None, pmode.id) and (
            not self.party or self.party in (pmode.from_party, pmode.to_party)
        )


def apply_overrides(pmode: PMode, overrides: Iterable[PModeOverride]) -> PMode:
    """Return the P-Mode as it is in force; raises GW808 for a value that a P-Mode cannot have.

    An override of the P-Mode counts before one of the whole agreement, whichever was set later. A
    certificate is accepted beside those of the document, so that its successor may be used.
    """
    found = pmode
    for one in sorted(overrides, key=lambda one: one.pmode is not None):
        if one.changes_pmode(pmode):
            found = _apply_override(found, one)
    return found


def _apply_override(pmode: PMode, one: PModeOverride) -> PMode:
    changed: dict[str, Any] = {one.term: one.value}
    if one.term in ("retries", "retry_interval"):
        # The memory of the receiver stays as the document has it: a hub cannot change its partner's.
        return replace(pmode, reliability=replace(pmode.reliability, **changed))
    if one.term == "encryption_policy":
        known = pmode.encryption
        return pmode if known is None else replace(pmode, encryption=replace(known, policy=str(one.value)))
    receives, value = one.party == pmode.to_party, str(one.value)
    if one.term == "endpoint":
        changed = {"endpoint": value, "endpoints": ()} if receives else {"reply_endpoint": value}
        return replace(pmode, **changed)
    name = "reply_certificates" if receives else "certificates"
    changed = {name: tuple(dict.fromkeys((*getattr(pmode.security, name), value)))}
    return replace(pmode, security=replace(pmode.security, **changed))


def write_overrides(overrides: Sequence[PModeOverride]) -> list[dict[str, Any]]:
    """Return overrides as plain JSON values."""
    return [
        {
            "term": one.term,
            "value": one.value,
            "pmode": one.pmode,
            "party": [[name.value, name.type] for name in one.party],
            "reason": one.reason,
            "by": one.by,
            "at": one.at,
        }
        for one in overrides
    ]


def read_overrides(stored: Iterable[Mapping[str, Any]] | None) -> tuple[PModeOverride, ...]:
    """Return the overrides that `write_overrides` converted."""
    return tuple(
        PModeOverride(**{**one, "party": tuple(PartyId(value, kind) for value, kind in one["party"])})
        for one in stored or ()
    )
