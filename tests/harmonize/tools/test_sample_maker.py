"""Generated submissions show what a document can hold: every field, with and without."""

from __future__ import annotations

import functools

import pytest
from lxml import etree

from gateway.harmonize import MappingBundle, load_bundle
from gateway.harmonize.tools.samples.sample_maker import make_sample
from gateway.harmonize.tools.samples.seeded_draws import SeededDraws
from gateway.share import get_data_folder
from tests.kit.documents import each_document

SEEDS = 60


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@functools.cache
def texts(name: str) -> tuple[bytes, ...]:
    document = shipped().documents[name]
    return tuple(make_sample(shipped(), document, str(seed), 1 + seed % 3) for seed in range(SEEDS))


@pytest.mark.long
@pytest.mark.parametrize("name", each_document())
def test_every_field_occurs_and_every_optional_field_is_absent_somewhere(name: str) -> None:
    roots = [etree.fromstring(text) for text in texts(name)]
    for ask in shipped().documents[name].asks:
        present = [any(True for _ in root.iter(f"{{*}}{ask.tag}")) for root in roots]
        assert any(present), ask.name
        assert all(present) == ask.requirement.mandatory, ask.name


@pytest.mark.parametrize("name", each_document())
def test_every_common_meaning_occurs(name: str) -> None:
    together = b"".join(texts(name))
    for need in shipped().documents[name].needs:
        word = need.meaning.path if need.meaning.supplement else f"<{need.meaning.relative[-1]}"
        assert word.encode() in together, need.meaning.name


@pytest.mark.parametrize("name", each_document())
def test_every_code_of_a_short_list_occurs(name: str) -> None:
    together = b"".join(texts(name)).decode()
    for ask in shipped().documents[name].asks:
        if ask.type == "code" and ask.shape.codes and len(ask.shape.codes) <= 3:
            for code in ask.shape.codes:
                assert f":{ask.tag}>{code}</" in together, (ask.name, code)


def test_an_application_holds_as_many_items_as_were_wanted() -> None:
    document = shipped().documents["EMC-WASTE-IMP"]
    root = etree.fromstring(make_sample(shipped(), document, "1", 25))
    assert (root.findtext("{*}Application/{*}Items") or "").split() == [str(n) for n in range(1, 26)]
    assert len(root.findall("{*}Application/{*}Fields/{*}Item")) == 25
    stated = next(root.iter("{*}GoodsItemQuantity")).text
    assert stated == str(len(list(root.iter("{*}GovernmentAgencyGoodsItem"))))
    (reference,) = root.iter("{*}FunctionalReferenceID")
    assert root.findtext("{*}Reference") == reference.text


def test_draws_are_the_same_everywhere() -> None:
    draws = SeededDraws("fixed")
    assert [draws.draw_number(1, 100) for _ in range(8)] == [92, 83, 35, 7, 37, 84, 47, 66]
    assert SeededDraws("fixed").draw_code(6) != SeededDraws("other").draw_code(6)


def test_a_draw_stays_within_its_bounds() -> None:
    draws = SeededDraws("bounds")
    drawn = {draws.draw_number(3, 5) for _ in range(100)}
    assert drawn == {3, 4, 5}
    assert all(len(draws.draw_words(12, None, "utf-8")) <= 12 for _ in range(100))
    assert all(len(draws.draw_words(60, 9, "euc-kr").encode("euc-kr")) <= 9 for _ in range(100))
