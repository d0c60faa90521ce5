"""States in each leaf about the register the rows that its change has left, and reads these statements.

The field `stored` of such a leaf has, by table and by the key of the rows, a digest of these rows, or null
where they were removed. The first start of a delivery process, or an earlier change, states all rows of the
register in a leaf of its own: from then on, no row of the register is without a statement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, String, Table, cast, literal, select, true

from gateway.evidence.evidence_log import record_evidence
from gateway.evidence.rows.row_digests import STORED, digest_rows
from gateway.evidence.rows.row_findings import Leaf, RowFindings
from gateway.store import (
    AuditEntry,
    EvidenceRow,
    accounts,
    acquire_named_locks,
    agreements,
    audit_log,
    dated_editions,
    fetched_lists,
    mapping_bundles,
    parties,
)
from gateway.store.transitions import evidence, take_changed_rows

#: The columns of the key by which a change notes its rows, by table: several rows may have one key.
REGISTER_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "parties": ("id",),
    "party_ids": ("party_id",),
    "certificates": ("sha256",),
    "mandates": ("id",),
    "forwarding_rules": ("id",),
    "agreements": ("id",),
    "pmodes": ("agreement_id",),
    "accounts": ("id",),
    "account_roles": ("account_id",),
    "account_certificates": ("account_id",),
    "revocations": ("crl_number",),
    "fetched_lists": ("source", "subject"),
    "trust_lists": ("id",),
    "calendar_editions": ("kind", "name", "edition"),
    "need_tables": ("name", "edition"),
    "mapping_bundles": ("digest",),
    "mapping_uses": ("id",),
    "audit": ("id",),
}
_TABLES: Final[Mapping[str, Table]] = {
    table.name: table
    for table in (
        *(parties.parties, parties.party_ids, parties.certificates, parties.mandates),
        *(agreements.forwarding_rules, agreements.agreements, agreements.pmodes),
        *(accounts.accounts, accounts.account_roles, accounts.account_certificates),
        *(fetched_lists.revocations, fetched_lists.fetched_lists, fetched_lists.trust_lists),
        *(dated_editions.calendar_editions, dated_editions.need_tables),
        *(mapping_bundles.mapping_bundles, mapping_bundles.mapping_uses, audit_log.audit),
    )
}
#: The tables whose rows are stated only where a change of the register names them.
NAMED_TABLES: Final = frozenset({"audit"})
#: The kind of most leaves about the register, their type of subject, and the subject of that about all of it.
_REGISTER: Final = "register"
#: The types of the subjects of leaves about the register, and their kinds.
_SUBJECT_TYPES: Final = (_REGISTER, "trust_list", "calendars", "needs", "bundle", "source")
_LEAF_KINDS: Final = frozenset(
    {_REGISTER, "trust_list", "calendar", "need_table", "mappings", "fetched", "forgotten"}
)
_LOCK: Final = "statements on the register"
_MAX_KEYS: Final = 500


@dataclass(frozen=True, slots=True)
class RegisterLeaf(Leaf):
    """A leaf about a change of the register, with its subject."""

    subject_id: str

    @property
    def is_about_everything(self) -> bool:
        """Return whether it states every row of the register at its time."""
        return self.kind == self.subject_id == _REGISTER


def record_register_leaf(
    conn: Connection,
    kind: str,
    subject_type: str,
    subject_id: str | int,
    digest: str | None,
    data: Mapping[str, Any],
    at: datetime,
) -> None:
    """Insert a leaf about a change of the register, with digests of the rows that the transaction changed.

    It must follow all changes of the register in its transaction. `audit` in its data names a row of audit.
    """
    changed_rows = take_changed_rows(conn)
    if changed_rows is not None:
        # The rows are read as the last change has left them: no other one comes between it and the leaf.
        acquire_named_locks(conn, _LOCK)
        if data.get("audit") is not None:
            changed_rows["audit"] = {str(data["audit"])}
        _state_whole_register(conn, at)
        data = {**data, STORED: _digest_changed_rows(conn, changed_rows)}
    record_evidence(conn, kind, subject_type, subject_id, digest, data, at)


def record_register_change(
    conn: Connection, subject: str, entry: AuditEntry, at: datetime, **further_fields: Any
) -> int:
    """Store a change of the register in the audit and as evidence; return the number of its row of audit."""
    number = audit_log.record_action(conn, entry, at)
    data = {
        "verb": entry.action,
        "by": entry.actor,
        "account": entry.account,
        "audit": number,
        "before": entry.before,
        "after": entry.after,
        **further_fields,
    }
    record_register_leaf(conn, _REGISTER, _REGISTER, subject, None, data, at)
    return number


def is_register_stated(conn: Connection) -> bool:
    """Return whether a leaf has stated every row of the register."""
    is_register = evidence.c.subject_type == _REGISTER, evidence.c.subject_id == _REGISTER
    return conn.execute(select(evidence.c.id).where(*is_register).limit(1)).first() is not None


def state_register(conn: Connection, at: datetime) -> None:
    """State every row of the register in a leaf of its own, unless that was done before."""
    acquire_named_locks(conn, _LOCK)
    _state_whole_register(conn, at)


def _state_whole_register(conn: Connection, at: datetime) -> None:
    if is_register_stated(conn):
        return
    stated_tables = [table for table in REGISTER_KEYS if table not in NAMED_TABLES]
    stored = {
        table: {
            key: digest_rows(table, rows)
            for keys in list_register_keys(conn, table)
            for key, rows in read_register_rows(conn, table, keys).items()
        }
        for table in stated_tables
    }
    record_evidence(conn, _REGISTER, _REGISTER, _REGISTER, None, {STORED: stored}, at)


def _digest_changed_rows(
    conn: Connection, changed_rows: Mapping[str, Collection[str]]
) -> dict[str, dict[str, str | None]]:
    """Return the digests of rows by table and key; None for a key of which there is no row."""
    stored: dict[str, dict[str, str | None]] = {}
    for table, keys in changed_rows.items():
        rows_by_key = read_register_rows(conn, table, keys)
        stored[table] = {
            key: digest_rows(table, rows_by_key[key]) if key in rows_by_key else None for key in keys
        }
    return stored


def read_register_rows(
    conn: Connection, table_name: str, keys: Collection[str]
) -> Mapping[str, Sequence[Any]]:
    """Return the rows of a table of the register that have one of these keys, by their key as text."""
    table, read_key = _TABLES[table_name], attrgetter(*REGISTER_KEYS[table_name])
    rows_by_key: dict[str, list[Any]] = defaultdict(list)
    for condition in _list_conditions(table, keys):
        for row in conn.execute(select(table).where(condition)):
            key = read_key(row)
            rows_by_key[" ".join(key) if isinstance(key, tuple) else str(key)].append(row)
    return dict(rows_by_key)


def list_register_keys(
    conn: Connection, table_name: str, keys: Collection[str] | None = None
) -> Sequence[Sequence[str]]:
    """Return the keys of rows of a table of the register as text, in portions: all, or those among `keys`.

    No other column is read, as some have octets of lists that take much memory.
    """
    table = _TABLES[table_name]
    columns = [table.c[name] for name in REGISTER_KEYS[table_name]]
    existing: set[str] = set()
    for condition in [true()] if keys is None else _list_conditions(table, keys):
        existing.update(" ".join(map(str, row)) for row in conn.execute(select(*columns).where(condition)))
    ordered = sorted(existing)
    return [ordered[start : start + _MAX_KEYS] for start in range(0, len(ordered), _MAX_KEYS)]


def list_account_keys(conn: Connection) -> Mapping[str, str]:
    """Return the key of each account by its name."""
    table = accounts.accounts
    return {row.name: str(row.id) for row in conn.execute(select(table.c.name, table.c.id)).all()}


def _list_conditions(table: Table, keys: Collection[str]) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of statements that read the rows of a table with some keys."""
    key_columns = [table.c[name] for name in REGISTER_KEYS[table.name]]
    sorted_keys = sorted(keys)
    for start in range(0, len(sorted_keys), _MAX_KEYS):
        some_keys = sorted_keys[start : start + _MAX_KEYS]
        if len(key_columns) == 1:
            is_number = key_columns[0].type.python_type is int
            yield key_columns[0].in_([int(key) if is_number else key for key in some_keys])
        else:
            joined: ColumnElement[str] = cast(key_columns[0], String)
            for column in key_columns[1:]:
                joined = joined + literal(" ") + column
            yield joined.in_(some_keys)


def list_register_leaves(conn: Connection, findings: RowFindings) -> Iterator[RegisterLeaf]:
    """Yield every leaf about a change of the register, the oldest first.

    A leaf whose data cannot be read is added to the findings, and not yielded.
    """
    query = select(evidence).where(evidence.c.subject_type.in_(_SUBJECT_TYPES)).order_by(evidence.c.id)
    row: EvidenceRow
    for row in conn.execute(query).yield_per(_MAX_KEYS):
        data = findings.read_data(row) if row.kind in _LEAF_KINDS else None
        if data is not None:
            yield RegisterLeaf(row.id, row.at, row.kind, row.digest, data, row.subject_id)
