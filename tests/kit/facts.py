"""The tables of the manual that are facts of the code, drawn from the code.

A page holds such a table between ``<!-- facts: NAME -->`` and ``<!-- end -->``.  What a table
says in words of its own (the last column, where the code has no sentence for it) stands in the
page and is kept: ``?`` marks words that are still to be written.
"""

from __future__ import annotations

import argparse
import ast
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Column, Table, UniqueConstraint

from gateway.accounts import ROLES, Right
from gateway.agreements import AGREEMENT_RULES, CPA_RULES
from gateway.agreements.as4.profile_tables import list_profiles, read_profile
from gateway.cli.verb_groups import build_root, load_verb
from gateway.cli.verb_table import VERBS
from gateway.config import Settings, describe_settings
from gateway.conformance.partners.agency_plan import BEHAVIOURS, CANCELLATIONS
from gateway.conformance.partners.misbehavior import (
    AGENCY_MISBEHAVIORS,
    BROKER_MISBEHAVIORS,
    CUSTOMS_MISBEHAVIORS,
)
from gateway.conformance.standard.suite_party import KINDS
from gateway.conformance.standard.suite_profile import FEATURES
from gateway.conformance.standard.suite_requirement import select_requirements
from gateway.encryption.encryption_policies import ENCRYPTION_POLICIES
from gateway.errors import (
    PROBLEMS,
    agency_documents,
    delivery,
    documents,
    internal,
    message_fragments,
    message_syntax,
    messaging,
    security,
)
from gateway.monitor.metrics import _HELP as METRICS
from gateway.share import get_data_folder
from gateway.state_machines import MACHINES, StateMachine
from gateway.store.tables import metadata
from gateway.web.api.api_services import BASE_PATH
from gateway.web.api.operation_table import OPERATIONS
from gateway.wire.wsdl import read_wsdl
from gateway.wire.xml_prescan import DEFAULT_LIMITS
from gateway.xmlsec.algorithms import POLICIES
from tests.kit import document_facts
from tests.kit.markdown import table
from tests.kit.paths import MANUAL, ROOT
from tests.kit.source_tree import PACKAGE, get_place, read_source, walk_sources

UNWRITTEN = "?"
BLOCK = re.compile(r"<!-- facts: ([\w:.-]+) -->\n(.*?)<!-- end -->", re.DOTALL)
COMMITS = ("write_transaction", "run_in_group_commit", "closing_transaction", "run_claim")
FAMILIES = (
    message_syntax,
    security,
    messaging,
    message_fragments,
    documents,
    delivery,
    agency_documents,
    internal,
)

Words = Mapping[tuple[str, ...], str]


def words_of(block: str) -> Words:
    """Return the last cell of each row of a block by the cells before it, and by the first alone.

    Below a heading of the block both begin with the heading.
    """
    found: dict[tuple[str, ...], str] = {}
    heading: tuple[str, ...] = ()
    for line in block.splitlines():
        if line.startswith("#"):
            heading = (line.lstrip("# "),)
        elif line.startswith("| ") and not line.startswith("| ---"):
            cells = [one.strip().replace("\\|", "|") for one in re.split(r"(?<!\\)\|", line)[1:-1]]
            found[*heading, *cells[:-1]] = cells[-1]
            found.setdefault((*heading, cells[0]), cells[-1])
    return found


def said(words: Words, *key: str, below: str = "") -> str:
    heading = (below,) if below else ()
    spelt = tuple(" ".join(one.split()) for one in key)
    return words.get((*heading, *spelt)) or words.get((*heading, spelt[0])) or UNWRITTEN


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def errors(_: Words) -> str:
    parts = []
    for family in FAMILIES:
        parts.append(f"## {str(family.__doc__).splitlines()[0].rstrip('.')}\n")
        for problem in vars(family).values():
            if not isinstance(problem, type(PROBLEMS["GW101"])):
                continue
            faces = {"ebMS 2.0": problem.ebms2, "ebMS 3.0": problem.ebms3, "SOAP": problem.soap}
            shown = [f"{name} {code(face)}" for name, face in faces.items() if face]
            shown += [f"HTTP {problem.http}"] if problem.http else []
            fault = "the gateway or its operator" if problem.ours else "the sender"
            again = "may succeed later" if problem.retry else "fail again"
            parts.append(
                f"### {problem.id} {problem.title}\n\n{problem.meaning}\n\n"
                f"- Cause: {problem.cause}\n- Remedy: {problem.remedy}\n"
                f"- Reported as: {', '.join(shown) or 'nothing; partners do not see it'}.\n"
                f"- At fault: {fault}. The same octets {again}.\n"
            )
    return "\n".join(parts)


def settings(_: Words) -> str:
    sections: dict[str, list[list[str]]] = {}
    for key in describe_settings():
        section, _, name = key.name.rpartition(".")
        sections.setdefault(section, []).append([code(name), code(key.default), key.sentence])
    parts = []
    for section, rows in sections.items():
        meaning = _section_meaning(section)
        title = section.replace("<code>", "CODE")
        parts.append(f"## [{title}]\n\n{meaning}\n\n" + table(("key", "default", "meaning"), rows))
    return "\n".join(parts)


def _section_meaning(section: str) -> str:
    """Return the description of a section, or of the section in it that has one of its own."""
    first, *inner = section.split(".")
    field = Settings.model_fields[first]
    for name in inner:
        if "<" in name:
            break
        field = field.annotation.model_fields[name]  # type: ignore[union-attr]
    return str(field.description)


def unused_settings() -> list[str]:
    """Return the keys that no code but the reader's own asks for."""
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "gateway").rglob("*.py"))
        if path.name != "config.py"
    )
    owner = (
        r"\b(?:hub|database|http|limits|pki|token|delivery|share|settings|agency|called|customs|one|source|section"
        r"|time_stamps|recognition|retention|console|api|oidc|needs|mappings|payloads|s3)\."
    )
    asked = set(re.findall(rf"(?={owner}(\w+))", text))
    return [key.name for key in describe_settings() if key.name.rpartition(".")[2] not in asked]


def settings_unused(words: Words) -> str:
    rows = [(code(name), said(words, code(name))) for name in unused_settings()]
    return table(("key", "what applies today"), rows) if rows else "None.\n"


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers below a parser that have none below them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from list(leaves(inner)) or [inner]


def every_verb() -> dict[str, tuple[click.Command, str]]:
    """Return each verb that can be run, by its words, with its sentence."""
    return {f"gateway {words}": (load_verb(words), entry.help) for words, entry in VERBS.items()}


def parse_words(words: list[str]) -> bool:
    """Tell whether the words are those of a verb, with arguments that it takes; misuse raises.

    What stands after ``>`` is the shell's.
    """
    words = words[: words.index(">")] if ">" in words else words
    command: click.Command = build_root()
    with command.make_context("gateway", list(words)) as context:
        while isinstance(command, click.Group):
            rest = [*context._protected_args, *context.args]
            name, found, rest = command.resolve_command(context, rest)
            assert found is not None
            context = found.make_context(name, rest, parent=context)
            command = found
    return True


def arguments_of(command: click.Command) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and help of each argument."""
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    for param in [*arguments, *(one for one in command.params if isinstance(one, click.Option))]:
        flag = isinstance(param, click.Option) and param.is_flag
        value = param.metavar or ("" if flag else str(param.name).upper())
        if isinstance(param.type, click.Choice) and not param.metavar:
            value = ", ".join(param.type.choices)
        name = ", ".join(param.opts) if isinstance(param, click.Option) else ""
        shown = f"{name} {value}".strip()
        default = param.to_info_dict()["default"]
        plain = default not in (None, False, (), []) and not flag
        yield shown, str(default) if plain else "", getattr(param, "help", None) or ""


def verbs(words: Words) -> str:
    parts = []
    for name, (command, sentence) in sorted(every_verb().items()):
        rows, usual = [], []
        for shown, default, text in arguments_of(command):
            if (shown, text) in _usual():
                usual.append(code(shown.split()[0]))
                continue
            meaning = text or said(words, code(shown), code(default), below=name)
            rows.append((code(shown), code(default), meaning))
        drawn = table(("argument", "default", "meaning"), rows) if rows else ""
        also = f"Takes {', '.join(usual)}.\n" if usual else ""
        example = f"```sh\n{VERBS[name.removeprefix('gateway ')].example}\n```\n"
        body = "\n".join(one for one in (drawn, also, example) if one)
        parts.append(f"### {name}\n\n{sentence[:1].upper()}{sentence[1:]}.\n\n{body}")
    return "\n".join(parts)


def _usual() -> set[tuple[str, str]]:
    """Return the arguments that most verbs have, which the page explains once."""
    return {(shown, text) for shown, _, text in arguments_of(load_verb("check"))}


def machine_states(name: str) -> Callable[[Words], str]:
    def draw(words: Words) -> str:
        machine = MACHINES[name]
        rows = []
        for state in machine.states:
            kind = "first" if state == machine.initial else "final" if state in machine.final else ""
            rows.append((state, kind, said(words, state, kind)))
        return table(("state", "", "meaning"), rows)

    return draw


def machine_steps(name: str) -> Callable[[Words], str]:
    def draw(_: Words) -> str:
        machine: StateMachine = MACHINES[name]
        rows = [
            (state, ", ".join(sorted(events)), following)
            for state, row in machine.table.items()
            for following, events in _by_next(row).items()
        ]
        return table(("in state", "event", "next state"), rows)

    return draw


def _by_next(row: Mapping[str, str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for event, following in row.items():
        grouped.setdefault(following, []).append(event)
    return grouped


def machine_events(name: str) -> Callable[[Words], str]:
    def draw(words: Words) -> str:
        events = dict.fromkeys(event for row in MACHINES[name].table.values() for event in row)
        return table(("event", "when"), [(event, said(words, event)) for event in events])

    return draw


def columns(name: str) -> Callable[[Words], str]:
    def draw(words: Words) -> str:
        found = metadata.tables[name]
        rows = []
        for column in found.columns:
            kind, more = _kind(column), _about(column)
            rows.append((code(column.name), kind, more, said(words, code(column.name), kind, more)))
        return table(("column", "type", "", "meaning"), rows) + _rules(found)

    return draw


def _kind(column: Column[Any]) -> str:
    names = {"BigInteger": "integer", "LargeBinary": "octets", "Instant": "instant", "Json": "JSON"}
    name = type(column.type).__name__
    return names.get(name, name.lower())


def _about(column: Column[Any]) -> str:
    about = ["key"] if column.primary_key else []
    about += [f"→ {key.target_fullname}" for key in column.foreign_keys]
    return ", ".join([*about, "may be empty"] if column.nullable else about)


def _rules(found: Table) -> str:
    unique = [
        tuple(column.name for column in one.columns)
        for one in found.constraints
        if isinstance(one, UniqueConstraint)
    ]
    unique += [tuple(str(one.name) for one in index.columns) for index in found.indexes if index.unique]
    if not unique:
        return ""
    return "\nOne row for each: " + "; ".join(", ".join(map(code, one)) for one in sorted(unique)) + ".\n"


def trees() -> Iterator[tuple[str, Sequence[ast.AST]]]:
    for path, nodes in walk_sources():
        yield get_place(path), nodes


def is_commit(call: ast.Call) -> bool:
    """Return whether a call begins a transaction that commits, by its own name or through its module."""
    return getattr(call.func, "attr", getattr(call.func, "id", "")) in COMMITS


def transactions() -> dict[str, str]:
    """Return the file of each named transaction."""
    found = {}
    for place, nodes in trees():
        for node in nodes:
            if not isinstance(node, ast.Call) or not is_commit(node):
                continue
            if len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                found[str(node.args[1].value)] = place
    return found


def draw_transactions(words: Words) -> str:
    rows = [(code(name), said(words, code(name))) for name in sorted(transactions())]
    return table(("transaction", "what the database contains after the commit"), rows)


def failpoints() -> list[str]:
    """Return the failpoints that are not commits; a word that is not fixed is written as ``AGENT``."""
    found = []
    for place, nodes in trees():
        if place in ("store/engine.py", "failpoints.py"):
            continue
        for node in nodes:
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "kill_at_failpoint":
                words = [str(one.value) if isinstance(one, ast.Constant) else "AGENT" for one in node.args]
                found.append(".".join(words))
    return sorted(found)


def draw_failpoints(words: Words) -> str:
    rows = [(code(name), said(words, code(name))) for name in failpoints()]
    return table(("failpoint", "between"), rows)


def evidence_kinds() -> dict[tuple[str, str], str]:
    """Return where each kind of evidence is recorded, by kind and subject."""
    found = {}
    for place, nodes in trees():
        if "from gateway.evidence import" not in read_source(PACKAGE / place):
            continue
        for function in nodes:
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "record_evidence":
                    for kind in _constants(node.args[1], function):
                        subject = node.args[2]
                        about = str(subject.value) if isinstance(subject, ast.Constant) else "message or case"
                        found[kind, about] = place
    return found


def _constants(node: ast.expr, function: ast.FunctionDef) -> list[str]:
    """Return every text that an expression may be: itself, by condition, or as assigned to its name."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return _constants(node.body, function) + _constants(node.orelse, function)
    given = [
        one.value
        for one in ast.walk(function)
        if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == ast.unparse(node)
    ]
    assert given, f"the kind {ast.unparse(node)} of evidence in {function.name} cannot be read"
    return [text for value in given for text in _constants(value, function)]


def draw_evidence(words: Words) -> str:
    rows = [(code(kind), about, said(words, code(kind), about)) for kind, about in sorted(evidence_kinds())]
    return table(("kind", "about a", "what it proves, and what its data holds"), rows)


def draw_metrics(_: Words) -> str:
    return table(("metric", "meaning"), [(code(name), text) for name, text in METRICS.items()])


def draw_limits(words: Words) -> str:
    rows = []
    for one in fields(DEFAULT_LIMITS):
        value = f"{getattr(DEFAULT_LIMITS, one.name):,}"
        rows.append((code(one.name), value, said(words, code(one.name))))
    return table(("limit", "default", "of"), rows)


def draw_encryption_policies(_: Words) -> str:
    rows = []
    for policy in ENCRYPTION_POLICIES.values():
        names = (sorted(policy.ciphers), policy.written, sorted(policy.transports))
        rows.append((code(policy.name), *(", ".join(uri.rpartition("#")[2] for uri in one) for one in names)))
    return table(("policy", "ciphers read", "ciphers written", "key transports read"), rows)


def draw_policies(_: Words) -> str:
    rows = []
    for policy in POLICIES.values():
        names = [
            sorted(one.split("#")[-1] for one in kind)
            for kind in (policy.signature_algorithms, policy.digest_algorithms)
        ]
        rows.append((code(policy.name), ", ".join(names[0]), ", ".join(names[1])))
    return table(("policy", "signatures", "digests"), rows)


def draw_roles(_: Words) -> str:
    """Return the roles with their rights, in the order of the code."""
    rows = (
        (role.kind, code(role.name), ", ".join(code(one) for one in Right if one in role.rights))
        for role in ROLES.values()
    )
    return table(("organisation", "role", "rights"), rows)


def draw_rights(words: Words) -> str:
    return table(("right", "who has it may"), ((code(one), said(words, code(one))) for one in Right))


def draw_operations(words: Words) -> str:
    rows = []
    for file in ("agency-template.wsdl", "customs.wsdl", "hub-agency.wsdl", "hub-customs.wsdl"):
        described = read_wsdl(get_data_folder("wsdl").joinpath(file).read_bytes())
        for name in described.operations:
            rows.append((code(file), code(name), said(words, code(file), code(name))))
    return table(("WSDL", "operation", "meaning"), rows)


def draw_status_codes(_: Words) -> str:
    text = (
        get_data_folder("mappings")
        .joinpath("codelists", "requirement-status.csv")
        .read_text(encoding="utf-8")
    )
    rows = [
        (
            row["code"],
            row["name"],
            row["set_by"],
            code(row["event"]) or "-",
            row["outcome"],
            "yes" if row["terminal"] == "y" else "",
        )
        for row in csv.DictReader(io.StringIO(text))
    ]
    return table(("code", "name", "set by", "event of the request", "outcome", "final"), rows)


def draw_mischief(_: Words) -> str:
    names = dict.fromkeys([*AGENCY_MISBEHAVIORS, *CUSTOMS_MISBEHAVIORS, *BROKER_MISBEHAVIORS])
    rows = [
        (
            code(name),
            AGENCY_MISBEHAVIORS.get(name, ""),
            BROKER_MISBEHAVIORS.get(name, ""),
            "yes" if name in CUSTOMS_MISBEHAVIORS else "",
        )
        for name in names
    ]
    return table(("name", "an agency", "a broker", "customs as an agency"), rows)


def draw_agreement_rules(_: Words) -> str:
    rows = [(code(name), one.severity, one.meaning, one.clause) for name, one in AGREEMENT_RULES.items()]
    return table(("finding", "severity", "what is wrong", "clause"), rows)


def draw_profiles(_: Words) -> str:
    tables = [read_profile(name) for name in list_profiles()]
    rows = [
        (
            code(one.name),
            f"{one.title}. {one.note}".strip(),
            str(sum(row.level == "must" and bool(row.term) for row in one.rows)),
            str(sum(row.level != "must" for row in one.rows)),
            str(sum(not row.term for row in one.rows)),
        )
        for one in tables
    ]
    return table(("profile", "what it is", "demands", "advice", "held by the hub in any case"), rows)


def draw_cpa_rules(_: Words) -> str:
    rows = [(code(name), one.severity, one.meaning, one.clause) for name, one in CPA_RULES.items()]
    return table(("finding", "severity", "what is wrong", "clause"), rows)


def draw_behaviours(_: Words) -> str:
    return table(("behaviour", "the agency"), [(code(name), text) for name, text in BEHAVIOURS.items()])


def draw_cancellations(_: Words) -> str:
    rows = [(code(name), text) for name, text in CANCELLATIONS.items()]
    return table(("cancellation", "asked to cancel, the agency"), rows)


def draw_requirements(_: Words) -> str:
    """Return the requirements of the suite ebms2."""
    rows = (
        (f"`{one.id}`", one.clause, " ".join(one.iic), one.title, one.level, one.feature)
        for one in select_requirements(None)
    )
    return table(("id", "clause", "IIC", "requirement", "level", "feature"), rows)


def draw_suite_features(_: Words) -> str:
    """Return what a tested gateway may declare."""
    return table(("feature", "the gateway"), ((f"`{name}`", words) for name, words in FEATURES.items()))


def draw_agreement_kinds(_: Words) -> str:
    """Return the kinds of agreements of the suite."""
    return table(("kind", "what it says"), ((f"`{name}`", words) for name, words in KINDS.items()))


def draw_api_operations(_: Words) -> str:
    """Return the operations of the API as the OpenAPI document has them."""
    rows = [
        (code(f"{one.method} {BASE_PATH}{one.path}"), one.summary, "none" if one.public else "the party")
        for one in OPERATIONS
    ]
    return table(("operation", "what it does", "credentials"), rows)


DRAWN: dict[str, Callable[[Words], str]] = {
    "api-operations": draw_api_operations,
    "errors": errors,
    "settings": settings,
    "settings-unused": settings_unused,
    "verbs": verbs,
    "transactions": draw_transactions,
    "failpoints": draw_failpoints,
    "evidence": draw_evidence,
    "metrics": draw_metrics,
    "limits": draw_limits,
    "policies": draw_policies,
    "encryption-policies": draw_encryption_policies,
    "roles": draw_roles,
    "rights": draw_rights,
    "operations": draw_operations,
    "status-codes": draw_status_codes,
    "misbehaviours": draw_mischief,
    "behaviours": draw_behaviours,
    "cancellations": draw_cancellations,
    "requirements": draw_requirements,
    "suite-features": draw_suite_features,
    "agreement-kinds": draw_agreement_kinds,
    "agreement-rules": draw_agreement_rules,
    "profiles": draw_profiles,
    "cpa-rules": draw_cpa_rules,
    "documents": document_facts.draw_documents,
    "organisations": document_facts.draw_organisations,
    "shared-answers": document_facts.draw_shared_answers,
    **{f"states:{name}": machine_states(name) for name in MACHINES},
    **{f"steps:{name}": machine_steps(name) for name in MACHINES},
    **{f"events:{name}": machine_events(name) for name in MACHINES},
    **{f"table:{name}": columns(name) for name in metadata.tables},
}


def redrawn(page: str) -> str:
    """Return a page with its tables drawn anew."""

    def draw(found: re.Match[str]) -> str:
        name = found[1]
        assert name in DRAWN, f"there is no table {name}"
        return f"<!-- facts: {name} -->\n{DRAWN[name](words_of(found[2]))}<!-- end -->"

    return BLOCK.sub(draw, page)


def write() -> list[Path]:
    """Draw the tables of every page anew; return the pages that changed."""
    changed = []
    for path in sorted(MANUAL.rglob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = redrawn(old)
        if new != old:
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed
