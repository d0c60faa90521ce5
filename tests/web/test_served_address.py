"""The address that the served WSDL bears is the one by which it was asked for, if that is ours."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gateway.web import build_application
from gateway.web.wsgi_application import ServedAddress
from gateway.wire import parse_xml
from gateway_conformance.verbs.conformance_home import make_suite_home

EVERYWHERE = ServedAddress("0.0.0.0", 8443, host_names=("hub.example.org",))
HERE = ServedAddress("127.0.0.1", 8080)
SOAP = "{http://schemas.xmlsoap.org/wsdl/soap/}"
MACHINE = socket.gethostname().lower()
#: An address for documentation: no machine has it (RFC 5737).
NOBODY = "192.0.2.7"


def ask(host: str, **more: str) -> dict[str, Any]:
    return {"HTTP_HOST": host, "wsgi.url_scheme": "http", "REMOTE_ADDR": "10.9.9.9", **more}


@pytest.mark.parametrize(
    ("served", "host", "url"),
    [
        (HERE, "127.0.0.1:8080", "http://127.0.0.1:8080"),
        (HERE, "localhost:9000", "http://localhost:9000"),
        (HERE, "LocalHost", "http://localhost"),
        (HERE, f"{MACHINE}:8080", f"http://{MACHINE}:8080"),
        (EVERYWHERE, "hub.example.org", "http://hub.example.org"),
        (EVERYWHERE, "HUB.example.org:8443", "http://hub.example.org:8443"),
        (EVERYWHERE, "127.0.0.1:8443", "http://127.0.0.1:8443"),
        (EVERYWHERE, "127.0.0.9", "http://127.0.0.9"),
        (ServedAddress("::", 80), "[::1]:81", "http://[::1]:81"),
        (ServedAddress("hub.local", 8080), "hub.local:8080", "http://hub.local:8080"),
    ],
)
def test_a_host_of_ours_is_repeated(served: ServedAddress, host: str, url: str) -> None:
    assert served.find_base_url(ask(host)) == url


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8443",
            "hub.example.org.evil.example",
            "hub.example.org@evil.example",
        ),
        *(NOBODY, "0.0.0.0", "224.0.0.1", "[2001:db8::1]", "hub.example.org:0", "hub.example.org:99999"),
        *(
            "",
            " ",
            "hub.example.org/x",
            "a b",
            'x"/><y',
            "hub.example.org:80:80",
            "[::1",
            "%00",
            "é",
            "x" * 300,
        ),
    ],
)
def test_a_foreign_host_is_not_repeated(host: str) -> None:
    assert EVERYWHERE.find_base_url(ask(host)) == "http://hub.example.org:8443"


def test_at_one_address_no_other_one_is_ours() -> None:
    served = ServedAddress("192.0.2.1", 8080)
    for host in ("127.0.0.1:8080", "localhost", NOBODY):
        assert served.find_base_url(ask(host)) == "http://192.0.2.1:8080"


def test_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **_: object) -> None:
        raise AssertionError(words)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "gethostbyname", refuse)
    assert EVERYWHERE.find_base_url(ask("evil.example")) == "http://hub.example.org:8443"


def test_where_no_name_is_set_the_machine_is_named() -> None:
    served = ServedAddress("0.0.0.0", 8080)
    assert served.find_base_url(ask("evil.example")) == f"http://{MACHINE}:8080"


def test_over_tls_the_address_is_https() -> None:
    environ = ask("127.0.0.1:8443", **{"wsgi.url_scheme": "https"})
    assert EVERYWHERE.find_base_url(environ) == "https://127.0.0.1:8443"
    assert EVERYWHERE.find_base_url(environ | {"HTTP_HOST": "127.0.0.1"}) == "https://127.0.0.1"
    served = ServedAddress("hub.local", 8443, "https")
    assert served.find_base_url(environ | {"HTTP_HOST": "evil.example"}) == "https://hub.local:8443"


def test_only_our_own_proxy_says_what_it_was_asked_for() -> None:
    served = ServedAddress("127.0.0.1", 8080, "http", ("hub.example.org",), frozenset({"10.0.0.1"}))
    said = {"HTTP_X_FORWARDED_PROTO": "http, https", "HTTP_X_FORWARDED_HOST": "evil.example, hub.example.org"}
    assert served.find_base_url(ask("localhost", REMOTE_ADDR="10.0.0.1", **said)) == "https://hub.example.org"
    assert served.find_base_url(ask("localhost", REMOTE_ADDR="10.0.0.2", **said)) == "http://localhost"
    odd = said | {"HTTP_X_FORWARDED_PROTO": "gopher", "HTTP_X_FORWARDED_HOST": "evil.example"}
    assert (
        served.find_base_url(ask("localhost", REMOTE_ADDR="10.0.0.1", **odd)) == "http://hub.example.org:8080"
    )


def fetch_location(application: Any, host: str) -> str:
    def start(status: str, _headers: Iterable[tuple[str, str]]) -> None:
        assert status == "200 OK"

    environ = ask(host, REQUEST_METHOD="GET", PATH_INFO="/soap/agency", QUERY_STRING="wsdl")
    root = parse_xml(b"".join(application(environ, start)))
    return str(next(root.iter(f"{SOAP}address")).get("location"))


@pytest.mark.long
def test_the_served_wsdl_bears_the_address_of_the_request(tmp_path: Path) -> None:
    application = build_application(make_suite_home(tmp_path / "home", "[http]\nport = 8900\n"))
    assert fetch_location(application, "localhost:8900") == "http://localhost:8900/soap/agency"
    assert fetch_location(application, "evil.example") == "http://127.0.0.1:8900/soap/agency"


@pytest.mark.long
def test_a_public_url_stands_before_every_request(tmp_path: Path) -> None:
    more = '[http]\npublic_url = "https://hub.example.org"\n'
    application = build_application(make_suite_home(tmp_path / "home", more))
    assert fetch_location(application, "localhost:8900") == "https://hub.example.org/soap/agency"
