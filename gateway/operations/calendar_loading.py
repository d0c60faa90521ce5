"""Puts a calendar or terms into force: stores the edition with its evidence, and wakes what waited for it."""

from __future__ import annotations

from gateway.calendars import CalendarEdition, TermEdition
from gateway.errors import CALENDAR_WRONG, GatewayError
from gateway.evidence import record_evidence
from gateway.operations.audited_changes import DatabaseChange
from gateway.store import NewCalendarEdition, calendar_editions, deadlines

__all__ = ["load_calendar_edition"]


def load_calendar_edition(
    change: DatabaseChange, edition: CalendarEdition | TermEdition, content: bytes
) -> bool:
    """Store a checked edition with its audit and evidence; return whether it was not stored already.

    Raises GW709 where the edition of this name is stored with another content: an edition never
    changes, and a correction is an edition of its own. Deadlines that are known stay as they are.
    """
    new = _make_row(edition, content)
    known = calendar_editions.find_edition(change.conn, new.kind, new.name, new.edition)
    if known is not None:
        if known.sha256 != edition.sha256:
            detail = (
                f"the edition {edition.label} was loaded already with another content, at "
                f"{known.loaded_at.isoformat()} by {known.loaded_by}: give the correction another edition"
            )
            raise GatewayError(CALENDAR_WRONG, detail, edition.label)
        change.leave_unchanged()
        return False
    calendar_editions.insert_edition(change.conn, new, change.at, change.by)
    told = {"kind": new.kind, "valid_from": new.valid_from, "valid_until": new.valid_until}
    told |= {"rows": str(new.row_count)}
    record_evidence(change.conn, "calendar", "calendars", edition.label, edition.sha256, told, change.at)
    change.record_change(f"{new.kind} {edition.label}", after=told | {"sha256": edition.sha256})
    deadlines.wake_unknown(change.conn, change.at)
    return True


def _make_row(edition: CalendarEdition | TermEdition, content: bytes) -> NewCalendarEdition:
    is_terms = isinstance(edition, TermEdition)
    return NewCalendarEdition(
        "terms" if is_terms else "calendar",
        edition.name,
        edition.edition,
        edition.valid_from.isoformat(),
        edition.valid_until.isoformat() if edition.valid_until else None,
        len(edition.terms) if isinstance(edition, TermEdition) else len(edition.special),
        edition.sha256,
        content,
    )
