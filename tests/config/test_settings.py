from __future__ import annotations

import ast
import os
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from gateway.config import Secret, Settings, describe_settings, find_newer_keys, load_settings
from gateway.config.settings_file import format_toml
from gateway.errors import KEY_UNAVAILABLE, SETTINGS_WRONG, GatewayError
from gateway.wire import DEFAULT_LIMITS
from tests.kit.long_texts import make_text_of_octets
from tests.kit.source_tree import list_sources, parse_source

FULL = """
[hub]
party = "kr-single-window"
name = "단일창구"
home = "state"
time_zone = "UTC"
[database]
url = "postgresql://gateway@db.example/gateway"
[http]
host = "0.0.0.0"
port = 8443
public_url = "https://sw.example/hub"
threads = 4
processes = 2
backlog = 16
read_time_out = 10
tls_certificate = "tls.pem"
tls_key = { env = "TLS_KEY" }
client_ca = "clients.pem"
[limits]
body = "16 MiB"
parts = 50
[pki]
anchors = ["root.pem", "/etc/anchors/other.pem"]
crls = []
signing_key = { file = "keys/hub.pem" }
signing_certificate = "keys/hub.cert.pem"
policy = "policy.toml"
revocation = "if_present"
[delivery]
workers = 16
lease = "2m"
poll = "500ms"
first_retry = "1.5s"
longest_retry = "2h"
retries = 3
[share]
folders = ["own", "~/more"]
[agency.KR-FOOD]
channel = "soap"
endpoint = "https://food.example/soap"
wsdl = "food.wsdl"
time_out = "5s"
lane = 2
retries = 0
[agency.KR-PLANT]
channel = "mailbox"
[customs]
endpoint = "http://customs.example:8000/in?x=1"
"""


def write(folder, text):
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return path


def wrong(folder, text):
    with pytest.raises(GatewayError) as caught:
        load_settings(write(folder, text), environ={})
    assert caught.value.problem.id == "GW801"
    return caught.value


def test_without_a_file_the_defaults_hold(tmp_path):
    settings = load_settings(home=tmp_path, environ={})
    assert settings.home_folder == tmp_path
    assert settings.database.url == f"sqlite:///{tmp_path}/gateway.sqlite3"
    assert settings.pki.anchors == (tmp_path / "pki" / "ca.pem",)
    assert settings.pki.crls == (tmp_path / "pki" / "crl.pem",)
    assert settings.pki.signing_key.file == tmp_path / "pki" / "hub.key.pem"
    assert settings.pki.signing_certificate == tmp_path / "pki" / "hub.cert.pem"
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.agency == {}
    assert settings.customs.endpoint is None


def test_without_anything_the_home_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(environ={}).home_folder == tmp_path / "gateway-home"


def test_every_key_of_a_full_file_is_read(tmp_path):
    settings = load_settings(write(tmp_path, FULL), environ={})
    home = tmp_path / "state"
    assert settings.home_folder == home
    assert (settings.hub.party, settings.hub.name) == ("kr-single-window", "단일창구")
    assert settings.database.url == "postgresql://gateway@db.example/gateway"
    assert settings.http.tls_certificate == home / "tls.pem"
    assert settings.http.tls_key == Secret(env="TLS_KEY")
    assert settings.http.read_time_out == timedelta(seconds=10)
    assert (settings.limits.body, settings.limits.parts) == (16 * 1024**2, 50)
    assert settings.pki.anchors == (home / "root.pem", Path("/etc/anchors/other.pem"))
    assert settings.pki.crls == ()
    assert settings.pki.revocation == "if_present"
    assert settings.delivery.lease == timedelta(minutes=2)
    assert settings.delivery.poll == timedelta(seconds=0.5)
    assert settings.delivery.first_retry == timedelta(seconds=1.5)
    assert settings.delivery.longest_retry == timedelta(hours=2)
    assert settings.share.folders == (home / "own", Path("~/more").expanduser())
    assert list(settings.agency) == ["KR-FOOD", "KR-PLANT"]
    food, plant = settings.agency.values()
    assert (food.endpoint, food.wsdl, food.lane) == ("https://food.example/soap", "food.wsdl", 2)
    assert (food.retries, plant.retries) == (0, None)
    assert (plant.channel, plant.endpoint) == ("mailbox", None)
    assert settings.customs.endpoint == "http://customs.example:8000/in?x=1"


def test_the_file_is_found_by_option_then_by_environment(tmp_path):
    (tmp_path / "other").mkdir()
    option = write(tmp_path, '[hub]\nname = "option"')
    variable = write(tmp_path / "other", '[hub]\nname = "variable"')
    environ = {"GATEWAY_CONFIG": str(variable)}
    assert load_settings(option, environ=environ).hub.name == "option"
    found = load_settings(environ=environ)
    assert found.hub.name == "variable"
    assert found.home_folder == tmp_path / "other" / "gateway-home"
    assert load_settings(environ={"GATEWAY_CONFIG": ""}, home=tmp_path).hub.name == "Single Window Hub"


def test_home_given_overrides_the_file(tmp_path):
    settings = load_settings(write(tmp_path, FULL), home=tmp_path / "elsewhere", environ={})
    assert settings.home_folder == settings.hub.home == tmp_path / "elsewhere"
    assert settings.http.tls_certificate == tmp_path / "elsewhere" / "tls.pem"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("sqlite:///rows.sqlite3", "sqlite:///{home}/rows.sqlite3"),
        ("sqlite:////var/rows.sqlite3", "sqlite:////var/rows.sqlite3"),
        ("", "sqlite:///{home}/gateway.sqlite3"),
        ("postgresql+psycopg:///x?host=/run", "postgresql+psycopg:///x?host=/run"),
    ],
)
def test_a_sqlite_file_lies_in_the_home(tmp_path, url, found):
    settings = load_settings(write(tmp_path, f'[database]\nurl = "{url}"'), home=tmp_path, environ={})
    assert settings.database.url == found.format(home=tmp_path)


def test_the_url_may_be_a_secret_and_is_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE", "postgresql://u:hunter2@db/x")
    settings = load_settings(write(tmp_path, '[database]\nurl = { env = "DATABASE" }'), environ={})
    assert settings.database.url == "postgresql://u:hunter2@db/x"
    assert "hunter2" not in repr(settings)
    (tmp_path / "url").write_text("postgresql://u:hunter3@db/x\n")
    file = write(tmp_path, '[database]\nurl = { file = "url" }')
    assert load_settings(file, home=tmp_path, environ={}).database.url.endswith("hunter3@db/x")


NEWER = """[hub]
version = "{version}"
colour = "red"
[http]
port = 8081
zone = "east"
[agency.A]
endpoint = "http://a"
zone = "west"
[weather]
url = "http://b"
"""
#: What no version knows.
LEFT_OUT = ["hub.colour", "http.zone", "agency.A.zone", "weather"]


@pytest.fixture
def old_program(monkeypatch):
    monkeypatch.setattr("gateway.config.settings_file.__version__", "0.1.0")


@pytest.mark.parametrize("version", ["0.1.1", "0.2", "0.1.0.1", "10.0.0"])
@pytest.mark.usefixtures("old_program")
def test_keys_of_a_newer_version_are_left_out_and_told(tmp_path, version):
    file = write(tmp_path, NEWER.format(version=version))
    settings = load_settings(file, home=tmp_path, environ={})
    assert (settings.http.port, settings.agency["A"].endpoint) == (8081, "http://a")
    assert sorted(find_newer_keys(file, tmp_path)) == sorted(LEFT_OUT)


@pytest.mark.parametrize(
    "line",
    ["[delivery]\ncrashes = {}", '[agency.KPTA]\nendpoint = "http://a"\nlane = {}', "[http]\nthreads = {}"],
)
def test_a_count_is_an_integer_of_the_database(tmp_path, line):
    assert load_settings(write(tmp_path, line.format(2**31 - 1)), environ={})
    assert "less than or equal to" in wrong(tmp_path, line.format(2**31)).detail


@pytest.mark.parametrize("version", ["0.1.0", "0.1", "0.0.9", ""])
@pytest.mark.usefixtures("old_program")
def test_keys_that_no_newer_version_explains_are_errors(tmp_path, version):
    file = write(tmp_path, NEWER.format(version=version))
    with pytest.raises(GatewayError) as caught:
        load_settings(file, home=tmp_path, environ={})
    assert caught.value.problem.id == "GW801"
    assert all(f"{key}: there is no such key" in caught.value.detail for key in LEFT_OUT)
    assert list(find_newer_keys(file, tmp_path)) == []


@pytest.mark.parametrize("version", ["next", "1.x", "-1", "1." + "9" * 5000, "1.", "\u0661"])
def test_what_is_no_version_explains_nothing(tmp_path, version):
    with pytest.raises(GatewayError) as caught:
        load_settings(write(tmp_path, NEWER.format(version=version)), environ={})
    assert "hub.version" in caught.value.detail
    assert "hub.colour: there is no such key" in caught.value.detail


def test_a_wrong_value_is_an_error_in_a_file_for_a_newer_version_too(tmp_path):
    text = NEWER.format(version="9").replace("8081", "70000")
    with pytest.raises(GatewayError) as caught:
        load_settings(write(tmp_path, text), environ={})
    assert "http.port" in caught.value.detail
    assert "no such key" not in caught.value.detail


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[http]\nprot = 1", "http.prot", "did you mean port"),
        ("[htp]\nport = 1", "htp", "did you mean http"),
        ("port = 1", "port", "no such key"),
        ("[hub]\nzzz = 1", "hub.zzz", "no such key"),
        ('[agency.A]\nendpoint = "http://a"\nlanes = 1', "agency.A.lanes", "did you mean lane"),
        ("[tls.'a.example']\nanchor = ['a']", "tls.a.example.anchor", "did you mean anchors"),
        ("[puller.A]\nagency = 1", "puller.A.agency", "no such key"),
        ("[http]\nport = 70000", "http.port", "65535"),
        ("[http]\nport = 'x'", "http.port", "integer"),
        ("[http]\nthreads = 0", "http.threads", "greater"),
        ("[http]\ntls_certificate = 'x'", "http", "tls_key"),
        ("[http]\npublic_url = 'sw.example'", "http.public_url", "URL"),
        ("[limits]\nbody = '16 MB'", "limits.body", "MiB"),
        ("[limits]\nbody = 0", "limits.body", "greater"),
        ("[delivery]\nlease = '2 minutes'", "delivery.lease", "duration"),
        ("[delivery]\nlease = '３０s'", "delivery.lease", "duration"),
        ("[limits]\nbody = '１６ MiB'", "limits.body", "MiB"),
        ("[delivery]\nlease = -1", "delivery.lease", "between"),
        ("[delivery]\nlease = true", "delivery.lease", "duration"),
        ("[delivery]\nlease = [1]", "delivery.lease", "duration"),
        ("[delivery]\nlease = 1e300", "delivery.lease", ""),
        ("[delivery]\nlease = nan", "delivery.lease", ""),
        ("[delivery]\nlease = '99999999999d'", "delivery.lease", ""),
        ("[http]\nthreads = true", "http.threads", "integer"),
        ("[limits]\nbody = 1.5", "limits.body", "integer"),
        ("[delivery]\nretries = true", "delivery.retries", "integer"),
        ("[pki]\nsigning_key = 'key.pem'", "pki.signing_key", ""),
        ("[pki]\nsigning_key = {}", "pki.signing_key", "one of the three"),
        ("[pki]\nsigning_key = { file = 'a', env = 'b' }", "pki.signing_key", "one of the three"),
        ("[pki]\nsigning_key = { path = 'a' }", "pki.signing_key.path", "no such key"),
        ("[pki.next]\nstarts = 2027-01-01T00:00:00", "pki.next.starts", "timezone"),
        ("[pki.next]\nstarts = 0001-01-01T00:00:00+09:00", "pki.next.starts", "years 1 to 9999 in UTC"),
        ("[pki.next]\nstarts = 2027-01-01T00:00:00Z", "pki.next", "starts, and signing_key or token"),
        ("[pki.next]\nsigning_key = { file = 'a' }", "pki.next", "starts, and signing_key or token"),
        ("[pki]\nrevocation = 'never'", "pki.revocation", "require"),
        ("[agency.A]\nchannel = 'pigeon'", "agency.A.channel", "soap"),
        ("[agency.A]", "agency.A", "endpoint"),
        ("[agency.A]\nendpoint = 'ftp://a'", "agency.A.endpoint", "http"),
        ("[tls.'a.example']\nlogin = 'hub'", "tls.a.example", "both or neither"),
        ("[tls.'a.example']\nlogin = 'a:b'\nlogin_password = { env = 'P' }", "tls.a.example", "colon"),
        ("[tls.'*']\nlogin = 'hub'\nlogin_password = { env = 'P' }", "", "for one host"),
        ("hub = 1", "hub", ""),
        ("agency = []", "agency", ""),
        ("[hub]\nparty = ''", "hub.party", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, key, words):
    error = wrong(tmp_path, text)
    assert error.location.endswith("gateway.toml")
    assert str(error).count(f"{key}: ") == 1
    assert words in error.detail
    assert f"{key}: " in error.detail


@pytest.mark.parametrize("text", ["[hub", "a = 1\na = 2", "\x00", "a = " + "[" * 5000])
def test_what_is_not_toml_is_a_problem(tmp_path, text):
    assert "not TOML" in wrong(tmp_path, text).detail


def test_what_is_not_text_is_a_problem(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(GatewayError, match=r"GW801 .*not TOML"):
        load_settings(path)


def test_a_file_that_is_not_there_or_too_large_is_a_problem(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(GatewayError, match=r"GW808 .*cannot be read"):
            load_settings(path)
    assert "larger" in wrong(tmp_path, "#" * (1024 * 1024 + 1)).detail


def test_many_mistakes_are_told_in_a_bounded_text(tmp_path):
    error = wrong(tmp_path, "[http]\n" + "\n".join(f"wrong{n} = 1" for n in range(500)))
    assert "and 495 more" in error.detail
    assert len(error.detail) < 1500
    long = wrong(tmp_path, f"[http]\n{'x' * 10_000} = 1\nport = '{'y' * 10_000}'")
    assert len(str(long)) < 1000


def test_a_secret_is_read_where_it_is(tmp_path):
    (tmp_path / "key").write_bytes(b"file secret")
    assert Secret(file=tmp_path / "key").read() == b"file secret"
    assert Secret(env="KEY").read({"KEY": "variable secret"}) == b"variable secret"


@pytest.mark.parametrize("key", ['"tls.key"', "5", '["tls.key"]'])
def test_a_secret_that_names_no_place_is_told_what_does(tmp_path: Path, key: str) -> None:
    with pytest.raises(GatewayError) as caught:
        load_settings(write(tmp_path, f"[http]\ntls_key = {key}"), environ={})
    assert 'http.tls_key: a secret is { file = "…" }' in caught.value.detail


@pytest.mark.parametrize(
    "value",
    [
        {"a.b": ["x", 'say "y"'], "c-d": 5, "": True, "가": "tab\there"},
        {},
        "C:\\new\nline \x00 \x7f \u2028 가",
        {"file": "/a b/key"},
    ],
)
def test_a_value_is_written_as_toml_reads_it(value: object) -> None:
    assert tomllib.loads(f"value = {format_toml(value)}") == {"value": value}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.5, "1.5s"), (30, "30s"), (1_000_001, "1000001s"), (400 * 86_400, "34560000s"), (1e-6, "0.000001s")],
)
def test_a_duration_is_written_as_it_is_read(tmp_path: Path, seconds: float, text: str) -> None:
    value = format_toml(timedelta(seconds=seconds))
    assert value == f'"{text}"'
    settings = load_settings(write(tmp_path, f"[delivery]\nlease = {value}"), environ={})
    assert settings.delivery.lease == timedelta(seconds=seconds)


def test_the_source_of_a_secret_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/gateway")
    for source in ({"file": "key.pem"}, {"env": "KEY"}, {"credential": "hub.key"}):
        assert tomllib.loads(f"key = {format_toml(Secret.model_validate(source))}") == {"key": source}


def test_a_utf8_mark_before_settings_or_a_secret_is_left_out(tmp_path):
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbffile secret\r\n")
    assert Secret(file=tmp_path / "key").read() == b"file secret\r\n"
    path = write(tmp_path, "\ufeff[delivery]\nworkers = 3\n")
    assert load_settings(path).delivery.workers == 3


def test_a_secret_may_be_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "hub.key").write_bytes(b"passed secret")
    words = '[pki]\nsigning_key = { credential = "hub.key" }\n'
    words += '[database]\nurl = { credential = "database.url" }'
    (folder / "database.url").write_text("postgresql://hub@db/gateway\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    settings = load_settings(write(tmp_path, words), environ={})
    assert settings.database.url == "postgresql://hub@db/gateway"
    assert settings.pki.signing_key.file == folder / "hub.key"
    assert settings.pki.signing_key.read() == b"passed secret"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(GatewayError) as missing:
        Secret(credential="hub.key").read()
    assert missing.value.problem is KEY_UNAVAILABLE
    assert "CREDENTIALS_DIRECTORY" in missing.value.detail


@pytest.mark.parametrize("name", ["", "../hub.key", "a/b", ".hidden", "a\x00b"])
def test_a_credential_has_a_plain_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/gateway")
    with pytest.raises(ValueError, match="credential"):
        Secret.model_validate({"credential": name})


@pytest.mark.parametrize("secret", [Secret(file=Path("/nowhere/key")), Secret(env="NO_SUCH_VARIABLE")])
def test_a_secret_that_is_not_there_is_a_problem(secret):
    with pytest.raises(GatewayError) as caught:
        secret.read({})
    assert caught.value.problem.id == "GW803"


@pytest.mark.parametrize(
    ("content", "token"),
    [
        (b"0123456789abcdef\r\n", "0123456789abcdef"),
        (b"\xef\xbb\xbf ab-._~+/89abcdef== ", "ab-._~+/89abcdef=="),
        (b"0123456789abcde", None),
        (b"", None),
        (b"0123456789 abcdef", None),
        (b"0123456789abcde\xff", None),
    ],
)
def test_the_status_token_is_one_of_rfc_6750(tmp_path, content, token):
    (tmp_path / "token").write_bytes(content)
    http = load_settings(write(tmp_path, '[http]\nstatus_token = { file = "token" }'), home=tmp_path).http
    if token is None:
        with pytest.raises(GatewayError, match=r"GW803 .*at least 16 characters"):
            http.read_status_token()
    else:
        assert http.read_status_token() == token


def test_settings_cannot_be_changed(tmp_path):
    settings = load_settings(home=tmp_path, environ={})
    with pytest.raises(ValidationError):
        settings.http.port = 1


def test_every_key_has_one_sentence():
    keys = describe_settings()
    assert len(keys) == len({key.name for key in keys}) > 40
    for key in keys:
        assert key.sentence.endswith("."), key.name
        assert key.sentence[0].isupper(), key.name
    names = {key.name for key in keys}
    assert {"hub.party", "http.tls_key", "agency.<code>.endpoint", "customs.endpoint"} <= names


def test_the_defaults_described_are_the_defaults_read(tmp_path):
    lines: dict[str, list[str]] = {}
    for key in describe_settings():
        section, _, name = key.name.rpartition(".")
        if key.default and "<code>" not in section and key.name not in {"hub.home", "database.url"}:
            lines.setdefault(section, []).append(f"{name} = {key.default}")
    text = "\n".join(f"[{section}]\n" + "\n".join(keys) for section, keys in lines.items())
    assert load_settings(write(tmp_path, text), home=tmp_path, environ={}) == load_settings(
        home=tmp_path, environ={}
    )


def test_the_limits_are_those_of_the_wire(tmp_path):
    limits = load_settings(home=tmp_path, environ={}).limits
    for name in type(limits).model_fields:
        if name not in ("held_messages", "posted_refusals"):
            assert getattr(limits, name) == getattr(DEFAULT_LIMITS, name), name


@pytest.mark.night
@given(st.text(max_size=80))
def test_no_text_gives_anything_but_settings_or_a_problem(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        found = load_settings(path, environ=os.environ)
    except GatewayError as error:
        found = error.problem
    assert isinstance(found, Settings) or found is SETTINGS_WRONG


@pytest.mark.long
def test_every_setting_is_read():
    """Some code reads each key, as an attribute, whatever its variable is called."""
    nodes = (node for path in list_sources() for node in ast.walk(parse_source(path)))
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert [key.name for key in describe_settings() if key.name.rpartition(".")[2] not in read] == []


def list_fields(section: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the settings of a section and of all sections in it, each with the place where it is declared."""
    for name, field in section.model_fields.items():
        yield f"{section.__name__}.{name}", field
        pending = [field.annotation]
        while pending:
            annotation = pending.pop()
            pending += get_args(annotation)
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from list_fields(annotation)


def test_no_time_of_the_settings_is_longer_than_the_calendar() -> None:
    """A length of time is bounded: added to now, it is a date still."""
    words = ("day", "hour", "minute", "second", "week", "month", "year")
    fields = dict(list_fields(Settings))
    assert {"TariffSettings.days", "FetchSettings.every", "MappingSettings.publishers"} <= set(fields)
    for place, field in fields.items():
        # Numbers of this kind carry the unit in their name.
        if any(word in place.rpartition(".")[2] for word in words):
            schema = str(TypeAdapter(Annotated[field.annotation, field]).json_schema())
            assert "maximum" in schema or "'integer'" not in schema, place
        if "timedelta" in str(field.annotation):
            with pytest.raises(ValidationError, match="between 0 and 10000 days"):
                TypeAdapter(Annotated[field.annotation, field]).validate_python("10001d")


@pytest.mark.parametrize("days", [0, 3661, 10**12])
def test_a_tariff_has_at_most_ten_years(tmp_path: Path, days: int) -> None:
    text = f'[fees.tariff.X]\namount = "1"\ncurrency = "KRW"\ndays = {days}\n'
    assert "fees.tariff.X.days" in str(wrong(tmp_path, text))


def test_an_address_and_the_code_of_an_agency_are_short_enough_for_an_index(tmp_path: Path) -> None:
    start, code = "https://id.example/", make_text_of_octets(128)
    address = start + make_text_of_octets(1024 - len(start))
    text = '[console.oidc]\nissuer = "{}"\nclient_id = "hub"\nclient_secret = {{ env = "S" }}\n'
    settings = load_settings(write(tmp_path, text.format(address)), environ={"S": "s"})
    assert settings.console.oidc.issuer == address
    error = str(wrong(tmp_path, text.format(address + "x")))
    assert "console.oidc.issuer" in error
    assert "an endpoint has at most 1,024 octets in UTF-8, and this one has 1,025" in error
    section = '[agency."{}"]\nendpoint = "https://agency.example/"\n'
    assert list(load_settings(write(tmp_path, section.format(code)), environ={}).agency) == [code]
    error = str(wrong(tmp_path, section.format(code + "x")))
    assert "a code has at most 128 octets in UTF-8, and this one has 129" in error


def test_an_address_and_the_code_of_an_agency_have_no_character_that_no_database_takes(
    tmp_path: Path,
) -> None:
    section = '[agency."{}"]\nendpoint = "https://agency.example/{}"\n'
    error = str(wrong(tmp_path, section.format("K\\u0000", "")))
    assert "a code must have printable characters only" in error
    error = str(wrong(tmp_path, section.format("KPTA", "\\u0000")))
    assert "an endpoint must have printable characters only" in error
