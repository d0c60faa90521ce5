"""Stores the actions of operators and commands, allowed or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import Column, ColumnElement, Connection, Index, Table, Text, func, or_, select

from gateway.store.list_filters import ListFilter, ListPage, build_bounds, build_text_condition, fetch_page
from gateway.store.postgresql_connections import acquire_named_locks
from gateway.store.prepared_statements import insert_row
from gateway.store.table_types import Instant, Json, make_identity_column, make_required_column, metadata

audit = Table(
    "audit",
    metadata,
    make_identity_column(),
    make_required_column("at", Instant),
    make_required_column("actor"),
    make_required_column("role"),
    make_required_column("action"),
    make_required_column("object"),
    make_required_column("outcome"),
    Column("remote", Text),
    Column("before", Json),
    Column("after", Json),
    Column("account", Text),
    Column("reason", Text),
    Index("ix_audit_at", "at"),
)


class AuditRow(Protocol):
    """A row of the table `audit`."""

    id: int
    at: datetime
    actor: str
    role: str
    action: str
    object: str
    outcome: str
    remote: str | None
    before: Any
    after: Any
    account: str | None
    reason: str | None


_SEARCHED_COLUMNS: Final = ("actor", "account", "action", "object", "outcome")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An action: actor, object, role, and outcome.

    `actor` is the stated name of the person who acted; `account` is the account of the operating system that
    ran the command, None for an action of the gateway itself or of a person at the console. `reason` is the
    reason that the person gave, if one is required.
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
    """The conditions on audit entries: person (either name), verb, and part of the object's name."""

    person: str | None = None
    verb: str | None = None
    object_name: str | None = None


def record_action(conn: Connection, action: AuditEntry, at: datetime) -> int:
    """Store the action; return the number of its row."""
    return insert_row(conn, audit, asdict(action) | {"at": at})


def count_actions(conn: Connection, role: str, action: str, since: datetime) -> int:
    """Return how often an action was done or proposed in a role since a time.

    Other counts wait until the commit.
    """
    acquire_named_locks(conn, f"{action} of {role}")
    c = audit.c
    was_begun = c.outcome.in_(("done", "proposed"))
    counted = select(func.count()).where(c.at >= since, c.role == role, c.action == action, was_begun)
    return int(conn.execute(counted).scalar_one())


def search_actions(conn: Connection, criteria: AuditFilter, list_filter: ListFilter) -> ListPage:
    """Return one page of the actions that meet the criteria, newest first."""
    conditions = [
        *_list_conditions(criteria),
        *build_bounds(list_filter, audit.c.id, audit.c.at, has_time_index=True),
    ]
    if list_filter.text:
        conditions.append(
            build_text_condition(list_filter.text, *(audit.c[name] for name in _SEARCHED_COLUMNS))
        )
    return fetch_page(conn, tuple(audit.c), audit, conditions, list_filter, audit.c.id)


def _list_conditions(criteria: AuditFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of `criteria`; a verb that is a noun alone stands for all verbs of this noun."""
    conditions: list[ColumnElement[bool]] = []
    if criteria.person is not None:
        conditions.append(or_(audit.c.actor == criteria.person, audit.c.account == criteria.person))
    if criteria.verb is not None:
        # A noun stands for all its verbs.
        verb = audit.c.action
        conditions.append(or_(verb == criteria.verb, verb.startswith(f"{criteria.verb} ", autoescape=True)))
    if criteria.object_name is not None:
        conditions.append(audit.c.object.contains(criteria.object_name, autoescape=True))
    return conditions


def find_action(conn: Connection, action_id: int) -> AuditRow | None:
    """Return the action of this number."""
    return conn.execute(select(audit).where(audit.c.id == action_id)).first()
