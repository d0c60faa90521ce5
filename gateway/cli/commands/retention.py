"""``gateway retention show|purge``: which octets of ended business may be removed, and their removal."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.audited_changes import read_act
from gateway.cli.result_output import count_things, format_value, print_json, print_sentence
from gateway.cli.settings import open_engine, read_database, read_verb_settings
from gateway.cli.shared_options import change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.operations import RetentionReport, purge_octets, read_retention_report
from gateway.store import octet_removal

__all__ = ["purge_old_octets", "show_retention"]

_LIMIT_WORDS = "at most so many cases and messages"
_COMPACT_WORDS = "give the space back to the file system afterwards; writers wait meanwhile"


@verb
@home_options()
def show_retention(arguments: Arguments) -> int:
    """Print which octets `gateway retention purge` would remove now: how many, and since when."""
    settings = read_verb_settings(arguments)
    with read_database(arguments) as conn:
        report = read_retention_report(conn, settings)
    if arguments.json:
        print_json(_describe_report(report))
        return 0
    for line in _list_lines(report, settings):
        print(line)
    return 0


def _describe_report(report: RetentionReport) -> dict[str, Any]:
    told = report.to_json()
    del told["audit"]
    return told


def _list_lines(report: RetentionReport, settings: Settings) -> list[str]:
    if report.before is None and report.drafts_before is None:
        return ["nothing: neither `retention.octets` nor `retention.drafts` is set"]
    lines = []
    if report.before is not None:
        cases, letters = count_things(report.cases, "case"), count_things(report.letters, "message")
        lines.append(f"ended before {format_value(report.before)}: {cases}, and {letters} in mailboxes")
        lines.append(f"messages: {report.messages}")
    if report.drafts_before is not None:
        drafts = count_things(report.drafts, "draft or prepared answer", "drafts and prepared answers")
        lines.append(f"not changed since {format_value(report.drafts_before)}: {drafts}")
    lines.append(f"octets: at most {report.octets}")
    if report.oldest is not None:
        lines.append(f"the oldest: {format_value(report.oldest)}")
    lines.append(f"a repeat of a removed message: {settings.retention.repeats}")
    return lines


@verb
@click.option("--limit", type=click.IntRange(1, 10**9), metavar="N", help=_LIMIT_WORDS)
@click.option("--compact", is_flag=True, help=_COMPACT_WORDS)
@change_options()
def purge_old_octets(arguments: Arguments) -> int:
    """Remove the octets that the settings and the agreements no longer keep; rows and evidence stay."""
    settings, act = read_verb_settings(arguments), read_act(arguments)
    with open_engine(settings) as engine:
        done = purge_octets(engine, settings, act, limit=arguments.limit)
        sizes = octet_removal.compact_database(engine) if arguments.compact else None
    octets = count_things(done.octets, "octet")
    sentence = f"Removed {octets} of {count_things(done.messages, 'message')} in "
    sentence += f"{count_things(done.cases, 'case')}, and of {count_things(done.drafts, 'draft')}."
    if sizes is not None:
        sentence += f" The database had {sizes[0]} octets and has {sizes[1]}."
    if arguments.json:
        told = done.to_json() | {"verb": act.verb, "by": act.by, "done": sentence}
        told["audit"] = done.audit[-1] if done.audit else None
        print_json(told | {"database": sizes})
        return 0
    print_sentence(sentence)
    return 0
