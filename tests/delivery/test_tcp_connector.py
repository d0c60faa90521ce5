"""A connection by a moment, whatever the look-up of a name does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.delivery import HttpClient, HttpLimits, http_client
from gateway.delivery.http_client import connect_by_deadline
from gateway.errors import GatewayError
from tests.kit.ports import find_free_port

_REAL = socket.getaddrinfo


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def soon() -> float:
    return time.monotonic() + 60


def test_names_and_addresses_are_reached(listener: socket.socket) -> None:
    for host in ("127.0.0.1", "localhost"):
        connect_by_deadline(host, listener.getsockname()[1], soon()).close()


def test_the_next_address_is_tried_after_one_that_refuses(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, refusing = listener.getsockname()[1], find_free_port()

    def two(*_: Any, **__: Any) -> list[Any]:
        return [*_REAL("127.0.0.1", refusing), *_REAL("127.0.0.1", port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(http_client.socket, "getaddrinfo", two)
    connect_by_deadline("two.example", port, soon()).close()


@pytest.mark.long
@pytest.mark.parametrize("silent", [1, 3])
def test_addresses_that_drop_packets_leave_time_for_the_next_one(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    port = listener.getsockname()[1]
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # A full queue of connections drops further ones, as a firewall does.
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        dropped = _REAL(*full.getsockname(), type=socket.SOCK_STREAM) * silent

        def resolve(*_: Any, **__: Any) -> list[Any]:
            return [*dropped, *_REAL("127.0.0.1", port, type=socket.SOCK_STREAM)]

        monkeypatch.setattr(http_client.socket, "getaddrinfo", resolve)
        began = time.monotonic()
        connect_by_deadline("two.example", port, began + 2).close()
        assert 0.4 < time.monotonic() - began < 2
        for one in waiting:
            one.close()


def test_an_address_that_is_not_allowed_has_no_share_of_the_time(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]

    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [*_REAL("192.0.2.1", port, type=socket.SOCK_STREAM), *_REAL("127.0.0.1", port)[:1]]

    monkeypatch.setattr(http_client.socket, "getaddrinfo", resolve)
    connect_by_deadline("two.example", port, soon(), lambda address: address == "127.0.0.1").close()
    with pytest.raises(PermissionError, match="not allowed"):
        connect_by_deadline("two.example", port, soon(), lambda _address: False)


def test_a_name_that_is_not_found() -> None:
    with pytest.raises(OSError, match=r"not known|resolution|No address"):
        connect_by_deadline("nobody.invalid", 80, soon())


def test_a_look_up_that_hangs_ends_with_the_time_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def hang(host: str, *rest: Any, **more: Any) -> Any:
        if host == "slow.example":
            assert go_on.wait(20)
        return _REAL("127.0.0.1", *rest, **more)

    monkeypatch.setattr(http_client.socket, "getaddrinfo", hang)
    monkeypatch.setattr(http_client, "_resolve_addresses", http_client._resolve_name)
    bounds = HttpLimits(connect_seconds=0.3, total_seconds=0.5)  # short: they must run out
    try:
        with pytest.raises(GatewayError) as caught:
            HttpClient(bounds).post("http://slow.example:9/", {}, b"")
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

    monkeypatch.setattr(http_client, "_lookup_slots", threading.BoundedSemaphore(1))
    monkeypatch.setattr(http_client.socket, "getaddrinfo", hang)
    try:
        for words in ("slow.example was not found", "too many names"):
            with pytest.raises(TimeoutError, match=words):
                http_client._resolve_name("slow.example", 80, time.monotonic() + 0.1)
    finally:
        go_on.set()
    assert http_client._resolve_name("slow.example", 80, soon()) == []


def test_the_address_that_is_judged_is_the_one_that_is_connected_to(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere at each look-up is looked up once."""
    port, judged = listener.getsockname()[1], list[str]()
    addresses = iter(["127.0.0.2", "127.0.0.1"])

    def rebind(host: str, *_: Any, **more: Any) -> list[Any]:
        if more.get("flags"):
            raise socket.gaierror
        return _REAL(next(addresses), port, type=socket.SOCK_STREAM)

    def judge(address: str) -> bool:
        judged.append(address)
        return address == "127.0.0.2"

    monkeypatch.setattr(http_client.socket, "getaddrinfo", rebind)
    # Nobody listens at the address that was judged good.
    with pytest.raises(ConnectionRefusedError):
        connect_by_deadline("rebinding.example", port, soon(), judge)
    assert judged == ["127.0.0.2"]


def test_an_address_that_is_not_allowed_is_passed_over(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, judged = listener.getsockname()[1], list[str]()

    def two(*_: Any, **__: Any) -> list[Any]:
        return [
            *_REAL("127.0.0.2", port, type=socket.SOCK_STREAM),
            *_REAL("127.0.0.1", port, type=socket.SOCK_STREAM),
        ]

    def judge(address: str) -> bool:
        judged.append(address)
        return address == "127.0.0.1"

    monkeypatch.setattr(http_client.socket, "getaddrinfo", two)
    with connect_by_deadline("two.example", port, soon(), judge) as found:
        assert found.getpeername()[0] == "127.0.0.1"
    with pytest.raises(PermissionError, match="not allowed"):
        connect_by_deadline("two.example", port, soon(), lambda _: False)
    assert judged == ["127.0.0.2", "127.0.0.1"]


def test_a_look_up_for_which_no_thread_can_be_started_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def start_no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(http_client, "_lookup_slots", threading.BoundedSemaphore(1))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_no_thread)
        for _ in range(2):
            with pytest.raises(RuntimeError):
                http_client._resolve_name("localhost", 80, time.monotonic() + 0.1)
    assert http_client._resolve_name("localhost", 80, time.monotonic() + 10)
