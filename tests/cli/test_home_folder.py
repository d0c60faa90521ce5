"""A mistyped home is refused, a new one is made on demand, and others cannot read it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from gateway.cli import main


def modes(home: Path) -> dict[str, int]:
    found = [home, *home.rglob("*")]
    return {str(one.relative_to(home)): stat.S_IMODE(one.stat().st_mode) for one in found}


@pytest.fixture(autouse=True)
def open_umask() -> object:
    """Make files that everybody can read, unless the gateway closes them."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("verb", ["migrate", "run", "serve", "work", "check", "case list"])
def test_a_mistyped_home_is_refused_and_nothing_is_made(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mistyped = tmp_path / "hmoe"
    assert main([*verb.split(), "--home", str(mistyped)]) == 2
    assert f"gateway: GW808 there is no home folder {mistyped}" in (told := capsys.readouterr().err)
    assert "--new" in told
    assert not mistyped.exists()
    mistyped.mkdir()
    (mistyped / "letter").touch()
    assert main([*verb.split(), "--home", str(mistyped)]) == 2
    assert f"{mistyped} is no home folder" in capsys.readouterr().err
    assert [one.name for one in mistyped.iterdir()] == ["letter"]


def test_a_new_home_is_made_and_closed_to_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    assert main(["migrate", "--new", "--home", str(home)]) == 0
    assert main(["pki", "demo", "--out", str(home / "pki"), "--party", "hub"]) == 0
    found = modes(home)
    assert found.pop(".") == 0o700
    assert found.pop("pki") == 0o700
    open_to_others = {name for name, mode in found.items() if mode & 0o077}
    # Certificates are for everybody; the folder keeps others out anyway.
    assert {Path(name).suffix for name in open_to_others} <= {".pem"}
    assert not [name for name in open_to_others if name.endswith("key.pem")]
    assert found["gateway.sqlite3"] == 0o600
    # Once it is a home, no option is needed.
    assert main(["migrate", "--new", "--home", str(home)]) == 0
    capsys.readouterr()


def test_check_tells_what_is_open_to_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "gateway.toml").write_text("")
    assert main(["pki", "demo", "--out", str(home / "pki"), "--party", "hub"]) == 0
    assert main(["migrate", "--new", "--home", str(home)]) == 0
    assert list_wide(home, capsys) == []
    wide = [home, home / "gateway.toml", home / "gateway.sqlite3", home / "pki" / "hub.key.pem"]
    for path in wide:
        path.chmod(0o755 if path.is_dir() else 0o640)
    told = list_wide(home, capsys)
    assert [words.partition(" is open")[0] for words in told] == [str(path) for path in wide]
    assert told[0].endswith("(0755): chmod 700 closes it")
    assert told[1].endswith("(0640): chmod 600 closes it")


def list_wide(home: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    main(["check", "--home", str(home), "--json"])
    return [words for words in json.loads(capsys.readouterr().out)["warnings"] if "is open to" in words]
