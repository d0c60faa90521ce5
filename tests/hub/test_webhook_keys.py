"""The key of the webhooks is one for all nodes, which the database watches over."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.hub import (
    find_webhook_key_problem,
    place_new_key,
    prepare_new_key,
    read_webhook_key,
    renew_webhook_key,
    take_webhook_key,
)
from gateway.store import event_readers, parties, read_transaction, write_transaction
from tests.kit.databases import BOTH_AT_LANDING

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Node:
    """A node with a home of its own; `octet` fills the keys that it makes."""

    def __init__(self, engine: Engine, home: Path, octet: int) -> None:
        self.engine, self.path, self._octet = engine, home / "webhook.key", octet

    def create(self, name: str = "hook") -> bytes:
        with write_transaction(self.engine) as conn:
            key = take_webhook_key(conn, self.path, lambda number: bytes([self._octet]) * number, NOW)
            event_readers.insert_webhook(conn, name, "broker1", "https://hooks.example/", NOW)
        return key

    def read(self) -> bytes:
        return read_webhook_key(self.engine, self.path)

    def check(self) -> GatewayError | None:
        return find_webhook_key_problem(self.engine, self.path, lambda _: None)

    def put(self, octet: int) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_bytes(bytes([octet]) * 32)


@pytest.fixture
def nodes(engine: Engine, tmp_path: Path) -> list[Node]:
    with write_transaction(engine) as conn:
        parties.register_party(conn, "broker1", "Broker", "applicant", NOW)
    return [Node(engine, tmp_path / f"node{number}", number) for number in (1, 2)]


def refuse(node: Node, *, creates: bool = False) -> str:
    """Return the detail of the refusal of a node, which must be GW803 of the setting."""
    with pytest.raises(GatewayError) as refused:
        node.create("another") if creates else node.read()
    assert (refused.value.problem, refused.value.location) == (KEY_UNAVAILABLE, "api.webhook_key")
    return refused.value.detail


@BOTH_AT_LANDING
def test_a_node_without_the_key_makes_none(nodes: list[Node]) -> None:
    first, second = nodes
    assert second.check() is None
    key = first.create()
    assert (first.path.stat().st_mode & 0o777, first.read()) == (0o600, key)
    for creates in (True, False):
        assert "this node has no key of the webhooks: copy the file from the node" in refuse(
            second, creates=creates
        )
    assert not second.path.exists()
    problem = second.check()
    assert problem is not None
    assert problem.detail == refuse(second)
    assert first.check() is None


@BOTH_AT_LANDING
def test_a_node_with_another_key_does_not_use_it(nodes: list[Node]) -> None:
    first, second = nodes
    first.create()
    second.put(2)
    for creates in (True, False):
        assert "this node has another key of the webhooks than the other nodes" in refuse(
            second, creates=creates
        )
    assert second.check() is not None
    second.put(1)
    assert second.create("copied") == second.read() == first.read()
    assert second.check() is None


@BOTH_AT_LANDING
def test_the_key_of_an_earlier_version_counts_from_its_first_use(nodes: list[Node]) -> None:
    first, second = nodes
    with write_transaction(first.engine) as conn:
        event_readers.insert_webhook(conn, "earlier", "broker1", "https://hooks.example/", NOW)
    assert "this node has no key" in refuse(second, creates=True), "another node has the key of that webhook"
    assert second.check() is not None
    first.put(1)
    assert first.check() is None
    assert first.read() == bytes([1]) * 32
    second.put(2)
    assert "this node has another key" in refuse(second)


@BOTH_AT_LANDING
def test_two_nodes_that_make_keys_at_the_same_moment_have_one(nodes: list[Node]) -> None:
    first, second = nodes
    refusals: list[str] = []
    thread = threading.Thread(target=lambda: refusals.append(refuse(second, creates=True)))
    with write_transaction(first.engine) as conn:
        key = take_webhook_key(conn, first.path, lambda number: b"k" * number, NOW)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive(), "it waits for the first one"
    thread.join()
    assert len(refusals) == 1
    assert "this node has no key" in refusals[0]
    assert not second.path.exists()
    assert first.read() == key
    assert [file.name for file in first.path.parent.iterdir()] == ["webhook.key"]


@BOTH_AT_LANDING
def test_a_digest_that_is_rolled_back_binds_nobody(nodes: list[Node]) -> None:
    first, second = nodes

    class StoppedError(Exception):
        pass

    def stop() -> None:
        with write_transaction(first.engine) as conn:
            made.append(take_webhook_key(conn, first.path, lambda number: b"k" * number, NOW))
            raise StoppedError

    made: list[bytes] = []
    with pytest.raises(StoppedError):
        stop()
    assert first.check() is None
    assert second.check() is None
    assert [first.create()] == made, "the file of the node is its key"


@BOTH_AT_LANDING
def test_a_key_file_left_by_a_rollback_is_told_once_another_node_has_made_the_key(nodes: list[Node]) -> None:
    first, second = nodes
    first.put(1)
    second.create()
    assert "this node has another key" in refuse(first)
    assert "this node has another key" in refuse(first, creates=True)


@BOTH_AT_LANDING
def test_a_key_that_cannot_be_made_is_unavailable(nodes: list[Node], tmp_path: Path) -> None:
    node = nodes[0]
    (tmp_path / "file").write_text("no folder")
    node.path = tmp_path / "file" / "webhook.key"
    assert "the key of the webhooks cannot be" in refuse(node, creates=True)
    assert node.check() is None, "the digest is rolled back with the webhook"


def test_a_home_without_links_is_told_and_nothing_is_left(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_link(_source: object, _target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse_link)
    assert "cannot be made: Operation not permitted" in refuse(nodes[0], creates=True)
    assert list(nodes[0].path.parent.iterdir()) == []


@BOTH_AT_LANDING
def test_a_renewed_key_ends_every_webhook(nodes: list[Node]) -> None:
    first, second = nodes
    first.create()
    second.put(1)
    first.path.unlink()
    assert "`gateway webhook renew`" in refuse(first)
    new_key = b"n" * 32
    left_path = first.path.with_name(f"{first.path.name}.1.new")
    left_path.write_bytes(bytes(32))  # by a process that was killed
    new_path = prepare_new_key(first.path, new_key)
    assert not left_path.exists()
    with write_transaction(first.engine) as conn:
        ended = renew_webhook_key(conn, new_key, NOW)
    place_new_key(new_path, first.path)
    assert [row.name for row in ended] == ["hook"]
    with read_transaction(first.engine) as conn:
        assert event_readers.find_webhook(conn, "hook") is None
    assert first.read() == first.create("after") == new_key
    assert "this node has another key" in refuse(second)


def test_a_renewal_beside_a_look_is_no_problem(nodes: list[Node]) -> None:
    """The digest is committed before the file is put in its place; a look comes between the two."""
    node, key = nodes[0], b"k" * 32
    node.create()
    new_path = prepare_new_key(node.path, key)
    with write_transaction(node.engine) as conn:
        renew_webhook_key(conn, key, NOW)
    waited: list[float] = []

    def finish_renewal(seconds: float) -> None:
        waited.append(seconds)
        place_new_key(new_path, node.path)

    assert find_webhook_key_problem(node.engine, node.path, finish_renewal) is None
    assert waited == [1.0]
    assert find_webhook_key_problem(node.engine, node.path, finish_renewal) is None
    assert len(waited) == 1, "nobody waits where nothing is wrong"
