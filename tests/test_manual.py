"""The manual says what the code does: its tables are the code's, its examples run, its links lead somewhere.

``python -m tests.test_manual --write`` draws the tables anew; words that a new row needs are
then marked ``?`` in the page, and are to be written.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
import tomllib
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import create_engine

from gateway import cli
from gateway.agreements import Reliability, read_pmodes
from gateway.cli.demo_stories import list_stories
from gateway.cli.verb_table import OLD_SPELLINGS
from gateway.config import describe_settings, load_settings
from gateway.conformance.__main__ import _build_parser as conformance_parser
from gateway.conformance.partners.agency_plan import read_agency_plans
from gateway.errors import PROBLEMS
from gateway.harmonize import load_bundle as load_mappings
from gateway.harmonize.notices.notice_facts import read_notice
from gateway.protocols import PROTOCOLS
from gateway.state_machines import MACHINES, StateMachine
from gateway.store.tables import metadata
from gateway.web.api.api_services import BASE_PATH
from gateway.web.api.operation_table import OPERATIONS
from gateway.web.status_endpoints import build_status_application
from tests.kit import examples, facts, pictures
from tests.kit.paths import MANUAL, ROOT
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


def test_every_problem_has_a_heading_and_nothing_else_has() -> None:
    wanted = [f"{problem.id} {problem.title}" for problem in PROBLEMS.values()]
    assert headings(page("errors.md"), 3) == wanted
    for problem in PROBLEMS.values():
        for words in (problem.meaning, problem.cause, problem.remedy):
            assert words in page("errors.md")


def test_every_key_of_the_settings_is_described() -> None:
    text = page("configuration.md")
    for key in describe_settings():
        section, _, name = key.name.rpartition(".")
        start = text.index(f"## [{section.replace('<code>', 'CODE')}]\n")
        rows = text[start : text.find("\n## ", start + 1)]
        default = f"`{key.default}`" if key.default else " "
        assert f"| `{name}` | {default.replace('|', chr(92) + '|')} | {key.sentence} |" in rows, key.name


def test_every_verb_has_a_heading() -> None:
    assert set(headings(page("verbs.md"), 3)) == set(facts.every_verb())


def test_every_table_and_column_has_its_meaning() -> None:
    text = page("data-model.md")
    assert sorted(headings(text, 3)) == sorted(metadata.tables)
    for name, block in facts.BLOCK.findall(text):
        table = metadata.tables[name.removeprefix("table:")]
        assert re.findall(r"^\| `(\w+)` \|", block, re.MULTILINE) == [column.name for column in table.columns]


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda one: one.name)
def test_every_state_and_event_of_a_machine_is_told(machine: facts.StateMachine) -> None:
    blocks = dict(facts.BLOCK.findall(page("states.md")))
    rows = {
        kind: re.findall(r"^\| ([\w]+) \|", blocks[f"{kind}:{machine.name}"], re.MULTILINE)[1:]
        for kind in ("states", "events")
    }
    assert rows["states"] == list(machine.states)
    assert set(rows["events"]) == set(machine.events)
    told = {
        (before, event, after)
        for before, events, after in re.findall(
            r"^\| (\w+) \| ([\w, ]+) \| (\w+) \|$", blocks[f"steps:{machine.name}"], re.MULTILINE
        )
        for event in events.split(", ")
    }
    assert told == {
        (state, event, after) for state, row in machine.table.items() for event, after in row.items()
    }


def test_every_kind_of_evidence_is_told() -> None:
    told = set(
        re.findall(
            r"^\| `(\w+)` \|", dict(facts.BLOCK.findall(page("evidence.md")))["evidence"], re.MULTILINE
        )
    )
    assert told == {kind for kind, _ in facts.evidence_kinds()}
    assert {"NRO", "NRR", "NRS", "admitted", "notice", "decided"} <= told


def test_every_commit_and_failpoint_is_told() -> None:
    names = set(facts.transactions())
    assert {"receive.message", "admit.case", "reply.call_back", "conclude.result"} <= names
    for name in (*names, *facts.failpoints()):
        assert f"| `{name}` | " in page("overview.md"), name


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


def test_every_old_spelling_is_told() -> None:
    told = re.findall(r"^\| `([a-z ]+)` \| `gateway ([a-z ]+)` \|$", page("verbs.md"), re.MULTILINE)
    assert dict(told) == OLD_SPELLINGS


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
        if name in ("glossary.md", "renamed.md"):  # they name what was
            continue
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
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "read_fields"
        ):
            keys |= {
                one.value for part in node.args for one in ast.walk(part) if isinstance(one, ast.Constant)
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


def test_the_words_of_the_glossary_are_in_the_code() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `([\w.]+)` \|", page("glossary.md"), re.MULTILINE)
    words = [word for word, _, _ in rows]
    assert len(rows) > 400
    assert words == sorted(words, key=lambda one: re.sub("[^a-z]", "", one.lower()))
    for word, _, place in rows:
        assert is_in_code(place), f"{word}: {place}"


def is_in_code(place: str) -> bool:
    """Tell whether a dotted path leads to a module, or to something in one."""
    names = place.split(".")
    for count in range(len(names), 0, -1):
        try:
            found: Any = import_module(".".join(names[:count]))
        except ModuleNotFoundError:
            continue
        for name in names[count:]:
            if name in getattr(found, "__annotations__", {}):
                return True
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


EXAMPLES = examples.read(page("mapping-examples.md"))


def test_the_document_of_the_mapping_page_gives_its_request(tmp_path: Path) -> None:
    done, wrong = examples.run(EXAMPLES, None, tmp_path)
    assert not wrong
    assert done is not None
    (request,) = done.requests
    parser = etree.XMLParser(remove_blank_text=True)
    assert examples.shape(request.xml) == examples.shape(etree.fromstring(EXAMPLES.request, parser))
    counted = done.accounts.count_fates()
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
    from gateway.wire.schema_sets import SchemaSet

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
    from gateway.harmonize.language.conversion_steps import FORMS
    from gateway.harmonize.language.simple_sources import HUB_VALUES
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
    for word in (*FORMS, *HUB_VALUES):
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
    wanted = {(state, event, after) for state, row in machine.table.items() for event, after in row.items()}
    assert drawn - stays == {one for one in wanted if one[0] != one[2]}
    assert stays <= wanted


if __name__ == "__main__":
    assert sys.argv[1:] == ["--write"], "python -m tests.test_manual --write"
    for changed in (*facts.write(), *pictures.write()):
        print(changed.relative_to(ROOT))
