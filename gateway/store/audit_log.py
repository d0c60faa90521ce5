"""Stores the actions of operators and commands, allowed or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, insert, or_, select

from gateway.store.list_filters import ListFilter, ListPage, build_bounds, build_text_condition, fetch_page
from gateway.store.tables import audit

__all__ = ["AuditEntry", "AuditFilter", "find_action", "list_actions", "record_action", "search_actions"]

_INSERT = insert(audit)
_TEXTS: Final = ("actor", "account", "action", "object", "outcome")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An action: actor, object, role, and outcome.

    `actor` is who acted, as told; `account` is the account of the operating system that ran the
    command, None for an action of the gateway itself or of a person of the console. `reason` is why, where
    one is asked for.
    """

    actor: str
    role: str
    action: str
    object: str
    outcome: str = "done"
    remote: str | None = None
    before: Any = None
    after: Any = None
    account: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What actions are wanted: by whom (either name), the verb, and part of the object's name."""

    who: str | None = None
    verb: str | None = None
    what: str | None = None


def record_action(conn: Connection, action: AuditEntry, at: datetime) -> int:
    """Store the action; return the number of its row."""
    done = conn.execute(_INSERT, asdict(action) | {"at": at})
    return int(done.inserted_primary_key[0])  # type: ignore[index]


def list_actions(
    conn: Connection, *, limit: int = 50, before_id: int | None = None, **equal: Any
) -> Sequence[Row[Any]]:
    """Return actions, newest first, whose columns have these values, with an id below `before_id`."""
    found = select(audit).order_by(audit.c.id.desc()).limit(limit)
    for name, value in equal.items():
        found = found.where(audit.c[name] == value)
    return conn.execute(found.where(audit.c.id < before_id) if before_id else found).all()


def search_actions(conn: Connection, wanted: AuditFilter, page: ListFilter) -> ListPage:
    """Return the actions that were asked for, newest first."""
    found = [*_list_conditions(wanted), *build_bounds(page, audit.c.id, audit.c.at, indexed=True)]
    if page.text:
        found.append(build_text_condition(page.text, *(audit.c[name] for name in _TEXTS)))
    return fetch_page(conn, tuple(audit.c), audit, found, page, audit.c.id)


def _list_conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.who is not None:
        conditions.append(or_(audit.c.actor == wanted.who, audit.c.account == wanted.who))
    if wanted.verb is not None:
        # A noun stands for all its verbs.
        verb = audit.c.action
        conditions.append(or_(verb == wanted.verb, verb.startswith(f"{wanted.verb} ", autoescape=True)))
    if wanted.what is not None:
        conditions.append(audit.c.object.contains(wanted.what, autoescape=True))
    return conditions


def find_action(conn: Connection, number: int) -> Row[Any] | None:
    """Return the action of this number."""
    return conn.execute(select(audit).where(audit.c.id == number)).first()
