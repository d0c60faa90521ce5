"""Conditions: finite, total, and every guard is read whatever the others say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.harmonize.generator.condition_sentences import to_data, write_sentence
from gateway.harmonize.language.read_set import build_read_set
from gateway.harmonize.proofs.guard_valuations import GuardWorld
from gateway.harmonize.tools.provenance.field_uses import describe_condition
from gateway.harmonize.types.condition_reader import read_condition
from gateway.harmonize.types.strict_yaml import read_yaml
from gateway.harmonize.types.unique_fields import Condition, list_guard_tests
from tests.harmonize import small_bundle


@dataclass
class Values:
    """Values by name, and the names that were read."""

    texts: Mapping[str, str]
    read_names: list[str]

    def read_values(self, source: Any, _rule: Any) -> list[Any]:
        """Return the value of a name."""
        self.read_names.append(source.name)
        return [type("Text", (), {"text": self.texts[source.name]})] if source.name in self.texts else []


TABLE = [
    ('{colour: {is: "090"}}', {"colour": "090"}, True),
    ('{colour: {is: "090"}}', {"colour": "NO"}, False),
    ('{colour: {is: "090"}}', {}, False),
    ("{colour: {in: [NO, 1E3]}}", {"colour": "1E3"}, True),
    ("{colour: {in_list: colour}}", {"colour": "1E3"}, True),
    ("{importer.name: {in_list: colour}}", {"importer.name": "NO"}, True),
    ("{importer.name: {in_list: colour}}", {"importer.name": "NOT"}, False),
    ("{not: {importer.name: {in_list: colour}}}", {}, True),
    ("{colour: {present: yes}}", {"colour": "1E3"}, True),
    ("{colour: {present: no}}", {}, True),
    ("{colour: {present: no}}", {"colour": "NO"}, False),
    ('{risky: {is: "true"}}', {"risky": "1"}, True),
    ('{risky: {is: "false"}}', {"risky": "0"}, True),
    ("{weight: {at_least: 2}}", {"weight": "2.0"}, True),
    ("{weight: {more_than: 2}}", {"weight": "2.0"}, False),
    ("{weight: {less_than: 2}}", {"weight": "1.999"}, True),
    ("{weight: {at_most: 2}}", {"weight": "x"}, False),
    ("{not: {colour: {is: NO}}}", {}, True),
    ("{all: [{colour: {is: NO}}, {risky: {is: 'true'}}]}", {"colour": "NO", "risky": "true"}, True),
    ("{all: [{colour: {is: NO}}, {risky: {is: 'true'}}]}", {"colour": "090", "risky": "true"}, False),
    ("{any: [{colour: {is: NO}}, {risky: {is: 'true'}}]}", {"colour": "NO", "risky": "0"}, True),
    ("{any: [{colour: {is: NO}}, {importer.name: {is: x}}]}", {"importer.name": "x"}, True),
]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return small_bundle.mapping(tmp_path_factory.mktemp("conditions"))


def _read(context: Any, text: str) -> Condition:
    document = context.documents["TINY"]
    node = read_yaml(text.encode(), "c.yaml")
    return read_condition(node, document.ask_names, context.dictionary, context.lists)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{colour: {in_list: nowhere}}", "a code list of codelists.yaml, found nowhere"),
        ("{place: {in_list: place}}", "a list that we hold whole, found place, which is open"),
        ("{weight: {in_list: colour}}", "a text or a code, which can stand in a list, found quantity"),
        ("{risky: {in_list: colour}}", "a text or a code, which can stand in a list, found boolean"),
        ("{colour: {in_list: money}}", "a list with codes of colour, found money, which has none of them"),
        ("{colour: {on_list: colour}}", "is, in, in_list, present or"),
    ],
)
def test_a_wrong_condition_on_a_list_names_the_line(context: Any, text: str, words: str) -> None:
    with pytest.raises(GatewayError) as refused:
        _read(context, text)
    assert words in refused.value.detail
    assert refused.value.location == "c.yaml:1"


def test_a_list_in_a_condition_is_a_guard_and_is_named_with_its_version(tmp_path: Path) -> None:
    when = ('{when: {risky: {is: "true"}}}\nasks', "{when: {importer.name: {in_list: colour}}}\nasks")
    bundle = small_bundle.mapping(tmp_path, document=when)
    document = bundle.documents["TINY"]
    need = next(need for need in document.needs if need.when is not None)
    assert need.when is not None
    assert describe_condition(need.when) == "importer.name is in colour@1"
    assert write_sentence(need.when, "en") == "Importer is in the list colour"
    assert to_data(need.when) == {"importer.name": {"in_list": "colour"}}
    read = build_read_set(document, bundle.dictionary).reads["common:importer.name"]
    assert need.mark in [use.mark for use in read.uses if use.how == "guard"]
    declared = small_bundle.DECLARATION.replace("한빛무역", "NO").replace("<TypeCode>911", "<TypeCode>912")
    result = small_bundle.apply(bundle, small_bundle.submission(declaration=declared))
    assert [problem.problem.id for problem in result.problems] == ["GW503"]
    free = small_bundle.submission(declaration=declared.replace("<Name>NO", "<Name>NOT"))
    assert small_bundle.apply(bundle, free).problems == ()


def test_the_codes_of_a_long_list_are_alike_to_the_proofs(tmp_path: Path) -> None:
    codes = "code\n" + "".join(f"C{number}\n" for number in range(3000))
    (tmp_path / "codelists").mkdir()
    line = '  many: {file: codelists/many.csv, key: code, version: "1", source: ours}\n'
    folder = small_bundle.write(tmp_path, codelists=("  place:", f"{line}  place:"))
    (folder / "codelists/many.csv").write_text(codes, encoding="utf-8")
    bundle = load_bundle(folder)
    document = bundle.documents["TINY"]
    texts = ("{importer.name: {in_list: many}}", "{importer.name: {is: C7}}")
    conditions = [_read(bundle, text) for text in texts]
    world = GuardWorld(document, conditions)
    found = [one.values["importer.name"] for one in world.list_combinations(conditions)]
    assert found == ["C0", "C7", "given"]


@pytest.mark.parametrize(("text", "values", "expected"), TABLE)
def test_condition_holds(context: Any, text: str, values: dict[str, str], expected: bool) -> None:
    condition = _read(context, text)
    reader = Values(values, [])
    assert condition.is_satisfied(reader) is expected
    assert reader.read_names == [test.name for test in list_guard_tests(condition)]


def test_conditions_are_read_to_the_end(context: Any, tmp_path: Path) -> None:
    text = "{any: [{colour: {is: NO}}, {place: {is: AA}}, {not: {all: [{risky: {is: 'true'}}]}}]}"
    document = context.documents["TINY"]
    condition = read_condition(read_yaml(text.encode(), "c.yaml"), document.ask_names, context.dictionary)
    reader = Values({"colour": "NO"}, [])
    assert condition.is_satisfied(reader)
    assert reader.read_names == ["colour", "place", "risky"]
