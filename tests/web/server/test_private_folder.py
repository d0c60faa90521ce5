"""A private folder: for one user alone, gone with its gateway, and taken away after one that was killed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.web.server import child_process as module
from gateway.web.server.child_process import open_private_folder

_KILLED = """
import os, signal
from gateway.web.server.child_process import open_private_folder
with open_private_folder("gateway-tls-") as folder:
    open(os.path.join(folder, "in"), "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_it_is_private_and_goes(place: Path) -> None:
    with open_private_folder("gateway-tls-") as folder:
        assert Path(folder).parent == place
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert not list(place.iterdir())


def test_that_of_a_killed_gateway_is_taken_away_and_no_other(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-c", _KILLED], check=False, env=os.environ | {"TMPDIR": str(place)})
    [left] = place.iterdir()
    shared = place / "gateway-tls-shared"
    shared.mkdir(mode=0o755)
    link = place / "gateway-tls-link"
    link.symlink_to(place / "elsewhere")
    (place / "elsewhere").mkdir(mode=0o700)
    with open_private_folder("gateway-tls-") as alive:
        assert left.exists(), "it may be one that is just made"
        monkeypatch.setattr(module, "_YOUNG", -1.0)
        with open_private_folder("gateway-tls-"):
            assert Path(alive).exists()
            assert not left.exists()
    assert {one.name for one in place.iterdir()} == {shared.name, link.name, "elsewhere"}
