"""Rules on what the parts of a CPA refer to, and on parts that nothing refers to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.agreements.cpa.cpa_model import Place
from gateway.agreements.cpa.cpa_rules import CpaFinding
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Found, quote_name
from gateway.agreements.cpa.pmode_conversion import convert_action
from gateway.errors import GatewayError

__all__ = ["REFERENCE_CHECKS"]

#: What belongs to a party; packages and parts belong to both.
_OWNED: Final = ("DeliveryChannel", "Transport", "DocExchange", "Certificate", "SecurityDetails")
_UNUSED: Final = {
    "DeliveryChannel": "channel-unused",
    "Transport": "transport-unused",
    "DocExchange": "exchange-unused",
    "Certificate": "certificate-unused",
    "SecurityDetails": "security-unused",
    "Packaging": "package-unused",
    "SimplePart": "part-unused",
}


def _join_kinds(kinds: Iterable[str]) -> str:
    return " or ".join(kinds)


def _find_wrong_references(view: CpaView) -> Found:
    for place, name, wanted in view.document.references:
        found = view.document.names.get(name)
        if found is None:
            text = f"no {_join_kinds(wanted)} has the id {quote_name(name)}"
            yield CpaFinding("reference-unresolved", place, text)
        elif found[0] not in wanted:
            text = f"{quote_name(name)} is a {found[0]}; expected is a {_join_kinds(wanted)}"
            yield CpaFinding("reference-mistyped", place, text)
        elif found[0] in _OWNED and _get_owner(place) != _get_owner(found[1]):
            text = f"{found[0]} {quote_name(name)} belongs to the other party"
            yield CpaFinding("reference-foreign", place, text)


def _get_owner(place: Place) -> str:
    """Return the step of the path that names the party."""
    return next((step for step in place.xpath.split("/") if step.startswith("tp:PartyInfo")), "")


def _find_unused_parts(view: CpaView) -> Found:
    used = {name for _, name, _ in view.document.references}
    for name, (kind, place) in view.document.names.items():
        rule = _UNUSED.get(kind)
        if rule is not None and name not in used:
            yield CpaFinding(rule, place, f"nothing refers to {kind} {quote_name(name)}")


def _find_foreign_terms(view: CpaView) -> Found:
    for party in view.document.parties:
        for _, binding, _ in party.list_bindings():
            for name in binding.foreign:
                text = f"element {quote_name(name.rpartition('}')[2])} of another namespace is not read"
                yield CpaFinding("terms-foreign", binding.place, text)


def _find_wrong_terms(view: CpaView) -> Found:
    """Convert every action; the rules above say more exactly why it cannot be done, where they can."""
    if view.document.start is None or view.document.end is None or view.document.start >= view.document.end:
        return
    for action in view.actions:
        try:
            convert_action(action)
        except GatewayError as refused:
            yield CpaFinding("terms-wrong", action.binding.place, refused.detail)


REFERENCE_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_wrong_references,
    _find_unused_parts,
    _find_foreign_terms,
)
#: Run when nothing else is wrong.
CONVERSION_CHECKS: Final[tuple[CpaCheck, ...]] = (_find_wrong_terms,)
