"""Adds the roll-up of rows by state, and the triggers that keep it in the transaction of each change.

A trigger counts what code of the version before writes, too. The tables that are counted take no writes
while this migration counts what they have.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0080"
down_revision = "0078"
branch_labels = None
depends_on = None

#: Of each measure: the table, the columns of its two labels, and the condition of a row that counts.
_OPEN = "{row}.problem IS NOT NULL AND {row}.state NOT IN ('DELIVERED', 'CANCELLED')"
MEASURES: Final = {
    "messages": ("messages", "direction", "state", ""),
    "cases": ("cases", "outcome", "state", ""),
    "requests": ("agency_requests", "agency", "state", ""),
    "deliveries": ("deliveries", "lane", "state", ""),
    "problems": ("deliveries", "problem", "state", _OPEN),
}


def upgrade() -> None:
    """Make tables and triggers, and count."""
    op.create_table(
        "state_totals",
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("measure", "label", "state", name=op.f("pk_state_totals")),
    )
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "state_changes",
        sa.Column("id", key, sa.Identity(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_state_changes")),
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for measure in MEASURES:
        for statement in _write_sqlite_triggers(measure) if sqlite else _write_postgresql_triggers(measure):
            op.execute(statement)
    for statement in write_counts():
        op.execute(statement)


def write_counts() -> tuple[str, ...]:
    """Return the statements that count every row anew."""
    return ("DELETE FROM state_changes", "DELETE FROM state_totals", *map(_write_count, MEASURES))


def _write_count(measure: str) -> str:
    table, label, state, condition = MEASURES[measure]
    where = f" WHERE {condition.format(row=table)}" if condition else ""
    # Names of our own tables and columns.
    return (
        "INSERT INTO state_totals (measure, label, state, number) "  # noqa: S608
        f"SELECT '{measure}', COALESCE({label}, ''), {state}, COUNT(*) FROM {table}{where} GROUP BY 2, 3"
    )


def _differs(measure: str, other: str) -> str:
    _, label, state, condition = MEASURES[measure]
    changed = f"OLD.{label} {other} NEW.{label} OR OLD.{state} {other} NEW.{state}"
    if not condition:
        return changed
    return f"({changed}) AND (OLD.{label} IS NOT NULL OR NEW.{label} IS NOT NULL)"


def _write_sqlite_triggers(measure: str) -> list[str]:
    table, label, state, condition = MEASURES[measure]

    def add(row: str, number: int) -> str:
        where = condition.format(row=row) if condition else "true"
        return (
            "INSERT INTO state_totals (measure, label, state, number) "
            f"SELECT '{measure}', COALESCE({row}.{label}, ''), {row}.{state}, {number} WHERE {where} "
            "ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number;"
        )

    def write(name: str, event: str, when: str, *acts: str) -> str:
        condition_of_row = f" WHEN {when}" if when else ""
        start = f"CREATE TRIGGER count_{measure}_{name} AFTER {event} ON {table}{condition_of_row}"
        return f"{start} BEGIN {' '.join(acts)} END"

    old, new = (condition.format(row=row) for row in ("OLD", "NEW"))
    changed = f"UPDATE OF {label}, {state}"
    return [
        write("added", "INSERT", new, add("NEW", 1)),
        write("removed", "DELETE", old, add("OLD", -1)),
        write("changed", changed, _differs(measure, "IS NOT"), add("OLD", -1), add("NEW", 1)),
    ]


def _write_postgresql_triggers(measure: str) -> list[str]:
    table, label, state, condition = MEASURES[measure]

    def add(row: str, number: int) -> str:
        where = f" WHERE {condition.format(row=row)}" if condition else ""
        return f"SELECT '{measure}', COALESCE({row}.{label}, ''), {row}.{state}, {number}{where}"

    def write(name: str, event: str, when: str, *rows: str) -> list[str]:
        function = f"count_{measure}_{name}"
        condition_of_rows = f" WHEN ({when})" if when else ""
        return [
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"INSERT INTO state_changes (measure, label, state, number) {' UNION ALL '.join(rows)}; "
            "RETURN NULL; END $$",
            f"CREATE TRIGGER {function} AFTER {event} ON {table} FOR EACH ROW{condition_of_rows} "
            f"EXECUTE FUNCTION {function}()",
        ]

    old, new = (condition.format(row=row) for row in ("OLD", "NEW"))
    return [
        *write("added", "INSERT", new, add("NEW", 1)),
        *write("removed", "DELETE", old, add("OLD", -1)),
        *write(
            "changed",
            f"UPDATE OF {label}, {state}",
            _differs(measure, "IS DISTINCT FROM"),
            add("OLD", -1),
            add("NEW", 1),
        ),
    ]
