"""``gateway migrate``: migrates the database to the version of this code."""

from __future__ import annotations

from gateway.cli.progress_bars import show_progress
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.settings import read_verb_settings
from gateway.cli.shared_options import home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.hub import build_engine
from gateway.store import migrate_schema

__all__ = ["apply_migrations", "migrate_database"]


@verb
@home_options()
def migrate_database(arguments: Arguments) -> int:
    """Apply the revisions that the database lacks, and print the version before and after."""
    before, after = apply_migrations(read_verb_settings(arguments))
    if arguments.json:
        print_json({"before": before, "after": after})
    elif before == after:
        print_sentence(f"The database is at revision {after} already: nothing was changed.")
    else:
        was = f"it was at {before}" if before else "it was empty"
        print_sentence(f"The database is now at revision {after} ({was}).")
    return 0


def apply_migrations(settings: Settings) -> tuple[str | None, str]:
    """Make the home folder and migrate its database; return the version before and after."""
    settings.home_folder.mkdir(parents=True, exist_ok=True)
    engine = build_engine(settings)
    try:
        with show_progress("migrating the database"):
            return migrate_schema(engine)
    finally:
        engine.dispose()
