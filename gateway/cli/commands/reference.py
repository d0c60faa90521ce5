"""``gateway reference`` and ``gateway config show``: verbs, data model, problems, findings, settings, states.

The tables are made from the catalogues of the program. Words that no catalogue has are in
``reference_words.toml``: the meanings of columns, states, events, transactions and kinds of evidence, and
the keys that a verb prints as JSON.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from operator import attrgetter
from typing import Any, Final

import click

from gateway.agreements import AGREEMENT_RULES, CPA_RULES
from gateway.cli.added_verbs import list_verbs
from gateway.cli.home_folder import find_settings_file
from gateway.cli.result_output import print_json, print_table
from gateway.cli.shared_options import home_verb, json_option
from gateway.cli.verb_groups import Arguments, load_verb, verb
from gateway.config import EffectiveSetting, Settings, describe_settings, list_effective_settings
from gateway.errors import PROBLEMS, Problem
from gateway.evidence import PARTY_FIELDS, PARTY_OWN_FIELDS, list_compared_tables
from gateway.operations import COMPARED_REGISTER
from gateway.state_machines import MACHINES, StateMachine
from gateway.store import describe_tables


@dataclass(frozen=True, slots=True)
class ReferenceSection:
    """A part of a reference: its title, its sentences, and the rows of its table with equal keys."""

    title: str
    sentences: tuple[str, ...] = ()
    rows: list[dict[str, str]] = field(default_factory=list)

    def format_markdown(self) -> str:
        """Return the section as Markdown."""
        parts = [f"## {self.title}", *self.sentences]
        if self.rows:
            lines = [list(self.rows[0]), ["---"] * len(self.rows[0]), *(row.values() for row in self.rows)]
            parts.append("\n".join(f"| {' | '.join(map(_escape_cell, line))} |" for line in lines))
        return "\n\n".join(parts) + "\n"


def _escape_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") or " "


@cache
def _read_meanings() -> Mapping[str, Any]:
    return tomllib.loads(files("gateway.cli").joinpath("reference_words.toml").read_text(encoding="utf-8"))


def _list_verb_sections() -> Iterator[ReferenceSection]:
    """Yield every verb with its arguments, an example, and the keys of its JSON."""
    meanings = _read_meanings()
    for verb_words in sorted(list_verbs()):
        command = load_verb(verb_words)
        sentences = [str(command.help), f"```sh\n{command.example}\n```"]
        if verb_words in meanings["json_lines"]:
            sentences.append("With `--json`: JSON Lines, one object on each line.")
        if verb_words in meanings["keys"]:
            sentences.append(f"Keys with `--json`: {meanings['keys'][verb_words]}.")
        parameters = sorted(command.params, key=lambda item: isinstance(item, click.Option))
        rows = [_describe_parameter(parameter) for parameter in parameters]
        yield ReferenceSection(f"gateway {verb_words}", tuple(sentences), rows)


def _describe_parameter(parameter: click.Parameter) -> dict[str, str]:
    """Return the row of an option or argument of a verb: its spelling, its default and its help."""
    is_option = isinstance(parameter, click.Option)
    is_flag = getattr(parameter, "is_flag", False)
    value_name = parameter.metavar or ("" if is_flag else str(parameter.name).upper())
    if isinstance(parameter.type, click.Choice) and not parameter.metavar:
        value_name = ", ".join(parameter.type.choices)
    default = parameter.to_info_dict()["default"]
    has_default = not is_flag and default not in (None, False, (), [])
    return {
        "argument": f"{', '.join(parameter.opts) if is_option else ''} {value_name}".strip(),
        "default": str(default) if has_default else "",
        "meaning": getattr(parameter, "help", None) or "",
    }


def _list_table_sections() -> Iterator[ReferenceSection]:
    """Yield every table of the database with its columns."""
    meanings = _read_meanings()["tables"]
    for name, table in sorted(describe_tables().items()):
        unique_columns = "; ".join(", ".join(columns) for columns in table.unique_columns)
        sentences = [
            meanings[name][""],
            *([f"One row for each: {unique_columns}."] if unique_columns else []),
        ]
        rows = [
            {
                "column": column.name,
                "type": column.type_name,
                "properties": ", ".join(column.properties),
                "meaning": meanings[name][column.name],
            }
            for column in table.columns
        ]
        yield ReferenceSection(name, tuple(sentences), rows)


def _list_error_sections() -> Iterator[ReferenceSection]:
    """Yield every problem, in one table."""
    yield ReferenceSection("Problems", (), [_describe_problem(problem) for problem in PROBLEMS.values()])


def _describe_problem(problem: Problem) -> dict[str, str]:
    """Return the row of a problem, with the codes that partners see and whether a repeat may succeed."""
    codes = {
        "ebMS 2.0": problem.codes.ebms2,
        "ebMS 3.0": problem.codes.ebms3,
        "SOAP": problem.codes.soap,
        "HTTP": problem.codes.http,
    }
    reports = ", ".join(f"{name} {code}" for name, code in codes.items() if code)
    return {
        "id": problem.id,
        "problem": problem.title,
        "meaning": problem.meaning,
        "cause": problem.cause,
        "remedy": problem.remedy,
        "reported as": reports or "nothing; partners do not see it",
        "at fault": "the gateway or its operator" if problem.ours else "the sender",
        "the same octets": "may succeed later" if problem.retry else "fail again",
    }


def _list_finding_sections() -> Iterator[ReferenceSection]:
    """Yield every kind of finding on an agreement: first on any agreement, then on the document of a CPA."""
    for title, rules in (("Agreements", AGREEMENT_RULES), ("CPA documents", CPA_RULES)):
        rows = [
            {"finding": name, "severity": rule.severity, "what is wrong": rule.meaning, "clause": rule.clause}
            for name, rule in rules.items()
        ]
        yield ReferenceSection(title, (), rows)


def _list_setting_sections() -> Iterator[ReferenceSection]:
    """Yield every section of the settings with its keys."""
    sections: dict[str, list[dict[str, str]]] = {}
    for key in describe_settings():
        section, _, name = key.name.rpartition(".")
        sections.setdefault(section, []).append(
            {"key": name, "default": key.default, "meaning": key.sentence}
        )
    for section, rows in sections.items():
        title = f"[{section.replace('<code>', 'CODE')}]"
        yield ReferenceSection(title, (_describe_settings_section(section),), rows)


def _describe_settings_section(section: str) -> str:
    """Return the description of the innermost part of a section that has one of its own."""
    first, *inner = section.split(".")
    model_field = Settings.model_fields[first]
    for name in inner:
        # A placeholder, such as `<code>`: its section has no description of its own.
        if "<" in name:
            break
        model_field = model_field.annotation.model_fields[name]  # type: ignore[union-attr]
    return " ".join(str(model_field.description).split())


def _list_state_sections() -> Iterator[ReferenceSection]:
    """Yield the states, the events and the transitions of every machine."""
    meanings = _read_meanings()
    for name, machine in MACHINES.items():
        state_meanings = meanings["states"][name]
        states = [
            {"state": state, "place": _name_state_kind(machine, state), "meaning": state_meanings[state]}
            for state in machine.states
        ]
        yield ReferenceSection(f"{name}: states", (), states)
        events = dict.fromkeys(event for row in machine.transitions.values() for event in row)
        event_rows = [{"event": event, "when": meanings["events"][name][event]} for event in events]
        yield ReferenceSection(f"{name}: events", (), event_rows)
        transitions = [
            {"in state": state, "event": event, "next state": next_state}
            for state, row in machine.transitions.items()
            for event, next_state in row.items()
        ]
        yield ReferenceSection(f"{name}: transitions", (), transitions)


def _name_state_kind(machine: StateMachine, state: str) -> str:
    return "first" if state == machine.initial_state else "final" if state in machine.final_states else ""


def _list_transaction_sections() -> Iterator[ReferenceSection]:
    """Yield the named transactions, and the failpoints that are no commits."""
    meanings = _read_meanings()
    transactions = [
        {"transaction": name, "what the database contains after the commit": meaning}
        for name, meaning in meanings["transactions"].items()
    ]
    yield ReferenceSection(
        "Transactions",
        ("The failpoints of a transaction are `NAME.before_commit` and `NAME.after_commit`.",),
        transactions,
    )
    failpoints = [{"failpoint": name, "between": meaning} for name, meaning in meanings["failpoints"].items()]
    yield ReferenceSection("Further failpoints", (), failpoints)


_COMPARED_WORDS = (
    "`gateway evidence check` finds a changed value of these columns, a row that is gone, and one that was "
    "inserted. Other columns and tables are not compared."
)


def _list_evidence_sections() -> Iterator[ReferenceSection]:
    """Yield every kind of evidence with its subject, and the fields of each that a party of the case sees."""
    rows = [
        {"kind": kind, "about a": subject, "what it proves, and what its data holds": meaning}
        for kind, subjects in _read_meanings()["evidence"].items()
        for subject, meaning in subjects.items()
    ]
    yield ReferenceSection("Evidence", (), rows)
    readers = [
        {"kind": kind, "what a party of the case sees of its data": _describe_seen_fields(kind)}
        for kind in sorted(PARTY_FIELDS)
    ]
    yield ReferenceSection("What parties see", (), readers)
    compared = [
        {
            "table": compared_table.table,
            "columns": ", ".join(f"`{name}`" for name in compared_table.columns),
            "compared with": compared_table.compared_with,
        }
        for compared_table in sorted((*list_compared_tables(), *COMPARED_REGISTER), key=attrgetter("table"))
    ]
    yield ReferenceSection("Rows that are compared with the evidence", (_COMPARED_WORDS,), compared)


def _describe_seen_fields(kind: str) -> str:
    fields = [f"`{name}`" for name in sorted(PARTY_FIELDS[kind])]
    own_fields = [f"`{name}` (the party that filed)" for name in sorted(PARTY_OWN_FIELDS.get(kind, ()))]
    return ", ".join([*fields, *own_fields]) or "the hash alone"


#: Every reference by the word that selects it.
REFERENCES: Final = {
    "verbs": _list_verb_sections,
    "data-model": _list_table_sections,
    "errors": _list_error_sections,
    "findings": _list_finding_sections,
    "settings": _list_setting_sections,
    "states": _list_state_sections,
    "transactions": _list_transaction_sections,
    "evidence": _list_evidence_sections,
}


@verb("reference")
@click.argument("reference", type=click.Choice(tuple(REFERENCES)), help="the reference to print")
@json_option("print JSON, one object a line")
def print_reference(arguments: Arguments) -> None:
    """Print a reference as Markdown, or one JSON object for each of its sections."""
    for section in REFERENCES[arguments.reference]():
        if arguments.json:
            print_json({"title": section.title, "sentences": section.sentences, "rows": section.rows})
        else:
            print(section.format_markdown())


_SECTION_WORDS = "a section or a key: http, pki.token, http.port; if not given, every section"


@home_verb("config show")
@click.argument("section", required=False, help=_SECTION_WORDS)
def show_settings(arguments: Arguments) -> None:
    """Print every setting, or those of a section; report misuse for one that does not exist."""
    settings = list_effective_settings(find_settings_file(arguments), home=arguments.home)
    if arguments.section:
        settings = _select_section(settings, arguments.section)
    if arguments.json:
        print_json({setting.name: {"value": setting.value, "source": setting.source} for setting in settings})
        return
    rows = [
        {"setting": setting.name, "value": setting.value or "not set", "source": setting.source}
        for setting in settings
    ]
    print_table(rows, as_json=False, columns=("setting", "value", "source"))


def _select_section(settings: tuple[EffectiveSetting, ...], section: str) -> tuple[EffectiveSetting, ...]:
    """Return the settings in `section`, or that one setting; raise a usage error if there is none."""
    chosen = tuple(
        setting for setting in settings if setting.name == section or setting.name.startswith(f"{section}.")
    )
    if not chosen:
        setting_names = {
            part for setting in settings for part in (setting.name, setting.name.rpartition(".")[0]) if part
        }
        near = difflib.get_close_matches(section, sorted(setting_names), n=1)
        hint = f"; the nearest is {near[0]}" if near else ""
        raise click.UsageError(f"there is no section or setting {section[:80]}{hint}")
    return chosen
