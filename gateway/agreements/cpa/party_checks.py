"""Rules on the agreement as a whole: status, period, limits, and on who its parties are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from gateway.agreements.cpa.cpa_model import CpaParty, Place
from gateway.agreements.cpa.cpa_rules import CpaFinding
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Found, quote_name
from gateway.agreements.pmode import is_uri
from gateway.agreements.pmode_index import SIGNAL_SERVICE
from gateway.wire import TP

__all__ = ["PARTY_CHECKS"]


def _format_time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _find_status_problems(view: CpaView) -> Found:
    document, place = view.document, view.document.status_place.find_attribute("value")
    if document.status == "proposed":
        yield CpaFinding("status-proposed", place, "the agreement is proposed, not agreed")
    if document.status == "signed" and not document.signatures:
        yield CpaFinding("status-unsigned", place, "the status is signed, and nobody has signed")
    if document.status == "agreed" and document.signatures:
        text = f"the document has {len(document.signatures)} signature(s), and its status is agreed"
        yield CpaFinding("status-signatures", place, text)


def _find_period_problems(view: CpaView) -> Found:
    document = view.document
    for name, found, place in (
        ("Start", document.start, document.start_place),
        ("End", document.end, document.end_place),
    ):
        text = (document.root.findtext(f"{{{TP}}}{name}") or "").strip()
        if found is None:
            message = f"the time {quote_name(text)} does not exist or lies outside of the years 1 to 9999"
            yield CpaFinding("period-unreadable", place, message)
        elif datetime.fromisoformat(text).tzinfo is None:
            yield CpaFinding("period-unzoned", place, f"{text} has no time zone; UTC is taken")
    if document.start is None or document.end is None:
        return
    if document.start >= document.end:
        ends, begins = _format_time(document.end), _format_time(document.start)
        message = f"the agreement ends at {ends}, and begins at {begins}"
        yield CpaFinding("period-reversed", document.end_place, message)
    elif document.end <= view.at:
        message = f"the agreement ended at {_format_time(document.end)}"
        yield CpaFinding("period-ended", document.end_place, message)
    elif document.start > view.at:
        message = f"the agreement begins at {_format_time(document.start)}"
        yield CpaFinding("period-later", document.start_place, message)


def _find_limit_problems(view: CpaView) -> Found:
    document, place = view.document, view.document.constraints_place
    limits = (document.invocation_limit, document.concurrent_conversations)
    if place is None:
        return
    if any(one is not None and one < 0 for one in limits):
        yield CpaFinding("conversation-negative", place, "a number of conversations is not negative")
    elif any(one is not None for one in limits):
        text = "the number of conversations is limited: a message that begins one more is refused"
        yield CpaFinding("conversation-limit", place, text)


def _find_id_problems(view: CpaView) -> Found:
    for party in view.document.parties:
        types: set[str | None] = set()
        for one in party.ids:
            if one.type is None and not is_uri(one.value):
                text = f"PartyId {quote_name(one.value)} has no type and is not a URI"
                yield CpaFinding("party-id-untyped", one.place, text)
            if one.type in types:
                told = quote_name(one.type) if one.type is not None else "no type"
                text = f"party {quote_name(party.name)} has two identifiers of the type {told}"
                yield CpaFinding("party-id-repeated", one.place, text)
            types.add(one.type)
    first, second = view.document.parties
    for one in second.ids:
        if (one.value, one.type) in {(other.value, other.type) for other in first.ids}:
            text = f"both parties are identified as {quote_name(one.value)}"
            yield CpaFinding("party-id-shared", one.place, text)


def _find_name_problems(view: CpaView) -> Found:
    for place, what, text in _list_names(view):
        if text != text.strip() or not text:
            told = f"{what} {quote_name(text)} has white space around it"
            yield CpaFinding("name-white-space", place, told if text.strip() else f"{what} is empty")


def _list_names(view: CpaView) -> Iterator[tuple[Place, str, str]]:
    root = view.document.place
    yield root.find_attribute("cpaid"), "the id of the agreement", view.document.id
    for party in view.document.parties:
        yield from ((one.place, "PartyId", one.value) for one in party.ids)
        yield from _list_role_names(party)


def _list_role_names(party: CpaParty) -> Iterator[tuple[Place, str, str]]:
    for role in party.roles:
        yield role.place, "Role", role.role
        yield role.service_place, "Service", role.service
        for binding, _ in role.list_bindings():
            yield binding.place.find_attribute("action"), "Action", binding.action


def _find_service_problems(view: CpaView) -> Found:
    for party in view.document.parties:
        for role in party.roles:
            service = quote_name(role.service)
            if role.service_type is None and not is_uri(role.service):
                text = f"Service {service} has no type and is not a URI"
                yield CpaFinding("service-untyped", role.service_place, text)
            if role.service == SIGNAL_SERVICE:
                text = f"Service {service} is that of the signals of message handlers"
                yield CpaFinding("service-reserved", role.service_place, text)


def _find_role_problems(view: CpaView) -> Found:
    for action in view.actions:
        if action.role.role == action.other_role.role:
            text = f"both parties are {quote_name(action.role.role)} in {quote_name(action.binding.action)}"
            yield CpaFinding("role-same", action.role.place, text)


def _find_version_problems(view: CpaView) -> Found:
    for party in view.document.parties:
        for exchange in party.exchanges.values():
            for one in (exchange.sender, exchange.receiver):
                if one is not None and one.version != "2.0":
                    text = f"version {quote_name(one.version)} of ebMS is not 2.0"
                    yield CpaFinding("binding-version", one.place.find_attribute("version"), text)


PARTY_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_status_problems,
    _find_period_problems,
    _find_limit_problems,
    _find_id_problems,
    _find_name_problems,
    _find_service_problems,
    _find_role_problems,
    _find_version_problems,
)
