"""A PostgreSQL server whose operating system changes the order of text, as an upgrade of it may.

Its locale is compiled by `localedef` into a folder of its own, first with the order of English, in which case
and punctuation count least, and later with that of POSIX. The name of the locale stays the same.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from sqlalchemy import create_engine

from tests.kit.ports import find_free_port
from tests.kit.standby_pair import find_server_programs

__all__ = ["LocaleServer"]

_LOCALE = "hub_KR.UTF-8"
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
full_page_writes = off
autovacuum = off
shared_buffers = 16MB
"""


class LocaleServer:
    """A server with a locale of its own."""

    def __init__(self) -> None:
        self._programs, self._account = find_server_programs()
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-locale-"))
        self._folder.chmod(0o755)
        self._locales = self._folder / "locales"
        self._locales.mkdir()
        self._data = self._folder / "data"
        self._data.mkdir(mode=0o700)
        if self._account is not None:
            account = pwd.getpwnam(self._account)
            os.chown(self._data, account.pw_uid, account.pw_gid)
        self._port = find_free_port()

    def start(self) -> None:
        """Make the server, in the order of English, and start it."""
        self._compile_locale("en_US")
        options = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        self._call("initdb", "-D", str(self._data), "-U", "postgres", *options)
        with (self._data / "postgresql.auto.conf").open("a") as file:
            file.write(_CONFIGURATION + f"port = {self._port}\n")
        self._control("start")

    def change_order(self) -> None:
        """Give the locale the order of POSIX, as with another release of the operating system."""
        self._control("stop")
        self._compile_locale("POSIX")
        self._control("start")

    def close(self) -> None:
        """Stop the server, and remove its files."""
        if (self._data / "postmaster.pid").exists():
            self._control("stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_database(self, name: str) -> str:
        """Make a database that orders text by the locale, and return its URL."""
        admin = create_engine(self._make_url("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as conn:
            conn.exec_driver_sql(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE '{_LOCALE}'"
            )
        admin.dispose()
        return self._make_url(name)

    def _make_url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/{name}"

    def _compile_locale(self, order: str) -> None:
        target = self._locales / _LOCALE
        shutil.rmtree(target, ignore_errors=True)
        command = ["localedef", "--force", "-i", order, "-f", "UTF-8", str(target)]
        # It warns of categories that the locale POSIX does not define, by an exit status of 1.
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (target / "LC_COLLATE").exists(), f"is the package `locales` installed? {run.stderr}"

    def _control(self, action: str) -> None:
        more = ("-l", str(self._data / "log")) if action == "start" else ("-m", "fast")
        self._call("pg_ctl", "-w", "-t", "60", "-D", str(self._data), *more, action)

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True,
            user=self._account,
            cwd=self._data,
            env={**os.environ, "LOCPATH": str(self._locales)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
