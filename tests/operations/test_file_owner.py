"""Root runs a verb on the home of a service: what it makes there belongs to the account of the service."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.file_owner import open_owned_file
from gateway.message_model import MemoryBody
from gateway.store import ObjectFolder, get_database_state, make_engine, write_transaction
from gateway.store.database_damage import make_damage_error
from tests.kit.paths import ROOT

#: The account of a service that has nothing else.
ACCOUNT = 65534

#: The account runs the interpreter, too: one in a private folder, as some have for root, is closed to it.
of_the_system = pytest.mark.night
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another account")


@pytest.fixture
def home() -> Iterator[Path]:
    """Give the empty home of a service, which its account alone may enter."""
    # The folders of pytest are closed to other accounts.
    with tempfile.TemporaryDirectory(prefix="gateway-owner-") as place:
        Path(place).chmod(0o755)
        made = Path(place) / "home"
        made.mkdir(mode=0o700)
        (made / "gateway.toml").write_text("[api]\nenabled = true\n")
        os.chown(made, ACCOUNT, ACCOUNT)
        os.chown(made / "gateway.toml", ACCOUNT, ACCOUNT)
        yield made


def list_foreign_files(home: Path) -> list[str]:
    return [
        str(path) for path in home.rglob("*") if (path.stat().st_uid, path.stat().st_gid) != (ACCOUNT,) * 2
    ]


def run_as_service(*words: str) -> subprocess.CompletedProcess[str]:
    become = ("setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups")
    return subprocess.run(
        [*become, sys.executable, "-m", "gateway", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )


@of_the_system
def test_what_root_makes_belongs_to_the_service(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--new", "--home", str(home)]) == 0
    assert main(["pki", "demo", "--out", str(home / "pki"), "--party", "hub"]) == 0
    assert main(["account", "list", "--home", str(home)]) == 0
    assert main(["queue", "hold", "--agency", "local", "--reason", "x", "--home", str(home)]) == 0
    assert {"gateway.sqlite3", "gateway.sqlite3-writer"} <= {path.name for path in home.iterdir()}
    assert list_foreign_files(home) == []
    done = run_as_service("case", "list", "--home", str(home))
    assert (done.returncode, done.stderr) == (0, "")
    capsys.readouterr()


def test_what_the_processes_make_belongs_to_the_owner_of_the_database(home: Path) -> None:
    """Also where the folder is another one's."""
    database = home / "gateway.sqlite3"
    engine = make_engine(f"sqlite:///{database}", objects=ObjectFolder(home / "objects"))
    with write_transaction(engine) as conn:
        conn.exec_driver_sql("CREATE TABLE a (b)")
    os.chown(home, 0, 0)
    (home / "gateway.sqlite3-writer").unlink()
    engine.dispose()
    with write_transaction(engine) as conn:
        conn.exec_driver_sql("DROP TABLE a")
    get_database_state(engine).damage.record(make_damage_error("x"))
    engine.dispose()
    os.chown(home, ACCOUNT, ACCOUNT)
    content = MemoryBody(b"x" * 100)
    ObjectFolder(home / "objects").put_object(content.sha256_hex, content)
    assert {path.name for path in home.iterdir()} >= {"gateway.sqlite3-writer", "gateway.sqlite3-damaged"}
    assert list_foreign_files(home) == []


def test_no_file_of_others_is_given_away(home: Path, tmp_path: Path) -> None:
    """A service cannot make root give it a file by a link in its home."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    (home / "link").symlink_to(secret)
    os.close(open_owned_file(home / "link", os.O_RDWR))
    (home / "dangling").symlink_to(tmp_path / "new")
    os.close(open_owned_file(home / "dangling", os.O_RDWR))
    assert [(tmp_path / name).stat().st_uid for name in ("secret", "new")] == [0, 0]


@of_the_system
@pytest.mark.parametrize("name", ["gateway.sqlite3-writer", "gateway.sqlite3", "gateway.sqlite3-shm"])
def test_a_closed_file_is_named(home: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--new", "--home", str(home)]) == 0
    closed = home / name
    closed.touch(0o600)
    os.chown(closed, 0, 0)
    done = run_as_service("queue", "hold", "--agency", "local", "--reason", "x", "--home", str(home))
    assert done.returncode == 1
    words = f"{closed} belongs to root (mode 0600) and is closed to this account"
    assert done.stderr.startswith("gateway: GW806 the database ")
    assert words in done.stderr
    capsys.readouterr()
    main(["check", "--home", str(home)])
    told = capsys.readouterr().out
    assert f"{closed} belongs to root, the home to nobody: chown nobody mends it" in told


@of_the_system
def test_settings_that_the_service_may_not_read_are_named(home: Path) -> None:
    os.chown(home, 0, 0)
    done = run_as_service("case", "list", "--home", str(home))
    assert done.returncode == 2
    expected = f"gateway: GW808 {home}/gateway.toml cannot be used: Permission denied"
    assert done.stderr.startswith(expected)
