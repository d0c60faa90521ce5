"""Every setting is told with its value in effect and its source; no secret is ever told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import EffectiveSetting, describe_settings, list_effective_settings

TEXT = """\
hub.name = "House"   # a dotted key
[database]
url = "postgresql://gateway:open-sesame@db/gateway?password=hush&x=1"

[http]
port = 8443
[pki.token]
pin = { env = "PIN" }
[agency.AG]
endpoint = "https://u:pw@agency.example/soap"
[tls."host.example:8443"]
anchors = ["ca.pem"]


"""


def show(path: Path | None, **more: object) -> dict[str, EffectiveSetting]:
    return {one.name: one for one in list_effective_settings(path, **more)}  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.toml"
    file.write_text(TEXT)
    return file


def test_a_value_of_the_file_names_its_line(file: Path) -> None:
    found = show(file)
    assert (found["http.port"].value, found["http.port"].source) == ("8443", f"{file}:6")
    assert (found["hub.name"].value, found["hub.name"].source) == ('"House"', f"{file}:1")
    assert found["http.host"].source == "default"
    assert found["agency.AG.endpoint"].source == f"{file}:10"
    assert found['tls."host.example:8443".anchors'].source == f"{file}:12"


def test_no_secret_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIN", "4711-secret")
    found = show(file)
    told = " ".join(one.value for one in found.values())
    assert not any(secret in told for secret in ("open-sesame", "hush", ":pw@", "4711-secret"))
    assert found["database.url"].value == '"postgresql://gateway:***@db/gateway?password=***&x=1"'
    assert found["pki.token.pin"].value == '{ env = "PIN" }'


def test_a_url_that_is_a_secret_is_named_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("URL", "postgresql://gateway:open-sesame@db/gateway")
    (tmp_path / "g.toml").write_text('[database]\nurl = { env = "URL" }\n')
    assert show(tmp_path / "g.toml")["database.url"].value == '{ env = "URL" }'


def test_every_key_is_told_without_a_file_and_the_home_by_its_option(tmp_path: Path) -> None:
    found = show(None, home=tmp_path, environ={})
    assert set(found) == {key.name for key in describe_settings() if "<code>" not in key.name}
    assert found["hub.home"].source == "--home"
    assert {one.source for name, one in found.items() if name != "hub.home"} == {"default"}


def test_the_file_of_the_environment_is_named(file: Path) -> None:
    assert show(None, environ={"GATEWAY_CONFIG": str(file)})["http.port"].source == f"{file}:6"
