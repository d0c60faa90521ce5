"""Requests are written without a ledger as they are with one: the same octets, problems and attachments."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from lxml import etree

from gateway.harmonize import index_submission, make_placeholder_numbers, split_submission, write_requests
from gateway.harmonize.samples import make_sample
from gateway.harmonize.split import request_writer, submission_fields, submission_split
from gateway.wire import PackedElement, serialize_element
from tests.kit.documents import each_document
from tests.kit.filling import SUB, shipped
from tests.load import shared_answers, splitting

_WRONG = ("", "ZZZ", "9" * 40, "-1")


def vary(document: str) -> Iterator[etree._Element]:
    """Yield a sample of a document, the same with comments, wrong values, and without one of its elements."""
    root = etree.fromstring(make_sample(shipped(), shipped().documents[document], "alone", 2))
    yield root
    for one in [*root.iter(etree.Element)][::3]:
        one.insert(0, etree.Comment("<x/>"))
        one.append(etree.ProcessingInstruction("x"))
    yield root
    random = Random(document)
    leaves = [one for one in root.iter(etree.Element) if len(one) == 0 and one.text]
    for one in random.sample(leaves, 5):
        one.text = random.choice(_WRONG)
    yield root
    gone = random.choice(leaves)
    gone.getparent().remove(gone)  # type: ignore[union-attr]
    yield root


def describe(request: submission_split.AgencyRequest) -> tuple[object, ...]:
    told = (request.organisation, request.document, request.application, request.items, request.laws)
    return (*told, request.attachments, etree.tostring(request.xml, method="c14n"))


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
def test_what_is_written_does_not_depend_on_the_ledger(
    document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A long request is held as octets: here every request is long.
    monkeypatch.setattr(submission_split, "_LONG", 1)
    for root in vary(document):
        numbers = make_placeholder_numbers(root)
        whole = split_submission(root, shipped(), numbers)
        for keeps_fields in (True, False):
            facts = index_submission(root, keeps_fields=keeps_fields)
            alone = write_requests(facts, shipped(), numbers)
            assert alone.problems == whole.problems
            assert list(map(describe, alone.requests)) == list(map(describe, whole.requests))
            assert all(isinstance(one.content, PackedElement) for one in alone.requests)
            assert all(one.written_element.octets == serialize_element(one.xml) for one in alone.requests)
            assert all(one.written_element.tag == one.xml.tag for one in alone.requests)
            assert not any(trace.fates for trace in alone.traces.values())


@pytest.mark.parametrize("text", [None, "ZZZ", "9" * 40])
def test_shared_answers_are_read_while_only_one_application_is_indexed(text: str | None) -> None:
    """Half of the applications take the answers of the first: right ones, and two wrong ones of two kinds."""
    root = etree.fromstring(shared_answers.submission(6))
    ask = next(ask for ask in shipped().documents["KFDA-HFF-IMP"].asks if ask.shared and ask.per == "item")
    given = list(root.iter(f"{{*}}{ask.tag}"))
    for one in (given[0], given[-1]) if text else ():
        one.text = text
    numbers = make_placeholder_numbers(root)
    whole = split_submission(root, shipped(), numbers)
    facts = index_submission(root, keeps_fields=False)
    alone = write_requests(facts, shipped(), numbers)
    assert bool(whole.problems) is bool(text)
    assert alone.problems == whole.problems
    assert list(map(describe, alone.requests)) == list(map(describe, whole.requests))
    # No leaf has a number, and what was written keeps no element of an application.
    assert (facts.rows, facts.text_leaf_numbers, facts.attribute_leaf_numbers) == ([], {}, {})
    assert not any(one.origins for one in alone.requests)
    assert not any(trace.forwarded_origins for trace in alone.traces.values())


@pytest.mark.night
@pytest.mark.parametrize("spends", [False, True])
def test_long_fields_are_out_of_the_tree_while_another_application_is_written(
    spends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests and problems are the same, and the tree is whole at the end, unless its fields are spent."""
    monkeypatch.setattr(submission_fields, "_LONG", 2)
    documents = ("KPTA-PHARM-IMP", "KFDA-FOOD-IMP", "NPQS-PLA-IMP", "NVRQS-LIV-IMP")
    root = etree.fromstring(splitting.submission(3, documents))
    numbers, found = make_placeholder_numbers(root), []
    before = etree.tostring(root, method="c14n")
    inside = submission_split._write_request
    holders = root.findall(f"{SUB}Application")

    def build(*given: Any) -> Any:
        found.append("".join("01"[one.find(f"{SUB}Fields") is not None] for one in holders))
        return inside(*given)

    for text in (None, "ZZZ" * 99):
        for one in list(root.iter("{*}BatchNo", "{*}ProductNameKo", "{*}Cut"))[:5] if text else ():
            one.text = text
        before = etree.tostring(root, method="c14n")
        whole = split_submission(root, shipped(), numbers)
        assert bool(whole.problems) is bool(text)
        with monkeypatch.context() as patch:
            patch.setattr(submission_split, "_write_request", build)
            facts = index_submission(root, keeps_fields=False)
            alone = write_requests(facts, shipped(), numbers, discards_fields=spends and text is not None)
        assert alone.problems == whole.problems
        assert list(map(describe, alone.requests)) == list(map(describe, whole.requests))
        assert (etree.tostring(root, method="c14n") == before) is not (spends and text is not None)
    # The second and the fourth may share answers: they are written first, with the fields of both.
    assert found == ["0101", "0101", "1000", "0010"] * 2


def test_a_long_request_is_the_same_as_one_written_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    root = etree.fromstring(splitting.submission(3, ("KPTA-PHARM-IMP",)))
    numbers = make_placeholder_numbers(root)
    (whole,) = write_requests(index_submission(root), shipped(), numbers).requests
    for many in (1, 7):
        monkeypatch.setattr(request_writer, "_MANY", many)
        (gathered,) = write_requests(index_submission(root), shipped(), numbers).requests
        assert describe(gathered) == describe(whole)
