"""Our response schema gives the original's verdict on outside answers of customs and on seeded damages.

Most outside answers lack their namespaces; they get them here, so that there is enough to damage.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from lxml import etree

from tests.xsd.comparison import assert_agreement
from tests.xsd.oracle import DEC, RES, SHELL, Sample, original_response, ours

pytestmark = pytest.mark.vectors
SEED = 20261121
ENTRY = "wco/answer.xsd"
SHELL_NAMESPACE = SHELL.removesuffix("MetaData")
MOMENT = "{urn:wco:datamodel:WCO:Response_DS:DMS:2}"


@cache
def answers(vectors: Path) -> tuple[Sample, ...]:
    """Return the outside shells that hold a response, each with the namespaces it should have."""
    folder = vectors / "data/hmrc-cds/samples"
    found = []
    for path in sorted(folder.rglob("*.xml")):
        root = etree.parse(str(path), etree.XMLParser(no_network=True, resolve_entities=False)).getroot()
        if etree.QName(root).localname == "MetaData" and next(root.iter("{*}Response"), None) is not None:
            found.append(Sample(str(path.relative_to(folder)), named(root)))
    return tuple(found)


def named(root: etree._Element) -> etree._Element:
    """Put the elements without namespace where they belong; those that have one keep it."""
    for element in root.iter(tag=etree.Element):
        if etree.QName(element).namespace is None:
            answered = next(element.iterancestors(f"{RES}Response"), None) is not None
            holder = RES if answered or element.tag == "Response" else SHELL_NAMESPACE
            holder = MOMENT if element.tag == "DateTimeString" else holder
            element.tag = f"{holder}{element.tag}"
    return etree.fromstring(etree.tostring(root))


def test_every_answer_is_judged_as_the_original_judges_it(vectors: Path) -> None:
    verdicts = {sample.name: ours(ENTRY).validate(sample.root) for sample in answers(vectors)}
    assert verdicts == {s.name: original_response(vectors).validate(s.root) for s in answers(vectors)}
    assert len(verdicts) > 250
    assert sum(verdicts.values()) > 0.5 * len(verdicts)


def test_bare_responses_are_judged_alike(vectors: Path) -> None:
    for sample in answers(vectors):
        bare = etree.fromstring(etree.tostring(next(sample.root.iter(f"{RES}Response")), with_tail=False))
        assert ours(ENTRY).validate(bare) == original_response(vectors).validate(bare), sample.name


@pytest.mark.parametrize(
    ("quoted", "accepted"),
    [
        ("", True),
        ("<d:Declaration><d:FunctionCode>9</d:FunctionCode></d:Declaration>", True),
        ("<d:Declaration><d:FunctionCode>9</d:FunctionCode><d:ID>1</d:ID></d:Declaration>", True),
        ("<d:Declaration/>", False),
        ("<d:Declaration><d:FunctionCode>7</d:FunctionCode></d:Declaration>", False),
        ("<d:Declaration><d:FunctionCode>9</d:FunctionCode></d:Declaration>" * 2, False),
        ("<d:Other/>", False),
        ("<Declaration/>", False),
    ],
)
def test_an_answer_may_quote_the_declaration_once(vectors: Path, quoted: str, accepted: bool) -> None:
    root = etree.fromstring(
        f"<Response xmlns='{RES[1:-1]}' xmlns:d='{DEC[1:-1]}'>"
        f"<FunctionCode>01</FunctionCode><Declaration/>{quoted}</Response>"
    )
    assert original_response(vectors).validate(root) is accepted
    assert ours(ENTRY).validate(root) is accepted


def test_damaged_answers_are_judged_as_the_original_judges_them(vectors: Path) -> None:
    assert_agreement(answers(vectors), original_response(vectors), ours(ENTRY), 1_500, SEED + 1)


@pytest.mark.night
def test_ten_thousand_damaged_answers(vectors: Path) -> None:
    assert_agreement(answers(vectors), original_response(vectors), ours(ENTRY), 10_000, SEED)
