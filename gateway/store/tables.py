"""Completes the catalogue of tables, each from the file of its aggregate, and describes them as defined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Table, UniqueConstraint

# Imported for the tables that they define.
from gateway.store import (  # noqa: F401
    accounts,
    agency_requests,
    agreements,
    api_tokens,
    audit_log,
    back_channel,
    case_answers,
    cases,
    customs_notices,
    daily_statistics,
    dated_editions,
    deadlines,
    decisions,
    deliveries,
    event_readers,
    fees,
    fetched_lists,
    fragment_groups,
    item_releases,
    limited_conversations,
    mapping_bundles,
    message_sequences,
    messages,
    notices,
    officer_work,
    operator_acts,
    ordered_deliveries,
    parties,
    payloads,
    refusal_counts,
    register_version,
    requirement_quantities,
    requirement_results,
    seen_calls,
    sessions,
    shared_files,
    state_counts,
    statistics_sources,
    submission_drafts,
    time_stamps,
    transitions,
    verdicts,
    work_lists,
    working_nodes,
)
from gateway.store.table_types import metadata

#: Names of types that differ from those of SQLAlchemy in small letters.
_TYPE_NAMES: Final = {"BigInteger": "integer", "LargeBinary": "octets", "Json": "JSON", "IndexedText": "text"}


@dataclass(frozen=True, slots=True)
class ColumnDescription:
    """A column: its type in words, and its properties: key, the column it refers to, may be empty."""

    name: str
    type_name: str
    properties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table with its columns, and the sets of columns of which each value occurs once."""

    name: str
    columns: tuple[ColumnDescription, ...]
    unique_columns: tuple[tuple[str, ...], ...]


def describe_tables() -> dict[str, TableDescription]:
    """Return every table by its name."""
    return {
        name: TableDescription(
            name, tuple(_describe_column(column) for column in table.columns), _list_unique_columns(table)
        )
        for name, table in metadata.tables.items()
    }


def _describe_column(column: Column[Any]) -> ColumnDescription:
    type_name = type(column.type).__name__
    properties = ["key"] if column.primary_key else []
    properties += [f"→ {key.target_fullname}" for key in column.foreign_keys]
    properties += ["may be empty"] if column.nullable else []
    return ColumnDescription(column.name, _TYPE_NAMES.get(type_name, type_name.lower()), tuple(properties))


def _list_unique_columns(table: Table) -> tuple[tuple[str, ...], ...]:
    """Return the column names of each unique constraint and unique index of a table, sorted."""
    unique_columns = [
        tuple(column.name for column in constraint.columns)
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    unique_columns += [
        tuple(str(column.name) for column in index.columns) for index in table.indexes if index.unique
    ]
    return tuple(sorted(unique_columns))
