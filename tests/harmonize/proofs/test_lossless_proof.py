"""Lossless: what is lost without being declared so is refused, with the values that show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.harmonize.language import FormatStep, TranslationStep
from gateway.harmonize.split import EvaluationTrace, FateColumn
from gateway.harmonize.split.request_writer import RequestWriter
from tests.harmonize.proofs.small_mapping import DOCUMENT, SECOND, breaches, line_of, plant, write


def test_a_factor_that_is_forwarded_nowhere_else(tmp_path: Path) -> None:
    folder = plant(tmp_path, ('        - Price: {ask: price, currency: "@money"}\n', ""))
    found = breaches(folder, "lossless")
    assert {(one.mark.line, one.field) for one in found} == {
        (line_of(tmp_path, "- Value:"), "Request/Item/Value")
    }
    assert "two values of price with one result" in {one.counter_example for one in found}


def test_a_number_without_its_unit(tmp_path: Path) -> None:
    folder = plant(tmp_path, ('{ask: weight, unit: {to: "@unit", via: unitOut}}', "{ask: weight}"))
    (finding,) = breaches(folder, "lossless")
    assert (finding.field, finding.mark.line) == ("Request/Item/Weight", line_of(tmp_path, "- Weight:"))
    assert finding.counter_example == "weight = 1 in KGM or EA"


def test_a_number_of_one_unit_needs_none(tmp_path: Path) -> None:
    folder = plant(
        tmp_path,
        ('{ask: weight, unit: {to: "@unit", via: unitOut}}', "{ask: weight}"),
        ("units: [KGM, EA]", "unit: KGM"),
    )
    assert breaches(folder, "lossless") == []


@pytest.mark.parametrize(
    ("total", "example"),
    [
        ("{sum: weight, over: items, decimals: 3}", "weight = 1 in KGM or EA"),
        ('{sum: weight, over: items, decimals: 3, unit: "@unit"}', ""),
        ("{sum: weight, over: items, decimals: 3, convert: {to: KGM, decimals: 3, round: half_up}}", ""),
        ("{sum: price, over: items, decimals: 3}", ""),
    ],
)
def test_a_total_says_its_own_unit(tmp_path: Path, total: str, example: str) -> None:
    """Values in two units are added in the unit of one of them, so the lines of the values do not tell it."""
    folder = plant(
        tmp_path, ("  - Colour: {ask: colour}\n", f"  - Colour: {{ask: colour}}\n  - Total: {total}\n")
    )
    found = breaches(folder, "lossless")
    assert [one.counter_example for one in found] == ([example] if example else [])
    assert {one.field for one in found} <= {"Request/Total"}


def test_a_list_that_is_not_one_to_one_as_it_says(tmp_path: Path) -> None:
    folder = plant(tmp_path, more=(("codelists/colour.csv", "G,green", "G,red"),))
    with pytest.raises(Exception, match="one to one") as raised:
        breaches(folder, "lossless")
    assert raised.value.proof == "lossless"  # type: ignore[attr-defined]


def test_a_translation_that_does_not_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = plant(tmp_path, ("- Colour: {ask: colour}", "- Colour: {ask: colour, via: colourName}"))
    assert breaches(folder, "lossless") == []
    monkeypatch.setattr(TranslationStep, "invert_value", lambda _self, _text, _beside=None: "R")
    found = breaches(folder, "lossless")
    assert "colour = 'G' is put as 'green'" in {one.counter_example for one in found}
    assert {one.mark.file for one in found} <= {DOCUMENT, "agencies/ORG/SEED.yaml"}


def test_a_day_that_reads_back_as_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lossy form need not give the value again, but putting it again must give the same."""
    monkeypatch.setattr(FormatStep, "invert_value", lambda _self, _text: "2001-01-01")
    (finding,) = breaches(plant(tmp_path), "lossless")
    assert (finding.field, finding.mark.line) == ("Request/Day", line_of(tmp_path, "- Day:"))


def test_a_leaf_without_a_fate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine on trial loses every remark on its way."""
    before = EvaluationTrace.write_fates

    def forget(trace: EvaluationTrace, column: FateColumn) -> None:
        trace.forwarded_origins[:] = [row for row in trace.forwarded_origins if not row[0].endswith("Remark")]
        before(trace, column)

    monkeypatch.setattr(EvaluationTrace, "write_fates", forget)
    found = breaches(plant(tmp_path), "lossless", samples=6)
    assert any("no fate" in one.message and "Remark is lost" in one.counter_example for one in found)


def test_a_request_that_does_not_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine on trial writes an exclamation mark behind each description."""
    before = RequestWriter.finish

    def shout(pen: RequestWriter, name: str, namespace: str) -> bytes:
        return before(pen, name, namespace).replace(b"</Description>", b"!</Description>")

    monkeypatch.setattr(RequestWriter, "finish", shout)
    found = breaches(plant(tmp_path), "lossless", samples=2)
    assert {one.mark.line for one in found} == {line_of(tmp_path, "- Description:")}
    assert "item.description" in found[0].message
    assert "reads back as" in found[0].counter_example


def test_items_known_by_what_two_of_them_may_share(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("key: item.number", "key: item.description"))
    (finding,) = breaches(folder, "lossless")
    assert (finding.field, finding.mark.line) == ("Item", line_of(tmp_path, "each: {item:"))
    assert finding.counter_example == "two items with one item.description"


def test_a_code_put_only_as_a_word_that_does_not_read_back(tmp_path: Path) -> None:
    source = 'version: "1", source: ours}'
    forward = f"  hueWord: {{file: codelists/colour.csv, key: code, to: name, direction: forward, {source}\n"
    more = (
        ("codelists.yaml", "  unitOut:", f"{forward}  unitOut:"),
        (SECOND, "via: colourName", "via: hueWord"),
    )
    (finding,) = breaches(write(tmp_path, *more), "lossless")
    assert (finding.mark.file, finding.mark.line) == (SECOND, line_of(tmp_path, "- HueName:", SECOND))
    assert finding.counter_example == "two codes of hue with one word"
    beside = (*more, (SECOND, "  - HueName:", "  - Hue: {common: hue}\n  - HueName:"))
    assert breaches(write(tmp_path, *beside), "lossless") == []
