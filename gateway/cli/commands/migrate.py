"""``gateway migrate``: migrates the database to the version of this code."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.cli.audited_changes import read_act
from gateway.cli.home_folder import keep_files_private
from gateway.cli.progress_bars import show_progress
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.settings import read_verb_settings
from gateway.cli.shared_options import change_options, new_home_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.hub import build_engine, get_current_time
from gateway.store import audit_log, migrate_schema

__all__ = ["apply_migrations", "migrate_database"]


@verb
@change_options()
@new_home_option()
def migrate_database(arguments: Arguments) -> int:
    """Apply the revisions that the database lacks, and print the version before and after."""
    before, after = apply_migrations(read_verb_settings(arguments), arguments)
    if before == after:
        sentence = f"The database is at revision {after} already: nothing was changed."
    else:
        was = f"it was at {before}" if before else "it was empty"
        sentence = f"The database is now at revision {after} ({was})."
    if arguments.json:
        print_json({"verb": "migrate", "done": sentence, "before": before, "after": after})
    else:
        print_sentence(sentence)
    return 0


def apply_migrations(settings: Settings, arguments: Arguments) -> tuple[str | None, str]:
    """Migrate the database of a home; return the version before and after.

    A migration that changes something leaves its row of audit in the same transaction.
    """
    act = read_act(arguments)

    def record_migration(conn: Connection, before: str | None, after: str) -> None:
        versions = ({"revision": before}, {"revision": after})
        audit_log.record_action(conn, act.make_entry("database", *versions), get_current_time())

    engine = build_engine(settings)
    try:
        with keep_files_private(), show_progress("migrating the database"):
            return migrate_schema(engine, record_migration)
    finally:
        engine.dispose()
