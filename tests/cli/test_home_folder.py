"""A mistyped home is refused, a new one is made on demand, and others cannot read it."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from gateway import __version__
from gateway.cli import main
from gateway.cli.home_folder import find_permission_warnings, find_today
from gateway.cli.verb_groups import Arguments
from gateway.config import load_settings
from tests.kit.databases import Templates
from tests.kit.forked_verbs import run_verb


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


@pytest.mark.night
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


@pytest.mark.night
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


@pytest.mark.night
def test_the_keys_of_a_newer_version_are_told(
    tmp_path: Path, templates: Templates, capsys: pytest.CaptureFixture[str]
) -> None:
    templates.fill_home(tmp_path)
    settings = tmp_path / "gateway.toml"
    settings.write_text('[hub]\nversion = "99.1"\ncolour = "red"\n')
    words = f"{settings} is for version 99.1: hub.colour is not known to version {__version__}, and left out"
    main(["check", "--home", str(tmp_path)])
    assert f"warning: {words}\n" in capsys.readouterr().out
    said = run_verb("serve", "--home", str(tmp_path)).stderr
    assert f"WARNING gateway.cli.commands.process {words}\n" in said


def test_every_secret_of_the_settings_that_is_open_to_others_is_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    settings = {
        "signing_password": '[pki]\nsigning_password = { file = "signing_password" }\n',
        "next_password": '[pki.next]\nsigning_password = { file = "next_password" }\n',
        "tls_password": '[http]\ntls_password = { file = "tls_password" }\n',
        "status_token": 'status_token = { file = "status_token" }\n',
        "login_password": '[tls."a.example"]\nlogin = "hub"\nlogin_password = { file = "login_password" }\n',
    }
    (home / "gateway.toml").write_text("\n".join(settings.values()))
    (home / "gateway.toml").chmod(0o600)
    home.chmod(0o700)
    for name in settings:
        (home / name).write_text("secret")
        (home / name).chmod(0o600)
    read = load_settings(home / "gateway.toml", home=home)
    assert list(find_permission_warnings(read, None)) == []
    for name in settings:
        (home / name).chmod(0o644)
    told = [words.partition(" is open")[0] for words in find_permission_warnings(read, None)]
    assert sorted(told) == sorted(str(home / name) for name in settings)


def list_wide(home: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    main(["check", "--home", str(home), "--json"])
    return [words for words in json.loads(capsys.readouterr().out)["warnings"] if "is open to" in words]


@pytest.mark.night
@pytest.mark.parametrize("verb", ["migrate", "run", "serve", "work", "case list"])
@pytest.mark.parametrize("lost", ["deleted", "of no octets"])
def test_a_lost_database_is_not_taken_for_a_new_hub(
    verb: str, lost: str, tmp_path: Path, templates: Templates
) -> None:
    assert main(["pki", "demo", "--out", str(tmp_path / "pki"), "--party", "hub"]) == 0
    file = tmp_path / "gateway.sqlite3"
    if lost == "of no octets":
        file.touch()
    done = run_verb(*verb.split(), "--home", str(tmp_path))
    assert done.returncode == (2 if verb in ("migrate", "run") else 1)
    problem = "GW808" if verb in ("migrate", "run") else "GW802"
    words = f"there is no database {file}" if lost == "deleted" else f"the database {file} is empty"
    assert f"gateway: {problem} {words}: if a hub was here, name its database or restore it" in done.stderr
    assert not file.exists() if lost == "deleted" else file.stat().st_size == 0


@pytest.mark.night
def test_an_empty_database_of_a_server_is_refused(
    tmp_path: Path, templates: Templates, capsys: pytest.CaptureFixture[str]
) -> None:
    url = templates.empty("postgresql")
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    for verb in ("migrate", "run"):
        assert main([verb, "--home", str(tmp_path)]) == 2
        assert "sees no tables in it (search_path, USAGE on their schema): if" in capsys.readouterr().err
    assert main(["migrate", "--new", "--home", str(tmp_path)]) == 0
    assert main(["migrate", "--home", str(tmp_path)]) == 0
    templates.drop(url)


@pytest.mark.night
@pytest.mark.parametrize("content", ["", "# nothing yet\n\n", "\ufeff"])
def test_an_empty_settings_file_is_told(
    content: str, tmp_path: Path, templates: Templates, capsys: pytest.CaptureFixture[str]
) -> None:
    templates.fill_home(tmp_path)
    settings = tmp_path / "gateway.toml"
    settings.write_text(content)
    words = f"{settings} is empty: every setting has its default, database.url too"
    main(["check", "--home", str(tmp_path)])
    assert f"warning: {words}\n" in capsys.readouterr().out
    for verb in ("run", "serve", "work"):
        assert (
            f"WARNING gateway.cli.commands.process {words}\n"
            in run_verb(verb, "--home", str(tmp_path)).stderr
        )
    for mark in ("", "\ufeff"):
        settings.write_text(f"{mark}[http]\nport = 1\n")
        main(["check", "--home", str(tmp_path)])
        captured = capsys.readouterr()
        assert "is empty" not in captured.out
        assert "GW901" not in captured.err


@pytest.mark.night
@pytest.mark.parametrize("verb", ["run", "serve", "work"])
def test_a_key_that_others_may_read_is_told_at_each_start(
    verb: str, tmp_path: Path, templates: Templates
) -> None:
    templates.fill_home(tmp_path)
    key = tmp_path / "pki" / "hub.key.pem"
    key.parent.mkdir(exist_ok=True)
    key.write_bytes(b"no key, so that the start ends")
    key.chmod(0o644)
    told = run_verb(verb, "--home", str(tmp_path)).stderr
    assert f"WARNING gateway.cli.commands.process {key} is open to other accounts (0644)" in told
    key.chmod(0o600)
    assert f"{key} is open" not in run_verb(verb, "--home", str(tmp_path)).stderr


def test_a_day_without_a_home_is_that_of_seoul(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub has the days of Seoul unless told, and these begin nine hours before those of UTC."""
    arguments = Arguments(home=None, config=None)
    evening = datetime(2026, 11, 21, 14, 59, tzinfo=UTC)
    monkeypatch.setattr("gateway.hub.get_current_time", lambda: evening)
    assert find_today(arguments) == date(2026, 11, 21)
    monkeypatch.setattr("gateway.hub.get_current_time", lambda: evening + timedelta(minutes=1))
    assert find_today(arguments) == date(2026, 11, 22)
