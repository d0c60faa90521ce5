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

import click

from gateway.accounts import ROLES, Right
from gateway.agreements.as4.profile_tables import list_profiles, read_profile
from gateway.cli.added_verbs import list_verbs
from gateway.cli.verb_groups import build_root, load_verb
from gateway.encryption.encryption_policies import ENCRYPTION_POLICIES
from gateway.monitor.metrics import _HELP as METRICS
from gateway.share import get_data_folder
from gateway.web.api.api_application import OPERATIONS
from gateway.web.api.api_operations import BASE_PATH
from gateway.wire import DEFAULT_LIMITS, read_wsdl
from gateway.xmlsec import POLICIES
from gateway_conformance.partners import AGENCY_MISBEHAVIORS, BROKER_MISBEHAVIORS, CUSTOMS_MISBEHAVIORS
from gateway_conformance.partners.agency_plan import BEHAVIOURS, CANCELLATIONS
from gateway_conformance.standard import select_requirements
from gateway_conformance.standard.suite_party import KINDS
from gateway_conformance.standard.suite_requirement import FEATURES, Requirement
from tests.kit import document_facts
from tests.kit.markdown import table
from tests.kit.paths import MANUAL
from tests.kit.source_tree import get_place, read_source, walk_sources

VERBS = list_verbs()

UNWRITTEN = "?"
BLOCK = re.compile(r"<!-- facts: ([\w:.-]+) -->\n(.*?)<!-- end -->", re.DOTALL)
COMMITS = (
    "write_transaction",
    "write_call_transaction",
    "run_in_group_commit",
    "run_closing_commit",
    "case_transaction",
    "send_notice",
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


def failpoints() -> list[str]:
    """Return the failpoints that are not commits; a word that is not fixed is written as ``AGENT``."""
    found = []
    for place, nodes in trees():
        if place in ("store/engine.py", "store/group_commit.py", "failpoints.py"):
            continue
        for node in nodes:
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "kill_at_failpoint":
                words = [str(one.value) if isinstance(one, ast.Constant) else "AGENT" for one in node.args]
                found.append(".".join(words))
    return sorted(found)


#: The functions that record a leaf of evidence.
_RECORDERS = ("record_evidence", "record_register_leaf")


def evidence_kinds() -> dict[tuple[str, str], str]:
    """Return where each kind of evidence is recorded, by kind and subject."""
    found = {}
    for path, nodes in walk_sources():
        place = get_place(path)
        if "from gateway.evidence import" not in read_source(path):
            continue
        for function in nodes:
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in _RECORDERS:
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
        names = (sorted(policy.ciphers), policy.sent_ciphers, sorted(policy.transports))
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
    """Return the status codes by what they do; only those that an agency may set have an event."""
    text = (
        get_data_folder("mappings")
        .joinpath("codelists", "requirement-status.csv")
        .read_text(encoding="utf-8")
    )
    groups: dict[tuple[str, str], list[str]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        effect = code(row["event"]) or f"set by {row['set_by']}"
        outcome = f"{row['outcome']}, final" if row["terminal"] == "y" else row["outcome"]
        groups.setdefault((effect, outcome), []).append(f"{row['code']} {row['name']}")
    rows = ((effect, outcome, "; ".join(codes)) for (effect, outcome), codes in groups.items())
    return table(("event of the request", "outcome", "codes"), rows)


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


def draw_behaviours(_: Words) -> str:
    return table(("behaviour", "the agency"), [(code(name), text) for name, text in BEHAVIOURS.items()])


def draw_cancellations(_: Words) -> str:
    rows = [(code(name), text) for name, text in CANCELLATIONS.items()]
    return table(("cancellation", "asked to cancel, the agency"), rows)


def draw_requirements(words: Words) -> str:
    """Return the groups of requirements of the suite ebms2: how many, and what they ask a gateway to have."""
    groups: dict[str, list[Requirement]] = {}
    for requirement in select_requirements(None):
        groups.setdefault(requirement.id.partition("-")[0], []).append(requirement)
    rows = []
    for name, group in groups.items():
        features = sorted({feature for row in group for feature in row.feature.split()})
        rows.append((code(name), str(len(group)), ", ".join(map(code, features)), said(words, code(name))))
    return table(("group", "requirements", "features", "about"), rows)


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
    "profiles": draw_profiles,
    "documents": document_facts.draw_documents,
    "organisations": document_facts.draw_organisations,
    "shared-answers": document_facts.draw_shared_answers,
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
