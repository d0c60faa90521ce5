"""Lets PostgreSQL compare and order text by its octets, as SQLite does.

Before, it followed the collation of the database. That of the operating system changes with an upgrade of it
or on a standby of another release; an index then no longer finds its rows, and a unique one takes a value
a second time. The order of octets ("C") never changes. The indexes are built anew, so those that such a
change has spoilt are in order again; where a value stands twice in a unique one, the revision fails.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic import op
from sqlalchemy import Connection

revision = "0102"
down_revision = "0101"
branch_labels = None
depends_on = None

#: The tables of the first revision that have columns to change, and the changes. Other tables, also of the
#: same schema, do not belong to the hub.
_COLUMNS = """
SELECT c.oid AS number, CAST(CAST(c.oid AS regclass) AS text) AS name,
    string_agg(format('ALTER COLUMN %I TYPE %s COLLATE "C"', a.attname, format_type(a.atttypid, a.atttypmod)),
        ', ' ORDER BY a.attnum) AS changes
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.oid IN (SELECT to_regclass(name) FROM unnest(CAST('{names}' AS text[])) AS name)
    AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attcollation NOT IN (0, CAST(CAST('"C"' AS regcollation) AS oid))
GROUP BY c.oid, c.relname ORDER BY c.relname
"""
#: Triggers that name a column, which then cannot be changed; with the state that ALTER TABLE gives them back.
_TRIGGERS = """
SELECT format('DROP TRIGGER %I ON %s', tgname, CAST(tgrelid AS regclass)) AS removal,
    pg_get_triggerdef(oid) AS definition,
    format('ALTER TABLE %s %s TRIGGER %I', CAST(tgrelid AS regclass),
        CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS'
            ELSE 'ENABLE' END, tgname) AS state
FROM pg_trigger WHERE tgrelid = {number} AND NOT tgisinternal
    AND (tgqual IS NOT NULL OR CAST(tgattr AS text) <> '')
ORDER BY tgname
"""
#: Of indexes with the same estimated cost, as in an empty table, the server uses the one made last. So ours
#: are made in their order, which changing the columns alone would not keep; but for an index that an operator
#: has given another place or use, which it would lose.
_INDEXES = """
SELECT format('DROP INDEX %s', CAST(c.oid AS regclass)) AS removal, pg_get_indexdef(c.oid) AS definition
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = {number} AND c.relname = ANY(CAST('{names}' AS text[]))
    AND c.reltablespace = 0 AND NOT i.indisclustered
ORDER BY c.oid
"""


def prepare(conn: Connection) -> bool:
    """Change one table; return whether there was one to change.

    Each call is a transaction of its own: a hub that works goes on with the other tables, and never waits for
    what waits for it. Meanwhile a column in the order of octets compares with one in another by octets.
    """
    tables = _list_tables(conn)
    if tables:
        _change_columns(conn, tables[0])
    return bool(tables)


def upgrade() -> None:
    """Give each column of text the collation "C"; SQLite has it already."""
    conn = op.get_bind()
    for table in _list_tables(conn):
        _change_columns(conn, table)


def _list_tables(conn: Connection) -> Sequence[Any]:
    if conn.dialect.name == "sqlite":
        return ()
    names = ["alembic_version", *re.findall(r"^CREATE TABLE (\w+)", _read_first_revision(), re.MULTILINE)]
    tables: Sequence[Any] = _run(conn, _COLUMNS.format(names=_write_array(names))).all()
    return tables


def _read_first_revision() -> str:
    return Path(__file__).with_name("r0100_postgresql.sql").read_text(encoding="utf-8")


def _change_columns(conn: Connection, table: Any) -> None:
    """Change the columns of a table, and collect its statistics again: the server forgets them."""
    _run(conn, f"LOCK TABLE {table.name} IN ACCESS EXCLUSIVE MODE")
    triggers = _run(conn, _TRIGGERS.format(number=table.number)).all()
    names = re.findall(r"^CREATE (?:UNIQUE )?INDEX (\w+)", _read_first_revision(), re.MULTILINE)
    indexes = _run(conn, _INDEXES.format(number=table.number, names=_write_array(names))).all()
    for dropped in (*triggers, *indexes):
        _run(conn, dropped.removal)
    _run(conn, f"ALTER TABLE {table.name} {table.changes}")
    # An index is made where it was, in the place of the database.
    _run(conn, "SET LOCAL default_tablespace = ''")
    for index in indexes:
        _run(conn, index.definition)
    _run(conn, "RESET default_tablespace")
    for trigger in triggers:
        _run(conn, trigger.definition)
        _run(conn, trigger.state)
    if _run(conn, f"SELECT FROM {table.name} LIMIT 1").first() is not None:
        _run(conn, f"ANALYZE {table.name}")


def _write_array(names: list[str]) -> str:
    return "{" + ",".join(names) + "}"


def _run(conn: Connection, statement: str) -> Any:
    # Without parameters the driver reads no % in it.
    return conn.exec_driver_sql(statement, execution_options={"no_parameters": True})
