"""What the mappings put they can get: requests read backwards are the submission again."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
from lxml import etree

from gateway.harmonize import (
    AgencyRequest,
    MappingBundle,
    SplitResult,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.language import FormatStep
from gateway.harmonize.readback import compare_request, read_request
from gateway.harmonize.readback.round_trip import Difference
from gateway.harmonize.samples import make_sample
from gateway.share import get_data_folder
from gateway.wire import parse_xml
from gateway_conformance import DATA_FOLDER
from tests.kit.documents import each_document

SHIPPED = load_bundle(get_data_folder("mappings"))
#: Submissions of one to four items are drawn of each document, the same ones each time.
SEEDS = range(3)


@cache
def _kept(document: str, seed: int) -> SplitResult:
    return splitted(SHIPPED, document, seed)


def splitted(bundle: MappingBundle, document: str, seed: int) -> SplitResult:
    """Return the split of a sampled submission of one to four items."""
    root = parse_xml(make_sample(bundle, bundle.documents[document], f"read-{seed}", 1 + seed % 4))
    return split_submission(root, bundle, make_placeholder_numbers(root))


def differences(
    bundle: MappingBundle, done: SplitResult, request: AgencyRequest, xml: etree._Element
) -> list[Difference]:
    """Return what `xml`, in place of the request's own, says otherwise than the submission."""
    return compare_request(
        request, read_request(bundle.documents[request.document], xml), done.submission_index, bundle
    )


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
def test_what_was_put_is_got(bundle: MappingBundle, document: str) -> None:
    for seed in SEEDS:
        done = splitted(bundle, document, seed)
        assert done.requests
        for request in done.requests:
            assert differences(bundle, done, request, request.xml) == [], seed


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
def test_every_forwarded_leaf_is_read_back(document: str) -> None:
    """Not by the origins that the writer noted but by the ledger: its leaves are all in some reading."""
    for seed in range(4):
        done = _kept(document, seed)
        forwarded = {
            number
            for number, entry in enumerate(done.ledger.entries)
            if entry.fates[0] is not None and entry.fates[0].fate == "forwarded"
        }
        noted = {leaf for request in done.requests for origin in request.origins for leaf in origin.leaves}
        assert forwarded == noted


def test_a_wrong_way_back_is_found(bundle: MappingBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    done = splitted(bundle, "KPTA-PHARM-IMP", 1)
    (request,) = done.requests
    assert differences(bundle, done, request, request.xml) == []
    monkeypatch.setattr(FormatStep, "invert_value", lambda _self, text: f"{text}x")
    found = differences(bundle, done, request, request.xml)
    assert {one.detail for one in found if "Classification/ID" in one.path} == {
        "common:item.hs is read back otherwise"
    }


def test_a_leaf_that_was_noted_as_forwarded_and_was_not_is_found(bundle: MappingBundle) -> None:
    done = splitted(bundle, "KPTA-PHARM-IMP", 1)
    (request,) = done.requests
    fates = [entry.fates[0] for entry in done.ledger.entries]
    withheld = next(n for n, fate in enumerate(fates) if fate is not None and fate.fate == "withheld")
    more = request.origins[0]._replace(leaves=(withheld,))
    (found,) = differences(bundle, done, replace(request, origins=(*request.origins, more)), request.xml)
    assert "was forwarded and is not read back" in found.detail
    assert found.pointer == done.submission_index.leaves[withheld].pointer


def test_a_text_cut_elsewhere_is_found(bundle: MappingBundle) -> None:
    root = parse_xml(DATA_FOLDER.joinpath("samples", "import-three-items.xml").read_bytes())
    done = split_submission(root, bundle, make_placeholder_numbers(root))
    request = next(one for one in done.requests if one.document == "KPTA-PHARM-IMP")
    xml = deepcopy(request.xml)
    first = next(xml.iter("{*}LineAddress"))
    second = etree.Element(f"{{{etree.QName(xml).namespace}}}LineAddress2")
    text = str(first.text)
    first.text, second.text = text[:5], text[5:]
    first.addnext(second)
    (found,) = differences(bundle, done, request, xml)
    assert found.detail == "the text is not cut as the line cuts it"


def test_two_lines_of_one_value_must_agree(bundle: MappingBundle) -> None:
    done = splitted(bundle, "KPTA-PHARM-IMP", 1)
    (request,) = done.requests
    xml = deepcopy(request.xml)
    name = xml.find("{*}Importer/{*}Name")
    assert name is not None
    name.text = "somebody else"
    (fault,) = read_request(bundle.documents[request.document], xml).faults
    assert "in Declaration/Agent/Name" in fault.detail


def leaves_of(xml: etree._Element) -> list[etree._Element]:
    """Return the elements that hold a text."""
    return [one for one in xml.iter(tag=etree.Element) if len(one) == 0 and one.text]


def swap(xml: etree._Element, chance: random.Random) -> bool:
    """Exchange the texts of two elements."""
    one, two = chance.sample(leaves_of(xml), 2)
    changed = one.text != two.text
    one.text, two.text = two.text, one.text
    return changed


def truncate(xml: etree._Element, chance: random.Random) -> bool:
    """Cut off the last character of a text."""
    one = chance.choice(leaves_of(xml))
    one.text = str(one.text)[:-1]
    return True


def alter(xml: etree._Element, chance: random.Random) -> bool:
    """Change one character of a text."""
    one = chance.choice(leaves_of(xml))
    text = list(str(one.text))
    place = chance.randrange(len(text))
    text[place] = "7" if text[place] != "7" else "8"
    one.text = "".join(text)
    return True


def drop(xml: etree._Element, chance: random.Random) -> bool:
    """Leave out an element."""
    one = chance.choice([*leaves_of(xml), *list(xml)])
    parent = one.getparent()
    assert parent is not None
    parent.remove(one)
    return True


def double(xml: etree._Element, chance: random.Random) -> bool:
    """Write an element twice."""
    one = chance.choice([*leaves_of(xml), *list(xml)])
    one.addnext(deepcopy(one))
    return True


def relabel(xml: etree._Element, chance: random.Random) -> bool:
    """Change an attribute: a unit, a currency, a content id, or what tells elements apart."""
    having = [one for one in xml.iter(tag=etree.Element) if one.attrib]
    if not having:
        return False
    one = chance.choice(having)
    name = chance.choice(list(one.attrib))
    one.set(name, f"{one.get(name)}X")
    return True


def invent(xml: etree._Element, chance: random.Random) -> bool:
    """Write an element that no line writes."""
    one = chance.choice([element for element in xml.iter(tag=etree.Element) if len(element)])
    etree.SubElement(one, f"{{{etree.QName(xml).namespace}}}Extra").text = "1"
    return True


def reorder(xml: etree._Element, chance: random.Random) -> bool:
    """Exchange two occurrences of a repeated element that are not alike."""
    pairs = [
        (one, two)
        for one in xml.iter(tag=etree.Element)
        if (two := one.getnext()) is not None and two.tag == one.tag and len(one)
    ]
    pairs = [(one, two) for one, two in pairs if etree.tostring(one) != etree.tostring(two)]
    if not pairs:
        return False
    one, two = chance.choice(pairs)
    two.addnext(one)
    return True


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
@pytest.mark.parametrize("damage", [swap, truncate, alter, drop, double, relabel, invent, reorder])
def test_a_broken_writing_is_found(bundle: MappingBundle, document: str, damage: object) -> None:
    assert callable(damage)
    tried = 0
    for seed in range(4):
        done = _kept(document, seed)
        for request in done.requests:
            for turn in range(3):
                chance = random.Random(f"{document}/{seed}/{turn}")
                xml = deepcopy(request.xml)
                hub = hub_texts(bundle, request, xml)
                if not damage(xml, chance) or hub != hub_texts(bundle, request, xml):
                    continue
                tried += 1
                assert differences(bundle, done, request, xml), etree.tostring(xml)
    assert tried or damage in (relabel, reorder)


def hub_texts(bundle: MappingBundle, request: AgencyRequest, xml: etree._Element) -> list[str]:
    """Return the values that the hub gave: the submission says nothing about them."""
    reading = read_request(bundle.documents[request.document], xml)
    return [value.written for value in reading.values if value.source.startswith("hub:")]


def test_the_request_of_another_document_is_found(bundle: MappingBundle) -> None:
    done = splitted(bundle, "EMC-WASTE-IMP", 1)
    (request,) = done.requests
    other = etree.Element("{urn:x}Other")
    (fault,) = read_request(bundle.documents[request.document], other).faults
    assert "begins with" in fault.detail
    assert differences(bundle, done, request, other)


def test_a_value_says_where_it_came_from(bundle: MappingBundle) -> None:
    root = parse_xml(DATA_FOLDER.joinpath("samples", "import-three-items.xml").read_bytes())
    done = split_submission(root, bundle, make_placeholder_numbers(root))
    request = next(one for one in done.requests if one.document == "KPTA-PHARM-IMP")
    reading = read_request(bundle.documents["KPTA-PHARM-IMP"], request.xml)
    assert reading.faults == ()
    names = {value.text for value in reading.values if value.source == "common:importer.name"}
    assert names == {"주식회사 한빛무역"}
    first = next(value for value in reading.values if value.source == "serial:item.sequence")
    assert (first.occurrence, first.text) == ((("application.items", 1),), "1")
    amount = next(
        value for value in reading.values if value.source == "common:invoice.amount" and value.attribute
    )
    assert (amount.attribute, amount.path[-11:]) == ("currencyID", "@currencyID")
    assert set(reading.paths) == set(request.xml.iter(tag=etree.Element))
