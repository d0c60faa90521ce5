"""Compares the register with the evidence: each row must be what the last leaf about it has stated.

A leaf of this version states digests of the rows that its change has left. Of a leaf of an earlier version
the values that it describes are compared. Where the whole register was stated once, a row that no leaf states
was not stored by the gateway.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection

from gateway.evidence import (
    FIXED_COLUMNS,
    REGISTER_KEYS,
    STORED,
    UNREADABLE,
    ComparedTable,
    LeafData,
    RegisterLeaf,
    RowFindings,
    describe_unreadable,
    digest_rows,
    is_unreadable,
    list_account_keys,
    list_register_keys,
    list_register_leaves,
    read_register_rows,
)
from gateway.operations.plain_values import make_json_value
from gateway.operations.register_statements import RowStatement, list_row_statements, name_row_part

_STATED_ROWS: Final = "the leaf `register` of its last change (`stored`)"
_COMPARED_WITH: Final[Mapping[str, str]] = {
    "audit": "the leaf `register` that names the row (`stored`)",
    "trust_lists": "the leaf `trust_list` of its activation (`stored`)",
    "calendar_editions": "the leaf `calendar` of its loading (`stored`)",
    "need_tables": "the leaf `need_table` of its loading (`stored`)",
    "mapping_bundles": "the leaf `mappings` of its loading (`stored`), if an operator loaded it",
    "mapping_uses": "the leaf `mappings` of the change (`stored`)",
    "fetched_lists": "the last leaf `fetched` of its source (`stored`)",
}
#: The tables of the register, each with the columns of which a change is found.
COMPARED_REGISTER: Final = tuple(
    ComparedTable(table, FIXED_COLUMNS[table], _COMPARED_WITH.get(table, _STATED_ROWS))
    for table in REGISTER_KEYS
)
#: The column with octets, and that with their SHA-256, by table.
_CONTENT_COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "certificates": {"der": "sha256"},
    "account_certificates": {"der": "sha256"},
    "agreements": {"source": "sha256"},
    "revocations": {"der": "crl_number"},
    "trust_lists": {"content": "sha256"},
    "calendar_editions": {"content": "sha256"},
    "need_tables": {"content": "sha256"},
}


@dataclass(frozen=True, slots=True)
class _StatedValue:
    """A value, and the leaf that describes it."""

    value: Any
    leaf: RegisterLeaf


@dataclass(slots=True)
class _StatedRows:
    """What the leaves state of the rows with one key: the last digest of them, and later values.

    Without `digest_leaf` no digest is known: a later leaf of an earlier version has changed the rows.
    `values` are those of each part of the rows, by column; `leaf_by_part` has the last leaf about each part.
    """

    digest: str | None = None
    digest_leaf: RegisterLeaf | None = None
    values: dict[str, dict[str, _StatedValue]] = field(default_factory=dict)
    leaf_by_part: dict[str, RegisterLeaf] = field(default_factory=dict)

    def add_statement(self, statement: RowStatement, leaf: RegisterLeaf) -> None:
        """Add the values that a leaf describes, which is later than all others so far."""
        if statement.values is None:
            self.values, self.leaf_by_part = {}, {}
            return
        part_values = self.values.setdefault(statement.part, {})
        part_values |= {column: _StatedValue(value, leaf) for column, value in statement.values.items()}
        self.leaf_by_part[statement.part] = leaf


@dataclass(slots=True)
class _StatedRegister:
    """What all leaves state of the register, by table and key; `is_complete` if all rows were stated once.

    `unclear_tables` are those whose rows may have no statement: rows of the audit that change no trust, the
    bundle of mappings that came with the program, and rows that a leaf of an earlier version does not name.
    """

    account_keys: Mapping[str, str]
    unclear_tables: set[str] = field(default_factory=lambda: {"audit", "mapping_bundles"})
    rows: dict[str, dict[str, _StatedRows]] = field(default_factory=lambda: defaultdict(dict))
    is_complete: bool = False

    def add_leaf(self, leaf: RegisterLeaf) -> None:
        """Add the statements of a leaf, which is later than all others so far."""
        # Without its data: that of all leaves would take much memory.
        source = replace(leaf, data=LeafData())
        stored: Mapping[str, Mapping[str, str | None]] | None = leaf.data.get(STORED)
        self.is_complete = self.is_complete or leaf.is_about_everything
        for table, digests in (stored or {}).items():
            for key, digest in digests.items():
                self.rows[table][key] = _StatedRows(digest, source)
        for statement in list_row_statements(leaf, self.account_keys):
            table_rows = self.rows[statement.table]
            if stored is not None and statement.key not in stored.get(statement.table, {}):
                continue
            stated_rows = table_rows.setdefault(statement.key, _StatedRows())
            if stored is None:
                # A leaf of an earlier version: it has changed the rows that it names.
                stated_rows.digest, stated_rows.digest_leaf = None, None if statement.is_there else source
            stated_rows.add_statement(statement, source)
        if leaf.kind == "mappings" and stored is None:
            self.unclear_tables.add("mapping_uses")
        if leaf.kind == "forgotten" and stored is None:
            fetched_rows = self.rows["fetched_lists"]
            for key in [key for key in fetched_rows if key.startswith(f"{leaf.subject_id} ")]:
                fetched_rows[key] = _StatedRows(None, source)


def compare_register(conn: Connection, findings: RowFindings) -> None:
    """Compare all rows of the register, and the rows of the audit about it, with what the leaves state.

    The transaction must see one state of the database.
    """
    stated_register = _StatedRegister(list_account_keys(conn))
    for leaf in list_register_leaves(conn, findings):
        try:
            stated_register.add_leaf(leaf)
        except UNREADABLE as problem:
            # Its data is a JSON object with other fields or values than those of its kind.
            if not is_unreadable(problem):
                raise
            detail = f"its data are not those of a leaf {leaf.kind}: {describe_unreadable(problem)}"
            findings.add_broken_leaf(leaf.id, detail)
    for table in REGISTER_KEYS:
        stated_rows = stated_register.rows[table]
        must_be_stated = stated_register.is_complete and table not in stated_register.unclear_tables
        missing_keys = set(stated_rows)
        for keys in list_register_keys(conn, table, stated_rows if table == "audit" else None):
            missing_keys.difference_update(keys)
            for key, rows in _read_rows(conn, table, keys, findings).items():
                if table == "mapping_bundles" and key not in stated_rows:
                    # It came with the program: no operator has loaded it, and no leaf states it.
                    continue
                findings.compared[table] += len(rows)
                try:
                    _compare_contents(table, key, rows, findings)
                    if key in stated_rows:
                        _compare_rows(table, key, rows, stated_rows[key], findings)
                    elif must_be_stated:
                        findings.add_difference(table, key, "no evidence says that it was stored")
                    else:
                        findings.older[table] += len(rows)
                except UNREADABLE as problem:
                    _add_unreadable(table, key, problem, findings)
        for key in sorted(missing_keys):
            _compare_rows(table, key, (), stated_rows[key], findings)


def _read_rows(
    conn: Connection, table: str, keys: Sequence[str], findings: RowFindings
) -> Mapping[str, Sequence[Any]]:
    """Return the rows with some keys; add a difference for each key whose rows cannot be read."""
    try:
        return read_register_rows(conn, table, keys)
    except UNREADABLE as problem:
        if not is_unreadable(problem):
            raise
    rows_by_key: dict[str, Sequence[Any]] = {}
    for key in keys:
        try:
            rows_by_key |= read_register_rows(conn, table, [key])
        except UNREADABLE as problem:
            _add_unreadable(table, key, problem, findings)
    return rows_by_key


def _add_unreadable(table: str, key: str, problem: Exception, findings: RowFindings) -> None:
    """Add a difference of rows that cannot be read; raise a problem of the database itself."""
    if not is_unreadable(problem):
        raise problem
    findings.add_difference(table, key, f"it cannot be read: {describe_unreadable(problem)}")


def _compare_contents(table: str, key: str, rows: Sequence[Any], findings: RowFindings) -> None:
    """Add a difference where octets do not have the digest that stands beside them."""
    for row in rows:
        for octets_column, digest_column in _CONTENT_COLUMNS.get(table, {}).items():
            if hashlib.sha256(getattr(row, octets_column)).hexdigest() != getattr(row, digest_column):
                findings.add_difference(table, key, f"{digest_column} is not the SHA-256 of {octets_column}")


def _compare_rows(
    table: str, key: str, rows: Sequence[Any], stated_rows: _StatedRows, findings: RowFindings
) -> None:
    """Add a difference unless the rows with one key are what the leaves state of them."""
    leaf = stated_rows.digest_leaf
    if leaf is None:
        findings.older[table] += len(rows)
        _compare_values(table, key, rows, stated_rows, findings)
        return
    if (digest_rows(table, rows) if rows else None) == stated_rows.digest or _may_be_removed(
        table, key, rows
    ):
        return
    count_before = findings.difference_count
    _compare_values(table, key, rows, stated_rows, findings)
    if findings.difference_count == count_before:
        evidence_name = f"evidence row {leaf.id} ({leaf.kind})"
        if not rows:
            detail = f"it is gone; {evidence_name} says that it is there"
        elif stated_rows.digest is None:
            detail = f"{evidence_name} says that it is not there"
        else:
            detail = f"its content is not what {evidence_name} says"
        findings.add_difference(table, key, detail)


def _may_be_removed(table: str, key: str, rows: Sequence[Any]) -> bool:
    """Return whether the rows are gone and may be: responses for certificates that are no longer queried."""
    return table == "fetched_lists" and not rows and not key.endswith(" ")


def _compare_values(
    table: str, key: str, rows: Sequence[Any], stated_rows: _StatedRows, findings: RowFindings
) -> None:
    """Add a difference for each value that is not what the last leaf about it describes."""
    rows_by_part = {name_row_part(table, row): row for row in rows}
    for part, leaf in stated_rows.leaf_by_part.items():
        row = rows_by_part.get(part)
        if row is None:
            if not _may_be_removed(table, key, rows):
                detail = f"{part or 'it'} is gone; evidence row {leaf.id} ({leaf.kind}) says that it is there"
                findings.add_difference(table, key, detail)
            continue
        for column, stated_value in stated_rows.values[part].items():
            stored = make_json_value(getattr(row, column))
            findings.compare_value(table, key, column, stored, stated_value.leaf, stated_value.value)
