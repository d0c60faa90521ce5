"""Large payloads are kept beside the database, from their arrival to their removal, and in a backup."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select

from gateway import failpoints
from gateway.cli import main
from gateway.errors import GatewayError
from gateway.evidence import TrustedEvidence, record_evidence, verify_all_evidence
from gateway.hub.node_upkeep import sweep_part_of_objects
from gateway.message_model import Payload
from gateway.operations import purge_octets
from gateway.store import (
    InsufficientStorageError,
    ObjectFolder,
    find_object_problems,
    get_database_state,
    make_engine,
    mark_new_store,
    mark_objects_of,
    messages,
    migrate_schema,
    payloads,
    read_transaction,
    sweep_objects,
    write_transaction,
)
from gateway.store.object_store import StoredBody
from gateway.store.transitions import evidence
from tests.flows.test_retention import ACT, Kept
from tests.kit import tables
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.house import signer_named
from tests.kit.kills import die_at
from tests.kit.rows import NOW

LARGE = b"%PDF-" + b"large" * 400_000


class KeptApart(Kept):
    """A story whose large octets are in a folder of its home."""

    def __init__(self, engine: Engine, home: Path) -> None:
        get_database_state(engine).objects = ObjectFolder(home / "payloads")
        super().__init__(engine, home)
        self.folder = ObjectFolder(home / "payloads")

    def make(self, content: bytes = LARGE) -> Any:
        """Return a message with a large part."""
        unit = self.story.broker.message("Store", b"<a/>")
        pdf = Payload("pdf.large", "application/pdf", content)
        large = self.story.broker.message("Store", payloads=(*unit.payloads, pdf))
        return self.story.broker.seal(large)

    def count_files(self) -> int:
        return sum(1 for part in range(256) for _ in self.folder.list_objects(part))

    def get_file(self) -> Path:
        with read_transaction(self.engine) as conn:
            (row,) = messages.list_messages(conn, action="Store")
        return Path(self.folder.describe_object(row.parcel_sha256))


@pytest.fixture
def kept(engine: Engine, tmp_path: Path) -> KeptApart:
    return KeptApart(engine, tmp_path)


@BOTH_AT_LANDING
def test_a_large_message_is_one_file_and_its_part_a_piece_of_it(kept: KeptApart) -> None:
    assert kept.count_files() == 0
    parcel = kept.make()
    kept.story.house.post(parcel)
    with read_transaction(kept.engine) as conn:
        (row,) = messages.list_messages(conn, action="Store")
        assert messages.load_payloads(conn, row.id)[1].content == LARGE
        largest = conn.execute(select(func.max(func.length(tables.payloads.c.content)))).scalar()
        assert int(largest or 0) < 1024**2
    assert kept.get_file().read_bytes() == parcel.read_octets()
    assert kept.count_files() == 1
    kept.verify()


@pytest.mark.long
def test_retention_removes_the_object(kept: KeptApart) -> None:
    parcel = kept.make()
    kept.story.house.post(parcel)
    kept.story.clock.forward(days=11)
    assert kept.purge().octets > len(LARGE)
    assert kept.count_files() == 0
    kept.verify()
    # The same octets under another id: the object is written again.
    kept.story.house.post(kept.make())
    assert kept.count_files() == 1


@BOTH_AT_LANDING
@pytest.mark.long
def test_what_retention_removes_while_it_is_read_is_told_as_removed(kept: KeptApart) -> None:
    """Checks, evidence and a download read in a snapshot that is older than the removal."""
    get_database_state(kept.engine).objects = mark_objects_of(kept.engine, kept.folder)
    mark_new_store(kept.engine, NOW)
    kept.story.house.post(kept.make())
    kept.story.clock.forward(days=11)
    trusted = TrustedEvidence(frozenset({signer_named("hub").certificate.sha256}))
    with read_transaction(kept.engine) as conn:
        (row,) = messages.list_messages(conn, action="Store")
        body = payloads.open_payload(conn, row.parcel_sha256)
        assert isinstance(body, StoredBody)
        before = verify_all_evidence(conn, trusted)
        assert kept.purge().octets > len(LARGE)
        assert kept.count_files() == 0
        assert not list(find_object_problems(conn))
        report = verify_all_evidence(conn, trusted)
        assert (report.octets, report.removed) == (before.octets - 1, before.removed + 1)
        for read in (body.open_stream, lambda: payloads.get_payload_octets(conn, row.parcel_sha256)):
            with pytest.raises(GatewayError, match=r"^GW320 .* were removed at "):
                read()
        with write_transaction(kept.engine) as other:
            other.execute(delete(evidence).where(evidence.c.kind == "purged"))
        with pytest.raises(GatewayError, match=r"^GW805 .* are gone, and no evidence says why"):
            verify_all_evidence(conn, trusted)


@pytest.mark.long
def test_octets_that_evidence_states_as_stored_may_not_be_removed_while_it_is_read(kept: KeptApart) -> None:
    get_database_state(kept.engine).objects = mark_objects_of(kept.engine, kept.folder)
    mark_new_store(kept.engine, NOW)
    kept.story.house.post(kept.make())
    kept.story.clock.forward(days=11)
    with read_transaction(kept.engine) as conn:
        (row,) = messages.list_messages(conn, action="Store")
    with write_transaction(kept.engine) as conn:
        record_evidence(conn, "reply", "message", row.id, row.parcel_sha256, {}, NOW)
    trusted = TrustedEvidence(frozenset({signer_named("hub").certificate.sha256}))
    with read_transaction(kept.engine) as conn:
        verify_all_evidence(conn, trusted)
        # Somebody takes the leaf away, by which the removal would spare them.
        with write_transaction(kept.engine) as other:
            other.execute(delete(evidence).where(evidence.c.kind == "reply"))
        assert kept.purge().octets > len(LARGE)
        assert kept.count_files() == 0
        with pytest.raises(GatewayError, match=r"^GW805 .* are gone, and no evidence says why"):
            verify_all_evidence(conn, trusted)


def test_upkeep_sweeps_and_goes_on_where_the_folder_fails(
    kept: KeptApart, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept.story.clock.forward(minutes=2)
    monkeypatch.setattr(ObjectFolder, "list_objects", lambda *_: (_ for _ in ()).throw(PermissionError("no")))
    sweep_part_of_objects(kept.story.hub.engine, kept.story.hub.clock())
    assert "large payloads cannot be swept now: no" in caplog.text


@pytest.mark.long
def test_a_purge_goes_on_where_the_store_is_away(
    kept: KeptApart, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept.story.house.post(kept.make())
    kept.story.clock.forward(days=11)
    away = InsufficientStorageError("the object store does not answer", "s3://bucket/key")
    monkeypatch.setattr(ObjectFolder, "remove_object", lambda *_: (_ for _ in ()).throw(away))
    assert kept.purge().octets > len(LARGE)
    assert "large payloads are removed later, by a worker: GW806 the object store does not" in caplog.text
    monkeypatch.undo()
    kept.verify()
    future = datetime.now(UTC) + timedelta(days=2)
    assert sum(sweep_objects(kept.engine, part, future) for part in range(256)) == 1


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_kill_in_the_purge_leaves_at_most_an_object_to_sweep(kept: KeptApart, side: str) -> None:
    kept.story.house.post(kept.make())
    kept.story.clock.forward(days=11)

    def purge(hub: Any) -> None:
        get_database_state(hub.engine).objects = kept.folder
        # Behind the case, and the look for another one, comes the mailbox.
        failpoints._passage_counts[failpoints._FAILPOINT_NAME] = -2
        purge_octets(hub.engine, kept.settings, ACT, now=kept.story.clock())

    die_at(kept.story, f"retention.purge.{side}_commit", purge)
    assert kept.count_files() == 1
    with read_transaction(kept.engine) as conn:
        assert not list(find_object_problems(conn))
    future = datetime.now(UTC) + timedelta(days=2)
    swept = sum(sweep_objects(kept.engine, part, future) for part in range(256))
    assert swept == (1 if side == "after" else 0)
    kept.verify()


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_kill_at_the_receipt_leaves_nothing_that_stays(kept: KeptApart, side: str) -> None:
    """The object is there before the row: what was not committed is swept, what was is whole."""
    parcel = kept.make()

    def post(hub: Any) -> None:
        get_database_state(hub.engine).objects = kept.folder
        kept.story.house.post(parcel, hub)

    die_at(kept.story, f"receive.message.{side}_commit", post)
    assert kept.count_files() == 1
    if side == "before":
        future = datetime.now(UTC) + timedelta(days=2)
        assert sum(sweep_objects(kept.engine, part, future) for part in range(256)) == 1
        assert b"Acknowledgment" in kept.story.house.post(parcel).body
    assert kept.get_file().read_bytes() == parcel.read_octets()
    kept.verify()


@pytest.mark.long
def test_a_backup_is_restored_and_checked(
    sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First the database, then the folder: what is named is there. `gateway check` reads every object."""
    home, restored = tmp_path / "home", tmp_path / "restored"
    home.mkdir()
    engine = make_engine(sqlite_url)
    migrate_schema(engine)
    kept = KeptApart(engine, home)
    get_database_state(engine).objects = mark_objects_of(engine, kept.folder)
    mark_new_store(engine, NOW)
    kept.story.house.post(kept.make())
    file = kept.get_file()
    engine.dispose()
    shutil.copytree(home, restored)
    shutil.copy(sqlite_url.removeprefix("sqlite:///"), restored / "gateway.sqlite3")
    (restored / "gateway.toml").write_text('[hub]\nhome = "."\n')
    copy = restored / file.relative_to(home)

    def find() -> list[str]:
        main(["check", "--home", str(restored)])
        out = capsys.readouterr().out
        return [line for line in out.splitlines() if line.startswith(("GW325", "GW326", "GW811"))]

    assert find() == []
    content = copy.read_bytes()
    copy.write_bytes(content[:-1] + b"!")
    assert find() == [f"GW326 the object no longer has the digest {copy.name} ({copy})"]
    copy.unlink()
    assert find() == [f"GW325 the object is not there ({copy})"]
    copy.write_bytes(content)
    assert find() == []
