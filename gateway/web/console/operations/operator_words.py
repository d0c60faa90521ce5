"""Words of operators in the language of the reader: states, acts, lanes."""

from __future__ import annotations

from typing import Any

from gateway.web.console.page_translations import translate

__all__ = ["describe_state", "name_act", "name_lane_state"]

_KINDS = {
    **dict.fromkeys(("DELIVERED", "CLOSED", "PROCESSED", "ACTIVE_PARTY", "DONE", "APPROVED"), "good"),
    **dict.fromkeys(("FAILED", "REFUSED", "SUSPENDED", "STRANDED", "REJECTED"), "bad"),
    **dict.fromkeys(("HELD", "QUEUED", "AWAITING_RECEIPT", "PENDING", "PARTIAL"), "warn"),
}
_SIGNS = {"good": "✓", "bad": "✗", "warn": "!", "idle": "–"}


def describe_state(state: Any) -> tuple[str, str]:
    """Return the kind of a state, and the sign that stands before its word."""
    kind = _KINDS.get(str(state), "idle")
    return kind, _SIGNS[kind]


def name_act(words: str) -> str:
    """Return an act in the language of the reader."""
    return {
        "queue try": translate("Try now"),
        "queue hold": translate("Hold"),
        "queue release": translate("Release"),
        "queue requeue": translate("Queue again"),
        "queue cancel": translate("Cancel delivery"),
        "agency console": translate("Decide at the console"),
        "agency back": translate("Back to its own system"),
        "party suspend": translate("Suspend party"),
        "party resume": translate("Resume party"),
        "agreement load": translate("Load agreement"),
        "agreement suspend": translate("Suspend agreement"),
        "map use": translate("Use mappings"),
        "account role": translate("Change roles"),
        "fees waive": translate("Waive fee"),
        "fees settle": translate("Paid elsewhere"),
    }.get(words, words)


def name_lane_state(state: str) -> tuple[str, str, str]:
    """Return the kind, the sign and the word of the state of a lane."""
    return {
        "held": ("warn", "!", translate("Held by an operator")),
        "open": ("bad", "✗", translate("Partner is away")),
        "failing": ("bad", "✗", translate("Has failed deliveries")),
        "waiting": ("idle", "–", translate("Waiting")),
        "good": ("good", "✓", translate("In order")),
    }[state]
