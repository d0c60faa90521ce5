"""Names the destination of a delivery: the partner in the words of the register, and its address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.store import parties

__all__ = [
    "CUSTOMS",
    "Destination",
    "find_destinations",
    "list_party_destinations",
    "load_destinations",
    "name_destination",
]

#: The destination of calls to customs, as in `gateway.hub`, which a list need not load.
CUSTOMS = "customs"


class Destination(NamedTuple):
    """A partner: its name for people, and the address at which it is called; empty where there is none."""

    name: str
    address: str


def load_destinations(conn: Connection, settings: Settings) -> dict[str, Destination]:
    """Return the partners by destination: registered parties, and those that the settings name."""
    names = {row.id: row.name for row in parties.list_parties(conn)}
    found = {party: Destination(name, "") for party, name in names.items()}
    for code, called in {**settings.agency, CUSTOMS: settings.customs}.items():
        found[code] = Destination(names.get(called.party or code, code), called.endpoint or "")
    return found


def name_destination(known: Mapping[str, Destination], delivery: Mapping[str, Any]) -> Destination:
    """Return the destination of a delivery; a message has its address with it."""
    code = delivery["destination"]
    partner = known.get(code, Destination(code, ""))
    name = partner.name if partner.name == code else f"{partner.name} ({code})"
    if delivery["agent"] not in ("soap", "msh"):
        return Destination(code, "")
    address = delivery["parameters"].get("endpoint") if delivery["agent"] == "msh" else partner.address
    return Destination(name, str(address or ""))


def list_party_destinations(settings: Settings, party: str) -> tuple[str, ...]:
    """Return the destinations at which a party is called as an agency or as customs."""
    called = {**settings.agency, CUSTOMS: settings.customs}
    return tuple(code for code, one in called.items() if party == (one.party or code))


def find_destinations(known: Mapping[str, Destination], text: str) -> tuple[str, ...]:
    """Return the destinations whose name or address contains a text."""
    part = text.casefold()
    return tuple(code for code, one in known.items() if any(part in word.casefold() for word in one))
