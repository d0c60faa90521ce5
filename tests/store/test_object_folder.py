"""A folder of large octets: what only a folder can be asked."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.store import ObjectFolder

LARGE = b"large octets" * 10
DIGEST = sha256(LARGE).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> ObjectFolder:
    return ObjectFolder(tmp_path / "payloads", inline=10)


def test_what_a_killed_process_was_writing_is_removed(folder: ObjectFolder) -> None:
    mine = folder.open_arriving_file()
    mine.write(b"half")
    child = os.fork()
    if not child:
        folder.open_arriving_file().write(b"of a killed one")
        os._exit(9)
    os.waitpid(child, 0)
    assert len(list(mine.path.parent.iterdir())) == 2
    assert folder.remove_abandoned_files() == 1
    assert [one.name for one in mine.path.parent.iterdir()] == [mine.path.name]
    mine.close()
    assert not list(mine.path.parent.iterdir())


def test_a_folder_that_cannot_be_written_is_no_room(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(GatewayError, match="GW806") as refused:
        ObjectFolder(tmp_path / "file").put_object(DIGEST, MemoryBody(LARGE))
    assert refused.value.location == str(tmp_path / "file")
