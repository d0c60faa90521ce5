"""The manual says what the code does: its tables are the code's, its examples run, its links lead somewhere.

``python -m tests.test_manual --write`` draws the tables anew; words that a new row needs are
then marked ``?`` in the page, and are to be written.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import create_engine

from gateway import cli
from gateway.agreements import AGREEMENT_RULES, CPA_RULES, Reliability, read_pmodes
from gateway.config import describe_settings, load_settings
from gateway.errors import PROBLEMS
from gateway.harmonize import load_bundle as load_mappings
from gateway.harmonize import read_notice
from gateway.protocols import PROTOCOLS
from gateway.state_machines import MACHINES, StateMachine
from gateway.store.tables import metadata
from gateway.web.api.api_application import OPERATIONS
from gateway.web.api.api_operations import BASE_PATH
from gateway.web.status_endpoints import build_status_application
from gateway_conformance.__main__ import _build_parser as conformance_parser
from gateway_conformance.partners import read_agency_plans
from gateway_conformance.verbs.demo_stories import list_stories
from tests.kit import examples, facts, pictures
from tests.kit.paths import MANUAL, ROOT
from tests.kit.source_tree import get_module_name, list_sources, parse_source
from tests.kit.state_diagram import list_changes

PAGES = {
    path.relative_to(MANUAL).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(MANUAL.rglob("*.md"))
}
# Remedies and plans may name verbs that are still to come; whoever writes one takes it off this list.
VERBS_TO_COME: set[str] = set()
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def page(name: str) -> str:
    return PAGES[name]


def headings(text: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", FENCE.sub("", text), re.MULTILINE)


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_of_a_page_are_those_of_the_code(name: str) -> None:
    assert facts.redrawn(page(name)) == page(name), "run: python -m tests.test_manual --write"
    assert "| ? |" not in page(name), "a row has no words yet"


def test_every_table_is_in_one_page() -> None:
    drawn = Counter(name for text in PAGES.values() for name, _ in facts.BLOCK.findall(text))
    assert drawn == dict.fromkeys(facts.DRAWN, 1)


def read_reference(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, str]]]:
    """Return the rows of each section that the verb prints, after a look at its Markdown."""
    assert cli.main(["reference", name]) == 0
    printed = capsys.readouterr().out
    assert cli.main(["reference", name, "--json"]) == 0
    sections = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert headings(printed, 2) == [section["title"] for section in sections]
    for section in sections:
        assert all(sentence in printed for sentence in section["sentences"])
    rows = {section["title"]: section["rows"] for section in sections}
    assert len(re.findall(r"^\| (?!---)", printed, re.MULTILINE)) == sum(
        len(part) + bool(part) for part in rows.values()
    )
    for target in LINK.findall(printed):
        file, _, anchor = target.partition("#")
        assert "://" in target or not anchor or anchor in anchors(page(file)), target
    return rows


def test_the_reference_has_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_reference("errors", capsys)["Problems"]
    assert [row["id"] for row in rows] == list(PROBLEMS)
    for row in rows:
        problem = PROBLEMS[row["id"]]
        assert (row["problem"], row["meaning"]) == (problem.title, problem.meaning)
        assert (row["cause"], row["remedy"]) == (problem.cause, problem.remedy)
        assert (row["at fault"] == "the sender") is not problem.ours
        assert (row["the same octets"] == "fail again") is not problem.retry
        for code in (problem.codes.ebms2, problem.codes.ebms3, problem.codes.soap, problem.codes.http):
            assert not code or str(code) in row["reported as"]


def test_the_reference_has_every_finding_on_an_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    sections = read_reference("findings", capsys)
    for title, rules in (("Agreements", AGREEMENT_RULES), ("CPA documents", CPA_RULES)):
        rows = [
            (row["finding"], row["severity"], row["what is wrong"], row["clause"]) for row in sections[title]
        ]
        assert rows == [(name, one.severity, one.meaning, one.clause) for name, one in rules.items()]


def test_the_page_names_the_subject_of_every_problem() -> None:
    ranges = set(re.findall(r"^\| (GW\d) \|", page("errors.md"), re.MULTILINE))
    assert ranges == {name[:3] for name in PROBLEMS}


def test_the_reference_has_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        (section[1:-1].replace("CODE", "<code>"), row["key"], row["default"], row["meaning"])
        for section, part in read_reference("settings", capsys).items()
        for row in part
    ]
    assert sorted(rows) == sorted(
        (*key.name.rpartition(".")[::2], key.default, key.sentence) for key in describe_settings()
    )


def test_the_reference_has_every_verb_with_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    sections = read_reference("verbs", capsys)
    assert set(sections) == set(facts.every_verb())
    for words, (command, _) in facts.every_verb().items():
        spelt = [word for row in sections[words] for word in row["argument"].replace(",", " ").split()]
        assert len(sections[words]) == len(command.params)
        assert {option for one in command.params for option in one.opts if option.startswith("-")} <= set(
            spelt
        )
        assert all(row["meaning"] for row in sections[words])


def test_the_reference_has_every_table_and_column(capsys: pytest.CaptureFixture[str]) -> None:
    sections = read_reference("data-model", capsys)
    assert {name: [row["column"] for row in rows] for name, rows in sections.items()} == {
        name: [column.name for column in table.columns] for name, table in metadata.tables.items()
    }
    assert all(row["meaning"] for rows in sections.values() for row in rows)
    parties = {row["column"]: row for row in sections["party_ids"]}
    assert parties["party_id"]["properties"] == "→ parties.id"
    assert parties["type"]["properties"] == "key"


def test_the_reference_has_every_state_event_and_transition(capsys: pytest.CaptureFixture[str]) -> None:
    sections = read_reference("states", capsys)
    for name, machine in MACHINES.items():
        states = {row["state"]: row for row in sections[f"{name}: states"]}
        assert list(states) == list(machine.states)
        assert {state for state, row in states.items() if row["place"] == "final"} == machine.final_states
        assert {row["event"] for row in sections[f"{name}: events"]} == machine.events
        steps = [tuple(row.values()) for row in sections[f"{name}: transitions"]]
        assert steps == [
            (state, event, after)
            for state, row in machine.transitions.items()
            for event, after in row.items()
        ]
    assert all(row.get("meaning", row.get("when", "-")) for rows in sections.values() for row in rows)


def test_every_word_of_the_reference_is_about_something_that_is_there() -> None:
    words = tomllib.loads((ROOT / "gateway" / "cli" / "reference_words.toml").read_text(encoding="utf-8"))
    assert {name: {*columns} for name, columns in words["tables"].items()} == {
        name: {"", *table.columns.keys()} for name, table in metadata.tables.items()
    }
    assert {name: [*states] for name, states in words["states"].items()} == {
        name: list(machine.states) for name, machine in MACHINES.items()
    }
    assert {name: {*events} for name, events in words["events"].items()} == {
        name: machine.events for name, machine in MACHINES.items()
    }
    assert {f"gateway {verb}" for verb in (*words["json_lines"], *words["keys"])} <= set(facts.every_verb())


def test_the_reference_has_every_kind_of_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    sections = read_reference("evidence", capsys)
    rows = sections["Evidence"]
    kinds = [(row["kind"], row["about a"]) for row in rows]
    assert kinds == sorted(facts.evidence_kinds())
    assert {"NRO", "NRR", "NRS", "admitted", "notice", "decided"} <= {kind for kind, _ in kinds}
    assert all(row["what it proves, and what its data holds"] for row in rows)
    seen = {
        row["kind"]: row["what a party of the case sees of its data"] for row in sections["What parties see"]
    }
    assert list(seen) == sorted({kind for kind, _ in kinds})
    assert seen["act"] == "the hash alone"
    assert seen["closed"] == "`number`, `outcome`"
    assert seen["filed"].endswith("`salt` (the party that filed), `way` (the party that filed)")


def test_the_reference_has_every_commit_and_failpoint(capsys: pytest.CaptureFixture[str]) -> None:
    sections = read_reference("transactions", capsys)
    names = [row["transaction"] for row in sections["Transactions"]]
    assert names == sorted(facts.transactions())
    assert {"receive.message", "admit.case", "reply.call_back", "conclude.result"} <= {*names}
    assert [row["failpoint"] for row in sections["Further failpoints"]] == facts.failpoints()
    assert all(all(row.values()) for rows in sections.values() for row in rows)


def anchors(text: str) -> set[str]:
    """Return the anchors that readers of Markdown make of headings."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_page(name: str) -> None:
    for target in LINK.findall(FENCE.sub("", page(name))):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (MANUAL / name).parent / file if file else MANUAL / name
        assert path.is_file(), f"{name} links to {target}"
        assert path.resolve().is_relative_to(MANUAL), f"{name} links out of the manual: {target}"
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), f"{name} links to {target}"


def test_the_index_names_every_page() -> None:
    assert set(LINK.findall(page("index.md"))) == set(PAGES) - {"index.md"}


def test_every_page_begins_with_its_title() -> None:
    for name, text in PAGES.items():
        assert text.startswith("# "), name
        assert len(headings(text, 1)) == 1, name


def test_decisions_are_numbered_and_say_context_decision_consequences() -> None:
    found = [name for name in PAGES if name.startswith("decisions/")]
    assert [int(name[10:14]) for name in found] == list(range(1, len(found) + 1))
    for number, name in enumerate(found, 1):
        assert page(name).startswith(f"# {number}. ")
        assert re.findall(r"^\*\*(\w+)\.\*\*", page(name), re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]


def test_commands_of_the_manual_can_be_parsed() -> None:
    lines = [line for text in PAGES.values() for block in fenced(text, "sh") for line in block.splitlines()]
    assert len(lines) > 25
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "gateway", line
        assert facts.parse_words(words[1:]), line


def test_verbs_and_options_in_running_text_exist() -> None:
    verbs = facts.every_verb()
    groups = {name.split()[1] for name in verbs}
    to_come = set()
    for name, text in PAGES.items():
        for command in re.findall(r"`gateway ([a-z][^`]*)`", FENCE.sub("", text)):
            three = re.match(r"[a-z]+(?: [a-z]+){0,2}", command)[0].split()  # type: ignore[index]
            words = " ".join(three[:2])
            if words in VERBS_TO_COME:
                to_come.add(words)
                continue
            known = next(
                (one for n in (3, 2, 1) if (one := " ".join(["gateway", *three[:n]])) in verbs), None
            )
            assert known or words in groups, f"{name}: gateway {command}"
            if known:
                options = {option for one in verbs[known][0].params for option in one.opts}
                assert set(re.findall(r"--[a-z-]+", command)) <= options, f"{name}: gateway {command}"
    assert to_come == VERBS_TO_COME


def test_problems_and_settings_in_running_text_exist() -> None:
    keys = {key.name for key in describe_settings()}
    commits = {*facts.transactions(), *facts.failpoints()}
    sections = "|".join(sorted({key.partition(".")[0] for key in keys}))
    for name, text in PAGES.items():
        for problem in re.findall(r"\bGW\d{3}\b", text):
            assert problem in PROBLEMS, f"{name}: {problem}"
        for key in re.findall(rf"`((?:{sections})\.[\w.<>]+)`", FENCE.sub("", text)):
            if key not in commits and not key.endswith((".pem", ".toml")):
                assert key.replace("agency.CODE.", "agency.<code>.") in keys, f"{name}: {key}"


def test_the_agreement_of_the_manual_loads_and_every_key_is_explained() -> None:
    text = page("broker.md")
    (example,) = fenced(text, "yaml agreement")
    assert len(read_pmodes(example.encode(), "broker.yaml")) == 6
    for key in agreement_keys():
        assert f"`{key}`" in text, key


def agreement_keys() -> set[str]:
    """Return every key that the reader of agreements takes."""
    tree = ast.parse((ROOT / "gateway" / "agreements" / "agreement_file.py").read_text(encoding="utf-8"))
    keys = set(Reliability.__dataclass_fields__)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "read_fields":
            keys |= {
                constant.value
                for part in node.args[1:]
                for constant in ast.walk(part)
                if isinstance(constant, ast.Constant)
            }
    assert {"parties", "ids", "deliver_to", "endpoint"} <= keys
    return keys


def test_the_settings_of_the_manual_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = fenced(page("configuration.md"), "toml")
    file = tmp_path / "gateway.toml"
    file.write_text(example, encoding="utf-8")
    monkeypatch.setenv("GATEWAY_DATABASE", "postgresql://hub@db/gateway")
    settings = load_settings(file)
    assert settings.agency["ORG"].lane == 4
    assert settings.database.url == "postgresql://hub@db/gateway"


@pytest.mark.long
def test_the_first_steps_of_an_operator_lead_to_a_good_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = fenced(page("operating.md"), "sh")[0].splitlines()
    (agreement,) = fenced(page("broker.md"), "yaml agreement")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    Path("broker1.yaml").write_text(agreement, encoding="utf-8")
    assert steps[-1].startswith("gateway run ")
    for step in steps[:-1]:
        assert cli.main(shlex.split(step)[1:]) == 0, step
    assert capsys.readouterr().out.splitlines()[-1].startswith("no problem found, ")


def test_plans_and_commands_of_simulated_partners_are_good(tmp_path: Path) -> None:
    text = page("conformance.md")
    (plan,) = fenced(text, "toml")
    assert tomllib.loads(plan)["behaviour"] == "information"
    (tmp_path / "plan.toml").write_text(plan, encoding="utf-8")
    assert read_agency_plans(tmp_path / "plan.toml", {}).usual.items[0].hs == "0601"
    lines = [line for block in fenced(text, "") for line in block.splitlines() if line.startswith("python")]
    assert len(lines) == 3
    for line in lines:
        conformance_parser().parse_args(shlex.split(line)[3:])


def test_every_story_of_the_demo_is_told() -> None:
    rows = page("conformance.md").partition("\n| story |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", rows, re.MULTILINE) == sorted(list_stories())


def test_the_options_of_simulated_partners_exist() -> None:
    known = {
        option
        for parser in facts.leaves(conformance_parser())
        for action in parser._actions
        for option in action.option_strings
    }
    part = page("conformance.md").split("## Simulated partners")[1].split("## Plans")[0]
    told = set(re.findall(r"(?<!-)--[a-z][a-z-]*", part))
    further = {"--json", "--home", "--console", "--story"}
    assert {"--partner", "--misbehave", "--plan"} <= told <= known | further


def test_every_address_is_told_and_no_other() -> None:
    served = {f"/msh/{name}" for name in PROTOCOLS} | {"/soap/agency", "/soap/customs"}
    served |= {
        str(rule) for rule in build_status_application(create_engine("sqlite://")).url_map.iter_rules()
    }
    told = {
        path
        for text in PAGES.values()
        for path in re.findall(r"`(?:POST )?(/(?:msh|soap|status|metrics|pki|api|console)\b[a-z0-9/]*)", text)
    }
    api = {f"{BASE_PATH}{one.path}" for one in OPERATIONS} | {f"{BASE_PATH}/openapi.json"}
    strange = [
        path for path in told if path.startswith("/api") and not any(one.startswith(path) for one in api)
    ]
    assert not strange
    # The pages of the console are those of tests/web/console/test_every_page.py.
    assert {path for path in told if not path.startswith(("/api", "/console"))} == served


def test_the_files_of_the_verifier_are_there() -> None:
    rooms = "protocols|xmlsec|wire|web|delivery"
    named = set(re.findall(rf"`((?:{rooms})(?:/[a-z0-9_]+)+)`", page("verifier.md")))
    assert len(named) > 25
    missing = [name for name in named if not (ROOT / "gateway" / f"{name}.py").exists()]
    assert not missing, missing


def test_the_words_of_the_glossary_are_in_the_code() -> None:
    rows = re.findall(r"^- \*\*([^*]+)\*\*: (.+) `([\w.]+)`$", page("glossary.md"), re.MULTILINE)
    words = [word for word, _, _ in rows]
    assert len(rows) > 400
    assert words == sorted(words, key=lambda one: re.sub("[^a-z]", "", one.lower()))
    for word, _, place in rows:
        assert is_in_code(place), f"{word}: {place}"


def is_in_code(place: str) -> bool:
    """Return whether a package has a name, in whichever of its files: `gateway.store.Message.receipt`.

    A name is that of a file, or of what stands at the top of a file, or of an attribute of a class there.
    """
    names = place.split(".")
    packages = {name if name.count(".") < 2 else name.rpartition(".")[0] for name in list_modules()}
    count = next(n for n in range(len(names), -1, -1) if ".".join(names[:n]) in packages)
    package, rest = ".".join(names[:count]), names[count:]
    inside = [tree for name, tree in list_modules().items() if f"{name}.".startswith(f"{package}.")]
    return (
        not rest
        or any(name.endswith(f".{rest[0]}") for name in list_modules() if name.startswith(f"{package}."))
        or any(has_name(tree, rest) for tree in inside)
    )


@cache
def list_modules() -> dict[str, ast.Module]:
    return {get_module_name(path): parse_source(path) for path in list_sources()}


def has_name(scope: ast.Module | ast.ClassDef, names: list[str]) -> bool:
    """Return whether a scope defines a name, and below it the next one."""
    for node in scope.body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                defined = {node.name}
            case ast.Assign():
                defined = {target.id for target in node.targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                defined = {name}
            case _:
                continue
        if names[0] in defined:
            return len(names) == 1 or (isinstance(node, ast.ClassDef) and has_name(node, names[1:]))
    return False


EXAMPLES = examples.read(page("mapping-examples.md"))


def test_the_document_of_the_mapping_page_gives_its_request(tmp_path: Path) -> None:
    done, wrong = examples.run(EXAMPLES, None, tmp_path)
    assert not wrong
    assert done is not None
    (request,) = done.requests
    parser = etree.XMLParser(remove_blank_text=True)
    assert examples.shape(request.xml) == examples.shape(etree.fromstring(EXAMPLES.request, parser))
    counted = done.ledger.count_fates()
    assert EXAMPLES.ledger.strip() == ", ".join(
        f"{name} {counted[name]}" for name in ("forwarded", "withheld", "consumed", "unaccounted")
    )


def test_the_mapping_page_shows_what_the_verb_explains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples.write(EXAMPLES, None, tmp_path)
    file = tmp_path / "submission.xml"
    file.write_text(EXAMPLES.submission, encoding="utf-8")
    pointer = EXAMPLES.explained.split()[0]
    words = ["map", "explain", pointer, "--submission", str(file), "--path", str(tmp_path)]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.startswith(EXAMPLES.explained)


def test_the_notice_of_the_mapping_page_says_its_facts(tmp_path: Path) -> None:
    examples.write(EXAMPLES, None, tmp_path)
    bundle = load_mappings(tmp_path)
    said = read_notice(etree.fromstring(EXAMPLES.notice), bundle.notices, bundle.documents["BULBS"])
    told = [
        f"{fact.name}{f' of item {fact.item}' if fact.item else ''}: {fact.value} {fact.unit}".strip()
        for fact in said.facts
    ]
    assert told == EXAMPLES.facts.splitlines()


def test_the_submission_of_the_mapping_page_is_valid() -> None:
    from gateway.share import get_data_folder
    from gateway.wire import SchemaSet

    SchemaSet.load_cached(get_data_folder("xsd"), "hub/submission.xsd").validate_document(
        etree.fromstring(EXAMPLES.submission)
    )


@pytest.mark.parametrize("example", EXAMPLES.examples, ids=lambda one: f"line-{one.line}")
def test_an_example_of_the_mapping_page_runs(example: examples.Example, tmp_path: Path) -> None:
    if example.end == "unproved":
        assert example.expected.strip() in examples.unproved(EXAMPLES, example, tmp_path)
        return
    done, wrong = examples.run(EXAMPLES, example, tmp_path)
    if example.end == "refused":
        assert wrong.startswith(example.expected.strip())
        return
    assert not wrong
    assert done is not None
    made = [examples.shape(one) for request in done.requests for one in request.xml.iter("*")]
    for element in examples.wanted(example):
        assert element in made


def test_the_mapping_page_has_every_source_and_conversion() -> None:
    from gateway.harmonize.language import HUB_VALUES
    from gateway.harmonize.language.conversion_steps import FORMATS
    from gateway.harmonize.language.source_reader import SOURCES

    puts = " ".join(
        text for one in EXAMPLES.examples for kind, text in one.added.items() if kind.startswith("puts")
    )
    puts += EXAMPLES.files[examples.DOCUMENT]
    steps = (
        "where",
        "default",
        "convert",
        "form",
        "via",
        "limit",
        "split",
        "each",
        "when",
        "unit",
        "currency",
    )
    for word in (*SOURCES, *steps):
        assert f"{word}:" in puts, word
    for word in (*FORMATS, *HUB_VALUES):
        assert word in page("mapping-examples.md"), word


def test_the_manual_speaks_of_the_product_alone() -> None:
    for name, text in PAGES.items():
        for word in ("/work/", "../shared", "/tmp/", "/root/", "TODO"):
            assert word not in text, f"{name}: {word}"


def test_the_picture_of_the_flow_is_up_to_date() -> None:
    found = pictures.FLOW.read_text(encoding="utf-8")
    assert found == pictures.drawn_flow(), "run: python -m tests.test_manual --write"
    etree.fromstring(found.encode())


def test_the_pictures_of_the_states_are_up_to_date() -> None:
    for path, text in pictures.drawn_machines().items():
        assert path.read_text(encoding="utf-8") == text, "run: python -m tests.test_manual --write"
        etree.fromstring(text.encode())
        assert f"(pictures/{path.name})" in page("states.md")


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_a_picture_of_states_has_every_change(machine: StateMachine) -> None:
    drawn = {
        (source, event, change.target)
        for change in list_changes(machine)
        for source in change.sources
        for event in change.events
    }
    stays = {(source, event, target) for source, event, target in drawn if source == target}
    wanted = {
        (state, event, after) for state, row in machine.transitions.items() for event, after in row.items()
    }
    assert drawn - stays == {one for one in wanted if one[0] != one[2]}
    assert stays <= wanted


if __name__ == "__main__":
    assert sys.argv[1:] == ["--write"], "python -m tests.test_manual --write"
    for changed in (*facts.write(), *pictures.write()):
        print(changed.relative_to(ROOT))
