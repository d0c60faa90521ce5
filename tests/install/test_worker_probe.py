"""The probe of the manifest sees a worker process that hangs, and kills none that waits for its database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.install.test_manifest_settings import make_pod
from tests.kit.database_relay import DatabaseRelay
from tests.kit.levels import at_night
from tests.kit.live import LiveHouse
from tests.kit.paths import ROOT
from tests.kit.waiting import until

pytestmark = pytest.mark.long

_AGE = 200


class Workers:
    """The worker processes of one home, with the folder of their files."""

    def __init__(self, folder: Path, database_url: str, processes: int) -> None:
        self._pod = make_pod(folder, "work", has_shared_folder=False)
        self.alive = Path(self._pod.translate("/tmp/alive"))
        more = f'[delivery]\nalive_folder = "{self.alive}"\nprocesses = {processes}\n'
        self.live = LiveHouse(folder / "live", database_url, more=more)

    @contextmanager
    def run(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run `gateway work` until the block ends."""
        with (self.live.home / "work.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "work", "--home", str(self.live.home)],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
            try:
                yield process
            finally:
                process.terminate()
                process.wait(60)

    def list_files(self) -> list[Path]:
        """Return the files of the worker processes."""
        return list(self.alive.iterdir()) if self.alive.exists() else []

    def make_old(self) -> None:
        """Give each file a time that is too long ago: a process that works touches it again."""
        for file in self.list_files():
            past = file.stat().st_mtime - _AGE
            os.utime(file, (past, past))

    def is_well(self) -> bool:
        """Return what the probe of the manifest says."""
        return self._pod.probe() == 0

    def await_touch(self) -> None:
        """Wait until each process has touched its file again."""
        self.make_old()
        assert not self.is_well()
        until(self.is_well)


@pytest.mark.parametrize("processes", [2, *at_night(1)])
def test_a_worker_process_that_stands_still_is_seen(tmp_path: Path, sqlite_url: str, processes: int) -> None:
    workers = Workers(tmp_path, sqlite_url, processes)
    assert workers.is_well()
    with workers.run():
        until(lambda: len(workers.list_files()) == processes)
        workers.await_touch()
        stopped, *others = workers.list_files()
        os.kill(int(stopped.name), signal.SIGSTOP)
        workers.make_old()
        old = stopped.stat().st_mtime
        until(lambda: all(other.stat().st_mtime > old + _AGE / 2 for other in others))
        assert stopped.stat().st_mtime == old
        assert not workers.is_well()
        os.kill(int(stopped.name), signal.SIGCONT)
        until(workers.is_well)
    assert not workers.list_files()


def test_the_file_of_a_process_that_died_counts_no_more(tmp_path: Path, sqlite_url: str) -> None:
    workers = Workers(tmp_path, sqlite_url, 2)
    with workers.run():
        until(lambda: len(workers.list_files()) == 2)
        killed = workers.list_files()[0]
        os.kill(int(killed.name), signal.SIGKILL)
        until(lambda: len(workers.list_files()) == 3)
        os.utime(killed, (1, 1))
        until(workers.is_well)
        workers.await_touch()


@pytest.mark.parametrize("away", ["refuse", pytest.param("silence", marks=pytest.mark.night)])
def test_a_worker_whose_database_is_away_is_well(tmp_path: Path, postgresql_url: str, away: str) -> None:
    relay = DatabaseRelay(postgresql_url)
    workers = Workers(tmp_path, relay.url + "?connect_timeout=2", 1)
    with workers.run():
        until(lambda: len(workers.list_files()) == 1)
        getattr(relay, away)()
        for _ in range(2):
            workers.await_touch()
        relay.return_server()
        workers.await_touch()


def test_a_worker_that_starts_without_its_database_is_well(tmp_path: Path, postgresql_url: str) -> None:
    relay = DatabaseRelay(postgresql_url)
    workers = Workers(tmp_path, relay.url, 1)
    relay.refuse()
    with workers.run() as process:
        until(lambda: b"GW806" in (workers.live.home / "work.log").read_bytes())
        assert process.poll() is None
        assert workers.is_well()
        relay.return_server()
        until(lambda: len(workers.list_files()) == 1)
        workers.await_touch()
