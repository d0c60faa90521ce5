"""Our declaration schema gives the original's verdict: on every outside sample and on seeded damages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from lxml import etree

from tests.xsd.comparison import assert_agreement
from tests.xsd.oracle import DEC, Sample, original, ours, samples, unwrapped

pytestmark = pytest.mark.vectors
SEED = 20261120


def messages(vectors: Path) -> list[Sample]:
    """Return all samples with the shells of requests taken off."""
    return [Sample(sample.name, unwrapped(sample.root)) for sample in samples(vectors)]


def test_every_sample_is_judged_as_the_original_judges_it(vectors: Path) -> None:
    verdicts = {sample.name: ours().validate(sample.root) for sample in messages(vectors)}
    assert verdicts == {sample.name: original(vectors).validate(sample.root) for sample in messages(vectors)}
    assert Counter(verdicts.values()) == {True: 197, False: 4}


def test_the_four_refused_samples_are_answers_or_lack_their_namespace(vectors: Path) -> None:
    refused = {sample.name for sample in messages(vectors) if not ours().validate(sample.root)}
    assert {name.rpartition("/")[2] for name in refused} == {
        "4. DMSRES_Function Code 07.xml",
        "step-2_DIS.xml",
        "TT_IM001c_DIS_Report_Status_By_MRN.xml",
        "08_DMSRES.xml",
    }


def test_bare_declarations_are_judged_alike(vectors: Path) -> None:
    for sample in messages(vectors):
        inner = next(sample.root.iter(f"{DEC}Declaration"))
        bare = etree.fromstring(etree.tostring(inner, with_tail=False))
        assert ours().validate(bare) == original(vectors).validate(bare), sample.name


def test_damaged_samples_are_judged_as_the_original_judges_them(vectors: Path) -> None:
    assert_agreement(messages(vectors), original(vectors), ours(), 1_500, SEED + 1)


@pytest.mark.night
def test_ten_thousand_damaged_samples(vectors: Path) -> None:
    assert_agreement(messages(vectors), original(vectors), ours(), 10_000, SEED)
