"""The rules of need that a verb asks: of a home, of a folder of mappings, or of single tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gateway.cli.mapping_folder import find_mappings
from gateway.cli.named_files import read_file
from gateway.cli.result_output import ReportedFailure, count_things, print_failure
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import FILE
from gateway.cli.verb_groups import Arguments
from gateway.errors import MISUSE, NEED_TABLE_WRONG, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub import (
    DecisionRules,
    get_current_time,
    load_active_rules,
    load_rules,
    load_shipped_rules,
    make_table_names,
)
from gateway.needs import (
    MOST_MISTAKES,
    CheckedTable,
    DocumentNeed,
    LawBook,
    NeedIndex,
    NeedTable,
    check_need_table,
)

__all__ = [
    "AskedRules",
    "describe_need",
    "end_at_mistakes",
    "format_need",
    "open_need_rules",
    "read_table_files",
    "table_options",
]


@dataclass(frozen=True, slots=True)
class AskedRules:
    """The rules that a verb asks, and the mappings whose documents they name."""

    index: NeedIndex
    bundle: MappingBundle
    rules: DecisionRules


def table_options() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return ``--table`` and ``--path``."""
    words = "ask this file instead of the tables in force; repeatable"
    options = (
        click.option("--table", "tables", type=FILE, multiple=True, metavar="CSV", help=words),
        click.option("--path", type=FILE, help="a folder of mappings instead of those in force"),
    )

    def declare_options(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return declare_options


def open_need_rules(arguments: Arguments) -> AskedRules:
    """Return the rules of the home where one is named, else those of the folder or the shipped ones.

    Raises GW512 for a table or a file of laws that is wrong, GW808 for a home with a folder.
    """
    test_editions = True
    if arguments.home or arguments.config:
        if arguments.path is not None:
            raise GatewayError(MISUSE, "a home has its own mappings", "--path")
        with read_database(arguments) as conn:
            rules = load_active_rules(conn, load_shipped_rules(), get_current_time())
        needs = read_verb_settings(arguments).needs
        test_editions = needs.test_edition
    else:
        rules = load_rules(find_mappings(arguments.path))
    if not arguments.tables:
        return AskedRules(rules.needs.get_index(test_editions=test_editions), rules.bundle, rules)
    tables = read_table_files(arguments.tables, rules, as_json=arguments.json)
    return AskedRules(NeedIndex(tables, rules.needs.get_rules().book), rules.bundle, rules)


def read_table_files(
    paths: Sequence[Path], rules: DecisionRules, *, as_json: bool, effect: str = "nothing was asked"
) -> list[NeedTable]:
    """Return the tables in files; print every mistake of all and end the verb where there are some.

    `effect` says what did not happen then.
    """
    names = make_table_names(rules.needs, rules.bundle)
    checked = [(str(path), check_need_table(read_file(path), names)) for path in paths]
    end_at_mistakes(checked, effect, as_json=as_json)
    return [one.table for _, one in checked if one.table is not None]


def end_at_mistakes(checked: Sequence[tuple[str, CheckedTable]], effect: str, *, as_json: bool) -> None:
    """Print the mistakes of files with their places, at most a hundred of each, and end the verb.

    Does nothing where no file has a mistake. `effect` says what did not happen.
    """
    wrong = [(file, one) for file, one in checked if one.mistakes]
    if not wrong:
        return
    told = [
        {"file": file, "line": one.line, "column": one.column, "field": one.field, "message": one.message}
        for file, table in wrong
        for one in table.mistakes
    ]
    counts = "; ".join(f"{file}: {_count_mistakes(table)}" for file, table in wrong)
    if not as_json:
        for file, table in wrong:
            for one in table.mistakes:
                print(f"{file}: {one.place}: {one.message}")
    print_failure(ReportedFailure(f"{counts}; {effect}", NEED_TABLE_WRONG.id, more={"mistakes": told}))
    raise click.exceptions.Exit(1)


def _count_mistakes(table: CheckedTable) -> str:
    number = len(table.mistakes)
    return f"at least {number} mistakes" if number >= MOST_MISTAKES else count_things(number, "mistake")


def describe_need(need: DocumentNeed, book: LawBook) -> dict[str, Any]:
    """Return a need for JSON."""
    return {
        "law": need.law,
        "law_name": book.get_name(need.law),
        "law_names": book.get_names(need.law),
        "organisation": "|".join(need.organisations),
        "organisations": list(need.organisations),
        "documents": list(need.documents),
        "certainty": need.certainty,
        "mandatory": need.mandatory,
        "exemptions": list(need.exemptions),
        "table": need.table,
        "test_edition": need.is_test,
        "valid_from": need.valid_from.isoformat(),
        "valid_until": need.valid_until.isoformat() if need.valid_until else None,
    }


def format_need(need: DocumentNeed, book: LawBook, answers: Iterable[str] = ()) -> str:
    """Return a need as one line for people."""
    documents = " or ".join(need.documents) or "no document of this gateway: ask the authority itself"
    duty = need.certainty if need.mandatory else f"{need.certainty}, not mandatory"
    filed = "".join(f"  filed: {one}" for one in answers)
    return f"law {need.law} {book.get_name(need.law)}: {documents}  ({duty}, {need.table}){filed}"
