"""``gateway map diff``: what changes from one folder of mappings to another, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import date
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from gateway.cli.calendar_sentences import compare_calendars
from gateway.cli.mapping_folder import find_mappings
from gateway.cli.need_sentences import compare_laws, compare_need_rules, compare_status_codes
from gateway.cli.result_output import count_things, print_json, print_sentence
from gateway.cli.shared_options import FILE, START, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import BundleChange, MappingBundle, compare_bundles, load_bundle
from gateway.hub import ActiveNeeds, read_mapping_files

__all__ = ["compare_folders", "date_sentence", "print_changes"]


@verb
@click.argument("before", type=FILE, help="the folder as it is, or the word shipped")
@click.argument("after", type=FILE, help="the folder as it will be, or the word shipped")
@click.option("--document", metavar="ID", help="tell only what changes in this document")
@click.option("--from", "start", type=START, metavar="DAY", help="name this day or time in the sentences")
@json_option("one JSON object")
def compare_folders(arguments: Arguments) -> int:
    """Print what changes; return 1 when something does, as `diff` does."""
    places = _find_folder(arguments.before), _find_folder(arguments.after)
    old, new = (load_bundle(place) for place in places)
    document = arguments.document
    if document is not None and document not in {*old.documents, *new.documents}:
        raise GatewayError(MISUSE, f"neither folder has the document {document}", "--document")
    changes = [one for one in compare_bundles(old, new) if document is None or one.document == document]
    laws, rules = ([], []) if document is not None else _compare_needs(places, (old, new))
    contents = [read_mapping_files(place) for place in places]
    files = _list_changed_files(*contents)
    days = [] if document is not None else list(compare_calendars(*contents))
    if arguments.json:
        told = [asdict(one) | {"sentence": date_sentence(one, arguments.start)} for one in changes]
        found = {"before": old.digest, "after": new.digest, "changes": told, "laws": laws, "rules": rules}
        print_json(found | {"calendars": days, "files": files})
    else:
        print_changes(changes, arguments.start)
        for sentence in (*laws, *rules, *days):
            print(sentence)
        _print_counts(changes, files)
    return 1 if changes or (files and document is None) else 0


def _find_folder(named: Path) -> Traversable:
    return find_mappings(None if str(named) == "shipped" else named)


def _compare_needs(
    places: tuple[Traversable, Traversable], bundles: tuple[MappingBundle, MappingBundle]
) -> tuple[list[str], list[str]]:
    """Return what changes in the laws, and what in the rules of need and in the status codes."""
    old, new = (ActiveNeeds(*both).get_rules() for both in zip(places, bundles, strict=True))
    rules = [*compare_need_rules(old, new), *compare_status_codes(*places)]
    return list(compare_laws(old.book.laws, new.book.laws)), rules


def _list_changed_files(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """Return the names of files that one of the folders lacks, or whose content differs."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def date_sentence(change: BundleChange, start: date | None) -> str:
    """Return the sentence of a change with the day or time from which on it holds."""
    return change.sentence if start is None else f"{change.sentence}, from {start.isoformat()}"


def print_changes(changes: Iterable[BundleChange], start: date | None) -> None:
    """Print one sentence for each change, with the day or time from which on it holds."""
    for one in changes:
        words = date_sentence(one, start)
        print(f"{words} ({one.place})" if one.place else words)


def _print_counts(changes: list[BundleChange], files: list[str]) -> None:
    told = f"{count_things(len(changes), 'change')} of fields, {count_things(len(files), 'file')} changed"
    print_sentence(f"{told}{': ' if files else '.'}{', '.join(files)}")
