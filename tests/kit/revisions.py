"""Databases at a certain revision, and revisions of versions that do not exist yet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection

from gateway.store import make_engine, schema_migration, schema_revisions, write_transaction

__all__ = ["apply_revision", "further_revisions", "make_database_at"]

_REVISION = """from alembic import op

revision = {revision!r}
down_revision = {before!r}
branch_labels = None
depends_on = None


def upgrade():
    for statement in {statements!r}:
        op.execute(statement)
"""


def apply_revision(conn: Connection, revision: str) -> None:
    """Apply all revisions up to one, without what `migrate_schema` does beside them."""
    config = schema_migration._make_alembic_config()
    config.attributes["connection"] = conn
    command.upgrade(config, revision)


def make_database_at(url: str, revision: str) -> None:
    """Give a database without tables those of a revision."""
    engine = make_engine(url)
    with write_transaction(engine) as conn:
        apply_revision(conn, revision)
    engine.dispose()


@contextmanager
def further_revisions(folder: Path, statements: Mapping[str, tuple[str, ...]]) -> Iterator[None]:
    """Let the code have further revisions in a block, each with its statements."""
    migrations = folder / "migrations"
    shutil.copytree(schema_revisions.MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    before = schema_revisions.get_head_revision()
    for revision, each in statements.items():
        text = _REVISION.format(revision=revision, before=before, statements=each)
        (migrations / "versions" / f"r{revision}_further.py").write_text(text, encoding="utf-8")
        before = revision
    with pytest.MonkeyPatch.context() as patch:
        for module in (schema_revisions, schema_migration):
            patch.setattr(module, "MIGRATIONS", migrations)
        schema_revisions.list_revisions.cache_clear()
        yield
    schema_revisions.list_revisions.cache_clear()
