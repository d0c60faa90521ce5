"""Agencies at the console: switched there and back by an operator, and what is wrong with their keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.errors import MISUSE, SIGNER_MISMATCH, TRANSITION_REFUSED, GatewayError
from gateway.hub import (
    ConsoleSwitch,
    Hub,
    load_agency_signer,
    switch_agency_back,
    switch_agency_to_console,
)
from gateway.operations.audited_changes import DatabaseChange
from gateway.operations.display_zone import format_moment
from gateway.store import console_switches, officer_acts

__all__ = ["find_agency_key_problems", "list_console_switches", "list_waiting_acts", "switch_agency"]

#: An act that is intended longer than this waits for something: the console performs it at once.
_SOON: Final = timedelta(minutes=1)


def switch_agency(change: DatabaseChange, agency: str, *, back: bool) -> ConsoleSwitch:
    """Switch an agency to the console, or back to its own system, for the reason of the act.

    Raises GW808 for an agency without a section in the settings, GW705 when there is nothing to switch,
    and GW803 without the agency's key, with which its officers' acts are signed.
    """
    section = change.settings.agency.get(agency)
    if section is None:
        raise GatewayError(MISUSE, f"the settings have no section [agency.{agency[:40]}]", "agency")
    if section.console:
        detail = f"agency {agency} has no system of its own: the settings say console = true"
        raise GatewayError(TRANSITION_REFUSED, detail, f"agency.{agency}.console")
    if not back:
        load_agency_signer(change.settings, agency)
    before = _describe_switch(change.conn, agency)
    act = switch_agency_back if back else switch_agency_to_console
    done = act(change.conn, agency, change.at, change.by, change.act.reason or "")
    change.record_change(f"agency {agency}", before=before, after=_describe_switch(change.conn, agency))
    return done


def _describe_switch(conn: Connection, agency: str) -> dict[str, Any]:
    row = console_switches.find_switch(conn, agency)
    if row is None:
        return {"at_console": False}
    return {"at_console": True, "since": row.since, "switched_by": row.switched_by, "reason": row.reason}


def list_console_switches(conn: Connection) -> list[str]:
    """Return each agency that is switched to the console in words: by whom, since when and why."""
    return [
        f"agency {row.agency} is switched to the console by {row.switched_by} since "
        f"{format_moment(row.since)}: {row.reason}"
        for row in console_switches.list_switches(conn)
    ]


def list_waiting_acts(conn: Connection, now: datetime) -> list[str]:
    """Return each act of an officer that was intended a minute ago and is not performed, in words."""
    return [
        f"act {row.id} of {row.name} ({row.kind}, agency {row.agency}) was intended at "
        f"{format_moment(row.issued_at)} and is not performed: is the console running, and the key there?"
        for row in officer_acts.list_intended(conn)
        if row.issued_at is not None and now - row.issued_at > _SOON
    ]


def find_agency_key_problems(settings: Settings, hub: Hub) -> Iterator[GatewayError]:
    """Yield a problem for each key of an agency that cannot sign, or that is not registered for it."""
    known = hub.refresh_snapshot()
    for agency, section in sorted(settings.agency.items()):
        if not section.pki.names_key:
            continue
        try:
            signer = load_agency_signer(settings, agency)
            signer.sign(b"gateway check")
            owner = known.find_certificate_party(signer.certificate.sha256, hub.clock())
        except GatewayError as problem:
            yield GatewayError(problem.problem, problem.detail, f"agency.{agency}.pki")
            continue
        # What officers do is believed as a call of this agency: the certificate must be the agency's.
        if owner != agency:
            detail = f"the certificate of the key is registered for {owner or 'no party'}, not for {agency}"
            yield GatewayError(SIGNER_MISMATCH, detail, f"agency.{agency}.pki")
