"""Finds the settings that most verbs need, and opens their database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from gateway.cli.home_folder import check_home_folder, make_home_folder
from gateway.config import Settings, load_settings
from gateway.hub import build_engine
from gateway.operations import get_display_zone, set_display_zone
from gateway.store import check_schema_version, read_transaction

__all__ = [
    "find_settings_file",
    "find_today",
    "open_engine",
    "read_database",
    "read_home_settings",
    "read_verb_settings",
]


def read_verb_settings(arguments: Any) -> Settings:
    """Return the settings that ``--config`` or ``--home`` name; raise GW801 that names the key.

    The home must be one, or ``--new`` makes it; GW808 otherwise. Times are shown in their zone from
    then on.
    """
    settings = load_settings(find_settings_file(arguments), home=arguments.home)
    if getattr(arguments, "new", False):
        make_home_folder(settings)
    else:
        check_home_folder(settings, arguments)
    set_display_zone(settings.hub.time_zone)
    return settings


def read_home_settings(home: Path) -> Settings:
    """Return the settings of a home folder."""
    beside = home / "gateway.toml"
    return load_settings(beside if beside.is_file() else None, home=home)


def find_settings_file(arguments: Any) -> str | None:
    """Return the settings file: the named one, else gateway.toml in the home folder, else None."""
    if arguments.config or not arguments.home:
        return str(arguments.config) if arguments.config else None

    beside = Path(arguments.home) / "gateway.toml"
    return str(beside) if beside.is_file() else None


def find_today(arguments: Any) -> date:
    """Return the day of now as the hub counts days, by which it weighs what it receives.

    It is that of the home or settings that are named, which must have been read; else that of a hub whose
    settings say no ``hub.time_zone``.
    """
    # The clock of the hub is in a module that loads cryptography and XML, which few verbs need.
    from gateway.hub import get_current_time

    named = getattr(arguments, "home", None) or getattr(arguments, "config", None)
    zone = get_display_zone() if named else ZoneInfo(load_settings(environ={}).hub.time_zone)
    return get_current_time().astimezone(zone).date()


@contextmanager
def read_database(arguments: Any, *, promises: bool = False) -> Iterator[Connection]:
    """Provide a connection that reads the database of the settings; see `read_transaction` for `promises`."""
    with (
        open_engine(read_verb_settings(arguments)) as engine,
        read_transaction(engine, promises=promises) as conn,
    ):
        yield conn


@contextmanager
def open_engine(settings: Settings) -> Iterator[Engine]:
    """Provide the engine of a database with the version of this code; raise GW802 for another."""
    engine = build_engine(settings)
    try:
        check_schema_version(engine)
        yield engine
    finally:
        engine.dispose()
