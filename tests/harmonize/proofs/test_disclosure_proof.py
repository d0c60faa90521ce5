"""Least disclosure: what an agency would learn beyond its list is refused, with the value that leaks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.harmonize import load_bundle
from gateway.harmonize.language import Constant, ConvertedSource, EvaluatedValue, ValueShape
from gateway.harmonize.proofs import check_bundle
from gateway.harmonize.split import Scope
from gateway.wire import SourceMark
from tests.harmonize.proofs.small_mapping import DOCUMENT, SECOND, breaches, line_of, plant, prove


def test_a_guard_on_a_meaning_that_is_not_listed(tmp_path: Path) -> None:
    change = (
        "- Remark: {ask: remark}",
        "- Remark: {ask: remark}\n  - Also: {ask: remark, when: {payer.name: {present: yes}}}",
    )
    (finding,) = breaches(plant(tmp_path, change), "least_disclosure")
    assert (finding.mark.file, finding.mark.line) == (DOCUMENT, line_of(tmp_path, "- Also:"))
    assert finding.field == "payer.name"
    assert "Importer" not in finding.counter_example
    assert "Payer/Name" in finding.counter_example


def test_a_need_that_nothing_uses(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("[hue, container.id]", "[hue, container.id, payer.name]"))
    (finding,) = breaches(folder, "least_disclosure")
    assert (finding.field, finding.mark.line) == ("payer.name", line_of(tmp_path, "optional:"))
    reason = (
        'field,document,decision,reason\npayer.name,PLANT,"common payer.name, not forwarded",no row for it\n'
    )
    (folder / "reconciled.csv").write_text(reason, encoding="utf-8")
    assert breaches(folder, "least_disclosure") == []


def test_a_line_of_a_meaning_that_is_not_listed(tmp_path: Path) -> None:
    """The loader refuses it already; it is told as the breach that it is."""
    (finding,) = breaches(
        plant(tmp_path, ("- Hue: {common: hue}", "- Hue: {common: payer.name}")), "least_disclosure"
    )
    assert (finding.mark.file, finding.mark.line) == (DOCUMENT, line_of(tmp_path, "- Hue:"))
    assert prove(tmp_path).documents == ("SEED",)


def test_a_field_that_reaches_nothing(tmp_path: Path) -> None:
    (finding,) = breaches(plant(tmp_path, ("  - Remark: {ask: remark}\n", "")), "least_disclosure")
    assert (finding.field, finding.mark.line) == ("remark", line_of(tmp_path, "  remark: {"))


def test_a_field_that_may_be_given_where_it_reaches_nothing(tmp_path: Path) -> None:
    folder = plant(tmp_path, ('is: "true"}}, otherwise: forbidden}', 'is: "true"}}}'))
    (finding,) = breaches(folder, "least_disclosure")
    assert (finding.field, finding.counter_example) == ("reason", "risky = false")


@dataclass(frozen=True, slots=True)
class Leak(Constant):
    """A source that reads what it does not say that it reads."""

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        found = "".join(
            scope.submission_index.declaration.xpath("string(.//*[local-name()='Payer'])").split()
        )
        return [EvaluatedValue(f"L{len(found)}", (), "const")]


def test_a_value_outside_the_read_set_that_changes_the_request(tmp_path: Path) -> None:
    bundle = load_bundle(plant(tmp_path))
    kind = bundle.documents["PLANT"].root.children[0]
    kind.content = ConvertedSource(Leak("P1"), ())
    kind.shape = ValueShape("text")
    (finding,) = [
        one
        for one in check_bundle(bundle, sample_count=2).findings
        if one.proof == "least_disclosure" and "beside" in one.message
    ]
    assert finding.mark.line == line_of(tmp_path, "withholds:")
    assert "seed proof0" in finding.counter_example


@dataclass(frozen=True, slots=True)
class Peep(Constant):
    """A source that reads the other goods items."""

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        texts = [str(e.text) for e in scope.submission_index.declaration.iter("{*}Description")]
        return [EvaluatedValue(str(sum(map(ord, "".join(texts)))), (), "const")]


@pytest.mark.night
def test_the_leaf_that_leaks_is_named(tmp_path: Path) -> None:
    """An item that the application does not concern changes its request: the one leaf is found among many."""
    bundle = load_bundle(plant(tmp_path))
    document = bundle.documents["PLANT"]
    document.root.children[0].content = ConvertedSource(Peep("P1"), ())
    document.root.children[0].shape = ValueShape("text")
    bundle.compiled.clear()
    report = check_bundle(bundle, sample_count=8)
    leaks = [
        one for one in report.findings if one.message == "a value outside the read set changes the request"
    ]
    assert leaks
    assert leaks[0].field == "Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Commodity/Description"
    assert "changed" in leaks[0].counter_example


def test_a_forwarded_value_whose_change_does_not_show(tmp_path: Path) -> None:
    more = (("codelists/some.csv", "R,red\n", "R,red\nG,red\n"),)
    change = ("- Colour: {ask: colour}", "- Colour: {ask: colour, via: someColour}")
    folder = plant(tmp_path, change, more=more)
    # The list declares that it loses what it translates, and an unknown code is refused: both show.
    assert [one.field for one in breaches(folder, "least_disclosure", samples=3)] in ([], ["colour"])


def test_the_second_document_does_not_excuse_the_first(tmp_path: Path) -> None:
    more = ((SECOND, "optional: [hue]", "optional: [hue, payer.name]"),)
    (finding,) = breaches(plant(tmp_path, more=more), "least_disclosure")
    assert finding.mark.file == SECOND
