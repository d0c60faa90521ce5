"""The file by which a probe sees that a delivery process works."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import pytest

from gateway.delivery.alive_file import AliveFile


class Seconds:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def read_time(folder: Path) -> float:
    (file,) = folder.iterdir()
    assert file.name == str(os.getpid())
    return file.stat().st_mtime


def is_locked(file: Path) -> bool:
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_file_is_touched_at_most_every_five_seconds(tmp_path: Path) -> None:
    seconds, folder = Seconds(), tmp_path / "made" / "alive"
    file = AliveFile(folder, seconds)
    file.touch()
    path = folder / str(os.getpid())
    assert is_locked(path)
    os.utime(path, (1, 1))
    seconds.now += 4.9
    file.touch()
    assert read_time(folder) == 1
    seconds.now += 0.2
    file.touch()
    assert read_time(folder) > 1
    file.remove()
    assert not list(folder.iterdir())


def test_without_a_folder_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = AliveFile(None)
    file.touch()
    file.remove()
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_made_is_logged_once_and_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "alive").write_text("no folder")
    seconds = Seconds()
    file = AliveFile(tmp_path / "alive", seconds)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            file.touch()
            seconds.now += 10
    file.remove()
    assert len(caplog.records) == 1
    assert "cannot be touched" in caplog.text


def test_a_file_that_cannot_be_touched_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = Seconds()
    file = AliveFile(tmp_path / "alive", seconds)
    file.touch()

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    seconds.now += 10
    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", refuse)
        file.touch()
    path = tmp_path / "alive" / str(os.getpid())
    os.utime(path, (1, 1))
    seconds.now += 10
    file.touch()
    assert path.stat().st_mtime > 1
    file.remove()


def test_a_probe_that_looks_at_this_moment_delays_the_lock_alone(tmp_path: Path) -> None:
    seconds, path = Seconds(), tmp_path / str(os.getpid())
    path.touch()
    file = AliveFile(tmp_path, seconds)
    with path.open("rb") as probe:
        fcntl.flock(probe, fcntl.LOCK_SH)
        file.touch()
    assert not is_locked(path)
    seconds.now += 10
    file.touch()
    assert is_locked(path)
    file.remove()
