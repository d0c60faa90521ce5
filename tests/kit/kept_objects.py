"""The object stores as a test sees them: what is in them, and how it grows old or is changed outside."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from gateway.store import ObjectBucket, ObjectFolder
from tests.kit.s3_bucket import BucketServer
from tests.kit.s3_server import BUCKET

__all__ = ["KeptInBucket", "KeptInFolder", "KeptStore"]

_numbers = itertools.count(1)


class KeptStore(Protocol):
    """A store, and the hands of somebody who changes it beside the gateway."""

    @property
    def store(self) -> ObjectFolder | ObjectBucket: ...

    def read(self, digest: str) -> bytes: ...

    def replace(self, digest: str, octets: bytes) -> None:
        """Give an object other octets."""

    def list(self, *digests: str) -> list[str]:
        """Return what is beside these digests."""

    def list_unfinished(self) -> list[str]:
        """Return what is left of objects that were not stored."""

    def age(self, digest: str) -> datetime:
        """Make an object two days old; return a time after that."""

    def close(self) -> None: ...


class KeptInFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ObjectFolder(folder, inline=10)

    def read(self, digest: str) -> bytes:
        return Path(self.store.describe_object(digest)).read_bytes()

    def replace(self, digest: str, octets: bytes) -> None:
        Path(self.store.describe_object(digest)).write_bytes(octets)

    def list(self, *_: str) -> list[str]:
        return [digest for part in range(256) for digest, _ in self.store.list_objects(part)]

    def list_unfinished(self) -> list[str]:
        return os.listdir(self.folder / "new")

    def age(self, digest: str) -> datetime:
        two_days_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
        os.utime(self.store.describe_object(digest), (two_days_ago, two_days_ago))
        return datetime.now(UTC) - timedelta(days=1)

    def close(self) -> None:
        pass


class KeptInBucket:
    """A part of the server's bucket, which no other test uses."""

    def __init__(self, server: BucketServer, home: Path) -> None:
        self.server = server
        self.prefix = f"{next(_numbers)}/"
        arriving = ObjectFolder(home / "arriving")
        self.store = ObjectBucket(server.get_access(prefix=self.prefix), arriving, inline=10)

    def read(self, digest: str) -> bytes:
        answer = self.store._get_client().get_object(Bucket=BUCKET, Key=self.get_key(digest))
        octets: bytes = answer["Body"].read()
        return octets

    def replace(self, digest: str, octets: bytes) -> None:
        self.store._get_client().put_object(Bucket=BUCKET, Key=self.get_key(digest), Body=octets)

    def list(self, *digests: str) -> list[str]:
        parts = sorted({int(digest[:2], 16) for digest in digests})
        return [digest for part in parts for digest, _ in self.store.list_objects(part)]

    def list_unfinished(self) -> list[str]:
        found = self.store._get_client().list_multipart_uploads(Bucket=BUCKET)
        return [one["Key"] for one in found.get("Uploads", ())]

    def age(self, digest: str) -> datetime:
        self.server.ask("age", self.get_key(digest))
        return datetime.now(UTC) - timedelta(days=1)

    def get_key(self, digest: str) -> str:
        return self.store.describe_object(digest).removeprefix(f"s3://{BUCKET}/")

    def close(self) -> None:
        self.store.close()
