"""What is laid out for values that came before is written as it is step by step."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from lxml import etree

from gateway.harmonize import MappingBundle, index_submission, make_placeholder_numbers, write_requests
from gateway.harmonize.engine import request_renderer, text_layout
from gateway.harmonize.language import WritingPlan, WritingStep, plan_children
from gateway.harmonize.tools.samples.sample_maker import make_sample
from tests.harmonize import small_bundle
from tests.harmonize.test_requests_alone import describe, vary
from tests.kit.documents import each_document
from tests.kit.filling import shipped

_ODD = ("A & B <Co>", "100% %s", "a\rb", "한글 " * 40, "x" * 300, "ZZZ", " ")


def tell(root: etree._Element) -> list[object]:
    """Return the requests without a ledger, and the problems."""
    facts = index_submission(root, keeps_fields=False)
    found = write_requests(facts, shipped(), make_placeholder_numbers(root))
    return [*map(describe, found.requests), found.problems]


def lay_nothing(plan: WritingPlan, _counts: tuple[int, ...]) -> Sequence[WritingStep]:
    return plan.steps


def vary_more(document: str) -> Iterator[etree._Element]:
    """Yield submissions with wrong, missing and repeated values, and with values that must be escaped."""
    yield from vary(document)
    *_, root = vary(document)
    leaves = [one for one in root.iter(etree.Element) if len(one) == 0 and one.text]
    for position, one in enumerate(leaves[5::7]):
        one.text = _ODD[position % len(_ODD)]
        yield root


@pytest.mark.parametrize("document", each_document())
def test_a_layout_is_written_as_its_steps(document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for root in vary_more(document):
        with monkeypatch.context() as changed:
            changed.setattr(request_renderer, "find_layout", lay_nothing)
            told = tell(root)
        # The second time layouts are made, the third time they are known.
        assert [tell(root) for _ in range(3)] == [told] * 3


def spoil(document: str) -> Iterator[etree._Element]:
    """Yield a sample with each of its leaves too long, then twice, then missing."""
    octets = make_sample(shipped(), shipped().documents[document], "layout", 1)
    for position, _ in enumerate(_list_leaves(etree.fromstring(octets))):
        root = etree.fromstring(octets)
        leaf = _list_leaves(root)[position]
        leaf.text = f"{leaf.text}{'가나' * 60}"
        yield root
        root = etree.fromstring(octets)
        leaf = _list_leaves(root)[position]
        leaf.addnext(copy.deepcopy(leaf))
        yield root
        leaf.getnext().getparent().remove(leaf.getnext())  # type: ignore[union-attr]
        leaf.getparent().remove(leaf)  # type: ignore[union-attr]
        yield root


def _list_leaves(root: etree._Element) -> list[etree._Element]:
    return [one for one in root.iter(etree.Element) if len(one) == 0 and one.text and one.text.strip()]


def test_each_leaf_of_a_layout_may_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for root in spoil("KPTA-PHARM-IMP"):
        with monkeypatch.context() as changed:
            changed.setattr(request_renderer, "find_layout", lay_nothing)
            told = tell(root)
        assert [tell(root) for _ in range(3)] == [told] * 3


def test_a_layout_is_made_for_what_comes_again_and_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan_children(shipped().documents["KPTA-PHARM-IMP"].root)
    plan = WritingPlan(made.places, made.steps, made.singles, made.given)
    several = len(made.singles) + len(made.given) + sum(len(names) for _, names in made.places)
    counts = (1,) * several
    assert text_layout.find_layout(plan, counts) is plan.steps
    laid = text_layout.find_layout(plan, counts)
    assert any(isinstance(one, text_layout.TextLayout) for one in laid)
    assert text_layout.find_layout(plan, counts) is laid
    for _ in range(2):
        two = text_layout.find_layout(plan, (2, *counts[1:]))
    assert two is not laid
    # What has several values is laid out alike, however many they are.
    assert text_layout.find_layout(plan, (7, *counts[1:])) is two
    monkeypatch.setattr(text_layout, "_MOST_KNOWN", 3)
    for number in range(2, 9):
        text_layout.find_layout(plan, (number, *counts[1:]))
        assert len(plan.layouts) <= 4


def test_where_nothing_has_a_value_constants_alone_are_written() -> None:
    made = plan_children(shipped().documents["KPTA-PHARM-IMP"].root)
    plan = WritingPlan(made.places, made.steps, made.singles, made.given)
    several = len(made.singles) + len(made.given) + sum(len(names) for _, names in made.places)
    for _ in range(2):
        laid = text_layout.find_layout(plan, (0,) * several)
    texts = [one for one in laid if isinstance(one, text_layout.TextLayout)]
    assert texts
    assert not any(one.taken or one.cut or "%s" in one.text for one in texts)


def write_small(bundle: MappingBundle, fields: str = small_bundle.FIELDS) -> list[etree._Element]:
    """Return the request of the small document, written three times without a ledger."""
    written = []
    for _ in range(3):
        facts = index_submission(small_bundle.submission(fields), keeps_fields=False)
        found = write_requests(facts, bundle, small_bundle.NUMBERS)
        assert found.problems == ()
        written += [one.xml for one in found.requests]
    assert len({etree.tostring(one, method="c14n") for one in written}) == 1
    return written


@pytest.mark.parametrize("text", ["100% A&B", "%s", "%%"])
def test_a_constant_with_a_percent_sign_is_written_as_it_is(tmp_path: Path, text: str) -> None:
    bundle = small_bundle.mapping(tmp_path, document=("const: T1", f"const: '{text}'"))
    assert [one.findtext("{*}Kind") for one in write_small(bundle)] == [text] * 3


PIECES = [("a" * 8, ["a" * 8]), ("a" * 9, ["a" * 8, "a"]), ("a" * 17, ["a" * 8, "a" * 8, "a"])]


@pytest.mark.every_case
@pytest.mark.parametrize(("text", "pieces"), PIECES)
def test_a_text_is_one_piece_up_to_its_last_octet(tmp_path: Path, text: str, pieces: list[str]) -> None:
    fields = small_bundle.FIELDS.replace("가나다라마", text)
    for one in write_small(small_bundle.mapping(tmp_path), fields):
        assert [part.text for part in one.iterfind("{*}Long/*")] == pieces
