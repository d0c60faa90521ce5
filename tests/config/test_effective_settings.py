"""Every setting is told with its value in effect and its source; no secret is ever told."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from gateway.config import EffectiveSetting, describe_settings, list_effective_settings, mask_url

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
    assert found["database.url"].value == '"postgresql://gateway:***@db/gateway?password=***&x=***"'
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


SECRET = "canary"


def test_no_part_of_a_url_that_may_be_secret_is_shown() -> None:
    told = {
        f"postgresql://u:{SECRET}@h/db?sslpassword={SECRET}&sslmode=require": (
            "postgresql://u:***@h/db?sslpassword=***&sslmode=require"
        ),
        f"postgresql://u:{SECRET}@h1:5432,[::1]:5433/db": "postgresql://u:***@h1:5432,[::1]:5433/db",
        f"postgresql://u:a/{SECRET}?b@h/db": "postgresql://u:***@h/db",
        f"postgresql://u@h/db?passfile={SECRET}&options={SECRET}": (
            "postgresql://u@h/db?passfile=***&options=***"
        ),
        "sqlite:////srv/a b/hub.sqlite3": "sqlite:////srv/a b/hub.sqlite3",
        f"https://{SECRET}@h/x": "https://***@h/x",
        f"https://u:{SECRET}@h/x?wsdl": "https://u:***@h/x?wsdl",
        f"https://h/x?{SECRET}": "https://h/x?***",
        f"https://h/x?access_token={SECRET}&{SECRET}": "https://h/x?access_token=***&***",
        f"https://h/x?{SECRET}==&A1{SECRET}=1": "https://h/x?***&***=***",
        f"https://h/x;jsessionid={SECRET}/y": "https://h/x;***",
        f"https://h/x#{SECRET}": "https://h/x#***",
        "https://[2001:db8::1]:8443/soap": "https://[2001:db8::1]:8443/soap",
        # What cannot be told apart
        f"postgresql://u:p@{SECRET}@h/db": "postgresql://***",
        f"postgresql://u:{SECRET}": "postgresql://***",
        f"host=h password={SECRET}": "***",
        f"https://u:{SECRET}\n@h@h/": "https://***",
        "": "",
    }
    assert {url: mask_url(url) for url in told} == told
    # What is masked can be masked again.
    assert [url for url in told.values() if mask_url(url) != url and not url.endswith("***")] == []


def test_each_setting_that_is_a_url_is_masked(tmp_path: Path) -> None:
    """Each key that takes a URL gets one with a secret in each place; no form of the settings shows it."""
    url = f"https://u:{SECRET}@h.example/x?token={SECRET}&{SECRET}"
    (tmp_path / "g.toml").write_text(
        f"""
[database]
url = "postgresql://u:{SECRET}@h/db?sslpassword={SECRET}&passfile={SECRET}&{SECRET}="
[http]
public_url = "{url}"
[api]
public_url = "{url}"
[console]
public_url = "{url}"
practice_url = "{url}"
[console.oidc]
issuer = "{url}"
client_id = "hub"
[customs]
endpoint = "{url}"
[agency.AG]
endpoint = "{url}"
[fees]
endpoint = "{url}"
secret = {{ env = "FEES" }}
[payloads.s3]
endpoint = "{url}"
[time_stamps]
authorities = ["{url}", "{url}"]
[fetch.a]
kind = "trust_list"
url = "https://h.example/x?token={SECRET}"
"""
    )
    found = show(tmp_path / "g.toml")
    shown = [one.name for one in found.values() if "h.example" in one.value]
    assert len(shown) == 11, shown
    assert [one for one in found.values() if SECRET in one.value] == []


def test_a_dsn_in_place_of_the_url_is_masked(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(f'[database]\nurl = "host=h password={SECRET}"\n')
    assert show(tmp_path / "g.toml")["database.url"].value == '"***"'


def test_a_credential_is_named_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "db").write_text(f"postgresql://u:{SECRET}@h/db")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "g.toml").write_text('[database]\nurl = { credential = "db" }\n')
    assert show(tmp_path / "g.toml")["database.url"].value == '{ credential = "db" }'


@pytest.mark.parametrize("host", ["a.example", "한국", 'a"b'])
def test_names_of_sections_and_places_of_secrets_are_written_as_toml(tmp_path: Path, host: str) -> None:
    file = tmp_path / "gateway.toml"
    section = json.dumps(host, ensure_ascii=False)
    file.write_text(f'[tls.{section}]\nlogin = "hub"\nlogin_password = {{ file = \'C:\\x "y"\' }}\n')
    lines = [f"{name} = {setting.value}" for name, setting in show(file).items() if setting.value]
    values = tomllib.loads("\n".join(line for line in lines if line.startswith("tls.")))
    assert values["tls"][host]["login_password"] == {"file": 'C:\\x "y"'}
