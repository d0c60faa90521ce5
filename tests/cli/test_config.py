"""``gateway config show`` through the front door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main


def test_the_settings_in_effect_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gateway.toml").write_text("[http]\nport = 8443\n")
    home = ("--home", str(tmp_path))
    assert main(["config", "show", *home]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["http.port"] == ["http.port", "8443", f"{tmp_path}/gateway.toml:2"]
    assert main(["config", "show", "http", "--json", *home]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["http.port"] == {"value": "8443", "source": f"{tmp_path}/gateway.toml:2"}
    assert all(name.startswith("http.") for name in told)
    assert not (tmp_path / "gateway.sqlite3").exists()


def test_a_section_that_does_not_exist_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "htp", "--home", str(tmp_path)]) == 2
    assert "there is no section or setting htp; the nearest is http" in capsys.readouterr().err
