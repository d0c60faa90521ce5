"""Conditions: finite, total, and every guard is read whatever the others say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.harmonize.conditions import guards, read_condition
from gateway.harmonize.marks import read_yaml
from tests.unit.harmonize import tiny


@dataclass
class Values:
    """Values by name, and the names that were read."""

    texts: Mapping[str, str]
    read_names: list[str]

    def read(self, source: Any, _rule: Any) -> list[Any]:
        """Return the value of a name."""
        self.read_names.append(source.name)
        return [type("Text", (), {"text": self.texts[source.name]})] if source.name in self.texts else []


TABLE = [
    ('{colour: {is: "090"}}', {"colour": "090"}, True),
    ('{colour: {is: "090"}}', {"colour": "NO"}, False),
    ('{colour: {is: "090"}}', {}, False),
    ("{colour: {in: [NO, 1E3]}}", {"colour": "1E3"}, True),
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
    return tiny.mapping(tmp_path_factory.mktemp("conditions"))


@pytest.mark.parametrize(("text", "values", "expected"), TABLE)
def test_condition_holds(context: Any, text: str, values: dict[str, str], expected: bool) -> None:
    document = context.documents["TINY"]
    condition = read_condition(read_yaml(text.encode(), "c.yaml"), document.ask_names, context.dictionary)
    reader = Values(values, [])
    assert condition.holds(reader) is expected
    assert reader.read_names == [test.name for test in guards(condition)]


def test_conditions_are_read_to_the_end(context: Any, tmp_path: Path) -> None:
    text = "{any: [{colour: {is: NO}}, {place: {is: AA}}, {not: {all: [{risky: {is: 'true'}}]}}]}"
    document = context.documents["TINY"]
    condition = read_condition(read_yaml(text.encode(), "c.yaml"), document.ask_names, context.dictionary)
    reader = Values({"colour": "NO"}, [])
    assert condition.holds(reader)
    assert reader.read_names == ["colour", "place", "risky"]
