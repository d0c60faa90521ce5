# ruff: noqa: E501 (tables with long lines)
"""Conditions: finite, total, and every guard is read whatever the others say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, SplitResult, describe_condition, load_bundle
from gateway.harmonize.language import Condition, build_read_set, list_guard_tests, read_condition
from gateway.harmonize.proofs.guard_valuations import GuardWorld
from gateway.harmonize.proofs.lossless_proof import list_unit_notes
from gateway.harmonize.schemas import to_data, write_sentence
from gateway.wire import read_yaml
from tests.harmonize import small_bundle
from tests.harmonize.test_combined_sources import fields, folder, quantity


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
    read = build_read_set(document, bundle.dictionary).entries_by_key["common:importer.name"]
    assert need.mark in [use.mark for use in read.uses if use.read_kind == "guard"]
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


# ------------------------------------------------------------------------------ in a stated unit

ONE_DIMENSION = "units: [KGM, GRM, TNE, LBR]"


def _weigh(target: Path, when: str, unit: str, number: str) -> SplitResult:
    """Split a submission of a document that asks `ref` where the condition on `mass` holds."""
    root = folder(target, "  - Plain: {const: x}")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8")
    asked = "  ref: {type: id, max: 9, req: O"
    assert asked in text
    text = text.replace(asked, f"  ref: {{type: id, max: 9, req: {{when: {when}, otherwise: forbidden}}")
    text = text.replace("units: [KGM, GRM, TNE, LBR, MTR, XXX]", ONE_DIMENSION)
    path.write_text(text, encoding="utf-8")
    return small_bundle.apply(
        load_bundle(root), small_bundle.submission(fields=fields(quantity(number, unit)))
    )


@pytest.mark.night
@pytest.mark.parametrize(
    ("test", "unit", "number", "holds"),
    [
        ("more_than: 500, in: KGM", "KGM", "500", False),
        ("more_than: 500, in: KGM", "KGM", "500.000001", True),
        ("more_than: 500, in: KGM", "TNE", "0.5", False),
        ("more_than: 500, in: KGM", "TNE", "0.500001", True),
        ("at_least: 500, in: KGM", "GRM", "500000", True),
        ("at_least: 500, in: KGM", "GRM", "499999.999999", False),
        ("less_than: 0.5, in: TNE", "KGM", "499", True),
        ("at_most: 0.5, in: TNE", "GRM", "500000.000001", False),
        # A pound is 0.45359237 kg exactly.
        ("at_most: 1, in: KGM", "LBR", "2.204622", True),
        ("at_most: 1, in: KGM", "LBR", "2.204623", False),
        # The number alone, where the mapping says so or says nothing.
        ("more_than: 500, in: stated", "TNE", "0.500001", False),
        ("more_than: 500, in: stated", "GRM", "501", True),
        ("more_than: 500", "GRM", "501", True),
    ],
)  # fmt: skip
def test_a_number_is_compared_in_the_unit_that_the_condition_says(
    tmp_path: Path, test: str, unit: str, number: str, holds: bool
) -> None:
    result = _weigh(tmp_path, f"{{mass: {{{test}}}}}", unit, number)
    assert not result.unaccounted_leaves
    assert [one.problem.id for one in result.problems] == (["GW503"] if holds else [])
    assert [one.pointer for one in result.problems] == (["APP[1]/TINY/Ref"] if holds else [])


def test_the_unit_of_a_compared_value_is_consumed_and_in_the_read_set(tmp_path: Path) -> None:
    bundle = _bundle_with_net_mass(tmp_path, "{item.net_mass: {more_than: 500, in: KGM}}")
    reads = build_read_set(bundle.documents["TINY"], bundle.dictionary)
    assert reads.entries_by_key["common:item.net_mass"].read_kinds >= {"guard", "attribute"}
    result = small_bundle.apply(bundle, small_bundle.submission(declaration=_declare_net_mass("TNE")))
    fates = {
        one.leaf.attribute: one.fates[0].fate
        for one in result.ledger.entries
        if one.leaf.path.partition("/@")[0] == NET and one.fates[0] is not None
    }
    assert fates == {None: "consumed", "unitCode": "consumed"}


NET = f"{small_bundle.ITEM}/Commodity/GoodsMeasure/NetNetWeightMeasure"


def _declare_net_mass(unit: str) -> str:
    """Return a declaration without the licence of its first item, whose net mass is 600 of a unit."""
    mass = f'<GoodsMeasure><NetNetWeightMeasure unitCode="{unit}">600</NetNetWeightMeasure></GoodsMeasure>'
    text = small_bundle.DECLARATION.replace("<TypeCode>911", "<TypeCode>912")
    return text.replace("</Commodity>", f"{mass}</Commodity>", 1)


def _bundle_with_net_mass(target: Path, when: str) -> MappingBundle:
    """Return the mapping of a document that needs the licence of an item by a condition on its net mass."""
    root = folder(target, "  - Plain: {const: x}")
    path = root / "common.yaml"
    line = f"  item.net_mass: {{path: {NET}, per: item, type: measure, digits: [16, 6], ko: 순중량, en: Net mass}}\n"
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8")
    old = 'item.licence: {when: {risky: {is: "true"}}}'
    assert old in text
    text = text.replace("item.maker]", "item.maker, item.net_mass]").replace(
        old, f"item.licence: {{when: {when}}}"
    )
    path.write_text(text, encoding="utf-8")
    return load_bundle(root)


@pytest.mark.parametrize(
    ("unit", "told"),
    [
        ("TNE", [("GW503", "Licence (허가) is missing")]),
        ("GRM", []),
        ("LTR", [("GW404", "Net mass (순중량): a value in LTR cannot be compared in KGM")]),
    ],
)
def test_a_unit_that_does_not_convert_is_told_once_at_its_place(
    tmp_path: Path, unit: str, told: list[tuple[str, str]]
) -> None:
    when = "{any: [{item.net_mass: {more_than: 500, in: KGM}}, {item.net_mass: {more_than: 900, in: KGM}}]}"
    bundle = _bundle_with_net_mass(tmp_path, when)
    result = small_bundle.apply(bundle, small_bundle.submission(declaration=_declare_net_mass(unit)))
    assert not result.unaccounted_leaves
    assert [one.problem.id for one in result.problems] == [problem for problem, _ in told]
    for one, (problem, words) in zip(result.problems, told, strict=True):
        assert words in one.detail
        assert one.problem.id == problem
        assert one.rule is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{mass: {more_than: 500, in: XYZ}}", "in: expected a unit of the table, for a quantity, found XYZ"),
        ("{weight: {more_than: 500, in: MTR}}", "a unit to which those of weight convert, found MTR"),
        ("{weight: {more_than: 500, in: KGM}}", "a unit to which each of weight converts, found KGM, and EA does not"),
        ("{price: {more_than: 500, in: KGM}}", "a unit of the table, for a quantity, found KGM"),
        ("{price: {more_than: 500, in: EUR}}", "a unit of the table, for a quantity, found EUR"),
        ("{net: {more_than: 500, in: MTR}}", "in: expected a unit of mass, found MTR, a unit of length"),
        ("{mass: {more_than: 500, at_most: 900, in: KGM}}", "one test, found 2 of them"),
        ("{mass: {is: KGM, in: KGM}}", "one test, found 2 of them"),
    ],
)  # fmt: skip
def test_a_unit_that_cannot_be_compared_in_is_no_condition(tmp_path: Path, text: str, words: str) -> None:
    root = folder(tmp_path, "  - Plain: {const: x}")
    path = root / "common.yaml"
    line = f"  net: {{path: {NET}, per: item, type: measure, dimension: mass, digits: [16, 6], ko: 순중량, en: Net}}\n"
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")
    bundle = load_bundle(root)
    asks = bundle.documents["TINY"].ask_names
    with pytest.raises(GatewayError) as refused:
        read_condition(
            read_yaml(text.encode(), "c.yaml"), asks, bundle.dictionary, bundle.lists, bundle.units
        )
    assert words in refused.value.detail
    assert refused.value.location == "c.yaml:1"


def test_a_condition_in_a_unit_is_told_with_it(tmp_path: Path) -> None:
    bundle = _bundle_with_net_mass(tmp_path, "{item.net_mass: {at_least: 500, in: KGM}}")
    (need,) = [need for need in bundle.documents["TINY"].needs if need.when is not None]
    assert need.when is not None
    assert describe_condition(need.when) == "item.net_mass is at least 500 KGM"
    assert write_sentence(need.when, "en") == "Net mass is at least 500 KGM"
    assert write_sentence(need.when, "ko") == "순중량 500 KGM 이상"
    assert to_data(need.when) == {"item.net_mass": {"at_least": "500", "in": "KGM"}}


@pytest.mark.parametrize(
    ("test", "noted"),
    [("at_least: 500", True), ("at_least: 500, in: KGM", False), ("at_least: 500, in: stated", False)],
)
def test_a_condition_that_names_no_unit_is_noted(tmp_path: Path, test: str, noted: bool) -> None:
    bundle = _bundle_with_net_mass(tmp_path, f"{{item.net_mass: {{{test}}}}}")
    notes = [one for one in list_unit_notes(bundle.documents.values()) if "condition of" in one]
    assert len(notes) == noted
    assert all("Say in which unit, as {at_least: 500, in: UNIT}, or in: stated" in one for one in notes)


def test_the_proofs_try_each_unit_on_both_sides_of_a_threshold(tmp_path: Path) -> None:
    root = folder(tmp_path, "  - Plain: {const: x}")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8").replace("units: [KGM, GRM, TNE, LBR, MTR, XXX]", ONE_DIMENSION)
    path.write_text(text, encoding="utf-8")
    bundle = load_bundle(root)
    asks = bundle.documents["TINY"].ask_names

    def tried(*texts: str) -> set[str]:
        found = [
            read_condition(read_yaml(t.encode(), "c"), asks, bundle.dictionary, bundle.lists, bundle.units)
            for t in texts
        ]
        return {str(one) for one in GuardWorld(bundle.documents["TINY"], found).list_combinations(found)}

    one = tried("{mass: {more_than: 500, in: KGM}}")
    assert one == {"mass = 499.999999 KGM", "mass = 500.000001 KGM", "mass absent"}
    # The first of two is the second in another unit; a number alone tells units apart.
    same = tried("{mass: {more_than: 500, in: KGM}}", "{mass: {more_than: 0.5, in: TNE}}")
    assert same == one
    both = tried("{mass: {more_than: 500, in: KGM}}", "{mass: {more_than: 500}}")
    assert len(both) == 5
    assert any("TNE" in text for text in both)
    assert any("GRM" in text for text in both)
