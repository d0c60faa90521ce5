"""``gateway pki list import --home`` and ``list held``: the trusted lists that a hub judges by."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cli.options import octets_of
from gateway.cli.settings import looking, print_rows, settings_of
from gateway.hub.assembly import engine_of, terms_of
from gateway.hub.assembly import now as clock
from gateway.hub.trust.lists import Imported, import_list
from gateway.hub.trust.recognition import Lists, Shelf, Terms
from gateway.pki.trust import TrustStore
from gateway.recognition.chains import Recognition
from gateway.store import trust_lists
from gateway.store.migrate import check_version

__all__ = ["show_held", "take"]

_COLUMNS = ("territory", "form", "sequence", "state", "issued", "next_update", "named_by")


def take(arguments: argparse.Namespace, at: datetime) -> Imported:
    """Put the list of a file in force in a home; what is in force there stays when it is refused."""
    settings = settings_of(arguments)
    octets = octets_of(arguments.file)
    terms = terms_of(settings)
    engine = engine_of(settings)
    try:
        check_version(engine)
        return import_list(engine, octets, at, terms)
    finally:
        engine.dispose()


def show_held(arguments: argparse.Namespace) -> int:
    """Print the lists in hand, whether each is in force, and with ``--all`` those before them."""
    settings = settings_of(arguments)
    with looking(arguments) as conn:
        rows = trust_lists.history(conn) if arguments.all else trust_lists.latest(conn)
        states = _states(conn, terms_of(settings), clock())
    told = [_row(row, states.get(row.sha256, "not in force")) for row in rows]
    print_rows(told, as_json=arguments.json, columns=_COLUMNS)
    return 0


def _states(conn: Connection, terms: Terms, at: datetime) -> dict[str, str]:
    """Return of each list in force, by its digest, what it is here."""
    lists: Lists = Shelf().read(conn, terms)
    found = Recognition(TrustStore(()), lists.root, lists.others).in_force(at)
    return {each.sha256: "ours" if each is lists.root else "in force" for each, _ in found}


def _row(row: Row[Any], state: str) -> dict[str, Any]:
    told = dict(row._mapping)
    del told["signer"]
    return told | {"state": state}
