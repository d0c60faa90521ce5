"""Recognizes the home folder, makes a new one, and keeps other accounts from reading it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from sqlalchemy import Connection, Engine

from gateway import __version__
from gateway.config import Secret, Settings, find_newer_keys, load_settings, read_toml_file
from gateway.errors import MISUSE, GatewayError, raise_resource_problem
from gateway.file_owner import describe_owner, make_owned_folder
from gateway.hub import build_engine, get_database_mark_path
from gateway.operations import get_display_zone, set_display_zone
from gateway.store import (
    InsufficientStorageError,
    check_schema_version,
    find_mark_problem,
    find_rights_problem,
    get_marked_store,
    is_database_empty,
    list_database_warnings,
    messages,
    read_mark_file,
    read_transaction,
)
from gateway.wire import find_day

#: A home contains at least one of these files and folders. A folder without them is no home of a gateway.
_HOME_FILE_NAMES: Final = ("gateway.toml", "gateway.sqlite3", "pki")
#: A hub at work has written the mark so long after its first message, even under load.
_MARK_DELAY: Final = timedelta(seconds=10)
_OTHERS_PERMISSIONS: Final = stat.S_IRWXG | stat.S_IRWXO
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


def is_home_folder(folder: Path) -> bool:
    """Return whether a folder has settings, a database or keys of a gateway."""
    return any((folder / mark).exists() for mark in _HOME_FILE_NAMES)


def check_home_folder(settings: Settings, arguments: Any) -> None:
    """Raise GW808 for a folder that is no home; with a named settings file any existing folder is a home."""
    home = settings.home_folder
    settings_file = getattr(arguments, "config", None) or os.environ.get("GATEWAY_CONFIG")
    if home.is_dir() and (settings_file or is_home_folder(home)):
        return
    home_text = str(home)[-120:]
    detail = f"{home_text} is no home folder: it has no settings, database or keys"
    if not home.is_dir():
        detail = f"there is no home folder {home_text}"
    raise GatewayError(MISUSE, f"{detail} (`gateway migrate --new` makes a home)", home_text)


def make_home_folder(settings: Settings) -> None:
    """Make the home folder, and close it and its settings to others."""
    home = settings.home_folder
    make_owned_folder(home, _FOLDER_MODE)
    # Only its owner can change the mode of a folder or file: `gateway check` reports one that is open.
    with suppress(PermissionError):
        home.chmod(_FOLDER_MODE)
        if (home / "gateway.toml").is_file():
            (home / "gateway.toml").chmod(_FILE_MODE)


@contextmanager
def keep_files_private() -> Iterator[None]:
    """Make files with 0600 and folders with 0700 inside the block."""
    before = os.umask(_OTHERS_PERMISSIONS)
    try:
        yield
    finally:
        os.umask(before)


def _list_secrets(values: Any) -> Iterator[Secret]:
    """Yield the secrets that settings name as files, without the credentials that systemd closes itself."""
    if isinstance(values, Secret):
        if values.credential is None:
            yield values
    elif isinstance(values, BaseModel):
        for name in type(values).model_fields:
            yield from _list_secrets(getattr(values, name))
    elif isinstance(values, Mapping):
        for setting in values.values():
            yield from _list_secrets(setting)
    elif isinstance(values, (list, tuple)):
        for setting in values:
            yield from _list_secrets(setting)


def find_empty_settings_warning(settings_file: str | None) -> Iterator[str]:
    """Yield a warning where a settings file that could be read sets nothing."""
    if settings_file is None:
        return
    if not read_toml_file(Path(settings_file)):
        yield f"{settings_file} is empty: every setting has its default, database.url too"


def find_left_out_key_warnings(settings: Settings, settings_file: str | None) -> Iterator[str]:
    """Yield a warning for each key of a newer version, which this one leaves out."""
    if settings_file is not None:
        for key in find_newer_keys(settings_file, settings.home_folder):
            yield (
                f"{settings_file} is for version {settings.hub.version}: {key} is not known to version "
                f"{__version__}, and left out"
            )


def find_permission_warnings(settings: Settings, settings_file: str | None) -> Iterator[str]:
    """Yield a warning for each folder or file of the home that others may read or write."""
    home = settings.home_folder
    keys = [Path(secret.file) for secret in _list_secrets(settings) if secret.file is not None]
    settings_paths = [Path(settings_file)] if settings_file else []
    keys += [settings.api.webhook_key, *home.glob("pki/*.key.pem")]
    files = [*settings_paths, *home.glob("gateway.sqlite3*"), *keys]
    for path in dict.fromkeys([home, *files]):
        with suppress(OSError):
            mode = stat.S_IMODE(path.stat().st_mode)
            safe_mode = _FOLDER_MODE if path.is_dir() else _FILE_MODE
            if mode & _OTHERS_PERMISSIONS:
                yield f"{path} is open to other accounts ({mode:04o}): chmod {safe_mode:o} closes it"


def find_file_owner_warnings(settings: Settings) -> Iterator[str]:
    """Yield a warning for each file of a database that does not belong to the owner of the home."""
    home = settings.home_folder
    for path in home.glob("gateway.sqlite3*"):
        with suppress(OSError):
            if path.stat().st_uid != home.stat().st_uid:
                owner = describe_owner(home)
                yield f"{path} belongs to {describe_owner(path)}, the home to {owner}: chown {owner} mends it"


def refuse_other_database(settings: Settings, engine: Engine) -> None:
    """Raise GW808 if the mark file in the home folder was written for the database of another hub.

    Nothing is compared where the database is away or empty, or the file is no mark: the processes, which
    hold the database then, and `gateway check` say so.
    """
    path, mark = get_database_mark_path(settings), None
    with suppress(GatewayError):
        mark = read_mark_file(path)
    if mark is None:
        return
    with suppress(InsufficientStorageError):
        if is_database_empty(engine):
            return
        with read_transaction(engine) as conn:
            problem = find_mark_problem(conn, mark)
        if problem is not None and problem.problem is MISUSE:
            detail = f"{problem.detail}: name the right database.url, or remove {str(path)[-120:]}"
            raise GatewayError(MISUSE, detail, "database.url")


def find_mark_warning(settings: Settings, engine: Engine, now: datetime) -> str | None:
    """Return a warning where the home folder lacks the mark of a database with messages; else None.

    Without a mark nobody notices that the database lacks something that the hub has acknowledged. A hub at
    work writes the mark within seconds of its first message: the first message is older. Raises GW806 where
    the database is lost meanwhile: whether it has messages is not known.
    """
    mark_file, first_time = get_database_mark_path(settings), None
    try:
        if not mark_file.exists() and not is_database_empty(engine):
            with read_transaction(engine) as conn:
                first_time = messages.find_first_time(conn)
    except GatewayError as unread:
        raise_resource_problem(unread)
    if first_time is None or first_time > now - _MARK_DELAY:
        return None
    return (
        f"the home folder has no mark of the database ({mark_file.name}), as that of a new node: whether the "
        "database is older than what was acknowledged before is not known; if it may have been restored, run "
        "`gateway restore check --head FILE`"
    )


def refuse_lost_database(settings: Settings, engine: Engine) -> None:
    """Raise GW808 where a new database would take the place of one that is lost.

    Its mark is in the home folder then, or in the store of large payloads.
    """
    if not is_database_empty(engine):
        return
    path, store = get_database_mark_path(settings), get_marked_store(engine)
    if path.exists():
        mark_path, way_out = str(path), "remove that file"
    elif store.read_mark() is not None:
        mark_path, way_out = store.describe_mark(), "name another folder or bucket, or remove that mark"
    else:
        return
    if not is_database_empty(engine):
        # The marks are those of a hub that was made a moment ago.
        return
    detail = f"a database was here, as {mark_path[-120:]} says: restore it; for a new hub {way_out}"
    raise GatewayError(MISUSE, detail, mark_path[-120:])


def read_verb_settings(arguments: Any) -> Settings:
    """Return the settings that ``--config`` or ``--home`` name; raise GW801 that names the key.

    Raises GW808 if the folder is no home; with ``--new`` the home is made. From then on, times are shown
    in the time zone of these settings.
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
    settings_file = home / "gateway.toml"
    return load_settings(settings_file if settings_file.is_file() else None, home=home)


def find_settings_file(arguments: Any) -> str | None:
    """Return the settings file: the named one, else gateway.toml in the home folder, else None."""
    if arguments.config or not arguments.home:
        return str(arguments.config) if arguments.config else None

    settings_file = Path(arguments.home) / "gateway.toml"
    return str(settings_file) if settings_file.is_file() else None


def find_today(arguments: Any) -> date:
    """Return the present day in the time zone of the hub.

    It is the zone of the home folder or settings file that the options name, which the caller must have read
    before; without these options, the default of ``hub.time_zone``.
    """
    # The clock of the hub is in a module that loads cryptography and XML, which few verbs need.
    from gateway.hub import get_current_time

    settings_path = getattr(arguments, "home", None) or getattr(arguments, "config", None)
    zone = get_display_zone() if settings_path else ZoneInfo(load_settings(environ={}).hub.time_zone)
    return find_day(get_current_time(), zone)


@contextmanager
def read_database(arguments: Any, *, promises: bool = False) -> Iterator[Connection]:
    """Provide a connection that reads the database of the settings; see `read_transaction` for `promises`."""
    with (
        open_engine(read_verb_settings(arguments)) as engine,
        read_transaction(engine, acknowledges_data=promises) as conn,
    ):
        yield conn


@contextmanager
def open_engine_of_any_version(settings: Settings, *, at_work: bool = False) -> Iterator[Engine]:
    """Provide the engine of a database of any version, or of none; see `build_engine` for `at_work`."""
    engine = build_engine(settings, at_work=at_work)
    try:
        yield engine
    finally:
        engine.dispose()


def find_server_warnings(engine: Engine) -> list[str]:
    """Return warnings about settings and rights of a PostgreSQL server; a SQLite file is not opened."""
    if engine.dialect.name == "sqlite":
        return []
    with read_transaction(engine) as conn:
        problem = find_rights_problem(conn)
        return [*list_database_warnings(conn), *([problem.detail] if problem is not None else [])]


@contextmanager
def open_engine(settings: Settings) -> Iterator[Engine]:
    """Provide the engine of a database with the version of this code; raise GW802 for another."""
    with open_engine_of_any_version(settings) as engine:
        check_schema_version(engine)
        yield engine
