"""The schema versions that this code knows, from the names of its migrations, and its tables."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

#: The folder of the migrations.
MIGRATIONS: Final = Path(__file__).parent / "migrations"
#: The last schema version of 0.1.0: its tables are those of the first revision of this code.
LAST_OF_0_1_0: Final = "0089"
_REVISION: Final = re.compile(r"r([0-9]{4})_\w+\.py")
_TABLE: Final = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)


@cache
def list_revisions() -> tuple[str, ...]:
    """Return the revisions of this code, the oldest first, from the names of their files."""
    folder = MIGRATIONS / "versions"
    return tuple(
        sorted(revision[1] for path in folder.iterdir() if (revision := _REVISION.fullmatch(path.name)))
    )


@cache
def list_tables() -> frozenset[str]:
    """Return the names of the tables of this code, from the statements of its migrations.

    So a verb that compares versions loads no aggregate for them.
    """
    files = (MIGRATIONS / "versions").glob("*_sqlite.sql")
    return frozenset(name for path in files for name in _TABLE.findall(path.read_text(encoding="utf-8")))


def get_head_revision() -> str:
    """Return the schema version of this code."""
    return list_revisions()[-1]


def is_before_first_release(revision: str) -> bool:
    """Return whether a schema version is one of 0.1.0: only the last one of these is taken over."""
    return revision < list_revisions()[0]
