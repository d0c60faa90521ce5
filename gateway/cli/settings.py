"""What most verbs share: where the settings come from, and how answers are printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from gateway.cli.options import add_home
from gateway.config import Settings, load
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub.assembly import engine_of
from gateway.store.engine import reading, transaction
from gateway.store.migrate import check_version

__all__ = [
    "add_home",
    "config_of",
    "looking",
    "print_rows",
    "read_file",
    "settings_at",
    "settings_of",
    "shown",
    "writing",
]


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings that ``--config`` or ``--home`` name."""
    return load(config_of(arguments), home=arguments.home)


def settings_at(home: Path) -> Settings:
    """Return the settings of a home folder."""
    beside = home / "gateway.toml"
    return load(beside if beside.is_file() else None, home=home)


@contextmanager
def looking(arguments: argparse.Namespace) -> Iterator[Connection]:
    """Give a connection that reads the database of the settings."""
    with _database(arguments) as engine, reading(engine) as conn:
        yield conn


@contextmanager
def writing(arguments: argparse.Namespace) -> Iterator[Connection]:
    """Give a connection that writes the database of the settings, in one transaction."""
    with _database(arguments) as engine, transaction(engine) as conn:
        yield conn


@contextmanager
def _database(arguments: argparse.Namespace) -> Iterator[Engine]:
    engine = engine_of(settings_of(arguments))
    try:
        check_version(engine)
        yield engine
    finally:
        engine.dispose()


def read_file(path: Path) -> bytes:
    """Return the octets of a file that a verb names; raises GW801 with its path."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(SETTINGS_WRONG, f"{path} cannot be read: {error.strerror}", str(path)) from None


def config_of(arguments: argparse.Namespace) -> str | None:
    """Return the settings file: the one named, else gateway.toml in the home folder."""
    if arguments.config or not arguments.home:
        return str(arguments.config) if arguments.config else None

    beside = Path(arguments.home) / "gateway.toml"
    return str(beside) if beside.is_file() else None


def print_rows(rows: Iterable[Mapping[str, Any]], *, as_json: bool, columns: tuple[str, ...]) -> None:
    """Print rows: one JSON object a line with everything, or the columns as a table."""
    if as_json:
        for row in rows:
            print(json.dumps(row, default=shown, ensure_ascii=False))
        return
    texts = [[str(shown(row[name]) or "-") for name in columns] for row in rows]
    widths = [max([len(name), *(len(text[n]) for text in texts)]) for n, name in enumerate(columns)]
    for line in ([name.upper() for name in columns], *texts):
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


def shown(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return f"{len(value)} octets"
    return value
