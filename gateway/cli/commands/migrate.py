"""``gateway migrate`` and ``gateway restore …``: the database brought to this version, or restored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.cli.audited_changes import change_database, print_change, read_act
from gateway.cli.home_folder import (
    find_server_warnings,
    keep_files_private,
    open_engine,
    open_engine_of_any_version,
    read_verb_settings,
    refuse_lost_database,
)
from gateway.cli.named_files import read_head_text
from gateway.cli.result_output import print_done, print_json, print_sentence, show_progress
from gateway.cli.shared_options import (
    FILE,
    change_options,
    changing_verb,
    home_verb,
    new_home_option,
    read_reason,
)
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.hub import get_current_time, get_database_mark_path
from gateway.operations import (
    SKIPPED_NUMBERS,
    Act,
    RestoreJudgment,
    RestoreOutcome,
    compare_database_with_mark,
    confirm_restore,
    format_count,
    format_moment,
    lock_restore,
)
from gateway.store import (
    DatabaseMark,
    InsufficientStorageError,
    audit_log,
    mark_new_store,
    migrate_schema,
    read_mark_file,
    read_transaction,
    refuse_empty_database,
)


@verb("migrate")
@change_options()
@new_home_option()
def migrate_database(arguments: Arguments) -> None:
    """Apply the revisions that the database lacks, and print the version before and after."""
    settings = read_verb_settings(arguments)
    before, after = apply_migrations(settings, read_act(arguments), is_new_hub=arguments.new)
    with open_engine_of_any_version(settings) as engine:
        warnings = find_server_warnings(engine)
    if before == after:
        sentence = f"The database is at revision {after} already: nothing was changed."
    else:
        was = f"it was at {before}" if before else "it was empty"
        sentence = f"The database is now at revision {after} ({was})."
    try:
        store_mark = mark_payload_store(settings)
    except InsufficientStorageError:
        # The database is migrated nevertheless.
        if not arguments.json:
            print_sentence(sentence)
        raise
    lines = [f"warning: {warning}" for warning in warnings]
    if store_mark is not None:
        lines.insert(0, f"The store of large payloads has the mark {store_mark}.")
    values = {"before": before, "after": after, "store_mark": store_mark, "warnings": warnings}
    print_done(arguments, sentence, *lines, **values)


def apply_migrations(settings: Settings, act: Act, *, is_new_hub: bool) -> tuple[str | None, str]:
    """Migrate the database of a home; return the version before and after.

    A migration that changes something writes its audit row in the same transaction. Raises GW808 for an
    empty database, unless `is_new_hub` is set and neither the home folder nor the store of large payloads has
    the mark of an earlier database.
    """

    def record_migration(conn: Connection, before: str | None, after: str) -> None:
        versions = ({"revision": before}, {"revision": after})
        audit_log.record_action(conn, act.make_audit_entry("database", *versions), get_current_time())

    with open_engine_of_any_version(settings) as engine:
        if is_new_hub:
            refuse_lost_database(settings, engine)
        else:
            refuse_empty_database(engine)
        with keep_files_private(), show_progress("migrating the database"):
            return migrate_schema(engine, record_migration)


def mark_payload_store(settings: Settings) -> str | None:
    """Mark the store of large payloads as that of the database, unless the database has a store.

    Return the place of the mark, None if nothing was marked. Raises GW811 for a store that cannot be that of
    the database, GW806 for one that does not take the mark.
    """
    with open_engine_of_any_version(settings) as engine, keep_files_private():
        return mark_new_store(engine, get_current_time())


_HEAD_WORDS = "a proof or a head that was kept elsewhere, or that a partner has; repeatable"
_SKIP_WORDS = "leave out so many numbers: more than messages were received and sent since the last known one"
_WITHOUT_PROOF_WORDS = "neither mark nor head shows that the database is older, but you know it"
_VERDICTS: Final = {
    "kept": "the evidence under it is unchanged",
    "later": "the database is older: it has fewer leaves",
    "confirmed": "the database went on without what it covers, as an operator has confirmed",
    "other": "the evidence under it is another one: the database went on without what the head covers",
}
#: The largest number of partners, or of held tasks, that a sentence names; JSON names all.
_MAX_NAMED: Final = 12


@home_verb("restore check")
@click.option("--head", type=FILE, multiple=True, metavar="FILE", help=_HEAD_WORDS)
def check_restore(arguments: Arguments) -> int:
    """Compare the database with the mark of the home and with heads; return 1 where it is older."""
    settings = read_verb_settings(arguments)
    heads = [read_head_text(file) for file in arguments.head]
    mark = read_mark_file(get_database_mark_path(settings))
    with open_engine(settings) as engine, read_transaction(engine) as conn:
        judgment = compare_database_with_mark(conn, mark, heads)
    if arguments.json:
        print_json(_describe_judgment(judgment))
    else:
        for line in _list_judgment_lines(judgment, arguments.head):
            print(line)
    return 1 if judgment.is_older else 0


@changing_verb("restore confirm")
@click.option("--head", type=FILE, multiple=True, metavar="FILE", help=_HEAD_WORDS)
@click.option("--skip", type=click.IntRange(1_000), default=SKIPPED_NUMBERS, help=_SKIP_WORDS)
@click.option("--without-proof", is_flag=True, help=_WITHOUT_PROOF_WORDS)
@click.option("--reason", help="why, for everybody who looks")
def confirm_restored_database(arguments: Arguments) -> None:
    """Begin the next generation of a restored database: new numbers, due tasks held, evidence of it."""
    reason, settings = read_reason(arguments), read_verb_settings(arguments)
    heads = [read_head_text(file) for file in arguments.head]
    mark = read_mark_file(get_database_mark_path(settings))
    with change_database(arguments, reason) as change:
        lock_restore(change.conn)
        judgment = compare_database_with_mark(change.conn, mark, heads)
        outcome = confirm_restore(change, judgment, arguments.skip, has_proof=not arguments.without_proof)
    lines = [*_list_outcome_lines(outcome), *_list_lost_lines(judgment, outcome)]
    fields = {**asdict(outcome), **_describe_judgment(judgment)}
    print_change(change, *lines, as_json=arguments.json, **fields)


def _describe_judgment(judgment: RestoreJudgment) -> dict[str, Any]:
    """Return the comparison of a restored database with its mark and with tree heads as plain values."""
    return {
        "older": judgment.is_older,
        "problem": None if judgment.problem is None else str(judgment.problem),
        "database": None if judgment.current is None else asdict(judgment.current),
        "leaves": judgment.leaves,
        "mark": None if judgment.mark is None else asdict(judgment.mark),
        "heads": [asdict(head) for head in judgment.heads],
        "lost_numbers": judgment.count_lost_numbers(),
    }


def _list_judgment_lines(judgment: RestoreJudgment, files: Sequence[Any]) -> Iterator[str]:
    """Yield lines on the database, the mark and each head; `files` are the files of the heads, in order."""
    leaves = format_count(judgment.leaves, "leaf", "leaves")
    yield f"database: {_describe_state(judgment.current)}, {leaves} of evidence"
    if judgment.mark is None:
        yield "mark:     the home folder has none: only heads, or you, can say whether the database is older"
    else:
        verdict = judgment.problem.detail if judgment.problem is not None else "the database goes on from it"
        yield f"mark:     {_describe_state(judgment.mark)}: {verdict}"
    for file, head in zip(files, judgment.heads, strict=True):
        yield f"head:     {file}, over {head.leaves} leaves: {_VERDICTS[head.verdict]}"
    if judgment.is_older:
        yield "The database is older than what was acknowledged: name the newer one, or confirm it."


def _describe_state(mark: DatabaseMark | None) -> str:
    if mark is None:
        return "without evidence"
    return f"generation {mark.generation}, evidence {mark.leaf} of {format_moment(mark.at)}"


def _list_outcome_lines(outcome: RestoreOutcome) -> Iterator[str]:
    """Yield sentences on the generation that begins, the tasks that are held and the deliveries that wait."""
    yield (
        f"The database goes on as generation {outcome.generation}: no new case has a number "
        f"below {outcome.first_case}."
    )
    if outcome.held:
        tasks = "1 task of the hub that was due is" if len(outcome.held) == 1 else None
        tasks = tasks or f"{len(outcome.held)} tasks of the hub that were due are"
        yield (
            f"{tasks} held, for they may have been done: `gateway queue list --state HELD`, then "
            f"`gateway queue release` or `cancel`: {', '.join(map(str, outcome.held[:_MAX_NAMED]))}."
        )
    if outcome.waiting:
        waiting = format_count(outcome.waiting, "delivery waits", "deliveries wait")
        yield f"{waiting}, and will be made with the same ids as before: partners know them."


def _list_lost_lines(judgment: RestoreJudgment, outcome: RestoreOutcome) -> Iterator[str]:
    """Yield sentences on the data that a restored database has lost, and the partners to ask for it."""
    current, mark = judgment.current, judgment.mark
    since = "ever" if current is None else f"after {format_moment(current.at)}"
    if judgment.problem is not None and mark is not None:
        yield (
            f"Lost is what was acknowledged {since}: at least up to evidence {mark.leaf} of "
            f"{format_moment(mark.at)}."
        )
    elif not judgment.is_older:
        yield f"Nothing says what is lost; it is what was acknowledged {since}."
    if mark is None or not judgment.is_older:
        seen = "The home folder has no mark" if mark is None else "The mark shows nothing"
        yield (
            f"{seen}: if this backup was restored and confirmed before, the numbers of "
            "that time are given again, unless you confirm it once more with a larger `--skip` than then."
        )
    for head in judgment.heads:
        if head.shows_loss:
            yield f"A head covers {head.leaves} leaves, of {judgment.leaves} that the database has."
    if outcome.partners:
        names = ", ".join(outcome.partners[:_MAX_NAMED])
        unlisted = len(outcome.partners) - _MAX_NAMED
        others = f" and {unlisted} more" if unlisted > 0 else ""
        yield (
            "Partners repeat by themselves only what has no receipt. Ask them to send again what they sent "
            f"{since}, and what they had from the hub since then: {names}{others}."
        )
