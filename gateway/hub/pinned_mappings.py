"""Keeps the mappings that a case is decided by: a later version of the program reads the case by them.

The mappings that operators load are stored already. The shipped ones are stored by the first case that
they decide, in the transaction of this case. They are packed before it, once in a process.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.hub.hub import Hub
from gateway.store import mapping_bundles

__all__ = ["BUNDLE", "PreparedBundle", "find_case_bundle", "prepare_bundle"]

#: Where the row of a case has the digest of the mappings that decided about its submission.
BUNDLE: Final = "bundle"


@dataclass(frozen=True, slots=True)
class PreparedBundle:
    """The mappings of a case; `octets` are their packed files where these are not stored yet."""

    digest: str | None
    octets: bytes | None = None

    def store(self, conn: Connection, at: datetime) -> None:
        """Store the files, unless they are stored; the first statement of a transaction, which may wait."""
        if self.digest is not None and self.octets is not None:
            mapping_bundles.store_bundle(conn, self.digest, self.octets, at)

    def describe_for_case(self) -> dict[str, str]:
        """Return what the row of the case says; nothing where no mappings were applied."""
        return {} if self.digest is None else {BUNDLE: self.digest}


def prepare_bundle(hub: Hub, digest: str | None) -> PreparedBundle:
    """Return the mappings that a case pins; `digest` is None where none were applied."""
    return PreparedBundle(digest, None if digest is None else hub.find_unstored_bundle(digest))


def find_case_bundle(case: Row[Any], asked: Iterable[Row[Any]]) -> str | None:
    """Return the digest of the mappings that decided about the submission of a case.

    `asked` are its requests, which alone name them where the case is an old one. None for a case that
    was refused before any mappings were applied.
    """
    found = next((row.mapping_sha256 for row in asked), None) or (case.detail or {}).get(BUNDLE)
    return str(found) if found else None
