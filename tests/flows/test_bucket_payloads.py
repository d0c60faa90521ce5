"""A message with a large part is kept in a bucket, read from there, and removed by retention."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.store import find_object_problems, get_database_state, messages, read_transaction
from tests.flows.test_large_payloads import LARGE, KeptApart
from tests.kit.databases import in_turn
from tests.kit.kept_objects import KeptInBucket
from tests.kit.s3_bucket import BucketServer, serve_bucket

pytestmark = pytest.mark.long


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BucketServer]:
    with serve_bucket(tmp_path / "log") as found:
        yield found


@in_turn
def test_a_large_message_goes_into_the_bucket_and_out_of_it(
    engine: Engine, tmp_path: Path, server: BucketServer
) -> None:
    kept, bucket = KeptApart(engine, tmp_path), KeptInBucket(server, tmp_path)
    get_database_state(engine).objects = bucket.store
    parcel = kept.make()
    kept.story.house.post(parcel)
    with read_transaction(engine) as conn:
        (row,) = messages.list_messages(conn, action="Store")
        assert messages.load_payloads(conn, row.id)[1].content == LARGE
        assert not list(find_object_problems(conn))
    digest = row.parcel_sha256
    assert bucket.list(digest) == [digest]
    assert kept.count_files() == 0
    # A kept object that is changed outside is found; one that is lost as well.
    octets = bucket.read(digest)
    for change, problem in ((octets.upper(), "GW326"), (None, "GW325")):
        if change is None:
            bucket.store.remove_object(digest)
        else:
            bucket.replace(digest, change)
        with read_transaction(engine) as conn:
            (found,) = find_object_problems(conn)
        assert (found.problem.id, found.location) == (problem, bucket.store.describe_object(digest))
    bucket.replace(digest, octets)
    kept.story.clock.forward(days=11)
    assert kept.purge().octets > len(LARGE)
    assert not bucket.list(digest)
    kept.verify()
    bucket.close()
