"""Properties over generated submissions: nothing lost, nothing leaked, nothing invented."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import (
    DocumentMapping,
    Leaf,
    MappingBundle,
    SplitResult,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.language import CommonMeaning
from gateway.harmonize.samples import SeededDraws, make_sample
from gateway.share import get_data_folder
from gateway.wire import SchemaSet, parse_xml, serialize_element

pytestmark = pytest.mark.night

#: Submissions of one to four items are drawn of each document, the same ones each time.
SEEDS = range(3)
#: In one with one goods item and in one with two, every value is changed by itself.
ISOLATED = 2


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


DOCUMENTS = list(shipped().documents)


def divide(root: etree._Element) -> SplitResult:
    return split_submission(root, shipped(), make_placeholder_numbers(root))


def schema_of(document: DocumentMapping) -> etree.XMLSchema:
    return etree.XMLSchema(
        file=str(Path(str(get_data_folder("xsd"))) / f"agencies/{document.schema_stem}-application.xsd")
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_generated_submissions_are_valid_and_leave_nothing_unaccounted(
    name: str, submission_schema: SchemaSet
) -> None:
    document = shipped().documents[name]
    fields = schema_of(document)
    reached: set[str] = set()
    for seed in SEEDS:
        root = parse_xml(make_sample(shipped(), document, str(seed), 1 + seed % 4))
        submission_schema.validate_document(root)
        fields.assertValid(copy.deepcopy(root.find("{*}Application/{*}Fields")))
        result = divide(root)
        assert (result.problems, result.unaccounted_leaves, len(result.requests)) == ((), (), 1), seed
        (request,) = result.requests
        reached |= {origin.target.partition("[")[0] for origin in request.origins}
        for origin in request.origins:
            assert origin.leaves or origin.source.partition(":")[0] in ("const", "hub", "count"), origin
        forwarded = {n for n, entry in enumerate(result.ledger.entries) if entry.fates[0].fate == "forwarded"}
        assert forwarded == {leaf for origin in request.origins for leaf in origin.leaves}
    assert len(reached) > 30


@pytest.mark.vectors
@pytest.mark.parametrize("name", DOCUMENTS)
def test_generated_declarations_are_valid_by_the_original_schema(name: str, vectors: Path) -> None:
    original = etree.XMLSchema(file=str(vectors / "data/hmrc-cds/xsd/driver-declaration.xsd"))
    for seed in range(20):
        root = parse_xml(make_sample(shipped(), shipped().documents[name], str(seed), 2))
        for shell in root.iter("{urn:wco:datamodel:WCO:DocumentMetaData-DMS:2}MetaData"):
            original.assertValid(copy.deepcopy(shell))


def test_a_sample_depends_on_its_seed_alone() -> None:
    document = shipped().documents[DOCUMENTS[0]]
    assert make_sample(shipped(), document, "7", 2) == make_sample(shipped(), document, "7", 2)
    assert make_sample(shipped(), document, "7", 2) != make_sample(shipped(), document, "8", 2)


def _changed(value: str) -> str:
    """Return another value near `value`, of the same kind where that is easy."""
    if value[-1:].isdigit():
        return value[:-1] + ("7" if value[-1] != "7" else "3")
    return value + "Q"


def _set(leaf: Leaf, value: str) -> None:
    if leaf.attribute is None:
        leaf.element.text = value
    else:
        leaf.element.set(leaf.attribute, value)


def _requests(result: SplitResult) -> dict[tuple[str, str], bytes]:
    return {
        (request.document, request.application): serialize_element(request.xml) for request in result.requests
    }


def _isolation(root: etree._Element) -> Iterator[str]:
    """Yield every leaf whose change does what its fate forbids."""
    result = divide(root)
    before = _requests(result)
    for entry in result.ledger.entries:
        old = entry.leaf.value
        _set(entry.leaf, _changed(old))
        after = _requests(divide(root))
        _set(entry.leaf, old)
        for document, fate in zip(result.ledger.documents, entry.fates, strict=True):
            same = all(after.get(key) == octets for key, octets in before.items() if key[0] == document)
            if (fate.fate == "withheld") != same and fate.fate != "consumed":
                yield f"{fate.fate} {entry.leaf.pointer} for {document}"


def test_isolation_in_the_shipped_submission(three_items: bytes) -> None:
    """What is withheld from an agency cannot change its request; what is forwarded does."""
    assert list(_isolation(parse_xml(three_items))) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_isolation_in_generated_submissions(name: str) -> None:
    for seed in range(ISOLATED):
        root = parse_xml(make_sample(shipped(), shipped().documents[name], f"isolated{seed}", 1 + seed % 2))
        assert list(_isolation(root)) == [], seed


def _disturb(root: etree._Element, draws: SeededDraws) -> None:
    """Change the structure or a value at random; the result need not be valid at all."""
    elements = [element for element in root.iter(etree.Element) if element is not root]
    element = draws.choose_one(elements)
    parent = element.getparent()
    kind = draws.draw_number(0, 6)
    if kind == 0:
        parent.remove(element)
    elif kind == 1:
        element.addnext(copy.deepcopy(element))
    elif kind == 2:
        element.tag = f"{element.tag}X"
    elif kind == 3:
        element.text = draws.choose_one(
            ["", "  ", "é", "<&>", "9" * 200, "똠방각하", "-5", "1e3", "2026-13-45", "true"]
        )
    elif kind == 4 and element.attrib:
        element.set(
            draws.choose_one(sorted(map(str, element.attrib))), draws.choose_one(["", "Q", "-1", "EA"])
        )
    elif kind == 5 and element.attrib:
        del element.attrib[draws.choose_one(sorted(map(str, element.attrib)))]
    elif kind == 6:
        element.append(etree.Comment("x"))
        element[-1].tail = "tail"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9))
def test_disturbed_submissions_never_fail_and_keep_their_fates(seed: int) -> None:
    draws = SeededDraws(str(seed))
    document = shipped().documents[draws.choose_one(DOCUMENTS)]
    root = parse_xml(make_sample(shipped(), document, str(seed % 50), 2))
    for _ in range(draws.draw_number(1, 3)):
        _disturb(root, draws)
    try:
        result = divide(root)
    except GatewayError as refused:
        if refused.problem.id != "GW402":
            raise
        return
    stray = [leaf for leaf in result.unaccounted_leaves if leaf.element.getprevious() is None]
    assert stray == []


@pytest.mark.vectors
def test_real_declarations_lack_exactly_the_mandatory_fields_they_lack(vectors: Path) -> None:
    """Each missing mandatory field is named, for each document, and no leaf is lost meanwhile."""
    files = sorted((vectors / "data/hmrc-cds/samples").rglob("*.[xX][mM][lL]"))
    tried = 0
    for path in files:
        try:
            declaration = parse_xml(path.read_bytes())
        except GatewayError:
            continue
        inner = [declaration, *declaration.iter()]
        top = next((e for e in inner if e.tag == "{urn:wco:datamodel:WCO:DEC-DMS:2}Declaration"), None)
        if top is None or top.find("{*}GoodsShipment/{*}GovernmentAgencyGoodsItem") is None:
            continue
        tried += 1
        result = divide(_wrapped(top))
        assert result.unaccounted_leaves == (), path
        for name in DOCUMENTS:
            document = shipped().documents[name]
            named = {(t.detail.rpartition(": ")[2]) for t in result.problems if _missing(t, name)}
            needed = [n.meaning for n in document.needs if n.mandatory and n.meaning.per == "header"]
            header = {meaning.path for meaning in needed}
            absent = {meaning.path for meaning in needed if not _filled(top, meaning)}
            assert named & header == absent, path
    assert tried > 90


def _missing(trouble: object, name: str) -> bool:
    return trouble.problem.id == "GW503" and trouble.document == name and "is missing: " in trouble.detail  # type: ignore[attr-defined]


def _filled(declaration: etree._Element, meaning: CommonMeaning) -> bool:
    found = declaration.findall("/".join(f"{{*}}{part}" for part in meaning.path.split("/")[1:]))
    if meaning.selector is not None:
        kind = meaning.selector
        found = [e for e in found if _beside(e, kind.element) in kind.values]
    return any("".join(element.itertext()).strip() for element in found)


def _beside(element: etree._Element, name: str) -> str:
    parent = element.getparent()
    assert parent is not None
    return parent.findtext(f"{{*}}{name}") or "none"


def _wrapped(declaration: etree._Element) -> etree._Element:
    sub = "{urn:single-window:submission:1}"
    root = etree.Element(f"{sub}Submission", version="1")
    etree.SubElement(root, f"{sub}Reference").text = "R"
    etree.SubElement(root, f"{sub}Function").text = "9"
    root.append(copy.deepcopy(declaration))
    etree.SubElement(root, f"{sub}Supplement")
    for number, name in enumerate(DOCUMENTS):
        application = etree.SubElement(root, f"{sub}Application", id=f"A{number}", document=name)
        etree.SubElement(application, f"{sub}Items").text = "1"
        etree.SubElement(application, f"{sub}Fields")
    return root
