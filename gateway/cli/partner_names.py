"""Reports a ``--party`` or ``--agency`` of a list that the hub does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from sqlalchemy import Connection

from gateway.cli.verb_groups import Arguments
from gateway.config import Settings
from gateway.operations import CUSTOMS
from gateway.store import lanes, parties

__all__ = ["check_partner_names"]


def check_partner_names(
    conn: Connection, settings: Settings, arguments: Arguments, rows: Sequence[Any]
) -> None:
    """Report misuse for a list without `rows` whose ``--party`` or ``--agency`` the hub does not know.

    A party of a case need not be registered: what has rows is not questioned.
    """
    given = vars(arguments)
    if rows or given.get("after"):
        return
    party, agency = given.get("party"), given.get("agency")
    if party and party != settings.hub.party and parties.find_party(conn, party) is None:
        raise click.BadParameter(f"no party {party[:80]} is registered", param_hint="'--party'")
    if agency and not _is_known_agency(conn, settings, agency):
        raise click.BadParameter(f"no agency {agency[:80]} is known", param_hint="'--agency'")


def _is_known_agency(conn: Connection, settings: Settings, agency: str) -> bool:
    """Return whether the settings, the lanes, or the mappings in force name an agency."""
    if agency in {*settings.agency, CUSTOMS} or any(
        agency == row.name for row in lanes.summarize_lanes(conn)
    ):
        return True
    from gateway.hub import get_current_time, load_active_rules, load_shipped_rules

    documents = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle.documents
    return any(agency == one.organisation for one in documents.values())
