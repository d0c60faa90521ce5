"""The terms in which a hub deviates from the document of an agreement, which stays as it was signed.

An override changes the endpoint or the certificates of one party, the retries of messages, or terms that the
document has no element for: where messages are delivered, the policies of signature and encryption, the
authorization of a StatusRequest, a connection and a PullRequest. Its author, time and reason are stored with
it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.agreements.filing_actions import FILING_FUNCTIONS
from gateway.agreements.pmode import PMode, terms_from_json, terms_to_json
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId

_PARTY_TERMS: Final = ("endpoint", "certificate")
#: Terms that stand in a group of the P-Mode: the group, and the name there. A P-Mode without the group
#: has no such term.
_GROUPED_TERMS: Final[Mapping[str, tuple[str, str]]] = {
    # `persist_duration` cannot be overridden: it binds the receiver, and a hub cannot change its partner.
    "retries": ("reliability", "retries"),
    "retry_interval": ("reliability", "retry_interval"),
    "encryption_policy": ("encryption", "policy"),
    "signature_policy": ("security", "policy"),
    "sign_status": ("security", "sign_status"),
    "mutual_tls": ("security", "mutual_tls"),
    "pull_authorization": ("pull", "authorization"),
}
#: The terms whose values are no texts.
_VALUE_TYPES: Final[Mapping[str, type]] = {
    "retries": int,
    "retry_interval": int,
    "sign_status": bool,
    "mutual_tls": bool,
}
OVERRIDDEN_TERMS: Final = (*_PARTY_TERMS, "deliver_to", *_GROUPED_TERMS)


@dataclass(frozen=True, slots=True)
class PModeOverride:
    """One override: `term` of `OVERRIDDEN_TERMS`, of one P-Mode (None: of all), or of one `party`.

    Where messages are delivered is overridden of all P-Modes by which submissions are filed.
    """

    term: str
    value: str | int | bool
    reason: str
    by: str
    at: str
    pmode: str | None = None
    party: tuple[PartyId, ...] = ()

    def __post_init__(self) -> None:
        if self.term not in OVERRIDDEN_TERMS or (self.term in _PARTY_TERMS) != bool(self.party):
            raise GatewayError(
                MISUSE, f"an override must be of {', '.join(OVERRIDDEN_TERMS)}", self.term[:80]
            )
        if type(self.value) is not _VALUE_TYPES.get(self.term, str):
            detail = f"an override of {self.term} cannot be {json.dumps(self.value)[:80]}"
            raise GatewayError(MISUSE, detail, self.term)

    @property
    def key(self) -> tuple[str, str | None, tuple[PartyId, ...]]:
        """Return the overridden term and its scope: a later override of the same replaces this one."""
        return (self.term, self.pmode, self.party)

    def changes_pmode(self, pmode: PMode) -> bool:
        """Return whether the override is of this P-Mode, and the P-Mode has such a term."""
        if self.pmode is None and self.term == "deliver_to":
            return pmode.action in FILING_FUNCTIONS
        if self.term in _GROUPED_TERMS and getattr(pmode, _GROUPED_TERMS[self.term][0]) is None:
            return False
        return self.pmode in (None, pmode.id) and (
            not self.party or self.party in (pmode.from_party, pmode.to_party)
        )


def apply_overrides(pmode: PMode, overrides: Iterable[PModeOverride]) -> PMode:
    """Return the P-Mode as it is in force; raises GW808 for a value that a P-Mode cannot have.

    An override of the P-Mode counts before one of the whole agreement, whichever was set later. A
    certificate is accepted beside those of the document, so that its successor may be used.
    """
    changed_pmode = pmode
    for override in sorted(overrides, key=lambda override: override.pmode is not None):
        if override.changes_pmode(pmode):
            changed_pmode = _apply_override(changed_pmode, override)
    return changed_pmode


def _apply_override(pmode: PMode, override: PModeOverride) -> PMode:
    """Return the P-Mode with one term replaced; a certificate is added to those of the party of `override`.

    An endpoint replaces `endpoint` if that party is the receiver, else `reply_endpoint`.
    """
    changed_fields: dict[str, Any] = {override.term: override.value}
    if override.term == "deliver_to":
        return replace(pmode, **changed_fields)
    if override.term in _GROUPED_TERMS:
        group_name, field_name = _GROUPED_TERMS[override.term]
        return replace(
            pmode, **{group_name: replace(getattr(pmode, group_name), **{field_name: override.value})}
        )
    is_receiver, override_text = override.party == pmode.to_party, str(override.value)
    if override.term == "endpoint":
        changed_fields = (
            {"endpoint": override_text, "endpoints": ()} if is_receiver else {"reply_endpoint": override_text}
        )
        return replace(pmode, **changed_fields)
    field_name = "reply_certificates" if is_receiver else "certificates"
    changed_fields = {field_name: tuple(dict.fromkeys((*getattr(pmode.security, field_name), override_text)))}
    return replace(pmode, security=replace(pmode.security, **changed_fields))


def write_overrides(overrides: Sequence[PModeOverride]) -> list[dict[str, Any]]:
    """Return overrides as plain JSON values."""
    return [terms_to_json(override) for override in overrides]


def read_overrides(json_overrides: Iterable[Mapping[str, Any]] | None) -> tuple[PModeOverride, ...]:
    """Return the overrides that `write_overrides` converted."""
    return tuple(terms_from_json(PModeOverride, override) for override in json_overrides or ())
