# ruff: noqa: E501 (mappings with long lines)
"""Generated submissions show what a document can hold: every field, with and without."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, load_bundle
from gateway.harmonize.samples import SeededDraws, make_sample, sample_maker
from gateway.share import get_data_folder
from tests.harmonize.proofs.small_mapping import DOCUMENT, line_of, plant
from tests.kit.documents import each_document

SEEDS = 60


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@functools.cache
def texts(name: str) -> tuple[bytes, ...]:
    document = shipped().documents[name]
    return tuple(make_sample(shipped(), document, str(seed), 1 + seed % 3) for seed in range(SEEDS))


@pytest.mark.night
@pytest.mark.parametrize("name", each_document())
def test_every_field_occurs_and_every_optional_field_is_absent_somewhere(name: str) -> None:
    roots = [etree.fromstring(text) for text in texts(name)]
    for ask in shipped().documents[name].asks:
        present = [any(True for _ in root.iter(f"{{*}}{ask.tag}")) for root in roots]
        assert any(present), ask.name
        assert all(present) == ask.requirement.mandatory, ask.name


@pytest.mark.night
@pytest.mark.parametrize("name", each_document())
def test_every_common_meaning_occurs(name: str) -> None:
    together = b"".join(texts(name))
    for need in shipped().documents[name].needs:
        word = need.meaning.path if need.meaning.supplement else f"<{need.meaning.relative[-1]}"
        assert word.encode() in together, need.meaning.name


@pytest.mark.night
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


def _demand_shares(target: Path, checks: str) -> MappingBundle:
    """Return a mapping with a hundred shares of 0 to 100 in each item, and checks on them."""
    share = "share: {type: measure, unit: P1, decimals: 2, range: [0, 100], repeat: [100, 100], req: M, per: item, means: plant.share, ko: 비율, en: Share}"
    folder = plant(
        target,
        ("  lot: {type: group", f"  {share}\n  lot: {{type: group"),
        ("- Weight:", "- Share: {ask: share, unit: '@unit', bound: [0, 100]}\n        - Weight:"),
        ("\nreads:", f"\nchecks:\n{checks}reads:"),
    )
    return load_bundle(folder)


def _check_sum(name: str, rest: str) -> str:
    return f"  - {{id: {name}, per: item, sum: {{ask: share}}, {rest}, ko: 규칙, en: Rule}}\n"


@pytest.mark.night
def test_a_check_that_no_values_satisfy_ends_the_draws_as_map_check_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []
    split = sample_maker.split_submission
    monkeypatch.setattr(sample_maker, "split_submission", lambda *given: tried.append(given) or split(*given))
    bundle = _demand_shares(tmp_path / "never", _check_sum("never", "at_least: 10001"))
    with pytest.raises(GatewayError) as refused:
        make_sample(bundle, bundle.documents["PLANT"], "7", 2)
    assert refused.value.problem.id == "GW502"
    line = line_of(tmp_path / "never", "id: never")
    assert refused.value.location == f"{DOCUMENT}:{line}"
    words = "the check never holds: 0 to 10000 is compared with 10001"
    assert refused.value.detail.endswith(words)
    assert len(tried) == 5
    # Where it does not apply, a sample is found.
    spared = _check_sum("never", "at_least: 10001, when: {item.description: {is: XYZ}}")
    bundle = _demand_shares(tmp_path / "spared", spared)
    assert make_sample(bundle, bundle.documents["PLANT"], "7", 2)


@pytest.mark.night
def test_large_samples_that_are_all_refused_end_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = _check_sum("low", "at_most: 2000") + _check_sum("high", "at_least: 9000")
    bundle = _demand_shares(tmp_path, both)
    tried: list[object] = []
    split = sample_maker.split_submission
    monkeypatch.setattr(sample_maker, "split_submission", lambda *given: tried.append(given) or split(*given))
    monkeypatch.setattr(sample_maker, "_MOST_ELEMENTS", 3000)
    with pytest.raises(GatewayError) as refused:
        make_sample(bundle, bundle.documents["PLANT"], "7", 3)
    assert refused.value.problem.id == "GW901"
    assert 5 <= len(tried) < 15
