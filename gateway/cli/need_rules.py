"""The rules of need that a verb asks: of a home, of a folder of mappings, or of single tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.named_files import find_mapping_folder, read_file
from gateway.cli.result_output import ReportedFailure, print_failure
from gateway.cli.shared_options import FILE, Decorator, join_options
from gateway.cli.verb_groups import Arguments
from gateway.errors import MISUSE, NEED_TABLE_WRONG, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub import (
    DecisionRules,
    get_current_time,
    load_active_rules,
    load_rules,
    load_shipped_rules,
    load_status_codes,
    make_table_names,
)
from gateway.needs import (
    MAX_MISTAKES,
    CheckedTable,
    DocumentNeed,
    Law,
    LawBook,
    NeedIndex,
    NeedRules,
    NeedTable,
    check_need_table,
    compare_tables,
)
from gateway.operations import format_count


@dataclass(frozen=True, slots=True)
class AskedRules:
    """The rules that a verb asks, and the mappings whose documents they name."""

    index: NeedIndex
    bundle: MappingBundle
    rules: DecisionRules


def table_options() -> Decorator:
    """Return ``--table`` and ``--path``."""
    table_help = "ask this file instead of the tables in force; repeatable"
    return join_options(
        click.option("--table", "tables", type=FILE, multiple=True, metavar="CSV", help=table_help),
        click.option("--path", type=FILE, help="a folder of mappings instead of those in force"),
    )


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
        rules = load_rules(find_mapping_folder(arguments.path))
    if not arguments.tables:
        return AskedRules(rules.needs.get_index(test_editions=test_editions), rules.bundle, rules)
    tables = read_table_files(arguments.tables, rules, as_json=arguments.json)
    return AskedRules(NeedIndex(tables, rules.needs.get_rules().book), rules.bundle, rules)


def read_table_files(
    paths: Sequence[Path], rules: DecisionRules, *, as_json: bool, effect: str = "nothing was asked"
) -> list[NeedTable]:
    """Return the tables in files; print every mistake in all files and end the verb if there is one.

    `effect` is the sentence on the work not done because of the mistakes, such as "nothing was compared".
    """
    names = make_table_names(rules.needs, rules.bundle)
    checked = [(str(path), check_need_table(read_file(path), names)) for path in paths]
    exit_if_mistakes(checked, effect, as_json=as_json)
    return [check.table for _, check in checked if check.table is not None]


def exit_if_mistakes(checked: Sequence[tuple[str, CheckedTable]], effect: str, *, as_json: bool) -> None:
    """Print the mistakes of files with their places, at most a hundred of each, and end the verb.

    Does nothing if no file has a mistake. `effect` is the sentence on the work not done because of them.
    """
    wrong_files = [(file, table) for file, table in checked if table.mistakes]
    if not wrong_files:
        return
    mistakes = [
        {
            "file": file,
            "line": mistake.line,
            "column": mistake.column,
            "field": mistake.field,
            "message": mistake.message,
        }
        for file, table in wrong_files
        for mistake in table.mistakes
    ]
    counts = "; ".join(f"{file}: {_format_mistake_count(table)}" for file, table in wrong_files)
    if not as_json:
        for file, table in wrong_files:
            for mistake in table.mistakes:
                print(f"{file}: {mistake.location}: {mistake.message}")
    print_failure(ReportedFailure(f"{counts}; {effect}", NEED_TABLE_WRONG.id, details={"mistakes": mistakes}))
    raise click.exceptions.Exit(1)


def _format_mistake_count(table: CheckedTable) -> str:
    number = len(table.mistakes)
    return f"at least {number} mistakes" if number >= MAX_MISTAKES else format_count(number, "mistake")


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
    filed = "".join(f"  filed: {answer}" for answer in answers)
    return f"law {need.law} {book.get_name(need.law)}: {documents}  ({duty}, {need.table}){filed}"


def compare_laws(before: Mapping[str, Law], after: Mapping[str, Law]) -> Iterator[str]:
    """Yield a sentence on each law that was added, removed or changed."""
    for code, law in after.items():
        old = before.get(code)
        if old is None:
            yield f"law {code} ({law.name}) is new"
        elif old != law:
            keys = ("ko", "en", "disclaimers")
            yield f"law {code} ({law.name}) changes: {format_changed_values(asdict(old), asdict(law), keys)}"
    for code, law in before.items():
        if code not in after:
            yield f"law {code} ({law.name}) is gone"


def compare_need_rules(before: NeedRules, after: NeedRules) -> Iterator[str]:
    """Yield a sentence on each choice of documents, and each table, that was added, removed or changed."""
    for law, direction in sorted({*before.book.choices, *after.book.choices}):
        old, new = (_describe_choice(book, law, direction) for book in (before.book, after.book))
        if old != new:
            yield f"law {law}, {direction}: the documents to choose from, {old}, become {new}"
    tables = [{table.label: table for table in rules.tables} for rules in (before, after)]
    for label in sorted({*tables[0], *tables[1]}):
        yield from _compare_table(label, tables[0].get(label), tables[1].get(label))


def _describe_choice(book: LawBook, law: str, direction: str) -> str:
    choices = (
        f"{' '.join(choice.prefixes) or 'all other codes'}: {' or '.join(choice.documents)}"
        for choice in book.choices.get((law, direction), ())
    )
    return "; ".join(choices) or "none"


def _compare_table(label: str, before: NeedTable | None, after: NeedTable | None) -> Iterator[str]:
    """Yield sentences on what differs between two editions of a needs table; one of them may be None."""
    if before is None or after is None:
        table = before or after
        assert table is not None, "one of the two is there"
        rows = format_count(len(table.rows), "row")
        yield f"table of needs {label} is {'new' if before is None else 'gone'}: {rows}"
        return
    keys = ("country", "valid_from", "valid_until", "is_test", "source", "licence")
    old, new = ({key: getattr(table, key) for key in keys} for table in (before, after))
    if old != new:
        yield f"table of needs {label} changes: {format_changed_values(old, new, keys)}"
    difference = compare_tables(before, after)
    counts = (("new", difference.added), ("gone", difference.removed), ("changed", difference.changed))
    changes = ", ".join(f"{format_count(len(rows), 'row')} {word}" for word, rows in counts if rows)
    if changes:
        yield f"table of needs {label} changes: {changes} (see `gateway rules diff`)"


def compare_status_codes(before: Traversable, after: Traversable) -> Iterator[str]:
    """Yield a sentence on each status code of agencies that was added, removed or has another effect."""
    old, new = load_status_codes(before), load_status_codes(after)
    for code, code_row in new.items():
        code_before = old.get(code)
        if code_before is None:
            yield f"status code {code} ({code_row.name}) is new"
        elif code_before != code_row:
            was, becomes = asdict(code_before), asdict(code_row)
            changed_values = format_changed_values(was, becomes, tuple(becomes))
            yield f"status code {code} ({code_row.name}) changes: {changed_values}"
    for code, code_row in old.items():
        if code not in new:
            yield f"status code {code} ({code_row.name}) is gone"


def format_changed_values(before: Mapping[str, Any], after: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Return the values of `keys` that differ, each before and after, as words."""
    differ = (key for key in keys if before[key] != after[key])
    return "; ".join(f"{key} {before[key] or 'none'} becomes {after[key] or 'none'}" for key in differ)


#: The meaning of the declaration that holds the tariff code of an item.
TARIFF_CODE: Final = "item.hs"
_MAX_LISTED_LINES: Final = 5


def list_table_remarks(table: NeedTable, rules: DecisionRules) -> list[str]:
    """Return the remarks on a new table, beside the tables that `rules` have in force."""
    return [*_list_code_remarks(table, rules), *_list_country_remarks(table, rules)]


def _list_code_remarks(table: NeedTable, rules: DecisionRules) -> Iterator[str]:
    """Yield how many rows have a code of no goods, by the rules that look a tariff code up in a list."""
    reported_lines: set[int] = set()
    code_rules = [
        bound_rule
        for bound_rule in rules.bundle.rules
        if bound_rule.kind == "listed" and bound_rule.meaning.name == TARIFF_CODE
    ]
    for rule in sorted(code_rules, key=lambda bound_rule: bound_rule.code_length):
        wrong_lines = [
            row.line
            for row in table.rows
            if row.line not in reported_lines
            and len(row.hs) >= rule.code_length
            and rule.find_violation(row.hs) is not None
        ]
        reported_lines.update(wrong_lines)
        if wrong_lines:
            word = "line" if len(wrong_lines) == 1 else "lines"
            lines = ", ".join(map(str, wrong_lines[:_MAX_LISTED_LINES])) + (
                ", …" if len(wrong_lines) > _MAX_LISTED_LINES else ""
            )
            yield f"{rule.en}: {format_count(len(wrong_lines), 'row')} ({word} {lines})."


def _list_country_remarks(table: NeedTable, rules: DecisionRules) -> Iterator[str]:
    """Yield that editions of the same table are of another country."""
    tables = rules.needs.get_index().tables
    others = sorted({edition.country for edition in tables if edition.name == table.name} - {table.country})
    if others:
        whose = " and ".join(others)
        yield (
            f"Other editions of {table.name} are of {whose}, this one is of {table.country}. While it is "
            f"in force, of a code of {whose} six digits count: needs of such goods are possible, not certain."
        )
