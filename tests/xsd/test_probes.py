"""Every element of both data models, probed place by place: values, attributes, order, number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lxml import etree

from tests.kit.paths import ROOT
from tests.xsd import oracle
from tests.xsd.probes import (
    Model,
    attribute_probes,
    read_model,
    shell_probes,
    structure_probes,
    value_probes,
)

pytestmark = pytest.mark.vectors

Probe = Callable[[Model, etree.XMLSchema], Iterator[tuple[str, etree._Element]]]
PROBES = (value_probes, structure_probes, attribute_probes)
FAST_FIRST = [
    pytest.param(p, marks=[pytest.mark.night] * (p is attribute_probes), id=p.__name__) for p in PROBES
]


def declaration(vectors: Path) -> tuple[Model, etree.XMLSchema, etree.XMLSchema]:
    """Return the declaration's model, its original and our schema."""
    table = vectors / "data/wco-elements/dec-dms-2.csv"
    model = read_model(table, oracle.DEC[1:-1], "urn:wco:datamodel:WCO:Declaration_DS:DMS:2")
    return model, oracle.original(vectors), oracle.ours("wco/submit.xsd")


def response(vectors: Path) -> tuple[Model, etree.XMLSchema, etree.XMLSchema]:
    """Return the response's model, its original and our schema."""
    table = vectors / "data/wco-elements/res-dms-2.csv"
    model = read_model(table, oracle.RES[1:-1], "urn:wco:datamodel:WCO:Response_DS:DMS:2")
    return model, oracle.original_response(vectors), oracle.ours("wco/answer.xsd")


@pytest.mark.night
@pytest.mark.parametrize("probe", FAST_FIRST)
@pytest.mark.parametrize("message", [declaration, response], ids=lambda message: message.__name__)
def test_each_place_is_judged_as_the_original_judges_it(
    vectors: Path, message: Callable[[Path], tuple[Model, etree.XMLSchema, etree.XMLSchema]], probe: Probe
) -> None:
    model, original, ours = message(vectors)
    verdicts: Counter[bool] = Counter()
    disagreements = []
    for place, root in probe(model, original):
        expected = original.validate(root)
        verdicts[expected] += 1
        if ours.validate(root) != expected:
            disagreements.append(f"{place}: original {expected}")
    print(f"\n{message.__name__}, {probe.__name__}: {verdicts[True]} accepted, {verdicts[False]} refused")
    assert not disagreements, f"{len(disagreements)} disagree:\n" + "\n".join(disagreements[:50])
    assert min(verdicts.values()) > 0.02 * verdicts.total(), verdicts


@pytest.mark.parametrize("message", [declaration, response], ids=lambda message: message.__name__)
def test_the_shell_is_judged_as_the_original_judges_it(
    vectors: Path, message: Callable[[Path], tuple[Model, etree.XMLSchema, etree.XMLSchema]]
) -> None:
    model, original, ours = message(vectors)
    verdicts: Counter[bool] = Counter()
    for place, root in shell_probes(oracle.SHELL, model.least(model.rows[0])):
        expected = original.validate(root)
        verdicts[expected] += 1
        assert ours.validate(root) == expected, place
    print(f"\n{message.__name__}, shell_probes: {verdicts[True]} accepted, {verdicts[False]} refused")
    assert min(verdicts.values()) > 0.1 * verdicts.total()


SLIPS = [
    ("values.xsd", '<xs:maxLength value="17"/>', '<xs:maxLength value="18"/>'),
    ("values.xsd", '<xs:fractionDigits value="6"/>', '<xs:fractionDigits value="5"/>'),
    ("values.xsd", '<xs:totalDigits value="12"/>', ""),
    ("values.xsd", '<xs:pattern value=".*\\S.*"/>', ""),
    ("values.xsd", '<xs:enumeration value="14"/>', ""),
    ("values.xsd", ' use="required"', ""),
    ("values.xsd", 'name="languageID" type="xs:language"', 'name="languageID" type="xs:string"'),
    ("declaration.xsd", '"v:Identifier70" minOccurs="0"', '"v:Identifier70"'),
    ("declaration-item.xsd", '"d:Origin" minOccurs="0" maxOccurs="unbounded"', '"d:Origin" minOccurs="0"'),
    (
        "declaration-item.xsd",
        '"SequenceNumeric" type="v:Ordinal"',
        '"SequenceNumeric" type="v:Ordinal" minOccurs="0"',
    ),
    ("declaration-shipment.xsd", 'maxOccurs="999"', 'maxOccurs="1000"'),
    ("declaration-parties.xsd", 'elementFormDefault="qualified"', ""),
]


@pytest.mark.night
@pytest.mark.parametrize(("file", "old", "new"), SLIPS)
def test_a_slip_in_our_schema_is_noticed(
    vectors: Path, tmp_path: Path, file: str, old: str, new: str
) -> None:
    for path in (ROOT / "xsd/wco").glob("*.xsd"):
        text = path.read_text(encoding="utf-8")
        if path.name == file:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    model, original, _ = declaration(vectors)
    slipped = oracle.load_schema(tmp_path / "submit.xsd")
    probed = (root for probe in PROBES for _, root in probe(model, original))
    assert any(original.validate(root) != slipped.validate(root) for root in probed)
