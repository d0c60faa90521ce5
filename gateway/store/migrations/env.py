"""Runs revisions on the connection that `gateway.store.schema_migration` passes."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
