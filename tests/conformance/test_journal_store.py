"""What `gateway submit --folder` stores: on disk before the receipt, and nobody else's file written over."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.client.message_folder import Journal, JournalStore
from gateway.protocols import OpenedMessage
from tests.kit.house import Neighbour


def open_message(content: bytes) -> OpenedMessage:
    unit = Neighbour("broker1", lambda: datetime(2026, 11, 20, 9, tzinfo=UTC)).message(content=content)
    return cast(OpenedMessage, SimpleNamespace(unit=unit))


def test_two_processes_that_store_in_one_folder_keep_all_documents(tmp_path: Path) -> None:
    stores = [JournalStore(tmp_path), JournalStore(tmp_path)]
    for number in range(4):
        stores[number % 2].write_message({"action": "Result"}, open_message(b"<result n='%d'/>" % number))
    rows = list(JournalStore(tmp_path).read_rows())
    contents = [(tmp_path / row["file"]).read_bytes() for row in rows]
    assert contents == [b"<result n='%d'/>" % number for number in range(4)]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_document_folder_and_row_are_on_disk_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronized: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synchronized.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    store = JournalStore(tmp_path)
    monkeypatch.setattr(os, "fsync", note)
    store.write_message({"action": "Notice"}, open_message(b"<notice/>"))
    assert synchronized == ["0001-Notice.xml", tmp_path.name, "messages.jsonl"]


def test_a_line_that_the_disk_takes_in_parts_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "calls.jsonl")
    write = os.write

    def write_little(descriptor: int, octets: Any) -> int:
        return write(descriptor, octets[:5])

    monkeypatch.setattr(os, "write", write_little)
    journal.write({"action": "Notice"})
    monkeypatch.undo()
    assert (tmp_path / "calls.jsonl").read_text() == '{"action":"Notice"}\n'
