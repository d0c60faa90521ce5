"""A connection by a moment, whatever the look-up of a name does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.delivery import tcp_connector
from gateway.delivery.http_client import HttpClient, HttpLimits
from gateway.delivery.tcp_connector import connect_by_deadline
from gateway.errors import GatewayError

_REAL = socket.getaddrinfo


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def soon() -> float:
    return time.monotonic() + 5


def test_names_and_addresses_are_reached(listener: socket.socket) -> None:
    for host in ("127.0.0.1", "localhost"):
        connect_by_deadline(host, listener.getsockname()[1], soon()).close()


def test_the_next_address_is_tried_after_one_that_refuses(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()[1]

    def two(*_: Any, **__: Any) -> list[Any]:
        return [*_REAL("127.0.0.1", refusing), *_REAL("127.0.0.1", port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(tcp_connector.socket, "getaddrinfo", two)
    connect_by_deadline("two.example", port, soon()).close()


def test_a_name_that_is_not_found() -> None:
    with pytest.raises(OSError, match=r"not known|resolution|No address"):
        connect_by_deadline("nobody.invalid", 80, soon())


def test_a_look_up_that_hangs_ends_with_the_time_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def hang(host: str, *rest: Any, **more: Any) -> Any:
        if host == "slow.example":
            assert go_on.wait(20)
        return _REAL("127.0.0.1", *rest, **more)

    monkeypatch.setattr(tcp_connector.socket, "getaddrinfo", hang)
    monkeypatch.setattr(tcp_connector, "_resolve_addresses", tcp_connector._look_up_name)
    try:
        with pytest.raises(GatewayError) as caught:
            HttpClient(HttpLimits(connect_seconds=0.3, total_seconds=0.5)).post(
                "http://slow.example:9/", {}, b""
            )
        assert not go_on.is_set()
    finally:
        go_on.set()
    assert caught.value.problem.id == "GW601"
    assert "slow.example was not found" in caught.value.detail


def test_look_ups_left_behind_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        go_on.wait(20)
        return []

    monkeypatch.setattr(tcp_connector, "_under_way", threading.BoundedSemaphore(1))
    monkeypatch.setattr(tcp_connector.socket, "getaddrinfo", hang)
    try:
        for words in ("slow.example was not found", "too many names"):
            with pytest.raises(TimeoutError, match=words):
                tcp_connector._look_up_name("slow.example", 80, time.monotonic() + 0.1)
    finally:
        go_on.set()
    assert tcp_connector._look_up_name("slow.example", 80, soon()) == []
